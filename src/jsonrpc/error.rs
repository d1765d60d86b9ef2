//! Error objects: the codes in use, and their JSON text.

use bytes::Bytes;
use serde::Serialize;

/// JSON-RPC error codes. The first five are JSON-RPC 2.0's, the next three MCP's; −31001 and on are the bridge's own, outside every reserved range.
pub mod code {
    /// The text is not JSON.
    pub const PARSE_ERROR: i32 = -32700;
    /// JSON, but not a request that can be served here.
    pub const INVALID_REQUEST: i32 = -32600;
    /// No such method, or one that can't be routed.
    pub const METHOD_NOT_FOUND: i32 = -32601;
    /// Parameters of the wrong form.
    pub const INVALID_PARAMS: i32 = -32602;
    /// A fault of the bridge itself.
    pub const INTERNAL_ERROR: i32 = -32603;
    /// Headers and body of a request differ (MCP 2026-07-28).
    pub const HEADER_MISMATCH: i32 = -32020;
    /// A request needs what its client has not declared (MCP 2026-07-28).
    pub const MISSING_CAPABILITY: i32 = -32021;
    /// A revision that is not served (MCP 2026-07-28).
    pub const UNSUPPORTED_VERSION: i32 = -32022;
    /// The server's process is not there, or ended before it answered.
    pub const SERVER_UNAVAILABLE: i32 = -31001;
    /// No answer within the request's time.
    pub const TIMEOUT: i32 = -31002;
    /// A message over the size limit.
    pub const TOO_LARGE: i32 = -31003;
    /// A queue or table is full.
    pub const OVERLOADED: i32 = -31004;
    /// The bridge is stopping.
    pub const SHUTTING_DOWN: i32 = -31005;
}

/// The `error` member of an answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ErrorObject {
    /// One of [`code`].
    pub code: i32,
    /// One sentence for people.
    pub message: String,
    /// Facts for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<serde_json::Value>,
}

impl ErrorObject {
    /// An error without data.
    pub fn new(code: i32, message: impl Into<String>) -> ErrorObject {
        ErrorObject {
            code,
            message: message.into(),
            data: None,
        }
    }

    /// The whole answer, under the JSON text of `id`; `null` where no id is known.
    pub fn response(&self, id: Option<&[u8]>) -> Bytes {
        let mut text = Vec::with_capacity(128 + self.message.len());
        text.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
        text.extend_from_slice(id.unwrap_or(b"null"));
        text.extend_from_slice(br#","error":"#);
        serde_json::to_writer(&mut text, self).expect("strings and JSON values always serialise");
        text.push(b'}');
        text.into()
    }
}
