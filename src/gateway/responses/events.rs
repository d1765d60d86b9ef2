//! Streaming events, numbered in the order in which they happen.

use serde_json::{Value, json};

/// One event, ready to be sent.
#[derive(Debug)]
pub(super) struct Event {
    name: &'static str,
    data: Value,
}

impl Event {
    /// Its `type`.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// The whole object.
    pub(super) fn data(&self) -> &Value {
        &self.data
    }
}

/// Events that wait to be sent, and the number of the next.
#[derive(Debug)]
pub(super) struct Events {
    /// Whether anybody wants them.
    wanted: bool,
    next: u64,
    waiting: Vec<Event>,
}

impl Events {
    /// The events of a response; none are kept unless they are `wanted`.
    pub(super) fn new(wanted: bool) -> Events {
        Events {
            wanted,
            next: 0,
            waiting: Vec::new(),
        }
    }

    /// Whether anybody wants them.
    pub(super) fn are_wanted(&self) -> bool {
        self.wanted
    }

    /// An event with these members beside `type` and `sequence_number`.
    pub(super) fn add(&mut self, name: &'static str, members: Value) {
        if !self.wanted {
            return;
        }
        let mut data = json!({ "type": name, "sequence_number": self.next });
        if let (Value::Object(data), Value::Object(members)) = (&mut data, members) {
            data.extend(members);
        }
        self.next += 1;
        self.waiting.push(Event { name, data });
    }

    /// An event about an item: `output_index` and `item_id` come first.
    pub(super) fn about(&mut self, name: &'static str, index: usize, item: &Value, members: Value) {
        if !self.wanted {
            return;
        }
        let mut about = json!({ "output_index": index, "item_id": item.get("id") });
        if let (Value::Object(about), Value::Object(members)) = (&mut about, members) {
            about.extend(members);
        }
        self.add(name, about);
    }

    /// `response.output_item.added`.
    pub(super) fn added(&mut self, index: usize, item: &Value) {
        self.item("response.output_item.added", index, item);
    }

    /// `response.output_item.done`.
    pub(super) fn done(&mut self, index: usize, item: &Value) {
        self.item("response.output_item.done", index, item);
    }

    /// Takes those that wait.
    pub(super) fn take(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.waiting)
    }

    fn item(&mut self, name: &'static str, index: usize, item: &Value) {
        if self.wanted {
            self.add(name, json!({ "output_index": index, "item": item }));
        }
    }
}
