//! `bridges.yaml`, validated: everything that can be wrong with it is found in one run, each thing with its place and its cure.
//!
//! The file becomes a tree of nodes that know line and column (`yaml`). Tables of keys (`keys`) say what may stand where and
//! where a value goes; one reader (`read`) walks tree and tables together and reports instead of stopping. `load` puts the
//! results together: defaults, environment files, the child's environment, and what only shows across bridges, such as a
//! port that two of them want. Nothing here starts a process or opens a port.
//!
//! Variables are expanded in values after parsing, so what a variable holds can't change the structure of the file.

mod bridge;
mod change;
mod check;
mod command;
mod draft;
mod env_file;
mod environment;
mod expand;
mod gateway;
mod keys;
mod load;
mod offers;
mod problem;
mod read;
mod redaction;
mod remote;
mod schema;
mod secret;
mod socket;
#[cfg(test)]
mod tests;
mod tools;
mod units;
mod wording;
mod yaml;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use bridge::{Bridge, Isolation, Limits, Listen, OnCrash, Restart, Timing};
pub use change::Change;
pub use command::{Command, CommandError, ProcessLimits};
pub use environment::Environment;
pub use gateway::{DEFAULT_PORT as GATEWAY_PORT, Gateway, Model, Provider, VirtualKey};
pub use offers::{KeySource, Offer, Offers};
pub use problem::{Place, Problem, Problems};
pub use redaction::Redaction;
pub use remote::{Auth, Remote, RemoteTransport};
pub use schema::schema;
pub use secret::Secret;
pub use socket::{AdminSocket, SocketMode, admin_sockets};
pub use tools::ToolFilter;
pub(crate) use units::parse_duration;
pub(crate) use yaml::as_json as yaml_as_json;

/// A whole, valid configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// In the order of the file; names, aliases and ports don't clash. At least one of these or of `remotes`.
    pub bridges: Vec<Bridge>,
    /// Servers that others run, for the gateway, in the order of the file. Names and aliases are none of a bridge's.
    pub remotes: Vec<Remote>,
    /// The listener over all of them; `None` when the file has no `gateway` section.
    pub gateway: Option<Gateway>,
    /// The listener that sees all bridges; `None` when the file has no `admin` section, or one without a port.
    pub admin: Option<Admin>,
    /// The Unix socket with the same view, which is there in any case.
    pub socket: AdminSocket,
    /// The file it was read from.
    pub file: Option<PathBuf>,
    /// How long requests in flight may go on after the order to stop. Default 15 s.
    pub drain: Duration,
    /// Open connections over all listeners. Default 4096.
    pub max_connections: usize,
    /// Open connections from one address. Default 256.
    pub max_connections_per_ip: usize,
    /// What is logged, and how.
    pub log: Log,
}

/// The admin listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// Where it listens.
    pub listen: Listen,
    /// Who may use it; empty means everybody who can reach it.
    pub api_keys: Vec<Secret>,
}

/// The `log` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A level, or directives as `tracing_subscriber::EnvFilter` reads them. Default `info`.
    pub level: String,
    /// Default [`LogFormat::Auto`].
    pub format: LogFormat,
}

/// The shape of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Text,
    /// For machines, one object a line.
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Auto,
        }
    }
}

/// What [`Config::load`] gives back when nothing is wrong.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What works but deserves a look, such as a file of secrets that others can read. To be logged once.
    pub warnings: Vec<Problem>,
}

impl Config {
    /// Reads and validates the file at `path`; `${VAR}` is looked up in `environment`, which also is what children inherit from.
    ///
    /// Relative paths in `env_file`, `cwd` and `file:` count from the directory of the file.
    ///
    /// # Errors
    /// Every problem of the file at once. Values that may be secret are never part of a message.
    pub fn load(path: &Path, environment: &Environment) -> Result<Loaded, Problems> {
        load::load(path, environment)
    }

    /// The same for who only wants to know what there is, and has not the daemon's environment: variables, environment files and
    /// files of keys that aren't there are no problem. What they would say is left at its default, a secret is
    /// [`Secret::is_absent`], and addresses alone must be known. Such a configuration can't be served.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_by_reference(path: &Path, environment: &Environment) -> Result<Self, Problems> {
        load::load_by_reference(path, environment)
    }

    /// Where the daemon that serves the file at `path` is reached, whatever else is wrong with the file: its admin listener and
    /// its socket.
    #[must_use]
    pub fn admin_of(path: &Path, environment: &Environment) -> (Option<Admin>, AdminSocket) {
        load::admin_of(path, environment)
    }

    /// One bridge without a file: `command` with its arguments, under the name of its program, with the whole of
    /// `environment` and defaults for everything else.
    #[must_use]
    pub fn single(
        listen: Listen,
        program: OsString,
        args: Vec<OsString>,
        environment: &Environment,
    ) -> Self {
        let name = bridge::name_of_program(&program);
        let env = environment.everything().into_iter().collect();
        let command = Command {
            args,
            env,
            ..Command::new(program)
        };
        Self::of(vec![Bridge::new(name, listen, command)])
    }

    /// A configuration of these bridges, with defaults everywhere else.
    #[must_use]
    pub fn of(bridges: Vec<Bridge>) -> Self {
        Self {
            bridges,
            remotes: Vec::new(),
            gateway: None,
            admin: None,
            socket: AdminSocket::default(),
            file: None,
            drain: Duration::from_secs(15),
            max_connections: 4096,
            max_connections_per_ip: 256,
            log: Log::default(),
        }
    }
}
