//! What the sessions send: given to the multiplexer, kept until the server is ready, or refused.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::{Actor, Life, Role, Waiter, report};
use crate::bridge::discovery::Discovery;
use crate::bridge::handshake::Hello;
use crate::bridge::instance::Command;
use crate::bridge::mailbox::{Delivery, DeliveryKind, Mailbox, Refusal};
use crate::bridge::mux::{SessionKey, Waiting};
use crate::bridge::state::Phase;
use crate::jsonrpc::{ErrorObject, Kind, Message, code};
use crate::mcp::{ClientNotification, Era, Request};
use crate::memory::fit;
use crate::metrics::{Dropped, Refused};

/// Requests that may wait for a server to be ready.
const MAX_WAITING: usize = 128;

impl Actor {
    pub(super) fn command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Open(session, facts) => {
                let outlet = facts.outlet.clone();
                self.mux.open(session, outlet, &facts.part, facts.declared);
                self.facts.insert(session, facts);
            }
            Command::Beat => drop(self.queued.beats.fetch_add(1, Ordering::Relaxed)),
            #[cfg(test)]
            Command::Panic => panic!("told to"),
            Command::Close(session) => {
                self.end_waiting_of(session);
                self.mux.close(session, now.into_std(), &mut self.out);
                self.facts.remove(&session);
                fit(&mut self.facts);
                if matches!(self.role, Role::Dedicated { hello: None, .. }) {
                    self.halt(now);
                }
            }
            Command::Hold(session, until) => {
                let until = until.map(Instant::into_std);
                self.mux.hold(session, until, now.into_std());
            }
            Command::Adopt(hello) => self.adopt(hello, now),
            Command::Message(session, message, address) => {
                self.queued
                    .incoming
                    .fetch_sub(message.text().len(), Ordering::Relaxed);
                match message.kind() {
                    Kind::Request => {
                        self.request(
                            Waiting {
                                session,
                                message,
                                address,
                                repeated: false,
                            },
                            now,
                        );
                    }
                    Kind::Notification if self.is_ready() => {
                        self.mux
                            .notification(session, &message, now.into_std(), &mut self.out);
                    }
                    Kind::Notification => self.notification_too_early(session, &message),
                    Kind::Answer => {
                        self.mux
                            .answer(session, &message, now.into_std(), &mut self.out);
                    }
                }
            }
        }
    }

    /// A request that waits for the server when its session ends is answered too: an HTTP response may wait for that.
    fn end_waiting_of(&mut self, session: SessionKey) {
        let error = ErrorObject::new(
            code::INVALID_REQUEST,
            "the session ended before the server was ready",
        );
        self.waiting.retain(|waiter| {
            let request = &waiter.request;
            if request.session != session {
                return true;
            }
            let body = error.response(request.message.id()).into();
            request.address.push(Delivery {
                kind: DeliveryKind::Answer,
                body,
            });
            false
        });
    }

    fn request(&mut self, request: Waiting<Arc<Mailbox>>, now: Instant) {
        let method = request.message.method();
        let class = Request::of(&method);
        if class == Request::Ping {
            return self.pass(request, now);
        }
        if self.draining.is_some() {
            let error = self.shutting_down();
            return self.refuse(&request, Refusal::ShuttingDown, &error, Refused::Draining);
        }
        if self.is_ready() || (class == Request::Initialize && self.takes_first_initialize()) {
            return self.pass(request, now);
        }
        let phase = self.status.borrow().phase;
        let until = now + self.patience(phase);
        if self.waiting.len() >= MAX_WAITING {
            let text = format!(
                "{MAX_WAITING} requests wait for bridge {} already",
                self.settings.name
            );
            let refusal = Refusal::Overloaded {
                retry_after: self.retry_after(now),
            };
            return self.refuse(
                &request,
                refusal,
                &ErrorObject::new(code::OVERLOADED, text),
                Refused::QueueFull,
            );
        }
        if until <= now {
            return self.refuse_unavailable(&request, now);
        }
        self.waiting.push_back(Waiter {
            request,
            since: now,
            until,
        });
    }

    /// How long a request may wait in this phase.
    fn patience(&self, phase: Phase) -> Duration {
        let timing = &self.settings.timing;
        let patience = match phase {
            Phase::Backoff => timing.start_wait,
            Phase::Quarantined | Phase::Unavailable | Phase::Stopped => Duration::ZERO,
            _ => timing.init_timeout,
        };
        patience.min(timing.request_timeout)
    }

    /// The server is in another phase: those who wait get that phase's time, within their own. A request that is to be
    /// repeated has a time of its own.
    pub(super) fn set_patience(&mut self, phase: Phase, now: Instant) {
        let until = now + self.patience(phase);
        let request_timeout = self.settings.timing.request_timeout;
        for waiter in &mut self.waiting {
            if !waiter.request.repeated {
                waiter.until = until.min(waiter.since + request_timeout);
            }
        }
    }

    /// Gives a request to the multiplexer, the server being ready for it.
    pub(super) fn pass(&mut self, request: Waiting<Arc<Mailbox>>, now: Instant) {
        let Waiting {
            session,
            message,
            address,
            repeated,
        } = request;
        let initialize = Request::of(&message.method()) == Request::Initialize;
        let own = matches!(self.role, Role::Dedicated { hello: None, .. });
        if initialize && own {
            self.expect_initialize(now);
        }
        if let (true, Some(handshake)) = (initialize, &self.handshake) {
            let now = now.into_std();
            let agreed =
                self.mux
                    .initialize(session, &message, &address, handshake, now, &mut self.out);
            if let (Some(agreed), Some(facts)) = (agreed, self.facts.get(&session)) {
                // A second initialize changes nothing.
                let _first = facts.version.set(agreed);
            }
            return;
        }
        self.mux.request(
            session,
            &message,
            address,
            repeated,
            now.into_std(),
            &mut self.out,
        );
    }

    /// Only what concerns a request that waits here still means something.
    fn notification_too_early(&mut self, session: SessionKey, message: &Message) {
        if ClientNotification::of(&message.method()) != ClientNotification::Cancelled {
            return;
        }
        let id = message.part(message.envelope().request_id);
        let Some(at) = self.waiting.iter().position(|waiter| {
            waiter.request.session == session && waiter.request.message.id() == id
        }) else {
            return self.site.metrics.dropped(Dropped::UnattributedNotification);
        };
        if let Some(waiter) = self.waiting.remove(at) {
            let error = ErrorObject::new(code::INVALID_REQUEST, "request cancelled by the client");
            let body = error.response(waiter.request.message.id()).into();
            waiter.request.address.push(Delivery {
                kind: DeliveryKind::Cancelled,
                body,
            });
        }
    }

    /// The server is ready: what waited for it goes on.
    pub(super) fn release_waiting(&mut self, now: Instant) {
        let ready = self.is_ready();
        for waiter in std::mem::take(&mut self.waiting) {
            if ready || self.takes_first_initialize() && report::is_initialize(&waiter.request) {
                self.pass(waiter.request, now);
            } else {
                self.waiting.push_back(waiter);
            }
        }
    }

    /// The spare that this instance was becomes one of many sessions.
    fn adopt(&mut self, adopted: Box<Hello>, now: Instant) {
        if let Role::Dedicated { hello, .. } = &mut self.role {
            *hello = Some(adopted);
        }
        self.mux.adopt();
        if let Life::Up(up) = &self.life
            && matches!(up.discovery, Discovery::Initializing(_))
        {
            self.initialize(now);
        }
    }

    /// A dedicated instance's server gets its client's own `initialize`, if it is a legacy one.
    fn takes_first_initialize(&self) -> bool {
        match (&self.role, &self.life) {
            (Role::Dedicated { hello: None, .. }, Life::Up(up)) => {
                matches!(up.discovery, Discovery::Initializing(_))
                    || up.discovery.era() == Some(Era::Legacy)
            }
            _ => false,
        }
    }
}
