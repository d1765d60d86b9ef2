//! The paths of the gateway. Each handler asks for the place (`Host`, `Origin`), the method and the key before it reads a
//! body; errors of MCP's paths are JSON-RPC's, all others have OpenAI's shape.

mod models;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use serde_json::{Map, Value, json};

use super::Gateway;
use super::access::Access;
use super::catalogue::Standing;
use super::chat::{self, Chat};
use super::json;
use super::openai::ApiError;
use super::responses;
use crate::metrics;
use crate::transport::{Front, Guard, Reject, body, catalogue, health, media};

/// All routes; those of the OpenAI API also without `/v1`.
pub(super) fn router(gateway: Gateway) -> Router {
    let mut router = Router::new()
        .route("/mcp", any(mcp))
        .route("/mcp/", any(mcp))
        .route("/sse", any(sse))
        .route(Front::MESSAGES, any(messages))
        .route("/mcp/tools", any(tools))
        .route("/", any(root))
        .route("/health", any(ready))
        .route("/ready", any(ready))
        .route("/live", any(live))
        .route("/metrics", any(numbers));
    for prefix in ["", "/v1"] {
        router = router
            .route(&format!("{prefix}/chat/completions"), any(chat))
            .route(&format!("{prefix}/responses"), any(responses))
            .route(&format!("{prefix}/responses/{{id}}"), any(one_response))
            .route(&format!("{prefix}/models"), any(all_models))
            .route(&format!("{prefix}/models/{{*id}}"), any(one_model));
    }
    router.fallback(unknown).with_state(gateway)
}

/// A request to a model, read.
struct Asked {
    chat: Chat,
    body: Map<String, Value>,
}

const READ: &str = "GET, HEAD";

/// The last part of a path, if it is text; the key is asked for before that is known.
type Id = Result<Path<String>, PathRejection>;

impl Gateway {
    /// Checks place and method. Keys are a matter of [`Access`].
    fn place(&self, request: &Request, methods: &'static str) -> Result<(), Reject> {
        let force = self.core.force();
        let settings = &force.settings;
        let guard = Guard {
            host: settings.listen.host,
            public_url: settings.public_url.as_deref(),
            allowed_hosts: &settings.allowed_hosts,
            allowed_origins: &settings.allowed_origins,
            // Whether there are any is all that the place depends on.
            keys: settings.any_key(),
        };
        guard.admit(request, methods, false)
    }

    /// Checks place, method and key of a request to MCP's paths.
    fn admit(&self, request: &Request, methods: &'static str) -> Result<Access, Reject> {
        self.place(request, methods)?;
        Ok(self.core.access(request.headers())?)
    }

    /// Reads a request to a model, and puts together what it is served with.
    async fn asked(&self, request: Request, api: &'static str) -> Result<Asked, ApiError> {
        self.core.settled().await;
        let access = Arc::new(self.admit_api(&request, "POST")?);
        if self.core.is_draining() {
            let text = "the gateway is shutting down";
            return Err(ApiError::unavailable(text, Duration::from_secs(5)));
        }
        let force = self.core.force();
        let (head, body) = request.into_parts();
        if !media::is_json(&head.headers) {
            let text = "the Content-Type must be application/json";
            return Err(
                ApiError::invalid("headers", text).with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE)
            );
        }
        let body = body::read(&head.headers, body, force.settings.max_body)
            .await
            .map_err(|reject| of_reject(&reject))?;
        let body = json::object(&body, json::VALUES)
            .map_err(|why| ApiError::invalid("body", format!("the body can't be served: {why}")))?;
        let model = body.get("model").and_then(Value::as_str);
        let chat = Chat {
            models: force.models.clone(),
            snapshot: self.core.snapshot(),
            caller: self.core.caller(&access, api, model.unwrap_or_default()),
            access,
            continuations: self.core.continuations.clone(),
            settings: force.settings.clone(),
            tasks: self.core.tasks.clone(),
            stop: self.core.stop.clone(),
        };
        Ok(Asked { chat, body })
    }

    /// Checks place, method and key of a request to the OpenAI API.
    pub(super) fn admit_api(
        &self,
        request: &Request,
        methods: &'static str,
    ) -> Result<Access, ApiError> {
        self.place(request, methods)
            .map_err(|reject| self.counted(reject))
            .map_err(|reject| of_reject(&reject))?;
        let access = self.core.access(request.headers());
        access.map_err(|denied| {
            self.counted(Reject::from(denied.clone()));
            denied.into()
        })
    }

    fn counted(&self, reject: Reject) -> Reject {
        tracing::debug!(bridge = "gateway", status = reject.status().as_u16(), %reject, "refused");
        self.core.metrics.refused(reject.label());
        reject
    }

    fn finish(&self, outcome: Result<Response, Reject>) -> Response {
        outcome.unwrap_or_else(|reject| self.counted(reject).into_response())
    }
}

async fn mcp(State(gateway): State<Gateway>, request: Request) -> Response {
    let outcome = match gateway.admit(&request, Front::MCP_METHODS) {
        Ok(_) => {
            let max_body = gateway.core.force().settings.max_body;
            gateway.front.mcp(request, max_body).await
        }
        Err(reject) => Err(reject),
    };
    gateway.finish(outcome)
}

async fn sse(State(gateway): State<Gateway>, request: Request) -> Response {
    gateway.finish(gateway.admit(&request, "GET").and_then(|_| {
        let force = gateway.core.force();
        gateway
            .front
            .sse(request.headers(), force.settings.public_url.as_deref())
    }))
}

async fn messages(State(gateway): State<Gateway>, request: Request) -> Response {
    let outcome = match gateway.admit(&request, "POST") {
        Ok(_) => {
            let max_body = gateway.core.force().settings.max_body;
            gateway.front.messages(request, max_body).await
        }
        Err(reject) => Err(reject),
    };
    gateway.finish(outcome)
}

/// A bare URL is an SSE target for those who ask for events by name.
async fn root(state: State<Gateway>, request: Request) -> Response {
    if request.method() == Method::GET && !media::names_event_stream(request.headers()) {
        return unknown(state, request).await;
    }
    sse(state, request).await
}

async fn tools(State(gateway): State<Gateway>, request: Request) -> Response {
    gateway.core.settled().await;
    gateway.finish(gateway.admit(&request, READ).map(|access| {
        let snapshot = gateway.core.snapshot();
        let tools: Vec<_> = snapshot
            .tools(&access)
            .map(|tool| tool.object.clone())
            .collect();
        catalogue::response(&tools, request.headers())
    }))
}

async fn chat(State(gateway): State<Gateway>, request: Request) -> Response {
    let outcome = match gateway.asked(request, "chat").await {
        Ok(asked) => chat::serve(asked.chat, asked.body).await,
        Err(error) => Err(error),
    };
    outcome.unwrap_or_else(IntoResponse::into_response)
}

async fn responses(State(gateway): State<Gateway>, request: Request) -> Response {
    let outcome = match gateway.asked(request, "responses").await {
        Ok(asked) => {
            let store = &gateway.core.responses;
            responses::serve(asked.chat, store, asked.body).await
        }
        Err(error) => Err(error),
    };
    outcome.unwrap_or_else(IntoResponse::into_response)
}

async fn one_response(State(gateway): State<Gateway>, id: Id, request: Request) -> Response {
    let access = gateway.admit_api(&request, "GET, HEAD, DELETE");
    let store = &gateway.core.responses;
    let outcome = access.and_then(|access| match *request.method() {
        Method::DELETE => responses::delete(store, &access, &named(id)),
        _ => responses::retrieve(store, &access, &named(id)),
    });
    outcome.unwrap_or_else(IntoResponse::into_response)
}

async fn all_models(State(gateway): State<Gateway>, request: Request) -> Response {
    gateway.core.settled().await;
    match gateway.admit_api(&request, READ) {
        Ok(access) => models::all(&gateway.core, &access).await.into_response(),
        Err(error) => error.into_response(),
    }
}

async fn one_model(State(gateway): State<Gateway>, id: Id, request: Request) -> Response {
    gateway.core.settled().await;
    match gateway.admit_api(&request, READ) {
        Ok(access) => models::one(&gateway.core, &access, &named(id))
            .await
            .into_response(),
        Err(error) => error.into_response(),
    }
}

/// 200 while requests are taken; the body says which servers are there, and why others are not.
async fn ready(State(gateway): State<Gateway>, request: Request) -> Response {
    gateway.finish(gateway.place(&request, READ).map(|()| {
        let snapshot = gateway.core.snapshot();
        // Probes have no key; the reasons have names and paths in them that are not for everybody.
        let access = gateway.core.access(request.headers()).ok();
        let note = |server: &Standing| match &access {
            Some(access) if access.allows_server(&server.name) => server.note(),
            _ => server.note().map(|_| "down".to_owned()),
        };
        let servers: Vec<_> = snapshot
            .servers()
            .iter()
            .map(|server| {
                json!({ "name": &*server.name, "tools": server.tools, "note": note(server) })
            })
            .collect();
        let ready = !gateway.core.is_draining();
        let status = if ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        (
            status,
            axum::Json(json!({ "healthy": ready, "servers": servers })),
        )
            .into_response()
    }))
}

/// The gateway's own numbers.
async fn numbers(State(gateway): State<Gateway>, request: Request) -> Response {
    gateway.finish(gateway.admit(&request, READ).and_then(|access| {
        if !access.is_unlimited() {
            return Err(Reject::Denied {
                status: StatusCode::FORBIDDEN,
                text: "the numbers are of all keys; this takes the master key".to_owned(),
            });
        }
        let mut response = gateway.metrics.render_gateway().into_response();
        let kind = HeaderValue::from_static(metrics::CONTENT_TYPE);
        response.headers_mut().insert(CONTENT_TYPE, kind);
        Ok(response)
    }))
}

async fn live(State(gateway): State<Gateway>, request: Request) -> Response {
    gateway.finish(gateway.place(&request, READ).map(|()| health::live()))
}

/// Clients look under `/.well-known/` for an authorization server and must learn that there is none.
async fn unknown(State(gateway): State<Gateway>, request: Request) -> Response {
    const ANY: &str = "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS";
    if let Err(reject) = gateway.place(&request, ANY) {
        return of_reject(&reject).into_response();
    }
    let text = format!(
        "nothing is served under {}; there are /v1/models, /v1/chat/completions, /v1/responses, /mcp, /sse and /mcp/tools",
        request.uri().path()
    );
    ApiError::not_found("unknown_url", text).into_response()
}

/// What is no text is the name of nothing.
fn named(id: Id) -> String {
    id.map_or_else(|_| String::new(), |Path(id)| id)
}

fn of_reject(reject: &Reject) -> ApiError {
    let allow = match reject {
        Reject::Method { allow } => Some(*allow),
        _ => None,
    };
    ApiError {
        allow,
        ..ApiError::invalid("request", reject.to_string()).with_status(reject.status())
    }
}
