//! The parameters of a Responses request in the chat API's words.
//!
//! `max_output_tokens` becomes `max_tokens`, the one name that every OpenAI-compatible endpoint knows. What neither API knows
//! goes to the model as it is; what only a Responses server itself could act on stays here.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::content::kind;
use super::labels::Labels;
use super::tools::{Tools, text};
use crate::gateway::openai::ApiError;
use crate::gateway::rounds::Offered;

/// The parameters for each round of the model, without messages and tools.
pub(super) fn parameters(request: &Map<String, Value>) -> Map<String, Value> {
    let mut chat = Map::new();
    for (name, value) in request {
        match name.as_str() {
            _ if value.is_null() || OURS.contains(&name.as_str()) => {}
            "max_output_tokens" => set(&mut chat, "max_tokens", value),
            "reasoning" => {
                if let Some(effort) = value.get("effort") {
                    set(&mut chat, "reasoning_effort", effort);
                }
            }
            "text" => {
                if let Some(format) = value.get("format").and_then(response_format) {
                    set(&mut chat, "response_format", &format);
                }
                if let Some(verbosity) = value.get("verbosity") {
                    set(&mut chat, "verbosity", verbosity);
                }
            }
            _ => set(&mut chat, name, value),
        }
    }
    chat
}

/// The `tool_choice`, `None` where there is nothing to choose. A choice of some tools narrows `tools` and `offered` to them.
///
/// # Errors
/// 400 for a choice that can't be made here.
pub(super) fn tool_choice(
    choice: &Value,
    tools: &mut Tools,
    offered: &mut Vec<Offered>,
    labels: &Labels,
) -> Result<Option<Value>, ApiError> {
    let chat = match kind(choice) {
        "" if choice.is_null() => None,
        "" if choice.is_string() => Some(choice.clone()),
        kind @ ("auto" | "none" | "required") => Some(kind.into()),
        "allowed_tools" => {
            let allowed = choice.get("tools").and_then(Value::as_array);
            let names: HashSet<String> = allowed
                .into_iter()
                .flatten()
                .flat_map(|tool| names(tool, tools, labels))
                .collect();
            let keeps = |name: &str| names.contains(name);
            tools.retain(keeps);
            offered.retain(|offered| keeps(&offered.tool.name));
            match text(choice, "mode") {
                "" => None,
                mode => Some(mode.into()),
            }
        }
        "function" | "custom" | "mcp" => match &*names(choice, tools, labels) {
            [name] => Some(json!({ "type": "function", "function": { "name": name } })),
            [] => return Err(unavailable(choice)),
            _ => Some("required".into()),
        },
        _ => return Err(unavailable(choice)),
    };
    Ok(chat.filter(|_| !tools.chat.is_empty() || !offered.is_empty()))
}

/// Members that mean nothing to a chat model, or come to it in another way.
const OURS: &[&str] = &[
    "background",
    "client_metadata",
    "context_management",
    "conversation",
    "include",
    "input",
    "instructions",
    "max_tool_calls",
    "messages",
    "previous_response_id",
    "prompt",
    "store",
    "stream",
    "stream_options",
    "tool_choice",
    "tools",
    "top_logprobs",
    "truncation",
];

fn set(chat: &mut Map<String, Value>, name: &str, value: &Value) {
    if !value.is_null() {
        chat.insert(name.to_owned(), value.clone());
    }
}

/// `text.format` as `response_format`; plain text needs none.
fn response_format(format: &Value) -> Option<Value> {
    match kind(format) {
        "" | "text" => None,
        "json_schema" => {
            let mut schema = format.as_object()?.clone();
            schema.shift_remove("type");
            // Chat's own shape is understood too.
            let schema = match schema.shift_remove("json_schema") {
                Some(Value::Object(nested)) => nested,
                _ => schema,
            };
            Some(json!({ "type": "json_schema", "json_schema": schema }))
        }
        _ => Some(format.clone()),
    }
}

/// The names by which the model knows what a choice names.
fn names(choice: &Value, tools: &Tools, labels: &Labels) -> Vec<String> {
    let name = match choice.get("function") {
        Some(function) => text(function, "name"),
        None => text(choice, "name"),
    };
    match kind(choice) {
        "mcp" => {
            let label = text(choice, "server_label");
            match labels.tool(label, name) {
                Some(tool) => vec![tool.name.to_string()],
                None if name.is_empty() => {
                    let all = labels.tools(label).unwrap_or_default();
                    all.iter().map(|tool| tool.name.to_string()).collect()
                }
                None => Vec::new(),
            }
        }
        "function" | "custom" if !name.is_empty() => {
            vec![tools.name(text(choice, "namespace"), name)]
        }
        _ => Vec::new(),
    }
}

fn unavailable(choice: &Value) -> ApiError {
    ApiError::invalid(
        "tool_choice",
        format!(
            "`tool_choice` {choice} names no tool of this request; use \"auto\", \"none\", \"required\" or a tool of `tools`"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_translated_and_unknown_ones_pass() {
        let request = json!({
            "model": "m",
            "input": "x",
            "instructions": "y",
            "max_output_tokens": 7,
            "reasoning": { "effort": "low", "summary": "auto" },
            "text": {
                "verbosity": "low",
                "format": { "type": "json_schema", "name": "answer", "strict": true, "schema": { "type": "object" } },
            },
            "temperature": 0.5,
            "top_p": null,
            "top_k": 3,
            "parallel_tool_calls": true,
            "user": "u",
            "store": false,
            "include": ["reasoning.encrypted_content"],
            "client_metadata": { "a": "b" },
            "stream": true,
        });
        assert_eq!(
            Value::Object(parameters(request.as_object().unwrap())),
            json!({
                "model": "m",
                "max_tokens": 7,
                "reasoning_effort": "low",
                "response_format": {
                    "type": "json_schema",
                    "json_schema": { "name": "answer", "strict": true, "schema": { "type": "object" } },
                },
                "verbosity": "low",
                "temperature": 0.5,
                "top_k": 3,
                "parallel_tool_calls": true,
                "user": "u",
            })
        );
        for (format, expected) in [
            (json!({ "type": "text" }), None),
            (
                json!({ "type": "json_object" }),
                Some(json!({ "type": "json_object" })),
            ),
        ] {
            let request = json!({ "text": { "format": format } });
            let chat = parameters(request.as_object().unwrap());
            assert_eq!(chat.get("response_format"), expected.as_ref());
        }
    }

    #[test]
    fn a_choice_names_tools_as_the_model_knows_them() {
        let tools = || {
            Tools::of(&[
                json!({ "type": "function", "name": "add" }),
                json!({ "type": "custom", "name": "patch" }),
                json!({ "type": "namespace", "name": "n", "tools": [{ "type": "function", "name": "echo" }] }),
            ])
            .unwrap()
        };
        let function = |name: &str| json!({ "type": "function", "function": { "name": name } });
        let check = |choice: Value, expected: Option<Value>, kept: usize| {
            let (mut tools, mut offered) = (tools(), Vec::new());
            let chat = tool_choice(&choice, &mut tools, &mut offered, &Labels::default()).unwrap();
            assert_eq!((chat, tools.chat.len()), (expected, kept), "{choice}");
        };
        check(Value::Null, None, 3);
        check(json!("required"), Some("required".into()), 3);
        check(json!({ "type": "auto" }), Some("auto".into()), 3);
        check(
            json!({ "type": "function", "name": "add" }),
            Some(function("add")),
            3,
        );
        check(
            json!({ "type": "custom", "name": "patch" }),
            Some(function("patch")),
            3,
        );
        check(
            json!({ "type": "function", "namespace": "n", "name": "echo" }),
            Some(function("n__echo")),
            3,
        );
        check(
            json!({ "type": "allowed_tools", "mode": "required", "tools": [{ "type": "function", "name": "add" }] }),
            Some("required".into()),
            1,
        );
        for choice in [
            json!({ "type": "web_search" }),
            json!({ "type": "mcp", "server_label": "x" }),
        ] {
            let error = tool_choice(&choice, &mut tools(), &mut Vec::new(), &Labels::default());
            assert_eq!(error.unwrap_err().param.as_deref(), Some("tool_choice"));
        }
        let mut none = Tools::default();
        let choice = tool_choice(
            &"auto".into(),
            &mut none,
            &mut Vec::new(),
            &Labels::default(),
        );
        assert_eq!(choice.unwrap(), None);
    }
}
