//! What a reload has to do to get from one configuration of a bridge to the next: as little as possible.

use super::Bridge;

/// The step from an old entry to a new one of the same name, ordered by how much it disturbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Nothing: same child, same sessions.
    None,
    /// New values are taken up by what is running.
    InPlace,
    /// The address differs: bind the new one, then close the old one. The child stays. What [`Change::InPlace`] does is due as well.
    Listener,
    /// Drain the bridge and start it anew; its address may differ as well.
    Restart,
}

impl Bridge {
    /// What a reload from `old` to this entry has to do.
    #[must_use]
    pub fn change_from(&self, old: &Self) -> Change {
        if self == old {
            return Change::None;
        }
        let same_child = self.name == old.name
            && self.command == old.command
            && self.isolation == old.isolation
            && self.era == old.era
            && self.unavailable.is_some() == old.unavailable.is_some();
        if !same_child {
            Change::Restart
        } else if self.listen != old.listen {
            Change::Listener
        } else {
            Change::InPlace
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Command, Isolation, Listen, Secret, ToolFilter};
    use crate::mcp::Era;

    fn check(expected: Change, edit: impl Fn(&mut Bridge)) {
        let old = Bridge::new(
            "a".to_owned(),
            Listen::loopback(1),
            Command::new("cat".into()),
        );
        let mut new = old.clone();
        edit(&mut new);
        assert_eq!(new.change_from(&old), expected, "{new:?}");
    }

    #[test]
    fn a_reload_disturbs_no_more_than_it_must() {
        check(Change::None, |_| ());
        check(Change::InPlace, |b| b.limits.max_sessions = 1);
        check(Change::InPlace, |b| {
            b.api_keys = vec![Secret::new("k".to_owned())]
        });
        check(Change::InPlace, |b| {
            b.tools = ToolFilter::new(vec!["a*".to_owned()], vec![]).unwrap()
        });
        check(Change::InPlace, |b| {
            b.headers_to_env = vec![("x-key".to_owned(), "KEY".to_owned())]
        });
        check(Change::Listener, |b| b.listen.port = 2);
        check(Change::Listener, |b| {
            b.listen.port = 2;
            b.limits.max_sessions = 1;
        });
        check(Change::Restart, |b| b.command.args.push("-v".into()));
        check(Change::Restart, |b| {
            b.command.env.push(("A".into(), "b".into()))
        });
        check(Change::Restart, |b| b.command.cwd = Some("/".into()));
        check(Change::Restart, |b| b.command.limits.nice = Some(5));
        check(Change::Restart, |b| b.isolation = Isolation::Shared);
        check(Change::Restart, |b| b.era = Some(Era::Legacy));
        check(Change::Restart, |b| {
            b.unavailable = Some("install it".to_owned())
        });
        check(Change::Restart, |b| {
            b.listen.port = 2;
            b.command.args.push("-v".into());
        });
    }
}
