//! What outlives a server: sessions, their streams, log levels, subscriptions; and what `on_crash: end` ends (SUPERVISION §3).

use serde_json::{Value, json};

use crate::harness::{fake, until, within};
use crate::supervision::kill;

/// Messages that are no answers, by method.
fn methods(messages: &[Value]) -> Vec<&str> {
    let methods = messages
        .iter()
        .filter_map(|message| message["method"].as_str());
    methods.collect()
}

#[tokio::test]
async fn sessions_of_both_transports_outlive_the_server() {
    let fake = fake::fake("isolation: shared", &[]).await;
    fake.ready().await;
    let mut sse = fake.sse().await;
    let mut streamable = fake.streamable().await;
    let (head, mut stream) = streamable.get(None).await;
    assert_eq!(head.status, 200);
    kill(fake.pids()[0]);
    fake.journaled("start", 2).await;
    fake.ready().await;
    let answer = sse.call("info", &json!({})).await;
    assert_eq!(answer["result"]["structuredContent"]["pid"], fake.pids()[1]);
    assert!(streamable.call("echo", &json!({})).await["result"].is_object());
    // the session's own stream is the same one, and is told that lists may have changed
    let mut changed = Vec::new();
    while changed.len() < 3 {
        changed.push(stream.message().await);
    }
    let mut changed = methods(&changed);
    changed.sort_unstable();
    let all =
        ["prompts", "resources", "tools"].map(|list| format!("notifications/{list}/list_changed"));
    assert_eq!(changed, all);
    assert_eq!(streamable.delete().await.status(), 204);
}

#[tokio::test]
async fn the_new_server_is_told_level_and_subscriptions() {
    let fake = fake::fake("isolation: shared", &["--synchronous"]).await;
    fake.ready().await;
    let mut one = fake.sse().await;
    let mut two = fake.sse().await;
    one.request("logging/setLevel", &json!({"level": "warning"}))
        .await;
    two.request("logging/setLevel", &json!({"level": "debug"}))
        .await;
    for uri in ["fake://a", "fake://b"] {
        one.request("resources/subscribe", &json!({"uri": uri}))
            .await;
    }
    two.request("resources/subscribe", &json!({"uri": "fake://a"}))
        .await;
    one.request("resources/unsubscribe", &json!({"uri": "fake://b"}))
        .await;
    let before = fake.record().len();
    kill(fake.pids()[0]);
    let lines = until("the replay", async || {
        let lines: Vec<Value> = fake
            .record()
            .split_off(before)
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        (lines.len() >= 5).then_some(lines)
    })
    .await;
    assert_eq!(
        methods(&lines[..5]),
        [
            "server/discover",
            "initialize",
            "notifications/initialized",
            "logging/setLevel",
            "resources/subscribe"
        ]
    );
    assert_eq!(lines[3]["params"]["level"], "debug");
    assert_eq!(lines[4]["params"]["uri"], "fake://a");
    // both still get what they asked for, and only that
    fake.ready().await;
    let state = two.call("state", &json!({})).await;
    let subscriptions = &state["result"]["structuredContent"]["subscriptions"];
    assert_eq!(subscriptions, &json!({"fake://a": 1}), "{state}");
    two.call("update", &json!({"uri": "fake://a"})).await;
    two.call("log", &json!({"level": "info"})).await;
    within("what was asked for", async {
        while one.next().await["method"] != "notifications/resources/updated" {}
        let mut seen = Vec::new();
        while seen.iter().all(|method| method != "notifications/message") {
            seen.push(two.next().await["method"].clone());
        }
        let updated = json!("notifications/resources/updated");
        assert!(seen.contains(&updated), "{seen:?}");
    })
    .await;
}

#[tokio::test]
async fn with_on_crash_end_the_sessions_end_with_the_server() {
    let fake = fake::fake("isolation: shared\non_crash: end", &[]).await;
    fake.ready().await;
    let mut sse = fake.sse().await;
    let mut streamable = fake.streamable().await;
    let (_, mut stream) = streamable.get(None).await;
    let hold = json!({"name": "hold", "arguments": {"key": "never"}});
    let call = sse.start("tools/call", &hold).await;
    fake.recorded("\"hold\"").await;
    kill(fake.pids()[0]);
    // the answer first, then the end
    let answer = sse.answer(call).await;
    assert_eq!(answer["error"]["code"], -31001, "{answer}");
    sse.events().ended().await;
    while stream.try_next().await.is_some() {}
    let (_, reply) = streamable.start("tools/list", &json!({})).await;
    assert_eq!(reply.status(), 404);
    assert_eq!(
        sse.post(r#"{"jsonrpc":"2.0","id":9,"method":"ping"}"#)
            .await
            .status(),
        404
    );
    // a new session is served
    let mut fresh = fake.streamable().await;
    fresh.call("echo", &json!({})).await;
}
