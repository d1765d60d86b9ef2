//! Every key of the file: its name, what its value may be, and where the value goes.
//!
//! These tables are the only list of keys there is. [`TOP`] is the top level. An entry of `bridges` takes [`SERVER_OWN`] and
//! [`SERVER_SHARED`], and beside them [`BRIDGE_OWN`] and [`BRIDGE_SHARED`] when its server runs here, [`REMOTE_OWN`] when it is
//! remote; the shared ones may stand under `defaults`, too, and are read into the same draft from there first.

mod bridge;
mod gateway;
mod remote;
mod server;

use std::time::Duration;

use super::check::{filled, glob, host, level};
use super::draft::{Draft, Globs, Top};
use super::environment::Inherit;
use super::read::Reader;
use super::secret::Purpose;
use super::yaml::Node;
use super::{LogFormat, Secret, SocketMode};

pub(super) use bridge::{BRIDGE_OWN, BRIDGE_SHARED};
pub(super) use gateway::GATEWAY;
pub(super) use remote::REMOTE_OWN;
pub(super) use server::{SERVER_OWN, SERVER_SHARED};

/// One key and the kind of its value, which is stored in a `T`.
#[derive(Debug)]
pub(super) struct Key<T: 'static> {
    pub(super) name: &'static str,
    pub(super) kind: Kind<T>,
}

/// Stores a text, or says why it can't be one.
type Store<T> = fn(&mut T, String) -> Result<(), String>;

/// A word that may be chosen, and what choosing it does.
type Word<T> = (&'static str, fn(&mut T));

/// What a value may be, and how it is stored once it is. Bounds are inclusive.
#[derive(Debug)]
pub(super) enum Kind<T: 'static> {
    /// `true` or `false`.
    Flag(fn(&mut T, bool)),
    /// A whole number.
    Number {
        least: i64,
        most: i64,
        set: fn(&mut T, i64),
    },
    /// A number with `ms`, `s`, `m` or `h`, at most a day.
    Duration {
        least: Duration,
        set: fn(&mut T, Duration),
    },
    /// A number of bytes, or with `KiB`, `MiB` or `GiB`.
    Size {
        least: u64,
        most: u64,
        set: fn(&mut T, u64),
    },
    /// One of these words.
    Choice(&'static [Word<T>]),
    /// A text, which is described for messages.
    Text {
        expected: &'static str,
        set: Store<T>,
    },
    /// A list of texts. It replaces the one of `defaults`.
    List {
        of: &'static str,
        may_be_empty: bool,
        clear: fn(&mut T),
        add: Store<T>,
    },
    /// A secret, also as `file:/path`.
    Secret {
        purpose: Purpose,
        /// Whether an empty one is none at all, and not an error.
        may_be_empty: bool,
        set: fn(&mut T, Secret),
    },
    /// A list of secrets, each also as `file:/path`. It replaces the one of `defaults`.
    Secrets {
        clear: fn(&mut T),
        add: fn(&mut T, Secret),
    },
    /// A map of names to texts. It is merged into the one of `defaults`.
    Texts {
        /// The whole, for messages.
        example: &'static str,
        names: Names,
        of: &'static str,
        set: fn(&mut T, String, String) -> Result<(), String>,
    },
    /// A map of names to secrets that are sent to others, each also as `file:/path`.
    SecretTexts {
        /// The whole, for messages.
        example: &'static str,
        names: Names,
        set: fn(&mut T, String, Secret),
    },
    /// `true`, `false`, or a list of names.
    Inherit(fn(&mut T, Inherit)),
    /// A map with keys of its own.
    Section(&'static [Key<T>]),
    /// The map of [`TOOLS`].
    Tools(fn(&mut T) -> &mut Globs),
    /// A list of maps with keys of their own. `add` reads one and stores it, whatever is wrong with it.
    Items {
        of: &'static str,
        /// What an item may be.
        schema: fn() -> serde_json::Value,
        add: fn(&mut T, &mut Reader<'_>, &Node, &str),
    },
    /// A map that is read elsewhere.
    Elsewhere,
}

/// The names of a map: what they are, for messages, and the form in which one is kept.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) of: &'static str,
    pub(super) read: fn(&str) -> Result<String, String>,
}

/// Every key that an entry of `bridges` may have.
pub(super) static ENTRY: [&[Key<Draft>]; 5] = [
    BRIDGE_OWN,
    BRIDGE_SHARED,
    REMOTE_OWN,
    SERVER_OWN,
    SERVER_SHARED,
];

/// Keys of the top level.
pub(super) static TOP: &[Key<Top>] = &[
    key("bridges", Kind::Elsewhere),
    key("defaults", Kind::Elsewhere),
    key("admin", Kind::Section(ADMIN)),
    key("gateway", Kind::Section(GATEWAY)),
    key(
        "drain",
        Kind::Duration {
            least: Duration::ZERO,
            set: |t, d| t.config.drain = d,
        },
    ),
    key(
        "max_connections",
        count(|t: &mut Top, n| t.config.max_connections = n as usize),
    ),
    key(
        "max_connections_per_ip",
        count(|t: &mut Top, n| t.config.max_connections_per_ip = n as usize),
    ),
    key("log", Kind::Section(LOG)),
];

const ADMIN: &[Key<Top>] = &[
    key(
        "host",
        Kind::Text {
            expected: HOST,
            set: |t, text| host(&text).map(|host| t.admin_host = host),
        },
    ),
    key("port", port(|t: &mut Top, n| t.admin_port = Some(n as u16))),
    key(
        "api_keys",
        Kind::Secrets {
            clear: |t| t.admin_keys.clear(),
            add: |t, secret| t.admin_keys.push(secret),
        },
    ),
    key(
        "socket",
        Kind::Text {
            expected: "a path",
            set: |t, text| filled(&text).map(|()| t.config.socket.path = Some(text.into())),
        },
    ),
    key(
        "socket_mode",
        Kind::Choice(&[
            ("600", |t| t.config.socket.mode = SocketMode::Owner),
            ("660", |t| t.config.socket.mode = SocketMode::Group),
        ]),
    ),
];

const LOG: &[Key<Top>] = &[
    key(
        "level",
        Kind::Text {
            expected: LEVEL,
            set: |t, text| level(&text).map(|()| t.config.log.level = text),
        },
    ),
    key(
        "format",
        Kind::Choice(&[
            ("auto", |t| t.config.log.format = LogFormat::Auto),
            ("text", |t| t.config.log.format = LogFormat::Text),
            ("json", |t| t.config.log.format = LogFormat::Json),
        ]),
    ),
];

/// Keys of a `tools` section.
pub(super) static TOOLS: &[Key<Globs>] = &[
    key(
        "allow",
        Kind::List {
            of: GLOB,
            may_be_empty: false,
            clear: |g| g.allow.clear(),
            add: |g, text| glob(&text).map(|()| g.allow.push(text)),
        },
    ),
    key(
        "deny",
        Kind::List {
            of: GLOB,
            may_be_empty: true,
            clear: |g| g.deny.clear(),
            add: |g, text| glob(&text).map(|()| g.deny.push(text)),
        },
    ),
];

const HOST: &str = "an IP address or `localhost`";
pub(super) const NAME: &str =
    "a name of a-z, 0-9, `_` and `-` that starts with a letter or digit, at most 40 characters";
const GLOB: &str = "a glob such as `list_*`";
const URL: &str = "a URL such as `https://mcp.example.org/db`";
const ORIGIN: &str = "an origin such as `https://chat.example.org`";
const AUTHORITY: &str = "a host such as `mcp.example.org` or `mcp:8080`";
const LEVEL: &str = "`error`, `warn`, `info`, `debug`, `trace`, `off` or directives such as `info,mcp_bridged=debug`";

const fn key<T>(name: &'static str, kind: Kind<T>) -> Key<T> {
    Key { name, kind }
}

const fn port<T>(set: fn(&mut T, i64)) -> Kind<T> {
    Kind::Number {
        least: 0,
        most: 65_535,
        set,
    }
}

const fn count<T>(set: fn(&mut T, i64)) -> Kind<T> {
    Kind::Number {
        least: 1,
        most: 1_000_000,
        set,
    }
}

const fn positive<T>(set: fn(&mut T, Duration)) -> Kind<T> {
    Kind::Duration {
        least: Duration::from_millis(1),
        set,
    }
}

/// Not so small that a handshake can't pass, not so large that one message takes the machine.
const fn message<T>(set: fn(&mut T, u64)) -> Kind<T> {
    Kind::Size {
        least: 4 << 10,
        most: 1 << 30,
        set,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_of_a_server_is_listed_twice() {
        let mut names: Vec<_> = ENTRY.into_iter().flatten().map(|key| key.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
