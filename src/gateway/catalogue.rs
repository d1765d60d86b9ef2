//! All tools of all servers under unique names.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::access::Access;

/// What the servers offer at one moment.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {}

/// One tool.
#[derive(Debug)]
pub(crate) struct Tool {
    /// Its unique public name, `^[a-zA-Z0-9_-]{1,64}$`.
    pub(crate) name: Box<str>,
    /// The name of its server.
    pub(crate) server: Arc<str>,
    /// What its server calls it.
    pub(crate) original: Box<str>,
    /// Its MCP object under its public name; all else as the server wrote it.
    pub(crate) object: Bytes,
    /// The same, read: `description`, `inputSchema`, `annotations` …
    pub(crate) parsed: Value,
}

impl Snapshot {
    /// The tools that are there and allowed, in the order of the configuration and of each server.
    pub(crate) fn tools<'a>(&'a self, access: &'a Access) -> impl Iterator<Item = &'a Arc<Tool>> {
        let _ = access;
        std::iter::empty()
    }

    /// The tool of this name, also of a server that is down; aliases of servers count.
    pub(crate) fn tool(&self, _name: &str, _access: &Access) -> Option<&Arc<Tool>> {
        None
    }

    /// The name of the server that is called this, by name or alias.
    pub(crate) fn server(&self, _name_or_alias: &str) -> Option<&Arc<str>> {
        None
    }
}
