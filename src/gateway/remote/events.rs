//! An event stream of a remote server, as WHATWG HTML § Server-sent events has it, within a bound.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use http_body::Body;
use sse_stream::{Error, Sse};

use super::wire::inward;
use super::{Fault, MAX_MESSAGE};
use crate::jsonrpc::{ErrorObject, code};

/// The events of one HTTP response. Ends after its first error.
#[derive(Debug)]
pub(super) struct EventStream {
    body: reqwest::Body,
    events: Events,
    over: bool,
}

impl EventStream {
    pub(super) fn of(response: reqwest::Response) -> EventStream {
        EventStream {
            body: response.into(),
            events: Events::default(),
            over: false,
        }
    }

    /// The next event, or `None` when the stream has ended.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> Option<Result<Sse, Fault>> {
        std::future::poll_fn(|context| self.poll_event(context)).await
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Sse, Fault>>> {
        loop {
            if let Some(event) = self.events.ready.pop_front() {
                return Poll::Ready(Some(Ok(event)));
            }
            if self.over {
                return Poll::Ready(None);
            }
            let fault = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                None => {
                    self.over = true;
                    return Poll::Ready(None);
                }
                Some(Ok(frame)) => {
                    if let Ok(chunk) = frame.into_data() {
                        self.events.push(&chunk);
                    }
                    if self.events.pending() <= MAX_MESSAGE {
                        continue;
                    }
                    Fault::TooLarge
                }
                Some(Err(_)) => Fault::broken("its event stream broke off"),
            };
            self.over = true;
            return Poll::Ready(Some(Err(fault)));
        }
    }
}

/// The same for rmcp: each event's data as rmcp is to read it.
#[derive(Debug)]
pub(super) struct Messages {
    pub(super) events: EventStream,
    /// Whether the answer to the handshake comes here.
    pub(super) greeting: bool,
    /// The JSON text of the id of the request that is answered here.
    pub(super) asked: Option<Vec<u8>>,
}

impl Stream for Messages {
    type Item = Result<Sse, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let event = ready!(this.events.poll_event(context));
        Poll::Ready(event.map(|event| match event {
            Ok(mut event) => {
                // What is no message is left out; its id still counts for a resumption.
                event.data = event
                    .data
                    .and_then(|data| inward(data.into(), this.greeting));
                Ok(event)
            }
            // The request ends with it; rmcp would say no more than that its stream ended.
            Err(Fault::TooLarge) if this.asked.is_some() => {
                let text = format!("the remote server {}", Fault::TooLarge);
                let error = ErrorObject::new(code::TOO_LARGE, text);
                let answer = error.response(this.asked.as_deref());
                Ok(Sse::default().data(inward(answer, false).unwrap_or_default()))
            }
            Err(fault) => Err(Error::Body(Box::new(fault))),
        }))
    }
}

/// Bytes in, events out.
#[derive(Debug, Default)]
struct Events {
    /// The line that is not whole yet.
    line: Vec<u8>,
    event: Sse,
    ready: VecDeque<Sse>,
    /// The last byte was a CR, whose LF is still to come or not.
    after_cr: bool,
}

impl Events {
    fn push(&mut self, mut chunk: &[u8]) {
        if self.after_cr && !chunk.is_empty() {
            chunk = chunk.strip_prefix(b"\n").unwrap_or(chunk);
            self.after_cr = false;
        }
        while let Some(end) = memchr::memchr2(b'\r', b'\n', chunk) {
            self.line.extend_from_slice(&chunk[..end]);
            self.end_line();
            let rest = &chunk[end + 1..];
            self.after_cr = chunk[end] == b'\r' && rest.is_empty();
            chunk = match chunk[end] {
                b'\r' => rest.strip_prefix(b"\n").unwrap_or(rest),
                _ => rest,
            };
        }
        self.line.extend_from_slice(chunk);
    }

    /// Bytes that are kept of the event that is not whole yet.
    fn pending(&self) -> usize {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let event = &self.event;
        self.line.len() + length(&event.data) + length(&event.event) + length(&event.id)
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            if event != Sse::default() {
                self.ready.push_back(event);
            }
            return;
        }
        let (field, value) = match memchr::memchr(b':', &line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (&line[..], &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let value = String::from_utf8_lossy(value);
        match field.strip_prefix(b"\xef\xbb\xbf").unwrap_or(field) {
            b"event" => self.event.event = Some(value.into_owned()),
            b"data" => match &mut self.event.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(&value);
                }
                None => self.event.data = Some(value.into_owned()),
            },
            b"id" if !value.contains('\0') => self.event.id = Some(value.into_owned()),
            b"retry" => self.event.retry = value.parse().ok(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_cut_anywhere_has_the_same_events() {
        const STREAM: &str = ": hi\r\nevent: endpoint\r\ndata: /m?a=b\r\n\r\nid: 1\nretry: 5\n\ndata:a\ndata: b\nfoo\n\n\rdata\r\rdata: last";
        let event = |name: Option<&str>, data: Option<&str>, id: Option<&str>, retry| Sse {
            event: name.map(str::to_owned),
            data: data.map(str::to_owned),
            id: id.map(str::to_owned),
            retry,
        };
        let want = [
            event(Some("endpoint"), Some("/m?a=b"), None, None),
            event(None, None, Some("1"), Some(5)),
            event(None, Some("a\nb"), None, None),
            event(None, Some(""), None, None),
        ];
        for size in [1, 2, 3, 7, STREAM.len()] {
            let mut events = Events::default();
            for chunk in STREAM.as_bytes().chunks(size) {
                events.push(chunk);
            }
            assert_eq!(Vec::from(events.ready), want, "in pieces of {size}");
        }
    }
}
