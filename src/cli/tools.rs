//! `tools`: what a server offers, as a table or as the server's own JSON.

use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;

use super::client::{Client, ClientError};
use super::target::Target;
use super::{ToolsArguments, output};
use crate::jsonrpc::{array_elements, member, members, string_value};

/// How long each answer may take; a server that is just starting may need it.
const LIMIT: Duration = Duration::from_secs(60);
/// Characters of a column of arguments.
const ARGUMENTS: usize = 60;
/// Characters of a description; `--json` has all of it.
const DESCRIPTION: usize = 100;

pub(super) fn tools(arguments: ToolsArguments) -> ExitCode {
    let target = match arguments.target.resolve() {
        Ok(target) => target,
        Err((message, status)) => return output::fail(&message, status),
    };
    let tools = match output::wait_for(list(target)) {
        Ok(Ok(tools)) => tools,
        Ok(Err(error)) => return output::fail(&error.to_string(), error.status()),
        Err(failed) => return failed,
    };
    if arguments.json {
        let tools: Vec<_> = tools
            .iter()
            .map(|tool| String::from_utf8_lossy(tool))
            .collect();
        let text = format!(r#"{{"tools":[{}]}}"#, tools.join(","));
        return output::answer(&text, ExitCode::SUCCESS);
    }
    if tools.is_empty() {
        output::error("the server has no tools");
        return ExitCode::SUCCESS;
    }
    output::answer(table(&tools).trim_end(), ExitCode::SUCCESS)
}

async fn list(target: Target) -> Result<Vec<Bytes>, ClientError> {
    let key = target.key.as_ref().map(|key| key.expose());
    let mut client = Client::connect(target.url, target.transport, key, LIMIT).await?;
    let tools = client.tools().await;
    client.close().await;
    tools
}

/// The tool's name, decoded.
pub(super) fn name(tool: &[u8]) -> String {
    text(tool, "name").unwrap_or_default()
}

fn table(tools: &[Bytes]) -> String {
    let mut rows = vec![
        ["TOOL", "ARGUMENTS", "DESCRIPTION"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for tool in tools {
        let description = text(tool, "description").or_else(|| text(tool, "title"));
        let description = description.unwrap_or_default();
        let first = description.trim().lines().next().unwrap_or_default();
        let mut lines = wrapped(arguments(tool)).into_iter();
        rows.push(vec![
            output::plain(&name(tool)),
            output::plain(&lines.next().unwrap_or_default()),
            output::plain(&cut(first)),
        ]);
        rows.extend(lines.map(|line| vec![String::new(), output::plain(&line)]));
    }
    output::table(&rows)
}

/// As many whole words as fit.
fn cut(line: &str) -> String {
    let Some((limit, _)) = line.char_indices().nth(DESCRIPTION) else {
        return line.to_owned();
    };
    let end = line[..limit].rfind(' ').unwrap_or(limit);
    format!("{} …", line[..end].trim_end())
}

/// `name: type` each, with `?` after the names of those that may be left out.
fn arguments(tool: &[u8]) -> Vec<String> {
    let Some(schema) = value(tool, "inputSchema") else {
        return Vec::new();
    };
    let required = value(schema, "required").map(texts).unwrap_or_default();
    let properties = value(schema, "properties").map(members).unwrap_or_default();
    let all = value(schema, "properties").unwrap_or_default();
    let mut arguments: Vec<(bool, String)> = properties
        .into_iter()
        .map(|(name, span)| {
            let name = String::from_utf8_lossy(&name).into_owned();
            let needed = required.contains(&name);
            let mark = if needed { "" } else { "?" };
            (!needed, format!("{name}{mark}: {}", kind(span.of(all))))
        })
        .collect();
    arguments.sort_by_key(|(optional, _)| *optional);
    arguments.into_iter().map(|(_, text)| text).collect()
}

/// A schema's type in a word or two.
fn kind(schema: &[u8]) -> String {
    if let Some(choices) = value(schema, "enum").map(texts)
        && !choices.is_empty()
    {
        return choices.join("|");
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(choices) = value(schema, key) {
            let mut kinds: Vec<String> = elements(choices).map(kind).collect();
            kinds.dedup();
            return kinds.join("|");
        }
    }
    let Some(named) = value(schema, "type") else {
        return "any".to_owned();
    };
    match string_value(named).as_deref() {
        Some("array") => {
            let item = value(schema, "items").map_or_else(|| "any".to_owned(), kind);
            match item.contains('|') {
                true => format!("({item})[]"),
                false => format!("{item}[]"),
            }
        }
        Some(one) => one.to_owned(),
        None => texts(named).join("|"),
    }
}

/// The arguments on as few lines as they fit.
fn wrapped(arguments: Vec<String>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for argument in arguments {
        match lines.last_mut() {
            Some(line) if line.chars().count() + argument.chars().count() + 2 <= ARGUMENTS => {
                line.push_str(", ");
                line.push_str(&argument);
            }
            last => {
                if let Some(line) = last {
                    line.push(',');
                }
                lines.push(argument);
            }
        }
    }
    lines
}

pub(super) fn value<'t>(object: &'t [u8], key: &str) -> Option<&'t [u8]> {
    member(object, key).map(|span| span.of(object))
}

pub(super) fn text(object: &[u8], key: &str) -> Option<String> {
    let text = value(object, key).and_then(string_value)?;
    Some(text.into_owned())
}

pub(super) fn elements(array: &[u8]) -> impl Iterator<Item = &[u8]> {
    let spans = array_elements(array).unwrap_or_default();
    spans.into_iter().map(move |span| span.of(array))
}

/// The strings of an array.
fn texts(array: &[u8]) -> Vec<String> {
    elements(array)
        .filter_map(|element| string_value(element).map(String::from))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_description_ends_between_words() {
        assert_eq!(cut("short"), "short");
        let line = "é".repeat(60) + " " + &"é".repeat(60);
        assert_eq!(cut(&line), "é".repeat(60) + " …");
        assert_eq!(cut(&"é".repeat(101)), "é".repeat(100) + " …");
    }

    #[test]
    fn a_tool_is_a_name_its_arguments_and_a_line() {
        let tool = br#"{"name":"q\u001b[2J","description":"\n Runs it.\nAt length.","inputSchema":{
            "properties":{
                "limit":{"type":"integer","maximum":1e400},
                "sql":{"type":"string"},
                "mode":{"enum":["fast","slow"]},
                "ids":{"type":"array","items":{"type":["string","null"]}},
                "x":{"anyOf":[{"type":"number"},{"type":"null"}]},
                "y":{}
            },"required":["sql"]}}"#;
        let other = br#"{"name":"none","inputSchema":{"type":"object"}}"#;
        let text = table(&[Bytes::from_static(tool), Bytes::from_static(other)]);
        let expected = "\
TOOL    ARGUMENTS                                              DESCRIPTION
q\u{fffd}[2J  sql: string, limit?: integer, mode?: fast|slow,        Runs it.
        ids?: (string|null)[], x?: number|null, y?: any
none
";
        let squeeze = |text: &str| {
            let lines = text
                .lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
            lines.collect::<Vec<_>>()
        };
        assert_eq!(squeeze(&text), squeeze(expected), "{text}");
    }
}
