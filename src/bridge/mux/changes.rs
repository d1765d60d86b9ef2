//! "The list has changed": to every session, but not at once.
//!
//! What a server says many times within [`COALESCE`] is said once, and not within [`QUIET`] after a session's last answer.

use std::time::{Duration, Instant};

use super::{Mux, Output};
use crate::bridge::mailbox::DeliveryKind;
use crate::mcp::ServerNotification;

/// list_changed notifications within this time become one.
const COALESCE: Duration = Duration::from_millis(50);
/// After a session's last answer a shared instance does not tell it of changed lists for this long: LiteLLM loses a
/// result that it has received when a notification arrives while it closes the session.
const QUIET: Duration = Duration::from_millis(250);
/// A session that is never quiet hears of a changed list after this time.
const LATEST: Duration = Duration::from_secs(5);

/// One flag for each list.
pub(super) type Lists = [bool; ServerNotification::LISTS.len()];

/// What a session is yet to be told.
#[derive(Debug, Default)]
pub(super) struct Untold {
    lists: Lists,
    since: Option<Instant>,
}

impl<A: Clone> Mux<A> {
    /// Costs the same with one session and with a thousand: a server may say it all the time.
    pub(super) fn list_changed(&mut self, list: usize, now: Instant) {
        self.changed[list] = true;
        self.tool_lists += u64::from(ServerNotification::LISTS[list].0 == "tools");
        let due = now + COALESCE;
        self.changes_due = Some(self.changes_due.map_or(due, |other| other.min(due)));
    }

    pub(super) fn send_changes(&mut self, now: Instant, out: &mut Output<A>) {
        let changed = std::mem::take(&mut self.changed);
        self.changes_due = None;
        for seat in self.seats.values_mut() {
            // A session that was never answered knows no list.
            let Some(last_answer) = seat.last_answer else {
                continue;
            };
            for (untold, changed) in seat.untold.lists.iter_mut().zip(changed) {
                *untold |= changed;
            }
            if !seat.untold.lists.contains(&true) {
                continue;
            }
            let since = *seat.untold.since.get_or_insert(now);
            let due = (last_answer + QUIET).min(since + LATEST);
            if due > now {
                self.changes_due = Some(self.changes_due.map_or(due, |other| other.min(due)));
                continue;
            }
            for (list, changed) in std::mem::take(&mut seat.untold)
                .lists
                .into_iter()
                .enumerate()
            {
                if changed {
                    let method = ServerNotification::LISTS[list].1;
                    let text = format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#);
                    out.deliver(
                        &seat.outlet,
                        DeliveryKind::Notification,
                        bytes::Bytes::from(text),
                    );
                }
            }
        }
    }
}
