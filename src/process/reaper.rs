//! Who has ended: one thread that sees every exit, kills what the dead left behind and reaps.
//!
//! SIGCHLD and requests of others wake the thread through a socket pair. Each round asks for the children of the
//! registry by pid, without reaping. When one has ended its exit is published at once; then its remaining processes are
//! found and killed, and only when none is left (or after [`PATIENCE`]) the leader itself is reaped, so that its pid,
//! which names the session, is not reused while it is searched for. Then it is *gone*.
//!
//! **The rule for everyone else in this process**: a zombie that is not in the registry is reaped when it is outside our
//! session, which is what adopted daemons are (each child starts a session of its own), or when we are PID 1. A plain
//! `std::process` or `tokio::process` child inherits our session and is left to whoever started it.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getsid};
use signal_hook::consts::SIGCHLD;
use tokio::sync::watch;
use tracing::{error, warn};

use super::Exit;
use super::sys;
use super::tree::Snapshot;

/// How long the processes of a dead child may take to die of SIGKILL before they are left alone.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long to go on looking when a process was in the middle of an exec, which hides its environment.
const DOUBT: Duration = Duration::from_millis(50);
/// How often to look while something is dying: the end of a process that is not (yet) our own child raises no signal.
const TICK: Duration = Duration::from_millis(10);
/// How often one round looks for processes that were forked while it killed.
const SWEEPS: usize = 32;

/// What is known of a child.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Status {
    Running,
    /// The leader has ended; what it left behind is being killed.
    Ended(Exit),
    /// Nothing is left and the leader is reaped.
    Gone(Exit),
}

#[derive(Debug)]
struct Entry {
    marker: String,
    status: watch::Sender<Status>,
    /// Set when everything of this child is to be killed: until when to look for it.
    doomed_until: Option<Instant>,
}

/// The registry of living children. Its thread lives as long as the process.
#[derive(Debug)]
pub(super) struct Reaper {
    registry: Mutex<HashMap<i32, Entry>>,
    /// Held from before a fork until the pid is in the registry: meanwhile an unknown zombie may be that child.
    spawning: Mutex<()>,
    waker: UnixStream,
}

impl Reaper {
    /// Makes this process a subreaper, installs the SIGCHLD handler and starts the thread.
    pub(super) fn start() -> io::Result<Arc<Self>> {
        nix::sys::prctl::set_child_subreaper(true)?;
        let (waker, mut wakes) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(SIGCHLD, waker.try_clone()?)?;
        let reaper = Arc::new(Self {
            registry: Mutex::new(HashMap::new()),
            spawning: Mutex::new(()),
            waker,
        });
        let served = Arc::clone(&reaper);
        std::thread::Builder::new()
            .name("reaper".into())
            .spawn(move || {
                let mut found = HashSet::new();
                loop {
                    let round = catch_unwind(AssertUnwindSafe(|| served.round(&mut found)));
                    let wait = round.unwrap_or_else(|_| {
                        error!("the reaper panicked, going on");
                        Some(PATIENCE)
                    });
                    sleep(&mut wakes, wait);
                }
            })?;
        Ok(reaper)
    }

    /// Forks by `fork` and registers the pid that it returns.
    pub(super) fn admit<E>(
        &self,
        marker: String,
        fork: impl FnOnce() -> Result<i32, E>,
    ) -> Result<(i32, watch::Receiver<Status>), E> {
        let spawning = lock(&self.spawning);
        let admitted = fork().map(|pid| {
            let (status, receiver) = watch::channel(Status::Running);
            let entry = Entry {
                marker,
                status,
                doomed_until: None,
            };
            lock(&self.registry).insert(pid, entry);
            (pid, receiver)
        });
        drop(spawning);
        // Its SIGCHLD may have come before it was registered.
        self.wake();
        admitted
    }

    /// Sends signals to the process group of `pid`, unless it is reaped already.
    pub(super) fn signal(&self, pid: i32, signals: &[Signal]) {
        let registry = lock(&self.registry);
        if registry.contains_key(&pid) {
            for signal in signals {
                // ESRCH: ended meanwhile.
                let _ = killpg(Pid::from_raw(pid), *signal);
            }
        }
    }

    /// Kills the group of `pid` now and everything else that belongs to it as soon as the thread has found it.
    pub(super) fn doom(&self, pid: i32) {
        let mut registry = lock(&self.registry);
        if let Some(entry) = registry.get_mut(&pid) {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
            entry.doomed_until = Some(Instant::now() + PATIENCE);
            drop(registry);
            self.wake();
        }
    }

    fn wake(&self) {
        // A full socket has woken the thread already.
        let _ = (&self.waker).write(&[0]);
    }

    /// Looks once at everything; returns in how much time to look again without being woken. `found` are the members of
    /// dying children, kept until nothing is dying.
    fn round(&self, found: &mut HashSet<i32>) -> Option<Duration> {
        let dying = self.publish_exits();
        let stray_zombie =
            sys::any_zombie().is_some_and(|pid| !lock(&self.registry).contains_key(&pid));
        if dying.is_empty() && !stray_zombie {
            // A known zombie may hide strays behind it, but then it is among the dying.
            found.clear();
            return None;
        }
        let look = self.sweep(&dying, found).unwrap_or_else(|error| {
            warn!(%error, "failed to read /proc, descendants outside a process group are not found");
            Look::default()
        });
        let pending_strays = self.reap_strays(found);
        let waiting = self.finish(&dying, &look);
        (waiting || pending_strays).then_some(TICK)
    }

    /// Publishes new exits. Returns the children that are to be killed, with their markers.
    fn publish_exits(&self) -> Vec<(i32, String)> {
        let now = Instant::now();
        let mut dying = Vec::new();
        for (&pid, entry) in lock(&self.registry).iter_mut() {
            let running = *entry.status.borrow() == Status::Running;
            if running && let Some(exit) = sys::ended(pid) {
                entry.status.send_replace(Status::Ended(exit));
                let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
                entry.doomed_until = Some(now + PATIENCE);
            }
            let still_running = *entry.status.borrow() == Status::Running;
            // One that is doomed and cannot die is looked at again when it does.
            if entry
                .doomed_until
                .is_some_and(|until| !still_running || now < until)
            {
                dying.push((pid, entry.marker.clone()));
            }
        }
        dying
    }

    /// Kills the members of `dying` until a look finds no new one. Returns that look.
    fn sweep(&self, dying: &[(i32, String)], found: &mut HashSet<i32>) -> io::Result<Look> {
        let mut look = Look::default();
        for _ in 0..SWEEPS {
            let mut snapshot = Snapshot::take()?;
            let before = found.len();
            look.survivors.clear();
            for (leader, marker) in dying {
                for member in snapshot.members(*leader, marker) {
                    if !member.zombie {
                        // Pids are given out in turn: this one lived a moment ago and is not another process's yet.
                        let _ = kill(Pid::from_raw(member.pid), Signal::SIGKILL);
                        look.survivors.insert(*leader);
                    }
                    found.insert(member.pid);
                }
            }
            look.in_doubt = snapshot.in_doubt();
            if found.len() == before {
                break;
            }
        }
        Ok(look)
    }

    /// Reaps what was adopted. Returns whether something has to wait for the end of a spawn.
    fn reap_strays(&self, found: &mut HashSet<i32>) -> bool {
        let zombies: Vec<i32> = match Snapshot::take() {
            Ok(snapshot) => snapshot.zombies().collect(),
            Err(_) => sys::any_zombie().into_iter().collect(),
        };
        // The lock comes after the look: a pid that was seen, and is not in the registry although nothing is being
        // spawned, is nobody's. A member of a dying child is not the one that is being spawned either.
        let no_spawn = self.spawning.try_lock();
        let registry = lock(&self.registry);
        let mut pending = false;
        for pid in zombies {
            if registry.contains_key(&pid) || !is_ours(pid) {
                continue;
            }
            if found.remove(&pid) || no_spawn.is_ok() {
                sys::reap(pid);
            } else {
                pending = true;
            }
        }
        pending
    }

    /// Reaps the leaders that left nothing, or whose time is over. Returns whether others are waited for.
    fn finish(&self, dying: &[(i32, String)], look: &Look) -> bool {
        let now = Instant::now();
        let mut waiting = false;
        let mut registry = lock(&self.registry);
        for (pid, _) in dying {
            let Some(entry) = registry.get(pid) else {
                continue;
            };
            let status = *entry.status.borrow();
            let left = entry
                .doomed_until
                .map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
            let alive = look.survivors.contains(pid);
            let in_doubt = look.in_doubt && left > PATIENCE - DOUBT;
            match status {
                Status::Ended(exit) if left.is_zero() || !(alive || in_doubt) => {
                    if alive {
                        warn!(pid, "processes of an ended server cannot be killed");
                    }
                    sys::reap(*pid);
                    if let Some(entry) = registry.remove(pid) {
                        entry.status.send_replace(Status::Gone(exit));
                    }
                }
                _ => waiting = true,
            }
        }
        waiting
    }
}

/// What one look at `/proc` showed.
#[derive(Debug, Default)]
struct Look {
    /// The leaders of which something was alive.
    survivors: HashSet<i32>,
    in_doubt: bool,
}

/// Kills everything that any child ever left, also what belongs to no child any more.
pub(super) fn kill_strays() -> io::Result<()> {
    let mut killed = HashSet::new();
    for _ in 0..SWEEPS {
        let before = killed.len();
        for pid in Snapshot::take()?.strays() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            killed.insert(pid);
        }
        if killed.len() == before {
            break;
        }
    }
    Ok(())
}

/// Whether an unknown zombie is ours to reap; see the rule above.
fn is_ours(pid: i32) -> bool {
    std::process::id() == 1 || getsid(Some(Pid::from_raw(pid))) != getsid(None)
}

/// Waits until woken, or at most `limit`.
fn sleep(wakes: &mut UnixStream, limit: Option<Duration>) {
    let _ = wakes.set_read_timeout(limit);
    let mut bytes = [0; 64];
    // A timeout or an interruption is as good as a wake: a round more does no harm.
    let _ = wakes.read(&mut bytes);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No section under these locks leaves anything half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
