//! What a model is sent, round by round: one body that grows.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::plan::Tools;

/// The conversation with a model in one request.
#[derive(Debug)]
pub(super) struct Conversation {
    /// The body of the next round.
    body: Map<String, Value>,
    /// How many of its messages are not of this request's making.
    given: usize,
    /// Where messages stand that show pictures of results.
    pictures: Vec<usize>,
    /// Whether the model takes pictures, as far as is known.
    shows_pictures: bool,
}

impl Conversation {
    /// A conversation that begins with `messages`, of which those at `pictures` show pictures of results.
    pub(super) fn new(
        parameters: Map<String, Value>,
        messages: Vec<Value>,
        pictures: Vec<usize>,
        own_tools: Vec<Value>,
        tools: &Tools,
    ) -> Conversation {
        let mut body = parameters;
        let mut messages = messages;
        messages.iter_mut().for_each(mend);
        let given = messages.len();
        body.insert("messages".to_owned(), messages.into());
        let mut list = own_tools;
        list.extend(tools.definitions());
        if list.is_empty() {
            for member in ["tools", "tool_choice", "parallel_tool_calls"] {
                body.shift_remove(member);
            }
        } else {
            body.insert("tools".to_owned(), list.into());
        }
        Conversation {
            body,
            given,
            pictures,
            shows_pictures: true,
        }
    }

    pub(super) fn body(&self) -> &Map<String, Value> {
        &self.body
    }

    /// Adds a turn of the model or an answer to it.
    pub(super) fn push(&mut self, mut message: Value) {
        mend(&mut message);
        self.messages().push(message);
    }

    /// Adds a message that shows pictures, unless the model takes none.
    pub(super) fn show(&mut self, pictures: Value) {
        if self.shows_pictures {
            let at = self.messages().len();
            self.pictures.push(at);
            self.push(pictures);
        }
    }

    /// What was added so far.
    pub(super) fn added(&mut self) -> &[Value] {
        let given = self.given;
        &self.messages()[given..]
    }

    /// Takes all messages out that show pictures, and adds none any more: what their tools' messages say has to do. Whether
    /// there were any.
    pub(super) fn hide_pictures(&mut self) -> bool {
        self.shows_pictures = false;
        let pictures = std::mem::take(&mut self.pictures);
        self.given -= pictures.iter().filter(|at| **at < self.given).count();
        let messages = self.messages();
        for at in pictures.iter().rev() {
            messages.remove(*at);
        }
        !pictures.is_empty()
    }

    /// Lets the model answer in text after a first round in which it had to call: else it would never end.
    pub(super) fn force_no_more(&mut self) {
        let Some(choice) = self.body.get_mut("tool_choice") else {
            return;
        };
        match choice {
            Value::String(word) if word == "auto" || word == "none" => {}
            // a choice of some tools is a choice in later rounds too
            Value::Object(members) if members.contains_key("allowed_tools") => {
                if let Some(mode) = members["allowed_tools"].get_mut("mode") {
                    *mode = "auto".into();
                }
            }
            _ => {
                self.body.shift_remove("tool_choice");
            }
        }
    }

    /// Asks for an answer without calls. The tools stay: some models are confused by calls of tools that they don't have.
    pub(super) fn call_no_more(&mut self) {
        if self.body.contains_key("tools") {
            self.body.insert("tool_choice".to_owned(), "none".into());
        }
    }

    /// Everything that was said.
    pub(super) fn into_messages(mut self) -> Vec<Value> {
        std::mem::take(self.messages())
    }

    fn messages(&mut self) -> &mut Vec<Value> {
        match self.body.get_mut("messages") {
            Some(Value::Array(messages)) => messages,
            _ => unreachable!("`new` puts them there and nothing takes them out"),
        }
    }
}

/// Puts tool messages that come later than another message right behind the turn whose calls they answer, in the order of
/// the calls: providers refuse a conversation in which anything stands between.
pub(super) fn settle(messages: Vec<Value>) -> Vec<Value> {
    let mut settled: Vec<Value> = Vec::with_capacity(messages.len());
    // what stands behind the last turn with calls, until all its results are known
    let mut behind = Vec::new();
    let mut has_calls = false;
    for message in messages {
        let role = message.get("role").and_then(Value::as_str);
        if role == Some("assistant") {
            settled.append(&mut behind);
            has_calls = message.get("tool_calls").is_some_and(Value::is_array);
        } else if has_calls && role != Some("tool") {
            behind.push(message);
            continue;
        }
        settled.push(message);
    }
    settled.append(&mut behind);
    settled
}

/// Makes an object of a call's arguments where the model wrote none. What was said is parsed anew in each round by servers that
/// fill in a template (vLLM, SGLang, llama.cpp) or translate (LiteLLM): they refuse the whole conversation for one of these.
fn mend(message: &mut Value) {
    let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
    for call in calls.into_iter().flatten() {
        let Some(Value::String(arguments)) = call.pointer_mut("/function/arguments") else {
            continue;
        };
        if arguments.trim().is_empty() {
            "{}".clone_into(arguments);
        } else if serde_json::from_str::<HashMap<Cow<str>, IgnoredAny>>(arguments).is_err() {
            *arguments = json!({ "malformed": arguments }).to_string();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation(parameters: Value, own_tools: Vec<Value>) -> Conversation {
        let Value::Object(parameters) = parameters else {
            unreachable!()
        };
        let tools = Tools::new(&own_tools, &[]);
        let messages = vec![json!("hi"), json!("old picture")];
        Conversation::new(parameters, messages, vec![1], own_tools, &tools)
    }

    fn tool() -> Vec<Value> {
        vec![json!({ "type": "function", "function": { "name": "mine" } })]
    }

    #[test]
    fn without_tools_nothing_is_said_of_tools() {
        let parameters = json!({ "model": "m", "top_k": 3, "tool_choice": "auto", "parallel_tool_calls": false });
        let mut none = conversation(parameters.clone(), Vec::new());
        none.call_no_more();
        assert_eq!(
            Value::Object(none.body),
            json!({ "model": "m", "top_k": 3, "messages": ["hi", "old picture"] })
        );
        let mut some = conversation(parameters, tool());
        some.call_no_more();
        assert_eq!(
            Value::Object(some.body),
            json!({ "model": "m", "top_k": 3, "tool_choice": "none", "parallel_tool_calls": false,
                "messages": ["hi", "old picture"], "tools": tool() })
        );
    }

    #[test]
    fn a_forced_call_is_forced_once() {
        let check = |choice: Value, later: Value| {
            let mut conversation = conversation(json!({ "tool_choice": choice }), tool());
            conversation.force_no_more();
            assert_eq!(
                *conversation.body.get("tool_choice").unwrap_or(&Value::Null),
                later
            );
        };
        check(json!("auto"), json!("auto"));
        check(json!("none"), json!("none"));
        check(json!("required"), json!(null));
        check(
            json!({ "type": "function", "function": { "name": "mine" } }),
            json!(null),
        );
        check(
            json!({ "type": "allowed_tools", "allowed_tools": { "mode": "required", "tools": [1] } }),
            json!({ "type": "allowed_tools", "allowed_tools": { "mode": "auto", "tools": [1] } }),
        );
    }

    #[test]
    fn pictures_are_taken_out_wherever_they_stand() {
        let mut conversation = conversation(json!({}), Vec::new());
        conversation.show(json!("picture"));
        conversation.push(json!("more"));
        assert_eq!(conversation.added(), [json!("picture"), json!("more")]);
        assert!(conversation.hide_pictures());
        assert!(!conversation.hide_pictures());
        conversation.show(json!("picture"));
        assert_eq!(conversation.added(), [json!("more")]);
        assert_eq!(conversation.into_messages(), [json!("hi"), json!("more")]);
    }

    #[test]
    fn results_stand_right_behind_their_calls() {
        let call = json!({ "role": "assistant", "tool_calls": [{ "id": "a" }, { "id": "b" }] });
        let result = |id: &str| json!({ "role": "tool", "tool_call_id": id });
        let user = json!({ "role": "user", "content": "x" });
        let text = json!({ "role": "assistant", "content": "x" });
        let [a, b] = [result("a"), result("b")];
        let check = |messages: &[&Value], expected: &[&Value]| {
            let messages = messages.iter().copied().cloned().collect();
            assert_eq!(settle(messages).iter().collect::<Vec<_>>(), expected);
        };
        check(
            &[&user, &call, &a, &user, &b, &text],
            &[&user, &call, &a, &b, &user, &text],
        );
        check(&[&call, &b, &a, &user], &[&call, &b, &a, &user]);
        check(&[&a, &text, &user, &b], &[&a, &text, &user, &b]);
        check(&[&user, &a, &b, &text], &[&user, &a, &b, &text]);
        check(
            &[&call, &a, &user, &call, &user, &b, &user],
            &[&call, &a, &user, &call, &b, &user, &user],
        );
    }

    #[test]
    fn arguments_in_the_conversation_are_objects() {
        for (said, sent) in [
            ("{\"a\": 1.0}", "{\"a\": 1.0}"),
            ("", "{}"),
            (" ", "{}"),
            ("{\"a\": ", "{\"malformed\":\"{\\\"a\\\": \"}"),
            ("[1]", "{\"malformed\":\"[1]\"}"),
        ] {
            let turn = |arguments: &str| {
                let function = json!({ "name": "f", "arguments": arguments });
                json!({ "role": "assistant", "tool_calls": [{ "id": "a", "function": function }, { "custom": {} }] })
            };
            let tools = Tools::new(&[], &[]);
            let mut conversation =
                Conversation::new(Map::new(), vec![turn(said)], Vec::new(), Vec::new(), &tools);
            conversation.push(turn(said));
            assert_eq!(conversation.into_messages(), [turn(sent), turn(sent)]);
        }
    }
}
