use std::sync::Arc;

use super::super::super::catalogue::Tool;
use super::super::super::rounds::{Offered, Turn};
use super::*;

fn chunks() -> Chunks {
    let own = [json!({ "type": "function", "function": { "name": "theirs" } })];
    let ours = Offered {
        tool: Arc::new(Tool {
            name: "demo-ours".into(),
            server: "demo".into(),
            original: "ours".into(),
            object: bytes::Bytes::new(),
            parsed: json!({}),
        }),
        needs_approval: false,
    };
    Chunks::new(Tools::new(&own, &[ours]))
}

fn piece(id: &str, delta: Value, finish_reason: Option<&str>) -> Event {
    Event::Piece(json!({
        "id": id, "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{ "index": 0, "delta": delta, "finish_reason": finish_reason }],
    }))
}

fn over() -> Event {
    Event::Turn(Turn {
        message: json!({}),
        calls: Vec::new(),
        finish_reason: String::new(),
    })
}

fn finished(finish_reason: &str) -> Finished {
    Finished {
        message: json!({}),
        handed_back: Vec::new(),
        finish_reason: finish_reason.to_owned(),
        usage: Some(json!({ "total_tokens": 9 })),
        rest: Map::new(),
        choice: Map::new(),
        messages: Vec::new(),
    }
}

/// Each chunk's delta, its finish reason where it has one.
fn told(events: Vec<Event>, finish_reason: &str) -> Vec<Value> {
    let mut chunks = chunks();
    let mut all: Vec<Value> = events
        .into_iter()
        .filter_map(|event| chunks.event(event))
        .collect();
    all.extend(chunks.end(finished(finish_reason), false));
    for chunk in &all {
        assert_eq!(chunk["id"], "a", "{chunk}");
        assert_eq!(chunk["object"], "chat.completion.chunk");
    }
    let brief = |chunk: &Value| match &chunk["choices"][0]["finish_reason"] {
        Value::Null => chunk["choices"][0]["delta"].clone(),
        reason => json!([chunk["choices"][0]["delta"], reason]),
    };
    all.iter().map(brief).collect()
}

fn begun(index: u64, name: &str) -> Value {
    json!({ "tool_calls": [{ "index": index, "id": name, "type": "function", "function": { "name": name, "arguments": "" } }] })
}

fn more(index: u64) -> Value {
    json!({ "tool_calls": [{ "index": index, "function": { "arguments": "{}" } }] })
}

#[test]
fn turns_pass_as_one_answer_without_our_calls() {
    let told = told(
        vec![
            piece("a", json!({ "role": "assistant", "content": null }), None),
            piece("a", json!({ "reasoning_content": "hm" }), None),
            piece("a", json!({ "content": "Wait." }), None),
            piece("a", begun(0, "demo-ours"), None),
            piece("a", more(0), None),
            piece("a", json!({}), Some("tool_calls")),
            over(),
            piece("b", json!({ "role": "assistant", "content": "" }), None),
            piece("b", json!({ "content": "Done" }), None),
            piece("b", json!({ "content": "." }), Some("stop")),
            Event::Piece(json!({ "id": "b", "choices": [], "usage": { "total_tokens": 4 } })),
            over(),
        ],
        "stop",
    );
    assert_eq!(
        told,
        [
            json!({ "role": "assistant", "content": "" }),
            json!({ "reasoning_content": "hm" }),
            json!({ "content": "Wait." }),
            json!({ "content": "\n\nDone" }),
            json!({ "content": "." }),
            json!([{}, "stop"]),
        ]
    );
}

#[test]
fn only_the_clients_calls_of_a_mixed_turn_are_shown() {
    let told = told(
        vec![
            piece("a", begun(0, "demo-ours"), None),
            piece("a", begun(1, "theirs"), None),
            piece("a", more(0), None),
            piece("a", more(1), None),
            piece("a", begun(2, "nobody's"), None),
            piece("a", begun(3, "theirs"), None),
            piece("a", json!({}), Some("tool_calls")),
            over(),
        ],
        "tool_calls",
    );
    let mut last = begun(3, "theirs");
    last["tool_calls"][0]["index"] = 1.into();
    assert_eq!(
        told,
        [
            json!({ "role": "assistant", "content": "" }),
            begun(0, "theirs"),
            more(0),
            last,
            json!([{}, "tool_calls"]),
        ]
    );
}

#[test]
fn what_nobody_knows_passes() {
    let mut chunks = chunks();
    let filter = json!({ "id": "a", "created": 1, "model": "m", "choices": [], "prompt_filter_results": [1] });
    assert_eq!(
        chunks.event(Event::Piece(filter)).unwrap(),
        json!({ "id": "a", "object": "chat.completion.chunk", "created": 1, "model": "m", "prompt_filter_results": [1], "choices": [] })
    );
    let piece = json!({
        "id": "b", "created": 2, "model": "other", "x": 1, "usage": { "total_tokens": 1 },
        "choices": [{ "index": 0, "delta": { "role": "assistant", "content": "x", "y": 2 }, "logprobs": { "content": [] }, "finish_reason": null }],
    });
    assert_eq!(
        chunks.event(Event::Piece(piece)).unwrap(),
        json!({
            "id": "a", "object": "chat.completion.chunk", "created": 1, "model": "m", "x": 1,
            "choices": [{ "index": 0, "logprobs": { "content": [] }, "finish_reason": null, "delta": { "role": "assistant", "content": "x", "y": 2 } }],
        })
    );
    let end = json!({ "id": "b", "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": 7 }], "z": 3 });
    assert_eq!(chunks.event(Event::Piece(end)), None);
    assert_eq!(
        chunks.end(finished("length"), true),
        [
            json!({
                "id": "a", "object": "chat.completion.chunk", "created": 1, "model": "m", "z": 3,
                "choices": [{ "index": 0, "delta": {}, "finish_reason": "length", "stop_reason": 7 }],
            }),
            json!({ "id": "a", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": { "total_tokens": 9 } }),
        ]
    );
}

#[test]
fn texts_of_several_turns_are_set_apart() {
    let text = |text: &str| piece("a", json!({ "content": text }), None);
    let told = told(
        vec![
            text("let me"),
            text(" look"),
            over(),
            text("two"),
            text(" legs"),
            over(),
        ],
        "stop",
    );
    let texts: Vec<&str> = told
        .iter()
        .filter_map(|delta| delta.get("content")?.as_str())
        .collect();
    assert_eq!(texts.concat(), "let me look\n\ntwo legs");
}
