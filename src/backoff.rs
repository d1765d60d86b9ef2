//! Restart delays: when a server that failed may start again.
//!
//! Pure: it is told of failures and answers with a delay; the caller waits. Two streaks are kept. Failures of a server
//! that had done useful work (*productive*) are delayed little, because a tool call that crashes its server must not
//! take the server away for a minute. Failures without any use double their delay, and from the fifth in a row on the
//! server is quarantined: callers are refused at once while one probation start a minute looks whether it recovered.

use std::io;
use std::time::Duration;

/// The first delay after a failure, doubled by each further one.
const FIRST: Duration = Duration::from_millis(250);
/// The first delay when the command itself could not be started: an operator has to act, which takes longer.
const FIRST_WITHOUT_COMMAND: Duration = Duration::from_secs(5);
/// Above this an unproductive server is not delayed.
const CAP: Duration = Duration::from_secs(60);
/// Above this a productive server is not delayed.
const PRODUCTIVE_CAP: Duration = Duration::from_secs(2);
/// Ready for this long without a break, a server has earned a clean slate.
const RESET_AFTER: Duration = Duration::from_secs(60);
/// So many unproductive failures in a row mean quarantine.
const QUARANTINE_AT: u32 = 5;
/// The time between two probation starts.
const PROBATION: Duration = Duration::from_secs(60);

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Start again after this delay; callers may wait for it.
    Retry(Duration),
    /// Refuse callers at once; one probation start after this delay. The server's next Ready ends the quarantine.
    Quarantine(Duration),
}

impl Verdict {
    /// The time until the next start.
    pub fn delay(self) -> Duration {
        match self {
            Self::Retry(delay) | Self::Quarantine(delay) => delay,
        }
    }
}

/// The failures of one server that count for its next delay.
#[derive(Debug)]
pub struct Backoff {
    /// Productive failures since the last reset.
    productive: u32,
    /// Unproductive failures since the last productive one or reset.
    unproductive: u32,
    jitter: Jitter,
}

impl Backoff {
    /// No failures yet.
    pub fn new(jitter: Jitter) -> Self {
        Self {
            productive: 0,
            unproductive: 0,
            jitter,
        }
    }

    /// The server failed: it exited, hung, or did not become Ready in time. `productive` says that this generation
    /// answered a client's request or was Ready for 10 s.
    pub fn failed(&mut self, productive: bool) -> Verdict {
        if productive {
            self.unproductive = 0;
            self.productive = self.productive.saturating_add(1);
            let delay = doubled(FIRST, self.productive, PRODUCTIVE_CAP);
            // Callers wait that long for a start: the jitter must not lead past it.
            return Verdict::Retry(self.jitter.spread(delay).min(PRODUCTIVE_CAP));
        }
        self.unproductive(FIRST)
    }

    /// The command could not be started (not found, not executable): an unproductive failure on a slower ladder.
    pub fn command_missing(&mut self) -> Verdict {
        self.unproductive(FIRST_WITHOUT_COMMAND)
    }

    /// The server has now been Ready for `time` without a break; after 60 s its failures are forgotten.
    pub fn ready_for(&mut self, time: Duration) {
        if time >= RESET_AFTER {
            self.reset();
        }
    }

    /// Forgets all failures: the configuration of the server changed, or an operator restarted it.
    pub fn reset(&mut self) {
        self.productive = 0;
        self.unproductive = 0;
    }

    fn unproductive(&mut self, first: Duration) -> Verdict {
        self.unproductive = self.unproductive.saturating_add(1);
        if self.unproductive >= QUARANTINE_AT {
            return Verdict::Quarantine(self.jitter.spread(PROBATION));
        }
        let delay = doubled(first, self.unproductive, CAP);
        Verdict::Retry(self.jitter.spread(delay))
    }
}

/// The `n`-th step of the ladder that starts at `first`, at most `cap`.
fn doubled(first: Duration, n: u32, cap: Duration) -> Duration {
    let factor = 1u32.checked_shl(n.saturating_sub(1)).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(cap)
}

/// Spreads delays over ± 20 %, so that servers that failed together don't start together. A small generator of its own:
/// nothing here needs to be unpredictable.
#[derive(Debug, Clone)]
pub struct Jitter(Option<u64>);

impl Jitter {
    /// A different sequence in each process and for each server.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn random() -> io::Result<Self> {
        match getrandom::u64() {
            Ok(seed) => Ok(Self::seeded(seed)),
            Err(error) => Err(io::Error::other(error.to_string())),
        }
    }

    /// A sequence that is the same for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(Some(seed))
    }

    /// Delays pass unchanged.
    pub fn none() -> Self {
        Self(None)
    }

    /// Another sequence for someone else, so that two that fail together do not start together.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(self.0.as_mut().map(split_mix))
    }

    fn spread(&mut self, delay: Duration) -> Duration {
        let Some(state) = &mut self.0 else {
            return delay;
        };
        let percent_over_80 = (split_mix(state) % 41) as u32;
        delay * (80 + percent_over_80) / 100
    }
}

/// The next number of SplitMix64.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    enum Event {
        Productive,
        Unproductive,
        NoCommand,
        Ready(u64),
        Reset,
    }
    use Event::{NoCommand, Productive, Ready, Reset, Unproductive};

    /// Runs the events and compares the delays of the failures in ms, negative for a quarantine.
    #[track_caller]
    fn check(events: &[Event], expected: &[i64]) {
        let mut backoff = Backoff::new(Jitter::none());
        let mut delays = Vec::new();
        for event in events {
            let verdict = match event {
                Productive => backoff.failed(true),
                Unproductive => backoff.failed(false),
                NoCommand => backoff.command_missing(),
                Ready(seconds) => {
                    backoff.ready_for(Duration::from_secs(*seconds));
                    continue;
                }
                Reset => {
                    backoff.reset();
                    continue;
                }
            };
            delays.push(match verdict {
                Verdict::Retry(delay) => delay.as_millis() as i64,
                Verdict::Quarantine(delay) => -(delay.as_millis() as i64),
            });
        }
        assert_eq!(delays, expected);
    }

    #[test]
    fn the_fifth_useless_failure_means_quarantine_that_lasts() {
        check(
            &[
                Unproductive,
                Unproductive,
                Unproductive,
                Unproductive,
                Unproductive,
                Unproductive,
                Ready(59),
                Unproductive,
            ],
            &[250, 500, 1000, 2000, -60_000, -60_000, -60_000],
        );
    }

    #[test]
    fn a_productive_server_is_back_after_two_seconds_at_most() {
        let crashes: Vec<Event> = (0..20).map(|_| Productive).collect();
        let mut expected = vec![250, 500, 1000];
        expected.resize(20, 2000);
        check(&crashes, &expected);
    }

    #[test]
    fn no_jitter_leads_past_the_time_that_callers_wait() {
        let mut backoff = Backoff::new(Jitter::seeded(7));
        let longest = (0..1000).map(|_| backoff.failed(true).delay()).max();
        assert_eq!(longest, Some(PRODUCTIVE_CAP));
    }

    #[test]
    fn a_missing_command_starts_at_five_seconds() {
        check(
            &[NoCommand, NoCommand, NoCommand, NoCommand, NoCommand],
            &[5000, 10_000, 20_000, 40_000, -60_000],
        );
    }

    #[test]
    fn a_productive_failure_ends_the_useless_streak() {
        check(
            &[
                Unproductive,
                Unproductive,
                Unproductive,
                Unproductive,
                Productive,
                Unproductive,
            ],
            &[250, 500, 1000, 2000, 250, 250],
        );
    }

    #[test]
    fn sixty_seconds_of_ready_or_a_reset_forget_the_failures() {
        check(
            &[Productive, Productive, Ready(60), Productive],
            &[250, 500, 250],
        );
        check(
            &[Unproductive, Unproductive, Reset, Unproductive],
            &[250, 500, 250],
        );
    }

    #[test]
    fn the_ladder_is_capped_and_never_overflows() {
        for n in [1, 2, 9, 10, 33, u32::MAX] {
            let delay = doubled(FIRST, n, CAP);
            assert!(delay >= FIRST && delay <= CAP, "{n}: {delay:?}");
        }
        assert_eq!(doubled(FIRST, 9, CAP), CAP);
        assert_eq!(doubled(FIRST, 8, CAP), Duration::from_secs(32));
    }

    #[test]
    fn jitter_stays_within_a_fifth_and_differs() {
        let mut jitter = Jitter::seeded(7);
        let delays: Vec<Duration> = (0..1000)
            .map(|_| jitter.spread(Duration::from_secs(10)))
            .collect();
        assert!(
            delays
                .iter()
                .all(|delay| (8.0..=12.0).contains(&delay.as_secs_f64()))
        );
        assert!(delays.iter().any(|delay| delay.as_secs_f64() < 8.5));
        assert!(delays.iter().any(|delay| delay.as_secs_f64() > 11.5));
    }

    #[test]
    fn two_bridges_that_fail_together_do_not_start_together() {
        let mut jitter = Jitter::seeded(7);
        let mut one = Backoff::new(jitter.fork());
        let mut two = Backoff::new(jitter.fork());
        let delays = |it: &mut Backoff| [(); 4].map(|()| it.failed(true).delay());
        assert_ne!(delays(&mut one), delays(&mut two));
    }
}
