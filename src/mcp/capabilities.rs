//! What a client can be asked, and what a server may promise.

use crate::jsonrpc::{Edit, member, members, retain_members, splice};

/// The capabilities of a client that make a server ask it something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClientCapabilities {
    /// `roots`.
    pub roots: bool,
    /// `sampling`.
    pub sampling: bool,
    /// `elicitation`.
    pub elicitation: bool,
    /// `tasks`.
    pub tasks: bool,
}

impl ClientCapabilities {
    /// What the `params` of an `initialize` request declare.
    pub fn declared(params: &[u8]) -> ClientCapabilities {
        member(params, "capabilities")
            .map(|span| ClientCapabilities::of(span.of(params)))
            .unwrap_or_default()
    }

    /// What the object `text` declares.
    pub fn of(text: &[u8]) -> ClientCapabilities {
        let mut declared = ClientCapabilities::default();
        for (name, value) in members(text) {
            let present = value.of(text) != b"null" && value.of(text) != b"false";
            match name.as_ref() {
                b"roots" => declared.roots = present,
                b"sampling" => declared.sampling = present,
                b"elicitation" => declared.elicitation = present,
                b"tasks" => declared.tasks = present,
                _ => {}
            }
        }
        declared
    }

    /// Whether such a client needs an instance of its own to be served whole.
    pub fn any(self) -> bool {
        self.roots || self.sampling || self.elicitation || self.tasks
    }

    /// All that a client of the stateless revision can be asked.
    pub const STATELESS: ClientCapabilities = ClientCapabilities {
        roots: true,
        sampling: true,
        elicitation: true,
        tasks: false,
    };

    /// The capability that lets a client be asked `method`.
    pub fn asked_by(method: &str) -> Option<&'static str> {
        match method {
            "roots/list" => Some("roots"),
            "sampling/createMessage" => Some("sampling"),
            "elicitation/create" => Some("elicitation"),
            _ => None,
        }
    }

    /// Whether a client with these can be asked `method`.
    pub fn covers(self, method: &str) -> bool {
        match ClientCapabilities::asked_by(method) {
            Some("roots") => self.roots,
            Some("sampling") => self.sampling,
            Some("elicitation") => self.elicitation,
            _ => false,
        }
    }
}

/// An initialize result without the `tasks` capability, which nobody can keep apart on a shared instance; all other
/// bytes as they were. `None` when it has none.
pub fn hide_tasks(result: &[u8]) -> Option<Vec<u8>> {
    let capabilities = member(result, "capabilities")?;
    let text = capabilities.of(result);
    let without = retain_members(text, |name| name != b"tasks")?;
    let mut out = Vec::with_capacity(result.len());
    splice(
        &mut out,
        result,
        &mut [Edit {
            span: capabilities,
            with: &without,
        }],
    );
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_go_and_everything_else_stays() {
        for (result, want) in [
            (
                r#"{"capabilities":{"tasks":{"list":{}}}}"#,
                r#"{"capabilities":{}}"#,
            ),
            (
                r#"{"a":1.0,"capabilities": { "tasks" : {} , "tools":{}} }"#,
                r#"{"a":1.0,"capabilities": {"tools":{}} }"#,
            ),
            (
                r#"{"capabilities":{"tools":{}, "tasks":{"x":[1,2]},"z":1e400}}"#,
                r#"{"capabilities":{"tools":{},"z":1e400}}"#,
            ),
            (
                r#"{"capabilities":{"tools":{},"tasks":{}}}"#,
                r#"{"capabilities":{"tools":{}}}"#,
            ),
        ] {
            let got = hide_tasks(result.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap());
            assert_eq!(got.as_deref(), Some(want));
        }
        assert_eq!(hide_tasks(br#"{"capabilities":{"tools":{}}}"#), None);
    }

    #[test]
    fn declared_capabilities_are_found_by_name() {
        let params = br#"{"protocolVersion":"x","capabilities":{"roots":{"listChanged":true},"sampling":null}}"#;
        let want = ClientCapabilities {
            roots: true,
            ..ClientCapabilities::default()
        };
        assert_eq!(ClientCapabilities::declared(params), want);
        assert!(!ClientCapabilities::declared(br#"{"capabilities":{"experimental":{}}}"#).any());
    }
}
