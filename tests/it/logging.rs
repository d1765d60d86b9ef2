//! Log levels are each session's own, and a log line reaches the owner of the only live call, or the bridge's log.

use serde_json::{Value, json};

use crate::harness::{Fake, Sse, fake, until};

/// Waits until the server was told this level.
async fn told(fake: &Fake, level: &str) {
    until(format!("{level} at the server"), async || {
        (levels(fake).last()? == level).then_some(())
    })
    .await;
}

/// Every level that the server was told, in order.
fn levels(fake: &Fake) -> Vec<String> {
    let lines = fake.record().into_iter();
    let told = lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    told.filter(|line| line["method"] == "logging/setLevel")
        .map(|line| line["params"]["level"].as_str().unwrap().to_owned())
        .collect()
}

async fn set(client: &mut Sse, level: &str) {
    let answer = client
        .request("logging/setLevel", &json!({"level": level}))
        .await;
    assert_eq!(answer["result"], json!({}), "{answer}");
}

/// Logs one line by a call, and returns the lines that came.
async fn logged(client: &mut Sse, level: &str, data: &str) -> Vec<Value> {
    client
        .call("log", &json!({"level": level, "data": data}))
        .await;
    // whatever came before the answer, is here
    client.seen()
}

#[tokio::test]
async fn the_server_gets_the_most_verbose_level_and_each_session_its_own() {
    let fake = fake::settled("isolation: shared", &[]).await;
    let (mut one, mut two) = (fake.sse().await, fake.sse().await);
    set(&mut one, "error").await;
    assert_eq!(levels(&fake), ["error"]);
    set(&mut two, "debug").await;
    assert_eq!(levels(&fake), ["error", "debug"]);
    set(&mut one, "warning").await;
    assert_ne!(
        levels(&fake).last().unwrap(),
        "warning",
        "the other one wants more"
    );

    assert_eq!(
        logged(&mut one, "info", "too little for one").await,
        Vec::<Value>::new()
    );
    fake.until_logged("too little for one").await;
    let lines = logged(&mut one, "warning", "enough for one").await;
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["method"], "notifications/message");
    assert_eq!(
        lines[0]["params"],
        json!({"level": "warning", "logger": "fake", "data": "enough for one"})
    );
    let lines = logged(&mut two, "debug", "all for two").await;
    assert_eq!(lines[0]["params"]["data"], "all for two");
    assert_eq!(logged(&mut one, "critical", "more").await.len(), 1);

    // its end gives the server the level of those who are left
    drop(two);
    told(&fake, "warning").await;
    set(&mut one, "emergency").await;
    told(&fake, "emergency").await;
    assert_eq!(one.seen(), Vec::<Value>::new());
}

#[tokio::test]
async fn a_session_that_set_no_level_gets_no_lines() {
    let fake = fake::settled("isolation: shared", &[]).await;
    let (mut quiet, mut other) = (fake.sse().await, fake.streamable().await);
    other
        .request("logging/setLevel", &json!({"level": "debug"}))
        .await;
    assert_eq!(
        logged(&mut quiet, "emergency", "for nobody").await,
        Vec::<Value>::new()
    );
    fake.until_logged("for nobody").await;
    let params = json!({"name": "log", "arguments": {"level": "debug", "data": "mine"}});
    let (_, before) = other.request_all("tools/call", &params).await;
    assert_eq!(before.len(), 1);
    assert_eq!(before[0]["params"]["data"], "mine");
}

#[tokio::test]
async fn a_line_is_never_guessed_to_be_somebodys() {
    let fake = fake::settled("isolation: shared", &[]).await;
    let (mut one, mut two) = (fake.sse().await, fake.sse().await);
    set(&mut one, "debug").await;
    set(&mut two, "debug").await;
    // two live calls
    let held = one
        .start_call("hold", &json!({"key": "k"}), &json!(0))
        .await;
    fake.recorded("\"hold\"").await;
    assert_eq!(
        logged(&mut two, "error", "of two, while one waits").await,
        Vec::<Value>::new()
    );
    fake.until_logged("of two, while one waits").await;
    two.call("release", &json!({"key": "k"})).await;
    one.answer(held).await;
    assert_eq!(one.seen(), Vec::<Value>::new());
    // no live call
    let line = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"after the answer"}}"#;
    one.call("emit", &json!({"lines": [], "after": [line]}))
        .await;
    fake.until_logged("after the answer").await;
    // and one again
    assert_eq!(logged(&mut two, "error", "alone").await.len(), 1);
    assert_eq!(one.seen(), Vec::<Value>::new());
    assert_eq!(two.seen(), Vec::<Value>::new());
}

#[tokio::test]
async fn a_cancelled_calls_lines_are_not_anothers() {
    let fake = fake::settled("isolation: shared", &[]).await;
    let (mut one, mut two) = (fake.sse().await, fake.sse().await);
    set(&mut two, "debug").await;
    let held = one
        .start_call(
            "hold",
            &json!({"key": "k", "ignore_cancel": true}),
            &json!(0),
        )
        .await;
    fake.recorded("\"hold\"").await;
    one.notify("notifications/cancelled", &json!({"requestId": held}))
        .await;
    fake.recorded("notifications/cancelled").await;
    // the server may still be at work on it, and mean that
    assert_eq!(
        logged(&mut two, "error", "whose").await,
        Vec::<Value>::new()
    );
    fake.until_logged("whose").await;
    two.call("release", &json!({"key": "k"})).await;
    until("the late answer", async || {
        fake.metrics("fake")
            .await
            .contains("reason=\"late_answer\"} 1")
            .then_some(())
    })
    .await;
    assert_eq!(logged(&mut two, "error", "mine").await.len(), 1);
}

#[tokio::test]
async fn a_level_that_is_none_is_refused() {
    let fake = fake::settled("isolation: shared", &[]).await;
    let mut client = fake.sse().await;
    for params in [
        json!({"level": "loud"}),
        json!({"level": 3}),
        json!({}),
        json!([]),
    ] {
        let answer = client.request("logging/setLevel", &params).await;
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
    }
    assert_eq!(levels(&fake), Vec::<String>::new());
}
