//! The shortest way through everything: the fake server behind a bridge, by both transports.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Connection, Daemon, Fake, Launch, Reply, Request, fake, http, proc};

#[tokio::test]
async fn an_sse_client_calls_a_tool() {
    let fake = fake::fake("isolation: shared", &["--tools", "3"]).await;
    fake.ready().await;
    let mut client = fake.sse().await;
    assert!(client.endpoint.starts_with('/'), "{}", client.endpoint);
    let answer = client.call("echo", &json!({"big": 1})).await;
    assert_eq!(answer["result"]["params"]["name"], "echo");
    let id = client
        .start_call("progress", &json!({"n": 2}), &json!("mine"))
        .await;
    client.answer(id).await;
    let progress = client.seen();
    assert_eq!(progress.len(), 2);
    assert_eq!(progress[0]["params"]["progressToken"], "mine");
    let line = fake.recorded("\"progress\"").await;
    assert!(!line.contains("mine"), "the token is the bridge's: {line}");
}

#[tokio::test]
async fn a_streamable_client_calls_a_tool() {
    let fake = fake::fake("", &[]).await;
    let mut client = fake.streamable().await;
    assert!(client.session.is_some());
    let (id, reply) = client
        .start("tools/call", &json!({"name": "echo", "arguments": {}}))
        .await;
    assert!(matches!(reply, Reply::Whole(_)), "nothing precedes it");
    reply.answer(id).await;
    let params = json!({"name": "progress", "arguments": {"n": 3}, "_meta": {"progressToken": 7}});
    let (id, reply) = client.start("tools/call", &params).await;
    let (_, before) = reply.answer(id).await;
    assert_eq!(before.len(), 3);
    assert_eq!(client.delete().await.status(), 204);
}

#[tokio::test]
async fn sigterm_leaves_nothing_behind() {
    let config = fake::config(
        "isolation: shared",
        &["--grandchild", "--grandchild-setsid", "--daemon"],
    );
    let mut fake = Fake::launch(Launch {
        config,
        ..Launch::default()
    })
    .await;
    fake.ready().await;
    fake.journaled("grandchild", 3).await;
    let below = proc::descendants(fake.pid());
    assert_eq!(below.len(), 4, "{below:?}");
    fake.signal(Signal::SIGTERM);
    assert_eq!(fake.exit().await.code(), Some(0));
    for process in below {
        process.gone().await;
    }
}

#[tokio::test]
async fn the_admin_listener_knows_every_bridge() {
    let one = fake::entry("one", "", &[]);
    let two = fake::entry("two", "", &[]);
    let config = format!("admin: {{ port: 0 }}\nbridges:\n{one}{two}");
    let daemon = Daemon::start(&config).await;
    daemon.until_ready("one").await;
    daemon.until_ready("two").await;
    let bridges = http::exchange(daemon.admin(), Request::get("/bridges")).await;
    assert_eq!(bridges.status(), 200);
    let ended = Daemon::fails("bridges: {}\nnonsense: 1\n").await;
    assert_eq!(ended.status.code(), Some(78), "{}", ended.log);
}

#[tokio::test]
async fn a_crash_answers_the_call_and_the_session_goes_on() {
    let mut fake = fake::fake("isolation: shared", &[]).await;
    fake.ready().await;
    let mut client = fake.sse().await;
    assert_eq!(client.head.header("x-accel-buffering"), Some("no"));
    let crash = client
        .start(
            "tools/call",
            &json!({"name": "crash", "arguments": {"signal": 9, "stderr": "goodbye"}}),
        )
        .await;
    let answer = client.answer(crash).await;
    assert_eq!(answer["error"]["code"], -31001, "{answer}");
    fake.ready().await;
    client.call("echo", &json!({})).await;
    let pids = fake.pids();
    assert_eq!(pids.len(), 2, "{pids:?}");
    assert!(proc::Process::find(pids[0]).is_none(), "reaped");
    assert!(
        fake.metrics("fake").await.contains("restarts"),
        "restarts are counted"
    );
    fake.until_logged("goodbye").await;
    assert_eq!(fake.stop().await, Some(0));
    while let Some(event) = client.events().try_next().await {
        assert_eq!(event.json()["method"], "notifications/tools/list_changed");
    }
}

#[tokio::test]
async fn a_reload_adds_a_bridge_and_leaves_the_other_alone() {
    let fake = fake::fake("isolation: shared", &[]).await;
    fake.ready().await;
    let pid = fake.pids()[0];
    let config = fake::config("isolation: shared", &[]);
    let more = format!("{config}{}", fake::entry("more", "", &[]));
    fake.reload(&more);
    fake.until_logged("more").await;
    assert_eq!(fake.pids(), [pid]);
    fake.configure("bridges: 7");
    assert!(fake.dir().join("bridges.yaml").exists());
}

#[tokio::test]
async fn a_cut_stream_is_resumed() {
    let fake = fake::fake("isolation: shared", &[]).await;
    let mut client = fake.streamable().await;
    let params = json!({"name": "hold", "arguments": {"key": "k"}, "_meta": {"progressToken": 1}});
    let mut holder = client.clone();
    let (_, _) = client
        .request_all("logging/setLevel", &json!({"level": "debug"}))
        .await;
    let lines = json!([
        "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":$TOKEN,\"progress\":1}}"
    ]);
    let emit = json!({"name": "emit", "arguments": {"lines": lines, "answer": false}, "_meta": {"progressToken": 2}});
    let (id, reply) = holder.start("tools/call", &emit).await;
    assert_eq!(reply.status(), 200);
    let mut stream = reply.stream();
    let priming = stream.next().await;
    assert_eq!(priming.data, "");
    let event = stream.next().await;
    assert_eq!(event.json()["params"]["progressToken"], 2);
    drop(stream);
    let (head, _events) = client.get(event.id.as_deref()).await;
    assert_eq!(head.status, 200, "{id}");
    let (_, reply) = client.start("test/unknown", &params).await;
    assert_eq!(reply.whole().status(), 200);
    client.call("echo", &json!({})).await;
    client.request("ping", &json!({})).await;
}

#[tokio::test]
async fn nonsense_on_the_socket_is_refused_and_closed() {
    let fake = fake::fake("", &[]).await;
    let mut connection = Connection::open(fake.addr()).await;
    connection.send(b"NONSENSE\r\n\r\n").await;
    let rest = connection.closed().await;
    assert!(rest.starts_with(b"HTTP/1.1 400"), "{rest:?}");
    let response = fake.get("fake", "/sse-not").await;
    assert_eq!(response.status(), 404);
    assert!(response.header("content-type").is_some());
    let mut client = fake.sse().await;
    client.notify("notifications/unknown", &json!({})).await;
    client
        .start("tools/call", &json!({"name": "log", "arguments": {}}))
        .await;
    assert!(client.next().await["result"].is_object());
}
