//! What one request may do: its key, the models, servers and tools that the key grants, and what its headers choose of them.
//!
//! Keys come as `Authorization: Bearer …`, `x-litellm-api-key` (with or without `Bearer`) or `X-API-Key`, and are compared in
//! constant time. `x-mcp-servers` narrows what the key grants; `x-mcp-{server}-{header}` goes to that server alone. What is
//! in these headers is never logged.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use axum::http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use globset::{Glob, GlobSet, GlobSetBuilder};

use super::catalogue::{Snapshot, Tool};
use super::openai::ApiError;
use crate::config::{self, Secret, VirtualKey};
use crate::transport::guard::bearer;

const LITELLM_KEY: HeaderName = HeaderName::from_static("x-litellm-api-key");
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const SERVERS: HeaderName = HeaderName::from_static("x-mcp-servers");
const PREFIX: &str = "x-mcp-";

/// The keys in force, and what each grants.
#[derive(Debug)]
pub(crate) struct Keys {
    grants: Vec<(Secret, Arc<Grant>)>,
    /// Where no key is configured, everybody who can reach the gateway may do everything.
    open: Option<Arc<Grant>>,
}

/// What a key grants.
#[derive(Debug)]
struct Grant {
    name: Arc<str>,
    /// The key; none is needed without one.
    key: Option<Secret>,
    /// The key's entry in the configuration; everything is granted without one.
    entry: Option<VirtualKey>,
    models: Option<GlobSet>,
}

/// What one request may do.
#[derive(Clone)]
pub(crate) struct Access {
    /// What the audit calls the key: `master`, the name of a virtual key, or `open` where no key is needed.
    pub(crate) key: Arc<str>,
    grant: Arc<Grant>,
    /// The servers that the request chose; all that are granted when `None`.
    chosen: Option<Arc<[Arc<str>]>>,
    /// The servers that the key names; all when `None`.
    granted: Option<Arc<[Arc<str>]>>,
    /// Headers for single servers.
    personal: Arc<HashMap<Arc<str>, Headers>>,
}

/// Headers that a client sent for one server alone.
pub(crate) type Headers = Vec<(HeaderName, HeaderValue)>;

/// Values of headers may be secrets.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("key", &self.key)
            .field("chosen", &self.chosen)
            .finish_non_exhaustive()
    }
}

/// Why a request may do nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    /// A key is needed and none came.
    #[error("a key is needed: `Authorization: Bearer <key>` or `x-litellm-api-key: <key>`")]
    KeyMissing,
    /// `Authorization` has another form.
    #[error("the Authorization header lacks its prefix: `Authorization: Bearer <key>`")]
    KeyWithoutBearer,
    /// None of the keys in force.
    #[error(
        "the key is not valid: it is neither the gateway's `master_key` nor one of its `virtual_keys`"
    )]
    KeyWrong,
    /// No such server.
    #[error("x-mcp-servers names `{name}`, which is no server here; there are {known}")]
    ServerUnknown {
        /// What was asked for.
        name: String,
        /// Those that the key grants.
        known: String,
    },
    /// Not granted to the key.
    #[error("x-mcp-servers names `{name}`, which this key may not use; it may use {known}")]
    ServerForbidden {
        /// What was asked for.
        name: String,
        /// Those that the key grants.
        known: String,
    },
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> ApiError {
        let text = denied.to_string();
        match denied {
            Denied::KeyMissing | Denied::KeyWithoutBearer | Denied::KeyWrong => {
                ApiError::unauthorized(text)
            }
            Denied::ServerUnknown { .. } => ApiError::invalid("x-mcp-servers", text),
            Denied::ServerForbidden { .. } => ApiError::forbidden("mcp_server_not_allowed", text),
        }
    }
}

impl Keys {
    /// The keys of this configuration.
    pub(crate) fn new(settings: &config::Gateway) -> Keys {
        let everything = |name: &str, key: Option<&Secret>| {
            Arc::new(Grant {
                name: name.into(),
                key: key.cloned(),
                entry: None,
                models: None,
            })
        };
        let master = settings
            .master_key
            .iter()
            .map(|key| (key.clone(), everything("master", Some(key))));
        let others = settings.virtual_keys.iter().map(|key| {
            let grant = Grant {
                name: key.name.as_str().into(),
                key: Some(key.key.clone()),
                models: key.models.as_deref().map(globs),
                entry: Some(key.clone()),
            };
            (key.key.clone(), Arc::new(grant))
        });
        let grants: Vec<_> = master.chain(others).collect();
        Keys {
            open: grants.is_empty().then(|| everything("open", None)),
            grants,
        }
    }

    /// What the sender of `headers` may do.
    ///
    /// # Errors
    /// [`Denied`].
    pub(crate) fn access(&self, headers: &HeaderMap, servers: &Snapshot) -> Result<Access, Denied> {
        let grant = self.grant(headers)?;
        let named = grant.entry.as_ref().and_then(|key| key.servers.as_ref());
        let granted: Option<Arc<[Arc<str>]>> = named.map(|names| {
            let known = names.iter().filter_map(|name| servers.server(name));
            known.cloned().collect()
        });
        let mut access = Access {
            key: grant.name.clone(),
            grant,
            chosen: None,
            granted,
            personal: Arc::default(),
        };
        access.chosen = access.choice(headers, servers)?;
        access.personal = Arc::new(personal(headers, servers));
        Ok(access)
    }

    /// Whether the key of `access` is still in force, and grants the same.
    pub(crate) fn still_grant(&self, access: &Access) -> bool {
        let mut grants = self.grants.iter().map(|(_, grant)| grant);
        self.open
            .iter()
            .chain(&mut grants)
            .any(|grant| grant.key == access.grant.key && grant.entry == access.grant.entry)
    }

    fn grant(&self, headers: &HeaderMap) -> Result<Arc<Grant>, Denied> {
        if let Some(open) = &self.open {
            return Ok(open.clone());
        }
        let bearer = |value: &HeaderValue| bearer(value.as_bytes()).map(<[u8]>::to_vec);
        let litellm = headers
            .get(LITELLM_KEY)
            .map(|value| bearer(value).unwrap_or_else(|| value.as_bytes().trim_ascii().to_vec()));
        let plain = headers.get(API_KEY).map(|value| value.as_bytes().to_vec());
        let authorization = headers.get(AUTHORIZATION);
        let presented = litellm
            .or_else(|| authorization.and_then(bearer))
            .or(plain)
            .ok_or(match authorization {
                Some(_) => Denied::KeyWithoutBearer,
                None => Denied::KeyMissing,
            })?;
        // No early end: which key matched must not show in the time.
        let found = self.grants.iter().fold(None, |found, (key, grant)| {
            if key.matches(&presented) {
                Some(grant)
            } else {
                found
            }
        });
        found.cloned().ok_or(Denied::KeyWrong)
    }
}

impl Access {
    /// Whether it may use this model.
    pub(crate) fn allows_model(&self, model: &str) -> bool {
        let models = self.grant.models.as_ref();
        models.is_none_or(|models| models.is_match(model))
    }

    /// Whether it may see and call this tool.
    pub(crate) fn allows_tool(&self, tool: &Tool) -> bool {
        let key = self.grant.entry.as_ref();
        self.allows_server(&tool.server) && key.is_none_or(|key| key.tools.permits(&tool.name))
    }

    /// Whether its key grants everything: the master key, or none where none is needed.
    pub(crate) fn is_unlimited(&self) -> bool {
        self.grant.entry.is_none()
    }

    /// Whether it may use the server of this name (not an alias).
    pub(crate) fn allows_server(&self, server: &str) -> bool {
        let within = |list: &Option<Arc<[Arc<str>]>>| {
            list.as_ref()
                .is_none_or(|list| list.iter().any(|name| **name == *server))
        };
        within(&self.granted) && within(&self.chosen)
    }

    /// Headers that the client sent for this server alone, without their prefix.
    pub(crate) fn headers_for(&self, server: &str) -> Headers {
        self.personal.get(server).cloned().unwrap_or_default()
    }

    /// Whether `other` is a request of the same key, which still grants the same, so that it may go on with what this one
    /// began.
    pub(crate) fn is_like(&self, other: &Access) -> bool {
        self.key == other.key
            && self.grant.entry == other.grant.entry
            && self.granted == other.granted
    }

    fn choice(
        &self,
        headers: &HeaderMap,
        servers: &Snapshot,
    ) -> Result<Option<Arc<[Arc<str>]>>, Denied> {
        let mut chosen = Vec::new();
        for value in headers.get_all(SERVERS) {
            let value = String::from_utf8_lossy(value.as_bytes());
            for name in value
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty())
            {
                let known = || self.names(servers);
                let Some(server) = servers.server(name) else {
                    let (name, known) = (name.to_owned(), known());
                    return Err(Denied::ServerUnknown { name, known });
                };
                if !self.allows_server(server) {
                    let (name, known) = (name.to_owned(), known());
                    return Err(Denied::ServerForbidden { name, known });
                }
                chosen.push(server.clone());
            }
        }
        Ok((!chosen.is_empty()).then(|| chosen.into()))
    }

    /// The servers that it may use, for messages.
    pub(crate) fn names(&self, servers: &Snapshot) -> String {
        let names: Vec<String> = servers
            .servers()
            .iter()
            .filter(|server| self.allows_server(&server.name))
            .map(|server| format!("`{}`", server.name))
            .collect();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    }
}

fn globs(patterns: &[String]) -> GlobSet {
    let mut set = GlobSetBuilder::new();
    for glob in patterns
        .iter()
        .filter_map(|pattern| Glob::new(pattern).ok())
    {
        set.add(glob);
    }
    set.build().unwrap_or_else(|_| GlobSet::empty())
}

/// `x-mcp-{server}-{header}` by server; of several names that fit the longest is meant. `_` and `-` are the same, because
/// headers with underscores don't survive every proxy.
fn personal(headers: &HeaderMap, servers: &Snapshot) -> HashMap<Arc<str>, Headers> {
    let mut personal: HashMap<Arc<str>, Headers> = HashMap::new();
    let mut names: Vec<(String, &Arc<str>)> = Vec::new();
    for server in servers.servers() {
        let all = std::iter::once(&*server.name).chain(server.aliases.iter().map(String::as_str));
        names.extend(all.map(|name| (format!("{}-", name.replace('_', "-")), &server.name)));
    }
    for (header, value) in headers {
        let Some(rest) = header.as_str().strip_prefix(PREFIX) else {
            continue;
        };
        if header == SERVERS {
            continue;
        }
        let plain = rest.replace('_', "-");
        let server = names
            .iter()
            .filter(|(name, _)| plain.starts_with(name.as_str()))
            .max_by_key(|(name, _)| name.len());
        if let Some((name, server)) = server
            && let Ok(header) = HeaderName::try_from(&rest[name.len()..])
        {
            let entry = personal.entry((*server).clone()).or_default();
            entry.push((header, value.clone()));
        }
    }
    personal
}

#[cfg(test)]
mod tests;
