//! From the server to sessions.

use std::time::Instant;

use super::client::decimal;
use super::generations::cancel_at_client;
use super::modern::Dialect;
use super::{
    Ask, Call, Incoming, MAX_ASKS_PER_SESSION, Mux, Output, Service, SessionKey, Then, shown,
};
use crate::bridge::instance::MAX_QUEUED;
use crate::bridge::mailbox::DeliveryKind;
use crate::jsonrpc::{
    Edit, ErrorObject, Kind, Message, RequestId, code, retain_members, string_value,
};
use crate::mcp::era::key;
use crate::mcp::{Level, Request, ServerNotification, keep_tools};
use crate::metrics::{Dropped, Outcome};

impl<A: Clone> Mux<A> {
    /// A line of the server's stdout.
    pub(crate) fn receive(
        &mut self,
        message: Message,
        now: Instant,
        out: &mut Output<A>,
    ) -> Incoming {
        match message.kind() {
            Kind::Answer => self.server_answer(message, now, out),
            Kind::Notification => self.server_notification(message, now, out),
            Kind::Request => {
                self.ask(&message, now, out);
                Incoming::Done
            }
        }
    }

    /// A line of the server was over the limit and is lost; `id` is its top-level id where it had one. The request that
    /// it answered ends with an error.
    pub(crate) fn oversize(
        &mut self,
        id: Option<&[u8]>,
        bytes: u64,
        now: Instant,
        out: &mut Output<A>,
    ) {
        self.metrics.dropped(Dropped::Oversize);
        let Some(k) = id.and_then(RequestId::integer) else {
            return;
        };
        let at_server = self.calls.get(&k).is_some_and(Call::is_at_server);
        let Some(call) = at_server.then(|| self.calls.remove(&k)).flatten() else {
            self.own.remove(&k);
            return self.doubt.ends(k);
        };
        let limit = self.settings.limits.max_message;
        let error = ErrorObject {
            code: code::TOO_LARGE,
            message: format!(
                "MCP server answered with {bytes} bytes, over the limit of {limit} (max_message)"
            ),
            data: Some(serde_json::json!({
                "source": "bridge", "kind": "too_large", "bridge": self.settings.name,
                "bytes": bytes, "limit": limit, "delivered": true,
            })),
        };
        self.gave_up(k, &call, now, out);
        self.doubt.ends(k);
        self.end_with(call, Outcome::Error, &error, DeliveryKind::Answer, now, out);
    }

    /// A request of the server was over the limit and is lost: the server is told, or it would wait for ever.
    pub(crate) fn oversize_ask(&mut self, id: &[u8], bytes: u64, out: &mut Output<A>) {
        self.metrics.dropped(Dropped::Oversize);
        let limit = self.settings.limits.max_message;
        let text = format!("a request of {bytes} bytes is over the limit of {limit} (max_message)");
        let error = ErrorObject::new(code::TOO_LARGE, text);
        out.outbox.line(&[&error.response(Some(id))]);
    }

    fn server_answer(&mut self, message: Message, now: Instant, out: &mut Output<A>) -> Incoming {
        let Some((span, k)) = message
            .envelope()
            .id
            .zip(message.id().and_then(RequestId::integer))
        else {
            self.metrics.dropped(Dropped::UnknownAnswer);
            return Incoming::Done;
        };
        let Some(mut call) = self.calls.remove(&k) else {
            if let Some(own) = self.own.remove(&k) {
                return Incoming::Own(own, message);
            }
            if self.feed_answered(k, &message, now, out) {
                return Incoming::Done;
            }
            self.doubt.ends(k);
            let reason = if k <= self.next {
                Dropped::LateAnswer
            } else {
                Dropped::UnknownAnswer
            };
            self.metrics.dropped(reason);
            return Incoming::Done;
        };
        if let Some(traced) = &mut call.traced {
            traced.answered(&message);
        }
        if !matches!(call.dialect, Dialect::Same) {
            return self.answer_in_dialect(k, call, span, &message, now, out);
        }
        let ok = message.envelope().result.is_some();
        self.ended(&call, if ok { Outcome::Ok } else { Outcome::Error }, now);
        let body = match self
            .filtered(call.request, &message)
            .zip(message.envelope().result)
        {
            Some((result, result_span)) => message.editing(&mut [
                Edit {
                    span,
                    with: call.id.as_bytes(),
                },
                Edit {
                    span: result_span,
                    with: &result,
                },
            ]),
            None => message.replacing(span, call.id.as_bytes()),
        };
        out.deliver(&call.address, DeliveryKind::Answer, body);
        match call.then {
            Then::Initialized if ok => return Incoming::Initialized(message),
            Then::Subscribed(uri) if ok => self.subscriptions.granted(call.session, &uri, k),
            Then::Subscribed(uri) if self.subscriptions.refused(call.session, &uri, k) => {
                self.tell_uri("resources/unsubscribe", &uri, out);
            }
            Then::LevelSet { asked, before } if !ok => {
                self.take_level_back(call.session, asked, before);
            }
            _ => {}
        }
        Incoming::Answered
    }

    pub(super) fn filtered(&self, request: Request, message: &Message) -> Option<Vec<u8>> {
        if request != Request::ListTools || self.settings.tools.is_open() {
            return None;
        }
        keep_tools(message.part(message.envelope().result)?, |name| {
            self.settings.tools.permits(name)
        })
    }

    fn server_notification(
        &mut self,
        message: Message,
        now: Instant,
        out: &mut Output<A>,
    ) -> Incoming {
        if let (Some(stream), Some(_)) = (message.envelope().subscription_id, &self.modern) {
            self.streamed(&message, stream, now, out);
            return Incoming::Done;
        }
        let shared = !self.is_private();
        match ServerNotification::of(&message.method()) {
            ServerNotification::Progress => self.progress(&message, now, out),
            ServerNotification::Log if self.modern.is_some() => {
                return self.modern_log(message, now, out);
            }
            ServerNotification::Log => return self.log(message, now, out),
            ServerNotification::Cancelled if self.modern.is_some() => {
                self.stream_taken_back(&message, now, out);
            }
            ServerNotification::Cancelled => self.cancelled_by_server(&message, out),
            ServerNotification::Updated if shared => self.updated(&message, out),
            ServerNotification::ListChanged(list) if shared => self.list_changed(list, now),
            _ => match self.unsolicited_owner(now) {
                Some((_, address)) => out.deliver(
                    &address,
                    DeliveryKind::Notification,
                    message.editing(&mut []),
                ),
                None => self.metrics.dropped(Dropped::UnattributedNotification),
            },
        }
        Incoming::Done
    }

    fn progress(&mut self, message: &Message, now: Instant, out: &mut Output<A>) {
        let by = self.settings.timing.request_timeout;
        let span = message.envelope().progress_token;
        let k = message.part(span).and_then(RequestId::integer);
        let call = k
            .and_then(|k| self.calls.get_mut(&k))
            .filter(|call| call.token.is_some() && call.is_at_server());
        let (Some(call), Some(span)) = (call, span) else {
            return self.metrics.dropped(Dropped::UnattributedNotification);
        };
        call.extend(by, now);
        let body = message.replacing(span, call.token.as_deref().unwrap_or_default());
        out.deliver(&call.address, DeliveryKind::Notification, body);
    }

    /// To who subscribed to it. The stream that it came in is nobody's but the bridge's.
    pub(super) fn updated(&mut self, message: &Message, out: &mut Output<A>) {
        let uri = message.part(message.envelope().uri).and_then(string_value);
        let mut sessions = self
            .subscriptions
            .subscribers(uri.as_deref().unwrap_or_default())
            .peekable();
        if sessions.peek().is_none() {
            return self.metrics.dropped(Dropped::UnattributedNotification);
        }
        let named = message.envelope().subscription_id.is_some();
        let meta = message.envelope().meta.filter(|_| named);
        let anonymous = meta.and_then(|meta| {
            let others = |key: &[u8]| key != key::SUBSCRIPTION.as_bytes();
            Some((meta, retain_members(meta.of(message.text()), others)?))
        });
        let body = match &anonymous {
            Some((span, with)) => message.replacing(*span, with),
            None => message.editing(&mut []),
        };
        for seat in sessions.filter_map(|session| self.seats.get(&session)) {
            out.deliver(&seat.outlet, DeliveryKind::Notification, body.clone());
        }
    }

    /// On a shared instance a log line goes to the session that owns the only live call, if that session has asked for
    /// lines of its level.
    fn log(&mut self, message: Message, now: Instant, out: &mut Output<A>) -> Incoming {
        let Some((session, address)) = self.unsolicited_owner(now) else {
            return Incoming::Log(message);
        };
        if self.service != Service::Dedicated {
            let wanted = self.seats.get(&session).and_then(|seat| seat.level);
            let level = message
                .part(message.envelope().level)
                .and_then(Level::parse);
            let wants = |wanted| level.is_none_or(|level| level >= wanted);
            if !wanted.is_some_and(wants) {
                return Incoming::Log(message);
            }
        }
        out.deliver(
            &address,
            DeliveryKind::Notification,
            message.editing(&mut []),
        );
        Incoming::Done
    }

    fn cancelled_by_server(&mut self, message: &Message, out: &mut Output<A>) {
        let span = message.envelope().request_id;
        let asked = message.part(span).and_then(|id| self.asks.remove(id));
        let (Some((session, minted)), Some(span)) = (asked, span) else {
            return self.metrics.dropped(Dropped::UnattributedNotification);
        };
        if let Some(ask) = self
            .seats
            .get_mut(&session)
            .and_then(|seat| seat.asks.remove(&minted))
        {
            let mut digits = [0; 20];
            let body = message.replacing(span, decimal(minted, &mut digits));
            out.deliver(&ask.address, DeliveryKind::Notification, body);
        }
    }

    /// A request of the server: `ping` is answered here, everything else goes to the session that it must be about, or
    /// is refused. Never guessed.
    fn ask(&mut self, message: &Message, now: Instant, out: &mut Output<A>) {
        let Some((span, id)) = message.envelope().id.zip(message.id()) else {
            return;
        };
        if out.outbox.len() >= MAX_QUEUED {
            // It asks and reads no answers.
            return self.metrics.dropped(Dropped::UnroutableAsk);
        }
        let method = message.method();
        if method == "ping" {
            return out
                .outbox
                .line(&[br#"{"jsonrpc":"2.0","id":"#, id, br#","result":{}}"#]);
        }
        if self.asks.contains_key(id) {
            let text = "a request with this id waits for an answer already";
            return self.refuse_ask(id, code::INVALID_REQUEST, text, out);
        }
        let Some((session, address, call)) = self.asked(&method, now) else {
            let text = format!(
                "{} can't be routed: no single client's call is in progress that it could be about",
                shown(&method)
            );
            return self.refuse_ask(id, code::METHOD_NOT_FOUND, &text, out);
        };
        self.forget_moot_asks(session, out);
        let Some(seat) = self
            .seats
            .get_mut(&session)
            .filter(|seat| seat.asks.len() < MAX_ASKS_PER_SESSION)
        else {
            let text = "too many requests wait for this client's answer";
            return self.refuse_ask(id, code::INTERNAL_ERROR, text, out);
        };
        let server_id = RequestId::new(id);
        let minted = seat.next_ask;
        seat.next_ask += 1;
        let token = message
            .part(message.envelope().meta_progress_token)
            .map(Box::from);
        seat.asks.insert(
            minted,
            Ask {
                server_id: server_id.clone(),
                token,
                address: address.clone(),
                call,
            },
        );
        self.asks.insert(server_id, (session, minted));
        let mut digits = [0; 20];
        out.deliver(
            &address,
            DeliveryKind::Request,
            message.replacing(span, decimal(minted, &mut digits)),
        );
    }

    fn refuse_ask(&self, id: &[u8], code: i32, text: &str, out: &mut Output<A>) {
        self.metrics.dropped(Dropped::UnroutableAsk);
        let error = ErrorObject::new(code, text);
        out.outbox.line(&[&error.response(Some(id))]);
    }

    /// When a session has as many open requests of the server as it may, those go whose call is over.
    fn forget_moot_asks(&mut self, session: SessionKey, out: &mut Output<A>) {
        let Some(seat) = self
            .seats
            .get_mut(&session)
            .filter(|seat| seat.asks.len() >= MAX_ASKS_PER_SESSION)
        else {
            return;
        };
        let calls = &self.calls;
        let is_moot = |ask: &mut Ask<A>| ask.call.is_some_and(|k| !calls.contains_key(&k));
        for (minted, ask) in seat.asks.extract_if(.., |_, ask| is_moot(ask)) {
            self.asks.remove(&ask.server_id);
            let error = ErrorObject::new(code::INTERNAL_ERROR, "the client did not answer");
            out.outbox
                .line(&[&error.response(Some(ask.server_id.as_bytes()))]);
            cancel_at_client(minted, &ask.address, "its call is over", out);
        }
    }

    /// Whom a request of the server must be for, and which call it is about: the owner of the only live call that may
    /// ask, if it declared that it can be asked; on a dedicated instance its one session.
    fn asked(&mut self, method: &str, now: Instant) -> Option<(SessionKey, A, Option<u64>)> {
        if self.modern.is_some() {
            // It says what it wants to know in its answers, and nowhere else.
            return None;
        }
        let mut calls = self.calls.iter().filter(|(_, call)| call.request.may_ask());
        let only = match (calls.next(), calls.next()) {
            (Some(call), None) => Some(call),
            _ => None,
        };
        match self.service {
            Service::Dedicated => {
                let (session, seat) = self.seats.iter().next()?;
                let address = only.map_or(&seat.outlet, |(_, call)| &call.address);
                Some((*session, address.clone(), only.map(|(k, _)| *k)))
            }
            Service::Shared { asks: false } => None,
            Service::Shared { asks: true } | Service::Kept => {
                let (k, call) = only?;
                let seat = self.seats.get(&call.session)?;
                let sure = seat.capabilities.covers(method)
                    && !self.doubt.about_others(call.session, true, now);
                sure.then(|| (call.session, call.address.clone(), Some(*k)))
            }
        }
    }

    /// Whose a notification is that names no call, and where it goes: to the only live call; on a dedicated instance
    /// otherwise to its session.
    fn unsolicited_owner(&mut self, now: Instant) -> Option<(SessionKey, A)> {
        if self.modern.is_some() {
            return self.modern_owner(now);
        }
        let mut calls = self.calls.values();
        if let (Some(call), None) = (calls.next(), calls.next()) {
            let shared = self.service != Service::Dedicated;
            if shared && self.doubt.about_others(call.session, false, now) {
                return None;
            }
            return Some((call.session, call.address.clone()));
        }
        match self.service {
            Service::Dedicated => {
                let (session, seat) = self.seats.iter().next()?;
                Some((*session, seat.outlet.clone()))
            }
            Service::Shared { .. } | Service::Kept => None,
        }
    }
}
