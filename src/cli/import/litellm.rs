//! LiteLLM's `config.yaml`: `mcp_servers`, and the aliases of its `litellm_settings`.

use serde_json::{Map, Value};

use super::Source;
use super::claude::scalar;
use super::command::leads_to;
use super::entry::{Entry, Server, Text};
use super::reference::Spelling;

pub(super) fn read(config: &Value) -> Source {
    let mut source = Source::default();
    let servers = config["mcp_servers"].as_object();
    for (name, entry) in servers.into_iter().flatten() {
        let mut warn = |warning: &str| source.warnings.push(format!("{name}: {warning}"));
        match entry.as_object() {
            Some(fields) => source.entries.extend(self::entry(name, fields, &mut warn)),
            None => warn("it is no map, left out"),
        }
    }
    for aliases in [
        &config["litellm_settings"]["mcp_aliases"],
        &config["mcp_aliases"],
    ] {
        for (alias, server) in aliases.as_object().into_iter().flatten() {
            let server = server.as_str().unwrap_or_default();
            let mut entries = source.entries.iter_mut();
            match entries.find(|entry| entry.name == server) {
                Some(entry) => entry.aliases.push(alias.clone()),
                None => source.warnings.push(format!(
                    "the alias `{alias}` is one of `{server}`, which is not there; left out"
                )),
            }
        }
    }
    if config["model_list"]
        .as_array()
        .is_some_and(|it| !it.is_empty())
    {
        source.warnings.push(
            "`model_list` is not taken over: let the gateway's `model_list` name LiteLLM as its `api_base`"
                .to_owned(),
        );
    }
    source
}

fn entry(name: &str, fields: &Map<String, Value>, warn: &mut dyn FnMut(&str)) -> Option<Entry> {
    let one = |key: &str| {
        fields
            .get(key)
            .and_then(scalar)
            .map(|text| translated(&text))
    };
    let list = |key: &str| -> Vec<Text> {
        let items = fields
            .get(key)
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        items
            .filter_map(scalar)
            .map(|item| translated(&item))
            .collect()
    };
    let pairs = |key: &str| -> Vec<(String, Text)> {
        let pairs = fields
            .get(key)
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        pairs
            .filter_map(|(name, value)| Some((name.clone(), translated(&scalar(value)?))))
            .collect()
    };
    let transport = one("transport");
    let server = match (one("command"), one("url")) {
        (Some(command), None) => {
            let args = list("args");
            leads_to(&command, &args).unwrap_or(Server::Local {
                command,
                args,
                env: pairs("env"),
                cwd: None,
                port: None,
            })
        }
        (_, Some(url)) => {
            let is_sse = match transport.as_deref() {
                Some("sse") => Some(true),
                // LiteLLM's default.
                _ => Some(false),
            };
            let mut headers = pairs("static_headers");
            headers.extend(pairs("headers"));
            let value = one("auth_value").or_else(|| one("authentication_token"));
            let mut server = Server::remote(url, is_sse, headers);
            if let (Server::Remote { auth, .. }, Some(kind)) = (&mut server, one("auth_type")) {
                let kind = match kind.as_str() {
                    "bearer_token" => Some("bearer_token"),
                    "api_key" => Some("api_key"),
                    "basic" => Some("basic"),
                    "authorization" | "token" => Some("authorization"),
                    "none" => None,
                    other => {
                        warn(&format!(
                            "`auth_type: {other}` is not supported; see `auth_type` and `headers`"
                        ));
                        None
                    }
                };
                match (kind, value) {
                    (Some(kind), Some(value)) => *auth = Some((kind, value)),
                    (Some(kind), None) => {
                        warn(&format!(
                            "`auth_type: {kind}` has no `auth_value`; LiteLLM's clients give it, the gateway's can't"
                        ));
                    }
                    (None, _) => {}
                }
            }
            server
        }
        (None, None) => {
            warn("it has neither `command` nor `url`; left out");
            return None;
        }
    };
    let mut found = Entry::new(name, server);
    found.description = one("description").or_else(|| {
        fields
            .get("mcp_info")?
            .get("description")
            .and_then(scalar)
            .map(|it| translated(&it))
    });
    found.aliases.extend(fields.get("alias").and_then(scalar));
    found.allow = list("allowed_tools");
    found.deny = list("disallowed_tools");
    for key in fields.keys() {
        let cure = match key.as_str() {
            "command"
            | "args"
            | "env"
            | "url"
            | "transport"
            | "headers"
            | "static_headers"
            | "auth_type"
            | "auth_value"
            | "authentication_token"
            | "description"
            | "mcp_info"
            | "alias"
            | "allowed_tools"
            | "disallowed_tools"
            | "spec_version"
            | "protocol_version" => continue,
            "extra_headers" => "clients of the gateway send `x-mcp-{alias}-{header}`",
            "access_groups" | "mcp_access_groups" | "allow_all_keys" => {
                "see `virtual_keys` of the gateway"
            }
            _ => "it has no counterpart",
        };
        warn(&format!("`{key}` is not taken over: {cure}"));
    }
    Some(found)
}

fn translated(text: &str) -> Text {
    Spelling::Environ.translate(text, &mut |_| {})
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn servers_and_aliases_are_read() {
        let source = read(&json!({
            "mcp_servers": {
                "git_hub": {
                    "url": "https://h/mcp", "auth_type": "bearer_token", "auth_value": "os.environ/PAT",
                    "static_headers": {"X-Team": "a"}, "extra_headers": ["X-Own"], "allowed_tools": ["get_*"],
                },
                "local": {"transport": "stdio", "command": "npx", "args": ["s"], "env": {"K": "os.environ/K"}, "alias": "l"},
                "login": {"url": "https://h/sse", "transport": "sse", "auth_type": "oauth2"},
                "none": {"description": "?"},
            },
            "litellm_settings": {"mcp_aliases": {"gh": "git_hub", "x": "nobody"}},
            "model_list": [{"model_name": "m"}],
        }));
        let [git_hub, local, login] = &source.entries[..] else {
            panic!("{source:?}")
        };
        let Server::Remote {
            auth,
            headers,
            is_sse,
            ..
        } = &git_hub.server
        else {
            panic!("{git_hub:?}")
        };
        assert_eq!(auth, &Some(("bearer_token", "${PAT}".to_owned())));
        assert_eq!((headers.len(), is_sse), (1, &false));
        assert_eq!(
            (&git_hub.aliases[..], &git_hub.allow[..]),
            (&["gh".to_owned()][..], &["get_*".to_owned()][..])
        );
        assert_eq!(local.aliases, ["l"]);
        assert!(matches!(&local.server, Server::Local { env, .. } if env[0].1 == "${K}"));
        assert!(matches!(
            &login.server,
            Server::Remote {
                is_sse: true,
                auth: None,
                ..
            }
        ));
        let said = source.warnings.join("\n");
        for part in [
            "git_hub: `extra_headers`",
            "login: `auth_type: oauth2`",
            "none: it has neither",
            "`nobody`",
            "`model_list`",
        ] {
            assert!(said.contains(part), "{part} in {said}");
        }
        assert_eq!(source.warnings.len(), 5, "{said}");
    }
}
