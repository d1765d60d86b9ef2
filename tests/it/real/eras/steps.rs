//! What a client does with a server, step by step, and what has to come of it.

use serde_json::{Value, json};

use super::play::Part;
use super::servers::Server;

/// What is shown of each cell, in the order of the table's columns.
pub(super) const FEATURES: [&str; 10] = [
    "tools",
    "resources",
    "prompts",
    "progress",
    "cancel",
    "changed",
    "updated",
    "elicit",
    "sample",
    "roots",
];

/// A step, the feature that it shows, and what has to come of it.
pub(super) struct Step {
    pub(super) feature: &'static str,
    step: Value,
    expected: Expected,
}

enum Expected {
    /// This, somewhere in the result.
    Text(&'static str),
    /// A tool's result with at least so many reports before it. The TypeScript SDK 1 loses those that it reads together with the
    /// answer, and rmcp hands over those that come right before it too late.
    Progress(usize),
    /// The client gave it up.
    Cancelled,
    /// The filter of a subscription, as it was asked for.
    Honoured(Value),
    /// No error.
    Done,
}
use Expected::{Cancelled, Done, Honoured, Progress, Text};

/// What a client does that can't be asked anything.
pub(super) fn plain(server: Server, modern_client: bool) -> Vec<Step> {
    match server {
        Server::Everything => {
            let uri = "demo://resource/dynamic/text/1";
            let sum = json!({"a": 40, "b": 2});
            let long = |duration, steps| json!({"duration": duration, "steps": steps});
            let operation = "trigger-long-running-operation";
            let file = json!({"name": "a.gz", "data": "data:text/plain,heron"});
            vec![
                step("tools", json!({"tools": true}), Text("get-sum")),
                call("tools", "get-sum", &sum, Text("42")),
                step(
                    "resources",
                    json!({"resources": true}),
                    Text("architecture.md"),
                ),
                step("resources", json!({"read": uri}), Text("Resource 1")),
                step("prompts", json!({"prompts": true}), Text("args-prompt")),
                prompt("args-prompt", &json!({"city": "Cadiz"}), "weather in Cadiz"),
                call("progress", operation, &long(1.0, 4), Progress(2)),
                step(
                    "cancel",
                    json!({"cancel": operation, "arguments": long(1.0, 10)}),
                    Cancelled,
                ),
                subscription("resources", uri, modern_client),
                call("changed", "gzip-file-as-resource", &file, Text("a.gz")),
                changed("resources"),
                call(
                    "updated",
                    "toggle-subscriber-updates",
                    &json!({}),
                    Text("Started"),
                ),
                updated(uri),
            ]
        }
        Server::Legacy | Server::Modern | Server::Python => {
            let uri = "test://watched-resource";
            let none = json!({});
            let two = json!({"arg1": "x", "arg2": "y"});
            vec![
                step("tools", json!({"tools": true}), Text("test_simple_text")),
                call(
                    "tools",
                    "test_simple_text",
                    &none,
                    Text("a simple text response"),
                ),
                step(
                    "resources",
                    json!({"resources": true}),
                    Text("test://static-text"),
                ),
                step(
                    "resources",
                    json!({"read": "test://template/7/data"}),
                    Text("Data for ID: 7"),
                ),
                step(
                    "prompts",
                    json!({"prompts": true}),
                    Text("test_prompt_with_arguments"),
                ),
                prompt("test_prompt_with_arguments", &two, "arg1='x', arg2='y'"),
                call("progress", "test_slow_progress", &none, Progress(2)),
                step(
                    "cancel",
                    json!({"cancel": "test_until_cancelled"}),
                    Cancelled,
                ),
                subscription("tools", uri, modern_client),
                call(
                    "changed",
                    "test_trigger_tool_change",
                    &none,
                    Text("Tools changed"),
                ),
                changed("tools"),
                call("updated", "test_change_watched", &none, Text("Changed")),
                updated(uri),
            ]
        }
    }
}

/// What a client does that can be asked.
pub(super) fn interactive(server: Server) -> Vec<Step> {
    let sampled = Text("sampled by client-");
    let rooted = Text("file:///client-");
    let none = json!({});
    match server {
        Server::Everything => {
            let prompt = json!({"prompt": "hello", "maxTokens": 5});
            vec![
                step(
                    "tools",
                    json!({"tools": true}),
                    Text("trigger-sampling-request"),
                ),
                call(
                    "elicit",
                    "trigger-elicitation-request",
                    &none,
                    Text("Name: Ada"),
                ),
                call("sample", "trigger-sampling-request", &prompt, sampled),
                call("roots", "get-roots-list", &none, rooted),
            ]
        }
        Server::Legacy | Server::Modern | Server::Python => {
            let message = json!({"message": "Who?"});
            let accepted = Text("\\\"username\\\":\\\"ada\\\"");
            let roots = "test_input_required_result_list_roots";
            vec![
                step("tools", json!({"tools": true}), Text("test_elicitation")),
                call("elicit", "test_elicitation", &message, accepted),
                call(
                    "sample",
                    "test_sampling",
                    &json!({"prompt": "hello"}),
                    sampled,
                ),
                call("roots", roots, &none, rooted),
            ]
        }
    }
}

/// With what elicitations are accepted: what any of the servers asks for.
pub(super) fn content() -> Value {
    json!({"name": "Ada", "username": "ada", "email": "ada@example.com"})
}

impl Part {
    pub(super) fn of(steps: &[Step], interactive: bool) -> Part {
        let all: Vec<_> = steps.iter().map(|step| step.step.clone()).collect();
        Part {
            steps: all.into(),
            interactive,
            content: interactive.then(content),
        }
    }
}

impl Step {
    /// What is wrong with the result.
    pub(super) fn fault(&self, result: &Value) -> Option<String> {
        let said = result.to_string();
        let right = result.get("exception").is_none()
            && result["isError"] != true
            && match &self.expected {
                Text(text) => said.contains(text),
                Progress(least) => result["progress"]
                    .as_array()
                    .is_some_and(|all| all.len() >= *least),
                Cancelled => result["cancelled"] == true,
                Honoured(filter) => result == filter,
                Done => true,
            };
        (!right).then(|| format!("{}: {} gave {said}", self.feature, self.step))
    }
}

fn step(feature: &'static str, step: Value, expected: Expected) -> Step {
    Step {
        feature,
        step,
        expected,
    }
}

fn call(feature: &'static str, tool: &str, arguments: &Value, expected: Expected) -> Step {
    let call = json!({"call": tool, "arguments": arguments});
    step(feature, call, expected)
}

fn prompt(name: &str, arguments: &Value, text: &'static str) -> Step {
    let prompt = json!({"prompt": name, "arguments": arguments});
    step("prompts", prompt, Text(text))
}

/// To changes of a list and of a resource; clients with a handshake are told of lists unasked.
fn subscription(list: &str, uri: &str, modern_client: bool) -> Step {
    if !modern_client {
        return step("updated", json!({"subscribe": uri}), Done);
    }
    let filter = json!({format!("{list}ListChanged"): true, "resourceSubscriptions": [uri]});
    step("updated", json!({"listen": filter}), Honoured(filter))
}

fn changed(list: &str) -> Step {
    let event = format!("notifications/{list}/list_changed");
    step("changed", json!({"expect": event}), Done)
}

fn updated(uri: &str) -> Step {
    let event = format!("notifications/resources/updated {uri}");
    step("updated", json!({"expect": event}), Done)
}
