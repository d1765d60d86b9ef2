//! The HTTP side of a bridge: one listener, both transports, probes and metrics.
//!
//! [`Endpoint`] is what a bridge serves; its [`Endpoint::router`] goes to [`listener::serve`]. Each handler asks the
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

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use backend::{Backend, Conversation, Known};
pub use connections::{Connections, Permit};
pub use front::Front;
pub use guard::Guard;
pub use reject::Reject;

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

    /// Its routes: both transports, catalogue, probes, metrics; everything else is a 404 in JSON.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/mcp", any(mcp))
            .route("/mcp/", any(mcp))
            .route("/sse", any(sse))
            .route(Front::MESSAGES, any(messages))
            .route("/", any(root))
            .route("/mcp/tools", any(tools))
            .route("/health", any(health))
            .route("/ready", any(ready))
            .route("/live", any(live))
            .route("/metrics", any(metrics))
            .fallback(unknown)
            .with_state(self.clone())
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

/// Methods of what can only be read.
const READ: &str = "GET, HEAD";

async fn mcp(State(endpoint): State<Endpoint>, request: Request) -> Response {
    let outcome = match endpoint.admit(&request, Front::MCP_METHODS, true) {
        Ok(settings) => {
            endpoint
                .0
                .front
                .mcp(request, settings.limits.max_body)
                .await
        }
        Err(reject) => Err(reject),
    };
    endpoint.finish(outcome)
}

async fn sse(State(endpoint): State<Endpoint>, request: Request) -> Response {
    let outcome = endpoint.admit(&request, "GET", true).and_then(|settings| {
        endpoint
            .0
            .front
            .sse(request.headers(), settings.public_url.as_deref())
    });
    endpoint.finish(outcome)
}

async fn messages(State(endpoint): State<Endpoint>, request: Request) -> Response {
    let outcome = match endpoint.admit(&request, "POST", true) {
        Ok(settings) => {
            endpoint
                .0
                .front
                .messages(request, settings.limits.max_body)
                .await
        }
        Err(reject) => Err(reject),
    };
    endpoint.finish(outcome)
}

/// A bare URL is an SSE target for those who ask for events by name.
async fn root(state: State<Endpoint>, request: Request) -> Response {
    if request.method() == Method::GET && !media::names_event_stream(request.headers()) {
        return unknown(state, request).await;
    }
    sse(state, request).await
}

async fn tools(State(endpoint): State<Endpoint>, request: Request) -> Response {
    match endpoint.admit(&request, READ, true) {
        Ok(_) => catalogue::serve(endpoint.bridge(), request.headers()).await,
        Err(reject) => endpoint.finish(Err(reject)),
    }
}

async fn health(State(endpoint): State<Endpoint>, request: Request) -> Response {
    endpoint.finish(
        endpoint
            .admit(&request, READ, false)
            .map(|_| health::health(endpoint.bridge())),
    )
}

async fn ready(State(endpoint): State<Endpoint>, request: Request) -> Response {
    endpoint.finish(
        endpoint
            .admit(&request, READ, false)
            .map(|_| health::ready(endpoint.bridge())),
    )
}

async fn live(State(endpoint): State<Endpoint>, request: Request) -> Response {
    endpoint.finish(
        endpoint
            .admit(&request, READ, false)
            .map(|_| health::live()),
    )
}

async fn metrics(State(endpoint): State<Endpoint>, request: Request) -> Response {
    endpoint.finish(endpoint.admit(&request, READ, true).map(|_| {
        let text = endpoint.0.metrics.render_bridge(endpoint.bridge().name());
        let mut response = Response::new(Body::from(text));
        response.headers_mut().insert(
            CONTENT_TYPE,
            HeaderValue::from_static(metrics::CONTENT_TYPE),
        );
        response
    }))
}

/// Also for `/.well-known/*`: clients look there for an authorization server and must learn that there is none.
async fn unknown(State(endpoint): State<Endpoint>, request: Request) -> Response {
    let settings = endpoint.bridge().settings();
    let outcome = Guard::of(&settings).place(request.headers());
    endpoint.finish(outcome.and(Err(Reject::NotFound)))
}
