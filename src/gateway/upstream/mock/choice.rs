//! Which tool a text names.
//!
//! Names and texts are compared as words: case doesn't count, and whatever is no letter or digit only separates. So
//! "List schemas." names `postgres-list_schemas`, by the part after the server's name.

use std::cmp::Reverse;

use serde_json::{Map, Value};

/// A function that the request offers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tool<'a> {
    pub(super) name: &'a str,
    /// The JSON schema of its arguments.
    pub(super) schema: &'a Value,
}

/// What `tool_choice` says.
#[derive(Debug)]
pub(super) enum Forced<'a> {
    /// The model may do as it likes.
    Free,
    /// No call.
    Never,
    /// Some call.
    Any,
    /// A call of this one.
    This(&'a Tool<'a>),
}

/// The functions that may be called.
pub(super) fn offered(request: &Map<String, Value>) -> Vec<Tool<'_>> {
    let tools = request.get("tools").and_then(Value::as_array);
    let functions = tools
        .into_iter()
        .flatten()
        .filter_map(|tool| tool.get("function"));
    let tools = functions.filter_map(|function| {
        Some(Tool {
            name: function.get("name")?.as_str()?,
            schema: function.get("parameters").unwrap_or(&Value::Null),
        })
    });
    let allowed = request
        .get("tool_choice")
        .and_then(|choice| choice.get("allowed_tools"));
    let allowed = allowed.and_then(|allowed| allowed.get("tools")?.as_array());
    let is_allowed = |tool: &Tool<'_>| {
        allowed.is_none_or(|allowed| {
            allowed
                .iter()
                .any(|entry| entry["function"]["name"] == tool.name)
        })
    };
    tools.filter(is_allowed).collect()
}

/// What the request wants to be called.
pub(super) fn forced<'a>(request: &Map<String, Value>, offered: &'a [Tool<'a>]) -> Forced<'a> {
    let Some(choice) = request.get("tool_choice") else {
        return Forced::Free;
    };
    let mode = choice
        .as_str()
        .or_else(|| choice.get("allowed_tools")?.get("mode")?.as_str());
    match mode {
        Some("none") => return Forced::Never,
        Some("required" | "any") => return Forced::Any,
        _ => {}
    }
    let name = choice
        .get("function")
        .and_then(|function| function.get("name"));
    let tool = name.and_then(|name| offered.iter().find(|tool| name == tool.name));
    tool.map_or(Forced::Free, Forced::This)
}

/// The tool that the text names: the one whose longest name is in it, of equal ones the first. A text that begins with
/// "list" and names none means a tool that lists something, if there is one; of several the one that shares most words with it, then one that needs
/// no arguments.
pub(super) fn named<'a>(
    offered: &'a [Tool<'a>],
    text: &str,
    separator: &str,
) -> Option<&'a Tool<'a>> {
    let said = words(&super::arguments::without_object(text));
    let mut best: Option<(usize, &Tool<'_>)> = None;
    for tool in offered {
        let names = names(tool.name, separator);
        let longest = names
            .iter()
            .filter(|name| is_in(name, &said))
            .map(|name| length(name))
            .max();
        if let Some(length) = longest
            && best.is_none_or(|(most, _)| length > most)
        {
            best = Some((length, tool));
        }
    }
    if let Some((_, tool)) = best {
        return Some(tool);
    }
    if said.first().is_none_or(|verb| verb != "list") {
        return None;
    }
    let lists = |tool: &&Tool<'_>| {
        let names = names(tool.name, separator);
        names
            .iter()
            .any(|name| name.first().is_some_and(|verb| verb == "list"))
    };
    let merit = |tool: &&Tool<'_>| {
        let name = words(tool.name);
        let shared = said.iter().filter(|word| name.contains(word)).count();
        let required = tool.schema["required"].as_array();
        (Reverse(shared), required.map_or(0, Vec::len))
    };
    offered.iter().filter(lists).min_by_key(merit)
}

/// What a tool may be called, each as its words: its name, and what follows the server's. Where that begins can't be seen,
/// as servers may have the separator in their names; a later place counts only if more than one word is left.
fn names(name: &str, separator: &str) -> Vec<Vec<String>> {
    let mut names = vec![words(name)];
    for (count, (place, _)) in name.match_indices(separator).enumerate() {
        let rest = words(&name[place + separator.len()..]);
        if rest.len() > usize::from(count > 0) {
            names.push(rest);
        }
    }
    names
}

pub(super) fn words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric());
    words
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

fn is_in(name: &[String], said: &[String]) -> bool {
    !name.is_empty() && said.windows(name.len()).any(|part| part == name)
}

fn length(name: &[String]) -> usize {
    name.iter().map(|word| word.len() + 1).sum()
}
