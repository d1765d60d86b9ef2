//! Which tools a request is about: its own, and those of the catalogue that it may have.
//!
//! Without an entry of `type: "mcp"` in its `tools` a request gets all that its access allows. With one or more it gets what
//! they select: each names servers by `server_url` (`litellm_proxy`, `litellm_proxy/mcp/<name>[,<name>]`, or any URL whose
//! path ends in the name of one of ours) or by `server_label`, may narrow them by `allowed_tools`, and says by
//! `require_approval` which calls wait for the client's word. Such entries never reach a model.

mod entry;

use std::sync::Arc;

use serde_json::Value;

use super::access::Access;
use super::catalogue::{Snapshot, Tool};
use super::openai::ApiError;
use super::rounds::Offered;
use entry::{Entry, Target};

pub(crate) use entry::Approval;

/// Entries of `type: "mcp"` in one request.
const ENTRIES: usize = 128;

/// The tools of one request.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    /// The client's own tools, in the shape that they came in.
    pub(crate) own_tools: Vec<Value>,
    /// Tools of the catalogue, each once.
    pub(crate) offered: Vec<Offered>,
    /// What each `mcp` entry selected, in the request's order; empty when there is none.
    pub(crate) labels: Vec<Label>,
}

/// What one `mcp` entry selected.
#[derive(Debug)]
pub(crate) struct Label {
    /// Its `server_label`; the name of its server when it has none.
    pub(crate) server_label: String,
    /// Its tools. One that an earlier entry has too is offered as that one says.
    pub(crate) tools: Vec<Offered>,
}

impl Selection {
    /// The selection of a request with these `tools`. `unless_told` holds for entries without `require_approval`.
    ///
    /// # Errors
    /// 400 for an entry that can't be read or names no server of ours, 403 for a server that is not granted.
    pub(crate) fn of(
        tools: &[Value],
        snapshot: &Snapshot,
        access: &Access,
        unless_told: Approval,
    ) -> Result<Selection, ApiError> {
        let mut selection = Selection::default();
        for (n, tool) in tools.iter().enumerate() {
            let place = format!("tools[{n}]");
            if !tool.is_object() {
                return Err(ApiError::invalid(
                    &place,
                    format!("`{place}` has to be an object"),
                ));
            }
            if tool.get("type").and_then(Value::as_str) == Some("mcp") {
                if selection.labels.len() >= ENTRIES {
                    return Err(ApiError::invalid(
                        &place,
                        format!(
                            "`tools` has more than {ENTRIES} entries of type `mcp`; name several servers in one, by the \
                             `server_url` `litellm_proxy/mcp/<name>,<name>`"
                        ),
                    ));
                }
                let entry = Entry::read(tool, &place, unless_told)?;
                let label = label(&entry, &place, snapshot, access)?;
                selection.add(label);
            } else {
                selection.own_tools.push(tool.clone());
            }
        }
        if selection.labels.is_empty() {
            let all = snapshot.tools(access);
            selection.offered = all.map(|tool| offered(tool, false)).collect();
        }
        Ok(selection)
    }

    fn add(&mut self, label: Label) {
        for new in &label.tools {
            if !self
                .offered
                .iter()
                .any(|old| old.tool.name == new.tool.name)
            {
                self.offered.push(new.clone());
            }
        }
        self.labels.push(label);
    }
}

fn label(
    entry: &Entry,
    place: &str,
    snapshot: &Snapshot,
    access: &Access,
) -> Result<Label, ApiError> {
    let target = entry
        .target(place, |name| {
            snapshot.server(name).map(|server| server.to_string())
        })
        .map_err(|error| naming_known(error, snapshot, access))?;
    let chosen = match target {
        Target::All => None,
        Target::Servers(names) => Some(names),
    };
    for name in chosen.iter().flatten() {
        if !access.allows_server(name) {
            return Err(ApiError::forbidden(
                "mcp_server_not_allowed",
                format!(
                    "`{place}` selects the MCP server `{name}`, which this key and `x-mcp-servers` don't grant; \
                     ask for another, or use a key with it in `mcp_servers`"
                ),
            ));
        }
    }
    let resolve = |name: &str| {
        let tool = snapshot.tool(name, access);
        tool.map(|tool| tool.name.to_string())
    };
    let tools: Vec<Offered> = snapshot
        .tools(access)
        .filter(|tool| {
            chosen
                .as_ref()
                .is_none_or(|names| names.iter().any(|name| **name == *tool.server))
        })
        .filter(|tool| entry.allows(tool, resolve))
        .map(|tool| offered(tool, entry.needs_approval(tool, resolve)))
        .collect();
    let server_label = match &entry.server_label {
        Some(label) => label.clone(),
        None => chosen.map_or_else(|| "mcp".to_owned(), |names| names.join(",")),
    };
    Ok(Label {
        server_label,
        tools,
    })
}

fn offered(tool: &Arc<Tool>, needs_approval: bool) -> Offered {
    Offered {
        tool: Arc::clone(tool),
        needs_approval,
    }
}

fn naming_known(mut error: ApiError, snapshot: &Snapshot, access: &Access) -> ApiError {
    error.message.push_str("; there are ");
    error.message.push_str(&access.names(snapshot));
    error
}
