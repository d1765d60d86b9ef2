//! What came of all runs, as a table.

use std::fmt;

use super::runs::Run;
use super::suite::{CheckId, Report, Status};

/// One line of the table, with what there is to say of it.
#[derive(Debug)]
pub(super) struct Row {
    revision: &'static str,
    /// `None` of the run without a bridge.
    bridged: Option<&'static Run>,
    report: Report,
    /// What passes directly and does not here.
    pub(super) made: Vec<String>,
    /// The same, where it can't pass.
    exempted: Vec<String>,
    /// What passes although it is said that it can't.
    pub(super) exempted_in_vain: Vec<String>,
    /// What passes directly and is not judged here.
    unjudged: Vec<String>,
}

impl Row {
    pub(super) const HEAD: &str = "revision    run                              scenarios  checks   exempted  of the bridge's making";

    pub(super) fn direct(revision: &'static str, report: Report) -> Row {
        Row {
            revision,
            bridged: None,
            report,
            made: Vec::new(),
            exempted: Vec::new(),
            exempted_in_vain: Vec::new(),
            unjudged: Vec::new(),
        }
    }

    /// Of a run through a bridge, held against the one without.
    pub(super) fn compared(run: &'static Run, report: Report, direct: &Report) -> Row {
        let mut row = Row {
            bridged: Some(run),
            ..Row::direct(run.revision, report)
        };
        let passed = direct.checks.iter();
        let passed = passed.filter(|(_, outcome)| outcome.status == Status::Success);
        for (id, _) in passed.filter(|((scenario, ..), _)| run.has(scenario)) {
            row.compare(run, id);
        }
        row
    }

    fn compare(&mut self, run: &Run, id: &CheckId) {
        let (scenario, check, name) = id;
        let check = format!("{scenario}: {check} ({name})");
        let (status, message) = match self.report.checks.get(id) {
            Some(outcome) => (outcome.status, outcome.message.as_str()),
            None => (Status::Failure, "not reached"),
        };
        match (status, run.exempts(id)) {
            (Status::Success, None) => {}
            (Status::Success, Some(_)) => self.exempted_in_vain.push(check),
            (Status::Info, _) => self.unjudged.push(check),
            (_, Some(reason)) => self.exempted.push(format!("{check}: {reason}")),
            (_, None) => self.made.push(format!("{check}: {message}")),
        }
    }

    /// What is wrong without any bridge.
    pub(super) fn wrong_directly(&self) -> Vec<String> {
        let failures = self.report.failures();
        match self.bridged {
            None => failures.map(|failure| format!("{failure:?}")).collect(),
            Some(_) => Vec::new(),
        }
    }

    /// Where it stands in the table.
    pub(super) fn place(&self) -> impl Ord + use<> {
        self.bridged
            .map(|run| (run.era, run.isolation))
            .map_or((self.revision, None), |way| (self.revision, Some(way)))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |(passed, all): (usize, usize)| format!("{passed}/{all}");
        let (way, exempted, made) = match self.bridged {
            None => ("directly".to_owned(), String::new(), String::new()),
            Some(run) => (
                way(run),
                self.exempted.len().to_string(),
                self.made.len().to_string(),
            ),
        };
        let scenarios = share(self.report.scenarios());
        let checks = share(self.report.checks());
        let revision = self.revision;
        writeln!(
            f,
            "{revision:10}  {way:31}  {scenarios:9}  {checks:7}  {exempted:8}  {made}"
        )?;
        for (what, all) in [
            ("fails", &self.made),
            ("exempted", &self.exempted),
            ("exempted, but passes", &self.exempted_in_vain),
            ("not judged", &self.unjudged),
        ] {
            for one in all {
                writeln!(f, "    {what}: {one}")?;
            }
        }
        Ok(())
    }
}

fn way(run: &Run) -> String {
    let isolation = match run.isolation {
        "auto" => String::new(),
        isolation => format!(", {isolation}"),
    };
    format!("bridge to {} server{isolation}", run.era)
}
