//! A turn on the wire: one JSON body, or the events of a stream.
//!
//! A message is streamed as OpenAI does it: the role first, text in several pieces, each call's name before its arguments, which come
//! in fragments, the finish reason in a chunk of its own, usage after it if it was asked for, and `[DONE]`.

use serde_json::{Map, Value, json};

use super::{CREATED, End, Gate, Odd, Says, Turn};

/// A turn, made for one request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) pieces: Vec<String>,
    pub(crate) end: End,
    /// Where each piece waits.
    pub(crate) pace: Option<Gate>,
}

impl Turn {
    /// The answer to `request`, the one with this number.
    pub(crate) fn answer(&self, number: usize, request: &Value) -> Answer {
        let is_stream = request["stream"] == true;
        let (status, content_type, mut pieces) = match &self.says {
            Says::Exactly {
                status,
                content_type,
                body,
            } => (*status, *content_type, vec![body.clone()]),
            Says::Chunks(chunks) => (200, "text/event-stream", self.events(chunks)),
            Says::Message { text, calls } if is_stream => {
                let chunks = self.deltas(text.as_deref(), calls, number, request);
                (200, "text/event-stream", self.events(&chunks))
            }
            Says::Message { text, calls } => {
                let completion = self.completion(text.as_deref(), calls, number, request);
                (200, "application/json", vec![completion.to_string()])
            }
        };
        let is_whole = content_type != "text/event-stream";
        match self.end {
            End::Clean => {}
            End::Cut if is_whole => pieces = pieces_of(&pieces[0], 2).drain(..1).collect(),
            End::Cut | End::Hang => pieces.truncate(self.pieces),
        }
        let mut headers = self.headers.clone();
        headers.push(("content-type".to_owned(), content_type.to_owned()));
        Answer {
            status,
            headers,
            pieces,
            end: self.end,
            pace: self.pace.clone(),
        }
    }

    fn is(&self, odd: Odd) -> bool {
        self.odd.contains(&odd)
    }

    fn events(&self, chunks: &[Value]) -> Vec<String> {
        let mut events: Vec<String> = chunks
            .iter()
            .map(|chunk| format!("data: {chunk}\n\n"))
            .collect();
        if !self.is(Odd::NoDone) {
            events.push("data: [DONE]\n\n".to_owned());
        }
        events
    }

    /// The completion as one JSON body.
    fn completion(
        &self,
        text: Option<&str>,
        calls: &[(String, Value)],
        number: usize,
        request: &Value,
    ) -> Value {
        let mut message = json!({"role": "assistant", "content": text});
        if text.is_none() && self.is(Odd::NoContent) {
            message.as_object_mut().unwrap().remove("content");
        }
        if let Some(thoughts) = &self.reasoning {
            message["reasoning_content"] = json!(thoughts);
        }
        if !calls.is_empty() {
            let calls = calls.iter().enumerate();
            let calls = calls.map(|(index, call)| {
                let mut head = self.head(number, index, &call.0);
                head["function"]["arguments"] = self.arguments(&call.1);
                head
            });
            message["tool_calls"] = calls.collect();
        } else if self.is(Odd::Nulls) {
            message["tool_calls"] = Value::Null;
        }
        let finish_reason = self.finish_reason(calls);
        let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": finish_reason});
        let mut completion = self.frame("chat.completion", number, request);
        completion["choices"] = json!([choice]);
        if !self.is(Odd::NoUsage) {
            completion["usage"] = self.tokens();
        }
        completion
    }

    /// The completion as the chunks of a stream.
    fn deltas(
        &self,
        text: Option<&str>,
        calls: &[(String, Value)],
        number: usize,
        request: &Value,
    ) -> Vec<Value> {
        let mut deltas = vec![json!({"role": "assistant", "content": text.map(|_| "")})];
        if text.is_none() && self.is(Odd::NoContent) {
            deltas[0].as_object_mut().unwrap().remove("content");
        }
        let thoughts = self.reasoning.iter().flat_map(|text| pieces_of(text, 2));
        deltas.extend(thoughts.map(|piece| json!({"reasoning_content": piece})));
        let pieces = text.map(words).unwrap_or_default();
        deltas.extend(pieces.into_iter().map(|piece| json!({"content": piece})));
        for (index, (name, arguments)) in calls.iter().enumerate() {
            let call = self.call_deltas(number, index, name, arguments);
            deltas.extend(call.into_iter().map(|call| json!({"tool_calls": [call]})));
        }
        if self.is(Odd::Nulls) {
            for delta in &mut deltas {
                let delta = delta.as_object_mut().unwrap();
                delta.entry("content").or_insert(Value::Null);
                delta.entry("tool_calls").or_insert(Value::Null);
            }
        }
        let wants_usage = request["stream_options"]["include_usage"] == true;
        let wants_usage = wants_usage && !self.is(Odd::NoUsage) && !self.is(Odd::UsageWithFinish);
        let chunk = |choices: Value| {
            let mut chunk = self.frame("chat.completion.chunk", number, request);
            chunk["choices"] = choices;
            if wants_usage {
                chunk["usage"] = Value::Null;
            }
            chunk
        };
        let choice = |delta: Value, finish_reason: Value| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}]);
        let deltas = deltas.into_iter();
        let mut chunks: Vec<_> = deltas
            .map(|delta| chunk(choice(delta, Value::Null)))
            .collect();
        let mut last = chunk(choice(json!({}), json!(self.finish_reason(calls))));
        if self.is(Odd::UsageWithFinish) {
            last["usage"] = self.tokens();
        }
        chunks.push(last);
        if wants_usage {
            let mut choices = json!([]);
            if self.is(Odd::UsageWithChoice) {
                choices = json!([{"index": 0, "delta": {}}]);
            }
            let mut chunk = chunk(choices);
            chunk["usage"] = self.tokens();
            chunks.push(chunk);
        }
        chunks
    }

    /// The deltas of one call.
    fn call_deltas(
        &self,
        number: usize,
        index: usize,
        name: &str,
        arguments: &Value,
    ) -> Vec<Value> {
        let mut head = self.head(number, index, name);
        let arguments = self.arguments(arguments);
        if !self.is(Odd::NoIndex) {
            let index = if self.is(Odd::SameIndex) { 0 } else { index };
            head.as_object_mut()
                .unwrap()
                .insert("index".to_owned(), json!(index));
        }
        let fragments = match &arguments {
            Value::String(arguments) if !self.is(Odd::NoIndex) && !self.is(Odd::SameIndex) => {
                pieces_of(arguments, 3)
            }
            _ => {
                head["function"]["arguments"] = arguments;
                return vec![head];
            }
        };
        let mut deltas = vec![head];
        for fragment in fragments {
            let mut delta = json!({"index": index, "function": {"arguments": fragment}});
            if self.is(Odd::EmptyHeads) {
                delta = json!({"index": index, "id": "", "type": "function", "function": {"name": "", "arguments": fragment}});
            }
            deltas.push(delta);
        }
        deltas
    }

    /// A call with no arguments yet.
    fn head(&self, number: usize, index: usize, name: &str) -> Value {
        let mut head = json!({"type": "function", "function": {"name": name, "arguments": ""}});
        if !self.is(Odd::NoCallIds) {
            let id = self.call_ids.get(index).cloned();
            head["id"] = json!(id.unwrap_or_else(|| format!("call_{number}_{index}")));
        }
        if let Some(signature) = &self.signature {
            head["extra_content"] = signature.clone();
        }
        head
    }

    fn arguments(&self, arguments: &Value) -> Value {
        let is_empty = arguments.as_object().is_some_and(Map::is_empty);
        match arguments {
            _ if is_empty && self.is(Odd::EmptyArguments) => json!(""),
            // what is no object stands for itself: broken JSON, for one
            Value::String(arguments) => json!(arguments),
            _ if self.is(Odd::ObjectArguments) => arguments.clone(),
            _ => json!(arguments.to_string()),
        }
    }

    fn finish_reason(&self, calls: &[(String, Value)]) -> &'static str {
        if calls.is_empty() || self.is(Odd::FinishStop) {
            "stop"
        } else {
            "tool_calls"
        }
    }

    /// What a completion and each of its chunks begin with.
    fn frame(&self, object: &str, number: usize, request: &Value) -> Value {
        let id = self.id.clone();
        let id = id.unwrap_or_else(|| format!("chatcmpl-{number}"));
        let mut frame =
            json!({"id": id, "object": object, "created": CREATED, "model": request["model"]});
        frame.as_object_mut().unwrap().extend(self.extra.clone());
        frame
    }

    fn tokens(&self) -> Value {
        let (prompt, completion) = self.usage;
        json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
    }
}

/// The words of a text, each with the space after it; a single one in two pieces.
fn words(text: &str) -> Vec<String> {
    if !text.contains(' ') {
        return pieces_of(text, 2);
    }
    text.split_inclusive(' ').map(str::to_owned).collect()
}

/// Pieces of about the same length, at most `count`; none of an empty text.
fn pieces_of(text: &str, count: usize) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let size = characters.len().div_ceil(count).max(1);
    characters.chunks(size).map(String::from_iter).collect()
}
