//! A client's line to one server: a session of its own there, with the handshake that it needs.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::bridge::{Delivery, DeliveryKind, Mailbox, Refusal};
use crate::gateway::server::{Link, Server, message};
use crate::jsonrpc::{Edit, ErrorObject, Kind, Message, code};
use crate::mcp::ClientNotification;

/// A line to one server. Dropping it cancels its calls.
#[derive(Debug)]
pub(super) struct Line {
    /// Its number in the conversation; the server's requests have ids above `number << ASK_BITS`.
    pub(super) number: u64,
    server: Server,
    link: Link,
    state: Mutex<State>,
    /// URIs that it is subscribed to, or was when a line before it ended.
    subscribed: Mutex<BTreeSet<String>>,
}

/// Bits of an id that count the requests of one server.
pub(super) const ASK_BITS: u32 = 32;
/// Messages that wait for a handshake at most.
const MAX_WAITING: usize = 128;
/// Bytes that wait for a handshake, beside the first message.
const MAX_WAITING_BYTES: usize = 8 * 1024 * 1024;
/// Subscriptions that a later line takes over at most; as many as a server grants a session.
const MAX_SUBSCRIBED: usize = 1000;

#[derive(Debug)]
enum State {
    /// The handshake is under way; these wait for its end.
    Opening(Waiting),
    /// Messages go through.
    Open,
    /// The server did not agree, and this was its answer.
    Failed(Delivery),
}

#[derive(Debug, Default)]
struct Waiting {
    messages: Vec<(Message, Arc<Mailbox>)>,
    bytes: usize,
}

impl Line {
    /// A line that is open at once.
    pub(super) fn open(number: u64, server: Server, link: Link) -> Arc<Line> {
        Arc::new(Line {
            number,
            server,
            link,
            state: Mutex::new(State::Open),
            subscribed: Mutex::default(),
        })
    }

    /// A line that begins with the client's own `initialize`; messages wait for its end.
    pub(super) fn begin(
        number: u64,
        server: Server,
        link: Link,
        initialize: &Message,
        tasks: &TaskTracker,
    ) -> Arc<Line> {
        let line = Arc::new(Line {
            number,
            server,
            link,
            state: Mutex::new(State::Opening(Waiting::default())),
            subscribed: Mutex::default(),
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

    /// Whether it leads to this very server, and not to an earlier one of its name.
    pub(super) fn is_to(&self, server: &Server) -> bool {
        self.server.is(server)
    }

    /// Whether it is of no use any more.
    pub(super) fn is_over(&self) -> bool {
        matches!(*self.lock(), State::Failed(_)) || self.link.is_over()
    }

    /// Passes `message` on, now or after the handshake.
    pub(super) fn send(&self, message: Message, address: &Arc<Mailbox>) {
        match &mut *self.lock() {
            State::Opening(waiting) => return waiting.take(message, address),
            State::Failed(answer) => return answer_like(answer, &message, address),
            State::Open => {}
        }
        self.link.send(message, address);
    }

    /// Its calls wait for the client, or for the server again.
    pub(super) fn hold(&self, until: Option<Instant>) {
        self.link.hold(until);
    }

    /// The client's only request was answered.
    pub(super) fn answered(&self) {
        self.link.answered();
    }

    /// The server has granted a subscription, or ended one.
    pub(super) fn note_subscription(&self, uri: &str, granted: bool) {
        let mut subscribed = self.subscriptions();
        if !granted {
            subscribed.remove(uri);
        } else if subscribed.len() < MAX_SUBSCRIBED {
            subscribed.insert(uri.to_owned());
        }
    }

    /// The subscriptions that the server has granted.
    pub(super) fn subscribed(&self) -> Vec<String> {
        self.subscriptions().iter().cloned().collect()
    }

    fn begun(&self, answer: Delivery) {
        let agreed = Message::parse(answer.body.clone().into_bytes())
            .is_ok_and(|answer| answer.result().is_some());
        if agreed {
            let text = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
            let nowhere = Mailbox::new(&Arc::default());
            self.link.send(message(text.to_owned()), &nowhere);
        }
        let mut state = self.lock();
        let next = match agreed {
            true => State::Open,
            false => State::Failed(answer.clone()),
        };
        let State::Opening(waiting) = std::mem::replace(&mut *state, next) else {
            return;
        };
        // Still under the lock, so that what comes now stays behind what waited.
        for (message, address) in waiting.messages {
            if agreed {
                self.link.send(message, &address);
            } else {
                answer_like(&answer, &message, &address);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn subscriptions(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.subscribed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What still waits is answered: somebody may wait for that.
impl Drop for Line {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        let State::Opening(waiting) = state.unwrap_or_else(PoisonError::into_inner) else {
            return;
        };
        let text = "the session ended before the server was ready";
        let error = ErrorObject::new(code::INVALID_REQUEST, text);
        for (message, address) in waiting.messages.drain(..) {
            refuse(&error, DeliveryKind::Answer, &message, &address);
        }
    }
}

impl Waiting {
    fn take(&mut self, message: Message, address: &Arc<Mailbox>) {
        if message.kind() == Kind::Notification
            && ClientNotification::of(&message.method()) == ClientNotification::Cancelled
        {
            return self.cancel(&message);
        }
        let size = message.text().len();
        let full = self.messages.len() >= MAX_WAITING || self.bytes + size > MAX_WAITING_BYTES;
        if full && !self.messages.is_empty() {
            let text = "too much waits for the MCP server of this session to be ready";
            let error = ErrorObject::new(code::OVERLOADED, text);
            let kind = DeliveryKind::Refusal(Refusal::Invalid);
            return refuse(&error, kind, &message, address);
        }
        self.bytes += size;
        self.messages.push((message, address.clone()));
    }

    /// The server has not seen the request, so it need not see this either.
    fn cancel(&mut self, cancelled: &Message) {
        let id = cancelled.part(cancelled.envelope().request_id);
        let is_meant =
            |(message, _): &(Message, _)| message.kind() == Kind::Request && message.id() == id;
        let Some(at) = self.messages.iter().position(is_meant) else {
            return;
        };
        let (message, address) = self.messages.remove(at);
        self.bytes -= message.text().len();
        let error = ErrorObject::new(code::INVALID_REQUEST, "request cancelled by the client");
        refuse(&error, DeliveryKind::Cancelled, &message, &address);
    }
}

/// Answers `message`, if it is a request.
fn refuse(error: &ErrorObject, kind: DeliveryKind, message: &Message, address: &Mailbox) {
    if message.kind() == Kind::Request {
        let body = error.response(message.id()).into();
        address.push(Delivery { kind, body });
    }
}

/// Answers `message` as the handshake was answered, if it is a request.
fn answer_like(answer: &Delivery, message: &Message, address: &Mailbox) {
    if message.kind() == Kind::Request {
        let kind = match answer.kind {
            DeliveryKind::Cancelled => DeliveryKind::Answer,
            kind => kind,
        };
        let id = message.id().unwrap_or(b"null");
        let body = under(answer.body.clone().into_bytes(), id).into();
        address.push(Delivery { kind, body });
    }
}

/// `answer` under another id.
fn under(answer: Bytes, id: &[u8]) -> Bytes {
    let Ok(message) = Message::parse(answer.clone()) else {
        return answer;
    };
    match message.envelope().id {
        Some(span) => message.editing(&mut [Edit { span, with: id }]).into_bytes(),
        None => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(id: u32, size: usize) -> Message {
        let filler = "x".repeat(size);
        message(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"x":"{filler}"}}}}"#
        ))
    }

    async fn answers(mailbox: &Arc<Mailbox>) -> Vec<(DeliveryKind, String)> {
        mailbox.close();
        let mut reader = mailbox.reader();
        let mut answers = Vec::new();
        while let Some(delivery) = reader.next().await {
            let text = delivery.body.into_bytes();
            answers.push((delivery.kind, String::from_utf8_lossy(&text).into_owned()));
        }
        answers
    }

    #[tokio::test]
    async fn what_waits_is_bounded_in_number_and_bytes() {
        let address = Mailbox::new(&Arc::default());
        let mut waiting = Waiting::default();
        waiting.take(request(1, 2 * MAX_WAITING_BYTES), &address);
        assert_eq!(waiting.messages.len(), 1, "a large one alone may wait");
        waiting.take(request(2, 1), &address);
        assert_eq!(waiting.messages.len(), 1);
        let mut many = Waiting::default();
        for id in 0..200 {
            many.take(request(id, 1), &address);
        }
        assert_eq!(many.messages.len(), MAX_WAITING);
        let answers = answers(&address).await;
        assert_eq!(answers.len(), 1 + 200 - MAX_WAITING);
        assert!(answers[0].1.contains(r#""id":2,"error":{"code":-31004"#));
    }

    #[tokio::test]
    async fn what_waits_can_be_cancelled() {
        let address = Mailbox::new(&Arc::default());
        let mut waiting = Waiting::default();
        waiting.take(request(1, 1), &address);
        waiting.take(request(2, 1), &address);
        let cancelled =
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
        waiting.take(message(cancelled.to_owned()), &address);
        assert_eq!(waiting.messages.len(), 1);
        assert_eq!(waiting.bytes, waiting.messages[0].0.text().len());
        let answers = answers(&address).await;
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0].0, DeliveryKind::Cancelled);
    }

    #[test]
    fn a_handshakes_answer_is_given_under_each_id() {
        let answer =
            r#"{"jsonrpc":"2.0","id":"mcp-bridged","error":{"code":-31004,"message":"full"}}"#;
        let want = answer.replace("\"mcp-bridged\"", "7");
        assert_eq!(under(Bytes::from(answer), b"7"), want);
    }
}
