//! The way to the end: drain, the second signal, every state, exit codes (SUPERVISION §6).

use std::fs;
use std::net::{SocketAddr, TcpListener};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::harness::{Connection, Daemon, Fake, Launch, Request, Sse, fake, proc, until, within};
use crate::supervision::{beside, signal};

/// A daemon with this `drain` and one server.
async fn with_drain(drain: &str, flags: &[&str]) -> Fake {
    let config = fake::config("isolation: shared", flags);
    let fake = Fake::launch(Launch {
        config: format!("drain: {drain}\n{config}"),
        ..Launch::default()
    })
    .await;
    fake.ready().await;
    fake
}

fn hold(fake: &Fake) -> Value {
    json!({"name": "hold", "arguments": {"file": fake.path("done").to_str()}})
}

/// Nobody listens there any more.
async fn closed(addr: SocketAddr) {
    until(format!("{addr} closed"), async || {
        TcpStream::connect(addr).await.is_err().then_some(())
    })
    .await;
}

/// Everything below the daemon now; to be given to [`all_gone`] after its end.
fn below(daemon: &Daemon) -> Vec<proc::Process> {
    proc::descendants(daemon.pid())
}

async fn all_gone(processes: Vec<proc::Process>) {
    for process in processes {
        process.gone().await;
    }
}

#[tokio::test]
async fn sigterm_lets_calls_finish_and_refuses_new_ones() {
    let mut fake = with_drain("20s", &[]).await;
    let processes = below(&fake);
    let mut client = fake.sse().await;
    let call = client.start("tools/call", &hold(&fake)).await;
    let mut other = fake.streamable().await;
    let session = other.clone();
    let params = hold(&fake);
    let streamable = beside(async move {
        let (id, reply) = other.start("tools/call", &params).await;
        reply.answer(id).await.0
    });
    until("both calls", async || {
        let record = fake.record();
        (record
            .iter()
            .filter(|line| line.contains("\"hold\""))
            .count()
            == 2)
            .then_some(())
    })
    .await;
    // a request that has begun when the signal comes, and whose body follows
    let list = br#"{"jsonrpc":"2.0","id":5,"method":"tools/list"}"#;
    let request = Request::post("/mcp", "").header("expect", "100-continue");
    let request = session.prepare(request.header("content-length", &list.len().to_string()));
    let mut late = Connection::open(fake.addr()).await;
    assert_eq!(late.request(&request).await.status, 100);
    fake.signal(Signal::SIGTERM);
    closed(fake.addr()).await;
    late.send(list).await;
    let head = late.head().await;
    assert_eq!(head.status, 503);
    assert!(head.header("retry-after").is_some());
    let body = late.rest().await;
    let refused: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(refused["error"]["code"], -31005, "{refused}");
    fs::write(fake.path("done"), "").unwrap();
    assert!(client.answer(call).await["result"].is_object());
    assert!(streamable.await.unwrap()["result"].is_object());
    client.events().ended().await;
    assert_eq!(fake.exit().await.code(), Some(0));
    all_gone(processes).await;
}

#[tokio::test]
async fn a_drain_that_is_over_answers_the_rest() {
    let mut fake = with_drain("200ms", &[]).await;
    let mut client = fake.sse().await;
    let call = client.start("tools/call", &hold(&fake)).await;
    let mut other = fake.streamable().await;
    let params = hold(&fake);
    let streamable = beside(async move {
        let (id, reply) = other.start("tools/call", &params).await;
        reply.answer(id).await.0
    });
    until("both calls", async || {
        let record = fake.record();
        (record
            .iter()
            .filter(|line| line.contains("\"hold\""))
            .count()
            == 2)
            .then_some(())
    })
    .await;
    fake.signal(Signal::SIGTERM);
    let answer = client.answer(call).await;
    assert_eq!(answer["error"]["code"], -31005, "{answer}");
    let answer = streamable.await.unwrap();
    assert_eq!(answer["error"]["code"], -31005, "{answer}");
    client.events().ended().await;
    assert_eq!(fake.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_is_now() {
    for (second, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let mut fake = with_drain(
            "60s",
            &["--ignore-sigterm", "--ignore-eof", "--grandchild-setsid"],
        )
        .await;
        fake.journaled("grandchild", 1).await;
        let processes = below(&fake);
        let mut client = fake.sse().await;
        let call = client.start("tools/call", &hold(&fake)).await;
        fake.recorded("\"hold\"").await;
        fake.signal(Signal::SIGTERM);
        closed(fake.addr()).await;
        fake.signal(second);
        let answer = client.answer(call).await;
        assert_eq!(answer["error"]["code"], -31005, "{answer}");
        assert_eq!(fake.exit().await.code(), Some(code));
        all_gone(processes).await;
    }
}

#[tokio::test]
async fn a_server_that_ignores_everything_is_killed_with_all_its_kin() {
    let flags = [
        "--ignore-sigterm",
        "--ignore-eof",
        "--grandchild",
        "--grandchild-setsid",
        "--daemon",
    ];
    let mut fake = with_drain("1s", &flags).await;
    fake.journaled("grandchild", 3).await;
    let processes = below(&fake);
    assert_eq!(processes.len(), 4, "{processes:?}");
    let addr = fake.addr();
    fake.signal(Signal::SIGTERM);
    // first asked, then told
    fake.journaled("eof", 1).await;
    fake.journaled("signal", 1).await;
    assert_eq!(fake.exit().await.code(), Some(0));
    all_gone(processes).await;
    drop(TcpListener::bind(addr).unwrap());
}

#[tokio::test]
async fn a_stopped_server_can_be_stopped() {
    let mut fake = with_drain("1s", &[]).await;
    let processes = below(&fake);
    signal(fake.pids()[0], Signal::SIGSTOP);
    assert_eq!(fake.stop().await, Some(0));
    all_gone(processes).await;
}

#[tokio::test]
async fn a_stop_while_starting_ends_it() {
    let mut fake = fake::fake("isolation: shared", &["--init-silent", "--grandchild"]).await;
    fake.recorded("\"initialize\"").await;
    let processes = below(&fake);
    let mut client = Sse::connect(fake.addr()).await;
    let waits = client.start("tools/list", &json!({})).await;
    client.request("ping", &json!({})).await;
    assert_eq!(fake.stop().await, Some(0));
    let answer = client.answer(waits).await;
    assert_eq!(answer["error"]["code"], -31005, "{answer}");
    client.events().ended().await;
    all_gone(processes).await;
}

#[tokio::test]
async fn a_stop_in_back_off_and_in_quarantine_is_prompt() {
    let mut backoff = fake::fake("isolation: shared", &["--exit-at-start", "1"]).await;
    let mut quarantined = fake::fake("isolation: shared", &["--exit-at-start", "1"]).await;
    for (fake, state) in [(&mut backoff, "backoff"), (&mut quarantined, "quarantined")] {
        until(state, async || {
            (fake.health("fake").await.1["state"] == state).then_some(())
        })
        .await;
        let mut client = Sse::connect(fake.addr()).await;
        assert_eq!(fake.stop().await, Some(0));
        client.events().ended().await;
        assert_eq!(proc::descendants(fake.pid()), []);
    }
}

#[tokio::test]
async fn a_stop_before_the_server_lists_its_tools_does_not_wait_for_them() {
    let mut fake = fake::fake("isolation: shared", &["--synchronous", "--tools", "1"]).await;
    fake.ready().await;
    signal(fake.pids()[0], Signal::SIGSTOP);
    assert_eq!(fake.stop().await, Some(0));
}

#[tokio::test]
async fn a_port_that_is_taken_ends_the_start_before_any_server() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let entry = fake::entry("one", "", &[]);
    let second = fake::entry("two", "", &[]).replace("port: 0", &format!("port: {}", addr.port()));
    let ended = within(
        "the end",
        Daemon::fails(&format!("bridges:\n{entry}{second}")),
    )
    .await;
    assert_eq!(ended.status.code(), Some(69), "{}", ended.log);
    assert!(ended.log.contains(&addr.to_string()), "{}", ended.log);
    assert!(ended.log.contains("two"), "{}", ended.log);
    assert!(!ended.log.contains("server started"), "{}", ended.log);
}

#[tokio::test]
async fn wrong_usage_is_64_and_wrong_configuration_78() {
    let ended = Daemon::fails("bridges: {").await;
    assert_eq!(ended.status.code(), Some(78), "{}", ended.log);
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_mcp-bridged"));
    let output = command.arg("--no-such-option").output().await.unwrap();
    assert_eq!(output.status.code(), Some(64));
}
