//! Modern clients that listen: what the server says under the id of their request goes to them under theirs.
//!
//! MCP 2026-07-28, Subscriptions. Such a request has no time in which it must be answered. It ends with its session, with
//! the client's wish, with the server, or when the server says so, by its result or by taking it back.

use std::time::{Duration, Instant};

use super::super::ends::cancel_at_server;
use super::super::judge::Verdict;
use super::super::{Call, Mux, Output, Then};
use super::number;
use crate::bridge::mailbox::{DeliveryKind, Refusal};
use crate::jsonrpc::{Edit, ErrorObject, Message, Span, code, member};
use crate::mcp::ServerNotification;
use crate::mcp::era::key;
use crate::metrics::{Dropped, Outcome, Refused};

/// Later than any deadline.
pub(in crate::bridge::mux) const NEVER: Duration = Duration::from_secs(10 * 365 * 86_400);

const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";

impl<A: Clone> Mux<A> {
    /// As many may listen as there may be sessions.
    pub(super) fn judge_stream(&self) -> Option<Verdict> {
        let limit = self.settings.limits.max_sessions;
        let open = self.calls.values().filter(|call| call.is_stream()).count();
        if open < limit {
            return Some(Verdict::Forward(Then::Nothing, None));
        }
        self.metrics.refused(Refused::InFlight);
        let text = format!("bridge {} has {limit} streams already", self.settings.name);
        let refusal = Refusal::Overloaded {
            retry_after: Duration::from_secs(10),
        };
        Some(Verdict::Refuse(
            refusal,
            ErrorObject::new(code::OVERLOADED, text),
        ))
    }

    /// A notification that names a stream at `place`.
    pub(in crate::bridge::mux) fn streamed(
        &mut self,
        message: &Message,
        place: Span,
        now: Instant,
        out: &mut Output<A>,
    ) {
        let Some(k) = number(Some(place.of(message.text()))) else {
            return self.metrics.dropped(Dropped::UnattributedNotification);
        };
        if let Some(call) = self.calls.get(&k).filter(|call| call.is_stream()) {
            let body = message.replacing(place, call.id.as_bytes());
            return out.deliver(&call.address, DeliveryKind::Notification, body);
        }
        if !self
            .modern
            .as_ref()
            .is_some_and(|modern| modern.feed.has(k))
        {
            return self.metrics.dropped(Dropped::UnattributedNotification);
        }
        let method = message.method();
        match ServerNotification::of(&method) {
            ServerNotification::Updated => self.updated(message, out),
            ServerNotification::ListChanged(list) => self.list_changed(list, now),
            _ if method == ACKNOWLEDGED => self.feed_acknowledged(k, message, now, out),
            _ => self.metrics.dropped(Dropped::UnattributedNotification),
        }
    }

    /// The server ends a stream with its result, or with an error.
    pub(super) fn stream_answered(
        &mut self,
        call: &Call<A>,
        id: Span,
        message: &Message,
        now: Instant,
        out: &mut Output<A>,
    ) {
        let with = call.id.as_bytes();
        let mut edits = vec![Edit { span: id, with }];
        let inside = |outer: Span, key| {
            let place = member(outer.of(message.text()), key)?;
            Some(place.inside(outer))
        };
        let result = message.envelope().result;
        let meta = result.and_then(|result| inside(result, "_meta"));
        if let Some(span) = meta.and_then(|meta| inside(meta, key::SUBSCRIPTION)) {
            edits.push(Edit { span, with });
        }
        let outcome = result.map_or(Outcome::Error, |_| Outcome::Ok);
        self.ended(call, outcome, now);
        out.deliver(
            &call.address,
            DeliveryKind::Answer,
            message.editing(&mut edits),
        );
    }

    /// The server takes back a request of ours, which it may only do with those that listen.
    pub(in crate::bridge::mux) fn stream_taken_back(
        &mut self,
        message: &Message,
        now: Instant,
        out: &mut Output<A>,
    ) {
        let k = number(message.part(message.envelope().request_id));
        let stream = k.filter(|k| self.calls.get(k).is_some_and(Call::is_stream));
        if let Some(call) = stream.and_then(|k| self.calls.remove(&k)) {
            self.end_stream(&call, now, out);
        } else if !k.is_some_and(|k| self.feed_lost(k, now)) {
            self.metrics.dropped(Dropped::UnattributedNotification);
        }
    }

    /// The server is about to be ended: those who listen are told that it is over, in good order.
    pub(crate) fn end_streams(&mut self, now: Instant, out: &mut Output<A>) {
        let mut streams: Vec<u64> = self
            .calls
            .iter()
            .filter(|(_, call)| call.is_stream())
            .map(|(k, _)| *k)
            .collect();
        streams.sort_unstable();
        for k in streams {
            if let Some(call) = self.calls.remove(&k) {
                cancel_at_server(k, &call, "server is stopped", out);
                self.end_stream(&call, now, out);
            }
        }
    }

    fn end_stream(&mut self, call: &Call<A>, now: Instant, out: &mut Output<A>) {
        self.ended(call, Outcome::Ok, now);
        let id = String::from_utf8_lossy(call.id.as_bytes());
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","_meta":{{"{}":{id}}}}}}}"#,
            key::SUBSCRIPTION
        );
        let body = bytes::Bytes::from(text);
        out.deliver(&call.address, DeliveryKind::Answer, body);
    }
}
