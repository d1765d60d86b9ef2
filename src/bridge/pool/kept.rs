//! Instances for the requests of stateless clients that can be asked something, kept from one request to the next.
//!
//! Such an instance was initialised by the bridge with the capabilities of its class: one principal, one set of
//! capabilities. While a call is under way on it that lets the server ask, no second one gets it, so that whatever the
//! server asks can be attributed; only when no further instance may be started, calls of the same class share one. An
//! instance whose call was given up is not used again, for its server may still be at work on it; the others end when
//! they have been idle for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::Pool;
use crate::bridge::instance::{Command, Halt, Instance};
use crate::bridge::visit::{Class, Purpose, Visit};

/// Idle time after which a kept instance ends: agents call several tools in a row, with a model's thinking in between.
const LINGER: Duration = Duration::from_secs(30);

/// An instance of a class.
#[derive(Debug)]
pub(super) struct Kept {
    number: u64,
    /// `None`: for a single request and its continuations.
    class: Option<Class>,
    instance: Instance,
    /// The pool's restarts when it was made.
    restarts: u64,
    calls: usize,
    looks: usize,
    /// A call was given up on it.
    stained: bool,
    idle_since: Instant,
}

impl Kept {
    fn is_idle(&self) -> bool {
        self.calls == 0 && self.looks == 0
    }

    fn count(&mut self, purpose: Purpose) -> &mut usize {
        match purpose {
            Purpose::Call => &mut self.calls,
            Purpose::Look | Purpose::Meet => &mut self.looks,
        }
    }

    fn is_fit(&self, class: Class, restarts: u64) -> bool {
        self.class == Some(class)
            && !self.stained
            && self.restarts == restarts
            && !self.instance.is_over()
    }
}

/// A visit's hold on a kept instance; given back when dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    pool: Arc<Pool>,
    number: u64,
    purpose: Purpose,
    answered: AtomicBool,
}

impl Lease {
    /// The request was answered: the server is not at work on it any more.
    pub(crate) fn answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let answered = self.answered.load(Ordering::Relaxed);
        self.pool.give_back(self.number, self.purpose, answered);
    }
}

impl Pool {
    /// An instance for `visit`; with `reuse` one of its class, and kept for the next of its class. `None` when
    /// `max_instances` are running.
    pub(crate) fn keep(self: &Arc<Pool>, visit: &Visit, reuse: bool) -> Option<(Instance, Lease)> {
        let class = visit.class();
        let purpose = visit.purpose;
        let restarts = self.orders.borrow().restarts;
        let mut shelf = self.shelf();
        shelf
            .kept
            .retain(|kept| !kept.is_idle() || !kept.instance.is_over());
        let fit = |kept: &&mut Kept| reuse && kept.is_fit(class, restarts);
        let free = |kept: &&mut Kept| purpose != Purpose::Call || kept.calls == 0;
        let found = shelf.kept.iter_mut().filter(fit).find(free);
        let (instance, number) = if let Some(kept) = found {
            *kept.count(purpose) += 1;
            (kept.instance.clone(), kept.number)
        } else if let Some(instance) = self.spare_or_new(&mut shelf, restarts) {
            // Nobody has spoken to it, so there is room in its queue.
            let adopted = Command::Adopt(Box::new(visit.hello()));
            let _full = instance.commands.try_send(adopted);
            shelf.last_kept += 1;
            let number = shelf.last_kept;
            let mut kept = Kept {
                number,
                class: reuse.then_some(class),
                instance: instance.clone(),
                restarts,
                calls: 0,
                looks: 0,
                stained: false,
                idle_since: Instant::now(),
            };
            *kept.count(purpose) += 1;
            shelf.kept.push(kept);
            (instance, number)
        } else {
            // Better shared than refused: what can't be attributed then, the server is told.
            let shared = shelf.kept.iter_mut().filter(fit);
            let kept = shared.min_by_key(|kept| kept.calls)?;
            *kept.count(purpose) += 1;
            (kept.instance.clone(), kept.number)
        };
        drop(shelf);
        self.warm();
        let lease = Lease {
            pool: self.clone(),
            number,
            purpose,
            answered: AtomicBool::new(false),
        };
        Some((instance, lease))
    }

    fn give_back(self: &Arc<Pool>, number: u64, purpose: Purpose, answered: bool) {
        let mut shelf = self.shelf();
        let Some(kept) = shelf.kept.iter_mut().find(|kept| kept.number == number) else {
            return;
        };
        *kept.count(purpose) -= 1;
        kept.stained |= purpose == Purpose::Call && !answered;
        if !kept.is_idle() {
            return;
        }
        kept.idle_since = Instant::now();
        if kept.stained || kept.class.is_none() {
            shelf.kept.retain(|kept| kept.number != number);
        } else if !std::mem::replace(&mut shelf.is_reaped, true) {
            self.site.tracker.spawn(self.clone().keep_reaped());
        }
    }

    /// Ends idle instances when their time is over, or with the bridge; lives as long as there are any.
    async fn keep_reaped(self: Arc<Pool>) {
        let mut orders = self.orders.clone();
        loop {
            let halted = orders.wait_for(|orders| orders.halt != Halt::No);
            let halted = tokio::time::timeout(LINGER / 4, halted).await.is_ok();
            let now = Instant::now();
            let mut shelf = self.shelf();
            shelf.kept.retain(|kept| {
                let over = halted || now.duration_since(kept.idle_since) >= LINGER;
                !(kept.is_idle() && over)
            });
            if shelf.kept.is_empty() || halted {
                shelf.is_reaped = false;
                return;
            }
        }
    }

    /// Ends the kept instance that has been idle longest, if there is one.
    pub(crate) fn evict_idle(&self) -> bool {
        let mut shelf = self.shelf();
        let idle = shelf.kept.iter().filter(|kept| kept.is_idle());
        let longest = idle.min_by_key(|kept| kept.idle_since);
        let Some(number) = longest.map(|kept| kept.number) else {
            return false;
        };
        shelf.kept.retain(|kept| kept.number != number);
        true
    }
}
