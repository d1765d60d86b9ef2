//! One stream of a modern server for all legacy sessions: what they subscribed to, and changes of the server's lists.
//!
//! MCP 2026-07-28, Subscriptions. The stream asks for the URIs of all sessions together. When they are no longer what it
//! asked for, another is opened, and takes its place once the server has acknowledged it; one is opened at a time. A
//! subscription is answered by that acknowledgement. A stream that the server ends is opened again, later each time.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::changes::Lists;
use super::super::{Call, Mux, Output, SessionKey, Subscriptions, Then};
use super::Dialect;
use crate::bridge::instance::MAX_QUEUED;
use crate::bridge::mailbox::DeliveryKind;
use crate::jsonrpc::{ErrorObject, Message, array_elements, code, member, string_value};
use crate::metrics::{Dropped, Outcome};

/// Bytes of the URIs of all sessions together: the server is told all of them again when one is added.
const MAX_URIS: usize = 1024 * 1024;
/// URIs that nobody wants any more are left out after this time, many at once.
const COALESCE: Duration = Duration::from_millis(100);
/// A stream that is not acknowledged by then never will be.
const PATIENCE: Duration = Duration::from_secs(30);
/// The first pause after the server has ended or refused a stream; it doubles.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The stream, and the one that is to take its place.
#[derive(Debug)]
pub(super) struct Feed {
    /// The changes of lists that the server tells of.
    lists: Lists,
    live: Option<Stream>,
    /// Not acknowledged yet.
    next: Option<Stream>,
    /// What `live` took the place of: what was on its way from it counts.
    last: Option<u64>,
    /// When it is to be looked at again.
    due: Option<Instant>,
    /// The server has ended or refused the last stream: none is opened before, unless somebody waits for it.
    paused_until: Option<Instant>,
    pause: Duration,
}

#[derive(Debug)]
struct Stream {
    k: u64,
    uris: HashSet<Arc<str>>,
    since: Instant,
}

impl Feed {
    pub(super) fn new(lists: Lists) -> Feed {
        Feed {
            lists,
            live: None,
            next: None,
            last: None,
            due: None,
            paused_until: None,
            pause: PAUSE,
        }
    }

    /// Whether `k` is one of the streams.
    pub(super) fn has(&self, k: u64) -> bool {
        self.is_live(k) || self.is_next(k) || self.last == Some(k)
    }

    pub(super) fn due(&self) -> Option<Instant> {
        let patience = self.next.as_ref().map(|next| next.since + PATIENCE);
        [self.due, patience].into_iter().flatten().min()
    }

    fn is_live(&self, k: u64) -> bool {
        self.live.as_ref().is_some_and(|stream| stream.k == k)
    }

    fn is_next(&self, k: u64) -> bool {
        self.next.as_ref().is_some_and(|stream| stream.k == k)
    }

    fn look_again(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// The server has ended or refused a stream.
    fn pause(&mut self, now: Instant) {
        self.paused_until = Some(now + self.pause);
        self.look_again(now + self.pause);
        self.pause = (2 * self.pause).min(LONGEST_PAUSE);
    }
}

impl<A> Call<A> {
    /// The URI, if it is a subscription that is answered with the acknowledgement of the stream.
    fn awaited(&self) -> Option<&Arc<str>> {
        match (&self.dialect, &self.then) {
            (Dialect::Awaiting, Then::Subscribed(uri)) => Some(uri),
            _ => None,
        }
    }
}

/// Whether there is room for the subscription to `uri`.
pub(super) fn admits(subscriptions: &Subscriptions, uri: &str) -> Result<(), String> {
    if subscriptions.length_with(uri) <= MAX_URIS {
        return Ok(());
    }
    Err(format!(
        "the URIs that this server's sessions have subscribed to have more than {MAX_URIS} bytes"
    ))
}

impl<A: Clone> Mux<A> {
    /// Brings the stream to what the sessions want, now if that can be.
    pub(in crate::bridge::mux) fn feed(&mut self, now: Instant, out: &mut Output<A>) {
        let Some(modern) = &mut self.modern else {
            return;
        };
        if self.between_generations || modern.feed.next.is_some() {
            return;
        }
        let awaited = self.calls.values().any(|call| call.awaited().is_some());
        let feed = &mut modern.feed;
        if out.outbox.len() >= MAX_QUEUED {
            // It reads nothing, and would be told more each time.
            return feed.look_again(now + PAUSE);
        }
        if let Some(until) = feed.paused_until.filter(|until| *until > now && !awaited) {
            return feed.look_again(until);
        }
        let uris: HashSet<Arc<str>> = self.subscriptions.uris().into_iter().collect();
        let wanted = !uris.is_empty() || feed.lists.contains(&true);
        match &feed.live {
            // One that the server has not honoured may be asked for again.
            Some(live) if live.uris == uris && !awaited => return,
            Some(live) if !wanted => {
                cancel(live.k, out);
                feed.last = feed.live.take().map(|live| live.k);
                return;
            }
            None if !wanted => return,
            _ => {}
        }
        let lists = feed.lists;
        let members = modern.own.members();
        let k = self.mint();
        out.outbox
            .line(&[listen(k, &members, lists, &uris).as_bytes()]);
        if let Some(modern) = &mut self.modern {
            modern.feed.next = Some(Stream {
                k,
                uris,
                since: now,
            });
        }
    }

    /// The same a little later, when more may have changed.
    pub(in crate::bridge::mux) fn feed_later(&mut self, now: Instant) {
        if let Some(modern) = &mut self.modern {
            modern.feed.look_again(now + COALESCE);
        }
    }

    pub(in crate::bridge::mux) fn tick_feed(&mut self, now: Instant, out: &mut Output<A>) {
        let Some(modern) = &mut self.modern else {
            return;
        };
        let feed = &mut modern.feed;
        if let Some(next) = feed.next.take_if(|next| next.since + PATIENCE <= now) {
            cancel(next.k, out);
            feed.pause(now);
            let error = ErrorObject::new(
                code::TIMEOUT,
                format!("MCP server did not acknowledge the subscription within {PATIENCE:?}"),
            );
            self.answer_awaiting(&next.uris, |_| Err(error.clone()), now, out);
        }
        let Some(modern) = &mut self.modern else {
            return;
        };
        if modern.feed.due.take_if(|due| *due <= now).is_some() {
            self.feed(now, out);
        }
    }

    /// The server says to what of it it agreed.
    pub(super) fn feed_acknowledged(
        &mut self,
        k: u64,
        message: &Message,
        now: Instant,
        out: &mut Output<A>,
    ) {
        let Some(modern) = &mut self.modern else {
            return;
        };
        let feed = &mut modern.feed;
        let Some(next) = feed.next.take_if(|next| next.k == k) else {
            return self.metrics.dropped(Dropped::UnattributedNotification);
        };
        let asked = next.uris.clone();
        let next = Stream { since: now, ..next };
        if let Some(before) = feed.live.replace(next) {
            cancel(before.k, out);
            feed.last = Some(before.k);
        }
        feed.due = None;
        let params = message.part(message.envelope().params).unwrap_or_default();
        let honoured = honoured(params);
        let verdict = |uri: &str| {
            if honoured.contains(uri) {
                return Ok(());
            }
            let uri = super::super::shown(uri);
            let text = format!("MCP server does not tell of updates of {uri}");
            Err(ErrorObject::new(code::INVALID_PARAMS, text))
        };
        self.answer_awaiting(&asked, verdict, now, out);
        if self.calls.values().any(|call| call.awaited().is_some()) {
            self.feed(now, out);
        } else {
            self.feed_later(now);
        }
    }

    /// The server has answered the request of a stream: it has ended it, or refused it with an error. False if `k` is none.
    pub(in crate::bridge::mux) fn feed_answered(
        &mut self,
        k: u64,
        message: &Message,
        now: Instant,
        out: &mut Output<A>,
    ) -> bool {
        let Some(modern) = &mut self.modern else {
            return false;
        };
        let Some(next) = modern.feed.next.take_if(|next| next.k == k) else {
            return self.feed_lost(k, now);
        };
        modern.feed.pause(now);
        let said = message.part(message.envelope().error).map_or_else(
            || "ended it".into(),
            |error| String::from_utf8_lossy(&error[..error.len().min(500)]).into_owned(),
        );
        let text = format!("MCP server refused the subscription: {said}");
        let error = ErrorObject::new(code::INVALID_PARAMS, text);
        self.answer_awaiting(&next.uris, |_| Err(error.clone()), now, out);
        true
    }

    /// The server has ended the stream `k`. False if that is none.
    pub(super) fn feed_lost(&mut self, k: u64, now: Instant) -> bool {
        let Some(modern) = &mut self.modern else {
            return false;
        };
        let feed = &mut modern.feed;
        if let Some(live) = feed.live.take_if(|live| live.k == k) {
            if now.duration_since(live.since) >= LONGEST_PAUSE {
                feed.pause = PAUSE;
            }
            feed.pause(now);
            return true;
        }
        if feed.next.take_if(|next| next.k == k).is_some() {
            feed.pause(now);
            return true;
        }
        feed.last.take_if(|last| *last == k).is_some()
    }

    /// Answers the subscriptions to `uris` as `verdict` has it.
    fn answer_awaiting(
        &mut self,
        uris: &HashSet<Arc<str>>,
        verdict: impl Fn(&str) -> Result<(), ErrorObject>,
        now: Instant,
        out: &mut Output<A>,
    ) {
        let mut over: Vec<(u64, SessionKey, Arc<str>)> = self
            .calls
            .iter()
            .filter_map(|(k, call)| Some((*k, call.session, call.awaited()?.clone())))
            .filter(|(.., uri)| uris.contains(uri))
            .collect();
        over.sort_unstable_by_key(|(k, ..)| *k);
        for (k, session, uri) in over {
            let Some(call) = self.calls.remove(&k) else {
                continue;
            };
            match verdict(&uri) {
                Ok(()) => {
                    self.subscriptions.granted(session, &uri, k);
                    self.ended(&call, Outcome::Ok, now);
                    let text = [
                        br#"{"jsonrpc":"2.0","id":"#.as_slice(),
                        call.id.as_bytes(),
                        br#","result":{}}"#,
                    ]
                    .concat();
                    let body = bytes::Bytes::from(text);
                    out.deliver(&call.address, DeliveryKind::Answer, body);
                }
                Err(error) => {
                    if self.subscriptions.refused(session, &uri, k) {
                        self.feed_later(now);
                    }
                    self.end_with(call, Outcome::Error, &error, DeliveryKind::Answer, now, out);
                }
            }
        }
    }
}

/// The request that opens a stream.
fn listen(k: u64, members: &str, lists: Lists, uris: &HashSet<Arc<str>>) -> String {
    let kinds = [
        "toolsListChanged",
        "promptsListChanged",
        "resourcesListChanged",
    ];
    let mut filter: Vec<String> = kinds
        .into_iter()
        .zip(lists)
        .filter(|(_, wanted)| *wanted)
        .map(|(kind, _)| format!(r#""{kind}":true"#))
        .collect();
    if !uris.is_empty() {
        let mut sorted: Vec<&str> = uris.iter().map(|uri| &**uri).collect();
        sorted.sort_unstable();
        let list = serde_json::Value::from(sorted);
        filter.push(format!(r#""resourceSubscriptions":{list}"#));
    }
    format!(
        r#"{{"jsonrpc":"2.0","id":{k},"method":"subscriptions/listen","params":{{"_meta":{{{members}}},"notifications":{{{}}}}}}}"#,
        filter.join(",")
    )
}

/// The URIs that an acknowledgement with `params` names.
fn honoured(params: &[u8]) -> HashSet<String> {
    let part = |text, key| member(text, key).map(|place| place.of(text));
    let uris =
        part(params, "notifications").and_then(|filter| part(filter, "resourceSubscriptions"));
    let uris = uris.unwrap_or(b"[]");
    let elements = array_elements(uris).unwrap_or_default();
    elements
        .iter()
        .filter_map(|element| string_value(element.of(uris)))
        .map(std::borrow::Cow::into_owned)
        .collect()
}

fn cancel<A>(k: u64, out: &mut Output<A>) {
    let text = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{k}}}}}"#
    );
    out.outbox.line(&[text.as_bytes()]);
}
