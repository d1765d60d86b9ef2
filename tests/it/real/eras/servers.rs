//! Real servers of either era, as bridges start them.

use std::path::Path;

use serde_json::{Value, json};

use super::super::Installed;
use super::play::MODERN_PYTHON;

pub(super) const EVERYTHING: &str = "node/node_modules/.bin/mcp-server-everything";
/// The node that has the TypeScript SDK 2 beside it.
pub(super) const NODE: &str = "conformance/node_modules/.bin/node";

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
}
