//! The gateway as configured: where it listens, which models it serves, who may use what, and the guards of its loop.

use std::time::Duration;

use super::{Listen, Secret, ToolFilter};

/// The port of the gateway unless the file names another.
pub const DEFAULT_PORT: u16 = 4000;

/// The `gateway` section.
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    /// Where it listens; the default is 127.0.0.1:4000.
    pub listen: Listen,
    /// The key that may do everything.
    pub master_key: Option<Secret>,
    /// Keys that may do some things.
    pub virtual_keys: Vec<VirtualKey>,
    /// What is served as models, in the order of the file; several of one name are tried in that order.
    pub models: Vec<Model>,
    /// Between a server's name and its tool's. `-`; one to four of `a-zA-Z0-9_-`.
    pub separator: String,
    /// Which tools are offered, by their public names.
    pub tools: ToolFilter,
    /// Turns of a model that may call tools in one request. 10.
    pub max_rounds: u32,
    /// The whole of one request to a model, all rounds and tools. 10 min.
    pub deadline: Duration,
    /// One tool call, from a model's turn. 60 s.
    pub tool_timeout: Duration,
    /// Bytes of one tool's result that a model gets; the rest is cut with a note. 256 KiB.
    pub max_result: usize,
    /// Bytes of a request's body. 16 MiB.
    pub max_body: usize,
    /// Open MCP sessions. 1000.
    pub max_sessions: usize,
    /// Idle time after which an MCP session ends. 30 min.
    pub session_idle: Duration,
    /// How long a call waits for the input of a stateless client. 300 s.
    pub input_timeout: Duration,
    /// The URL under which clients reach the gateway, when a proxy stands before it; without a trailing slash.
    pub public_url: Option<String>,
    /// Values of `Origin` that are allowed beside the gateway's own.
    pub allowed_origins: Vec<String>,
    /// Values of `Host` that are allowed beside the gateway's own, with or without a port.
    pub allowed_hosts: Vec<String>,
    /// Whether the audit line of a tool call has its arguments. `false`.
    pub audit_arguments: bool,
}

/// A key that may do some things. What it doesn't name is granted whole, and an empty list grants nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualKey {
    /// What the audit calls it, unique; `key-1` and so on, by its place, when the file names none.
    pub name: String,
    /// The key itself.
    pub key: Secret,
    /// Models, as globs over their names.
    pub models: Option<Vec<String>>,
    /// Bridges and remote servers, by name or alias.
    pub servers: Option<Vec<String>>,
    /// Tools, by their public names.
    pub tools: ToolFilter,
}

/// One entry of `model_list`.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The name that clients ask for; `*` stands for every model that the provider lists.
    pub name: String,
    /// Who answers.
    pub provider: Provider,
}

/// Who answers for a model.
#[derive(Clone, Debug, PartialEq)]
pub enum Provider {
    /// The built-in one, without a network: it calls the tool that the user's text names.
    Mock,
    /// An OpenAI-compatible endpoint.
    OpenAi {
        /// Its base with the version, such as `http://litellm:4000/v1`; without a trailing slash.
        api_base: String,
        /// Sent as `Authorization: Bearer`.
        api_key: Option<Secret>,
        /// Its own name for the model; the client's when `None`.
        model: Option<String>,
    },
}

impl Gateway {
    /// The gateway with defaults for everything.
    #[must_use]
    pub fn new() -> Self {
        Self {
            listen: Listen::loopback(DEFAULT_PORT),
            master_key: None,
            virtual_keys: Vec::new(),
            models: Vec::new(),
            separator: "-".to_owned(),
            tools: ToolFilter::default(),
            max_rounds: 10,
            deadline: Duration::from_secs(600),
            tool_timeout: Duration::from_secs(60),
            max_result: 256 << 10,
            max_body: 16 << 20,
            max_sessions: 1000,
            session_idle: Duration::from_secs(30 * 60),
            input_timeout: Duration::from_secs(300),
            public_url: None,
            allowed_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            audit_arguments: false,
        }
    }
}

impl Gateway {
    /// One of its keys; empty when everybody who can reach it may use it.
    #[must_use]
    pub fn any_key(&self) -> &[Secret] {
        let first = self.virtual_keys.first().map(|key| &key.key);
        let any = self.master_key.as_ref().or(first);
        any.map(std::slice::from_ref).unwrap_or_default()
    }
}

impl Default for Gateway {
    fn default() -> Self {
        Self::new()
    }
}
