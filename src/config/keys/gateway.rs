//! Keys of the `gateway` section.

use super::super::check::{
    api_base, authority, filled, glob, host, label, model, name, origin, separator, url,
};
use super::super::draft::{ModelDraft, Top, VirtualKeyDraft};
use super::super::schema::object;
use super::super::secret::Purpose;
use super::{AUTHORITY, HOST, Key, Kind, NAME, ORIGIN, URL, count, key, message, port, positive};

pub(in crate::config) static GATEWAY: &[Key<Top>] = &[
    key(
        "host",
        Kind::Text {
            expected: HOST,
            set: |t, text| host(&text).map(|host| t.gateway.gateway.listen.host = host),
        },
    ),
    key(
        "port",
        port(|t: &mut Top, n| t.gateway.gateway.listen.port = n as u16),
    ),
    // Who may do what.
    key(
        "master_key",
        Kind::Secret {
            purpose: Purpose::Presented,
            may_be_empty: false,
            set: |t, secret| t.gateway.gateway.master_key = Some(secret),
        },
    ),
    key(
        "virtual_keys",
        Kind::Items {
            of: "a map such as `{ name: team, api_key: \"${TEAM_KEY}\" }`",
            schema: || object(&[VIRTUAL_KEY]),
            add: |t, reader, node, path| {
                let item = reader.item(node, path, VIRTUAL_KEY);
                t.gateway.virtual_keys.push(item);
            },
        },
    ),
    key("tools", Kind::Tools(|t| &mut t.gateway.tools)),
    key(
        "allowed_origins",
        Kind::List {
            of: ORIGIN,
            may_be_empty: true,
            clear: |t| t.gateway.gateway.allowed_origins.clear(),
            add: |t, text| {
                let origins = &mut t.gateway.gateway.allowed_origins;
                origin(&text).map(|()| origins.push(text.to_ascii_lowercase()))
            },
        },
    ),
    key(
        "allowed_hosts",
        Kind::List {
            of: AUTHORITY,
            may_be_empty: true,
            clear: |t| t.gateway.gateway.allowed_hosts.clear(),
            add: |t, text| {
                let hosts = &mut t.gateway.gateway.allowed_hosts;
                authority(&text).map(|()| hosts.push(text.to_ascii_lowercase()))
            },
        },
    ),
    key(
        "public_url",
        Kind::Text {
            expected: URL,
            set: |t, text| url(&text).map(|url| t.gateway.gateway.public_url = Some(url)),
        },
    ),
    // What is served.
    key(
        "model_list",
        Kind::Items {
            of: "a map such as `{ model_name: gpt-4o-mock, provider: mock }`",
            schema: || object(&[MODEL]),
            add: |t, reader, node, path| {
                let item = reader.item(node, path, MODEL);
                t.gateway.models.push(item);
            },
        },
    ),
    key(
        "separator",
        Kind::Text {
            expected: "one to four of a-z, A-Z, 0-9, `_` and `-`",
            set: |t, text| separator(&text).map(|()| t.gateway.gateway.separator = text),
        },
    ),
    // The guards of the loop.
    key(
        "max_rounds",
        Kind::Number {
            least: 1,
            most: 100,
            set: |t, n| t.gateway.gateway.max_rounds = n as u32,
        },
    ),
    key(
        "deadline",
        positive(|t: &mut Top, time| t.gateway.gateway.deadline = time),
    ),
    key(
        "tool_timeout",
        positive(|t: &mut Top, time| t.gateway.gateway.tool_timeout = time),
    ),
    // Not so small that nothing can be said in it, not so large that no model takes it.
    key(
        "max_result",
        Kind::Size {
            least: 1 << 10,
            most: 16 << 20,
            set: |t, n| t.gateway.gateway.max_result = n as usize,
        },
    ),
    key(
        "audit_arguments",
        Kind::Flag(|t, flag| t.gateway.gateway.audit_arguments = flag),
    ),
    // The listener and its sessions.
    key(
        "max_body",
        message(|t: &mut Top, n| t.gateway.gateway.max_body = n as usize),
    ),
    key(
        "max_sessions",
        count(|t: &mut Top, n| t.gateway.gateway.max_sessions = n as usize),
    ),
    key(
        "input_timeout",
        positive(|t: &mut Top, time| t.gateway.gateway.input_timeout = time),
    ),
    key(
        "session_idle",
        positive(|t: &mut Top, time| t.gateway.gateway.session_idle = time),
    ),
];

static VIRTUAL_KEY: &[Key<VirtualKeyDraft>] = &[
    key(
        "name",
        Kind::Text {
            expected: "a name for the audit, such as `team-a`",
            set: |k, text| label(&text).map(|()| k.name = Some(text)),
        },
    ),
    key(
        "api_key",
        Kind::Secret {
            purpose: Purpose::Presented,
            may_be_empty: false,
            set: |k, secret| k.key = Some(secret),
        },
    ),
    key(
        "models",
        Kind::List {
            of: GLOB_OF_MODELS,
            may_be_empty: true,
            clear: |k| k.models = Some(Vec::new()),
            add: |k, text| glob(&text).map(|()| k.models.get_or_insert_default().push(text)),
        },
    ),
    key(
        "mcp_servers",
        Kind::List {
            of: NAME,
            may_be_empty: true,
            clear: |k| k.servers = Some(Vec::new()),
            add: |k, text| name(&text).map(|()| k.servers.get_or_insert_default().push(text)),
        },
    ),
    key("tools", Kind::Tools(|k| &mut k.tools)),
];

static MODEL: &[Key<ModelDraft>] = &[
    key(
        "model_name",
        Kind::Text {
            expected: "the name of a model such as `gpt-4o`, or `*` for every model that the provider lists",
            set: |m, text| model(&text).map(|()| m.name = Some(text)),
        },
    ),
    key(
        "provider",
        Kind::Choice(&[
            ("openai", |m| m.is_mock = false),
            ("mock", |m| m.is_mock = true),
        ]),
    ),
    key(
        "api_base",
        Kind::Text {
            expected: "the base of an OpenAI-compatible endpoint, such as `http://litellm:4000/v1`",
            set: |m, text| api_base(&text).map(|base| m.api_base = Some(base)),
        },
    ),
    key(
        "api_key",
        Kind::Secret {
            purpose: Purpose::Sent,
            may_be_empty: true,
            set: |m, secret| m.api_key = Some(secret),
        },
    ),
    key(
        "model",
        Kind::Text {
            expected: "the provider's own name for the model",
            set: |m, text| filled(&text).map(|()| m.model = Some(text)),
        },
    ),
];

const GLOB_OF_MODELS: &str = "a glob over names of models such as `gpt-*`";
