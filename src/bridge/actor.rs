//! The task that owns one instance: its process over all generations, its multiplexer, and what waits for it.
//!
//! [`Actor::run`] waits for one event at a time and handles it without waiting; after each it settles: what the server is
//! to read goes to its pipe as far as that takes it, what clients are to get goes to their mailboxes. A shared instance
//! lives as long as its bridge and starts its server anew after a failure (SUPERVISION §1); a dedicated one belongs to
//! one session and ends with it, or with its server.

mod admission;
mod generation;
mod halt;
mod opening;
mod output;
mod report;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::coop::consume_budget;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error};

use super::handshake::{Handshake, Hello};
use super::instance::{Command, Facts, Halt, Orders, Queued};
use super::mailbox::Mailbox;
use super::mux::{Mux, Output, Service, SessionKey, Waiting};
use super::pool::{Pool, Slot};
use super::start_gate::StartPermit;
use super::state::{Phase, Status};
use crate::backoff::Backoff;
use crate::config::{self, Secret};
use crate::mcp::Era;
use crate::metrics::{Dropped, Gauge, StateLabel};
use crate::process::{Child, Exit, Process, SpawnError};
use generation::Generation;
use opening::Probing;

/// Bytes of one read after which other tasks get their turn.
const FLOOD: usize = 16 * 1024;
/// Commands taken from the channel in one go.
const BATCH: usize = 128;
/// A repeated request is given up when no generation is ready by then.
const REPEAT_WITHIN: Duration = Duration::from_secs(5);
/// Sleeping until then is sleeping for ever.
const FAR: Duration = Duration::from_secs(86_400);

/// What an instance is for.
#[derive(Debug)]
pub(crate) enum Role {
    /// All sessions that need no instance of their own.
    Shared {
        /// To be told when the first spare may be made.
        pool: Arc<Pool>,
    },
    /// One session, from the warm spare that it was before.
    Dedicated {
        /// Its place among those that `max_instances` allows, held until it has ended.
        _slot: Slot,
        /// What its server gets beside the variables of all.
        env: Vec<(OsString, Secret)>,
        /// With it, it is not one session's but serves those that its pool sends, and is initialised by the bridge.
        hello: Option<Box<Hello>>,
        /// The era of the bridge's other servers.
        known: Option<Era>,
    },
}

/// Everything an instance's task is made of.
#[derive(Debug)]
pub(crate) struct Actor {
    role: Role,
    site: Arc<super::Site>,
    settings: Arc<config::Bridge>,
    orders: watch::Receiver<Orders>,
    restarts_seen: u64,
    queued: Arc<Queued>,
    status: watch::Sender<Status>,
    mux: Mux<Arc<Mailbox>>,
    out: Output<Arc<Mailbox>>,
    facts: HashMap<SessionKey, Arc<Facts>, foldhash::fast::RandomState>,
    waiting: VecDeque<Waiter>,
    handshake: Option<Handshake>,
    probing: Probing,
    backoff: Backoff,
    life: Life,
    draining: Option<Instant>,
    /// A drain ends with a new start.
    then_start: bool,
    /// All handles are gone: no command comes any more.
    deaf: bool,
    /// The bridge is gone: no order comes any more.
    abandoned: bool,
}

/// A request that waits for the server to be ready.
#[derive(Debug)]
struct Waiter {
    request: Waiting<Arc<Mailbox>>,
    since: Instant,
    /// It is refused then.
    until: Instant,
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What there is of the server's process.
enum Life {
    /// None; the next start is due then, or never.
    Down(Option<Instant>),
    /// It is being made, or waits for its turn.
    Spawning(Boxed<(Result<Child, SpawnError>, StartPermit)>),
    /// It runs.
    Up(Box<Generation>),
    /// It is being ended; the handle is for those who can't wait.
    Stopping(Boxed<Exit>, Process),
    /// None, and none will be.
    Over,
}

impl std::fmt::Debug for Life {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Life::Down(_) => "Down",
            Life::Spawning(_) => "Spawning",
            Life::Up(_) => "Up",
            Life::Stopping(..) => "Stopping",
            Life::Over => "Over",
        })
    }
}

/// What can happen.
enum Event {
    Commands,
    CommandsEnded,
    Orders,
    Abandoned,
    Spawned(Result<Child, SpawnError>, StartPermit),
    Stopped(Exit),
    Exited(Exit),
    StderrEnded,
    /// So many bytes of the server's output, or why there are none.
    Read(io::Result<usize>),
    Writable,
    Timer,
}

impl Actor {
    /// An instance that is not running yet.
    pub(crate) fn new(
        role: Role,
        site: Arc<super::Site>,
        mut orders: watch::Receiver<Orders>,
        queued: Arc<Queued>,
        status: watch::Sender<Status>,
    ) -> Actor {
        let Orders {
            settings, restarts, ..
        } = orders.borrow_and_update().clone();
        let service = match role {
            Role::Dedicated { .. } => Service::Dedicated,
            Role::Shared { .. } => Service::Shared {
                asks: settings.isolation == config::Isolation::Shared,
            },
        };
        Actor {
            role,
            mux: Mux::new(service, settings.clone(), site.metrics.clone()),
            settings,
            orders,
            restarts_seen: restarts,
            queued,
            status,
            out: Output::default(),
            facts: HashMap::default(),
            waiting: VecDeque::new(),
            handshake: None,
            probing: Probing::Unknown,
            backoff: Backoff::new(site.jitter.clone()),
            life: Life::Down(None),
            draining: None,
            then_start: false,
            deaf: false,
            abandoned: false,
            site,
        }
    }

    /// Lives until there is nothing left to do: the bridge stops, or a dedicated instance's session or server ends.
    /// `batch` holds what was taken from the channel and is still to be handled, the oldest last.
    async fn run(&mut self, commands: &mut mpsc::Receiver<Command>, batch: &mut Vec<Command>) {
        self.site
            .metrics
            .instance_state(None, Some(label(self.status.borrow().phase)));
        let halted = self.orders.borrow().halt != Halt::No;
        match self.life {
            // The order was given before this task was made, and is not news any more.
            _ if halted => self.ordered(),
            Life::Down(None) if self.settings.unavailable.is_some() => {
                self.enter(Phase::Unavailable);
            }
            Life::Down(None) => self.start(),
            // After a panic the next start is due later.
            _ => {}
        }
        self.handle(batch);
        self.settle();
        while !matches!(self.life, Life::Over) {
            let wake = self.next_wake();
            let mut flooded = false;
            match self.next_event(commands, batch, wake).await {
                Event::Commands => {
                    // Whoever was told of an order must not find it unknown here.
                    if self.orders.has_changed().unwrap_or(false) {
                        self.ordered();
                    }
                    batch.reverse();
                    self.handle(batch);
                }
                Event::CommandsEnded => {
                    self.deaf = true;
                    self.halt(Instant::now());
                }
                Event::Orders => self.ordered(),
                Event::Abandoned => {
                    self.abandoned = true;
                    self.halt(Instant::now());
                }
                Event::Spawned(Ok(child), permit) => self.spawned(child, permit),
                Event::Spawned(Err(error), _) => self.not_spawned(&error),
                Event::Stopped(exit) => self.stopped(exit),
                Event::Exited(exit) => self.exited(exit),
                Event::StderrEnded => self.end_if_all_is_read(),
                Event::Read(read) => flooded = self.heard(read) >= FLOOD,
                Event::Writable => {}
                Event::Timer => self.tick(Instant::now()),
            }
            self.settle();
            // A server that never stops writing is always readable. Without giving way this task would never end its
            // turn, and with the turn's budget spent it would hear nothing but that server.
            if flooded {
                yield_now().await;
            } else {
                consume_budget().await;
            }
        }
        self.finish(commands);
    }

    /// One by one: what comes after a command that panics is left.
    fn handle(&mut self, batch: &mut Vec<Command>) {
        let now = Instant::now();
        while let Some(command) = batch.pop() {
            self.command(command, now);
        }
    }

    /// Waits for the next event; takes nothing out but what it returns, and reads nothing else.
    async fn next_event(
        &mut self,
        commands: &mut mpsc::Receiver<Command>,
        batch: &mut Vec<Command>,
        wake: Instant,
    ) -> Event {
        let commands = commands.recv_many(batch, BATCH);
        let orders = self.orders.changed();
        let (deaf, abandoned) = (self.deaf, self.abandoned);
        match &mut self.life {
            Life::Down(_) | Life::Over => tokio::select! {
                count = commands, if !deaf => commands_event(count),
                order = orders, if !abandoned => orders_event(&order),
                () = sleep_until(wake) => Event::Timer,
            },
            Life::Spawning(spawning) => tokio::select! {
                (result, permit) = spawning => Event::Spawned(result, permit),
                count = commands, if !deaf => commands_event(count),
                order = orders, if !abandoned => orders_event(&order),
                () = sleep_until(wake) => Event::Timer,
            },
            Life::Stopping(stopping, _) => tokio::select! {
                exit = stopping => Event::Stopped(exit),
                count = commands, if !deaf => commands_event(count),
                order = orders, if !abandoned => orders_event(&order),
                () = sleep_until(wake) => Event::Timer,
            },
            Life::Up(up) => {
                let (stdout, stdin, timer) = (&mut up.stdout, &up.stdin, &mut up.timer);
                let gone = up.exit.is_some();
                let stderr_ended = up.stderr.ended();
                // A timer that fires early costs one more round; setting it anew for every line would cost more.
                if wake < timer.deadline() || timer.is_elapsed() {
                    timer.as_mut().reset(wake);
                }
                let mute = stdout.is_none();
                let read = async {
                    match stdout {
                        // Reading at once costs a system call less than waiting until there is something.
                        Some(stdout) => up.lines.read(stdout).await,
                        None => std::future::pending().await,
                    }
                };
                let writable = async {
                    match stdin {
                        Some(stdin) => drop(stdin.writable().await),
                        None => std::future::pending().await,
                    }
                };
                let stuck = !self.out.outbox.is_empty();
                tokio::select! {
                    count = commands, if !deaf => commands_event(count),
                    read = read => Event::Read(read),
                    () = writable, if stuck => Event::Writable,
                    exit = &mut up.exited, if !gone => Event::Exited(exit),
                    () = stderr_ended, if gone && mute => Event::StderrEnded,
                    order = orders, if !abandoned => orders_event(&order),
                    () = timer => Event::Timer,
                }
            }
        }
    }

    fn settle(&mut self) {
        if let Life::Up(up) = &mut self.life {
            if !self.out.outbox.is_empty() {
                up.flush(&mut self.out.outbox, &self.site.metrics);
            }
            let drained = self
                .draining
                .is_some_and(|until| self.mux.working() == 0 || until <= Instant::now());
            if drained {
                self.stop();
            }
        }
        let tool_lists = self.mux.tool_lists();
        self.queued.tool_lists.store(tool_lists, Ordering::Relaxed);
        let metrics = &self.site.metrics;
        let waiting = self.out.outbox.len();
        publish(&self.queued.outgoing, waiting, &metrics.queue_bytes);
        let in_flight = self.mux.in_flight();
        publish(&self.queued.in_flight, in_flight, &metrics.in_flight);
        self.deliver();
    }

    fn deliver(&mut self) {
        for (address, delivery) in self.out.deliveries.drain(..) {
            for _ in 0..address.push(delivery) {
                self.site.metrics.dropped(Dropped::NotificationOverflow);
            }
        }
    }

    fn next_wake(&self) -> Instant {
        let mux = self.mux.next_tick().map(Instant::from_std);
        let waiting = self.waiting.iter().map(|waiter| waiter.until).min();
        let (life, draining) = match &self.life {
            Life::Down(start) => (*start, None),
            Life::Up(up) => (up.next_tick(&self.settings.timing), self.draining),
            // The time for draining may be over long before the process has ended.
            _ => (None, None),
        };
        [mux, waiting, life, draining]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or_else(|| Instant::now() + FAR)
    }

    fn tick(&mut self, now: Instant) {
        self.mux.tick(now.into_std(), &mut self.out);
        while let Some(at) = self.waiting.iter().position(|waiter| waiter.until <= now) {
            let Some(waiter) = self.waiting.remove(at) else {
                break;
            };
            self.refuse_unavailable(&waiter.request, now);
        }
        match &self.life {
            Life::Down(Some(start)) if *start <= now => self.start(),
            Life::Up(_) => self.tick_generation(now),
            _ => {}
        }
    }

    /// What the bridge itself says to the server in `initialize`; `None` when the client of the only session does that.
    fn hello(&self) -> Option<Hello> {
        match &self.role {
            Role::Shared { .. } => {
                let asks = self.settings.isolation == config::Isolation::Shared;
                Some(Hello::shared(asks))
            }
            Role::Dedicated { hello, .. } => hello.as_deref().cloned(),
        }
    }

    fn is_ready(&self) -> bool {
        matches!(&self.life, Life::Up(up) if up.ready_since.is_some() && up.goes_on())
    }

    fn enter(&mut self, phase: Phase) {
        let now = std::time::Instant::now();
        let name = &self.settings.name;
        let cure = self.settings.unavailable.clone();
        let next_start = match self.life {
            Life::Down(start) => start.map(Instant::into_std),
            _ => None,
        };
        let before = self.status.borrow().phase;
        if matches!(self.role, Role::Shared { .. }) {
            self.site.metrics.up.set(phase.is_healthy().into());
        }
        self.status.send_modify(|status| {
            if status.phase != phase {
                status.since = now;
            }
            status.phase = phase;
            status.next_start = next_start;
            status.cure = cure;
        });
        if before != phase {
            self.site
                .metrics
                .instance_state(Some(label(before)), Some(label(phase)));
            debug!(
                bridge = name,
                from = before.label(),
                to = phase.label(),
                "state"
            );
        }
    }
}

/// Runs an instance's task. A panic ends the server's generation and its sessions, and counts as a failure; the task is
/// made anew with `remake` and goes on with the same channel and what was taken from it, so that nobody's handle is cut
/// off. Without `remake` that
/// is the end of the instance.
pub(crate) async fn tend(
    mut actor: Actor,
    remake: Option<impl Fn() -> Actor>,
    mut commands: mpsc::Receiver<Command>,
) {
    let mut batch = Vec::new();
    loop {
        let panicked = {
            let mut run = std::pin::pin!(actor.run(&mut commands, &mut batch));
            std::future::poll_fn(|context| {
                let poll = catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(context)));
                poll.map_or_else(|_| Poll::Ready(true), |poll| poll.map(|()| false))
            })
            .await
        };
        if !panicked {
            return;
        }
        actor.abandon();
        error!(
            bridge = actor.settings.name,
            "the task of a server panicked; it is made anew"
        );
        let Some(remake) = &remake else { return };
        let mut next = remake();
        next.backoff =
            std::mem::replace(&mut actor.backoff, Backoff::new(actor.site.jitter.clone()));
        let verdict = next.backoff.failed(false);
        next.after_failure(verdict, Instant::now());
        actor = next;
    }
}

fn commands_event(count: usize) -> Event {
    if count == 0 {
        Event::CommandsEnded
    } else {
        Event::Commands
    }
}

fn orders_event(order: &Result<(), watch::error::RecvError>) -> Event {
    if order.is_ok() {
        Event::Orders
    } else {
        Event::Abandoned
    }
}

/// Publishes a number of one instance, and adds the difference to the gauge that all instances of the bridge share.
fn publish(own: &AtomicUsize, now: usize, shared: &Gauge) {
    let before = own.swap(now, Ordering::Relaxed);
    if before != now {
        let signed = |number| i64::try_from(number).unwrap_or(i64::MAX);
        shared.add(signed(now) - signed(before));
    }
}

fn label(phase: Phase) -> StateLabel {
    match phase {
        Phase::Unavailable => StateLabel::Unavailable,
        Phase::Starting => StateLabel::Starting,
        Phase::Ready => StateLabel::Ready,
        Phase::Suspect(_) => StateLabel::Suspect,
        Phase::Backoff => StateLabel::Backoff,
        Phase::Quarantined => StateLabel::Quarantined,
        Phase::Draining => StateLabel::Draining,
        Phase::Stopping => StateLabel::Stopping,
        Phase::Stopped => StateLabel::Stopped,
    }
}
