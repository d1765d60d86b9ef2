//! Tool calls on behalf of one request: the same sessions that HTTP clients have, without HTTP.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::access::Access;
use super::audit::{Audit, Outcome};
use super::catalogue::{Catalogue, Tool};
use super::json;
use super::server::{Asking, Place};
use super::tally::Tally;
use crate::bridge::Mailbox;
use crate::jsonrpc::ErrorObject;

/// The sessions of one request with the servers whose tools it calls. Dropping it cancels what is under way.
#[derive(Debug)]
pub(crate) struct Caller {
    catalogue: Arc<Catalogue>,
    access: Arc<Access>,
    audit: Audit,
    /// The numbers of the request.
    pub(crate) tally: Tally,
    /// `tool_timeout`.
    patience: Duration,
    sessions: Mutex<HashMap<Arc<str>, Arc<Opened>>>,
}

/// A session with one server, and its handshake where it needs one.
#[derive(Debug)]
struct Opened {
    asking: Asking,
    begun: OnceCell<Result<(), ErrorObject>>,
    wants_handshake: bool,
}

/// How a call ended.
#[derive(Debug, Clone)]
pub(crate) struct Called {
    /// The `CallToolResult` as the server sent it (`content`, `structuredContent`, `isError` …), or why there is none.
    pub(crate) result: Result<Value, Failure>,
}

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum Failure {
    /// The arguments are no JSON object.
    #[error("the arguments are no JSON object: {0}")]
    Arguments(String),
    /// No answer within `tool_timeout`.
    #[error("no answer within {} s (tool_timeout)", .0.as_secs_f64())]
    TimedOut(Duration),
    /// The server's or the bridge's JSON-RPC error, in words.
    #[error("{0}")]
    Error(String),
}

impl Caller {
    /// Without sessions; they are opened with the first call of each server.
    pub(crate) fn new(
        catalogue: Arc<Catalogue>,
        access: Arc<Access>,
        tally: Tally,
        audit: Audit,
        patience: Duration,
    ) -> Caller {
        Caller {
            catalogue,
            access,
            tally,
            audit,
            patience,
            sessions: Mutex::default(),
        }
    }

    /// Calls `tool` with `arguments`, the text of a JSON object as a model wrote it (empty means `{}`). Many calls may go on
    /// at the same time. Writes the audit line and counts.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call at the server.
    pub(crate) async fn call(&self, tool: &Tool, arguments: &str) -> Called {
        let mut line = self.audit.line(&self.access.key, tool, arguments);
        let result = match object(arguments) {
            Ok(arguments) => match timeout(self.patience, self.ask(tool, arguments)).await {
                Ok(result) => result,
                Err(_) => Err(Failure::TimedOut(self.patience)),
            },
            Err(failure) => Err(failure),
        };
        let called = Called { result };
        line.outcome = match &called.result {
            Ok(_) if called.is_error() => Outcome::ToolError,
            Ok(_) => Outcome::Ok,
            Err(Failure::Arguments(_)) => Outcome::Arguments,
            Err(Failure::TimedOut(_)) => Outcome::TimedOut,
            Err(Failure::Error(_)) => Outcome::Error,
        };
        called
    }

    async fn ask(&self, tool: &Tool, arguments: &str) -> Result<Value, Failure> {
        let failed = |error: ErrorObject| Failure::Error(error.message);
        let opened = self
            .session(&tool.server)
            .ok_or_else(|| Failure::Error(format!("the MCP server {} is gone", tool.server)))?;
        if opened.wants_handshake {
            let begun = opened
                .begun
                .get_or_init(|| async { opened.asking.begin().await.map(drop) })
                .await;
            begun.clone().map_err(failed)?;
        }
        let name = Value::from(&*tool.original);
        let params = format!(r#"{{"name":{name},"arguments":{arguments}}}"#);
        let result = opened
            .asking
            .ask("tools/call", &params)
            .await
            .map_err(failed)?;
        json::object(&result, json::VALUES)
            .map(Value::Object)
            .map_err(|error| Failure::Error(format!("the server's result can't be read: {error}")))
    }

    fn session(&self, server: &Arc<str>) -> Option<Arc<Opened>> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = sessions.get(server)
            && !opened.asking.is_over()
        {
            return Some(opened.clone());
        }
        let place = Place {
            asks_above: 0,
            visit: None,
            headers: self.access.headers_for(server),
        };
        let server = self.catalogue.server(server)?;
        // Nobody listens to what belongs to no call.
        let outlet = Mailbox::new(&Arc::default());
        outlet.close();
        let opened = Arc::new(Opened {
            wants_handshake: server.wants_handshake(&place),
            asking: Asking::new(server.open(outlet, &place)),
            begun: OnceCell::new(),
        });
        sessions.insert(server.name().into(), opened.clone());
        Some(opened)
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

/// `arguments` as the text of a JSON object on one line.
fn object(arguments: &str) -> Result<&str, Failure> {
    let text = arguments.trim();
    if text.is_empty() {
        return Ok("{}");
    }
    match serde_json::from_str::<serde_json::Map<String, Value>>(text) {
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::Arguments(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_an_object_or_nothing() {
        for (text, want) in [
            ("", Some("{}")),
            ("  ", Some("{}")),
            (" {\"a\": 1.0} ", Some("{\"a\": 1.0}")),
            ("[]", None),
            ("null", None),
            ("{", None),
            ("{} {}", None),
        ] {
            assert_eq!(object(text).ok(), want, "{text}");
        }
    }
}
