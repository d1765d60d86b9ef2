//! What all servers offer at one moment; immutable.

use crate::mcp::mirrored::Mirrored;
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::Rules;
use crate::gateway::access::Access;
use crate::gateway::names::{self, Names};
use crate::gateway::offer::{Offer, Presence};
use crate::jsonrpc::{Edit, member, splice, string_value};

/// What the servers offer at one moment.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    separator: String,
    tools: Vec<Arc<Tool>>,
    tool_names: HashMap<String, Arc<Tool>>,
    prompts: Vec<Arc<Prompt>>,
    prompt_names: HashMap<String, Arc<Prompt>>,
    resources: Vec<Resource>,
    owners: HashMap<String, usize>,
    templates: Vec<Template>,
    servers: Vec<Standing>,
    mirrored: Arc<Mirrored>,
}

/// One server, and what it offers.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) name: Arc<str>,
    pub(super) aliases: Vec<String>,
    pub(super) description: Option<String>,
    pub(super) offer: Offer,
}

/// One tool.
#[derive(Debug)]
pub(crate) struct Tool {
    /// Its unique public name, `^[a-zA-Z0-9_-]{1,64}$`.
    pub(crate) name: Box<str>,
    /// The name of its server.
    pub(crate) server: Arc<str>,
    /// What its server calls it.
    pub(crate) original: Box<str>,
    /// Its MCP object under its public name; all else as the server wrote it.
    pub(crate) object: Bytes,
    /// The same, read: `description`, `inputSchema`, `annotations` … Only a schema that takes anything where it has
    /// numbers or texts that can't be read.
    pub(crate) parsed: Value,
}

/// One prompt.
#[derive(Debug)]
pub(crate) struct Prompt {
    /// The name of its server.
    pub(crate) server: Arc<str>,
    /// What its server calls it.
    pub(crate) original: Box<str>,
    /// Its MCP object under its public name.
    pub(crate) object: Bytes,
}

/// One resource.
#[derive(Debug)]
pub(crate) struct Resource {
    /// The name of its server.
    pub(crate) server: Arc<str>,
    /// Its MCP object.
    pub(crate) object: Bytes,
    uri: Box<str>,
    listed: bool,
}

/// One resource template.
#[derive(Debug)]
pub(crate) struct Template {
    /// The name of its server.
    pub(crate) server: Arc<str>,
    /// Its MCP object.
    pub(crate) object: Bytes,
    /// What stands before its first variable.
    prefix: Box<str>,
    /// `uriTemplate` itself.
    text: Box<str>,
    listed: bool,
}

/// One server as it stands.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// Its further names.
    pub(crate) aliases: Vec<String>,
    /// A line for people.
    pub(crate) description: Option<String>,
    /// What it says to the model about itself.
    pub(crate) instructions: Option<String>,
    /// Whether it is there.
    pub(crate) presence: Presence,
    /// How many tools it offers.
    pub(crate) tools: usize,
}

impl Snapshot {
    pub(super) fn of(sources: &[Source], rules: &Rules) -> Snapshot {
        let mut snapshot = Snapshot {
            separator: rules.separator.clone(),
            ..Snapshot::default()
        };
        let mut names = Names::new(&rules.separator);
        let mut prompt_names = Names::new(&rules.separator);
        for source in sources {
            let before = snapshot.tools.len();
            snapshot.add_tools(source, rules, &mut names);
            snapshot.add_prompts(source, &mut prompt_names);
            snapshot.add_resources(source);
            let tools = snapshot.tools.len() - before;
            snapshot.servers.push(Standing::of(source, tools));
        }
        snapshot.add_aliases(sources);
        let objects = snapshot.tools.iter().map(|tool| &tool.object);
        snapshot.mirrored = Arc::new(Mirrored::of(objects));
        snapshot
    }

    /// The parameters of its tools that clients mirror into headers.
    pub(crate) fn mirrored(&self) -> &Arc<Mirrored> {
        &self.mirrored
    }

    /// The tools that are there and allowed, in the order of the configuration and of each server.
    pub(crate) fn tools<'a>(&'a self, access: &'a Access) -> impl Iterator<Item = &'a Arc<Tool>> {
        self.tools.iter().filter(|tool| access.allows_tool(tool))
    }

    /// The tool of this name, also of a server that is down; aliases of servers count.
    pub(crate) fn tool(&self, name: &str, access: &Access) -> Option<&Arc<Tool>> {
        let tool = self.tool_names.get(name)?;
        access.allows_tool(tool).then_some(tool)
    }

    /// The prompts that are there and allowed.
    pub(crate) fn prompts<'a>(
        &'a self,
        access: &'a Access,
    ) -> impl Iterator<Item = &'a Arc<Prompt>> {
        self.prompts
            .iter()
            .filter(|prompt| access.allows_server(&prompt.server))
    }

    /// The prompt of this name.
    pub(crate) fn prompt(&self, name: &str, access: &Access) -> Option<&Arc<Prompt>> {
        let prompt = self.prompt_names.get(name)?;
        access.allows_server(&prompt.server).then_some(prompt)
    }

    /// The resources that are there and allowed. Clients can't tell two of one URI apart: the first server keeps it.
    pub(crate) fn resources<'a>(
        &'a self,
        access: &'a Access,
    ) -> impl Iterator<Item = &'a Resource> {
        let mut seen = HashSet::new();
        self.resources.iter().filter(move |resource| {
            resource.listed && access.allows_server(&resource.server) && seen.insert(&*resource.uri)
        })
    }

    /// The templates that are there and allowed.
    pub(crate) fn templates<'a>(
        &'a self,
        access: &'a Access,
    ) -> impl Iterator<Item = &'a Template> {
        self.templates
            .iter()
            .filter(|template| template.listed && access.allows_server(&template.server))
    }

    /// Whose resource `uri` is: who lists it, else who has the template that begins most like it, else the only server
    /// there is that has resources of its scheme. Of several the first, and one that is there before one that is not.
    pub(crate) fn owner(&self, uri: &str, access: &Access) -> Option<&Arc<str>> {
        let first = self
            .owners
            .get(uri)
            .copied()
            .unwrap_or(self.resources.len());
        let listing = self.resources[first..].iter();
        let listing = listing.filter(|it| *it.uri == *uri && access.allows_server(&it.server));
        if let Some(resource) = listing.min_by_key(|resource| !resource.listed) {
            return Some(&resource.server);
        }
        let fitting = self.templates.iter().filter(|template| {
            (*template.text == *uri || uri.starts_with(&*template.prefix))
                && access.allows_server(&template.server)
        });
        // The first of the least, where the last of the most would not do.
        let likeness = |template: &&Template| {
            let exact = *template.text == *uri;
            Reverse((exact, template.prefix.len(), template.listed))
        };
        if let Some(template) = fitting.min_by_key(likeness) {
            return Some(&template.server);
        }
        let scheme = |text: &str| text.split_once(':').map(|(scheme, _)| scheme.to_owned());
        let wanted = scheme(uri)?;
        let mut of_scheme = self
            .resources
            .iter()
            .filter(|resource| scheme(&resource.uri).as_ref() == Some(&wanted))
            .map(|resource| &resource.server)
            .filter(|server| access.allows_server(server));
        let first = of_scheme.next()?;
        of_scheme.all(|other| other == first).then_some(first)
    }

    /// The server that is not there and would have a tool or prompt of this name, as far as names tell: one that was never
    /// there has none that are known.
    pub(crate) fn absent(&self, name: &str, access: &Access) -> Option<&Standing> {
        let begins = |server: &str| {
            let rest = name.strip_prefix(server);
            rest.is_some_and(|rest| rest.starts_with(&self.separator))
        };
        self.servers.iter().find(|server| {
            let mut names =
                std::iter::once(&*server.name).chain(server.aliases.iter().map(|it| &**it));
            server.presence != Presence::There
                && access.allows_server(&server.name)
                && names.any(begins)
        })
    }

    /// The name of the server that is called this, by name or alias.
    pub(crate) fn server(&self, name_or_alias: &str) -> Option<&Arc<str>> {
        self.standing(name_or_alias).map(|standing| &standing.name)
    }

    /// How the server stands that is called this, by name or alias.
    pub(crate) fn standing(&self, name_or_alias: &str) -> Option<&Standing> {
        self.servers.iter().find(|server| {
            *server.name == *name_or_alias
                || server.aliases.iter().any(|alias| alias == name_or_alias)
        })
    }

    /// All servers, in the order of the configuration.
    pub(crate) fn servers(&self) -> &[Standing] {
        &self.servers
    }

    /// Whether every server was asked once, or is known to be down.
    pub(crate) fn is_settled(&self) -> bool {
        let known = |server: &Standing| server.presence != Presence::Unknown;
        self.servers.iter().all(known)
    }

    /// Which of the lists differ from those of `other`, as [`crate::mcp::ServerNotification::LISTS`] orders them.
    pub(crate) fn differs_from(&self, other: &Snapshot, access: &Access) -> [bool; 3] {
        let tools = |snapshot: &Snapshot| -> Vec<Bytes> {
            snapshot
                .tools(access)
                .map(|tool| tool.object.clone())
                .collect()
        };
        let prompts = |snapshot: &Snapshot| -> Vec<Bytes> {
            snapshot
                .prompts(access)
                .map(|prompt| prompt.object.clone())
                .collect()
        };
        let resources = |snapshot: &Snapshot| -> Vec<Bytes> {
            let resources = snapshot.resources(access).map(|resource| &resource.object);
            let templates = snapshot.templates(access).map(|template| &template.object);
            resources.chain(templates).cloned().collect()
        };
        [
            tools(self) != tools(other),
            prompts(self) != prompts(other),
            resources(self) != resources(other),
        ]
    }

    fn add_tools(&mut self, source: &Source, rules: &Rules, names: &mut Names<'_>) {
        let (server, offer) = (&source.name, &source.offer);
        let mut seen = HashSet::new();
        for object in &offer.listing.tools {
            let Some((original, name, object)) = renamed(object, server, &mut seen, names) else {
                continue;
            };
            if !rules.tools.permits(&name) {
                continue;
            }
            let tool = Arc::new(Tool {
                name: name.as_str().into(),
                server: server.clone(),
                original: original.into(),
                parsed: serde_json::from_slice(&object).unwrap_or_else(|_| anything()),
                object,
            });
            self.tool_names.insert(name, tool.clone());
            if offer.presence == Presence::There {
                self.tools.push(tool);
            }
        }
    }

    fn add_prompts(&mut self, source: &Source, names: &mut Names<'_>) {
        let (server, offer) = (&source.name, &source.offer);
        let mut seen = HashSet::new();
        for object in &offer.listing.prompts {
            let Some((original, name, object)) = renamed(object, server, &mut seen, names) else {
                continue;
            };
            let prompt = Arc::new(Prompt {
                server: server.clone(),
                original: original.into(),
                object,
            });
            self.prompt_names.insert(name, prompt.clone());
            if offer.presence == Presence::There {
                self.prompts.push(prompt);
            }
        }
    }

    fn add_resources(&mut self, source: &Source) {
        let (server, offer) = (&source.name, &source.offer);
        let listed = offer.presence == Presence::There;
        for object in &offer.listing.resources {
            let Some(uri) = text_of(object, "uri") else {
                continue;
            };
            self.resources.push(Resource {
                server: server.clone(),
                object: object.clone(),
                uri: uri.as_str().into(),
                listed,
            });
            let last = self.resources.len() - 1;
            self.owners.entry(uri).or_insert(last);
        }
        for object in &offer.listing.templates {
            let Some(text) = text_of(object, "uriTemplate") else {
                continue;
            };
            let prefix = text.split('{').next().unwrap_or_default();
            self.templates.push(Template {
                server: server.clone(),
                object: object.clone(),
                prefix: prefix.into(),
                text: text.as_str().into(),
                listed,
            });
        }
    }

    /// A public name always wins over another server's alias.
    fn add_aliases(&mut self, sources: &[Source]) {
        let tools: Vec<_> = self.tool_names.values().cloned().collect();
        let prompts: Vec<_> = self.prompt_names.values().cloned().collect();
        for source in sources {
            for alias in &source.aliases {
                for tool in tools.iter().filter(|tool| tool.server == source.name) {
                    let name = names::by_alias(alias, &self.separator, &tool.original);
                    self.tool_names.entry(name).or_insert_with(|| tool.clone());
                }
                for prompt in prompts.iter().filter(|it| it.server == source.name) {
                    let name = names::by_alias(alias, &self.separator, &prompt.original);
                    let entry = self.prompt_names.entry(name);
                    entry.or_insert_with(|| prompt.clone());
                }
            }
        }
    }
}

impl Standing {
    fn of(source: &Source, tools: usize) -> Standing {
        Standing {
            name: source.name.clone(),
            aliases: source.aliases.clone(),
            description: source.description.clone(),
            instructions: source.offer.listing.instructions.clone(),
            presence: source.offer.presence.clone(),
            tools,
        }
    }

    /// Why it is not there; `None` when it is.
    pub(crate) fn note(&self) -> Option<String> {
        match &self.presence {
            Presence::There => None,
            Presence::Unknown => Some("starting".to_owned()),
            Presence::Down(why) => Some(why.clone()),
        }
    }
}

/// The original name of a tool or prompt, its public one, and its object under that; `None` for one without a name, and for
/// the second of one name.
fn renamed(
    object: &Bytes,
    server: &str,
    seen: &mut HashSet<String>,
    names: &mut Names<'_>,
) -> Option<(String, String, Bytes)> {
    let span = member(object, "name")?;
    let original = string_value(span.of(object))?.into_owned();
    if !seen.insert(original.clone()) {
        return None;
    }
    let name = names.give(server, &original);
    let quoted = format!("\"{name}\"");
    let mut text = Vec::with_capacity(object.len() + quoted.len());
    let with = quoted.as_bytes();
    splice(&mut text, object, &mut [Edit { span, with }]);
    Some((original, name, text.into()))
}

fn anything() -> Value {
    json!({ "inputSchema": { "type": "object" } })
}

fn text_of(object: &[u8], key: &str) -> Option<String> {
    let span = member(object, key)?;
    Some(string_value(span.of(object))?.into_owned())
}

#[cfg(test)]
mod tests;
