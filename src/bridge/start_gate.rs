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

    /// Waits for a place.
    ///
    /// # Cancel safety
    /// A turn that was waited for is lost when the future is dropped.
    pub(crate) async fn permit(self: Arc<Self>) -> StartPermit {
        let place = self.places.clone().acquire_owned().await.ok();
        let turn = {
            let second = Duration::from_secs(1);
            let now = Instant::now();
            let mut paced = self.paced.lock().unwrap_or_else(PoisonError::into_inner);
            *paced = (*paced).max(now) + second / PER_SECOND;
            // The first five of a burst need not wait.
            paced.checked_sub(second).map_or(now, |turn| turn.max(now))
        };
        sleep_until(turn).await;
        StartPermit { _place: place }
    }
}
