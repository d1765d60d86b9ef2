use super::*;

fn assemble(deltas: &[Value]) -> Answer {
    let mut assembly = Assembly::default();
    for delta in deltas {
        let chunk = json!({
            "id": "c", "object": "chat.completion.chunk", "model": "m",
            "choices": [{ "index": 0, "delta": delta, "finish_reason": null }],
        });
        assembly.take(&chunk).unwrap();
    }
    assembly.finish()
}

fn message(deltas: &[Value]) -> Value {
    Value::Object(assemble(deltas).message)
}

#[test]
fn texts_grow_and_other_members_stay() {
    assert_eq!(
        message(&[
            json!({ "role": "assistant", "content": "", "refusal": null }),
            json!({ "reasoning_content": "Let me " }),
            json!({ "reasoning_content": "see.", "content": null }),
            json!({ "content": "It " }),
            json!({ "content": "is.", "flag": 1 }),
            json!({ "flag": 2, "sign": "abc" }),
        ]),
        json!({
            "role": "assistant", "content": "It is.", "reasoning_content": "Let me see.",
            "flag": 2, "sign": "abc",
        })
    );
    assert_eq!(
        message(&[]),
        json!({ "role": "assistant", "content": null })
    );
}

#[test]
fn calls_are_told_apart_by_index_and_keep_what_nobody_knows() {
    let answer = assemble(&[
        json!({ "tool_calls": [{ "index": 0, "id": "a", "type": "function",
            "function": { "name": "one", "arguments": "" }, "extra_content": { "google": { "thought_signature": "s" } } }] }),
        json!({ "tool_calls": [{ "index": 1, "id": "b", "type": "function", "function": { "name": "two", "arguments": "{" } }] }),
        json!({ "tool_calls": [{ "index": 0, "id": "", "function": { "name": "", "arguments": "{\"x\":" } }] }),
        json!({ "tool_calls": [{ "index": 1, "function": { "arguments": "}" } }, { "index": 0, "function": { "arguments": "1}" } }] }),
    ]);
    assert_eq!(answer.finish_reason, "tool_calls");
    assert_eq!(
        answer.message["tool_calls"],
        json!([
            { "id": "a", "type": "function", "function": { "name": "one", "arguments": "{\"x\":1}" },
              "extra_content": { "google": { "thought_signature": "s" } } },
            { "id": "b", "type": "function", "function": { "name": "two", "arguments": "{}" } },
        ])
    );
}

#[test]
fn a_custom_calls_input_grows() {
    assert_eq!(
        message(&[
            json!({ "tool_calls": [{ "index": 0, "id": "a", "type": "custom", "custom": { "name": "shell", "input": "l" } }] }),
            json!({ "tool_calls": [{ "index": 0, "custom": { "input": "s" } }] }),
        ])["tool_calls"],
        json!([{ "id": "a", "type": "custom", "custom": { "name": "shell", "input": "ls" } }])
    );
}

#[test]
fn a_block_of_thought_grows_until_it_is_signed() {
    assert_eq!(
        message(&[
            json!({ "thinking_blocks": [{ "type": "thinking", "thinking": "Hm" }] }),
            json!({ "thinking_blocks": [{ "type": "thinking", "thinking": "m.", "signature": "" }] }),
            json!({ "thinking_blocks": [{ "type": "thinking", "thinking": "", "signature": "sig" }] }),
            json!({ "thinking_blocks": [{ "type": "thinking", "thinking": "More" }] }),
        ])["thinking_blocks"],
        json!([
            { "type": "thinking", "thinking": "Hmm.", "signature": "sig" },
            { "type": "thinking", "thinking": "More" },
        ])
    );
    assert_eq!(
        message(&[
            json!({ "reasoning_details": [{ "type": "reasoning.text", "index": 0, "text": "a" }] }),
            json!({ "reasoning_details": [{ "type": "reasoning.text", "index": 0, "text": "b" }] }),
            json!({ "reasoning_details": [{ "type": "reasoning.encrypted", "index": 1, "data": "x" }] }),
        ])["reasoning_details"],
        json!([
            { "type": "reasoning.text", "index": 0, "text": "ab" },
            { "type": "reasoning.encrypted", "index": 1, "data": "x" },
        ])
    );
}

#[test]
fn content_of_parts_and_of_text_are_joined() {
    assert_eq!(
        message(&[
            json!({ "content": "" }),
            json!({ "content": [{ "type": "thinking", "thinking": [{ "type": "text", "text": "a" }] }] }),
            json!({ "content": "b" }),
            json!({ "content": "c" }),
        ])["content"],
        json!([
            { "type": "thinking", "thinking": [{ "type": "text", "text": "a" }] },
            { "type": "text", "text": "bc" },
        ])
    );
}

#[test]
fn the_rest_of_the_answer_is_kept() {
    let mut assembly = Assembly::default();
    for chunk in [
        json!({ "id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m", "prompt_filter_results": [1], "choices": [] }),
        json!({ "id": "c1", "choices": [{ "index": 0, "delta": { "content": "x" }, "finish_reason": null, "logprobs": null }], "usage": null }),
        json!({ "id": "c1", "choices": [{ "index": 1, "delta": { "content": "y" } }] }),
        json!({ "id": "c1", "choices": [{ "index": 0, "delta": {}, "finish_reason": "length", "stop_reason": 5 }] }),
        json!({ "id": "c1", "choices": [], "usage": { "total_tokens": 3 } }),
    ] {
        assembly.take(&chunk).unwrap();
    }
    let pieces = assembly.finish();
    let whole = Answer::whole(json!({
        "id": "c1", "object": "chat.completion", "created": 7, "model": "m", "prompt_filter_results": [1],
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": "x" }, "finish_reason": "length", "stop_reason": 5 }],
        "usage": { "total_tokens": 3 },
    }));
    assert_eq!(Ok(pieces), whole);
    assert!(Answer::whole(json!({ "choices": [] })).is_err());
}
