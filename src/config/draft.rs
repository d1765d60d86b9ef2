//! What the keys of a file are read into before a second step makes a configuration of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::environment::Inherit;
use super::{Auth, Bridge, Command, Config, Gateway, Listen, RemoteTransport, Secret, ToolFilter};

/// An entry of `bridges` while its keys are read; the bridge has what a remote server has in common with it.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    /// What needs no second step.
    pub(super) bridge: Bridge,
    pub(super) port: Option<u16>,
    pub(super) program: Option<String>,
    pub(super) demo: bool,
    pub(super) inherit: Inherit,
    pub(super) env: BTreeMap<String, String>,
    pub(super) headers_to_env: BTreeMap<String, String>,
    pub(super) tools: Globs,
    pub(super) remote: RemoteDraft,
}

/// What only a remote server has, while its keys are read.
#[derive(Clone, Debug, Default)]
pub(super) struct RemoteDraft {
    /// Empty when something was wrong with it.
    pub(super) url: String,
    pub(super) transport: RemoteTransport,
    pub(super) auth_type: Option<AuthType>,
    pub(super) auth_value: Option<Secret>,
    pub(super) headers: Vec<(String, Secret)>,
}

/// What `auth_type` says.
#[derive(Clone, Copy, Debug)]
pub(super) enum AuthType {
    /// Nothing is sent.
    None,
    /// A secret is sent in this way.
    Some(fn(Secret) -> Auth),
}

/// A `tools` section while its keys are read.
#[derive(Clone, Debug, Default)]
pub(super) struct Globs {
    pub(super) allow: Vec<String>,
    pub(super) deny: Vec<String>,
}

/// The top level while its keys are read.
#[derive(Debug)]
pub(super) struct Top {
    pub(super) config: Config,
    pub(super) admin_host: IpAddr,
    pub(super) admin_port: Option<u16>,
    pub(super) admin_keys: Vec<Secret>,
    pub(super) gateway: GatewayDraft,
}

/// The `gateway` section while its keys are read.
#[derive(Clone, Debug, Default)]
pub(super) struct GatewayDraft {
    /// What needs no second step.
    pub(super) gateway: Gateway,
    pub(super) tools: Globs,
    /// One for each item of the list, whatever is wrong with it.
    pub(super) virtual_keys: Vec<VirtualKeyDraft>,
    /// One for each item of the list, whatever is wrong with it.
    pub(super) models: Vec<ModelDraft>,
}

/// One of `virtual_keys` while its keys are read.
#[derive(Clone, Debug, Default)]
pub(super) struct VirtualKeyDraft {
    pub(super) name: Option<String>,
    pub(super) key: Option<Secret>,
    pub(super) models: Option<Vec<String>>,
    pub(super) servers: Option<Vec<String>>,
    pub(super) tools: Globs,
}

/// One of `model_list` while its keys are read.
#[derive(Clone, Debug, Default)]
pub(super) struct ModelDraft {
    pub(super) name: Option<String>,
    pub(super) is_mock: bool,
    pub(super) api_base: Option<String>,
    pub(super) api_key: Option<Secret>,
    pub(super) model: Option<String>,
}

impl Globs {
    /// The filter. Each glob was tried when it was read; only their sum can be too large, of which this gives the words.
    pub(super) fn filter(self) -> Result<ToolFilter, String> {
        ToolFilter::new(self.allow, self.deny).map_err(|error| error.kind().to_string())
    }
}

impl Draft {
    pub(super) fn new(name: &str) -> Self {
        Self {
            bridge: Bridge::new(
                name.to_owned(),
                Listen::loopback(0),
                Command::new("".into()),
            ),
            port: None,
            program: None,
            demo: false,
            inherit: Inherit::default(),
            env: BTreeMap::new(),
            headers_to_env: BTreeMap::new(),
            tools: Globs::default(),
            remote: RemoteDraft::default(),
        }
    }
}

impl Top {
    pub(super) fn new() -> Self {
        Self {
            config: Config::of(Vec::new()),
            admin_host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            admin_port: None,
            admin_keys: Vec::new(),
            gateway: GatewayDraft::default(),
        }
    }
}
