//! From a file to a [`Config`]: reads the top level, each bridge over its defaults, and then what shows across bridges only.

mod bridge;
mod gateway;
mod remote;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::bridge::is_name;
use super::draft::{Draft, Top};
use super::keys::{BRIDGE_SHARED, ENTRY, Key, NAME, SERVER_SHARED, TOP};
use super::problem::Report;
use super::read::{Absent, Missing, Reader};
use super::wording::{quote, reason};
use super::yaml::{Entry, Node, Value, join, parse};
use super::{Admin, AdminSocket, Config, Environment, Listen, Loaded, Place, Problems};

/// See [`Config::load`].
pub(super) fn load(path: &Path, environment: &Environment) -> Result<Loaded, Problems> {
    read(path, environment, Absent::IsWrong)
}

/// See [`Config::load_by_reference`].
pub(super) fn load_by_reference(
    path: &Path,
    environment: &Environment,
) -> Result<Config, Problems> {
    read(path, environment, Absent::StaysOpen).map(|loaded| loaded.config)
}

fn read(path: &Path, environment: &Environment, absent: Absent) -> Result<Loaded, Problems> {
    let mut report = Report::new(path);
    let mut warnings = Report::new(path);
    let root = read_text(path, &mut report).and_then(|text| root(&text, &mut report));
    let config = root.map(|root| {
        let base = path.parent().unwrap_or(Path::new(""));
        let mut loader = Loader {
            report: &mut report,
            warnings: &mut warnings,
            environment,
            absent,
            base,
            claims: Vec::new(),
        };
        loader.config(&root)
    });
    let mut config = report.verdict(config)?;
    config.file = Some(path.to_owned());
    Ok(Loaded {
        config,
        warnings: warnings.into_sorted(),
    })
}

/// See [`Config::admin_of`].
pub(super) fn admin_of(path: &Path, environment: &Environment) -> (Option<Admin>, AdminSocket) {
    let (mut report, mut warnings) = (Report::new(path), Report::new(path));
    let root = read_text(path, &mut report).and_then(|text| root(&text, &mut report));
    let Some(root) = root.map(|root| root.only(|key| key == "admin")) else {
        return (None, AdminSocket::default());
    };
    let mut loader = Loader {
        report: &mut report,
        warnings: &mut warnings,
        environment,
        absent: Absent::IsWrong,
        base: path.parent().unwrap_or(Path::new("")),
        claims: Vec::new(),
    };
    let top = loader.outline(&root);
    let admin = root
        .entry("admin")
        .and_then(|entry| loader.admin(&top, entry));
    (admin, top.config.socket)
}

struct Loader<'a> {
    report: &'a mut Report,
    warnings: &'a mut Report,
    environment: &'a Environment,
    absent: Absent,
    base: &'a Path,
    /// Addresses that are spoken for.
    claims: Vec<Claim>,
}

/// An address, who has it, and where that is written.
struct Claim {
    listen: Listen,
    owner: String,
    line: usize,
}

/// An entry that was read.
struct Read {
    draft: Draft,
    /// Those of its `env_file`.
    variables: BTreeMap<String, String>,
    /// What is missing, when it can do without by being unavailable.
    cures: Vec<String>,
}

impl Loader<'_> {
    fn config(&mut self, root: &Node) -> Config {
        let mut top = self.outline(root);
        let defaults = root.entry("defaults").map(|entry| &entry.node);
        if let Some(defaults) = defaults {
            // Once by itself, because no bridge may be there to use it. What it lacks is a matter of the bridges.
            let tables = &[BRIDGE_SHARED, SERVER_SHARED];
            self.reader()
                .map(defaults, "defaults", tables, &mut Draft::new(""));
        }
        self.servers(root, defaults, &mut top.config);
        if let Some(entry) = root.entry("admin") {
            top.config.admin = self.admin(&top, entry);
        }
        if let Some(entry) = root.entry("gateway") {
            let servers = names(root, &top.config);
            top.config.gateway = self.gateway(top.gateway, entry, &servers);
        } else {
            self.warn_unused(root, &top.config);
        }
        top.config
    }

    /// Reads what stands in the tables of the top level; the rest of the work builds on that.
    fn outline(&mut self, root: &Node) -> Top {
        let mut top = Top::new();
        let mut reader = self.reader();
        reader.map(root, "", &[TOP], &mut top);
        let missing = reader.missing;
        self.report_missing(missing, None);
        let path = &mut top.config.socket.path;
        *path = path.take().map(|path| self.base.join(path));
        top
    }

    /// Reads the bridges and the remote servers into `config`.
    fn servers(&mut self, root: &Node, defaults: Option<&Node>, config: &mut Config) {
        let Some(section) = root.entry("bridges") else {
            self.report.at(
                root.place,
                "",
                "`bridges` is missing; name at least one bridge below it",
            );
            return;
        };
        let entries = section.node.entries();
        if entries.is_empty() {
            self.reader().wrong(
                &section.node,
                "bridges",
                "at least one bridge, such as `demo: { port: 48001, demo: true }`",
            );
        }
        for entry in entries {
            if entry.node.entry("url").is_some() {
                config.remotes.extend(self.remote(entry, defaults));
            } else {
                config.bridges.extend(self.bridge(entry, defaults));
            }
        }
        self.check_names(entries, config);
    }

    /// Reads the entry at `path` over the defaults. `own` and `shared` are the keys that suit it; others that an entry or
    /// `defaults` may have are passed over.
    fn read(
        &mut self,
        entry: &Entry,
        path: &str,
        defaults: Option<&Node>,
        [own, shared]: [&[&'static [Key<Draft>]]; 2],
    ) -> Option<Read> {
        if !is_name(&entry.key) {
            self.report.at(
                entry.place,
                path,
                format!("found {}, expected {NAME}", quote(&entry.key)),
            );
        }
        let suits = |key: &str| {
            let mut tables = own.iter().chain(shared).copied().flatten();
            tables.any(|table| table.name == key)
        };
        let is_known = |key: &str| ENTRY.iter().copied().flatten().any(|k| k.name == key);
        let keep = |key: &str| suits(key) || !is_known(key);
        let mut draft = Draft::new(&entry.key);
        let mut reader = self.reader();
        if let Some(file) = entry.node.entry("env_file") {
            reader.env_file(&file.node, &join(path, "env_file"));
        } else if let Some(file) = defaults.and_then(|defaults| defaults.entry("env_file")) {
            reader.env_file(&file.node, "defaults.env_file");
        }
        if let Some(defaults) = defaults {
            reader.map(&defaults.only(keep), "defaults", shared, &mut draft);
        }
        match entry.node.value {
            Value::Null => reader.wrong(&entry.node, path, "a map of keys"),
            _ => {
                let tables = [own, shared].concat();
                reader.map(&entry.node.only(keep), path, &tables, &mut draft);
            }
        }
        let (variables, missing) = (reader.variables, reader.missing);
        if !matches!(entry.node.value, Value::Map(_)) {
            return None;
        }
        let cures = self.report_missing(missing, draft.bridge.optional.then_some(path));
        Some(Read {
            draft,
            variables,
            cures,
        })
    }

    /// Reports what is missing as errors. For the optional bridge at `optional` it gives it back as cures instead, unless it is
    /// the address, without which there is nothing to show. Where the rest may stay open, only the address is wanted.
    fn report_missing(&mut self, missing: Vec<Missing>, optional: Option<&str>) -> Vec<String> {
        let address = |path: &str, key: &str| {
            ["port", "host"].iter().any(|name| key == join(path, name)) || key == "defaults.host"
        };
        let is_address = |key: &str| {
            let last = key.rsplit('.').next();
            matches!(last, Some("port" | "host" | "public_url"))
        };
        let mut cures = Vec::new();
        for Missing { place, key, what } in missing {
            if self.absent == Absent::StaysOpen && !is_address(&key) {
                continue;
            }
            if optional.is_some_and(|path| !address(path, &key)) {
                cures.push(what.as_cure());
            } else if optional.is_some() {
                self.report.at(place, key, what.as_error());
            } else if key.starts_with("bridges.") || key.starts_with("defaults.") {
                self.report.at(
                    place,
                    key,
                    format!("{}, or say `optional: true`", what.as_error()),
                );
            } else {
                self.report.at(place, key, format!("{what}; set it"));
            }
        }
        cures.dedup();
        cures
    }

    fn admin(&mut self, top: &Top, entry: &Entry) -> Option<Admin> {
        let Some(port) = entry.node.entry("port") else {
            let lacks = |key| entry.node.entry(key).is_none();
            if matches!(entry.node.value, Value::Map(_) | Value::Null)
                && lacks("socket")
                && lacks("socket_mode")
            {
                self.report.at(
                    entry.place,
                    "admin",
                    "`port` is missing; choose one for the admin listener",
                );
            }
            for key in ["host", "api_keys"] {
                if let Some(other) = entry.node.entry(key)
                    && !(lacks("socket") && lacks("socket_mode"))
                {
                    let text = format!(
                        "found `{key}` without `port`, to which it belongs; add `port` or remove it"
                    );
                    self.report.at(other.place, join("admin", key), text);
                }
            }
            return None;
        };
        let listen = Listen {
            host: top.admin_host,
            port: top.admin_port?,
        };
        self.claim(listen, "`admin`".to_owned(), "admin.port", port.node.place);
        if !listen.is_loopback() && top.admin_keys.is_empty() {
            self.warn_open(listen, "admin.port", port.node.place);
        }
        Some(Admin {
            listen,
            api_keys: top.admin_keys.clone(),
        })
    }

    /// Notes that `owner` listens there, or reports who already does.
    fn claim(&mut self, listen: Listen, owner: String, key: &str, place: Place) {
        if let Some(Claim {
            owner,
            line,
            listen: theirs,
        }) = self.claims.iter().find(|c| c.listen.clashes_with(&listen))
        {
            let text = format!(
                "{listen} clashes with {theirs} of {owner} at line {line}; choose another port"
            );
            self.report.at(place, key, text);
        } else {
            self.claims.push(Claim {
                listen,
                owner,
                line: place.line,
            });
        }
    }

    fn warn_open(&mut self, listen: Listen, key: &str, place: Place) {
        let text = format!(
            "{listen} can be reached from other machines and has no `api_keys`: everybody there may use it"
        );
        self.warnings.at(place, key, text);
    }

    /// Names and aliases together must be unique; names alone are, as keys of a map.
    fn check_names(&mut self, entries: &[Entry], config: &Config) {
        let mut taken: BTreeMap<&str, usize> = entries
            .iter()
            .map(|e| (e.key.as_str(), e.place.line))
            .collect();
        let bridges = config.bridges.iter().map(|b| (&b.name, &b.aliases));
        let remotes = config.remotes.iter().map(|r| (&r.name, &r.aliases));
        let servers: BTreeMap<&String, &Vec<String>> = bridges.chain(remotes).collect();
        for entry in entries {
            let (Some(aliases), Some(written)) =
                (servers.get(&entry.key), entry.node.entry("aliases"))
            else {
                continue;
            };
            for (index, alias) in aliases.iter().enumerate() {
                let place = match &written.node.value {
                    // An item that was refused would shift the others.
                    Value::List(items) if items.len() == aliases.len() => items[index].place,
                    _ => written.node.place,
                };
                if let Some(line) = taken.insert(alias, place.line) {
                    let key = format!("bridges.{}.aliases[{index}]", entry.key);
                    let text =
                        format!("the name `{alias}` is taken at line {line}; choose another");
                    self.report.at(place, key, text);
                }
            }
        }
    }

    /// Remote servers are there for the gateway alone.
    fn warn_unused(&mut self, root: &Node, config: &Config) {
        let entries = root.entry("bridges").map_or(&[][..], |e| e.node.entries());
        for entry in entries {
            if config.remotes.iter().any(|remote| remote.name == entry.key) {
                let text = "nothing uses a remote server without a gateway; add a `gateway:` section or remove the server";
                let place = entry.place;
                self.warnings.at(place, join("bridges", &entry.key), text);
            }
        }
    }

    fn reader(&mut self) -> Reader<'_> {
        Reader {
            report: self.report,
            warnings: self.warnings,
            environment: self.environment,
            absent: self.absent,
            base: self.base,
            variables: BTreeMap::new(),
            missing: Vec::new(),
        }
    }
}

/// All names and aliases of the file. Those of entries with a problem are there too, as they are written.
fn names(root: &Node, config: &Config) -> Vec<String> {
    let entries = root.entry("bridges").map_or(&[][..], |e| e.node.entries());
    let mut names: Vec<String> = entries.iter().map(|entry| entry.key.clone()).collect();
    let written = entries
        .iter()
        .filter_map(|entry| match &entry.node.entry("aliases")?.node.value {
            Value::List(items) => Some(items),
            _ => None,
        })
        .flatten()
        .filter_map(|item| match &item.value {
            Value::Scalar(written) => Some(written),
            _ => None,
        });
    let bridges = config.bridges.iter().flat_map(|bridge| &bridge.aliases);
    let remotes = config.remotes.iter().flat_map(|remote| &remote.aliases);
    for alias in bridges.chain(remotes).chain(written) {
        if is_name(alias) && !names.contains(alias) {
            names.push(alias.clone());
        }
    }
    names
}

fn read_text(path: &Path, report: &mut Report) -> Option<String> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            report.of_file(format!("cannot be read: {}", reason(&error)));
            return None;
        }
    };
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let good =
                String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
            let line = good.matches('\n').count() + 1;
            let column = good.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            let byte = error.as_bytes()[error.utf8_error().valid_up_to()];
            let place = Place { line, column };
            report.at(
                place,
                "",
                format!("found the byte 0x{byte:02x}, which is not UTF-8; save the file as UTF-8"),
            );
            None
        }
    }
}

/// The map at the top.
fn root(text: &str, report: &mut Report) -> Option<Node> {
    const EXPECTED: &str = "expected a map with the key `bridges`";
    let Some(root) = parse(text.strip_prefix('\u{feff}').unwrap_or(text), report) else {
        if report.is_empty() {
            report.of_file(format!("the file is empty, {EXPECTED}"));
        }
        return None;
    };
    let found = match root.value {
        Value::Map(_) => return Some(root),
        Value::Refused => return None,
        Value::Null => "nothing",
        Value::List(_) => "a list",
        Value::Scalar(_) => "a single value",
    };
    report.at(root.place, "", format!("found {found}, {EXPECTED}"));
    None
}
