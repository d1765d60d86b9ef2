//! The JSON Schema of `bridges.yaml`, out of the tables that the file is read with, so that the two can't differ.
//!
//! It is for editors: what only shows across keys, and what a variable holds, `check` says. A value may always be a reference
//! to a variable in place of what its key takes.

use serde_json::{Map, Value, json};

use super::keys::{
    BRIDGE_OWN, BRIDGE_SHARED, Key, Kind, NAME, REMOTE_OWN, SERVER_OWN, SERVER_SHARED, TOOLS, TOP,
};

/// The schema of the whole file (JSON Schema draft-07, which editors know best).
#[must_use]
pub fn schema() -> Value {
    let mut whole = object(&[TOP]);
    whole["properties"]["bridges"] = json!({
        "description": "The servers, by name",
        "type": "object",
        "minProperties": 1,
        "propertyNames": { "pattern": "^[a-z0-9][a-z0-9_-]{0,39}$", "description": NAME },
        "additionalProperties": { "anyOf": [
            required(object(&[BRIDGE_OWN, BRIDGE_SHARED, SERVER_OWN, SERVER_SHARED]), "port"),
            required(object(&[REMOTE_OWN, SERVER_OWN, SERVER_SHARED]), "url"),
        ] },
    });
    whole["properties"]["defaults"] = object(&[BRIDGE_SHARED, SERVER_SHARED]);
    whole["properties"]["defaults"]["description"] = "Keys for all bridges".into();
    let mut schema = Map::new();
    schema.insert(
        "$schema".to_owned(),
        "http://json-schema.org/draft-07/schema#".into(),
    );
    schema.insert("title".to_owned(), "bridges.yaml of mcp-bridged".into());
    if let Value::Object(whole) = required(whole, "bridges") {
        schema.extend(whole);
    }
    schema.into()
}

/// A map with the keys of these tables; nothing below it is an empty one.
pub(super) fn object<T>(tables: &[&'static [Key<T>]]) -> Value {
    let keys = tables.iter().copied().flatten();
    let properties: Map<String, Value> = keys
        .map(|key| (key.name.to_owned(), value(&key.kind)))
        .collect();
    json!({ "type": ["object", "null"], "properties": properties, "additionalProperties": false })
}

fn required(mut object: Value, key: &str) -> Value {
    object["type"] = "object".into();
    object["required"] = json!([key]);
    object
}

fn value<T>(kind: &Kind<T>) -> Value {
    match kind {
        Kind::Elsewhere => json!({}),
        Kind::Section(keys) => object(&[keys]),
        Kind::Tools(_) => object(&[TOOLS]),
        Kind::Items { of, schema, .. } => {
            json!({ "type": "array", "items": schema(), "description": format!("A list, each item {of}") })
        }
        Kind::Flag(_) => or_reference(json!({ "type": "boolean" })),
        Kind::Number { least, most, .. } => {
            or_reference(json!({ "type": "integer", "minimum": least, "maximum": most }))
        }
        Kind::Duration { .. } => or_reference(json!({
            "type": "string", "pattern": "^[0-9]+ *(ms|s|m|h)$", "description": "A duration such as 500ms, 30s, 5m or 1h",
        })),
        Kind::Size { .. } => or_reference(json!({ "anyOf": [
            { "type": "integer", "minimum": 0 },
            { "type": "string", "pattern": "^[0-9]+ *(B|KiB|MiB|GiB)?$", "description": "A size such as 64KiB or 16MiB" },
        ] })),
        Kind::Choice(words) => {
            let texts = words.iter().map(|(word, _)| json!(word));
            // Without quotes a word of digits is a number.
            let numbers = words
                .iter()
                .filter_map(|(word, _)| word.parse::<u64>().ok());
            let all: Vec<Value> = texts.chain(numbers.map(Value::from)).collect();
            or_reference(json!({ "enum": all }))
        }
        Kind::Text { expected, .. } => text(expected),
        Kind::Secret { .. } => text(SECRET),
        Kind::List {
            of, may_be_empty, ..
        } => {
            json!({ "type": "array", "items": text(of), "minItems": u8::from(!may_be_empty) })
        }
        Kind::Secrets { .. } => json!({ "type": "array", "items": text(SECRET) }),
        Kind::Texts { example, of, .. } => {
            json!({ "type": ["object", "null"], "additionalProperties": text(of), "description": example })
        }
        Kind::SecretTexts { example, .. } => {
            json!({ "type": ["object", "null"], "additionalProperties": text(SECRET), "description": example })
        }
        Kind::Inherit(_) => or_reference(json!({ "anyOf": [
            { "type": "boolean" },
            { "type": "array", "items": text("a name of a variable") },
        ] })),
    }
}

const SECRET: &str = "a secret, such as `${VAR}` or `file:/path`";

/// A scalar of any spelling: what looks like a number is a text as well.
fn text(description: &str) -> Value {
    json!({ "type": ["string", "number", "boolean"], "description": description })
}

fn or_reference(value: Value) -> Value {
    let reference = json!({ "type": "string", "pattern": "\\$\\{.+\\}|^os\\.environ/" });
    json!({ "anyOf": [value, reference] })
}
