//! Remote servers: MCP servers that others run, spoken with by rmcp's client.
//!
//! [`Remote`] is the handle to one, [`Session`] a client's conversation with it; both mirror a bridge's, so that the
//! gateway treats the two alike. Sessions share one connection (`line`), on which nothing can be asked of us; a session
//! that brings headers of its own (a client's token) has one of its own. A request becomes a task (`call`); what the
//! server says unasked is handed out by `seats`.
//!
//! rmcp shakes hands, numbers and matches requests, keeps Streamable HTTP's session (`http` sends for it) and resumes its
//! streams. Of HTTP+SSE, which it has no more, `sse` is the transport. The handshake is `initialize`, with the newest
//! revision that has one; so no server that speaks only 2026-07-28 or later.
//!
//! Messages pass as text (`wire`), with these losses: what a server says of its capabilities in the handshake is what rmcp
//! understands of it; a batch of answers is not understood; a message over [`MAX_MESSAGE`] ends its call, and on HTTP+SSE
//! the connection.

mod call;
mod connect;
mod events;
mod fault;
mod http;
mod line;
mod seats;
mod session;
mod sse;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bridge::Mailbox;
use crate::config;
use fault::Fault;
use line::Line;
pub(crate) use session::Session;

/// Bytes of one message of a remote server.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;
/// How long the server may take to hear that a request is cancelled.
const CANCEL: Duration = Duration::from_secs(5);

/// The handle to one remote server. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Remote(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    line: Arc<Line>,
    standing: watch::Receiver<Standing>,
}

/// Whether a remote server answers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Standing {
    /// The first handshake is under way.
    Connecting,
    /// It does.
    Ready {
        /// Grows with each handshake; what it offers may be another then.
        generation: u64,
        /// Its name and version.
        server: Option<(String, String)>,
        /// What it promises.
        capabilities: serde_json::Value,
        /// What a model should know of it.
        instructions: Option<String>,
    },
    /// It doesn't, and is tried again.
    Down {
        /// Why, as a sentence that names it.
        reason: String,
    },
    /// Something that it needs is not configured.
    Unavailable {
        /// What to do about it.
        cure: String,
    },
    /// It is not spoken with any more.
    Stopped,
}

impl Remote {
    /// Connects in the background, and again whenever the connection is lost, until `stop`. Needs a runtime.
    pub(crate) fn start(
        settings: Arc<config::Remote>,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Remote {
        let (sender, standing) = watch::channel(Standing::Connecting);
        let line = Line::start(settings, None, sender, tasks, stop.child_token());
        Remote(Arc::new(Inner { line, standing }))
    }

    /// Its configuration.
    pub(crate) fn settings(&self) -> Arc<config::Remote> {
        self.0.line.settings.clone()
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        self.0.line.name()
    }

    /// Whether both are handles to the same remote server.
    pub(crate) fn is(&self, other: &Remote) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether it answers, or why not.
    pub(crate) fn watch(&self) -> watch::Receiver<Standing> {
        self.0.standing.clone()
    }

    /// A new conversation; unsolicited notifications go to `outlet`. With `headers`, which are sent in the place of ours of
    /// the same name, it has a connection of its own, made at its first request and ended with it.
    pub(crate) fn open(
        &self,
        outlet: Arc<Mailbox>,
        headers: Vec<(HeaderName, HeaderValue)>,
    ) -> Session {
        let shared = &self.0.line;
        if headers.is_empty() {
            return Session::new(shared.clone(), outlet, None);
        }
        let stop = shared.stop.child_token();
        let (standing, _) = watch::channel(Standing::Connecting);
        let settings = shared.settings.clone();
        let line = Line::start(
            settings,
            Some(headers),
            standing,
            &shared.tasks,
            stop.clone(),
        );
        Session::new(line, outlet, Some(stop.drop_guard()))
    }

    /// Ends its connections, and the calls on them.
    pub(crate) fn stop(&self) {
        self.0.line.stop.cancel();
    }
}
