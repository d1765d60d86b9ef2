//! The Responses API: what is executed here stands in the output, in events that the SDK's stream accepts.

use serde_json::json;

use super::super::gateway::{
    EVERYTHING, Gateway, PYTHON, Servers, content, demo, messages, offered,
};
use super::super::{has_no_stranger, installed};
use super::{
    ANSWER, NEEDED, check_continuation, check_rounds, echoing, lookup, mixed, planned, taken,
};
use crate::harness::model::{Model, Turn};

#[tokio::test]
async fn responses_execute_tools_of_every_bridge() {
    let Some(installed) = installed(&NEEDED) else {
        return;
    };
    let servers = Servers::all(&installed).await;
    let (gateway, calls) = planned(&servers).await;
    let sdk = gateway.sdk(&installed);
    let request =
        json!({"model": "scripted", "input": "What is there?", "extra_body": {"top_k": 7}});

    let whole = sdk.one("responses", &request).await;
    check_rounds(&taken(&gateway, 0), calls);
    let streamed = sdk.one("responses-stream", &request).await;
    check_rounds(&taken(&gateway, 3), calls);
    for facts in [&whole, &streamed] {
        assert_eq!(facts["output_text"], ANSWER, "{facts}");
        let response = &facts["response"];
        assert_eq!(response["status"], "completed");
        assert_eq!(response["usage"]["total_tokens"], 45, "{response}");
        let output = response["output"].as_array().unwrap();
        assert_eq!(output.last().unwrap()["type"], "message", "{output:?}");
        let done: Vec<_> = output
            .iter()
            .filter(|item| item["type"] == "mcp_call")
            .collect();
        assert_eq!(done.len(), calls + 1, "{output:?}");
        let sum = done[0];
        assert!(sum["name"].as_str().unwrap().ends_with("get-sum"), "{sum}");
        assert!(sum["output"].as_str().unwrap().contains("42"), "{sum}");
        assert_eq!(sum["server_label"], "everything");
    }

    let events = streamed["events"].as_array().unwrap();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number, "{event}");
    }
    let types: Vec<_> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(types[..2], ["response.created", "response.in_progress"]);
    assert_eq!(types.last(), Some(&"response.completed"));
    let count = |kind: &str| types.iter().filter(|known| **known == kind).count();
    assert_eq!(count("response.mcp_call.completed"), calls + 1, "{types:?}");
    assert!(count("response.output_text.delta") > 1, "{types:?}");

    let again = json!({
        "model": "scripted",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "And now?"}]}],
        "previous_response_id": whole["response"]["id"],
    });
    let facts = sdk.one("responses", &again).await;
    assert_eq!(facts["output_text"], ANSWER, "{facts}");
    let requests = gateway.model.requests();
    let last = &requests.last().unwrap().body;
    let said: Vec<_> = messages(last, "user").into_iter().map(content).collect();
    assert_eq!(said.first().map(String::as_str), Some("What is there?"));
    assert_eq!(said.last().map(String::as_str), Some("And now?"));
    let answered = messages(last, "assistant").into_iter().map(content);
    assert!(answered.into_iter().any(|text| text == ANSWER), "{last}");
}

#[tokio::test]
async fn a_turn_that_mixes_tools_hands_back_only_the_clients() {
    let Some(installed) = installed(&[PYTHON]) else {
        return;
    };
    let model = Model::start([mixed(), Turn::text("a bird")]).await;
    let gateway = Gateway::start(&demo(), model).await;
    let sdk = gateway.sdk(&installed);
    let question = json!({"role": "user", "content": "Look!"});
    let mut tool = lookup();
    tool["type"] = json!("function");
    let tools = json!([tool]);
    let request = json!({"model": "scripted", "input": [question], "tools": tools});
    let facts = sdk.one("responses-stream", &request).await;
    let output = facts["response"]["output"].as_array().unwrap();
    let calls: Vec<_> = output
        .iter()
        .filter(|item| item["type"] == "function_call")
        .collect();
    assert_eq!(calls.len(), 1, "{facts}");
    let result =
        json!({"type": "function_call_output", "call_id": calls[0]["call_id"], "output": "looked"});
    let id = &facts["response"]["id"];
    let request =
        json!({"model": "scripted", "input": [result], "tools": tools, "previous_response_id": id});
    let facts = sdk.one("responses", &request).await;
    assert_eq!(facts["output_text"], "a bird", "{facts}");
    check_continuation(&gateway.model.requests()[1].body);
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_its_failure() {
    let Some(installed) = installed(&[PYTHON]) else {
        return;
    };
    let model = Model::start([Turn::text("a b c").broken_after(3)]).await;
    let gateway = Gateway::start(&demo(), model).await;
    let request = json!({"model": "scripted", "input": "hello"});
    let facts = gateway
        .sdk(&installed)
        .one("responses-stream", &request)
        .await;
    let last = facts["events"].as_array().unwrap().last().unwrap();
    assert_eq!(last["type"], "response.failed", "{facts}");
    assert_eq!(last["response"]["status"], "failed");
    assert!(last["response"]["error"]["message"].is_string(), "{last}");
}

#[tokio::test]
async fn thirty_responses_at_once_are_their_own() {
    let Some(installed) = installed(&[PYTHON, EVERYTHING]) else {
        return;
    };
    let gateway = echoing(&installed).await;
    let sdk = gateway.sdk(&installed);
    let response = json!({"model": "scripted", "input": "this is client-{i}."});
    let all = sdk.many("responses-stream", &response, 30).await;
    for (number, facts) in all.iter().enumerate() {
        let echo = format!("Echo: this is client-{number}.");
        assert_eq!(facts["output_text"], echo);
        has_no_stranger(facts, number);
    }
}

#[tokio::test]
async fn a_call_that_needs_approval_waits_for_it() {
    let Some(installed) = installed(&[PYTHON]) else {
        return;
    };
    let call = || Turn::calls(&[("demo-echo", json!({"message": "two legs"}))]);
    let model = Model::start([
        call(),
        Turn::text("done"),
        call(),
        Turn::text("left undone"),
    ])
    .await;
    let gateway = Gateway::start(&demo(), model).await;
    let sdk = gateway.sdk(&installed);
    let url = "litellm_proxy/mcp/demo";
    let tools = json!([{"type": "mcp", "server_label": "birds", "server_url": url, "require_approval": "always", "allowed_tools": ["echo"]}]);
    let request = json!({"model": "scripted", "input": "Look!", "tools": tools});
    for (mode, approve, text) in [
        ("responses", true, "done"),
        ("responses-stream", false, "left undone"),
    ] {
        let facts = sdk.one(mode, &request).await;
        let output = facts["response"]["output"].as_array().unwrap();
        let asked = output.last().unwrap();
        assert_eq!(asked["type"], "mcp_approval_request", "{facts}");
        assert_eq!(asked["server_label"], "birds");
        assert_eq!(asked["name"], "echo");

        let answer = json!({"type": "mcp_approval_response", "approval_request_id": asked["id"], "approve": approve});
        let id = &facts["response"]["id"];
        let request = json!({"model": "scripted", "input": [answer], "tools": tools, "previous_response_id": id});
        let facts = sdk.one(mode, &request).await;
        assert_eq!(facts["output_text"], text, "{facts}");
        let output = facts["response"]["output"].as_array().unwrap().iter();
        let calls: Vec<_> = output.filter(|item| item["type"] == "mcp_call").collect();
        let done = calls
            .iter()
            .filter(|call| call["output"] == "two legs")
            .count();
        assert_eq!(done, usize::from(approve), "{facts}");
    }
    let requests = gateway.model.requests();
    assert_eq!(offered(&requests[0].body), ["demo-echo"]);
    let told = |request: usize| content(messages(&requests[request].body, "tool")[0]);
    assert_eq!(told(1), "two legs");
    assert_ne!(told(3), "two legs");
}
