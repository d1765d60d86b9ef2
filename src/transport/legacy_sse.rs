//! HTTP+SSE, revision 2024-11-05 (MCP 2024-11-05, Transports § HTTP with SSE).
//!
//! A session lasts as long as its stream: the first event names the path to POST to, everything from the server comes as
//! `message` events, and when the client closes the stream, its calls are cancelled.
//!
//! The path in the first event is relative, so that it stays on the origin that the client used, behind whatever proxy;
//! clients refuse another origin. After the last answer of a session notifications wait for 250 ms, see [`QUIET`].

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use tokio::time::{Instant, Sleep};

use super::messages::{Messages, no_batches};
use super::sessions::{Client, QUIET, Sessions, Streaming};
use super::sse::{EventStream, Frames, Source};
use super::{Reject, body, media, messages, trace_context, version};
use crate::bridge::{Delivery, DeliveryKind, Reader, Transport};
use crate::jsonrpc::{Kind, Message};

/// The path of POSTs.
pub(super) const MESSAGES: &str = "/messages";
/// Bytes that may wait for the client on its stream while it asks for more.
const UNREAD: usize = 1024 * 1024;
/// Requests that may wait for their answer or for the client to read it; the bridge itself refuses those beyond 128 that
/// wait for the server.
const UNANSWERED: usize = 1024;
/// Notifications that wait at most; with more the wait ends.
const HELD: usize = 256;
/// The longest prefix that a proxy may name.
const PREFIX: usize = 256;

const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Opens a session and its stream.
///
/// # Errors
/// [`Reject::NotAcceptable`], [`Reject::Sessions`], [`Reject::Draining`].
pub(super) fn open(
    sessions: &Arc<Sessions>,
    headers: &HeaderMap,
    public_url: Option<&str>,
) -> Result<Response, Reject> {
    // The path alone says what is wanted, so a missing header does no harm.
    if headers.contains_key(axum::http::header::ACCEPT) && !media::accepts_event_stream(headers) {
        return Err(Reject::NotAcceptable(media::EVENT_STREAM));
    }
    let client = sessions.open(Transport::Sse, headers)?;
    let mut frames = Frames::default();
    frames.event(
        "endpoint",
        &format!(
            "{}{MESSAGES}?session_id={}",
            prefix(headers, public_url),
            client.id
        ),
    );
    let source = Conversation {
        reader: client.outlet().reader(),
        _streaming: client.streaming(),
        client,
        sessions: sessions.clone(),
        held: Vec::new(),
        quiet: None,
        timer: None,
    };
    Ok(EventStream::new(frames, source).into_long_response())
}

/// Takes a POST for the session in the query; the answer comes on its stream.
///
/// # Errors
/// What is wrong with the request.
pub(super) async fn post(
    sessions: &Arc<Sessions>,
    request: Request,
    max_body: usize,
) -> Result<Response, Reject> {
    let (head, body) = request.into_parts();
    if !media::is_json(&head.headers) {
        return Err(Reject::MediaType);
    }
    let id = session_id(head.uri.query().unwrap_or_default())
        .ok_or(Reject::SessionMissing("session_id"))?;
    let client = sessions.find(id.as_bytes(), Transport::Sse, &head.headers)?;
    let body = body::read(&head.headers, body, max_body).await?;
    let messages = trace_context::continued(&head.headers, messages::parse(&body)?);
    if messages.ask() {
        if sessions.budget().is_spent() {
            return Err(Reject::Shedding(messages.id()));
        }
        // Answers are never dropped, so whoever reads none gets no more of them.
        if client.outlet().queued_bytes() > UNREAD || client.requests() >= UNANSWERED {
            return Err(Reject::Unread(messages.id()));
        }
    }
    match messages {
        Messages::One(message) => send(&client, message),
        Messages::Batch(_) if !client.version_is(version::allows_batch) => return Err(no_batches()),
        Messages::Batch(batch) => {
            for message in batch {
                match message {
                    Ok(message) => send(&client, message),
                    Err(reject) => {
                        client.asked();
                        let body = reject.body().into();
                        client.outlet().push(Delivery {
                            kind: DeliveryKind::Answer,
                            body,
                        });
                    }
                }
            }
        }
    }
    let mut response = Response::new(Body::from("Accepted"));
    *response.status_mut() = StatusCode::ACCEPTED;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

fn send(client: &Client, message: Message) {
    if message.kind() == Kind::Request {
        client.asked();
    }
    client.send(message, client.outlet());
}

/// A session's stream. Dropping it ends the session.
struct Conversation {
    sessions: Arc<Sessions>,
    client: Arc<Client>,
    reader: Reader,
    held: Vec<Delivery>,
    quiet: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    _streaming: Streaming,
}

impl Conversation {
    fn release(&mut self, frames: &mut Frames) {
        for delivery in self.held.drain(..) {
            frames.message(None, &delivery.body);
        }
        self.timer = None;
    }

    /// Whether notifications have to wait: the last answer is out, and only just.
    fn is_quiet(&mut self) -> bool {
        let Some(until) = self.quiet else {
            return false;
        };
        if self.client.requests() == 0 && Instant::now() < until {
            return true;
        }
        self.quiet = None;
        false
    }

    fn take(&mut self, delivery: Delivery, frames: &mut Frames) {
        if delivery.kind == DeliveryKind::Notification && self.held.len() < HELD && self.is_quiet()
        {
            self.held.push(delivery);
            return;
        }
        if delivery.kind == DeliveryKind::Cancelled {
            // Who cancelled a request wants no answer to it (MCP 2024-11-05, Cancellation § Behavior Requirements).
            return self.client.answered();
        }
        self.release(frames);
        frames.message(None, &delivery.body);
        if delivery.kind.ends_a_request() {
            self.client.answered();
            self.quiet = Some(Instant::now() + QUIET);
        }
    }

    fn poll_held(&mut self, context: &mut Context<'_>, frames: &mut Frames) {
        if self.held.is_empty() {
            return;
        }
        let until = self.quiet;
        let over = match until {
            Some(until) if self.is_quiet() => {
                let timer = self
                    .timer
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
                timer.as_mut().poll(context).is_ready()
            }
            _ => true,
        };
        if over {
            self.release(frames);
        }
    }
}

impl Source for Conversation {
    fn poll_fill(&mut self, context: &mut Context<'_>, frames: &mut Frames) -> Poll<bool> {
        while !frames.is_enough() {
            match self.reader.poll_next(context) {
                Poll::Ready(Some(delivery)) => self.take(delivery, frames),
                Poll::Ready(None) => {
                    self.release(frames);
                    return Poll::Ready(false);
                }
                Poll::Pending => {
                    self.poll_held(context, frames);
                    break;
                }
            }
        }
        if frames.is_empty() {
            Poll::Pending
        } else {
            Poll::Ready(true)
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.sessions.end(self.client.id);
    }
}

fn session_id(query: &str) -> Option<&str> {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix("session_id="))
}

/// What stands before the path: that of `public_url`, else what the proxy says it took away.
fn prefix<'a>(headers: &'a HeaderMap, public_url: Option<&'a str>) -> &'a str {
    let prefix = match public_url {
        Some(url) => {
            let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
            rest.find('/').map_or("", |at| &rest[at..])
        }
        None => headers
            .get(&FORWARDED_PREFIX)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default(),
    };
    let prefix = prefix.trim_end_matches('/');
    // Not `//host`, which is another origin, and nothing that could end the line or the path.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~%+@:".contains(&byte);
    let fits = prefix.len() <= PREFIX && prefix.starts_with('/') && prefix.bytes().all(plain);
    if fits && !prefix.contains("//") && !prefix.split('/').any(|part| part == "..") {
        prefix
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_stays_on_the_clients_origin() {
        for (public_url, forwarded, want) in [
            (None, None, ""),
            (None, Some("/db"), "/db"),
            (None, Some("/a/b/"), "/a/b"),
            (None, Some("/"), ""),
            (None, Some("db"), ""),
            (None, Some("//evil.example"), ""),
            (None, Some("/a//evil.example"), ""),
            (None, Some("/a/../b"), ""),
            (None, Some("http://evil.example/"), ""),
            (None, Some("/a?b"), ""),
            (None, Some("/a b"), ""),
            (
                Some("https://example.org/mcp/db"),
                Some("/other"),
                "/mcp/db",
            ),
            (Some("https://example.org"), Some("/other"), ""),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(value) = forwarded {
                headers.insert(FORWARDED_PREFIX, HeaderValue::from_static(value));
            }
            assert_eq!(
                prefix(&headers, public_url),
                want,
                "{public_url:?} {forwarded:?}"
            );
        }
    }

    #[test]
    fn the_session_stands_in_the_query() {
        for (query, want) in [
            ("session_id=1", Some("1")),
            ("a=b&session_id=2&c", Some("2")),
            ("xsession_id=1", None),
        ] {
            assert_eq!(session_id(query), want, "{query}");
        }
    }
}
