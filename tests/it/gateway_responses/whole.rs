//! Responses in one piece.

use super::*;

#[tokio::test]
async fn tools_are_executed_and_shown_as_items() {
    let gateway = Gateway::start([
        Turn::text_and_calls("Let me see.", &[("fake-echo", json!({ "text": "hi" }))]),
        Turn::text("It said hi."),
    ])
    .await;
    let input = json!([{ "role": "user", "content": [{ "type": "text", "text": "Say hi." }] }]);
    let mut body = asks(input);
    body["instructions"] = json!("Be brief.");
    body["max_output_tokens"] = json!(100);
    body["top_k"] = json!(3);
    let response = gateway.response(&body).await;
    assert_eq!(response["object"], "response");
    assert_eq!(response["status"], "completed");
    assert_eq!(response["instructions"], "Be brief.");
    assert_eq!(response["usage"]["total_tokens"], 30);
    let list = &response["output"][0];
    assert_eq!(list["type"], "mcp_list_tools");
    assert_eq!(list["server_label"], "fake");
    let items = items(&response);
    assert_eq!(types(&items), ["message", "mcp_call", "message"]);
    assert_eq!(items[1]["server_label"], "fake");
    assert_eq!(items[1]["name"], "echo");
    assert_eq!(items[1]["arguments"], "{\"text\":\"hi\"}");
    assert!(items[1]["output"].as_str().unwrap().contains("\"hi\""));
    assert_eq!(items[2]["content"][0]["text"], "It said hi.");

    let asked = gateway.asked(0);
    assert_eq!(
        asked["messages"],
        json!([{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "Say hi." }])
    );
    assert_eq!(
        (&asked["max_tokens"], &asked["top_k"]),
        (&json!(100), &json!(3))
    );
    for member in ["input", "instructions", "max_output_tokens", "store"] {
        assert_eq!(asked.get(member), None, "{member}");
    }
    let messages = gateway.messages();
    assert_eq!(
        messages[2]["tool_calls"][0]["function"]["name"],
        "fake-echo"
    );
    assert_eq!(messages[3]["role"], "tool");
}

#[tokio::test]
async fn the_clients_own_calls_come_back_with_its_names_for_them() {
    let gateway = Gateway::start([
        Turn::calls(&[
            ("weather", json!({ "city": "Rome" })),
            ("mcp__demo__echo", json!({ "message": "hey" })),
            ("apply_patch", json!({ "input": "*** Begin" })),
        ])
        .with_call_ids(&["c1", "c2", "c3"])
        .signed(json!({ "google": "sig" })),
        Turn::text("Done."),
    ])
    .await;
    let tools = json!([
        function("weather"),
        { "type": "namespace", "name": "mcp__demo", "description": "A demo.", "tools": [function("echo")] },
        { "type": "custom", "name": "apply_patch", "format": { "type": "grammar", "syntax": "lark", "definition": "start: x" } },
        { "type": "web_search" },
        none(),
    ]);
    let mut body = with_tools(json!([{ "role": "user", "content": "go" }]), tools);
    body["store"] = json!(false);
    let response = gateway.response(&body).await;
    let items = items(&response);
    assert_eq!(
        types(&items),
        ["function_call", "function_call", "custom_tool_call"]
    );
    assert_eq!(items[0]["call_id"], "c1");
    assert_eq!(items[0]["arguments"], "{\"city\":\"Rome\"}");
    assert_eq!(items[1]["namespace"], "mcp__demo");
    assert_eq!(items[1]["name"], "echo");
    assert_eq!(items[2]["input"], "*** Begin");

    let input = body["input"].as_array_mut().unwrap();
    input.extend(items);
    for id in ["c3", "c1", "c2"] {
        let kind = if id == "c3" {
            "custom_tool_call_output"
        } else {
            "function_call_output"
        };
        input.push(json!({ "type": kind, "call_id": id, "output": [{ "type": "input_text", "text": id }] }));
    }
    let response = gateway.response(&body).await;
    assert_eq!(
        response["output"].as_array().unwrap().last().unwrap()["content"][0]["text"],
        "Done."
    );
    let messages = gateway.messages();
    let calls = messages[1]["tool_calls"].as_array().unwrap();
    let names: Vec<_> = calls
        .iter()
        .map(|call| call["function"]["name"].clone())
        .collect();
    assert_eq!(names, ["weather", "mcp__demo__echo", "apply_patch"]);
    assert_eq!(calls[0]["extra_content"], json!({ "google": "sig" }));
    assert_eq!(messages.len(), 5);
    let tools = gateway.asked(0)["tools"].as_array().unwrap().len();
    assert_eq!(tools, 3);
}

#[tokio::test]
async fn a_failed_call_is_an_item_with_its_error() {
    let gateway = Gateway::start([
        Turn::calls(&[("fake-fail", json!({ "code": -32000, "message": "broken" }))]),
        Turn::text("It failed."),
    ])
    .await;
    let response = gateway.response(&asks("go")).await;
    let items = items(&response);
    assert_eq!(types(&items), ["mcp_call", "message"]);
    assert_eq!(items[0]["status"], "failed");
    assert_eq!(items[0]["output"], Value::Null);
    assert_eq!(items[0]["error"]["type"], "mcp_protocol_error");
    assert!(
        items[0]["error"]["message"]
            .as_str()
            .unwrap()
            .contains("broken")
    );
}

#[tokio::test]
async fn odd_models_are_understood() {
    let gateway = Gateway::start([Turn::calls(&[("weather", json!({}))])
        .odd(Odd::NoCallIds)
        .odd(Odd::ObjectArguments)
        .odd(Odd::FinishStop)
        .odd(Odd::NoContent)
        .odd(Odd::NoUsage)])
    .await;
    let response = gateway
        .response(&with_tools("go", json!([function("weather"), none()])))
        .await;
    let items = items(&response);
    assert_eq!(types(&items), ["function_call"]);
    assert_ne!(items[0]["call_id"], "");
    assert_eq!(items[0]["arguments"], "{}");
    assert_eq!(response["usage"], Value::Null);
}

#[tokio::test]
async fn a_schema_for_the_answer_goes_to_the_model() {
    let gateway = Gateway::start([Turn::text("{}").reasoning("hm")]).await;
    let mut body = asks_alone("go");
    let format = json!({ "type": "json_schema", "name": "answer", "schema": { "type": "object" }, "strict": true });
    body["text"] = json!({ "format": format });
    body["reasoning"] = json!({ "effort": "low" });
    body["tool_choice"] = json!("auto");
    let response = gateway.response(&body).await;
    assert_eq!(types(&items(&response)), ["reasoning", "message"]);
    assert_eq!(response["text"]["format"], format);
    let asked = gateway.asked(0);
    assert_eq!(asked["response_format"]["json_schema"]["name"], "answer");
    assert_eq!(asked["reasoning_effort"], "low");
    assert_eq!((asked.get("tools"), asked.get("tool_choice")), (None, None));
}
