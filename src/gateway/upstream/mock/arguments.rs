//! What a tool is called with: the JSON object in the user's text, or else something for each thing that is required.

use serde_json::{Deserializer, Map, Value, json};

use super::choice::{Tool, words};

/// Braces of a text at which an object is looked for.
const TRIED: usize = 32;

/// The arguments for `tool` that `text` has or suggests.
pub(super) fn fill(tool: &Tool<'_>, text: &str) -> Map<String, Value> {
    if let Some((object, _)) = object(text) {
        return object;
    }
    let properties = &tool.schema["properties"];
    let required = tool.schema["required"].as_array();
    let required = required.into_iter().flatten().filter_map(Value::as_str);
    let name = words(tool.name);
    let quoted = quoted(text);
    let mut quoted = quoted.into_iter().filter(|quoted| {
        let quoted = words(quoted);
        // Who writes a tool's name in quotes doesn't mean an argument.
        quoted.is_empty() || !name.ends_with(&quoted)
    });
    let mut last = None;
    let mut filled = Map::new();
    for property in required {
        let value = value(&properties[property], || {
            last = quoted.next().or(last);
            last.unwrap_or(text).to_owned()
        });
        filled.insert(property.to_owned(), value);
    }
    filled
}

/// The text without the JSON object in it, whose words name no tool.
pub(super) fn without_object(text: &str) -> String {
    match object(text) {
        Some((_, (begin, end))) => format!("{} {}", &text[..begin], &text[end..]),
        None => text.to_owned(),
    }
}

/// The first JSON object in a text, and where it stands.
fn object(text: &str) -> Option<(Map<String, Value>, (usize, usize))> {
    text.match_indices('{').take(TRIED).find_map(|(begin, _)| {
        let mut values = Deserializer::from_str(&text[begin..]).into_iter();
        let object = values.next()?.ok()?;
        Some((object, (begin, begin + values.byte_offset())))
    })
}

/// What stands in quotes.
fn quoted(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    let mut before = ' ';
    while let Some((begin, quote)) = rest
        .char_indices()
        .find(|(_, c)| matches!(c, '"' | '“' | '\'' | '`'))
    {
        before = rest[..begin].chars().next_back().unwrap_or(before);
        let inside = &rest[begin + quote.len_utf8()..];
        let close = if quote == '“' { '”' } else { quote };
        // An apostrophe is no quote.
        let opens = quote != '\'' || !before.is_alphanumeric();
        match inside.find(close) {
            Some(end) if opens => {
                found.push(&inside[..end]);
                rest = &inside[end + close.len_utf8()..];
                before = close;
            }
            _ => {
                rest = inside;
                before = quote;
            }
        }
    }
    found
}

/// Something that `schema` allows; `text` gives a text.
fn value(schema: &Value, text: impl FnOnce() -> String) -> Value {
    for given in [&schema["default"], &schema["const"], &schema["enum"][0]] {
        if !given.is_null() {
            return given.clone();
        }
    }
    let variants = schema["anyOf"].as_array().or(schema["oneOf"].as_array());
    let variant =
        variants.and_then(|variants| variants.iter().find(|variant| variant["type"] != "null"));
    let schema = variant.unwrap_or(schema);
    let kinds = schema["type"].as_array();
    let kind = kinds.and_then(|kinds| kinds.iter().find(|kind| *kind != "null"));
    match kind.unwrap_or(&schema["type"]).as_str() {
        Some("number" | "integer") => json!(1),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("object") => json!({}),
        Some("null") => Value::Null,
        _ => text().into(),
    }
}
