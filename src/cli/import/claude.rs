//! `mcpServers` of Claude Desktop, Claude Code, Cursor and others, and `servers` of VS Code, whose entries look alike.

use serde_json::{Map, Value};

use super::Source;
use super::command::leads_to;
use super::entry::{Entry, Server, Text};
use super::reference::Spelling;

/// Whose file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// References are `${VAR}`.
    Claude,
    /// References are `${env:VAR}` and `${input:id}`.
    VsCode,
}

/// One entry while it is read.
struct Reader<'a> {
    name: &'a str,
    spelling: Spelling,
    warnings: Vec<String>,
}

pub(super) fn read(servers: &Value, dialect: Dialect) -> Source {
    let mut source = Source::default();
    for (name, entry) in servers.as_object().into_iter().flatten() {
        let mut reader = Reader {
            name,
            spelling: match dialect {
                Dialect::Claude => Spelling::Braces,
                Dialect::VsCode => Spelling::VsCode,
            },
            warnings: Vec::new(),
        };
        match entry.as_object() {
            Some(entry) => source.entries.extend(reader.entry(entry)),
            None => reader.warn("it is no object, left out"),
        }
        source.warnings.extend(reader.warnings);
    }
    source
}

impl Reader<'_> {
    fn entry(&mut self, entry: &Map<String, Value>) -> Option<Entry> {
        let kind = entry.get("type").or_else(|| entry.get("transport"));
        let kind = kind.and_then(Value::as_str);
        let url = ["url", "serverUrl", "httpUrl"]
            .into_iter()
            .find_map(|key| Some((key, entry.get(key)?.as_str()?)));
        let server = match (entry.get("command"), url) {
            (Some(command), _) => self.local(command, entry)?,
            (None, Some((key, url))) => {
                let is_sse = match kind {
                    Some("sse") => Some(true),
                    Some("http" | "streamable-http" | "streamable_http" | "streamableHttp") => {
                        Some(false)
                    }
                    Some("ws" | "websocket") => {
                        self.warn("it speaks WebSocket, which is no transport of MCP; left out");
                        return None;
                    }
                    _ if key == "httpUrl" => Some(false),
                    _ => None,
                };
                let headers = self.pairs(entry, "headers");
                Server::remote(self.text(url), is_sse, headers)
            }
            (None, None) => {
                self.warn("it has neither `command` nor `url`; left out");
                return None;
            }
        };
        let mut found = Entry::new(self.name, server);
        found.is_disabled = entry.get("disabled") == Some(&Value::Bool(true))
            || entry.get("enabled") == Some(&Value::Bool(false));
        found.description = self.one(entry, "description");
        found.env_file = self.one(entry, "envFile");
        found.allow = self.list(entry, "includeTools");
        found.deny = self.list(entry, "disabledTools");
        found.deny.extend(self.list(entry, "excludeTools"));
        if entry
            .get("tools")
            .is_some_and(|tools| tools != &serde_json::json!(["*"]))
        {
            found.allow.extend(self.list(entry, "tools"));
        }
        for key in entry.keys() {
            self.unknown(key);
        }
        Some(found)
    }

    fn local(&mut self, command: &Value, entry: &Map<String, Value>) -> Option<Server> {
        let mut args = self.list(entry, "args");
        let mut command = match command {
            Value::String(command) => self.text(command),
            // A whole command line as a list.
            Value::Array(words) => {
                let mut words = words.iter().filter_map(Value::as_str);
                let first = words.next()?.to_owned();
                let rest: Vec<_> = words.map(|word| self.text(word)).collect();
                args.splice(0..0, rest);
                first
            }
            _ => {
                self.warn("its `command` is no text; left out");
                return None;
            }
        };
        if command == "cmd"
            && args
                .first()
                .is_some_and(|first| first.eq_ignore_ascii_case("/c"))
        {
            args.remove(0);
            if args.is_empty() {
                self.warn("its `command` is a shell of Windows; left out");
                return None;
            }
            command = args.remove(0);
            self.warn("`cmd /c` is for Windows; removed");
        }
        if let Some(server) = leads_to(&command, &args) {
            self.warn(&format!(
                "`{command} …` only leads to a server on the network; the gateway speaks with that itself"
            ));
            return Some(server);
        }
        if let Some((program, rest)) = command.split_once(' ')
            && args.is_empty()
            && !program.contains('/')
        {
            // Some hosts split it; here no shell is involved.
            let words = rest.split_whitespace().map(str::to_owned).collect();
            self.warn("its `command` has arguments in it; they are under `args` now");
            return Some(self.program(program.to_owned(), words, entry));
        }
        Some(self.program(command, args, entry))
    }

    fn program(&mut self, command: Text, args: Vec<Text>, entry: &Map<String, Value>) -> Server {
        Server::Local {
            command,
            args,
            env: self.pairs(entry, "env"),
            cwd: self.one(entry, "cwd"),
            port: None,
        }
    }

    /// Says of a key that isn't taken over what to do about it.
    fn unknown(&mut self, key: &str) {
        let cure = match key {
            "command" | "args" | "env" | "cwd" | "url" | "serverUrl" | "httpUrl" | "headers"
            | "type" | "transport" | "disabled" | "enabled" | "description" | "envFile"
            | "tools" | "disabledTools" | "includeTools" | "excludeTools" => return,
            "autoApprove" | "alwaysAllow" | "trust" => "clients decide that",
            "timeout" | "requestTimeout" | "startup_timeout_sec" => {
                "see `request_timeout` and `init_timeout`"
            }
            "oauth" | "auth" => {
                "logins by browser are not supported; see `auth_type` and `headers`"
            }
            "dev" | "gallery" | "version" | "icon" => "it is for an editor",
            _ => "it has no counterpart",
        };
        self.warn(&format!("`{key}` is not taken over: {cure}"));
    }

    fn one(&mut self, entry: &Map<String, Value>, key: &str) -> Option<Text> {
        let text = entry.get(key)?.as_str()?.to_owned();
        Some(self.text(&text))
    }

    fn list(&mut self, entry: &Map<String, Value>, key: &str) -> Vec<Text> {
        let items = entry.get(key).and_then(Value::as_array);
        let items = items.into_iter().flatten().filter_map(scalar);
        items.map(|item| self.text(&item)).collect()
    }

    fn pairs(&mut self, entry: &Map<String, Value>, key: &str) -> Vec<(String, Text)> {
        let pairs = entry.get(key).and_then(Value::as_object);
        let pairs = pairs.into_iter().flatten();
        pairs
            .filter_map(|(name, value)| Some((name.clone(), scalar(value)?)))
            .map(|(name, value)| (name, self.text(&value)))
            .collect()
    }

    fn text(&mut self, text: &str) -> Text {
        let name = self.name;
        let warnings = &mut self.warnings;
        self.spelling.translate(text, &mut |warning| {
            let warning = format!("{name}: {warning}");
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        })
    }

    fn warn(&mut self, warning: &str) {
        self.warnings.push(format!("{}: {warning}", self.name));
    }
}

/// A text, or a number or flag that was meant as one.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(entry: Value, expected: Option<Server>, warnings: &[&str]) {
        let source = read(&json!({ "x": entry }), Dialect::Claude);
        let found = source.entries.into_iter().next().map(|entry| entry.server);
        assert_eq!(found, expected, "{entry}");
        let said: Vec<_> = source.warnings.iter().map(String::as_str).collect();
        assert_eq!(said.len(), warnings.len(), "{said:?}");
        for (said, part) in said.iter().zip(warnings) {
            assert!(said.starts_with("x: ") && said.contains(part), "{said}");
        }
    }

    fn local(command: &str, args: &[&str]) -> Option<Server> {
        Some(Server::Local {
            command: command.to_owned(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env: Vec::new(),
            cwd: None,
            port: None,
        })
    }

    #[test]
    fn entries_of_all_shapes_are_read() {
        check(
            json!({"command": "cmd", "args": ["/c", "npx", "-y", "s"]}),
            local("npx", &["-y", "s"]),
            &["Windows"],
        );
        check(
            json!({"command": ["npx", "s"], "args": [1]}),
            local("npx", &["s", "1"]),
            &[],
        );
        check(
            json!({"command": "uvx s -v"}),
            local("uvx", &["s", "-v"]),
            &["arguments in it"],
        );
        check(
            json!({"command": "/opt/my server/run"}),
            local("/opt/my server/run", &[]),
            &[],
        );
        let headers = vec![("Authorization".to_owned(), "Bearer k".to_owned())];
        let remote = Server::remote("https://h/mcp".to_owned(), None, headers);
        check(
            json!({"command": "npx", "args": ["mcp-remote", "https://h/mcp", "--header", "Authorization: Bearer k"]}),
            Some(remote),
            &["only leads to"],
        );
        let sse = Server::remote("https://h/x".to_owned(), Some(true), Vec::new());
        check(
            json!({"type": "sse", "url": "https://h/x", "alwaysAllow": []}),
            Some(sse),
            &["clients decide"],
        );
        check(
            json!({"type": "ws", "url": "wss://h"}),
            None,
            &["WebSocket"],
        );
        check(json!({"disabled": true}), None, &["neither"]);
        check(json!("npx"), None, &["no object"]);
    }
}
