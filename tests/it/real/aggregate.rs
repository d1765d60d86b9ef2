//! The SDKs' clients of the gateway's MCP, over several real servers as one.

use serde_json::{Value, json};
use tokio::process::Command;

use super::gateway::{EVERYTHING, FILESYSTEM};
use super::{Installed, PYTHON, facts, has_no_stranger, installed, names, script, text};
use crate::harness::Behind;

const DECLARE: &str = "roots,sampling,elicitation";

async fn python(
    all: &Behind,
    installed: &Installed,
    path: &str,
    steps: &Value,
    more: &[&str],
) -> Vec<Value> {
    let transport = if path == "/sse" { "sse" } else { "http" };
    let target = format!("http://{}{path}", all.addr());
    let steps = steps.to_string();
    let mut command = Command::new(installed.path(PYTHON));
    command
        .arg(script("client.py"))
        .args([transport, &target, "--steps", &steps])
        .args(more)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    facts(command).await
}

async fn node(all: &Behind, installed: &Installed, path: &str, steps: &Value) -> Value {
    let transport = if path == "/sse" { "sse" } else { "http" };
    let target = format!("http://{}{path}", all.addr());
    let mut command = Command::new("node");
    command
        .arg(script("client.mjs"))
        .args([transport, &target, &steps.to_string(), DECLARE])
        .env("MCP_TEST_SERVERS", &installed.dir);
    facts(command).await.remove(0)
}

#[tokio::test]
async fn several_servers_are_one_to_plain_and_full_clients() {
    let Some(installed) = installed(&[EVERYTHING, FILESYSTEM, PYTHON]) else {
        return;
    };
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("heron.txt"), "two legs").unwrap();
    let entry = |name: &str, extra: &str, program: &str, argument: &str| {
        let (program, argument) = (json!(installed.path(program)), json!(argument));
        format!("  {name}: {{ port: 0, command: {program}, args: [{argument}]{extra} }}\n")
    };
    let folder = files.path().to_str().unwrap();
    let bridges = [
        entry("every", "", EVERYTHING, "stdio"),
        entry("asking", ", isolation: shared", EVERYTHING, "stdio"),
        entry("files", "", FILESYSTEM, folder),
    ];
    let all = Behind::start("", &bridges).await;
    let heron = files.path().join("heron.txt");
    let plain = json!([
        {"tools": true},
        {"call": "every-get-sum", "arguments": {"a": 2, "b": 3}},
        {"call": "every-trigger-long-running-operation", "arguments": {"duration": 1, "steps": 4}},
        {"call": "files-read_text_file", "arguments": {"path": heron}},
        {"read": "demo://resource/dynamic/text/1"},
        {"prompt": "every-simple-prompt"},
    ]);
    let full = full_steps();
    for path in ["/sse", "/mcp"] {
        let (plain, full) = tokio::join!(
            python(&all, &installed, path, &plain, &["--clients", "3"]),
            python(&all, &installed, path, &full, &["--declare", DECLARE]),
        );
        for facts in plain {
            let results = &facts["results"];
            assert_eq!(facts["asked"], json!([]));
            let tools = names(&results[0]);
            assert!(tools.contains(&"files-list_directory"), "{tools:?}");
            assert!(text(&results[1]).contains('5'));
            assert_eq!(results[2]["progress"].as_array().unwrap().len(), 4);
            assert!(text(&results[3]).contains("two legs"));
            assert!(results[4]["contents"][0]["text"].is_string(), "{results}");
            assert!(results[5]["messages"][0]["content"]["text"].is_string());
        }
        let typescript = node(&all, &installed, path, &full_steps()).await;
        for facts in [&full[0], &typescript] {
            let results = &facts["results"];
            assert!(text(&results[0]).contains('7'), "{facts}");
            assert!(text(&results[1]).contains("client-"), "{facts}");
            assert!(!facts["asked"].as_array().unwrap().is_empty(), "{facts}");
        }
        has_no_stranger(&full[0], 0);
    }
}

fn full_steps() -> Value {
    json!([
        {"call": "every-get-sum", "arguments": {"a": 4, "b": 3}},
        {"call": "asking-trigger-sampling-request", "arguments": {"prompt": "hello", "maxTokens": 5}},
        {"call": "asking-trigger-elicitation-request"},
    ])
}
