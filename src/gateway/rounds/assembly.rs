//! A model's answer, whole: from its pieces, or as it came in one.
//!
//! What comes in pieces is joined: `content`, `refusal`, reasoning and a call's arguments are texts that grow; calls are told
//! apart by their index; blocks of thought grow until their signature is there. Of every other member the last value that
//! is not null stands. So what a provider wants to see again in the next round is there as it gave it.

use serde_json::{Map, Value, json};

use super::super::continuations::size;
use super::super::openai::ApiError;

/// Members of a message that grow piece by piece. `reasoning` is OpenRouter's and vLLM's, `reasoning_content` DeepSeek's.
const GROWING: [&str; 4] = ["content", "refusal", "reasoning", "reasoning_content"];
/// Members of a block that grow: those of Anthropic's `thinking_blocks`, OpenRouter's `reasoning_details`, Mistral's parts.
const GROWING_IN_BLOCKS: [&str; 5] = ["text", "thinking", "summary", "data", "signature"];
/// Bytes of one answer, about. Far above what any model writes.
const LONGEST: usize = 64 << 20;

/// One answer of a model.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Answer {
    /// `choices[0].message`.
    pub(super) message: Map<String, Value>,
    /// `choices[0].finish_reason`.
    pub(super) finish_reason: String,
    pub(super) usage: Option<Value>,
    /// The other members of `choices[0]`.
    pub(super) choice: Map<String, Value>,
    /// The other members of the answer, except `object`.
    pub(super) rest: Map<String, Value>,
}

/// An answer that is coming in.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    answer: Answer,
    /// Calls by their index, in the order in which they began.
    calls: Vec<(u64, Map<String, Value>)>,
    length: usize,
}

impl Answer {
    /// Takes a `chat.completion` apart.
    pub(super) fn whole(completion: Value) -> Result<Answer, ApiError> {
        let Value::Object(mut rest) = completion else {
            return Err(empty());
        };
        let usage = rest.shift_remove("usage").filter(|usage| !usage.is_null());
        rest.shift_remove("object");
        let choice = match rest.shift_remove("choices") {
            Some(Value::Array(choices)) => choices.into_iter().next(),
            _ => None,
        };
        let Some(Value::Object(mut choice)) = choice else {
            return Err(empty());
        };
        choice.shift_remove("index");
        let finish_reason = choice.shift_remove("finish_reason");
        let Some(Value::Object(message)) = choice.shift_remove("message") else {
            return Err(empty());
        };
        Ok(Answer {
            finish_reason: finish_reason
                .and_then(|reason| reason.as_str().map(str::to_owned))
                .unwrap_or_else(|| reason_without_one(&message).to_owned()),
            message,
            usage,
            choice,
            rest,
        })
    }
}

impl Assembly {
    /// Adds a chunk.
    ///
    /// # Errors
    /// 502 when the answer is longer than anything that a model writes.
    pub(super) fn take(&mut self, chunk: &Value) -> Result<(), ApiError> {
        let Value::Object(members) = chunk else {
            return Ok(());
        };
        for (name, value) in members {
            match (name.as_str(), value) {
                ("object", _) | (_, Value::Null) => {}
                ("choices", choices) => {
                    let choices = choices.as_array().into_iter().flatten();
                    for choice in choices.filter_map(Value::as_object) {
                        self.choice(choice);
                    }
                }
                ("usage", usage) => self.answer.usage = Some(usage.clone()),
                _ => self.length += put(&mut self.answer.rest, name, value),
            }
        }
        if self.length > LONGEST {
            let message = format!("the model's answer is longer than {} MiB", LONGEST >> 20);
            return Err(ApiError::upstream("answer_too_long", message));
        }
        Ok(())
    }

    /// The answer, when there is nothing more to come.
    pub(super) fn finish(self) -> Answer {
        let mut answer = self.answer;
        answer
            .message
            .entry("role")
            .or_insert_with(|| "assistant".into());
        answer.message.entry("content").or_insert(Value::Null);
        if !self.calls.is_empty() {
            let calls = self.calls.into_iter();
            let calls = calls.map(|(_, call)| Value::Object(call)).collect();
            answer.message.insert("tool_calls".to_owned(), calls);
        }
        if answer.finish_reason.is_empty() {
            answer.finish_reason = reason_without_one(&answer.message).to_owned();
        }
        answer
    }

    fn choice(&mut self, choice: &Map<String, Value>) {
        if choice.get("index").and_then(Value::as_u64).unwrap_or(0) != 0 {
            return;
        }
        for (name, value) in choice {
            match (name.as_str(), value) {
                ("index", _) | (_, Value::Null) => {}
                ("delta", Value::Object(delta)) => self.delta(delta),
                ("finish_reason", reason) => {
                    let reason = reason.as_str().unwrap_or_default();
                    reason.clone_into(&mut self.answer.finish_reason);
                }
                _ => self.length += put(&mut self.answer.choice, name, value),
            }
        }
    }

    fn delta(&mut self, delta: &Map<String, Value>) {
        for (name, value) in delta {
            match (name.as_str(), value) {
                (_, Value::Null) => {}
                ("tool_calls", Value::Array(calls)) => {
                    for call in calls.iter().filter_map(Value::as_object) {
                        self.call(call);
                    }
                }
                _ => {
                    self.length += grow(&mut self.answer.message, name, value, &GROWING);
                }
            }
        }
    }

    fn call(&mut self, piece: &Map<String, Value>) {
        let index = piece.get("index").and_then(Value::as_u64).unwrap_or(0);
        let at = self.calls.iter().position(|(known, _)| *known == index);
        let at = at.unwrap_or_else(|| {
            self.length += 64;
            self.calls.push((index, Map::new()));
            self.calls.len() - 1
        });
        let (_, call) = &mut self.calls[at];
        for (name, value) in piece {
            match (name.as_str(), value) {
                ("index", _) | (_, Value::Null) => {}
                ("function" | "custom", Value::Object(members)) => {
                    let inner = call.entry(name).or_insert_with(|| json!({}));
                    let Value::Object(inner) = inner else {
                        continue;
                    };
                    for (name, value) in members {
                        self.length += grow(inner, name, value, &["arguments", "input"]);
                    }
                }
                _ => {
                    self.length += grow(call, name, value, &[]);
                }
            }
        }
    }
}

/// Adds a member's piece to what there is of it; returns by how much that grew.
fn grow(into: &mut Map<String, Value>, name: &str, piece: &Value, growing: &[&str]) -> usize {
    let grows = growing.contains(&name);
    match (into.get_mut(name), piece) {
        (_, Value::Null) => 0,
        (Some(Value::String(text)), Value::String(more)) if grows => {
            text.push_str(more);
            more.len()
        }
        (Some(Value::Array(blocks)), Value::Array(more)) => {
            more.iter().map(|piece| grow_blocks(blocks, piece)).sum()
        }
        // Mistral's content is parts while it thinks and a text when it answers
        (Some(Value::Array(blocks)), Value::String(text)) if grows => {
            grow_blocks(blocks, &json!({ "type": "text", "text": text }))
        }
        (Some(old @ Value::String(_)), Value::Array(more)) if grows => {
            let text = std::mem::take(old);
            let mut blocks = Vec::new();
            if text != "" {
                blocks.push(json!({ "type": "text", "text": text }));
            }
            let grown = more
                .iter()
                .map(|piece| grow_blocks(&mut blocks, piece))
                .sum();
            *old = Value::Array(blocks);
            grown
        }
        // what is told once and left empty later, as some do with names and ids, stays
        (Some(_), Value::String(text)) if text.is_empty() => 0,
        _ => put(into, name, piece),
    }
}

/// Puts a member in the place of one of its name; returns by how much that grew.
fn put(into: &mut Map<String, Value>, name: &str, value: &Value) -> usize {
    let before = into.insert(name.to_owned(), value.clone());
    let before = before.map_or(0, |before| name.len() + size(&before));
    (name.len() + size(value)).saturating_sub(before)
}

/// Adds a piece of a block to the last block when it goes on with that one, else as a block of its own.
fn grow_blocks(blocks: &mut Vec<Value>, piece: &Value) -> usize {
    if let (Some(Value::Object(last)), Value::Object(more)) = (blocks.last_mut(), piece) {
        let same = |name: &str| last.get(name) == more.get(name);
        let signed = last
            .get("signature")
            .is_some_and(|signature| signature.as_str().is_some_and(|text| !text.is_empty()));
        let goes_on = ["thinking", "text", "summary", "data"]
            .iter()
            .any(|name| more.contains_key(*name) && last.contains_key(*name));
        if same("type") && same("index") && !signed && goes_on {
            let mut grown = 0;
            for (name, value) in more {
                if name != "type" {
                    grown += grow(last, name, value, &GROWING_IN_BLOCKS);
                }
            }
            return grown;
        }
    }
    blocks.push(piece.clone());
    size(piece)
}

fn reason_without_one(message: &Map<String, Value>) -> &'static str {
    let calls = message.get("tool_calls").and_then(Value::as_array);
    if calls.is_some_and(|calls| !calls.is_empty()) {
        "tool_calls"
    } else {
        "stop"
    }
}

fn empty() -> ApiError {
    ApiError::upstream("empty_answer", "the model's answer has no message in it")
}

#[cfg(test)]
mod tests;
