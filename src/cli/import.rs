//! `import`: a `bridges.yaml` out of what other programs call their MCP servers.
//!
//! Each source (`claude`, `litellm`, `supergateway`) becomes a list of [`Entry`]s, whose texts are in the language of
//! bridges.yaml already: references to variables as references, everything else escaped. `write` gives them names and ports and
//! writes the file. What has no counterpart is a warning on stderr; nothing is dropped in silence.

mod claude;
mod command;
mod entry;
mod jsonc;
mod litellm;
mod reference;
mod supergateway;
mod write;

use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

use super::{ImportArguments, output, status};
use crate::config::yaml_as_json;
use entry::Entry;
pub(super) use reference::as_variable;
pub(super) use write::text as yaml_text;

/// What one source gave.
#[derive(Debug, Default)]
struct Source {
    entries: Vec<Entry>,
    /// What has no counterpart, and what deserves a look.
    warnings: Vec<String>,
}

pub(super) fn import(arguments: ImportArguments) -> ExitCode {
    let mut source = Source::default();
    let mut names = Vec::new();
    for file in &arguments.files {
        match read(file) {
            Ok(read) => source.append(read),
            Err(message) => return output::fail(&message, status::CONFIG),
        }
        names.push(file.display().to_string());
    }
    for line in &arguments.supergateway {
        match supergateway::read(line) {
            Ok(read) => source.append(read),
            Err(message) => return output::fail(&message, status::CONFIG),
        }
        names.push("a supergateway command line".to_owned());
    }
    let Source {
        entries,
        mut warnings,
    } = source;
    if entries.is_empty() {
        return output::fail("there is nothing to import", status::CONFIG);
    }
    names.dedup();
    let from = names.join(", ");
    let text = write::write(entries, &from, arguments.first_port, &mut warnings);
    for warning in &warnings {
        output::error(&format!("warning: {}", output::plain(warning)));
    }
    output::answer(text.trim_end(), ExitCode::SUCCESS)
}

impl Source {
    fn append(&mut self, other: Self) {
        self.entries.extend(other.entries);
        self.warnings.extend(other.warnings);
    }
}

/// Reads a file of whichever kind it is; `-` is stdin.
fn read(file: &Path) -> Result<Source, String> {
    let (file, text) = match file.to_str() {
        Some("-") => (
            Path::new("stdin"),
            std::io::read_to_string(std::io::stdin()),
        ),
        _ => (file, std::fs::read_to_string(file)),
    };
    let shown = file.display();
    let text = text.map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let value = match text.trim_start().starts_with('{') {
        true => jsonc::parse(&text).map_err(|error| format!("{shown}: {error}"))?,
        false => yaml_as_json(file, &text).map_err(|problems| problems.to_string())?,
    };
    source_of(&value).ok_or_else(|| {
        format!(
            "{shown} has none of `mcpServers` (Claude), `servers` (VS Code) and `mcp_servers` (LiteLLM); expected one of their files"
        )
    })
}

fn source_of(value: &Value) -> Option<Source> {
    let has = |path: &str| value.pointer(path).is_some_and(Value::is_object);
    if has("/mcp_servers") {
        return Some(litellm::read(value));
    }
    if has("/mcpServers") {
        return Some(claude::read(&value["mcpServers"], claude::Dialect::Claude));
    }
    // In a file of its own, or within VS Code's settings.
    for path in ["/servers", "/mcp/servers"] {
        if let Some(servers) = value.pointer(path).filter(|servers| servers.is_object()) {
            return Some(claude::read(servers, claude::Dialect::VsCode));
        }
    }
    None
}
