//! Codex CLI, not interactively: the gateway as its model provider, bridges as its MCP servers.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tokio::process::Command;

use super::gateway::{Gateway, KEY, content, demo, messages, offered};
use super::{installed, output};
use crate::harness::model::{Model, Turn};

pub(super) const CODEX: &str = "node/node_modules/.bin/codex";

/// Where Codex works.
fn folder(gateway: &Gateway) -> PathBuf {
    gateway.daemon.dir().join("folder")
}

/// Runs `codex exec` with this model and `more` in its configuration, and returns its events.
pub(super) async fn codex(gateway: &Gateway, program: &str, model: &str, more: &str) -> Vec<Value> {
    let home = gateway.daemon.dir().join("codex");
    let folder = folder(gateway);
    fs::create_dir_all(&home).unwrap();
    fs::create_dir_all(&folder).unwrap();
    let base_url = gateway.url();
    let config = format!(
        r#"model = "{model}"
model_provider = "gateway"
check_for_update_on_startup = false

[analytics]
enabled = false

[model_providers.gateway]
name = "gateway"
base_url = "{base_url}"
wire_api = "responses"
env_key = "GATEWAY_KEY"
request_max_retries = 0
stream_max_retries = 0

{more}"#
    );
    fs::write(home.join("config.toml"), config).unwrap();
    let mut command = Command::new(program);
    command
        .args(["exec", "--json", "--ephemeral", "--skip-git-repo-check"])
        // what keeps it in bounds needs kernel features that not every machine has; it only echoes
        .arg("--dangerously-bypass-approvals-and-sandbox")
        .arg("Do what is to be done.")
        .current_dir(folder)
        .env("CODEX_HOME", &home)
        .env("GATEWAY_KEY", KEY)
        .env("BRIDGE_KEY", super::exported::BRIDGE_KEY);
    let printed = output(command).await;
    let lines = printed.lines().map(serde_json::from_str);
    lines.map(Result::unwrap).collect()
}

/// The completed items of a kind.
fn completed<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let items = events
        .iter()
        .filter(|event| event["type"] == "item.completed");
    let items = items.map(|event| &event["item"]);
    items.filter(|item| item["type"] == kind).collect()
}

#[tokio::test]
async fn the_gateway_executes_its_tools_and_codex_its_own() {
    let Some(installed) = installed(&[CODEX]) else {
        return;
    };
    let model = Model::start([
        Turn::calls(&[("demo-add", json!({"a": 40, "b": 2}))]),
        Turn::calls(&[("exec_command", json!({"cmd": "echo heron-$((40+2))"}))]),
        Turn::text("The heron is number 42."),
    ])
    .await;
    let gateway = Gateway::start(&demo(), model).await;
    let events = codex(&gateway, &installed.path(CODEX), "scripted", "").await;

    let commands = completed(&events, "command_execution");
    assert_eq!(commands.len(), 1, "{events:?}");
    let printed = commands[0]["aggregated_output"].as_str().unwrap();
    assert!(printed.contains("heron-42"), "{printed}");
    let said = completed(&events, "agent_message");
    assert_eq!(said.last().unwrap()["text"], "The heron is number 42.");
    let last = events.last().unwrap();
    assert_eq!(last["type"], "turn.completed", "{events:?}");
    assert_eq!(last["usage"]["input_tokens"], 30, "{last}");

    let requests = gateway.model.requests();
    let names = offered(&requests[0].body);
    assert!(names.contains(&"exec_command"), "{names:?}");
    assert!(names.contains(&"demo-add"), "{names:?}");
    let sum = messages(&requests[1].body, "tool");
    assert!(content(sum[0]).contains("42"), "{sum:?}");
    // Codex keeps only its own call; what the gateway did before is remembered for it
    let results = messages(&requests[2].body, "tool");
    assert_eq!(results.len(), 2, "{results:?}");
    assert_eq!(content(results[0]), content(sum[0]));
    assert!(content(results[1]).contains("heron-42"), "{results:?}");
}

/// A model that calls `echo` of the MCP server `bridge`, and says the result. Codex names the tools of its MCP server `x` in a namespace
/// `mcp__x`.
pub(super) async fn model_that_calls_echo() -> Model {
    Model::answering(|request| {
        if let Some(result) = messages(request, "tool").last() {
            return Turn::text(&content(result));
        }
        let names = offered(request);
        let mut names = names.iter();
        let name = names.find(|name| name.contains("mcp__bridge") && name.ends_with("echo"));
        let Some(name) = name else {
            return Turn::text("there is no such tool");
        };
        Turn::calls(&[(name, json!({"message": "two legs"}))])
    })
    .await
}

#[tokio::test]
async fn codex_lists_and_calls_tools_of_a_bridge_by_url() {
    let Some(installed) = installed(&[CODEX]) else {
        return;
    };
    let model = model_that_calls_echo().await;
    let gateway = Gateway::start(&demo(), model).await;
    let bridge = format!("http://{}/mcp", gateway.daemon.bridge("demo"));
    let more = format!("[mcp_servers.bridge]\nurl = \"{bridge}\"\n");
    check_call(&codex(&gateway, &installed.path(CODEX), "scripted", &more).await);

    // the gateway is such a server, too
    let aggregate = format!("http://{}/mcp", gateway.daemon.gateway());
    let key = "bearer_token_env_var = \"GATEWAY_KEY\"";
    let more = format!("[mcp_servers.bridge]\nurl = \"{aggregate}\"\n{key}\n");
    check_call(&codex(&gateway, &installed.path(CODEX), "scripted", &more).await);
}

#[tokio::test]
async fn a_tool_of_free_text_gets_its_text() {
    let Some(installed) = installed(&[CODEX]) else {
        return;
    };
    let patch = "*** Begin Patch\n*** Add File: heron.txt\n+two legs\n*** End Patch";
    let model = Model::answering(move |request| {
        if !messages(request, "tool").is_empty() {
            return Turn::text("It is written.");
        }
        let mut tools = request["tools"].as_array().unwrap().iter();
        let patcher = tools.find(|tool| tool["function"]["name"] == "apply_patch");
        let Some(patcher) = patcher else {
            return Turn::text("there is no such tool");
        };
        let members = &patcher["function"]["parameters"]["properties"];
        let (member, _) = members.as_object().unwrap().iter().next().unwrap();
        Turn::calls(&[("apply_patch", json!({member: patch}))])
    })
    .await;
    // Codex offers this tool to models that it knows
    let known = json!([{"model_name": "gpt-5.5", "api_base": model.url(), "model": "scripted"}]);
    let gateway = Gateway::with_models(&demo(), model, known).await;
    let events = codex(&gateway, &installed.path(CODEX), "gpt-5.5", "").await;
    let written = fs::read_to_string(folder(&gateway).join("heron.txt"));
    assert_eq!(written.unwrap(), "two legs\n", "{events:?}");
    let said = completed(&events, "agent_message");
    assert_eq!(said.last().unwrap()["text"], "It is written.");
}

pub(super) fn check_call(events: &[Value]) {
    let calls = completed(events, "mcp_tool_call");
    assert_eq!(calls.len(), 1, "{events:?}");
    assert_eq!(calls[0]["server"], "bridge");
    let result = &calls[0]["result"]["content"];
    assert_eq!(result, &json!([{"type": "text", "text": "two legs"}]));
    let said = completed(events, "agent_message");
    let text = said.last().unwrap()["text"].as_str().unwrap();
    assert!(text.contains("two legs"), "{events:?}");
}
