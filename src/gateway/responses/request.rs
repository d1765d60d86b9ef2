//! A request, read whole and checked before anything is asked of anybody.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::conversation::Conversation;
use super::input::{Input, Pending, Reader};
use super::labels::Labels;
use super::parameters::{parameters, tool_choice};
use super::store::{Store, Thread};
use super::tools::{Tools, text};
use crate::gateway::access::Access;
use crate::gateway::catalogue::{Snapshot, Tool};
use crate::gateway::openai::ApiError;
use crate::gateway::rounds::Offered;
use crate::gateway::selection::{Approval, Selection};

/// What a request comes to.
#[derive(Debug)]
pub(super) struct Asked {
    /// Parameters for each round.
    pub(super) parameters: Map<String, Value>,
    /// The conversation, apart from the answers to approved calls.
    pub(super) conversation: Conversation,
    /// The first message, which isn't carried over to the next request.
    pub(super) instructions: Option<Value>,
    /// The client's own tools.
    pub(super) tools: Tools,
    /// Those of the catalogue.
    pub(super) offered: Vec<Offered>,
    /// What the client calls them.
    pub(super) labels: Labels,
    /// The labels whose tools the client has been told.
    pub(super) told: Vec<String>,
    /// Calls that the client has approved.
    pub(super) approved: Vec<(Pending, Arc<Tool>)>,
    /// Whether the conversation has everything that the gateway executed in it, so that nothing needs to be put back.
    pub(super) is_whole: bool,
    /// Whether the response is to be kept.
    pub(super) store: bool,
    /// Whether the client wants events.
    pub(super) stream: bool,
}

impl Asked {
    /// Reads `request`, the object that was sent.
    ///
    /// # Errors
    /// 400 for what can't be understood or served; 403 for a model or server that is not granted; 404 for a
    /// `previous_response_id` that is not kept for this key.
    pub(super) fn read(
        request: &Map<String, Value>,
        snapshot: &Snapshot,
        access: &Access,
        store: &Store,
    ) -> Result<Asked, ApiError> {
        model(request, access)?;
        refuse(request)?;
        let given = match request.get("tools") {
            None | Some(Value::Null) => &[][..],
            Some(Value::Array(tools)) => tools,
            Some(_) => return Err(ApiError::invalid("tools", "`tools` has to be a list")),
        };
        let selection = Selection::of(given, snapshot, access, Approval::Always)?;
        let labels = Labels::of(&selection);
        let mut offered = selection.offered;
        let mut tools = Tools::of(given)?;
        let choice = request.get("tool_choice").unwrap_or(&Value::Null);
        let choice = tool_choice(choice, &mut tools, &mut offered, &labels)?;
        let mut parameters = parameters(request);
        if let Some(choice) = choice {
            parameters.insert("tool_choice".into(), choice);
        }
        let previous = previous(request, access, store)?;
        let goes_on = previous.is_some();
        let mut input = read_input(request, previous, &tools, &labels, access, store)?;
        let approved = settle(&mut input, &labels)?;
        Ok(Asked {
            parameters,
            conversation: input.conversation,
            instructions: instructions(request)?,
            tools,
            offered,
            labels,
            told: input.told,
            approved,
            is_whole: goes_on || input.keeps_calls,
            store: request.get("store") != Some(&Value::Bool(false)),
            stream: request.get("stream") == Some(&Value::Bool(true)),
        })
    }
}

fn model(request: &Map<String, Value>, access: &Access) -> Result<(), ApiError> {
    let model = request.get("model").and_then(Value::as_str);
    let Some(model) = model.filter(|model| !model.is_empty()) else {
        return Err(ApiError::invalid(
            "model",
            "`model` is missing; GET /v1/models lists those that there are",
        ));
    };
    if access.allows_model(model) {
        return Ok(());
    }
    Err(ApiError::forbidden(
        "model_not_allowed",
        format!("this key may not use the model {model}; GET /v1/models lists those that it may"),
    ))
}

/// What only OpenAI's own servers can do.
fn refuse(request: &Map<String, Value>) -> Result<(), ApiError> {
    let wants = |name: &str| {
        let value = request.get(name);
        value.is_some_and(|value| !value.is_null() && *value != Value::Bool(false))
    };
    for (name, cure) in [
        (
            "background",
            "responses are made while the client waits; leave it out and use `stream`",
        ),
        (
            "conversation",
            "conversations are not kept here; use `previous_response_id`",
        ),
        (
            "prompt",
            "prompt templates are not kept here; send `instructions` and `input`",
        ),
    ] {
        if wants(name) {
            return Err(ApiError::invalid(
                name,
                format!("`{name}` is not supported: {cure}"),
            ));
        }
    }
    if !request.contains_key("input") && !wants("previous_response_id") {
        return Err(ApiError::invalid(
            "input",
            "`input` is missing; send a string or a list of items",
        ));
    }
    Ok(())
}

fn previous(
    request: &Map<String, Value>,
    access: &Access,
    store: &Store,
) -> Result<Option<Thread>, ApiError> {
    let id = match request.get("previous_response_id") {
        None | Some(Value::Null) => return Ok(None),
        Some(id) => id.as_str().unwrap_or_default(),
    };
    let thread = store.thread(&access.key, id).ok_or_else(|| {
        let error = ApiError::invalid(
            "previous_response_id",
            format!(
                "previous response {id:?} not found: responses are kept for an hour, for the key that they were made with, \
                 and not with `store: false`; send the whole conversation as `input` instead"
            ),
        );
        ApiError {
            code: Some("previous_response_not_found"),
            ..error.with_status(StatusCode::NOT_FOUND)
        }
    })?;
    Ok(Some(thread))
}

fn read_input(
    request: &Map<String, Value>,
    previous: Option<Thread>,
    tools: &Tools,
    labels: &Labels,
    access: &Access,
    store: &Store,
) -> Result<Input, ApiError> {
    let thread = previous.unwrap_or_default();
    let mut input = Input {
        conversation: Conversation::resume(thread.messages),
        pending: thread.pending,
        told: thread.told,
        keeps_calls: false,
    };
    // Many references of one input are to the same few responses.
    let responses: RefCell<HashMap<String, Option<Value>>> = RefCell::default();
    let recall = |id: &str| {
        let response = super::ids::response_of(id)?;
        let mut responses = responses.borrow_mut();
        let found = responses
            .entry(response)
            .or_insert_with_key(|response| store.response(&access.key, response));
        let items = found.as_ref()?.get("output")?.as_array()?;
        items.iter().find(|item| text(item, "id") == id).cloned()
    };
    let reader = Reader {
        tools,
        labels,
        recall: &recall,
    };
    reader.read(request.get("input").unwrap_or(&Value::Null), &mut input)?;
    Ok(input)
}

/// Answers the calls that the client didn't approve, and finds the tools of those that it did.
fn settle(input: &mut Input, labels: &Labels) -> Result<Vec<(Pending, Arc<Tool>)>, ApiError> {
    let mut approved = Vec::new();
    for pending in std::mem::take(&mut input.pending) {
        let words = match &pending.decision {
            Some(decision) if decision.approve => {
                let tool = labels.tool(&pending.label, &pending.name);
                let tool = tool.cloned().ok_or_else(|| {
                    ApiError::invalid(
                        format!("{}.approval_request_id", decision.place),
                        format!(
                            "the tool {} of {} was approved, but this request doesn't offer it; send the same `tools` again",
                            pending.name, pending.label
                        ),
                    )
                })?;
                approved.push((pending, tool));
                continue;
            }
            Some(decision) if !decision.reason.is_empty() => {
                format!("The user did not approve this call: {}", decision.reason)
            }
            Some(_) => "The user did not approve this call.".to_owned(),
            None => "The user has not approved this call, so it was not executed.".to_owned(),
        };
        input
            .conversation
            .answer(&pending.call_id, &words, Vec::new());
    }
    input
        .conversation
        .check_answers(|id| approved.iter().any(|(pending, _)| pending.call_id == id))?;
    Ok(approved)
}

fn instructions(request: &Map<String, Value>) -> Result<Option<Value>, ApiError> {
    match request.get("instructions") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(json!({ "role": "system", "content": text }))),
        Some(_) => Err(ApiError::invalid(
            "instructions",
            "`instructions` has to be a string; send other messages in `input`",
        )),
    }
}
