//! Is the server alive? (SUPERVISION §2) Pure: silence, pings and misses; time is an argument.

use std::time::{Duration, Instant};

use crate::config::Timing;

/// Evidence of life of one generation.
#[derive(Debug)]
pub(crate) struct Liveness {
    heard: Instant,
    pinged: Option<Instant>,
    misses: u32,
}

/// What the passing of time asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pulse {
    /// Nothing.
    Quiet,
    /// Send a ping.
    Ping,
    /// This many pings in a row were not answered in time; send another.
    Missed(u32),
    /// As many misses as the configuration allows, and nothing that would excuse them.
    Hung,
}

impl Liveness {
    pub(crate) fn new(now: Instant) -> Liveness {
        Liveness {
            heard: now,
            pinged: None,
            misses: 0,
        }
    }

    /// A well-formed line came. Returns whether the server was suspect before.
    pub(crate) fn heard(&mut self, now: Instant) -> bool {
        self.heard = now;
        self.pinged = None;
        std::mem::take(&mut self.misses) > 0
    }

    /// When [`Liveness::tick`] has something to say.
    pub(crate) fn due(&self, timing: &Timing) -> Instant {
        match self.pinged {
            Some(at) => at + timing.ping_timeout,
            None => self.heard + timing.ping_interval,
        }
    }

    /// `busy`: a client's request is in flight that has not reached its own time-out. A synchronous server answers no
    /// ping while a tool runs; it is suspect then, but not hung.
    pub(crate) fn tick(&mut self, now: Instant, timing: &Timing, busy: bool) -> Pulse {
        if now < self.due(timing) {
            return Pulse::Quiet;
        }
        let first = self.pinged.is_none();
        self.pinged = Some(now);
        if first {
            return Pulse::Ping;
        }
        self.misses = self.misses.saturating_add(1);
        if self.misses >= timing.ping_failures && !busy {
            Pulse::Hung
        } else {
            Pulse::Missed(self.misses)
        }
    }
}

/// Lets the first few of something through, then one per interval, and counts what it held back.
#[derive(Debug)]
pub(crate) struct Sampler {
    first: u32,
    every: Duration,
    next: Option<Instant>,
    held_back: u64,
}

impl Sampler {
    pub(crate) fn new(first: u32, every: Duration) -> Sampler {
        Sampler {
            first,
            every,
            next: None,
            held_back: 0,
        }
    }

    /// Whether this one is let through; then with how many were held back before it.
    pub(crate) fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.first > 0 {
            self.first -= 1;
        } else if self.next.is_some_and(|next| now < next) {
            self.held_back += 1;
            return None;
        } else {
            self.next = Some(now + self.every);
        }
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_leads_to_pings_and_misses_to_the_hang_rule() {
        let timing = Timing::default();
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut life = Liveness::new(start);
        for (second, busy, want) in [
            (14, false, Pulse::Quiet),
            (15, false, Pulse::Ping),
            (19, false, Pulse::Quiet),
            (20, false, Pulse::Missed(1)),
            (25, true, Pulse::Missed(2)),
            (30, true, Pulse::Missed(3)),
            (35, true, Pulse::Missed(4)),
            (39, false, Pulse::Quiet),
            (40, false, Pulse::Hung),
        ] {
            assert_eq!(life.tick(at(second), &timing, busy), want, "at {second} s");
        }
        assert!(life.heard(at(41)));
        assert_eq!(life.tick(at(55), &timing, false), Pulse::Quiet);
        assert_eq!(life.tick(at(56), &timing, false), Pulse::Ping);
        assert!(!life.heard(at(57)));
    }

    #[test]
    fn a_sampler_lets_the_first_through_and_then_one_per_interval() {
        let start = Instant::now();
        let mut sampler = Sampler::new(2, Duration::from_secs(10));
        let mut admit = |second| sampler.admit(start + Duration::from_secs(second));
        assert_eq!(
            [admit(0), admit(0), admit(0), admit(1), admit(9), admit(10)],
            [Some(0), Some(0), Some(0), None, None, Some(2)]
        );
    }
}
