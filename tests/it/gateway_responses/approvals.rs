//! Calls that wait for the client's word.

use super::*;

fn answer(request: &Value, approve: bool) -> Value {
    json!({ "type": "mcp_approval_response", "approval_request_id": request["id"], "approve": approve })
}

/// A response that asks for approval of `echo`, and the request.
async fn ask(gateway: &Gateway, body: &Value) -> (Value, Value) {
    let response = gateway.response(body).await;
    let items = items(&response);
    assert_eq!(types(&items), ["mcp_approval_request"]);
    assert_eq!(items[0]["server_label"], "tools");
    assert_eq!(items[0]["name"], "echo");
    assert_eq!(items[0]["arguments"], "{\"text\":\"hi\"}");
    assert!(
        !gateway
            .fake
            .record()
            .iter()
            .any(|line| line.contains("tools/call"))
    );
    (response, items[0].clone())
}

fn turns() -> [Turn; 2] {
    [
        Turn::calls(&[("fake-echo", json!({ "text": "hi" }))]),
        Turn::text("Done."),
    ]
}

#[tokio::test]
async fn an_approved_call_is_executed_and_the_model_goes_on() {
    let gateway = Gateway::start(turns()).await;
    let (response, request) = ask(&gateway, &with_tools("go", json!([echo("always")]))).await;
    let mut body = with_tools(json!([answer(&request, true)]), json!([echo("always")]));
    body["previous_response_id"] = response["id"].clone();
    let events = all(gateway.stream(&body).await).await;
    let items = items(&events.last().unwrap()["response"]);
    assert_eq!(types(&items), ["mcp_call", "message"]);
    assert_eq!(items[0]["approval_request_id"], request["id"]);
    assert!(items[0]["output"].as_str().unwrap().contains("\"hi\""));
    let messages = gateway.messages();
    assert_eq!(messages[2]["role"], "tool");
    assert!(messages[2]["content"].as_str().unwrap().contains("\"hi\""));
    assert_eq!(messages.len(), 3);
}

#[tokio::test]
async fn a_refused_call_is_not_executed() {
    let gateway = Gateway::start(turns()).await;
    let (response, request) = ask(&gateway, &with_tools("go", json!([echo("always")]))).await;
    let mut refusal = answer(&request, false);
    refusal["reason"] = json!("too loud");
    let mut body = with_tools(json!([refusal]), json!([echo("always")]));
    body["previous_response_id"] = response["id"].clone();
    let response = gateway.response(&body).await;
    assert_eq!(types(&items(&response)), ["message"]);
    assert_eq!(
        gateway.messages()[2]["content"],
        "The user did not approve this call: too loud"
    );
    assert!(
        !gateway
            .fake
            .record()
            .iter()
            .any(|line| line.contains("tools/call"))
    );
}

#[tokio::test]
async fn a_client_that_keeps_the_conversation_approves_by_the_item() {
    let gateway = Gateway::start([
        turns()[0].clone(),
        turns()[1].clone(),
        Turn::text("Welcome."),
    ])
    .await;
    let user = json!({ "role": "user", "content": "go" });
    let mut body = with_tools(json!([user]), json!([echo("always")]));
    body["store"] = json!(false);
    let (_, request) = ask(&gateway, &body).await;
    body["input"] = json!([user, request, answer(&request, true)]);
    let response = gateway.response(&body).await;
    let items = items(&response);
    assert_eq!(types(&items), ["mcp_call", "message"]);
    // what was executed isn't executed again when the same items come back
    let input = body["input"].as_array_mut().unwrap();
    input.extend(items);
    input.push(json!({ "role": "user", "content": "Thanks." }));
    let response = gateway.response(&body).await;
    assert_eq!(
        response["output"].as_array().unwrap().last().unwrap()["content"][0]["text"],
        "Welcome."
    );
    let calls = gateway.fake.record();
    let calls = calls.iter().filter(|line| line.contains("tools/call"));
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn an_approval_of_nothing_is_refused() {
    let gateway = Gateway::start([]).await;
    let request = json!({
        "type": "mcp_approval_request", "id": "mcpr_1", "server_label": "tools", "name": "crash", "arguments": "{}",
    });
    let (status, error) = gateway
        .error(&with_tools(
            json!([answer(&request, true)]),
            json!([echo("always")]),
        ))
        .await;
    assert_eq!(status, 400);
    assert_eq!(error["param"], "input[0].approval_request_id");
    // a tool that this request isn't offered
    let input = json!([request, answer(&request, true)]);
    let (status, error) = gateway
        .error(&with_tools(input, json!([echo("always")])))
        .await;
    assert_eq!(status, 400);
    assert_eq!(error["param"], "input[1].approval_request_id");
}
