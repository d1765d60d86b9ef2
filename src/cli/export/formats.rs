//! Each client's own form, as its documentation and source have it: LiteLLM 1.109, Codex 0.169, VS Code's MCP configuration
//! reference, Claude Code's MCP page, Open WebUI 0.12, MCP Inspector 2.

use serde_json::{Map, Value, json};

use super::super::import::yaml_text;
use super::{ClientProgram, ExportTransport, Exported, Served};

impl ClientProgram {
    /// The transports that it speaks, the better one for it first.
    pub(super) fn transports(self) -> &'static [ExportTransport] {
        match self {
            // What it has used for longest, with one connection for each operation.
            Self::Litellm => &[ExportTransport::Sse, ExportTransport::Http],
            Self::Codex | Self::OpenWebui => &[ExportTransport::Http],
            Self::Vscode | Self::Claude | Self::Inspector => {
                &[ExportTransport::Http, ExportTransport::Sse]
            }
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Litellm => "LiteLLM",
            Self::Codex => "Codex",
            Self::Vscode => "VS Code",
            Self::Claude => "Claude Code",
            Self::OpenWebui => "Open WebUI",
            Self::Inspector => "the MCP Inspector",
        }
    }
}

/// The snippet; what can't be in it is added to the notes.
pub(super) fn snippet(
    client: ClientProgram,
    transport: ExportTransport,
    exported: &mut Exported,
) -> String {
    match client {
        ClientProgram::Litellm => litellm(transport, exported),
        ClientProgram::Codex => codex(exported),
        ClientProgram::Vscode => vs_code(transport, exported),
        ClientProgram::Claude => claude(transport, exported),
        ClientProgram::OpenWebui => open_webui(exported),
        ClientProgram::Inspector => inspector(transport, exported),
    }
}

fn url(server: &Served, transport: ExportTransport) -> String {
    match transport {
        ExportTransport::Http => format!("{}/mcp", server.base),
        ExportTransport::Sse => format!("{}/sse", server.base),
    }
}

fn word(transport: ExportTransport) -> &'static str {
    match transport {
        ExportTransport::Http => "http",
        ExportTransport::Sse => "sse",
    }
}

/// A variable names a secret of LiteLLM's own environment; a name with `-`, which separates names of tools there, is refused.
fn litellm(transport: ExportTransport, exported: &mut Exported) -> String {
    let mut text = "mcp_servers:\n".to_owned();
    let mut aliases = String::new();
    for server in &exported.servers {
        let name = server.name.replace('-', "_");
        if name != server.name {
            let note = format!(
                "LiteLLM allows no `-` in names: `{}` is `{name}` there",
                server.name
            );
            exported.notes.push(note);
        }
        text.push_str(&format!(
            "  {name}:\n    url: {}\n    transport: {}\n",
            yaml_text(&url(server, transport)),
            word(transport)
        ));
        if let Some(key) = &server.key {
            text.push_str(&format!(
                "    auth_type: bearer_token\n    auth_value: os.environ/{key}\n"
            ));
        }
        if let Some(description) = &server.description {
            text.push_str(&format!("    description: {}\n", yaml_text(description)));
        }
        // It takes one for each server.
        if let Some(alias) = server.aliases.first() {
            let alias = alias.replace('-', "_");
            aliases.push_str(&format!("    {alias}: {name}\n"));
        }
    }
    if !aliases.is_empty() {
        text.push_str(&format!("\nlitellm_settings:\n  mcp_aliases:\n{aliases}"));
    }
    exported.note_keys("LiteLLM's environment");
    text
}

fn codex(exported: &mut Exported) -> String {
    let mut text = String::new();
    for server in &exported.servers {
        text.push_str(&format!(
            "[mcp_servers.{}]\nurl = {}\n",
            server.name,
            json!(url(server, ExportTransport::Http))
        ));
        if let Some(key) = &server.key {
            text.push_str(&format!("bearer_token_env_var = {}\n", json!(key)));
        }
        text.push('\n');
    }
    if let Some(models) = &exported.models {
        text.push_str(&format!(
            "# for `model_provider = \"mcp-bridged\"`: models that have the tools of the gateway\n\
             [model_providers.mcp-bridged]\nname = \"mcp-bridged\"\nbase_url = {}\nwire_api = \"responses\"\n",
            json!(models.base)
        ));
        if let Some(key) = &models.key {
            text.push_str(&format!("env_key = {}\n", json!(key)));
        }
    }
    exported.note_keys("Codex's environment");
    text
}

/// VS Code replaces `${input:…}` in headers reliably; `${env:…}` there it doesn't (microsoft/vscode#336232).
fn vs_code(transport: ExportTransport, exported: &Exported) -> String {
    let id = |key: &str| key.to_ascii_lowercase().replace('_', "-");
    let mut inputs: Vec<Value> = Vec::new();
    let mut servers = Map::new();
    for server in &exported.servers {
        let mut entry = json!({ "type": word(transport), "url": url(server, transport) });
        if let Some(key) = &server.key {
            let id = id(key);
            entry["headers"] = json!({ "Authorization": format!("Bearer ${{input:{id}}}") });
            let input = json!({
                "type": "promptString", "id": id, "description": format!("The value of {key}"), "password": true,
            });
            if !inputs.contains(&input) {
                inputs.push(input);
            }
        }
        servers.insert(server.name.clone(), entry);
    }
    let mut file = Map::new();
    if !inputs.is_empty() {
        file.insert("inputs".to_owned(), inputs.into());
    }
    file.insert("servers".to_owned(), servers.into());
    pretty(&file.into())
}

fn claude(transport: ExportTransport, exported: &mut Exported) -> String {
    let entries = exported.servers.iter().map(|server| {
        let mut entry = json!({ "type": word(transport), "url": url(server, transport) });
        if let Some(key) = &server.key {
            entry["headers"] = json!({ "Authorization": format!("Bearer ${{{key}}}") });
        }
        (server.name.clone(), entry)
    });
    let servers: Map<String, Value> = entries.collect();
    exported.note_keys("Claude Code's environment");
    pretty(&json!({ "mcpServers": servers }))
}

/// Variables of a compose file, which compose itself fills in: a `$` that is none is doubled there.
fn open_webui(exported: &mut Exported) -> String {
    let connections: Vec<Value> = exported
        .servers
        .iter()
        .map(|server| {
            json!({
                "type": "mcp",
                "url": url(server, ExportTransport::Http),
                "path": "",
                "auth_type": if server.key.is_some() { "bearer" } else { "none" },
                "key": server.key.as_ref().map_or(String::new(), |key| reference(key)),
                "config": { "enable": true },
                "info": {
                    "id": server.name,
                    "name": server.name,
                    "description": server.description.as_deref().unwrap_or_default().replace('$', "$$"),
                },
            })
        })
        .collect();
    let connections = Value::from(connections).to_string().replace('\'', "''");
    let mut text = format!("environment:\n  TOOL_SERVER_CONNECTIONS: '{connections}'\n");
    if let Some(models) = &exported.models {
        let key = models
            .key
            .as_ref()
            .map_or("none".to_owned(), |key| reference(key));
        text.push_str(&format!(
            "  OPENAI_API_BASE_URL: {}\n  OPENAI_API_KEY: {}\n",
            yaml_text(&models.base),
            yaml_text(&key)
        ));
    }
    exported.notes.push(
        "Open WebUI takes these from its environment at its first start; later its database counts (Admin Settings)"
            .to_owned(),
    );
    exported.note_keys("the environment of docker compose");
    text
}

/// It replaces no variables in files, so keys come on its command line.
fn inspector(transport: ExportTransport, exported: &mut Exported) -> String {
    let entries = exported.servers.iter().map(|server| {
        let entry = json!({ "type": word(transport), "url": url(server, transport) });
        (server.name.clone(), entry)
    });
    let servers: Map<String, Value> = entries.collect();
    let mut notes = Vec::new();
    for server in &exported.servers {
        let header = match &server.key {
            Some(key) => format!(" --header \"Authorization: Bearer ${key}\""),
            None => String::new(),
        };
        notes.push(format!(
            "mcp-inspector --cli --config FILE --server {} --method tools/list{header}",
            server.name
        ));
    }
    exported.notes.extend(notes);
    pretty(&json!({ "mcpServers": servers }))
}

impl Exported {
    /// Says which variables the client needs.
    fn note_keys(&mut self, place: &str) {
        let mut keys: Vec<_> = self
            .servers
            .iter()
            .filter_map(|it| it.key.clone())
            .collect();
        keys.extend(self.models.iter().filter_map(|models| models.key.clone()));
        keys.sort();
        keys.dedup();
        if !keys.is_empty() {
            self.notes
                .push(format!("{} must be set in {place}", keys.join(", ")));
        }
    }
}

fn reference(variable: &str) -> String {
    format!("${{{variable}}}")
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("a value is JSON")
}
