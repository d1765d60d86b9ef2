//! States, and what the probes say of them (SUPERVISION §1 and §2).

use std::fs;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{Connection, Fake, Request, Streamable, fake, http, proc, until};
use crate::supervision::{kill, signal};

/// A daemon whose server answers `initialize` once the file `go` exists.
async fn held() -> Fake {
    fake::fake("isolation: shared", &["--init-hold", "{dir}/go"]).await
}

fn let_go(fake: &Fake) {
    fs::write(fake.path("go"), "").unwrap();
}

#[tokio::test]
async fn health_is_503_until_initialize_is_answered() {
    let fake = held().await;
    fake.journaled("start", 1).await;
    fake.recorded("\"initialize\"").await;
    let response = fake.get("fake", "/health").await;
    assert_eq!(response.status(), 503, "{}", response.text());
    assert!(response.header("retry-after").is_some());
    let body = response.json();
    assert_eq!(body["bridge"], "fake");
    assert_eq!(body["state"], "starting");
    assert_eq!(body["generation"], 1);
    assert_eq!(body["last_exit"], Value::Null);
    assert_eq!(fake.get("fake", "/ready").await.status(), 503);
    assert_eq!(fake.get("fake", "/live").await.status(), 200);

    let_go(&fake);
    let body = fake.ready().await;
    assert_eq!(body["state"], "ready");
    assert_eq!(body["restarts"], 0);
    assert!(body["since_ms"].is_u64());
    assert_eq!(fake.get("fake", "/ready").await.status(), 200);
}

#[tokio::test]
async fn health_falls_with_the_server_and_rises_with_the_next() {
    let fake = held().await;
    let_go(&fake);
    fake.ready().await;
    fs::remove_file(fake.path("go")).unwrap();
    kill(fake.pids()[0]);
    let body = fake.until_health("fake", 503).await;
    assert!(body["reason"].is_string(), "{body}");
    // its last words are read first
    let body = until("how it ended", async || {
        let (status, body) = fake.health("fake").await;
        assert_eq!(status, 503, "{body}");
        body["last_exit"].is_object().then_some(body)
    })
    .await;
    let exit = &body["last_exit"];
    assert_eq!(exit["signal"], 9, "{body}");
    assert_eq!(exit["code"], Value::Null);
    assert!(exit["uptime_ms"].is_u64() && exit["ago_ms"].is_u64());
    fake.journaled("start", 2).await;
    let_go(&fake);
    let body = fake.ready().await;
    assert_eq!(body["generation"], 2);
    assert_eq!(body["restarts"], 1);
    assert_eq!(body["reason"], Value::Null);
    let metrics = fake.metrics("fake").await;
    assert!(
        metrics.contains("mcp_bridged_restarts_total{bridge=\"fake\"} 1\n"),
        "{metrics}"
    );
}

#[tokio::test]
async fn the_last_words_of_a_server_are_for_the_admin_only() {
    let fake = held().await;
    let_go(&fake);
    fake.ready().await;
    let mut client = fake.sse().await;
    let crash = json!({"name": "crash", "arguments": {"code": 7, "stderr": "no space left"}});
    let id = client.start("tools/call", &crash).await;
    let error = client.answer(id).await;
    assert_eq!(
        error["error"]["data"]["exit"],
        json!({"code": 7}),
        "{error}"
    );
    let (_, body) = fake.health("fake").await;
    assert_eq!(body["last_exit"]["code"], 7);
    assert!(!body.to_string().contains("no space left"), "{body}");
    let bridge = http::exchange(fake.admin(), Request::get("/bridges/fake")).await;
    let bridge = bridge.json();
    assert_eq!(
        bridge["last_exit"]["stderr"],
        json!(["no space left"]),
        "{bridge}"
    );
}

#[tokio::test]
async fn the_probes_never_touch_the_server() {
    let fake = held().await;
    let_go(&fake);
    fake.ready().await;
    // what the bridge asks on its own after each start
    fake.recorded("tools/list").await;
    let pid = fake.pids()[0];
    signal(pid, Signal::SIGSTOP);
    until("the server stopped", async || {
        proc::Process::find(pid)
            .filter(|now| now.state == 'T')
            .map(drop)
    })
    .await;
    let lines = fake.record().len();
    let mut connection = Connection::open(fake.addr()).await;
    for path in ["/health", "/ready", "/live", "/health"] {
        let response = connection.exchange(&Request::get(path)).await;
        assert_eq!(response.status(), 200, "{path}: {}", response.text());
    }
    signal(pid, Signal::SIGCONT);
    let mut client = fake.sse().await;
    client.call("echo", &json!({})).await;
    // what has come is the client's call, and before it only what its session brought
    let new = fake.record().split_off(lines).concat();
    assert!(
        !new.contains("\"ping\"") && !new.contains("tools/list"),
        "{new}"
    );
}

#[tokio::test]
async fn the_admin_listener_shows_the_drain() {
    let mut fake = held().await;
    let_go(&fake);
    fake.ready().await;
    let mut client = fake.sse().await;
    let hold = json!({"name": "hold", "arguments": {"file": fake.path("done").to_str()}});
    let id = client.start("tools/call", &hold).await;
    fake.recorded("\"hold\"").await;
    fake.signal(Signal::SIGTERM);
    let body = until("a drain at the admin listener", async || {
        let response = http::exchange(fake.admin(), Request::get("/ready")).await;
        (response.status() == 503).then(|| response.json())
    })
    .await;
    assert_eq!(body["bridges"][0]["state"], "draining", "{body}");
    let live = http::exchange(fake.admin(), Request::get("/live")).await;
    assert_eq!(live.status(), 200);
    fs::write(fake.path("done"), "").unwrap();
    let answer = client.answer(id).await;
    assert!(answer["result"].is_object(), "{answer}");
    assert_eq!(fake.exit().await.code(), Some(0));
}

/// The reason in `/health` once the first generation has failed.
async fn first_failure(extra: &str, flags: &[&str]) -> (Fake, String) {
    let fake = fake::fake(&format!("isolation: shared\n{extra}"), flags).await;
    let reason = until("a failure's reason", async || {
        let (status, body) = fake.health("fake").await;
        assert_eq!(status, 503, "never ready: {body}");
        body["last_exit"]["reason"].as_str()?;
        // the next one may be on its way out already, which is a reason too
        let settled = body["state"] != "stopping" && body["state"] != "starting";
        body["reason"]
            .as_str()
            .filter(|_| settled)
            .map(str::to_owned)
    })
    .await;
    (fake, reason)
}

#[tokio::test]
async fn a_server_that_does_not_answer_initialize_is_killed() {
    let (fake, reason) = first_failure("init_timeout: 200ms", &["--init-silent"]).await;
    assert!(
        reason.contains("no answer to initialize within 200ms"),
        "{reason}"
    );
    fake.journaled("start", 2).await;
    let first = fake.pids()[0];
    assert!(proc::Process::find(first).is_none(), "killed and reaped");
}

#[tokio::test]
async fn an_error_to_initialize_is_told_in_its_own_words() {
    let (fake, reason) = first_failure("", &["--init-error", "database is down"]).await;
    assert!(reason.contains("database is down"), "{reason}");
    fake.until_logged("database is down").await;
    let mut client = Streamable::new(fake.addr());
    let (_, reply) = client.start("initialize", &json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}})).await;
    let response = reply.whole();
    assert_eq!(response.status(), 503, "{}", response.text());
    assert!(response.text().contains("database is down"));
}

#[tokio::test]
async fn an_answer_to_initialize_that_is_none_is_a_failure() {
    for (result, want) in [
        ("[]", "protocolVersion"),
        ("{\"capabilities\":{}}", "protocolVersion"),
        (
            "{\"protocolVersion\":7,\"capabilities\":{}}",
            "protocolVersion",
        ),
    ] {
        let (_fake, reason) = first_failure("", &["--init-result", result]).await;
        assert!(reason.contains(want), "{result}: {reason}");
    }
}

#[tokio::test]
async fn a_server_that_closes_its_stdout_is_ended() {
    let fake = fake::fake("isolation: shared", &[]).await;
    fake.ready().await;
    let pid = fake.pids()[0];
    let mut client = fake.sse().await;
    let answer = client.call("close", &json!({"stream": "stdout"})).await;
    assert_eq!(answer["error"]["code"], -31001, "{answer}");
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .contains("closed its std")
    );
    assert_eq!(answer["error"]["data"]["delivered"], true);
    fake.journaled("start", 2).await;
    fake.ready().await;
    assert!(proc::Process::find(pid).is_none());
}

#[tokio::test]
async fn a_server_that_closes_its_stdin_is_ended() {
    let fake = fake::fake("isolation: shared", &["--synchronous"]).await;
    fake.ready().await;
    let mut client = fake.sse().await;
    let answer = client.call("close", &json!({"stream": "stdin"})).await;
    assert!(answer["result"].is_object(), "{answer}");
    let answer = client.call("echo", &json!({})).await;
    assert_eq!(answer["error"]["code"], -31001, "{answer}");
    assert_eq!(answer["error"]["data"]["delivered"], false, "{answer}");
    fake.journaled("start", 2).await;
    client.call("echo", &json!({})).await;
}
