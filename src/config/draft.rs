//! What the keys of a file are read into before a second step makes a configuration of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::environment::Inherit;
use super::{Bridge, Command, Config, Listen, Secret};

/// A bridge while its keys are read.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    /// What needs no second step.
    pub(super) bridge: Bridge,
    pub(super) port: Option<u16>,
    pub(super) program: Option<String>,
    pub(super) demo: bool,
    pub(super) inherit: Inherit,
    pub(super) env: BTreeMap<String, String>,
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
            allow: Vec::new(),
            deny: Vec::new(),
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
        }
    }
}
