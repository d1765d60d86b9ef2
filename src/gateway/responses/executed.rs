//! What approved calls came to. A client approves a call once, but its library may send the request again, because the
//! model failed after the call or the connection broke; then the call has its first result and isn't executed twice.
//!
//! Remembered for an hour, by key, approval request, tool and arguments; when there are too many, the oldest go first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::input::Pending;
use crate::gateway::catalogue::Tool;
use crate::gateway::continuations::size;
use crate::gateway::execute::Called;

/// Calls remembered at most.
const CALLS: usize = 1000;
/// Bytes of their arguments and results at most, about.
const BYTES: usize = 16 << 20;
/// How long one is remembered.
const KEPT: Duration = Duration::from_secs(60 * 60);

/// Approved calls that were executed.
#[derive(Debug, Default)]
pub(super) struct Executed(Mutex<Shelf>);

#[derive(Debug, Default)]
struct Shelf {
    /// The oldest is in front.
    calls: VecDeque<Call>,
    bytes: usize,
}

#[derive(Debug)]
struct Call {
    key: Arc<str>,
    approval: String,
    tool: Box<str>,
    arguments: String,
    called: Called,
    bytes: usize,
    since: Instant,
}

impl Executed {
    /// What this call came to, if it was executed for this key.
    pub(super) fn find(&self, key: &str, asked: &Pending, tool: &Tool) -> Option<Called> {
        let shelf = self.shelf();
        let found = shelf.calls.iter().find(|call| {
            *call.key == *key
                && call.approval == asked.id
                && call.tool == tool.name
                && call.arguments == asked.arguments
        });
        found.map(|call| call.called.clone())
    }

    /// Remembers what it came to.
    pub(super) fn keep(&self, key: &Arc<str>, asked: &Pending, tool: &Tool, called: &Called) {
        let result = called.result.as_ref().map_or(0, size);
        let bytes = asked.arguments.len() + result;
        if bytes > BYTES {
            return;
        }
        let mut shelf = self.shelf();
        shelf.bytes += bytes;
        shelf.calls.push_back(Call {
            key: Arc::clone(key),
            approval: asked.id.clone(),
            tool: tool.name.clone(),
            arguments: asked.arguments.clone(),
            called: called.clone(),
            bytes,
            since: Instant::now(),
        });
        while shelf.calls.len() > CALLS || shelf.bytes > BYTES {
            shelf.remove_oldest();
        }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(oldest) = shelf.calls.front()
            && oldest.since.elapsed() >= KEPT
        {
            shelf.remove_oldest();
        }
        shelf
    }
}

impl Shelf {
    fn remove_oldest(&mut self) {
        if let Some(call) = self.calls.pop_front() {
            self.bytes -= call.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pending(id: &str, arguments: &str) -> Pending {
        Pending {
            id: id.to_owned(),
            call_id: "c".to_owned(),
            label: "demo".to_owned(),
            name: "echo".to_owned(),
            arguments: arguments.to_owned(),
            decision: None,
        }
    }

    fn tool() -> Tool {
        Tool {
            name: "demo-echo".into(),
            server: "demo".into(),
            original: "echo".into(),
            object: bytes::Bytes::new(),
            parsed: json!({}),
        }
    }

    fn called(text: &str) -> Called {
        Called {
            result: Ok(json!(text)),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_known_by_all_that_it_is_for_an_hour() {
        let (executed, key) = (Executed::default(), Arc::from("mine"));
        executed.keep(&key, &pending("a", "{}"), &tool(), &called("x"));
        let find = |key: &str, id: &str, arguments: &str| {
            let found = executed.find(key, &pending(id, arguments), &tool());
            found.map(|called| called.result)
        };
        assert_eq!(find("mine", "a", "{}"), Some(Ok(json!("x"))));
        assert_eq!(find("other", "a", "{}"), None);
        assert_eq!(find("mine", "b", "{}"), None);
        assert_eq!(find("mine", "a", "{\"n\":1}"), None);
        tokio::time::advance(KEPT).await;
        assert_eq!(find("mine", "a", "{}"), None);
        assert_eq!(executed.shelf().bytes, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_give_way() {
        let (executed, key) = (Executed::default(), Arc::from("mine"));
        let known = |id: &str| executed.find("mine", &pending(id, "{}"), &tool()).is_some();
        for n in 0..=CALLS {
            let asked = pending(&n.to_string(), "{}");
            executed.keep(&key, &asked, &tool(), &called("x"));
        }
        assert!(!known("0") && known("1"));
        let large = called(&"x".repeat(BYTES - 1000));
        executed.keep(&key, &pending("large", "{}"), &tool(), &large);
        assert!(!known("1") && known("large"));
        let huge = called(&"x".repeat(BYTES));
        executed.keep(&key, &pending("huge", "{}"), &tool(), &huge);
        assert!(!known("huge") && known("large"));
    }
}
