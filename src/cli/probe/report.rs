//! The steps of a probe: as lines for people, as JSON, and as a log for an archive.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use serde_json::{Value, json};

use super::super::{clock, output, status};

/// Lines of details in the log.
const DETAILS: usize = 200;

/// One thing that was tried.
#[derive(Debug)]
pub(super) struct Step {
    name: &'static str,
    passed: bool,
    millis: Option<f64>,
    what: String,
    /// For the log alone.
    details: Vec<String>,
}

/// Everything that was tried.
#[derive(Debug)]
pub(super) struct Report {
    log: Option<(PathBuf, File)>,
    json: bool,
    target: String,
    steps: Vec<Value>,
    failed: usize,
    /// The log could not be written.
    lost: Option<String>,
}

impl Step {
    pub(super) fn passed(name: &'static str, begun: Instant, what: &str) -> Self {
        Self {
            passed: true,
            ..Self::failed(name, Some(begun), what)
        }
    }

    pub(super) fn failed(name: &'static str, begun: Option<Instant>, what: &str) -> Self {
        Self {
            name,
            passed: false,
            millis: begun.map(|begun| begun.elapsed().as_secs_f64() * 1000.0),
            what: output::plain(what),
            details: Vec::new(),
        }
    }

    pub(super) fn with_details(self, details: Vec<String>) -> Self {
        Self { details, ..self }
    }

    /// `PASS  tools/list    3.1 ms  6 tools: echo, …`.
    fn line(&self) -> String {
        let word = if self.passed { "PASS" } else { "FAIL" };
        let time = self
            .millis
            .map_or("-".to_owned(), |millis| format!("{millis:.1} ms"));
        format!("{word}  {:<10}  {time:>10}  {}", self.name, self.what)
    }
}

impl Report {
    /// # Errors
    /// The log can't be written to, in words.
    pub(super) fn new(log: Option<&Path>, json: bool) -> Result<Self, String> {
        let opened = log.map(|path| {
            let file = File::options().append(true).create(true).open(path);
            file.map(|file| (path.to_owned(), file))
                .map_err(|error| format!("{} cannot be written: {error}", path.display()))
        });
        Ok(Self {
            log: opened.transpose()?,
            json,
            target: String::new(),
            steps: Vec::new(),
            failed: 0,
            lost: None,
        })
    }

    /// What follows is of this target.
    pub(super) fn begin(&mut self, target: &str) {
        self.target = output::plain(target);
        self.say(&self.target.clone());
        let version = env!("CARGO_PKG_VERSION");
        self.note(&format!("mcp-bridged {version} probes {}", self.target));
    }

    pub(super) fn step(&mut self, step: Step) {
        let line = step.line();
        self.say(&format!("  {line}"));
        self.note(&line);
        for detail in step.details.iter().take(DETAILS) {
            self.note(&format!("    {detail}"));
        }
        if step.details.len() > DETAILS {
            self.note(&format!(
                "    … {} lines more",
                step.details.len() - DETAILS
            ));
        }
        self.failed += usize::from(!step.passed);
        self.steps.push(json!({
            "target": self.target,
            "step": step.name,
            "passed": step.passed,
            "ms": step.millis.map(|millis| (millis * 1000.0).round() / 1000.0),
            "what": step.what,
        }));
    }

    /// The verdict.
    pub(super) fn end(mut self) -> ExitCode {
        let count = self.steps.len();
        let verdict = match self.failed {
            0 if count == 1 => "PASS: 1 step".to_owned(),
            0 => format!("PASS: {count} steps"),
            failed => format!("FAIL: {failed} of {count} steps"),
        };
        self.note(&verdict);
        let code = match self.failed {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::from(status::FAILURE),
        };
        let text = match self.json {
            true => json!({ "passed": self.failed == 0, "steps": self.steps }).to_string(),
            false => verdict,
        };
        match self.lost {
            // Without its log an acceptance is none.
            Some(lost) => output::fail(&lost, status::SOFTWARE),
            None => output::answer(&text, code),
        }
    }

    fn say(&self, line: &str) {
        if !self.json {
            output::line(line);
        }
    }

    fn note(&mut self, line: &str) {
        let Some((path, file)) = &mut self.log else {
            return;
        };
        if let Err(error) = writeln!(file, "{}  {line}", clock::now()) {
            self.lost = Some(format!("{} cannot be written: {error}", path.display()));
        }
    }
}
