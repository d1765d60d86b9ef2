//! What one request may do: its key, the models, servers and tools that the key grants, and what its headers choose of them.

use std::sync::Arc;

use super::catalogue::Tool;

/// What one request may do.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    /// What the audit calls the key: `master`, the name of a virtual key, or `open` where no key is needed.
    pub(crate) key: Arc<str>,
}

impl Access {
    /// Whether it may use this model.
    pub(crate) fn allows_model(&self, _model: &str) -> bool {
        true
    }

    /// Whether it may see and call this tool.
    pub(crate) fn allows_tool(&self, _tool: &Tool) -> bool {
        true
    }

    /// Whether it may use the server of this name (not an alias).
    pub(crate) fn allows_server(&self, _server: &str) -> bool {
        true
    }
}
