//! What clients have to be told to use what a configuration serves: addresses, and keys by the name of the variable that has
//! them. No value of a secret is in it, so a daemon may hand it out.

use serde::{Deserialize, Serialize};

use super::{Bridge, Config, Gateway, Listen, Remote, Secret};

/// Everything that clients can be given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Offers {
    /// The bridges, in the order of the file.
    pub bridges: Vec<Offer>,
    /// The listener over all of them.
    pub gateway: Option<Offer>,
    /// Whether the gateway serves models.
    pub models: bool,
    /// Servers that only the gateway reaches: the name of each, and its aliases.
    pub remotes: Vec<Vec<String>>,
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// A bridge's name, or `gateway`.
    pub name: String,
    /// Further names.
    pub aliases: Vec<String>,
    /// A line for people.
    pub description: Option<String>,
    /// Where it listens; a port of 0 is not known.
    pub listen: Listen,
    /// The URL before a proxy.
    pub public_url: Option<String>,
    /// Where the key comes from that clients present.
    pub key: KeySource,
    /// Why it serves nobody, with the cure.
    pub unavailable: Option<String>,
}

/// Where a key comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeySource {
    /// None is wanted.
    Open,
    /// A variable of the configuration.
    Variable(String),
    /// The configuration itself, or a file.
    Elsewhere,
}

impl Offers {
    /// What `config` has for clients.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let gateway = config.gateway.as_ref();
        Self {
            bridges: config.bridges.iter().map(Offer::of_bridge).collect(),
            gateway: gateway.map(Offer::of_gateway),
            models: gateway.is_some_and(|gateway| !gateway.models.is_empty()),
            remotes: config.remotes.iter().map(names).collect(),
        }
    }
}

impl Offer {
    fn of_bridge(bridge: &Bridge) -> Self {
        Self {
            name: bridge.name.clone(),
            aliases: bridge.aliases.clone(),
            description: bridge.description.clone(),
            listen: bridge.listen,
            public_url: bridge.public_url.clone(),
            key: KeySource::of(bridge.api_keys.iter()),
            unavailable: bridge.unavailable.clone(),
        }
    }

    fn of_gateway(gateway: &Gateway) -> Self {
        let virtual_keys = gateway.virtual_keys.iter().map(|key| &key.key);
        Self {
            name: "gateway".to_owned(),
            aliases: Vec::new(),
            description: Some("The tools of all bridges".to_owned()),
            listen: gateway.listen,
            public_url: gateway.public_url.clone(),
            key: KeySource::of(gateway.master_key.iter().chain(virtual_keys)),
            unavailable: None,
        }
    }

    /// Whether `name` is its name or one of its aliases.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }
}

impl KeySource {
    /// Of the first of `keys` that has a variable.
    fn of<'k>(keys: impl Iterator<Item = &'k Secret>) -> Self {
        let mut source = Self::Open;
        for key in keys {
            if let Some(variable) = key.variable() {
                return Self::Variable(variable.to_owned());
            }
            source = Self::Elsewhere;
        }
        source
    }
}

fn names(remote: &Remote) -> Vec<String> {
    let names = std::iter::once(&remote.name).chain(&remote.aliases);
    names.cloned().collect()
}
