//! The one table from what a client did wrong, or can't have now, to an HTTP status, headers and a JSON-RPC error.
//!
//! Bodies are JSON-RPC error responses, with the request's id where one is known and `null` otherwise, so that clients
//! which only look at bodies see the reason too (MCP 2025-11-25, Transports § Sending Messages to the Server).

use std::time::Duration;

use axum::http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::whole;
use crate::bridge::Refusal;
use crate::jsonrpc::{self, ErrorObject, RequestId, ScanError, code};
use crate::metrics::Refused;

/// The type of JSON bodies.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Why a request is turned away before a server's session sees it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Reject {
    /// No `Host`, or more than one.
    #[error("the request needs exactly one Host header")]
    HostMissing,
    /// A name that this listener doesn't answer to.
    #[error(
        "this Host is not served here; names other than localhost are listed under `allowed_hosts`"
    )]
    Host,
    /// A web page that may not speak with this listener.
    #[error("this Origin is not allowed; allowed ones are listed under `allowed_origins`")]
    Origin,
    /// A key is needed and none came.
    #[error("a key is needed: `Authorization: Bearer <key>` or `X-API-Key: <key>`")]
    KeyMissing,
    /// `Authorization` has another form.
    #[error("the Authorization header lacks its prefix: `Authorization: Bearer <key>`")]
    KeyWithoutBearer,
    /// None of the keys in force.
    #[error("the key is not valid")]
    KeyWrong,
    /// No such path.
    #[error("nothing is served under this path; try /mcp, /sse or /health")]
    NotFound,
    /// The path has other methods.
    #[error("this path takes {allow} only")]
    Method {
        /// For the `Allow` header.
        allow: &'static str,
    },
    /// The body is no JSON.
    #[error("the Content-Type must be application/json")]
    MediaType,
    /// The client doesn't take what would be sent.
    #[error("the Accept header must allow {0}")]
    NotAcceptable(&'static str),
    /// The body is over `max_body`.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// `max_body` in bytes.
        limit: usize,
    },
    /// The body did not arrive in time.
    #[error("the body did not arrive within {} s", .0.as_secs())]
    Slow(Duration),
    /// The body broke off.
    #[error("the body could not be read")]
    Broken,
    /// The body is not JSON.
    #[error("{0}")]
    Parse(String),
    /// JSON, but nothing that can be served.
    #[error("{reason}")]
    Invalid {
        /// What is wrong.
        reason: String,
        /// The id to answer under.
        id: Option<RequestId>,
    },
    /// `Mcp-Session-Id` or `session_id` is missing.
    #[error("a session is needed: send `initialize` first, then its {0} with every request")]
    SessionMissing(&'static str),
    /// The session ended or never was.
    #[error("no such session: it ended or never was; send `initialize` again")]
    SessionUnknown,
    /// A revision that isn't served.
    #[error("this MCP-Protocol-Version is not supported; supported are {0}")]
    Version(&'static str),
    /// A `Last-Event-ID` that can't be continued.
    #[error("this Last-Event-ID is unknown or expired")]
    EventUnknown,
    /// The session's answers wait for a client that does not read its stream.
    #[error("answers to earlier requests wait on this session's stream; read them first")]
    Unread(Option<RequestId>),
    /// Memory for queued output is used up, over all sessions.
    #[error("too much is queued for clients that read slowly")]
    Shedding(Option<RequestId>),
    /// `max_sessions` are open and none of them is idle.
    #[error("too many sessions are open")]
    Sessions,
    /// The key or the headers don't allow it.
    #[error("{text}")]
    Denied {
        /// 400 or 403.
        status: StatusCode,
        /// What is wrong, and the cure.
        text: String,
    },
    /// The bridge is stopping.
    #[error("the bridge is shutting down")]
    Draining,
    /// A request of a stateless client that has an error of its own.
    #[error("{}", .error.message)]
    Stateless {
        /// 400, 404 or 503.
        status: StatusCode,
        /// What is wrong.
        error: Box<ErrorObject>,
        /// The id to answer under.
        id: Option<RequestId>,
    },
}

impl Reject {
    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Reject::HostMissing
            | Reject::Broken
            | Reject::Parse(_)
            | Reject::Invalid { .. }
            | Reject::SessionMissing(_)
            | Reject::Version(_)
            | Reject::EventUnknown => StatusCode::BAD_REQUEST,
            Reject::Host | Reject::Origin => StatusCode::FORBIDDEN,
            Reject::KeyMissing | Reject::KeyWithoutBearer | Reject::KeyWrong => {
                StatusCode::UNAUTHORIZED
            }
            Reject::Denied { status, .. } | Reject::Stateless { status, .. } => *status,
            Reject::NotFound | Reject::SessionUnknown => StatusCode::NOT_FOUND,
            Reject::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Reject::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Reject::NotAcceptable(_) => StatusCode::NOT_ACCEPTABLE,
            Reject::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Reject::Slow(_) => StatusCode::REQUEST_TIMEOUT,
            Reject::Unread(_) => StatusCode::TOO_MANY_REQUESTS,
            Reject::Shedding(_) | Reject::Sessions | Reject::Draining => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// The JSON-RPC error code.
    #[must_use]
    pub fn code(&self) -> i32 {
        match self {
            Reject::Parse(_) => code::PARSE_ERROR,
            Reject::TooLarge { .. } => code::TOO_LARGE,
            Reject::Slow(_) => code::TIMEOUT,
            Reject::Sessions | Reject::Unread(_) | Reject::Shedding(_) => code::OVERLOADED,
            Reject::Draining => code::SHUTTING_DOWN,
            Reject::Stateless { error, .. } => error.code,
            _ => code::INVALID_REQUEST,
        }
    }

    /// The metric's label.
    #[must_use]
    pub fn label(&self) -> Refused {
        match self {
            Reject::Host | Reject::HostMissing => Refused::Host,
            Reject::Origin => Refused::Origin,
            Reject::KeyMissing | Reject::KeyWithoutBearer | Reject::KeyWrong => Refused::Key,
            Reject::TooLarge { .. } => Refused::Body,
            Reject::Slow(_) => Refused::Slow,
            Reject::Unread(_) => Refused::InFlight,
            Reject::Shedding(_) => Refused::Shedding,
            Reject::Sessions => Refused::Sessions,
            Reject::Draining => Refused::Draining,
            Reject::Stateless { error, .. } => match error.code {
                code::OVERLOADED => Refused::Sessions,
                code::SHUTTING_DOWN => Refused::Draining,
                _ => Refused::Malformed,
            },
            _ => Refused::Malformed,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Reject::Unread(_) => Some(Duration::from_secs(1)),
            Reject::Shedding(_) => Some(Duration::from_secs(5)),
            Reject::Sessions => Some(Duration::from_secs(10)),
            Reject::Draining => Some(Duration::from_secs(5)),
            Reject::Stateless { status, .. } if *status == StatusCode::SERVICE_UNAVAILABLE => {
                Some(Duration::from_secs(5))
            }
            _ => None,
        }
    }
}

impl Reject {
    /// What [`ScanError`] means for the client that sent `text`.
    #[must_use]
    pub fn scan(error: &ScanError, text: &[u8]) -> Reject {
        match error {
            ScanError::Invalid { reason, id } => Reject::Invalid {
                reason: reason.to_string(),
                id: id.map(|span| RequestId::new(span.of(text))),
            },
            ScanError::Syntax { .. } | ScanError::TooDeep { .. } => {
                Reject::Parse(error.to_string())
            }
        }
    }

    /// The JSON-RPC error response.
    #[must_use]
    pub fn body(&self) -> bytes::Bytes {
        if let Reject::Stateless { error, id, .. } = self {
            return error.response(id.as_ref().map(RequestId::as_bytes));
        }
        let id = match self {
            Reject::Invalid { id: Some(id), .. }
            | Reject::Unread(Some(id))
            | Reject::Shedding(Some(id)) => Some(id.as_bytes()),
            _ => None,
        };
        ErrorObject::new(self.code(), self.to_string()).response(id)
    }
}

impl IntoResponse for Reject {
    fn into_response(self) -> Response {
        let mut response = json(self.status(), self.body());
        let headers = response.headers_mut();
        if let Some(delay) = self.retry_after() {
            headers.insert(RETRY_AFTER, seconds(delay));
        }
        match self {
            Reject::KeyMissing | Reject::KeyWithoutBearer | Reject::KeyWrong => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Reject::Method { allow } => {
                headers.insert(ALLOW, HeaderValue::from_static(allow));
            }
            // The rest of the body is not read, so nothing can follow on this connection.
            Reject::TooLarge { .. } | Reject::Slow(_) | Reject::Broken => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}

/// The response for a request that the bridge refused before acceptance; `body` is its JSON-RPC error.
pub fn refusal(refusal: Refusal, body: bytes::Bytes) -> Response {
    let (status, retry) = match refusal {
        Refusal::Unavailable { retry_after } | Refusal::Overloaded { retry_after } => {
            (StatusCode::SERVICE_UNAVAILABLE, Some(retry_after))
        }
        Refusal::TooManyInFlight => (StatusCode::TOO_MANY_REQUESTS, Some(Duration::from_secs(1))),
        Refusal::ShuttingDown => (
            StatusCode::SERVICE_UNAVAILABLE,
            Some(Duration::from_secs(5)),
        ),
        Refusal::Invalid => (StatusCode::OK, None),
    };
    let mut response = json(status, body);
    if let Some(delay) = retry {
        response.headers_mut().insert(RETRY_AFTER, seconds(delay));
    }
    response
}

/// The response for an error outside any call, such as a catalogue that can't be had.
pub fn error(error: &ErrorObject) -> Response {
    error_under(error, None)
}

/// The same for the request `id`.
pub fn error_under(error: &ErrorObject, id: Option<&[u8]>) -> Response {
    let status = match error.code {
        code::SERVER_UNAVAILABLE | code::OVERLOADED | code::SHUTTING_DOWN => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        code::TIMEOUT => StatusCode::GATEWAY_TIMEOUT,
        code::INTERNAL_ERROR => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_GATEWAY,
    };
    let mut response = json(status, error.response(id));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("2"));
    }
    response
}

/// A JSON response of known length.
pub fn json(status: StatusCode, body: impl Into<jsonrpc::Body>) -> Response {
    let mut response = Response::new(whole::body(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// Whole seconds, rounded up: a client that comes a little late is served, one that comes early is not.
fn seconds(delay: Duration) -> HeaderValue {
    HeaderValue::from(delay.as_secs() + u64::from(delay.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_status_code_and_headers() {
        for (reject, status, rpc, header) in [
            (Reject::Host, 403, -32600, None),
            (Reject::Origin, 403, -32600, None),
            (
                Reject::KeyMissing,
                401,
                -32600,
                Some(("www-authenticate", "Bearer")),
            ),
            (Reject::NotFound, 404, -32600, None),
            (
                Reject::Method { allow: "GET" },
                405,
                -32600,
                Some(("allow", "GET")),
            ),
            (Reject::MediaType, 415, -32600, None),
            (
                Reject::NotAcceptable("text/event-stream"),
                406,
                -32600,
                None,
            ),
            (
                Reject::TooLarge { limit: 9 },
                413,
                -31003,
                Some(("connection", "close")),
            ),
            (
                Reject::Slow(Duration::from_secs(30)),
                408,
                -31002,
                Some(("connection", "close")),
            ),
            (Reject::Parse("x".to_owned()), 400, -32700, None),
            (Reject::SessionUnknown, 404, -32600, None),
            (
                Reject::Unread(None),
                429,
                -31004,
                Some(("retry-after", "1")),
            ),
            (
                Reject::Shedding(None),
                503,
                -31004,
                Some(("retry-after", "5")),
            ),
            (Reject::Sessions, 503, -31004, Some(("retry-after", "10"))),
            (Reject::Draining, 503, -31005, Some(("retry-after", "5"))),
        ] {
            let name = format!("{reject:?}");
            assert_eq!(reject.code(), rpc, "{name}");
            let response = reject.into_response();
            assert_eq!(response.status().as_u16(), status, "{name}");
            assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
            if let Some((key, value)) = header {
                assert_eq!(response.headers()[key], value, "{name}");
            }
        }
    }

    #[test]
    fn a_retry_delay_is_rounded_up() {
        for (millis, text) in [(0, "0"), (1, "1"), (1000, "1"), (1001, "2")] {
            assert_eq!(seconds(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn an_invalid_message_is_answered_under_its_id() {
        let text = br#"{"jsonrpc":"2.0","id":"a","method":1}"#;
        let error = crate::jsonrpc::Message::parse(bytes::Bytes::from_static(text)).unwrap_err();
        let body = Reject::scan(&error, text).body();
        assert!(
            body.starts_with(br#"{"jsonrpc":"2.0","id":"a","error":{"code":-32600"#),
            "{body:?}"
        );
    }
}
