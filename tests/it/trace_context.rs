//! `traceparent` and `tracestate` of HTTP are continued into `params._meta`, over every transport, and nothing else changes.

use serde_json::json;

use crate::harness::http::exchange;
use crate::harness::{Fake, Request, Sse, Stateless, fake, until};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OTHER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The line that the server read for the request of this method, with the id in it as `K`.
async fn received(fake: &Fake, method: &str) -> String {
    let line = fake.recorded(&format!("\"{method}\"")).await;
    let (before, after) = line.split_once("\"id\":").unwrap();
    let after = after.trim_start_matches(|c: char| c.is_ascii_digit());
    format!("{before}\"id\":K{after}")
}

fn headers(request: Request) -> Request {
    request
        .header("traceparent", PARENT)
        .header("tracestate", "a=1")
}

#[tokio::test]
async fn a_header_is_continued_into_a_request_that_says_nothing_itself() {
    let fake = fake::fake("isolation: shared", &[]).await;
    fake.ready().await;
    let client = fake.streamable().await;
    for (method, sent, got) in [
        (
            "test/bare",
            r#"{"jsonrpc":"2.0","id":1,"method":"test/bare"}"#,
            r#"{"jsonrpc":"2.0","id":K,"method":"test/bare","params":{"_meta":{"traceparent":"P","tracestate":"a=1"}}}"#,
        ),
        (
            "test/params",
            r#"{"params":{"n":1e400, "s":"\ud800"},"jsonrpc":"2.0","id":1,"method":"test/params"}"#,
            r#"{"params":{"_meta":{"traceparent":"P","tracestate":"a=1"},"n":1e400, "s":"\ud800"},"jsonrpc":"2.0","id":K,"method":"test/params"}"#,
        ),
        (
            "test/meta",
            r#"{"jsonrpc":"2.0","id":1,"method":"test/meta","params":{"_meta":{"v":1.0}}}"#,
            r#"{"jsonrpc":"2.0","id":K,"method":"test/meta","params":{"_meta":{"traceparent":"P","tracestate":"a=1","v":1.0}}}"#,
        ),
        (
            "test/own",
            r#"{"jsonrpc":"2.0","id":1,"method":"test/own","params":{"_meta":{"traceparent":"O"}}}"#,
            r#"{"jsonrpc":"2.0","id":K,"method":"test/own","params":{"_meta":{"traceparent":"O"}}}"#,
        ),
        (
            "test/list",
            r#"{"jsonrpc":"2.0","id":1,"method":"test/list","params":[1]}"#,
            r#"{"jsonrpc":"2.0","id":K,"method":"test/list","params":[1]}"#,
        ),
    ] {
        let request = client.prepare(Request::post(
            "/mcp",
            sent.replace("\"O\"", &json!(OTHER).to_string()),
        ));
        let response = exchange(fake.addr(), headers(request)).await;
        assert_eq!(response.status(), 200, "{}", response.text());
        let got = got.replace("\"O\"", &json!(OTHER).to_string());
        let got = got.replace("\"P\"", &json!(PARENT).to_string());
        assert_eq!(received(&fake, method).await, format!("{got}\n"));
    }
}

#[tokio::test]
async fn headers_that_are_not_valid_change_nothing() {
    let fake = fake::fake("isolation: shared", &[]).await;
    fake.ready().await;
    let client = fake.streamable().await;
    let upper = PARENT.to_uppercase();
    for (n, parent) in ["", "00-1-2-01", &upper].into_iter().enumerate() {
        let method = format!("test/{n}");
        let sent = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#);
        let request = client.prepare(Request::post("/mcp", sent.clone()));
        let request = headers(request).header("traceparent", parent);
        exchange(fake.addr(), request).await;
        let want = sent.replace("\"id\":1", "\"id\":K");
        assert_eq!(received(&fake, &method).await, format!("{want}\n"));
    }
}

#[tokio::test]
async fn a_header_is_continued_over_sse_and_by_the_stateless_revision() {
    let fake = fake::fake("isolation: shared", &[]).await;
    fake.ready().await;
    let mut sse = Sse::connect_with(fake.addr(), "/sse", &[("traceparent", PARENT)]).await;
    sse.initialize(&json!({})).await;
    sse.call("echo", &json!({"by": "sse"})).await;
    let mut stateless = Stateless::new(fake.addr(), &json!({}));
    stateless.headers = vec![("traceparent".to_owned(), PARENT.to_owned())];
    stateless.call("echo", &json!({"by": "stateless"})).await;
    for by in ["sse", "stateless"] {
        let line = fake.recorded(&format!("{{\"by\":\"{by}\"}}")).await;
        let meta = format!(r#""_meta":{{"traceparent":"{PARENT}"}}"#);
        assert!(line.contains(&meta), "{line}");
    }
    // what a client says beside its requests stays as it is
    sse.notify("notifications/vendor", &json!({})).await;
    let line = fake.recorded("notifications/vendor").await;
    assert!(!line.contains("traceparent"), "{line}");
}

#[tokio::test]
async fn a_header_is_continued_through_the_gateway() {
    let config = format!(
        "gateway: {{ port: 0 }}\n{}",
        fake::config("isolation: shared", &[])
    );
    let fake = Fake::launch(crate::harness::Launch {
        config,
        ..Default::default()
    })
    .await;
    fake.ready().await;
    let mut client = crate::harness::Streamable::new(fake.gateway());
    client.headers = vec![("traceparent".to_owned(), PARENT.to_owned())];
    client.initialize("2025-11-25", &json!({})).await;
    until("the tool at the gateway", async || {
        let answer = client.call("fake-echo", &json!({"by": "gateway"})).await;
        answer["result"].is_object().then_some(())
    })
    .await;
    let line = fake.recorded("{\"by\":\"gateway\"}").await;
    assert!(line.contains(PARENT), "{line}");
}
