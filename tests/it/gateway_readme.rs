//! The README's commands against the root `bridges.yaml`, on a machine that has nothing but this program.

use serde_json::{Value, json};

use crate::harness::http::exchange;
use crate::harness::{Daemon, Launch, Request, until};

/// The root file with free ports, and this environment.
pub(crate) async fn root(env: &[(&str, &str)]) -> Daemon {
    let text = include_str!("../../bridges.yaml");
    let free = text.lines().map(|line| match line.trim_start() {
        key if key.starts_with("port: ") => {
            line.split("port: ").next().unwrap().to_owned() + "port: 0"
        }
        _ => line.to_owned(),
    });
    let config = free.collect::<Vec<_>>().join("\n");
    let env = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let daemon = Daemon::launch(Launch {
        config,
        env,
        ..Launch::default()
    })
    .await;
    until("every server to be listed or down", async || {
        let health = exchange(daemon.gateway(), Request::get("/health")).await;
        let health = health.json();
        let mut servers = health["servers"].as_array().unwrap().iter();
        servers
            .all(|server| server["note"] != "starting")
            .then_some(())
    })
    .await;
    daemon
}

/// What `POST /v1/responses` answers to this text in a part of this type.
pub(crate) async fn respond(daemon: &Daemon, part: &str, text: &str) -> Value {
    let input = json!([{"role": "user", "content": [{"type": part, "text": text}]}]);
    let body = json!({"model": "gpt-4o-mock", "input": input}).to_string();
    let request = Request::post("/v1/responses", body);
    let response = exchange(daemon.gateway(), request).await;
    assert_eq!(response.status(), 200, "{}", response.text());
    response.json()
}

/// The items of one type.
pub(crate) fn items<'a>(response: &'a Value, kind: &str) -> Vec<&'a Value> {
    let output = response["output"].as_array().unwrap().iter();
    output.filter(|item| item["type"] == kind).collect()
}

/// No PATH, so that no server but the built-in one is found whatever this machine has.
const NOTHING: &[(&str, &str)] = &[("PATH", "/nonexistent")];

#[tokio::test]
async fn the_mock_model_has_the_tools_of_the_demo_bridge() {
    let daemon = root(NOTHING).await;
    let models = exchange(daemon.gateway(), Request::get("/v1/models")).await;
    let models = models.json();
    let model = &models["data"][0];
    assert_eq!(model["id"], "gpt-4o-mock");
    let tools = model["tools"].as_array().unwrap();
    assert_eq!(tools[0], "demo-echo");
    assert!(
        tools
            .iter()
            .all(|tool| tool.as_str().unwrap().starts_with("demo-"))
    );
    let narrowed = Request::get("/v1/models").header("x-mcp-servers", "db");
    let narrowed = exchange(daemon.gateway(), narrowed).await.json();
    assert_eq!(narrowed["data"][0]["mcp_servers"], json!(["postgres"]));
    assert_eq!(narrowed["data"][0]["tools"], json!([]));
    let note = &narrowed["data"][0]["mcp_notes"]["postgres"];
    assert!(
        note.as_str().unwrap().contains("POSTGRES_MCP_URL"),
        "{note}"
    );
}

#[tokio::test]
async fn the_catalogue_is_streamed() {
    let daemon = root(NOTHING).await;
    let catalogue = exchange(daemon.gateway(), Request::get("/mcp/tools")).await;
    let text = catalogue.text();
    assert!(text.starts_with("data: {\"name\":\"demo-echo\","), "{text}");
    assert!(
        text.ends_with("event: done\ndata: {\"count\":6}\n\n"),
        "{text}"
    );
}

#[tokio::test]
async fn list_schemas_executes_a_tool_of_the_demo_bridge() {
    let daemon = root(NOTHING).await;
    for part in ["input_text", "text"] {
        let response = respond(&daemon, part, "List schemas.").await;
        assert_eq!(response["status"], "completed");
        let calls = items(&response, "mcp_call");
        assert_eq!(calls.len(), 1, "{response}");
        assert_eq!(calls[0]["server_label"], "demo");
        assert_eq!(calls[0]["name"], "list_tool_schemas");
        let said = &items(&response, "message")[0]["content"][0]["text"];
        assert!(said.as_str().unwrap().contains("\"echo\":"), "{said}");
        assert_eq!(*said, calls[0]["output"]);
    }
}

#[tokio::test]
async fn a_chat_calls_the_tool_that_its_text_names() {
    let daemon = root(NOTHING).await;
    let content = "Use demo-add with {\"a\": 2, \"b\": 3}";
    let messages = json!([{"role": "user", "content": content}]);
    let body = json!({"model": "gpt-4o-mock", "messages": messages}).to_string();
    let request = Request::post("/v1/chat/completions", body);
    let answer = exchange(daemon.gateway(), request).await.json();
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["content"], "{\"sum\":5}", "{answer}");
    assert_eq!(choice["finish_reason"], "stop");
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_one() {
    let daemon = root(NOTHING).await;
    for (request, allow) in [
        (Request::get("/v1/chat/completions"), "POST"),
        (Request::post("/v1/models", "{}"), "GET, HEAD"),
    ] {
        let response = exchange(daemon.gateway(), request).await;
        assert_eq!(response.status(), 405);
        assert_eq!(response.header("allow"), Some(allow));
        assert_eq!(response.json()["error"]["type"], "invalid_request_error");
    }
}

#[tokio::test]
async fn the_gateways_numbers_are_told_on_its_own_port() {
    let daemon = root(NOTHING).await;
    let wrong = Request::get("/v1/models").header("x-mcp-servers", "nobody");
    assert_eq!(exchange(daemon.gateway(), wrong).await.status(), 400);
    let numbers = exchange(daemon.gateway(), Request::get("/metrics"))
        .await
        .text();
    for line in [
        "mcp_bridged_gateway_sessions 0",
        "mcp_bridged_gateway_refused_total{reason=\"malformed\"} 1",
        "mcp_bridged_gateway_limit{limit=\"max_rounds\"} 10",
        "mcp_bridged_gateway_limit{limit=\"max_sessions\"} 1000",
    ] {
        assert!(
            numbers.lines().any(|other| other == line),
            "{line} in {numbers}"
        );
    }
}
