//! Streamable HTTP with sessions, revisions 2025-03-26 to 2025-11-25 (MCP, Transports § Streamable HTTP).
//!
//! Each POST with a request has a mailbox of its own. When the answer comes first, it is sent as JSON. As soon as a
//! notification or a request of the server comes before it, or after 10 s of silence, the response becomes an event
//! stream, which a GET with `Last-Event-ID` can resume. A POST whose client goes away cancels nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::HeaderName;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::messages::{Messages, is_initialize, no_batches};
use super::replay::{Carrier, EventId, Origin};
use super::sessions::{Busy, Client, SessionId, Sessions, Streaming};
use super::sse::{EventStream, Frames, Source};
use super::stateless::{self, Stateless};
use super::{Reject, body, media, messages, reject, trace_context, version};
use crate::bridge::{Delivery, DeliveryKind, Mailbox, Refusal, Transport};
use crate::jsonrpc::{Kind, Message};

/// The methods of `/mcp`.
pub(super) const METHODS: &str = "GET, POST, DELETE";
/// Silence after which a response becomes a stream, so that clients' read time-outs don't strike.
const SILENCE: Duration = Duration::from_secs(10);

/// How long a new session waits for the place of one that was ended for it: down the whole stop ladder.
const PLACE: Duration = Duration::from_secs(6);

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// Serves `/mcp`. `max_body` is in bytes.
///
/// # Errors
/// What is wrong with the request.
pub(super) async fn serve(
    sessions: &Arc<Sessions>,
    stateless: &Arc<Stateless>,
    request: Request,
    max_body: usize,
) -> Result<Response, Reject> {
    let (head, body) = request.into_parts();
    match head.method {
        Method::POST => post(sessions, stateless, head.headers, body, max_body).await,
        _ if stateless::names_modern(&head.headers) => Err(Reject::Method { allow: "POST" }),
        Method::GET => get(sessions, &head.headers),
        Method::DELETE => {
            let client = client(sessions, &head.headers)?;
            sessions.end(client.id);
            Ok(empty(StatusCode::NO_CONTENT))
        }
        _ => Err(Reject::Method { allow: METHODS }),
    }
}

async fn post(
    sessions: &Arc<Sessions>,
    stateless: &Arc<Stateless>,
    headers: HeaderMap,
    body: Body,
    max_body: usize,
) -> Result<Response, Reject> {
    if !media::is_json(&headers) {
        return Err(Reject::MediaType);
    }
    if !media::accepts_both(&headers) {
        return Err(Reject::NotAcceptable(
            "application/json and text/event-stream",
        ));
    }
    // Messages alone hold the body, so that it goes as soon as the server has it.
    let messages = messages::parse(&body::read(&headers, body, max_body).await?)?;
    let messages = trace_context::continued(&headers, messages);
    if stateless::is_modern(&headers, &messages) {
        return stateless.post(headers, messages).await;
    }
    if let Messages::One(message) = &messages
        && is_initialize(message)
        && !headers.contains_key(&SESSION)
    {
        return initialize(sessions, message, headers).await;
    }
    let client = client(sessions, &headers)?;
    // The head shares the connection's read buffer; a long call must not hold it.
    drop(headers);
    if messages.ask() && sessions.budget().is_spent() {
        return Err(Reject::Shedding(messages.id()));
    }
    match messages {
        Messages::One(message) if message.kind() == Kind::Request => {
            if is_initialize(&message) {
                let id = message.id().map(crate::jsonrpc::RequestId::new);
                return Err(Reject::Invalid {
                    reason: "this session is initialized already".to_owned(),
                    id,
                });
            }
            let call = Call::new(sessions, client, 1);
            call.client.send(message, &call.mailbox);
            call.answer(sessions, false).await
        }
        Messages::One(message) => {
            client.send(message, client.outlet());
            Ok(empty(StatusCode::ACCEPTED))
        }
        Messages::Batch(batch) => {
            if !client.version_is(version::allows_batch) {
                return Err(no_batches());
            }
            self::batch(sessions, client, batch).await
        }
    }
}

/// Opens a session. Its id goes out only when the server agreed.
async fn initialize(
    sessions: &Arc<Sessions>,
    message: &Message,
    headers: HeaderMap,
) -> Result<Response, Reject> {
    let mut again = true;
    loop {
        let call = Call::new(sessions, sessions.open(Transport::Streamable, &headers)?, 1);
        let opening = Opening {
            sessions,
            id: Some(call.client.id),
        };
        call.client.send(message.clone(), &call.mailbox);
        let mut reader = call.mailbox.reader();
        let answer = loop {
            match reader.next().await {
                Some(delivery) if delivery.kind.ends_a_request() => break delivery,
                // The client has no stream yet: what comes early waits for its first GET.
                Some(delivery) => {
                    call.client.outlet().push(delivery);
                }
                None => return Err(Reject::Sessions),
            }
        };
        if let DeliveryKind::Refusal(refusal) = answer.kind {
            // An idle session may hold the instance that this one needs.
            if matches!(refusal, Refusal::Overloaded { .. })
                && again
                && (sessions.end_idle_dedicated() || sessions.evict_idle())
            {
                again = false;
                drop(opening);
                sessions.room(PLACE).await;
                continue;
            }
            return Ok(reject::refusal(refusal, answer.body.into_bytes()));
        }
        let mut response = reject::json(StatusCode::OK, answer.body);
        if call.client.version_is(|_| true) {
            let id = opening.keep();
            let value = HeaderValue::try_from(id.to_string())
                .expect("hexadecimal digits are visible ASCII");
            response.headers_mut().insert(SESSION, value);
        }
        return Ok(response);
    }
}

/// Ends a session again whose `initialize` failed, or whose client did not wait for the answer.
struct Opening<'a> {
    sessions: &'a Sessions,
    id: Option<SessionId>,
}

impl Opening<'_> {
    fn keep(mut self) -> SessionId {
        self.id
            .take()
            .expect("only this takes it, and it takes self")
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.sessions.end(id);
        }
    }
}

async fn batch(
    sessions: &Arc<Sessions>,
    client: Arc<Client>,
    batch: Vec<Result<Message, Reject>>,
) -> Result<Response, Reject> {
    let is_answered = |message: &Result<Message, Reject>| {
        message.as_ref().map_or(true, |m| m.kind() == Kind::Request)
    };
    let answers = batch.iter().filter(|message| is_answered(message)).count();
    let call = Call::new(sessions, client, answers);
    for message in batch {
        match message {
            Ok(message) if message.kind() == Kind::Request => {
                call.client.send(message, &call.mailbox)
            }
            Ok(message) => call.client.send(message, call.client.outlet()),
            Err(reject) => {
                call.mailbox.push(Delivery {
                    kind: DeliveryKind::Answer,
                    body: reject.body().into(),
                });
            }
        }
    }
    if answers == 0 {
        return Ok(empty(StatusCode::ACCEPTED));
    }
    call.answer(sessions, true).await
}

/// One POST's requests on their way.
struct Call {
    client: Arc<Client>,
    mailbox: Arc<Mailbox>,
    answers: usize,
    busy: Busy,
}

impl Call {
    fn new(sessions: &Sessions, client: Arc<Client>, answers: usize) -> Call {
        client.answers().expect(answers);
        let mailbox = Mailbox::counted(sessions.budget(), client.answers());
        let busy = client.busy();
        Call {
            client,
            mailbox,
            answers,
            busy,
        }
    }

    /// JSON when nothing comes before the last answer, otherwise a stream.
    async fn answer(self, sessions: &Sessions, batch: bool) -> Result<Response, Reject> {
        let mut reader = self.mailbox.reader();
        let mut early = Vec::new();
        let deadline = Instant::now() + SILENCE;
        loop {
            match timeout_at(deadline, reader.next()).await {
                Ok(Some(delivery)) if delivery.kind.ends_a_request() => {
                    if !batch {
                        return Ok(single(delivery));
                    }
                    early.push(delivery);
                    if early.len() == self.answers {
                        return Ok(reject::json(StatusCode::OK, array(&early)));
                    }
                }
                Ok(Some(delivery)) => {
                    early.push(delivery);
                    break;
                }
                // The session ended before the message reached it.
                Ok(None) => return Err(Reject::SessionUnknown),
                Err(_) => break,
            }
        }
        drop(reader);
        Ok(self.stream(sessions, &early))
    }

    fn stream(self, sessions: &Sessions, early: &[Delivery]) -> Response {
        let origin = Origin::Post {
            unanswered: self.answers,
        };
        let stream = self
            .client
            .streams()
            .begin(origin, self.mailbox, sessions.kept());
        for delivery in early {
            stream.record(delivery, Instant::now());
        }
        let mut frames = Frames::default();
        if self.client.version_is(version::primes) {
            frames.priming(&stream.first_event());
        } else {
            frames.keep_alive();
        }
        Listening {
            carrier: stream.attach(0),
            _streaming: self.client.streaming(),
            busy: Some(self.busy),
            quiet: None,
        }
        .begin(frames)
    }
}

fn single(delivery: Delivery) -> Response {
    match delivery.kind {
        DeliveryKind::Refusal(refusal) => reject::refusal(refusal, delivery.body.into_bytes()),
        _ => reject::json(StatusCode::OK, delivery.body),
    }
}

fn array(answers: &[Delivery]) -> Bytes {
    let mut text = BytesMut::with_capacity(
        answers
            .iter()
            .map(|answer| answer.body.len() + 1)
            .sum::<usize>()
            + 1,
    );
    for (n, answer) in answers.iter().enumerate() {
        text.put_u8(if n == 0 { b'[' } else { b',' });
        for piece in answer.body.pieces() {
            text.extend_from_slice(piece);
        }
    }
    text.put_u8(b']');
    text.freeze()
}

fn get(sessions: &Arc<Sessions>, headers: &HeaderMap) -> Result<Response, Reject> {
    if !media::accepts_event_stream(headers) {
        return Err(Reject::NotAcceptable(media::EVENT_STREAM));
    }
    let client = client(sessions, headers)?;
    let streaming = client.streaming();
    if let Some(last) = headers.get(&LAST_EVENT) {
        let last = last
            .to_str()
            .ok()
            .and_then(EventId::parse)
            .ok_or(Reject::EventUnknown)?;
        let stream = client.streams().find(last.stream);
        if let Some(stream) = stream {
            if !stream.has_sent(last.number) {
                return Err(Reject::EventUnknown);
            }
            let carrier = stream.attach(last.number);
            let mut frames = Frames::default();
            frames.keep_alive();
            let quiet = (!last.is_of_post()).then(|| Quiet::of(&client));
            return Ok(Listening {
                carrier,
                _streaming: streaming,
                busy: None,
                quiet,
            }
            .begin(frames));
        }
        // Whoever waits for an answer must learn that it won't come; a listener just listens on.
        if last.is_of_post() {
            return Err(Reject::EventUnknown);
        }
    }
    let stream = client
        .streams()
        .begin(Origin::Get, client.outlet().clone(), sessions.kept());
    let mut frames = Frames::default();
    if client.version_is(version::primes) {
        frames.priming(&stream.first_event());
    } else {
        frames.keep_alive();
    }
    Ok(Listening {
        carrier: stream.attach(0),
        _streaming: streaming,
        busy: None,
        quiet: Some(Quiet::of(&client)),
    }
    .begin(frames))
}

/// A client that listens on a stream.
struct Listening {
    carrier: Carrier,
    _streaming: Streaming,
    busy: Option<Busy>,
    quiet: Option<Quiet>,
}

/// The rest after a session's last answer, for streams on which nobody waits for one; see [`super::sessions::QUIET`].
struct Quiet {
    client: Arc<Client>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Quiet {
    fn of(client: &Arc<Client>) -> Quiet {
        Quiet {
            client: client.clone(),
            timer: None,
        }
    }

    /// Whether it is quiet; the task is woken when that is over.
    fn poll(&mut self, context: &mut Context<'_>) -> bool {
        let Some(until) = self.client.quiet_until() else {
            self.timer = None;
            return false;
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        timer.as_mut().poll(context).is_pending()
    }
}

impl Listening {
    fn begin(self, frames: Frames) -> Response {
        let answers = self.busy.is_some();
        let stream = EventStream::new(frames, self);
        if answers {
            stream.into_response()
        } else {
            stream.into_long_response()
        }
    }
}

impl Source for Listening {
    fn poll_fill(&mut self, context: &mut Context<'_>, frames: &mut Frames) -> Poll<bool> {
        let quiet = self.quiet.as_mut().is_some_and(|quiet| quiet.poll(context));
        self.carrier.poll_fill(context, frames, quiet)
    }
}

/// The session that the head names, in a revision that is served.
fn client(sessions: &Sessions, headers: &HeaderMap) -> Result<Arc<Client>, Reject> {
    let id = headers
        .get(&SESSION)
        .ok_or(Reject::SessionMissing("Mcp-Session-Id"))?;
    let client = sessions.find(id.as_bytes(), Transport::Streamable, headers)?;
    match headers.get(&VERSION) {
        Some(version) if !version::is_supported(version.as_bytes()) => {
            Err(Reject::Version(version::SUPPORTED_TEXT))
        }
        _ => Ok(client),
    }
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
