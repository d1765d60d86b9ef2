//! Requests as spans at an OpenTelemetry collector: what they say, and what becomes of them when it is slow, away or ill.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::collector::{Collector, attribute, traceparent};
use crate::harness::{Fake, Launch, Request, fake, http, until};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A daemon with these variables, whose server is ready.
async fn exporting(env: Vec<(String, String)>) -> Fake {
    let config = fake::config("isolation: shared\nrequest_timeout: 2s", &[]);
    let fake = Fake::launch(Launch {
        config,
        env,
        ..Launch::default()
    })
    .await;
    fake.ready().await;
    fake
}

fn with(mut variables: Vec<(String, String)>, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let more = more.iter();
    variables.extend(more.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    variables
}

fn echo(arguments: &Value, meta: &Value) -> Value {
    json!({"name": "echo", "arguments": arguments, "_meta": meta})
}

#[tokio::test]
async fn a_request_is_a_span_below_its_clients_and_above_its_servers() {
    let collector = Collector::start(200).await;
    let more = [
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=Bearer%20s3cret",
        ),
        ("OTEL_SERVICE_NAME", "tools"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=test",
        ),
    ];
    let fake = exporting(with(collector.variables(), &more)).await;
    let mut client = fake.streamable().await;
    let arguments = json!({"password": "hunter2"});
    let meta = json!({"traceparent": PARENT, "tracestate": "a=1", "progressToken": "p"});
    client.request("tools/call", &echo(&arguments, &meta)).await;
    let span = collector.span("tools/call echo").await;
    assert!(traceparent(&span).starts_with(&PARENT[..35]), "{span:?}");
    assert_eq!(
        span.parent_span_id,
        [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]
    );
    assert_eq!(span.trace_state, "a=1");
    let line = fake.recorded("hunter2").await;
    let k = attribute(&span.attributes, "mcp_bridged.k");
    let told = format!(
        r#""_meta":{{"traceparent":"{}","tracestate":"a=1","progressToken":{k}}}"#,
        traceparent(&span)
    );
    assert!(line.contains(&told), "{line} has no {told}");
    for (key, value) in [
        ("mcp.method.name", "tools/call"),
        ("gen_ai.tool.name", "echo"),
        ("gen_ai.operation.name", "execute_tool"),
        ("jsonrpc.request.id", "1"),
        ("mcp_bridged.bridge", "fake"),
        ("mcp_bridged.outcome", "ok"),
    ] {
        assert_eq!(attribute(&span.attributes, key), value, "{key}");
    }
    assert!(span.end_time_unix_nano > span.start_time_unix_nano);
    let post = collector.posts().remove(0);
    assert!(post.head.starts_with("post /v1/traces "), "{}", post.head);
    assert!(
        post.head.contains("authorization: bearer s3cret"),
        "{}",
        post.head
    );
    assert!(post.head.contains("content-type: application/x-protobuf"));
    let request = post.request();
    let resource = request.resource_spans[0].resource.as_ref().unwrap();
    assert_eq!(attribute(&resource.attributes, "service.name"), "tools");
    assert_eq!(
        attribute(&resource.attributes, "deployment.environment.name"),
        "test"
    );
    // what nobody else is to know
    let session = client.session.clone().unwrap();
    for post in collector.posts() {
        let text = String::from_utf8_lossy(&post.body).into_owned();
        assert!(!text.contains("hunter2") && !text.contains(&session));
    }
    assert!(!fake.log().contains("s3cret"));
}

#[tokio::test]
async fn every_end_of_a_request_is_told() {
    let collector = Collector::start(200).await;
    let fake = exporting(collector.variables()).await;
    let mut client = fake.streamable().await;
    client.call("fail", &json!({"code": -32000})).await;
    client.call("hold", &json!({"key": "never"})).await;
    let failed = json!({"lines": [r#"{"jsonrpc":"2.0","id":$ID,"result":{"content":[],"isError":true}}"#], "answer": false});
    client.call("emit", &failed).await;
    client.request("ping", &json!({})).await;
    client.request("resources/subscribe", &json!({})).await;
    client.call("crash", &json!({"code": 3})).await;
    for (name, outcome, class, code) in [
        ("tools/call fail", "error", "-32000", "-32000"),
        ("tools/call hold", "timeout", "timeout", "-31002"),
        ("tools/call emit", "ok", "tool_error", ""),
        ("ping", "ok", "", ""),
        ("initialize", "ok", "", ""),
        ("resources/subscribe", "refused", "refused", "-32602"),
        ("tools/call crash", "server_gone", "server_gone", "-31001"),
    ] {
        let span = collector.span(name).await;
        let has = |key| attribute(&span.attributes, key);
        assert_eq!(has("mcp_bridged.outcome"), outcome, "{name}");
        assert_eq!(has("error.type"), class, "{name}");
        assert_eq!(has("rpc.response.status_code"), code, "{name}");
        let is_error = span.status.is_some_and(|status| status.code == 2);
        assert_eq!(is_error, !class.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn a_request_that_finds_no_server_is_told() {
    let collector = Collector::start(200).await;
    let config = fake::config(
        "isolation: shared\nstart_wait: 10ms",
        &["--exit-at-start", "1"],
    );
    let fake = Fake::launch(Launch {
        config,
        env: collector.variables(),
        ..Launch::default()
    })
    .await;
    fake.until_logged("server ended").await;
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
    let response = http::exchange(fake.addr(), Request::post("/mcp", body)).await;
    assert_eq!(response.status(), 503);
    let span = collector.span("initialize").await;
    assert_eq!(attribute(&span.attributes, "error.type"), "refused");
}

#[tokio::test]
async fn the_tools_of_a_model_are_spans_too() {
    let collector = Collector::start(200).await;
    let config = format!(
        "gateway: {{ port: 0, model_list: [{{ model_name: mock, provider: mock }}] }}\n{}",
        fake::config("isolation: shared", &[])
    );
    let fake = Fake::launch(Launch {
        config,
        env: collector.variables(),
        ..Launch::default()
    })
    .await;
    fake.ready().await;
    let body = json!({"model": "mock", "messages": [{"role": "user", "content": "Use fake-echo with {}"}]});
    let request = Request::post("/v1/chat/completions", body.to_string());
    http::exchange(fake.gateway(), request).await;
    let span = collector.span("tools/call echo").await;
    assert_eq!(attribute(&span.attributes, "mcp_bridged.bridge"), "fake");
}

#[tokio::test]
async fn without_an_endpoint_nothing_is_exported_and_nothing_changes() {
    let collector = Collector::start(200).await;
    let (disabled, none) = (
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_TRACES_EXPORTER", "none"),
    );
    for env in [
        with(Vec::new(), &[("OTEL_SERVICE_NAME", "tools")]),
        with(collector.variables(), &[disabled]),
        with(collector.variables(), &[none]),
        with(
            collector.variables(),
            &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
        ),
    ] {
        let mut fake = exporting(env.clone()).await;
        let mut client = fake.streamable().await;
        client.call("echo", &json!({"here": 1})).await;
        let line = fake.recorded("\"here\"").await;
        assert!(!line.contains("traceparent"), "{env:?}: {line}");
        assert_eq!(fake.stop().await, Some(0));
        assert!(collector.posts().is_empty(), "{env:?}");
    }
}

#[tokio::test]
async fn what_is_not_sampled_is_not_exported_but_continued() {
    let collector = Collector::start(200).await;
    let off = ("OTEL_TRACES_SAMPLER", "parentbased_always_off");
    let fake = exporting(with(collector.variables(), &[off])).await;
    let mut client = fake.streamable().await;
    client
        .request("tools/call", &echo(&json!({"n": "unseen"}), &json!({})))
        .await;
    let line = fake.recorded("unseen").await;
    let (_, told) = line.split_once(r#""traceparent":""#).unwrap();
    assert_eq!(&told[52..56], "-00\"", "{line}");
    let meta = json!({"traceparent": PARENT});
    client.request("tools/call", &echo(&json!({}), &meta)).await;
    collector.span("tools/call echo").await;
    assert_eq!(collector.spans().len(), 1);
}

#[tokio::test]
async fn a_collector_that_refuses_is_said_once_and_what_it_missed_is_counted() {
    let collector = Collector::start(400).await;
    let fake = exporting(collector.variables()).await;
    let mut client = fake.streamable().await;
    for n in 1..4 {
        client.call("echo", &json!({})).await;
        until("another export", async || {
            (collector.posts().len() >= n).then_some(())
        })
        .await;
    }
    collector.answer_with(200);
    let told = until("the recovery", async || {
        client.call("echo", &json!({})).await;
        let log = fake.log();
        log.contains("exported again").then_some(log)
    })
    .await;
    assert_eq!(told.matches("failed to export traces").count(), 1, "{told}");
    assert!(told.contains("400 Bad Request"), "{told}");
    let text = fake.metrics("fake").await;
    let lost = text
        .lines()
        .find_map(|line| line.strip_prefix("mcp_bridged_spans_dropped_total "));
    assert!(lost.unwrap().parse::<u64>().unwrap() >= 3, "{lost:?}");
}

#[tokio::test]
async fn a_batch_that_meets_an_overload_is_sent_again() {
    let collector = Collector::start(503).await;
    let fake = exporting(collector.variables()).await;
    let mut client = fake.streamable().await;
    client.call("echo", &json!({})).await;
    until("the first attempt", async || {
        collector.posts().first().cloned()
    })
    .await;
    collector.answer_with(200);
    collector.span("tools/call echo").await;
    let text = fake.metrics("fake").await;
    assert!(
        text.contains("mcp_bridged_spans_dropped_total 0\n"),
        "{text}"
    );
}

#[tokio::test]
async fn a_collector_that_is_away_or_silent_holds_nobody_up() {
    let silent = Collector::start(0).await;
    let away = (
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "http://127.0.0.1:9/v1/traces",
    );
    for (env, queue) in [
        (with(silent.variables(), &[]), 2048_u64),
        (
            with(silent.variables(), &[("OTEL_BSP_MAX_QUEUE_SIZE", "8")]),
            8,
        ),
        (with(silent.variables(), &[away]), 2048),
    ] {
        let mut fake = exporting(env).await;
        let mut client = fake.sse().await;
        for _ in 0..40 {
            let answer = client.call("echo", &json!({})).await;
            assert!(answer["result"].is_object(), "{answer}");
        }
        if queue < 40 {
            let text = fake.metrics("fake").await;
            assert!(
                !text.contains("mcp_bridged_spans_dropped_total 0\n"),
                "{text}"
            );
        }
        drop(client);
        let stopping = Instant::now();
        assert_eq!(fake.stop().await, Some(0));
        let took = stopping.elapsed();
        assert!(took < Duration::from_secs(12), "{took:?}");
    }
}

#[tokio::test]
async fn what_is_queued_goes_out_at_the_end() {
    let collector = Collector::start(200).await;
    let slowly = ("OTEL_BSP_SCHEDULE_DELAY", "3600000");
    let mut fake = exporting(with(collector.variables(), &[slowly])).await;
    let mut client = fake.streamable().await;
    client.call("echo", &json!({})).await;
    assert!(collector.posts().is_empty());
    drop(client);
    assert_eq!(fake.stop().await, Some(0));
    let names: Vec<_> = collector
        .spans()
        .into_iter()
        .map(|span| span.name)
        .collect();
    // the program itself has listed the tools
    let clients: Vec<_> = names.iter().filter(|name| *name != "tools/list").collect();
    assert_eq!(clients, ["initialize", "tools/call echo"]);
}

#[tokio::test]
async fn a_server_of_the_other_era_is_told_in_its_words() {
    let collector = Collector::start(200).await;
    let config = fake::config("isolation: shared", &["--modern"]);
    let fake = Fake::launch(Launch {
        config,
        env: collector.variables(),
        ..Launch::default()
    })
    .await;
    fake.ready().await;
    let mut client = fake.streamable().await;
    let meta = json!({"traceparent": PARENT});
    let answer = client
        .request("tools/call", &echo(&json!({"n": "found"}), &meta))
        .await;
    let span = collector.span("tools/call echo").await;
    let told = &answer["result"]["params"]["_meta"];
    assert_eq!(told["traceparent"], traceparent(&span), "{answer}");
    assert!(told["io.modelcontextprotocol/protocolVersion"].is_string());
}
