//! A client of the stateless revision, 2026-07-28: each request says all that is needed.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::http::{Connection, Request, Response};
use super::sse::Events;
use super::streamable::Reply;

pub(crate) const REVISION: &str = "2026-07-28";

/// What a client says with every request. Each request has a connection of its own.
#[derive(Debug, Clone)]
pub(crate) struct Stateless {
    pub(crate) addr: SocketAddr,
    pub(crate) capabilities: Value,
    /// `io.modelcontextprotocol/logLevel`.
    pub(crate) level: Option<&'static str>,
    /// Sent with every request beside the revision's own.
    pub(crate) headers: Vec<(String, String)>,
    next_id: u64,
}

impl Stateless {
    pub(crate) fn new(addr: SocketAddr, capabilities: &Value) -> Self {
        Self {
            addr,
            capabilities: capabilities.clone(),
            level: None,
            headers: Vec::new(),
            next_id: 0,
        }
    }

    /// The members of `_meta` that a request must have, and those that the client wants.
    pub(crate) fn meta(&self) -> Value {
        let mut meta = json!({
            "io.modelcontextprotocol/protocolVersion": REVISION,
            "io.modelcontextprotocol/clientInfo": {"name": "stateless", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": self.capabilities,
        });
        if let Some(level) = self.level {
            meta["io.modelcontextprotocol/logLevel"] = json!(level);
        }
        meta
    }

    /// A request with the headers that belong to this body.
    pub(crate) fn prepare(&self, body: &Value) -> Request {
        self.prepare_raw(body, body.to_string())
    }

    /// The same for a body that is spelled in its own way.
    pub(crate) fn prepare_raw(&self, body: &Value, text: impl Into<Vec<u8>>) -> Request {
        let method = body["method"].as_str().unwrap_or_default();
        let mut request = Request::post("/mcp", text)
            .header("mcp-protocol-version", REVISION)
            .header("mcp-method", method);
        let name = match method {
            "tools/call" | "prompts/get" => body["params"]["name"].as_str(),
            "resources/read" => body["params"]["uri"].as_str(),
            _ => None,
        };
        if let Some(name) = name {
            request = request.header("mcp-name", name);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request
    }

    /// The body of a request under the next id.
    pub(crate) fn body(&mut self, method: &str, params: &Value) -> Value {
        self.next_id += 1;
        let mut params = if params.is_null() {
            json!({})
        } else {
            params.clone()
        };
        let mut meta = self.meta();
        if let Some(own) = params.get("_meta").and_then(Value::as_object) {
            meta.as_object_mut().unwrap().extend(own.clone());
        }
        params["_meta"] = meta;
        json!({"jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params})
    }

    /// Sends a request; returns its id and what came.
    pub(crate) async fn start(&mut self, method: &str, params: &Value) -> (u64, Reply) {
        let body = self.body(method, params);
        let reply = send(self.addr, &self.prepare(&body)).await;
        (self.next_id, reply)
    }

    /// Sends a request; returns its answer, and the messages that came before it.
    pub(crate) async fn request_all(
        &mut self,
        method: &str,
        params: &Value,
    ) -> (Value, Vec<Value>) {
        let (id, reply) = self.start(method, params).await;
        reply.answer(id).await
    }

    pub(crate) async fn request(&mut self, method: &str, params: &Value) -> Value {
        self.request_all(method, params).await.0
    }

    pub(crate) async fn call(&mut self, tool: &str, arguments: &Value) -> Value {
        let params = json!({"name": tool, "arguments": arguments});
        self.request("tools/call", &params).await
    }

    /// Opens a stream of changes; returns its request's id, what was acknowledged, and the stream.
    pub(crate) async fn listen(&mut self, wish: &Value) -> (u64, Value, Events) {
        let params = json!({"notifications": wish});
        let (id, reply) = self.start("subscriptions/listen", &params).await;
        let mut events = reply.stream();
        let first = events.message().await;
        assert_eq!(
            first["method"], "notifications/subscriptions/acknowledged",
            "{first}"
        );
        assert_eq!(subscription(&first), json!(id));
        (id, first["params"]["notifications"].clone(), events)
    }
}

/// The request that a notification says it belongs to.
pub(crate) fn subscription(message: &Value) -> Value {
    message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"].clone()
}

/// Sends any request, on a connection that ends with it.
pub(crate) async fn send(addr: SocketAddr, request: &Request) -> Reply {
    let mut connection = Connection::open(addr).await;
    let head = connection.request(request).await;
    if head.content_type().starts_with("text/event-stream") {
        return Reply::Stream(head, Events::new(connection));
    }
    let body = connection.rest().await;
    Reply::Whole(Response { head, body })
}
