//! From one generation of a server to the next: what ends with the old one, and what the new one is told.

use std::time::Instant;

use super::{Mux, Output, OwnRequest, Then, Waiting};
use crate::bridge::mailbox::DeliveryKind;
use crate::bridge::outbox::Outbox;
use crate::jsonrpc::ErrorObject;
use crate::mcp::{Level, ServerNotification};
use crate::metrics::Outcome;

impl<A: Clone> Mux<A> {
    /// The generation is over: every call ends with the error that `error` makes of it (told whether any byte was
    /// delivered), except those that may be asked again, which are returned for the next generation, the oldest first.
    /// Sessions, subscriptions and log levels stay.
    #[must_use]
    pub(crate) fn generation_ended(
        &mut self,
        repeat: bool,
        mut error: impl FnMut(bool) -> ErrorObject,
        now: Instant,
        out: &mut Output<A>,
    ) -> Vec<Waiting<A>> {
        let mut again = Vec::new();
        let mut calls: Vec<_> = std::mem::take(&mut self.calls).into_iter().collect();
        calls.sort_unstable_by_key(|(k, _)| *k);
        for (_, mut call) in calls {
            if let Some(message) = call.again.take().filter(|_| repeat) {
                if let Some(seat) = self.seats.get_mut(&call.session) {
                    seat.in_flight.remove(&call.id);
                }
                again.push(Waiting {
                    session: call.session,
                    message,
                    address: call.address,
                    repeated: true,
                });
                continue;
            }
            if let Then::LevelSet { asked, before } = call.then {
                self.take_level_back(call.session, asked, before);
            }
            let error = error(out.outbox.has_begun(call.position));
            self.end_with(
                call,
                Outcome::ServerGone,
                &error,
                DeliveryKind::Answer,
                now,
                out,
            );
        }
        for seat in self.seats.values_mut() {
            for (minted, ask) in std::mem::take(&mut seat.asks) {
                cancel_at_client(minted, &ask.address, "MCP server ended", out);
            }
        }
        self.asks.clear();
        self.tool_lists += 1;
        self.own.clear();
        self.subscriptions.generation_ended();
        self.doubt.clear();
        self.level = None;
        self.nearest = None;
        self.between_generations = true;
        self.modern = None;
        out.outbox = Outbox::default();
        again
    }

    /// A new generation is ready: brings it to the log level and the subscriptions of the sessions that outlived the
    /// last one, and tells them that lists may have changed, for each list that `has_list` says the server has.
    pub(crate) fn restore(
        &mut self,
        has_list: impl Fn(&str) -> bool,
        now: Instant,
        out: &mut Output<A>,
    ) {
        self.between_generations = false;
        if self.is_private() {
            return;
        }
        // A modern one has been told already.
        if self.modern.is_none() {
            if let Some(level) = self.most_verbose() {
                self.tell_level(level, out);
            }
            for uri in self.subscriptions.uris() {
                self.tell_uri("resources/subscribe", &uri, out);
            }
        }
        for (list, (capability, _)) in ServerNotification::LISTS.iter().enumerate() {
            if has_list(capability) {
                self.list_changed(list, now);
            }
        }
    }

    pub(super) fn most_verbose(&self) -> Option<Level> {
        self.seats.values().filter_map(|seat| seat.level).min()
    }

    pub(super) fn tell_level(&mut self, level: Level, out: &mut Output<A>) {
        self.level = Some(level);
        self.own_request(
            OwnRequest::Restore,
            |k| {
                let level = level.name();
                format!(r#"{{"jsonrpc":"2.0","id":{k},"method":"logging/setLevel","params":{{"level":"{level}"}}}}"#)
            },
            out,
        );
    }

    /// `method`: `resources/subscribe` or `resources/unsubscribe`.
    pub(super) fn tell_uri(&mut self, method: &str, uri: &str, out: &mut Output<A>) {
        let uri = serde_json::Value::from(uri);
        self.own_request(
            OwnRequest::Restore,
            |k| {
                format!(
                    r#"{{"jsonrpc":"2.0","id":{k},"method":"{method}","params":{{"uri":{uri}}}}}"#
                )
            },
            out,
        );
    }
}

/// Takes a request of the server back from the client that was asked.
pub(super) fn cancel_at_client<A: Clone>(
    minted: u64,
    address: &A,
    reason: &str,
    out: &mut Output<A>,
) {
    let text = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{minted},"reason":"{reason}"}}}}"#
    );
    out.deliver(
        address,
        DeliveryKind::Notification,
        bytes::Bytes::from(text),
    );
}
