//! `POST /v1/responses`: a scripted model that speaks chat and the fake server's tools, as clients of the Responses API see them.

use serde_json::{Value, json};

use crate::harness::http::{Connection, Request, Response, exchange};
use crate::harness::model::{Gate, Model, Odd, Turn};
use crate::harness::sse::Events;
use crate::harness::{Fake, fake};

mod approvals;
mod failures;
mod memory;
mod streams;
mod whole;

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
        let fake = model.gateway(fake::config("", &[]), "", settings).await;
        Self { fake, model }
    }

    async fn post(&self, body: &Value) -> Response {
        let request = Request::post("/v1/responses", body.to_string());
        exchange(self.fake.gateway(), request).await
    }

    /// The response to `body`, which has to be one.
    async fn response(&self, body: &Value) -> Value {
        let response = self.post(body).await;
        assert_eq!(response.status(), 200, "{}", response.text());
        response.json()
    }

    /// The error that answers `body`, with its status.
    async fn error(&self, body: &Value) -> (u16, Value) {
        let response = self.post(body).await;
        (response.status(), response.json()["error"].clone())
    }

    /// The stream that answers `body`.
    async fn stream(&self, body: &Value) -> Events {
        let mut body = body.clone();
        body["stream"] = json!(true);
        let mut connection = Connection::open(self.fake.gateway()).await;
        let request = Request::post("/v1/responses", body.to_string());
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

/// A request with this input.
fn asks(input: impl Into<Value>) -> Value {
    json!({ "model": "m", "input": input.into() })
}

/// A request without the catalogue's tools.
fn asks_alone(input: impl Into<Value>) -> Value {
    with_tools(input, json!([none()]))
}

fn with_tools(input: impl Into<Value>, tools: Value) -> Value {
    let mut body = asks(input);
    body["tools"] = tools;
    body
}

/// The tool `echo` of the bridge.
fn echo(require_approval: &str) -> Value {
    json!({
        "type": "mcp", "server_label": "tools", "server_url": "litellm_proxy/mcp/fake",
        "allowed_tools": ["echo"], "require_approval": require_approval,
    })
}

/// No tool of the bridge.
fn none() -> Value {
    json!({ "type": "mcp", "server_label": "tools", "server_url": "litellm_proxy/mcp/fake", "allowed_tools": [] })
}

fn function(name: &str) -> Value {
    json!({ "type": "function", "name": name, "parameters": { "type": "object", "properties": {} }, "strict": false })
}

/// The output's items without lists of tools.
fn items(response: &Value) -> Vec<Value> {
    let items = response["output"].as_array().unwrap().iter();
    items
        .filter(|item| item["type"] != "mcp_list_tools")
        .cloned()
        .collect()
}

/// The `type` of each.
fn types(items: &[Value]) -> Vec<&str> {
    items
        .iter()
        .map(|item| item["type"].as_str().unwrap())
        .collect()
}

/// All events of a stream, whose names have to be those in their data.
async fn all(mut events: Events) -> Vec<Value> {
    let mut all = Vec::new();
    while let Some(event) = events.try_next().await {
        let data = event.json();
        assert_eq!(data["type"], json!(event.event));
        assert_eq!(data["sequence_number"], all.len());
        all.push(data);
    }
    all
}
