//! The official conformance suite, against a server of ours directly and through the bridge.
//!
//! `tests/conformance` implements what the suite's server scenarios ask for, in either era, over stdio and over HTTP. For each revision
//! that the suite selects, all its scenarios run against the server's own HTTP, in the revision's era, and through a bridge to the same
//! server over stdio, of either era. What passes directly must pass through the bridge, be declared optional by the suite where it does
//! not apply, or be exempted by [`runs`], with a reason; the table names such checks, too. Extensions (the suite's `tasks-*`) are of no
//! revision, and are left out. Each run has a bridge of its own, so that none is in the way of another.

use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::installed;
use crate::harness::{Daemon, within};
use runs::RUNS;
use table::Row;

mod runs;
mod suite;
mod table;

const NODE: &str = "conformance/node_modules/.bin/node";
const SUITE: &str = "conformance/node_modules/.bin/conformance";

/// The revisions that the suite selects, each with the era that it is of.
const REVISIONS: [(&str, &str); 4] = [
    ("2025-03-26", "legacy"),
    ("2025-06-18", "legacy"),
    ("2025-11-25", "legacy"),
    ("2026-07-28", "modern"),
];

#[tokio::test]
async fn what_passes_directly_passes_through_the_bridge() {
    let Some(installed) = installed(&[NODE, SUITE]) else {
        return;
    };
    let program = [installed.path(NODE), installed.path(SUITE)];
    let results = TempDir::new().unwrap();
    let daemon = Daemon::start(&config(&program[0]).to_string()).await;
    for run in &RUNS {
        daemon.until_ready(&run.bridge()).await;
    }
    let mut rows = Vec::new();
    for (revision, own_era) in REVISIONS {
        let suite = async |url: &str, scenario, name: &str| {
            let dir = results.path().join(name);
            suite::run(&program, revision, scenario, url, &dir).await
        };
        let server = Direct::start(&program[0], own_era).await;
        let direct = suite(&server.url, None, revision).await;
        for run in RUNS.iter().filter(|run| run.revision == revision) {
            let url = format!("http://{}/mcp", daemon.bridge(&run.bridge()));
            let report = suite(&url, run.scenario, &run.bridge()).await;
            rows.push(Row::compared(run, report, &direct));
        }
        rows.push(Row::direct(revision, direct));
    }
    rows.sort_by_key(Row::place);
    let table: String = rows.iter().map(ToString::to_string).collect();
    #[expect(
        clippy::print_stderr,
        reason = "the table is what the test is there for"
    )]
    {
        eprintln!("{}\n{table}", Row::HEAD);
    }
    let all = |of: fn(&Row) -> Vec<String>| -> Vec<String> { rows.iter().flat_map(of).collect() };
    let direct = all(Row::wrong_directly);
    assert!(direct.is_empty(), "without a bridge: {direct:#?}");
    let made = all(|row| row.made.clone());
    assert!(made.is_empty(), "of the bridge's making: {made:#?}");
    let in_vain = all(|row| row.exempted_in_vain.clone());
    assert!(in_vain.is_empty(), "exempted in vain: {in_vain:#?}");
}

fn config(node: &str) -> Value {
    let bridge = |run: &runs::Run| {
        let bridge = json!({
            "port": 0, "command": node, "args": [server(), run.era, "stdio"], "isolation": run.isolation,
            // The suite leaves calls that wait for its input behind, each with a process.
            "max_instances": 16,
        });
        (run.bridge(), bridge)
    };
    let bridges: serde_json::Map<_, _> = RUNS.iter().map(bridge).collect();
    json!({ "bridges": bridges })
}

fn server() -> String {
    format!(
        "{}/tests/conformance/server.mjs",
        env!("CARGO_MANIFEST_DIR")
    )
}

/// The server over its own HTTP. Dropping it kills it.
#[derive(Debug)]
struct Direct {
    _child: Child,
    url: String,
}

impl Direct {
    async fn start(node: &str, era: &str) -> Direct {
        let mut child = Command::new(node)
            .args([&server(), era, "http"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = within("the server's URL", lines.next_line()).await;
        let line: Value = serde_json::from_str(&line.unwrap().unwrap()).unwrap();
        Direct {
            _child: child,
            url: line["url"].as_str().unwrap().to_owned(),
        }
    }
}
