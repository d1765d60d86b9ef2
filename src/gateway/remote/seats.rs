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
    /// By URI, the last request about its subscription that was accepted, and what ends when that is over.
    turns: HashMap<Arc<str>, (u64, CancellationToken)>,
    next_turn: u64,
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

/// The place of a subscription, or its end, among the others of its URI: the server gets them in order.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) uri: Arc<str>,
    number: u64,
    before: Option<CancellationToken>,
    _over: DropGuard,
}

impl Turn {
    /// Waits until it has come.
    pub(super) async fn comes(&self) {
        if let Some(before) = &self.before {
            before.cancelled().await;
        }
    }
}

/// What a server that is spoken with anew has to be told.
#[derive(Debug)]
pub(super) struct Wishes {
    pub(super) level: Option<Level>,
    pub(super) subscriptions: Vec<Turn>,
}

impl Seats {
    pub(super) fn new(exclusive: bool) -> Seats {
        Seats {
            exclusive,
            sessions: HashMap::new(),
            calls: HashMap::new(),
            subscriptions: Subscriptions::default(),
            told: None,
            turns: HashMap::new(),
            next_turn: 0,
        }
    }

    pub(super) fn is_exclusive(&self) -> bool {
        self.exclusive
    }

    pub(super) fn open(&mut self, session: SessionKey, outlet: Arc<Mailbox>) {
        let level = None;
        self.sessions.insert(session, Seat { outlet, level });
    }

    /// The session is over. Returns turns to end the subscriptions that nobody has any more.
    #[must_use]
    pub(super) fn close(&mut self, session: SessionKey) -> Vec<Turn> {
        self.sessions.remove(&session);
        let given_up = self.subscriptions.close(session);
        given_up
            .into_iter()
            .map(|uri| self.take_turn(uri))
            .collect()
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

    pub(super) fn take_turn(&mut self, uri: Arc<str>) -> Turn {
        let over = CancellationToken::new();
        self.next_turn += 1;
        let number = self.next_turn;
        let before = self.turns.insert(uri.clone(), (number, over.clone()));
        Turn {
            uri,
            number,
            before: before.map(|(_, over)| over),
            _over: over.drop_guard(),
        }
    }

    pub(super) fn end_turn(&mut self, turn: Turn) {
        let last = self.turns.get(&turn.uri).map(|(number, _)| *number);
        if last == Some(turn.number) {
            self.turns.remove(&turn.uri);
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
        let uris = self.subscriptions.granted_uris();
        Wishes {
            level: self.told,
            subscriptions: uris.into_iter().map(|uri| self.take_turn(uri)).collect(),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Sessions 1 and 2, who want log lines from `warning` and from `debug`.
    fn two() -> (Seats, [Arc<Mailbox>; 2]) {
        let mut seats = Seats::new(false);
        let outlets = [(); 2].map(|()| Mailbox::new(&Arc::default()));
        for (session, outlet) in [1, 2].into_iter().zip(&outlets) {
            seats.open(SessionKey(session), outlet.clone());
        }
        assert_eq!(
            seats.wants_level(SessionKey(1), Level::Warning),
            Some(Level::Warning)
        );
        assert_eq!(
            seats.wants_level(SessionKey(2), Level::Debug),
            Some(Level::Debug),
            "the server is told the most verbose"
        );
        assert_eq!(seats.wants_level(SessionKey(1), Level::Warning), None);
        (seats, outlets)
    }

    fn call(seats: &mut Seats, token: u64, session: u64) {
        let listener = Listener {
            session: SessionKey(session),
            address: Mailbox::new(&Arc::default()),
            token: None,
            heard: Notify::new(),
        };
        seats.call_began(token, Arc::new(listener));
    }

    fn notice(seats: &Seats, method: &str, params: &str) {
        let text = format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#);
        seats.notice(&Message::parse(text.into()).unwrap());
    }

    /// How many notifications each outlet has.
    async fn counts(outlets: [Arc<Mailbox>; 2]) -> [usize; 2] {
        let mut counts = [0; 2];
        for (outlet, count) in outlets.iter().zip(&mut counts) {
            outlet.close();
            let mut reader = outlet.reader();
            while reader.next().await.is_some() {
                *count += 1;
            }
        }
        counts
    }

    #[tokio::test]
    async fn a_log_line_goes_to_nobody_but_its_owner() {
        let (mut seats, outlets) = two();
        let info = r#"{"level":"info","data":1}"#;
        let error = r#"{"level":"error","data":1}"#;
        notice(&seats, "notifications/message", error);
        call(&mut seats, 1, 1);
        notice(&seats, "notifications/message", info);
        notice(&seats, "notifications/message", error);
        call(&mut seats, 2, 2);
        notice(&seats, "notifications/message", error);
        seats.call_ended(1);
        notice(&seats, "notifications/message", info);
        notice(&seats, "notifications/message", error);
        assert_eq!(counts(outlets).await, [1, 2]);
    }

    #[tokio::test]
    async fn a_changed_list_concerns_everybody_and_the_unknown_nobody() {
        let (seats, outlets) = two();
        notice(&seats, "notifications/prompts/list_changed", "{}");
        notice(&seats, "notifications/x", "{}");
        notice(
            &seats,
            "notifications/resources/updated",
            r#"{"uri":"a:b"}"#,
        );
        assert_eq!(counts(outlets).await, [1, 1]);
    }

    #[test]
    fn subscriptions_of_one_uri_take_turns() {
        let (mut seats, _) = two();
        let first = seats.take_turn("a:b".into());
        let second = seats.take_turn("a:b".into());
        let other = seats.take_turn("a:c".into());
        assert!(first.before.is_none() && other.before.is_none());
        let before = second.before.clone().unwrap();
        assert!(!before.is_cancelled());
        seats.end_turn(first);
        assert!(before.is_cancelled());
        assert_eq!(seats.turns.len(), 2);
        seats.end_turn(second);
        seats.end_turn(other);
        assert!(seats.turns.is_empty());
    }
}
