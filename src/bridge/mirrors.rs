//! The tool parameters that clients mirror into headers, as of the last change of the tools.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;

use super::Bridge;
use crate::mcp::mirrored::Mirrored;

/// A server that does not list its tools in this time is called without a look at headers: it checks them itself, if it
/// knows of any.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is known, and at which change of the tools.
#[derive(Debug, Default)]
pub(super) struct Mirrors(Mutex<(u64, Arc<OnceCell<Arc<Mirrored>>>)>);

impl Mirrors {
    /// The place for what holds since the change `now`.
    fn cell(&self, now: u64) -> Arc<OnceCell<Arc<Mirrored>>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.0 != now {
            *known = (now, Arc::default());
        }
        known.1.clone()
    }
}

impl Bridge {
    /// Those of its tools, if they have been asked for since the last change.
    pub fn mirrored_now(&self) -> Option<Arc<Mirrored>> {
        let now = self.0.shared.queued.tool_lists.load(Ordering::Relaxed);
        self.0.mirrors.cell(now).get().cloned()
    }

    /// Those of its tools; asked for once, by the first who needs them. `None` when the server can't be asked.
    ///
    /// # Cancel safety
    /// When the future is dropped, the next one asks.
    pub async fn mirrored(&self) -> Option<Arc<Mirrored>> {
        let now = self.0.shared.queued.tool_lists.load(Ordering::Relaxed);
        let cell = self.0.mirrors.cell(now);
        let ask = async || {
            self.catalogue()
                .await
                .map(|tools| Arc::new(Mirrored::of(tools)))
        };
        let known = tokio::time::timeout(PATIENCE, cell.get_or_try_init(ask)).await;
        known.ok()?.ok().cloned()
    }
}
