//! `@modelcontextprotocol/server-filesystem`.

use std::fs;

use serde_json::json;
use tempfile::tempdir;

use super::{PYTHON, installed, names, text};

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
        let path = format!("{root}/{transport}-{{i}}.txt");
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
            assert_eq!(text(&facts["results"][1]), expected, "{transport}");
        }
    }
}
