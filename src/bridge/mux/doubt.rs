//! Calls that were given up while the server may still be at work on them.
//!
//! A server that asks or logs something names no call. While it may be at work on a call of one session that nobody waits
//! for any more, what it says can't be attributed to another session's call, even if that is the only live one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::SessionKey;

/// How long a server is taken to be at work on a call that was cancelled and is not answered.
const DOUBT: Duration = Duration::from_secs(60);
/// Calls that are remembered one by one; beyond that everybody is in doubt.
const MAX_REMEMBERED: usize = 1024;

/// The calls in doubt, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    calls: VecDeque<Abandoned>,
    anybody_until: Option<Instant>,
}

#[derive(Debug)]
struct Abandoned {
    k: u64,
    session: SessionKey,
    may_ask: bool,
    until: Instant,
}

impl Doubt {
    /// The call `k` of `session` was given up.
    pub(super) fn arises(&mut self, k: u64, session: SessionKey, may_ask: bool, now: Instant) {
        self.forget_old(now);
        let until = now + DOUBT;
        if self.calls.len() >= MAX_REMEMBERED {
            self.anybody_until = Some(until);
            return;
        }
        self.calls.push_back(Abandoned {
            k,
            session,
            may_ask,
            until,
        });
    }

    /// The server answered the call `k` after all.
    pub(super) fn ends(&mut self, k: u64) {
        if let Some(at) = self.calls.iter().position(|call| call.k == k) {
            self.calls.remove(at);
        }
    }

    /// The server is gone.
    pub(super) fn clear(&mut self) {
        self.calls.clear();
        self.anybody_until = None;
    }

    /// Whether the server may be speaking of a call of another session than `session`; `asking`: of one that lets it ask.
    pub(super) fn about_others(&mut self, session: SessionKey, asking: bool, now: Instant) -> bool {
        self.forget_old(now);
        self.anybody_until.is_some()
            || self
                .calls
                .iter()
                .any(|call| call.session != session && (call.may_ask || !asking))
    }

    fn forget_old(&mut self, now: Instant) {
        while self.calls.front().is_some_and(|call| call.until <= now) {
            self.calls.pop_front();
        }
        self.anybody_until = self.anybody_until.filter(|until| *until > now);
    }
}
