//! `POST /v1/chat/completions`: the loop over a scripted model and the fake server's tools, as clients and models see it.

use serde_json::{Value, json};

use crate::harness::http::{Connection, Request, Response, exchange};
use crate::harness::model::{Gate, Model, Odd, Turn};
use crate::harness::sse::{Events, Frame};
use crate::harness::{Fake, fake};

mod calls;
mod continuation;
mod failures;
mod pictures;
mod selection;
mod streams;

/// A gateway before a scripted model and one bridge, `fake`, whose tools are called `fake-echo` and so on.
struct Gateway {
    fake: Fake,
    model: Model,
}

impl Gateway {
    async fn start(turns: impl IntoIterator<Item = Turn>) -> Self {
        Self::before(Model::start(turns).await, "").await
    }

    /// The same with further lines below `gateway:`.
    async fn before(model: Model, settings: &str) -> Self {
        let config = fake::config("aliases: [f]", &["--tool", "look"]);
        let fake = model
            .gateway(config, ", api_key: upstream-key", settings)
            .await;
        Self { fake, model }
    }

    async fn post(&self, body: &Value) -> Response {
        let request = Request::post("/v1/chat/completions", body.to_string());
        exchange(self.fake.gateway(), request).await
    }

    /// The answer to `body`, which has to be one.
    async fn answer(&self, body: &Value) -> Value {
        let response = self.post(body).await;
        assert_eq!(response.status(), 200, "{}", response.text());
        response.json()
    }

    /// The stream that answers `body`.
    async fn stream(&self, body: &Value) -> Events {
        let mut body = body.clone();
        body["stream"] = json!(true);
        let mut connection = Connection::open(self.fake.gateway()).await;
        let request = Request::post("/v1/chat/completions", body.to_string());
        let head = connection.request(&request).await;
        assert_eq!(
            (head.status, head.content_type()),
            (200, "text/event-stream")
        );
        Events::new(connection)
    }

    /// The body of the model's nth request, counted from 0.
    fn asked(&self, nth: usize) -> Value {
        self.model.requests()[nth].body.clone()
    }

    /// The messages of the model's last request.
    fn messages(&self) -> Vec<Value> {
        let requests = self.model.requests();
        let messages = &requests.last().unwrap().body["messages"];
        messages.as_array().unwrap().clone()
    }
}

/// A request with one message.
fn says(text: &str) -> Value {
    json!({ "model": "m", "messages": [{ "role": "user", "content": text }] })
}

/// The same with tools of the client's own.
fn with_tools(text: &str, names: &[&str]) -> Value {
    let mut body = says(text);
    body["tools"] = names.iter().map(|name| function(name)).collect();
    body
}

fn function(name: &str) -> Value {
    json!({ "type": "function", "function": { "name": name, "parameters": { "type": "object", "properties": {} } } })
}

/// Names of the tools in a request to the model.
fn tools(body: &Value) -> Vec<&str> {
    let tools = body["tools"].as_array().into_iter().flatten();
    tools
        .map(|tool| tool["function"]["name"].as_str().unwrap())
        .collect()
}

/// All chunks of a stream; `[DONE]` as a text.
async fn chunks(mut events: Events) -> Vec<Value> {
    let mut chunks = Vec::new();
    while let Some(event) = events.try_next().await {
        chunks.push(match event.data.as_str() {
            "[DONE]" => json!("[DONE]"),
            _ => event.json(),
        });
    }
    chunks
}

/// A call of `emit` that answers with this result.
fn emits(result: &Value) -> Value {
    let line = format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{result}}}"#);
    json!({ "lines": [line], "answer": false })
}
