//! Text items, while their pieces come: messages (what is said, what is refused) and reasoning.

use serde_json::{Map, Value, json};

use crate::gateway::responses::events::Events;
use crate::gateway::responses::ids::Ids;

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// What the model thinks.
    Reasoning,
    /// What it says.
    Output,
    /// Why it says nothing.
    Refusal,
}

/// The text item that is open.
#[derive(Debug)]
pub(super) struct Text {
    index: usize,
    done: Vec<Value>,
    part: Option<(Kind, String)>,
    /// Whether it is a reasoning item; unknown until something is written.
    reasoning: bool,
}

impl Kind {
    fn part(self, text: &str) -> Value {
        match self {
            Kind::Reasoning => json!({ "type": "reasoning_text", "text": text }),
            Kind::Output => {
                json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
            }
            Kind::Refusal => json!({ "type": "refusal", "refusal": text }),
        }
    }
}

impl Text {
    /// The item for a text of this kind.
    pub(super) fn item(kind: Kind, ids: &mut Ids) -> Value {
        match kind {
            Kind::Reasoning => json!({
                "type": "reasoning",
                "id": ids.item("rs"),
                "summary": [],
                "content": [],
                "status": "in_progress",
            }),
            Kind::Output | Kind::Refusal => json!({
                "type": "message",
                "id": ids.item("msg"),
                "status": "in_progress",
                "role": "assistant",
                "content": [],
            }),
        }
    }

    /// The text of the item at `index`.
    pub(super) fn new(index: usize) -> Text {
        Text {
            index,
            done: Vec::new(),
            part: None,
            reasoning: false,
        }
    }

    /// Whether this kind belongs into the same item.
    pub(super) fn takes(&self, kind: Kind) -> bool {
        self.reasoning == (kind == Kind::Reasoning)
    }

    /// Adds a piece.
    pub(super) fn write(&mut self, kind: Kind, piece: &str, items: &[Value], events: &mut Events) {
        self.reasoning = kind == Kind::Reasoning;
        let item = &items[self.index];
        if self.part.as_ref().is_some_and(|(open, _)| *open != kind) {
            self.close_part(item, events);
        }
        let content_index = self.done.len();
        let (_, text) = self.part.get_or_insert_with(|| {
            events.about(
                "response.content_part.added",
                self.index,
                item,
                json!({ "content_index": content_index, "part": kind.part("") }),
            );
            (kind, String::new())
        });
        text.push_str(piece);
        let (name, members) = match kind {
            Kind::Reasoning => (
                "response.reasoning_text.delta",
                json!({ "content_index": content_index, "delta": piece }),
            ),
            Kind::Output => (
                "response.output_text.delta",
                json!({ "content_index": content_index, "delta": piece, "logprobs": [] }),
            ),
            Kind::Refusal => (
                "response.refusal.delta",
                json!({ "content_index": content_index, "delta": piece }),
            ),
        };
        events.about(name, self.index, item, members);
    }

    /// Ends the item; `others` are members that it has beside its own.
    pub(super) fn close(
        mut self,
        status: &str,
        others: Map<String, Value>,
        items: &mut [Value],
        events: &mut Events,
    ) {
        let item = &mut items[self.index];
        self.close_part(item, events);
        item["content"] = self.done.into();
        item["status"] = status.into();
        if let (Value::Object(item), false) = (&mut *item, self.reasoning) {
            item.extend(others);
        }
        events.done(self.index, item);
    }

    /// Leaves the item as it is, without a word.
    pub(super) fn abandon(mut self, items: &mut [Value]) {
        if let Some((kind, text)) = self.part.take() {
            self.done.push(kind.part(&text));
        }
        items[self.index]["content"] = self.done.into();
    }

    fn close_part(&mut self, item: &Value, events: &mut Events) {
        let Some((kind, text)) = self.part.take() else {
            return;
        };
        let content_index = self.done.len();
        let part = kind.part(&text);
        let (name, members) = match kind {
            Kind::Reasoning => (
                "response.reasoning_text.done",
                json!({ "content_index": content_index, "text": text }),
            ),
            Kind::Output => (
                "response.output_text.done",
                json!({ "content_index": content_index, "text": text, "logprobs": [] }),
            ),
            Kind::Refusal => (
                "response.refusal.done",
                json!({ "content_index": content_index, "refusal": text }),
            ),
        };
        events.about(name, self.index, item, members);
        events.about(
            "response.content_part.done",
            self.index,
            item,
            json!({ "content_index": content_index, "part": part }),
        );
        self.done.push(part);
    }
}
