//! The multiplexer: many sessions over one server's pipe. Pure and synchronous.
//!
//! It maps ids, progress tokens, cancellations, subscriptions, log levels and the server's own requests between sessions
//! and one generation of a server (CONTRACT §4, row by row). It does no I/O and knows no clock: lines for the server and
//! deliveries for clients go into [`Output`], time is an argument. `A` is where a reply goes; the multiplexer only clones it.
//!
//! What it keeps: every request that it accepts gets exactly one delivery that ends it, at the address it came with;
//! nothing of one session ever reaches another.

mod changes;
mod client;
mod doubt;
mod ends;
mod generations;
mod in_flight;
mod judge;
mod modern;
mod server;
mod subscriptions;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::instance::Part;
use super::mailbox::{Delivery, DeliveryKind, Refusal};
use super::outbox::Outbox;
use crate::config;
use crate::jsonrpc::{ErrorObject, Message, RequestId};
use crate::mcp::era::server::Introduction;
use crate::mcp::{ClientCapabilities, Level, Request};
use crate::metrics::{BridgeMetrics, MethodLabel, Outcome};
use crate::trace::Ongoing;
use tracing::field::Empty;
use tracing::{Span, debug, debug_span};

use changes::{Lists, Untold};
use doubt::Doubt;
use in_flight::InFlight;
use modern::{Dialect, Modern};
pub(crate) use subscriptions::{MAX_URI, Subscriptions};

/// Requests of one session that may be in flight, so that one session can't use up the bridge's.
pub(crate) const MAX_IN_FLIGHT_PER_SESSION: usize = 128;
/// Requests of the server to one session that may wait for an answer.
const MAX_ASKS_PER_SESSION: usize = 128;
/// Progress may keep a request alive this long, and not longer.
pub(crate) const LONGEST_REQUEST: Duration = Duration::from_secs(3600);
/// Requests of the bridge's own whose answers are waited for; beyond that nobody looks at them.
const MAX_OWN: usize = 1024;
/// Ids are integers that every JSON implementation keeps.
const LARGEST_ID: u64 = (1 << 53) - 1;

/// One client's conversation, as the multiplexer knows it. Never reused within a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SessionKey(pub(crate) u64);

/// Whom an instance serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// Many sessions; what can't be attributed is not passed on. `asks`: the server was told that it may ask.
    Shared {
        /// Whether the server may ask for roots, sampling and elicitation.
        asks: bool,
    },
    /// Sessions of one class, one after the other: the server was told what their client can be asked.
    Kept,
    /// One session, whose own `initialize` the server got: everything passes.
    Dedicated,
}

/// What the multiplexer wants done.
#[derive(Debug)]
pub(crate) struct Output<A> {
    /// Lines for the server.
    pub(crate) outbox: Outbox,
    /// Messages for clients, in order.
    pub(crate) deliveries: Vec<(A, Delivery)>,
}

impl<A> Default for Output<A> {
    fn default() -> Self {
        Output {
            outbox: Outbox::default(),
            deliveries: Vec::new(),
        }
    }
}

impl<A: Clone> Output<A> {
    fn deliver(&mut self, address: &A, kind: DeliveryKind, body: impl Into<crate::jsonrpc::Body>) {
        self.deliveries.push((
            address.clone(),
            Delivery {
                kind,
                body: body.into(),
            },
        ));
    }

    /// Answers the request `id` with an error before the server saw it.
    pub(crate) fn refuse(&mut self, address: &A, id: &[u8], refusal: Refusal, error: &ErrorObject) {
        self.deliver(
            address,
            DeliveryKind::Refusal(refusal),
            error.response(Some(id)),
        );
    }
}

/// What is left to do for the owner of the instance after a line of the server.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// Nothing.
    Done,
    /// Nothing; it was the answer to a client's request.
    Answered,
    /// The answer to a request of the bridge itself.
    Own(OwnRequest, Message),
    /// The answer to the `initialize` of a dedicated instance's client; it is delivered already.
    Initialized(Message),
    /// A log line that belongs to no session.
    Log(Message),
}

/// Requests that the bridge makes on its own behalf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnRequest {
    /// `server/discover`, to learn what the server is.
    Discover,
    /// `initialize` of a shared instance.
    Initialize,
    /// `ping`, to hear whether the server lives.
    Ping,
    /// `logging/setLevel` and subscriptions, to bring the server to what its sessions have asked for.
    Restore,
}

/// The tables of one instance.
#[derive(Debug)]
pub(crate) struct Mux<A> {
    service: Service,
    settings: Arc<config::Bridge>,
    metrics: Arc<BridgeMetrics>,
    next: u64,
    calls: HashMap<u64, Call<A>, foldhash::fast::RandomState>,
    /// How many of them are streams, which stay open.
    streams: usize,
    own: HashMap<u64, OwnRequest>,
    seats: HashMap<SessionKey, Seat<A>, foldhash::fast::RandomState>,
    /// The server's ids of requests that wait for a client's answer.
    asks: HashMap<RequestId, (SessionKey, u64)>,
    subscriptions: Subscriptions,
    doubt: Doubt,
    /// What the server was told last, unless it is unknown whether it listened.
    level: Option<Level>,
    /// The earliest deadline of a call, or earlier.
    nearest: Option<Instant>,
    /// What the server said since changes were sent last.
    changed: Lists,
    changes_due: Option<Instant>,
    /// How often the server's tools have changed, new servers among them.
    tool_lists: u64,
    /// The last server is gone and the next one is not ready: there is nobody to be told anything.
    between_generations: bool,
    /// What there is to know of the server, if it is a modern one.
    modern: Option<Modern>,
}

/// A request of a client that the server has not answered.
#[derive(Debug)]
struct Call<A> {
    session: SessionKey,
    id: RequestId,
    token: Option<Box<[u8]>>,
    address: A,
    request: Request,
    label: MethodLabel,
    dialect: Dialect,
    /// The least severe log lines that a modern server was asked for.
    logs: Option<Level>,
    then: Then,
    position: u64,
    started: Instant,
    deadline: Instant,
    /// It waits for its client.
    is_held: bool,
    /// Kept for requests that may be sent to a second generation, once.
    again: Option<Message>,
    /// Its life in the log, at debug level.
    span: Span,
    /// Its life in its trace, while traces are exported.
    traced: Option<Box<Ongoing>>,
}

/// What an answer means besides itself.
#[derive(Debug)]
enum Then {
    Nothing,
    Subscribed(Arc<str>),
    LevelSet { asked: Level, before: Option<Level> },
    Initialized,
}

/// What is known of one session.
#[derive(Debug)]
struct Seat<A> {
    outlet: A,
    /// Its `initialize` was answered here.
    initialized: bool,
    capabilities: ClientCapabilities,
    /// What a modern server is told of it.
    introduction: Option<Box<Introduction>>,
    level: Option<Level>,
    in_flight: InFlight,
    asks: BTreeMap<u64, Ask<A>>,
    /// What it was asked about its own calls, by the ids of both.
    questions: BTreeMap<u64, u64>,
    next_ask: u64,
    untold: Untold,
    last_answer: Option<Instant>,
}

/// A request of the server that a client has not answered.
#[derive(Debug)]
struct Ask<A> {
    server_id: RequestId,
    token: Option<Box<[u8]>>,
    address: A,
    /// The client's request that it was attributed to.
    call: Option<u64>,
}

impl<A: Clone> Mux<A> {
    pub(crate) fn new(
        service: Service,
        settings: Arc<config::Bridge>,
        metrics: Arc<BridgeMetrics>,
    ) -> Mux<A> {
        Mux {
            service,
            settings,
            metrics,
            next: 0,
            calls: HashMap::default(),
            streams: 0,
            own: HashMap::default(),
            seats: HashMap::default(),
            asks: HashMap::default(),
            subscriptions: Subscriptions::default(),
            doubt: Doubt::default(),
            level: None,
            nearest: None,
            changed: Lists::default(),
            changes_due: None,
            tool_lists: 0,
            between_generations: false,
            modern: None,
        }
    }

    /// Takes over changed limits; they hold from the next request on.
    pub(crate) fn configure(&mut self, settings: Arc<config::Bridge>) {
        if let Service::Shared { asks } = &mut self.service {
            *asks = settings.isolation == config::Isolation::Shared;
        }
        self.settings = settings;
    }

    /// A session is there; its unsolicited messages go to `outlet`.
    pub(crate) fn open(
        &mut self,
        session: SessionKey,
        outlet: A,
        part: &Part,
        capabilities: ClientCapabilities,
    ) {
        self.seats.insert(
            session,
            Seat {
                outlet,
                initialized: false,
                capabilities,
                introduction: None,
                level: None,
                in_flight: InFlight::default(),
                asks: BTreeMap::new(),
                questions: BTreeMap::new(),
                next_ask: part.asks_above + 1,
                untold: Untold::default(),
                last_answer: None,
            },
        );
    }

    /// The instance becomes one of many sessions of a class.
    pub(crate) fn adopt(&mut self) {
        self.service = Service::Kept;
    }

    /// The calls of `session` wait for their client until then, and don't count as work of the server; with `None` the
    /// server has its time again.
    pub(crate) fn hold(&mut self, session: SessionKey, until: Option<Instant>, now: Instant) {
        let Some(seat) = self.seats.get(&session) else {
            return;
        };
        let deadline = until.unwrap_or(now + self.settings.timing.request_timeout);
        for k in seat.in_flight.at_server() {
            if let Some(call) = self.calls.get_mut(&k) {
                call.deadline = deadline;
                call.is_held = until.is_some();
            }
        }
        self.nearest = self.calls.values().map(|call| call.deadline).min();
    }

    /// Sessions that are there.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = SessionKey> {
        self.seats.keys().copied()
    }

    /// Requests of clients that the server has not answered and is to answer by itself.
    pub(crate) fn in_flight(&self) -> usize {
        self.calls.len() - self.streams
    }

    /// Whether everything that one session says is for its server alone, and the other way round.
    fn is_private(&self) -> bool {
        self.service == Service::Dedicated && self.modern.is_none()
    }

    /// Changes of the server's tools so far.
    pub(crate) fn tool_lists(&self) -> u64 {
        self.tool_lists
    }

    /// Those of them that the server is at work on, as far as is known.
    pub(crate) fn working(&self) -> usize {
        let works = |call: &&Call<A>| !call.is_held && !call.is_stream();
        self.calls.values().filter(works).count()
    }

    /// When [`Mux::tick`] has something to do.
    pub(crate) fn next_tick(&self) -> Option<Instant> {
        let feed = self.modern.as_ref().and_then(Modern::due);
        let due = [self.nearest, self.changes_due, feed];
        due.into_iter().flatten().min()
    }

    /// A new id for the server; never used twice, over all generations.
    fn mint(&mut self) -> u64 {
        self.next += 1;
        assert!(
            self.next <= LARGEST_ID,
            "2^53 requests take longer than the machine lives"
        );
        self.next
    }

    /// Sends a request of the bridge's own: `text` gets the id it is to carry.
    pub(crate) fn own_request(
        &mut self,
        request: OwnRequest,
        text: impl FnOnce(u64) -> String,
        out: &mut Output<A>,
    ) {
        let k = self.mint();
        if request != OwnRequest::Restore || self.own.len() < MAX_OWN {
            self.own.insert(k, request);
        }
        out.outbox.line(&[text(k).as_bytes()]);
    }

    /// The life of a request in the log; nothing where debug is off.
    fn span(&self, session: SessionKey, method: &str) -> Span {
        debug_span!(
            "request",
            bridge = self.settings.name,
            session = session.0,
            method = shown(method),
            k = Empty,
            outcome = Empty,
            duration = Empty,
        )
    }
}

/// Ends a request's life in the log.
fn over(span: &Span, outcome: Outcome, took: Duration) {
    if span.is_disabled() {
        return;
    }
    span.record("outcome", outcome.as_str());
    span.record("duration", tracing::field::debug(took));
    span.in_scope(|| debug!("request is over"));
}

/// A request that waits for a server to be ready.
#[derive(Debug)]
pub(crate) struct Waiting<A> {
    pub(crate) session: SessionKey,
    pub(crate) message: Message,
    pub(crate) address: A,
    /// It was delivered to a generation that died: it is not repeated a second time.
    pub(crate) repeated: bool,
}

/// As much of a name from outside as an error repeats.
fn shown(name: &str) -> &str {
    &name[..name.floor_char_boundary(100)]
}

#[cfg(test)]
impl<A> Mux<A> {
    /// Whether nothing is remembered of any session.
    pub(crate) fn is_empty(&self) -> bool {
        self.calls.is_empty()
            && self.streams == 0
            && self.seats.is_empty()
            && self.asks.is_empty()
            && self.subscriptions.is_empty()
    }
}
