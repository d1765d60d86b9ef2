//! `export`: what a client's own configuration has to say to use the bridges: addresses, and keys by the name of a variable.
//!
//! The running daemon says what there is: it alone has the variables, and the ports that were free. Where none answers, or this
//! user may not ask it, the file does, by reference. `formats` has each client's form.

mod formats;

use std::net::IpAddr;
use std::process::ExitCode;

use serde::Deserialize as _;

use super::admin::{AdminArguments, AdminError};
use super::import::as_variable;
use super::target::{GATEWAY, nearest};
use super::{ExportArguments, output, status};
use crate::config::{Config, Environment, KeySource, Offer, Offers};
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
    left_out: Vec<LeftOut>,
    notes: Vec<String>,
}

/// What is not for this client.
#[derive(Debug, PartialEq)]
struct LeftOut {
    /// The name, and the aliases.
    names: Vec<String>,
    why: String,
}

/// Who said what there is.
#[derive(Debug)]
enum Source {
    Daemon,
    /// The file, and why not the daemon.
    File(AdminError),
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
    let (offers, source) = match offers(&arguments.admin) {
        Ok(found) => found,
        Err(failed) => return failed,
    };
    let mut exported = exported(&offers, &source, arguments.host.as_deref());
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
            if self.servers.iter().any(|server| is_called(server, name)) {
                continue;
            }
            if let Some(left_out) = self.left_out.iter().find(|it| it.names.contains(name)) {
                return Err(format!("`{name}` can't be exported: {}", left_out.why));
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
        if !names.is_empty() {
            self.servers
                .retain(|server| names.iter().any(|name| is_called(server, name)));
            // Nobody asked for them.
            self.left_out.clear();
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
        for LeftOut { names, why } in &self.left_out {
            let note = format!("{} is left out: {why}", names[0]);
            output::error(&format!("note: {}", output::plain(&note)));
        }
        for note in &self.notes {
            output::error(&format!("note: {}", output::plain(note)));
        }
    }
}

/// What is served, by who knows it best.
fn offers(admin: &AdminArguments) -> Result<(Offers, Source), ExitCode> {
    let why = match output::wait_for(ask(admin))? {
        Ok(offers) => return Ok((offers, Source::Daemon)),
        // Who says where the daemon is doesn't mean the file.
        Err(error) if admin.is_given() => return Err(error.fail()),
        Err(error) => error,
    };
    let loaded = admin.file().and_then(|file| {
        let loaded = Config::load_by_reference(&file, &Environment::of_process());
        loaded.map_err(|problems| problems.to_string())
    });
    match loaded {
        Ok(config) => Ok((Offers::of(&config), Source::File(why))),
        Err(message) => {
            output::error(&format!("note: the daemon was not asked: {why}"));
            Err(output::fail(&message, status::CONFIG))
        }
    }
}

async fn ask(admin: &AdminArguments) -> Result<Offers, AdminError> {
    let admin = admin.find()?;
    let answer = admin.get("clients").await?;
    match Offers::deserialize(&answer.body) {
        Ok(offers) => Ok(offers),
        Err(_) => Err(admin.strange(&answer)),
    }
}

fn exported(offers: &Offers, source: &Source, host: Option<&str>) -> Exported {
    let mut exported = Exported::default();
    let mut everywhere = false;
    for offer in offers.bridges.iter().chain(&offers.gateway) {
        let base = match (&offer.unavailable, base(offer, host), source) {
            // What this shell lacks the daemon may have.
            (Some(cure), _, Source::Daemon) => Err(format!("it is unavailable: {cure}")),
            (_, Some(base), _) => Ok(base),
            (_, None, Source::Daemon) => Err("it has no port yet".to_owned()),
            (_, None, Source::File(why)) => Err(format!(
                "it takes a free port, which its daemon knows: {why}"
            )),
        };
        let base = match base {
            Ok(base) => base,
            Err(why) => {
                let names = [&offer.name].into_iter().chain(&offer.aliases);
                let names = names.cloned().collect();
                exported.left_out.push(LeftOut { names, why });
                continue;
            }
        };
        everywhere |= offer.listen.host.is_unspecified() && offer.public_url.is_none();
        let key = key(offer, &mut exported.notes);
        if offer.name == GATEWAY && offers.models {
            exported.models = Some(Models {
                base: format!("{base}/v1"),
                key: key.clone(),
            });
        }
        exported.servers.push(Served {
            name: offer.name.clone(),
            aliases: offer.aliases.clone(),
            description: offer.description.clone(),
            base,
            key,
        });
    }
    let way = match &offers.gateway {
        Some(_) => "give clients the gateway (`export … gateway`), which has its tools",
        None => "the file has no `gateway` section, so nothing uses it",
    };
    exported
        .left_out
        .extend(offers.remotes.iter().map(|names| LeftOut {
            names: names.clone(),
            why: format!("it is a remote server, whose credentials are not for clients; {way}"),
        }));
    if everywhere && host.is_none() {
        exported.notes.push(
            "127.0.0.1 is for clients on this machine; for others say --host with the name under which they reach it"
                .to_owned(),
        );
    }
    exported
}

/// Its URL without a path; `None` as long as the port is not known.
fn base(offer: &Offer, host: Option<&str>) -> Option<String> {
    if let Some(public_url) = &offer.public_url {
        return Some(public_url.trim_end_matches('/').to_owned());
    }
    let listen = offer.listen;
    if listen.port == 0 {
        return None;
    }
    let Some(host) = host.filter(|_| listen.host.is_unspecified()) else {
        return Some(format!("http://{}", output::seen(listen.address())));
    };
    // An address of IPv6 has colons of its own.
    let is_v6 = host.parse::<IpAddr>().is_ok_and(|host| host.is_ipv6());
    Some(match is_v6 {
        true => format!("http://[{host}]:{}", listen.port),
        false => format!("http://{host}:{}", listen.port),
    })
}

/// The name of the variable that has the key: that of the configuration, or a new one.
fn key(offer: &Offer, notes: &mut Vec<String>) -> Option<String> {
    match &offer.key {
        KeySource::Open => None,
        KeySource::Variable(name) => Some(name.clone()),
        KeySource::Elsewhere => {
            let variable = format!("{}_KEY", as_variable(&offer.name));
            notes.push(format!(
                "the key of {} has no variable in the configuration; give it to the client as {variable}",
                offer.name
            ));
            Some(variable)
        }
    }
}

#[cfg(test)]
mod tests;
