use serde_json::json;

use super::*;

fn call(id: &str) -> Value {
    json!({ "id": id, "type": "function", "function": { "name": id, "arguments": "{}" } })
}

fn result(id: &str) -> Value {
    json!({ "role": "tool", "tool_call_id": id, "content": id })
}

fn assistant(ids: &[&str]) -> Value {
    let calls: Vec<_> = ids.iter().map(|id| call(id)).collect();
    json!({ "role": "assistant", "content": null, "tool_calls": calls })
}

fn user(text: &str) -> Value {
    json!({ "role": "user", "content": text })
}

fn added() -> Added {
    Added {
        before: vec![assistant(&["early"]), result("early")],
        message: assistant(&["ours", "theirs", "ours2"]),
        results: vec![result("ours2"), result("ours")],
        after: vec![user("a picture")],
    }
}

/// The conversation that went back with `theirs`.
fn remembered(key: &str) -> Continuations {
    let continuations = Continuations::default();
    let restored = continuations.restore(key, vec![json!({ "role": "system" }), user("hi")]);
    assert_eq!(restored.messages.len(), 2);
    continuations.remember(key, restored.said(), vec!["theirs".to_owned()], added());
    continuations
}

fn goes_on(text: &str) -> Vec<Value> {
    vec![
        user(text),
        assistant(&["theirs"]),
        result("theirs"),
        user("and?"),
    ]
}

#[test]
fn what_was_added_stands_in_its_place_again() {
    let continuations = remembered("team");
    for _ in 0..2 {
        let restored = continuations.restore("team", goes_on("hi"));
        assert_eq!(
            restored.messages,
            [
                user("hi"),
                assistant(&["early"]),
                result("early"),
                assistant(&["ours", "theirs", "ours2"]),
                result("ours"),
                result("theirs"),
                result("ours2"),
                user("a picture"),
                user("and?"),
            ]
        );
        assert_eq!(restored.after, [7]);
    }
}

#[test]
fn another_key_and_another_conversation_get_nothing() {
    let continuations = remembered("team");
    assert_eq!(
        continuations.restore("other", goes_on("hi")).messages,
        goes_on("hi")
    );
    assert_eq!(
        continuations.restore("team", goes_on("ho")).messages,
        goes_on("ho")
    );
    let mut two = goes_on("hi");
    two[1] = assistant(&["theirs", "more"]);
    assert_eq!(continuations.restore("team", two.clone()).messages, two);
}

#[test]
fn content_in_parts_is_the_same_conversation() {
    let continuations = remembered("team");
    let mut parts = goes_on("hi");
    parts[0] = json!({ "role": "user", "content": [{ "type": "text", "text": "hi" }] });
    assert_eq!(continuations.restore("team", parts).messages.len(), 9);
}

#[test]
fn what_is_too_much_is_forgotten_oldest_first() {
    let continuations = Continuations::default();
    let big = |n: usize| Added {
        message: json!({ "content": "x".repeat(n), "tool_calls": [call("a")] }),
        ..Added::default()
    };
    let remember = |id: &str, added| continuations.remember("k", 0, vec![id.to_owned()], added);
    remember("huge", big(BYTES));
    assert_eq!(continuations.lock().entries.len(), 0);
    remember("a", big(BYTES / 2));
    remember("b", big(BYTES / 4));
    remember("c", big(BYTES / 2));
    let known = |id: &str| continuations.find("k", vec![id.to_owned()], 0).is_some();
    assert!(!known("a") && known("b") && known("c"));
    for n in 0..=ENTRIES {
        remember(&n.to_string(), big(1));
    }
    assert!(!known("b") && !known("0") && known("1"));
    let remembered = continuations.lock();
    assert_eq!(remembered.entries.len(), ENTRIES);
    assert_eq!(
        remembered.bytes,
        remembered
            .entries
            .iter()
            .map(|entry| entry.bytes)
            .sum::<usize>()
    );
}

#[tokio::test(start_paused = true)]
async fn what_nobody_asks_for_is_forgotten_after_an_hour() {
    let continuations = remembered("team");
    tokio::time::advance(KEPT - Duration::from_secs(1)).await;
    assert_eq!(
        continuations.restore("team", goes_on("hi")).messages.len(),
        9
    );
    tokio::time::advance(KEPT - Duration::from_secs(1)).await;
    assert_eq!(
        continuations.restore("team", goes_on("hi")).messages.len(),
        9
    );
    tokio::time::advance(KEPT).await;
    assert_eq!(
        continuations.restore("team", goes_on("hi")).messages,
        goes_on("hi")
    );
}
