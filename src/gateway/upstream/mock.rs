//! The built-in model: no network, no chance, no understanding. It calls the tool that the user's text names, and answers
//! with what the tool said.
//!
//! Equal conversations get equal answers, ids included; the ids of calls differ within a conversation, because they depend on
//! its length. `choice` finds the tool, `arguments` fills in what it is called with.

mod arguments;
mod choice;

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::{Map, Value, json};

use self::choice::Tool;

/// Characters of one result in an answer.
const LONGEST_RESULT: usize = 4_000;
/// Tools that it names when it doesn't know which to call.
const NAMED: usize = 10;

/// The built-in model.
#[derive(Debug)]
pub(super) struct Mock {
    /// Between a server's name and its tool's.
    separator: String,
}

/// What the model has to say.
#[derive(Debug, PartialEq)]
enum Turn {
    Text(String),
    Call { tool: String, arguments: String },
}

impl Mock {
    pub(super) fn new(separator: &str) -> Mock {
        Mock {
            separator: separator.to_owned(),
        }
    }

    /// The whole answer to `request`, by the name of `model`, at `created` in Unix seconds.
    pub(super) fn answer(
        &self,
        request: &Map<String, Value>,
        model: &str,
        created: u64,
    ) -> Map<String, Value> {
        let messages = request.get("messages").and_then(Value::as_array);
        let messages = messages.map_or(&[][..], Vec::as_slice);
        let turn = self.turn(request, messages);
        let mut hasher = DefaultHasher::new();
        (messages.len(), user_text(messages)).hash(&mut hasher);
        let (message, reason, said) = match turn {
            Turn::Text(text) => {
                text.hash(&mut hasher);
                (
                    json!({ "role": "assistant", "content": text }),
                    "stop",
                    text,
                )
            }
            Turn::Call { tool, arguments } => {
                (&tool, &arguments).hash(&mut hasher);
                let call = json!({
                    "id": format!("call_{:016x}", hasher.finish()),
                    "type": "function",
                    "function": { "name": tool, "arguments": arguments },
                });
                let message = json!({ "role": "assistant", "content": null, "tool_calls": [call] });
                (message, "tool_calls", arguments)
            }
        };
        let asked = messages
            .iter()
            .map(|message| words(&content(message)))
            .sum::<usize>();
        let said = words(&said);
        let answer = json!({
            "id": format!("chatcmpl-mock-{:016x}", hasher.finish()),
            "object": "chat.completion",
            "created": created,
            "model": model,
            "choices": [{ "index": 0, "message": message, "finish_reason": reason }],
            "usage": { "prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said },
        });
        super::regular::object(answer).unwrap_or_default()
    }

    fn turn(&self, request: &Map<String, Value>, messages: &[Value]) -> Turn {
        let results = results(messages);
        let offered = choice::offered(request);
        let text = user_text(messages);
        match choice::forced(request, &offered) {
            choice::Forced::This(tool) if results.is_none() => call(tool, &text),
            choice::Forced::Any if results.is_none() && !offered.is_empty() => {
                let named = choice::named(&offered, &text, &self.separator);
                call(named.unwrap_or(&offered[0]), &text)
            }
            choice::Forced::Free if results.is_none() => {
                match choice::named(&offered, &text, &self.separator) {
                    Some(tool) => call(tool, &text),
                    None => Turn::Text(introduction(&offered)),
                }
            }
            _ => Turn::Text(results.unwrap_or_else(|| introduction(&offered))),
        }
    }
}

fn call(tool: &Tool<'_>, text: &str) -> Turn {
    Turn::Call {
        tool: tool.name.to_owned(),
        arguments: Value::Object(arguments::fill(tool, text)).to_string(),
    }
}

/// The chunks of an answer of [`Mock::answer`], word by word.
pub(super) fn chunks(answer: &Map<String, Value>) -> Vec<Value> {
    let mut frame = answer.clone();
    frame.insert("object".to_owned(), "chat.completion.chunk".into());
    let usage = frame.shift_remove("usage");
    let with = |choices: Value| {
        let mut chunk = frame.clone();
        chunk.insert("choices".to_owned(), choices);
        chunk
    };
    let piece = |delta: Value, reason: Option<&Value>| {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": reason });
        Value::Object(with(json!([choice])))
    };
    let choice = &answer["choices"][0];
    let message = &choice["message"];
    let mut chunks = vec![piece(
        json!({ "role": "assistant", "content": message["content"].as_str().map(|_| "") }),
        None,
    )];
    let words = message["content"]
        .as_str()
        .unwrap_or_default()
        .split_inclusive(char::is_whitespace);
    chunks.extend(words.map(|word| piece(json!({ "content": word }), None)));
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        let mut first = call.clone();
        first["index"] = 0.into();
        first["function"]["arguments"] = "".into();
        chunks.push(piece(json!({ "tool_calls": [first] }), None));
        let arguments = call["function"]["arguments"].as_str().unwrap_or_default();
        for part in arguments.split_inclusive(',') {
            let more = json!({ "index": 0, "function": { "arguments": part } });
            chunks.push(piece(json!({ "tool_calls": [more] }), None));
        }
    }
    chunks.push(piece(json!({}), Some(&choice["finish_reason"])));
    let mut last = with(json!([]));
    last.insert("usage".to_owned(), usage.unwrap_or_default());
    chunks.push(last.into());
    chunks
}

/// What the tools said, when the conversation ends with that.
fn results(messages: &[Value]) -> Option<String> {
    let role = |message: &Value| message["role"].as_str().unwrap_or_default().to_owned();
    let is_result = |message: &Value| matches!(role(message).as_str(), "tool" | "function");
    let mut messages = messages;
    // The pictures of results follow them, as a message of the user's.
    if let [before @ .., last] = messages
        && before.last().is_some_and(is_result)
        && parts(last).iter().any(|part| part["type"] == "image_url")
    {
        messages = before;
    }
    let begin = messages
        .iter()
        .rposition(|message| !is_result(message))
        .map_or(0, |last| last + 1);
    let (before, results) = messages.split_at(begin);
    let calls = before
        .last()
        .and_then(|message| message["tool_calls"].as_array());
    let name = |result: &Value| {
        let mut calls = calls.into_iter().flatten();
        let call = calls.find(|call| call["id"] == result["tool_call_id"]);
        let name = call.and_then(|call| call["function"]["name"].as_str());
        name.or(result["name"].as_str())
            .unwrap_or("tool")
            .to_owned()
    };
    match results {
        [] => None,
        [result] => Some(shortened(&content(result))),
        several => {
            let lines = several
                .iter()
                .map(|result| format!("{}: {}", name(result), shortened(&content(result))));
            Some(lines.collect::<Vec<_>>().join("\n"))
        }
    }
}

fn introduction(offered: &[Tool<'_>]) -> String {
    let mut text = "I am the built-in mock model: I call the tool that you name, such as `use NAME`, with the JSON object in \
                    your text as its arguments, and answer with its result."
        .to_owned();
    let before = match offered.is_empty() {
        true => " No tools are offered.",
        false => " I could call",
    };
    text.push_str(before);
    for (index, tool) in offered.iter().take(NAMED).enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(text, "{comma} {}", tool.name).expect("memory takes all that is written");
    }
    match offered.len().checked_sub(NAMED + 1) {
        Some(more) => {
            write!(text, " and {} more.", more + 1).expect("memory takes all that is written")
        }
        None if offered.is_empty() => {}
        None => text.push('.'),
    }
    text
}

/// The text of the user's last message.
fn user_text(messages: &[Value]) -> String {
    let last = messages.iter().rfind(|message| message["role"] == "user");
    last.map(content).unwrap_or_default()
}

fn parts(message: &Value) -> &[Value] {
    message["content"].as_array().map_or(&[], Vec::as_slice)
}

/// The text of a message, whose content is a text or has parts.
fn content(message: &Value) -> String {
    if let Some(text) = message["content"].as_str() {
        return text.to_owned();
    }
    let texts = parts(message)
        .iter()
        .filter_map(|part| part["text"].as_str());
    texts.collect::<Vec<_>>().join("\n")
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST_RESULT) {
        Some((end, _)) => format!("{}… (shortened)", &text[..end]),
        None => text.to_owned(),
    }
}

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

#[cfg(test)]
mod tests;
