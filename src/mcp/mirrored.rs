//! Tool parameters that clients mirror into headers: which those are, and whether they say the same.
//!
//! MCP 2026-07-28, Streamable HTTP § Custom Headers from Tool Parameters. A server that reads bodies checks the headers
//! that a tool's `inputSchema` asks for by `x-mcp-header`. Annotations that break the rules are none: clients leave such
//! a tool out.

use std::borrow::Cow;
use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::jsonrpc::{member, members, string_value};

/// What every mirrored parameter's header begins with.
const PREFIX: &str = "mcp-param-";
/// Around a value that is no plain ASCII (§ Value Encoding).
const ENCODED: (&str, &str) = ("=?base64?", "?=");

/// The mirrored parameters of a server's tools.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Mirrored(HashMap<String, Vec<Parameter>>);

#[derive(Debug, PartialEq, Eq)]
struct Parameter {
    /// The header's name, lower-case.
    header: String,
    /// The keys that lead to it from the arguments.
    path: Vec<String>,
}

impl Mirrored {
    /// Those of `tools`, each a tool's JSON object.
    pub fn of(tools: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Mirrored {
        let mut all = HashMap::new();
        for tool in tools {
            let tool = tool.as_ref();
            // Nearly all tools have none.
            if memchr::memmem::find(tool, b"x-mcp-header").is_none() {
                continue;
            }
            let name = member(tool, "name").and_then(|span| string_value(span.of(tool)));
            let schema = member(tool, "inputSchema");
            let (Some(name), Some(schema)) = (name, schema) else {
                continue;
            };
            let mut parameters = Vec::new();
            collect(schema.of(tool), &mut Vec::new(), &mut parameters);
            if !parameters.is_empty() {
                all.insert(name.into_owned(), parameters);
            }
        }
        Mirrored(all)
    }

    /// Whether no tool has any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares the `arguments` of a call of `tool` with its headers, which `header` looks up by lower-case name.
    ///
    /// # Errors
    /// What doesn't fit, in words.
    pub fn check<'h>(
        &self,
        tool: &str,
        arguments: &[u8],
        header: impl Fn(&str) -> Option<&'h [u8]>,
    ) -> Result<(), String> {
        for parameter in self.0.get(tool).map(Vec::as_slice).unwrap_or_default() {
            let name = &parameter.header;
            let value = lookup(arguments, &parameter.path).filter(|value| *value != b"null");
            match (header(name), value) {
                (None, None) => {}
                (Some(_), None) => {
                    return Err(format!(
                        "header {name} has a value and params.arguments has none for it"
                    ));
                }
                (None, Some(_)) => {
                    return Err(format!(
                        "header {name} is missing, and params.arguments has its value"
                    ));
                }
                (Some(header), Some(value)) => {
                    let said = decoded(header).ok_or_else(|| {
                        format!("header {name} is neither plain ASCII nor valid Base64")
                    })?;
                    if !says(value, &said) {
                        return Err(format!(
                            "header {name} does not say what params.arguments says"
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Those of the object `schema` that are reached by `properties` alone.
fn collect(schema: &[u8], path: &mut Vec<String>, found: &mut Vec<Parameter>) {
    let Some(properties) = member(schema, "properties") else {
        return;
    };
    let properties = properties.of(schema);
    for (key, value) in members(properties) {
        let property = value.of(properties);
        path.push(String::from_utf8_lossy(&key).into_owned());
        let name =
            member(property, "x-mcp-header").and_then(|span| string_value(span.of(property)));
        if let Some(name) = name.filter(|name| is_token(name))
            && is_primitive(property)
        {
            found.push(Parameter {
                header: format!("{PREFIX}{}", name.to_ascii_lowercase()),
                path: path.clone(),
            });
        }
        collect(property, path, found);
        path.pop();
    }
}

fn is_primitive(property: &[u8]) -> bool {
    let kind = member(property, "type").and_then(|span| string_value(span.of(property)));
    matches!(kind.as_deref(), Some("string" | "integer" | "boolean"))
}

/// RFC 9110 § 5.6.2.
fn is_token(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(token)
}

fn lookup<'a>(arguments: &'a [u8], path: &[String]) -> Option<&'a [u8]> {
    path.iter().try_fold(arguments, |object, key| {
        Some(member(object, key)?.of(object))
    })
}

/// What a header's value says: itself, or what it has in Base64. `None` when it is neither plain ASCII nor valid Base64.
#[must_use]
pub fn decoded(value: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(value).ok()?;
    if !text.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
        return None;
    }
    let encoded = text
        .strip_prefix(ENCODED.0)
        .and_then(|rest| rest.strip_suffix(ENCODED.1));
    match encoded {
        Some(encoded) => {
            let bytes = STANDARD.decode(encoded).ok()?;
            String::from_utf8(bytes).ok().map(Cow::Owned)
        }
        None => Some(Cow::Borrowed(text)),
    }
}

/// Whether the JSON `value` is what `said` says. What is no primitive has no header, and is the server's to refuse.
fn says(value: &[u8], said: &str) -> bool {
    match value.first() {
        Some(b'"') => string_value(value).is_some_and(|value| value == said),
        Some(b't' | b'f') => value == said.as_bytes(),
        Some(b'-' | b'0'..=b'9') => {
            let value = std::str::from_utf8(value).unwrap_or_default();
            value == said || number(value).is_some_and(|value| number(said) == Some(value))
        }
        _ => true,
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOL: &str = r#"{"name":"sql","inputSchema":{"type":"object","properties":{
        "region":{"type":"string","x-mcp-header":"Region"},
        "limit":{"type":"integer","x-mcp-header":"Limit"},
        "price":{"type":"number","x-mcp-header":"Price"},
        "odd":{"type":"string","x-mcp-header":"no token"},
        "deep":{"type":"object","properties":{"dry":{"type":"boolean","x-mcp-header":"Dry"}}},
        "list":{"type":"array","items":{"properties":{"x":{"type":"string","x-mcp-header":"X"}}}},
        "q":{"type":"string"}}}}"#;

    fn check(arguments: &str, headers: &[(&str, &str)]) -> Result<(), String> {
        let mirrored = Mirrored::of([TOOL]);
        mirrored.check("sql", arguments.as_bytes(), |name| {
            let found = headers.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| value.as_bytes())
        })
    }

    #[test]
    fn headers_say_what_the_arguments_say() {
        for (arguments, headers) in [
            (r#"{"q":"x"}"#, &[][..]),
            (r#"{"region":null}"#, &[]),
            (
                r#"{"region":"us-west1"}"#,
                &[("mcp-param-region", "us-west1")],
            ),
            (
                r#"{"region":"Hello, \u4e16\u754c"}"#,
                &[("mcp-param-region", "=?base64?SGVsbG8sIOS4lueVjA==?=")],
            ),
            (
                r#"{"region":"=?base64?SGVsbG8="}"#,
                &[("mcp-param-region", "=?base64?SGVsbG8=")],
            ),
            (r#"{"limit":42.0}"#, &[("mcp-param-limit", "42")]),
            (
                r#"{"deep":{"dry":true},"price":1,"odd":"x","list":[{"x":"y"}]}"#,
                &[("mcp-param-dry", "true"), ("mcp-param-other", "ignored")],
            ),
        ] {
            assert_eq!(check(arguments, headers), Ok(()), "{arguments}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (arguments, headers, want) in [
            (r#"{"region":"a"}"#, &[][..], "is missing"),
            ("{}", &[("mcp-param-region", "a")], "has none"),
            (
                r#"{"region":null}"#,
                &[("mcp-param-region", "null")],
                "has none",
            ),
            (
                r#"{"region":"a"}"#,
                &[("mcp-param-region", "A")],
                "does not say",
            ),
            (
                r#"{"region":"Hello"}"#,
                &[("mcp-param-region", "=?base64?SGVsbG8?=")],
                "Base64",
            ),
            (
                r#"{"region":"Hello"}"#,
                &[("mcp-param-region", "=?base64?SGVs!!!bG8=?=")],
                "Base64",
            ),
            (
                r#"{"region":"é"}"#,
                &[("mcp-param-region", "é")],
                "plain ASCII",
            ),
            (
                r#"{"limit":42}"#,
                &[("mcp-param-limit", "43")],
                "does not say",
            ),
            (
                r#"{"deep":{"dry":true}}"#,
                &[("mcp-param-dry", "True")],
                "does not say",
            ),
        ] {
            let error = check(arguments, headers).unwrap_err();
            assert!(error.contains(want), "{arguments}: {error}");
        }
    }

    #[test]
    fn a_tool_without_annotations_has_no_rules() {
        assert!(Mirrored::of([r#"{"name":"a","inputSchema":{"properties":{"b":{}}}}"#]).is_empty());
        assert_eq!(Mirrored::of([TOOL]).check("other", b"{}", |_| None), Ok(()));
    }
}
