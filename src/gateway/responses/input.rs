//! The `input` of a request, a text or items, on its way into the [`Conversation`].
//!
//! Items of tools that the gateway executed (`mcp_call`) become calls with their answers again. An `mcp_approval_request` is a
//! call that waits; the `mcp_approval_response` to it says what becomes of it, unless an `mcp_call` shows that it was executed
//! already. Items that only OpenAI's own models can read back are left out.

use serde_json::{Map, Value};

use super::content::{self, kind, others};
use super::conversation::Conversation;
use super::labels::Labels;
use super::tools::{Tools, custom_arguments, text};
use crate::gateway::openai::ApiError;

/// Finds the item of an earlier response by its id.
pub(super) type Recall<'a> = &'a dyn Fn(&str) -> Option<Value>;

/// What an input is read against.
pub(super) struct Reader<'a> {
    /// The client's own tools.
    pub(super) tools: &'a Tools,
    /// Those of the catalogue.
    pub(super) labels: &'a Labels,
    /// Earlier items.
    pub(super) recall: Recall<'a>,
}

/// What an input led to.
#[derive(Debug, Default)]
pub(super) struct Input {
    /// The messages.
    pub(super) conversation: Conversation,
    /// Calls that wait for the client's approval.
    pub(super) pending: Vec<Pending>,
    /// The labels whose tools the client has been told.
    pub(super) told: Vec<String>,
    /// Whether the client itself keeps what the gateway executed.
    pub(super) keeps_calls: bool,
}

/// A call that waits, or waited, for the client's approval.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pending {
    /// The id of the `mcp_approval_request`.
    pub(super) id: String,
    /// The id of the call in the conversation.
    pub(super) call_id: String,
    /// `server_label`.
    pub(super) label: String,
    /// The tool's name under the label.
    pub(super) name: String,
    /// Its arguments.
    pub(super) arguments: String,
    /// The client's word, once it has been given, and the parameter that it came by.
    pub(super) decision: Option<Decision>,
}

/// The client's word.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decision {
    /// Whether it may be executed.
    pub(super) approve: bool,
    /// Why, or why not.
    pub(super) reason: String,
    /// Where it stands in the request.
    pub(super) place: String,
}

impl Reader<'_> {
    /// Adds `value`, the request's `input`, to what there is.
    ///
    /// # Errors
    /// 400 for an item that can't be understood; `param` is its place.
    pub(super) fn read(&self, value: &Value, input: &mut Input) -> Result<(), ApiError> {
        match value {
            Value::Null => {}
            Value::String(_) => input.conversation.say("user", value.clone()),
            Value::Array(items) => {
                for (n, item) in items.iter().enumerate() {
                    self.item(item, &format!("input[{n}]"), input)?;
                }
            }
            _ => {
                return Err(ApiError::invalid(
                    "input",
                    "`input` has to be a string or a list of items",
                ));
            }
        }
        Ok(())
    }

    fn item(&self, item: &Value, place: &str, input: &mut Input) -> Result<(), ApiError> {
        if !item.is_object() {
            return Err(ApiError::invalid(
                place,
                format!("`{place}` has to be an object"),
            ));
        }
        let conversation = &mut input.conversation;
        match kind(item) {
            "" | "message" => message(item, place, conversation)?,
            "function_call" => {
                let name = self
                    .tools
                    .name(text(item, "namespace"), named(item, place)?);
                let id = call_id(item, place)?;
                let others = others(item, CALL_MEMBERS);
                conversation.call(id, &name, &arguments(item), others);
            }
            "custom_tool_call" => {
                let name = self
                    .tools
                    .name(text(item, "namespace"), named(item, place)?);
                let arguments = custom_arguments(text(item, "input"));
                conversation.call(call_id(item, place)?, &name, &arguments, Map::new());
            }
            "local_shell_call" => {
                let action = item.get("action").unwrap_or(&Value::Null).to_string();
                conversation.call(call_id(item, place)?, "local_shell", &action, Map::new());
            }
            "function_call_output" | "custom_tool_call_output" | "local_shell_call_output" => {
                let id = match item.get("call_id") {
                    Some(_) => call_id(item, place)?,
                    None => text(item, "id"),
                };
                let output = item.get("output").unwrap_or(&Value::Null);
                let (output, images) = content::output(output, &format!("{place}.output"))?;
                if !conversation.answer(id, &output, images) {
                    let place = format!("{place}.call_id");
                    return Err(ApiError::invalid(
                        &place,
                        format!(
                            "no tool call found for function call output with call_id {id}; \
                             send the `function_call` item before it, or `previous_response_id`"
                        ),
                    ));
                }
            }
            "reasoning" => {
                let parts = item.get("content").and_then(Value::as_array);
                for part in parts.into_iter().flatten() {
                    conversation.think(text(part, "text"));
                }
            }
            "mcp_list_tools" => input.told.push(text(item, "server_label").to_owned()),
            "mcp_call" => self.executed(item, place, input)?,
            "mcp_approval_request" => {
                let pending = Pending {
                    id: id(item, "id", place)?.to_owned(),
                    call_id: text(item, "id").to_owned(),
                    label: text(item, "server_label").to_owned(),
                    name: named(item, place)?.to_owned(),
                    arguments: arguments(item),
                    decision: None,
                };
                if input.pending.iter().any(|other| other.id == pending.id) {
                    return Ok(());
                }
                if input.pending.len() >= PENDING {
                    return Err(ApiError::invalid(
                        place,
                        format!(
                            "more than {PENDING} approval requests wait; leave out those that are settled"
                        ),
                    ));
                }
                let name = self.public_name(&pending.label, &pending.name);
                conversation.call(&pending.call_id, &name, &pending.arguments, Map::new());
                input.pending.push(pending);
            }
            "mcp_approval_response" => decide(item, place, input)?,
            "item_reference" => {
                let id = id(item, "id", place)?;
                let found = (self.recall)(id).filter(|found| kind(found) != "item_reference");
                let found = found.ok_or_else(|| {
                    ApiError::invalid(
                        format!("{place}.id"),
                        format!(
                            "no item {id} is kept here (responses are kept for an hour, and not with `store: false`); \
                             send the item itself instead of an `item_reference`"
                        ),
                    )
                })?;
                self.item(&found, place, input)?;
            }
            other if UNREADABLE.contains(&other) => {}
            other => {
                let place = format!("{place}.type");
                return Err(ApiError::invalid(
                    &place,
                    format!(
                        "`{place}` is {other:?}, which is not known here; use `message`, `function_call`, \
                         `function_call_output` or another item of the Responses API"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// A call that the gateway executed in an earlier response.
    fn executed(&self, item: &Value, place: &str, input: &mut Input) -> Result<(), ApiError> {
        input.keeps_calls = true;
        let output = match (item.get("output"), item.get("error")) {
            (Some(Value::String(output)), _) => output.clone(),
            (_, Some(Value::String(error))) => format!("Error: {error}"),
            (_, Some(error)) if !error.is_null() => {
                let message = error.get("message").and_then(Value::as_str);
                format!(
                    "Error: {}",
                    message.map_or_else(|| error.to_string(), str::to_owned)
                )
            }
            _ => String::new(),
        };
        let request = text(item, "approval_request_id");
        let asked = input.pending.iter().position(|asked| asked.id == request);
        let call_id = match asked {
            Some(asked) if !request.is_empty() => input.pending.remove(asked).call_id,
            _ => {
                let id = id(item, "id", place)?;
                let name = self.public_name(text(item, "server_label"), named(item, place)?);
                input
                    .conversation
                    .call(id, &name, &arguments(item), Map::new());
                id.to_owned()
            }
        };
        input.conversation.answer(&call_id, &output, Vec::new());
        Ok(())
    }

    fn public_name(&self, label: &str, name: &str) -> String {
        match self.labels.tool(label, name) {
            Some(tool) => tool.name.to_string(),
            None => self.tools.name("", &format!("{label}-{name}")),
        }
    }
}

/// Approval requests of one conversation that were not executed.
const PENDING: usize = 1000;

/// Items that mean something to OpenAI's own models only.
const UNREADABLE: &[&str] = &[
    "additional_tools",
    "apply_patch_call",
    "apply_patch_call_output",
    "code_interpreter_call",
    "compaction",
    "compaction_summary",
    "compaction_trigger",
    "computer_call",
    "computer_call_output",
    "configuration_update",
    "context_compaction",
    "file_search_call",
    "ghost_snapshot",
    "image_generation_call",
    "program",
    "program_output",
    "shell_call",
    "shell_call_output",
    "tool_search_call",
    "tool_search_output",
    "web_search_call",
];

/// The members of a `function_call` that have a place in chat, or none; all else goes with the call.
const CALL_MEMBERS: &[&str] = &[
    "type",
    "id",
    "call_id",
    "name",
    "namespace",
    "arguments",
    "status",
    "async",
    "caller",
    "created_by",
    "index",
    "function",
];

fn message(item: &Value, place: &str, conversation: &mut Conversation) -> Result<(), ApiError> {
    let content = item.get("content").unwrap_or(&Value::Null);
    let content_place = format!("{place}.content");
    match text(item, "role") {
        "user" => conversation.say("user", content::message(content, &content_place)?),
        // Not every model behind a gateway knows the role `developer`.
        "system" | "developer" => {
            conversation.say("system", content::message(content, &content_place)?);
        }
        "assistant" => {
            let (content, refusal) = content::reply(content, &content_place)?;
            let known = [
                "type", "id", "role", "content", "status", "phase", "refusal",
            ];
            let mut others = others(item, &known);
            if let Some(refusal) = refusal {
                others.insert("refusal".into(), refusal.into());
            }
            conversation.reply(content, others);
        }
        other => {
            let place = format!("{place}.role");
            return Err(ApiError::invalid(
                &place,
                format!(
                    "`{place}` is {other:?}; it has to be `user`, `system`, `developer` or `assistant`"
                ),
            ));
        }
    }
    Ok(())
}

fn decide(item: &Value, place: &str, input: &mut Input) -> Result<(), ApiError> {
    let request = id(item, "approval_request_id", place)?;
    let asked = input.pending.iter_mut().find(|asked| asked.id == request);
    let Some(asked) = asked else {
        let place = format!("{place}.approval_request_id");
        return Err(ApiError::invalid(
            &place,
            format!(
                "no approval request {request} waits for an answer; send its `mcp_approval_request` item before it, \
                 or `previous_response_id`"
            ),
        ));
    };
    let Some(approve) = item.get("approve").and_then(Value::as_bool) else {
        let place = format!("{place}.approve");
        return Err(ApiError::invalid(
            &place,
            format!("`{place}` has to be true or false"),
        ));
    };
    asked.decision = Some(Decision {
        approve,
        reason: text(item, "reason").to_owned(),
        place: place.to_owned(),
    });
    Ok(())
}

fn arguments(item: &Value) -> String {
    match item.get("arguments") {
        Some(Value::String(arguments)) => arguments.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

fn call_id<'a>(item: &'a Value, place: &str) -> Result<&'a str, ApiError> {
    id(item, "call_id", place)
}

fn named<'a>(item: &'a Value, place: &str) -> Result<&'a str, ApiError> {
    id(item, "name", place)
}

fn id<'a>(item: &'a Value, member: &str, place: &str) -> Result<&'a str, ApiError> {
    match text(item, member) {
        "" => {
            let place = format!("{place}.{member}");
            Err(ApiError::invalid(
                &place,
                format!("`{place}` is missing; it has to be a string that isn't empty"),
            ))
        }
        text => Ok(text),
    }
}

#[cfg(test)]
mod tests;
