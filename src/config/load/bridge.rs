//! From one entry of `bridges`, read over the defaults, to a [`Bridge`].

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::super::draft::Draft;
use super::super::keys::{BRIDGE_OWN, BRIDGE_SHARED, REMOTE_OWN, SERVER_OWN, SERVER_SHARED};
use super::super::wording::reason;
use super::super::yaml::{Entry, Node, join};
use super::super::{Bridge, CommandError, Isolation};
use super::{Loader, Read};

impl Loader<'_> {
    pub(super) fn bridge(&mut self, entry: &Entry, defaults: Option<&Node>) -> Option<Bridge> {
        let path = join("bridges", &entry.key);
        for other in entry.node.entries() {
            if REMOTE_OWN.iter().any(|key| key.name == other.key) {
                let text = format!(
                    "found `{}` without `url`; the key belongs to a remote server, remove it or give the server's `url`",
                    other.key
                );
                self.report.at(other.place, join(&path, &other.key), text);
            }
        }
        let Read {
            mut draft,
            variables,
            cures,
        } = self.read(
            entry,
            &path,
            defaults,
            [&[BRIDGE_OWN, SERVER_OWN], &[BRIDGE_SHARED, SERVER_SHARED]],
        )?;
        self.check_command(entry, &path, &mut draft);
        self.finish(entry, &path, draft, variables, cures)
    }

    /// Settles what the bridge runs: exactly one of `command` and `demo`, as there is no `url`.
    fn check_command(&mut self, entry: &Entry, path: &str, draft: &mut Draft) {
        let node = &entry.node;
        if !draft.demo {
            if node.entry("command").is_none() {
                let text = "`command` is missing; name a program, say `demo: true` for the built-in server, or give the `url` of a remote one";
                self.report.at(entry.place, path, text);
            }
            return;
        }
        for key in ["command", "args"] {
            if let Some(other) = node.entry(key) {
                let text = format!(
                    "found `{key}` beside `demo: true`, which is a command of its own; remove one"
                );
                self.report.at(other.place, join(path, key), text);
            }
        }
        match own_program() {
            Ok(program) => {
                draft.program = Some(program);
                draft.bridge.command.args = vec!["demo-server".into()];
            }
            Err(error) => {
                let place = node.entry("demo").map_or(entry.place, |demo| demo.place);
                let text = format!("this program's own file can't be found: {}", reason(&error));
                self.report.at(place, join(path, "demo"), text);
            }
        }
    }

    /// Puts the bridge together, when there is enough of it.
    fn finish(
        &mut self,
        entry: &Entry,
        path: &str,
        draft: Draft,
        variables: BTreeMap<String, String>,
        mut cures: Vec<String>,
    ) -> Option<Bridge> {
        let mut bridge = draft.bridge;
        let mut env = self.environment.passed_on(&draft.inherit);
        let os = |(name, value): (String, String)| (OsString::from(name), OsString::from(value));
        env.extend(variables.into_iter().map(os));
        env.extend(draft.env.into_iter().map(os));
        bridge.command.env = env.into_iter().collect();
        bridge.command.cwd = bridge.command.cwd.map(|cwd| self.base.join(cwd));
        bridge.headers_to_env = draft.headers_to_env.into_iter().collect();
        self.check_headers_to_env(entry, path, &bridge);
        bridge.tools = self.filter(draft.tools, &entry.node, path);
        if let Some(program) = draft.program {
            bridge.command.program = program.into();
            self.look_for_command(entry, path, &bridge, &mut cures);
        }
        if !cures.is_empty() {
            bridge.unavailable = Some(cures.join("; "));
        }
        let Some(port) = entry.node.entry("port") else {
            self.report.at(
                entry.place,
                path,
                "`port` is missing; choose one for the bridge to listen on",
            );
            return None;
        };
        bridge.listen.port = draft.port?;
        self.claim(
            bridge.listen,
            format!("bridge `{}`", bridge.name),
            &join(path, "port"),
            port.node.place,
        );
        if !bridge.listen.is_loopback() && bridge.api_keys.is_empty() {
            self.warn_open(bridge.listen, &join(path, "port"), port.node.place);
        }
        Some(bridge)
    }

    /// What a client's header puts into the environment of a server is for that client alone.
    fn check_headers_to_env(&mut self, entry: &Entry, path: &str, bridge: &Bridge) {
        if bridge.headers_to_env.is_empty() || bridge.isolation != Isolation::Shared {
            return;
        }
        // When both are in `defaults`, the bridge is where they can be told apart.
        let (place, key) = ["headers_to_env", "isolation"]
            .into_iter()
            .find_map(|key| Some((entry.node.entry(key)?.place, join(path, key))))
            .unwrap_or((entry.place, path.to_owned()));
        let text = "`headers_to_env` needs an instance for each client that sends the headers, and `isolation` is `shared`; say \
                    `isolation: auto` or `session`, or remove `headers_to_env`";
        self.report.at(place, key, text);
    }

    /// A command that isn't there is a cure to show or a failure to come, but never an error of the file.
    fn look_for_command(
        &mut self,
        entry: &Entry,
        path: &str,
        bridge: &Bridge,
        cures: &mut Vec<String>,
    ) {
        let Err(error) = bridge.command.resolve() else {
            return;
        };
        if bridge.optional {
            cures.push(format!("{error}, then reload"));
            return;
        }
        let key = match error {
            CommandError::NoDirectory { .. } => "cwd",
            _ => "command",
        };
        // A directory may come from `defaults`.
        let place = match (entry.node.entry(key), entry.node.entry("command")) {
            (Some(own), _) => own.node.place,
            (None, Some(_)) => entry.place,
            (None, None) => return,
        };
        self.warnings.at(place, join(path, key), error.to_string());
    }
}

/// The path of the running program. After an upgrade in place the system appends a mark to it, while the new file has the
/// old name.
fn own_program() -> std::io::Result<String> {
    let path = std::env::current_exe()?;
    let path = path
        .into_os_string()
        .into_string()
        .map_err(|_| std::io::Error::other("its path is not UTF-8"))?;
    Ok(path
        .strip_suffix(" (deleted)")
        .map(str::to_owned)
        .unwrap_or(path))
}
