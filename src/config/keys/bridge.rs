//! Keys of an entry of `bridges` whose server runs here: what runs, and where and how it is served.

use std::time::Duration;

use super::super::check::{authority, filled, header, host, origin, url, user, variable};
use super::super::draft::Draft;
use super::super::{Isolation, OnCrash, Restart};
use super::{AUTHORITY, HOST, Key, Kind, Names, ORIGIN, URL, count, key, message, port, positive};
use crate::mcp::Era;

/// Keys of a bridge alone that can't have a default.
pub(in crate::config) static BRIDGE_OWN: &[Key<Draft>] = &[
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
];

/// Keys of a bridge alone that may also stand under `defaults`.
pub(in crate::config) static BRIDGE_SHARED: &[Key<Draft>] = &[
    key(
        "host",
        Kind::Text {
            expected: HOST,
            set: |d, text| host(&text).map(|host| d.bridge.listen.host = host),
        },
    ),
    // The child: what it sees and what it may use.
    key(
        "env",
        Kind::Texts {
            example: "a map of names to values, such as `{ TZ: UTC }`",
            names: Names {
                of: "a name of a variable",
                read: variable,
            },
            of: "text (`\"\"` for an empty value)",
            set: |d, name, value| {
                d.env.insert(name, value);
                Ok(())
            },
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
    key(
        "headers_to_env",
        Kind::Texts {
            example: "a map of headers to variables, such as `{ x-api-key: API_KEY }`",
            names: Names {
                of: "the name of a header",
                read: header,
            },
            of: "the name of a variable",
            set: |d, name, value| {
                variable(&value).map(|value| drop(d.headers_to_env.insert(name, value)))
            },
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
        "era",
        Kind::Choice(&[
            ("auto", |d| d.bridge.era = None),
            ("legacy", |d| d.bridge.era = Some(Era::Legacy)),
            ("modern", |d| d.bridge.era = Some(Era::Modern)),
        ]),
    ),
    key(
        "input_timeout",
        positive(|d: &mut Draft, time| d.bridge.timing.input_timeout = time),
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

const PROGRAM: &str = "the name or path of a program (its arguments go under `args`)";
const USER: &str = "a user's name or number";
