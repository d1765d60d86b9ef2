//! One client's conversation with a remote server: what it asks is judged here, and sent as a [`Call`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::call::{Call, Then};
use super::line::Line;
use super::seats::{Listener, Turn};
use crate::bridge::{
    Delivery, DeliveryKind, MAX_IN_FLIGHT_PER_SESSION, MAX_URI, Mailbox, Refusal, SessionKey,
};
use crate::jsonrpc::{ErrorObject, Kind, Message, RequestId, code, string_value};
use crate::mcp::{ClientNotification, Level, Request};

/// Numbers sessions.
static SESSIONS: AtomicU64 = AtomicU64::new(1);
/// Numbers calls; the server knows their progress by these numbers.
static CALLS: AtomicU64 = AtomicU64::new(1);

/// One client's conversation. Dropping it cancels its calls and ends its subscriptions, and a connection of its own.
#[derive(Debug)]
pub(crate) struct Session {
    line: Arc<Line>,
    key: SessionKey,
    pub(super) outlet: Arc<Mailbox>,
    in_flight: Arc<InFlight>,
    /// Ends its calls.
    over: CancellationToken,
    /// Ends a connection of its own.
    _connection: Option<DropGuard>,
}

/// The requests that wait for an answer, by the client's ids, and what cancels them.
#[derive(Debug, Default)]
pub(super) struct InFlight(Mutex<HashMap<RequestId, CancellationToken>>);

/// What becomes of a request.
enum Verdict {
    /// It goes to the server.
    Forward(Then, Option<Turn>),
    /// `{}`.
    AnswerHere,
    /// It is refused.
    Refuse(Refusal, Box<ErrorObject>),
}

impl Session {
    pub(super) fn new(line: Arc<Line>, outlet: Arc<Mailbox>, own: Option<DropGuard>) -> Session {
        let key = SessionKey(SESSIONS.fetch_add(1, Ordering::Relaxed));
        line.seats().open(key, outlet.clone());
        Session {
            line,
            key,
            outlet,
            in_flight: Arc::default(),
            over: CancellationToken::new(),
            _connection: own,
        }
    }

    /// Sends a message of the client; never waits. A request gets exactly one delivery at `address` that ends it, under
    /// its own id, whatever happens; its progress goes there before that. Unsolicited notifications go to the outlet.
    pub(crate) fn send(&self, message: Message, address: &Arc<Mailbox>) {
        match message.kind() {
            Kind::Request => self.request(message, address),
            Kind::Notification => self.notification(&message),
            // The server never asks.
            Kind::Answer => {}
        }
    }

    /// Whether the server will not be spoken with any more.
    pub(crate) fn is_over(&self) -> bool {
        self.line.is_stopped()
    }

    fn request(&self, message: Message, address: &Arc<Mailbox>) {
        let Some(id) = message.id() else { return };
        let token = CALLS.fetch_add(1, Ordering::Relaxed);
        let request_id = RequestId::new(id);
        let cancelled = self.over.child_token();
        let verdict = match self.in_flight.begin(&request_id, &cancelled) {
            Ok(()) => self.judge(&message, token),
            Err(verdict) => return answer_here(verdict, id, address),
        };
        let Verdict::Forward(then, turn) = verdict else {
            self.in_flight.ended(&request_id);
            return answer_here(verdict, id, address);
        };
        let progress = message.part(message.envelope().meta_progress_token);
        let listener = Arc::new(Listener {
            session: self.key,
            address: address.clone(),
            token: progress.map(Box::from),
            heard: Notify::new(),
        });
        self.line.seats().call_began(token, listener.clone());
        let call = Call {
            line: self.line.clone(),
            message: Arc::new(message),
            token,
            listener,
            cancelled,
            in_flight: self.in_flight.clone(),
            then,
            turn,
        };
        self.line.spawn(Box::pin(call.run()));
    }

    fn judge(&self, message: &Message, token: u64) -> Verdict {
        let method = message.method();
        match Request::of(&method) {
            Request::Ping => Verdict::AnswerHere,
            Request::Initialize => {
                Verdict::invalid(code::INVALID_REQUEST, "the server is initialized already")
            }
            Request::Notification => {
                let text = format!("{} is a notification: it has no id", shown(&method));
                Verdict::invalid(code::METHOD_NOT_FOUND, text)
            }
            Request::Task if !self.line.seats().is_exclusive() => {
                let text = format!(
                    "{} would reach other clients' tasks: the connection to the remote server {} is shared",
                    shown(&method),
                    self.line.name()
                );
                Verdict::invalid(code::METHOD_NOT_FOUND, text)
            }
            Request::CallTool => self.judge_tool(message),
            Request::ListTools => Verdict::Forward(Then::ToolsListed, None),
            Request::SetLevel => self.judge_level(message),
            Request::Subscribe => self.judge_subscription(message, Some(token)),
            Request::Unsubscribe => self.judge_subscription(message, None),
            _ => Verdict::Forward(Then::Nothing, None),
        }
    }

    fn judge_tool(&self, message: &Message) -> Verdict {
        let tools = &self.line.settings.tools;
        if tools.is_open() {
            return Verdict::Forward(Then::Nothing, None);
        }
        let name = message.part(message.envelope().name).and_then(string_value);
        match name {
            None => Verdict::invalid(code::INVALID_PARAMS, "params.name must be a string"),
            Some(name) if tools.permits(&name) => Verdict::Forward(Then::Nothing, None),
            Some(name) => {
                let text = format!("unknown tool: {}", shown(&name));
                Verdict::invalid(code::INVALID_PARAMS, text)
            }
        }
    }

    fn judge_level(&self, message: &Message) -> Verdict {
        let level = message
            .part(message.envelope().level)
            .and_then(Level::parse);
        let Some(level) = level else {
            let text = "params.level must be one of the protocol's eight levels";
            return Verdict::invalid(code::INVALID_PARAMS, text);
        };
        match self.line.seats().wants_level(self.key, level) {
            Some(level) => Verdict::Forward(Then::LevelSet(level), None),
            None => Verdict::AnswerHere,
        }
    }

    /// The server hears of the first subscription to a URI and of the last one's end. `asked` is the call's number when it
    /// is no end.
    fn judge_subscription(&self, message: &Message, asked: Option<u64>) -> Verdict {
        let uri = message.part(message.envelope().uri).and_then(string_value);
        let Some(uri) = uri else {
            return Verdict::invalid(code::INVALID_PARAMS, "params.uri must be a string");
        };
        if uri.len() > MAX_URI {
            let text = format!("params.uri has more than {MAX_URI} bytes");
            return Verdict::invalid(code::INVALID_PARAMS, text);
        }
        let mut seats = self.line.seats();
        let subscriptions = &mut seats.subscriptions;
        let Some(call) = asked else {
            if subscriptions.leave(self.key, &uri) {
                let turn = seats.take_turn(uri.into());
                return Verdict::Forward(Then::Nothing, Some(turn));
            }
            return Verdict::AnswerHere;
        };
        if let Err(limit) = subscriptions.admits(self.key, &uri) {
            return Verdict::invalid(code::OVERLOADED, limit);
        }
        let uri = Arc::<str>::from(uri);
        if subscriptions.join(self.key, &uri) {
            return Verdict::AnswerHere;
        }
        subscriptions.asked(self.key, &uri, call);
        let turn = seats.take_turn(uri);
        Verdict::Forward(Then::Subscribed, Some(turn))
    }

    fn notification(&self, message: &Message) {
        // The others are between a client and the gateway.
        if ClientNotification::of(&message.method()) == ClientNotification::Cancelled
            && let Some(id) = message.part(message.envelope().request_id)
        {
            self.in_flight.cancel(id);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.over.cancel();
        self.outlet.close();
        let given_up = self.line.seats().close(self.key);
        self.line.unsubscribe(given_up);
    }
}

impl InFlight {
    /// The request is over.
    pub(super) fn ended(&self, id: &RequestId) {
        self.lock().remove(id);
    }

    /// # Errors
    /// The id is in use, or there are too many.
    fn begin(&self, id: &RequestId, cancelled: &CancellationToken) -> Result<(), Verdict> {
        let mut requests = self.lock();
        if requests.contains_key(id) {
            let text = "a request with this id is in flight already";
            return Err(Verdict::invalid(code::INVALID_REQUEST, text));
        }
        if requests.len() >= MAX_IN_FLIGHT_PER_SESSION {
            let text =
                format!("this session has {MAX_IN_FLIGHT_PER_SESSION} requests in flight already");
            let error = ErrorObject::new(code::OVERLOADED, text);
            return Err(Verdict::Refuse(Refusal::TooManyInFlight, Box::new(error)));
        }
        requests.insert(id.clone(), cancelled.clone());
        Ok(())
    }

    fn cancel(&self, id: &[u8]) {
        if let Some(cancelled) = self.lock().get(id) {
            cancelled.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RequestId, CancellationToken>> {
        self.0
            .lock()
            .expect("no code panics while it holds the requests in flight")
    }
}

impl Verdict {
    fn invalid(code: i32, text: impl Into<String>) -> Verdict {
        Verdict::Refuse(Refusal::Invalid, Box::new(ErrorObject::new(code, text)))
    }
}

/// Delivers what was decided without the server.
fn answer_here(verdict: Verdict, id: &[u8], address: &Mailbox) {
    let (kind, body) = match verdict {
        Verdict::Refuse(refusal, error) => {
            (DeliveryKind::Refusal(refusal), error.response(Some(id)))
        }
        Verdict::Forward(..) | Verdict::AnswerHere => {
            let text = [
                br#"{"jsonrpc":"2.0","id":"#.as_slice(),
                id,
                br#","result":{}}"#,
            ];
            (DeliveryKind::Answer, text.concat().into())
        }
    };
    let body = body.into();
    address.push(Delivery { kind, body });
}

/// The beginning of a name that a client made up.
fn shown(name: &str) -> &str {
    &name[..name.floor_char_boundary(64)]
}
