//! Who may start when: so that a machine that boots twenty bridges is not trampled.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

/// Spawns per second over all bridges.
const PER_SECOND: u32 = 5;

/// Shared by all bridges: at most max(2, cores) are starting at the same time, and at most five processes are spawned
/// per second.
#[derive(Debug)]
pub struct StartGate {
    places: Arc<Semaphore>,
    /// When the last spawn that was let through would have come if they came evenly.
    paced: Mutex<Instant>,
}

/// A place among those who start; given back when dropped.
#[derive(Debug)]
pub(crate) struct StartPermit {
    _place: Option<OwnedSemaphorePermit>,
}

impl StartGate {
    /// A gate for this machine.
    pub fn new() -> Arc<StartGate> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Arc::new(StartGate {
            places: Arc::new(Semaphore::new(cores.max(2))),
            paced: Mutex::new(Instant::now()),
        })
    }

    /// Waits for a place, and then for a turn.
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing from anybody.
    pub(crate) async fn permit(self: Arc<Self>) -> StartPermit {
        let place = self.places.clone().acquire_owned().await.ok();
        while let Some(turn) = self.turn() {
            sleep_until(turn).await;
        }
        StartPermit { _place: place }
    }

    /// Takes a turn if there is one, or says when to look again.
    fn turn(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut paced = self.paced.lock().unwrap_or_else(PoisonError::into_inner);
        let next = (*paced).max(now) + Duration::from_secs(1) / PER_SECOND;
        // The first five of a burst need not wait.
        let due = next.checked_sub(Duration::from_secs(1));
        if let Some(due) = due.filter(|due| *due > now) {
            return Some(due);
        }
        *paced = next;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn five_start_at_once_and_five_in_each_second_after() {
        let gate = StartGate::new();
        let start = Instant::now();
        let mut after = Vec::new();
        for _ in 0..8 {
            gate.clone().permit().await;
            after.push(start.elapsed().as_millis());
        }
        assert_eq!(after[4], 0);
        assert!((200..=202).contains(&after[5]), "{after:?}");
        assert!((600..=606).contains(&after[7]), "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_that_is_given_up_costs_nobody_a_turn() {
        let gate = StartGate::new();
        for _ in 0..1000 {
            let mut permit = std::pin::pin!(gate.clone().permit());
            tokio::select! {
                biased;
                _ = &mut permit => {}
                () = tokio::task::yield_now() => {}
            }
        }
        let start = Instant::now();
        gate.clone().permit().await;
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "{:?}",
            start.elapsed()
        );
    }
}
