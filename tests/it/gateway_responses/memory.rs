//! What a response goes on from: `previous_response_id`, references, and what clients don't send back.

use super::*;

#[tokio::test]
async fn a_conversation_goes_on_by_the_id_of_its_last_response() {
    let gateway = Gateway::start([
        Turn::calls(&[("fake-echo", json!({ "text": "hi" }))]),
        Turn::text("It said hi."),
        Turn::text("Again: hi."),
    ])
    .await;
    let mut body = asks("Say hi.");
    body["instructions"] = json!("Be brief.");
    let first = gateway.response(&body).await;
    let mut body = asks("Again.");
    body["previous_response_id"] = first["id"].clone();
    body["instructions"] = json!("Be long.");
    let second = gateway.response(&body).await;
    assert_eq!(second["previous_response_id"], first["id"]);
    // the client knows the tools by now
    assert_eq!(second["output"][0]["type"], "message");
    let messages = gateway.messages();
    let roles: Vec<_> = messages
        .iter()
        .map(|message| message["role"].clone())
        .collect();
    assert_eq!(
        roles,
        ["system", "user", "assistant", "tool", "assistant", "user"]
    );
    assert_eq!(messages[0]["content"], "Be long.");
    assert_eq!(messages[4]["content"], "It said hi.");
}

#[tokio::test]
async fn results_of_a_mixed_turn_are_remembered() {
    // once by the store, once for a client that keeps the conversation itself and drops what it doesn't know
    for stored in [true, false] {
        let gateway = Gateway::start([
            Turn::calls(&[("fake-echo", json!({ "text": "early" }))]),
            Turn::calls(&[
                ("fake-echo", json!({ "text": "beside" })),
                ("weather", json!({})),
            ])
            .with_call_ids(&["ours", "theirs"]),
            Turn::text("Done."),
        ])
        .await;
        let user = json!({ "role": "user", "content": "go" });
        let tools = json!([function("weather"), echo("never")]);
        let mut body = with_tools(json!([user]), tools);
        body["store"] = json!(stored);
        let first = gateway.response(&body).await;
        let items = items(&first);
        assert_eq!(types(&items), ["mcp_call", "function_call", "mcp_call"]);
        let output =
            json!({ "type": "function_call_output", "call_id": "theirs", "output": "sunny" });
        if stored {
            body["previous_response_id"] = first["id"].clone();
            body["input"] = json!([output]);
        } else {
            body["input"] = json!([user, items[1], output]);
        }
        let second = gateway.response(&body).await;
        assert_eq!(second["status"], "completed");
        let messages = gateway.messages();
        let roles: Vec<_> = messages
            .iter()
            .map(|message| message["role"].clone())
            .collect();
        assert_eq!(
            roles,
            ["user", "assistant", "tool", "assistant", "tool", "tool"],
            "stored: {stored}"
        );
        assert_eq!(messages[3]["tool_calls"].as_array().unwrap().len(), 2);
        let theirs = messages
            .iter()
            .find(|message| message["tool_call_id"] == "theirs");
        assert_eq!(theirs.unwrap()["content"], "sunny");
    }
}

#[tokio::test]
async fn a_client_that_sends_everything_back_has_nothing_added() {
    let gateway = Gateway::start([
        Turn::calls(&[("fake-echo", json!({ "text": "early" }))]),
        Turn::calls(&[("weather", json!({}))]).with_call_ids(&["theirs"]),
        Turn::text("Done."),
    ])
    .await;
    let user = json!({ "role": "user", "content": "go" });
    let mut body = with_tools(json!([user]), json!([function("weather"), echo("never")]));
    let first = gateway.response(&body).await;
    let input = body["input"].as_array_mut().unwrap();
    input.extend(first["output"].as_array().unwrap().iter().cloned());
    input.push(json!({ "type": "function_call_output", "call_id": "theirs", "output": "sunny" }));
    gateway.response(&body).await;
    let roles: Vec<_> = gateway
        .messages()
        .iter()
        .map(|message| message["role"].clone())
        .collect();
    assert_eq!(roles, ["user", "assistant", "tool", "assistant", "tool"]);
}

#[tokio::test]
async fn items_are_found_by_reference() {
    let gateway = Gateway::start([Turn::text("Hello."), Turn::text("Bye.")]).await;
    let first = gateway.response(&asks_alone("Hi.")).await;
    let said = items(&first)[0]["id"].clone();
    let input = json!([
        { "role": "user", "content": "Hi." },
        { "type": "item_reference", "id": said },
        { "role": "user", "content": "Bye?" },
    ]);
    gateway.response(&asks_alone(input)).await;
    assert_eq!(
        gateway.messages()[1],
        json!({ "role": "assistant", "content": "Hello." })
    );
}

#[tokio::test]
async fn a_response_can_be_asked_for_and_forgotten() {
    let gateway = Gateway::start([Turn::text("Hello."), Turn::text("Secret.")]).await;
    let first = gateway.response(&asks_alone("Hi.")).await;
    let path = format!("/v1/responses/{}", first["id"].as_str().unwrap());
    let addr = gateway.fake.gateway();
    assert_eq!(exchange(addr, Request::get(&path)).await.json(), first);
    let deleted = exchange(addr, Request::new("DELETE", &path)).await;
    assert_eq!(deleted.json()["deleted"], true);
    assert_eq!(exchange(addr, Request::get(&path)).await.status(), 404);

    let mut body = asks_alone("Hi.");
    body["store"] = json!(false);
    let second = gateway.response(&body).await;
    body["previous_response_id"] = second["id"].clone();
    let (status, error) = gateway.error(&body).await;
    assert_eq!(status, 404);
    assert_eq!(error["code"], "previous_response_not_found");
    assert_eq!(error["param"], "previous_response_id");
}

#[tokio::test]
async fn a_response_belongs_to_its_key() {
    let keys = "virtual_keys:\n  - { api_key: key-a }\n  - { api_key: key-b }";
    let gateway = Gateway::before(Model::start([Turn::text("Hello.")]).await, keys).await;
    let post = async |key: &str, body: &Value| {
        let request = Request::post("/v1/responses", body.to_string());
        let request = request.header("authorization", &format!("Bearer {key}"));
        exchange(gateway.fake.gateway(), request).await
    };
    let first = post("key-a", &asks_alone("Hi.")).await.json();
    let mut body = asks_alone("And?");
    body["previous_response_id"] = first["id"].clone();
    assert_eq!(post("key-b", &body).await.status(), 404);
    assert_eq!(post("none", &body).await.status(), 401);
}
