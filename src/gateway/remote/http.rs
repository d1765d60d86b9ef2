//! HTTP to one remote server: the requests of both transports, with our credentials, and what their answers mean.
//!
//! It is what rmcp's Streamable HTTP transport sends and receives with. rmcp keeps the session, its revision, resumption
//! and the handshake; here are the bytes ([`super::wire`]), their bounds and the words for what goes wrong. Redirects are
//! followed on the same origin only, and only those that keep method and body.

mod client;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_core::stream::BoxStream;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use rmcp::model::{ClientJsonRpcMessage, ClientNotification};
use rmcp::transport::streamable_http_client::{
    SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
};
use sse_stream::Sse;

use client::client;
pub(super) use client::endpoint;

use super::events::{EventStream, Messages};
use super::fault::shown;
use super::line::Signals;
use super::{Fault, MAX_MESSAGE, wire};
use crate::config::Remote;
use crate::jsonrpc::{Kind, Message, member, string_value};

/// Bytes of an error's body that are looked at.
const MAX_REFUSAL: usize = 64 * 1024;
type Posted = Result<StreamableHttpPostResponse, StreamableHttpError<Fault>>;

/// HTTP to one remote server. Clones share their connections.
#[derive(Debug, Clone)]
pub(super) struct Http {
    client: Client,
    /// The client's own headers are among those that are sent.
    own_headers: bool,
    pub(super) signals: Arc<Signals>,
}

impl Http {
    /// With the credentials of `settings`, and `headers` in the place of those of the same name.
    pub(super) fn new(
        settings: &Remote,
        headers: &[(HeaderName, HeaderValue)],
        signals: Arc<Signals>,
    ) -> Result<Http, Fault> {
        let client = client(settings, headers)?;
        Ok(Http {
            client,
            own_headers: !headers.is_empty(),
            signals,
        })
    }

    /// Opens the stream of HTTP+SSE.
    pub(super) async fn events(&self, url: &Url) -> Result<EventStream, Fault> {
        let request = self.client.get(url.clone());
        let response = self.send(url, request.header(ACCEPT, EVENT_STREAM)).await?;
        let response = self.successful(response).await?;
        if is(&response, EVENT_STREAM) {
            return Ok(EventStream::of(response));
        }
        Err(not_mcp(&response))
    }

    /// Posts a message of HTTP+SSE; what there is to say comes on the stream.
    pub(super) async fn deliver(&self, url: &Url, text: Bytes) -> Result<(), Fault> {
        let request = self.client.post(url.clone());
        let request = request.header(CONTENT_TYPE, JSON).body(text);
        let response = self.send(url, request).await?;
        self.successful(response).await.map(drop)
    }

    async fn send(&self, url: &Url, request: RequestBuilder) -> Result<Response, Fault> {
        let sent = request.send().await;
        sent.map_err(|error| Fault::of_request(url, &error))
    }

    /// What a status that is no success means; servers put a JSON-RPC error beside it.
    async fn successful(&self, response: Response) -> Result<Response, Fault> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status.is_redirection() {
            return Err(redirected(&response));
        }
        let fault = Fault::of_status(status, self.own_headers);
        // Nothing is served there by this method, whatever words are beside it: the fault has the cure.
        let misplaced = matches!(status.as_u16(), 404 | 405);
        if misplaced || !matches!(fault, Fault::Status { .. }) {
            return Err(fault);
        }
        let body = body(response, MAX_REFUSAL).await.unwrap_or_default();
        Err(refusal(body).unwrap_or(fault))
    }

    async fn posted(
        &self,
        url: &Url,
        message: &ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Posted {
        let mut request = self
            .client
            .post(url.clone())
            .header(ACCEPT, "application/json, text/event-stream")
            .header(CONTENT_TYPE, JSON)
            .body(wire::outward(message));
        let in_session = session.is_some();
        if let Some(session) = session {
            request = request.header(SESSION, &*session);
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let client = StreamableHttpError::Client;
        let response = self.send(url, request).await.map_err(client)?;
        let status = response.status();
        if status == StatusCode::NOT_FOUND && in_session {
            return Err(StreamableHttpError::SessionExpired);
        }
        let asks = matches!(message, ClientJsonRpcMessage::Request(_));
        let greeting = wire::is_greeting(message);
        let explained = asks && !greeting && is(&response, JSON);
        let failed = status.is_client_error() || status.is_server_error();
        if failed && explained && !matches!(status.as_u16(), 401 | 403) {
            return self.refused(message, response).await;
        }
        let response = self.successful(response).await.map_err(client)?;
        if !asks || matches!(status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        let session = response.headers().get(SESSION);
        let session = session.and_then(|session| session.to_str().ok().map(str::to_owned));
        if is(&response, EVENT_STREAM) {
            let events = EventStream::of(response);
            let asked = match message {
                ClientJsonRpcMessage::Request(request) => serde_json::to_vec(&request.id).ok(),
                _ => None,
            };
            let messages = Messages {
                events,
                greeting,
                asked,
            };
            return Ok(StreamableHttpPostResponse::Sse(Box::pin(messages), session));
        }
        if !is(&response, JSON) {
            return Err(client(not_mcp(&response)));
        }
        let body = body(response, MAX_MESSAGE).await.map_err(client)?;
        let text = wire::inward(body, greeting);
        let answer = text.and_then(|text| serde_json::from_str(&text).ok());
        match answer {
            Some(answer) => Ok(StreamableHttpPostResponse::Json(answer, session)),
            None => Err(client(Fault::NotMcp {
                what: "JSON that is no answer".to_owned(),
            })),
        }
    }

    /// An error beside a status is the answer, when it is one to this request.
    async fn refused(&self, message: &ClientJsonRpcMessage, response: Response) -> Posted {
        let fault = Fault::of_status(response.status(), self.own_headers);
        let body = body(response, MAX_REFUSAL).await.unwrap_or_default();
        let answer = wire::inward(body.clone(), false)
            .and_then(|text| serde_json::from_str(&text).ok())
            .filter(|answer| match (answer, message) {
                (
                    rmcp::model::ServerJsonRpcMessage::Response(answer),
                    ClientJsonRpcMessage::Request(request),
                ) => answer.id == request.id,
                _ => false,
            });
        match answer {
            Some(answer) => Ok(StreamableHttpPostResponse::Json(answer, None)),
            None => Err(StreamableHttpError::Client(refusal(body).unwrap_or(fault))),
        }
    }
}

const JSON: &str = "application/json";
const EVENT_STREAM: &str = "text/event-stream";
const SESSION: &str = "mcp-session-id";

impl StreamableHttpClient for Http {
    type Error = Fault;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Posted {
        let url = client::parsed(&uri).map_err(StreamableHttpError::Client)?;
        let posted = self
            .posted(&url, &message, session_id, custom_headers)
            .await;
        if let ClientJsonRpcMessage::Notification(notification) = &message
            && matches!(
                notification.notification,
                ClientNotification::InitializedNotification(_)
            )
            && posted.is_ok()
        {
            self.signals.greeted();
        }
        posted
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), StreamableHttpError<Fault>> {
        let url = client::parsed(&uri).map_err(StreamableHttpError::Client)?;
        let mut request = self
            .client
            .delete(url.clone())
            .header(SESSION, &*session_id);
        for (name, value) in custom_headers {
            request = request.header(name, value);
        }
        // The server may not want to hear of it, or be gone.
        let _ended = self.send(&url, request).await;
        Ok(())
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, StreamableHttpError<Fault>> {
        let url = client::parsed(&uri).map_err(StreamableHttpError::Client)?;
        let mut request = self.client.get(url.clone()).header(ACCEPT, EVENT_STREAM);
        if let Some(session) = session_id {
            request = request.header(SESSION, &*session);
        }
        if let Some(last) = last_event_id {
            request = request.header("last-event-id", last);
        }
        for (name, value) in custom_headers {
            request = request.header(name, value);
        }
        let response = self.send(&url, request).await.map_err(|fault| {
            self.signals.doubt();
            StreamableHttpError::Client(fault)
        })?;
        let status = response.status();
        if status.is_success() && is(&response, EVENT_STREAM) {
            let events = EventStream::of(response);
            return Ok(Box::pin(Messages {
                events,
                greeting: false,
                asked: None,
            }));
        }
        if status.is_server_error() {
            return Err(StreamableHttpError::Client(Fault::of_status(
                status,
                self.own_headers,
            )));
        }
        // 405 says that there is no such stream (MCP 2025-11-25, Transports § Listening for Messages from the Server); so
        // does anything else that isn't a stream. A session that is gone shows at the next request.
        Err(StreamableHttpError::ServerDoesNotSupportSse)
    }
}

fn redirected(response: &Response) -> Fault {
    let location = response.headers().get(LOCATION);
    let to = location
        .and_then(|location| response.url().join(location.to_str().ok()?).ok())
        .map_or_else(|| "nowhere".to_owned(), |to| shown(&to));
    Fault::Redirect { to }
}

/// The whole body, up to `limit` bytes.
async fn body(mut response: Response, limit: usize) -> Result<Bytes, Fault> {
    let mut body = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= limit => body.extend_from_slice(&chunk),
            Ok(Some(_)) => return Err(Fault::TooLarge),
            Ok(None) => return Ok(body.freeze()),
            Err(_) => return Err(Fault::broken("its answer broke off")),
        }
    }
}

/// The error in the JSON-RPC answer `body`, if it is one.
fn refusal(body: Bytes) -> Option<Fault> {
    let message = Message::parse_lossy(body).ok()?;
    if message.kind() != Kind::Answer {
        return None;
    }
    let error = message.part(message.envelope().error)?;
    let text = |key| member(error, key).map(|span| span.of(error));
    let code = text("code").and_then(|code| std::str::from_utf8(code).ok()?.parse().ok());
    let message = text("message").and_then(string_value)?;
    Some(Fault::rejected(code.unwrap_or_default(), &message))
}

fn not_mcp(response: &Response) -> Fault {
    let what = match content_type(response) {
        "" => "something without a content type".to_owned(),
        kind => kind.to_owned(),
    };
    Fault::NotMcp { what }
}

fn is(response: &Response, kind: &str) -> bool {
    let given = content_type(response).as_bytes();
    given.len() >= kind.len() && given[..kind.len()].eq_ignore_ascii_case(kind.as_bytes())
}

fn content_type(response: &Response) -> &str {
    let value = response.headers().get(CONTENT_TYPE);
    value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}
