//! What is run through bridges, and which checks can't pass there.
//!
//! The specification's own matrix has no meeting of a client of one era with a server of the other (MCP 2026-07-28, Versioning and
//! Compatibility). Where the bridge makes one, a check may want of the server what its era has no word for; each is named here with the
//! reason, and one that passes all the same must not be.

use super::suite::CheckId;

/// A run through a bridge of its own.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) revision: &'static str,
    /// The era of the server behind the bridge.
    pub(super) era: &'static str,
    /// The bridge's `isolation`.
    pub(super) isolation: &'static str,
    /// The only scenario of the run; `None`: all.
    pub(super) scenario: Option<&'static str>,
    exempted: &'static [Exempted],
}

#[derive(Debug)]
struct Exempted {
    scenario: &'static str,
    check: &'static str,
    reason: &'static str,
}

pub(super) const RUNS: [Run; 5] = [
    Run::new("2025-03-26", "legacy", &[]),
    Run::new("2025-06-18", "legacy", &[]),
    Run::new("2025-11-25", "legacy", &[]),
    Run::new("2026-07-28", "legacy", &MODERN_TO_LEGACY),
    // Here the server is told that it can ask: what it asks of a client that didn't say so is refused by the bridge.
    Run {
        isolation: "shared",
        scenario: Some("server-stateless"),
        ..Run::new("2026-07-28", "legacy", &[])
    },
];

const MODERN_TO_LEGACY: [Exempted; 5] = [
    Exempted {
        scenario: "input-required-result-basic-elicitation",
        check: "sep-2322-elicitation-incomplete",
        reason: "the key `user_name` is wanted; keys are assigned by who makes the InputRequiredResult, which is the bridge: \
            a legacy server's question has an id and no name",
    },
    Exempted {
        scenario: "input-required-result-basic-elicitation",
        check: "sep-2322-elicitation-complete",
        reason: "not reached without that key; scenarios that answer under the key that they are given pass",
    },
    Exempted {
        scenario: "input-required-result-ignore-extra-params",
        check: "sep-2322-ignore-unexpected-params",
        reason: "a first call without requestState answers `user_name`, which nobody has asked; a legacy server takes answers to \
            its questions only, so the answer is ignored and the question asked",
    },
    Exempted {
        scenario: "server-stateless",
        check: "sep-2575-server-rejects-undeclared-capability",
        reason: "-32021 is wanted; a legacy server that hears truly that it can't ask has no code for that, and completes with an \
            error in its own words; the bridge refuses where such a server asks: see `shared`",
    },
    Exempted {
        scenario: "server-stateless",
        check: "sep-2575-missing-capability-http-400",
        reason: "the status of that -32021",
    },
];

impl Run {
    const fn new(revision: &'static str, era: &'static str, exempted: &'static [Exempted]) -> Run {
        Run {
            revision,
            era,
            isolation: "auto",
            scenario: None,
            exempted,
        }
    }

    /// The bridge's name in the configuration.
    pub(super) fn bridge(&self) -> String {
        let Run {
            revision,
            era,
            isolation,
            ..
        } = self;
        format!("{revision}-{era}-{isolation}")
    }

    /// Whether a scenario is part of it.
    pub(super) fn has(&self, scenario: &str) -> bool {
        self.scenario.is_none_or(|only| only == scenario)
    }

    /// Why a check can't pass, if it can't.
    pub(super) fn exempts(&self, (scenario, check, _): &CheckId) -> Option<&'static str> {
        let mut exempted = self.exempted.iter();
        let found =
            exempted.find(|exempted| exempted.scenario == scenario && exempted.check == check)?;
        Some(found.reason)
    }
}
