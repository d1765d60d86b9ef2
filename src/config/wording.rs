//! The words of problems: what was found, what is missing, what may have been meant.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::draft::Draft;
use super::expand::Flaw;
use super::keys::{
    BRIDGE_OWN, BRIDGE_SHARED, GATEWAY, Key, REMOTE_OWN, SERVER_OWN, SERVER_SHARED, TOP,
};

/// Longer values are not quoted in messages, in characters.
const QUOTED: usize = 60;

/// What is missing.
#[derive(Debug)]
pub(super) enum Lack {
    /// An environment variable.
    Variable(String),
    /// An environment file, and why it can't be read.
    File(PathBuf, String),
}

impl Lack {
    /// What stops a file from being valid, in words, with the cure.
    pub(super) fn as_error(&self) -> String {
        match self {
            Self::Variable(_) => format!("{self}; set it or put it into the bridge's `env_file`"),
            Self::File(..) => format!("{self}; create it or correct the path"),
        }
    }

    /// What keeps an optional bridge from running, with the cure. The environment of a running process can't be changed.
    pub(super) fn as_cure(&self) -> String {
        match self {
            Self::Variable(_) => {
                format!(
                    "{self}; put it into the bridge's `env_file` and reload, or set it and start anew"
                )
            }
            Self::File(..) => format!("{self}; create it or correct the path, then reload"),
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "environment variable `{name}` is not set"),
            Self::File(file, reason) => write!(f, "cannot read `{}`: {reason}", file.display()),
        }
    }
}

/// What is wrong with a key that no table has, and where it may have been meant to stand.
pub(super) fn unknown_key(key: &str, known: &[&str]) -> String {
    let is_in = |tables: [&[Key<Draft>]; 2]| tables.into_iter().flatten().any(|k| k.name == key);
    let home = if is_in([BRIDGE_SHARED, SERVER_SHARED]) {
        "it belongs to a bridge or to `defaults`"
    } else if is_in([BRIDGE_OWN, SERVER_OWN]) {
        "it belongs to a bridge"
    } else if is_in([REMOTE_OWN, &[]]) {
        "it belongs to a remote server below `bridges`"
    } else if TOP.iter().any(|top| top.name == key) {
        "it belongs to the top level"
    } else if GATEWAY.iter().any(|gateway| gateway.name == key) {
        "it belongs to `gateway`"
    } else if let Some(near) = nearest(key, known.iter().copied()) {
        return format!("unknown key, did you mean `{near}`?");
    } else {
        return format!(
            "unknown key, expected {}",
            listed(known.iter().copied(), "or")
        );
    };
    format!("unknown key here; {home}")
}

/// The one of `known` that `name` may have been meant to be.
pub(super) fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let plain = |name: &str| name.to_lowercase().replace(['_', '-'], "");
    let distance = |other: &&str| strsim::osa_distance(&plain(other), &plain(name));
    known
        .min_by_key(distance)
        .filter(|near| distance(near) <= (name.len() / 3).min(2))
}

pub(super) fn describe(flaw: &Flaw) -> String {
    match flaw {
        Flaw::Missing(names) => Lack::Variable(names.join("`, `")).to_string(),
        Flaw::NotText(name) => format!("environment variable `{name}` is not UTF-8"),
        Flaw::Unclosed => "found `${` without `}`; write `$$` for a dollar sign".to_owned(),
        Flaw::NoVariable => {
            "found `${…}` around something that is no name, expected `${VAR}` or `${VAR:-default}`; write `$$` for a dollar sign"
                .to_owned()
        }
    }
}

/// How a message may show `value`, which is written as `written`: what a variable holds is not shown.
pub(super) fn shown(written: &str, value: &str) -> String {
    if value == written {
        quote(written)
    } else {
        format!("{} (its value is not shown)", quote(written))
    }
}

/// The value as written, unless it is long or may carry a password.
pub(super) fn quote(written: &str) -> String {
    if written.is_empty() {
        "an empty text".to_owned()
    } else if written.chars().count() > QUOTED
        || written.contains(['@', '\n', '\r'])
        || written.contains("://") && written.contains('?')
    {
        "a text that is not shown".to_owned()
    } else {
        format!("`{written}`")
    }
}

pub(super) fn listed<'n>(names: impl Iterator<Item = &'n str>, last: &str) -> String {
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((end, [])) => end.clone(),
        Some((end, start)) => format!("{} {last} {end}", start.join(", ")),
        None => "nothing".to_owned(),
    }
}

/// The system's message without its number.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_lowercase()
}
