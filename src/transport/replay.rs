//! Resumption: what a stream has sent lately, and where a client goes on after a broken connection.
//!
//! A [`Stream`] is one SSE stream of a session, begun by a POST or a GET. It outlives its connection: the ring keeps what
//! was sent (at most 256 events, 1 MiB and 5 minutes, but always the newest event), the mailbox keeps what was not. A GET
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

/// The streams of one session that can be resumed, and those of the whole bridge in bytes.
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

    /// Forgets events that are too old, and streams that have none left and no connection.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.recent.retain(|stream| {
            let empty = {
                let mut state = stream.lock();
                state.ring.expire(now);
                state.ring.events.is_empty()
            };
            !empty || Arc::strong_count(stream) > 1
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
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::bridge::DeliveryKind;

    fn ring() -> Ring {
        Ring {
            events: VecDeque::new(),
            bytes: 0,
            next: 1,
            kept: Arc::default(),
        }
    }

    fn numbers(ring: &Ring, from: u64) -> Vec<u64> {
        ring.from(from).map(|event| event.number).collect()
    }

    fn body(size: usize) -> Body {
        Bytes::from(vec![b'x'; size]).into()
    }

    fn delivery(kind: DeliveryKind, text: &'static str) -> Delivery {
        Delivery {
            kind,
            body: Bytes::from_static(text.as_bytes()).into(),
        }
    }

    /// What a carrier sends now, and whether its stream is over.
    fn sent(carrier: &mut Carrier) -> (String, bool) {
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut text = Vec::new();
        let mut frames = Frames::default();
        loop {
            let outcome = carrier.poll_fill(&mut context, &mut frames, false);
            while let Some(piece) = frames.pop() {
                text.extend_from_slice(&piece);
            }
            if outcome != Poll::Ready(true) {
                let text = String::from_utf8(text).unwrap();
                let text = text
                    .replace("event: message\nid: ", "")
                    .replace("\ndata: ", "=")
                    .replace("\n\n", " ");
                return (text, outcome == Poll::Ready(false));
            }
        }
    }

    #[test]
    fn event_ids_read_as_they_are_written() {
        for text in ["p1-0", "g4294967295-18446744073709551615"] {
            assert_eq!(EventId::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "1-1",
            "p-1",
            "p1",
            "p1-",
            "x1-1",
            "p1-x",
            "p99999999999-1",
            "é1-1",
        ] {
            assert_eq!(EventId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_ring_is_bounded_in_events_bytes_and_time() {
        let start = Instant::now();
        let mut ring = ring();
        for _ in 0..300 {
            ring.push(body(1), start);
        }
        assert_eq!((ring.events.len(), ring.events[0].number), (EVENTS, 45));
        assert_eq!(numbers(&ring, 298), [298, 299, 300]);
        ring.push(body(BYTES - 10), start);
        assert_eq!(ring.events.len(), 11);
        ring.push(body(2 * BYTES), start);
        assert_eq!(numbers(&ring, 0), [302]);
        ring.push(body(1), start + AGE);
        ring.push(body(1), start + AGE + Duration::from_secs(1));
        assert_eq!(numbers(&ring, 0), [303, 304]);
        let kept = ring.kept.clone();
        assert_eq!(kept.load(Ordering::Relaxed), 2);
        drop(ring);
        assert_eq!(kept.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_resumed_stream_sends_what_was_missed_once_and_goes_on() {
        let mailbox = Mailbox::new(&Arc::default());
        let mut streams = Streams::default();
        let stream = streams.begin(
            Origin::Post { unanswered: 1 },
            mailbox.clone(),
            &Arc::default(),
        );
        let mut first = stream.attach(0);
        for text in ["a", "b"] {
            mailbox.push(delivery(DeliveryKind::Notification, text));
        }
        assert_eq!(sent(&mut first), ("p1-1=a p1-2=b ".to_owned(), false));
        mailbox.push(delivery(DeliveryKind::Notification, "c"));

        let mut second = streams
            .find(EventId::parse("p1-1").unwrap().stream)
            .unwrap()
            .attach(1);
        assert_eq!(
            sent(&mut first),
            (String::new(), true),
            "the older connection gives the stream up"
        );
        assert_eq!(sent(&mut second), ("p1-2=b p1-3=c ".to_owned(), false));
        mailbox.push(delivery(DeliveryKind::Answer, "d"));
        drop(second);

        let mut third = stream.attach(3);
        assert_eq!(sent(&mut third), ("p1-4=d ".to_owned(), true));
        assert_eq!(sent(&mut stream.attach(3)), ("p1-4=d ".to_owned(), true));
        assert_eq!(sent(&mut stream.attach(4)), (String::new(), true));
    }

    #[tokio::test]
    async fn streams_of_one_mailbox_share_its_messages_without_doubles() {
        let mailbox = Mailbox::new(&Arc::default());
        let mut streams = Streams::default();
        let kept = Arc::default();
        let mut one = streams.begin(Origin::Get, mailbox.clone(), &kept).attach(0);
        let mut two = streams.begin(Origin::Get, mailbox.clone(), &kept).attach(0);
        mailbox.push(delivery(DeliveryKind::Notification, "a"));
        assert_eq!(sent(&mut one), ("g1-1=a ".to_owned(), false));
        assert_eq!(sent(&mut two), (String::new(), false));
        mailbox.push(delivery(DeliveryKind::Notification, "b"));
        assert_eq!(sent(&mut two), ("g2-1=b ".to_owned(), false));
        mailbox.close();
        assert!(sent(&mut one).1 && sent(&mut two).1);
    }

    #[tokio::test]
    async fn a_session_keeps_its_newest_streams_until_they_are_old() {
        let mailbox = Mailbox::new(&Arc::default());
        let mut streams = Streams::default();
        let now = Instant::now();
        for _ in 0..STREAMS + 2 {
            let stream = streams.begin(
                Origin::Post { unanswered: 1 },
                mailbox.clone(),
                &Arc::default(),
            );
            stream.record(&delivery(DeliveryKind::Answer, "x"), now);
        }
        assert!(
            streams
                .find(StreamId {
                    post: true,
                    number: 2
                })
                .is_none()
        );
        assert!(
            streams
                .find(StreamId {
                    post: true,
                    number: 3
                })
                .is_some()
        );
        assert!(
            streams
                .find(StreamId {
                    post: false,
                    number: 3
                })
                .is_none()
        );
        streams.sweep(now + AGE);
        assert_eq!(streams.recent.len(), STREAMS);
        streams.sweep(now + AGE + Duration::from_secs(1));
        assert!(streams.recent.is_empty());
    }
}
