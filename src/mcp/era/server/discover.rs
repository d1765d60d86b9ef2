//! `server/discover`, and the initialize result that legacy clients get for it.
//!
//! MCP 2026-07-28, Discovery; MCP 2025-11-25, Lifecycle § Initialization.

use bytes::Bytes;

use super::{Introduction, without_tasks_extension};
use crate::jsonrpc::{array_elements, member, retain_members, string_value};
use crate::mcp::Version;
use crate::mcp::era::{MODERN, key};

/// The bridge's own `server/discover` under the id `id`.
#[must_use]
pub fn discover_request(id: u64) -> String {
    let members = Introduction::own().members();
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"server/discover","params":{{"_meta":{{{members}}}}}}}"#
    )
}

/// The revisions that a server speaks, as it wrote them: a JSON array of strings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions(Bytes);

impl Versions {
    /// Those that the object `text` has under `key`; `None` when it says nothing of the kind.
    #[must_use]
    pub fn read(text: &[u8], key: &str) -> Option<Versions> {
        let list = member(text, key)?.of(text);
        let elements = array_elements(list).ok()?;
        let strings = elements
            .iter()
            .all(|element| string_value(element.of(list)).is_some());
        strings.then(|| Versions(Bytes::copy_from_slice(list)))
    }

    /// The JSON text.
    #[must_use]
    pub fn text(&self) -> &Bytes {
        &self.0
    }

    /// Whether the stateless revision that is spoken here is among them.
    #[must_use]
    pub fn has_modern(&self) -> bool {
        self.has(|name| name == MODERN)
    }

    /// Whether one with a handshake is among them.
    #[must_use]
    pub fn has_legacy(&self) -> bool {
        self.has(|name| Version::parse(name).is_some())
    }

    fn has(&self, wanted: impl Fn(&str) -> bool) -> bool {
        let elements = array_elements(&self.0).unwrap_or_default();
        elements
            .iter()
            .filter_map(|element| string_value(element.of(&self.0)))
            .any(|name| wanted(&name))
    }
}

/// The initialize result that says what the discover result `result` says, with everything in it that is not known here.
/// A server that tells no name gets `name`.
#[must_use]
pub fn initialize_result(result: &[u8], name: &str) -> Vec<u8> {
    let part = |key| member(result, key).map(|place| place.of(result));
    let info = part("_meta").and_then(|meta| Some(member(meta, key::SERVER)?.of(meta)));
    let nameless = serde_json::json!({ "name": name, "version": "" }).to_string();
    let info = info
        .filter(|info| info.starts_with(b"{"))
        .unwrap_or(nameless.as_bytes());
    let capabilities = part("capabilities").unwrap_or(b"{}");
    let fewer = without_tasks_extension(capabilities);

    let mut text = format!(
        r#"{{"protocolVersion":"{}","capabilities":"#,
        Version::LATEST.name()
    )
    .into_bytes();
    text.extend_from_slice(fewer.as_deref().unwrap_or(capabilities));
    text.extend_from_slice(b",\"serverInfo\":");
    text.extend_from_slice(info);
    let rest = retain_members(result, |name| {
        !matches!(
            name,
            b"protocolVersion"
                | b"capabilities"
                | b"serverInfo"
                | b"supportedVersions"
                | b"resultType"
                | b"ttlMs"
                | b"cacheScope"
        )
    });
    match rest.as_deref().unwrap_or(b"{}").strip_prefix(b"{") {
        Some(rest) if rest != b"}" => {
            text.push(b',');
            text.extend_from_slice(rest);
        }
        _ => text.push(b'}'),
    }
    text
}
