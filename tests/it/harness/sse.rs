//! Server-sent events, and a client of the HTTP+SSE transport (MCP 2024-11-05).

use std::collections::VecDeque;
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::http::{Connection, Head, Request, Response};
use super::within;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) event: Option<String>,
    pub(crate) data: String,
    pub(crate) retry: Option<String>,
    /// The event's lines as they came.
    pub(crate) raw: String,
}

/// What comes between two blank lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    Event(Event),
    Comment(String),
}

/// The reading end of an event stream. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Events {
    connection: Connection,
    pending: Vec<u8>,
    /// No frame ends before this place in `pending`, so that large frames are not searched again and again.
    searched: usize,
}

impl Events {
    /// Reads the body of the answer that has just begun on `connection`.
    pub(crate) fn new(connection: Connection) -> Self {
        Self {
            connection,
            pending: Vec::new(),
            searched: 0,
        }
    }

    /// The next frame; `None` at the stream's end.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        loop {
            let unsearched = &self.pending[self.searched..];
            if let Some(at) = unsearched.windows(2).position(|two| two == b"\n\n") {
                let end = self.searched + at;
                self.searched = 0;
                let frame: Vec<u8> = self.pending.drain(..end + 2).collect();
                let frame = std::str::from_utf8(&frame).unwrap();
                return Some(Frame::parse(frame.trim_end_matches('\n')));
            }
            self.searched = self.pending.len().saturating_sub(1);
            let Some(piece) = self.connection.piece().await else {
                assert!(self.pending.is_empty(), "the stream ends within an event");
                return None;
            };
            self.pending.extend(piece);
        }
    }

    /// The next event, comments left out; `None` at the stream's end.
    pub(crate) async fn try_next(&mut self) -> Option<Event> {
        loop {
            if let Frame::Event(event) = self.frame().await? {
                return Some(event);
            }
        }
    }

    /// The next event; panics at the stream's end.
    pub(crate) async fn next(&mut self) -> Event {
        // comments come for ever, so they must not start the wait anew
        let event = within("an event", self.try_next()).await;
        event.expect("the stream ended where an event was expected")
    }

    /// The next event's data as JSON; empty events (a stream's priming) are left out.
    pub(crate) async fn message(&mut self) -> Value {
        loop {
            let event = self.next().await;
            if !event.data.is_empty() {
                return event.json();
            }
        }
    }

    /// Waits for the stream's end; panics if another event comes.
    pub(crate) async fn ended(&mut self) {
        assert_eq!(self.try_next().await, None);
    }
}

impl Event {
    pub(crate) fn json(&self) -> Value {
        match serde_json::from_str(&self.data) {
            Ok(json) => json,
            Err(error) => panic!("{error} in {self:?}"),
        }
    }
}

impl Frame {
    fn parse(frame: &str) -> Self {
        let mut event = Event {
            raw: frame.to_owned(),
            ..Event::default()
        };
        let mut data = Vec::new();
        let mut comments = Vec::new();
        for line in frame.split('\n') {
            let line = line.strip_suffix('\r').unwrap_or(line);
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" => comments.push(value),
                "id" => event.id = Some(value.to_owned()),
                "event" => event.event = Some(value.to_owned()),
                "retry" => event.retry = Some(value.to_owned()),
                "data" => data.push(value),
                _ => panic!("no field of an event: {line:?}"),
            }
        }
        if comments.len() == frame.split('\n').count() {
            return Self::Comment(comments.join("\n"));
        }
        event.data = data.join("\n");
        Self::Event(event)
    }
}

/// A client of the HTTP+SSE transport: one stream, and a connection for posts.
#[derive(Debug)]
pub(crate) struct Sse {
    pub(crate) head: Head,
    /// The path that the `endpoint` event named.
    pub(crate) endpoint: String,
    events: Events,
    posts: Connection,
    headers: Vec<(String, String)>,
    next_id: u64,
    /// Messages that came while an answer was waited for.
    seen: VecDeque<Value>,
}

impl Sse {
    /// Opens the stream at `/sse` and reads the endpoint.
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self::connect_with(addr, "/sse", &[]).await
    }

    /// Opens the stream at `path`; the headers go with this and every later request.
    pub(crate) async fn connect_with(
        addr: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Self {
        let mut request = Request::get(path).header("accept", "text/event-stream");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let mut connection = Connection::open(addr).await;
        let head = connection.request(&request).await;
        assert_eq!(head.status, 200, "{head:?}");
        assert!(head.content_type().starts_with("text/event-stream"));
        let mut events = Events::new(connection);
        let first = events.next().await;
        assert_eq!(first.event.as_deref(), Some("endpoint"), "{first:?}");
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            head,
            endpoint: first.data,
            events,
            posts: Connection::open(addr).await,
            headers: headers.iter().map(owned).collect(),
            next_id: 0,
            seen: VecDeque::new(),
        }
    }

    /// Posts a body, whatever it is.
    pub(crate) async fn post(&mut self, body: impl Into<Vec<u8>>) -> Response {
        let mut request = Request::post(&self.endpoint, body);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        self.posts.exchange(&request).await
    }

    /// Posts a message that must be accepted.
    pub(crate) async fn send(&mut self, message: &Value) {
        let response = self.post(message.to_string()).await;
        assert_eq!(response.status(), 202, "{}", response.text());
    }

    /// The next message: one that was passed over while an answer was waited for, or the next one to come.
    pub(crate) async fn next(&mut self) -> Value {
        match self.seen.pop_front() {
            Some(message) => message,
            None => self.events.message().await,
        }
    }

    /// The messages passed over so far.
    pub(crate) fn seen(&mut self) -> Vec<Value> {
        self.seen.drain(..).collect()
    }

    /// The stream itself, for its bytes, comments and end.
    pub(crate) fn events(&mut self) -> &mut Events {
        &mut self.events
    }

    /// Sends a request under the next id, and returns that id.
    pub(crate) async fn start(&mut self, method: &str, params: &Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
            .await;
        id
    }

    /// Waits for the answer with this id; other messages are kept for [`Self::next`].
    pub(crate) async fn answer(&mut self, id: impl Into<Value>) -> Value {
        let id = id.into();
        let is_answer = |message: &Value| message["id"] == id && message.get("method").is_none();
        if let Some(index) = self.seen.iter().position(is_answer) {
            return self.seen.remove(index).unwrap();
        }
        loop {
            let message = self.events.message().await;
            if is_answer(&message) {
                return message;
            }
            self.seen.push_back(message);
        }
    }

    /// Sends a request and returns its answer.
    pub(crate) async fn request(&mut self, method: &str, params: &Value) -> Value {
        let id = self.start(method, params).await;
        self.answer(id).await
    }

    pub(crate) async fn notify(&mut self, method: &str, params: &Value) {
        self.send(&json!({"jsonrpc": "2.0", "method": method, "params": params}))
            .await;
    }

    /// Initialises the session with these capabilities; returns the answer.
    pub(crate) async fn initialize(&mut self, capabilities: &Value) -> Value {
        let params = initialize_params("2024-11-05", capabilities);
        let answer = self.request("initialize", &params).await;
        assert!(answer["result"].is_object(), "{answer}");
        self.notify("notifications/initialized", &json!({})).await;
        answer
    }

    /// Calls a tool, with a progress token if one is given in `_meta`, and returns the answer.
    pub(crate) async fn call(&mut self, tool: &str, arguments: &Value) -> Value {
        let params = json!({"name": tool, "arguments": arguments});
        self.request("tools/call", &params).await
    }

    /// Starts a call with a progress token; returns its id.
    pub(crate) async fn start_call(&mut self, tool: &str, arguments: &Value, token: &Value) -> u64 {
        let meta = json!({"progressToken": token});
        let params = json!({"name": tool, "arguments": arguments, "_meta": meta});
        self.start("tools/call", &params).await
    }
}

/// The params of `initialize`.
pub(crate) fn initialize_params(version: &str, capabilities: &Value) -> Value {
    json!({
        "protocolVersion": version,
        "capabilities": capabilities,
        "clientInfo": {"name": "wire-test", "version": "1"},
    })
}
