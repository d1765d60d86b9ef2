//! The client's own tools in the chat API's words, and the way back.
//!
//! Chat knows functions only, with names `^[a-zA-Z0-9_-]{1,64}$`. A `namespace` becomes one function per tool in it, named
//! `<namespace>__<tool>`; a `custom` tool becomes a function with one text, `input`. What the model then calls is mapped back,
//! as is a call of the history to the name that the model knows. Tools that OpenAI itself would run (`web_search` …) are left
//! out: clients send them unasked, and no model behind a gateway has them.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::content::{kind, others};
use crate::gateway::openai::ApiError;

/// Longest name of a function.
const NAME: usize = 64;

/// The client's own tools.
#[derive(Debug, Default)]
pub(super) struct Tools {
    /// In the chat API's shape.
    pub(super) chat: Vec<Value>,
    /// By the name that the model knows.
    own: HashMap<String, Own>,
    /// The name that the model knows, by namespace and name.
    flat: HashMap<(String, String), String>,
}

/// One of the client's own tools, as the client knows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Own {
    /// Its name.
    pub(super) name: String,
    /// The namespace that it is in; empty for none.
    pub(super) namespace: String,
    /// Whether it takes a text instead of JSON.
    pub(super) custom: bool,
}

impl Tools {
    /// The tools of a request. Entries of type `mcp` are somebody else's.
    ///
    /// # Errors
    /// 400 for a function without a name.
    pub(super) fn of(tools: &[Value]) -> Result<Tools, ApiError> {
        let mut known = Tools::default();
        for (n, tool) in tools.iter().enumerate() {
            let place = format!("tools[{n}]");
            if kind(tool) == "namespace" {
                known.add_namespace(tool, &place)?;
            } else {
                known.add("", tool, "", &place)?;
            }
        }
        Ok(known)
    }

    /// The tool that the model knows by this name.
    pub(super) fn own(&self, name: &str) -> Option<&Own> {
        self.own.get(name)
    }

    /// The name by which the model knows a tool, also one that this request doesn't have.
    pub(super) fn name(&self, namespace: &str, name: &str) -> String {
        let known = self.flat.get(&(namespace.to_owned(), name.to_owned()));
        known.cloned().unwrap_or_else(|| flat(namespace, name))
    }

    /// Keeps those that the model knows by these names; the others are still known in the history.
    pub(super) fn retain(&mut self, keeps: impl Fn(&str) -> bool) {
        self.chat
            .retain(|tool| keeps(text(&tool["function"], "name")));
        self.own.retain(|name, _| keeps(name));
    }

    fn add_namespace(&mut self, namespace: &Value, place: &str) -> Result<(), ApiError> {
        let name = text(namespace, "name");
        let tools = namespace.get("tools").and_then(Value::as_array);
        // What the namespace is about stands with its first tool: chat has no place of its own for it.
        let mut about = match text(namespace, "description") {
            "" => String::new(),
            about => format!("About all tools of {name}: {about}\n\n"),
        };
        for (n, tool) in tools.into_iter().flatten().enumerate() {
            self.add(name, tool, &about, &format!("{place}.tools[{n}]"))?;
            about.clear();
        }
        Ok(())
    }

    fn add(
        &mut self,
        namespace: &str,
        tool: &Value,
        about: &str,
        place: &str,
    ) -> Result<(), ApiError> {
        let custom = match kind(tool) {
            "function" => false,
            "custom" => true,
            _ => return Ok(()),
        };
        // Chat's own shape is understood too.
        let nested = match kind(tool) {
            "function" => tool.get("function").filter(|nested| nested.is_object()),
            kind => tool.get(kind).filter(|nested| nested.is_object()),
        };
        let definition = nested.unwrap_or(tool);
        let name = text(definition, "name");
        if name.is_empty() {
            let place = format!("{place}.name");
            return Err(ApiError::invalid(
                &place,
                format!("`{place}` is missing; each function needs a name"),
            ));
        }
        let mut known_as = flat(namespace, name);
        let own = Own {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            custom,
        };
        if self.own.get(&known_as).is_some_and(|other| *other != own) {
            known_as = with_hash(&known_as, &format!("{namespace}\n{name}"));
        }
        let mut function = Map::new();
        function.insert("name".into(), known_as.as_str().into());
        let description = format!("{about}{}", describe(definition, custom));
        if !description.is_empty() {
            function.insert("description".into(), description.into());
        }
        function.insert("parameters".into(), parameters(definition, custom));
        if definition.get("strict") == Some(&Value::Bool(true)) && !custom {
            function.insert("strict".into(), true.into());
        }
        let mut chat = others(tool, MEMBERS);
        chat.insert("type".into(), "function".into());
        chat.insert("function".into(), function.into());
        self.chat.push(chat.into());
        self.flat
            .insert((namespace.to_owned(), name.to_owned()), known_as.clone());
        self.own.insert(known_as, own);
        Ok(())
    }
}

/// The members of a tool that chat has no word for, or that are translated; all else passes.
const MEMBERS: &[&str] = &[
    "type",
    "name",
    "description",
    "parameters",
    "strict",
    "format",
    "function",
    "custom",
    "allowed_callers",
    "async",
    "defer_loading",
    "output_schema",
];

fn describe(definition: &Value, custom: bool) -> String {
    let mut description = text(definition, "description").to_owned();
    let format = definition.get("format").filter(|_| custom);
    if let Some(grammar) = format.and_then(|format| format.get("definition")?.as_str()) {
        let syntax = format.map_or("", |format| text(format, "syntax"));
        description.push_str(&format!(
            "\n\nThe input has to follow this {syntax} grammar:\n{grammar}"
        ));
    }
    description
}

fn parameters(definition: &Value, custom: bool) -> Value {
    if custom {
        return json!({
            "type": "object",
            "properties": { "input": { "type": "string", "description": "The whole input of the tool, as it is." } },
            "required": ["input"],
            "additionalProperties": false,
        });
    }
    match definition.get("parameters") {
        Some(schema) if schema.is_object() => schema.clone(),
        _ => json!({ "type": "object", "properties": {} }),
    }
}

/// The input of a custom tool, from the arguments that a model wrote for the function in its place.
pub(super) fn custom_input(arguments: &str) -> String {
    let parsed = serde_json::from_str::<Value>(arguments).ok();
    let input = parsed.as_ref().and_then(|value| value.get("input"));
    match input {
        Some(Value::String(input)) => input.clone(),
        Some(other) => other.to_string(),
        // A model that left the wrapping out.
        None => match parsed {
            Some(Value::String(input)) => input,
            _ => arguments.to_owned(),
        },
    }
}

/// The arguments of the function in place of a custom tool.
pub(super) fn custom_arguments(input: &str) -> String {
    json!({ "input": input }).to_string()
}

fn flat(namespace: &str, name: &str) -> String {
    let full = match namespace {
        "" => name.to_owned(),
        namespace => format!("{namespace}__{name}"),
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if full.len() <= NAME && full.chars().all(legal) {
        return full;
    }
    let replaced: String = full
        .chars()
        .map(|c| if legal(c) { c } else { '_' })
        .collect();
    with_hash(&replaced, &full)
}

/// `name`, cut where it is too long, with a hash of `of`, which keeps it apart from others that look the same.
fn with_hash(name: &str, of: &str) -> String {
    // FNV-1a: it has to be the same in every request and every version.
    let hash = of.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let kept = &name[..name.len().min(NAME - 9)];
    format!("{kept}_{hash:08x}")
}

pub(super) fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value
        .get(member)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools(tools: Value) -> Tools {
        Tools::of(tools.as_array().unwrap()).unwrap()
    }

    #[test]
    fn functions_are_nested_and_built_in_tools_left_out() {
        let schema = json!({ "type": "object", "properties": { "x": { "type": "number" } } });
        let tools = tools(json!([
            { "type": "function", "name": "add", "description": "Adds", "parameters": schema, "strict": true },
            { "type": "function", "name": "now", "parameters": null, "strict": false, "cache_control": { "type": "ephemeral" } },
            { "type": "function", "function": { "name": "nested", "parameters": schema } },
            { "type": "web_search", "external_web_access": false },
            { "type": "mcp", "server_label": "demo" },
            { "type": "a_tool_of_next_year" },
        ]));
        assert_eq!(
            Value::Array(tools.chat),
            json!([
                { "type": "function", "function": { "name": "add", "description": "Adds", "parameters": schema, "strict": true } },
                {
                    "cache_control": { "type": "ephemeral" },
                    "type": "function",
                    "function": { "name": "now", "parameters": { "type": "object", "properties": {} } },
                },
                { "type": "function", "function": { "name": "nested", "parameters": schema } },
            ])
        );
    }

    #[test]
    fn namespaces_are_flattened_and_found_again() {
        let long = "n".repeat(70);
        let tools = tools(json!([
            { "type": "namespace", "name": "mcp__demo", "description": "A demo.", "tools": [
                { "type": "function", "name": "echo", "description": "Echoes", "parameters": {} },
                { "type": "function", "name": "now", "description": "Time" },
            ] },
            { "type": "namespace", "name": "mcp__every", "tools": [{ "type": "function", "name": "echo" }] },
            { "type": "namespace", "name": "long", "tools": [{ "type": "function", "name": long }] },
            { "type": "namespace", "name": "a", "tools": [{ "type": "function", "name": "b__c" }] },
            { "type": "namespace", "name": "a__b", "tools": [{ "type": "function", "name": "c" }] },
        ]));
        let names: Vec<&str> = tools
            .chat
            .iter()
            .map(|tool| text(&tool["function"], "name"))
            .collect();
        assert_eq!(
            names[..3],
            ["mcp__demo__echo", "mcp__demo__now", "mcp__every__echo"]
        );
        assert_eq!(
            tools.chat[0]["function"]["description"],
            "About all tools of mcp__demo: A demo.\n\nEchoes"
        );
        assert_eq!(tools.chat[1]["function"]["description"], "Time");
        assert!(names.iter().all(|name| name.len() <= NAME), "{names:?}");
        assert_ne!(names[4], names[5]);
        for (namespace, name) in [
            ("mcp__demo", "echo"),
            ("mcp__every", "echo"),
            ("long", &*long),
            ("a", "b__c"),
            ("a__b", "c"),
        ] {
            let own = tools.own(&tools.name(namespace, name)).unwrap();
            assert_eq!((&*own.namespace, &*own.name), (namespace, name));
        }
        assert_eq!(tools.name("gone", "x"), "gone__x");
        assert_eq!(tools.name("", "ä b"), flat("", "ä b"));
    }

    #[test]
    fn a_custom_tool_is_a_function_with_one_text() {
        let tools = tools(json!([{
            "type": "custom",
            "name": "apply_patch",
            "description": "Patches",
            "format": { "type": "grammar", "syntax": "lark", "definition": "start: x" },
        }]));
        assert!(tools.own("apply_patch").unwrap().custom);
        let function = &tools.chat[0]["function"];
        assert_eq!(
            function["description"],
            "Patches\n\nThe input has to follow this lark grammar:\nstart: x"
        );
        assert_eq!(function["parameters"]["required"], json!(["input"]));
        for (arguments, input) in [
            ("{\"input\":\"a\\nb\"}", "a\nb"),
            ("\"a\"", "a"),
            ("*** Begin", "*** Begin"),
            ("{\"input\":[1]}", "[1]"),
        ] {
            assert_eq!(custom_input(arguments), input);
        }
        assert_eq!(custom_input(&custom_arguments("x\"y")), "x\"y");
    }

    #[test]
    fn a_function_without_a_name_is_named_by_its_place() {
        let error = Tools::of(&[
            json!({ "type": "namespace", "name": "n", "tools": [{ "type": "function" }] }),
        ]);
        assert_eq!(
            error.unwrap_err().param.as_deref(),
            Some("tools[0].tools[0].name")
        );
    }
}
