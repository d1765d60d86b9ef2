//! The requests of Open WebUI 0.12: the OpenAI API by base URL and key, and MCP by Streamable HTTP.

use serde_json::{Value, json};
use tokio::process::Command;

use super::gateway::{Gateway, KEY, PYTHON, content, demo, messages};
use super::{facts, installed, script};
use crate::harness::http::exchange;
use crate::harness::model::{Model, Turn};
use crate::harness::{Connection, Request};

/// A gateway over the demo bridge; its model calls a tool of ours and one of the client's, then answers.
async fn gateway() -> Gateway {
    let own = ("search_web", json!({"query": "herons"}));
    let model = Model::start([
        Turn::calls(&[("demo-add", json!({"a": 40, "b": 2})), own]),
        Turn::text("found it"),
    ]);
    Gateway::start(&demo(), model.await).await
}

fn authorized(request: Request) -> Request {
    let request = request.header("authorization", &format!("Bearer {KEY}"));
    request.header("content-type", "application/json")
}

/// The chunks of a stream as Open WebUI reads them: lines that begin with `data:`, until `[DONE]`.
async fn chunks(gateway: &Gateway, body: &Value) -> Vec<Value> {
    let mut connection = Connection::open(gateway.daemon.gateway()).await;
    let request = authorized(Request::post("/v1/chat/completions", body.to_string()));
    let request = request
        .header("x-openwebui-user-name", "Ada")
        .header("connection", "close");
    let response = connection.exchange(&request).await;
    assert_eq!(response.status(), 200, "{}", response.text());
    assert!(
        response
            .head
            .content_type()
            .starts_with("text/event-stream")
    );
    let text = response.text();
    let data: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .map(str::trim)
        .collect();
    let (last, data) = data.split_last().unwrap();
    assert_eq!(*last, "[DONE]", "{text}");
    let chunks: Vec<Value> = data
        .iter()
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    for chunk in &chunks {
        // these would be taken for something else
        let marks = [chunk.get("event"), chunk.get("type"), chunk.get("error")];
        assert_eq!(marks, [None, None, None], "{chunk}");
    }
    chunks
}

#[tokio::test]
async fn open_webui_lists_models_and_loops_over_its_own_tools() {
    let gateway = gateway().await;
    let list = exchange(
        gateway.daemon.gateway(),
        authorized(Request::get("/v1/models")),
    )
    .await;
    assert_eq!(
        (list.status(), &list.json()["data"][0]["id"]),
        (200, &json!("scripted"))
    );
    let refused = exchange(gateway.daemon.gateway(), Request::get("/v1/models")).await;
    assert_eq!(refused.status(), 401);
    assert!(refused.json()["error"]["message"].is_string());

    let system = json!({"role": "system", "content": "You help."});
    let question = json!({"role": "user", "content": "Search!"});
    let parameters = json!({"type": "object", "properties": {"query": {"type": "string"}}});
    let function =
        json!({"name": "search_web", "description": "Searches", "parameters": parameters});
    let body = json!({
        "stream": true,
        "model": "scripted",
        "messages": [system, question],
        "stream_options": {"include_usage": true},
        "tools": [{"type": "function", "function": function}],
    });
    let first = chunks(&gateway, &body).await;
    let deltas = first.iter().filter_map(|chunk| chunk["choices"].get(0));
    let pieces: Vec<_> = deltas
        .flat_map(|choice| choice["delta"]["tool_calls"].as_array())
        .flatten()
        .collect();
    assert!(pieces.iter().all(|piece| piece["index"] == 0), "{first:?}");
    assert_eq!(pieces[0]["function"]["name"], "search_web", "{first:?}");
    let arguments: String = pieces
        .iter()
        .filter_map(|piece| piece["function"]["arguments"].as_str())
        .collect();
    assert_eq!(
        serde_json::from_str::<Value>(&arguments).unwrap(),
        json!({"query": "herons"})
    );
    let finished: Vec<_> = first
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["finish_reason"].as_str())
        .collect();
    assert_eq!(finished, ["tool_calls"]);

    // the next round brings the whole history, with the call as Open WebUI rebuilt it
    let id = &pieces[0]["id"];
    let call = json!({"id": id, "type": "function", "index": 0, "function": {"name": "search_web", "arguments": arguments}});
    let asked = json!({"role": "assistant", "content": "", "tool_calls": [call]});
    let result = json!({"role": "tool", "tool_call_id": id, "content": "herons found"});
    let mut body = body;
    body["messages"] = json!([system, question, asked, result]);
    let second = chunks(&gateway, &body).await;
    let text: String = second
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, "found it");
    assert!(
        second.last().unwrap()["usage"]["total_tokens"].is_u64(),
        "{second:?}"
    );

    let requests = gateway.model.requests();
    let results: Vec<_> = messages(&requests[1].body, "tool")
        .into_iter()
        .map(content)
        .collect();
    assert_eq!(results.len(), 2, "{results:?}");
    assert!(results.iter().any(|result| result == "herons found"));
    assert!(
        results.iter().any(|result| result.contains("42")),
        "{results:?}"
    );
    assert!(!requests[1].headers.contains_key("x-openwebui-user-name"));
}

#[tokio::test]
async fn open_webui_uses_bridge_and_gateway_as_mcp_servers() {
    let Some(installed) = installed(&[PYTHON]) else {
        return;
    };
    let gateway = Gateway::start(&demo(), Model::start([]).await).await;
    for (addr, tool) in [
        (gateway.daemon.bridge("demo"), "echo"),
        (gateway.daemon.gateway(), "demo-echo"),
    ] {
        let mut command = Command::new(installed.path(PYTHON));
        let url = format!("http://{addr}/mcp");
        let arguments = json!({"message": "two legs"}).to_string();
        command
            .arg(script("open_webui.py"))
            .args([&url, KEY, tool, &arguments])
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let facts = facts(command).await.remove(0);
        let names = facts["tools"].as_array().unwrap();
        assert!(names.contains(&json!(tool)), "{facts}");
        assert_eq!(facts["result"]["content"][0]["text"], "two legs", "{facts}");
    }
}
