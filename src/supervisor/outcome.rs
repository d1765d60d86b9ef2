//! What came of a reload, for whoever asked for it.

use serde_json::{Value, json};

use crate::config::{Change, Config, Problem, Problems, Remote};

/// The outcome of one reload.
#[derive(Debug)]
#[must_use = "whoever asked wants to know"]
pub(super) enum Reloaded {
    /// The new configuration is in force.
    Applied {
        /// What differs; empty when nothing does.
        changes: Vec<Changed>,
        /// What works but deserves a look.
        warnings: Vec<Problem>,
    },
    /// The old configuration stays in force.
    Refused(Problems),
}

/// Something that differs from before.
#[derive(Debug)]
pub(super) struct Changed {
    /// A bridge, a remote server, `gateway`, `admin`, or a key of the top level.
    name: String,
    what: What,
    /// Of the server that ran before, when it is restarted.
    generation: Option<u64>,
}

/// In which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Added,
    Removed,
    /// Its server is drained and started anew.
    Restarted,
    /// It listens at another address.
    Moved,
    /// It was changed while it runs.
    Changed,
    /// It takes effect at the next start.
    NextStart,
}

impl Changed {
    pub(super) fn new(name: &str, what: What) -> Self {
        Self {
            name: name.to_owned(),
            what,
            generation: None,
        }
    }

    /// Of a bridge that stays, whose server was the `generation`th before.
    pub(super) fn of(name: &str, what: What, generation: u64) -> Self {
        Self {
            generation: (what == What::Restarted).then_some(generation),
            ..Self::new(name, what)
        }
    }

    /// Everything but the bridges.
    pub(super) fn around(old: &Config, new: &Config) -> Vec<Self> {
        let mut changes = Vec::new();
        let mut note = |name: &str, what: Option<What>| {
            changes.extend(what.map(|what| Self::new(name, what)));
        };
        let remotes = |config: &Config| -> Vec<String> {
            config.remotes.iter().map(|it| it.name.clone()).collect()
        };
        let find = |config: &Config, name: &str| -> Option<Remote> {
            config.remotes.iter().find(|it| it.name == name).cloned()
        };
        let mut names = remotes(new);
        names.extend(remotes(old));
        names.sort();
        names.dedup();
        for name in names {
            let (before, after) = (find(old, &name), find(new, &name));
            note(&name, difference(&before, &after, |_| What::Changed));
        }
        let moved = |is_moved| if is_moved { What::Moved } else { What::Changed };
        let gateway = difference(&old.gateway, &new.gateway, |(old, new)| {
            moved(old.listen != new.listen)
        });
        note("gateway", gateway);
        let admin = difference(&old.admin, &new.admin, |(old, new)| {
            moved(old.listen != new.listen)
        });
        note("admin", admin);
        let changed = |differs: bool| differs.then_some(What::Changed);
        note("admin.socket", changed(old.socket != new.socket));
        note("drain", changed(old.drain != new.drain));
        let connections = |config: &Config| (config.max_connections, config.max_connections_per_ip);
        note(
            "max_connections",
            changed(connections(old) != connections(new)),
        );
        note("log", (old.log != new.log).then_some(What::NextStart));
        changes
    }
}

impl Reloaded {
    pub(super) fn describe(&self) -> Value {
        match self {
            Self::Applied { changes, warnings } => json!({
                "reloaded": true,
                "changes": changes.iter().map(change).collect::<Vec<_>>(),
                "warnings": warnings.iter().map(problem).collect::<Vec<_>>(),
            }),
            Self::Refused(problems) => json!({
                "reloaded": false,
                "errors": problems.iter().map(problem).collect::<Vec<_>>(),
            }),
        }
    }
}

impl From<Change> for What {
    fn from(change: Change) -> Self {
        match change {
            Change::Restart => Self::Restarted,
            Change::Listener => Self::Moved,
            Change::InPlace | Change::None => Self::Changed,
        }
    }
}

fn difference<T: PartialEq>(
    old: &Option<T>,
    new: &Option<T>,
    kind: impl FnOnce((&T, &T)) -> What,
) -> Option<What> {
    match (old, new) {
        (None, None) => None,
        (None, Some(_)) => Some(What::Added),
        (Some(_), None) => Some(What::Removed),
        (Some(old), Some(new)) => (old != new).then(|| kind((old, new))),
    }
}

fn change(change: &Changed) -> Value {
    json!({
        "name": change.name,
        "change": match change.what {
            What::Added => "added",
            What::Removed => "removed",
            What::Restarted => "restarted",
            What::Moved => "moved",
            What::Changed => "changed",
            What::NextStart => "at the next start",
        },
        "generation": change.generation,
    })
}

fn problem(problem: &Problem) -> Value {
    json!({
        "file": problem.file,
        "line": problem.place.map(|place| place.line),
        "column": problem.place.map(|place| place.column),
        "key": problem.key,
        "text": problem.text,
        "message": problem.to_string(),
    })
}
