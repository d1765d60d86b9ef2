//! Keys of an entry of `bridges` whose server others run.

use super::super::check::{endpoint, sent_header};
use super::super::draft::{AuthType, Draft};
use super::super::secret::Purpose;
use super::super::{Auth, RemoteTransport};
use super::{Key, Kind, Names, key};

/// Keys of a remote server alone. None of them can have a default.
pub(in crate::config) static REMOTE_OWN: &[Key<Draft>] = &[
    key(
        "url",
        Kind::Text {
            expected: "the URL of an MCP endpoint such as `http://mcp-n8n:8080/mcp`",
            set: |d, text| endpoint(&text).map(|()| d.remote.url = text),
        },
    ),
    key(
        "transport",
        Kind::Choice(&[
            ("http", |d| d.remote.transport = RemoteTransport::Http),
            ("sse", |d| d.remote.transport = RemoteTransport::Sse),
            // The words of other programs for the first.
            ("streamable_http", |d| {
                d.remote.transport = RemoteTransport::Http;
            }),
            ("streamable-http", |d| {
                d.remote.transport = RemoteTransport::Http;
            }),
        ]),
    ),
    key(
        "auth_type",
        Kind::Choice(&[
            ("none", |d| d.remote.auth_type = Some(AuthType::None)),
            ("bearer_token", |d| {
                d.remote.auth_type = Some(AuthType::Some(Auth::Bearer));
            }),
            ("basic", |d| {
                d.remote.auth_type = Some(AuthType::Some(Auth::Basic));
            }),
            ("api_key", |d| {
                d.remote.auth_type = Some(AuthType::Some(Auth::ApiKey));
            }),
            ("authorization", |d| {
                d.remote.auth_type = Some(AuthType::Some(Auth::Authorization));
            }),
        ]),
    ),
    key(
        "auth_value",
        Kind::Secret {
            purpose: Purpose::Sent,
            may_be_empty: false,
            set: |d, secret| d.remote.auth_value = Some(secret),
        },
    ),
    key(
        "headers",
        Kind::SecretTexts {
            example: "a map of names to values, such as `{ X-Team: \"${TEAM}\" }`",
            names: Names {
                of: "the name of a header",
                read: sent_header,
            },
            set: |d, name, secret| d.remote.headers.push((name, secret)),
        },
    ),
];
