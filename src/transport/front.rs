//! The transports over one backend: the sessions, and what is served under `/mcp`, `/sse` and `/messages`.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::Response;
use tokio_util::sync::CancellationToken;

use super::backend::Backend;
use super::sessions::Sessions;
use super::stateless::Stateless;
use super::{Reject, Shared, legacy_sse, streamable};

/// The MCP side of one listener. Clones are the same.
#[derive(Debug, Clone)]
pub struct Front {
    sessions: Arc<Sessions>,
    stateless: Arc<Stateless>,
}

impl Front {
    /// The methods of `/mcp`.
    pub const MCP_METHODS: &'static str = streamable::METHODS;
    /// The path that HTTP+SSE clients POST to.
    pub const MESSAGES: &'static str = legacy_sse::MESSAGES;

    /// Without sessions. Its sweeper runs until `shared.stop` or `removed` is cancelled.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>, shared: &Shared, removed: &CancellationToken) -> Front {
        let sessions = Sessions::new(backend.clone());
        let stateless = Stateless::new(backend);
        let (stop, removed) = (shared.stop.clone(), removed.clone());
        let swept = sessions.clone().keep_swept();
        let parking = stateless.clone().keep_swept();
        shared.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = removed.cancelled() => {}
                () = swept => {}
                () = parking => {}
            }
        });
        Front {
            sessions,
            stateless,
        }
    }

    /// Open sessions, of both transports.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Ends the sessions that are over, at once and not at the next sweep.
    pub fn sweep(&self) {
        self.sessions.sweep();
        self.stateless.sweep();
    }

    /// Ends every session: their calls are cancelled, their streams close after what is queued.
    pub fn end_sessions(&self) {
        self.sessions.end_all();
        self.stateless.end_all();
    }

    /// Serves `/mcp`; `max_body` is in bytes.
    ///
    /// # Errors
    /// What is wrong with the request.
    pub async fn mcp(&self, request: Request, max_body: usize) -> Result<Response, Reject> {
        streamable::serve(&self.sessions, &self.stateless, request, max_body).await
    }

    /// Opens a session over HTTP+SSE, and its stream.
    ///
    /// # Errors
    /// [`Reject::NotAcceptable`], [`Reject::Sessions`], [`Reject::Draining`], and what the backend says of the headers.
    pub fn sse(&self, headers: &HeaderMap, public_url: Option<&str>) -> Result<Response, Reject> {
        legacy_sse::open(&self.sessions, headers, public_url)
    }

    /// Takes a POST of an HTTP+SSE client; `max_body` is in bytes.
    ///
    /// # Errors
    /// What is wrong with the request.
    pub async fn messages(&self, request: Request, max_body: usize) -> Result<Response, Reject> {
        legacy_sse::post(&self.sessions, request, max_body).await
    }
}
