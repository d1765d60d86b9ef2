//! From the keys of the `gateway` section to a [`Gateway`]: what is required, what goes together, and which servers there are.

use std::collections::BTreeMap;

use super::super::draft::{GatewayDraft, Globs, ModelDraft, VirtualKeyDraft};
use super::super::read::Absent;
use super::super::wording::{listed, nearest, shown};
use super::super::yaml::{Entry, Node, Value, join};
use super::super::{Gateway, Model, Place, Provider, Secret, ToolFilter, VirtualKey};
use super::Loader;

/// Stands for every model that a provider lists.
const EVERY: &str = "*";

impl Loader<'_> {
    /// The gateway of the section `entry`; `servers` are the names and aliases that there are.
    pub(super) fn gateway(
        &mut self,
        draft: GatewayDraft,
        entry: &Entry,
        servers: &[String],
    ) -> Option<Gateway> {
        let section = &entry.node;
        if !matches!(section.value, Value::Map(_) | Value::Null) {
            return None;
        }
        let mut gateway = draft.gateway;
        let (key, place) = match section.entry("port") {
            Some(port) => ("gateway.port", port.node.place),
            None => ("gateway", entry.place),
        };
        self.claim(gateway.listen, "`gateway`".to_owned(), key, place);
        self.check_reach(&gateway, section);
        gateway.tools = self.filter(draft.tools, section, "gateway");
        let keys = items(section, "virtual_keys");
        self.check_keys(gateway.master_key.as_ref(), &draft.virtual_keys, section);
        self.check_labels(&draft.virtual_keys, keys);
        gateway.virtual_keys = draft
            .virtual_keys
            .into_iter()
            .zip(keys)
            .enumerate()
            .filter_map(|(index, (draft, node))| self.virtual_key(index, draft, node, servers))
            .collect();
        gateway.models = draft
            .models
            .into_iter()
            .zip(items(section, "model_list"))
            .enumerate()
            .filter_map(|(index, (draft, node))| self.model(index, draft, node))
            .collect();
        Some(gateway)
    }

    /// Without keys the gateway is for this machine only: who reaches it uses every server and every model.
    fn check_reach(&mut self, gateway: &Gateway, section: &Node) {
        let has_keys =
            section.entry("master_key").is_some() || !items(section, "virtual_keys").is_empty();
        if has_keys || gateway.listen.is_loopback() {
            return;
        }
        if let Some(host) = section.entry("host") {
            let text = format!(
                "{} can be reached from other machines, and the gateway has no keys; set `master_key` or `virtual_keys`, or \
                 listen on 127.0.0.1",
                gateway.listen.host
            );
            self.report.at(host.node.place, "gateway.host", text);
        }
    }

    /// Two equal keys would leave open what their holders may do.
    fn check_keys(&mut self, master: Option<&Secret>, keys: &[VirtualKeyDraft], section: &Node) {
        let mut seen: Vec<(&Secret, String, Place)> = Vec::new();
        if let (Some(secret), Some(entry)) = (master, section.entry("master_key")) {
            seen.push((secret, "gateway.master_key".to_owned(), entry.node.place));
        }
        for (index, (key, node)) in keys.iter().zip(items(section, "virtual_keys")).enumerate() {
            let (Some(secret), Some(entry)) = (&key.key, node.entry("api_key")) else {
                continue;
            };
            if secret.is_absent() {
                continue;
            }
            let (path, place) = (
                format!("gateway.virtual_keys[{index}].api_key"),
                entry.node.place,
            );
            match seen.iter().find(|(other, ..)| *other == secret) {
                Some((_, other, first)) => {
                    let line = first.line;
                    let text =
                        format!("the key is the one of `{other}` at line {line}; choose another");
                    self.report.at(place, path, text);
                }
                None => seen.push((secret, path, place)),
            }
        }
    }

    /// Two keys of one name couldn't be told apart in the audit.
    fn check_labels(&mut self, keys: &[VirtualKeyDraft], nodes: &[Node]) {
        let mut lines = BTreeMap::new();
        for (index, (key, node)) in keys.iter().zip(nodes).enumerate() {
            let path = format!("gateway.virtual_keys[{index}]");
            let (place, path) = match node.entry("name") {
                Some(entry) => (entry.node.place, join(&path, "name")),
                None => (node.place, path),
            };
            if let Some(line) = lines.insert(label(index, key), place.line) {
                let text = format!(
                    "the key has the name of the one at line {line}; choose another `name`"
                );
                self.report.at(place, path, text);
            }
        }
    }

    fn virtual_key(
        &mut self,
        index: usize,
        draft: VirtualKeyDraft,
        node: &Node,
        servers: &[String],
    ) -> Option<VirtualKey> {
        let path = format!("gateway.virtual_keys[{index}]");
        if let Some(named) = &draft.servers
            && let Some(entry) = node.entry("mcp_servers")
        {
            self.check_servers(named, &entry.node, &join(&path, "mcp_servers"), servers);
        }
        let name = label(index, &draft);
        let tools = self.filter(draft.tools, node, &path);
        if is_map(node) && node.entry("api_key").is_none() {
            let text = "`api_key` is missing; give what clients send, such as `\"${TEAM_KEY}\"`";
            self.report.at(node.place, path, text);
        }
        Some(VirtualKey {
            name,
            key: draft.key?,
            models: draft.models,
            servers: draft.servers,
            tools,
        })
    }

    /// Reports those of `named` that aren't among `servers`.
    fn check_servers(&mut self, named: &[String], list: &Node, path: &str, servers: &[String]) {
        let Value::List(nodes) = &list.value else {
            return;
        };
        for (index, name) in named.iter().enumerate() {
            if servers.contains(name) {
                continue;
            }
            let cure = match nearest(name, servers.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "there is {}",
                    listed(servers.iter().map(String::as_str), "and")
                ),
            };
            // An item that was refused would shift the others.
            let item = (nodes.len() == named.len()).then(|| &nodes[index]);
            let written = match item.map(|item| &item.value) {
                Some(Value::Scalar(written)) => shown(written, name),
                _ => "a name that is not shown".to_owned(),
            };
            let (place, path) = match item {
                Some(item) => (item.place, format!("{path}[{index}]")),
                None => (list.place, path.to_owned()),
            };
            let text =
                format!("found {written}, which no bridge or remote server is called; {cure}");
            self.report.at(place, path, text);
        }
    }

    fn model(&mut self, index: usize, draft: ModelDraft, node: &Node) -> Option<Model> {
        if !is_map(node) {
            return None;
        }
        let path = format!("gateway.model_list[{index}]");
        let lacks = |key: &str| node.entry(key).is_none();
        if lacks("model_name") {
            let text = "`model_name` is missing; name what clients ask for";
            self.report.at(node.place, path.as_str(), text);
        }
        let is_every = draft.name.as_deref() == Some(EVERY);
        if draft.is_mock {
            for key in ["api_base", "api_key", "model"] {
                if let Some(entry) = node.entry(key) {
                    let text = format!(
                        "found `{key}` beside `provider: mock`, which asks nobody; remove one"
                    );
                    self.report.at(entry.place, join(&path, key), text);
                }
            }
            if is_every && let Some(entry) = node.entry("model_name") {
                let text = "found `*` beside `provider: mock`, which lists no models; give the model a name";
                self.report
                    .at(entry.node.place, join(&path, "model_name"), text);
            }
        } else {
            if lacks("api_base") {
                let text = "`api_base` is missing; name an OpenAI-compatible endpoint, such as `http://litellm:4000/v1`, or say \
                            `provider: mock`";
                self.report.at(node.place, path.as_str(), text);
            }
            if is_every && let Some(entry) = node.entry("model") {
                let text = "found `model` beside `model_name: \"*\"`, with which each model goes by its own name; remove one";
                self.report.at(entry.place, join(&path, "model"), text);
            }
        }
        let open = |text: Option<String>| {
            let stays = self.absent == Absent::StaysOpen;
            text.or_else(|| stays.then(String::new))
        };
        let provider = match draft.is_mock {
            true => Provider::Mock,
            false => Provider::OpenAi {
                api_base: open(draft.api_base)?,
                api_key: draft.api_key,
                model: draft.model,
            },
        };
        Some(Model {
            name: open(draft.name)?,
            provider,
        })
    }

    /// The filter of a `tools` section of the map `node` at `path`.
    pub(super) fn filter(&mut self, globs: Globs, node: &Node, path: &str) -> ToolFilter {
        globs.filter().unwrap_or_else(|reason| {
            let place = node.entry("tools").map_or(node.place, |tools| tools.place);
            self.report.at(place, join(path, "tools"), reason);
            ToolFilter::default()
        })
    }
}

/// The items of the list `key` of a map.
fn items<'n>(node: &'n Node, key: &str) -> &'n [Node] {
    match node.entry(key).map(|entry| &entry.node.value) {
        Some(Value::List(items)) => items,
        _ => &[],
    }
}

/// What the audit calls a key.
fn label(index: usize, key: &VirtualKeyDraft) -> String {
    key.name
        .clone()
        .unwrap_or_else(|| format!("key-{}", index + 1))
}

fn is_map(node: &Node) -> bool {
    matches!(node.value, Value::Map(_))
}
