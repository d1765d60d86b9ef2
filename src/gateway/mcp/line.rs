//! A client's line to one server: a session of its own there, with the handshake that it needs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio_util::task::TaskTracker;

use crate::bridge::{Delivery, DeliveryKind, Mailbox};
use crate::gateway::server::{Link, message};
use crate::jsonrpc::{Edit, Kind, Message};

/// A line to one server. Dropping it cancels its calls.
#[derive(Debug)]
pub(super) struct Line {
    /// Its number in the conversation; the server's requests have ids above `number << ASK_BITS`.
    pub(super) number: u64,
    link: Link,
    state: Mutex<State>,
}

/// Bits of an id that count the requests of one server.
pub(super) const ASK_BITS: u32 = 32;
/// Messages that wait for a handshake.
const MAX_WAITING: usize = 256;

#[derive(Debug)]
enum State {
    /// The handshake is under way; these wait for its end.
    Opening(Vec<(Message, Arc<Mailbox>)>),
    /// Messages go through.
    Open,
    /// The server did not agree.
    Failed,
}

impl Line {
    /// A line that is open at once.
    pub(super) fn open(number: u64, link: Link) -> Arc<Line> {
        Arc::new(Line {
            number,
            link,
            state: Mutex::new(State::Open),
        })
    }

    /// A line that begins with the client's own `initialize`; messages wait for its end.
    pub(super) fn begin(
        number: u64,
        link: Link,
        initialize: &Message,
        tasks: &TaskTracker,
    ) -> Arc<Line> {
        let line = Arc::new(Line {
            number,
            link,
            state: Mutex::new(State::Opening(Vec::new())),
        });
        let address = Mailbox::new(&Arc::default());
        line.link.send(initialize.clone(), &address);
        // The task must not keep a line that its client has given up: its end is the end of the handshake.
        let weak = Arc::downgrade(&line);
        tasks.spawn(async move {
            let mut reader = address.reader();
            let answer = loop {
                match reader.next().await {
                    Some(delivery) if delivery.kind.ends_a_request() => break delivery,
                    Some(_) => {}
                    None => return,
                }
            };
            if let Some(line) = weak.upgrade() {
                line.begun(answer);
            }
        });
        line
    }

    /// Whether it is of no use any more.
    pub(super) fn is_over(&self) -> bool {
        matches!(*self.lock(), State::Failed) || self.link.is_over()
    }

    /// Passes `message` on, now or after the handshake.
    pub(super) fn send(&self, message: Message, address: &Arc<Mailbox>) {
        if let State::Opening(waiting) = &mut *self.lock()
            && waiting.len() < MAX_WAITING
        {
            waiting.push((message, address.clone()));
            return;
        }
        // Too many that wait, or a failed handshake: the server's session says what is wrong.
        self.link.send(message, address);
    }

    fn begun(&self, answer: Delivery) {
        let body = answer.body.into_bytes();
        let agreed = Message::parse(body.clone()).is_ok_and(|answer| answer.result().is_some());
        if agreed {
            let text = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
            let nowhere = Mailbox::new(&Arc::default());
            self.link.send(message(text.to_owned()), &nowhere);
        }
        let mut state = self.lock();
        let next = if agreed { State::Open } else { State::Failed };
        let State::Opening(waiting) = std::mem::replace(&mut *state, next) else {
            return;
        };
        // Still under the lock, so that what comes now stays behind what waited.
        for (message, address) in waiting {
            if agreed {
                self.link.send(message, &address);
            } else if message.kind() == Kind::Request {
                let kind = match answer.kind {
                    DeliveryKind::Cancelled => DeliveryKind::Answer,
                    kind => kind,
                };
                let body = under(&body, message.id().unwrap_or(b"null")).into();
                address.push(Delivery { kind, body });
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `answer` under another id.
fn under(answer: &Bytes, id: &[u8]) -> Bytes {
    let Ok(message) = Message::parse(answer.clone()) else {
        return answer.clone();
    };
    match message.envelope().id {
        Some(span) => message.editing(&mut [Edit { span, with: id }]).into_bytes(),
        None => answer.clone(),
    }
}
