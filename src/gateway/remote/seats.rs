//! Who sits on one connection: its sessions, their subscriptions and log levels, and the calls that wait for progress.
//!
//! Pure but for the mailboxes that it fills. What the server says unasked is given to whom it concerns: progress to its
//! call, updates to the subscribers, changed lists to everybody, a log line to the only session that it can come from.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::bridge::{Delivery, DeliveryKind, Mailbox, SessionKey, Subscriptions};
use crate::jsonrpc::{Body, Message, RequestId, string_value};
use crate::mcp::{Level, ServerNotification};

/// The sessions of one connection, and what they wait for.
#[derive(Debug)]
pub(super) struct Seats {
    /// Only one session ever sits here, so that whatever comes is for it.
    exclusive: bool,
    sessions: HashMap<SessionKey, Seat>,
    calls: HashMap<u64, Arc<Listener>>,
    pub(super) subscriptions: Subscriptions,
    /// The level that the server was told, unless it is unknown whether it listened.
    told: Option<Level>,
    /// Ends when the last subscription request that was sent is over.
    last_turn: CancellationToken,
}

#[derive(Debug)]
struct Seat {
    outlet: Arc<Mailbox>,
    level: Option<Level>,
}

/// A call as far as its progress is concerned.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) session: SessionKey,
    pub(super) address: Arc<Mailbox>,
    /// What the client calls its progress, when it wants any.
    pub(super) token: Option<Box<[u8]>>,
    /// Told when progress comes.
    pub(super) heard: Notify,
}

/// The place of a subscription request among the others of its connection: the server gets them in order.
#[derive(Debug)]
pub(super) struct Turn {
    /// Ends when it is this one's.
    pub(super) before: CancellationToken,
    /// Held until it is over.
    _done: DropGuard,
}

/// What a server that is spoken with anew has to be told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) level: Option<Level>,
    pub(super) uris: Vec<Arc<str>>,
}

impl Seats {
    pub(super) fn new(exclusive: bool) -> Seats {
        let last_turn = CancellationToken::new();
        last_turn.cancel();
        Seats {
            exclusive,
            sessions: HashMap::new(),
            calls: HashMap::new(),
            subscriptions: Subscriptions::default(),
            told: None,
            last_turn,
        }
    }

    pub(super) fn is_exclusive(&self) -> bool {
        self.exclusive
    }

    pub(super) fn open(&mut self, session: SessionKey, outlet: Arc<Mailbox>) {
        let level = None;
        self.sessions.insert(session, Seat { outlet, level });
    }

    /// The session is over. Returns the URIs that nobody is subscribed to any more.
    #[must_use]
    pub(super) fn close(&mut self, session: SessionKey) -> Vec<Arc<str>> {
        self.sessions.remove(&session);
        self.subscriptions.close(session)
    }

    pub(super) fn call_began(&mut self, token: u64, listener: Arc<Listener>) {
        self.calls.insert(token, listener);
    }

    pub(super) fn call_ended(&mut self, token: u64) {
        self.calls.remove(&token);
    }

    /// Calls in flight, over all sessions.
    pub(super) fn calls(&self) -> usize {
        self.calls.len()
    }

    pub(super) fn take_turn(&mut self) -> Turn {
        let own = CancellationToken::new();
        Turn {
            before: std::mem::replace(&mut self.last_turn, own.clone()),
            _done: own.drop_guard(),
        }
    }

    /// `session` wants log lines of `level` and above. Returns what the server is to be told, the most verbose level that
    /// any session wants, unless it was told that already.
    #[must_use]
    pub(super) fn wants_level(&mut self, session: SessionKey, level: Level) -> Option<Level> {
        if let Some(seat) = self.sessions.get_mut(&session) {
            seat.level = Some(level);
        }
        let verbose = self.most_verbose().unwrap_or(level);
        if self.told == Some(verbose) {
            return None;
        }
        self.told = Some(verbose);
        Some(verbose)
    }

    /// What the server makes of the level that it was told isn't known.
    pub(super) fn level_in_doubt(&mut self) {
        self.told = None;
    }

    /// The connection is gone, and what was on its way with it.
    pub(super) fn connection_ended(&mut self) {
        self.told = None;
        self.subscriptions.generation_ended();
    }

    /// What a server that knows nothing of the sessions has to be told.
    #[must_use]
    pub(super) fn wishes(&mut self) -> Wishes {
        self.told = self.most_verbose();
        Wishes {
            level: self.told,
            uris: self.subscriptions.granted_uris(),
        }
    }

    /// What the server says unasked.
    pub(super) fn notice(&self, message: &Message) {
        match ServerNotification::of(&message.method()) {
            ServerNotification::Progress => self.progress(message),
            ServerNotification::Updated => {
                let uri = message.part(message.envelope().uri).and_then(string_value);
                let uri = uri.as_deref().unwrap_or_default();
                self.tell(self.subscriptions.subscribers(uri), message);
            }
            ServerNotification::ListChanged(_) => self.tell(self.sessions.keys().copied(), message),
            ServerNotification::Log => self.log(message),
            // It is about a request of the server, and rmcp has answered those.
            ServerNotification::Cancelled => {}
            ServerNotification::Other if self.exclusive => {
                self.tell(self.sessions.keys().copied(), message);
            }
            ServerNotification::Other => {}
        }
    }

    fn progress(&self, message: &Message) {
        let Some(span) = message.envelope().progress_token else {
            return;
        };
        let token = RequestId::integer(span.of(message.text()));
        let Some(call) = token.and_then(|token| self.calls.get(&token)) else {
            return;
        };
        call.heard.notify_one();
        if let Some(token) = &call.token {
            push(&call.address, message.replacing(span, token));
        }
    }

    /// A log line doesn't say whose call it is about: it goes to the session that has the only calls in flight, or to the
    /// only session, if that has asked for lines of its level.
    fn log(&self, message: &Message) {
        let mut owners = self.calls.values().map(|call| call.session);
        let owner = match owners.next() {
            Some(first) => owners.all(|owner| owner == first).then_some(first),
            None => {
                let mut sessions = self.sessions.keys().copied();
                sessions.next().filter(|_| sessions.next().is_none())
            }
        };
        let level = message
            .part(message.envelope().level)
            .and_then(Level::parse);
        let wanted = owner
            .and_then(|owner| self.sessions.get(&owner)?.level)
            .is_some_and(|wanted| level.is_some_and(|level| level >= wanted));
        if wanted {
            self.tell(owner.into_iter(), message);
        }
    }

    fn tell(&self, sessions: impl Iterator<Item = SessionKey>, message: &Message) {
        let body = message.editing(&mut []);
        for seat in sessions.filter_map(|session| self.sessions.get(&session)) {
            push(&seat.outlet, body.clone());
        }
    }

    fn most_verbose(&self) -> Option<Level> {
        self.sessions.values().filter_map(|seat| seat.level).min()
    }
}

fn push(mailbox: &Mailbox, body: Body) {
    let kind = DeliveryKind::Notification;
    mailbox.push(Delivery { kind, body });
}
