//! `POST /v1/responses` over models that speak chat.
//!
//! A request is read whole first (`request`: its `input` becomes a conversation, its `tools` and `parameters` are put into
//! chat's words), then runs through the same loop as a chat request (`run`), whose events become output items and streaming
//! events (`output`). What a client may go on with is kept for a while (`store`).

mod content;
mod conversation;
mod events;
mod ids;
mod input;
mod labels;
mod object;
mod output;
mod parameters;
mod request;
mod run;
mod store;
mod tools;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::access::Access;
use super::chat::Chat;
use super::openai::ApiError;
use super::stream;
use request::Asked;
use run::Job;

pub(crate) use store::Store;

/// What a client that reads slowly has beyond `deadline`, before its stream is cut.
const GRACE: Duration = Duration::from_secs(60);

/// Answers `POST /v1/responses` with this body, by what a chat request is served with.
///
/// # Errors
/// 400 for a body that can't be served, 403 for a model or server that is not granted, 404 for a `previous_response_id` that
/// is not kept; and the loop's, unless its stream has begun.
///
/// # Cancel safety
/// Dropping the future ends the model's answer and cancels the calls under way.
pub(crate) async fn serve(
    chat: Chat,
    store: &Arc<Store>,
    request: Map<String, Value>,
) -> Result<Response, ApiError> {
    let asked = Asked::read(&request, &chat.snapshot, &chat.access, store);
    let asked = asked.inspect_err(|error| chat.caller.tally.failed(error))?;
    let tasks = chat.tasks.clone();
    let limit = chat.settings.deadline + GRACE;
    let streams = asked.stream;
    let job = Job::new(&request, asked, chat, Arc::clone(store));
    drop(request);
    if !streams {
        return Ok(Json(Box::pin(job.run(None)).await?).into_response());
    }
    let (writer, reader) = stream::channel();
    let gone = writer.gone();
    tasks.spawn(async move {
        tokio::select! {
            _ = tokio::time::timeout(limit, Box::pin(job.run(Some(writer)))) => {}
            () = gone => {}
        }
    });
    reader.respond().await
}

/// Answers `GET /v1/responses/{id}`.
///
/// # Errors
/// 404 for a response that isn't kept for this key.
pub(crate) fn retrieve(store: &Store, access: &Access, id: &str) -> Result<Response, ApiError> {
    let response = store.response(&access.key, id);
    let response = response.ok_or_else(|| unknown(id))?;
    Ok(Json(response).into_response())
}

/// Answers `DELETE /v1/responses/{id}`.
///
/// # Errors
/// 404 for a response that isn't kept for this key.
pub(crate) fn delete(store: &Store, access: &Access, id: &str) -> Result<Response, ApiError> {
    if !store.forget(&access.key, id) {
        return Err(unknown(id));
    }
    Ok(Json(json!({ "id": id, "object": "response", "deleted": true })).into_response())
}

fn unknown(id: &str) -> ApiError {
    ApiError::not_found(
        "response_not_found",
        format!(
            "response {id:?} not found: responses are kept for an hour, for the key that they were made with, and not with \
             `store: false`"
        ),
    )
}
