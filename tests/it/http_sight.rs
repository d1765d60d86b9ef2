//! What can be seen of a bridge over HTTP and in its log: tools, health, metrics, and the life of each request.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use crate::harness::sse::Events;
use crate::harness::{Connection, Fake, Launch, Request, fake, http, until};

/// Samples by name and labels. Panics where the text is not what Prometheus reads.
fn samples(text: &str) -> HashMap<String, f64> {
    let mut samples = HashMap::new();
    let mut families = HashSet::new();
    let mut family = "";
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            if let Some(declared) = comment.strip_prefix("TYPE ") {
                let (name, kind) = declared.split_once(' ').unwrap();
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(families.insert(name), "twice: {line}");
                family = name;
            } else {
                let known = ["HELP ", "UNIT ", "EOF"]
                    .iter()
                    .any(|word| comment.starts_with(word));
                assert!(known, "{line}");
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(series.starts_with(family), "{line} below {family}");
        let name = series.split('{').next().unwrap();
        assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'),
            "{line}"
        );
        if name.len() < series.len() {
            assert!(series.ends_with("\"}"), "{line}");
        }
        let value = value.parse().unwrap();
        assert_eq!(
            samples.insert(series.to_owned(), value),
            None,
            "twice: {line}"
        );
    }
    samples
}

async fn metrics(fake: &Fake) -> HashMap<String, f64> {
    samples(&fake.metrics("fake").await)
}

#[tokio::test]
async fn the_catalogue_is_a_stream_of_tools_or_one_object() {
    let fake = fake::fake(
        "tools: { allow: ['tool_*', echo], deny: [tool_1] }",
        &["--tools", "12", "--page", "5"],
    )
    .await;
    fake.ready().await;
    let mut connection = Connection::open(fake.addr()).await;
    let head = connection.request(&Request::get("/mcp/tools")).await;
    assert_eq!(
        (head.status, head.content_type()),
        (200, "text/event-stream")
    );
    let mut events = Events::new(connection);
    let mut names = Vec::new();
    loop {
        let event = events.next().await;
        if event.event.as_deref() == Some("done") {
            assert_eq!(event.json()["count"], names.len());
            break;
        }
        assert_eq!(event.raw.lines().count(), 1, "{event:?}");
        let tool = event.json();
        assert!(
            tool["inputSchema"].is_object() && tool["annotations"].is_object(),
            "{tool}"
        );
        names.push(tool["name"].as_str().unwrap().to_owned());
    }
    let mut expected = vec!["echo".to_owned()];
    expected.extend((0..12).filter(|n| *n != 1).map(|n| format!("tool_{n}")));
    assert_eq!(names, expected, "all pages, in the server's order");

    let request = Request::get("/mcp/tools").header("accept", "application/json");
    let response = http::exchange(fake.addr(), request).await;
    assert_eq!(response.header("content-type"), Some("application/json"));
    let tools = response.json()["tools"].clone();
    let listed: Vec<_> = tools
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].clone())
        .collect();
    assert_eq!(json!(listed), json!(expected));
    let after = metrics(&fake).await;
    assert_eq!(
        after["mcp_bridged_sessions{bridge=\"fake\",transport=\"streamable\"}"],
        0.0
    );
}

#[tokio::test]
async fn metrics_are_prometheus_text_and_count_what_happened() {
    let fake = fake::fake("isolation: shared", &[]).await;
    fake.ready().await;
    let before = metrics(&fake).await;
    let mut sse = fake.sse().await;
    let mut streamable = fake.streamable().await;
    for _ in 0..3 {
        sse.call("echo", &json!({})).await;
        streamable.call("echo", &json!({})).await;
    }
    streamable.call("fail", &json!({})).await;
    streamable.request("made/up", &json!({})).await;
    sse.post("nonsense").await;
    http::exchange(
        fake.addr(),
        Request::get("/health").header("host", "evil.example"),
    )
    .await;
    http::exchange(
        fake.addr(),
        Request::get("/health").header("origin", "http://evil.example"),
    )
    .await;
    let response = fake.get("fake", "/metrics").await;
    let kind = response.header("content-type").unwrap();
    assert!(
        kind.contains("text/plain") || kind.contains("openmetrics-text"),
        "{kind}"
    );
    let after = samples(&response.text());
    for (series, grown) in [
        (
            "calls_total{bridge=\"fake\",method=\"tools/call\",outcome=\"ok\"}",
            6.0,
        ),
        (
            "calls_total{bridge=\"fake\",method=\"tools/call\",outcome=\"error\"}",
            1.0,
        ),
        (
            "calls_total{bridge=\"fake\",method=\"initialize\",outcome=\"ok\"}",
            2.0,
        ),
        (
            "calls_total{bridge=\"fake\",method=\"other\",outcome=\"error\"}",
            1.0,
        ),
        (
            "call_duration_seconds_count{bridge=\"fake\",method=\"tools/call\"}",
            7.0,
        ),
        ("refused_total{bridge=\"fake\",reason=\"malformed\"}", 1.0),
        ("refused_total{bridge=\"fake\",reason=\"host\"}", 1.0),
        ("refused_total{bridge=\"fake\",reason=\"origin\"}", 1.0),
        ("sessions{bridge=\"fake\",transport=\"sse\"}", 1.0),
        ("sessions{bridge=\"fake\",transport=\"streamable\"}", 1.0),
        ("instances{bridge=\"fake\",state=\"ready\"}", 0.0),
        ("restarts_total{bridge=\"fake\"}", 0.0),
    ] {
        let series = format!("mcp_bridged_{series}");
        let earlier = before.get(&series).copied().unwrap_or(0.0);
        assert_eq!(
            after.get(&series).copied().unwrap_or(0.0) - earlier,
            grown,
            "{series}"
        );
    }
    assert_eq!(
        after["mcp_bridged_instances{bridge=\"fake\",state=\"ready\"}"],
        1.0
    );
    assert_eq!(after["mcp_bridged_up{bridge=\"fake\"}"], 1.0);
    for bytes in ["stdin", "stdout"] {
        let series = format!("mcp_bridged_{bytes}_bytes_total{{bridge=\"fake\"}}");
        assert!(after[&series] > before[&series], "{series}");
    }
    assert!(
        !response.text().contains("made/up"),
        "clients make no labels"
    );
    let admin = http::exchange(fake.admin(), Request::get("/metrics"))
        .await
        .text();
    assert_eq!(
        samples(&admin)["mcp_bridged_sessions{bridge=\"fake\",transport=\"sse\"}"],
        1.0
    );
    drop(sse);
    until("no session over SSE", async || {
        let now = metrics(&fake).await;
        (now["mcp_bridged_sessions{bridge=\"fake\",transport=\"sse\"}"] == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn health_says_how_the_server_is() {
    let hold = "{dir}/go";
    let fake = fake::fake("isolation: shared", &["--init-hold", hold]).await;
    for path in ["/health", "/ready"] {
        let response = fake.get("fake", path).await;
        assert_eq!(
            response.status(),
            503,
            "never 200 before initialize is answered"
        );
        assert!(response.header("retry-after").is_some());
        assert_eq!(response.json()["state"], "starting");
    }
    assert_eq!(fake.get("fake", "/live").await.status(), 200);
    let tools = fake.get("fake", "/live").await;
    assert_eq!(tools.header("cache-control"), Some("no-store"));
    std::fs::write(fake.path("go"), "").unwrap();
    let body = fake.ready().await;
    for (key, value) in [
        ("bridge", json!("fake")),
        ("state", json!("ready")),
        ("generation", json!(1)),
        ("restarts", json!(0)),
        ("last_exit", Value::Null),
        ("next_start_ms", Value::Null),
    ] {
        assert_eq!(body[key], value, "{key}");
    }
    assert!(body["since_ms"].is_u64(), "{body}");
    let mut client = fake.sse().await;
    client
        .start(
            "tools/call",
            &json!({"name": "crash", "arguments": {"code": 3}}),
        )
        .await;
    let body = until("the second generation", async || {
        let (status, body) = fake.health("fake").await;
        (status == 200 && body["generation"] == 2).then_some(body)
    })
    .await;
    assert_eq!(
        (&body["restarts"], &body["last_exit"]["code"]),
        (&json!(1), &json!(3)),
        "{body}"
    );
}

#[tokio::test]
async fn each_request_has_a_span_with_its_facts_at_debug_level() {
    let config = fake::config("isolation: shared", &[]);
    let fake = Fake::launch(Launch {
        config: format!("log: {{ level: debug, format: json }}\n{config}"),
        ..Launch::default()
    })
    .await;
    fake.ready().await;
    let mut client = fake.streamable().await;
    client.call("echo", &json!({})).await;
    client.request("ping", &json!({})).await;
    let id = client.session.clone().unwrap();
    let span = |log: &str, method: &str| {
        log.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .map(|line| line["span"].clone())
            .find(|span| span["name"] == "request" && span["method"] == method)
    };
    let ping = until("the ping in the log", async || span(&fake.log(), "ping")).await;
    let call = span(&fake.log(), "tools/call").unwrap();
    assert_eq!(
        (&call["bridge"], &call["outcome"]),
        (&json!("fake"), &json!("ok"))
    );
    assert!(call["k"].is_u64() && call["session"].is_u64(), "{call}");
    assert!(call["duration"].is_string(), "{call}");
    assert_eq!(ping["session"], call["session"]);
    assert!(span(&fake.log(), "initialize").is_some());
    // the log tells sessions apart, but nobody can use it to enter one
    assert!(
        fake.log().contains(&id[..8]),
        "its beginning stands where it opens"
    );
    assert!(!fake.log().contains(&id));
}

#[tokio::test]
async fn requests_leave_nothing_in_the_log_by_default() {
    let fake = fake::fake("isolation: shared", &[]).await;
    fake.ready().await;
    let before = fake.log().lines().count();
    let mut client = fake.sse().await;
    client
        .call("echo", &json!({"token": "a-secret-of-the-client"}))
        .await;
    client.call("fail", &json!({})).await;
    drop(client);
    fake.get("fake", "/nowhere").await;
    let quiet = fake.log();
    assert!(!quiet.contains("a-secret-of-the-client"));
    assert!(
        quiet.lines().count() <= before + 4,
        "the table of bridges at most: {quiet}"
    );
}
