//! The thread that makes all children, and how a [`Spec`] becomes a process.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::sync::Arc;

use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd::{Uid, User};
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use super::reaper::Reaper;
use super::sys::{self, Credentials, Plan, Step};
use super::tree::MARKER;
use super::{Life, Process, SpawnError, Spec, open_files};

/// What the kernel is asked to hold per stream, four times its default: a large answer in fewer turns.
const PIPE_SIZE: i32 = 256 * 1024;
/// A child is to be killed before its supervisor when memory is short.
const OOM_SCORE: i32 = 200;
/// What a service manager says to us and to nobody else.
const NOT_FOR_CHILDREN: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
];

/// A request to the spawning thread.
#[derive(Debug)]
pub(super) struct Order {
    spec: Spec,
    reply: oneshot::Sender<Result<Born, SpawnError>>,
}

/// A child and our ends of its streams. Dropping it kills the child.
#[derive(Debug)]
pub(super) struct Born {
    pub(super) process: Process,
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// Has the spawning thread start `spec`.
pub(super) async fn order(orders: &mpsc::Sender<Order>, spec: Spec) -> Result<Born, SpawnError> {
    let ended = || SpawnError::Other(io::Error::other("the spawning thread failed"));
    let (reply, answer) = oneshot::channel();
    let order = Order { spec, reply };
    orders.send(order).await.map_err(|_| ended())?;
    answer.await.map_err(|_| ended())?
}

/// Starts the spawning thread, which ends when all senders of `queue` are dropped.
pub(super) fn start_thread(
    reaper: Arc<Reaper>,
    mut queue: mpsc::Receiver<Order>,
) -> io::Result<()> {
    let nonce = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
    std::thread::Builder::new()
        .name("spawn".into())
        .spawn(move || {
            let mut instance = 0u64;
            while let Some(order) = queue.blocking_recv() {
                if order.reply.is_closed() {
                    continue;
                }
                instance += 1;
                let marker = format!("{nonce:016x}-{instance}");
                // The end of this thread would kill every child.
                let born = catch_unwind(AssertUnwindSafe(|| {
                    give_birth(&reaper, &order.spec, marker)
                }));
                match born {
                    // Nobody waits any more: the child is dropped, which kills it.
                    Ok(born) => drop(order.reply.send(born)),
                    Err(_) => error!(bridge = order.spec.name, "spawning panicked"),
                }
            }
        })?;
    Ok(())
}

fn give_birth(reaper: &Arc<Reaper>, spec: &Spec, marker: String) -> Result<Born, SpawnError> {
    let (their_stdin, stdin) = pipe()?;
    let (stdout, their_stdout) = pipe()?;
    let (stderr, their_stderr) = pipe()?;
    for pipe in [&stdin, &stdout] {
        // Refused when the user's pipes take too much already; the default size serves as well.
        let _ = fcntl(pipe.as_fd(), FcntlArg::F_SETPIPE_SZ(PIPE_SIZE));
    }
    let mut command = Command::new(&spec.program);
    command
        .args(&spec.args)
        .env_clear()
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .env(MARKER, &marker)
        .stdin(Stdio::from(their_stdin))
        .stdout(Stdio::from(their_stdout))
        .stderr(Stdio::from(their_stderr));
    for name in NOT_FOR_CHILDREN {
        command.env_remove(name);
    }
    if let Some(cwd) = &spec.cwd {
        command.current_dir(cwd);
    }
    sys::prepare(&mut command, plan(spec)?);

    // The standard library's handle is not kept: it waits for nothing and kills nothing when dropped.
    let fork = || command.spawn().map(|child| child.id().cast_signed());
    let (pid, status) = reaper
        .admit(marker, fork)
        .map_err(|error| diagnose(error, spec))?;
    Ok(Born {
        process: Process(Arc::new(Life {
            pid,
            status,
            reaper: Arc::clone(reaper),
        })),
        stdin,
        stdout,
        stderr,
    })
}

/// A pipe's read end and write end, closed on exec.
fn pipe() -> Result<(OwnedFd, OwnedFd), SpawnError> {
    let (reader, writer) = io::pipe().map_err(SpawnError::from_io)?;
    Ok((reader.into(), writer.into()))
}

fn plan(spec: &Spec) -> Result<Plan, SpawnError> {
    let (soft, hard) = open_files::original();
    let user = match &spec.user {
        Some(user) => credentials(user).map_err(|source| SpawnError::User {
            user: user.clone(),
            source,
        })?,
        None => None,
    };
    Ok(Plan {
        parent: std::process::id().cast_signed(),
        memory: spec.memory,
        open_files: Some(match spec.open_files {
            Some(limit) => (limit, limit),
            None => (soft, hard),
        }),
        nice: spec.nice,
        oom_score: oom_score().to_string().into_bytes(),
        user,
    })
}

/// Ours, made worse.
fn oom_score() -> i32 {
    let ours = std::fs::read_to_string("/proc/self/oom_score_adj")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0);
    (OOM_SCORE + ours).min(1000)
}

/// The user by name or number; none if that is who we are.
fn credentials(user: &str) -> io::Result<Option<Credentials>> {
    let found = match user.parse() {
        Ok(number) => User::from_uid(Uid::from_raw(number))?,
        Err(_) => User::from_name(user)?,
    };
    let Some(found) = found else {
        return Err(io::Error::new(io::ErrorKind::NotFound, "no such user"));
    };
    if found.uid == Uid::effective() {
        return Ok(None);
    }
    Ok(Some(Credentials {
        uid: found.uid,
        gid: found.gid,
        groups: sys::groups_of(&found.name, found.gid)?,
    }))
}

/// Says whose fault a failed spawn is.
fn diagnose(error: io::Error, spec: &Spec) -> SpawnError {
    let (step, source) = Step::of(error);
    let limit = |limit, source| SpawnError::Limit { limit, source };
    match step {
        Some(Step::User) => {
            return SpawnError::User {
                user: spec.user.clone().unwrap_or_default(),
                source,
            };
        }
        Some(Step::Memory) => return limit("the memory limit", source),
        Some(Step::OpenFiles) => return limit("the limit of open files", source),
        Some(Step::Nice) => return limit("the niceness", source),
        Some(Step::Session | Step::Parent) => return SpawnError::Other(source),
        None => {}
    }
    // Under a memory limit, exec itself may not find room: the limit is too small, not the machine.
    if source.raw_os_error() == Some(libc::ENOMEM) && spec.memory.is_some() {
        return limit("so small a memory limit", source);
    }
    if is_exhaustion(&source) {
        return SpawnError::Exhausted(source);
    }
    if let Some(cwd) = &spec.cwd
        && let Err(source) = std::fs::metadata(cwd.join("."))
    {
        let cwd = cwd.clone();
        return SpawnError::Directory { cwd, source };
    }
    let program = spec.program.clone();
    match source.raw_os_error() {
        Some(libc::ENOENT) => SpawnError::NotFound { program, source },
        Some(
            libc::EACCES
            | libc::ENOEXEC
            | libc::ENOTDIR
            | libc::EISDIR
            | libc::ELOOP
            | libc::EPERM
            | libc::ETXTBSY
            | libc::E2BIG
            | libc::ENAMETOOLONG
            | libc::EINVAL,
        ) => SpawnError::NotExecutable { program, source },
        _ => SpawnError::Other(source),
    }
}

fn is_exhaustion(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::EAGAIN | libc::ENOMEM)
    )
}

impl SpawnError {
    /// An error of making pipes or of registering them.
    pub(super) fn from_io(error: io::Error) -> Self {
        if is_exhaustion(&error) {
            Self::Exhausted(error)
        } else {
            Self::Other(error)
        }
    }
}
