//! HTTP+SSE (2024-11-05) on the wire, as LiteLLM and the SDKs speak it.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::sse::Frame;
use crate::harness::{Connection, Fake, Request, Sse, fake, http, until};

async fn shared() -> Fake {
    let fake = fake::fake("isolation: shared", &[]).await;
    fake.ready().await;
    fake
}

/// The status of `GET path` with these headers, and its stream's first event if it has one.
async fn endpoint(fake: &Fake, path: &str, headers: &[(&str, &str)]) -> String {
    let client = Sse::connect_with(fake.addr(), path, headers).await;
    client.endpoint
}

#[tokio::test]
async fn the_first_event_names_a_path_on_the_same_origin() {
    let fake = shared().await;
    for (headers, prefix) in [
        (&[][..], ""),
        (&[("x-forwarded-prefix", "/db")], "/db"),
        (&[("x-forwarded-prefix", "/a/b/")], "/a/b"),
        (&[("x-forwarded-prefix", "//evil.example")], ""),
        (&[("x-forwarded-prefix", "https://evil.example")], ""),
        (&[("x-forwarded-host", "evil.example")], ""),
    ] {
        let path = endpoint(&fake, "/sse", headers).await;
        let rest = path.strip_prefix(prefix).unwrap();
        let id = rest.strip_prefix("/messages?session_id=").unwrap();
        assert_eq!(id.len(), 32, "{path}");
        assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{path}");
    }
    let one = endpoint(&fake, "/sse", &[]).await;
    assert_ne!(one, endpoint(&fake, "/sse", &[]).await);

    let behind = fake::fake("public_url: https://example.org/mcp/db/", &[]).await;
    let path = endpoint(&behind, "/sse", &[("x-forwarded-prefix", "/other")]).await;
    assert!(path.starts_with("/mcp/db/messages?session_id="), "{path}");
}

#[tokio::test]
async fn a_stream_is_not_to_be_buffered() {
    let fake = shared().await;
    let mut client = fake.sse().await;
    for (name, value) in [
        ("x-accel-buffering", "no"),
        ("content-type", "text/event-stream"),
    ] {
        assert_eq!(client.head.header(name), Some(value));
    }
    let control = client.head.header("cache-control").unwrap();
    assert!(control.contains("no-cache"), "{control}");
    let response = client
        .post(r#"{"jsonrpc":"2.0","id":"x","method":"ping"}"#)
        .await;
    assert_eq!(
        (response.status(), response.text().as_str()),
        (202, "Accepted")
    );
    let event = client.events().next().await;
    assert_eq!(event.event.as_deref(), Some("message"));
    assert_eq!(event.id, None, "nobody can resume this transport");
    assert_eq!(event.data, r#"{"jsonrpc":"2.0","id":"x","result":{}}"#);
}

#[tokio::test]
async fn a_bare_url_is_a_stream_for_those_who_name_it() {
    let fake = shared().await;
    let mut client = Sse::connect_with(fake.addr(), "/", &[]).await;
    client.initialize(&json!({})).await;
    client.call("echo", &json!({})).await;
    for accept in [
        None,
        Some("*/*"),
        Some("text/html"),
        Some("application/json"),
    ] {
        let mut request = Request::get("/");
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        let response = http::exchange(fake.addr(), request).await;
        assert_eq!(response.status(), 404, "{accept:?}");
    }
    let mut connection = Connection::open(fake.addr()).await;
    let head = connection.request(&Request::get("/sse")).await;
    assert_eq!(head.status, 200, "the path alone says what is wanted");
}

#[tokio::test]
async fn a_post_needs_an_open_session_of_this_transport() {
    let fake = shared().await;
    let sse = fake.sse().await;
    let streamable = fake.streamable().await;
    let zeros = "0".repeat(32);
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    for (path, status) in [
        (sse.endpoint.clone(), 202),
        (format!("/messages?session_id={zeros}"), 404),
        ("/messages?session_id=x".to_owned(), 404),
        (
            format!(
                "/messages?session_id={}",
                streamable.session.as_ref().unwrap()
            ),
            404,
        ),
        ("/messages".to_owned(), 400),
    ] {
        let response = http::exchange(fake.addr(), Request::post(&path, ping)).await;
        assert_eq!(response.status(), status, "{path}");
    }
    let id = sse.endpoint.split('=').nth(1).unwrap();
    let crossed = Request::post("/mcp", ping).header("mcp-session-id", id);
    assert_eq!(http::exchange(fake.addr(), crossed).await.status(), 404);
    let form = Request::post(&sse.endpoint, ping).header("content-type", "text/plain");
    assert_eq!(http::exchange(fake.addr(), form).await.status(), 415);
}

#[tokio::test]
async fn a_session_ends_with_its_stream_and_takes_its_calls_along() {
    let fake = shared().await;
    let mut client = fake.sse().await;
    let endpoint = client.endpoint.clone();
    client
        .start(
            "tools/call",
            &json!({"name": "hold", "arguments": {"key": "a"}}),
        )
        .await;
    client
        .start(
            "tools/call",
            &json!({"name": "hold", "arguments": {"key": "b"}}),
        )
        .await;
    fake.recorded("\"b\"").await;
    drop(client);
    fake.journaled("cancelled", 2).await;
    let post = Request::post(&endpoint, r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    assert_eq!(http::exchange(fake.addr(), post).await.status(), 404);
    until("no session", async || {
        let metrics = fake.metrics("fake").await;
        metrics
            .contains("mcp_bridged_sessions{bridge=\"fake\",transport=\"sse\"} 0")
            .then_some(())
    })
    .await;
    assert_eq!(fake.pids().len(), 1);
}

#[tokio::test]
async fn two_hundred_operations_in_sessions_of_their_own_leave_the_server_alone() {
    let fake = shared().await;
    let pid = fake.ready().await["generation"].clone();
    let meta = json!({"name": "echo", "arguments": {}, "_meta": {"progressToken": 1}});
    for _ in 0..200 {
        let mut client = Sse::connect(fake.addr()).await;
        // ids from 0 every time, as LiteLLM has them
        assert_eq!(client.initialize(&json!({})).await["id"], 0);
        let answer = client.request("tools/call", &meta).await;
        assert_eq!(answer["id"], 1);
        assert_eq!(answer["result"]["params"]["name"], "echo");
        assert_eq!(client.seen().len(), 0, "nothing that was not asked for");
    }
    assert_eq!(fake.ready().await["generation"], pid);
    assert_eq!(fake.pids().len(), 1);
    assert_eq!(fake.events("cancelled").len(), 0, "every call was over");
    let starts = fake.record();
    let count = |text: &str| starts.iter().filter(|line| line.contains(text)).count();
    assert_eq!(count("\"initialize\""), 1);
    assert_eq!(count("\"tools/call\""), 200);
    until("no session", async || {
        let metrics = fake.metrics("fake").await;
        metrics.contains("transport=\"sse\"} 0\n").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_session_is_left_alone_for_a_while_after_its_last_answer() {
    let fake = shared().await;
    let mut client = fake.sse().await;
    let before = Instant::now();
    client
        .call("list_changed", &json!({"n": 20, "add": "new"}))
        .await;
    let told = client.next().await;
    assert_eq!(told["method"], "notifications/tools/list_changed");
    assert!(
        before.elapsed() >= Duration::from_millis(250),
        "{:?}",
        before.elapsed()
    );

    // the same for what this session alone has asked for
    client
        .request("resources/subscribe", &json!({"uri": "fake://a"}))
        .await;
    let updated = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"fake://a"}}"#;
    let before = Instant::now();
    client.call("emit", &json!({"after": [updated]})).await;
    assert_eq!(
        client.next().await["method"],
        "notifications/resources/updated"
    );
    assert!(
        before.elapsed() >= Duration::from_millis(250),
        "{:?}",
        before.elapsed()
    );
    client.request("ping", &json!({})).await;
    assert_eq!(client.seen().len(), 0, "twenty changes were told as one");
}

#[tokio::test]
async fn a_message_is_one_data_line_of_the_servers_own_bytes() {
    let fake = shared().await;
    let mut client = fake.sse().await;
    for result in [
        "{\"text\":\"a\u{2028}b\u{2029}c\u{85}d\"}",
        r#"{"text":"\u2028 \n \r\n \ud800 \/"}"#,
        r#"{"n":[12345678901234567890,1.0,1e400,-0,1E+2,0.10000000000000000000001]}"#,
        r#"{ "b" : 1 , "a":2,"b2":{"a":[ ]} }"#,
        r#"{"a":1,"a":2}"#,
        "{\"data: x\":\"event: y\",\"id: 3\":\":\"}",
    ] {
        let line = format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{result}}}"#);
        let arguments = json!({"lines": [line], "answer": false});
        let id = client
            .start(
                "tools/call",
                &json!({"name": "emit", "arguments": arguments}),
            )
            .await;
        let event = client.events().next().await;
        let whole = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
        assert_eq!(event.raw, format!("event: message\ndata: {whole}"));
    }
    // line ends between tokens, from both sides
    let line = "{\"jsonrpc\":\"2.0\",\r\"id\":$ID,\r\"result\":{\r}}";
    let arguments = json!({"lines": [line], "answer": false});
    let id = client
        .start(
            "tools/call",
            &json!({"name": "emit", "arguments": arguments}),
        )
        .await;
    let data = client.events().next().await.data;
    assert_eq!(
        data,
        format!("{{\"jsonrpc\":\"2.0\", \"id\":{id}, \"result\":{{ }}}}")
    );
    let body = "{\r\n  \"jsonrpc\": \"2.0\",\n\t\"id\": 1.0,\r\"method\": \"tools/call\",\"params\":{\"name\":\"echo\",\"arguments\":{\"n\":1e400,\n\"s\":\"\u{2028}\\ud800\"}}\n}\n";
    assert_eq!(client.post(body).await.status(), 202);
    let event = client.events().next().await;
    assert!(event.data.contains("\"id\":1.0,"), "{}", event.data);
    assert_eq!(event.raw.matches("\ndata:").count(), 1);
    let line = fake.recorded("\"arguments\":{\"n\":1e400").await;
    assert!(
        line.contains("\"arguments\":{\"n\":1e400, \"s\":\"\u{2028}\\ud800\"}}"),
        "{line}"
    );
    assert_eq!(line.matches(['\r', '\n']).count(), 1, "{line:?}");
}

#[tokio::test]
async fn a_batch_is_taken_from_those_who_have_batches() {
    let fake = shared().await;
    let mut client = fake.sse().await;
    let ping = r#"[{"jsonrpc":"2.0","id":7,"method":"ping"}]"#;
    assert_eq!(client.post(ping).await.status(), 400);
    client.request("ping", &json!({})).await;
}

#[tokio::test]
async fn a_stream_carries_nothing_but_what_belongs_to_it() {
    let fake = shared().await;
    let (mut one, mut two) = (fake.sse().await, fake.sse().await);
    let call = json!({"name": "progress", "arguments": {"n": 3}, "_meta": {"progressToken": "t"}});
    let (first, second) = tokio::join!(
        one.request("tools/call", &call),
        two.request("tools/call", &call)
    );
    assert_eq!(first["id"], second["id"], "equal ids, different answers");
    assert_eq!((one.seen().len(), two.seen().len()), (3, 3));
    one.call("log", &json!({"n": 5})).await;
    assert_eq!(one.seen().len(), 0, "no log lines without logging/setLevel");
    one.request("logging/setLevel", &json!({"level": "info"}))
        .await;
    one.call("log", &json!({"n": 5})).await;
    assert_eq!(one.seen().len(), 5);
    two.request("ping", &json!({})).await;
    assert_eq!(two.seen().len(), 0);
}

#[tokio::test]
async fn a_stop_ends_the_streams_properly() {
    let mut fake = shared().await;
    let mut client = fake.sse().await;
    assert_eq!(fake.stop().await, Some(0));
    while let Some(frame) = client.events().frame().await {
        assert!(matches!(frame, Frame::Comment(_)), "{frame:?}");
    }
}
