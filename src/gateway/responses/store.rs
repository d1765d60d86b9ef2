//! Responses that a client may go on with by `previous_response_id`, or ask for again.
//!
//! Kept for an hour at most, and only for the key that they were made with; when there are too many, the oldest go first. Each
//! holds its whole conversation as JSON text, so that what counts against the limit is what the memory holds.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::executed::Executed;
use super::input::Pending;
use super::tools::text;

/// Responses that are kept at most.
const RESPONSES: usize = 1000;
/// Bytes that they have at most, all together.
const BYTES: usize = 64 << 20;
/// How long one is kept.
const KEPT: Duration = Duration::from_secs(60 * 60);

/// Responses that are kept.
#[derive(Debug, Default)]
pub(crate) struct Store {
    shelf: Mutex<Shelf>,
    /// What approved calls came to.
    pub(super) executed: Executed,
}

/// What a conversation goes on with.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Thread {
    /// All messages, without the request's `instructions`: those are not carried over.
    pub(super) messages: Vec<Value>,
    /// Calls that wait for the client's approval.
    pub(super) pending: Vec<Pending>,
    /// The labels whose tools the client has been told.
    pub(super) told: Vec<String>,
}

#[derive(Debug, Default)]
struct Shelf {
    kept: HashMap<String, Kept>,
    /// The oldest is in front.
    order: VecDeque<String>,
    bytes: usize,
}

#[derive(Debug, Clone)]
struct Kept {
    key: Arc<str>,
    since: Instant,
    response: Arc<str>,
    thread: Arc<str>,
}

impl Store {
    /// Keeps a response of `key` and what its conversation goes on with. One that is larger than all that may be kept is not.
    pub(super) fn keep(&self, key: &Arc<str>, id: &str, response: &Value, thread: &Thread) {
        let kept = Kept {
            key: Arc::clone(key),
            since: Instant::now(),
            response: response.to_string().into(),
            thread: thread.write().into(),
        };
        self.shelf().put(id, kept);
    }

    /// What goes on from this response, if it is kept for this key.
    pub(super) fn thread(&self, key: &str, id: &str) -> Option<Thread> {
        let kept = self.shelf().get(key, id)?;
        Thread::read(&kept.thread)
    }

    /// This response, if it is kept for this key.
    pub(super) fn response(&self, key: &str, id: &str) -> Option<Value> {
        let kept = self.shelf().get(key, id)?;
        serde_json::from_str(&kept.response).ok()
    }

    /// Forgets this response; `false` when it isn't kept for this key.
    pub(super) fn forget(&self, key: &str, id: &str) -> bool {
        let mut shelf = self.shelf();
        let known = shelf.get(key, id).is_some();
        if known {
            shelf.remove(id);
            shelf.order.retain(|kept| kept != id);
        }
        known
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.expire();
        shelf
    }
}

impl Shelf {
    fn get(&self, key: &str, id: &str) -> Option<Kept> {
        self.kept.get(id).filter(|kept| *kept.key == *key).cloned()
    }

    fn put(&mut self, id: &str, kept: Kept) {
        let bytes = kept.bytes();
        if bytes > BYTES {
            return;
        }
        self.bytes += bytes;
        self.kept.insert(id.to_owned(), kept);
        self.order.push_back(id.to_owned());
        while self.kept.len() > RESPONSES || self.bytes > BYTES {
            self.remove_oldest();
        }
    }

    fn expire(&mut self) {
        let now = Instant::now();
        while let Some(oldest) = self.order.front()
            && self
                .kept
                .get(oldest)
                .is_none_or(|kept| now - kept.since >= KEPT)
        {
            self.remove_oldest();
        }
    }

    fn remove_oldest(&mut self) {
        if let Some(id) = self.order.pop_front() {
            self.remove(&id);
        }
    }

    fn remove(&mut self, id: &str) {
        if let Some(kept) = self.kept.remove(id) {
            self.bytes -= kept.bytes();
        }
    }
}

impl Kept {
    fn bytes(&self) -> usize {
        self.response.len() + self.thread.len()
    }
}

impl Thread {
    fn write(&self) -> String {
        let pending = self.pending.iter().map(|pending| {
            json!({
                "id": pending.id,
                "call_id": pending.call_id,
                "label": pending.label,
                "name": pending.name,
                "arguments": pending.arguments,
            })
        });
        json!({
            "messages": self.messages,
            "pending": pending.collect::<Value>(),
            "told": self.told,
        })
        .to_string()
    }

    fn read(written: &str) -> Option<Thread> {
        let mut value: Value = serde_json::from_str(written).ok()?;
        let mut take = |name: &str| match value.get_mut(name).map(Value::take) {
            Some(Value::Array(values)) => values,
            _ => Vec::new(),
        };
        let pending = take("pending");
        let told = take("told");
        let of = |value: &Value, name: &str| text(value, name).to_owned();
        Some(Thread {
            messages: take("messages"),
            pending: pending
                .iter()
                .map(|pending| Pending {
                    id: of(pending, "id"),
                    call_id: of(pending, "call_id"),
                    label: of(pending, "label"),
                    name: of(pending, "name"),
                    arguments: of(pending, "arguments"),
                    decision: None,
                })
                .collect(),
            told: told
                .iter()
                .filter_map(|label| label.as_str().map(str::to_owned))
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread() -> Thread {
        Thread {
            messages: vec![json!({ "role": "user", "content": "hi" })],
            pending: vec![Pending {
                id: "mcpr_1".into(),
                call_id: "c1".into(),
                label: "demo".into(),
                name: "echo".into(),
                arguments: "{}".into(),
                decision: None,
            }],
            told: vec!["demo".into()],
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_is_kept_an_hour_for_its_own_key() {
        let (store, mine) = (Store::default(), Arc::from("mine"));
        store.keep(&mine, "resp_1", &json!({ "id": "resp_1" }), &thread());
        assert_eq!(store.thread("mine", "resp_1"), Some(thread()));
        assert_eq!(
            store.response("mine", "resp_1"),
            Some(json!({ "id": "resp_1" }))
        );
        assert_eq!(store.thread("theirs", "resp_1"), None);
        assert_eq!(store.response("mine", "resp_2"), None);
        tokio::time::advance(KEPT).await;
        assert_eq!(store.thread("mine", "resp_1"), None);
        assert_eq!(store.shelf().bytes, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_gives_way() {
        let (store, key) = (Store::default(), Arc::from("k"));
        for n in 0..=RESPONSES {
            store.keep(&key, &format!("resp_{n}"), &json!({}), &thread());
        }
        assert_eq!(store.thread("k", "resp_0"), None);
        assert!(store.thread("k", "resp_1").is_some());
        let large = json!("x".repeat(BYTES / 2));
        store.keep(&key, "large_1", &large, &thread());
        store.keep(&key, "large_2", &large, &thread());
        assert_eq!(store.thread("k", "large_1"), None);
        assert!(store.thread("k", "large_2").is_some());
        store.keep(&key, "too_large", &json!("x".repeat(BYTES)), &thread());
        assert_eq!(store.thread("k", "too_large"), None);
        assert!(store.thread("k", "large_2").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_forgotten_is_gone() {
        let (store, key) = (Store::default(), Arc::from("k"));
        store.keep(&key, "resp_1", &json!({}), &thread());
        assert!(!store.forget("other", "resp_1"));
        assert!(store.forget("k", "resp_1"));
        assert!(!store.forget("k", "resp_1"));
        let shelf = store.shelf();
        assert_eq!(
            (shelf.kept.len(), shelf.order.len(), shelf.bytes),
            (0, 0, 0)
        );
    }
}
