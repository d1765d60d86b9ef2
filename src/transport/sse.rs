//! Event streams: frames written by us, and the body that carries them.
//!
//! What is ready goes into one piece of up to 64 KiB, so that a thousand notifications are not a thousand writes; large
//! messages pass as they are, without a copy. A comment every 15 s of silence shows proxies and clients that the stream
//! lives (WHATWG HTML § 9.2 Server-sent events).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use http_body::Frame;
use tokio::time::{Instant, Sleep};

use super::streaming::LongLived;
use crate::jsonrpc::Body;

/// Silence after which a comment is sent.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a client waits before it resumes a stream: little beside the time that events are kept, and much for one that
/// would come again and again.
const RETRY: Duration = Duration::from_secs(1);
/// Bytes after which what is gathered goes out.
const ENOUGH: usize = 64 * 1024;
/// Pieces from this size on are not copied.
const LARGE: usize = 4 * 1024;

/// Events on their way out.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    pieces: VecDeque<Bytes>,
    tail: BytesMut,
    bytes: usize,
}

impl Frames {
    /// A `message` event; `id` is its event id.
    pub(crate) fn message(&mut self, id: Option<&dyn fmt::Display>, body: &Body) {
        self.write("event: message\n");
        if let Some(id) = id {
            self.field("id", id);
        }
        self.write("data: ");
        for piece in body.pieces() {
            self.data(piece);
        }
        self.write("\n\n");
    }

    /// An event with an id and an empty `data` line, from which a client can resume, and the time after which it should
    /// (MCP 2025-11-25, Transports § Sending Messages to the Server, 6).
    pub(crate) fn priming(&mut self, id: &dyn fmt::Display) {
        self.field("id", id);
        self.field("retry", &RETRY.as_millis());
        self.write("data: \n\n");
    }

    /// Any other event. `data` has no line break.
    pub(crate) fn event(&mut self, name: &str, data: &str) {
        self.write("event: ");
        self.write(name);
        self.write("\ndata: ");
        self.write(data);
        self.write("\n\n");
    }

    /// A `data:` event without a name.
    pub(crate) fn unnamed(&mut self, data: &Bytes) {
        self.write("data: ");
        self.data(data);
        self.write("\n\n");
    }

    /// The comment that keeps a stream alive.
    pub(crate) fn keep_alive(&mut self) {
        self.write(": keep-alive\n\n");
    }

    /// Whether enough is gathered to go out.
    pub(crate) fn is_enough(&self) -> bool {
        self.bytes >= ENOUGH
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The next piece to send.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let piece = match self.pieces.pop_front() {
            Some(piece) => piece,
            None if self.tail.is_empty() => {
                // An idle stream keeps no room for pieces.
                self.pieces = VecDeque::new();
                return None;
            }
            None => std::mem::take(&mut self.tail).freeze(),
        };
        self.bytes -= piece.len();
        Some(piece)
    }

    fn field(&mut self, name: &str, value: &dyn fmt::Display) {
        use std::io::Write as _;

        let before = self.tail.len();
        writeln!((&mut self.tail).writer(), "{name}: {value}")
            .expect("memory takes all that is written");
        self.bytes += self.tail.len() - before;
    }

    fn write(&mut self, text: &str) {
        self.tail.extend_from_slice(text.as_bytes());
        self.bytes += text.len();
    }

    /// A part of a data line. A line break in it would end the line, so it becomes a space; in JSON it can stand only
    /// between tokens.
    fn data(&mut self, piece: &Bytes) {
        self.bytes += piece.len();
        if memchr::memchr2(b'\r', b'\n', piece).is_some() {
            let start = self.tail.len();
            self.tail.extend_from_slice(piece);
            crate::jsonrpc::single_line(&mut self.tail[start..]);
        } else if piece.len() < LARGE {
            self.tail.extend_from_slice(piece);
        } else {
            if !self.tail.is_empty() {
                self.pieces
                    .push_back(std::mem::take(&mut self.tail).freeze());
            }
            self.pieces.push_back(piece.clone());
        }
    }
}

/// Where a stream's events come from.
pub(crate) trait Source: Send + Unpin + 'static {
    /// Writes what is there into `frames`. `Ready(true)`: something was written and more may follow; `Ready(false)`: the
    /// stream is over (what was written still goes out); `Pending`: nothing was written, the waker is kept.
    fn poll_fill(&mut self, context: &mut Context<'_>, frames: &mut Frames) -> Poll<bool>;
}

/// The body of an event stream. Dropping it drops its source.
pub(crate) struct EventStream<S> {
    source: Option<S>,
    frames: Frames,
    sent: Instant,
    timer: Pin<Box<Sleep>>,
}

impl<S> fmt::Debug for EventStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream")
            .field("over", &self.source.is_none())
            .finish_non_exhaustive()
    }
}

impl<S: Source> EventStream<S> {
    /// A stream that begins with `frames`.
    pub(crate) fn new(frames: Frames, source: S) -> EventStream<S> {
        let sent = Instant::now();
        EventStream {
            source: Some(source),
            frames,
            sent,
            timer: Box::pin(tokio::time::sleep_until(sent + KEEP_ALIVE)),
        }
    }

    /// The response with this body: 200, and the headers that keep proxies from buffering.
    pub(crate) fn into_response(self) -> Response {
        let mut response = Response::new(axum::body::Body::new(self));
        set_headers(response.headers_mut());
        response
    }

    /// The same for a stream that waits for whatever may come, rather than for an answer.
    pub(crate) fn into_long_response(self) -> Response {
        let mut response = self.into_response();
        response.extensions_mut().insert(LongLived);
        response
    }

    fn poll_keep_alive(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(context).is_ready() {
            let due = self.sent + KEEP_ALIVE;
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}

impl<S: Source> http_body::Body for EventStream<S> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        loop {
            if let Some(piece) = this.frames.pop() {
                this.sent = Instant::now();
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            let Some(source) = &mut this.source else {
                return Poll::Ready(None);
            };
            match source.poll_fill(context, &mut this.frames) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => this.source = None,
                Poll::Pending => match this.poll_keep_alive(context) {
                    Poll::Ready(()) => {
                        this.frames.keep_alive();
                        this.timer.as_mut().reset(Instant::now() + KEEP_ALIVE);
                    }
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }
}

/// The headers of an event stream.
pub(crate) fn set_headers(headers: &mut HeaderMap) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn text(frames: &mut Frames) -> (String, usize) {
        let (mut text, mut count) = (Vec::new(), 0);
        while let Some(piece) = frames.pop() {
            text.extend_from_slice(&piece);
            count += 1;
        }
        assert!(frames.is_empty());
        (String::from_utf8(text).unwrap(), count)
    }

    fn body(text: &str) -> Body {
        Bytes::copy_from_slice(text.as_bytes()).into()
    }

    #[test]
    fn events_have_one_data_line() {
        let mut frames = Frames::default();
        frames.event("endpoint", "/messages?session_id=1");
        frames.message(None, &body("{\"a\":\"\u{2028}\\n\"}"));
        frames.message(Some(&"p1-2"), &body("{\"a\":\r\n1}"));
        frames.priming(&"p1-0");
        frames.keep_alive();
        let (text, pieces) = text(&mut frames);
        assert_eq!(
            text,
            "event: endpoint\ndata: /messages?session_id=1\n\n\
             event: message\ndata: {\"a\":\"\u{2028}\\n\"}\n\n\
             event: message\nid: p1-2\ndata: {\"a\":  1}\n\n\
             id: p1-0\nretry: 1000\ndata: \n\n: keep-alive\n\n"
        );
        assert_eq!(pieces, 1);
    }

    #[test]
    fn large_messages_are_not_copied() {
        let large = Bytes::from(vec![b'x'; LARGE]);
        let mut frames = Frames::default();
        frames.message(None, &large.clone().into());
        let pieces: Vec<_> = std::iter::from_fn(|| frames.pop()).collect();
        assert_eq!(pieces.len(), 3);
        assert_eq!(pieces[1].as_ptr(), large.as_ptr());
        assert_eq!(pieces[2], "\n\n");
    }

    struct Silence;

    impl Source for Silence {
        fn poll_fill(&mut self, _: &mut Context<'_>, _: &mut Frames) -> Poll<bool> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_sends_a_comment_every_15_seconds() {
        let mut frames = Frames::default();
        frames.event("endpoint", "/x");
        let mut stream = EventStream::new(frames, Silence);
        let start = Instant::now();
        let mut next = async || stream.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(next().await, "event: endpoint\ndata: /x\n\n");
        assert_eq!(next().await, ": keep-alive\n\n");
        assert_eq!(start.elapsed().as_secs(), 15);
        assert_eq!(next().await, ": keep-alive\n\n");
        assert_eq!(start.elapsed().as_secs(), 30);
    }
}
