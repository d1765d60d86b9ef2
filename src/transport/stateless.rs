//! The stateless revision of Streamable HTTP: each POST says all that is needed (MCP 2026-07-28, Streamable HTTP).
//!
//! A request is checked ([`claims`]), gets a session of its own that ends with its response, and is answered with JSON, or
//! with a stream when something precedes the answer or it takes long ([`exchange`]). A client that goes away cancels it.
//! Before a modern server messages pass as they are. Before a legacy one they are translated here, and where that
//! server asks something, the request ends with what it asks while its call waits in the [`parking`]; the client's retry
//! goes on with it. [`listen`] is the stream of changes.

mod claims;
mod exchange;
mod listen;
mod parking;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::HeaderName;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bytes::Bytes;

use super::backend::Backend;
use super::messages::{Messages, no_batches};
use super::{Reject, reject};
use crate::bridge::{Mailbox, Purpose, Visit};
use crate::jsonrpc::{Kind, Message};
use crate::mcp::era::client::{Answer, Freshness};
use crate::mcp::era::{self, Era};
use crate::mcp::{Level, Request};
use claims::{Claims, busy, invalid, mismatch, no_method};
use exchange::{Exchange, Mode, Named, Start};
use listen::Streams;
use parking::{Bound, Claim, Parking};

/// How long a request waits for the place of an idle instance that was ended for it: down the whole stop ladder.
const PLACE: Duration = Duration::from_secs(6);
/// The id of what is said on a client's behalf; no client's own, as it goes out in sessions of a single request.
const OWN_ID: &str = r#""mcp-bridged""#;

/// Whether what came with `headers` is of the stateless revision, or means to be.
pub(super) fn is_modern(headers: &HeaderMap, messages: &Messages) -> bool {
    match messages {
        Messages::One(message) => claims::is_modern(headers, message),
        Messages::Batch(_) => names_modern(headers),
    }
}

/// Whether the head alone says so.
pub(super) fn names_modern(headers: &HeaderMap) -> bool {
    claims::names_modern(headers)
}

/// The stateless side of one listener.
#[derive(Debug)]
pub(super) struct Stateless {
    backend: Arc<dyn Backend>,
    parking: Parking,
    streams: Streams,
    /// Requests under way.
    open: AtomicUsize,
    /// Where nothing is kept.
    nobody: Arc<Mailbox>,
}

impl Stateless {
    pub(super) fn new(backend: Arc<dyn Backend>) -> Arc<Stateless> {
        let nobody = Mailbox::new(backend.budget());
        nobody.close();
        Arc::new(Stateless {
            backend,
            nobody,
            parking: Parking::default(),
            streams: Streams::default(),
            open: AtomicUsize::new(0),
        })
    }

    /// Looks after calls that wait for their client, until dropped.
    pub(super) async fn keep_swept(self: Arc<Self>) {
        self.parking.keep_swept().await;
    }

    /// Cancels the calls that wait for their client, and ends the streams of changes.
    pub(super) fn end_all(&self) {
        self.parking.clear();
        self.streams.end_all();
    }

    /// Ends the streams of changes that are over.
    pub(super) fn sweep(&self) {
        self.streams.sweep();
    }

    /// Serves a POST of a modern client.
    ///
    /// # Errors
    /// What is wrong with the request.
    pub(super) async fn post(
        self: &Arc<Self>,
        headers: HeaderMap,
        messages: Messages,
    ) -> Result<Response, Reject> {
        let Messages::One(message) = messages else {
            return Err(no_batches());
        };
        match message.kind() {
            Kind::Request => {}
            Kind::Notification => return self.notification(&headers, &message),
            Kind::Answer => {
                return Err(Reject::Invalid {
                    reason: "clients of this revision send no answers: retry the request with inputResponses".to_owned(),
                    id: None,
                });
            }
        }
        let supported = || match self.backend.supported_versions() {
            Some(own) => String::from_utf8_lossy(&own).into_owned(),
            None => era::client::supported(),
        };
        let claims = Claims::read(&headers, &message, supported)?;
        if claims::is_taken_away(&message) {
            return Err(no_method(&message));
        }
        if self.backend.is_draining() {
            return Err(busy(message.id(), &Reject::Draining));
        }
        if self.backend.budget().is_spent() {
            return Err(busy(message.id(), &Reject::Shedding(None)));
        }
        let method = message.method();
        if method == "tools/call" {
            self.check_mirrored(&headers, &message).await?;
        }
        let mut era = self.backend.era();
        if era.is_none() && claims.declared.any() {
            self.backend.settled().await;
            era = self.backend.era();
        }
        if era == Some(Era::Modern) {
            return self.untouched(headers, message, claims).await;
        }
        match method.as_ref() {
            "server/discover" => self.discover(&headers, &message).await,
            "subscriptions/listen" => listen::serve(self, &headers, &message, claims).await,
            _ if matches!(Request::of(&method), Request::Task | Request::Notification) => {
                Err(no_method(&message))
            }
            _ => self.call(headers, message, claims).await,
        }
    }

    /// This revision has none that a client sends over HTTP; what a vendor has added is passed on.
    fn notification(&self, headers: &HeaderMap, message: &Message) -> Result<Response, Reject> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::ACCEPTED;
        if message.method() == "notifications/cancelled" {
            return Ok(response);
        }
        let message = match self.backend.era() {
            Some(Era::Modern) => message.clone(),
            _ => era::client::request(message.clone()),
        };
        let visit = self.visit(headers, None, Purpose::Look);
        let nobody = &self.nobody;
        self.backend
            .visit(nobody, headers, visit)?
            .send(message, nobody);
        Ok(response)
    }

    async fn check_mirrored(&self, headers: &HeaderMap, message: &Message) -> Result<(), Reject> {
        let mirrored = self.backend.mirrored().get().await;
        let Some(mirrored) = mirrored.filter(|mirrored| !mirrored.is_empty()) else {
            return Ok(());
        };
        let envelope = message.envelope();
        let name = message
            .part(envelope.name)
            .and_then(crate::jsonrpc::string_value)
            .unwrap_or_default();
        let params = message.part(envelope.params).unwrap_or_default();
        let arguments = crate::jsonrpc::member(params, "arguments")
            .map(|span| span.of(params))
            .unwrap_or_default();
        let header = |name: &str| {
            let name = HeaderName::try_from(name).ok()?;
            let mut values = headers.get_all(&name).iter();
            let first = values.next()?;
            // Two values say nothing.
            Some(if values.next().is_some() {
                &b"\xff"[..]
            } else {
                first.as_bytes()
            })
        };
        mirrored
            .check(&name, arguments, header)
            .map_err(|text| mismatch(message.id(), &text))
    }

    /// Both sides are modern.
    async fn untouched(
        self: &Arc<Self>,
        headers: HeaderMap,
        message: Message,
        claims: Claims,
    ) -> Result<Response, Reject> {
        let listens = message.method() == "subscriptions/listen";
        let exchange = self.start(&headers, &message, &claims, Purpose::Look, Mode::Untouched)?;
        // The head shares the connection's read buffer; a long call must not hold it.
        drop((headers, claims));
        exchange.send(message);
        if listens {
            return Ok(exchange.listen().await);
        }
        Ok(exchange.respond().await.into_response())
    }

    /// The server is a legacy one, or will be taken for one.
    async fn call(
        self: &Arc<Self>,
        headers: HeaderMap,
        message: Message,
        claims: Claims,
    ) -> Result<Response, Reject> {
        let may_ask = Request::of(&message.method()).may_ask();
        if may_ask {
            // Checked although what nobody has asked for is ignored.
            let responses = parking::responses(&message)?;
            if message.envelope().request_state.is_some() {
                let bound = Bound::of(&message, self.backend.principal(&headers));
                drop((headers, claims));
                return self.go_on(&message, &bound, responses).await;
            }
        }
        let purpose = if may_ask {
            Purpose::Call
        } else {
            Purpose::Look
        };
        let mode = Mode::Translated(Freshness::of(&message.method()));
        if !claims.declared.any() {
            let exchange = self.start(&headers, &message, &claims, purpose, mode)?;
            if let Some(level) = claims.level {
                exchange.set_level(level);
            }
            drop((headers, claims));
            exchange.send(era::client::request(message));
            return Ok(exchange.respond().await.into_response());
        }
        let outgoing = era::client::request(message.clone());
        let mut again = true;
        loop {
            let exchange = self.start(&headers, &message, &claims, purpose, mode)?;
            if self.backend.greets() {
                exchange.greet(&claims);
            }
            if let Some(level) = claims.level {
                exchange.set_level(level);
            }
            exchange.send(outgoing.clone());
            let response = exchange.respond().await;
            // An idle instance may hold the place that this request needs.
            if response.is_overloaded() && again && self.backend.evict_idle() {
                again = false;
                self.backend.room(PLACE).await;
                continue;
            }
            return Ok(response.into_response());
        }
    }

    /// A retry with what the server has asked for.
    async fn go_on(
        self: &Arc<Self>,
        message: &Message,
        bound: &Bound,
        responses: &[u8],
    ) -> Result<Response, Reject> {
        match self.parking.claim(message, bound, responses)? {
            Claim::Resumed { ongoing, record } => {
                let exchange = Exchange::resume(self.clone(), *ongoing, Named::of(message), record);
                Ok(exchange.respond().await.into_response())
            }
            Claim::Replayed(mut outcome) => {
                // An error means that the request which went on with it was given up.
                let done = outcome.wait_for(Option::is_some).await;
                let outcome = done.ok().and_then(|outcome| outcome.clone());
                let outcome = outcome.ok_or_else(|| {
                    invalid(
                        message.id(),
                        "the call with this requestState was cancelled; start it anew",
                    )
                })?;
                Ok(outcome
                    .under(message.id().unwrap_or(b"null"))
                    .into_response())
            }
        }
    }

    fn start(
        self: &Arc<Self>,
        headers: &HeaderMap,
        message: &Message,
        claims: &Claims,
        purpose: Purpose,
        mode: Mode,
    ) -> Result<Exchange, Reject> {
        let place = self.place(message)?;
        let visit = self.visit(headers, Some(claims), purpose);
        // A client that can be asked nothing never comes back with an answer.
        let waits = purpose == Purpose::Call && claims.declared.any();
        let bound = waits.then(|| Bound::of(message, visit.principal));
        let start = Start {
            conversation: self.backend.visit(&self.nobody, headers, visit)?,
            mode,
            named: Named::of(message),
            bound,
            declared: claims.declared,
        };
        Ok(Exchange::begin(self.clone(), place, start))
    }

    /// Counts a request until dropped; as many as sessions may be under way.
    fn place(self: &Arc<Self>, message: &Message) -> Result<Open, Reject> {
        let open = Open(self.clone());
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.backend.max_sessions() {
            return Err(busy(message.id(), &Reject::Sessions));
        }
        Ok(open)
    }

    fn visit(&self, headers: &HeaderMap, claims: Option<&Claims>, purpose: Purpose) -> Visit {
        Visit {
            principal: self.backend.principal(headers),
            capabilities: claims.map_or(Bytes::from_static(b"{}"), |claims| {
                claims.capabilities.clone()
            }),
            client: claims.and_then(|claims| claims.client.clone()),
            purpose,
        }
    }

    /// What the server said in its handshake, in the form of this revision.
    async fn discover(
        self: &Arc<Self>,
        headers: &HeaderMap,
        message: &Message,
    ) -> Result<Response, Reject> {
        let _place = self.place(message)?;
        let id = message.id().unwrap_or(b"null");
        let visit = self.visit(headers, None, Purpose::Meet);
        let conversation = self.backend.visit(&self.nobody, headers, visit)?;
        let address = Mailbox::new(self.backend.budget());
        conversation.send(hello(b"{}", None), &address);
        let answer = address.reader().next().await;
        let Some(delivery) = answer else {
            return Err(Reject::Draining);
        };
        if let crate::bridge::DeliveryKind::Refusal(refusal) = delivery.kind {
            let body = named(delivery.body.into_bytes(), id);
            return Ok(reject::refusal(refusal, body));
        }
        let body = delivery.body.into_bytes();
        let result = Message::parse(body.clone())
            .ok()
            .and_then(|answer| answer.result());
        let body = match result {
            Some(result) => {
                let result = era::client::discovered(&result);
                [
                    br#"{"jsonrpc":"2.0","id":"#.as_slice(),
                    id,
                    br#","result":"#,
                    &result,
                    b"}",
                ]
                .concat()
                .into()
            }
            None => named(body, id),
        };
        let answer = Answer::untouched(body.into());
        Ok(reject::json(claims::status(answer.error), answer.body))
    }
}

/// A request that is counted.
#[derive(Debug)]
struct Open(Arc<Stateless>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The `initialize` that is said on a client's behalf.
fn hello(capabilities: &[u8], client: Option<&[u8]>) -> Message {
    let client = client.unwrap_or(br#"{"name":"mcp-bridged","version":"1"}"#);
    let version = crate::mcp::Version::LATEST.name();
    let head = format!(
        r#"{{"jsonrpc":"2.0","id":{OWN_ID},"method":"initialize","params":{{"protocolVersion":"{version}","capabilities":"#
    );
    let text = [
        head.as_bytes(),
        capabilities,
        br#","clientInfo":"#,
        client,
        b"}}",
    ]
    .concat();
    Message::parse(text.into()).expect("its parts are JSON objects")
}

/// The `logging/setLevel` that is said on a client's behalf.
fn set_level(level: Level) -> Message {
    let level = level.name();
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":{OWN_ID},"method":"logging/setLevel","params":{{"level":"{level}"}}}}"#
    );
    Message::parse(text.into()).expect("it is written here")
}

/// An answer under another id.
fn named(answer: Bytes, id: &[u8]) -> Bytes {
    match Message::parse(answer.clone()).ok().and_then(|message| {
        let span = message.envelope().id?;
        Some(message.replacing(span, id))
    }) {
        Some(body) => body.into_bytes(),
        None => answer,
    }
}
