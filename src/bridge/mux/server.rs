//! From the server to sessions.

use std::time::Instant;

use super::client::decimal;
use super::{Ask, Incoming, MAX_ASKS_PER_SESSION, Mux, Output, Service, SessionKey, Then};
use crate::bridge::mailbox::DeliveryKind;
use crate::jsonrpc::{Edit, ErrorObject, Kind, Message, RequestId, code};
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
                self.ask(&message, out);
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
        let Some(call) = id
            .and_then(RequestId::integer)
            .and_then(|k| self.calls.remove(&k))
        else {
            return;
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
        self.end_with(call, Outcome::Error, &error, DeliveryKind::Answer, now, out);
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
        let Some(call) = self.calls.remove(&k) else {
            if let Some(own) = self.own.remove(&k) {
                return Incoming::Own(own, message);
            }
            let reason = if k <= self.next {
                Dropped::LateAnswer
            } else {
                Dropped::UnknownAnswer
            };
            self.metrics.dropped(reason);
            return Incoming::Done;
        };
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
            Then::Subscribed(uri) if ok && self.seats.contains_key(&call.session) => {
                self.subscribers
                    .entry(uri)
                    .or_default()
                    .insert(call.session);
            }
            Then::LevelSet(level) if ok => {
                self.set_level(call.session, level);
                self.level = self.most_verbose();
            }
            _ => {}
        }
        Incoming::Done
    }

    fn filtered(&self, request: Request, message: &Message) -> Option<Vec<u8>> {
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
        let shared = self.service != Service::Dedicated;
        match ServerNotification::of(&message.method()) {
            ServerNotification::Progress => self.progress(&message, now, out),
            ServerNotification::Log => return self.log(message, out),
            ServerNotification::Cancelled => self.cancelled_by_server(&message, out),
            ServerNotification::Updated if shared => self.updated(&message, out),
            ServerNotification::ListChanged(list) if shared => self.list_changed(list, now, out),
            _ => match self.unsolicited_address() {
                Some(address) => out.deliver(
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
            .filter(|call| call.token.is_some());
        let (Some(call), Some(span)) = (call, span) else {
            return self.metrics.dropped(Dropped::UnattributedNotification);
        };
        call.extend(by, now);
        let body = message.replacing(span, call.token.as_deref().unwrap_or_default());
        out.deliver(&call.address, DeliveryKind::Notification, body);
    }

    fn updated(&mut self, message: &Message, out: &mut Output<A>) {
        let uri = message.part(message.envelope().uri).unwrap_or_default();
        let Some(sessions) = self.subscribers.get(uri) else {
            return self.metrics.dropped(Dropped::UnattributedNotification);
        };
        let body = message.editing(&mut []);
        for seat in sessions
            .iter()
            .filter_map(|session| self.seats.get(session))
        {
            out.deliver(&seat.outlet, DeliveryKind::Notification, body.clone());
        }
    }

    /// On a shared instance a log line goes to the session that owns the only live call, if that session has asked for
    /// lines of its level.
    fn log(&mut self, message: Message, out: &mut Output<A>) -> Incoming {
        let Some(address) = self.unsolicited_address() else {
            return Incoming::Log(message);
        };
        if self.service != Service::Dedicated {
            let wanted = self
                .calls
                .values()
                .next()
                .and_then(|call| self.seats.get(&call.session)?.level);
            let level = message
                .part(message.envelope().level)
                .and_then(Level::parse);
            let Some(wanted) = wanted else {
                return Incoming::Log(message);
            };
            if level.is_some_and(|level| level < wanted) {
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
    fn ask(&mut self, message: &Message, out: &mut Output<A>) {
        let Some((span, id)) = message.envelope().id.zip(message.id()) else {
            return;
        };
        let method = message.method();
        if method == "ping" {
            return out
                .outbox
                .line(&[br#"{"jsonrpc":"2.0","id":"#, id, br#","result":{}}"#]);
        }
        let Some((session, address)) = self.asked(&method) else {
            self.metrics.dropped(Dropped::UnroutableAsk);
            let text = format!(
                "{method} can't be routed: no single client's call is in progress that it could be about"
            );
            return out
                .outbox
                .line(&[&ErrorObject::new(code::METHOD_NOT_FOUND, text).response(Some(id))]);
        };
        let server_id = RequestId::new(id);
        let Some(seat) = self
            .seats
            .get_mut(&session)
            .filter(|seat| seat.asks.len() < MAX_ASKS_PER_SESSION)
        else {
            self.metrics.dropped(Dropped::UnroutableAsk);
            let error = ErrorObject::new(
                code::INTERNAL_ERROR,
                "too many requests wait for this client's answer",
            );
            return out.outbox.line(&[&error.response(Some(id))]);
        };
        if self.asks.contains_key(&server_id) {
            self.metrics.dropped(Dropped::UnroutableAsk);
            let error = ErrorObject::new(
                code::INVALID_REQUEST,
                "a request with this id waits for an answer already",
            );
            return out.outbox.line(&[&error.response(Some(id))]);
        }
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

    /// Whom a request of the server must be for: the owner of the only live call that may ask, if it declared that it
    /// can be asked; on a dedicated instance its one session.
    fn asked(&self, method: &str) -> Option<(SessionKey, A)> {
        let mut calls = self.calls.values().filter(|call| call.request.may_ask());
        let only = match (calls.next(), calls.next()) {
            (Some(call), None) => Some(call),
            _ => None,
        };
        match self.service {
            Service::Dedicated => {
                let (session, seat) = self.seats.iter().next()?;
                Some((
                    *session,
                    only.map_or(&seat.outlet, |call| &call.address).clone(),
                ))
            }
            Service::Shared { asks: false } => None,
            Service::Shared { asks: true } => {
                let call = only?;
                let seat = self.seats.get(&call.session)?;
                seat.capabilities
                    .covers(method)
                    .then(|| (call.session, call.address.clone()))
            }
        }
    }

    /// Where a notification goes that names no call: the address of the only live call; on a dedicated instance
    /// otherwise its session.
    fn unsolicited_address(&self) -> Option<A> {
        let mut calls = self.calls.values();
        if let (Some(call), None) = (calls.next(), calls.next()) {
            return Some(call.address.clone());
        }
        match self.service {
            Service::Dedicated => self.seats.values().next().map(|seat| seat.outlet.clone()),
            Service::Shared { .. } => None,
        }
    }
}
