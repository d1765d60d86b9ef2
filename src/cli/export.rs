//! `export`: what a client's own configuration has to say to use the bridges: addresses, and keys by the name of a variable.
//!
//! The file says what there is; a running daemon is asked only for ports that it chose itself. `formats` has each client's form.

mod formats;

use std::net::IpAddr;
use std::process::ExitCode;

use super::admin::AdminArguments;
use super::import::as_variable;
use super::target::nearest;
use super::{ExportArguments, output, status};
use crate::config::{Config, Environment, Listen, Secret};
use formats::snippet;

/// A program that uses MCP servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ClientProgram {
    /// LiteLLM's config.yaml
    Litellm,
    /// Codex's config.toml
    Codex,
    /// VS Code's mcp.json
    Vscode,
    /// Claude Code's .mcp.json
    Claude,
    /// Open WebUI's environment, for compose.yaml
    OpenWebui,
    /// A session file of the MCP Inspector
    Inspector,
}

/// Which of a bridge's two transports is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ExportTransport {
    /// Streamable HTTP
    Http,
    /// HTTP+SSE
    Sse,
}

/// One server as a client sees it.
#[derive(Debug, Clone, PartialEq)]
struct Served {
    name: String,
    aliases: Vec<String>,
    description: Option<String>,
    /// Without a path, such as `http://127.0.0.1:48001`.
    base: String,
    /// The variable that has the key; `None` when none is wanted.
    key: Option<String>,
}

/// The OpenAI API of the gateway.
#[derive(Debug, Clone, PartialEq)]
struct Models {
    base: String,
    key: Option<String>,
}

/// What goes into a snippet, and what is to be said beside it.
#[derive(Debug, Default, PartialEq)]
struct Exported {
    servers: Vec<Served>,
    models: Option<Models>,
    notes: Vec<String>,
}

pub(super) fn export(arguments: ExportArguments) -> ExitCode {
    let client = arguments.client;
    let transport = match (client.transports(), arguments.transport) {
        ([only], Some(asked)) if *only != asked => {
            let message = format!("{} speaks Streamable HTTP only", client.name());
            return output::fail(&message, status::USAGE);
        }
        (_, Some(asked)) => asked,
        (known, None) => known[0],
    };
    let file = arguments.admin.file();
    let config = match Config::load(&file, &Environment::of_process()) {
        Ok(loaded) => loaded.config,
        Err(problems) => return output::fail(&problems.to_string(), status::CONFIG),
    };
    let addresses = match addresses(&config, &arguments.admin) {
        Ok(addresses) => addresses,
        Err(failed) => return failed,
    };
    let mut exported = exported(&config, arguments.host.as_deref(), &addresses);
    if let Err(message) = exported.only(&arguments.bridges) {
        return output::fail(&message, status::USAGE);
    }
    if exported.servers.is_empty() {
        exported.say();
        return output::fail("there is no bridge to export", status::CONFIG);
    }
    let text = snippet(client, transport, &mut exported);
    exported.say();
    output::answer(text.trim_end(), ExitCode::SUCCESS)
}

impl Exported {
    /// Keeps those that are called so; all, when nothing is said.
    fn only(&mut self, names: &[String]) -> Result<(), String> {
        let is_called =
            |server: &Served, name: &String| server.name == *name || server.aliases.contains(name);
        for name in names {
            if !self.servers.iter().any(|server| is_called(server, name)) {
                let left_out = format!("{name} is left out");
                if let Some(note) = self.notes.iter().find(|note| note.starts_with(&left_out)) {
                    return Err(note.clone());
                }
                let known: Vec<_> = self.servers.iter().map(|server| &*server.name).collect();
                let cure = match nearest(name, known.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("there is {}", known.join(", ")),
                };
                return Err(format!(
                    "no bridge that can be exported is called `{name}`; {cure}"
                ));
            }
        }
        if !names.is_empty() {
            self.servers
                .retain(|server| names.iter().any(|name| is_called(server, name)));
            if !self.servers.iter().any(|server| server.name == GATEWAY) {
                self.models = None;
            }
        } else if self.servers.len() > 1 && self.servers.iter().any(|it| it.name == GATEWAY) {
            self.notes.push(
                "`gateway` has the tools of all the others once more: name what you want, such as `export … gateway`".to_owned(),
            );
        }
        Ok(())
    }

    fn say(&self) {
        for note in &self.notes {
            output::error(&format!("note: {}", output::plain(note)));
        }
    }
}

/// The name of the gateway among the servers.
const GATEWAY: &str = "gateway";

/// What `config` serves; `addresses` has those of listeners whose port the daemon chose.
fn exported(config: &Config, host: Option<&str>, addresses: &[(String, String)]) -> Exported {
    let mut exported = Exported::default();
    let mut everywhere = false;
    for bridge in &config.bridges {
        if let Some(cure) = &bridge.unavailable {
            exported.notes.push(format!(
                "{} is left out, it is unavailable: {cure}",
                bridge.name
            ));
            continue;
        }
        let base = base(
            &bridge.name,
            &bridge.listen,
            bridge.public_url.as_deref(),
            host,
            addresses,
        );
        let Some(base) = base else {
            exported
                .notes
                .push(format!("{} is left out, it has no port yet", bridge.name));
            continue;
        };
        everywhere |= is_everywhere(&bridge.listen, bridge.public_url.as_deref());
        let key = key(&bridge.name, &bridge.api_keys, &mut exported.notes);
        exported.servers.push(Served {
            name: bridge.name.clone(),
            aliases: bridge.aliases.clone(),
            description: bridge.description.clone(),
            base,
            key,
        });
    }
    if let Some(gateway) = &config.gateway {
        let public_url = gateway.public_url.as_deref();
        everywhere |= is_everywhere(&gateway.listen, public_url);
        let master = gateway.master_key.iter().cloned();
        let virtual_keys = gateway.virtual_keys.iter().map(|key| key.key.clone());
        let keys: Vec<Secret> = master.chain(virtual_keys).collect();
        let key = key(GATEWAY, &keys, &mut exported.notes);
        if let Some(base) = base(GATEWAY, &gateway.listen, public_url, host, addresses) {
            exported.models = (!gateway.models.is_empty()).then(|| Models {
                base: format!("{base}/v1"),
                key: key.clone(),
            });
            exported.servers.push(Served {
                name: GATEWAY.to_owned(),
                aliases: Vec::new(),
                description: Some("The tools of all bridges".to_owned()),
                base,
                key,
            });
        }
    }
    let names: Vec<_> = config.remotes.iter().map(|remote| &*remote.name).collect();
    if !names.is_empty() {
        let names = names.join(", ");
        exported
            .notes
            .push(format!("{names}: reached through the gateway only"));
    }
    if everywhere && host.is_none() {
        exported.notes.push(
            "127.0.0.1 is for clients on this machine; for others say --host with the name under which they reach it"
                .to_owned(),
        );
    }
    exported
}

fn base(
    name: &str,
    listen: &Listen,
    public_url: Option<&str>,
    host: Option<&str>,
    addresses: &[(String, String)],
) -> Option<String> {
    if let Some(public_url) = public_url {
        return Some(public_url.trim_end_matches('/').to_owned());
    }
    let port = match listen.port {
        0 => {
            let (_, url) = addresses.iter().find(|(known, _)| known == name)?;
            url.rsplit(':').next()?.split('/').next()?.parse().ok()?
        }
        port => port,
    };
    if let Some(host) = host.filter(|_| listen.host.is_unspecified()) {
        // An address of IPv6 has colons of its own.
        let is_v6 = host.parse::<IpAddr>().is_ok_and(|host| host.is_ipv6());
        return Some(match is_v6 {
            true => format!("http://[{host}]:{port}"),
            false => format!("http://{host}:{port}"),
        });
    }
    let listen = Listen {
        host: listen.host,
        port,
    };
    Some(format!("http://{}", output::seen(listen.address())))
}

fn is_everywhere(listen: &Listen, public_url: Option<&str>) -> bool {
    listen.host.is_unspecified() && public_url.is_none()
}

/// The name of the variable that has one of `keys`: that of the configuration, or a new one.
fn key(name: &str, keys: &[Secret], notes: &mut Vec<String>) -> Option<String> {
    if keys.is_empty() {
        return None;
    }
    let known = keys.iter().find_map(Secret::variable);
    Some(known.map(str::to_owned).unwrap_or_else(|| {
        let variable = format!("{}_KEY", as_variable(name));
        notes.push(format!(
            "the key of {name} has no variable in the configuration; give it to the client as {variable}"
        ));
        variable
    }))
}

/// URLs of the listeners that took a free port, from the daemon.
fn addresses(config: &Config, admin: &AdminArguments) -> Result<Vec<(String, String)>, ExitCode> {
    let bridges = config
        .bridges
        .iter()
        .filter(|bridge| bridge.unavailable.is_none());
    let gateway = config.gateway.iter().map(|gateway| gateway.listen.port);
    let mut ports = bridges.map(|bridge| bridge.listen.port).chain(gateway);
    if !ports.any(|port| port == 0) {
        return Ok(Vec::new());
    }
    let facts = output::wait_for(async { admin.find()?.get("status").await })?;
    let facts = facts.map_err(|error| {
        output::error("note: a port of 0 is known to the running daemon only");
        error.fail()
    })?;
    let url = |facts: &serde_json::Value| facts["urls"]["http"].as_str().map(str::to_owned);
    let bridges = facts.body["bridges"].as_array().into_iter().flatten();
    let named = bridges.filter_map(|it| Some((it["bridge"].as_str()?.to_owned(), url(it)?)));
    let gateway = url(&facts.body["gateway"]).map(|url| (GATEWAY.to_owned(), url));
    Ok(named.chain(gateway).collect())
}

#[cfg(test)]
mod tests;
