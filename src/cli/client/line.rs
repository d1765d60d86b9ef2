//! The way to one server: POSTs and event streams over HTTP, and what their statuses mean.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{RequestBuilder, Response, StatusCode, Url};

use super::error::{ClientError, shown};
use super::events::{Event, Events};
use crate::jsonrpc::{Message, member, string_value};
use crate::transport::outward;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How often it is tried to resume a broken stream, and the rest before each try unless the server names another.
const RESUMPTIONS: (u32, Duration) = (5, Duration::from_secs(1));
/// Bytes of an answer, of an event, or of the reason that comes with an error's status.
const LARGEST: usize = 1 << 30;

/// HTTP to one server. The session and the revision are added once they are agreed on.
#[derive(Debug)]
pub(super) struct Line {
    http: reqwest::Client,
    /// Where messages are posted to.
    pub(super) url: Url,
    pub(super) session: Option<HeaderValue>,
    pub(super) revision: Option<HeaderValue>,
    keyed: bool,
}

/// An event stream that is being read.
#[derive(Debug)]
pub(super) struct Stream {
    response: Box<Response>,
    events: Events,
}

/// What a POST was answered with.
#[derive(Debug)]
pub(super) enum Posted {
    /// Taken; what there is to say comes elsewhere.
    Accepted,
    /// One message.
    Whole(Bytes),
    /// Messages as they come.
    Stream(Stream),
}

impl Line {
    pub(super) fn new(url: Url, key: Option<&str>) -> Result<Self, ClientError> {
        outward::install_tls();
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            let mut value = HeaderValue::try_from(format!("Bearer {key}"))
                .map_err(|_| ClientError::Setup("a key is printable ASCII".to_owned()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("mcp-bridged/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .connect_timeout(CONNECT)
            // A redirected POST may become a GET, and the key is not for others.
            .redirect(reqwest::redirect::Policy::none());
        if url.scheme() == "http" {
            // Spares looking for certificates, which a small container may not have.
            builder = builder.tls_certs_only([]);
        }
        if outward::is_loopback(&url) {
            builder = builder.no_proxy();
        }
        let http = builder
            .build()
            .map_err(|error| ClientError::Setup(error.to_string()))?;
        Ok(Self {
            http,
            url,
            session: None,
            revision: None,
            keyed: key.is_some(),
        })
    }

    /// The status of a GET.
    pub(super) async fn status(&self) -> Result<StatusCode, ClientError> {
        let response = self.send(self.http.get(self.url.clone())).await?;
        Ok(response.status())
    }

    /// Opens the stream at the line's URL.
    pub(super) async fn open(&self) -> Result<Stream, ClientError> {
        let request = self.http.get(self.url.clone());
        let response = self
            .send(request.header(ACCEPT, "text/event-stream"))
            .await?;
        let status = response.status();
        if status.is_success() && is_stream(&response) {
            return Ok(Stream::of(response));
        }
        if status.is_success() {
            return Err(self.not_mcp(&response));
        }
        Err(self.failure(response).await)
    }

    /// Goes on with a stream of an answer that ended too early, after its last event (MCP 2025-11-25, Transports §
    /// Resumability and Redelivery); `None` when that can't be had. A server may end it any number of times: how long that goes
    /// on is for the caller to limit.
    pub(super) async fn resume(&self, broken: &Stream) -> Option<Stream> {
        let last = HeaderValue::from_bytes(broken.events.last_id()?).ok()?;
        let (tries, rest) = RESUMPTIONS;
        let rest = broken.events.retry().unwrap_or(rest);
        for _ in 0..tries {
            tokio::time::sleep(rest).await;
            let request = self
                .headed(self.http.get(self.url.clone()))
                .header(ACCEPT, "text/event-stream")
                .header("last-event-id", &last);
            let Ok(response) = self.send(request).await else {
                continue;
            };
            if !response.status().is_success() || !is_stream(&response) {
                return None;
            }
            return Some(Stream {
                response: Box::new(response),
                events: broken.events.resumed(),
            });
        }
        None
    }

    /// Sends one message. The session that the first answer names is kept.
    pub(super) async fn post(&mut self, body: String) -> Result<Posted, ClientError> {
        let request = self
            .headed(self.http.post(self.url.clone()))
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .body(body);
        let response = self.send(request).await?;
        let status = response.status();
        if !status.is_success() {
            return Err(self.failure(response).await);
        }
        if self.session.is_none() {
            self.session = response.headers().get("mcp-session-id").cloned();
        }
        if matches!(status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
            return Ok(Posted::Accepted);
        }
        if is_stream(&response) {
            return Ok(Posted::Stream(Stream::of(response)));
        }
        if !content_type(&response).starts_with("application/json") {
            return Err(self.not_mcp(&response));
        }
        let body = self.body(response).await?;
        Ok(Posted::Whole(body))
    }

    /// Ends the session; whether the server took note is its own matter.
    pub(super) async fn delete(&self) {
        let request = self.headed(self.http.delete(self.url.clone()));
        let _ended = request.timeout(Duration::from_secs(2)).send().await;
    }

    pub(super) fn not_mcp_because(&self, what: &str) -> ClientError {
        ClientError::NotMcp {
            url: shown(&self.url),
            what: what.to_owned(),
        }
    }

    fn headed(&self, mut request: RequestBuilder) -> RequestBuilder {
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session);
        }
        if let Some(revision) = &self.revision {
            request = request.header("mcp-protocol-version", revision);
        }
        request
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let sent = request.send().await;
        sent.map_err(|error| ClientError::unreachable(&self.url, &error))
    }

    async fn body(&self, mut response: Response) -> Result<Bytes, ClientError> {
        let mut body = BytesMut::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= LARGEST => {
                    body.extend_from_slice(&chunk);
                }
                Ok(Some(_)) => return Err(ClientError::TooLarge { limit: LARGEST }),
                Ok(None) => return Ok(body.freeze()),
                Err(error) => return Err(ClientError::unreachable(&self.url, &error)),
            }
        }
    }

    /// What a status that is no success means; servers put a JSON-RPC error beside it.
    async fn failure(&self, response: Response) -> ClientError {
        let status = response.status();
        let by_status = ClientError::of_status(&self.url, status, self.keyed);
        let no_place = matches!(
            status,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED
        );
        if status == StatusCode::UNAUTHORIZED || (no_place && self.revision.is_none()) {
            return by_status;
        }
        let body = self.body(response).await.unwrap_or_default();
        refusal(&body).unwrap_or(by_status)
    }

    fn not_mcp(&self, response: &Response) -> ClientError {
        let what = match content_type(response) {
            "" => "it answers without a content type".to_owned(),
            kind => format!("it answers with {kind}"),
        };
        self.not_mcp_because(&what)
    }
}

/// The error in the JSON-RPC answer `body`, if it is one.
pub(super) fn refusal(body: &[u8]) -> Option<ClientError> {
    let message = Message::parse_lossy(Bytes::copy_from_slice(body)).ok()?;
    let error = message.part(message.envelope().error)?;
    let text = |key| member(error, key).map(|span| span.of(error));
    let code = text("code").and_then(|code| std::str::from_utf8(code).ok()?.parse().ok());
    let message = text("message").and_then(string_value);
    Some(ClientError::Refused {
        code: code.unwrap_or_default(),
        message: message.map_or_else(|| "the server refused".to_owned(), String::from),
        down: text("data").and_then(down),
    })
}

/// The bridge whose server is down, by what a bridge says of it. One that is unavailable has said its cure.
fn down(data: &[u8]) -> Option<String> {
    let text = |key| string_value(member(data, key)?.of(data)).map(String::from);
    let kind = text("kind")?;
    let is_down = matches!(&*kind, "server_unavailable" | "server_exited");
    let is_bridges = text("source").is_some_and(|source| source == "bridge");
    let is_cured = text("state").is_some_and(|state| state == "unavailable");
    (is_down && is_bridges && !is_cured).then(|| text("bridge"))?
}

impl Stream {
    fn of(response: Response) -> Self {
        Self {
            response: Box::new(response),
            events: Events::default(),
        }
    }

    /// The next event; `None` when the stream ended or broke.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            if let Some(event) = self.events.pop() {
                return Ok(Some(event));
            }
            if self.events.pending() > LARGEST {
                return Err(ClientError::TooLarge { limit: LARGEST });
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.events.push(&chunk),
                Ok(None) | Err(_) => return Ok(None),
            }
        }
    }
}

fn is_stream(response: &Response) -> bool {
    content_type(response).starts_with("text/event-stream")
}

fn content_type(response: &Response) -> &str {
    let value = response.headers().get(CONTENT_TYPE);
    value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}
