//! Tool calls on behalf of one request: the same sessions that HTTP clients have, without HTTP.

use std::time::Duration;

use serde_json::Value;

use super::catalogue::Tool;

/// The sessions of one request with the servers whose tools it calls. Dropping it cancels what is under way.
#[derive(Debug)]
pub(crate) struct Caller {}

/// How a call ended.
#[derive(Debug, Clone)]
pub(crate) struct Called {
    /// The `CallToolResult` as the server sent it (`content`, `structuredContent`, `isError` …), or why there is none.
    pub(crate) result: Result<Value, Failure>,
    /// How long it took.
    pub(crate) took: Duration,
}

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Failure {
    /// The arguments are no JSON object.
    Arguments(String),
    /// No answer within `tool_timeout`.
    TimedOut(Duration),
    /// The server's or the bridge's JSON-RPC error, in words.
    Error(String),
}

impl Caller {
    /// Calls `tool` with `arguments`, the text of a JSON object as a model wrote it (empty means `{}`). Many calls may go on
    /// at the same time. Writes the audit line and counts.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call at the server.
    pub(crate) async fn call(&self, _tool: &Tool, _arguments: &str) -> Called {
        Called {
            result: Err(Failure::Error(String::new())),
            took: Duration::ZERO,
        }
    }
}

impl Called {
    /// Whether it failed, by the server's word or without one.
    pub(crate) fn is_error(&self) -> bool {
        match &self.result {
            Ok(result) => result.get("isError") == Some(&Value::Bool(true)),
            Err(_) => true,
        }
    }
}
