//! What the gateway added to conversations that went back to their clients with a call.
//!
//! A client that gets a call of its own back sees only that call: not the turns that were executed before it, nor ours beside
//! it. When it goes on with the call's result, what it doesn't know is put back in its place, so that the model remembers.
//! A conversation is known again by its key, the ids of the calls that were handed back, and what the user said before
//! them (ids alone won't do: some models begin with `call_1` every time). What is forgotten is not missed: the conversation goes on
//! without it.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

/// Conversations remembered at most; the one that was asked for the longest ago goes first.
const ENTRIES: usize = 1000;
/// Bytes remembered at most, about.
const BYTES: usize = 64 << 20;
/// How long one is remembered after it was last asked for.
const KEPT: Duration = Duration::from_secs(60 * 60);

/// What is remembered.
#[derive(Debug, Default)]
pub(crate) struct Continuations {
    remembered: Mutex<Remembered>,
    hashes: RandomState,
}

/// What was added to one conversation.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Added {
    /// Messages before the turn that was handed back.
    pub(crate) before: Vec<Value>,
    /// That turn's message, with all its calls.
    pub(crate) message: Value,
    /// Tool messages of the turn, for our calls.
    pub(crate) results: Vec<Value>,
    /// What comes after all tool messages of the turn: pictures.
    pub(crate) after: Vec<Value>,
}

/// A conversation with what was remembered of it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Restored {
    pub(crate) messages: Vec<Value>,
    /// Where messages stand that came from [`Added::after`].
    pub(crate) after: Vec<usize>,
    said: u64,
}

#[derive(Debug, Default)]
struct Remembered {
    /// The one asked for last is at the end.
    entries: VecDeque<Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    conversation: Conversation,
    added: Arc<Added>,
    bytes: usize,
    asked: Instant,
}

#[derive(Debug, PartialEq)]
struct Conversation {
    said: u64,
    key: String,
    /// Ids of the calls that were handed back, sorted.
    ids: Vec<String>,
}

impl Continuations {
    /// Puts back into `messages` what was added to this conversation under this key.
    pub(crate) fn restore(&self, key: &str, messages: Vec<Value>) -> Restored {
        let mut restored = Restored::default();
        let mut said = self.hashes.build_hasher();
        let mut messages = messages.into_iter().peekable();
        while let Some(message) = messages.next() {
            match role(&message) {
                "user" => Text(&message).hash(&mut said),
                "assistant" => {
                    let added = self.find(key, ids(&message), said.finish());
                    if let Some(added) = added {
                        let mut theirs = Vec::new();
                        while let Some(result) = messages.next_if(|next| role(next) == "tool") {
                            theirs.push(result);
                        }
                        restored.put_back(&added, theirs);
                        continue;
                    }
                }
                _ => {}
            }
            restored.messages.push(message);
        }
        restored.said = said.finish();
        restored
    }

    /// Remembers what was added to the conversation in which this was [said](Restored::said); `ids` are those of the calls
    /// that are handed back.
    pub(crate) fn remember(&self, key: &str, said: u64, mut ids: Vec<String>, added: Added) {
        ids.sort_unstable();
        let conversation = Conversation {
            said,
            key: key.to_owned(),
            ids,
        };
        let bytes = added.bytes();
        if bytes > BYTES {
            return;
        }
        let mut remembered = self.lock();
        remembered.remove(|entry| entry.conversation == conversation);
        remembered.bytes += bytes;
        remembered.entries.push_back(Entry {
            conversation,
            added: Arc::new(added),
            bytes,
            asked: Instant::now(),
        });
        while remembered.entries.len() > ENTRIES || remembered.bytes > BYTES {
            remembered.remove_oldest();
        }
    }

    fn find(&self, key: &str, mut ids: Vec<String>, said: u64) -> Option<Arc<Added>> {
        if ids.is_empty() {
            return None;
        }
        ids.sort_unstable();
        let mut remembered = self.lock();
        remembered.forget_old();
        let mut entry = remembered.remove(|entry| {
            let Conversation {
                said: s,
                key: k,
                ids: i,
            } = &entry.conversation;
            *s == said && k == key && *i == ids
        })?;
        entry.asked = Instant::now();
        let added = Arc::clone(&entry.added);
        remembered.bytes += entry.bytes;
        remembered.entries.push_back(entry);
        Some(added)
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Restored {
    /// What the user said in the conversation, as a hash.
    pub(crate) fn said(&self) -> u64 {
        self.said
    }

    /// Ours before, the whole turn, and its results in the order of its calls.
    fn put_back(&mut self, added: &Added, mut theirs: Vec<Value>) {
        self.messages.extend(added.before.iter().cloned());
        self.messages.push(added.message.clone());
        for id in ids(&added.message) {
            if let Some(ours) = added.results.iter().find(|result| answers(result, &id)) {
                self.messages.push(ours.clone());
            } else if let Some(at) = theirs.iter().position(|result| answers(result, &id)) {
                self.messages.push(theirs.remove(at));
            }
        }
        self.messages.append(&mut theirs);
        for message in &added.after {
            self.after.push(self.messages.len());
            self.messages.push(message.clone());
        }
    }
}

impl Added {
    fn bytes(&self) -> usize {
        let Added {
            before,
            message,
            results,
            after,
        } = self;
        let lists = [before, results, after].into_iter().flatten();
        size(message) + lists.map(size).sum::<usize>()
    }
}

impl Remembered {
    fn remove(&mut self, is_it: impl Fn(&Entry) -> bool) -> Option<Entry> {
        // the latest is the likeliest
        let at = self.entries.iter().rposition(is_it)?;
        let entry = self.entries.remove(at)?;
        self.bytes -= entry.bytes;
        Some(entry)
    }

    fn remove_oldest(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.bytes;
        }
    }

    fn forget_old(&mut self) {
        while self
            .entries
            .front()
            .is_some_and(|entry| entry.asked.elapsed() >= KEPT)
        {
            self.remove_oldest();
        }
    }
}

/// The ids of a message's calls, in order.
fn ids(message: &Value) -> Vec<String> {
    let calls = message.get("tool_calls").and_then(Value::as_array);
    let ids = calls
        .into_iter()
        .flatten()
        .filter_map(|call| call.get("id")?.as_str());
    ids.map(str::to_owned).collect()
}

fn role(message: &Value) -> &str {
    message
        .get("role")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn answers(result: &Value, id: &str) -> bool {
    result.get("tool_call_id").and_then(Value::as_str) == Some(id)
}

/// A message's content as texts, so that a text and a list of one text part are the same.
struct Text<'a>(&'a Value);

impl std::hash::Hash for Text<'_> {
    fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
        match self.0.get("content") {
            Some(Value::String(text)) => text.hash(hasher),
            Some(Value::Array(parts)) => {
                for part in parts {
                    match part.get("text").and_then(Value::as_str) {
                        Some(text) => text.hash(hasher),
                        None => part.to_string().hash(hasher),
                    }
                }
            }
            _ => {}
        }
    }
}

/// About how many bytes a value takes.
pub(crate) fn size(value: &Value) -> usize {
    let inside = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(size).sum(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| name.len() + size(value))
            .sum(),
    };
    inside + size_of::<Value>()
}

#[cfg(test)]
mod tests;
