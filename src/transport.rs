//! The HTTP side of a bridge: one listener, both transports, probes and metrics.
//!
//! [`Endpoint`] is what a bridge serves; [`listener::serve`] asks it. Each handler asks the
//! [`guard`] first, then hands the request to its transport: `legacy_sse` and `streamable` differ in how long a
//! session lives, where answers go and what a vanished client means. Errors of a request are [`Reject`]s until the last
//! step, where they are counted and become responses. The data path has no layers, spans or look-ups beyond this.

mod backend;
#[doc(hidden)]
pub mod bench;
pub(crate) mod body;
pub(crate) mod catalogue;
mod connections;
pub(crate) mod events;
mod front;
pub mod guard;
pub mod health;
mod legacy_sse;
pub mod listener;
pub(crate) mod media;
mod messages;
pub(crate) mod outward;
pub mod reject;
mod replay;
mod sessions;
mod socket;
pub(crate) mod sse;
mod stateless;
mod streamable;
mod streaming;
mod trace_context;
mod version;
mod whole;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use backend::{Backend, Conversation, Known};
pub use connections::{Connections, Permit};
pub use front::Front;
pub use guard::Guard;
pub use reject::Reject;

use listener::{Answer, Answering};

use crate::bridge::Bridge;
use crate::config;
use crate::metrics::{self, Metrics};

/// What the endpoints of all bridges share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Where an endpoint's sweeper runs.
    pub tasks: TaskTracker,
    /// Ends the sweepers.
    pub stop: CancellationToken,
}

/// What one bridge serves over HTTP. Clones are the same endpoint.
#[derive(Debug, Clone)]
pub struct Endpoint(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bridge: Bridge,
    front: Front,
    metrics: Arc<Metrics>,
}

impl Endpoint {
    /// An endpoint without sessions. Its sweeper runs until `shared.stop` is cancelled or the bridge is `removed`.
    #[must_use]
    pub fn new(bridge: Bridge, shared: &Shared, removed: &CancellationToken) -> Endpoint {
        let front = Front::new(Arc::new(bridge.clone()), shared, removed);
        Endpoint(Arc::new(Inner {
            bridge,
            front,
            metrics: shared.metrics.clone(),
        }))
    }

    /// The bridge behind it.
    #[must_use]
    pub fn bridge(&self) -> &Bridge {
        &self.0.bridge
    }

    /// Open sessions, of both transports.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.0.front.sessions()
    }

    /// Ends every session: their calls are cancelled, their streams close after what is queued.
    pub fn end_sessions(&self) {
        self.0.front.end_sessions();
    }

    /// Both transports, catalogue, probes, metrics; everything else is a 404 in JSON. By hand, because a router costs as
    /// much as all the rest that is done for a small message.
    async fn route(self, request: Request) -> Response {
        match request.uri().path() {
            "/mcp" | "/mcp/" => self.mcp(request).await,
            Front::MESSAGES => self.messages(request).await,
            "/sse" => self.sse(&request),
            "/" => self.root(&request),
            "/mcp/tools" => self.tools(request).await,
            "/health" => self.probe(&request, health::health),
            "/ready" => self.probe(&request, health::ready),
            "/live" => self.probe(&request, |_| health::live()),
            "/metrics" => self.metrics(&request),
            _ => self.unknown(&request),
        }
    }

    async fn mcp(&self, request: Request) -> Response {
        let outcome = match self.admit(&request, Front::MCP_METHODS, true) {
            Ok(settings) => self.0.front.mcp(request, settings.limits.max_body).await,
            Err(reject) => Err(reject),
        };
        self.finish(outcome)
    }

    async fn messages(&self, request: Request) -> Response {
        let outcome = match self.admit(&request, "POST", true) {
            Ok(settings) => {
                let max_body = settings.limits.max_body;
                self.0.front.messages(request, max_body).await
            }
            Err(reject) => Err(reject),
        };
        self.finish(outcome)
    }

    fn sse(&self, request: &Request) -> Response {
        let outcome = self.admit(request, "GET", true).and_then(|settings| {
            let public_url = settings.public_url.as_deref();
            self.0.front.sse(request.headers(), public_url)
        });
        self.finish(outcome)
    }

    /// A bare URL is an SSE target for those who ask for events by name.
    fn root(&self, request: &Request) -> Response {
        if request.method() == Method::GET && !media::names_event_stream(request.headers()) {
            return self.unknown(request);
        }
        self.sse(request)
    }

    async fn tools(&self, request: Request) -> Response {
        match self.admit(&request, READ, true) {
            Ok(_) => catalogue::serve(self.bridge(), request.headers()).await,
            Err(reject) => self.finish(Err(reject)),
        }
    }

    fn probe(&self, request: &Request, answer: impl FnOnce(&Bridge) -> Response) -> Response {
        let admitted = self.admit(request, READ, false);
        self.finish(admitted.map(|_| answer(self.bridge())))
    }

    fn metrics(&self, request: &Request) -> Response {
        let admitted = self.admit(request, READ, true);
        self.finish(admitted.map(|_| {
            let text = self.0.metrics.render_bridge(self.bridge().name());
            let mut response = Response::new(Body::from(text));
            let kind = HeaderValue::from_static(metrics::CONTENT_TYPE);
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }))
    }

    /// Also for `/.well-known/*`: clients look there for an authorization server and must learn that there is none.
    fn unknown(&self, request: &Request) -> Response {
        let settings = self.bridge().settings();
        let outcome = Guard::of(&settings).place(request.headers());
        self.finish(outcome.and(Err(Reject::NotFound)))
    }

    /// The bridge's settings, once the request passed: its place, its method, its key.
    fn admit(
        &self,
        request: &Request,
        methods: &'static str,
        keyed: bool,
    ) -> Result<Arc<config::Bridge>, Reject> {
        let settings = self.bridge().settings();
        Guard::of(&settings).admit(request, methods, keyed)?;
        Ok(settings)
    }

    fn finish(&self, outcome: Result<Response, Reject>) -> Response {
        outcome.unwrap_or_else(|reject| {
            self.bridge().metrics().refused(reject.label());
            tracing::debug!(bridge = self.bridge().name(), status = reject.status().as_u16(), %reject, "refused");
            reject.into_response()
        })
    }
}

impl Answer for Endpoint {
    fn answer(&self, request: Request) -> Answering {
        Box::pin(self.clone().route(request))
    }
}

/// Methods of what can only be read.
const READ: &str = "GET, HEAD";
