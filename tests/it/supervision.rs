//! Restart: back-off, quarantine, restart policies, what is shown of it, and the hang rule (SUPERVISION §1 and §2).

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::harness::{Daemon, Fake, Request, Sse, Streamable, fake, http, proc, until};

/// Runs something beside the test, which waits for it.
pub(crate) fn beside<F>(future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio_util::task::TaskTracker::new().spawn(future)
}

/// Sends a signal to a server.
pub(crate) fn signal(pid: i32, signal: Signal) {
    nix::sys::signal::kill(Pid::from_raw(pid), signal).unwrap();
}

/// kill -9 of a server.
pub(crate) fn kill(pid: i32) {
    signal(pid, Signal::SIGKILL);
}

/// A number of a bridge's `/metrics`; `series` is the name with its labels, as far as it takes to tell it apart.
pub(crate) async fn metric(daemon: &Daemon, bridge: &str, series: &str) -> i64 {
    let text = daemon.metrics(bridge).await;
    let found = text.lines().find(|line| line.starts_with(series));
    let line = found.unwrap_or_else(|| panic!("no {series} in {text}"));
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

/// What `/bridges/<name>` of the admin listener says.
pub(crate) async fn shown(daemon: &Daemon, bridge: &str) -> Value {
    let path = format!("/bridges/{bridge}");
    let response = http::exchange(daemon.admin(), Request::get(&path)).await;
    assert_eq!(response.status(), 200, "{}", response.text());
    response.json()
}

/// Orders a restart at the admin listener.
pub(crate) async fn restart(daemon: &Daemon, bridge: &str) {
    let path = format!("/bridges/{bridge}/restart");
    let response = http::exchange(daemon.admin(), Request::post(&path, "")).await;
    assert_eq!(response.status(), 202, "{}", response.text());
}

/// The fields of the log's lines whose message contains `text`. (Log lines are JSON: the daemon's stderr is a file.)
fn logged(fake: &Fake, text: &str) -> Vec<Value> {
    let log = fake.log();
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    lines
        .filter(|line: &Value| line["message"].as_str().unwrap_or_default().contains(text))
        .collect()
}

#[tokio::test]
async fn five_useless_deaths_mean_quarantine_and_callers_are_told_at_once() {
    let fake = fake::fake("isolation: shared", &["--exit-at-start", "3"]).await;
    let mut waiting = Sse::connect(fake.addr()).await;
    let waits = waiting.start("tools/list", &json!({})).await;
    let body = until("quarantine", async || {
        let (status, body) = fake.health("fake").await;
        assert_eq!(status, 503);
        (body["state"] == "quarantined").then_some(body)
    })
    .await;
    assert_eq!(body["last_exit"]["code"], 3, "{body}");
    assert_eq!(body["generation"], 5, "{body}");
    assert!(body["next_start_ms"].as_u64().unwrap() > 40_000, "{body}");
    assert_eq!(fake.pids().len(), 5);
    // who waited has been told by now, and who comes now is told at once
    let answer = waiting.answer(waits).await;
    assert_eq!(answer["error"]["code"], -31001, "{answer}");
    let mut client = Streamable::new(fake.addr());
    let (id, reply) = client.start("initialize", &json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}})).await;
    let response = reply.whole();
    assert_eq!(response.status(), 503);
    let wait: u64 = response.header("retry-after").unwrap().parse().unwrap();
    assert!((40..=72).contains(&wait), "{wait}");
    let error = response.json();
    assert_eq!(error["id"], id);
    assert_eq!(error["error"]["code"], -31001, "{error}");
    let data = &error["error"]["data"];
    assert!(data["retry_after_ms"].as_u64().unwrap() > 40_000, "{error}");
    assert_eq!(data["state"], "quarantined");
    assert_eq!(data["delivered"], false);
    // each delay is about the double of the one before
    let delays: Vec<f64> = logged(&fake, "server ended")
        .iter()
        .map(|line| line["retry_in_ms"].as_f64().unwrap() / 1000.0)
        .collect();
    assert_eq!(delays.len(), 5, "{delays:?}");
    for (delay, want) in delays.iter().zip([0.25, 0.5, 1.0, 2.0, 60.0]) {
        assert!((0.79..1.21).contains(&(delay / want)), "{delays:?}");
    }
}

#[tokio::test]
async fn an_operator_ends_a_quarantine() {
    let fake = fake::fake("isolation: shared", &["--fail-while", "{dir}/broken"]).await;
    fake.ready().await;
    std::fs::write(fake.path("broken"), "").unwrap();
    kill(fake.pids()[0]);
    until("quarantine", async || {
        (fake.health("fake").await.1["state"] == "quarantined").then_some(())
    })
    .await;
    std::fs::remove_file(fake.path("broken")).unwrap();
    let response = http::exchange(fake.admin(), Request::post("/bridges/fake/restart", "")).await;
    assert_eq!(response.status(), 202, "{}", response.text());
    fake.ready().await;
    // the count of failures began anew
    kill(*fake.pids().last().unwrap());
    let body = fake.until_health("fake", 503).await;
    assert_ne!(body["state"], "quarantined");
}

#[tokio::test]
async fn a_tool_that_kills_its_server_does_not_take_it_away() {
    let fake = fake::fake("isolation: shared", &[]).await;
    fake.ready().await;
    let mut client = fake.sse().await;
    for round in 1..=4 {
        // the longest delay, with its jitter, is over what a request waits
        fake.ready().await;
        let answer = client.call("echo", &json!({})).await;
        assert!(answer["result"].is_object(), "{answer}");
        let answer = client.call("crash", &json!({"code": 1})).await;
        let data = &answer["error"]["data"];
        assert_eq!(data["generation"], round, "{answer}");
        assert!(data["retry_after_ms"].as_u64().unwrap() <= 2400, "{answer}");
    }
    fake.ready().await;
    assert_eq!(metric(&fake, "fake", "mcp_bridged_restarts_total").await, 4);
    kill(*fake.pids().last().unwrap());
    fake.until_health("fake", 503).await;
    let deaths = shown(&fake, "fake").await["deaths"].clone();
    assert_eq!(deaths.as_array().unwrap().len(), 5, "{deaths}");
    assert_eq!(deaths[0]["signal"], 9);
    assert_eq!(deaths[0]["productive"], false);
    assert_eq!(deaths[1]["code"], 1);
    assert_eq!(deaths[1]["generation"], 4);
    assert_eq!(deaths[1]["productive"], true);
}

#[tokio::test]
async fn a_missing_command_is_named_and_tried_again_later() {
    let config =
        "admin: { port: 0 }\nbridges:\n  gone:\n    port: 0\n    command: no-such-mcp-server\n";
    let daemon = Daemon::start(config).await;
    let body = until("the reason", async || {
        let (status, body) = daemon.health("gone").await;
        assert_eq!(status, 503);
        body["last_exit"].is_object().then_some(body)
    })
    .await;
    assert!(
        body["reason"]
            .as_str()
            .unwrap()
            .contains("no-such-mcp-server"),
        "{body}"
    );
    assert_eq!(body["state"], "backoff");
    let next = body["next_start_ms"].as_u64().unwrap();
    assert!((3_500..=6_000).contains(&next), "{body}");
    daemon.until_logged("no-such-mcp-server").await;
    // the table at the start says it, too
    until("the table", async || {
        let log = daemon.log();
        log.lines()
            .find(|line| line.starts_with("gone ") && line.contains("backoff"))?;
        let remark = log
            .lines()
            .find(|line| line.trim_start().starts_with("gone: "))?;
        assert!(remark.contains("no-such-mcp-server"), "{remark}");
        Some(())
    })
    .await;
}

#[tokio::test]
async fn a_file_that_can_not_be_executed_is_named() {
    let entry = "    port: 0\n    command: ";
    let config = format!(
        "admin: {{ port: 0 }}\nbridges:\n  text:\n{entry}/etc/passwd\n  script:\n{entry}{{dir}}/script\n"
    );
    let daemon = Daemon::start(&config).await;
    for (bridge, path) in [("text", "/etc/passwd"), ("script", "/script")] {
        let reason = until("the reason", async || {
            let (_, body) = daemon.health(bridge).await;
            body["reason"].as_str().map(str::to_owned)
        })
        .await;
        assert!(reason.contains(path), "{bridge}: {reason}");
    }
}

#[tokio::test]
async fn the_restart_policy_decides_what_an_end_means() {
    // policy, exit code, whether it goes on
    for (policy, code, goes_on) in [
        ("never", 1, false),
        ("never", 0, false),
        ("on_failure", 0, false),
        ("on_failure", 1, true),
        ("always", 0, true),
    ] {
        let extra = format!("isolation: shared\nrestart: {policy}");
        let fake = fake::fake(&extra, &[]).await;
        fake.ready().await;
        let mut client = fake.sse().await;
        client.call("crash", &json!({"code": code})).await;
        if goes_on {
            fake.journaled("start", 2).await;
            fake.ready().await;
            continue;
        }
        let body = fake.until_health("fake", 503).await;
        assert_eq!(body["state"], "stopped", "{policy} {code}: {body}");
        let answer = client.call("echo", &json!({})).await;
        assert_eq!(answer["error"]["code"], -31001, "{answer}");
        assert_eq!(fake.pids().len(), 1);
        // nothing but an order starts it again
        http::exchange(fake.admin(), Request::post("/bridges/fake/restart", "")).await;
        fake.ready().await;
    }
}

#[tokio::test]
async fn who_waits_for_a_server_that_ends_for_good_is_told() {
    let fake = fake::fake(
        "isolation: shared\nrestart: never",
        &["--init-hold", "{dir}/go"],
    )
    .await;
    fake.recorded("\"initialize\"").await;
    let mut client = Sse::connect(fake.addr()).await;
    let id = client.start("tools/list", &json!({})).await;
    // the post before was taken in order: a ping is answered at once, so the request waits by now
    client.request("ping", &json!({})).await;
    kill(fake.pids()[0]);
    let answer = client.answer(id).await;
    assert_eq!(answer["error"]["code"], -31001, "{answer}");
}

#[tokio::test]
async fn a_frozen_server_is_found_and_replaced() {
    let timing = "isolation: shared\nping_interval: 100ms\nping_timeout: 100ms\nping_failures: 3";
    let fake = fake::fake(timing, &[]).await;
    fake.ready().await;
    let pid = fake.pids()[0];
    signal(pid, Signal::SIGSTOP);
    let body = fake.until_health("fake", 503).await;
    // two misses are enough for 503
    assert!(
        ["suspect", "stopping", "backoff", "starting"].contains(&body["state"].as_str().unwrap()),
        "{body}"
    );
    fake.journaled("start", 2).await;
    let body = fake.ready().await;
    let reason = body["last_exit"]["reason"].as_str().unwrap();
    assert!(reason.contains("3 pings"), "{body}");
    assert!(proc::Process::find(pid).is_none());
}

#[tokio::test]
async fn any_answer_to_a_ping_is_a_sign_of_life() {
    let timing = "isolation: shared\nping_interval: 20ms\nping_timeout: 60s";
    let fake = fake::fake(timing, &["--refuse-ping"]).await;
    fake.ready().await;
    until("pings", async || {
        let pings = fake
            .record()
            .iter()
            .filter(|line| line.contains("\"ping\""))
            .count();
        (pings >= 5).then_some(())
    })
    .await;
    assert_eq!(fake.health("fake").await.0, 200);
    assert_eq!(fake.pids().len(), 1);
}

#[tokio::test]
async fn a_synchronous_server_that_is_busy_is_not_killed() {
    let timing = "isolation: shared\nping_interval: 30ms\nping_timeout: 30ms\nping_failures: 2";
    let fake = fake::fake(timing, &["--synchronous"]).await;
    fake.ready().await;
    let mut client = fake.sse().await;
    let file = fake.path("done");
    let hold = json!({"name": "hold", "arguments": {"file": file.to_str()}});
    let id = client.start("tools/call", &hold).await;
    // far more misses than it takes to be hung
    until("misses", async || {
        let state = fake.health("fake").await.1;
        (state["state"] == "suspect" && state["since_ms"].as_u64().unwrap() < 200).then_some(())
    })
    .await;
    let mut other = fake.sse().await;
    let queued = other
        .start("tools/call", &json!({"name": "echo", "arguments": {}}))
        .await;
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    assert_eq!(fake.pids().len(), 1);
    std::fs::write(file, "").unwrap();
    assert!(client.answer(id).await["result"].is_object());
    assert!(other.answer(queued).await["result"].is_object());
    fake.ready().await;
    assert_eq!(fake.pids().len(), 1);
}

#[tokio::test]
async fn a_frozen_server_with_a_call_is_found_when_the_call_times_out() {
    let timing = "isolation: shared\nping_interval: 30ms\nping_timeout: 30ms\nping_failures: 2\nrequest_timeout: 700ms";
    let fake = fake::fake(timing, &[]).await;
    fake.ready().await;
    let mut client = fake.sse().await;
    let hold = json!({"name": "hold", "arguments": {"key": "never"}});
    let call = client.start("tools/call", &hold).await;
    fake.recorded("\"hold\"").await;
    signal(fake.pids()[0], Signal::SIGSTOP);
    let answer = client.answer(call).await;
    assert_eq!(answer["error"]["code"], -31002, "{answer}");
    fake.journaled("start", 2).await;
    let body = fake.ready().await;
    assert!(
        body["last_exit"]["reason"]
            .as_str()
            .unwrap()
            .contains("hangs")
    );
    client.call("echo", &json!({})).await;
}

#[tokio::test]
async fn one_bridge_s_failure_is_no_other_bridge_s() {
    let good = fake::entry("good", "isolation: shared", &[]);
    let bad = fake::entry("bad", "isolation: shared", &["--exit-at-start", "1"]);
    let daemon = Daemon::start(&format!("admin: {{ port: 0 }}\nbridges:\n{bad}{good}")).await;
    daemon.until_ready("good").await;
    let pid = shown(&daemon, "good").await["pid"].clone();
    let mut client = Sse::connect(daemon.bridge("good")).await;
    client.initialize(&json!({})).await;
    until("some deaths", async || {
        let (_, body) = daemon.health("bad").await;
        (body["generation"].as_u64().unwrap() >= 3).then_some(())
    })
    .await;
    client.call("echo", &json!({})).await;
    assert_eq!(shown(&daemon, "good").await["pid"], pid);
    let all = http::exchange(daemon.admin(), Request::get("/health")).await;
    assert_eq!(all.status(), 503);
}
