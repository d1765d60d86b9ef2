//! Processes: the ones the server starts (and their stubbornness), and what it knows about itself.

use std::fs;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{getgid, getpgrp, getsid, getuid, setsid};
use serde_json::{Value, json};

use crate::Flags;
use crate::output::journal;

/// A leaked process must not live for ever on a developer's machine.
const LIFETIME: Duration = Duration::from_secs(600);

/// What a further process of this program is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    /// Stays in the server's process group.
    Group,
    /// Leads a session of its own.
    Setsid,
    /// Leads a session of its own; its parent is gone.
    Daemon,
}

/// Starts what the flags ask for.
pub(crate) fn start(flags: &Flags) {
    let wanted = [
        (flags.grandchild, Role::Group),
        (flags.grandchild_setsid, Role::Setsid),
        (flags.daemon, Role::Daemon),
    ];
    for (_, role) in wanted.into_iter().filter(|(wanted, _)| *wanted) {
        spawn(role, flags);
    }
}

/// Starts one further process. It tells its pid in the journal, as soon as it is deaf.
#[expect(clippy::zombie_processes, reason = "it outlives this process")]
pub(crate) fn spawn(role: Role, flags: &Flags) {
    let mut command = again(role, flags);
    let mut child = command.spawn().expect("this program can be started again");
    if role == Role::Daemon {
        child.wait().expect("the middle process exits");
    }
}

/// The life of a further process: deaf to polite signals.
#[expect(clippy::zombie_processes, reason = "a daemon outlives its parent")]
pub(crate) fn play(role: Role, flags: &Flags) -> ExitCode {
    if role != Role::Group {
        setsid().expect("a new process leads no group");
    }
    if role == Role::Daemon {
        let mut command = again(Role::Group, flags);
        command.spawn().expect("this program can be started again");
        return ExitCode::SUCCESS;
    }
    deafen();
    if let Some(path) = &flags.journal {
        let event = json!({"event": "grandchild", "pid": std::process::id(), "session": session()});
        journal(path, &event);
    }
    std::thread::sleep(LIFETIME);
    ExitCode::SUCCESS
}

/// Ignores the polite signals from now on.
pub(crate) fn deafen() {
    for signal in [
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGHUP,
    ] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))
            .expect("these signals can be caught");
    }
}

/// Waits for longer than any test.
pub(crate) fn linger() {
    std::thread::sleep(LIFETIME);
}

/// Everything a test may want to know about how this process was started.
pub(crate) fn info() -> Value {
    let fds: Vec<_> = fs::read_dir("/proc/self/fd")
        .expect("procfs is there")
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let target = fs::read_link(entry.path()).ok()?;
            let target = target.to_string_lossy().into_owned();
            // the descriptor of this very listing
            (!target.ends_with("/fd")).then(|| {
                let number = entry.file_name().to_string_lossy().into_owned();
                json!({"fd": number.parse::<u32>().ok(), "target": target})
            })
        })
        .collect();
    let env: serde_json::Map<String, Value> = std::env::vars_os()
        .map(|(name, value)| {
            let name = name.to_string_lossy().into_owned();
            (name, Value::from(value.to_string_lossy().into_owned()))
        })
        .collect();
    let status = fs::read_to_string("/proc/self/status").expect("procfs is there");
    let masks: serde_json::Map<String, Value> = status
        .lines()
        .filter_map(|line| line.split_once(":\t"))
        .filter(|(name, _)| name.starts_with("Sig"))
        .map(|(name, mask)| (name.to_owned(), Value::from(mask)))
        .collect();
    let nofile = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit can be read");
    let memory = getrlimit(Resource::RLIMIT_AS).expect("the limit can be read");
    let stat = fs::read_to_string("/proc/self/stat").expect("procfs is there");
    // fields after the parenthesised name; nice is the 19th of all
    let nice = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().nth(16));
    json!({
        "pid": std::process::id(),
        "ppid": std::os::unix::process::parent_id(),
        "group": getpgrp().as_raw(),
        "session": session(),
        "uid": getuid().as_raw(),
        "gid": getgid().as_raw(),
        "cwd": std::env::current_dir().ok(),
        "args": std::env::args().collect::<Vec<_>>(),
        "env": env,
        "fds": fds,
        "signals": masks,
        "open_files": {"soft": nofile.0, "hard": nofile.1},
        "memory": {"soft": memory.0, "hard": memory.1},
        "nice": nice.and_then(|nice| nice.parse::<i32>().ok()),
        "oom_score_adj": fs::read_to_string("/proc/self/oom_score_adj").ok().map(|text| text.trim().to_owned()),
        "parent_death_signal": nix::sys::prctl::get_pdeathsig().ok().flatten().map(|signal| signal.as_str()),
    })
}

fn session() -> Option<i32> {
    getsid(None).ok().map(nix::unistd::Pid::as_raw)
}

fn again(role: Role, flags: &Flags) -> Command {
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new(program);
    let role = match role {
        Role::Group => "group",
        Role::Setsid => "setsid",
        Role::Daemon => "daemon",
    };
    command.args(["--role", role]).stdin(Stdio::null());
    if let Some(journal) = &flags.journal {
        command.args(["--journal", journal]);
    }
    if flags.quiet_grandchildren {
        command.arg("--quiet-grandchildren");
        command.stdout(Stdio::null()).stderr(Stdio::null());
    }
    command
}
