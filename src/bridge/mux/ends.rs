//! How calls end, if not by their answers.

use std::time::Instant;

use super::{Call, Mux, Output, SessionKey, Then, over};
use crate::bridge::mailbox::DeliveryKind;
use crate::jsonrpc::{ErrorObject, code};
use crate::mcp::{Level, Request};
use crate::metrics::Outcome;

impl<A: Clone> Mux<A> {
    /// Ends calls whose time is over, and sends what was held back to be coalesced.
    pub(crate) fn tick(&mut self, now: Instant, out: &mut Output<A>) {
        if self.nearest.is_some_and(|due| due <= now) {
            let over: Vec<u64> = self
                .calls
                .iter()
                .filter(|(_, call)| call.deadline <= now)
                .map(|(k, _)| *k)
                .collect();
            for k in over {
                let Some(call) = self.calls.remove(&k) else {
                    continue;
                };
                let waited = now.duration_since(call.started);
                let error = ErrorObject {
                    code: code::TIMEOUT,
                    message: format!(
                        "MCP server did not answer within {:.1} s",
                        waited.as_secs_f64()
                    ),
                    data: Some(serde_json::json!({
                        "source": "bridge", "kind": "timeout", "bridge": self.settings.name,
                        "delivered": out.outbox.has_begun(call.position),
                    })),
                };
                cancel_at_server(k, &call, "request timed out", out);
                self.gave_up(k, &call, now, out);
                self.end_with(
                    call,
                    Outcome::Timeout,
                    &error,
                    DeliveryKind::Answer,
                    now,
                    out,
                );
            }
            self.nearest = self.calls.values().map(|call| call.deadline).min();
        }
        if self.changes_due.is_some_and(|due| due <= now) {
            self.send_changes(now, out);
        }
        self.tick_feed(now, out);
    }

    /// What `call` would have meant is not to be known: nobody waits for its answer any more.
    pub(super) fn gave_up(&mut self, k: u64, call: &Call<A>, now: Instant, out: &mut Output<A>) {
        if self.is_private() {
            return;
        }
        // A modern server asks nothing, and logs nothing where it was not asked to.
        if self.modern.is_none() || call.logs.is_some() && call.is_at_server() {
            self.doubt
                .arises(k, call.session, call.request.may_ask(), now);
        }
        match &call.then {
            Then::Subscribed(uri) if self.modern.is_some() => {
                let _last = self.subscriptions.given_up(call.session, uri, k);
                self.feed_later(now);
            }
            Then::Subscribed(uri) if self.subscriptions.given_up(call.session, uri, k) => {
                self.tell_uri("resources/unsubscribe", uri, out);
            }
            Then::LevelSet { asked, before } => {
                self.take_level_back(call.session, *asked, *before);
            }
            _ => {}
        }
    }

    /// The server did not take over the level that `session` asked for, as far as is known.
    pub(super) fn take_level_back(
        &mut self,
        session: SessionKey,
        asked: Level,
        before: Option<Level>,
    ) {
        self.level = None;
        if let Some(seat) = self.seats.get_mut(&session)
            && seat.level == Some(asked)
        {
            seat.level = before;
        }
    }

    /// Ends `call`, which is no longer in the table, with an error.
    pub(super) fn end_with(
        &mut self,
        call: Call<A>,
        outcome: Outcome,
        error: &ErrorObject,
        kind: DeliveryKind,
        now: Instant,
        out: &mut Output<A>,
    ) {
        self.withdraw(&call, "its call is over", out);
        self.ended(&call, outcome, now);
        out.deliver(
            &call.address,
            kind,
            error.response(Some(call.id.as_bytes())),
        );
    }

    /// Notes that `call` is over.
    pub(super) fn ended(&mut self, call: &Call<A>, outcome: Outcome, now: Instant) {
        if let Some(seat) = self.seats.get_mut(&call.session) {
            seat.in_flight.remove(&call.id);
            seat.last_answer = Some(now);
        }
        let took = now.duration_since(call.started);
        over(&call.span, outcome, took);
        self.metrics.call_finished(call.label, outcome, took);
    }
}

/// `initialize` is never cancelled.
pub(super) fn cancel_at_server<A>(k: u64, call: &Call<A>, reason: &str, out: &mut Output<A>) {
    if call.request == Request::Initialize || !call.is_at_server() {
        return;
    }
    let text = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{k},"reason":"{reason}"}}}}"#
    );
    out.outbox.line(&[text.as_bytes()]);
}
