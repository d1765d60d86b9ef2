//! Children: spawn, streams, stop, exit, reaping (SUPERVISION §8; the child parts of §1, §4 and §6).
//!
//! One thread, which lives as long as the process, makes all children: `PR_SET_PDEATHSIG` is bound to the *thread* that
//! forked. A second one (`reaper`) sees every exit and removes what an ended child left behind. Both serve the whole
//! process, so [`Spawner::start`] always hands out the same. A child runs in a session of its own with nothing inherited
//! but three pipes. [`lines`] cuts its stdout into messages, [`StderrTail`] keeps the end of its stderr.

mod birth;
pub mod lines;
mod open_files;
mod reaper;
mod stderr;
mod sys;
mod tree;

use std::ffi::OsString;
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::warn;

pub use lines::{Line, Lines};
pub use open_files::raise_open_files;
pub use stderr::StderrTail;

use crate::config::Redaction;
use crate::metrics::BridgeMetrics;
use birth::Order;
use reaper::{Reaper, Status};

/// How long a stop waits for the death of what got SIGKILL; a process in uninterruptible sleep does not die.
const DEATH: Duration = Duration::from_millis(1500);
/// Spawns that wait for the thread; a further one waits to be queued.
const QUEUE: usize = 64;

/// What to start, and as whom.
#[derive(Clone)]
pub struct Spec {
    /// The bridge's name, for the log.
    pub name: String,
    /// The resolved path of the program; no shell and no search in `PATH` is involved.
    pub program: PathBuf,
    /// Without the program's own name.
    pub args: Vec<OsString>,
    /// The complete environment; nothing else is inherited. Variables of the service manager (`NOTIFY_SOCKET`,
    /// `WATCHDOG_*`, `LISTEN_*`) are removed.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory, ours if none.
    pub cwd: Option<PathBuf>,
    /// A user's name or number; needs the right to change it.
    pub user: Option<String>,
    /// Bytes of address space.
    pub memory: Option<u64>,
    /// Descriptors; without it the soft limit that this process was started with.
    pub open_files: Option<u64>,
    /// −20 to 19, absolute.
    pub nice: Option<i32>,
    /// What is hidden in what is shown of its stderr.
    pub redaction: Redaction,
    /// Where what it writes to stderr is counted.
    pub metrics: Arc<BridgeMetrics>,
}

/// Without arguments and values of the environment: secrets stand there.
impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spec { name, program, .. } = self;
        f.debug_struct("Spec")
            .field("name", name)
            .field("program", program)
            .finish_non_exhaustive()
    }
}

/// Why a child did not start.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The program, or the interpreter that its first line names, does not exist.
    #[error("find {program}", program = .program.display())]
    NotFound { program: PathBuf, source: io::Error },
    /// The program is there but cannot be executed.
    #[error("execute {program}", program = .program.display())]
    NotExecutable { program: PathBuf, source: io::Error },
    /// The working directory cannot be entered.
    #[error("enter {cwd}", cwd = .cwd.display())]
    Directory { cwd: PathBuf, source: io::Error },
    /// The user does not exist, or this process may not become it.
    #[error("become user {user}")]
    User { user: String, source: io::Error },
    /// A limit was refused.
    #[error("set {limit}")]
    Limit {
        limit: &'static str,
        source: io::Error,
    },
    /// The machine has no descriptors, processes or memory to spare: not the child's fault, retry every second.
    #[error("start a process, the machine has no room for it")]
    Exhausted(#[source] io::Error),
    /// Anything else.
    #[error("start a process")]
    Other(#[source] io::Error),
}

impl SpawnError {
    /// Whether the failure counts against the child; otherwise it is to be retried every second.
    pub fn counts(&self) -> bool {
        !matches!(self, Self::Exhausted(_))
    }
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// It exited with this status.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => match Signal::try_from(number) {
                Ok(signal) => write!(f, "signal {number} ({signal})"),
                Err(_) => write!(f, "signal {number}"),
            },
        }
    }
}

/// How much time a stop gives at each step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ladder {
    /// Between the end of stdin and SIGTERM.
    pub stdin_grace: Duration,
    /// Between SIGTERM and SIGKILL.
    pub term_grace: Duration,
}

impl Default for Ladder {
    fn default() -> Self {
        Self {
            stdin_grace: Duration::from_secs(2),
            term_grace: Duration::from_secs(3),
        }
    }
}

/// The handle to the spawning thread and the reaper, of which the process has one each.
#[derive(Debug, Clone)]
pub struct Spawner {
    orders: mpsc::Sender<Order>,
    tracker: TaskTracker,
}

/// The way to the spawning thread. Never dropped, so that the thread, and with it each child, lives as long as the
/// process.
static ORDERS: Mutex<Option<mpsc::Sender<Order>>> = Mutex::new(None);

impl Spawner {
    /// Starts the threads at the first call, with the open files raised ([`raise_open_files`]), this process a subreaper
    /// and a handler for SIGCHLD; later calls share them. Tasks that read a child's stderr run on `tracker`. Needs no
    /// runtime.
    ///
    /// # Errors
    /// When a thread or the handler cannot be made.
    pub fn start(tracker: TaskTracker) -> io::Result<Self> {
        let mut shared = ORDERS.lock().unwrap_or_else(PoisonError::into_inner);
        let orders = match &*shared {
            Some(orders) => orders.clone(),
            None => {
                raise_open_files();
                let (orders, queue) = mpsc::channel(QUEUE);
                birth::start_thread(Reaper::start()?, queue)?;
                shared.insert(orders).clone()
            }
        };
        Ok(Self { orders, tracker })
    }

    /// Starts a child. Needs a runtime with I/O.
    ///
    /// # Errors
    /// See [`SpawnError`].
    ///
    /// # Cancel safety
    /// A child whose spawn was dropped is killed.
    pub async fn spawn(&self, spec: Spec) -> Result<Child, SpawnError> {
        let (name, redaction) = (spec.name.clone(), spec.redaction.clone());
        let metrics = spec.metrics.clone();
        let born = birth::order(&self.orders, spec).await?;
        let stdin = pipe::Sender::from_owned_fd(born.stdin).map_err(SpawnError::from_io)?;
        let stdout = pipe::Receiver::from_owned_fd(born.stdout).map_err(SpawnError::from_io)?;
        let stderr = pipe::Receiver::from_owned_fd(born.stderr).map_err(SpawnError::from_io)?;
        let pid = born.process.pid();
        let stderr = StderrTail::start(stderr, name, redaction, pid, metrics, &self.tracker);
        Ok(Child {
            stdin: Some(stdin),
            stdout,
            stderr,
            process: born.process,
        })
    }

    /// Kills every process that any child left behind, however well it hid. For the very end, when no child is needed
    /// any more. Blocks for some milliseconds.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn kill_strays(&self) -> io::Result<()> {
        reaper::kill_strays()
    }
}

/// A running child with its streams. The parts may be moved out and used apart; when the last [`Process`] handle is
/// dropped, the child and everything it started are killed.
#[derive(Debug)]
pub struct Child {
    /// Dropping it is the polite request to end.
    pub stdin: Option<pipe::Sender>,
    /// To be read by [`Lines`].
    pub stdout: pipe::Receiver,
    /// The end of what it wrote to stderr; draining goes on until this is dropped.
    pub stderr: StderrTail,
    /// The process itself.
    pub process: Process,
}

impl Child {
    /// The process id, which is also its group and its session.
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// See [`Process::exited`].
    pub fn exited(&self) -> impl Future<Output = Exit> + Send + use<> {
        self.process.exited()
    }

    /// See [`Process::kill_now`].
    pub fn kill_now(&self) {
        self.process.kill_now();
    }

    /// Closes stdin and goes down the ladder of [`Process::stop`]. What still comes on stdout is discarded, so that a
    /// child cannot block on it.
    ///
    /// # Cancel safety
    /// As for [`Process::stop`].
    pub async fn stop(&mut self, ladder: Ladder) -> Exit {
        drop(self.stdin.take());
        let stdout = &mut self.stdout;
        let discard = async {
            let mut buffer = [0; 4096];
            while stdout.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
            std::future::pending::<()>().await;
        };
        tokio::select! {
            exit = self.process.stop(ladder) => exit,
            () = discard => unreachable!("it never ends"),
        }
    }
}

/// Whether a child has read everything that was written to its stdin, also when it has ended since.
pub fn has_read_all(stdin: &pipe::Sender) -> bool {
    sys::unread(stdin.as_fd()).is_ok_and(|count| count == 0)
}

/// The handle to a child's process, apart from its streams. Dropping the last clone kills.
#[derive(Debug, Clone)]
pub struct Process(Arc<Life>);

#[derive(Debug)]
struct Life {
    pid: i32,
    status: watch::Receiver<Status>,
    reaper: Arc<Reaper>,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.reaper.doom(self.pid);
    }
}

impl Process {
    /// The process id, which is also its group and its session.
    pub fn pid(&self) -> i32 {
        self.0.pid
    }

    /// Waits for the exit of the process, whatever holds its streams open. What it leaves behind is killed without being
    /// asked for. May be called at any time and often; holds nothing alive.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub fn exited(&self) -> impl Future<Output = Exit> + Send + use<> {
        let status = self.0.status.clone();
        wait_for(status, |status| match *status {
            Status::Running => None,
            Status::Ended(exit) | Status::Gone(exit) => Some(exit),
        })
    }

    /// Waits until the process is reaped and nothing of its session and its descendants is left.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub fn gone(&self) -> impl Future<Output = Exit> + Send + use<> {
        let status = self.0.status.clone();
        wait_for(status, |status| match *status {
            Status::Gone(exit) => Some(exit),
            Status::Running | Status::Ended(_) => None,
        })
    }

    /// SIGKILL to the group at once, and to everything else that belongs to the child as soon as it is found.
    pub fn kill_now(&self) {
        self.0.reaper.doom(self.0.pid);
    }

    /// The stop ladder (SUPERVISION §6.4) for a child whose stdin the caller has closed: a grace, SIGTERM and SIGCONT to
    /// the group, a grace, SIGKILL to everything, and the wait until all is reaped. Somebody should keep reading stdout
    /// meanwhile. Takes at most both graces and 1.5 s; after that the kill is assumed to succeed some day.
    ///
    /// # Cancel safety
    /// Dropped, it stops where it is; called again, it starts from the top.
    pub async fn stop(&self, ladder: Ladder) -> Exit {
        if timeout(ladder.stdin_grace, self.exited()).await.is_err() {
            // SIGCONT, because a stopped process does not see a SIGTERM.
            let signals = [Signal::SIGTERM, Signal::SIGCONT];
            self.0.reaper.signal(self.0.pid, &signals);
            if timeout(ladder.term_grace, self.exited()).await.is_err() {
                self.kill_now();
            }
        }
        match timeout(DEATH, self.gone()).await {
            Ok(exit) => exit,
            Err(_) => {
                warn!(pid = self.0.pid, "a killed server does not end");
                Exit::Signal(libc::SIGKILL)
            }
        }
    }
}

/// Waits until `pick` finds its answer. The sender lives in the registry until the child is gone.
async fn wait_for(
    mut status: watch::Receiver<Status>,
    pick: impl Fn(&Status) -> Option<Exit>,
) -> Exit {
    loop {
        if let Some(exit) = pick(&status.borrow_and_update()) {
            return exit;
        }
        if status.changed().await.is_err() {
            // The last thing sent is Gone, which everybody is content with; this is not reached.
            return pick(&status.borrow()).unwrap_or(Exit::Signal(libc::SIGKILL));
        }
    }
}

#[cfg(test)]
mod tests;
