//! The loop's events as the chunks of one streamed answer.
//!
//! Pieces of all turns pass under the first one's id with everything in them, except: the role comes once; calls that are
//! executed here don't come at all, and the others count from 0; texts of several turns are set apart by an empty line; a turn's `finish_reason` waits until it is known whether
//! the turn was the last; usage comes summed, at the end, if it was asked for.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::super::rounds::{CallKind, Event, Finished, Tools};

/// Members of a chunk that every chunk has, or that are replaced.
const USUAL: [&str; 7] = [
    "id",
    "object",
    "created",
    "model",
    "choices",
    "service_tier",
    "system_fingerprint",
];

/// The chunks of one answer.
#[derive(Debug)]
pub(super) struct Chunks {
    tools: Tools,
    /// `id`, `created` and `model` of the first piece.
    head: Option<Map<String, Value>>,
    has_role: bool,
    /// The turn's calls by the model's index: the client's index, `None` for those that it doesn't see.
    calls: HashMap<u64, Option<u64>>,
    /// How many calls the client has seen.
    shown: u64,
    /// The chunk that ended the turn.
    last: Option<Map<String, Value>>,
    /// Whether the turn is over.
    is_over: bool,
    /// Whether an earlier turn has left text, so that the next one's begins a paragraph.
    has_text: bool,
    /// Whether the next text is the first of a turn.
    begins: bool,
}

impl Chunks {
    /// None so far.
    pub(super) fn new(tools: Tools) -> Chunks {
        Chunks {
            tools,
            head: None,
            has_role: false,
            calls: HashMap::new(),
            shown: 0,
            last: None,
            is_over: false,
            has_text: false,
            begins: true,
        }
    }

    /// What the client gets of an event.
    pub(super) fn event(&mut self, event: Event) -> Option<Value> {
        match event {
            Event::Piece(Value::Object(piece)) => {
                if std::mem::take(&mut self.is_over) {
                    self.calls.clear();
                    self.last = None;
                    self.begins = true;
                }
                self.piece(piece)
            }
            Event::Turn(_) => {
                self.is_over = true;
                None
            }
            Event::Piece(_) | Event::Calling { .. } | Event::Called { .. } => None,
        }
    }

    /// The end of an answer that came whole.
    pub(super) fn end(mut self, finished: Finished, wants_usage: bool) -> Vec<Value> {
        let mut chunks = Vec::new();
        if !self.has_role {
            let role = json!({ "role": "assistant", "content": "" });
            chunks.push(self.chunk(
                Map::new(),
                json!([{ "index": 0, "delta": role, "finish_reason": null }]),
            ));
        }
        let mut last = self.last.take().unwrap_or_default();
        let mut choices = last
            .shift_remove("choices")
            .unwrap_or_else(|| json!([{ "index": 0, "delta": {} }]));
        choices[0]["finish_reason"] = finished.finish_reason.into();
        chunks.push(self.chunk(last, choices));
        if let Some(usage) = finished.usage.filter(|_| wants_usage) {
            let mut members = Map::new();
            members.insert("usage".to_owned(), usage);
            chunks.push(self.chunk(members, json!([])));
        }
        chunks
    }

    fn piece(&mut self, mut piece: Map<String, Value>) -> Option<Value> {
        piece.shift_remove("usage");
        if self.head.is_none() {
            let named = ["id", "created", "model"].into_iter();
            let named = named.filter_map(|name| Some((name.to_owned(), piece.get(name)?.clone())));
            self.head = Some(named.collect());
        }
        let choice = match piece.shift_remove("choices") {
            Some(Value::Array(choices)) => choices.into_iter().find(is_first),
            _ => None,
        };
        let Some(Value::Object(mut choice)) = choice else {
            let is_unusual = piece.keys().any(|name| !USUAL.contains(&&**name));
            return is_unusual.then(|| self.chunk(piece, json!([])));
        };
        let delta = match choice.shift_remove("delta") {
            Some(Value::Object(delta)) => self.delta(delta),
            _ => self.delta(Map::new()),
        };
        let ends = choice
            .get("finish_reason")
            .is_some_and(|reason| !reason.is_null());
        let says = choice
            .iter()
            .any(|(name, value)| name != "index" && name != "finish_reason" && !value.is_null());
        let with = |delta: Map<String, Value>| {
            let mut ordered = Map::new();
            ordered.insert("index".to_owned(), 0.into());
            ordered.insert("delta".to_owned(), delta.into());
            ordered.extend(choice.clone());
            ordered.insert("finish_reason".to_owned(), Value::Null);
            json!([ordered])
        };
        if ends {
            let mut last = piece.clone();
            last.insert("choices".to_owned(), with(Map::new()));
            self.last = Some(last);
            if delta.is_empty() {
                return None;
            }
            let only = json!([{ "index": 0, "delta": delta, "finish_reason": null }]);
            return Some(self.chunk(piece, only));
        }
        if delta.is_empty() && !says {
            return None;
        }
        let choices = with(delta);
        Some(self.chunk(piece, choices))
    }

    /// What the client sees of a delta.
    fn delta(&mut self, mut delta: Map<String, Value>) -> Map<String, Value> {
        delta.shift_remove("role");
        if let Some(Value::Array(calls)) = delta.shift_remove("tool_calls") {
            let calls: Vec<Value> = calls
                .into_iter()
                .filter_map(|call| self.call(call))
                .collect();
            if !calls.is_empty() {
                delta.insert("tool_calls".to_owned(), calls.into());
            }
        }
        self.set_apart(&mut delta);
        if delta.values().all(|value| value.is_null() || value == "") {
            delta.clear();
        }
        if self.has_role {
            return delta;
        }
        self.has_role = true;
        let mut first = Map::new();
        first.insert("role".to_owned(), "assistant".into());
        if delta.is_empty() {
            first.insert("content".to_owned(), "".into());
        }
        first.extend(delta);
        first
    }

    /// Puts an empty line before the first text of a turn when an earlier turn had text.
    fn set_apart(&mut self, delta: &mut Map<String, Value>) {
        let Some(Value::String(text)) = delta.get_mut("content").filter(|text| *text != "") else {
            return;
        };
        if std::mem::take(&mut self.begins) && self.has_text {
            text.insert_str(0, "\n\n");
        }
        self.has_text = true;
    }

    /// A piece of a call, if the client sees it, under the client's index.
    fn call(&mut self, mut piece: Value) -> Option<Value> {
        let index = piece.get("index").and_then(Value::as_u64).unwrap_or(0);
        let shown = match self.calls.get(&index) {
            Some(shown) => *shown,
            None => {
                let inner = piece.get("function").or_else(|| piece.get("custom"));
                let name = inner
                    .and_then(|inner| inner.get("name"))
                    .and_then(Value::as_str);
                let shown = match self.tools.kind(name.unwrap_or_default()) {
                    CallKind::Clients | CallKind::Approval(_) => {
                        self.shown += 1;
                        Some(self.shown - 1)
                    }
                    CallKind::Ours(_) | CallKind::Unknown => None,
                };
                self.calls.insert(index, shown);
                shown
            }
        };
        piece["index"] = shown?.into();
        Some(piece)
    }

    fn chunk(&self, members: Map<String, Value>, choices: Value) -> Value {
        let mut chunk = Map::new();
        let mut head = self.head.clone().unwrap_or_default();
        for name in ["id", "object", "created", "model"] {
            let value = match name {
                "object" => Some("chat.completion.chunk".into()),
                name => head.shift_remove(name),
            };
            chunk.extend(value.map(|value| (name.to_owned(), value)));
        }
        for (name, value) in members {
            if !chunk.contains_key(&name) {
                chunk.insert(name, value);
            }
        }
        // usage stands last
        let usage = chunk.shift_remove("usage");
        chunk.insert("choices".to_owned(), choices);
        chunk.extend(usage.map(|usage| ("usage".to_owned(), usage)));
        chunk.into()
    }
}

fn is_first(choice: &Value) -> bool {
    choice.get("index").and_then(Value::as_u64).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests;
