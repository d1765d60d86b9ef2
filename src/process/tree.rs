//! Which processes belong to a child, read from `/proc`.
//!
//! This process is a subreaper, so whatever a child starts stays among our descendants, also when it was forked twice.
//! Only descendants are looked at. One belongs to a child when it is in the child's session or process group, when its
//! parent belongs to it, or when its environment still has the child's marker; the last finds what called `setsid` and
//! lost its parent. Escapes: a daemon that did both *and* emptied its environment; it is found when the whole program
//! stops ([`Snapshot::strays`]).

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;

/// The environment variable that marks every process of a child with a value of the child's own.
pub(super) const MARKER: &str = "MCP_BRIDGED_INSTANCE";

/// One process at the time of the snapshot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) pid: i32,
    pub(super) parent: i32,
    group: i32,
    session: i32,
    pub(super) zombie: bool,
}

/// Our descendants, parents before their children.
#[derive(Debug)]
pub(super) struct Snapshot {
    ourselves: Entry,
    descendants: Vec<Entry>,
    environments: HashMap<i32, Vec<u8>>,
}

impl Snapshot {
    /// Reads `/proc`: three system calls for each process of the machine.
    ///
    /// # Errors
    /// When `/proc` is not there or not readable.
    pub(super) fn take() -> io::Result<Self> {
        let our_pid = std::process::id().cast_signed();
        let mut ourselves = None;
        let mut children: HashMap<i32, Vec<Entry>> = HashMap::new();
        for directory in fs::read_dir("/proc")? {
            let name = directory?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // A process that ended meanwhile has no file any more.
            let Some(entry) = fs::read(format!("/proc/{pid}/stat"))
                .ok()
                .and_then(|stat| parse(pid, &stat))
            else {
                continue;
            };
            if pid == our_pid {
                ourselves = Some(entry);
            } else {
                children.entry(entry.parent).or_default().push(entry);
            }
        }
        let ourselves = ourselves.ok_or(io::ErrorKind::NotFound)?;
        let mut descendants = children.remove(&our_pid).unwrap_or_default();
        let mut next = 0;
        while let Some(entry) = descendants.get(next) {
            descendants.extend(children.remove(&entry.pid).unwrap_or_default());
            next += 1;
        }
        Ok(Self {
            ourselves,
            descendants,
            environments: HashMap::new(),
        })
    }

    /// The processes that belong to the child `leader`, itself and zombies included.
    pub(super) fn members(&mut self, leader: i32, marker: &str) -> Vec<Entry> {
        let mut members = Vec::new();
        let mut pids = HashSet::new();
        for entry in &self.descendants {
            let belongs = entry.session == leader
                || entry.group == leader
                || pids.contains(&entry.parent)
                || (!entry.zombie && marked(&mut self.environments, entry.pid, marker));
            if belongs {
                pids.insert(entry.pid);
                members.push(*entry);
            }
        }
        members
    }

    /// Whether there was a process that might have been a member, had its environment been readable. It is not for a
    /// moment during an exec, and for ever when the process has none.
    pub(super) fn in_doubt(&self) -> bool {
        self.environments.values().any(Vec::is_empty)
    }

    /// Zombies that wait for us: our own children, in whatever way they became ours.
    pub(super) fn zombies(&self) -> impl Iterator<Item = i32> {
        self.descendants
            .iter()
            .filter(|entry| entry.zombie && entry.parent == self.ourselves.pid)
            .map(|entry| entry.pid)
    }

    /// Living descendants outside our own session: everything that came from a child, of whichever.
    pub(super) fn strays(&self) -> impl Iterator<Item = i32> {
        self.descendants
            .iter()
            .filter(|entry| !entry.zombie && entry.session != self.ourselves.session)
            .map(|entry| entry.pid)
    }
}

/// `pid (name) state parent group session …`, where the name may contain anything.
fn parse(pid: i32, stat: &[u8]) -> Option<Entry> {
    let end_of_name = memchr::memrchr(b')', stat)?;
    let mut fields = std::str::from_utf8(&stat[end_of_name + 1..])
        .ok()?
        .split_ascii_whitespace();
    let state = fields.next()?;
    let mut number = || fields.next()?.parse().ok();
    Some(Entry {
        pid,
        parent: number()?,
        group: number()?,
        session: number()?,
        zombie: matches!(state, "Z" | "X"),
    })
}

/// Whether the environment that `pid` was started with has the marker. Unreadable counts as no.
fn marked(environments: &mut HashMap<i32, Vec<u8>>, pid: i32, marker: &str) -> bool {
    let environment = environments
        .entry(pid)
        .or_insert_with(|| fs::read(format!("/proc/{pid}/environ")).unwrap_or_default());
    environment.split(|byte| *byte == 0).any(|variable| {
        variable
            .strip_prefix(MARKER.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"="))
            .is_some_and(|value| value == marker.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_brackets_does_not_shift_the_fields() {
        let entry = parse(7, b"7 (a) Z (b c) S 5 6 4 0 -1 4194304").unwrap();
        assert_eq!((entry.parent, entry.group, entry.session), (5, 6, 4));
        assert!(!entry.zombie);
        assert!(parse(7, b"7 (a) Z 5 6 4 0").unwrap().zombie);
        assert!(parse(7, b"7 (a").is_none());
    }

    fn entry(pid: i32, parent: i32, group: i32, session: i32) -> Entry {
        Entry {
            pid,
            parent,
            group,
            session,
            zombie: false,
        }
    }

    #[test]
    fn members_are_found_by_session_group_parent_and_marker() {
        let mut snapshot = Snapshot {
            ourselves: entry(1, 0, 1, 1),
            descendants: vec![
                entry(10, 1, 10, 10),
                entry(20, 1, 20, 20),
                // adopted, with a session of its own: by its marker
                entry(13, 1, 13, 13),
                // adopted, of the marker of the other child
                entry(23, 1, 23, 23),
                // adopted, of the group
                entry(11, 1, 10, 99),
                // a child of the group's member with a session of its own
                entry(12, 11, 12, 12),
            ],
            environments: HashMap::from([
                (10, Vec::new()),
                (20, Vec::new()),
                (13, b"A=B\0MCP_BRIDGED_INSTANCE=x-1\0".to_vec()),
                (23, b"MCP_BRIDGED_INSTANCE=x-12\0".to_vec()),
                (11, Vec::new()),
                (12, Vec::new()),
            ]),
        };
        let mut pids = |leader, marker| -> Vec<i32> {
            let members = snapshot.members(leader, marker);
            members.iter().map(|member| member.pid).collect()
        };
        assert_eq!(pids(10, "x-1"), [10, 13, 11, 12]);
        assert_eq!(pids(20, "x-12"), [20, 23]);
    }
}
