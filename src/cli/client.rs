//! A small MCP client for `tools` and `call`: one session, one request at a time, over Streamable HTTP or HTTP+SSE.
//!
//! Messages are kept as bytes, so what a server says can be printed without loss. While an answer is awaited, the server's pings
//! are answered, its other requests are refused with −32601, and its notifications go to whoever asked. It implements the
//! revisions up to 2025-11-25 (Lifecycle, Transports, Pagination, Progress).

mod error;
mod events;
mod line;

use std::time::Duration;

use bytes::Bytes;
use reqwest::Url;
use reqwest::header::HeaderValue;
use serde_json::json;
use tokio::time::timeout;

pub(super) use error::ClientError;
use error::shown;
use line::{Line, Posted, Stream, refusal};

use crate::jsonrpc::{Kind, Message, array_elements, code, member, string_value};
use crate::mcp::Version;

/// A list that goes on for longer turns in a circle.
const MAX_PAGES: usize = 1000;

/// Which of the two transports a server is spoken to with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// HTTP+SSE, revision 2024-11-05.
    Sse,
    /// Streamable HTTP, revisions from 2025-03-26.
    Streamable,
}

/// One session with a server.
#[derive(Debug)]
pub(super) struct Client {
    /// The URL that was asked for, for messages.
    name: String,
    line: Line,
    /// HTTP+SSE only: where all that the server says arrives.
    stream: Option<Stream>,
    /// What the server said of itself.
    peer: String,
    last_id: u64,
    /// How long an answer may take.
    limit: Duration,
}

impl Client {
    /// Opens a session. Every answer, the first one included, may take `limit`.
    pub(super) async fn connect(
        url: Url,
        transport: Transport,
        key: Option<&str>,
        limit: Duration,
    ) -> Result<Self, ClientError> {
        let name = shown(&url);
        let line = Line::new(url, key)?;
        let mut client = Self {
            name,
            line,
            stream: None,
            peer: String::new(),
            last_id: 0,
            limit,
        };
        match timeout(limit, client.shake_hands(transport)).await {
            Ok(outcome) => outcome.map(|()| client),
            Err(_) => Err(client.late("initialize")),
        }
    }

    async fn shake_hands(&mut self, transport: Transport) -> Result<(), ClientError> {
        if transport == Transport::Sse {
            let mut stream = self.line.open().await?;
            self.line.url = endpoint(&self.line, &mut stream).await?;
            self.stream = Some(stream);
        }
        let hello = json!({
            "protocolVersion": Version::LATEST.name(),
            "capabilities": {},
            "clientInfo": { "name": "mcp-bridged", "version": env!("CARGO_PKG_VERSION") },
        });
        let id = self.next_id();
        let asked = request(id, "initialize", &hello.to_string());
        let result = self.exchange(id, "initialize", asked, &mut |_| {}).await?;
        let revision = member(&result, "protocolVersion")
            .and_then(|span| string_value(span.of(&result)))
            .and_then(|revision| HeaderValue::try_from(revision.as_ref()).ok())
            .ok_or_else(|| {
                self.line
                    .not_mcp_because("its answer to `initialize` names no protocol version")
            })?;
        self.peer = introduction(&result);
        if transport == Transport::Streamable {
            self.line.revision = Some(revision);
        }
        let ready = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        self.line.post(ready.to_owned()).await.map(drop)
    }

    /// The server's name, version and revision, for people.
    pub(super) fn peer(&self) -> &str {
        &self.peer
    }

    /// Every tool, each as the server's own text.
    pub(super) async fn tools(&mut self) -> Result<Vec<Bytes>, ClientError> {
        let mut tools = Vec::new();
        let mut params = "{}".to_owned();
        for _ in 0..MAX_PAGES {
            let page = self.request("tools/list", &params, &mut |_| {}).await?;
            let list = member(&page, "tools").map(|span| span.of(&page));
            let elements = list.and_then(|list| array_elements(list).ok().zip(Some(list)));
            let (elements, list) = elements.ok_or_else(|| {
                self.line
                    .not_mcp_because("its answer to `tools/list` has no list of tools")
            })?;
            tools.extend(elements.iter().map(|span| page.slice_ref(span.of(list))));
            match member(&page, "nextCursor").map(|span| span.of(&page)) {
                None | Some(b"null") => return Ok(tools),
                Some(cursor) => {
                    let cursor = String::from_utf8_lossy(cursor);
                    params = format!(r#"{{"cursor":{cursor}}}"#);
                }
            }
        }
        Err(self.line.not_mcp_because("its list of tools has no end"))
    }

    /// Calls a tool with `arguments`, the JSON text of an object; `progress` sees each notification of its progress. The
    /// result is the server's own text.
    pub(super) async fn call(
        &mut self,
        tool: &str,
        arguments: &str,
        progress: &mut dyn FnMut(&[u8]),
    ) -> Result<Bytes, ClientError> {
        let (name, token) = (json!(tool), self.last_id + 1);
        let params = format!(
            r#"{{"name":{name},"arguments":{arguments},"_meta":{{"progressToken":{token}}}}}"#
        );
        self.request("tools/call", &params, progress).await
    }

    /// Tells the server that the answer to the last request is no longer wanted.
    pub(super) async fn cancel(&mut self) {
        let params = json!({ "requestId": self.last_id, "reason": "the user gave up" });
        let message =
            format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}"#);
        // There is nothing left to be done with a failure.
        let _told = timeout(Duration::from_secs(2), self.line.post(message)).await;
    }

    /// Ends the session.
    pub(super) async fn close(self) {
        if self.line.session.is_some() {
            self.line.delete().await;
        }
    }

    async fn request(
        &mut self,
        method: &str,
        params: &str,
        progress: &mut dyn FnMut(&[u8]),
    ) -> Result<Bytes, ClientError> {
        let id = self.next_id();
        let body = request(id, method, params);
        let limit = self.limit;
        let exchange = self.exchange(id, method, body, progress);
        match timeout(limit, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.cancel().await;
                Err(self.late(method))
            }
        }
    }

    /// Sends a request and waits for its answer.
    async fn exchange(
        &mut self,
        id: u64,
        method: &str,
        body: String,
        progress: &mut dyn FnMut(&[u8]),
    ) -> Result<Bytes, ClientError> {
        let posted = self.line.post(body).await?;
        let mut own = match posted {
            Posted::Whole(text) => {
                return match self.take(text, id, progress).await? {
                    Some(answer) => answer,
                    None => Err(self.line.not_mcp_because("it answers something else")),
                };
            }
            Posted::Stream(stream) => Some(stream),
            Posted::Accepted => None,
        };
        // Taken out, because refusing a server's request needs the line meanwhile.
        let mut shared = self.stream.take();
        let outcome = loop {
            let Some(stream) = own.as_mut().or(shared.as_mut()) else {
                break Err(self
                    .line
                    .not_mcp_because("it takes a request and answers nothing"));
            };
            let event = match stream.next().await {
                Ok(Some(event)) => event,
                Ok(None) => {
                    // Only the stream of an answer has events to resume from.
                    own = match &own {
                        Some(broken) => self.line.resume(broken).await,
                        None => None,
                    };
                    if own.is_some() {
                        continue;
                    }
                    break Err(ClientError::Lost {
                        url: self.name.clone(),
                        method: method.to_owned(),
                    });
                }
                Err(error) => break Err(error),
            };
            if !matches!(event.name.as_str(), "" | "message") {
                continue;
            }
            match self.take(event.data, id, progress).await {
                Ok(None) => {}
                Ok(Some(answer)) => break answer,
                Err(error) => break Err(error),
            }
        };
        self.stream = shared;
        outcome
    }

    /// Does what one message asks for; gives back the answer to request `id` if it is that.
    async fn take(
        &mut self,
        text: Bytes,
        id: u64,
        progress: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<Result<Bytes, ClientError>>, ClientError> {
        let message = Message::parse_lossy(text)
            .map_err(|error| self.line.not_mcp_because(&format!("it sends {error}")))?;
        let message_id = message.id().unwrap_or_default();
        match message.kind() {
            Kind::Answer if message_id == id.to_string().as_bytes() => {
                let result = message.result();
                Ok(Some(result.ok_or_else(|| {
                    refusal(message.text()).expect("an answer without a result has an error")
                })))
            }
            Kind::Answer => Ok(None),
            Kind::Notification => {
                if message.method() == "notifications/progress"
                    && let Some(params) = message.part(message.envelope().params)
                {
                    progress(params);
                }
                Ok(None)
            }
            Kind::Request => {
                let id = String::from_utf8_lossy(message_id);
                let outcome = match message.method().as_ref() {
                    "ping" => r#""result":{}"#.to_owned(),
                    method => {
                        let reason = json!(format!("this client has no {method}"));
                        let code = code::METHOD_NOT_FOUND;
                        format!(r#""error":{{"code":{code},"message":{reason}}}"#)
                    }
                };
                let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},{outcome}}}"#);
                self.line.post(answer).await.map(|_| None)
            }
        }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn late(&self, method: &str) -> ClientError {
        ClientError::Late {
            url: self.name.clone(),
            method: method.to_owned(),
            limit: self.limit,
            cure: match method {
                "tools/call" => "a slow tool needs a longer --timeout",
                _ => "its log or /health may say why",
            },
        }
    }
}

/// `postgres-mcp 0.3.0, revision 2025-06-18` out of a result of `initialize`.
fn introduction(result: &[u8]) -> String {
    let text = |object: &[u8], key: &str| {
        let text = member(object, key).and_then(|span| string_value(span.of(object)));
        text.map(|text| text.into_owned())
    };
    let server = member(result, "serverInfo").map_or(&b"{}"[..], |span| span.of(result));
    let name = text(server, "name").unwrap_or_else(|| "a server without a name".to_owned());
    let version = text(server, "version").map_or(String::new(), |version| format!(" {version}"));
    let revision = text(result, "protocolVersion").unwrap_or_default();
    format!("{name}{version}, revision {revision}")
}

fn request(id: u64, method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
}

/// What a plain GET of `url` is answered with.
pub(super) async fn status_of(
    url: Url,
    limit: Duration,
) -> Result<reqwest::StatusCode, ClientError> {
    let line = Line::new(url, None)?;
    match timeout(limit, line.status()).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ClientError::Late {
            url: shown(&line.url),
            method: "GET".to_owned(),
            limit,
            cure: "its log may say why",
        }),
    }
}

/// Where the stream's first event says that messages are to be posted; the same origin only, because the key goes along.
async fn endpoint(line: &Line, stream: &mut Stream) -> Result<Url, ClientError> {
    while let Some(event) = stream.next().await? {
        if event.name == "endpoint" {
            let said = String::from_utf8_lossy(&event.data);
            return match line.url.join(said.trim()) {
                Ok(url) if url.origin() == line.url.origin() => Ok(url),
                _ => Err(line.not_mcp_because("it wants messages sent to another origin")),
            };
        }
    }
    Err(line.not_mcp_because("its stream ended without an `endpoint` event"))
}

#[cfg(test)]
mod tests;
