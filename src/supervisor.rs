//! Builds everything from the configuration, keeps it running, reloads by difference, stops in order.
//!
//! [`Supervisor::start`] binds every port before the first server is started: a port that is taken is an error of the
//! start, not of the night. [`Supervisor::run`] is the main loop: signals, reloads, ports that could not be had at a
//! reload, the service manager. What runs is published as `Entry`s for the admin listener.

mod admin;
mod admin_socket;
mod outcome;
mod ports;
mod reload;
mod service_manager;
mod sockets;
mod summary;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

pub use admin_socket::SocketError as AdminSocketError;
pub use ports::BindError;
pub use sockets::{SocketError, Sockets};
pub use summary::Row;

use crate::backoff::Jitter;
use crate::bridge::{Bridge, Budget, Phase, Site, StartGate};
use crate::config::{self, Config, Loaded, Offers, Problems};
use crate::gateway::Gateway;
use crate::journal::Journal;
use crate::memory::Memory;
use crate::metrics::{BridgeMetrics, Metrics};
use crate::process::Spawner;
use crate::shutdown::Shutdown;
use crate::transport::{Connections, Endpoint, Shared};
use admin::Order;
use admin_socket::Socket;
use ports::{Port, Ports};
use service_manager::ServiceManager;

/// How often the main loop looks after what nobody tells it about.
const ROUND: Duration = Duration::from_secs(5);
/// After the start.
const FIRST_ROUND: Duration = Duration::from_secs(1);
/// How long the start waits for servers before it says that it is ready.
const SETTLE: Duration = Duration::from_secs(10);
/// More than the stop ladder of a server takes after the drain.
const LADDER: Duration = Duration::from_secs(8);
/// After the last server has ended, responses get this long to reach their clients.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Reloads that are asked for at the same time; who comes after them waits.
const MAX_ORDERS: usize = 4;

/// Why the program could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Ports could not be had: all of them.
    #[error("{}", BindError::lines(.0))]
    Bind(Vec<BindError>),
    /// The configured admin socket could not be had.
    #[error(transparent)]
    Socket(#[from] AdminSocketError),
    /// The machine did not give a thread, a signal handler or randomness.
    #[error("failed to prepare for starting processes")]
    Machine(#[from] io::Error),
}

/// One bridge that runs, as the admin listener and the table at the start see it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) bridge: Bridge,
    pub(crate) endpoint: Endpoint,
    /// The address it is bound to; `None` when a reload could not have it.
    pub(crate) address: Option<SocketAddr>,
}

/// The gateway, for the same.
#[derive(Debug, Clone)]
struct FrontEntry {
    gateway: Gateway,
    address: Option<SocketAddr>,
}

/// What runs, for those who ask.
#[derive(Debug, Clone)]
struct Published {
    entries: Arc<[Entry]>,
    gateway: Option<FrontEntry>,
    offers: Arc<Offers>,
    /// The listeners that could not have their ports, by name (a bridge, `admin`, `gateway`), and why.
    portless: Arc<[(String, Arc<str>)]>,
}

/// Everything that runs.
#[derive(Debug)]
pub struct Supervisor {
    config: Config,
    shutdown: Shutdown,
    spawner: Spawner,
    gate: Arc<StartGate>,
    budget: Arc<Budget>,
    jitter: Jitter,
    shared: Shared,
    ports: Ports,
    bridges: Vec<Running>,
    /// Bridges that a reload took away, as long as they drain.
    leaving: Vec<Bridge>,
    admin: Option<Port>,
    gateway: Option<Front>,
    published: watch::Sender<Published>,
    journal: Arc<Journal>,
    orders: (mpsc::Sender<Order>, mpsc::Receiver<Order>),
    started: std::time::Instant,
    socket: Option<Socket>,
    manager: ServiceManager,
    memory: Memory,
}

#[derive(Debug)]
struct Running {
    settings: Arc<config::Bridge>,
    bridge: Bridge,
    endpoint: Endpoint,
    port: Port,
    /// Cancelled when a reload takes the bridge away.
    removed: CancellationToken,
    /// What [`Bridge::beats`] said when the watchdog was fed last.
    beats: Option<u64>,
}

/// The gateway and its listener.
#[derive(Debug)]
struct Front {
    gateway: Gateway,
    port: Port,
}

impl Supervisor {
    /// Binds every port that isn't among the `sockets` and starts every server. Needs a runtime.
    ///
    /// # Errors
    /// [`StartError`]; nothing was started then.
    pub fn start(
        config: Config,
        sockets: Sockets,
        shutdown: Shutdown,
        metrics: Arc<Metrics>,
        journal: Arc<Journal>,
    ) -> Result<Supervisor, StartError> {
        let connections = Connections::new(
            config.max_connections,
            config.max_connections_per_ip,
            metrics.process().clone(),
        );
        let ports = Ports::new(connections, sockets);
        let mut failures = Vec::new();
        let mut bind = |name: &str, listen: &config::Listen| {
            ports
                .bind(name, listen)
                .map_err(|error| failures.push(error))
                .ok()
        };
        let bound: Vec<_> = config
            .bridges
            .iter()
            .map(|bridge| bind(&bridge.name, &bridge.listen))
            .collect();
        let admin = config
            .admin
            .as_ref()
            .and_then(|admin| bind("admin", &admin.listen));
        let gateway = config
            .gateway
            .as_ref()
            .and_then(|gateway| bind("gateway", &gateway.listen));
        if !failures.is_empty() {
            return Err(StartError::Bind(failures));
        }
        let socket = match admin_socket::bind(&config) {
            Ok(bound) => Some(bound),
            Err(error) if config.socket.path.is_some() => return Err(error.into()),
            // Nobody asked for it by name.
            Err(error) => {
                warn!("{error}");
                None
            }
        };
        let spawner = Spawner::start(shutdown.tracker.clone())?;
        let shared = Shared {
            metrics,
            tasks: shutdown.tracker.clone(),
            stop: CancellationToken::new(),
        };
        let mut supervisor = Supervisor {
            shutdown,
            spawner,
            gate: StartGate::new(),
            budget: Budget::new(shared.metrics.process().clone()),
            jitter: Jitter::random()?,
            shared,
            ports,
            bridges: Vec::new(),
            leaving: Vec::new(),
            admin: None,
            gateway: None,
            published: watch::Sender::new(Published {
                entries: Arc::from([]),
                gateway: None,
                offers: Arc::default(),
                portless: Arc::from([]),
            }),
            journal,
            orders: mpsc::channel(MAX_ORDERS),
            started: std::time::Instant::now(),
            socket: None,
            manager: ServiceManager::new(),
            memory: Memory::default(),
            config,
        };
        for (settings, listener) in supervisor.config.bridges.clone().into_iter().zip(bound) {
            let listener = listener.expect("failures end the start above");
            let running = supervisor.build(settings, |supervisor, endpoint, metrics| {
                supervisor.ports.open(
                    listener,
                    Arc::new(endpoint.clone()),
                    Some(metrics),
                    endpoint.bridge().name(),
                )
            });
            supervisor.bridges.push(running);
        }
        if let Some(listener) = admin {
            let router = Arc::new(supervisor.admin_router());
            supervisor.admin = Some(supervisor.ports.open(listener, router, None, "admin"));
        }
        if let (Some(listener), Some(settings)) = (gateway, supervisor.config.gateway.clone()) {
            let gateway = supervisor.start_gateway(settings);
            let router = Arc::new(gateway.router());
            let port = supervisor.ports.open(listener, router, None, "gateway");
            supervisor.gateway = Some(Front { gateway, port });
        }
        supervisor.warn_of_idle_sockets();
        if let Some(bound) = socket {
            supervisor.open_socket(bound);
        }
        supervisor.publish();
        Ok(supervisor)
    }

    fn warn_of_idle_sockets(&self) {
        let config = &self.config;
        let bridges = config.bridges.iter().map(|it| (&*it.name, it.listen));
        let admin = config.admin.iter().map(|it| ("admin", it.listen));
        let gateway = config.gateway.iter().map(|it| ("gateway", it.listen));
        self.ports
            .warn_of_idle_sockets(bridges.chain(admin).chain(gateway));
    }

    fn build(
        &mut self,
        settings: config::Bridge,
        port: impl FnOnce(&Supervisor, &Endpoint, Arc<BridgeMetrics>) -> Port,
    ) -> Running {
        let settings = Arc::new(settings);
        let metrics = self.shared.metrics.bridge(&settings.name);
        publish_limits(&metrics, &settings.limits);
        let site = Site {
            spawner: self.spawner.clone(),
            gate: self.gate.clone(),
            metrics: metrics.clone(),
            budget: self.budget.clone(),
            tracker: self.shutdown.tracker.clone(),
            jitter: self.jitter.fork(),
        };
        let bridge = Bridge::start(settings.clone(), self.config.drain, site);
        let removed = CancellationToken::new();
        let endpoint = Endpoint::new(bridge.clone(), &self.shared, &removed);
        let port = port(self, &endpoint, metrics);
        Running {
            settings,
            bridge,
            endpoint,
            port,
            removed,
            beats: None,
        }
    }

    fn start_gateway(&self, settings: config::Gateway) -> Gateway {
        let bridges = self.bridges.iter().map(|running| running.bridge.clone());
        Gateway::start(
            settings,
            bridges.collect(),
            self.config.remotes.clone(),
            self.budget.clone(),
            &self.shared,
        )
    }

    /// Waits until each server is ready or has failed once, at most ten seconds.
    pub async fn settle(&self) {
        let settled = async {
            for running in &self.bridges {
                let mut status = running.bridge.watch();
                // An error means that the bridge has ended: settled too.
                let _ended = status
                    .wait_for(|status| !matches!(status.phase, Phase::Starting | Phase::Stopping))
                    .await;
            }
            if let Some(front) = &self.gateway {
                front.gateway.settled().await;
            }
        };
        tokio::select! {
            _ = timeout(SETTLE, settled) => {}
            () = self.shutdown.draining.cancelled() => {}
        }
    }

    /// The main loop: until a signal ends it. Returns the status to exit with.
    pub async fn run(mut self, load: impl Fn() -> Result<Loaded, Problems>) -> u8 {
        self.manager.ready(&self.state_in_words());
        let every = self.manager.watchdog_interval().unwrap_or(ROUND).min(ROUND);
        // The first round tidies up after the start, which has not quite ended here.
        let mut round = interval_at(Instant::now() + every.min(FIRST_ROUND), every);
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let retry = self.next_retry();
            tokio::select! {
                () = self.shutdown.draining.cancelled() => break,
                () = self.shutdown.hangup() => drop(self.reload(&load)),
                Some(answer) = self.orders.1.recv() => {
                    let outcome = self.reload(&load);
                    // Whoever asked may have gone; the log has it too.
                    let _gone = answer.send(outcome.describe());
                }
                () = sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => {
                    self.retry_ports(Port::wanted);
                }
                due = round.tick() => self.look_after(due),
            }
        }
        self.stop().await
    }

    fn look_after(&mut self, due: Instant) {
        let late = due.elapsed();
        let mut alive = late < Duration::from_secs(1);
        for running in &mut self.bridges {
            let beats = running.bridge.beats();
            if let (Some(before), Some(beats)) = (running.beats, beats) {
                alive &= beats > before;
            }
            running.beats = beats;
            running.bridge.beat();
        }
        if alive {
            self.manager.watchdog();
        } else {
            warn!(
                ?late,
                "the main loop or a bridge's task is late; the watchdog is not fed"
            );
        }
        self.manager.status(&self.state_in_words());
        self.memory.tidy();
    }

    /// Ends everything: listeners, calls in flight, streams, servers (SUPERVISION §6).
    async fn stop(mut self) -> u8 {
        let drain = self.config.drain;
        self.manager.stopping(drain + LADDER + LAST_WORDS);
        info!(?drain, "stopping: calls in flight may finish");
        if let Some(front) = &mut self.gateway {
            front.gateway.drain();
            front.port.close();
        }
        let until = Instant::now() + drain;
        for running in &mut self.bridges {
            running.port.close();
        }
        let here = self.bridges.iter().map(|running| &running.bridge);
        let all: Vec<Bridge> = here.chain(&self.leaving).cloned().collect();
        let ended = async {
            if let Some(front) = &self.gateway {
                // A model may call tools in every further turn, so the servers wait for that; bounded by the drain,
                // because what is asked of a model may take its time.
                let _late = timeout_at(until, front.gateway.finished()).await;
            }
            for running in &self.bridges {
                running.bridge.drain(until);
            }
            for bridge in &all {
                bridge.stopped().await;
            }
        };
        tokio::select! {
            ended = timeout(drain + LADDER, ended) => {
                if ended.is_err() {
                    warn!("servers do not end in time; killing what is left");
                }
            }
            () = self.shutdown.now.cancelled() => {
                warn!("second signal: killing what is left");
                let killed = async {
                    for bridge in &all {
                        bridge.kill();
                    }
                    for bridge in &all {
                        bridge.stopped().await;
                    }
                };
                // What can't be killed in this time is in the hands of the kernel.
                let _timed_out = timeout(Duration::from_secs(2), killed).await;
            }
        }
        self.shared.stop.cancel();
        for running in &self.bridges {
            running.endpoint.end_sessions();
        }
        if let Some(front) = &self.gateway {
            front.gateway.end();
        }
        if let Some(admin) = &mut self.admin {
            admin.close();
        }
        self.socket = None;
        self.ports.end(LAST_WORDS).await;
        if let Err(error) = self.spawner.kill_strays() {
            warn!(%error, "failed to look for processes left behind");
        }
        info!("stopped");
        self.shutdown.exit_code()
    }

    fn publish(&self) {
        let entries = self.bridges.iter().map(|running| Entry {
            bridge: running.bridge.clone(),
            endpoint: running.endpoint.clone(),
            address: running.port.address(),
        });
        let gateway = self.gateway.as_ref().map(|front| FrontEntry {
            gateway: front.gateway.clone(),
            address: front.port.address(),
        });
        let offers = Arc::new(self.offers());
        self.published.send_replace(Published {
            entries: entries.collect(),
            gateway,
            offers,
            portless: self.portless().collect(),
        });
    }

    fn portless(&self) -> impl Iterator<Item = (String, Arc<str>)> {
        let bridges = self.bridges.iter().map(|it| (&*it.settings.name, &it.port));
        let admin = self.admin.iter().map(|port| ("admin", port));
        let gateway = self.gateway.iter().map(|front| ("gateway", &front.port));
        let all = bridges.chain(admin).chain(gateway);
        all.filter_map(|(name, port)| Some((name.to_owned(), port.trouble()?)))
    }

    /// What clients can be given, with the ports that were free.
    fn offers(&self) -> Offers {
        let mut offers = Offers::of(&self.config);
        let bound = |port: &Port| port.address().map_or(0, |address| address.port());
        for offer in &mut offers.bridges {
            let mut bridges = self.bridges.iter();
            if let Some(running) = bridges.find(|it| it.settings.name == offer.name)
                && offer.listen.port == 0
            {
                offer.listen.port = bound(&running.port);
            }
        }
        if let (Some(offer), Some(front)) = (&mut offers.gateway, &self.gateway)
            && offer.listen.port == 0
        {
            offer.listen.port = bound(&front.port);
        }
        offers
    }

    fn tracker(&self) -> &TaskTracker {
        &self.shutdown.tracker
    }
}

fn publish_limits(metrics: &BridgeMetrics, limits: &config::Limits) {
    metrics.limits(&[
        ("max_sessions", limits.max_sessions as u64),
        ("max_instances", limits.max_instances as u64),
        ("max_in_flight", limits.max_in_flight as u64),
        ("max_body", limits.max_body as u64),
        ("max_message", limits.max_message as u64),
    ]);
}
