//! One connection to a remote server, and the task that keeps it.
//!
//! The task connects, lets rmcp shake hands, publishes that the server can be [reached](Reach), and looks after the
//! connection until it is lost; then it waits ([`Backoff`]) and connects again. A connection is lost when its stream ends,
//! or when a ping fails; it is pinged when something casts doubt on it, and from time to time while nobody calls. What the
//! sessions have subscribed to is asked for anew whenever the server may have forgotten it.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use rmcp::RoleClient;
use rmcp::model::{ClientRequest, PingRequest};
use rmcp::service::{Peer, PeerRequestOptions, ServiceError};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::connect::connect;
use super::seats::{Seats, Turn, Wishes};
use super::wire::Original;
use super::{Fault, Standing};
use crate::backoff::{Backoff, Jitter};
use crate::bridge::Refusal;
use crate::config::Remote;
use crate::jsonrpc::{ErrorObject, Message, code};

/// How long a request waits for a connection that is being made.
const PATIENCE: Duration = Duration::from_secs(2);
/// The rest after which a connection that nobody uses is pinged.
const IDLE: Duration = Duration::from_secs(60);
/// How long the answer to a ping may take.
const PING: Duration = Duration::from_secs(15);
/// How long a request of our own may take, that nobody waits for.
const OWN: Duration = Duration::from_secs(15);
/// How long the end of a connection may take when we are stopping; rmcp tells the server of its session's end.
const FAREWELL: Duration = Duration::from_secs(3);
/// A connection that lasted this long was of use.
const PRODUCTIVE: Duration = Duration::from_secs(10);

/// Whether the server can be spoken with.
#[derive(Debug, Clone)]
pub(super) enum Reach {
    /// Nobody has wanted it yet, or since it was lost.
    Idle,
    /// A connection is being made.
    Connecting,
    /// It can.
    Up(Link),
    /// It can't, until the next attempt.
    Down { reason: String, until: Instant },
    /// It never will be: the cure.
    Unavailable { cure: String },
    /// Not any more.
    Stopped,
}

/// A connection that works.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) peer: Peer<RoleClient>,
    /// Ends when the connection is lost, after [`Reach`] says why.
    pub(super) lost: CancellationToken,
}

/// One connection to a remote server, made again when it is lost.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) settings: Arc<Remote>,
    /// A client's own.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    reach: watch::Sender<Reach>,
    standing: watch::Sender<Standing>,
    seats: Mutex<Seats>,
    pub(super) signals: Arc<Signals>,
    /// A session wants the connection; only an exclusive one waits for that.
    wanted: Notify,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
    runtime: Handle,
}

/// What is noticed below rmcp.
#[derive(Debug, Default)]
pub(super) struct Signals {
    doubt: Notify,
    greetings: watch::Sender<u64>,
    fault: Mutex<Option<Fault>>,
}

impl Signals {
    /// The connection may be lost.
    pub(super) fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// The connection ended, and why.
    pub(super) fn broke(&self, fault: Fault) {
        *self.fault() = Some(fault);
    }

    /// The reason that was noticed here, or else `fault`; once.
    fn why(&self, fault: Fault) -> Fault {
        self.fault().take().unwrap_or(fault)
    }

    fn fault(&self) -> MutexGuard<'_, Option<Fault>> {
        self.fault.lock().expect("no code panics while it holds it")
    }

    /// A handshake is done; rmcp repeats it by itself when the server has ended the session.
    pub(super) fn greeted(&self) {
        self.greetings.send_modify(|count| *count += 1);
    }
}

/// Why a request was not sent.
#[derive(Debug)]
pub(super) struct Turned {
    pub(super) refusal: Refusal,
    pub(super) error: ErrorObject,
}

/// A connection that is over.
struct Lost {
    fault: Fault,
    lasted: Duration,
    link: Option<Link>,
}

impl Line {
    /// Starts the task that keeps the connection; with `headers` it is for one session, and made when that wants it.
    pub(super) fn start(
        settings: Arc<Remote>,
        headers: Option<Vec<(HeaderName, HeaderValue)>>,
        standing: watch::Sender<Standing>,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Arc<Line> {
        let exclusive = headers.is_some();
        let mut headers = headers.unwrap_or_default();
        for (_, value) in &mut headers {
            value.set_sensitive(true);
        }
        let cure = settings.unavailable.clone();
        let (reach, _) = watch::channel(Reach::Idle);
        let line = Arc::new(Line {
            settings,
            headers,
            reach,
            standing,
            seats: Mutex::new(Seats::new(exclusive)),
            signals: Arc::default(),
            wanted: Notify::new(),
            stop,
            tasks: tasks.clone(),
            runtime: Handle::current(),
        });
        match cure {
            Some(cure) => line.publish(Reach::Unavailable { cure }),
            None => {
                if !exclusive {
                    line.publish(Reach::Connecting);
                }
                tasks.spawn(Box::pin(line.clone().tend()));
            }
        }
        line
    }

    pub(super) fn name(&self) -> &str {
        &self.settings.name
    }

    pub(super) fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats
            .lock()
            .expect("no code panics while it holds the seats")
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Casts doubt on the connection.
    pub(super) fn doubt(&self) {
        self.signals.doubt();
    }

    /// Why the connection is not there, in words.
    pub(super) fn reason(&self) -> String {
        match &*self.reach.borrow() {
            Reach::Down { reason, .. } => reason.clone(),
            Reach::Stopped => format!("the remote server {} is being left", self.name()),
            _ => format!(
                "the connection to the remote server {} was lost",
                self.name()
            ),
        }
    }

    /// The connection, once it is there; a request waits a little for one that is being made.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn link(&self) -> Result<Link, Turned> {
        let exclusive = self.seats().is_exclusive();
        // The first request of an exclusive connection is what it is made for.
        let patience = if exclusive {
            self.settings.init_timeout
        } else {
            PATIENCE
        };
        let deadline = Instant::now() + patience;
        let mut reach = self.reach.subscribe();
        self.wanted.notify_one();
        loop {
            let now = Instant::now();
            match &*reach.borrow_and_update() {
                Reach::Up(link) => return Ok(link.clone()),
                Reach::Down { reason, until } if exclusive || *until > deadline => {
                    return Err(self.away(reason, until.saturating_duration_since(now)));
                }
                Reach::Unavailable { cure } => {
                    let reason = format!("the remote server {} can't be used: {cure}", self.name());
                    return Err(self.away(&reason, IDLE));
                }
                Reach::Stopped => {
                    let text = format!("the remote server {} is being left", self.name());
                    return Err(Turned {
                        refusal: Refusal::ShuttingDown,
                        error: ErrorObject::new(code::SHUTTING_DOWN, text),
                    });
                }
                Reach::Idle | Reach::Connecting | Reach::Down { .. } => {}
            }
            // The sender lives as long as the line, so an error can only be the deadline's.
            if timeout_at(deadline, reach.changed()).await.is_err() {
                let reason = match &*reach.borrow() {
                    Reach::Down { reason, .. } => reason.clone(),
                    _ => format!(
                        "the remote server {} has not answered the handshake yet",
                        self.name()
                    ),
                };
                return Err(self.away(&reason, PATIENCE));
            }
        }
    }

    /// Tells the server, if it is there, that nobody is subscribed any more.
    pub(super) fn unsubscribe(self: &Arc<Line>, turns: Vec<Turn>) {
        let reach = self.reach.borrow().clone();
        match reach {
            Reach::Up(link) => self.tell(&link, "resources/unsubscribe", turns),
            _ => self.end_turns(turns),
        }
    }

    /// Has the server told of subscriptions or their end, one after the other, in the background.
    fn tell(self: &Arc<Line>, link: &Link, method: &'static str, turns: Vec<Turn>) {
        if turns.is_empty() {
            return;
        }
        let (line, link) = (self.clone(), link.clone());
        self.spawn(async move {
            for turn in turns {
                let params = serde_json::json!({ "uri": *turn.uri });
                let telling = async {
                    turn.comes().await;
                    tell(&line, &link, method, &params).await;
                };
                tokio::select! {
                    () = telling => {}
                    () = link.lost.cancelled() => {}
                }
                line.seats().end_turn(turn);
            }
        });
    }

    fn end_turns(&self, turns: Vec<Turn>) {
        let mut seats = self.seats();
        for turn in turns {
            seats.end_turn(turn);
        }
    }

    /// Spawns a task that may outlive whoever began it, wherever that is.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(task, &self.runtime);
    }

    fn away(&self, reason: &str, retry_after: Duration) -> Turned {
        Turned {
            refusal: Refusal::Unavailable { retry_after },
            error: ErrorObject::new(code::SERVER_UNAVAILABLE, reason),
        }
    }

    async fn tend(self: Arc<Line>) {
        let jitter = Jitter::random().unwrap_or_else(|_| Jitter::none());
        let mut backoff = Backoff::new(jitter);
        let mut generation = 0;
        let exclusive = self.seats().is_exclusive();
        loop {
            if exclusive {
                tokio::select! {
                    () = self.stop.cancelled() => break,
                    () = self.wanted.notified() => {}
                }
            }
            self.publish(Reach::Connecting);
            let Some(lost) = Box::pin(self.live(&mut generation)).await else {
                break;
            };
            backoff.ready_for(lost.lasted);
            let verdict = if lost.fault.needs_a_person() {
                backoff.command_missing()
            } else {
                backoff.failed(lost.lasted >= PRODUCTIVE)
            };
            let delay = verdict.delay();
            let reason = format!("the remote server {} {}", self.name(), lost.fault);
            warn!(server = self.name(), %reason, ?delay, "remote server is not there, trying again");
            let until = Instant::now() + delay;
            self.publish(Reach::Down { reason, until });
            if let Some(link) = lost.link {
                self.seats().connection_ended();
                link.lost.cancel();
            }
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = sleep(delay) => {}
            }
            if exclusive {
                self.publish(Reach::Idle);
            }
        }
        self.publish(Reach::Stopped);
    }

    /// One connection, from the first packet to its end; `None` when we are stopping.
    async fn live(self: &Arc<Line>, generation: &mut u64) -> Option<Lost> {
        let failed = |fault| {
            Some(Lost {
                fault,
                lasted: Duration::ZERO,
                link: None,
            })
        };
        let end = self.stop.child_token();
        let limit = self.settings.init_timeout;
        let connecting = timeout(limit, Box::pin(connect(self, end.clone())));
        let service = tokio::select! {
            () = self.stop.cancelled() => return None,
            outcome = connecting => match outcome {
                Ok(Ok(service)) => service,
                Ok(Err(fault)) => return failed(self.signals.why(fault)),
                Err(_) => return failed(Fault::Late { limit }),
            },
        };
        let began = Instant::now();
        let mut greetings = self.signals.greetings.subscribe();
        let link = Link {
            peer: service.peer().clone(),
            lost: CancellationToken::new(),
        };
        let mut ended = self.tasks.spawn(service.waiting());
        self.up(&link, generation);
        let fault = loop {
            let in_doubt = tokio::select! {
                _ = &mut ended => break Fault::broken("it ended the connection"),
                () = self.stop.cancelled() => {
                    self.publish(Reach::Stopped);
                    link.lost.cancel();
                    // Longer than that is the tracker's to wait for.
                    let _ended = timeout(FAREWELL, ended).await;
                    return None;
                }
                Ok(()) = greetings.changed() => {
                    self.up(&link, generation);
                    continue;
                }
                () = self.signals.doubt.notified() => true,
                () = sleep(IDLE) => false,
            };
            if !in_doubt && self.seats().calls() > 0 {
                continue;
            }
            tokio::select! {
                fault = self.ping(&link.peer) => if let Some(fault) = fault {
                    break fault;
                },
                () = self.stop.cancelled() => {}
            }
        };
        end.cancel();
        Some(Lost {
            fault: self.signals.why(fault),
            lasted: began.elapsed(),
            link: Some(link),
        })
    }

    /// The server can be spoken with, and knows nothing of what was wished before.
    fn up(self: &Arc<Line>, link: &Link, generation: &mut u64) {
        *generation += 1;
        let version = link
            .peer
            .peer_info()
            .map(|info| info.protocol_version.to_string());
        info!(
            server = self.name(),
            generation = *generation,
            version,
            "remote server is ready"
        );
        let Wishes {
            level,
            subscriptions,
        } = self.seats().wishes();
        if let Some(level) = level {
            let (line, link) = (self.clone(), link.clone());
            self.spawn(async move {
                let params = serde_json::json!({ "level": level.name() });
                tell(&line, &link, "logging/setLevel", &params).await;
            });
        }
        self.tell(link, "resources/subscribe", subscriptions);
        self.reach.send_replace(Reach::Up(link.clone()));
        self.standing.send_replace(ready(&link.peer, *generation));
    }

    fn publish(&self, reach: Reach) {
        let standing = match &reach {
            Reach::Idle | Reach::Connecting => Standing::Connecting,
            Reach::Up(_) => unreachable!("Line::up publishes that"),
            Reach::Down { reason, .. } => Standing::Down {
                reason: reason.clone(),
            },
            Reach::Unavailable { cure } => Standing::Unavailable { cure: cure.clone() },
            Reach::Stopped => Standing::Stopped,
        };
        self.reach.send_replace(reach);
        self.standing.send_if_modified(|now| {
            // An attempt after a failure is no news before its outcome.
            let again = matches!(
                (&*now, &standing),
                (Standing::Down { .. }, Standing::Connecting)
            );
            if again || *now == standing {
                return false;
            }
            *now = standing;
            true
        });
    }

    /// Whether the server still answers, whatever it says; if not, why.
    async fn ping(&self, peer: &Peer<RoleClient>) -> Option<Fault> {
        let request = ClientRequest::PingRequest(PingRequest::default());
        let options = PeerRequestOptions::no_options();
        let handle = match peer.send_request_with_option(request, options).await {
            Ok(handle) => handle,
            Err(error) => return Some(Fault::of_service(&error)),
        };
        match timeout(PING, handle.rx).await {
            Ok(Ok(Ok(_) | Err(ServiceError::McpError(_)))) => None,
            Ok(Ok(Err(error))) => Some(Fault::of_service(&error)).filter(Fault::ends_a_connection),
            Ok(Err(_)) => Some(Fault::broken("it ended the connection")),
            // A server that works on a call may not find the time.
            Err(_) if self.seats().calls() > 0 => None,
            Err(_) => Some(Fault::broken(format!(
                "no answer to a ping within {PING:?}"
            ))),
        }
    }
}

/// What the server said of itself.
fn ready(peer: &Peer<RoleClient>, generation: u64) -> Standing {
    let info = peer.peer_info();
    let info = info.as_deref();
    let server = info.and_then(|info| info.server_info.as_ref());
    Standing::Ready {
        generation,
        server: server.map(|server| (server.name.clone(), server.version.clone())),
        capabilities: info
            .and_then(|info| serde_json::to_value(&info.capabilities).ok())
            .unwrap_or_default(),
        instructions: info.and_then(|info| info.instructions.clone()),
    }
}

/// One request of our own, to its answer, which nobody looks at.
async fn tell(line: &Line, link: &Link, method: &'static str, params: &serde_json::Value) {
    let text = serde_json::json!({ "jsonrpc": "2.0", "id": 0, "method": method, "params": params });
    let message =
        Message::parse(text.to_string().into()).expect("a request of our own is well formed");
    let original = Original {
        message: Arc::new(message),
        token: 0,
        level: None,
    };
    let asking = link.peer.send_request(original.into_request());
    if !matches!(timeout(OWN, asking).await, Ok(Ok(_))) {
        debug!(server = line.name(), method, "a remote server was not told");
    }
}
