//! What procfs says about processes.

use std::collections::HashSet;
use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::until;

/// One process at one moment. The pid and the start time together are never reused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) name: String,
    /// `R`, `S`, `T` (stopped), `Z` (zombie) and so on.
    pub(crate) state: char,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    pub(crate) session: i32,
    /// In clock ticks after boot.
    pub(crate) started: u64,
}

impl Process {
    /// The process with this pid; `None` if there is none.
    pub(crate) fn find(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (head, rest) = stat.rsplit_once(')')?;
        let fields: Vec<_> = rest.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<i32>().ok();
        Some(Self {
            pid,
            name: head.split_once('(')?.1.to_owned(),
            state: fields.first()?.chars().next()?,
            parent: number(1)?,
            group: number(2)?,
            session: number(3)?,
            started: fields.get(19)?.parse().ok()?,
        })
    }

    /// Whether this very process still exists, be it as a zombie.
    pub(crate) fn exists(&self) -> bool {
        Self::find(self.pid).is_some_and(|now| now.started == self.started)
    }

    /// Sends SIGKILL if this very process still exists.
    pub(crate) fn kill(&self) {
        if self.exists() {
            // it may end by itself in this moment
            kill(Pid::from_raw(self.pid), Signal::SIGKILL).ok();
        }
    }

    /// Waits until it is gone, reaped included; an orphan's corpse is the business of pid 1, which may take its time.
    pub(crate) async fn gone(&self) {
        until(format!("the end of {self:?}"), async || {
            let now = Self::find(self.pid).filter(|now| now.started == self.started);
            let left = now.filter(|now| now.state != 'Z' || now.parent != 1);
            left.is_none().then_some(())
        })
        .await;
    }
}

/// Every process that can be seen.
pub(crate) fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").unwrap();
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Process::find)
        .collect()
}

pub(crate) fn children(pid: i32) -> Vec<Process> {
    let mut children = all();
    children.retain(|process| process.parent == pid);
    children
}

/// Children, their children, and so on.
pub(crate) fn descendants(pid: i32) -> Vec<Process> {
    let all = all();
    let mut known = HashSet::from([pid]);
    let mut found = Vec::new();
    loop {
        let before = found.len();
        for process in &all {
            if known.contains(&process.parent) && known.insert(process.pid) {
                found.push(process.clone());
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// The number of open descriptors.
pub(crate) fn open_files(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Resident memory in bytes.
pub(crate) fn resident(pid: i32) -> u64 {
    status(pid, "VmRSS") * 1024
}

/// The most resident memory so far, in bytes.
pub(crate) fn peak_resident(pid: i32) -> u64 {
    status(pid, "VmHWM") * 1024
}

pub(crate) fn threads(pid: i32) -> u64 {
    status(pid, "Threads")
}

fn status(pid: i32, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let value = line.unwrap().trim_start_matches(':').trim();
    value.split(' ').next().unwrap().parse().unwrap()
}
