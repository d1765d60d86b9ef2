//! What an instance is doing, as everybody else sees it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::mcp::Era;
use crate::process::Exit;

/// The phases of SUPERVISION's state machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Its command or a variable is missing and the configuration calls it optional; a reload takes it up.
    Unavailable,
    /// The process is being started, or has not answered `initialize` yet.
    Starting,
    /// It answers.
    Ready,
    /// It missed this many pings in a row.
    Suspect(u32),
    /// It failed and is started again after a delay.
    Backoff,
    /// It failed too often in a row: one start a minute, callers are refused at once.
    Quarantined,
    /// Calls in flight may finish, new ones are refused.
    Draining,
    /// The process is being ended.
    Stopping,
    /// No process, and none will be started.
    Stopped,
}

impl Phase {
    /// The name in `/health`, `/bridges`, metrics and tables.
    pub fn label(self) -> &'static str {
        match self {
            Phase::Unavailable => "unavailable",
            Phase::Starting => "starting",
            Phase::Ready => "ready",
            Phase::Suspect(_) => "suspect",
            Phase::Backoff => "backoff",
            Phase::Quarantined => "quarantined",
            Phase::Draining => "draining",
            Phase::Stopping => "stopping",
            Phase::Stopped => "stopped",
        }
    }

    /// Whether `/health` says 200: the server answered `initialize` and has been heard within the limits.
    pub fn is_healthy(self) -> bool {
        matches!(self, Phase::Ready | Phase::Suspect(1))
    }
}

/// How a generation ended.
#[derive(Debug, Clone, PartialEq)]
pub struct LastExit {
    /// Exit code or signal; `None` when the process could not be started at all.
    pub exit: Option<Exit>,
    /// In words: `exit code 1`, `signal 9 (SIGKILL)`, `command "x" not found …`, `no answer to initialize in 60 s`.
    pub reason: String,
    /// How long it had run.
    pub uptime: Duration,
    /// Its last lines on stderr.
    pub stderr: Vec<String>,
    /// When.
    pub at: Instant,
}

/// One entry of the tally of deaths.
#[derive(Debug, Clone, PartialEq)]
pub struct Death {
    /// Which incarnation it was.
    pub generation: u64,
    /// It had been of use: answered a client, or been ready for ten seconds.
    pub productive: bool,
    /// How it ended.
    pub last: LastExit,
}

/// Deaths that are remembered.
const TALLY: usize = 64;

/// A snapshot of one bridge's shared instance.
#[derive(Debug, Clone)]
pub struct Status {
    /// What it is doing.
    pub phase: Phase,
    /// Since when.
    pub since: Instant,
    /// Starts so far; 0 before the first.
    pub generation: u64,
    /// Starts after the first.
    pub restarts: u64,
    /// The process, while there is one.
    pub pid: Option<i32>,
    /// How the last generation ended.
    pub last_exit: Option<LastExit>,
    /// The last deaths, the oldest first, at most 64.
    pub deaths: Arc<VecDeque<Death>>,
    /// When the next start is due, in back-off and quarantine.
    pub next_start: Option<Instant>,
    /// Why it is unavailable, and the cure.
    pub cure: Option<String>,
    /// `serverInfo.name` and `.version` of the last initialize or discover result.
    pub server: Option<(String, String)>,
    /// The era of the last server that was ready.
    pub era: Option<Era>,
    /// The JSON array of the revisions that it speaks, if that is a modern one.
    pub supported_versions: Option<Bytes>,
}

impl Status {
    /// A server has ended, or could not be started.
    pub(crate) fn died(&mut self, last: LastExit, productive: bool) {
        self.pid = None;
        let deaths = Arc::make_mut(&mut self.deaths);
        if deaths.len() == TALLY {
            deaths.pop_front();
        }
        deaths.push_back(Death {
            generation: self.generation,
            productive,
            last: last.clone(),
        });
        self.last_exit = Some(last);
    }

    pub(crate) fn before_start() -> Status {
        Status {
            phase: Phase::Starting,
            since: Instant::now(),
            generation: 0,
            restarts: 0,
            pid: None,
            last_exit: None,
            deaths: Arc::default(),
            next_start: None,
            cure: None,
            server: None,
            era: None,
            supported_versions: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tally_forgets_the_oldest_deaths() {
        let mut status = Status::before_start();
        for generation in 1..=70 {
            status.generation = generation;
            let last = LastExit {
                exit: Some(Exit::Code(1)),
                reason: "exit code 1".to_owned(),
                uptime: Duration::ZERO,
                stderr: Vec::new(),
                at: Instant::now(),
            };
            status.died(last, generation % 2 == 0);
        }
        assert_eq!(status.deaths.len(), 64);
        let oldest = &status.deaths[0];
        assert_eq!((oldest.generation, oldest.productive), (7, false));
        assert!(status.last_exit.is_some());
    }
}
