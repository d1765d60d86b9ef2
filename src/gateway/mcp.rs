//! MCP over all servers as one: the backend of the gateway's `/mcp` and `/sse`.
//!
//! Lists come from the catalogue. What names a tool, a prompt or a resource goes to its owner over a session of the client's
//! own with that server, opened when it is first needed, so an editor that declares roots and sampling gets instances of
//! its own only of the servers whose tools it calls. The message passes with one name replaced; answers, progress and what
//! the server asks go straight into the client's mailboxes.

mod answers;
mod line;
mod lines;
mod passage;
mod talk;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;

use super::access::Denied;
use super::core::Core;
use crate::bridge::{Budget, Mailbox, Principal, Transport, Visit};
use crate::mcp::Era;
use crate::transport::{Backend, Conversation, Known, Reject};
use talk::Talk;

/// All servers as one.
#[derive(Debug)]
pub(crate) struct Aggregate(pub(super) Arc<Core>);

impl Backend for Aggregate {
    fn name(&self) -> &str {
        "gateway"
    }

    fn budget(&self) -> &Arc<Budget> {
        &self.0.budget
    }

    fn is_draining(&self) -> bool {
        self.0.is_draining()
    }

    fn max_sessions(&self) -> usize {
        self.0.force().settings.max_sessions
    }

    fn session_idle(&self) -> Duration {
        self.0.force().settings.session_idle
    }

    fn open(
        &self,
        _transport: Transport,
        outlet: &Arc<Mailbox>,
        headers: &HeaderMap,
    ) -> Result<Box<dyn Conversation>, Reject> {
        let access = self.0.access(headers)?;
        let talk = Talk::new(self.0.clone(), access, outlet.clone(), None);
        Ok(Box::new(talk))
    }

    fn visit(
        &self,
        outlet: &Arc<Mailbox>,
        headers: &HeaderMap,
        visit: Visit,
    ) -> Result<Box<dyn Conversation>, Reject> {
        let access = self.0.access(headers)?;
        let talk = Talk::new(self.0.clone(), access, outlet.clone(), Some(visit));
        Ok(Box::new(talk))
    }

    fn greets(&self) -> bool {
        true
    }

    fn principal(&self, headers: &HeaderMap) -> Principal {
        let access = self.0.access(headers);
        Principal::of(&access.map(|access| access.key).ok())
    }

    fn era(&self) -> Option<Era> {
        // Its servers may be of either; what it puts together itself is of the older one.
        Some(Era::Legacy)
    }

    fn supported_versions(&self) -> Option<Bytes> {
        None
    }

    fn settled<'a>(&'a self) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(std::future::ready(()))
    }

    fn mirrored(&self) -> Known<'_> {
        Known::Now(self.0.snapshot().mirrored().clone())
    }

    fn input_timeout(&self) -> Duration {
        self.0.force().settings.input_timeout
    }

    fn evict_idle(&self) -> bool {
        // Each call waits for its own server's places.
        false
    }

    fn room<'a>(&'a self, _patience: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        // Instances are taken with the first call, not with the session.
        Box::pin(std::future::ready(()))
    }
}

impl From<Denied> for Reject {
    fn from(denied: Denied) -> Reject {
        match denied {
            Denied::KeyMissing => Reject::KeyMissing,
            Denied::KeyWithoutBearer => Reject::KeyWithoutBearer,
            Denied::KeyWrong => Reject::KeyWrong,
            Denied::ServerUnknown { .. } => Reject::Denied {
                status: StatusCode::BAD_REQUEST,
                text: denied.to_string(),
            },
            Denied::ServerForbidden { .. } => Reject::Denied {
                status: StatusCode::FORBIDDEN,
                text: denied.to_string(),
            },
        }
    }
}
