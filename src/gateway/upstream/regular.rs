//! Odd models made regular: what their answers say stays, how they say it becomes OpenAI's way.
//!
//! Pure functions over JSON. Members that nobody here knows, such as `reasoning_content` or a provider's signature beside a
//! call, are left where they are. `pieces` does the same for streams, with the parts that are here for both.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

const KIND: &str = "chat.completion";

/// Where the ids of calls come from that their model gave none.
pub(super) type NewId<'a> = &'a mut (dyn FnMut() -> String + Send);

/// How an answer is called.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    /// The model, as the client calls it, whatever the provider says.
    pub(super) model: String,
    /// Its id, unless the provider says one.
    pub(super) id: String,
    /// When it was made, in Unix seconds, unless the provider says.
    pub(super) created: u64,
}

impl Identity {
    /// Takes over what the provider says.
    pub(super) fn learn(&mut self, said: &Map<String, Value>) {
        let id = said.get("id").and_then(Value::as_str);
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            id.clone_into(&mut self.id);
        }
        if let Some(created) = said.get("created").and_then(Value::as_u64) {
            self.created = created;
        }
    }

    /// Names an answer, or a chunk of one.
    pub(super) fn name(&self, answer: &mut Map<String, Value>, kind: &str) {
        answer.insert("id".to_owned(), self.id.as_str().into());
        answer.insert("object".to_owned(), kind.into());
        answer.insert("created".to_owned(), self.created.into());
        answer.insert("model".to_owned(), self.model.as_str().into());
    }
}

/// A whole answer, regular as [`Models::answer`](super::Models::answer) has it; `None` if it is no answer of a model at all.
pub(super) fn whole(
    mut answer: Map<String, Value>,
    mut identity: Identity,
    new_id: NewId<'_>,
) -> Option<Map<String, Value>> {
    let is_answer = answer.get("object").is_some_and(|kind| kind == KIND)
        || answer.get("choices").is_some_and(Value::is_array)
        || answer.get("message").is_some_and(Value::is_object)
        || answer.get("usage").is_some_and(Value::is_object);
    if !is_answer {
        return None;
    }
    let mut choices: Vec<_> = match answer.get_mut("choices").map(Value::take) {
        Some(Value::Array(choices)) => choices.into_iter().filter_map(object).collect(),
        _ => Vec::new(),
    };
    if choices.is_empty() {
        let mut choice = Map::new();
        if let Some(message) = answer.shift_remove("message") {
            choice.insert("message".to_owned(), message);
        }
        choices.push(choice);
    }
    for (index, choice) in choices.iter_mut().enumerate() {
        if !choice.get("index").is_some_and(Value::is_u64) {
            choice.insert("index".to_owned(), index.into());
        }
        make_choice_regular(choice, new_id);
    }
    identity.learn(&answer);
    identity.name(&mut answer, KIND);
    answer.insert("choices".to_owned(), json!(choices));
    Some(answer)
}

fn make_choice_regular(choice: &mut Map<String, Value>, new_id: NewId<'_>) {
    let place = match choice.get("message") {
        Some(Value::Object(_)) => "message",
        _ => "delta",
    };
    let message = match place {
        "message" => choice.get_mut(place).map(Value::take),
        _ => choice.shift_remove(place),
    };
    let mut message = message.and_then(object).unwrap_or_default();
    if !message.get("role").is_some_and(Value::is_string) {
        message.insert("role".to_owned(), "assistant".into());
    }
    if !message.contains_key("content") {
        let text = choice.shift_remove("text").unwrap_or_default();
        message.insert("content".to_owned(), text);
    }
    let calls = take_calls(&mut message);
    let has_calls = !calls.is_empty();
    if has_calls {
        let mut seen = HashSet::new();
        let calls = calls.into_iter().map(|mut call| {
            call.shift_remove("index");
            complete(&mut call, new_id);
            let id = call.get("id").and_then(Value::as_str).unwrap_or_default();
            if !seen.insert(id.to_owned()) {
                call.insert("id".to_owned(), new_id().into());
            }
            Value::Object(call)
        });
        message.insert("tool_calls".to_owned(), calls.collect());
    }
    choice.insert("message".to_owned(), message.into());
    let said = choice.get("finish_reason").and_then(Value::as_str);
    let reason = finish_reason(said.unwrap_or_default(), has_calls).to_owned();
    choice.insert("finish_reason".to_owned(), reason.into());
}

/// Takes the calls out of a message or a delta, whichever way they are written: each is an object with a `function` whose
/// `arguments`, if it has any, are a text. Custom calls, which have an input and no function, stay what they are.
pub(super) fn take_calls(message: &mut Map<String, Value>) -> Vec<Map<String, Value>> {
    let calls = match message.shift_remove("tool_calls") {
        Some(Value::Array(calls)) => calls,
        Some(call @ Value::Object(_)) => vec![call],
        _ => Vec::new(),
    };
    let mut calls: Vec<_> = calls.into_iter().filter_map(object).collect();
    // Before tools there was one function at most, and no ids.
    if let Some(function @ Value::Object(_)) = message.shift_remove("function_call")
        && calls.is_empty()
    {
        calls.push(Map::from_iter([("function".to_owned(), function)]));
    }
    for call in &mut calls {
        if call.get("custom").is_some_and(Value::is_object) {
            continue;
        }
        let mut function = match call.get_mut("function").map(Value::take) {
            Some(Value::Object(function)) => function,
            _ => Map::new(),
        };
        for member in ["name", "arguments"] {
            if !function.contains_key(member)
                && let Some(value) = call.shift_remove(member)
            {
                function.insert(member.to_owned(), value);
            }
        }
        match function.get("arguments") {
            None | Some(Value::String(_)) => {}
            Some(Value::Null) => drop(function.shift_remove("arguments")),
            Some(value) => {
                let text = value.to_string();
                function.insert("arguments".to_owned(), text.into());
            }
        }
        if function.get("name").is_some_and(|name| !name.is_string()) {
            function.shift_remove("name");
        }
        call.insert("function".to_owned(), function.into());
        if let Some(id @ Value::Number(_)) = call.get("id") {
            let id = id.to_string();
            call.insert("id".to_owned(), id.into());
        }
    }
    calls
}

/// Gives a call what it lacks: an id, a type, a name and arguments.
pub(super) fn complete(call: &mut Map<String, Value>, new_id: NewId<'_>) {
    if id(call).is_none() {
        call.insert("id".to_owned(), new_id().into());
    }
    let custom = call.get("custom").is_some_and(Value::is_object);
    if !call.get("type").is_some_and(Value::is_string) {
        let kind = if custom { "custom" } else { "function" };
        call.insert("type".to_owned(), kind.into());
    }
    if let Some(Value::Object(function)) = call.get_mut("function") {
        for member in ["name", "arguments"] {
            if !function.contains_key(member) {
                function.insert(member.to_owned(), "".into());
            }
        }
    }
}

/// The id of a call, if it has one.
pub(super) fn id(call: &Map<String, Value>) -> Option<&str> {
    let id = call.get("id").and_then(Value::as_str);
    id.filter(|id| !id.is_empty())
}

/// The name of the tool that is called, if it is there.
pub(super) fn name(call: &Map<String, Value>) -> Option<&str> {
    let place = if call.contains_key("custom") {
        "custom"
    } else {
        "function"
    };
    let name = call.get(place)?.get("name")?.as_str();
    name.filter(|name| !name.is_empty())
}

/// Why a choice ends. A limit or a filter that cut an answer with calls is still that: the last call may lack its end.
pub(super) fn finish_reason(said: &str, has_calls: bool) -> &str {
    match (said, has_calls) {
        ("" | "stop" | "function_call" | "tool_use" | "tool_call" | "eos", true) => "tool_calls",
        ("" | "tool_calls" | "function_call", false) => "stop",
        _ => said,
    }
}

pub(super) fn object(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            model: "m".to_owned(),
            id: "made".to_owned(),
            created: 9,
        }
    }

    fn counted() -> impl FnMut() -> String + Send {
        let mut last = 0;
        move || {
            last += 1;
            format!("call_{last}")
        }
    }

    /// What becomes of the first choice.
    fn check(choice: Value, want: Value) {
        let answer = object(json!({ "choices": [choice] })).unwrap();
        let regular = whole(answer, identity(), &mut counted()).unwrap();
        assert_eq!(regular["choices"][0], want);
    }

    fn text(content: Value) -> Value {
        json!({ "index": 0, "message": { "role": "assistant", "content": content }, "finish_reason": "stop" })
    }

    #[test]
    fn texts_are_messages_of_the_assistant_that_end() {
        for choice in [
            text("hi".into()),
            json!({ "message": { "content": "hi" } }),
            json!({ "message": { "content": "hi", "tool_calls": null }, "finish_reason": null }),
            json!({ "message": { "content": "hi", "tool_calls": [], "function_call": null }, "finish_reason": "" }),
            json!({ "message": { "role": null, "content": "hi" }, "finish_reason": "tool_calls" }),
            json!({ "delta": { "content": "hi" } }),
            json!({ "text": "hi" }),
        ] {
            check(choice, text("hi".into()));
        }
        check(json!({ "message": null }), text(Value::Null));
        check(json!({}), text(Value::Null));
        let cut = json!({ "index": 0, "message": { "role": "assistant", "content": "h" }, "finish_reason": "length" });
        check(cut.clone(), cut);
    }

    #[test]
    fn calls_have_an_id_a_type_a_name_and_arguments_as_text() {
        let call = |id: &str, arguments: &str| json!({ "id": id, "type": "function", "function": { "name": "f", "arguments": arguments } });
        let function = |arguments: Value| json!({ "name": "f", "arguments": arguments });
        for (said, want) in [
            (json!([call("a", "{}")]), vec![call("a", "{}")]),
            (
                json!([{ "function": function("{}".into()) }]),
                vec![call("call_1", "{}")],
            ),
            (
                json!([{ "id": "", "type": null, "function": function(json!({ "x": [1] })) }]),
                vec![call("call_1", r#"{"x":[1]}"#)],
            ),
            (
                json!([{ "id": 7, "function": function(Value::Null) }]),
                vec![call("7", "")],
            ),
            (
                json!([{ "id": "a", "function": { "name": "f" } }]),
                vec![call("a", "")],
            ),
            (
                json!([{ "id": "a", "function": function("".into()) }]),
                vec![call("a", "")],
            ),
            (
                json!([call("a", "1"), null, call("a", "2"), { "index": 5, "function": function("3".into()) }]),
                vec![call("a", "1"), call("call_1", "2"), call("call_2", "3")],
            ),
            (
                json!([{ "id": "a", "type": "function", "name": "f", "arguments": { } }]),
                vec![call("a", "{}")],
            ),
            (call("a", "{}"), vec![call("a", "{}")]),
        ] {
            for reason in [
                json!("stop"),
                json!("tool_calls"),
                json!(null),
                json!("function_call"),
            ] {
                let choice = json!({ "message": { "content": null, "tool_calls": said }, "finish_reason": reason });
                let message = json!({ "content": null, "role": "assistant", "tool_calls": want });
                check(
                    choice,
                    json!({ "message": message, "finish_reason": "tool_calls", "index": 0 }),
                );
            }
        }
        let legacy = json!({ "message": { "function_call": function("{}".into()) }, "finish_reason": "function_call" });
        let message =
            json!({ "role": "assistant", "content": null, "tool_calls": [call("call_1", "{}")] });
        check(
            legacy,
            json!({ "index": 0, "message": message, "finish_reason": "tool_calls" }),
        );
    }

    #[test]
    fn what_nobody_knows_is_kept() {
        let call = json!({ "id": "a", "type": "function", "function": { "name": "f", "arguments": "{}", "strict": 1 },
            "extra_content": { "google": { "thought_signature": "s" } } });
        let custom =
            json!({ "id": "b", "type": "custom", "custom": { "name": "c", "input": "x" } });
        let choice = json!({ "index": 0, "logprobs": null,
            "message": { "role": "assistant", "content": "", "reasoning_content": "r", "tool_calls": [call, custom] },
            "finish_reason": "tool_calls", "native_finish_reason": "STOP" });
        let answer = json!({ "id": "1", "object": "chat.completion", "created": 1, "model": "other", "choices": [choice],
            "usage": { "total_tokens": 1 }, "system_fingerprint": "f", "provider": "p" });
        let mut want = answer.clone();
        want["model"] = "m".into();
        let regular = whole(object(answer).unwrap(), identity(), &mut counted()).unwrap();
        assert_eq!(Value::Object(regular), want);
    }

    #[test]
    fn an_answer_without_choices_is_empty_and_anything_else_is_none() {
        let regular = |answer: Value| whole(object(answer).unwrap(), identity(), &mut counted());
        for answer in [
            json!({ "choices": [] }),
            json!({ "object": "chat.completion", "choices": null }),
            json!({ "usage": {} }),
        ] {
            assert_eq!(
                regular(answer).unwrap()["choices"],
                json!([text(Value::Null)])
            );
        }
        let ollama = json!({ "model": "x", "message": { "role": "assistant", "content": "hi" }, "done": true });
        assert_eq!(
            regular(ollama).unwrap()["choices"],
            json!([text("hi".into())])
        );
        for other in [
            json!({}),
            json!({ "detail": "Not Found" }),
            json!({ "choices": "x" }),
        ] {
            assert_eq!(regular(other), None);
        }
    }
}
