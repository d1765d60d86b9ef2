//! Reload by difference (SUPERVISION §7).

use std::fs;
use std::net::{SocketAddr, TcpListener};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::{Daemon, Fake, Request, Sse, Streamable, fake, http, until, within};
use crate::supervision::shown;

const SHARED: &str = "isolation: shared";

fn file(entries: &[&str]) -> String {
    format!("admin: {{ port: 0 }}\nbridges:\n{}", entries.concat())
}

/// Reloads and waits for the end of it.
async fn reload(daemon: &Daemon, config: &str) {
    let reloads =
        |log: &str| log.matches("\"reloaded\"").count() + log.matches("reload refused:").count();
    let before = reloads(&daemon.log());
    daemon.reload(config);
    until("the reload", async || {
        (reloads(&daemon.log()) > before).then_some(())
    })
    .await;
}

/// Where a bridge listens now.
async fn address(daemon: &Daemon, bridge: &str) -> SocketAddr {
    until(format!("the address of {bridge}"), async || {
        let response = http::exchange(daemon.admin(), Request::get("/bridges"))
            .await
            .json();
        let bridges = response["bridges"].as_array().unwrap();
        let found = bridges.iter().find(|entry| entry["bridge"] == bridge)?;
        let url = found["urls"]["sse"].as_str()?;
        url.strip_prefix("http://")?
            .strip_suffix("/sse")?
            .parse()
            .ok()
    })
    .await
}

async fn until_healthy(addr: SocketAddr) {
    until(format!("{addr} healthy"), async || {
        TcpStream::connect(addr).await.ok()?;
        (http::exchange(addr, Request::get("/health")).await.status() == 200).then_some(())
    })
    .await;
}

async fn closed(addr: SocketAddr) {
    until(format!("{addr} closed"), async || {
        TcpStream::connect(addr).await.is_err().then_some(())
    })
    .await;
}

async fn started(extra: &str, flags: &[&str]) -> Fake {
    let fake = fake::fake(extra, flags).await;
    fake.ready().await;
    fake
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[tokio::test]
async fn an_equal_entry_is_not_touched() {
    let fake = started(SHARED, &[]).await;
    let pid = fake.pids()[0];
    let mut sse = fake.sse().await;
    let mut streamable = fake.streamable().await;
    let call = sse
        .start(
            "tools/call",
            &json!({"name": "hold", "arguments": {"key": "k"}}),
        )
        .await;
    fake.recorded("\"hold\"").await;
    let same = fake::entry("fake", SHARED, &[]);
    // another order of bridges and a comment are no difference
    let other = fake::entry("other", SHARED, &[]);
    reload(&fake, &format!("# the same\n{}", file(&[&other, &same]))).await;
    until_healthy(address(&fake, "other").await).await;
    streamable.call("release", &json!({"key": "k"})).await;
    assert!(sse.answer(call).await["result"].is_object());
    assert_eq!(fake.pids(), [pid]);
    assert_eq!(fake.health("fake").await.1["generation"], 1);
    assert_eq!(address(&fake, "fake").await, fake.addr());
}

#[tokio::test]
async fn changed_arguments_drain_and_restart_and_sessions_go_on() {
    let fake = started(SHARED, &[]).await;
    let mut sse = fake.sse().await;
    let mut streamable = fake.streamable().await;
    let hold = json!({"name": "hold", "arguments": {"file": fake.path("done").to_str()}});
    let call = sse.start("tools/call", &hold).await;
    fake.recorded("\"hold\"").await;
    reload(&fake, &fake::config(SHARED, &["--tool", "brand_new"])).await;
    let body = until("draining", async || {
        let body = fake.health("fake").await.1;
        (body["state"] == "draining").then_some(body)
    })
    .await;
    assert_eq!(body["generation"], 1);
    assert_eq!(fake.get("fake", "/ready").await.status(), 503);
    let refused = sse.request("tools/list", &json!({})).await;
    assert_eq!(refused["error"]["code"], -31005, "{refused}");
    let (_, reply) = streamable.start("tools/list", &json!({})).await;
    let refused = reply.whole();
    assert_eq!(refused.status(), 503);
    assert!(refused.header("retry-after").is_some());
    fs::write(fake.path("done"), "").unwrap();
    assert!(sse.answer(call).await["result"].is_object());
    fake.journaled("start", 2).await;
    fake.ready().await;
    assert!(sse.call("brand_new", &json!({})).await["result"].is_object());
    assert!(streamable.call("brand_new", &json!({})).await["result"].is_object());
    assert_eq!(fake.health("fake").await.1["generation"], 2);
}

#[tokio::test]
async fn a_changed_limit_is_taken_up_by_what_runs() {
    let fake = started(SHARED, &[]).await;
    let mut client = fake.sse().await;
    let extra = format!("{SHARED}\nrequest_timeout: 200ms\nmax_body: 4KiB");
    reload(&fake, &fake::config(&extra, &[])).await;
    let answer = client.call("hold", &json!({"key": "never"})).await;
    assert_eq!(answer["error"]["code"], -31002, "{answer}");
    let large = json!({"jsonrpc": "2.0", "method": "x", "params": {"x": "x".repeat(5000)}});
    assert_eq!(client.post(large.to_string()).await.status(), 413);
    assert_eq!(fake.pids().len(), 1);
}

#[tokio::test]
async fn an_added_bridge_is_served_and_a_removed_one_drained() {
    let fake = started(SHARED, &[]).await;
    let mut client = fake.sse().await;
    let hold = json!({"name": "hold", "arguments": {"file": fake.path("done").to_str()}});
    let call = client.start("tools/call", &hold).await;
    fake.recorded("\"hold\"").await;
    let more = fake::entry("more", SHARED, &[]);
    reload(&fake, &file(&[&more])).await;
    closed(fake.addr()).await;
    let addr = address(&fake, "more").await;
    until_healthy(addr).await;
    let mut other = Sse::connect(addr).await;
    other.initialize(&json!({})).await;
    other.call("echo", &json!({})).await;
    fs::write(fake.path("done"), "").unwrap();
    assert!(client.answer(call).await["result"].is_object());
    client.events().ended().await;
    let bridges = http::exchange(fake.admin(), Request::get("/bridges"))
        .await
        .json();
    assert_eq!(bridges["bridges"].as_array().unwrap().len(), 1);
    until("the end of its server", async || {
        let pid = fake.pids()[0];
        crate::harness::proc::Process::find(pid)
            .is_none()
            .then_some(())
    })
    .await;
    // it may come back
    reload(&fake, &file(&[&fake::entry("fake", SHARED, &[])])).await;
    until_healthy(address(&fake, "fake").await).await;
    closed(addr).await;
}

#[tokio::test]
async fn a_stop_waits_for_the_calls_of_a_bridge_that_was_removed() {
    let mut fake = started(SHARED, &[]).await;
    let mut client = fake.sse().await;
    let hold = json!({"name": "hold", "arguments": {"file": fake.path("done").to_str()}});
    let call = client.start("tools/call", &hold).await;
    fake.recorded("\"hold\"").await;
    reload(&fake, &file(&[&fake::entry("more", SHARED, &[])])).await;
    until_healthy(address(&fake, "more").await).await;
    fake.signal(Signal::SIGTERM);
    fake.until_logged("stopping").await;
    // long after the other bridge has ended, the program is there for this one
    for _ in 0..300 {
        http::exchange(fake.admin(), Request::get("/live")).await;
    }
    fs::write(fake.path("done"), "").unwrap();
    assert!(client.answer(call).await["result"].is_object());
    assert_eq!(fake.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_changed_port_moves_and_sessions_go_on() {
    let fake = started(SHARED, &[]).await;
    let mut sse = fake.sse().await;
    let mut streamable = fake.streamable().await;
    let port = free_port();
    let moved = fake::entry("fake", SHARED, &[]).replace("port: 0", &format!("port: {port}"));
    reload(&fake, &file(&[&moved])).await;
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    until_healthy(addr).await;
    closed(fake.addr()).await;
    streamable.addr = addr;
    assert!(streamable.call("echo", &json!({})).await["result"].is_object());
    assert_eq!(fake.pids().len(), 1);
    // the stream that was open goes on; its posts go to the new port
    let post = Request::post(
        &sse.endpoint,
        r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#,
    );
    assert_eq!(http::exchange(addr, post).await.status(), 202);
    assert_eq!(sse.answer("p").await["result"], json!({}));
}

#[tokio::test]
async fn a_port_goes_from_one_bridge_to_another() {
    let port = free_port();
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    let with = |name: &str, port: u16| {
        fake::entry(name, SHARED, &[]).replace("port: 0", &format!("port: {port}"))
    };
    let daemon = Daemon::start(&file(&[&with("one", port)])).await;
    daemon.until_ready("one").await;
    // removed, and its port given to a new one
    reload(&daemon, &file(&[&with("two", port)])).await;
    let owner = |addr| async move {
        http::exchange(addr, Request::get("/health")).await.json()["bridge"].clone()
    };
    assert_eq!(address(&daemon, "two").await, addr);
    until_healthy(addr).await;
    assert_eq!(owner(addr).await, "two");
    // two bridges change places
    let second = free_port();
    reload(
        &daemon,
        &file(&[&with("two", port), &with("three", second)]),
    )
    .await;
    until_healthy(address(&daemon, "three").await).await;
    reload(
        &daemon,
        &file(&[&with("two", second), &with("three", port)]),
    )
    .await;
    let there = SocketAddr::from(([127, 0, 0, 1], second));
    until("the change of places", async || {
        TcpStream::connect(addr).await.ok()?;
        TcpStream::connect(there).await.ok()?;
        (owner(addr).await == "three" && owner(there).await == "two").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_waited_for_and_others_go_on() {
    let fake = started(SHARED, &[]).await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let entry = fake::entry("fake", &format!("{SHARED}\nmax_sessions: 3"), &[]);
    let more =
        fake::entry("more", SHARED, &[]).replace("port: 0", &format!("port: {}", addr.port()));
    reload(&fake, &file(&[&entry, &more])).await;
    let log = fake.log();
    assert!(log.contains(&format!("cannot listen on {addr}")), "{log}");
    let bridge = shown(&fake, "more").await;
    assert_eq!(bridge["urls"], Value::Null, "{bridge}");
    fake.sse().await.call("echo", &json!({})).await;
    drop(taken);
    until_healthy(addr).await;
    assert!(shown(&fake, "more").await["urls"].is_object());
}

#[tokio::test]
async fn an_invalid_file_changes_nothing_and_says_where() {
    let fake = started(SHARED, &[]).await;
    let mut client = fake.sse().await;
    let entry = fake::entry("fake", SHARED, &["--tool", "never"]);
    for (config, place) in [
        (
            format!("bridges:\n{entry}nonsense: 1\n"),
            "bridges.yaml:7:1",
        ),
        ("bridges: {".to_owned(), "bridges.yaml:"),
        (String::new(), "bridges.yaml"),
    ] {
        reload(&fake, &config).await;
        assert!(fake.log().contains(place), "{place}: {}", fake.log());
    }
    fs::remove_file(fake.path("bridges.yaml")).unwrap();
    fake.signal(Signal::SIGHUP);
    until("four refusals", async || {
        (fake.log().matches("reload refused:").count() == 4).then_some(())
    })
    .await;
    client.call("echo", &json!({})).await;
    assert_eq!(fake.pids().len(), 1);
    // and the next good one is taken
    reload(&fake, &fake::config(SHARED, &["--tool", "now"])).await;
    fake.journaled("start", 2).await;
}

#[tokio::test]
async fn many_hangups_at_once_are_few_reloads() {
    let fake = started(SHARED, &[]).await;
    fake.configure(&fake::config(SHARED, &["--tool", "late"]));
    for _ in 0..300 {
        fake.signal(Signal::SIGHUP);
    }
    fake.journaled("start", 2).await;
    fake.ready().await;
    let mut client = fake.sse().await;
    assert!(client.call("late", &json!({})).await["result"].is_object());
    assert!(fake.log().matches("\"reloaded\"").count() < 300);
    assert_eq!(fake.pids().len(), 2);
}

#[tokio::test]
async fn an_optional_bridge_comes_and_goes_with_its_command() {
    let entry = "  maybe:\n    port: 0\n    optional: true\n    isolation: shared\n    command: {dir}/server\n";
    let daemon = Daemon::start(&file(&[entry])).await;
    let body = daemon.until_health("maybe", 503).await;
    assert_eq!(body["state"], "unavailable", "{body}");
    assert!(
        body["reason"].as_str().unwrap().contains("/server"),
        "{body}"
    );
    let mut early = Sse::connect(daemon.bridge("maybe")).await;
    let answer = early.request("tools/list", &json!({})).await;
    assert_eq!(answer["error"]["code"], -31001, "{answer}");
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .contains("/server"),
        "{answer}"
    );
    let all = http::exchange(daemon.admin(), Request::get("/health")).await;
    assert_eq!(all.status(), 200, "an optional bridge is nobody's alarm");

    let server = daemon.path("server");
    std::os::unix::fs::symlink(fake::program(), &server).unwrap();
    reload(&daemon, &file(&[entry])).await;
    daemon.until_ready("maybe").await;
    assert!(early.request("tools/list", &json!({})).await["result"].is_object());

    fs::remove_file(server).unwrap();
    reload(&daemon, &file(&[entry])).await;
    let body = daemon.until_health("maybe", 503).await;
    until("unavailable again", async || {
        (daemon.health("maybe").await.1["state"] == "unavailable").then_some(())
    })
    .await;
    drop(body);
}

#[tokio::test]
async fn a_changed_isolation_is_in_force_for_new_sessions() {
    let fake = started(SHARED, &[]).await;
    let roots = json!({"roots": {}});
    let ask = json!({"method": "roots/list"});
    let pid = |answer: &Value| {
        answer["result"]["structuredContent"]["pid"]
            .as_i64()
            .unwrap()
    };
    reload(&fake, &fake::config("isolation: auto", &[])).await;
    // the new shared server, and its spare
    fake.journaled("start", 3).await;
    fake.ready().await;
    let plain = fake.sse().await.call("info", &json!({})).await;
    let mut own = Sse::connect(fake.addr()).await;
    own.initialize(&roots).await;
    assert_ne!(pid(&own.call("info", &json!({})).await), pid(&plain));
    reload(&fake, &fake::config(SHARED, &[])).await;
    // its server is gone, and with it the session
    within("the end of the stream", async {
        while own.events().try_next().await.is_some() {}
    })
    .await;
    let generation = until("the shared server", async || {
        let (status, body) = fake.health("fake").await;
        (status == 200 && body["generation"] == 3).then_some(body)
    })
    .await;
    assert_eq!(generation["state"], "ready");
    let mut asked = Sse::connect(fake.addr()).await;
    asked.initialize(&roots).await;
    let call = asked
        .start("tools/call", &json!({"name": "ask", "arguments": ask}))
        .await;
    let question = asked.next().await;
    assert_eq!(question["method"], "roots/list", "{question}");
    asked
        .send(&json!({"jsonrpc": "2.0", "id": question["id"], "result": {"roots": []}}))
        .await;
    assert!(asked.answer(call).await["result"].is_object());
}

#[tokio::test]
async fn the_admin_listener_moves_and_goes() {
    let fake = started(SHARED, &[]).await;
    let entry = fake::entry("fake", SHARED, &[]);
    let old = fake.admin();
    let port = free_port();
    reload(
        &fake,
        &format!("admin: {{ port: {port} }}\nbridges:\n{entry}"),
    )
    .await;
    let new = SocketAddr::from(([127, 0, 0, 1], port));
    until_healthy(new).await;
    closed(old).await;
    // the same port with keys
    reload(
        &fake,
        &format!("admin: {{ port: {port}, api_keys: [a-key-of-some-length] }}\nbridges:\n{entry}"),
    )
    .await;
    until("keys in force", async || {
        // the listener that goes may reset a connection
        let mut attempt = JoinSet::new();
        attempt.spawn(async move { http::exchange(new, Request::get("/bridges")).await.status() });
        (attempt.join_next().await?.ok()? == 401).then_some(())
    })
    .await;
    reload(&fake, &format!("bridges:\n{entry}")).await;
    closed(new).await;
    assert_eq!(fake.pids().len(), 1);
    Streamable::open(fake.addr(), &json!({})).await;
}
