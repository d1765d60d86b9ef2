//! The limits of a listener and of a bridge: what is too much is refused and said, and nobody else notices.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::harness::sse::initialize_params;
use crate::harness::{Connection, Fake, Launch, Request, Sse, Streamable, fake, http, proc, until};

async fn ready(extra: &str) -> Fake {
    let fake = fake::fake(&format!("isolation: shared\n{extra}"), &[]).await;
    fake.ready().await;
    fake
}

fn initialize(version: &str) -> String {
    let params = initialize_params(version, &json!({}));
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).to_string()
}

fn call(id: u64, tool: &str, arguments: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
}

/// Waits until `/metrics` has a line that begins like this.
async fn counted(fake: &Fake, line: &str) {
    until(format!("{line:?} in the metrics"), async || {
        fake.metrics("fake").await.contains(line).then_some(())
    })
    .await;
}

/// Sends these very bytes, and returns all that comes until the connection is closed.
async fn raw(fake: &Fake, text: &str) -> String {
    let mut connection = Connection::open(fake.addr()).await;
    connection.send(text.as_bytes()).await;
    String::from_utf8_lossy(&connection.closed().await).into_owned()
}

#[tokio::test]
async fn bodies_over_the_limit_are_refused_in_a_way_that_can_be_read() {
    let fake = ready("max_body: 64KiB").await;
    let limit = 64 * 1024;
    // far more than the sockets buffer, so that the client still writes when the answer comes
    let large = vec![b' '; 24 << 20];
    for chunked in [false, true] {
        let mut connection = Connection::open(fake.addr()).await;
        let framing = if chunked {
            "Transfer-Encoding: chunked".to_owned()
        } else {
            format!("Content-Length: {}", large.len())
        };
        connection
            .send(format!("POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: */*\r\n{framing}\r\n\r\n").as_bytes())
            .await;
        if chunked {
            connection
                .send(format!("{:x}\r\n", large.len()).as_bytes())
                .await;
        }
        connection.send(&large).await;
        let head = connection.head().await;
        assert_eq!(head.status, 413, "chunked: {chunked}");
        assert_eq!(head.header("connection"), Some("close"));
        let body: serde_json::Value = serde_json::from_slice(&connection.rest().await).unwrap();
        assert_eq!(body["error"]["code"], -31003, "{body}");
        assert_eq!(connection.closed().await, b"");
    }
    let mut fits = initialize("2025-06-18");
    fits.push_str(&" ".repeat(limit - fits.len()));
    let response = http::exchange(fake.addr(), Request::post("/mcp", fits.clone())).await;
    assert_eq!(response.status(), 200, "exactly the limit is allowed");
    let response = http::exchange(fake.addr(), Request::post("/mcp", fits + " ")).await;
    assert_eq!(response.status(), 413);
    let metrics = fake.metrics("fake").await;
    assert!(
        metrics.contains("refused_total{bridge=\"fake\",reason=\"body\"} 3"),
        "{metrics}"
    );
}

#[tokio::test]
async fn heads_over_the_limits_are_refused() {
    let fake = ready("").await;
    let long = format!("X-Long: {}\r\n", "y".repeat(40 * 1024));
    let many: String = (0..120).map(|n| format!("X-{n}: y\r\n")).collect();
    for fields in [long, many] {
        let answer = raw(
            &fake,
            &format!("GET /health HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"),
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    let uri = "x".repeat(70 * 1024);
    let answer = raw(
        &fake,
        &format!("GET /{uri} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    )
    .await;
    assert!(
        answer.starts_with("HTTP/1.1 414") || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    assert_eq!(fake.get("fake", "/health").await.status(), 200);
}

#[tokio::test]
async fn connections_are_limited_in_all_and_from_one_address() {
    let config = fake::config("isolation: shared", &[]);
    let fake = Fake::launch(Launch {
        config: format!("max_connections: 6\nmax_connections_per_ip: 4\n{config}"),
        ..Launch::default()
    })
    .await;
    fake.ready().await;
    let [first, second, third] = [1, 2, 3].map(|n| IpAddr::from([127, 0, 0, n]));
    let mut held = Vec::new();
    for from in [first, first, first, first, second, second] {
        // one that asked for /health may not be gone yet
        let connection = until("a place for a connection", async || {
            let mut connection = Connection::open_from(from, fake.addr()).await;
            let live = connection.exchange(&Request::get("/live")).await;
            (live.status() == 200).then_some(connection)
        });
        held.push(connection.await);
    }
    for (from, why) in [(first, "per address"), (third, "in all")] {
        let mut connection = Connection::open_from(from, fake.addr()).await;
        let head = connection.head().await;
        assert_eq!(head.status, 503, "{why}");
        assert_eq!(head.header("retry-after"), Some("1"));
        let error: Value = serde_json::from_slice(&connection.rest().await).unwrap();
        assert_eq!(error["error"]["code"], -31004);
    }
    let metrics = held[0].exchange(&Request::get("/metrics")).await.text();
    assert!(metrics.contains("mcp_bridged_connections 6\n"), "{metrics}");
    for none in [
        "mcp_bridged_connections_refused_total 0\n",
        "reason=\"connections\"} 0\n",
    ] {
        assert!(!metrics.contains(none), "{metrics}");
    }
    drop(held);
    counted(&fake, "mcp_bridged_connections 1\n").await;
}

#[tokio::test]
async fn a_full_house_lets_the_silent_go_first_and_then_nobody() {
    let fake = ready("max_sessions: 2").await;
    let silent = fake.streamable().await;
    let mut busy = fake.streamable().await;
    busy.call("echo", &json!({})).await;
    let mut half = silent.clone();
    // `initialized` was its second word, so there is nobody left to go
    let response =
        http::exchange(fake.addr(), Request::post("/mcp", initialize("2025-06-18"))).await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.header("retry-after"), Some("10"));
    assert_eq!(response.json()["error"]["code"], -31004);
    let response = http::exchange(fake.addr(), Request::get("/sse")).await;
    assert_eq!(response.status(), 503);
    half.call("echo", &json!({})).await;
    assert_eq!(half.delete().await.status(), 204);

    // one that said nothing after `initialize` makes room, its streams and all
    let mut mute = Sse::connect(fake.addr()).await;
    let mut third = Streamable::new(fake.addr());
    third.initialize("2025-11-25", &json!({})).await;
    mute.events().ended().await;
    busy.call("echo", &json!({})).await;
    third.call("echo", &json!({})).await;
    counted(
        &fake,
        "mcp_bridged_sessions{bridge=\"fake\",transport=\"streamable\"} 2\n",
    )
    .await;
    counted(
        &fake,
        "mcp_bridged_sessions{bridge=\"fake\",transport=\"sse\"} 0\n",
    )
    .await;
    counted(
        &fake,
        "mcp_bridged_refused_total{bridge=\"fake\",reason=\"sessions\"} 2\n",
    )
    .await;
}

#[tokio::test]
async fn calls_in_flight_are_limited_for_the_bridge() {
    let fake = ready("max_in_flight: 3").await;
    // the daemon's own listing of tools is over
    fake.until_logged("/sse").await;
    let mut client = fake.sse().await;
    for key in ["a", "b", "c"] {
        client
            .start(
                "tools/call",
                &json!({"name": "hold", "arguments": {"key": key}}),
            )
            .await;
    }
    fake.recorded("\"c\"").await;
    let other = fake.streamable().await;
    let response = other
        .post(call(40, "echo", &json!({})).to_string())
        .await
        .whole();
    assert_eq!(response.status(), 503, "{}", response.text());
    assert!(response.header("retry-after").is_some());
    let error = response.json();
    assert_eq!(
        (&error["id"], &error["error"]["code"]),
        (&json!(40), &json!(-31004))
    );
    let ping = other
        .post(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#)
        .await;
    assert_eq!(
        ping.status(),
        200,
        "what the bridge answers itself needs no place"
    );
    client
        .notify("notifications/cancelled", &json!({"requestId": 1}))
        .await;
    fake.journaled("cancelled", 1).await;
    assert_eq!(
        other
            .post(call(41, "echo", &json!({})).to_string())
            .await
            .status(),
        200
    );
}

#[tokio::test]
async fn one_session_can_t_use_up_the_calls_of_all() {
    let fake = ready("").await;
    let mut client = Streamable::new(fake.addr());
    client.initialize("2025-03-26", &json!({})).await;
    let hold = json!({"file": fake.path("open").to_str().unwrap()});
    let batch: Vec<_> = (100..228).map(|id| call(id, "hold", &hold)).collect();
    let mut other = fake.streamable().await;
    let full = async {
        until("128 calls at the server", async || {
            let held = fake
                .record()
                .iter()
                .filter(|line| line.contains("\"hold\""))
                .count();
            (held == 128).then_some(())
        })
        .await;
        let response = client
            .post(call(9, "echo", &json!({})).to_string())
            .await
            .whole();
        assert_eq!(response.status(), 429, "{}", response.text());
        assert!(response.header("retry-after").is_some());
        assert_eq!(response.json()["id"], 9);
        other.call("echo", &json!({})).await;
        std::fs::write(fake.path("open"), "").unwrap();
    };
    let (reply, ()) = tokio::join!(client.post(Value::from(batch).to_string()), full);
    assert_eq!(reply.whole().json().as_array().unwrap().len(), 128);
    assert_eq!(
        client
            .post(call(9, "echo", &json!({})).to_string())
            .await
            .status(),
        200
    );
}

#[tokio::test]
async fn idle_sessions_end_but_not_while_they_listen_or_wait() {
    let fake = ready("session_idle: 300ms").await;
    let file = fake.path("open");
    let hold = |mark: &str| {
        let arguments = json!({"file": file.to_str().unwrap(), "mark": mark});
        call(7, "hold", &arguments).to_string()
    };
    // its client goes away, its call goes on
    let cut = fake.streamable().await;
    tokio::select! {
        reply = cut.post(hold("cut")) => panic!("{reply:?}"),
        _ = fake.recorded("\"cut\"") => {}
    }
    let idle = fake.streamable().await;
    let listening = fake.streamable().await;
    let (_, mut stream) = listening.get(None).await;
    assert_eq!(stream.next().await.data, "");
    let mut sse = fake.sse().await;
    let waiting = fake.streamable().await;
    let others = async {
        let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        counted(&fake, "transport=\"streamable\"} 3\n").await;
        assert_eq!(idle.post(ping).await.status(), 404);
        assert_eq!(listening.post(ping).await.status(), 200);
        sse.call("echo", &json!({})).await;
        assert_eq!(fake.events("cancelled").len(), 0);
        std::fs::write(&file, "").unwrap();
    };
    let (reply, ()) = tokio::join!(waiting.post(hold("waits")), others);
    assert_eq!(reply.status(), 200);
    counted(&fake, "transport=\"streamable\"} 1\n").await;
    assert_eq!(listening.delete().await.status(), 204);
    stream.ended().await;
}

#[tokio::test]
async fn whoever_reads_no_answers_gets_no_more_and_nobody_waits_for_them() {
    let fake = ready("").await;
    let mut other = fake.sse().await;
    other.call("big", &json!({"bytes": 1 << 20})).await;
    let before = proc::peak_resident(fake.pid());
    let mut slow = fake.sse().await;
    let mut accepted = Vec::new();
    let refused = loop {
        let id = 1000 + accepted.len() as u64;
        let response = slow
            .post(call(id, "big", &json!({"bytes": 1 << 20})).to_string())
            .await;
        if response.status() != 202 {
            break response;
        }
        accepted.push(id);
        assert!(accepted.len() < 200, "200 MiB are queued for one client");
        other.call("echo", &json!({})).await;
    };
    assert_eq!(refused.status(), 429, "{}", refused.text());
    assert!(refused.header("retry-after").is_some());
    assert_eq!(refused.json()["id"], 1000 + accepted.len());
    let grown = proc::peak_resident(fake.pid()).saturating_sub(before);
    assert!(grown < 48 << 20, "{grown} bytes");
    // what was accepted is answered once it is read, and then there is room again
    for id in accepted {
        assert_eq!(
            slow.answer(id).await["result"]["content"][0]["text"]
                .as_str()
                .unwrap()
                .len(),
            1 << 20
        );
    }
    slow.call("echo", &json!({})).await;
}

#[tokio::test]
async fn a_stream_that_is_not_read_loses_its_oldest_notifications() {
    let fake = ready("").await;
    let mut other = fake.streamable().await;
    let mut slow = fake.streamable().await;
    let (_, mut unread) = slow.get(None).await;
    slow.request("resources/subscribe", &json!({"uri": "fake://a"}))
        .await;
    let before = proc::peak_resident(fake.pid());
    let line = json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "fake://a", "filler": "x".repeat(1000)}});
    let flood = json!({"n": 20_000, "kind": "line", "line": line.to_string()});
    // it hears the end of it even so
    let (flooded, ()) = tokio::join!(slow.call("flood", &flood), async {
        for _ in 0..20 {
            other.call("echo", &json!({})).await;
        }
    });
    assert_eq!(flooded["result"]["structuredContent"]["sent"], 20_000);
    let grown = proc::peak_resident(fake.pid()).saturating_sub(before);
    assert!(grown < 48 << 20, "{grown} bytes");
    let metrics = fake.metrics("fake").await;
    assert!(
        !metrics.contains("reason=\"notification_overflow\"} 0\n"),
        "{metrics}"
    );
    let mut first = unread.message().await;
    first["params"]["filler"].take();
    assert_eq!(first["params"]["uri"], "fake://a");
    assert_eq!(slow.delete().await.status(), 204);
}
