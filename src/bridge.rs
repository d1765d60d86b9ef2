//! One configured server: its instances, and the sessions that speak with it.
//!
//! [`Bridge`] is the handle that everybody holds. A [`Session`] sends a client's messages to the task that owns its
//! instance (`actor`); there the multiplexer (`mux`, pure) maps them onto the server's pipe and the server's lines back
//! into [`Mailbox`]es. `state`, `liveness`, `discovery`, `handshake` and `outbox` are the actor's pure parts; `pool` decides
//! which instance a session gets.

mod actor;
#[doc(hidden)]
pub mod bench;
mod discovery;
mod handshake;
mod instance;
mod liveness;
mod mailbox;
mod mirrors;
mod mux;
mod outbox;
mod pool;
mod session;
mod start_gate;
mod state;
mod visit;

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

pub use crate::metrics::TransportLabel as Transport;
pub use instance::Part;
pub use mailbox::{Answers, Budget, Delivery, DeliveryKind, Mailbox, Reader, Refusal};
pub(crate) use mux::{
    LONGEST_REQUEST, MAX_IN_FLIGHT_PER_SESSION, MAX_URI, SessionKey, Subscriptions,
};
pub use session::Session;
pub use start_gate::StartGate;
pub use state::{Death, LastExit, Phase, Status};
pub use visit::{Principal, Purpose, Visit};

use crate::backoff::Jitter;
use crate::config;
use crate::jsonrpc::{ErrorObject, Message, array_elements, code, member, string_value};
use crate::mcp::Era;
use crate::metrics::BridgeMetrics;
use crate::process::{Spawner, Spec};
use actor::{Actor, Role, tend};
use instance::{Command, Halt, Instance, MAX_COMMANDS, Orders, Queued};
use mirrors::Mirrors;
use pool::Pool;

/// Pages of a tool list that are followed before a server is taken to page for ever.
const MAX_PAGES: usize = 1000;

/// What the instances of a bridge need from the house.
#[derive(Debug)]
pub struct Site {
    /// Starts processes.
    pub spawner: Spawner,
    /// Whose turn it is to start.
    pub gate: Arc<StartGate>,
    /// This bridge's numbers.
    pub metrics: Arc<BridgeMetrics>,
    /// What is queued for clients, over all bridges.
    pub budget: Arc<Budget>,
    /// Owns the tasks.
    pub tracker: TaskTracker,
    /// Spreads restart delays.
    pub jitter: Jitter,
}

impl Site {
    /// What to spawn for `settings`, with `more` variables than they name; the command is looked up anew each time, so that an installed one is found.
    fn resolve(
        &self,
        settings: &config::Bridge,
        more: &[(OsString, config::Secret)],
    ) -> Result<Spec, String> {
        let command = &settings.command;
        let program = command.resolve().map_err(|error| error.to_string())?;
        let mut env = command.env.clone();
        env.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
        let more = more
            .iter()
            .map(|(name, value)| (name.clone(), value.expose().into()));
        env.extend(more.clone());
        let own = more.map(|(_, value): (OsString, OsString)| value);
        Ok(Spec {
            name: settings.name.clone(),
            program,
            args: command.args.clone(),
            cwd: command.cwd.clone(),
            user: command.user.clone(),
            memory: command.limits.memory,
            open_files: command.limits.open_files,
            nice: command.limits.nice,
            redaction: config::Redaction::of(&env).and(own),
            env,
            metrics: self.metrics.clone(),
        })
    }
}

/// The handle to one configured server.
#[derive(Debug, Clone)]
pub struct Bridge(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    site: Arc<Site>,
    orders: watch::Sender<Orders>,
    shared: Instance,
    status: watch::Receiver<Status>,
    pool: Arc<Pool>,
    mirrors: Mirrors,
    /// Tools at the last listing, plus one; 0 when there was none.
    tools: AtomicUsize,
}

impl Bridge {
    /// Starts the bridge's server. Needs a runtime.
    ///
    /// `drain` is how long calls in flight may go on when the server is restarted on demand.
    pub fn start(settings: Arc<config::Bridge>, drain: Duration, site: Site) -> Bridge {
        let site = Arc::new(site);
        let name = settings.name.clone();
        let (orders, orders_seen) = watch::channel(Orders {
            settings: settings.clone(),
            drain,
            restarts: 0,
            halt: Halt::No,
        });
        let (commands, receiver) =
            mpsc::channel(settings.limits.max_sessions.saturating_add(MAX_COMMANDS));
        let queued = Arc::<Queued>::default();
        let mut status = Status::before_start();
        if settings.unavailable.is_some() {
            status.phase = Phase::Unavailable;
            status.cure.clone_from(&settings.unavailable);
        }
        let (status, status_seen) = watch::channel(status);
        let pool = Pool::new(site.clone(), orders_seen.clone(), status_seen.clone());
        let pool = Arc::new(pool);
        let make = {
            let (site, pool, queued) = (site.clone(), pool.clone(), queued.clone());
            move || {
                let role = Role::Shared { pool: pool.clone() };
                Actor::new(
                    role,
                    site.clone(),
                    orders_seen.clone(),
                    queued.clone(),
                    status.clone(),
                )
            }
        };
        site.tracker.spawn(tend(make(), Some(make), receiver));
        Bridge(Arc::new(Inner {
            name,
            site,
            orders,
            shared: Instance { commands, queued },
            status: status_seen,
            pool,
            mirrors: Mirrors::default(),
            tools: AtomicUsize::new(0),
        }))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether both are handles to the same bridge.
    pub fn is(&self, other: &Bridge) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The configuration in force; a reload may change it.
    pub fn settings(&self) -> Arc<config::Bridge> {
        self.0.orders.borrow().settings.clone()
    }

    /// Waits until [`Bridge::era`] is known, or until a request that waits for the server would be refused.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn settled(&self) {
        let settings = self.settings();
        let (timing, pinned) = (&settings.timing, settings.era.is_some());
        let mut status = self.0.status.clone();
        let mut backoff = None;
        let known = async {
            loop {
                let phase = {
                    let status = status.borrow_and_update();
                    if pinned || status.era.is_some() {
                        return;
                    }
                    status.phase
                };
                match phase {
                    Phase::Starting | Phase::Ready | Phase::Suspect(_) => backoff = None,
                    Phase::Backoff => {
                        backoff.get_or_insert_with(|| Instant::now() + timing.start_wait);
                    }
                    _ => return,
                }
                let changed = status.changed();
                let changed = match backoff {
                    Some(until) => tokio::time::timeout_at(until, changed).await.ok(),
                    None => Some(changed.await),
                };
                // Over in time, or the bridge has ended.
                if !matches!(changed, Some(Ok(()))) {
                    return;
                }
            }
        };
        let _over = tokio::time::timeout(timing.init_timeout, known).await;
    }

    /// What its shared instance is doing.
    pub fn status(&self) -> Status {
        self.0.status.borrow().clone()
    }

    /// Which era its server speaks: the configured one, or what the last server that was ready spoke; `None` as long as
    /// none was.
    pub fn era(&self) -> Option<Era> {
        let pinned = self.0.orders.borrow().settings.era;
        pinned.or_else(|| self.0.status.borrow().era)
    }

    /// The JSON array of the revisions that its server speaks, if that is a modern one.
    pub fn supported_versions(&self) -> Option<Bytes> {
        self.0.status.borrow().supported_versions.clone()
    }

    /// To wait for a change of [`Bridge::status`].
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.0.status.clone()
    }

    /// Its instances of single sessions, the warm spare among them.
    pub fn dedicated(&self) -> Vec<Status> {
        self.0.pool.statuses()
    }

    /// Its numbers.
    pub fn metrics(&self) -> &Arc<BridgeMetrics> {
        &self.0.site.metrics
    }

    /// What is queued for clients, over all bridges.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.0.site.budget
    }

    /// Asks the shared instance's task for a sign of life; [`Bridge::beats`] grows when it answers.
    pub fn beat(&self) {
        // A full channel is no sign of life either.
        let _full = self.0.shared.commands.try_send(Command::Beat);
    }

    /// Signs of life so far; `None` once the bridge has stopped.
    pub fn beats(&self) -> Option<u64> {
        let shared = &self.0.shared;
        (!shared.commands.is_closed()).then(|| shared.queued.beats.load(Ordering::Relaxed))
    }

    /// Number of tools at the last listing.
    pub fn tools(&self) -> Option<usize> {
        self.0.tools.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Whether it is stopping.
    pub fn is_draining(&self) -> bool {
        self.0.orders.borrow().halt != Halt::No
    }

    /// A new session; unsolicited messages go to `outlet`. Its instance is chosen with its first message.
    pub fn open(&self, transport: Transport, outlet: Arc<Mailbox>) -> Session {
        self.open_part(transport, outlet, Part::default())
    }

    /// The same for a session that is part of a larger conversation.
    pub fn open_part(&self, transport: Transport, outlet: Arc<Mailbox>, part: Part) -> Session {
        Session::new(self.clone(), Some(transport), outlet, part, None)
    }

    /// A session of the program's own, which counts as nobody's and shares the instance that is there.
    pub fn open_own(&self, outlet: Arc<Mailbox>) -> Session {
        Session::new(self.clone(), None, outlet, Part::default(), None)
    }

    /// A session that is one request of a stateless client.
    pub fn open_visit(
        &self,
        transport: Transport,
        outlet: Arc<Mailbox>,
        part: Part,
        visit: Visit,
    ) -> Session {
        Session::new(self.clone(), Some(transport), outlet, part, Some(visit))
    }

    /// Whether its server is one that is told once what its client can be asked, and is not failing: others share an instance,
    /// or are refused there.
    fn keeps_instances(&self) -> bool {
        let fails = matches!(
            self.0.status.borrow().phase,
            Phase::Unavailable | Phase::Quarantined | Phase::Stopping | Phase::Stopped
        );
        !fails && self.era() == Some(Era::Legacy)
    }

    /// Ends an instance that is kept for stateless clients and idle, so that its place gets free; false when there is none.
    pub fn evict_idle(&self) -> bool {
        self.0.pool.evict_idle()
    }

    /// Waits until a session can get an instance of its own, at most `patience`.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn room(&self, patience: Duration) {
        self.0.pool.room(patience).await;
    }

    /// Takes over a changed configuration in place; with `restart` the servers are drained and started anew.
    pub fn reconfigure(&self, settings: Arc<config::Bridge>, drain: Duration, restart: bool) {
        self.0.orders.send_modify(|orders| {
            orders.settings = settings;
            orders.drain = drain;
            orders.restarts += u64::from(restart);
        });
    }

    /// Drains the servers and starts them anew.
    pub fn restart(&self) {
        self.0.orders.send_modify(|orders| orders.restarts += 1);
    }

    /// Refuses new requests from now on, and ends the servers when those in flight have finished, or at `deadline`.
    pub fn drain(&self, deadline: Instant) {
        self.0.orders.send_modify(|orders| {
            if orders.halt != Halt::Now {
                orders.halt = Halt::Drain(deadline);
            }
        });
    }

    /// Kills the servers.
    pub fn kill(&self) {
        self.0.orders.send_modify(|orders| orders.halt = Halt::Now);
    }

    /// Waits until the shared server and all others have ended.
    pub async fn stopped(&self) {
        let mut status = self.0.status.clone();
        // An error means that the task has ended, which is what is waited for.
        drop(
            status
                .wait_for(|status| status.phase == Phase::Stopped)
                .await,
        );
        self.0.pool.ended().await;
    }

    /// Every tool's JSON object as the server wrote it, allow and deny lists applied, all pages.
    ///
    /// # Errors
    /// The server's error, or the bridge's when the server is not there.
    pub async fn catalogue(&self) -> Result<Vec<Bytes>, ErrorObject> {
        let outlet = Mailbox::new(self.budget());
        let session = self.open_own(outlet);
        let mut tools = Vec::new();
        let mut cursor: Option<String> = None;
        for page in 1..=MAX_PAGES {
            let params = cursor
                .as_ref()
                .map(|cursor| format!(r#","params":{{"cursor":{cursor}}}"#))
                .unwrap_or_default();
            let text = format!(r#"{{"jsonrpc":"2.0","id":{page},"method":"tools/list"{params}}}"#);
            let result = ask(&session, text).await?;
            let Some(list) = member(&result, "tools") else {
                return Err(ErrorObject::new(
                    code::INTERNAL_ERROR,
                    "the server's tools/list result has no tools",
                ));
            };
            let elements = array_elements(list.of(&result)).unwrap_or_default();
            tools.extend(
                elements
                    .into_iter()
                    .map(|span| span.inside(list).slice(&result)),
            );
            cursor = member(&result, "nextCursor")
                .map(|span| String::from_utf8_lossy(span.of(&result)).into_owned())
                .filter(|cursor| cursor != "null");
            if cursor.is_none() {
                self.0.tools.store(tools.len() + 1, Ordering::Relaxed);
                return Ok(tools);
            }
        }
        Err(ErrorObject::new(
            code::INTERNAL_ERROR,
            format!("the server's tool list has more than {MAX_PAGES} pages"),
        ))
    }
}

/// The result of a request of the bridge's own.
async fn ask(session: &Session, text: String) -> Result<Bytes, ErrorObject> {
    let address = Mailbox::new(&Arc::default());
    let message = Message::parse(text.into()).expect("a request of our own is well formed");
    session.send(message, &address);
    answer_at(&address).await
}

/// The answer that comes to `address`, whatever comes before it.
pub(crate) async fn answer_at(address: &Arc<Mailbox>) -> Result<Bytes, ErrorObject> {
    let mut reader = address.reader();
    let answer = loop {
        let Some(delivery) = reader.next().await else {
            let text = "the server is gone";
            return Err(ErrorObject::new(code::SERVER_UNAVAILABLE, text));
        };
        if delivery.kind.ends_a_request() {
            break delivery.body.into_bytes();
        }
    };
    let answer = Message::parse(answer)
        .map_err(|error| ErrorObject::new(code::INTERNAL_ERROR, error.to_string()))?;
    answer
        .result()
        .ok_or_else(|| error_in(answer.part(answer.envelope().error).unwrap_or_default()))
}

/// The error object that `text` is.
fn error_in(text: &[u8]) -> ErrorObject {
    let part = |key| {
        member(text, key)
            .map(|span| span.of(text))
            .unwrap_or_default()
    };
    let code = std::str::from_utf8(part("code"))
        .ok()
        .and_then(|code| code.parse().ok())
        .unwrap_or(code::INTERNAL_ERROR);
    ErrorObject::new(code, string_value(part("message")).unwrap_or_default())
}
