//! The body of a chat request: what the gateway has to understand of it. Everything else is the provider's.

use serde_json::{Map, Value};

use super::super::openai::ApiError;

/// A request's body, read.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) model: String,
    pub(super) messages: Vec<Value>,
    /// As they came: the client's own, and entries of `type: "mcp"`.
    pub(super) tools: Vec<Value>,
    pub(super) stream: bool,
    /// Whether a stream ends with the usage.
    pub(super) wants_usage: bool,
    /// Everything else, `model` too.
    pub(super) parameters: Map<String, Value>,
}

impl Body {
    /// Reads a body.
    ///
    /// # Errors
    /// 400, naming the member that is wrong.
    pub(super) fn read(body: Map<String, Value>) -> Result<Body, ApiError> {
        let mut parameters = body;
        let model = match parameters.get("model") {
            Some(Value::String(model)) if !model.is_empty() => model.clone(),
            _ => {
                return Err(wrong(
                    "model",
                    "the name of a model; `GET /v1/models` lists them",
                ));
            }
        };
        let messages = match parameters.shift_remove("messages") {
            Some(Value::Array(messages)) if !messages.is_empty() => messages,
            _ => return Err(wrong("messages", "a list of at least one message")),
        };
        if let Some(n) = messages.iter().position(|message| !message.is_object()) {
            return Err(wrong(&format!("messages[{n}]"), "an object"));
        }
        let tools = match parameters.shift_remove("tools") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(tools)) => tools,
            Some(_) => return Err(wrong("tools", "a list of tools")),
        };
        let stream = match parameters.shift_remove("stream") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(stream)) => stream,
            Some(_) => return Err(wrong("stream", "true or false")),
        };
        match parameters.get("n") {
            None | Some(Value::Null) => {}
            Some(n) if n.as_u64() == Some(1) => {}
            Some(_) => {
                return Err(ApiError::invalid(
                    "n",
                    "`n` has to be 1: tools are executed for one answer, several can't go on from there",
                ));
            }
        }
        let functions = parameters.get("functions").and_then(Value::as_array);
        if functions.is_some_and(|functions| !functions.is_empty()) {
            return Err(ApiError::invalid(
                "functions",
                "`functions`, of before there were tools, are not known here; send each as \
                 `{\"type\": \"function\", \"function\": …}` in `tools`",
            ));
        }
        let wants_usage = match parameters.get("stream_options") {
            None | Some(Value::Null) => false,
            Some(Value::Object(options)) => {
                options.get("include_usage") == Some(&Value::Bool(true))
            }
            Some(_) => return Err(wrong("stream_options", "an object")),
        };
        if !stream {
            parameters.shift_remove("stream_options");
        }
        Ok(Body {
            model,
            messages,
            tools,
            stream,
            wants_usage,
            parameters,
        })
    }
}

fn wrong(param: &str, expected: &str) -> ApiError {
    ApiError::invalid(param, format!("`{param}` has to be {expected}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let check = |body: &str, param: &str| {
            let error = Body::read(serde_json::from_str(body).unwrap()).unwrap_err();
            assert_eq!(error.status, 400);
            assert_eq!(error.param.as_deref(), Some(param), "{error}");
        };
        check("{}", "model");
        check(r#"{"model":1}"#, "model");
        check(r#"{"model":"m"}"#, "messages");
        check(r#"{"model":"m","messages":[]}"#, "messages");
        check(r#"{"model":"m","messages":[{},"x"]}"#, "messages[1]");
        check(r#"{"model":"m","messages":[{}],"tools":{}}"#, "tools");
        check(r#"{"model":"m","messages":[{}],"stream":1}"#, "stream");
        check(r#"{"model":"m","messages":[{}],"n":2}"#, "n");
        check(
            r#"{"model":"m","messages":[{}],"functions":[{"name":"f"}]}"#,
            "functions",
        );
        check(
            r#"{"model":"m","messages":[{}],"stream_options":1}"#,
            "stream_options",
        );
    }

    #[test]
    fn what_nobody_knows_is_kept() {
        let body = json!({
            "model": "m", "top_k": 5, "messages": [{ "role": "user" }], "n": 1, "tools": null, "stream": true,
            "stream_options": { "include_usage": true, "x": 1 },
        });
        let body = Body::read(body.as_object().unwrap().clone()).unwrap();
        assert!(body.stream && body.wants_usage);
        assert_eq!(
            Value::Object(body.parameters),
            json!({ "model": "m", "top_k": 5, "n": 1, "stream_options": { "include_usage": true, "x": 1 } })
        );
    }
}
