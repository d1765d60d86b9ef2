//! A gateway over real servers with a scripted model behind it, and what its clients have in common.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use super::postgres::{self, Postgres};
use super::{Installed, facts, script};
use crate::harness::http::exchange;
use crate::harness::model::Model;
use crate::harness::{Daemon, Request, until};

/// What clients of the gateway present.
pub(super) const KEY: &str = "sk-of-the-gateway";
/// What the gateway presents to the model.
pub(super) const MODEL_KEY: &str = "sk-of-the-model";
/// The interpreter that has the openai SDK and the MCP SDK of Open WebUI.
pub(super) const PYTHON: &str = "openai/bin/python";
pub(super) const EVERYTHING: &str = "node/node_modules/.bin/mcp-server-everything";
pub(super) const FILESYSTEM: &str = "node/node_modules/.bin/mcp-server-filesystem";

/// A running gateway. The model `scripted` is answered by [`Self::model`].
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) daemon: Daemon,
    pub(super) model: Model,
}

/// The openai SDK (`tests/clients/openai_client.py`) with a base URL and a key.
#[derive(Debug)]
pub(super) struct Sdk {
    python: PathBuf,
    url: String,
    key: String,
}

/// Bridges to real servers, and what these need.
#[derive(Debug)]
pub(super) struct Servers {
    /// The `bridges` section.
    pub(super) bridges: Value,
    /// A folder with the file `heron.txt`, served by `filesystem`.
    pub(super) files: TempDir,
    /// The database of `postgres`, if there is one.
    pub(super) database: Option<Postgres>,
}

impl Servers {
    /// server-everything and server-filesystem, and postgres-mcp where it and a PostgreSQL are installed.
    pub(super) async fn all(installed: &Installed) -> Self {
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("heron.txt"), "two legs").unwrap();
        let everything = installed.path(EVERYTHING);
        let filesystem = installed.path(FILESYSTEM);
        let mut bridges = json!({
            "everything": {"port": 0, "command": everything, "args": ["stdio"]},
            "filesystem": {"port": 0, "command": filesystem, "args": [files.path()]},
        });
        let mut database = None;
        if installed.dir.join(postgres::SERVER).exists() {
            database = Postgres::start().await;
        }
        if let Some(database) = &database {
            let server = installed.path(postgres::SERVER);
            bridges["postgres"] = json!({"port": 0, "command": server, "args": [database.url()]});
        }
        Self {
            bridges,
            files,
            database,
        }
    }
}

/// The demo server under the name `demo`.
pub(super) fn demo() -> Value {
    json!({"demo": {"port": 0, "demo": true}})
}

impl Gateway {
    /// Starts a gateway over these bridges and waits until their tools are listed.
    pub(super) async fn start(bridges: &Value, model: Model) -> Self {
        Self::with_models(bridges, model, json!([])).await
    }

    /// The same with more entries in `model_list`.
    pub(super) async fn with_models(bridges: &Value, model: Model, mut models: Value) -> Self {
        let scripted =
            json!({"model_name": "scripted", "api_base": model.url(), "api_key": MODEL_KEY});
        models.as_array_mut().unwrap().push(scripted);
        let gateway = json!({"port": 0, "master_key": KEY, "model_list": models});
        let config = json!({"bridges": bridges, "gateway": gateway});
        let daemon = Daemon::start(&config.to_string()).await;
        until_listed(daemon.gateway()).await;
        Self { daemon, model }
    }

    /// The base URL of the OpenAI API.
    pub(super) fn url(&self) -> String {
        format!("http://{}/v1", self.daemon.gateway())
    }

    /// A client with the key of the gateway.
    pub(super) fn sdk(&self, installed: &Installed) -> Sdk {
        Sdk::new(installed, &self.url(), KEY)
    }
}

impl Sdk {
    pub(super) fn new(installed: &Installed, url: &str, key: &str) -> Self {
        Self {
            python: installed.dir.join(PYTHON),
            url: url.to_owned(),
            key: key.to_owned(),
        }
    }

    /// Sends a request, and returns what it got.
    pub(super) async fn one(&self, mode: &str, request: &Value) -> Value {
        self.many(mode, request, 1).await.remove(0)
    }

    /// Sends it several times at once; `{i}` in it is the number of each.
    pub(super) async fn many(&self, mode: &str, request: &Value, count: usize) -> Vec<Value> {
        let mut command = Command::new(&self.python);
        command
            .arg(script("openai_client.py"))
            .args([mode, &self.url, &request.to_string()])
            .args(["--count", &count.to_string()])
            .env("OPENAI_API_KEY", &self.key)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        facts(command).await
    }
}

/// Waits until the gateway at `addr` knows the tools of all its servers.
pub(super) async fn until_listed(addr: SocketAddr) {
    until("all tools in the catalogue", async || {
        let health = exchange(addr, Request::get("/health")).await.json();
        let mut servers = health["servers"].as_array().unwrap().iter();
        servers.all(|server| server["tools"] != 0).then_some(())
    })
    .await;
}

/// The messages of a request to the model that have this role.
pub(super) fn messages<'a>(request: &'a Value, role: &str) -> Vec<&'a Value> {
    let messages = request["messages"].as_array().unwrap().iter();
    messages.filter(|message| message["role"] == role).collect()
}

/// The text of a message, whether it is one string or parts.
pub(super) fn content(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part["text"].as_str())
            .collect(),
        Value::Null => String::new(),
        other => panic!("no content: {other}"),
    }
}

/// The names of the functions that a request offers to the model.
pub(super) fn offered(request: &Value) -> Vec<&str> {
    let tools = request["tools"].as_array().into_iter().flatten();
    tools
        .map(|tool| tool["function"]["name"].as_str().unwrap())
        .collect()
}

/// What a well-formed chat stream is, whatever it says: one id, the role once and first, one finish reason, nothing after it but
/// usage, and no calls. Returns its text and its usage.
pub(super) fn whole_stream(chunks: &[Value]) -> (String, Value) {
    let mut text = String::new();
    let mut finished = Vec::new();
    let mut usage = Value::Null;
    for (index, chunk) in chunks.iter().enumerate() {
        assert_eq!(chunk["id"], chunks[0]["id"], "{chunk}");
        assert_eq!(chunk["object"], "chat.completion.chunk", "{chunk}");
        let Some(choice) = chunk["choices"].get(0) else {
            assert!(usage.is_null(), "usage twice: {chunks:?}");
            usage = chunk["usage"].clone();
            continue;
        };
        assert!(usage.is_null(), "a choice after the usage: {chunks:?}");
        assert!(finished.is_empty(), "a choice after the end: {chunks:?}");
        let delta = &choice["delta"];
        assert_eq!(delta.get("role").is_some(), index == 0, "{chunks:?}");
        assert_eq!(delta.get("tool_calls"), None, "{chunks:?}");
        text.push_str(delta["content"].as_str().unwrap_or_default());
        finished.extend(choice["finish_reason"].as_str());
    }
    assert_eq!(finished, ["stop"], "{chunks:?}");
    (text, usage)
}
