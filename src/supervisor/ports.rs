//! The ports that are open, and those that could not be had.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::sockets::Sockets;
use crate::config::Listen;
use crate::metrics::BridgeMetrics;
use crate::transport::Connections;
use crate::transport::listener::{self, Answer, Options, Timeouts};

/// A port that could not be had at a reload is tried again after this.
const RETRY: Duration = Duration::from_secs(5);
/// The first time it is tried again sooner: its old owner may be a listener that this very reload has closed.
const RETRY_SOON: Duration = Duration::from_millis(100);

/// A port that could not be had.
#[derive(Debug, thiserror::Error)]
#[error("{}{}", self.what(), cure(.source))]
pub struct BindError {
    name: String,
    listen: Listen,
    source: io::Error,
}

impl BindError {
    /// Without the cure.
    fn what(&self) -> String {
        let Self {
            name,
            listen,
            source,
        } = self;
        format!("cannot listen on {listen} for {name}: {source}")
    }

    /// A line for each of `errors`; of those with one cure the last has it.
    pub(super) fn lines(errors: &[BindError]) -> String {
        let mut lines = Vec::new();
        for (at, error) in errors.iter().enumerate() {
            let next = errors.get(at + 1).map(|next| cure(&next.source));
            lines.push(match next == Some(cure(&error.source)) {
                true => error.what(),
                false => error.to_string(),
            });
        }
        lines.join("\n")
    }
}

fn cure(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program has it (`ss -tanp` shows which), or an outgoing connection was given it: \
             the sysctl net.ipv4.ip_local_reserved_ports keeps ports from that"
        }
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address: check `host`",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        _ => "",
    }
}

/// One listener's place.
#[derive(Debug)]
pub(super) enum Port {
    /// Connections are taken.
    Open {
        address: SocketAddr,
        stop: CancellationToken,
    },
    /// It could not be had; it is tried again then.
    Wanted {
        again: Instant,
        /// Why not; nothing as long as it has not been tried.
        why: Option<Arc<str>>,
    },
    /// It was given up.
    Closed,
}

impl Port {
    /// It is to be tried at once.
    pub(super) fn untried() -> Port {
        Port::Wanted {
            again: Instant::now(),
            why: None,
        }
    }

    pub(super) fn wanted(why: &str) -> Port {
        Port::Wanted {
            again: Instant::now() + RETRY,
            why: Some(Arc::from(why)),
        }
    }

    /// It could not be had in a reload.
    pub(super) fn wanted_soon(why: &str) -> Port {
        Port::Wanted {
            again: Instant::now() + RETRY_SOON,
            why: Some(Arc::from(why)),
        }
    }

    /// When it is to be tried again.
    pub(super) fn due(&self) -> Option<Instant> {
        match self {
            Port::Wanted { again, .. } => Some(*again),
            _ => None,
        }
    }

    /// Why it could not be had.
    pub(super) fn trouble(&self) -> Option<Arc<str>> {
        match self {
            Port::Wanted { why, .. } => why.clone(),
            _ => None,
        }
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Port::Open { address, .. } => Some(*address),
            _ => None,
        }
    }

    /// Takes no connection any more; what is being answered is answered.
    pub(super) fn close(&mut self) {
        if let Port::Open { stop, .. } = std::mem::replace(self, Port::Closed) {
            stop.cancel();
        }
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due().is_some_and(|again| again <= now)
    }
}

/// What all listeners share.
#[derive(Debug)]
pub(super) struct Ports {
    connections: Connections,
    sockets: Sockets,
    tasks: TaskTracker,
    kill: CancellationToken,
}

impl Ports {
    pub(super) fn new(connections: Connections, sockets: Sockets) -> Ports {
        Ports {
            connections,
            sockets,
            tasks: TaskTracker::new(),
            kill: CancellationToken::new(),
        }
    }

    pub(super) fn set_limits(&self, max: usize, per_ip: usize) {
        self.connections.set_limits(max, per_ip);
    }

    /// The service manager's socket for it, or a new one.
    pub(super) fn bind(&self, name: &str, listen: &Listen) -> Result<TcpListener, BindError> {
        let held = self.sockets.find(name, listen);
        let bound = held.and_then(|held| match held {
            Some(listener) => listener::adopt(listener),
            None => listener::bind(listen.address()),
        });
        bound.map_err(|source| BindError {
            name: name.to_owned(),
            listen: *listen,
            source,
        })
    }

    /// Says which of the service manager's sockets nobody serves.
    pub(super) fn warn_of_idle_sockets<'a>(
        &self,
        listeners: impl Iterator<Item = (&'a str, Listen)> + Clone,
    ) {
        for (socket, address) in self.sockets.idle(listeners) {
            warn!(
                socket,
                %address,
                "the service manager's socket belongs to no listener: who connects there waits for ever"
            );
        }
    }

    pub(super) fn open(
        &self,
        listener: TcpListener,
        answer: Arc<dyn Answer>,
        metrics: Option<Arc<BridgeMetrics>>,
        name: &str,
    ) -> Port {
        let address = match listener.local_addr() {
            Ok(address) => address,
            Err(error) => {
                return Port::wanted(&format!("the address of {name} can't be had: {error}"));
            }
        };
        let stop = CancellationToken::new();
        let options = Options {
            name: Arc::from(name),
            connections: self.connections.clone(),
            metrics,
            tasks: self.tasks.clone(),
            stop: stop.clone(),
            kill: self.kill.clone(),
            timeouts: Timeouts::default(),
        };
        self.tasks.spawn(listener::serve(listener, answer, options));
        Port::Open { address, stop }
    }

    /// Waits for the connections to end, and ends those that don't.
    pub(super) async fn end(&self, within: Duration) {
        self.tasks.close();
        if timeout(within, self.tasks.wait()).await.is_err() {
            self.kill.cancel();
            // Cancelled connections end at once; this only gives them their turn.
            let _turn = timeout(Duration::from_millis(200), self.tasks.wait()).await;
        }
    }
}
