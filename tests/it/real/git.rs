//! `mcp-server-git`, on a repository of the test's own.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use tempfile::tempdir;

use super::{PYTHON, installed, text};

const SERVER: &str = "servers/bin/mcp-server-git";

#[tokio::test]
async fn a_repository_is_read() {
    let Some(installed) = installed(&[SERVER, PYTHON]) else {
        return;
    };
    let dir = tempdir().unwrap();
    git(dir.path(), &["init", "--quiet"]);
    fs::write(dir.path().join("heron.txt"), "one leg\n").unwrap();
    git(dir.path(), &["add", "."]);
    git(
        dir.path(),
        &["commit", "--quiet", "--message", "a heron appears"],
    );
    fs::write(dir.path().join("heron.txt"), "two legs\n").unwrap();
    let repo = dir.path().to_str().unwrap();
    let served = installed
        .serve("", &[&installed.path(SERVER), "--repository", repo])
        .await;
    let steps = json!([
        {"call": "git_log", "arguments": {"repo_path": repo}},
        {"call": "git_diff_unstaged", "arguments": {"repo_path": repo}},
        {"call": "git_status", "arguments": {"repo_path": repo}},
    ]);
    for transport in served.transports() {
        let facts = served.python(transport, &steps).await;
        let results = &facts["results"];
        assert!(text(&results[0]).contains("a heron appears"), "{results}");
        assert!(text(&results[1]).contains("+two legs"), "{results}");
        assert!(text(&results[2]).contains("heron.txt"), "{results}");
    }
}

fn git(dir: &Path, args: &[&str]) {
    let status = Command::new("git")
        .current_dir(dir)
        .args(["-c", "user.name=Test", "-c", "user.email=test@example.com"])
        .args(args)
        .status()
        .unwrap();
    assert!(status.success(), "git {args:?}");
}
