//! Entries of `type: "mcp"`, headers, and what else chooses among the tools.

use super::*;

fn selecting(entry: &Value) -> Value {
    let mut body = with_tools("Go!", &["mine"]);
    body["tools"].as_array_mut().unwrap().push(entry.clone());
    body
}

#[tokio::test]
async fn an_entry_selects_servers_and_tools() {
    let gateway = Gateway::start([Turn::text("a"), Turn::text("b"), Turn::text("c")]).await;
    let offered = async |entry: Value| {
        gateway.answer(&selecting(&entry)).await;
        let requests = gateway.model.requests();
        let body = &requests.last().unwrap().body;
        assert!(!body.to_string().contains("server_url"));
        tools(body)
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let all = offered(json!({ "type": "mcp", "server_label": "any", "server_url": "litellm_proxy", "require_approval": "never" })).await;
    assert!(
        all.contains(&"mine".to_owned()) && all.contains(&"fake-echo".to_owned()) && all.len() > 3
    );
    let entry = json!({ "type": "mcp", "server_url": "litellm_proxy/mcp/f", "allowed_tools": ["echo", "fake-look"] });
    let mut some = offered(entry).await;
    some.sort();
    assert_eq!(some, ["fake-echo", "fake-look", "mine"]);
    let none = offered(json!({ "type": "mcp", "server_label": "fake", "allowed_tools": [] })).await;
    assert_eq!(none, ["mine"]);
}

#[tokio::test]
async fn an_unknown_server_is_refused_with_those_there_are() {
    let gateway = Gateway::start([]).await;
    let response = gateway
        .post(&selecting(
            &json!({ "type": "mcp", "server_url": "litellm_proxy/mcp/nobody" }),
        ))
        .await;
    let error = response.json()["error"].clone();
    assert_eq!(
        (response.status(), error["param"].as_str()),
        (400, Some("tools[1].server_url"))
    );
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("nobody") && message.contains("fake"),
        "{message}"
    );
}

#[tokio::test]
async fn a_call_that_wants_approval_is_handed_back() {
    let gateway = Gateway::start([Turn::calls(&[("fake-echo", json!({}))])]).await;
    let entry = json!({ "type": "mcp", "server_label": "fake", "require_approval": "always" });
    let answer = gateway.answer(&selecting(&entry)).await;
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(
        choice["message"]["tool_calls"][0]["function"]["name"],
        "fake-echo"
    );
}

#[tokio::test]
async fn without_any_tool_nothing_is_said_of_tools() {
    let model = Model::start([Turn::text("x")]).await;
    let gateway = Gateway::before(model, "").await;
    let mut body = says("Go!");
    body["tools"] = json!([{ "type": "mcp", "server_label": "fake", "allowed_tools": [] }]);
    body["tool_choice"] = json!("auto");
    body["parallel_tool_calls"] = json!(false);
    gateway.answer(&body).await;
    let asked = gateway.asked(0);
    for member in ["tools", "tool_choice", "parallel_tool_calls"] {
        assert_eq!(asked.get(member), None);
    }
}

#[tokio::test]
async fn a_key_that_may_do_less_is_offered_less() {
    let turns = [
        Turn::calls(&[("fake-echo", json!({})), ("fake-look", json!({}))]),
        Turn::text("x"),
    ];
    let settings = "master_key: master\nvirtual_keys:\n  - { name: team, api_key: team-key, models: [m], tools: { deny: [fake-echo] } }\n  - { name: none, api_key: none-key, models: [other] }";
    let gateway = Gateway::before(Model::start(turns).await, settings).await;
    let asked = async |key: &str| {
        let request = Request::post("/v1/chat/completions", says("Go!").to_string())
            .header("authorization", &format!("Bearer {key}"));
        exchange(gateway.fake.gateway(), request).await
    };
    let response = asked("none-key").await;
    let error = response.json()["error"].clone();
    assert_eq!(
        (response.status(), error["code"].as_str()),
        (403, Some("model_not_allowed"))
    );
    assert_eq!(asked("wrong").await.status(), 401);
    assert_eq!(asked("team-key").await.status(), 200);
    assert!(!tools(&gateway.asked(0)).contains(&"fake-echo"));
    let messages = gateway.messages();
    let told = messages[2]["content"].as_str().unwrap();
    assert!(told.starts_with("There is no tool \"fake-echo\""), "{told}");
    let told = messages[3]["content"].as_str().unwrap();
    assert!(told.contains(r#""name":"look""#), "{told}");
    let requests = gateway.model.requests();
    assert!(
        requests
            .iter()
            .all(|request| request.headers["authorization"] == "Bearer upstream-key")
    );
}
