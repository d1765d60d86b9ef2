//! A client of the Streamable HTTP transport, revisions 2025-03-26 to 2025-11-25.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::http::{Connection, Head, Request, Response, exchange};
use super::sse::{Events, initialize_params};

/// A session. Each POST has a connection of its own, so calls can run at the same time.
#[derive(Debug, Clone)]
pub(crate) struct Streamable {
    pub(crate) addr: SocketAddr,
    /// `None` as long as the server has named none.
    pub(crate) session: Option<String>,
    /// The agreed revision, sent as `MCP-Protocol-Version` from 2025-06-18 on.
    pub(crate) version: String,
    /// Sent with every request.
    pub(crate) headers: Vec<(String, String)>,
    /// The answer to `initialize`.
    pub(crate) initialized: Value,
    next_id: u64,
}

/// What a POST is answered with.
#[derive(Debug)]
pub(crate) enum Reply {
    /// JSON, or nothing at all (202), or an HTTP error.
    Whole(Response),
    /// An event stream that has begun.
    Stream(Head, Events),
}

impl Streamable {
    /// A client that has said nothing yet.
    pub(crate) fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            session: None,
            version: "2025-11-25".to_owned(),
            headers: Vec::new(),
            initialized: Value::Null,
            next_id: 0,
        }
    }

    /// An initialised session of the newest revision.
    pub(crate) async fn open(addr: SocketAddr, capabilities: &Value) -> Self {
        let mut client = Self::new(addr);
        client.initialize("2025-11-25", capabilities).await;
        client
    }

    /// Opens a session, and sends `notifications/initialized`.
    pub(crate) async fn initialize(&mut self, version: &str, capabilities: &Value) {
        let params = initialize_params(version, capabilities);
        let id = self.id();
        let message = json!({"jsonrpc": "2.0", "id": id, "method": "initialize", "params": params});
        let reply = self.post(message.to_string()).await;
        let session = reply.head().header("mcp-session-id").map(str::to_owned);
        self.session = session;
        self.initialized = reply.answer(id).await.0;
        let result = &self.initialized["result"];
        assert!(result.is_object(), "{}", self.initialized);
        self.version = result["protocolVersion"].as_str().unwrap().to_owned();
        self.notify("notifications/initialized", &json!({})).await;
    }

    /// A request to `/mcp` with everything that belongs to the session.
    pub(crate) fn prepare(&self, request: Request) -> Request {
        let mut request = request;
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session);
            if self.version.as_str() >= "2025-06-18" {
                request = request.header("mcp-protocol-version", &self.version);
            }
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request
    }

    /// Posts a body, whatever it is.
    pub(crate) async fn post(&self, body: impl Into<Vec<u8>>) -> Reply {
        let request = self.prepare(Request::post("/mcp", body));
        let mut connection = Connection::open(self.addr).await;
        let head = connection.request(&request).await;
        if head.content_type().starts_with("text/event-stream") {
            return Reply::Stream(head, Events::new(connection));
        }
        let body = connection.rest().await;
        Reply::Whole(Response { head, body })
    }

    /// Posts a request under the next id; returns that id and what came.
    pub(crate) async fn start(&mut self, method: &str, params: &Value) -> (u64, Reply) {
        let id = self.id();
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        (id, self.post(message.to_string()).await)
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

    /// Sends a request and returns its answer.
    pub(crate) async fn request(&mut self, method: &str, params: &Value) -> Value {
        self.request_all(method, params).await.0
    }

    /// Calls a tool and returns the answer.
    pub(crate) async fn call(&mut self, tool: &str, arguments: &Value) -> Value {
        let params = json!({"name": tool, "arguments": arguments});
        self.request("tools/call", &params).await
    }

    /// Posts a notification or an answer, which must be accepted.
    pub(crate) async fn send(&self, message: &Value) {
        let Reply::Whole(response) = self.post(message.to_string()).await else {
            panic!("a stream in answer to {message}");
        };
        assert_eq!(response.status(), 202, "{}", response.text());
    }

    pub(crate) async fn notify(&self, method: &str, params: &Value) {
        self.send(&json!({"jsonrpc": "2.0", "method": method, "params": params}))
            .await;
    }

    /// Opens the session's own stream, or resumes a stream after an event.
    pub(crate) async fn get(&self, last_event_id: Option<&str>) -> (Head, Events) {
        let mut request = self
            .prepare(Request::get("/mcp"))
            .header("accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let mut connection = Connection::open(self.addr).await;
        let head = connection.request(&request).await;
        (head, Events::new(connection))
    }

    /// Ends the session.
    pub(crate) async fn delete(&self) -> Response {
        exchange(self.addr, self.prepare(Request::new("DELETE", "/mcp"))).await
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }
}

impl Reply {
    pub(crate) fn head(&self) -> &Head {
        match self {
            Self::Whole(response) => &response.head,
            Self::Stream(head, _) => head,
        }
    }

    pub(crate) fn status(&self) -> u16 {
        self.head().status
    }

    /// The whole answer; panics if it is a stream.
    pub(crate) fn whole(self) -> Response {
        match self {
            Self::Whole(response) => response,
            Self::Stream(head, _) => panic!("a stream where none was expected: {head:?}"),
        }
    }

    /// The stream; panics if it is none.
    pub(crate) fn stream(self) -> Events {
        match self {
            Self::Stream(_, events) => events,
            Self::Whole(response) => panic!("no stream: {:?} {}", response.head, response.text()),
        }
    }

    /// The JSON-RPC answer with this id, and the messages before it. A stream must end with the answer.
    pub(crate) async fn answer(self, id: impl Into<Value>) -> (Value, Vec<Value>) {
        let id = id.into();
        let mut before = Vec::new();
        match self {
            Self::Whole(response) => {
                let answer = response.json();
                assert_eq!(answer["id"], id, "{answer}");
                (answer, before)
            }
            Self::Stream(_, mut events) => loop {
                let message = events.message().await;
                if message["id"] == id && message.get("method").is_none() {
                    events.ended().await;
                    return (message, before);
                }
                before.push(message);
            },
        }
    }
}
