//! Every key of the file: its name, what its value may be, and where the value goes.
//!
//! These tables are the only list of keys there is. [`SHARED`] may stand in a bridge and under `defaults`, and is read
//! into the same [`Draft`] in that order; [`OWN`] may stand in a bridge only; [`TOP`] is the top level.

use std::time::Duration;

use super::check::{authority, filled, glob, host, level, name, origin, url, user, variable};
use super::draft::{Draft, Top};
use super::environment::Inherit;
use super::{Isolation, LogFormat, OnCrash, Restart, Secret};

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
    /// A list of secrets, each also as `file:/path`. It replaces the one of `defaults`.
    Secrets {
        clear: fn(&mut T),
        add: fn(&mut T, Secret),
    },
    /// A map of names to texts. It is merged into the one of `defaults`.
    Variables {
        name: fn(&str) -> Result<(), String>,
        set: fn(&mut T, String, String),
    },
    /// `true`, `false`, or a list of names.
    Inherit(fn(&mut T, Inherit)),
    /// A map with keys of its own.
    Section(&'static [Key<T>]),
    /// A map that is read elsewhere.
    Elsewhere,
}

/// Keys of the top level.
pub(super) static TOP: &[Key<Top>] = &[
    key("bridges", Kind::Elsewhere),
    key("defaults", Kind::Elsewhere),
    key("admin", Kind::Section(ADMIN)),
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

/// Keys of a bridge that can't have a default.
pub(super) static OWN: &[Key<Draft>] = &[
    key("port", port(|d: &mut Draft, n| d.port = Some(n as u16))),
    key(
        "command",
        Kind::Text {
            expected: PROGRAM,
            set: |d, text| filled(&text).map(|()| d.program = Some(text)),
        },
    ),
    key(
        "args",
        Kind::List {
            of: "text",
            may_be_empty: true,
            clear: |d| d.bridge.command.args.clear(),
            add: |d, text| {
                d.bridge.command.args.push(text.into());
                Ok(())
            },
        },
    ),
    key("demo", Kind::Flag(|d, flag| d.demo = flag)),
    key(
        "aliases",
        Kind::List {
            of: NAME,
            may_be_empty: true,
            clear: |d| d.bridge.aliases.clear(),
            add: |d, text| name(&text).map(|()| d.bridge.aliases.push(text)),
        },
    ),
];

/// Keys of a bridge that may also stand under `defaults`.
pub(super) static SHARED: &[Key<Draft>] = &[
    key(
        "host",
        Kind::Text {
            expected: HOST,
            set: |d, text| host(&text).map(|host| d.bridge.listen.host = host),
        },
    ),
    key(
        "description",
        Kind::Text {
            expected: "text",
            set: |d, text| {
                d.bridge.description = Some(text);
                Ok(())
            },
        },
    ),
    // The child: what it sees and what it may use.
    key(
        "env",
        Kind::Variables {
            name: variable,
            set: |d, name, value| drop(d.env.insert(name, value)),
        },
    ),
    key(
        "env_file",
        Kind::Text {
            expected: "a path",
            set: |_, text| filled(&text),
        },
    ),
    key(
        "inherit_env",
        Kind::Inherit(|d, inherit| d.inherit = inherit),
    ),
    key(
        "cwd",
        Kind::Text {
            expected: "a path",
            set: |d, text| filled(&text).map(|()| d.bridge.command.cwd = Some(text.into())),
        },
    ),
    key(
        "user",
        Kind::Text {
            expected: USER,
            set: |d, text| user(&text).map(|()| d.bridge.command.user = Some(text)),
        },
    ),
    key("limits", Kind::Section(PROCESS)),
    // Who may do what.
    key(
        "api_keys",
        Kind::Secrets {
            clear: |d| d.bridge.api_keys.clear(),
            add: |d, secret| d.bridge.api_keys.push(secret),
        },
    ),
    key("tools", Kind::Section(TOOLS)),
    key(
        "allowed_origins",
        Kind::List {
            of: ORIGIN,
            may_be_empty: true,
            clear: |d| d.bridge.allowed_origins.clear(),
            add: |d, text| {
                origin(&text).map(|()| d.bridge.allowed_origins.push(text.to_ascii_lowercase()))
            },
        },
    ),
    key(
        "allowed_hosts",
        Kind::List {
            of: AUTHORITY,
            may_be_empty: true,
            clear: |d| d.bridge.allowed_hosts.clear(),
            add: |d, text| {
                authority(&text).map(|()| d.bridge.allowed_hosts.push(text.to_ascii_lowercase()))
            },
        },
    ),
    key(
        "public_url",
        Kind::Text {
            expected: URL,
            set: |d, text| url(&text).map(|url| d.bridge.public_url = Some(url)),
        },
    ),
    // Sessions and instances.
    key(
        "isolation",
        Kind::Choice(&[
            ("auto", |d| d.bridge.isolation = Isolation::Auto),
            ("shared", |d| d.bridge.isolation = Isolation::Shared),
            ("session", |d| d.bridge.isolation = Isolation::Session),
        ]),
    ),
    key(
        "session_idle",
        positive(|d: &mut Draft, time| d.bridge.timing.session_idle = time),
    ),
    key(
        "max_sessions",
        count(|d: &mut Draft, n| d.bridge.limits.max_sessions = n as usize),
    ),
    key(
        "max_instances",
        count(|d: &mut Draft, n| d.bridge.limits.max_instances = n as usize),
    ),
    key(
        "max_in_flight",
        count(|d: &mut Draft, n| d.bridge.limits.max_in_flight = n as usize),
    ),
    key(
        "max_body",
        message(|d: &mut Draft, n| d.bridge.limits.max_body = n as usize),
    ),
    key(
        "max_message",
        message(|d: &mut Draft, n| d.bridge.limits.max_message = n as usize),
    ),
    // Supervision.
    key(
        "init_timeout",
        positive(|d: &mut Draft, time| d.bridge.timing.init_timeout = time),
    ),
    key(
        "request_timeout",
        positive(|d: &mut Draft, time| d.bridge.timing.request_timeout = time),
    ),
    key(
        "ping_interval",
        positive(|d: &mut Draft, time| d.bridge.timing.ping_interval = time),
    ),
    key(
        "ping_timeout",
        positive(|d: &mut Draft, time| d.bridge.timing.ping_timeout = time),
    ),
    key(
        "ping_failures",
        Kind::Number {
            least: 1,
            most: 100,
            set: |d, n| d.bridge.timing.ping_failures = n as u32,
        },
    ),
    key(
        "start_wait",
        Kind::Duration {
            least: Duration::ZERO,
            set: |d, time| d.bridge.timing.start_wait = time,
        },
    ),
    key(
        "restart",
        Kind::Choice(&[
            ("always", |d| d.bridge.restart = Restart::Always),
            ("on_failure", |d| d.bridge.restart = Restart::OnFailure),
            ("never", |d| d.bridge.restart = Restart::Never),
        ]),
    ),
    key(
        "on_crash",
        Kind::Choice(&[
            ("keep", |d| d.bridge.on_crash = OnCrash::Keep),
            ("end", |d| d.bridge.on_crash = OnCrash::End),
        ]),
    ),
    key("optional", Kind::Flag(|d, flag| d.bridge.optional = flag)),
];

const PROCESS: &[Key<Draft>] = &[
    // Below this no program starts.
    key(
        "memory",
        Kind::Size {
            least: 1 << 20,
            most: 1 << 42,
            set: |d, n| d.bridge.command.limits.memory = Some(n),
        },
    ),
    // Standard streams, and what a dynamic linker and a runtime need to come up.
    key(
        "open_files",
        Kind::Number {
            least: 16,
            most: 1 << 30,
            set: |d, n| d.bridge.command.limits.open_files = Some(n as u64),
        },
    ),
    key(
        "nice",
        Kind::Number {
            least: -20,
            most: 19,
            set: |d, n| d.bridge.command.limits.nice = Some(n as i32),
        },
    ),
];

const TOOLS: &[Key<Draft>] = &[
    key(
        "allow",
        Kind::List {
            of: GLOB,
            may_be_empty: false,
            clear: |d| d.allow.clear(),
            add: |d, text| glob(&text).map(|()| d.allow.push(text)),
        },
    ),
    key(
        "deny",
        Kind::List {
            of: GLOB,
            may_be_empty: true,
            clear: |d| d.deny.clear(),
            add: |d, text| glob(&text).map(|()| d.deny.push(text)),
        },
    ),
];

const HOST: &str = "an IP address or `localhost`";
pub(super) const NAME: &str =
    "a name of a-z, 0-9, `_` and `-` that starts with a letter or digit, at most 40 characters";
const PROGRAM: &str = "the name or path of a program (its arguments go under `args`)";
const USER: &str = "a user's name or number";
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
    fn no_key_is_listed_twice_and_none_is_both_own_and_shared() {
        let mut names: Vec<_> = OWN.iter().chain(SHARED).map(|key| key.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
