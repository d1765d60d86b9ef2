//! What clients are told when a request can't go to the server.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Actor;
use crate::bridge::mailbox::{Delivery, DeliveryKind, Mailbox, Refusal};
use crate::bridge::mux::Waiting;
use crate::bridge::state::{LastExit, Phase};
use crate::jsonrpc::{ErrorObject, code};
use crate::mcp::Request;
use crate::metrics::{MethodLabel, Outcome, Refused};
use crate::process::Exit;
use crate::trace;

/// Where no next start is due, a client is told to come back after this.
const RETRY_AFTER: Duration = Duration::from_secs(5);

impl Actor {
    pub(super) fn refuse(
        &self,
        request: &Waiting<Arc<Mailbox>>,
        refusal: Refusal,
        error: &ErrorObject,
        reason: Refused,
    ) {
        let method = request.message.method();
        let (name, session) = (&self.settings.name, request.session.0);
        if let Some(mut traced) = trace::begin(&request.message, name, session) {
            traced.failed(error.code);
            traced.end(Outcome::Refused, Duration::ZERO);
        }
        self.site.metrics.refused(reason);
        self.site
            .metrics
            .call_finished(MethodLabel::of(&method), Outcome::Refused, Duration::ZERO);
        let body = error.response(request.message.id()).into();
        request.address.push(Delivery {
            kind: DeliveryKind::Refusal(refusal),
            body,
        });
    }

    /// The server is not there, and waiting has no point (any more).
    pub(super) fn refuse_unavailable(&self, request: &Waiting<Arc<Mailbox>>, now: Instant) {
        let retry_after = self.retry_after(now);
        let error = self.unavailable(retry_after, request.repeated);
        self.refuse(
            request,
            Refusal::Unavailable { retry_after },
            &error,
            Refused::NotReady,
        );
    }

    /// When a refused client should try again.
    pub(super) fn retry_after(&self, now: Instant) -> Duration {
        let next = self.status.borrow().next_start.map(Instant::from_std);
        next.map_or(RETRY_AFTER, |next| next.duration_since(now))
            .max(Duration::from_millis(100))
    }

    fn unavailable(&self, retry_after: Duration, delivered: bool) -> ErrorObject {
        let status = self.status.borrow();
        let why = match (status.phase, &status.cure, &status.last_exit) {
            (Phase::Unavailable, Some(cure), _) => format!("unavailable: {cure}"),
            (phase, _, Some(last)) => format!("{} after: {}", phase.label(), last.reason),
            (phase, _, None) => phase.label().to_owned(),
        };
        ErrorObject {
            code: code::SERVER_UNAVAILABLE,
            message: format!("MCP server {} is not available ({why})", self.settings.name),
            data: Some(serde_json::json!({
                "source": "bridge",
                "kind": "server_unavailable",
                "bridge": self.settings.name,
                "state": status.phase.label(),
                "generation": status.generation,
                "restarts": status.restarts,
                "retry_after_ms": u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX),
                "delivered": delivered,
            })),
        }
    }

    pub(super) fn shutting_down(&self) -> ErrorObject {
        let again = self.then_start;
        let message = if again {
            "the MCP server is being restarted"
        } else {
            "the bridge is shutting down"
        };
        ErrorObject {
            code: code::SHUTTING_DOWN,
            message: message.to_owned(),
            data: Some(serde_json::json!({
                "source": "bridge", "kind": "shutting_down", "bridge": self.settings.name,
            })),
        }
    }
}

/// The error of every call that a server's end cut off.
impl Actor {
    pub(super) fn exit_error(
        &self,
        last: &LastExit,
        generation: u64,
        retry_after: Option<Duration>,
    ) -> impl FnMut(bool) -> ErrorObject + use<> {
        let how = match (last.exit, &last.reason) {
            (Some(Exit::Signal(signal)), reason) if reason.starts_with("signal") => {
                format!("killed by signal {signal}")
            }
            (Some(Exit::Code(code)), reason) if reason.starts_with("exit") => {
                format!("ended with exit code {code}")
            }
            (_, reason) => format!("was stopped ({reason})"),
        };
        let mut data = serde_json::json!({
            "source": "bridge",
            "kind": "server_exited",
            "bridge": self.settings.name,
            "generation": generation,
            "exit": match last.exit {
                Some(Exit::Code(code)) => serde_json::json!({ "code": code }),
                Some(Exit::Signal(signal)) => serde_json::json!({ "signal": signal }),
                None => serde_json::Value::Null,
            },
            "reason": last.reason,
            "uptime_ms": u64::try_from(last.uptime.as_millis()).unwrap_or(u64::MAX),
            "restarts": self.status.borrow().restarts,
            "retry_after_ms": retry_after.map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
            "stderr": last.stderr,
        });
        move |delivered| {
            data["delivered"] = delivered.into();
            ErrorObject {
                code: code::SERVER_UNAVAILABLE,
                message: format!("MCP server process {how} before it answered"),
                data: Some(data.clone()),
            }
        }
    }
}

/// Whether `request` is the `initialize` of a client.
pub(super) fn is_initialize(request: &Waiting<Arc<Mailbox>>) -> bool {
    Request::of(&request.message.method()) == Request::Initialize
}
