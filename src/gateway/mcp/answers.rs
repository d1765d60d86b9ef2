//! What the gateway answers itself: the handshake, the lists, and what can't be passed on.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::bridge::{Delivery, DeliveryKind, Mailbox, Refusal};
use crate::gateway::access::Access;
use crate::gateway::catalogue::Snapshot;
use crate::jsonrpc::{ErrorObject, Message, member, string_value};
use crate::mcp::Version;

/// Answers the request `id` with `result`.
pub(super) fn result(address: &Mailbox, id: &[u8], result: &[u8]) {
    let head: &[u8] = br#"{"jsonrpc":"2.0","id":"#;
    let text = [head, id, br#","result":"#, result, b"}"].concat();
    address.push(Delivery {
        kind: DeliveryKind::Answer,
        body: Bytes::from(text).into(),
    });
}

/// Answers the request `id` with an error.
pub(super) fn error(address: &Mailbox, id: &[u8], code: i32, text: impl Into<String>) {
    let error = ErrorObject::new(code, text);
    address.push(Delivery {
        kind: DeliveryKind::Refusal(Refusal::Invalid),
        body: error.response(Some(id)).into(),
    });
}

/// The revision that a client is answered which offers that of `initialize`; `None` when it offers none.
pub(super) fn version(initialize: &Message) -> Option<String> {
    let params = initialize.part(initialize.envelope().params)?;
    let offered = string_value(member(params, "protocolVersion")?.of(params))?;
    Some(Version::negotiate(&offered, Version::LATEST.name()).to_owned())
}

/// The result of `initialize`. What is promised doesn't depend on who is there now: servers come and go.
pub(super) fn handshake(version: &str, snapshot: &Snapshot, access: &Access) -> Bytes {
    let result = json!({
        "protocolVersion": version,
        "capabilities": {
            "tools": { "listChanged": true },
            "prompts": { "listChanged": true },
            "resources": { "subscribe": true, "listChanged": true },
            "completions": {},
            "logging": {},
        },
        "serverInfo": {
            "name": "mcp-bridged",
            "title": "mcp-bridged gateway",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "instructions": instructions(snapshot, access),
    });
    without_null(result).to_string().into()
}

/// What the servers say about themselves, each under its name.
fn instructions(snapshot: &Snapshot, access: &Access) -> Option<String> {
    let servers = snapshot
        .servers()
        .iter()
        .filter(|server| access.allows_server(&server.name));
    let parts: Vec<String> = servers
        .filter_map(|server| {
            // Why is the operator's business, who finds it in `/health`.
            let note = server.note().map(|_| "Not available now.".to_owned());
            let own = note.or_else(|| server.instructions.clone());
            let lines: Vec<String> = server.description.clone().into_iter().chain(own).collect();
            (!lines.is_empty()).then(|| format!("## {}\n{}", server.name, lines.join("\n")))
        })
        .collect();
    (!parts.is_empty()).then(|| parts.join("\n\n"))
}

fn without_null(mut object: Value) -> Value {
    if let Value::Object(members) = &mut object {
        members.retain(|_, value| !value.is_null());
    }
    object
}

/// The result of a list method; `None` for other methods.
pub(super) fn list(method: &str, snapshot: &Snapshot, access: &Access) -> Option<Bytes> {
    let (name, objects): (&str, Vec<&Bytes>) = match method {
        "tools/list" => {
            let tools = snapshot.tools(access);
            ("tools", tools.map(|tool| &tool.object).collect())
        }
        "prompts/list" => {
            let prompts = snapshot.prompts(access);
            ("prompts", prompts.map(|prompt| &prompt.object).collect())
        }
        "resources/list" => {
            let resources = snapshot.resources(access);
            ("resources", resources.map(|one| &one.object).collect())
        }
        "resources/templates/list" => {
            let templates = snapshot.templates(access);
            (
                "resourceTemplates",
                templates.map(|one| &one.object).collect(),
            )
        }
        _ => return None,
    };
    let mut text = format!("{{\"{name}\":[").into_bytes();
    for (n, object) in objects.into_iter().enumerate() {
        if n > 0 {
            text.push(b',');
        }
        text.extend_from_slice(object);
    }
    text.extend_from_slice(b"]}");
    Some(text.into())
}
