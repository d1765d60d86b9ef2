//! Resumption: what a stream has sent lately, and where a client goes on after a broken connection.
//!
//! A [`Stream`] is one SSE stream of a session, begun by a POST or a GET. It outlives its connection: the ring keeps what
//! was sent (at most 256 events, 1 MiB and 5 minutes; a larger event stays by itself), the mailbox keeps what was not. A GET
//! with `Last-Event-ID` attaches a new connection: first the ring from the next event on, then what comes. One
//! connection at a time carries a stream; a newer one takes it over. (MCP 2025-11-25, Transports § Resumability and
//! Redelivery)
//!
//! Event ids are `<stream>-<number>`, where a stream is `p` or `g` (POST, GET) and its number in the session. When the
//! ring has lost events after the one named, what is left is replayed: the oldest are missing, never the newest.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::sse::Frames;
use crate::bridge::{Delivery, Mailbox, Reader};
use crate::jsonrpc::Body;

/// Events that a ring keeps.
const EVENTS: usize = 256;
/// Bytes that a ring keeps, unless its newest event alone is larger.
const BYTES: usize = 1024 * 1024;
/// Age of the oldest event that a ring keeps.
const AGE: Duration = Duration::from_secs(5 * 60);
/// Streams that a session keeps, counted from the newest.
const STREAMS: usize = 64;
/// Bytes that all rings of a bridge keep; above it each keeps its newest event only.
const BYTES_IN_ALL: usize = 64 * 1024 * 1024;

/// How a stream began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// By a POST: it ends after so many answers.
    Post {
        /// Requests not yet answered on it.
        unanswered: usize,
    },
    /// By a GET: it ends with the session.
    Get,
}

/// A stream's name in event ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StreamId {
    post: bool,
    number: u32,
}

/// The id of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EventId {
    /// The stream it was sent on.
    pub stream: StreamId,
    /// Its place there; 0 is the priming event.
    pub number: u64,
}

impl EventId {
    /// Reads `<stream>-<number>`.
    pub(super) fn parse(text: &str) -> Option<EventId> {
        let (stream, number) = text.split_once('-')?;
        let post = match stream.as_bytes().first()? {
            b'p' => true,
            b'g' => false,
            _ => return None,
        };
        let stream = StreamId {
            post,
            number: stream[1..].parse().ok()?,
        };
        Some(EventId {
            stream,
            number: number.parse().ok()?,
        })
    }

    /// Whether it is an event of a stream that a POST began, so that somebody waits for an answer on it.
    pub(super) fn is_of_post(self) -> bool {
        self.stream.post
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{}-{}",
            if self.stream.post { 'p' } else { 'g' },
            self.stream.number,
            self.number
        )
    }
}

/// The streams of one session that can be resumed.
#[derive(Debug, Default)]
pub(super) struct Streams {
    begun: u32,
    recent: VecDeque<Arc<Stream>>,
}

impl Streams {
    /// A new stream that is fed from `mailbox`. When the session has too many, the oldest can't be resumed any more.
    pub(super) fn begin(
        &mut self,
        origin: Origin,
        mailbox: Arc<Mailbox>,
        kept: &Arc<AtomicUsize>,
    ) -> Arc<Stream> {
        self.begun += 1;
        let id = StreamId {
            post: matches!(origin, Origin::Post { .. }),
            number: self.begun,
        };
        let ring = Ring {
            events: VecDeque::new(),
            bytes: 0,
            next: 1,
            kept: kept.clone(),
        };
        let state = Mutex::new(State {
            ring,
            origin,
            carrier: 0,
            left: None,
        });
        let stream = Arc::new(Stream { id, mailbox, state });
        self.recent.push_back(stream.clone());
        if self.recent.len() > STREAMS {
            self.recent.pop_front();
        }
        stream
    }

    /// The stream of that id, unless it is forgotten.
    pub(super) fn find(&self, id: StreamId) -> Option<Arc<Stream>> {
        self.recent.iter().find(|stream| stream.id == id).cloned()
    }

    /// Forgets events that are too old, and streams that have none left, no connection and no answer to come.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.recent.retain(|stream| {
            let carried = Arc::strong_count(stream) > 1;
            let mut state = stream.lock();
            state.ring.expire(now);
            let left = match carried {
                true => None,
                false => Some(state.left.unwrap_or(now)),
            };
            state.left = left;
            carried || !state.ring.events.is_empty() || stream.is_awaited(&state, left, now)
        });
    }
}

/// One SSE stream of a session.
#[derive(Debug)]
pub(super) struct Stream {
    id: StreamId,
    mailbox: Arc<Mailbox>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    ring: Ring,
    origin: Origin,
    /// Which connection carries it; an older one finds another number and ends.
    carrier: u64,
    /// Since when no connection carries it, as the sweeper saw it.
    left: Option<Instant>,
}

impl Stream {
    /// The id of its priming event.
    pub(super) fn first_event(&self) -> EventId {
        EventId {
            stream: self.id,
            number: 0,
        }
    }

    /// Notes a delivery that was taken from the mailbox before the stream began.
    pub(super) fn record(&self, delivery: &Delivery, now: Instant) {
        self.lock().record(delivery, now);
    }

    /// Whether it has an event of that number, or had.
    pub(super) fn has_sent(&self, number: u64) -> bool {
        number < self.lock().ring.next
    }

    /// A connection that carries it from the event after `after` on; the one before gives it up.
    pub(super) fn attach(self: &Arc<Stream>, after: u64) -> Carrier {
        let mut state = self.lock();
        state.carrier += 1;
        Carrier {
            number: state.carrier,
            next: after + 1,
            reader: self.mailbox.reader(),
            stream: self.clone(),
        }
    }

    /// Whether a client that lost its connection may still come for the answer: while the call runs, and as long after it
    /// as a ring keeps events. What was said meanwhile waits in the mailbox.
    fn is_awaited(&self, state: &State, left: Option<Instant>, now: Instant) -> bool {
        matches!(state.origin, Origin::Post { unanswered: 1.. })
            && (self.mailbox.queued_bytes() == 0
                || left.is_none_or(|left| now.duration_since(left) <= AGE))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn record(&mut self, delivery: &Delivery, now: Instant) -> u64 {
        if let Origin::Post { unanswered } = &mut self.origin
            && delivery.kind.ends_a_request()
        {
            *unanswered = unanswered.saturating_sub(1);
        }
        self.ring.push(delivery.body.clone(), now)
    }
}

/// The connection that carries a stream now.
#[derive(Debug)]
pub(super) struct Carrier {
    stream: Arc<Stream>,
    reader: Reader,
    number: u64,
    next: u64,
}

impl Carrier {
    /// As [`super::sse::Source::poll_fill`]; with `quiet` only what was sent before, and the end.
    pub(super) fn poll_fill(
        &mut self,
        context: &mut Context<'_>,
        frames: &mut Frames,
        quiet: bool,
    ) -> Poll<bool> {
        let stream = self.stream.id;
        let mut state = self.stream.lock();
        if state.carrier != self.number {
            return Poll::Ready(false);
        }
        for event in state.ring.from(self.next) {
            if frames.is_enough() {
                return Poll::Ready(true);
            }
            self.next = event.number + 1;
            frames.message(
                Some(&EventId {
                    stream,
                    number: event.number,
                }),
                &event.body,
            );
        }
        while !frames.is_enough() {
            if state.origin == (Origin::Post { unanswered: 0 }) {
                return Poll::Ready(false);
            }
            let next = match quiet {
                true => self.reader.poll_closed(context).map(|()| None),
                false => self.reader.poll_next(context),
            };
            match next {
                Poll::Ready(Some(delivery)) => {
                    let number = state.record(&delivery, Instant::now());
                    self.next = number + 1;
                    frames.message(Some(&EventId { stream, number }), &delivery.body);
                }
                Poll::Ready(None) => return Poll::Ready(false),
                Poll::Pending if frames.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(true)
    }
}

/// What a stream has sent lately.
#[derive(Debug)]
struct Ring {
    events: VecDeque<Event>,
    bytes: usize,
    next: u64,
    kept: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Event {
    number: u64,
    body: Body,
    at: Instant,
}

impl Ring {
    fn push(&mut self, body: Body, now: Instant) -> u64 {
        let (number, size) = (self.next, body.len());
        self.next += 1;
        self.bytes += size;
        let all = self.kept.fetch_add(size, Ordering::Relaxed) + size;
        self.events.push_back(Event {
            number,
            body,
            at: now,
        });
        self.expire(now);
        while self.events.len() > 1
            && (self.events.len() > EVENTS || self.bytes > BYTES || all > BYTES_IN_ALL)
        {
            self.forget_oldest();
        }
        number
    }

    fn expire(&mut self, now: Instant) {
        while self
            .events
            .front()
            .is_some_and(|event| now.duration_since(event.at) > AGE)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.bytes -= event.body.len();
            self.kept.fetch_sub(event.body.len(), Ordering::Relaxed);
        }
    }

    fn from(&self, number: u64) -> impl Iterator<Item = &Event> {
        let start = self.events.partition_point(|event| event.number < number);
        self.events.range(start..)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.kept.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
