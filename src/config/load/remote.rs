//! From one entry of `bridges` that has a `url`, read over the defaults that suit it, to a [`Remote`].

use super::super::draft::AuthType;
use super::super::keys::{BRIDGE_OWN, BRIDGE_SHARED, REMOTE_OWN, SERVER_OWN, SERVER_SHARED};
use super::super::yaml::{Entry, Node, join};
use super::super::{Auth, Remote, Secret};
use super::{Loader, Read};

impl Loader<'_> {
    pub(super) fn remote(&mut self, entry: &Entry, defaults: Option<&Node>) -> Option<Remote> {
        let path = join("bridges", &entry.key);
        self.refuse_keys_of_bridges(entry, &path);
        let Read { draft, cures, .. } = self.read(
            entry,
            &path,
            defaults,
            [&[REMOTE_OWN, SERVER_OWN], &[SERVER_SHARED]],
        )?;
        let (bridge, remote) = (draft.bridge, draft.remote);
        let auth = self.auth(entry, &path, remote.auth_type, remote.auth_value);
        if let Some(auth) = &auth {
            self.check_headers(entry, &path, auth);
        }
        Some(Remote {
            tools: self.filter(draft.tools, &entry.node, &path),
            name: bridge.name,
            aliases: bridge.aliases,
            url: remote.url,
            transport: remote.transport,
            auth,
            headers: remote.headers,
            description: bridge.description,
            request_timeout: bridge.timing.request_timeout,
            init_timeout: bridge.timing.init_timeout,
            unavailable: (!cures.is_empty()).then(|| cures.join("; ")),
        })
    }

    /// Nothing is started for a remote server, and nothing listens for it.
    fn refuse_keys_of_bridges(&mut self, entry: &Entry, path: &str) {
        for other in entry.node.entries() {
            let mut keys = BRIDGE_OWN.iter().chain(BRIDGE_SHARED);
            if !keys.any(|key| key.name == other.key) {
                continue;
            }
            let why = match other.key.as_str() {
                "command" | "demo" => "a server either runs here or is remote; remove one",
                _ => "the key belongs to a server that runs here; remove it",
            };
            let text = format!("found `{}` beside `url`: {why}", other.key);
            self.report.at(other.place, join(path, &other.key), text);
        }
    }

    /// What `auth_type` and `auth_value` say together.
    fn auth(
        &mut self,
        entry: &Entry,
        path: &str,
        auth_type: Option<AuthType>,
        auth_value: Option<Secret>,
    ) -> Option<Auth> {
        let (type_entry, value_entry) = (
            entry.node.entry("auth_type"),
            entry.node.entry("auth_value"),
        );
        match (auth_type, type_entry, value_entry) {
            (Some(AuthType::Some(auth)), _, Some(_)) => return auth_value.map(auth),
            (Some(AuthType::Some(_)), Some(found), None) => {
                let text = "`auth_value` is missing; give the secret, such as `\"${TOKEN}\"`, or say `none`";
                self.report
                    .at(found.node.place, join(path, "auth_type"), text);
            }
            (Some(AuthType::None), _, Some(found)) | (None, None, Some(found)) => {
                let text = "found a secret without its type; say `auth_type: bearer_token`, `basic`, `api_key` or `authorization`, \
                            or remove it";
                self.report.at(found.place, join(path, "auth_value"), text);
            }
            _ => {}
        }
        None
    }

    /// A header that is given twice would leave open which one counts.
    fn check_headers(&mut self, entry: &Entry, path: &str, auth: &Auth) {
        let headers = entry.node.entry("headers");
        for header in headers.map_or(&[][..], |headers| headers.node.entries()) {
            if header.key.eq_ignore_ascii_case(auth.header()) {
                let key = join(&join(path, "headers"), &header.key);
                let text = format!(
                    "found `{}` beside `auth_type`, which sends it; remove one",
                    header.key
                );
                self.report.at(header.place, key, text);
            }
        }
    }
}
