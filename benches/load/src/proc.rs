//! What the kernel says about a process (proc_pid_stat(5), proc_pid_status(5), proc_pid_smaps(5)), and where our own processes run.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Pid, SysconfVar, sysconf};
use serde::Serialize;

use crate::error::{Error, Result};

/// Memory of a process in KiB.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Memory {
    pub(crate) rss_kib: u64,
    /// The most that was resident since the start, or since [`forget_peak`].
    pub(crate) peak_kib: u64,
    /// Resident memory with shared pages divided by their users.
    pub(crate) pss_kib: u64,
}

/// The machine.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
}

/// What the machine says of itself; empty where it says nothing.
pub(crate) fn machine() -> Machine {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = text("/proc/cpuinfo");
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("", |rest| rest.trim_start_matches([' ', '\t', ':']));
    Machine {
        cpu: model.to_owned(),
        cores: info
            .lines()
            .filter(|line| line.starts_with("processor"))
            .count(),
        kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
    }
}

/// User + system time of a process so far, in µs; the kernel counts in steps of 10 ms. Its children don't count.
///
/// # Errors
/// When there is no such process.
pub(crate) fn cpu_micros(pid: u32) -> Result<u64> {
    let stat = read(pid, "stat")?;
    // The command's name stands in parentheses and may hold spaces: fields are counted from behind it.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let mut ticks = fields
        .split_ascii_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<u64>);
    let (Some(Ok(user)), Some(Ok(system))) = (ticks.next(), ticks.next()) else {
        return Err(Error::Protocol(format!(
            "/proc/{pid}/stat has an unknown form"
        )));
    };
    let hertz = sysconf(SysconfVar::CLK_TCK)
        .map_err(Error::os("clock ticks"))?
        .unwrap_or(100);
    Ok((user + system) * 1_000_000 / u64::try_from(hertz).unwrap_or(100))
}

/// Memory of a process now.
///
/// # Errors
/// When there is no such process or it is somebody else's.
pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let text = read(pid, "smaps_rollup")? + &read(pid, "status")?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok())
            .ok_or_else(|| Error::Protocol(format!("/proc/{pid} has no {name}")))
    };
    Ok(Memory {
        rss_kib: field("Rss:")?,
        peak_kib: field("VmHWM:")?,
        pss_kib: field("Pss:")?,
    })
}

/// The peak of a process counts from what it has now on (proc_pid_clear_refs(5)).
///
/// # Errors
/// When there is no such process or it is somebody else's.
pub(crate) fn forget_peak(pid: u32) -> Result<()> {
    let path = format!("/proc/{pid}/clear_refs");
    std::fs::write(&path, "5").map_err(Error::io(path))
}

fn read(pid: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    std::fs::read_to_string(&path).map_err(Error::io(path))
}

/// Runs `work` on `core`, so that what it spawns stays there, then returns to the cores we had.
///
/// # Errors
/// When the core isn't ours; what `work` returns.
pub(crate) fn on_core<T>(core: Option<usize>, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let Some(core) = core else { return work() };
    let before = sched_getaffinity(Pid::from_raw(0)).map_err(Error::os("cpu affinity"))?;
    pin(core)?;
    let done = work();
    sched_setaffinity(Pid::from_raw(0), &before).map_err(Error::os("cpu affinity"))?;
    done
}

/// Keeps this thread on `core`.
///
/// # Errors
/// When the core isn't ours.
pub(crate) fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .map_err(Error::os(format!("cpu {core}")))
}

/// The cores that this process may use.
pub(crate) fn cores() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else {
        return Vec::new();
    };
    (0..CpuSet::count())
        .filter(|&core| set.is_set(core) == Ok(true))
        .collect()
}

/// Allows as many descriptors as the hard limit has.
pub(crate) fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Refused only if the hard limit shrank meanwhile; then opening connections says so.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
