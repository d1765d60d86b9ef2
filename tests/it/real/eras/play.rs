//! Real clients, and what they are given to do.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use tokio::process::Command;

use super::super::{PYTHON, facts, script};
use super::rmcp;

/// The interpreter that has the Python SDK 2.
pub(super) const MODERN_PYTHON: &str = "openai/bin/python";
/// The TypeScript SDK 2.
pub(super) const MODERN_TYPESCRIPT: &str = "modern/node_modules/@modelcontextprotocol/client";
/// Its predecessor.
const TYPESCRIPT: &str = "node/node_modules/@modelcontextprotocol/sdk";

/// What the clients need to be installed.
pub(super) const NEEDED: [&str; 4] = [PYTHON, TYPESCRIPT, MODERN_PYTHON, MODERN_TYPESCRIPT];

/// An SDK in one of its revisions and transports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    /// Over HTTP+SSE or Streamable HTTP.
    Python(&'static str),
    TypeScript(&'static str),
    Rmcp,
    ModernPython,
    ModernTypeScript,
    ModernRmcp,
}

pub(super) const LEGACY: [Client; 5] = [
    Client::Python("sse"),
    Client::Python("http"),
    Client::TypeScript("sse"),
    Client::TypeScript("http"),
    Client::Rmcp,
];
pub(super) const MODERN: [Client; 3] = [
    Client::ModernPython,
    Client::ModernTypeScript,
    Client::ModernRmcp,
];

/// What one client does in one session.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// The steps of `tests/clients`.
    pub(super) steps: Value,
    /// Whether it can be asked for roots, sampling and elicitations.
    pub(super) interactive: bool,
    /// With what it accepts elicitations.
    pub(super) content: Option<Value>,
}

impl Part {
    pub(super) fn capabilities(&self) -> Value {
        match self.interactive {
            true => json!({"roots": {}, "sampling": {}, "elicitation": {}}),
            false => json!({}),
        }
    }

    fn declare(&self) -> &'static str {
        if self.interactive {
            "roots,sampling,elicitation"
        } else {
            ""
        }
    }
}

impl Client {
    pub(super) fn name(self) -> String {
        match self {
            Client::Python(transport) => format!("python 1 {transport}"),
            Client::TypeScript(transport) => format!("typescript 1 {transport}"),
            Client::Rmcp => "rmcp legacy http".to_owned(),
            Client::ModernPython => "python 2".to_owned(),
            Client::ModernTypeScript => "typescript 2".to_owned(),
            Client::ModernRmcp => "rmcp".to_owned(),
        }
    }

    pub(super) fn is_modern(self) -> bool {
        MODERN.contains(&self)
    }

    /// Does the part's steps at the listener `addr`, and returns what it saw. A modern client has really been one.
    pub(super) async fn play(self, installed: &Path, addr: SocketAddr, part: &Part) -> Value {
        let http = format!("http://{addr}/mcp");
        let target = |transport: &str| match transport {
            "sse" => format!("http://{addr}/sse"),
            _ => http.clone(),
        };
        let steps = part.steps.to_string();
        let content = part.content.as_ref().map(Value::to_string);
        let positional = [
            &steps,
            part.declare(),
            content.as_deref().unwrap_or_default(),
        ];
        let command = match self {
            Client::Rmcp => return rmcp::play_legacy(&http, part).await,
            Client::ModernRmcp => {
                let facts = rmcp::play_modern(&http, part).await;
                assert_eq!(facts["version"], "2026-07-28");
                return facts;
            }
            Client::Python(transport) => {
                let mut command = Command::new(installed.join(PYTHON));
                command
                    .arg(script("client.py"))
                    .arg(transport)
                    .arg(target(transport));
                command.args(["--steps", &steps]);
                if part.interactive {
                    command.args(["--declare", part.declare()]);
                }
                if let Some(content) = &content {
                    command.args(["--content", content]);
                }
                command
            }
            Client::TypeScript(transport) => {
                let mut command = Command::new("node");
                command
                    .arg(script("client.mjs"))
                    .arg(transport)
                    .arg(target(transport))
                    .args(positional);
                command
            }
            Client::ModernPython => {
                let mut command = Command::new(installed.join(MODERN_PYTHON));
                command.arg(script("modern.py")).arg(&http).args(positional);
                command
            }
            Client::ModernTypeScript => {
                let mut command = Command::new("node");
                command
                    .arg(script("modern.mjs"))
                    .arg(&http)
                    .args(positional);
                command
            }
        };
        let facts = run(command, installed).await;
        if self.is_modern() {
            is_stateless(&facts);
        }
        facts
    }
}

async fn run(mut command: Command, installed: &Path) -> Value {
    command
        .env("MCP_TEST_SERVERS", installed)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    facts(command).await.remove(0)
}

/// Each request that was really made was of the stateless revision.
fn is_stateless(facts: &Value) {
    assert_eq!(facts["version"], "2026-07-28");
    let sent = facts["sent"].as_array().unwrap();
    assert_eq!(sent[0], json!(["2026-07-28", "server/discover"]));
    assert!(sent.iter().all(|sent| sent[0] == "2026-07-28"), "{sent:?}");
}
