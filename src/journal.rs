//! The last lines about each bridge: what its server wrote to stderr, and what was done about it.
//!
//! Whoever logs adds to it (`telemetry` does), whoever asks gets copies; nothing of a request is in it that isn't in the log.
//! Every line has a number, which grows over all bridges, so that a reader who remembers the last one gets what came since and
//! learns whether something between was dropped.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::watch;

/// Lines that are kept of one bridge: an evening of a quiet server, some seconds of a loud one.
const LINES: usize = 2000;
/// Bytes of them.
const BYTES: usize = 256 << 10;
/// Names that lines are kept of. Over it the one that has been silent for longest is forgotten: reloads may bring new names for ever.
const NAMES: usize = 256;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// An operator must act.
    Error,
    /// Something was lost or is tried again.
    Warn,
    /// The course of things.
    Info,
    /// Detail that somebody asked the log for.
    Debug,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Grows with every line of any bridge, from 1 on.
    pub number: u64,
    /// When it was added.
    pub time: SystemTime,
    /// The bridge; empty for the program as a whole.
    pub bridge: Arc<str>,
    /// How much it matters.
    pub severity: Severity,
    /// Whether the server wrote it; else it is about the server.
    pub is_servers: bool,
    /// The text.
    pub text: String,
}

/// What a reader gets.
#[derive(Debug, Default)]
pub struct Excerpt {
    /// In the order in which they were added.
    pub lines: Vec<Line>,
    /// Where to go on: the number of the last line that there was.
    pub last: u64,
    /// Lines after the asked number were dropped already.
    pub is_cut: bool,
}

/// What to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The last lines, at most so many.
    Last(usize),
    /// Every line after the one of this number.
    After(u64),
}

/// The lines of all bridges.
#[derive(Debug)]
pub struct Journal {
    kept: Mutex<Kept>,
    last: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    last: u64,
    rings: BTreeMap<Arc<str>, Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<Line>,
    bytes: usize,
    /// The number of the last line that had to make room.
    dropped: u64,
}

impl Journal {
    /// An empty one.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            kept: Mutex::default(),
            last: watch::Sender::new(0),
        })
    }

    /// Adds a line; old ones of the same bridge make room.
    pub fn add(&self, bridge: &str, severity: Severity, is_servers: bool, text: String) {
        let mut kept = self.lock();
        kept.last += 1;
        let number = kept.last;
        let name = match kept.rings.get_key_value(bridge) {
            Some((name, _)) => name.clone(),
            None => {
                kept.make_room();
                Arc::from(bridge)
            }
        };
        kept.rings.entry(name.clone()).or_default().add(Line {
            number,
            time: SystemTime::now(),
            bridge: name,
            severity,
            is_servers,
            text,
        });
        drop(kept);
        self.last.send_replace(number);
    }

    /// Whether there is a line about `bridge`.
    #[must_use]
    pub fn knows(&self, bridge: &str) -> bool {
        self.lock().rings.contains_key(bridge)
    }

    /// The lines about `bridge`, or about everything.
    #[must_use]
    pub fn read(&self, bridge: Option<&str>, from: From) -> Excerpt {
        let kept = self.lock();
        let rings: Vec<&Ring> = match bridge {
            Some(bridge) => kept.rings.get(bridge).into_iter().collect(),
            None => kept.rings.values().collect(),
        };
        let after = match from {
            From::Last(_) => 0,
            From::After(number) => number,
        };
        let wanted = rings.iter().flat_map(|ring| &ring.lines);
        let mut lines: Vec<Line> = wanted.filter(|line| line.number > after).cloned().collect();
        lines.sort_by_key(|line| line.number);
        if let From::Last(most) = from {
            lines.drain(..lines.len().saturating_sub(most));
        }
        Excerpt {
            lines,
            last: kept.last,
            is_cut: matches!(from, From::After(_)) && rings.iter().any(|ring| ring.dropped > after),
        }
    }

    /// Waits until there is a line after the one of this number, about whatever bridge.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn grown_beyond(&self, number: u64) {
        let mut last = self.last.subscribe();
        // The sender is ours, so there is no end to be told of.
        let _last = last.wait_for(|last| *last > number).await;
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn make_room(&mut self) {
        if self.rings.len() < NAMES {
            return;
        }
        let newest = |ring: &Ring| ring.lines.back().map_or(0, |line| line.number);
        let quietest = self.rings.iter().min_by_key(|(_, ring)| newest(ring));
        if let Some(name) = quietest.map(|(name, _)| name.clone()) {
            self.rings.remove(&name);
        }
    }
}

impl Ring {
    fn add(&mut self, line: Line) {
        self.bytes += line.text.len();
        self.lines.push_back(line);
        while self.lines.len() > LINES || (self.bytes > BYTES && self.lines.len() > 1) {
            let Some(oldest) = self.lines.pop_front() else {
                break;
            };
            self.bytes -= oldest.text.len();
            self.dropped = oldest.number;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(excerpt: &Excerpt) -> Vec<&str> {
        excerpt.lines.iter().map(|line| &*line.text).collect()
    }

    fn add(journal: &Journal, bridge: &str, text: &str) {
        journal.add(bridge, Severity::Info, true, text.to_owned());
    }

    #[test]
    fn lines_are_read_by_bridge_or_all_in_order() {
        let journal = Journal::new();
        for (bridge, text) in [("b", "1"), ("a", "2"), ("b", "3"), ("", "4")] {
            add(&journal, bridge, text);
        }
        for (bridge, from, expected) in [
            (Some("b"), From::Last(10), &["1", "3"][..]),
            (Some("b"), From::Last(1), &["3"]),
            (Some("b"), From::After(1), &["3"]),
            (Some("b"), From::After(4), &[]),
            (Some("none"), From::Last(10), &[]),
            (None, From::Last(3), &["2", "3", "4"]),
            (None, From::After(0), &["1", "2", "3", "4"]),
        ] {
            let excerpt = journal.read(bridge, from);
            assert_eq!(texts(&excerpt), expected, "{bridge:?} {from:?}");
            assert_eq!((excerpt.last, excerpt.is_cut), (4, false));
        }
        assert!(journal.knows("a") && !journal.knows("none"));
    }

    #[test]
    fn a_reader_that_is_too_late_is_told() {
        let journal = Journal::new();
        for number in 0..=LINES {
            add(&journal, "a", &number.to_string());
        }
        let late = journal.read(Some("a"), From::After(0));
        assert_eq!((late.lines.len(), late.is_cut), (LINES, true));
        assert!(!journal.read(Some("a"), From::After(1)).is_cut);

        add(&journal, "a", &"x".repeat(BYTES));
        let excerpt = journal.read(Some("a"), From::Last(LINES));
        assert_eq!(excerpt.lines.len(), 1, "one line takes all the room");
    }

    #[test]
    fn the_quietest_of_too_many_bridges_is_forgotten() {
        let journal = Journal::new();
        for number in 0..NAMES {
            add(&journal, &format!("b{number}"), "x");
        }
        add(&journal, "b0", "again");
        add(&journal, "new", "x");
        let known = ["b0", "b1", "b2", "new"].map(|name| journal.knows(name));
        assert_eq!(known, [true, false, true, true]);
    }

    #[tokio::test]
    async fn a_follower_is_woken_by_the_next_line() {
        let journal = Journal::new();
        add(&journal, "a", "1");
        journal.grown_beyond(0).await;
        let follower = {
            let journal = journal.clone();
            async move { journal.grown_beyond(1).await }
        };
        let (_, ()) = tokio::join!(follower, async { add(&journal, "b", "2") });
    }
}
