//! One request of a modern client, from its POST to its response.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep, timeout_at};

use super::claims::{Claims, status};
use super::parking::{Ask, Bound, Ongoing};
use super::{Open, Stateless, hello, named, set_level};
use crate::bridge::{Delivery, DeliveryKind, Mailbox, Refusal};
use crate::jsonrpc::{Body, ErrorObject, Message, RequestId, code};
use crate::mcp::ClientCapabilities;
use crate::mcp::era::client::{Answer, Freshness};
use crate::transport::backend::Conversation;
use crate::transport::reject;
use crate::transport::sse::{EventStream, Frames, Source};

/// Silence after which a response becomes a stream, so that clients' read time-outs don't strike.
const SILENCE: Duration = Duration::from_secs(10);
/// How long after a question of the server another one is waited for. People take longer to answer.
const ROW: Duration = Duration::from_millis(20);

/// What is done to messages on their way back.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mode {
    /// Nothing: the server is a modern one.
    Untouched,
    /// They become those of a modern server.
    Translated(Freshness),
}

/// What a request is called: its id, and its progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) id: RequestId,
    pub(super) token: Option<Box<[u8]>>,
}

impl Named {
    pub(super) fn of(message: &Message) -> Named {
        let token = message.part(message.envelope().meta_progress_token);
        Named {
            id: RequestId::new(message.id().unwrap_or(b"null")),
            token: token.map(Box::from),
        }
    }
}

/// What a request begins with.
pub(super) struct Start {
    pub(super) conversation: Box<dyn Conversation>,
    pub(super) mode: Mode,
    pub(super) named: Named,
    pub(super) bound: Option<Bound>,
    pub(super) declared: ClientCapabilities,
}

/// A request under way. Dropping it cancels it.
#[derive(Debug)]
pub(super) struct Exchange {
    host: Arc<Stateless>,
    ongoing: Option<Ongoing>,
    named: Named,
    /// Where the outcome is kept for an identical retry.
    record: Option<watch::Sender<Option<Final>>>,
    /// What the server asks in a row is asked of the client together.
    row: Option<Pin<Box<Sleep>>>,
}

/// What happens next.
enum Step {
    Notification(Body),
    Final(Final),
}

/// The end of a request.
#[derive(Debug, Clone)]
pub(super) struct Final {
    status: StatusCode,
    body: Body,
    refusal: Option<Refusal>,
}

impl Final {
    fn answer(answer: Answer) -> Final {
        Final {
            status: status(answer.error),
            body: answer.body,
            refusal: None,
        }
    }

    fn error(id: &RequestId, error: &ErrorObject) -> Final {
        Final {
            status: StatusCode::OK,
            body: error.response(Some(id.as_bytes())).into(),
            refusal: None,
        }
    }

    /// Its size in bytes.
    pub(super) fn size(&self) -> usize {
        self.body.len()
    }

    /// The same under another id.
    pub(super) fn under(self, id: &[u8]) -> Final {
        Final {
            body: named(self.body.into_bytes(), id).into(),
            ..self
        }
    }

    pub(super) fn into_response(self) -> Response {
        match self.refusal {
            Some(refusal) => reject::refusal(refusal, self.body.into_bytes()),
            None => reject::json(self.status, self.body),
        }
    }
}

/// What a request is answered with.
pub(super) enum Reply {
    Whole(Final),
    Stream(Response),
}

impl Reply {
    /// Whether it was refused because something was full.
    pub(super) fn is_overloaded(&self) -> bool {
        let refusal = match self {
            Reply::Whole(end) => end.refusal,
            Reply::Stream(_) => None,
        };
        matches!(refusal, Some(Refusal::Overloaded { .. }))
    }

    pub(super) fn into_response(self) -> Response {
        match self {
            Reply::Whole(end) => end.into_response(),
            Reply::Stream(response) => response,
        }
    }
}

impl Exchange {
    pub(super) fn begin(host: Arc<Stateless>, place: Open, start: Start) -> Exchange {
        let mailbox = Mailbox::new(host.backend.budget());
        Exchange {
            named: start.named.clone(),
            ongoing: Some(Ongoing {
                conversation: start.conversation,
                reader: mailbox.reader(),
                mailbox,
                mode: start.mode,
                named: start.named,
                bound: start.bound,
                declared: start.declared,
                asks: Vec::new(),
                _place: place,
            }),
            record: None,
            row: None,
            host,
        }
    }

    /// Goes on with a call that has waited, under another name.
    pub(super) fn resume(
        host: Arc<Stateless>,
        ongoing: Ongoing,
        named: Named,
        record: watch::Sender<Option<Final>>,
    ) -> Exchange {
        Exchange {
            host,
            ongoing: Some(ongoing),
            named,
            record: Some(record),
            row: None,
        }
    }

    pub(super) fn send(&self, message: Message) {
        if let Some(ongoing) = &self.ongoing {
            ongoing.conversation.send(message, &ongoing.mailbox);
        }
    }

    /// Says `initialize` first.
    pub(super) fn greet(&self, claims: &Claims) {
        self.say(hello(&claims.capabilities, claims.client.as_deref()));
    }

    /// Says first which log messages are wanted.
    pub(super) fn set_level(&self, level: crate::mcp::Level) {
        self.say(set_level(level));
    }

    /// Whatever is answered.
    fn say(&self, message: Message) {
        if let Some(ongoing) = &self.ongoing {
            ongoing.conversation.send(message, &self.host.nobody);
        }
    }

    /// JSON when nothing comes before the end, otherwise a stream.
    pub(super) async fn respond(mut self) -> Reply {
        let deadline = Instant::now() + SILENCE;
        let first = std::future::poll_fn(|context| self.poll(context));
        match timeout_at(deadline, first).await {
            Ok(Step::Final(end)) => Reply::Whole(end),
            Ok(Step::Notification(body)) => Reply::Stream(self.stream(Some(&body)).into_response()),
            Err(_) => Reply::Stream(self.stream(None).into_response()),
        }
    }

    /// A stream for as long as the client likes; an error is told at once.
    pub(super) async fn listen(mut self) -> Response {
        let deadline = Instant::now() + SILENCE;
        let first = std::future::poll_fn(|context| self.poll(context));
        match timeout_at(deadline, first).await {
            Ok(Step::Final(end)) => end.into_response(),
            Ok(Step::Notification(body)) => self.stream(Some(&body)).into_long_response(),
            Err(_) => self.stream(None).into_long_response(),
        }
    }

    fn stream(self, first: Option<&Body>) -> EventStream<Exchange> {
        let mut frames = Frames::default();
        match first {
            Some(body) => frames.message(None, body),
            None => frames.keep_alive(),
        }
        EventStream::new(frames, self)
    }

    /// The next thing for the client. What the server has asked when there is nothing more is asked of the client.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Step> {
        loop {
            let Some(ongoing) = &mut self.ongoing else {
                return Poll::Pending;
            };
            let delivery = match ongoing.reader.poll_next(context) {
                Poll::Ready(Some(delivery)) => delivery,
                Poll::Ready(None) => {
                    let gone =
                        ErrorObject::new(code::SHUTTING_DOWN, "the server's instance has ended");
                    return Poll::Ready(self.end(Final::error(&self.named.id.clone(), &gone)));
                }
                Poll::Pending if ongoing.asks.is_empty() => return Poll::Pending,
                Poll::Pending => {
                    let row = self.row.get_or_insert_with(|| Box::pin(sleep(ROW)));
                    ready!(row.as_mut().poll(context));
                    return Poll::Ready(self.park());
                }
            };
            match delivery.kind {
                DeliveryKind::Notification => {
                    if let Some(body) = ongoing.notification(delivery, &self.named) {
                        return Poll::Ready(Step::Notification(body));
                    }
                }
                DeliveryKind::Request => {
                    if let Err(missing) = ongoing.asked(delivery.body.into_bytes()) {
                        let end = Final::answer(Answer::untouched(
                            missing.response(Some(self.named.id.as_bytes())).into(),
                        ));
                        if let Some(ongoing) = self.ongoing.take() {
                            self.host.leave(ongoing);
                        }
                        self.record(&end);
                        return Poll::Ready(Step::Final(end));
                    }
                }
                DeliveryKind::Answer | DeliveryKind::Cancelled | DeliveryKind::Refusal(_) => {
                    let end = ongoing.answered(delivery, &self.named);
                    return Poll::Ready(self.end(end));
                }
            }
        }
    }

    fn end(&mut self, end: Final) -> Step {
        if let Some(ongoing) = self.ongoing.take() {
            ongoing.conversation.answered();
        }
        self.record(&end);
        Step::Final(end)
    }

    fn record(&mut self, end: &Final) {
        if let Some(record) = self.record.take() {
            record.send_replace(Some(end.clone()));
            self.host.recorded();
        }
    }

    /// The request ends with what the server has asked; its call waits for the retry.
    fn park(&mut self) -> Step {
        let id = self.named.id.clone();
        let Some(ongoing) = self.ongoing.take() else {
            unreachable!("only what goes on is parked")
        };
        let end = match self.host.park(ongoing) {
            Ok((state, requests)) => {
                let id = String::from_utf8_lossy(id.as_bytes());
                let text = format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"input_required","inputRequests":{requests},"requestState":"{state}"}}}}"#
                );
                Final {
                    status: StatusCode::OK,
                    body: Bytes::from(text).into(),
                    refusal: None,
                }
            }
            Err(error) => Final {
                status: StatusCode::SERVICE_UNAVAILABLE,
                body: error.response(Some(id.as_bytes())).into(),
                refusal: Some(Refusal::Overloaded {
                    retry_after: Duration::from_secs(10),
                }),
            },
        };
        self.record(&end);
        Step::Final(end)
    }
}

impl Source for Exchange {
    fn poll_fill(&mut self, context: &mut Context<'_>, frames: &mut Frames) -> Poll<bool> {
        let was_empty = frames.is_empty();
        while !frames.is_enough() {
            match self.poll(context) {
                Poll::Ready(Step::Notification(body)) => frames.message(None, &body),
                Poll::Ready(Step::Final(end)) => {
                    frames.message(None, &end.body);
                    return Poll::Ready(false);
                }
                Poll::Pending if was_empty && frames.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(true)
    }
}

impl Ongoing {
    /// A notification for the client, if it is meant for it.
    fn notification(&mut self, delivery: Delivery, now: &Named) -> Option<Body> {
        if let Mode::Untouched = self.mode {
            return Some(delivery.body);
        }
        let message = Message::parse(delivery.body.into_bytes()).ok()?;
        match message.method().as_ref() {
            "notifications/progress" => {
                let span = message.envelope().progress_token?;
                if self.named.token == now.token {
                    return Some(message.text().clone().into());
                }
                Some(message.replacing(span, now.token.as_deref()?))
            }
            // The server has taken a question back.
            "notifications/cancelled" => {
                let asked = message.part(message.envelope().request_id);
                self.asks.retain(|ask| Some(ask.id.as_bytes()) != asked);
                None
            }
            _ => Some(message.text().clone().into()),
        }
    }

    /// The server has asked its client something, or is told that it can't.
    ///
    /// # Errors
    /// What its client would have to declare for that.
    fn asked(&mut self, text: Bytes) -> Result<(), ErrorObject> {
        let Ok(message) = Message::parse(text) else {
            return Ok(());
        };
        let Some(ask) = Ask::of(&message) else {
            return Ok(());
        };
        let method = message.method();
        if self.declared.covers(&method) {
            self.asks.push(ask);
            return Ok(());
        }
        let Some(name) = ClientCapabilities::asked_by(&method) else {
            let text = format!("clients of this revision can't be asked {method}");
            let error = ErrorObject::new(code::METHOD_NOT_FOUND, text);
            self.tell(error.response(message.id()));
            return Ok(());
        };
        let text = format!("the client has not declared the capability {name}");
        self.tell(ErrorObject::new(code::METHOD_NOT_FOUND, text).response(message.id()));
        let text = format!("the server needs a client with the capability {name}");
        let mut error = ErrorObject::new(code::MISSING_CAPABILITY, text);
        error.data = Some(serde_json::json!({"requiredCapabilities": {name: {}}}));
        Err(error)
    }

    /// Says something to the server.
    pub(super) fn tell(&self, text: Bytes) {
        if let Ok(message) = Message::parse(text) {
            self.conversation.send(message, &self.mailbox);
        }
    }

    fn answered(&self, delivery: Delivery, now: &Named) -> Final {
        let mut body = delivery.body;
        if self.named.id != now.id {
            body = named(body.into_bytes(), now.id.as_bytes()).into();
        }
        let answer = match self.mode {
            Mode::Untouched => Answer::untouched(body),
            Mode::Translated(freshness) => Answer::translated(body, freshness),
        };
        let refusal = match delivery.kind {
            // What the bridge refuses for what it is has the status of its code.
            DeliveryKind::Refusal(refusal) if refusal != Refusal::Invalid => Some(refusal),
            _ => None,
        };
        Final {
            refusal,
            ..Final::answer(answer)
        }
    }
}

/// Drives a call that nobody waits for any more to its end: whatever the server asks is answered with `answer`.
pub(super) async fn finish(mut ongoing: Ongoing, answer: impl Fn(&Ask) -> Bytes) -> Option<Final> {
    let named = ongoing.named.clone();
    loop {
        for ask in std::mem::take(&mut ongoing.asks) {
            ongoing.tell(answer(&ask));
        }
        let delivery = ongoing.reader.next().await?;
        match delivery.kind {
            DeliveryKind::Notification => drop(ongoing.notification(delivery, &named)),
            DeliveryKind::Request => drop(ongoing.asked(delivery.body.into_bytes())),
            _ => {
                let end = ongoing.answered(delivery, &named);
                ongoing.conversation.answered();
                return Some(end);
            }
        }
    }
}
