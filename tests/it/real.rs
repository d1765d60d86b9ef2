//! Real servers behind the bridge, driven by real clients.
//!
//! Both are installed by `tests/run`, which names their folder in `MCP_TEST_SERVERS`; a test whose programs are missing says so and
//! passes. With `MCP_TEST_DIRECT` set, the clients start the servers themselves over stdio, without a bridge in between: what fails
//! then is not the bridge's fault.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{Daemon, skipped};

mod aggregate;
mod clients;
mod codex;
mod conformance;
mod eras;
mod everything;
mod exported;
mod fetch;
mod filesystem;
mod gateway;
mod git;
mod litellm;
mod mock;
mod open_webui;
mod openai_sdk;
mod postgres;
mod prometheus;
mod readme;
mod schema;
mod time;
mod twenty;

/// How long a client script may take: twenty Python sessions on a busy machine are slow.
const PATIENCE: Duration = Duration::from_secs(150);

const PYTHON: &str = "client/bin/python";
const INSPECTOR: &str = "node/node_modules/.bin/mcp-inspector";

/// The folder of the installed programs, if it has everything that a test needs.
#[derive(Debug)]
struct Installed {
    dir: PathBuf,
}

/// A server that clients can reach: through a bridge, or by starting it.
#[derive(Debug)]
struct Served {
    installed: PathBuf,
    daemon: Option<Daemon>,
    command: Vec<String>,
}

/// The installed programs, if each of `needed` (a path in their folder) is there; else says what is missing.
fn installed(needed: &[&str]) -> Option<Installed> {
    let skip = |reason: &str| {
        skipped(reason);
        None
    };
    let Some(dir) = std::env::var_os("MCP_TEST_SERVERS") else {
        return skip("MCP_TEST_SERVERS is not set; tests/run sets it");
    };
    let dir = PathBuf::from(dir);
    match needed.iter().find(|program| !dir.join(program).exists()) {
        Some(missing) => skip(&format!("{missing} is not installed")),
        None => Some(Installed { dir }),
    }
}

impl Installed {
    fn path(&self, program: &str) -> String {
        self.dir.join(program).to_str().unwrap().to_owned()
    }

    /// Serves `command` with further YAML lines in its entry; waits until it is ready.
    async fn serve(&self, extra: &str, command: &[&str]) -> Served {
        let direct = std::env::var_os("MCP_TEST_DIRECT").is_some();
        let (program, args) = command.split_first().unwrap();
        let mut config = format!(
            "bridges:\n  real:\n    port: 0\n    command: {program}\n    args: {}\n",
            json!(args)
        );
        for line in extra.lines() {
            config.push_str(&format!("    {line}\n"));
        }
        let mut daemon = None;
        if !direct {
            let started = Daemon::start(&config).await;
            started.until_ready("real").await;
            daemon = Some(started);
        }
        Served {
            installed: self.dir.clone(),
            daemon,
            command: command.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Served {
    /// The transports that a client can use, by the names that the client scripts give them.
    fn transports(&self) -> &'static [&'static str] {
        match self.daemon {
            Some(_) => &["sse", "http"],
            None => &["stdio"],
        }
    }

    fn target(&self, transport: &str) -> String {
        match &self.daemon {
            None => json!(self.command).to_string(),
            Some(daemon) if transport == "sse" => format!("http://{}/sse", daemon.bridge("real")),
            Some(daemon) => format!("http://{}/mcp", daemon.bridge("real")),
        }
    }

    /// Does `steps` with the Python SDK, and returns the facts of the only session.
    async fn python(&self, transport: &str, steps: &Value) -> Value {
        self.pythons(transport, steps, &[]).await.remove(0)
    }

    /// Does `steps` with the Python SDK (`tests/clients/client.py`), and returns the facts of each session.
    async fn pythons(&self, transport: &str, steps: &Value, more: &[&str]) -> Vec<Value> {
        let steps = steps.to_string();
        let mut command = Command::new(self.installed.join(PYTHON));
        command
            .arg(script("client.py"))
            .args([transport, &self.target(transport), "--steps", &steps])
            .args(more)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        facts(command).await
    }

    /// Does `steps` with the TypeScript SDK (`tests/clients/client.mjs`), and returns the facts of the session.
    async fn node(&self, transport: &str, steps: &Value, declare: &str) -> Value {
        let steps = steps.to_string();
        let mut command = Command::new("node");
        command
            .arg(script("client.mjs"))
            .args([transport, &self.target(transport), &steps, declare])
            .env("MCP_TEST_SERVERS", &self.installed);
        facts(command).await.remove(0)
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(name)
}

async fn facts(command: Command) -> Vec<Value> {
    let printed = output(command).await;
    match serde_json::from_str(&printed) {
        Ok(facts) => facts,
        Err(error) => panic!("{error} in {printed}"),
    }
}

/// Runs a client that must succeed, and returns what it printed.
async fn output(mut command: Command) -> String {
    // clients must not take a proxy for the way to loopback
    command.env("NO_PROXY", "*").env("no_proxy", "*");
    command.stdin(Stdio::null()).kill_on_drop(true);
    let Ok(finished) = tokio::time::timeout(PATIENCE, command.output()).await else {
        panic!("waited {PATIENCE:?} in vain for {command:?}");
    };
    let output = finished.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {} {errors}",
        output.status
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The names in a list of tools.
fn names(tools: &Value) -> Vec<&str> {
    let tools = tools.as_array().unwrap().iter();
    tools.map(|tool| tool["name"].as_str().unwrap()).collect()
}

/// The text of a step's result, which must be no error.
fn text(result: &Value) -> &str {
    assert_ne!(result["isError"], true, "{result}");
    let text = result["text"].as_str();
    text.unwrap_or_else(|| panic!("no text in {result}"))
}

/// Nothing that names another client than `number` reached this one; names are of the form `client-7.`.
fn has_no_stranger(facts: &Value, number: usize) {
    let text = facts.to_string();
    let names = text.split("client-").skip(1);
    for name in names {
        let name = name.split('.').next().unwrap();
        assert_eq!(name, number.to_string(), "client-{number} saw {text}");
    }
}

/// No log line and no notification came that nobody asked for.
fn is_undisturbed(facts: &Value) {
    assert_eq!(facts["logs"], json!([]), "{facts}");
    assert_eq!(facts["notifications"], json!([]), "{facts}");
    assert_eq!(facts["asked"], json!([]), "{facts}");
}
