//! The admin listener: health of all bridges, numbers, what runs, and restarts.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Path, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::watch;
use tracing::info;

use super::{Entry, Supervisor};
use crate::config::Secret;
use crate::mcp::Era;
use crate::metrics::{self, Metrics};
use crate::transport::{Guard, Reject, health};

/// What the admin listener knows.
#[derive(Debug, Clone)]
struct Admin {
    host: IpAddr,
    keys: Arc<[Secret]>,
    entries: watch::Receiver<Arc<[Entry]>>,
    metrics: Arc<Metrics>,
}

impl Supervisor {
    /// The admin listener's routes, for the configuration in force.
    pub(super) fn admin_router(&self) -> Router {
        let settings = self.config.admin.as_ref();
        let admin = Admin {
            host: settings.map_or(IpAddr::from([127, 0, 0, 1]), |admin| admin.listen.host),
            keys: settings
                .map(|admin| admin.api_keys.clone())
                .unwrap_or_default()
                .into(),
            entries: self.entries.subscribe(),
            metrics: self.shared.metrics.clone(),
        };
        Router::new()
            .route("/health", any(health_of_all))
            .route("/ready", any(health_of_all))
            .route("/live", any(live))
            .route("/metrics", any(numbers))
            .route("/bridges", any(bridges))
            .route("/bridges/{name}", any(one_bridge))
            .route("/bridges/{name}/restart", any(restart))
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
        self.entries.borrow().clone()
    }

    fn find(&self, name: &str) -> Option<Entry> {
        self.entries()
            .iter()
            .find(|entry| entry.bridge.settings().is_called(name))
            .cloned()
    }
}

const READ: &str = "GET, HEAD";

/// 200 while every bridge that should run does; the body says which don't.
async fn health_of_all(State(admin): State<Admin>, request: Request) -> Response {
    if let Err(reject) = admin.admit(&request, READ, false) {
        return reject.into_response();
    }
    let now = Instant::now();
    let mut all = true;
    let bridges: Vec<Value> = admin
        .entries()
        .iter()
        .map(|entry| {
            let status = entry.bridge.status();
            // An optional bridge that is not there is nobody's alarm.
            all &= status.phase.is_healthy() || status.cure.is_some();
            health::describe(entry.bridge.name(), &status, now)
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
    let all: Vec<Value> = admin.entries().iter().map(describe).collect();
    Json(json!({ "bridges": all })).into_response()
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
        Some(entry) => {
            let mut facts = describe(&entry);
            facts["deaths"] = deaths(&entry);
            Json(facts).into_response()
        }
        None => Reject::NotFound.into_response(),
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
    let Some(entry) = admin.find(&name) else {
        return Reject::NotFound.into_response();
    };
    info!(
        bridge = entry.bridge.name(),
        "restart asked for at the admin listener"
    );
    entry.bridge.restart();
    (
        StatusCode::ACCEPTED,
        Json(json!({ "bridge": entry.bridge.name(), "restarting": true })),
    )
        .into_response()
}

async fn unknown(State(admin): State<Admin>, request: Request) -> Response {
    let outcome = admin.admit(
        &request,
        "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS",
        false,
    );
    outcome.err().unwrap_or(Reject::NotFound).into_response()
}

/// Everything about one bridge but its secrets.
fn describe(entry: &Entry) -> Value {
    let now = Instant::now();
    let settings = entry.bridge.settings();
    let status = entry.bridge.status();
    let mut facts = health::describe(&settings.name, &status, now);
    let urls = entry.address.map(|address| {
        json!({ "sse": format!("http://{address}/sse"), "http": format!("http://{address}/mcp") })
    });
    let instances: Vec<Value> = entry
        .bridge
        .dedicated()
        .iter()
        .map(|status| json!({ "state": status.phase.label(), "pid": status.pid }))
        .collect();
    if let Some(last) = &status.last_exit {
        facts["last_exit"]["stderr"] = json!(last.stderr);
    }
    facts["aliases"] = json!(settings.aliases);
    facts["description"] = json!(settings.description);
    facts["urls"] = json!(urls);
    facts["pid"] = json!(status.pid);
    facts["server"] = json!(
        status
            .server
            .map(|(name, version)| json!({ "name": name, "version": version }))
    );
    facts["era"] = json!(status.era.map(Era::label));
    facts["sessions"] = json!(entry.endpoint.sessions());
    facts["tools"] = json!(entry.bridge.tools());
    facts["instances"] = json!(instances);
    facts
}

/// The tally of deaths, the last one first.
fn deaths(entry: &Entry) -> Value {
    let now = Instant::now();
    let status = entry.bridge.status();
    let deaths = status.deaths.iter().rev().map(|death| {
        let mut facts = health::last_exit(&death.last, now);
        facts["generation"] = json!(death.generation);
        facts["productive"] = json!(death.productive);
        facts["stderr"] = json!(death.last.stderr);
        facts
    });
    deaths.collect()
}
