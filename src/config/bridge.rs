//! One bridge as configured: where it listens, what it runs, how it treats sessions, and its limits, with their defaults.

use std::ffi::OsStr;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Command, Secret, ToolFilter};
use crate::mcp::Era;

/// The longest name of a bridge, in bytes.
const NAME_LIMIT: usize = 40;

/// One configured server and the listener that exposes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Bridge {
    /// `[a-z0-9][a-z0-9_-]{0,39}`, unique among names and aliases.
    pub name: String,
    /// Further names, of the same form.
    pub aliases: Vec<String>,
    /// Where the bridge listens.
    pub listen: Listen,
    /// What it runs.
    pub command: Command,
    /// Headers that a client of the gateway may send for this bridge alone, lower-case, and the variables that an instance of
    /// its own then gets.
    pub headers_to_env: Vec<(String, String)>,
    /// A line for people.
    pub description: Option<String>,
    /// Who may use it; empty means everybody who can reach it.
    pub api_keys: Vec<Secret>,
    /// Which sessions share an instance.
    pub isolation: Isolation,
    /// Which era of the protocol the server speaks; `None`: it is asked at each start.
    pub era: Option<Era>,
    /// Which tools are visible and callable.
    pub tools: ToolFilter,
    /// The URL under which clients reach the bridge, when a proxy stands before it; without a trailing slash.
    pub public_url: Option<String>,
    /// Values of `Origin` that are allowed beside the bridge's own, such as `https://chat.example.org`.
    pub allowed_origins: Vec<String>,
    /// Values of `Host` that are allowed beside the bridge's own, with or without a port.
    pub allowed_hosts: Vec<String>,
    /// How long things may take.
    pub timing: Timing,
    /// How much of things there may be.
    pub limits: Limits,
    /// What to do when the server exits.
    pub restart: Restart,
    /// What becomes of sessions when the server exits.
    pub on_crash: OnCrash,
    /// Whether a missing command or variable makes the bridge unavailable instead of failing it.
    pub optional: bool,
    /// The cure, in words, when the bridge is optional and something it needs is missing. Such a bridge must not be started:
    /// its command and keys may be incomplete.
    pub unavailable: Option<String>,
}

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Listen {
    /// The interface; the default is 127.0.0.1.
    pub host: IpAddr,
    /// 0 takes a free port.
    pub port: u16,
}

/// Which sessions share an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// All.
    Shared,
    /// None: an instance per session.
    Session,
    /// Those of clients that declare no sampling, elicitation, roots or tasks.
    #[default]
    Auto,
}

/// When a server that exited is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restart {
    /// Whatever its exit status was.
    #[default]
    Always,
    /// Not after exit code 0.
    OnFailure,
    /// Not at all.
    Never,
}

/// What becomes of sessions when the server exits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnCrash {
    /// They go on with the next generation.
    #[default]
    Keep,
    /// They end, for servers that hold state of a session.
    End,
}

/// Durations of one bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From spawn to the answer of the handshake. 60 s.
    pub init_timeout: Duration,
    /// From a request to its answer; progress starts it anew. 300 s.
    pub request_timeout: Duration,
    /// Silence after which the server is pinged. 15 s.
    pub ping_interval: Duration,
    /// Wait for the answer to a ping. 5 s.
    pub ping_timeout: Duration,
    /// Pings without an answer that make a hang. 3.
    pub ping_failures: u32,
    /// How long a request waits while the bridge is in back-off. 2 s.
    pub start_wait: Duration,
    /// Idle time after which a session ends. 30 min.
    pub session_idle: Duration,
    /// How long a call waits for the input of a stateless client. 300 s.
    pub input_timeout: Duration,
}

/// Limits of one bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open sessions. 1000.
    pub max_sessions: usize,
    /// Running instances, warm spare included. 8.
    pub max_instances: usize,
    /// Requests in flight over all sessions. 1024.
    pub max_in_flight: usize,
    /// Bytes of a request's body. 16 MiB.
    pub max_body: usize,
    /// Bytes of a message from the server. 16 MiB.
    pub max_message: usize,
}

impl Bridge {
    /// A bridge with defaults for all but these three. The name is not checked.
    #[must_use]
    pub fn new(name: String, listen: Listen, command: Command) -> Self {
        Self {
            name,
            aliases: Vec::new(),
            listen,
            command,
            headers_to_env: Vec::new(),
            description: None,
            api_keys: Vec::new(),
            isolation: Isolation::default(),
            era: None,
            tools: ToolFilter::default(),
            public_url: None,
            allowed_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            timing: Timing::default(),
            limits: Limits::default(),
            restart: Restart::default(),
            on_crash: OnCrash::default(),
            optional: false,
            unavailable: None,
        }
    }

    /// Whether `name` is the bridge's name or one of its aliases.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }
}

impl Listen {
    /// `port` on 127.0.0.1.
    #[must_use]
    pub fn loopback(port: u16) -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port,
        }
    }

    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host.to_canonical().is_loopback()
    }

    /// The address to bind.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }

    /// Whether both can't be bound at the same time.
    pub(super) fn clashes_with(&self, other: &Self) -> bool {
        self.port != 0
            && self.port == other.port
            && (self.host == other.host
                || self.host.is_unspecified()
                || other.host.is_unspecified())
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address().fmt(f)
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            init_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(300),
            ping_interval: Duration::from_secs(15),
            ping_timeout: Duration::from_secs(5),
            ping_failures: 3,
            start_wait: Duration::from_secs(2),
            session_idle: Duration::from_secs(30 * 60),
            input_timeout: Duration::from_secs(300),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_sessions: 1000,
            max_instances: 8,
            max_in_flight: 1024,
            max_body: 16 << 20,
            max_message: 16 << 20,
        }
    }
}

/// Whether a bridge may be called this.
pub(super) fn is_name(text: &str) -> bool {
    text.len() <= NAME_LIMIT
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.chars().all(is_name_char)
}

/// The program's file name, made a valid name of a bridge.
pub(super) fn name_of_program(program: &OsStr) -> String {
    let file = Path::new(program)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    let name: String = file
        .chars()
        .map(|c| if is_name_char(c) { c } else { '-' })
        .take(NAME_LIMIT)
        .collect();
    let name = name.trim_matches(|c| c == '-' || c == '_');
    if name.is_empty() {
        "server".to_owned()
    } else {
        name.to_owned()
    }
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_lends_its_name() {
        for (program, name) in [
            ("/usr/bin/mcp-server-filesystem", "mcp-server-filesystem"),
            ("My Server.py", "my-server-py"),
            ("./__x__", "x"),
            ("/", "server"),
            ("é", "server"),
        ] {
            assert_eq!(name_of_program(OsStr::new(program)), name);
            assert!(is_name(name));
        }
    }

    #[test]
    fn names_are_short_and_plain() {
        for good in ["a", "9", "post-gres_2", &"x".repeat(40)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "-a", "_a", "A", "a b", "a.b", "ä", &"x".repeat(41)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn the_unspecified_address_clashes_with_all() {
        let listen = |host: &str, port| Listen {
            host: host.parse().unwrap(),
            port,
        };
        assert!(listen("0.0.0.0", 1).clashes_with(&listen("127.0.0.1", 1)));
        assert!(listen("127.0.0.1", 1).clashes_with(&listen("::", 1)));
        assert!(!listen("127.0.0.1", 1).clashes_with(&listen("127.0.0.2", 1)));
        assert!(!listen("127.0.0.1", 1).clashes_with(&listen("127.0.0.1", 2)));
        assert!(!listen("0.0.0.0", 0).clashes_with(&listen("0.0.0.0", 0)));
    }
}
