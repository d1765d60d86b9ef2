//! Requests in flight when the server dies, waits, or says nothing (SUPERVISION §3).

use std::collections::HashSet;
use std::fs;

use serde_json::{Value, json};

use crate::harness::{Fake, Sse, fake, until};
use crate::supervision::{beside, kill, metric};

async fn ready(extra: &str, flags: &[&str]) -> Fake {
    let fake = fake::fake(&format!("isolation: shared\n{extra}"), flags).await;
    fake.ready().await;
    fake
}

fn hold(fake: &Fake) -> Value {
    json!({"name": "hold", "arguments": {"file": fake.path("done").to_str()}})
}

/// How many lines the server has received that contain `text`.
fn received(fake: &Fake, text: &str) -> usize {
    let record = fake.record();
    record.iter().filter(|line| line.contains(text)).count()
}

#[tokio::test]
async fn a_death_answers_each_call_under_its_own_id() {
    let fake = ready("", &[]).await;
    let mut sse = fake.sse().await;
    let mut ids = HashSet::new();
    for _ in 0..20 {
        ids.insert(sse.start("tools/call", &hold(&fake)).await);
    }
    let odd = json!({"jsonrpc": "2.0", "id": "17", "method": "tools/call", "params": hold(&fake)});
    sse.send(&odd).await;
    let mut other = fake.streamable().await;
    let call = hold(&fake);
    let streamable = beside(async move {
        let (id, reply) = other.start("tools/call", &call).await;
        (reply.status(), reply.answer(id).await.0)
    });
    until("all calls at the server", async || {
        (received(&fake, "\"hold\"") == 22).then_some(())
    })
    .await;
    kill(fake.pids()[0]);
    for id in ids {
        let answer = sse.answer(id).await;
        assert_eq!(answer["error"]["code"], -31001, "{answer}");
    }
    let answer = sse.answer("17").await;
    assert_eq!(answer["error"]["code"], -31001, "{answer}");
    let (status, answer) = streamable.await.unwrap();
    assert_eq!(status, 200, "it had been accepted");
    let error = &answer["error"];
    assert_eq!(error["code"], -31001, "{answer}");
    assert_eq!(
        error["message"],
        "MCP server process killed by signal 9 before it answered"
    );
    let data = &error["data"];
    assert_eq!(data["source"], "bridge");
    assert_eq!(data["kind"], "server_exited");
    assert_eq!(data["bridge"], "fake");
    assert_eq!(data["generation"], 1);
    assert_eq!(data["exit"], json!({"signal": 9}));
    assert_eq!(data["delivered"], true);
    assert_eq!(data["restarts"], 0);
    assert!(data["uptime_ms"].is_u64() && data["retry_after_ms"].is_u64());
    assert_eq!(data["stderr"], json!([]));
}

#[tokio::test]
async fn the_error_says_how_it_ended_and_what_it_said_last() {
    let fake = ready("", &["--stderr-banner", "starting up"]).await;
    let mut client = fake.sse().await;
    let crash = json!({"code": 70, "stderr": "Traceback\nValueError: boom", "partial": true});
    let answer = client.call("crash", &crash).await;
    let error = &answer["error"];
    assert_eq!(
        error["message"],
        "MCP server process ended with exit code 70 before it answered"
    );
    assert_eq!(error["data"]["exit"], json!({"code": 70}));
    let stderr = json!(["starting up", "Traceback", "ValueError: boom"]);
    assert_eq!(error["data"]["stderr"], stderr, "{answer}");
}

#[tokio::test]
async fn an_answer_before_the_death_is_delivered() {
    let fake = ready("", &[]).await;
    let mut client = fake.sse().await;
    let answer = client.call("crash", &json!({"answer": true})).await;
    assert!(answer["result"].is_object(), "{answer}");
    fake.journaled("start", 2).await;
}

#[tokio::test]
async fn a_call_is_never_sent_twice_but_a_list_is() {
    // it dies of the third request that is no initialize or ping
    let fake = ready("", &["--exit-on", "prompts/list"]).await;
    let mut client = fake.sse().await;
    let call = client.start("tools/call", &hold(&fake)).await;
    fake.recorded("\"hold\"").await;
    // its list is asked once more, and kills the next generation too; then it is given up
    let answer = client.request("prompts/list", &json!({})).await;
    assert_eq!(answer["error"]["code"], -31001, "{answer}");
    assert_eq!(answer["error"]["data"]["generation"], 2, "{answer}");
    let answer = client.answer(call).await;
    assert_eq!(answer["error"]["data"]["generation"], 1, "{answer}");
    fake.ready().await;
    assert_eq!(received(&fake, "\"hold\""), 1);
    assert_eq!(received(&fake, "prompts/list"), 2);
}

#[tokio::test]
async fn a_list_that_a_death_cut_off_is_asked_again() {
    let fake = ready("", &["--synchronous"]).await;
    let mut client = fake.sse().await;
    let call = client.start("tools/call", &hold(&fake)).await;
    fake.recorded("\"hold\"").await;
    // the daemon asks for the list itself, for its table
    let list = client.start("tools/list", &json!({"mark": "mine"})).await;
    client.request("ping", &json!({})).await;
    kill(fake.pids()[0]);
    let answer = client.answer(call).await;
    assert_eq!(answer["error"]["code"], -31001, "{answer}");
    let answer = client.answer(list).await;
    assert!(answer["result"]["tools"].is_array(), "{answer}");
    // the busy server had not read it yet, though it was written; the next one has
    assert_eq!(received(&fake, "mine"), 1);
    assert_eq!(received(&fake, "\"hold\""), 1);
}

#[tokio::test]
async fn a_request_waits_for_a_server_that_starts() {
    let fake = fake::fake("isolation: shared", &["--init-hold", "{dir}/go"]).await;
    let mut sse = Sse::connect(fake.addr()).await;
    let id = sse.start("tools/list", &json!({})).await;
    let addr = fake.addr();
    let opened = beside(async move {
        let client = crate::harness::Streamable::open(addr, &json!({})).await;
        client.initialized
    });
    fake.recorded("\"initialize\"").await;
    assert_eq!(fake.health("fake").await.0, 503);
    fs::write(fake.path("go"), "").unwrap();
    assert!(sse.answer(id).await["result"]["tools"].is_array());
    assert!(opened.await.unwrap()["result"].is_object());
}

#[tokio::test]
async fn a_request_waits_through_a_short_back_off() {
    let fake = ready("", &[]).await;
    let mut client = fake.sse().await;
    client.call("crash", &json!({})).await;
    let (status, body) = fake.health("fake").await;
    assert_eq!((status, body["state"].as_str()), (503, Some("backoff")));
    let answer = client.call("echo", &json!({})).await;
    assert!(answer["result"].is_object(), "{answer}");
}

#[tokio::test]
async fn a_request_that_has_waited_long_enough_is_told_when_to_come_back() {
    let config = "admin: { port: 0 }\nbridges:\n  fake:\n    port: 0\n    command: no-such-mcp-server\n    start_wait: 100ms\n";
    let daemon = crate::harness::Daemon::start(config).await;
    until("back-off", async || {
        (daemon.health("fake").await.1["state"] == "backoff").then_some(())
    })
    .await;
    let mut client = Sse::connect(daemon.bridge("fake")).await;
    let answer = client.request("tools/list", &json!({})).await;
    let data = &answer["error"]["data"];
    assert_eq!(answer["error"]["code"], -31001, "{answer}");
    assert!(data["retry_after_ms"].as_u64().unwrap() > 1000, "{answer}");
    assert_eq!(data["delivered"], false);
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("no-such-mcp-server"), "{message}");
}

#[tokio::test]
async fn no_more_than_128_requests_wait() {
    let fake = fake::fake("isolation: shared", &["--init-hold", "{dir}/go"]).await;
    fake.recorded("\"initialize\"").await;
    let mut one = Sse::connect(fake.addr()).await;
    let mut two = Sse::connect(fake.addr()).await;
    let mut ids = Vec::new();
    for n in 0..64 {
        ids.push((
            one.start("tools/list", &json!({"n": n})).await,
            two.start("tools/list", &json!({"n": n})).await,
        ));
    }
    let answer = one.request("tools/list", &json!({})).await;
    assert_eq!(answer["error"]["code"], -31004, "{answer}");
    // who gives up makes room
    let cancel = json!({"requestId": ids[0].1});
    two.notify("notifications/cancelled", &cancel).await;
    let late = two.start("tools/list", &json!({})).await;
    fs::write(fake.path("go"), "").unwrap();
    assert!(two.answer(late).await["result"].is_object());
    for (first, second) in ids.into_iter().skip(1) {
        assert!(one.answer(first).await["result"].is_object());
        assert!(two.answer(second).await["result"].is_object());
    }
}

#[tokio::test]
async fn a_request_out_of_time_is_cancelled_at_the_server_and_its_late_answer_dropped() {
    let fake = ready("request_timeout: 300ms", &[]).await;
    let mut client = fake.sse().await;
    let arguments = json!({"file": fake.path("done").to_str(), "ignore_cancel": true});
    let answer = client.call("hold", &arguments).await;
    assert_eq!(answer["error"]["code"], -31002, "{answer}");
    let line: Value = serde_json::from_str(&fake.recorded("\"hold\"").await).unwrap();
    let cancelled = fake.journaled("cancelled", 1).await;
    assert_eq!(
        cancelled["id"],
        line["id"].to_string(),
        "the server's own id"
    );
    let late = "mcp_bridged_dropped_total{bridge=\"fake\",reason=\"late_answer\"}";
    assert_eq!(metric(&fake, "fake", late).await, 0);
    fs::write(fake.path("done"), "").unwrap();
    until("the late answer", async || {
        (metric(&fake, "fake", late).await == 1).then_some(())
    })
    .await;
    client.call("echo", &json!({})).await;
    assert_eq!(client.seen(), Vec::<Value>::new());
    assert_eq!(fake.pids().len(), 1);
}

#[tokio::test]
async fn progress_extends_the_time_of_a_request() {
    let fake = ready("request_timeout: 600ms", &[]).await;
    let mut client = fake.sse().await;
    let mut other = fake.sse().await;
    let call = client
        .start_call("hold", &json!({"key": "k"}), &json!("token"))
        .await;
    let still = other
        .start_call("hold", &json!({"key": "other"}), &json!("token"))
        .await;
    let line: Value = serde_json::from_str(&fake.recorded("\"hold\"").await).unwrap();
    let token = &line["params"]["_meta"]["progressToken"];
    let mut helper = fake.sse().await;
    // progress until the other call, without any, has run out of time
    let silent = beside(async move { other.answer(still).await });
    while !silent.is_finished() {
        helper
            .call("progress", &json!({"n": 1, "token": token}))
            .await;
    }
    let answer = silent.await.unwrap();
    assert_eq!(answer["error"]["code"], -31002, "{answer}");
    helper
        .call("progress", &json!({"n": 1, "token": token}))
        .await;
    helper.call("release", &json!({"key": "k"})).await;
    assert!(client.answer(call).await["result"].is_object());
}
