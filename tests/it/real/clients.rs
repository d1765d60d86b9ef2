//! Clients of every kind on the demo server and server-everything.

use std::path::PathBuf;

use rmcp::ServiceExt;
use rmcp::model::CallToolRequestParams;
use rmcp::transport::StreamableHttpClientTransport;
use serde_json::{Value, json};
use tokio::process::Command;

use super::{INSPECTOR, Installed, PYTHON, Served, installed, names, output, text};
use crate::harness::within;

const EVERYTHING: &str = "node/node_modules/.bin/mcp-server-everything";

/// The demo server, as the configuration in the repository's root runs it.
async fn demo(installed: &Installed) -> Served {
    let program = env!("CARGO_BIN_EXE_mcp-bridged");
    installed.serve("", &[program, "demo-server"]).await
}

#[tokio::test]
async fn the_python_sdk_uses_the_demo_server() {
    let Some(installed) = installed(&[PYTHON]) else {
        return;
    };
    let served = demo(&installed).await;
    for transport in served.transports() {
        check_demo(&served.python(transport, &demo_steps()).await);
    }
}

#[tokio::test]
async fn the_typescript_sdk_uses_the_demo_server() {
    let Some(installed) = installed(&["node/node_modules/@modelcontextprotocol/sdk"]) else {
        return;
    };
    let served = demo(&installed).await;
    for transport in served.transports() {
        check_demo(&served.node(transport, &demo_steps(), "").await);
    }
}

fn demo_steps() -> Value {
    json!([
        {"tools": true},
        {"call": "add", "arguments": {"a": 40, "b": 2}},
        {"call": "count", "arguments": {"n": 3, "delay_ms": 50}},
        {"call": "echo", "arguments": {"message": "a\u{2028}b\nc"}},
        {"read": "demo://readme"},
        {"prompt": "explain", "arguments": {"topic": "herons"}},
        {"ping": true},
    ])
}

fn check_demo(facts: &Value) {
    let results = &facts["results"];
    let tools = [
        "echo",
        "add",
        "current_time",
        "count",
        "server_info",
        "list_tool_schemas",
    ];
    assert_eq!(names(&results[0]), tools);
    assert_eq!(results[0][1]["annotations"]["readOnlyHint"], true);
    assert_eq!(results[1]["structuredContent"]["sum"], 42);
    // the TypeScript SDK forgets progress that comes right before the answer
    assert!(results[2]["progress"].as_array().unwrap().len() >= 2);
    assert_eq!(text(&results[3]), "a\u{2028}b\nc");
    let readme = results[4]["contents"][0]["text"].as_str().unwrap();
    assert!(readme.starts_with("# Demo server"), "{readme}");
    let prompt = &results[5]["messages"][0]["content"]["text"];
    assert_eq!(prompt, "Explain in three sentences: herons");
    assert_eq!(results[6].get("exception"), None);
    assert_eq!(facts["asked"], json!([]));
}

#[tokio::test]
async fn the_typescript_sdk_uses_server_everything() {
    let needed = [EVERYTHING, "node/node_modules/@modelcontextprotocol/sdk"];
    let Some(installed) = installed(&needed) else {
        return;
    };
    let served = installed
        .serve("", &[&installed.path(EVERYTHING), "stdio"])
        .await;
    let steps = json!([
        {"tools": true},
        {"call": "get-structured-content", "arguments": {"location": "Chicago"}},
        {"call": "trigger-long-running-operation", "arguments": {"duration": 0.4, "steps": 4}},
        {"call": "get-tiny-image"},
    ]);
    for transport in served.transports() {
        let facts = served.node(transport, &steps, "").await;
        let results = &facts["results"];
        assert!(names(&results[0]).contains(&"get-structured-content"));
        assert!(results[1]["structuredContent"]["temperature"].is_number());
        // the last one may come right before the answer, see above
        assert!(results[2]["progress"].as_array().unwrap().len() >= 3);
        let parts = results[3]["content"].as_array().unwrap();
        assert!(parts.iter().any(|part| part["type"] == "image"));
        assert!(facts["initialized"]["instructions"].is_string());
    }
}

#[tokio::test]
async fn rmcp_uses_the_demo_server() {
    let nothing = Installed {
        dir: PathBuf::new(),
    };
    let served = demo(&nothing).await;
    if served.daemon.is_none() {
        return;
    }
    // another test of this process may have been first
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let transport = StreamableHttpClientTransport::from_uri(served.target("http"));
    let client = within("rmcp's session", ().serve(transport)).await.unwrap();
    let tools = within("the tools", client.list_all_tools()).await.unwrap();
    assert_eq!(tools.len(), 6);
    let arguments = json!({"a": 1, "b": 2}).as_object().cloned().unwrap();
    let call = CallToolRequestParams::new("add").with_arguments(arguments);
    let result = within("the sum", client.call_tool(call)).await.unwrap();
    assert_eq!(result.structured_content, Some(json!({"sum": 3})));
    client.cancel().await.unwrap();
}

#[tokio::test]
async fn the_inspector_lists_and_calls() {
    let Some(installed) = installed(&[INSPECTOR]) else {
        return;
    };
    let served = demo(&installed).await;
    for transport in served.transports() {
        let inspector = |more: &[&str]| {
            let mut command = Command::new(installed.path(INSPECTOR));
            command.arg("--cli");
            match &served.daemon {
                Some(_) => command.arg(served.target(transport)),
                None => command.args(&served.command),
            };
            command.args(more);
            output(command)
        };
        let listed = inspector(&["--method", "tools/list"]).await;
        let listed: Value = serde_json::from_str(&listed).unwrap();
        assert_eq!(names(&listed["tools"]).len(), 6);
        let called = inspector(&[
            "--method",
            "tools/call",
            "--tool-name",
            "echo",
            "--tool-arg",
            "message=heron",
        ])
        .await;
        let called: Value = serde_json::from_str(&called).unwrap();
        assert_eq!(called["content"][0]["text"], "heron");
    }
}
