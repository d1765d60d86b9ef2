//! The chat API: tools are executed, the client's own are handed back, failures are errors.

use serde_json::{Value, json};

use super::super::gateway::{EVERYTHING, Gateway, PYTHON, Sdk, Servers, demo, whole_stream};
use super::super::{has_no_stranger, installed};
use super::{
    ANSWER, NEEDED, check_continuation, check_rounds, echoing, lookup, mixed, planned, taken,
};
use crate::harness::model::{Model, Turn};

#[tokio::test]
async fn chats_execute_tools_of_every_bridge() {
    let Some(installed) = installed(&NEEDED) else {
        return;
    };
    let servers = Servers::all(&installed).await;
    let (gateway, calls) = planned(&servers).await;
    let sdk = gateway.sdk(&installed);
    let request = json!({
        "model": "scripted",
        "messages": [{"role": "user", "content": "What is there?"}],
        "extra_body": {"top_k": 7},
    });

    let facts = sdk.one("chat", &request).await;
    let choice = &facts["completion"]["choices"][0];
    assert_eq!(choice["message"]["content"], ANSWER, "{facts}");
    assert_eq!(choice["message"].get("tool_calls"), None, "{facts}");
    assert_eq!(choice["finish_reason"], "stop");
    assert_eq!(facts["completion"]["usage"]["total_tokens"], 45, "{facts}");
    check_rounds(&taken(&gateway, 0), calls);

    let facts = sdk.one("chat-stream", &request).await;
    let (text, usage) = whole_stream(facts["chunks"].as_array().unwrap());
    assert_eq!((text.as_str(), usage), (ANSWER, Value::Null));
    check_rounds(&taken(&gateway, 3), calls);

    let mut request = request;
    request["stream_options"] = json!({"include_usage": true});
    let facts = sdk.one("chat-stream", &request).await;
    let (text, usage) = whole_stream(facts["chunks"].as_array().unwrap());
    assert_eq!(
        (text.as_str(), &usage["total_tokens"]),
        (ANSWER, &json!(45))
    );

    let facts = sdk.one("chat-accumulated", &request).await;
    let completion = &facts["completion"];
    assert_eq!(
        completion["choices"][0]["message"]["content"], ANSWER,
        "{facts}"
    );
    assert_eq!(completion["choices"][0]["message"]["role"], "assistant");
    assert_eq!(completion["usage"]["total_tokens"], 45);
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

    let tools = json!([{"type": "function", "function": lookup()}]);
    let request = json!({"model": "scripted", "messages": [question], "tools": tools});
    let facts = sdk.one("chat", &request).await;
    let choice = &facts["completion"]["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls", "{facts}");
    let calls = choice["message"]["tool_calls"].as_array().unwrap();
    assert_eq!(calls.len(), 1, "{facts}");
    assert_eq!(calls[0]["function"]["name"], "lookup");
    let result = json!({"role": "tool", "tool_call_id": calls[0]["id"], "content": "looked"});
    let continuation = json!([question, choice["message"], result]);
    let request = json!({"model": "scripted", "messages": continuation, "tools": tools});
    let facts = sdk.one("chat", &request).await;
    assert_eq!(
        facts["completion"]["choices"][0]["message"]["content"],
        "a bird"
    );
    check_continuation(&gateway.model.requests()[1].body);
}

#[tokio::test]
async fn failures_are_raised_as_the_sdk_names_them() {
    let Some(installed) = installed(&[PYTHON]) else {
        return;
    };
    let refused = |message: &str| json!({"error": {"message": message, "type": "t", "code": "c"}});
    let model = Model::start([
        Turn::status(429, &refused("slow down")),
        Turn::status(401, &refused("who is that")),
        Turn::html(502),
        Turn::text("a b c").broken_after(3),
    ])
    .await;
    let gateway = Gateway::start(&demo(), model).await;
    let sdk = gateway.sdk(&installed);
    let request = json!({"model": "scripted", "messages": [{"role": "user", "content": "hello"}]});
    let mut unknown = request.clone();
    unknown["model"] = json!("nobody");

    let wrong = "sk-that-nobody-gave-out";
    let stranger = Sdk::new(&installed, &gateway.url(), wrong);
    let facts = stranger.one("chat", &request).await;
    let error = &facts["error"];
    assert_eq!(
        (&error["class"], &error["status"]),
        (&json!("AuthenticationError"), &json!(401))
    );
    assert!(!error.to_string().contains(wrong), "{error}");
    let facts = sdk.one("chat", &unknown).await;
    assert_eq!(facts["error"]["class"], "NotFoundError", "{facts}");

    let facts = sdk.one("chat", &request).await;
    assert_eq!(facts["error"]["class"], "RateLimitError", "{facts}");
    assert!(
        facts["error"]["message"]
            .as_str()
            .unwrap()
            .contains("slow down")
    );
    for _ in ["its 401", "its HTML"] {
        let facts = sdk.one("chat", &request).await;
        assert_eq!(facts["error"]["status"], 502, "{facts}");
    }

    let facts = sdk.one("chat-stream", &request).await;
    assert_eq!(facts["error"]["class"], "APIError", "{facts}");
    let chunks = facts["chunks"].as_array().unwrap().iter();
    assert!(
        chunks
            .clone()
            .all(|chunk| chunk["choices"][0]["finish_reason"].is_null())
    );
}

#[tokio::test]
async fn models_are_listed_with_their_tools() {
    let Some(installed) = installed(&[PYTHON]) else {
        return;
    };
    let gateway = Gateway::start(&demo(), Model::start([]).await).await;
    let sdk = gateway.sdk(&installed);
    let facts = sdk.one("models", &json!({})).await;
    let models = facts["models"].as_array().unwrap();
    assert_eq!(models.len(), 1, "{facts}");
    for model in [&models[0], &facts["retrieved"][0]] {
        assert_eq!(model["id"], "scripted");
        let tools = model["tools"].to_string();
        assert!(tools.contains("demo-echo"), "{facts}");
        let servers = model["mcp_servers"].to_string();
        assert!(servers.contains("demo"), "{facts}");
    }
    let none = json!({"extra_headers": {"x-mcp-servers": "nobody"}});
    let facts = sdk.one("models", &none).await;
    assert_eq!(
        facts["error"]["status"].as_u64().map(|status| status / 100),
        Some(4),
        "{facts}"
    );
}

#[tokio::test]
async fn thirty_chats_at_once_get_their_own_answers() {
    let Some(installed) = installed(&[PYTHON, EVERYTHING]) else {
        return;
    };
    let gateway = echoing(&installed).await;
    let sdk = gateway.sdk(&installed);
    let messages = json!([{"role": "user", "content": "this is client-{i}."}]);
    let chat = json!({"model": "scripted", "messages": messages});
    let all = sdk.many("chat-stream", &chat, 30).await;
    for (number, facts) in all.iter().enumerate() {
        let (text, _) = whole_stream(facts["chunks"].as_array().unwrap());
        assert_eq!(text, format!("Echo: this is client-{number}."));
        has_no_stranger(facts, number);
    }
}
