use serde_json::json;

use super::*;

fn read(items: Value) -> Result<Input, ApiError> {
    let tools = Tools::of(&[
        json!({ "type": "function", "name": "add" }),
        json!({ "type": "namespace", "name": "mcp__demo", "tools": [{ "type": "function", "name": "echo" }] }),
        json!({ "type": "custom", "name": "apply_patch" }),
    ])
    .unwrap();
    let recall = |id: &str| {
        (id == "msg_old")
            .then(|| json!({ "type": "message", "role": "assistant", "content": "old" }))
    };
    let reader = Reader {
        tools: &tools,
        labels: &Labels::default(),
        recall: &recall,
    };
    let mut input = Input::default();
    reader.read(&items, &mut input)?;
    Ok(input)
}

#[track_caller]
fn check(items: Value, expected: Value) {
    let messages = read(items).unwrap().conversation.into_messages();
    assert_eq!(Value::Array(messages), expected);
}

fn call(id: &str, name: &str, arguments: &str) -> Value {
    json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } })
}

#[test]
fn a_text_and_messages_of_all_roles_become_messages() {
    check(json!("hi"), json!([{ "role": "user", "content": "hi" }]));
    check(
        json!([
            { "type": "message", "role": "developer", "content": [{ "type": "input_text", "text": "Be brief." }] },
            { "role": "system", "content": "Be kind." },
            { "role": "user", "content": [{ "type": "text", "text": "List schemas." }] },
            {
                "type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "phase": "commentary",
                "content": [{ "type": "output_text", "text": "No.", "annotations": [] }, { "type": "refusal", "refusal": "I won't." }],
                "provider_specific_fields": { "x": 1 },
            },
        ]),
        json!([
            { "role": "system", "content": "Be brief." },
            { "role": "system", "content": "Be kind." },
            { "role": "user", "content": "List schemas." },
            { "role": "assistant", "content": "No.", "provider_specific_fields": { "x": 1 }, "refusal": "I won't." },
        ]),
    );
}

#[test]
fn calls_and_their_outputs_become_turns() {
    check(
        json!([
            { "role": "user", "content": "go" },
            { "type": "reasoning", "summary": [], "content": [{ "type": "reasoning_text", "text": "hm" }] },
            { "type": "message", "role": "assistant", "content": "I go." },
            { "type": "function_call", "id": "fc_1", "call_id": "c1", "name": "add", "arguments": "{\"a\":1}", "extra_content": { "s": 1 } },
            { "type": "function_call", "call_id": "c2", "namespace": "mcp__demo", "name": "echo", "arguments": "" },
            { "type": "custom_tool_call", "call_id": "c3", "name": "apply_patch", "input": "*** Begin" },
            { "type": "custom_tool_call_output", "call_id": "c3", "output": "done" },
            { "type": "function_call_output", "call_id": "c2", "output": [
                { "type": "input_text", "text": "an image:" }, { "type": "input_image", "image_url": "data:,", "detail": "high" },
            ] },
            { "type": "function_call_output", "call_id": "c1", "output": "1" },
            { "type": "web_search_call", "id": "ws_1", "status": "completed" },
        ]),
        json!([
            { "role": "user", "content": "go" },
            {
                "role": "assistant",
                "content": "I go.",
                "reasoning_content": "hm",
                "tool_calls": [
                    {
                        "id": "c1", "type": "function", "function": { "name": "add", "arguments": "{\"a\":1}" },
                        "extra_content": { "s": 1 },
                    },
                    call("c2", "mcp__demo__echo", ""),
                    call("c3", "apply_patch", "{\"input\":\"*** Begin\"}"),
                ],
            },
            { "role": "tool", "tool_call_id": "c3", "content": "done" },
            { "role": "tool", "tool_call_id": "c2", "content": "an image:" },
            { "role": "tool", "tool_call_id": "c1", "content": "1" },
            { "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "data:,", "detail": "high" } }] },
        ]),
    );
}

#[test]
fn executed_calls_are_history() {
    let mcp_call = |id: &str, output: Value, error: Value| {
        json!({
            "type": "mcp_call", "id": id, "server_label": "demo", "name": "echo", "arguments": "{}",
            "output": output, "error": error, "approval_request_id": null, "status": "completed",
        })
    };
    let listed =
        json!({ "type": "mcp_list_tools", "id": "mcpl_1", "server_label": "demo", "tools": [] });
    let items = json!([
        listed,
        mcp_call("mcp_1", "one".into(), Value::Null),
        mcp_call(
            "mcp_2",
            Value::Null,
            json!({ "type": "mcp_protocol_error", "code": 1, "message": "gone" })
        ),
    ]);
    assert_eq!(read(items.clone()).unwrap().told, ["demo"]);
    check(
        items,
        json!([
            { "role": "assistant", "content": null, "tool_calls": [call("mcp_1", "demo-echo", "{}")] },
            { "role": "tool", "tool_call_id": "mcp_1", "content": "one" },
            { "role": "assistant", "content": null, "tool_calls": [call("mcp_2", "demo-echo", "{}")] },
            { "role": "tool", "tool_call_id": "mcp_2", "content": "Error: gone" },
        ]),
    );
}

#[test]
fn an_approval_waits_until_it_was_executed() {
    let request = json!({
        "type": "mcp_approval_request", "id": "mcpr_1", "server_label": "demo", "name": "echo", "arguments": "{\"m\":1}",
    });
    let response = json!({
        "type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": false, "reason": "no",
    });
    let input = read(json!([request, response])).unwrap();
    assert!(input.conversation.check_answers(|_| false).is_err());
    assert_eq!(
        input.pending,
        [Pending {
            id: "mcpr_1".into(),
            call_id: "mcpr_1".into(),
            label: "demo".into(),
            name: "echo".into(),
            arguments: "{\"m\":1}".into(),
            decision: Some(Decision {
                approve: false,
                reason: "no".into(),
                place: "input[1]".into(),
            }),
        }]
    );
    let executed = json!({
        "type": "mcp_call", "id": "mcp_1", "server_label": "demo", "name": "echo", "arguments": "{\"m\":1}",
        "output": "x", "approval_request_id": "mcpr_1",
    });
    let input = read(json!([request, response, executed])).unwrap();
    assert!(input.pending.is_empty());
    assert_eq!(input.conversation.into_messages().len(), 2);
}

#[test]
fn a_reference_is_looked_up() {
    check(
        json!([{ "type": "item_reference", "id": "msg_old" }]),
        json!([{ "role": "assistant", "content": "old" }]),
    );
}

#[test]
fn what_is_not_understood_is_named_by_its_place() {
    for (item, param) in [
        (json!("hi"), "input[0]"),
        (json!({ "type": "riddle" }), "input[0].type"),
        (json!({ "role": "critic", "content": "x" }), "input[0].role"),
        (
            json!({ "role": "user", "content": [{ "type": "scent" }] }),
            "input[0].content[0].type",
        ),
        (
            json!({ "type": "function_call", "name": "add" }),
            "input[0].call_id",
        ),
        (
            json!({ "type": "function_call", "call_id": "c" }),
            "input[0].name",
        ),
        (
            json!({ "type": "function_call_output", "call_id": "c", "output": "x" }),
            "input[0].call_id",
        ),
        (
            json!({ "type": "mcp_approval_response", "approval_request_id": "r", "approve": true }),
            "input[0].approval_request_id",
        ),
        (
            json!({ "type": "item_reference", "id": "msg_unknown" }),
            "input[0].id",
        ),
    ] {
        let error = read(json!([item])).unwrap_err();
        assert_eq!(error.param.as_deref(), Some(param), "{error}");
    }
    assert_eq!(read(json!(1)).unwrap_err().param.as_deref(), Some("input"));
}
