//! The official conformance suite, against a server of ours directly and through the bridge.
//!
//! `tests/conformance` implements what the suite's server scenarios ask for, in either era, over stdio and over HTTP. For each revision
//! that the suite selects, all its scenarios run against the server's own HTTP, in the revision's era, and through a bridge to the same
//! server over stdio. What passes directly must pass through the bridge, or be declared optional by the suite where it does not apply;
//! the table names such checks, too. Extensions (the suite's `tasks-*`) are of no revision, and are left out. Each run has a bridge of
//! its own, so that none is in the way of another.

use std::fmt;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::installed;
use crate::harness::{Daemon, within};
use suite::{Report, Status};

mod suite;

const NODE: &str = "conformance/node_modules/.bin/node";
const SUITE: &str = "conformance/node_modules/.bin/conformance";

/// The revisions that the suite selects, each with the era that it is of.
const REVISIONS: [(&str, &str); 4] = [
    ("2025-03-26", "legacy"),
    ("2025-06-18", "legacy"),
    ("2025-11-25", "legacy"),
    ("2026-07-28", "modern"),
];

/// A revision, and the era of the server behind the bridge.
const BRIDGED: [(&str, &str); 3] = [
    ("2025-03-26", "legacy"),
    ("2025-06-18", "legacy"),
    ("2025-11-25", "legacy"),
];

/// One line of the table.
#[derive(Debug)]
struct Row {
    revision: &'static str,
    /// The era of the server behind the bridge; none of the run without one.
    bridged: Option<&'static str>,
    report: Report,
    /// What passes directly and does not here.
    made: Vec<String>,
    /// What passes directly and is not judged here.
    unjudged: Vec<String>,
}

#[tokio::test]
async fn what_passes_directly_passes_through_the_bridge() {
    let Some(installed) = installed(&[NODE, SUITE]) else {
        return;
    };
    let program = [installed.path(NODE), installed.path(SUITE)];
    let results = TempDir::new().unwrap();
    let daemon = Daemon::start(&config(&program[0]).to_string()).await;
    for (revision, era) in BRIDGED {
        daemon.until_ready(&name(revision, era)).await;
    }
    let mut rows = Vec::new();
    for (revision, own_era) in REVISIONS {
        let run = async |url: String, label: &str| {
            let dir = results.path().join(format!("{revision}-{label}"));
            suite::run(&program, revision, &url, &dir).await
        };
        let server = Direct::start(&program[0], own_era).await;
        let direct = run(server.url.clone(), "directly").await;
        for (_, era) in BRIDGED.iter().filter(|(bridged, _)| *bridged == revision) {
            let addr = daemon.bridge(&name(revision, era));
            let report = run(format!("http://{addr}/mcp"), era).await;
            rows.push(Row::compared(revision, era, report, &direct));
        }
        rows.push(Row {
            revision,
            bridged: None,
            report: direct,
            made: Vec::new(),
            unjudged: Vec::new(),
        });
    }
    rows.sort_by_key(|row| (row.revision, row.bridged));
    let table: String = rows.iter().map(ToString::to_string).collect();
    #[expect(
        clippy::print_stderr,
        reason = "the table is what the test is there for"
    )]
    {
        eprintln!("{}\n{table}", Row::HEAD);
    }
    for row in &rows {
        let direct: Vec<_> = row.report.failures().collect();
        assert!(row.bridged.is_some() || direct.is_empty(), "{direct:#?}");
        assert!(
            row.made.is_empty(),
            "of the bridge's making: {:#?}",
            row.made
        );
    }
}

fn config(node: &str) -> Value {
    let bridge = |(revision, era): &(&str, &str)| {
        let bridge = json!({"port": 0, "command": node, "args": [server(), era, "stdio"]});
        (name(revision, era), bridge)
    };
    let bridges: serde_json::Map<_, _> = BRIDGED.iter().map(bridge).collect();
    json!({ "bridges": bridges })
}

/// The bridge's name in the configuration.
fn name(revision: &str, era: &str) -> String {
    format!("{era}-{revision}")
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

impl Row {
    const HEAD: &str =
        "revision    run                      scenarios  checks   of the bridge's making";

    fn compared(revision: &'static str, era: &'static str, report: Report, direct: &Report) -> Row {
        let mut made = Vec::new();
        let mut unjudged = Vec::new();
        let passed = direct.checks.iter();
        for (id, _) in passed.filter(|(_, outcome)| outcome.status == Status::Success) {
            let (scenario, check, name) = id;
            let check = format!("{scenario}: {check} ({name})");
            match report.checks.get(id) {
                None => made.push(format!("{check}: not reached")),
                Some(outcome) => match outcome.status {
                    Status::Success => {}
                    Status::Info => unjudged.push(check),
                    _ => made.push(format!("{check}: {}", outcome.message)),
                },
            }
        }
        Row {
            revision,
            bridged: Some(era),
            report,
            made,
            unjudged,
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |(passed, all): (usize, usize)| format!("{passed}/{all}");
        let (way, made) = match self.bridged {
            None => ("directly".to_owned(), String::new()),
            Some(era) => (
                format!("bridge to {era} server"),
                self.made.len().to_string(),
            ),
        };
        let scenarios = share(self.report.scenarios());
        let checks = share(self.report.checks());
        let revision = self.revision;
        writeln!(
            f,
            "{revision:10}  {way:23}  {scenarios:9}  {checks:7}  {made}"
        )?;
        for made in &self.made {
            writeln!(f, "    fails: {made}")?;
        }
        for unjudged in &self.unjudged {
            writeln!(f, "    not judged: {unjudged}")?;
        }
        Ok(())
    }
}
