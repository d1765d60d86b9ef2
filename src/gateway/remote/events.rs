//! An event stream of a remote server, within a bound.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use http_body::Body;
use sse_stream::{Error, Sse};

use super::wire::inward;
use super::{Fault, MAX_MESSAGE};
use crate::jsonrpc::{ErrorObject, code};
use crate::transport::events::{Event, Events};

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
            if let Some(event) = self.events.pop() {
                return Poll::Ready(Some(Ok(of(event))));
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

/// An event as rmcp has it.
fn of(event: Event) -> Sse {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let retry = event.retry.map(|retry| retry.as_millis());
    Sse {
        event: event.name,
        data: event.data.map(text),
        id: event.id.map(text),
        retry: retry.and_then(|millis| u64::try_from(millis).ok()),
    }
}
