//! What an operator sees of chats: an audit line and a number for each call, however it ended.

use serde_json::{Value, json};

use super::Crowd;
use crate::harness::chats::{self, Way};
use crate::harness::http::{Request, exchange};
use crate::harness::until;

/// Everything that the settings of these tests add.
const KEYS: &str = "master_key: the-master\nvirtual_keys:\n  - { name: team, api_key: the-team }\ntool_timeout: 1s";

/// Calls that end in every way that there is, with what the audit calls it.
fn every_end() -> (Value, [(&'static str, &'static str); 5]) {
    let failed = r#"{"jsonrpc":"2.0","id":$ID,"result":{"content":[],"isError":true}}"#;
    let calls = json!([
        ["one-echo", {"secret": "kept"}],
        ["two-emit", {"lines": [failed], "answer": false}],
        ["one-fail", {}],
        ["one-hold", {"key": "never"}],
        ["two-echo", ["no", "object"]],
    ]);
    let ends = [
        ("echo", "ok"),
        ("emit", "tool_error"),
        ("fail", "error"),
        ("hold", "timeout"),
        ("echo", "arguments"),
    ];
    (json!([{"calls": calls}]), ends)
}

/// The audit's lines.
async fn audited(crowd: &Crowd, lines: usize) -> Vec<Value> {
    until(format!("{lines} lines of the audit"), async || {
        let log = crowd.all.log();
        let all = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let audit: Vec<_> = all.filter(|line| line["target"] == "audit").collect();
        (audit.len() >= lines).then_some(audit)
    })
    .await
}

async fn numbers(crowd: &Crowd) -> String {
    let request = Request::get("/metrics").header("authorization", "Bearer the-master");
    exchange(crowd.addr(), request).await.text()
}

#[tokio::test]
async fn each_call_leaves_a_line_and_a_number() {
    let crowd = Crowd::with(KEYS, chats::obedient().await).await;
    let (turns, ends) = every_end();
    for (way, key) in [(Way::ChatStream, "team"), (Way::Responses, "master")] {
        let request = way
            .request(&turns)
            .header("authorization", &format!("Bearer the-{key}"));
        let outcome = chats::send(crowd.addr(), way, request).await;
        assert_eq!(outcome.results().len(), 5);
    }
    let lines = audited(&crowd, 10).await;
    for (key, lines) in [("team", &lines[..5]), ("master", &lines[5..])] {
        for (tool, outcome) in ends {
            let fits = |line: &&Value| line["tool"] == tool && line["outcome"] == outcome;
            let line = lines
                .iter()
                .find(fits)
                .unwrap_or_else(|| panic!("no {tool} {outcome} in {lines:?}"));
            let bridge = if matches!(outcome, "tool_error" | "arguments") {
                "two"
            } else {
                "one"
            };
            assert_eq!(
                (&line["key"], &line["model"], &line["bridge"]),
                (&json!(key), &json!("m"), &json!(bridge))
            );
            assert!(line["duration_ms"].is_u64(), "{line}");
            assert!(line.get("arguments").is_none(), "{line}");
        }
    }
    let log = crowd.all.log();
    assert!(!log.contains("kept") && !log.contains("the-team") && !log.contains("the-master"));
    let numbers = numbers(&crowd).await;
    for series in [
        r#"gateway_requests_total{api="chat",model="m",outcome="ok"} 1"#,
        r#"gateway_requests_total{api="responses",model="m",outcome="ok"} 1"#,
        r#"gateway_rounds_total{model="m"} 4"#,
        r#"gateway_tool_calls_total{bridge="one",outcome="ok"} 2"#,
        r#"gateway_tool_calls_total{bridge="one",outcome="error"} 2"#,
        r#"gateway_tool_calls_total{bridge="one",outcome="timeout"} 2"#,
        r#"gateway_tool_calls_total{bridge="two",outcome="tool_error"} 2"#,
        r#"gateway_tool_calls_total{bridge="two",outcome="arguments"} 2"#,
        r#"gateway_tool_duration_seconds_count{bridge="one"} 6"#,
        r#"gateway_tokens_total{model="m",kind="prompt"} 40"#,
        r#"gateway_tokens_total{model="m",kind="completion"} 20"#,
        "gateway_requests_in_progress 0",
    ] {
        assert!(
            numbers.contains(&format!("mcp_bridged_{series}\n")),
            "{series} in {numbers}"
        );
    }
}

#[tokio::test]
async fn a_chat_that_was_left_is_counted_as_cancelled() {
    let settings = format!("{KEYS}\naudit_arguments: true").replace("1s", "60s");
    let crowd = Crowd::with(&settings, chats::obedient().await).await;
    let turns = json!([{"calls": [["one-hold", {"key": "never"}]]}]);
    for (n, way) in Way::ALL.into_iter().enumerate() {
        let request = way.request(&turns).header("x-litellm-api-key", "the-team");
        let addr = crowd.addr();
        let mut chat = tokio::task::JoinSet::new();
        chat.spawn(async move { chats::send(addr, way, request).await });
        crowd.all.until_received("one", "tools/call", n + 1).await;
        drop(chat);
        let lines = audited(&crowd, n + 1).await;
        let line = &lines[n];
        assert_eq!(
            (&line["outcome"], &line["key"]),
            (&json!("cancelled"), &json!("team"))
        );
        assert_eq!(line["arguments"], r#"{"key":"never"}"#);
    }
    let wanted = [
        r#"gateway_requests_total{api="chat",model="m",outcome="cancelled"} 2"#,
        r#"gateway_requests_total{api="responses",model="m",outcome="cancelled"} 2"#,
        r#"gateway_tool_calls_total{bridge="one",outcome="cancelled"} 4"#,
    ];
    until(wanted, async || {
        let numbers = numbers(&crowd).await;
        wanted
            .iter()
            .all(|series| numbers.contains(series))
            .then_some(())
    })
    .await;
}
