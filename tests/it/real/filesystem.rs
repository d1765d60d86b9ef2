//! `@modelcontextprotocol/server-filesystem`.

use std::fs;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::tempdir;
use tokio::process::Command;

use super::{PYTHON, facts, has_no_stranger, installed, is_undisturbed, names, script, text};
use crate::harness::{proc, until, within};

const SERVER: &str = "node/node_modules/.bin/mcp-server-filesystem";

#[tokio::test]
async fn files_are_written_and_read() {
    let Some(installed) = installed(&[SERVER, PYTHON]) else {
        return;
    };
    let dir = tempdir().unwrap();
    let root = dir.path().to_str().unwrap();
    let served = installed.serve("", &[&installed.path(SERVER), root]).await;
    for transport in served.transports() {
        let path = format!("{root}/{transport}.txt");
        let content = "first\nsecond \u{2028} line, \u{1f980}\n";
        let steps = json!([
            {"tools": true},
            {"call": "write_file", "arguments": {"path": path, "content": content}},
            {"call": "read_text_file", "arguments": {"path": path}},
            {"call": "read_text_file", "arguments": {"path": "/etc/hostname"}},
        ]);
        let facts = served.python(transport, &steps).await;
        let results = &facts["results"];
        assert!(names(&results[0]).contains(&"write_file"));
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
        assert_eq!(text(&results[2]), content);
        assert_eq!(results[3]["isError"], true, "outside of its directory");
    }
}

#[tokio::test]
async fn twenty_clients_read_what_they_wrote() {
    let Some(installed) = installed(&[SERVER, PYTHON]) else {
        return;
    };
    let dir = tempdir().unwrap();
    let root = dir.path().to_str().unwrap();
    let served = installed.serve("", &[&installed.path(SERVER), root]).await;
    for transport in served.transports() {
        let path = format!("{root}/{transport}-of-client-{{i}}.txt");
        let write = json!({"path": path, "content": "written by client-{i}."});
        let steps = json!([
            {"call": "write_file", "arguments": write},
            {"call": "read_text_file", "arguments": {"path": path}},
        ]);
        let all = served
            .pythons(transport, &steps, &["--clients", "20"])
            .await;
        assert_eq!(all.len(), 20);
        for (number, facts) in all.iter().enumerate() {
            let expected = format!("written by client-{number}.");
            let results = &facts["results"];
            let own = format!("client-{number}.");
            assert!(text(&results[0]).contains(&own), "{transport}: {results}");
            assert_eq!(text(&results[1]), expected, "{transport}");
            let written = format!("{root}/{transport}-of-client-{number}.txt");
            assert_eq!(fs::read_to_string(written).unwrap(), expected);
            assert_eq!(results[1]["progress"], json!([]));
            has_no_stranger(facts, number);
            is_undisturbed(facts);
        }
    }
}

#[tokio::test]
async fn one_line_without_a_configuration_serves_a_directory() {
    let Some(installed) = installed(&[SERVER, PYTHON]) else {
        return;
    };
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("heron.txt"), "two legs").unwrap();
    let root = dir.path().to_str().unwrap();
    let elsewhere = tempdir().unwrap();
    let ports = elsewhere.path().join("ports.json");
    let mut bridge = Command::new(env!("CARGO_BIN_EXE_mcp-bridged"))
        .args(["run", "--port", "0", "--ports-file"])
        .arg(&ports)
        .arg("--")
        .args([&installed.path(SERVER), root])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let addr = until("the port", async || {
        let ports: Value = serde_json::from_slice(&fs::read(&ports).ok()?).ok()?;
        let addr = ports["bridges"].as_object()?.values().next()?.as_str()?;
        Some(addr.to_owned())
    })
    .await;
    let path = format!("{root}/heron.txt");
    let steps = json!([{"call": "read_text_file", "arguments": {"path": path}}]).to_string();
    for (transport, path) in [("sse", "/sse"), ("sse", ""), ("http", "/mcp")] {
        let mut client = Command::new(installed.path(PYTHON));
        client
            .arg(script("client.py"))
            .args([
                transport,
                &format!("http://{addr}{path}"),
                "--steps",
                &steps,
            ])
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let facts = facts(client).await.remove(0);
        assert_eq!(text(&facts["results"][0]), "two legs", "{transport} {path}");
    }
    let pid = i32::try_from(bridge.id().unwrap()).unwrap();
    let below = proc::descendants(pid);
    assert!(!below.is_empty());
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    let status = within("the end of the bridge", bridge.wait()).await;
    assert_eq!(status.unwrap().code(), Some(0));
    for process in below {
        process.gone().await;
    }
}
