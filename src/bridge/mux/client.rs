//! From a session to the server.

use std::time::{Duration, Instant};

use super::ends::cancel_at_server;
use super::judge::Verdict;
use super::modern::{Dialect, NEVER};
use super::{Call, LONGEST_REQUEST, Mux, Output, SessionKey, Then};
use crate::bridge::handshake::{Handshake, offered_version};
use crate::bridge::mailbox::{DeliveryKind, Refusal};
use crate::jsonrpc::{Edit, ErrorObject, Message, RequestId, code};
use crate::mcp::{ClientCapabilities, ClientNotification, Request};
use crate::memory::fit;
use crate::metrics::{Dropped, MethodLabel, Outcome};
use crate::trace;

impl<A: Clone> Mux<A> {
    /// A request of `session`: answered here, refused, or sent to the server under an id of its own. `repeated` says
    /// that it was delivered to an earlier generation and is not to be repeated again.
    pub(crate) fn request(
        &mut self,
        session: SessionKey,
        message: &Message,
        address: A,
        repeated: bool,
        now: Instant,
        out: &mut Output<A>,
    ) {
        let Some(id) = message.id() else { return };
        let method = message.method();
        let request = Request::of(&method);
        let stateless = self.is_stateless(session, message);
        let verdict = self.judge(session, id, request, &method, message, stateless);
        let (then, level, awaits) = match verdict {
            Verdict::Forward(then, level) => (then, level, false),
            Verdict::Await(uri) => (Then::Subscribed(uri), None, true),
            Verdict::AnswerHere => {
                let text = [
                    br#"{"jsonrpc":"2.0","id":"#.as_slice(),
                    id,
                    br#","result":{}}"#,
                ]
                .concat();
                if let Some(seat) = self.seats.get_mut(&session) {
                    seat.last_answer = Some(now);
                }
                if request == Request::Unsubscribe {
                    self.feed_later(now);
                }
                self.over_at_once(session, message, Outcome::Ok, None);
                return out.deliver(&address, DeliveryKind::Answer, bytes::Bytes::from(text));
            }
            Verdict::Refuse(refusal, error) => {
                self.over_at_once(session, message, Outcome::Refused, Some(error.code));
                return out.refuse(&address, id, refusal, &error);
            }
        };
        let k = self.mint();
        let log = self.span(session, &method);
        log.record("k", k);
        let mut traced = trace::begin(message, &self.settings.name, session.0);
        let asked = message;
        let told = traced.as_mut().and_then(|traced| traced.sent(message, k));
        let message = told.as_ref().unwrap_or(asked);
        let mut digits = [0; 20];
        let envelope = message.envelope();
        let id_span = envelope.id.expect("a request has an id");
        let level_text = level.map(|level| format!("\"{}\"", level.name()));
        // Id, progress token and level, without an allocation.
        let mut edits = [Edit {
            span: id_span,
            with: decimal(k, &mut digits),
        }; 3];
        let mut count = 1;
        if let Some(span) = envelope.meta_progress_token {
            edits[count].span = span;
            count += 1;
        }
        if let (Some(text), Some(span)) = (&level_text, envelope.level) {
            edits[count] = Edit {
                span,
                with: text.as_bytes(),
            };
            count += 1;
        }
        let position = out.outbox.position();
        let mut dialect = Dialect::Same;
        if awaits {
            dialect = Dialect::Awaiting;
        } else if self.modern.is_some() && !stateless {
            dialect = self.write_translated_request(k, session, request, message, out);
        } else {
            out.outbox.message(message, &mut edits[..count]);
            if stateless && request == Request::Listen {
                dialect = Dialect::Stream;
                self.streams += 1;
            }
        }
        let time = match dialect {
            Dialect::Stream => NEVER,
            _ => self.settings.timing.request_timeout,
        };
        let deadline = now + time;
        let logs = self.logs_wanted(session, message, stateless);
        self.nearest = Some(
            self.nearest
                .map_or(deadline, |nearest| nearest.min(deadline)),
        );
        let id = RequestId::new(id);
        if let Some(seat) = self.seats.get_mut(&session) {
            seat.in_flight.insert(id.clone(), k);
        }
        if let Then::Subscribed(uri) = &then {
            self.subscriptions.asked(session, uri, k);
        }
        let call = Call {
            session,
            id,
            token: message.part(envelope.meta_progress_token).map(Box::from),
            address,
            request,
            label: MethodLabel::of(&method),
            dialect,
            logs,
            then,
            position,
            started: now,
            deadline,
            is_held: false,
            again: (request.is_repeatable() && !repeated).then(|| asked.clone()),
            span: log,
            traced,
        };
        self.calls.insert(k, call);
        if awaits {
            self.feed(now, out);
        }
    }

    /// The `initialize` of a session of a shared instance: answered from the kept handshake. Returns the revision agreed on.
    pub(crate) fn initialize(
        &mut self,
        session: SessionKey,
        message: &Message,
        address: &A,
        handshake: &Handshake,
        now: Instant,
        out: &mut Output<A>,
    ) -> Option<String> {
        let id = message.id()?;
        let offered = match offered_version(message) {
            Ok(offered) => offered,
            Err(error) => {
                out.refuse(address, id, Refusal::Invalid, &error);
                return None;
            }
        };
        let params = message.part(message.envelope().params).unwrap_or_default();
        let introduction = match self.introduction(params) {
            Ok(introduction) => introduction,
            Err(error) => {
                out.refuse(address, id, Refusal::Invalid, &error);
                return None;
            }
        };
        let (answer, agreed) = handshake.answer(id, &offered);
        if let Some(seat) = self.seats.get_mut(&session) {
            seat.initialized = true;
            seat.introduction = introduction;
            seat.capabilities = ClientCapabilities::declared(params);
            seat.last_answer = Some(now);
        }
        self.over_at_once(session, message, Outcome::Ok, None);
        out.deliver(address, DeliveryKind::Answer, answer);
        Some(agreed)
    }

    /// A notification of `session`.
    pub(crate) fn notification(
        &mut self,
        session: SessionKey,
        message: &Message,
        now: Instant,
        out: &mut Output<A>,
    ) {
        let Some(seat) = self.seats.get(&session) else {
            return;
        };
        let shared = !self.is_private();
        let method = message.method();
        match ClientNotification::of(&method) {
            ClientNotification::Initialized | ClientNotification::RootsChanged if shared => {}
            ClientNotification::Cancelled => self.cancelled_by_client(session, message, now, out),
            ClientNotification::Progress => {
                let token = message.part(message.envelope().progress_token);
                if token.is_some() && seat.asks.values().any(|ask| ask.token.as_deref() == token) {
                    out.outbox.message(message, &mut []);
                } else {
                    self.metrics.dropped(Dropped::UnattributedNotification);
                }
            }
            // A request's method without an id: a server might act on it all the same, and answer nobody.
            ClientNotification::Other
                if shared
                    && !matches!(Request::of(&method), Request::Other | Request::Notification) =>
            {
                self.metrics.dropped(Dropped::UnattributedNotification);
            }
            _ => out.outbox.message(message, &mut []),
        }
    }

    fn cancelled_by_client(
        &mut self,
        session: SessionKey,
        message: &Message,
        now: Instant,
        out: &mut Output<A>,
    ) {
        let Some(span) = message.envelope().request_id else {
            return;
        };
        let id = span.of(message.text());
        let Some(k) = self
            .seats
            .get(&session)
            .and_then(|seat| seat.in_flight.get(id))
        else {
            return self.metrics.dropped(Dropped::UnattributedNotification);
        };
        let Some(call) = self.calls.remove(&k) else {
            return;
        };
        if call.request == Request::Initialize {
            self.calls.insert(k, call);
            return;
        }
        if call.is_at_server() {
            let mut digits = [0; 20];
            let with = decimal(k, &mut digits);
            out.outbox.message(message, &mut [Edit { span, with }]);
        }
        self.gave_up(k, &call, now, out);
        let error = ErrorObject::new(code::INVALID_REQUEST, "request cancelled by the client");
        self.end_with(
            call,
            Outcome::Cancelled,
            &error,
            DeliveryKind::Cancelled,
            now,
            out,
        );
    }

    /// The answer of `session` to a request of the server: passed on once, and only from the session that was asked.
    pub(crate) fn answer(
        &mut self,
        session: SessionKey,
        message: &Message,
        now: Instant,
        out: &mut Output<A>,
    ) {
        let minted = message.id().and_then(RequestId::integer);
        let mut seat = self.seats.get_mut(&session).zip(minted);
        let ask = (seat.as_mut()).and_then(|(seat, minted)| seat.asks.remove(minted));
        let (Some(ask), Some(span)) = (ask, message.envelope().id) else {
            if let Some((seat, minted)) = seat
                && let Some(k) = seat.questions.remove(&minted)
            {
                return self.answer_question(session, k, minted, message, now, out);
            }
            return self.metrics.dropped(Dropped::UnknownAnswer);
        };
        self.asks.remove(&ask.server_id);
        out.outbox.message(
            message,
            &mut [Edit {
                span,
                with: ask.server_id.as_bytes(),
            }],
        );
    }

    /// The session is over: its calls are cancelled, what it was asked is answered, what it subscribed to is given up.
    pub(crate) fn close(&mut self, session: SessionKey, now: Instant, out: &mut Output<A>) {
        let Some(seat) = self.seats.remove(&session) else {
            return;
        };
        fit(&mut self.seats);
        let error = ErrorObject::new(
            code::INVALID_REQUEST,
            "the session ended before the answer came",
        );
        for k in seat.in_flight.in_order() {
            let Some(call) = self.calls.remove(&k) else {
                continue;
            };
            cancel_at_server(k, &call, "client disconnected", out);
            self.gave_up(k, &call, now, out);
            self.end_with(
                call,
                Outcome::Cancelled,
                &error,
                DeliveryKind::Answer,
                now,
                out,
            );
        }
        for ask in seat.asks.into_values() {
            self.asks.remove(&ask.server_id);
            let gone = ErrorObject::new(
                code::INTERNAL_ERROR,
                "the client that was asked has disconnected",
            );
            out.outbox
                .line(&[&gone.response(Some(ask.server_id.as_bytes()))]);
        }
        let given_up = self.subscriptions.close(session);
        if self.between_generations || self.is_private() {
            return;
        }
        if self.modern.is_some() {
            if !given_up.is_empty() {
                self.feed_later(now);
            }
            return;
        }
        for uri in given_up {
            self.tell_uri("resources/unsubscribe", &uri, out);
        }
        if seat.level.is_some()
            && let Some(level) = self
                .most_verbose()
                .filter(|level| self.level != Some(*level))
        {
            self.tell_level(level, out);
        }
    }
}

impl<A> Call<A> {
    /// Progress arrived: the request's time starts anew, within the longest time that any request has.
    pub(super) fn extend(&mut self, by: Duration, now: Instant) {
        self.deadline = (now + by).min(self.started + LONGEST_REQUEST.max(by));
    }
}

/// The decimal digits of `number`.
pub(super) fn decimal(mut number: u64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + u8::try_from(number % 10).expect("a digit is below 10");
        number /= 10;
        if number == 0 {
            return &buffer[at..];
        }
    }
}
