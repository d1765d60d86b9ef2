//! `GET /v1/models` and `/v1/models/{id}`: each model with the tools that it may call here, and the servers they are of.

use std::sync::Arc;

use axum::Json;
use serde_json::{Map, Value, json};

use crate::gateway::access::Access;
use crate::gateway::catalogue::Snapshot;
use crate::gateway::core::Core;
use crate::gateway::openai::ApiError;

/// All models that the key may use.
pub(super) async fn all(core: &Core, access: &Access) -> Json<Value> {
    let snapshot = core.snapshot();
    let models = core.force().models.clone();
    let data: Vec<Value> = models
        .list()
        .await
        .into_iter()
        .filter(|model| allowed(model, access))
        .map(|model| with_tools(model, &snapshot, access))
        .collect();
    Json(json!({ "object": "list", "data": data }))
}

/// The model `id`.
///
/// # Errors
/// 404 when there is none, 403 when the key may not use it.
pub(super) async fn one(core: &Core, access: &Access, id: &str) -> Result<Json<Value>, ApiError> {
    if !access.allows_model(id) {
        let text = format!("this key may not use the model `{id}`");
        return Err(ApiError::forbidden("model_not_allowed", text));
    }
    let models: Arc<_> = core.force().models.clone();
    let found = models.list().await.into_iter().find(|model| is(model, id));
    let model = found.ok_or_else(|| {
        let text = format!("there is no model `{id}`; GET /v1/models lists those there are");
        ApiError::not_found("model_not_found", text)
    })?;
    Ok(Json(with_tools(model, &core.snapshot(), access)))
}

fn is(model: &Map<String, Value>, id: &str) -> bool {
    model.get("id").and_then(Value::as_str) == Some(id)
}

fn allowed(model: &Map<String, Value>, access: &Access) -> bool {
    let id = model.get("id").and_then(Value::as_str);
    id.is_some_and(|id| access.allows_model(id))
}

fn with_tools(mut model: Map<String, Value>, snapshot: &Snapshot, access: &Access) -> Value {
    let tools: Vec<&str> = snapshot.tools(access).map(|tool| &*tool.name).collect();
    let servers: Vec<Value> = snapshot
        .servers()
        .iter()
        .filter(|server| access.allows_server(&server.name))
        .map(|server| Value::from(&*server.name))
        .collect();
    model.insert("tools".to_owned(), json!(tools));
    model.insert("mcp_servers".to_owned(), Value::Array(servers));
    let notes: Map<String, Value> = snapshot
        .servers()
        .iter()
        .filter(|server| access.allows_server(&server.name))
        .filter_map(|server| Some((server.name.to_string(), server.note()?.into())))
        .collect();
    if !notes.is_empty() {
        model.insert("mcp_notes".to_owned(), Value::Object(notes));
    }
    Value::Object(model)
}
