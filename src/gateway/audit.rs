//! The audit: one line per tool call, and its numbers.
//!
//! A line has the time (the log's own), the key's name, the model, the server, the tool, the duration and the outcome;
//! arguments only with `audit_arguments`. A call whose asker went away has a line, too.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::catalogue::Tool;
use crate::metrics::GatewayMetrics;
pub(crate) use crate::metrics::ToolOutcome as Outcome;

/// Bytes of the arguments that a line has at most.
const ARGUMENTS: usize = 4096;

/// Where the calls of one request are noted.
#[derive(Debug, Clone)]
pub(crate) struct Audit {
    /// What the client asked for, or `mcp` where no model is involved.
    pub(crate) model: Arc<str>,
    /// Where they are counted.
    pub(crate) metrics: Arc<GatewayMetrics>,
    /// Whether the lines have arguments.
    pub(crate) with_arguments: bool,
}

/// One call; written when dropped.
#[derive(Debug)]
pub(crate) struct Line {
    audit: Audit,
    key: Arc<str>,
    server: Arc<str>,
    tool: Box<str>,
    arguments: Option<String>,
    started: Instant,
    /// How it ended: as [`Outcome::Cancelled`], unless somebody says otherwise.
    pub(crate) outcome: Outcome,
}

impl Audit {
    /// A call begins.
    pub(crate) fn line(&self, key: &Arc<str>, tool: &Tool, arguments: &str) -> Line {
        Line {
            audit: self.clone(),
            key: key.clone(),
            server: tool.server.clone(),
            tool: tool.original.clone(),
            arguments: self
                .with_arguments
                .then(|| arguments[..arguments.floor_char_boundary(ARGUMENTS)].to_owned()),
            started: Instant::now(),
            outcome: Outcome::Cancelled,
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let took: Duration = self.started.elapsed();
        self.audit
            .metrics
            .tool_called(&self.server, self.outcome, took);
        tracing::info!(
            target: "audit",
            key = &*self.key,
            model = &*self.audit.model,
            bridge = &*self.server,
            tool = &*self.tool,
            arguments = self.arguments,
            duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            outcome = self.outcome.as_str(),
            "tool called"
        );
    }
}
