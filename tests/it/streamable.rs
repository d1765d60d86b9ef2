//! Streamable HTTP on the wire, revision by revision.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::sse::initialize_params;
use crate::harness::{Fake, Reply, Request, Streamable, fake, http};

/// The revisions that have this transport.
const REVISIONS: [&str; 3] = ["2025-03-26", "2025-06-18", "2025-11-25"];

async fn shared() -> Fake {
    let fake = fake::fake("isolation: shared", &[]).await;
    fake.ready().await;
    fake
}

async fn session(fake: &Fake, version: &str) -> Streamable {
    let mut client = Streamable::new(fake.addr());
    client.initialize(version, &json!({"roots": {}})).await;
    assert_eq!(client.version, version);
    client
}

fn request(id: impl Into<Value>, tool: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "method": "tools/call", "params": {"name": tool, "arguments": {}}})
}

fn ids(batch: &Value) -> Vec<String> {
    let mut ids: Vec<_> = batch
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].to_string())
        .collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn a_session_goes_from_initialize_to_delete() {
    let fake = shared().await;
    for version in REVISIONS {
        let client = session(&fake, version).await;
        let id = client.session.clone().unwrap();
        assert!(
            id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_graphic()),
            "{id}"
        );
        let response = client.post(request("a", "echo").to_string()).await.whole();
        assert_eq!(response.header("content-type"), Some("application/json"));
        assert_eq!(response.json()["id"], "a");
        let cancelled =
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":77}}"#;
        for message in [cancelled, r#"{"jsonrpc":"2.0","id":5,"result":{}}"#] {
            let response = client.post(message).await.whole();
            assert_eq!((response.status(), response.text().as_str()), (202, ""));
        }
        assert_eq!(client.delete().await.status(), 204);
        assert_eq!(
            client.post(request(1, "echo").to_string()).await.status(),
            404
        );
        assert_eq!(client.get(None).await.0.status, 404);
        assert_eq!(client.delete().await.status(), 404);
    }
    assert_eq!(fake.pids().len(), 1);
}

#[tokio::test]
async fn a_session_must_be_named_and_known() {
    let fake = shared().await;
    let client = session(&fake, "2025-06-18").await;
    let call = request(1, "echo").to_string();
    let mut nameless = client.clone();
    nameless.session = None;
    assert_eq!(nameless.post(call.clone()).await.status(), 400);
    assert_eq!(nameless.get(None).await.0.status, 400);
    assert_eq!(nameless.delete().await.status(), 400);
    for unknown in [
        "0".repeat(32),
        "x".to_owned(),
        client.session.clone().unwrap().to_uppercase() + "0",
    ] {
        let mut stranger = client.clone();
        stranger.session = Some(unknown);
        let response = stranger.post(call.clone()).await.whole();
        assert_eq!(response.status(), 404);
        assert_eq!(response.json()["jsonrpc"], "2.0", "{}", response.text());
        let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": initialize_params("2025-06-18", &json!({}))});
        assert_eq!(stranger.post(initialize.to_string()).await.status(), 404);
    }
    // a second initialize in an open session changes nothing
    let again = json!({"jsonrpc": "2.0", "id": 9, "method": "initialize", "params": initialize_params("2025-03-26", &json!({}))});
    let response = client.post(again.to_string()).await.whole();
    assert_eq!(
        (response.status(), &response.json()["id"]),
        (400, &json!(9))
    );
    assert_eq!(client.post(call).await.status(), 200);
    // a failed one opens no session
    let broken = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}});
    let response = nameless.post(broken.to_string()).await.whole();
    assert!(response.json()["error"].is_object(), "{}", response.text());
    assert_eq!(response.header("mcp-session-id"), None);
}

#[tokio::test]
async fn the_version_header_is_checked_where_it_is_sent() {
    let fake = shared().await;
    let client = session(&fake, "2025-06-18").await;
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    for (version, status) in [
        (None, 200),
        (Some("2025-03-26"), 200),
        (Some("2025-06-18"), 200),
        (Some("2025-11-25"), 200),
        (Some("1999-01-01"), 400),
        (Some("2026-07-28"), 400),
        (Some("latest"), 400),
        (Some(""), 400),
    ] {
        for request in [Request::post("/mcp", ping), Request::new("DELETE", "/mcp")] {
            let mut request = client.prepare(request).without("mcp-protocol-version");
            if let Some(version) = version {
                request = request.header("mcp-protocol-version", version);
            }
            let is_delete = format!("{request:?}").contains("DELETE");
            if is_delete && status == 200 {
                continue;
            }
            let response = http::exchange(fake.addr(), request).await;
            // clients of the stateless revision have no session to end
            let stateless = is_delete && version == Some("2026-07-28");
            let status = if stateless { 405 } else { status };
            assert_eq!(response.status(), status, "{version:?} {}", response.text());
        }
    }
    let mut asked = Streamable::new(fake.addr());
    asked.initialize("2099-01-01", &json!({})).await;
    assert_eq!(
        asked.version, "2025-11-25",
        "the newest is offered to those who ask for more"
    );
}

#[tokio::test]
async fn an_answer_is_json_unless_something_comes_before_it() {
    let fake = shared().await;
    for version in REVISIONS {
        let mut client = session(&fake, version).await;
        let call =
            json!({"name": "progress", "arguments": {"n": 2}, "_meta": {"progressToken": "p"}});
        let (id, reply) = client.start("tools/call", &call).await;
        assert_eq!(reply.head().header("x-accel-buffering"), Some("no"));
        let mut events = reply.stream();
        let mut first = events.next().await;
        assert_eq!(
            first.data.is_empty(),
            version == "2025-11-25",
            "priming is of 2025-11-25: {first:?}"
        );
        if first.data.is_empty() {
            assert!(first.id.is_some());
            assert_eq!(first.retry.as_deref(), Some("1000"));
            first = events.next().await;
        }
        assert_eq!(first.json()["params"]["progressToken"], "p");
        assert_eq!(events.next().await.json()["params"]["progress"], 2);
        assert_eq!(events.next().await.json()["id"], id);
        events.ended().await;

        // a request of the server, answered by a POST of its own
        let (id, reply) = client
            .start(
                "tools/call",
                &json!({"name": "ask", "arguments": {"method": "roots/list"}}),
            )
            .await;
        let mut events = reply.stream();
        let ask = events.message().await;
        assert_eq!(ask["method"], "roots/list");
        client.send(&json!({"jsonrpc": "2.0", "id": ask["id"], "result": {"roots": [{"uri": "file:///x"}]}})).await;
        let answer = events.message().await;
        assert_eq!(answer["id"], id);
        assert!(answer.to_string().contains("file:///x"), "{answer}");
        events.ended().await;

        let (_, reply) = client
            .start(
                "tools/call",
                &json!({"name": "fail", "arguments": {"code": -32050}}),
            )
            .await;
        let error = reply.whole();
        assert_eq!(
            (error.status(), &error.json()["error"]["code"]),
            (200, &json!(-32050))
        );
    }
}

#[tokio::test]
async fn batches_belong_to_one_revision() {
    let fake = shared().await;
    for version in ["2025-06-18", "2025-11-25"] {
        let client = session(&fake, version).await;
        let response = client
            .post(json!([request(1, "echo")]).to_string())
            .await
            .whole();
        assert_eq!(
            (response.status(), &response.json()["error"]["code"]),
            (400, &json!(-32600))
        );
    }
    let client = session(&fake, "2025-03-26").await;
    let notification = json!({"jsonrpc": "2.0", "method": "notifications/x"});
    let mixed = json!([request(1, "echo"), notification, request("two", "echo"), {"jsonrpc": "2.0", "id": 50, "result": {}}, 7, request(3, "fail")]);
    let response = client.post(mixed.to_string()).await.whole();
    assert_eq!(response.status(), 200);
    let answers = response.json();
    assert_eq!(
        ids(&answers),
        ["\"two\"", "1", "3", "null"],
        "each is answered once: {answers}"
    );

    let progress = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "progress", "arguments": {"n": 2}, "_meta": {"progressToken": 0}}});
    let hold = json!({"jsonrpc": "2.0", "id": 101, "method": "tools/call", "params": {"name": "hold", "arguments": {"key": "b"}}});
    let mut events = client
        .post(json!([hold, progress]).to_string())
        .await
        .stream();
    for n in [1, 2] {
        assert_eq!(events.message().await["params"]["progress"], n);
    }
    assert_eq!(
        events.message().await["id"],
        2,
        "the quick one does not wait for the slow one"
    );
    client.clone().call("release", &json!({"key": "b"})).await;
    assert_eq!(events.message().await["id"], 101);
    events.ended().await;

    for nothing_to_answer in [
        json!([notification]),
        json!([{"jsonrpc": "2.0", "id": 1, "result": {}}, notification]),
    ] {
        assert_eq!(
            client
                .post(nothing_to_answer.to_string())
                .await
                .whole()
                .status(),
            202
        );
    }
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": initialize_params("2025-03-26", &json!({}))});
    for wrong in [
        json!([]),
        json!([initialize]),
        json!([initialize, request(1, "echo")]),
    ] {
        let response = client.post(wrong.to_string()).await.whole();
        assert_eq!(
            (response.status(), &response.json()["error"]["code"]),
            (400, &json!(-32600)),
            "{wrong}"
        );
    }
    // equal ids within one batch: one is served, the other is told
    let twice = json!([hold, hold]);
    let mut releaser = client.clone();
    let ((), answers) = tokio::join!(
        async {
            releaser.call("release", &json!({"key": "b", "n": 1})).await;
        },
        async { client.post(twice.to_string()).await.whole().json() }
    );
    assert_eq!(ids(&answers), ["101", "101"], "{answers}");
    assert_eq!(
        answers.to_string().matches("\"error\"").count(),
        1,
        "{answers}"
    );
}

#[tokio::test]
async fn the_sessions_own_stream_brings_what_belongs_to_no_call() {
    let fake = shared().await;
    for version in REVISIONS {
        let mut client = session(&fake, version).await;
        let (head, mut events) = client.get(None).await;
        assert_eq!(head.status, 200);
        assert_eq!(head.content_type(), "text/event-stream");
        client
            .request("resources/subscribe", &json!({"uri": version}))
            .await;
        let (_, before) = client
            .request_all(
                "tools/call",
                &json!({"name": "update", "arguments": {"uri": version}}),
            )
            .await;
        assert_eq!(before, [Value::Null; 0], "not on the call's own");
        let mut event = events.next().await;
        assert_eq!(event.data.is_empty(), version == "2025-11-25", "{event:?}");
        if event.data.is_empty() {
            event = events.next().await;
        }
        assert!(event.id.is_some());
        assert_eq!(event.json()["params"]["uri"], version);
        assert_eq!(client.delete().await.status(), 204);
        events.ended().await;
    }
}

#[tokio::test]
async fn two_streams_at_once_kill_nothing_and_double_nothing() {
    let fake = shared().await;
    let mut client = session(&fake, "2025-06-18").await;
    let (_, mut one) = client.get(None).await;
    let (head, mut two) = client.get(None).await;
    assert_eq!(head.status, 200);
    let uris: Vec<_> = (0..10).map(|n| format!("fake://{n}")).collect();
    for uri in &uris {
        client
            .request("resources/subscribe", &json!({"uri": uri}))
            .await;
        client.call("update", &json!({"uri": uri})).await;
    }
    let mut told = Vec::new();
    while told.len() < uris.len() {
        let message = tokio::select! {
            message = one.message() => message,
            message = two.message() => message,
        };
        told.push(message["params"]["uri"].as_str().unwrap().to_owned());
    }
    told.sort();
    assert_eq!(told, uris);
    // one goes: the other is enough
    drop(one);
    client.call("update", &json!({"uri": "fake://3"})).await;
    assert_eq!(two.message().await["params"]["uri"], "fake://3");
    assert_eq!(client.delete().await.status(), 204);
    two.ended().await;
}

#[tokio::test]
async fn a_stream_is_left_alone_for_a_while_after_the_last_answer() {
    let fake = shared().await;
    let mut client = session(&fake, "2025-06-18").await;
    let (_, mut events) = client.get(None).await;
    let uri = json!({"uri": "fake://a"});
    client.request("resources/subscribe", &uri).await;
    let updated = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"fake://a"}}"#;
    let late = json!({"after": [updated, updated]});
    for (tool, arguments, method) in [
        ("list_changed", &uri, "notifications/tools/list_changed"),
        ("emit", &late, "notifications/resources/updated"),
    ] {
        let before = Instant::now();
        client.call(tool, arguments).await;
        assert_eq!(events.message().await["method"], method);
        let waited = before.elapsed();
        assert!(waited >= Duration::from_millis(250), "{tool} {waited:?}");
    }
    // a client that closes at once sees nothing but the end
    let before = Instant::now();
    assert_eq!(events.message().await["params"]["uri"], "fake://a");
    client.call("emit", &late).await;
    client.delete().await;
    while let Some(event) = events.try_next().await {
        let waited = before.elapsed();
        assert!(waited >= Duration::from_millis(250), "{event:?}");
    }
}

#[tokio::test]
async fn an_operation_in_a_session_of_its_own_leaves_no_trace() {
    let fake = shared().await;
    for _ in 0..40 {
        // as LiteLLM does it: a GET stream beside the calls, and DELETE at the end
        let mut client = Streamable::new(fake.addr());
        client.initialize("2025-11-25", &json!({})).await;
        let listening = client.clone();
        let nothing = json!({});
        let ((head, _events), answer) =
            tokio::join!(listening.get(None), client.call("echo", &nothing));
        assert_eq!((head.status, &answer["id"]), (200, &json!(1)));
        assert_eq!(client.delete().await.status(), 204);
    }
    assert_eq!(fake.pids().len(), 1);
    let metrics = fake.metrics("fake").await;
    assert!(
        metrics.contains("mcp_bridged_sessions{bridge=\"fake\",transport=\"streamable\"} 0\n"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_nothing() {
    let fake = shared().await;
    let mut client = session(&fake, "2025-11-25").await;
    let hold = json!({"jsonrpc": "2.0", "id": 70, "method": "tools/call", "params": {"name": "hold", "arguments": {"key": "gone"}}});
    let mut impatient = Box::pin(client.post(hold.to_string()));
    tokio::select! {
        reply = &mut impatient => panic!("{reply:?}"),
        line = fake.recorded("\"gone\"") => assert!(line.contains("hold")),
    }
    drop(impatient);
    // its session goes on, and so does the call
    client.call("echo", &json!({})).await;
    let metrics = fake.metrics("fake").await;
    assert!(
        metrics.contains("transport=\"streamable\"} 1\n"),
        "{metrics}"
    );
    client.call("release", &json!({"key": "gone"})).await;
    let state = client.call("state", &json!({})).await;
    assert_eq!(state["result"]["structuredContent"]["cancelled"], json!([]));
    crate::harness::until("the call's end", async || {
        let metrics = fake.metrics("fake").await;
        // hold, echo, release, state
        metrics
            .contains("calls_total{bridge=\"fake\",method=\"tools/call\",outcome=\"ok\"} 4")
            .then_some(())
    })
    .await;
    assert_eq!(fake.events("cancelled").len(), 0);
}

#[tokio::test]
async fn a_cancelled_call_and_an_ended_session_end_their_responses() {
    let fake = shared().await;
    let client = session(&fake, "2025-06-18").await;
    let hold = |id: u64| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "hold", "arguments": {"key": id.to_string()}}});
    let (reply, ()) = tokio::join!(client.post(hold(10).to_string()), async {
        fake.recorded("\"key\":\"10\"").await;
        client
            .notify("notifications/cancelled", &json!({"requestId": 10}))
            .await;
    });
    assert!(matches!(reply, Reply::Whole(_)), "{reply:?}");
    fake.journaled("cancelled", 1).await;
    let (reply, ()) = tokio::join!(client.post(hold(11).to_string()), async {
        fake.recorded("\"key\":\"11\"").await;
        assert_eq!(client.delete().await.status(), 204);
    });
    assert!(matches!(reply, Reply::Whole(_)), "{reply:?}");
    fake.journaled("cancelled", 2).await;
}

#[tokio::test]
async fn one_connection_carries_a_whole_session() {
    let fake = shared().await;
    let client = session(&fake, "2025-06-18").await;
    let mut connection = crate::harness::Connection::open(fake.addr()).await;
    for n in 0..50 {
        let tool = if n % 5 == 0 { "progress" } else { "echo" };
        let call = json!({"jsonrpc": "2.0", "id": n, "method": "tools/call", "params": {"name": tool, "arguments": {}, "_meta": {"progressToken": n}}});
        let response = connection
            .exchange(&client.prepare(Request::post("/mcp", call.to_string())))
            .await;
        assert_eq!(response.status(), 200);
        assert!(
            response.text().contains(&format!("\"id\":{n},")),
            "{}",
            response.text()
        );
    }
}
