//! The `response` object around the output: what the request asked for, said back, and how it went.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::content::kind;
use crate::gateway::openai::ApiError;

/// How a response stands.
#[derive(Debug)]
pub(super) enum Status<'a> {
    /// The model is at work.
    InProgress,
    /// The model gave its answer, with this `finish_reason`.
    Finished(&'a str),
    /// There will be no more.
    Failed(&'a ApiError),
}

/// The members that don't change while the response is made.
#[derive(Debug)]
pub(super) struct Frame {
    before: Map<String, Value>,
    after: Map<String, Value>,
}

impl Frame {
    /// The frame of the response to `request`.
    pub(super) fn new(id: &str, request: &Map<String, Value>) -> Frame {
        let echo = |name: &str, default: Value| match request.get(name) {
            None | Some(Value::Null) => default,
            Some(value) => value.clone(),
        };
        let before = json!({ "id": id, "object": "response", "created_at": now() });
        let mut after = json!({
            "instructions": echo("instructions", Value::Null),
            "max_output_tokens": echo("max_output_tokens", Value::Null),
            "max_tool_calls": echo("max_tool_calls", Value::Null),
            "metadata": echo("metadata", json!({})),
            "parallel_tool_calls": echo("parallel_tool_calls", true.into()),
            "previous_response_id": echo("previous_response_id", Value::Null),
            "prompt_cache_key": echo("prompt_cache_key", Value::Null),
            "reasoning": { "effort": null, "summary": null },
            "safety_identifier": echo("safety_identifier", Value::Null),
            "service_tier": echo("service_tier", "auto".into()),
            "store": echo("store", true.into()),
            "temperature": echo("temperature", json!(1.0)),
            "text": { "format": { "type": "text" } },
            "tool_choice": echo("tool_choice", "auto".into()),
            "tools": tools(request),
            "top_logprobs": echo("top_logprobs", 0.into()),
            "top_p": echo("top_p", json!(1.0)),
            "truncation": echo("truncation", "disabled".into()),
            "user": echo("user", Value::Null),
        });
        for name in ["reasoning", "text"] {
            if let (Some(into), Some(Value::Object(from))) =
                (after[name].as_object_mut(), request.get(name))
            {
                into.extend(from.clone());
            }
        }
        Frame {
            before: members(before),
            after: members(after),
        }
    }

    /// The whole object. `others` are members of the model's answer that have no name here.
    pub(super) fn object(
        &self,
        model: &str,
        status: &Status<'_>,
        output: &[Value],
        usage: Option<&Value>,
        others: &Map<String, Value>,
    ) -> Value {
        let (word, error, incomplete) = match status {
            Status::InProgress => ("in_progress", Value::Null, Value::Null),
            Status::Failed(error) => ("failed", failure(error), Value::Null),
            Status::Finished(reason) => match incomplete(reason) {
                Some(reason) => ("incomplete", Value::Null, json!({ "reason": reason })),
                None => ("completed", Value::Null, Value::Null),
            },
        };
        let mut object = self.before.clone();
        let completed = matches!(status, Status::Finished(_)).then(now);
        object.extend(members(json!({
            "status": word,
            "background": false,
            "completed_at": completed,
            "error": error,
            "incomplete_details": incomplete,
            "model": model,
            "output": output,
            "usage": usage.map(translated),
        })));
        object.extend(self.after.clone());
        for (name, value) in others {
            if !object.contains_key(name) {
                object.insert(name.clone(), value.clone());
            }
        }
        object.into()
    }
}

/// Why an answer with this `finish_reason` is not whole.
pub(super) fn incomplete(finish_reason: &str) -> Option<&'static str> {
    match finish_reason {
        "length" => Some("max_output_tokens"),
        "content_filter" => Some("content_filter"),
        _ => None,
    }
}

/// The error of a response that failed on its way. Clients try `server_error` again and take `invalid_prompt` as final.
fn failure(error: &ApiError) -> Value {
    let code = match error.status.as_u16() {
        429 => "rate_limit_exceeded",
        400..=499 => "invalid_prompt",
        _ => "server_error",
    };
    json!({ "code": code, "message": error.message })
}

/// The request's tools without what is nobody's business: headers and tokens for servers.
fn tools(request: &Map<String, Value>) -> Value {
    let tools = request.get("tools").and_then(Value::as_array);
    let tools = tools.into_iter().flatten().cloned().map(|mut tool| {
        if kind(&tool) == "mcp"
            && let Some(tool) = tool.as_object_mut()
        {
            tool.shift_remove("authorization");
            if tool.contains_key("headers") {
                tool.insert("headers".into(), Value::Null);
            }
        }
        tool
    });
    tools.collect()
}

/// Chat's usage in the words of the Responses API.
fn translated(usage: &Value) -> Value {
    let count = |value: Option<&Value>| value.and_then(Value::as_u64).unwrap_or(0);
    let detail = |of: &str, name: &str| count(usage.get(of).and_then(|details| details.get(name)));
    let input = count(usage.get("prompt_tokens"));
    let output = count(usage.get("completion_tokens"));
    let total = usage.get("total_tokens").and_then(Value::as_u64);
    json!({
        "input_tokens": input,
        "input_tokens_details": {
            "cached_tokens": detail("prompt_tokens_details", "cached_tokens"),
            "cache_write_tokens": detail("prompt_tokens_details", "cache_write_tokens"),
        },
        "output_tokens": output,
        "output_tokens_details": {
            "reasoning_tokens": detail("completion_tokens_details", "reasoning_tokens"),
        },
        "total_tokens": total.unwrap_or(input + output),
    })
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_said_back_without_its_secrets() {
        let request = json!({
            "model": "m",
            "instructions": "Be brief.",
            "temperature": 0.1,
            "reasoning": { "effort": "low" },
            "text": { "verbosity": "low" },
            "tools": [{
                "type": "mcp", "server_label": "demo", "authorization": "secret-1", "headers": { "X-Key": "secret-2" },
            }],
        });
        let frame = Frame::new("resp_1", request.as_object().unwrap());
        let others = members(json!({ "system_fingerprint": "fp", "status": "no" }));
        let object = frame.object("m", &Status::InProgress, &[], None, &others);
        for (member, expected) in [
            ("id", json!("resp_1")),
            ("object", json!("response")),
            ("status", json!("in_progress")),
            ("error", Value::Null),
            ("output", json!([])),
            ("usage", Value::Null),
            ("instructions", json!("Be brief.")),
            ("temperature", json!(0.1)),
            ("top_p", json!(1.0)),
            ("reasoning", json!({ "effort": "low", "summary": null })),
            (
                "text",
                json!({ "format": { "type": "text" }, "verbosity": "low" }),
            ),
            (
                "tools",
                json!([{ "type": "mcp", "server_label": "demo", "headers": null }]),
            ),
            ("parallel_tool_calls", json!(true)),
            ("tool_choice", json!("auto")),
            ("metadata", json!({})),
            ("system_fingerprint", json!("fp")),
        ] {
            assert_eq!(object[member], expected, "{member}");
        }
    }

    #[test]
    fn a_finish_reason_becomes_a_status() {
        let frame = Frame::new("resp_1", &Map::new());
        for (reason, status, why) in [
            ("stop", "completed", Value::Null),
            ("tool_calls", "completed", Value::Null),
            (
                "length",
                "incomplete",
                json!({ "reason": "max_output_tokens" }),
            ),
            (
                "content_filter",
                "incomplete",
                json!({ "reason": "content_filter" }),
            ),
        ] {
            let object = frame.object("m", &Status::Finished(reason), &[], None, &Map::new());
            assert_eq!(object["status"], status);
            assert_eq!(object["incomplete_details"], why);
        }
        for (error, code) in [
            (ApiError::invalid("model", "no"), "invalid_prompt"),
            (ApiError::upstream("x", "no"), "server_error"),
        ] {
            let object = frame.object("m", &Status::Failed(&error), &[], None, &Map::new());
            assert_eq!(object["status"], "failed");
            assert_eq!(object["error"], json!({ "code": code, "message": "no" }));
        }
    }

    #[test]
    fn usage_is_translated() {
        let usage = json!({
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "prompt_tokens_details": { "cached_tokens": 4 },
            "completion_tokens_details": { "reasoning_tokens": 2 },
        });
        assert_eq!(
            translated(&usage),
            json!({
                "input_tokens": 10,
                "input_tokens_details": { "cached_tokens": 4, "cache_write_tokens": 0 },
                "output_tokens": 5,
                "output_tokens_details": { "reasoning_tokens": 2 },
                "total_tokens": 15,
            })
        );
    }
}
