//! A conversation in the chat API's shape, put together from items that come in any order the Responses API allows.
//!
//! Chat wants one assistant message per turn with all its calls, their `tool` messages directly behind it and nothing in
//! between. So each message keeps the answers to its calls with it: wherever an answer stands in the input, it goes to the
//! latest call of its id. What the model can't get in a `tool` message (images) follows as a message of the user.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::gateway::openai::ApiError;

/// The messages so far.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    turns: Vec<Turn>,
    /// Calls without an answer, and the turn that each belongs to.
    open: HashMap<String, usize>,
    /// What the model thought before the assistant message that comes next.
    reasoning: String,
}

/// A message and what belongs directly behind it.
#[derive(Debug, Default)]
struct Turn {
    message: Map<String, Value>,
    answers: Vec<Value>,
    images: Vec<Value>,
}

impl Conversation {
    /// Goes on with messages that are in the chat API's shape already.
    pub(super) fn resume(messages: Vec<Value>) -> Conversation {
        let mut conversation = Conversation::default();
        for message in messages {
            let Value::Object(message) = message else {
                continue;
            };
            let answered = message.get("tool_call_id").and_then(Value::as_str);
            let turn = answered.and_then(|id| conversation.open.remove(id));
            match turn {
                Some(turn) => conversation.turns[turn]
                    .answers
                    .push(Value::Object(message)),
                None => conversation.push(message),
            }
        }
        conversation
    }

    /// A message of the user or the system.
    pub(super) fn say(&mut self, role: &str, content: Value) {
        self.reasoning.clear();
        self.push(object(json!({ "role": role, "content": content })));
    }

    /// A message of the assistant; `others` are members that belong to it.
    pub(super) fn reply(&mut self, content: Value, others: Map<String, Value>) {
        let mut message = object(json!({ "role": "assistant", "content": content }));
        message.extend(others);
        self.push(message);
        self.attach_reasoning();
    }

    /// What the model thought before its next message.
    pub(super) fn think(&mut self, text: &str) {
        self.reasoning.push_str(text);
    }

    /// A call of the assistant. It joins the message before it when that is the assistant's and none of its calls is
    /// answered: then it is the same turn. `others` are members of the call beside `id`, `type` and `function`.
    pub(super) fn call(
        &mut self,
        id: &str,
        name: &str,
        arguments: &str,
        others: Map<String, Value>,
    ) {
        let joins = self.turns.last().is_some_and(|turn| {
            turn.message["role"] == "assistant" && turn.answers.is_empty() && turn.images.is_empty()
        });
        if !joins {
            self.push(object(json!({ "role": "assistant", "content": null })));
        }
        let mut call = object(json!({
            "id": id,
            "type": "function",
            "function": { "name": name, "arguments": arguments },
        }));
        call.extend(others);
        let index = self.turns.len() - 1;
        let calls = self.turns[index]
            .message
            .entry("tool_calls")
            .or_insert_with(|| json!([]));
        if let Value::Array(calls) = calls {
            calls.push(Value::Object(call));
        }
        self.open.insert(id.to_owned(), index);
        self.attach_reasoning();
    }

    /// The answer to a call: the text of its `tool` message, and content parts that it can't have. `false` when no call of
    /// this id waits for one.
    pub(super) fn answer(&mut self, id: &str, text: &str, parts: Vec<Value>) -> bool {
        let Some(turn) = self.open.remove(id) else {
            return false;
        };
        let turn = &mut self.turns[turn];
        turn.answers
            .push(json!({ "role": "tool", "tool_call_id": id, "content": text }));
        turn.images.extend(parts);
        true
    }

    /// Checks that every call has its answer, except those that `will_be` answered.
    ///
    /// # Errors
    /// 400 for one without.
    pub(super) fn check_answers(&self, will_be: impl Fn(&str) -> bool) -> Result<(), ApiError> {
        let missing = self.open.keys().filter(|id| !will_be(id)).min();
        missing.map_or(Ok(()), |id| {
            Err(ApiError::invalid(
                "input",
                format!(
                    "no tool output found for function call {id}; send a `function_call_output` item with this `call_id`"
                ),
            ))
        })
    }

    /// All messages in order.
    pub(super) fn into_messages(self) -> Vec<Value> {
        let mut messages = Vec::with_capacity(self.turns.len());
        for turn in self.turns {
            messages.push(Value::Object(turn.message));
            messages.extend(turn.answers);
            if !turn.images.is_empty() {
                messages.push(json!({ "role": "user", "content": turn.images }));
            }
        }
        messages
    }

    fn push(&mut self, message: Map<String, Value>) {
        let index = self.turns.len();
        let calls = message.get("tool_calls").and_then(Value::as_array);
        for call in calls.into_iter().flatten() {
            if let Some(id) = call.get("id").and_then(Value::as_str) {
                self.open.insert(id.to_owned(), index);
            }
        }
        self.turns.push(Turn {
            message,
            ..Turn::default()
        });
    }

    fn attach_reasoning(&mut self) {
        if self.reasoning.is_empty() {
            return;
        }
        if let Some(turn) = self.turns.last_mut() {
            let text = std::mem::take(&mut self.reasoning);
            match turn.message.get_mut("reasoning_content") {
                Some(Value::String(before)) => before.push_str(&text),
                _ => {
                    turn.message.insert("reasoning_content".into(), text.into());
                }
            }
        }
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Map<String, Value> {
        Map::new()
    }

    fn call(id: &str) -> Value {
        json!({ "id": id, "type": "function", "function": { "name": "echo", "arguments": "{}" } })
    }

    fn answer(id: &str) -> Value {
        json!({ "role": "tool", "tool_call_id": id, "content": id })
    }

    #[test]
    fn answers_stand_behind_the_turn_of_their_call() {
        let mut conversation = Conversation::default();
        conversation.say("user", "go".into());
        conversation.reply("first".into(), none());
        conversation.call("a", "echo", "{}", none());
        conversation.call("b", "echo", "{}", none());
        conversation.say("user", "and hurry".into());
        let picture = json!({ "type": "image_url", "image_url": { "url": "data:," } });
        assert!(conversation.answer("b", "b", vec![picture.clone()]));
        assert!(conversation.answer("a", "a", Vec::new()));
        assert!(!conversation.answer("a", "again", Vec::new()));
        conversation.call("a", "echo", "{}", none());
        assert!(conversation.answer("a", "a", Vec::new()));
        let messages = conversation.into_messages();
        let expected = json!([
            { "role": "user", "content": "go" },
            { "role": "assistant", "content": "first", "tool_calls": [call("a"), call("b")] },
            answer("b"),
            answer("a"),
            { "role": "user", "content": [picture] },
            { "role": "user", "content": "and hurry" },
            { "role": "assistant", "content": null, "tool_calls": [call("a")] },
            answer("a"),
        ]);
        assert_eq!(Value::Array(messages), expected);
    }

    #[test]
    fn a_conversation_in_chats_shape_goes_on_where_it_was() {
        let before = json!([
            { "role": "user", "content": "go" },
            { "role": "assistant", "content": null, "tool_calls": [call("a"), call("b")] },
            answer("a"),
        ]);
        let Value::Array(messages) = before.clone() else {
            panic!("an array");
        };
        let mut conversation = Conversation::resume(messages);
        assert_eq!(conversation.check_answers(|id| id == "b"), Ok(()));
        assert!(conversation.check_answers(|id| id == "a").is_err());
        conversation.say("user", "and?".into());
        assert!(conversation.answer("b", "b", Vec::new()));
        let mut expected = before;
        if let Value::Array(expected) = &mut expected {
            expected.push(answer("b"));
            expected.push(json!({ "role": "user", "content": "and?" }));
        }
        assert_eq!(Value::Array(conversation.into_messages()), expected);
    }

    #[test]
    fn a_call_without_an_answer_is_named() {
        let mut conversation = Conversation::default();
        conversation.call("c1", "echo", "{}", none());
        let error = conversation.check_answers(|_| false).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("input"));
        assert!(error.message.contains("function call c1;"), "{error}");
        assert_eq!(conversation.check_answers(|id| id == "c1"), Ok(()));
    }

    #[test]
    fn what_the_model_thought_goes_with_its_next_message() {
        let mut conversation = Conversation::default();
        conversation.think("one");
        conversation.call("a", "echo", "{}", none());
        conversation.answer("a", "a", Vec::new());
        conversation.think("lost, for it led to nothing");
        conversation.say("user", "go".into());
        let messages = conversation.into_messages();
        assert_eq!(messages[0]["reasoning_content"], "one");
        assert_eq!(messages.len(), 3);
        assert_eq!(messages[2], json!({ "role": "user", "content": "go" }));
    }
}
