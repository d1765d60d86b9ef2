//! The admin listener and the admin socket: health of all bridges, numbers, what runs, restarts, reloads, and the last lines of
//! logs.

mod facts;
mod logs;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Path, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{Entry, Published, Supervisor};
use crate::config::Secret;
use crate::journal::Journal;
use crate::metrics::{self, Metrics};
use crate::transport::{Guard, Reject, health};

/// What the admin listener knows.
#[derive(Debug, Clone)]
struct Admin {
    host: IpAddr,
    keys: Arc<[Secret]>,
    published: watch::Receiver<Published>,
    metrics: Arc<Metrics>,
    journal: Arc<Journal>,
    orders: mpsc::Sender<Order>,
    file: Option<PathBuf>,
    started: Instant,
    /// Ends the wait for lines.
    stop: CancellationToken,
}

/// What the main loop is asked for: a reload, of which it tells the outcome.
pub(super) type Order = oneshot::Sender<Value>;

impl Supervisor {
    /// The admin listener's routes, for the configuration in force.
    pub(super) fn admin_router(&self) -> Router {
        let settings = self.config.admin.as_ref();
        let host = settings.map_or(IpAddr::from([127, 0, 0, 1]), |admin| admin.listen.host);
        let keys = settings.map(|admin| admin.api_keys.clone());
        self.router_for(host, keys.unwrap_or_default())
    }

    /// The same for the admin socket, whose permissions are its guard.
    pub(super) fn socket_router(&self) -> Router {
        self.router_for(IpAddr::from([127, 0, 0, 1]), Vec::new())
    }

    fn router_for(&self, host: IpAddr, keys: Vec<Secret>) -> Router {
        let admin = Admin {
            host,
            keys: keys.into(),
            published: self.published.subscribe(),
            metrics: self.shared.metrics.clone(),
            journal: self.journal.clone(),
            orders: self.orders.0.clone(),
            file: self.config.file.clone(),
            started: self.started,
            stop: self.shared.stop.clone(),
        };
        Router::new()
            .route("/health", any(health_of_all))
            .route("/ready", any(health_of_all))
            .route("/live", any(live))
            .route("/metrics", any(numbers))
            .route("/status", any(status))
            .route("/clients", any(clients))
            .route("/bridges", any(bridges))
            .route("/bridges/{name}", any(one_bridge))
            .route("/bridges/{name}/restart", any(restart))
            .route("/bridges/{name}/logs", any(logs::of_one))
            .route("/logs", any(logs::of_all))
            .route("/reload", any(reload))
            .fallback(unknown)
            .with_state(admin)
    }
}

impl Admin {
    fn admit(&self, request: &Request, method: &'static str, keyed: bool) -> Result<(), Reject> {
        let guard = Guard {
            host: self.host,
            public_url: None,
            allowed_hosts: &[],
            allowed_origins: &[],
            keys: &self.keys,
        };
        guard.admit(request, method, keyed)
    }

    fn entries(&self) -> Arc<[Entry]> {
        self.published.borrow().entries.clone()
    }

    /// # Errors
    /// There is no such bridge; the answer says which there are.
    fn find(&self, name: &str) -> Result<Entry, Reject> {
        let entries = self.entries();
        let mut found = entries.iter();
        if let Some(entry) = found.find(|entry| entry.bridge.settings().is_called(name)) {
            return Ok(entry.clone());
        }
        let names: Vec<_> = entries.iter().map(|entry| entry.bridge.name()).collect();
        let names = match names.is_empty() {
            true => "none".to_owned(),
            false => names.join(", "),
        };
        Err(Reject::Denied {
            status: StatusCode::NOT_FOUND,
            text: format!("no such bridge; there is {names}"),
        })
    }
}

/// What a path that is none is answered with.
const NOTHING_HERE: &str = "nothing is served under this path; this is the admin listener: /health, /ready, /live, /metrics, /status, \
     /clients, /bridges, /bridges/NAME, /bridges/NAME/logs and /logs, and for POST /bridges/NAME/restart and /reload";

const READ: &str = "GET, HEAD";

/// 200 while every bridge that should run does; the body says which don't.
async fn health_of_all(State(admin): State<Admin>, request: Request) -> Response {
    if let Err(reject) = admin.admit(&request, READ, false) {
        return reject.into_response();
    }
    let now = Instant::now();
    let mut all = true;
    let portless = admin.published.borrow().portless.clone();
    let bridges: Vec<Value> = admin
        .entries()
        .iter()
        .map(|entry| {
            let status = entry.bridge.status();
            // An optional bridge that is not there is nobody's alarm.
            all &= status.phase.is_healthy() || status.cure.is_some();
            let mut facts = health::describe(entry.bridge.name(), &status, now);
            if let Some((_, why)) = portless
                .iter()
                .find(|(name, _)| name == entry.bridge.name())
            {
                all = false;
                facts["reason"] = json!(**why);
            }
            facts
        })
        .collect();
    let status = if all {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(json!({ "healthy": all, "bridges": bridges }))).into_response()
}

async fn live(State(admin): State<Admin>, request: Request) -> Response {
    match admin.admit(&request, READ, false) {
        Ok(()) => health::live(),
        Err(reject) => reject.into_response(),
    }
}

async fn numbers(State(admin): State<Admin>, request: Request) -> Response {
    if let Err(reject) = admin.admit(&request, READ, true) {
        return reject.into_response();
    }
    let mut response = admin.metrics.render().into_response();
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static(metrics::CONTENT_TYPE),
    );
    response
}

async fn bridges(State(admin): State<Admin>, request: Request) -> Response {
    if let Err(reject) = admin.admit(&request, READ, true) {
        return reject.into_response();
    }
    let all: Vec<Value> = admin.entries().iter().map(facts::of).collect();
    Json(json!({ "bridges": all })).into_response()
}

/// What runs: the program, the bridges, the gateway.
async fn status(State(admin): State<Admin>, request: Request) -> Response {
    if let Err(reject) = admin.admit(&request, READ, true) {
        return reject.into_response();
    }
    let all = admin.entries();
    let bridges: Vec<Value> = all
        .iter()
        .map(|entry| {
            let mut facts = facts::of(entry);
            if !facts["reason"].is_null() {
                facts["last_line"] = json!(logs::last_words(&admin, entry.bridge.name()));
            }
            facts
        })
        .collect();
    let published = admin.published.borrow();
    let portless = published.portless.iter();
    let portless = portless.map(|(name, why)| json!({ "name": name, "reason": **why }));
    Json(json!({
        "daemon": facts::of_daemon(&admin),
        "bridges": bridges,
        "gateway": published.gateway.as_ref().map(facts::of_gateway),
        "portless": portless.collect::<Vec<_>>(),
    }))
    .into_response()
}

/// What clients have to be told, for `export`.
async fn clients(State(admin): State<Admin>, request: Request) -> Response {
    if let Err(reject) = admin.admit(&request, READ, true) {
        return reject.into_response();
    }
    let offers = admin.published.borrow().offers.clone();
    Json(&*offers).into_response()
}

async fn one_bridge(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    if let Err(reject) = admin.admit(&request, READ, true) {
        return reject.into_response();
    }
    match admin.find(&name) {
        Ok(entry) => {
            let mut facts = facts::of(&entry);
            facts["deaths"] = facts::deaths(&entry);
            Json(facts).into_response()
        }
        Err(reject) => reject.into_response(),
    }
}

async fn restart(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    if let Err(reject) = admin.admit(&request, "POST", true) {
        return reject.into_response();
    }
    let entry = match admin.find(&name) {
        Ok(entry) => entry,
        Err(reject) => return reject.into_response(),
    };
    info!(
        bridge = entry.bridge.name(),
        "an operator asks for a restart"
    );
    // Before the order, so that whoever waits for the next one doesn't take this one for it.
    let generation = entry.bridge.status().generation;
    entry.bridge.restart();
    let facts =
        json!({ "bridge": entry.bridge.name(), "restarting": true, "generation": generation });
    (StatusCode::ACCEPTED, Json(facts)).into_response()
}

/// 200 with the changes, or 422 with everything that is wrong with the file.
async fn reload(State(admin): State<Admin>, request: Request) -> Response {
    if let Err(reject) = admin.admit(&request, "POST", true) {
        return reject.into_response();
    }
    info!("an operator asks for a reload");
    let (answer, outcome) = oneshot::channel();
    let ordered = admin.orders.send(answer).await;
    // Both fail only when the main loop has ended.
    let outcome = match ordered {
        Ok(()) => outcome.await.ok(),
        Err(_) => None,
    };
    let Some(outcome) = outcome else {
        let stopping = json!({ "reloaded": false, "stopping": true });
        return (StatusCode::SERVICE_UNAVAILABLE, Json(stopping)).into_response();
    };
    let status = match outcome["reloaded"] == true {
        true => StatusCode::OK,
        false => StatusCode::UNPROCESSABLE_ENTITY,
    };
    (status, Json(outcome)).into_response()
}

async fn unknown(State(admin): State<Admin>, request: Request) -> Response {
    let outcome = admin.admit(
        &request,
        "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS",
        false,
    );
    let nothing = Reject::Denied {
        status: StatusCode::NOT_FOUND,
        text: NOTHING_HERE.to_owned(),
    };
    outcome.err().unwrap_or(nothing).into_response()
}
