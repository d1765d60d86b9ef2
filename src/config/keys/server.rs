//! Keys of every entry of `bridges`, whether its server runs here or is remote.

use super::super::check::{filled, name};
use super::super::draft::Draft;
use super::{Key, Kind, NAME, key, positive};

/// Keys of every server that can't have a default.
pub(in crate::config) static SERVER_OWN: &[Key<Draft>] = &[key(
    "aliases",
    Kind::List {
        of: NAME,
        may_be_empty: true,
        clear: |d| d.bridge.aliases.clear(),
        add: |d, text| name(&text).map(|()| d.bridge.aliases.push(text)),
    },
)];

/// Keys of every server that may also stand under `defaults`.
pub(in crate::config) static SERVER_SHARED: &[Key<Draft>] = &[
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
    key(
        "env_file",
        Kind::Text {
            expected: "a path",
            set: |_, text| filled(&text),
        },
    ),
    key("tools", Kind::Tools(|d| &mut d.tools)),
    key(
        "init_timeout",
        positive(|d: &mut Draft, time| d.bridge.timing.init_timeout = time),
    ),
    key(
        "request_timeout",
        positive(|d: &mut Draft, time| d.bridge.timing.request_timeout = time),
    ),
    key("optional", Kind::Flag(|d, flag| d.bridge.optional = flag)),
];
