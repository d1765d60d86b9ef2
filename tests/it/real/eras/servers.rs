//! Real servers, and what clients of either era do with them.

use std::path::Path;

use serde_json::{Value, json};

use super::super::Installed;
use super::play::{MODERN_PYTHON, Part};

pub(super) const EVERYTHING: &str = "node/node_modules/.bin/mcp-server-everything";
/// The node that has the TypeScript SDK 2 beside it.
pub(super) const NODE: &str = "conformance/node_modules/.bin/node";

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

/// A server behind a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    /// `@modelcontextprotocol/server-everything`, unmodified. What goes in and out is kept.
    Everything,
    /// `tests/eras/server.mjs` with a handshake.
    Legacy,
    /// The same, stateless.
    Modern,
    /// `tests/eras/server.py`, stateless.
    Python,
}

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

impl Server {
    pub(super) fn name(self) -> &'static str {
        match self {
            Server::Everything => "server-everything",
            Server::Legacy => "legacy server",
            Server::Modern => "modern server",
            Server::Python => "python server",
        }
    }

    pub(super) fn is_modern(self) -> bool {
        matches!(self, Server::Modern | Server::Python)
    }

    /// A bridge's entry in the configuration, named `name`.
    pub(super) fn entry(self, name: &str, installed: &Installed) -> Value {
        let own = |era: &str| {
            let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/eras/server.mjs");
            json!({"port": 0, "command": installed.path(NODE), "args": [server, era]})
        };
        match self {
            Server::Everything => {
                let server = installed.path(EVERYTHING);
                // `$$` is a dollar sign; each process has files of its own
                let file = format!("'{{dir}}/{name}'.$$$$");
                let line = format!("tee {file}.in | '{server}' stdio | tee {file}.out");
                json!({"port": 0, "command": "sh", "args": ["-c", line]})
            }
            Server::Legacy => own("legacy"),
            Server::Modern => own("modern"),
            Server::Python => {
                let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/eras/server.py");
                let env = json!({"PYTHONDONTWRITEBYTECODE": "1"});
                json!({"port": 0, "command": installed.path(MODERN_PYTHON), "args": [server], "env": env})
            }
        }
    }

    /// What a client does that can't be asked anything.
    pub(super) fn plain(self, modern_client: bool) -> Vec<Step> {
        let done = Expected::Done;
        let text = Expected::Text;
        let step = |feature, step, expected| Step {
            feature,
            step,
            expected,
        };
        let (list, uri) = match self {
            Server::Everything => ("resources", "demo://resource/dynamic/text/1"),
            Server::Legacy | Server::Modern | Server::Python => {
                ("tools", "test://watched-resource")
            }
        };
        let changed = format!("notifications/{list}/list_changed");
        let updated = format!("notifications/resources/updated {uri}");
        let filter = json!({format!("{list}ListChanged"): true, "resourceSubscriptions": [uri]});
        let subscribed = match modern_client {
            true => step(
                "updated",
                json!({"listen": filter}),
                Expected::Honoured(filter),
            ),
            false => step("updated", json!({"subscribe": uri}), done),
        };
        match self {
            Server::Everything => {
                let long = |duration, steps| json!({"duration": duration, "steps": steps});
                let operation = "trigger-long-running-operation";
                let file = json!({"name": "a.gz", "data": "data:text/plain,heron"});
                vec![
                    step("tools", json!({"tools": true}), text("get-sum")),
                    step(
                        "tools",
                        json!({"call": "get-sum", "arguments": {"a": 40, "b": 2}}),
                        text("42"),
                    ),
                    step(
                        "resources",
                        json!({"resources": true}),
                        text("architecture.md"),
                    ),
                    step("resources", json!({"read": uri}), text("Resource 1")),
                    step("prompts", json!({"prompts": true}), text("args-prompt")),
                    step(
                        "prompts",
                        json!({"prompt": "args-prompt", "arguments": {"city": "Cadiz"}}),
                        text("weather in Cadiz"),
                    ),
                    step(
                        "progress",
                        json!({"call": operation, "arguments": long(1.0, 4)}),
                        Expected::Progress(2),
                    ),
                    step(
                        "cancel",
                        json!({"cancel": operation, "arguments": long(1.0, 10)}),
                        Expected::Cancelled,
                    ),
                    subscribed,
                    step(
                        "changed",
                        json!({"call": "gzip-file-as-resource", "arguments": file}),
                        text("a.gz"),
                    ),
                    step("changed", json!({"expect": changed}), Expected::Done),
                    step(
                        "updated",
                        json!({"call": "toggle-subscriber-updates"}),
                        text("Started"),
                    ),
                    step("updated", json!({"expect": updated}), Expected::Done),
                ]
            }
            Server::Legacy | Server::Modern | Server::Python => vec![
                step("tools", json!({"tools": true}), text("test_simple_text")),
                step(
                    "tools",
                    json!({"call": "test_simple_text"}),
                    text("a simple text response"),
                ),
                step(
                    "resources",
                    json!({"resources": true}),
                    text("test://static-text"),
                ),
                step(
                    "resources",
                    json!({"read": "test://template/7/data"}),
                    text("Data for ID: 7"),
                ),
                step(
                    "prompts",
                    json!({"prompts": true}),
                    text("test_prompt_with_arguments"),
                ),
                step(
                    "prompts",
                    json!({"prompt": "test_prompt_with_arguments", "arguments": {"arg1": "x", "arg2": "y"}}),
                    text("arg1='x', arg2='y'"),
                ),
                step(
                    "progress",
                    json!({"call": "test_slow_progress"}),
                    Expected::Progress(2),
                ),
                step(
                    "cancel",
                    json!({"cancel": "test_until_cancelled"}),
                    Expected::Cancelled,
                ),
                subscribed,
                step(
                    "changed",
                    json!({"call": "test_trigger_tool_change"}),
                    text("Tools changed"),
                ),
                step("changed", json!({"expect": changed}), Expected::Done),
                step(
                    "updated",
                    json!({"call": "test_change_watched"}),
                    text("Changed"),
                ),
                step("updated", json!({"expect": updated}), Expected::Done),
            ],
        }
    }

    /// What a client does that can be asked.
    pub(super) fn interactive(self) -> Vec<Step> {
        let step = |feature, step, text| Step {
            feature,
            step,
            expected: Expected::Text(text),
        };
        match self {
            Server::Everything => vec![
                step("tools", json!({"tools": true}), "trigger-sampling-request"),
                step(
                    "elicit",
                    json!({"call": "trigger-elicitation-request"}),
                    "Name: Ada",
                ),
                step(
                    "sample",
                    json!({"call": "trigger-sampling-request", "arguments": {"prompt": "hello", "maxTokens": 5}}),
                    "sampled by client-",
                ),
                step(
                    "roots",
                    json!({"call": "get-roots-list"}),
                    "file:///client-",
                ),
            ],
            Server::Legacy | Server::Modern | Server::Python => vec![
                step("tools", json!({"tools": true}), "test_elicitation"),
                step(
                    "elicit",
                    json!({"call": "test_elicitation", "arguments": {"message": "Who?"}}),
                    "\\\"username\\\":\\\"ada\\\"",
                ),
                step(
                    "sample",
                    json!({"call": "test_sampling", "arguments": {"prompt": "hello"}}),
                    "sampled by client-",
                ),
                step(
                    "roots",
                    json!({"call": "test_input_required_result_list_roots"}),
                    "file:///client-",
                ),
            ],
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
                Expected::Text(text) => said.contains(text),
                Expected::Progress(least) => result["progress"]
                    .as_array()
                    .is_some_and(|all| all.len() >= *least),
                Expected::Cancelled => result["cancelled"] == true,
                Expected::Honoured(filter) => result == filter,
                Expected::Done => true,
            };
        (!right).then(|| format!("{}: {} gave {said}", self.feature, self.step))
    }
}
