//! From entries to the text of a `bridges.yaml`: names that are allowed, a port for each, and YAML that reads as it was meant.

use std::collections::BTreeSet;

use super::entry::{Entry, Server, Text};
use super::reference::required;

/// Variables that are set anyway.
const EVERYWHERE: [&str; 3] = ["HOME", "PATH", "USER"];
/// The longest name of a bridge, in characters.
const NAME: usize = 40;

/// The file. What is worth knowing is added to `warnings`.
pub(super) fn write(
    entries: Vec<Entry>,
    from: &str,
    first_port: u16,
    warnings: &mut Vec<String>,
) -> String {
    let mut names = BTreeSet::new();
    let wanted: BTreeSet<u16> = entries.iter().filter_map(wanted_port).collect();
    let mut free = (first_port..).filter(|port| !wanted.contains(port));
    let mut taken = BTreeSet::new();
    let mut variables = BTreeSet::new();
    let mut body = String::new();
    let mut remotes = false;
    let mut living = 0;
    for entry in entries {
        let name = unique(&entry.name, &mut names);
        if name != entry.name {
            warnings.push(format!("`{}` is called `{name}` here", entry.name));
        }
        let aliases: Vec<_> = entry
            .aliases
            .iter()
            .map(|alias| unique(alias, &mut names))
            .collect();
        let port = match wanted_port(&entry) {
            Some(port) if taken.insert(port) => port,
            Some(port) => {
                let other = free.next().unwrap_or(0);
                warnings.push(format!(
                    "{name}: port {port} is taken by another one, so it gets {other}"
                ));
                other
            }
            None if matches!(entry.server, Server::Local { .. }) => free.next().unwrap_or(0),
            None => 0,
        };
        let lines = lines(&entry, &aliases, port);
        secrets(&entry, &name, warnings);
        let mark = match entry.is_disabled {
            true => {
                warnings.push(format!("{name}: it is disabled, so it is a comment"));
                "# "
            }
            false => {
                living += 1;
                remotes |= matches!(entry.server, Server::Remote { .. });
                let named = lines.iter().flat_map(|line| required(line));
                let named = named.filter(|name| !EVERYWHERE.contains(name));
                variables.extend(named.map(str::to_owned));
                ""
            }
        };
        body.push_str(&format!("\n  {mark}{name}:\n"));
        for line in &lines {
            body.push_str(&format!("  {mark}  {line}\n"));
        }
    }
    if living == 0 {
        warnings.push("none of the servers is enabled; the file needs at least one".to_owned());
    }
    if !variables.is_empty() {
        let listed: Vec<_> = variables.iter().map(String::as_str).collect();
        warnings.push(format!(
            "the file refers to {}; set them in the environment of the daemon or in a bridge's `env_file`",
            listed.join(", ")
        ));
    }
    let version = env!("CARGO_PKG_VERSION");
    let mut file = format!(
        "# From {from}, by mcp-bridged {version} import. `mcp-bridged check` looks it over.\nbridges:{body}"
    );
    if remotes {
        file.push_str(
            "\n# Servers on the network are reached through the gateway.\ngateway:\n  port: 4000\n",
        );
    }
    file
}

/// The lines of an entry, without the indentation of its name.
fn lines(entry: &Entry, aliases: &[String], port: u16) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pair = |key: &str, value: &str| lines.push(format!("{key}: {value}"));
    if !aliases.is_empty() {
        pair("aliases", &list(aliases));
    }
    match &entry.server {
        Server::Local {
            command, args, cwd, ..
        } => {
            pair("port", &port.to_string());
            pair("command", &text(command));
            if !args.is_empty() {
                pair("args", &list(args));
            }
            if let Some(cwd) = cwd {
                pair("cwd", &text(cwd));
            }
        }
        Server::Remote {
            url, is_sse, auth, ..
        } => {
            pair("url", &text(url));
            pair("transport", if *is_sse { "sse" } else { "http" });
            if let Some((kind, value)) = auth {
                pair("auth_type", kind);
                pair("auth_value", &text(value));
            }
        }
    }
    if let Some(file) = &entry.env_file {
        pair("env_file", &text(file));
    }
    if let Some(description) = &entry.description {
        pair("description", &text(description));
    }
    for (key, value) in &entry.more {
        pair(key, value);
    }
    let filters = [("allow", &entry.allow), ("deny", &entry.deny)];
    let filters: Vec<_> = filters
        .iter()
        .filter(|(_, globs)| !globs.is_empty())
        .map(|(key, globs)| format!("{key}: {}", list(globs)))
        .collect();
    if !filters.is_empty() {
        pair("tools", &format!("{{ {} }}", filters.join(", ")));
    }
    let (key, map) = match &entry.server {
        Server::Local { env, .. } => ("env", env),
        Server::Remote { headers, .. } => ("headers", headers),
    };
    if !map.is_empty() {
        lines.push(format!("{key}:"));
        let pairs = map
            .iter()
            .map(|(name, value)| format!("  {}: {}", text(name), text(value)));
        lines.extend(pairs);
    }
    lines
}

/// Warns of secrets that stand there as they are.
fn secrets(entry: &Entry, name: &str, warnings: &mut Vec<String>) {
    let (what, map) = match &entry.server {
        Server::Local { env, .. } => ("env", env),
        Server::Remote { headers, .. } => ("headers", headers),
    };
    let mut literal: Vec<String> = map
        .iter()
        .filter(|(key, value)| is_secret(key) && !value.is_empty() && !value.contains("${"))
        .map(|(key, _)| format!("{what}.{key}"))
        .collect();
    if let Server::Remote {
        auth: Some((_, value)),
        ..
    } = &entry.server
        && !value.contains("${")
    {
        literal.push("auth_value".to_owned());
    }
    if !literal.is_empty() {
        warnings.push(format!(
            "{name}: {} may be a secret and stands there as it is, as in the source; better a `${{VAR}}` and an `env_file` of mode 600",
            literal.join(" and ")
        ));
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = [
        "token",
        "secret",
        "password",
        "passwd",
        "key",
        "auth",
        "credential",
        "_pat",
        "dsn",
        "database_uri",
        "database_url",
    ];
    words.iter().any(|word| name.contains(word))
}

fn wanted_port(entry: &Entry) -> Option<u16> {
    match entry.server {
        Server::Local { port, .. } if !entry.is_disabled => port,
        _ => None,
    }
}

/// A name of the allowed form that is in use nowhere else: `git-hub` for `Git Hub`.
fn unique(name: &str, names: &mut BTreeSet<String>) -> String {
    let allowed = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_alphanumeric() || c == '_' => c,
        _ => '-',
    };
    let name: String = name.chars().map(allowed).collect();
    let name = name.trim_matches(['-', '_']);
    let name: String = name.chars().take(NAME).collect();
    let base = match name.trim_end_matches(['-', '_']) {
        "" => "server",
        name => name,
    };
    let mut unique = base.to_owned();
    let mut number = 2;
    while !names.insert(unique.clone()) {
        let end = format!("-{number}");
        let kept: String = base.chars().take(NAME - end.len()).collect();
        unique = format!("{kept}{end}");
        number += 1;
    }
    unique
}

fn list(items: &[Text]) -> String {
    let items: Vec<_> = items.iter().map(|item| text(item)).collect();
    format!("[{}]", items.join(", "))
}

/// A YAML scalar that reads as `value`: plain where that is beyond doubt, else in double quotes, which know JSON's escapes.
pub(in crate::cli) fn text(value: &str) -> String {
    let begins =
        value.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_'));
    let flag = value.starts_with('-')
        && value[1..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '-');
    let safe = |c: char| c.is_ascii_alphanumeric() || "/._-+=@%~".contains(c);
    // A colon is one only before a space or at the end.
    let url = value.contains("://") && !value.ends_with(':');
    let plain = value
        .chars()
        .all(|c| safe(c) || (url && matches!(c, ':' | '?')));
    let word = matches!(value, "~" | "null" | "Null" | "NULL" | "." | "..");
    match (begins || flag)
        && plain
        && !word
        && !value.starts_with("---")
        && !value.starts_with("...")
    {
        true => value.to_owned(),
        false => quoted(value),
    }
}

fn quoted(value: &str) -> String {
    let json = serde_json::to_string(value).expect("a text is JSON");
    // What JSON takes as it is and YAML doesn't, or takes for a line end.
    let odd = |c: char| {
        c.is_control()
            || matches!(
                c,
                '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
            )
    };
    json.chars().fold(String::new(), |mut quoted, c| {
        match odd(c) {
            true => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => quoted.push(c),
        }
        quoted
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::yaml_as_json;

    fn read(yaml: &str) -> serde_json::Value {
        yaml_as_json(std::path::Path::new("x"), yaml).unwrap()
    }

    proptest! {
        #[test]
        fn any_text_reads_as_it_was(value in "[ -~\\u{80}-\\u{ffff}\\n\\t]{0,20}") {
            let yaml = format!("a: {}\nb: [{}]\n", text(&value), text(&value));
            let read = read(&yaml);
            prop_assert_eq!(read["a"].as_str().unwrap_or("not text"), value.as_str(), "{}", yaml);
            prop_assert_eq!(read["b"][0].as_str().unwrap_or("not text"), value.as_str(), "{}", yaml);
        }
    }

    #[test]
    fn plain_words_stay_plain() {
        for (value, expected) in [
            ("npx", "npx"),
            ("-y", "-y"),
            ("--port=1", "--port=1"),
            ("/srv/a.b", "/srv/a.b"),
            ("https://h:1/mcp?a=b", "https://h:1/mcp?a=b"),
            ("@scope/x", "\"@scope/x\""),
            ("${A}", "\"${A}\""),
            ("a: b", "\"a: b\""),
            ("", "\"\""),
            ("-", "\"-\""),
            ("null", "\"null\""),
        ] {
            assert_eq!(text(value), expected);
        }
    }

    #[test]
    fn names_are_of_the_allowed_form_and_unique() {
        let mut names = BTreeSet::new();
        for (name, expected) in [
            ("GitHub MCP", "github-mcp"),
            ("github-mcp", "github-mcp-2"),
            ("@scope/x", "scope-x"),
            ("…", "server"),
            (&"x".repeat(50), &"x".repeat(40)),
            (&"x".repeat(60), &format!("{}-2", "x".repeat(38))),
        ] {
            assert_eq!(unique(name, &mut names), expected);
        }
    }
}
