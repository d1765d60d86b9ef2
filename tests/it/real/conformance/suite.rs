//! One run of the suite, and what its checks came to.
//!
//! The suite makes a folder `server-<scenario>-<time>` for each scenario, and writes `checks.json` into it at its end. A check's id may
//! stand for several cases, told apart by name or not at all; what counts then is the worst.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use tokio::process::Command;

use super::super::PATIENCE;

/// The length of the time at the end of a folder's name.
const TIME: usize = "-2026-07-28T00-00-00-000Z".len();

/// What a check came to, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Status {
    Failure,
    Warning,
    Skipped,
    Success,
    /// Said without a judgement: what is checked does not apply, or is optional.
    Info,
}

/// One check's outcome.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) status: Status,
    /// What the suite says of it, if it isn't content.
    pub(super) message: String,
}

/// What tells a check apart: its scenario, id and name.
pub(super) type CheckId = (String, String, String);

/// All that came of a run.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) checks: BTreeMap<CheckId, Outcome>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    id: String,
    name: String,
    status: Status,
    error_message: Option<String>,
}

/// Runs `scenario` of `revision`, or every one, against `url`, with `program` (node and the suite); results are kept in `dir`.
pub(super) async fn run(
    program: &[String; 2],
    revision: &str,
    scenario: Option<&str>,
    url: &str,
    dir: &Path,
) -> Report {
    let which = scenario.map_or(["--suite", "all"], |scenario| ["--scenario", scenario]);
    let mut command = Command::new(&program[0]);
    command
        .args([&program[1], "server"])
        .args(which)
        .args(["--spec-version", revision, "--url", url, "--output-dir"])
        .arg(dir)
        .kill_on_drop(true);
    let Ok(output) = tokio::time::timeout(PATIENCE, command.output()).await else {
        panic!("waited {PATIENCE:?} in vain for {command:?}");
    };
    // it fails when a check does, which is for the caller to judge
    let printed = output.unwrap().stdout;
    let report = Report::read(dir);
    assert!(
        !report.checks.is_empty(),
        "{command:?}: {}",
        String::from_utf8_lossy(&printed)
    );
    report
}

impl Report {
    fn read(dir: &Path) -> Report {
        let mut report = Report::default();
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let scenario = name
                .strip_prefix("server-")
                .and_then(|name| name.split_at_checked(name.len().checked_sub(TIME)?));
            let (scenario, _) = scenario.unwrap_or_else(|| panic!("a folder named {name}"));
            let checks = match fs::read(entry.path().join("checks.json")) {
                Ok(text) => serde_json::from_slice(&text).unwrap(),
                Err(_) => vec![Check::broken_off(scenario)],
            };
            for check in checks {
                report.add(scenario, check);
            }
        }
        report
    }

    fn add(&mut self, scenario: &str, check: Check) {
        let outcome = Outcome {
            status: check.status,
            message: check.error_message.unwrap_or_default(),
        };
        let id = (scenario.to_owned(), check.id, check.name);
        let kept = self.checks.entry(id).or_insert_with(|| outcome.clone());
        if outcome.status < kept.status {
            *kept = outcome;
        }
    }

    /// How many scenarios there are, and how many of them have nothing but passed checks, or such as are not judged.
    pub(super) fn scenarios(&self) -> (usize, usize) {
        let mut scenarios = BTreeMap::new();
        for ((scenario, ..), outcome) in &self.checks {
            *scenarios.entry(scenario).or_insert(true) &= outcome.status.is_good();
        }
        let passed = scenarios.values().filter(|passed| **passed).count();
        (passed, scenarios.len())
    }

    /// How many checks passed, and how many were judged.
    pub(super) fn checks(&self) -> (usize, usize) {
        let judged = || {
            let statuses = self.checks.values().map(|outcome| outcome.status);
            statuses.filter(|status| *status != Status::Info)
        };
        let passed = judged().filter(|status| *status == Status::Success).count();
        (passed, judged().count())
    }

    /// The checks that the suite isn't content with.
    pub(super) fn failures(&self) -> impl Iterator<Item = (&CheckId, &Outcome)> {
        let all = self.checks.iter();
        all.filter(|(_, outcome)| !outcome.status.is_good())
    }
}

impl Check {
    /// A scenario that leaves no checks.
    fn broken_off(scenario: &str) -> Check {
        Check {
            id: scenario.to_owned(),
            name: "broken off".to_owned(),
            status: Status::Failure,
            error_message: None,
        }
    }
}

impl Status {
    pub(super) fn is_good(self) -> bool {
        self >= Status::Success
    }
}
