//! What a request of a stateless client says of itself, in `_meta` and in headers, and whether both say the same.
//!
//! MCP 2026-07-28, Overview § `_meta`, Streamable HTTP § Request Metadata, § Server Validation.

use std::borrow::Cow;

use axum::http::header::HeaderName;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;

use crate::jsonrpc::{ErrorObject, Kind, Message, RequestId, Span, code, string_value};
use crate::mcp::mirrored::decoded;
use crate::mcp::{ClientCapabilities, Level, MODERN};
use crate::transport::Reject;

pub(super) const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// Bytes of a client's capabilities; an instance is kept for them.
const MAX_CAPABILITIES: usize = 64 * 1024;

/// What a longer request says is copied, so that its text can be changed in place.
const SHARED: usize = 16 * 1024;

/// A valid request's word on itself.
#[derive(Debug)]
pub(super) struct Claims {
    /// What its client can be asked, as JSON.
    pub(super) capabilities: Bytes,
    /// The same, read.
    pub(super) declared: ClientCapabilities,
    /// Its client's name and version, as JSON.
    pub(super) client: Option<Bytes>,
    /// The log messages that it wants.
    pub(super) level: Option<Level>,
}

/// Whether what came with `headers` is of the stateless revision, or means to be.
pub(super) fn is_modern(headers: &HeaderMap, message: &Message) -> bool {
    let envelope = message.envelope();
    envelope.meta_version.is_some() || envelope.meta_capabilities.is_some() || names_modern(headers)
}

/// Whether the head alone says so.
pub(super) fn names_modern(headers: &HeaderMap) -> bool {
    headers
        .get(&VERSION)
        .is_some_and(|version| version.as_bytes() == MODERN.as_bytes())
}

impl Claims {
    /// Reads and checks those of a request. `supported` is the JSON list of the revisions that it could have.
    ///
    /// # Errors
    /// [`Reject::Stateless`] with 400 and the code that the revision has for what is wrong.
    pub(super) fn read(
        headers: &HeaderMap,
        message: &Message,
        supported: impl FnOnce() -> String,
    ) -> Result<Claims, Reject> {
        let envelope = message.envelope();
        let id = message.id();
        let version = text(message, envelope.meta_version).ok_or_else(|| {
            invalid(
                id,
                "params._meta needs io.modelcontextprotocol/protocolVersion, a string",
            )
        })?;
        let header = only(headers, &VERSION)
            .ok_or_else(|| mismatch(id, "header MCP-Protocol-Version is needed, once"))?;
        if header != version.as_bytes() {
            let text = "header MCP-Protocol-Version and params._meta name different revisions";
            return Err(mismatch(id, text));
        }
        if version != MODERN {
            return Err(unsupported(id, &version, &supported()));
        }
        let capabilities = message
            .part(envelope.meta_capabilities)
            .filter(|text| text.first() == Some(&b'{'))
            .ok_or_else(|| {
                invalid(
                    id,
                    "params._meta needs io.modelcontextprotocol/clientCapabilities, an object",
                )
            })?;
        if capabilities.len() > MAX_CAPABILITIES {
            let text = format!("clientCapabilities have more than {MAX_CAPABILITIES} bytes");
            return Err(invalid(id, &text));
        }
        let level = match message.part(envelope.meta_level) {
            None => None,
            Some(text) => Some(Level::parse(text).ok_or_else(|| {
                invalid(
                    id,
                    "io.modelcontextprotocol/logLevel is none of the protocol's eight levels",
                )
            })?),
        };
        named(headers, message)?;
        let own = |span: Span| match message.text() {
            text if text.len() < SHARED => span.slice(text),
            text => Bytes::copy_from_slice(span.of(text)),
        };
        Ok(Claims {
            declared: ClientCapabilities::of(capabilities),
            capabilities: envelope.meta_capabilities.map(own).unwrap_or_default(),
            client: envelope
                .meta_client
                .map(own)
                .filter(|text| text.first() == Some(&b'{')),
            level,
        })
    }
}

/// Checks `Mcp-Method` and `Mcp-Name`.
fn named(headers: &HeaderMap, message: &Message) -> Result<(), Reject> {
    let (id, method) = (message.id(), message.method());
    let header =
        only(headers, &METHOD).ok_or_else(|| mismatch(id, "header Mcp-Method is needed, once"))?;
    if header != method.as_bytes() {
        return Err(mismatch(
            id,
            "header Mcp-Method does not name the request's method",
        ));
    }
    let envelope = message.envelope();
    let named = match method.as_ref() {
        "tools/call" | "prompts/get" => text(message, envelope.name),
        "resources/read" => text(message, envelope.uri),
        _ => return Ok(()),
    };
    let header = headers.contains_key(&NAME).then(|| only(headers, &NAME));
    match (header, named) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(mismatch(
            id,
            "header Mcp-Name is needed: params.name or params.uri",
        )),
        (Some(header), named) => {
            let said = header.and_then(decoded).ok_or_else(|| {
                mismatch(
                    id,
                    "header Mcp-Name is no single plain value, and no valid Base64",
                )
            })?;
            if named.as_deref() == Some(&*said) {
                return Ok(());
            }
            Err(mismatch(
                id,
                "header Mcp-Name does not say what the request names",
            ))
        }
    }
}

/// The only value of `name`.
pub(super) fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then(|| first.as_bytes())
}

fn text<'m>(message: &'m Message, span: Option<Span>) -> Option<Cow<'m, str>> {
    message.part(span).and_then(string_value)
}

/// A rejection with 400.
fn bad(id: Option<&[u8]>, error: ErrorObject) -> Reject {
    reject(StatusCode::BAD_REQUEST, id, error)
}

/// A request that is turned away with an error of its own.
pub(super) fn reject(status: StatusCode, id: Option<&[u8]>, error: ErrorObject) -> Reject {
    Reject::Stateless {
        status,
        error: Box::new(error),
        id: id.map(RequestId::new),
    }
}

/// The same rejection for a request that has an id: it can be sent again later.
pub(super) fn busy(id: Option<&[u8]>, why: &Reject) -> Reject {
    reject(
        StatusCode::SERVICE_UNAVAILABLE,
        id,
        ErrorObject::new(why.code(), why.to_string()),
    )
}

/// Headers and body that differ, or a header that is missing.
pub(super) fn mismatch(id: Option<&[u8]>, text: &str) -> Reject {
    bad(id, ErrorObject::new(code::HEADER_MISMATCH, text))
}

/// Parameters that are missing or of the wrong form.
pub(super) fn invalid(id: Option<&[u8]>, text: &str) -> Reject {
    bad(id, ErrorObject::new(code::INVALID_PARAMS, text))
}

fn unsupported(id: Option<&[u8]>, requested: &str, supported: &str) -> Reject {
    let supported: serde_json::Value = serde_json::from_str(supported).unwrap_or_default();
    let shown = &requested[..requested.floor_char_boundary(100)];
    let mut error = ErrorObject::new(code::UNSUPPORTED_VERSION, "unsupported protocol version");
    error.data = Some(serde_json::json!({"supported": supported, "requested": shown}));
    bad(id, error)
}

/// A method that the revision doesn't have, or that nobody here has.
pub(super) fn no_method(message: &Message) -> Reject {
    let method = message.method();
    let shown = &method[..method.floor_char_boundary(100)];
    let error = ErrorObject::new(code::METHOD_NOT_FOUND, format!("method not found: {shown}"));
    reject(StatusCode::NOT_FOUND, message.id(), error)
}

/// The HTTP status of an answer, by the code of its error.
pub(super) fn status(error: Option<i32>) -> StatusCode {
    match error {
        Some(code::METHOD_NOT_FOUND) => StatusCode::NOT_FOUND,
        Some(code::HEADER_MISMATCH | code::MISSING_CAPABILITY | code::UNSUPPORTED_VERSION) => {
            StatusCode::BAD_REQUEST
        }
        _ => StatusCode::OK,
    }
}

/// Whether a message is a request that modern clients don't send, as the revision took it away.
pub(super) fn is_taken_away(message: &Message) -> bool {
    message.kind() == Kind::Request
        && matches!(
            message.method().as_ref(),
            "initialize"
                | "ping"
                | "logging/setLevel"
                | "resources/subscribe"
                | "resources/unsubscribe"
        )
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn request(method: &str, params: &str) -> Message {
        let text = format!(r#"{{"jsonrpc":"2.0","id":"i","method":"{method}","params":{params}}}"#);
        Message::parse(text.into()).unwrap()
    }

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = all.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_str(value)
                    .unwrap_or_else(|_| HeaderValue::from_bytes(value.as_bytes()).unwrap()),
            )
        });
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value);
        }
        headers
    }

    fn refused(headers: &HeaderMap, message: &Message) -> (u16, i32) {
        let supported = || r#"["2026-07-28"]"#.to_owned();
        let reject = Claims::read(headers, message, supported).unwrap_err();
        (reject.status().as_u16(), reject.code())
    }

    const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"roots":{}},"io.modelcontextprotocol/logLevel":"info"}"#;
    const V: (&str, &str) = ("mcp-protocol-version", "2026-07-28");

    #[test]
    fn a_request_says_the_same_in_head_and_body() {
        let call = request("tools/call", &format!(r#"{{"name":"wörld",{META}}}"#));
        let claims = Claims::read(
            &headers(&[
                V,
                ("mcp-method", "tools/call"),
                ("mcp-name", "=?base64?d8O2cmxk?="),
            ]),
            &call,
            String::new,
        )
        .unwrap();
        assert!(claims.declared.roots && !claims.declared.sampling);
        assert_eq!(claims.level, Some(Level::Info));
        assert_eq!(claims.capabilities, r#"{"roots":{}}"#);
        let list = request("tools/list", &format!("{{{META}}}"));
        assert!(
            Claims::read(
                &headers(&[V, ("mcp-method", "tools/list")]),
                &list,
                String::new
            )
            .is_ok()
        );
    }

    #[test]
    fn what_is_missing_or_differs_has_its_code() {
        let list = request("tools/list", &format!("{{{META}}}"));
        let call = request("tools/call", &format!(r#"{{"name":"a",{META}}}"#));
        let m = ("mcp-method", "tools/call");
        for (given, message, want) in [
            (
                &[V, ("mcp-method", "tools/list")][..],
                request("tools/list", "{}"),
                (400, -32602),
            ),
            (&[V], list.clone(), (400, -32020)),
            (&[("mcp-method", "tools/list")], list.clone(), (400, -32020)),
            (
                &[V, ("mcp-method", "TOOLS/LIST")],
                list.clone(),
                (400, -32020),
            ),
            (
                &[V, V, ("mcp-method", "tools/list")],
                list.clone(),
                (400, -32020),
            ),
            (
                &[
                    ("mcp-protocol-version", "2025-11-25"),
                    ("mcp-method", "tools/list"),
                ],
                list,
                (400, -32020),
            ),
            (&[V, m], call.clone(), (400, -32020)),
            (&[V, m, ("mcp-name", "b")], call.clone(), (400, -32020)),
            (
                &[V, m, ("mcp-name", "=?base64?YQ?=")],
                call.clone(),
                (400, -32020),
            ),
            (&[V, m, ("mcp-name", "ä")], call, (400, -32020)),
            (
                &[V, ("mcp-method", "tools/list")],
                request(
                    "tools/list",
                    r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#,
                ),
                (400, -32602),
            ),
            (
                &[V, ("mcp-method", "tools/list")],
                request(
                    "tools/list",
                    &format!("{{{}}}", META.replace("info", "loud")),
                ),
                (400, -32602),
            ),
            (
                &[("mcp-protocol-version", "v9"), ("mcp-method", "tools/list")],
                request(
                    "tools/list",
                    &format!("{{{}}}", META.replace("2026-07-28", "v9")),
                ),
                (400, -32022),
            ),
        ] {
            assert_eq!(refused(&headers(given), &message), want, "{given:?}");
        }
    }
}
