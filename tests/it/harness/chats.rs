//! Chats over the gateway in all the ways there are, with a model that does what the user's message says.
//!
//! ```ignore
//! let model = chats::obedient().await;
//! // … a gateway that calls it `m` …
//! let outcome = chats::ask(addr, Way::ChatStream, &json!([{"calls": [["one-echo", {"who": "me"}]]}])).await;
//! assert!(outcome.results()[0].contains("me"));
//! ```
//!
//! The message is a list of turns: `{"calls": [[name, arguments], …], "text": …}`, or `{"hang": n}` for an answer that stops after
//! so many events. After the last one, or when it may call no more, the model tells all the results that it was given, as a list. The ids of the calls are the
//! same in every conversation.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::http::{Connection, Request, Response};
use super::model::{Model, Turn};
use super::sse::Events;

/// How a client talks with a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Chat,
    ChatStream,
    Responses,
    ResponsesStream,
}

/// What came of a chat.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: u16,
    /// What the model said to the client.
    pub(crate) text: String,
    /// Why it didn't, in OpenAI's shape; `null` when it did.
    pub(crate) error: Value,
}

impl Way {
    pub(crate) const ALL: [Self; 4] = [
        Self::Chat,
        Self::ChatStream,
        Self::Responses,
        Self::ResponsesStream,
    ];

    pub(crate) fn streams(self) -> bool {
        matches!(self, Self::ChatStream | Self::ResponsesStream)
    }

    fn is_chat(self) -> bool {
        matches!(self, Self::Chat | Self::ChatStream)
    }

    /// A request whose model takes these turns.
    pub(crate) fn request(self, turns: &Value) -> Request {
        let text = turns.to_string();
        let (path, mut body) = if self.is_chat() {
            let messages = json!([{"role": "user", "content": text}]);
            ("/v1/chat/completions", json!({"messages": messages}))
        } else {
            ("/v1/responses", json!({"input": text}))
        };
        body["model"] = json!("m");
        body["stream"] = json!(self.streams());
        Request::post(path, body.to_string())
    }
}

impl Outcome {
    /// The results that the model was given, in the order of its calls.
    pub(crate) fn results(&self) -> Vec<String> {
        assert_eq!((self.status, &self.error), (200, &Value::Null), "{self:?}");
        match serde_json::from_str(&self.text) {
            Ok(results) => results,
            Err(error) => panic!("{error} in {self:?}"),
        }
    }
}

/// A model that does what the user's message says.
pub(crate) async fn obedient() -> Model {
    Model::answering(obey).await
}

/// What it answers to a request.
pub(crate) fn obey(request: &Value) -> Turn {
    let messages = request["messages"].as_array().unwrap();
    let of = |role: &'static str| {
        messages
            .iter()
            .filter(move |message| message["role"] == role)
    };
    let turns: Value = serde_json::from_str(&text(of("user").next().unwrap())).unwrap();
    let round = of("assistant").count();
    let turn = &turns[round];
    if let Some(events) = turn["hang"].as_u64() {
        return Turn::text("wait").hanging_after(events.try_into().unwrap());
    }
    let calls = turn["calls"].as_array();
    let Some(calls) = calls.filter(|_| request["tool_choice"] != "none") else {
        let results: Vec<_> = of("tool").map(text).collect();
        return Turn::text(&json!(results).to_string());
    };
    let ids: Vec<_> = (0..calls.len())
        .map(|n| format!("call_{round}_{n}"))
        .collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let calls = calls
        .iter()
        .map(|call| (call[0].as_str().unwrap(), call[1].clone()));
    let calls: Vec<_> = calls.collect();
    let turn = match turn["text"].as_str() {
        Some(text) => Turn::text_and_calls(text, &calls),
        None => Turn::calls(&calls),
    };
    turn.with_call_ids(&ids)
}

/// Has a whole chat.
pub(crate) async fn ask(addr: SocketAddr, way: Way, turns: &Value) -> Outcome {
    send(addr, way, way.request(turns)).await
}

/// The same with a request that has more in it.
pub(crate) async fn send(addr: SocketAddr, way: Way, request: Request) -> Outcome {
    let mut connection = Connection::open(addr).await;
    let head = connection.request(&request).await;
    let status = head.status;
    if !head.content_type().starts_with("text/event-stream") {
        let body = connection.rest().await;
        let answer = Response { head, body }.json();
        return whole(way, status, &answer);
    }
    assert!(way.streams());
    let mut events = Events::new(connection);
    let mut outcome = Outcome {
        status,
        text: String::new(),
        error: Value::Null,
    };
    while let Some(event) = events.try_next().await {
        if event.data == "[DONE]" {
            continue;
        }
        let event = event.json();
        match event["type"].as_str() {
            None if event["error"].is_object() => outcome.error = event["error"].clone(),
            None => {
                let text = &event["choices"][0]["delta"]["content"];
                outcome.text.push_str(text.as_str().unwrap_or_default());
            }
            Some("response.completed") => outcome = whole(way, status, &event["response"]),
            Some("response.failed") => outcome.error = event["response"]["error"].clone(),
            Some(_) => {}
        }
    }
    outcome
}

fn whole(way: Way, status: u16, answer: &Value) -> Outcome {
    let text = if way.is_chat() {
        answer["choices"][0]["message"]["content"].clone()
    } else {
        let items = answer["output"].as_array().into_iter().flatten();
        let mut messages = items.filter(|item| item["type"] == "message");
        messages
            .next_back()
            .map(|message| message["content"][0]["text"].clone())
            .unwrap_or_default()
    };
    Outcome {
        status,
        text: text.as_str().unwrap_or_default().to_owned(),
        error: answer["error"].clone(),
    }
}

/// The text of a message, whichever form its content has.
fn text(message: &Value) -> String {
    let content = &message["content"];
    match content.as_str() {
        Some(text) => text.to_owned(),
        None => content[0]["text"].as_str().unwrap().to_owned(),
    }
}
