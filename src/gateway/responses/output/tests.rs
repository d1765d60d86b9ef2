use std::time::Duration;

use serde_json::json;

use super::*;
use crate::gateway::rounds::Call;

fn tool(server: &str, original: &str) -> Arc<Tool> {
    let name = format!("{server}-{original}");
    Arc::new(Tool {
        name: name.as_str().into(),
        server: server.into(),
        original: original.into(),
        object: bytes::Bytes::new(),
        parsed: json!({ "name": name, "description": "Echoes", "inputSchema": { "type": "object" } }),
    })
}

/// An output over the server `demo` with the tool `echo`, and two tools of the client.
fn output(stream: bool) -> Output {
    let selection = crate::gateway::selection::Selection {
        offered: vec![rounds::Offered {
            tool: tool("demo", "echo"),
            needs_approval: false,
        }],
        ..Default::default()
    };
    let own = [
        json!({ "type": "namespace", "name": "n", "tools": [{ "type": "function", "name": "add" }] }),
        json!({ "type": "custom", "name": "patch" }),
    ];
    let setting = Setting {
        tools: Arc::new(Tools::of(&own).unwrap()),
        labels: Arc::new(Labels::of(&selection)),
        max_result: 1000,
        stream,
    };
    let request = json!({ "model": "m" });
    Output::new(Ids::from(1), request.as_object().unwrap(), setting, &[])
}

fn delta(delta: Value) -> rounds::Event {
    rounds::Event::Piece(json!({ "choices": [{ "index": 0, "delta": delta }] }))
}

fn call(id: &str, name: &str, arguments: &str, kind: CallKind) -> Call {
    Call {
        object: json!({
            "id": id, "type": "function", "function": { "name": name, "arguments": arguments }, "extra_content": { "s": 1 },
        }),
        id: id.to_owned(),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
        kind,
    }
}

fn turn(message: Value, calls: Vec<Call>, finish_reason: &str) -> rounds::Event {
    rounds::Event::Turn(Turn {
        message,
        calls,
        finish_reason: finish_reason.to_owned(),
    })
}

fn finished(finish_reason: &str, handed_back: Vec<Call>) -> Finished {
    Finished {
        message: Value::Null,
        handed_back,
        finish_reason: finish_reason.to_owned(),
        usage: Some(json!({ "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3 })),
        rest: Map::new(),
        choice: Map::new(),
        messages: Vec::new(),
    }
}

fn called(result: Result<Value, Failure>) -> Called {
    Called { result }
}

/// What happens in a request that runs a tool twice, answers and calls both tools of the client.
fn happenings(in_pieces: bool) -> Vec<rounds::Event> {
    let echo = tool("demo", "echo");
    let ours = |id: &str| call(id, "demo-echo", "{\"m\":1}", CallKind::Ours(echo.clone()));
    let calling = |id: &str| rounds::Event::Calling {
        id: id.to_owned(),
        tool: echo.clone(),
        arguments: "{\"m\":1}".to_owned(),
    };
    let over = |id: &str, result| rounds::Event::Called {
        id: id.to_owned(),
        called: called(result),
    };
    let piece = |index: u64, id: &str, name: &str, arguments: &str| {
        let piece = json!({ "index": index, "id": id, "type": "function", "function": { "name": name, "arguments": arguments } });
        delta(json!({ "tool_calls": [piece] }))
    };
    let more = |arguments: &str| {
        delta(json!({ "tool_calls": [{ "index": 0, "function": { "arguments": arguments } }] }))
    };
    let mut happenings = Vec::new();
    if in_pieces {
        happenings.extend([
            delta(json!({ "role": "assistant", "content": "", "reasoning_content": "h" })),
            delta(json!({ "reasoning_content": "m" })),
            delta(json!({ "content": "Let me " })),
            delta(json!({ "content": "see." })),
            piece(0, "a", "demo-echo", "{\"m\":1}"),
            piece(1, "b", "demo-echo", "{\"m\":1}"),
        ]);
    }
    let message = json!({ "role": "assistant", "content": "Let me see.", "reasoning_content": "hm", "thinking_blocks": [1] });
    happenings.extend([
        turn(message, vec![ours("a"), ours("b")], "tool_calls"),
        calling("a"),
        calling("b"),
        over(
            "b",
            Ok(json!({ "isError": true, "content": [{ "type": "text", "text": "broken" }] })),
        ),
        over(
            "a",
            Ok(json!({ "content": [{ "type": "text", "text": "one" }] })),
        ),
    ]);
    if in_pieces {
        happenings.extend([
            delta(json!({ "content": "Now you." })),
            piece(0, "c", "n__add", ""),
            more("{\"x\":"),
            more("1}"),
            piece(1, "d", "patch", "{\"input\":\"*** B\"}"),
        ]);
    }
    happenings.push(turn(
        json!({ "role": "assistant", "content": "Now you." }),
        vec![
            call("c", "n__add", "{\"x\":1}", CallKind::Clients),
            call("d", "patch", "{\"input\":\"*** B\"}", CallKind::Clients),
        ],
        "tool_calls",
    ));
    happenings
}

fn run(stream: bool, in_pieces: bool) -> (Value, Vec<Event>) {
    let mut output = output(stream);
    for event in happenings(in_pieces) {
        output.follow(event);
    }
    let (object, pending) = output.finish(&finished("tool_calls", Vec::new()));
    assert!(pending.is_empty());
    (object, output.events())
}

fn without_ids(mut object: Value) -> Value {
    for item in object["output"].as_array_mut().unwrap() {
        item["id"].take();
    }
    object["output"].take()
}

#[test]
fn events_come_in_openais_order() {
    let (_, events) = run(true, true);
    let mut told: Vec<String> = Vec::new();
    let parsed: Vec<Value> = events.iter().map(|event| event.data().clone()).collect();
    for (n, (event, data)) in events.iter().zip(&parsed).enumerate() {
        assert_eq!(data["type"], event.name());
        assert_eq!(data["sequence_number"], n);
        let name = event.name().trim_start_matches("response.");
        told.push(match data.get("output_index") {
            Some(index) => format!("{index} {name}"),
            None => name.to_owned(),
        });
    }
    assert_eq!(
        told,
        [
            "created",
            "in_progress",
            "0 output_item.added",
            "0 mcp_list_tools.in_progress",
            "0 mcp_list_tools.completed",
            "0 output_item.done",
            "1 output_item.added",
            "1 content_part.added",
            "1 reasoning_text.delta",
            "1 reasoning_text.delta",
            "1 reasoning_text.done",
            "1 content_part.done",
            "1 output_item.done",
            "2 output_item.added",
            "2 content_part.added",
            "2 output_text.delta",
            "2 output_text.delta",
            "2 output_text.done",
            "2 content_part.done",
            "2 output_item.done",
            "3 output_item.added",
            "3 mcp_call.in_progress",
            "3 mcp_call_arguments.delta",
            "3 mcp_call_arguments.done",
            "4 output_item.added",
            "4 mcp_call.in_progress",
            "4 mcp_call_arguments.delta",
            "4 mcp_call_arguments.done",
            "4 mcp_call.failed",
            "4 output_item.done",
            "3 mcp_call.completed",
            "3 output_item.done",
            "5 output_item.added",
            "5 content_part.added",
            "5 output_text.delta",
            "5 output_text.done",
            "5 content_part.done",
            "5 output_item.done",
            "6 output_item.added",
            "6 function_call_arguments.delta",
            "6 function_call_arguments.delta",
            "6 function_call_arguments.done",
            "6 output_item.done",
            "7 output_item.added",
            "7 custom_tool_call_input.delta",
            "7 custom_tool_call_input.done",
            "7 output_item.done",
            "completed",
        ]
    );
}

#[test]
fn an_item_is_the_same_from_its_first_event_to_the_last() {
    let (object, events) = run(true, true);
    let output = object["output"].as_array().unwrap();
    let parsed: Vec<Value> = events.iter().map(|event| event.data().clone()).collect();
    assert_eq!(parsed[0]["response"]["output"], json!([]));
    assert_eq!(parsed[0]["response"]["id"], object["id"]);
    assert_eq!(parsed.last().unwrap()["response"], object);
    for event in &parsed {
        let Some(index) = event.get("output_index").and_then(Value::as_u64) else {
            continue;
        };
        let whole = &output[usize::try_from(index).unwrap()];
        if let Some(id) = event.get("item_id") {
            assert_eq!(*id, whole["id"]);
        }
        if event["type"] == "response.output_item.done" {
            assert_eq!(event["item"], *whole);
        } else if let Some(item) = event.get("item") {
            for member in ["id", "type", "call_id"] {
                assert_eq!(item[member], whole[member]);
            }
        }
    }
}

#[test]
fn the_output_is_the_same_in_pieces_and_whole() {
    let (streamed, _) = run(true, true);
    let (whole, events) = run(false, false);
    assert!(events.is_empty());
    assert_eq!(streamed["output"], whole["output"]);
    assert_eq!(whole["usage"]["total_tokens"], 3);
    let text = |text: &str| json!([{ "type": "output_text", "text": text, "annotations": [], "logprobs": [] }]);
    assert_eq!(
        without_ids(whole),
        json!([
            {
                "type": "mcp_list_tools", "id": null, "server_label": "demo", "error": null,
                "tools": [{ "name": "echo", "description": "Echoes", "input_schema": { "type": "object" }, "annotations": null }],
            },
            {
                "type": "reasoning", "id": null, "summary": [], "status": "completed",
                "content": [{ "type": "reasoning_text", "text": "hm" }],
            },
            { "type": "message", "id": null, "status": "completed", "role": "assistant", "content": text("Let me see."), "thinking_blocks": [1] },
            {
                "type": "mcp_call", "id": null, "server_label": "demo", "name": "echo", "arguments": "{\"m\":1}",
                "output": "one", "error": null, "approval_request_id": null, "status": "completed",
            },
            {
                "type": "mcp_call", "id": null, "server_label": "demo", "name": "echo", "arguments": "{\"m\":1}",
                "output": null, "approval_request_id": null, "status": "failed",
                "error": { "type": "mcp_tool_execution_error", "content": [{ "type": "text", "text": "The tool reports an error:\nbroken" }] },
            },
            {
                "type": "message", "id": null, "status": "completed", "role": "assistant", "content": text("Now you."),
            },
            {
                "type": "function_call", "id": null, "call_id": "c", "namespace": "n", "name": "add",
                "arguments": "{\"x\":1}", "status": "completed", "extra_content": { "s": 1 },
            },
            {
                "type": "custom_tool_call", "id": null, "call_id": "d", "name": "patch", "input": "*** B",
                "status": "completed", "extra_content": { "s": 1 },
            },
        ])
    );
}

#[test]
fn a_call_that_needs_approval_becomes_a_request() {
    let mut output = output(true);
    output.follow(turn(
        json!({ "role": "assistant", "content": null }),
        vec![call(
            "a",
            "demo-echo",
            "{}",
            CallKind::Approval(tool("demo", "echo")),
        )],
        "tool_calls",
    ));
    let handed_back = vec![call(
        "a",
        "demo-echo",
        "{}",
        CallKind::Approval(tool("demo", "echo")),
    )];
    let (object, pending) = output.finish(&finished("tool_calls", handed_back));
    let item = &object["output"][1];
    assert_eq!(item["type"], "mcp_approval_request");
    assert_eq!(
        (&item["server_label"], &item["name"]),
        (&json!("demo"), &json!("echo"))
    );
    assert_eq!(pending[0].id, item["id"]);
    assert_eq!(pending[0].call_id, "a");
    assert_eq!(object["status"], "completed");
}

#[test]
fn a_refusal_is_a_part_of_its_own() {
    let mut output = output(true);
    output.follow(delta(json!({ "content": "Well, " })));
    output.follow(delta(json!({ "refusal": "no." })));
    output.follow(turn(json!({}), Vec::new(), "stop"));
    let (object, _) = output.finish(&finished("stop", Vec::new()));
    let content = &object["output"][1]["content"];
    assert_eq!(content[0]["text"], "Well, ");
    assert_eq!(content[1], json!({ "type": "refusal", "refusal": "no." }));
    let names: Vec<&str> = output.events().iter().map(Event::name).collect();
    assert!(names.contains(&"response.refusal.done"), "{names:?}");
}

#[test]
fn an_answer_that_was_cut_is_incomplete() {
    let mut output = output(true);
    output.follow(delta(json!({ "content": "And th" })));
    output.follow(turn(json!({ "content": "And th" }), Vec::new(), "length"));
    let (object, _) = output.finish(&finished("length", Vec::new()));
    assert_eq!(object["output"][1]["status"], "incomplete");
    assert_eq!(
        output.events().last().unwrap().name(),
        "response.incomplete"
    );
}

#[test]
fn a_failure_tells_what_there_was() {
    let mut output = output(true);
    output.follow(delta(json!({ "content": "And th" })));
    output.fail(&ApiError::upstream("cut", "the stream broke"));
    let last = output.events().pop().unwrap().data().clone();
    let response = &last["response"];
    assert_eq!(last["type"], "response.failed");
    assert_eq!(response["status"], "failed");
    assert_eq!(response["error"]["message"], "the stream broke");
    assert_eq!(response["output"][1]["status"], "incomplete");
    assert_eq!(response["output"][1]["content"][0]["text"], "And th");
}

#[test]
fn a_silence_is_filled_with_what_goes_on() {
    let mut output = output(true);
    output.events();
    output.still_here();
    output.calling("a".into(), &tool("demo", "echo"), "{}", Some("mcpr_1"));
    output.still_here();
    let names: Vec<&str> = output.events().iter().map(Event::name).collect();
    assert_eq!(names.first(), Some(&"response.in_progress"));
    assert_eq!(names.last(), Some(&"response.mcp_call.in_progress"));
}

#[test]
fn a_failed_call_says_why() {
    for (failure, code) in [
        (Failure::Arguments("no object".into()), -32602),
        (Failure::TimedOut(Duration::from_secs(60)), -32001),
        (Failure::Error("gone".into()), -32603),
    ] {
        let mut output = output(false);
        output.calling("a".into(), &tool("demo", "echo"), "{}", Some("mcpr_1"));
        output.called("a", &called(Err(failure)));
        let (object, _) = output.finish(&finished("stop", Vec::new()));
        let item = &object["output"][1];
        assert_eq!(item["error"]["code"], code);
        assert_eq!(item["status"], "failed");
        assert_eq!(item["approval_request_id"], "mcpr_1");
    }
}
