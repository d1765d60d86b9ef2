//! Who answers a call: the tools that a model was given, by name.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::{Call, CallKind, Offered};

/// Names that are told to a model that called one nobody knows.
const NEAR_NAMES: usize = 5;
/// Characters of a name that nobody knows: what is longer is not looked for, and said only this far.
const LONGEST: usize = 128;
/// How alike a name has to be, from 0 to 1 (Jaro–Winkler).
const ALIKE: f64 = 0.8;

/// The tools that a model knows in one request. On a clash of names the client's own tool is the one.
#[derive(Debug)]
pub(crate) struct Tools {
    own: HashSet<String>,
    offered: Vec<Offered>,
    by_name: HashMap<String, usize>,
}

impl Tools {
    /// Those of a request.
    pub(crate) fn new(own_tools: &[Value], offered: &[Offered]) -> Tools {
        let own: HashSet<String> = own_tools
            .iter()
            .filter_map(name)
            .map(str::to_owned)
            .collect();
        let mut tools = Tools {
            own,
            offered: Vec::with_capacity(offered.len()),
            by_name: HashMap::new(),
        };
        for offered in offered {
            let name = &*offered.tool.name;
            if !tools.own.contains(name) && !tools.by_name.contains_key(name) {
                tools.by_name.insert(name.to_owned(), tools.offered.len());
                tools.offered.push(offered.clone());
            }
        }
        tools
    }

    /// Who answers a call of this name.
    pub(crate) fn kind(&self, name: &str) -> CallKind {
        if self.own.contains(name) {
            return CallKind::Clients;
        }
        match self.by_name.get(name).map(|&at| &self.offered[at]) {
            None => CallKind::Unknown,
            Some(offered) if offered.needs_approval => CallKind::Approval(offered.tool.clone()),
            Some(offered) => CallKind::Ours(offered.tool.clone()),
        }
    }

    /// The calls of a message.
    pub(super) fn calls(&self, message: &Map<String, Value>) -> Vec<Call> {
        let calls = message.get("tool_calls").and_then(Value::as_array);
        let calls = calls.into_iter().flatten();
        calls.map(|object| self.call(object)).collect()
    }

    /// What a model is told whose call nobody knows.
    pub(super) fn unknown(&self, name: &str) -> String {
        let name = &name[..name.floor_char_boundary(LONGEST)];
        let near = self.near(name);
        if self.own.is_empty() && self.offered.is_empty() {
            format!("There is no tool {name:?}; there are no tools at all. Answer without one.")
        } else if near.is_empty() {
            format!(
                "There is no tool {name:?}. Call one of the tools that you were given, by its exact name."
            )
        } else {
            format!(
                "There is no tool {name:?}. Tools with similar names: {}.",
                near.join(", ")
            )
        }
    }

    /// The catalogue's tools as a model is told of them.
    pub(super) fn definitions(&self) -> impl Iterator<Item = Value> {
        self.offered.iter().map(definition)
    }

    fn call(&self, object: &Value) -> Call {
        let text = |value: Option<&Value>| match value {
            Some(Value::String(text)) => text.clone(),
            None | Some(Value::Null) => String::new(),
            Some(other) => other.to_string(),
        };
        let function = object.get("function");
        let name = name(object).unwrap_or_default();
        Call {
            id: text(object.get("id")),
            name: name.to_owned(),
            arguments: match (function, object.get("custom")) {
                (None, Some(custom)) => text(custom.get("input")),
                (function, _) => text(function.and_then(|function| function.get("arguments"))),
            },
            kind: self.kind(name),
            object: object.clone(),
        }
    }

    fn near(&self, name: &str) -> Vec<&str> {
        let score = |offered: &Offered| {
            let (public, original) = (&*offered.tool.name, &*offered.tool.original);
            let public = strsim::jaro_winkler(public, name);
            public.max(strsim::jaro_winkler(original, name))
        };
        let ours = self
            .offered
            .iter()
            .map(|offered| (score(offered), &*offered.tool.name));
        let own = self
            .own
            .iter()
            .map(|own| (strsim::jaro_winkler(own, name), own.as_str()));
        let mut near: Vec<_> = ours
            .chain(own)
            .filter(|(score, _)| *score >= ALIKE)
            .collect();
        near.sort_by(|(one, a), (other, b)| other.total_cmp(one).then(a.cmp(b)));
        near.into_iter()
            .take(NEAR_NAMES)
            .map(|(_, name)| name)
            .collect()
    }
}

/// The name in a tool's definition or in a call: of a function, of a custom tool, or flat as some clients have it.
fn name(object: &Value) -> Option<&str> {
    let inner = object.get("function").or_else(|| object.get("custom"));
    inner.unwrap_or(object).get("name")?.as_str()
}

/// A tool in the chat API's shape. `parameters` has to be the schema of an object there, and providers want its
/// `properties` too; some refuse `$schema`.
fn definition(offered: &Offered) -> Value {
    let parsed = &offered.tool.parsed;
    let mut parameters = match parsed.get("inputSchema") {
        Some(Value::Object(schema)) => schema.clone(),
        _ => Map::new(),
    };
    parameters.shift_remove("$schema");
    if !parameters.get("type").is_some_and(Value::is_string) {
        parameters.insert("type".to_owned(), "object".into());
    }
    if !parameters.get("properties").is_some_and(Value::is_object) {
        parameters.insert("properties".to_owned(), json!({}));
    }
    let mut function = Map::new();
    function.insert("name".to_owned(), (&*offered.tool.name).into());
    let description = parsed.get("description").and_then(Value::as_str);
    if let Some(description) = description.filter(|text| !text.is_empty()) {
        function.insert("description".to_owned(), description.into());
    }
    function.insert("parameters".to_owned(), parameters.into());
    json!({ "type": "function", "function": function })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::super::catalogue::Tool;
    use super::*;

    fn offered(name: &str, needs_approval: bool, parsed: Value) -> Offered {
        Offered {
            tool: Arc::new(Tool {
                name: name.into(),
                server: "demo".into(),
                original: name.trim_start_matches("demo-").into(),
                object: bytes::Bytes::new(),
                parsed,
            }),
            needs_approval,
        }
    }

    fn tools() -> Tools {
        let own = [
            json!({ "type": "function", "function": { "name": "mine" } }),
            json!({ "type": "custom", "custom": { "name": "shell" } }),
            json!({ "type": "function", "function": { "name": "demo-both" } }),
        ];
        let ours = [
            offered("demo-list_schemas", false, json!({})),
            offered("demo-drop", true, json!({})),
            offered("demo-both", false, json!({})),
        ];
        Tools::new(&own, &ours)
    }

    #[test]
    fn the_clients_tool_wins_a_clash_of_names() {
        let tools = tools();
        assert!(matches!(tools.kind("mine"), CallKind::Clients));
        assert!(matches!(tools.kind("shell"), CallKind::Clients));
        assert!(matches!(tools.kind("demo-both"), CallKind::Clients));
        assert!(matches!(tools.kind("demo-list_schemas"), CallKind::Ours(_)));
        assert!(matches!(tools.kind("demo-drop"), CallKind::Approval(_)));
        assert!(matches!(tools.kind("list_schemas"), CallKind::Unknown));
        let names: Vec<_> = tools.definitions().collect();
        assert_eq!(names.len(), 2);
    }

    #[test]
    fn a_call_is_read_in_any_shape() {
        let message = json!({ "tool_calls": [
            { "id": "a", "type": "function", "function": { "name": "mine", "arguments": "{}" }, "sign": 1 },
            { "id": "b", "type": "custom", "custom": { "name": "shell", "input": "ls" } },
            { "id": "c", "function": { "name": "demo-drop" } },
        ] });
        let calls = tools().calls(message.as_object().unwrap());
        let read: Vec<_> = calls
            .iter()
            .map(|call| (&*call.id, &*call.name, &*call.arguments))
            .collect();
        assert_eq!(
            read,
            [
                ("a", "mine", "{}"),
                ("b", "shell", "ls"),
                ("c", "demo-drop", "")
            ]
        );
        assert_eq!(calls[0].object["sign"], 1);
    }

    #[test]
    fn an_unknown_name_is_answered_with_near_ones() {
        let tools = tools();
        assert_eq!(
            tools.unknown("list_schema"),
            "There is no tool \"list_schema\". Tools with similar names: demo-list_schemas."
        );
        assert_eq!(
            tools.unknown("zzz"),
            "There is no tool \"zzz\". Call one of the tools that you were given, by its exact name."
        );
        assert!(
            Tools::new(&[], &[])
                .unknown("x")
                .contains("no tools at all")
        );
        assert!(tools.unknown(&"ä".repeat(1 << 20)).len() < 2 * LONGEST);
    }

    #[test]
    fn a_schema_is_made_acceptable_and_otherwise_left_alone() {
        let check = |parsed: Value, expected: Value| {
            assert_eq!(
                definition(&offered("demo-x", false, parsed))["function"],
                expected
            );
        };
        check(
            json!({ "description": "Does x.", "inputSchema": {
                "$schema": "http://json-schema.org/draft-07/schema#", "type": "object",
                "properties": { "a": { "$ref": "#/$defs/a" } }, "required": ["a"], "$defs": { "a": {} }, "additionalProperties": false,
            } }),
            json!({ "name": "demo-x", "description": "Does x.", "parameters": {
                "type": "object", "properties": { "a": { "$ref": "#/$defs/a" } }, "required": ["a"], "$defs": { "a": {} },
                "additionalProperties": false,
            } }),
        );
        check(
            json!({ "description": "", "inputSchema": {} }),
            json!({ "name": "demo-x", "parameters": { "type": "object", "properties": {} } }),
        );
        check(
            json!({}),
            json!({ "name": "demo-x", "parameters": { "type": "object", "properties": {} } }),
        );
    }
}
