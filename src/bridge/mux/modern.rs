//! A modern server: what it is told, and what its words mean to whom (MCP 2026-07-28).
//!
//! Requests of two kinds meet here. Those of modern clients pass as they are, but for id and progress token; one that
//! listens stays open, and gets what the server says under its id (`streams`). Those of legacy clients are translated:
//! they gain what the client said of itself in `initialize`; log levels are kept here; what they subscribe to goes into
//! one stream of the bridge's own (`feed`); and what the server wants to know before it answers is asked as a legacy
//! server asks (`rounds`).

mod feed;
mod rounds;
mod streams;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::judge::{Verdict, uri};
use super::{Call, Incoming, Mux, Output, SessionKey, Then};
use crate::bridge::mailbox::{DeliveryKind, Refusal};
use crate::jsonrpc::{Edit, ErrorObject, Message, RequestId, Span, code};
use crate::mcp::era::server::{
    Added, Answer, Introduction, MAX_INTRODUCTION, answer, error_code, request,
};
use crate::mcp::{Level, Request, ServerNotification};
use crate::metrics::{Dropped, MethodLabel, Outcome, Refused};

use feed::Feed;
use rounds::Exchange;
pub(super) use streams::NEVER;

/// A client whose message came to a server of another era should come again after this.
const RETRY_WHEN_CHANGED: Duration = Duration::from_millis(100);

/// What there is to know of a modern server.
#[derive(Debug)]
pub(super) struct Modern {
    /// What is said for those who said nothing.
    own: Introduction,
    feed: Feed,
}

impl Modern {
    /// When [`Mux::tick_feed`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        self.feed.due()
    }
}

/// How a request is spoken of with the server.
#[derive(Debug)]
pub(super) enum Dialect {
    /// As the client speaks: both are of one era.
    Same,
    /// A modern client listens: the answer only comes when one of both has had enough.
    Stream,
    /// In a modern server's words, for a legacy client.
    Translated(Box<Exchange>),
    /// Not at all: it is answered when the bridge's own stream has been acknowledged.
    Awaiting,
}

impl<A> Call<A> {
    /// Whether the server was sent it and is to answer.
    pub(super) fn is_at_server(&self) -> bool {
        match &self.dialect {
            Dialect::Same | Dialect::Stream => true,
            Dialect::Translated(exchange) => !exchange.is_with_client(),
            Dialect::Awaiting => false,
        }
    }

    /// Whom it waits for, in words.
    pub(super) fn what_is_missing(&self) -> &'static str {
        match &self.dialect {
            Dialect::Translated(exchange) if exchange.is_with_client() => {
                "the client did not answer what the MCP server wants to know"
            }
            _ => "MCP server did not answer",
        }
    }

    pub(super) fn is_stream(&self) -> bool {
        matches!(self.dialect, Dialect::Stream)
    }
}

impl<A: Clone> Mux<A> {
    /// The server that was just made ready is a modern one, and tells of changes of those lists that `tells_of` names.
    pub(crate) fn meet_modern(
        &mut self,
        tells_of: impl Fn(&str) -> bool,
        now: Instant,
        out: &mut Output<A>,
    ) {
        self.between_generations = false;
        self.modern = Some(Modern {
            own: Introduction::own(),
            feed: Feed::new(ServerNotification::LISTS.map(|(kind, _)| tells_of(kind))),
        });
        self.feed(now, out);
    }

    /// Whether `message` of `session` is a modern client's. A session that was initialised is a legacy one, whatever its
    /// messages hold.
    pub(super) fn is_stateless(&self, session: SessionKey, message: &Message) -> bool {
        message.envelope().meta_version.is_some()
            && (self.seats.get(&session)).is_some_and(|seat| !seat.initialized)
    }

    /// A modern client's message, and the server is a legacy one: the client did not know.
    pub(super) fn server_changed(&self) -> Verdict {
        let error = ErrorObject {
            code: code::SERVER_UNAVAILABLE,
            message: "the MCP server was replaced by one of an earlier revision".to_owned(),
            data: Some(serde_json::json!({
                "source": "bridge", "kind": "server_changed", "bridge": self.settings.name,
                "retry_after_ms": 100, "delivered": false,
            })),
        };
        let retry_after = RETRY_WHEN_CHANGED;
        Verdict::Refuse(Refusal::Unavailable { retry_after }, error)
    }

    /// What a modern server makes of a request; `None`: the same as any shared one.
    pub(super) fn judge_modern(
        &mut self,
        session: SessionKey,
        stateless: bool,
        request: Request,
        message: &Message,
    ) -> Option<Verdict> {
        let unknown = |text: &str| Some(Verdict::invalid(code::METHOD_NOT_FOUND, text));
        match request {
            // A server of both eras would be a legacy one from then on, for everybody.
            Request::Initialize => unknown("there is no initialize in revision 2026-07-28"),
            Request::Listen if stateless => self.judge_stream(),
            Request::Notification => None,
            _ if stateless => Some(Verdict::Forward(Then::Nothing, None)),
            Request::Discover | Request::Listen => unknown(
                "this method belongs to revision 2026-07-28, and this session to an earlier one",
            ),
            Request::Task => unknown("this server knows no tasks of revision 2025-11-25"),
            Request::SetLevel => Some(self.keep_level(session, message)),
            Request::Subscribe | Request::Unsubscribe => {
                Some(self.judge_feed(session, request, message))
            }
            _ => None,
        }
    }

    /// The server is told with each request.
    fn keep_level(&mut self, session: SessionKey, message: &Message) -> Verdict {
        let text = message.part(message.envelope().level);
        let Some(level) = text.and_then(Level::parse) else {
            let text = "params.level must be one of the protocol's eight levels";
            return Verdict::invalid(code::INVALID_PARAMS, text);
        };
        if let Some(seat) = self.seats.get_mut(&session) {
            seat.level = Some(level);
        }
        Verdict::AnswerHere
    }

    /// Everybody's subscriptions are in one stream, which is opened anew when a URI is not in it yet.
    fn judge_feed(&mut self, session: SessionKey, request: Request, message: &Message) -> Verdict {
        let uri = match uri(message) {
            Ok(uri) => uri,
            Err(text) => return Verdict::invalid(code::INVALID_PARAMS, text),
        };
        if request == Request::Unsubscribe {
            let _last = self.subscriptions.leave(session, &uri);
            return Verdict::AnswerHere;
        }
        let room = feed::admits(&self.subscriptions, &uri);
        if let Err(limit) = self.subscriptions.admits(session, &uri).and(room) {
            self.metrics.refused(Refused::InFlight);
            return Verdict::invalid(code::OVERLOADED, limit);
        }
        let uri = Arc::<str>::from(uri);
        if self.subscriptions.join(session, &uri) {
            return Verdict::AnswerHere;
        }
        Verdict::Await(uri)
    }

    /// Writes the request `k` of a legacy client in the server's words.
    pub(super) fn write_translated_request(
        &mut self,
        k: u64,
        session: SessionKey,
        request: Request,
        message: &Message,
        out: &mut Output<A>,
    ) -> Dialect {
        let exchange = Exchange::new(self.keep(request, message));
        self.write_translated(k, session, message, (None, None), out);
        Dialect::Translated(Box::new(exchange))
    }

    /// Writes `message` of a legacy client under the id `k`; `input` is what the server asked for and wants back.
    fn write_translated(
        &self,
        k: u64,
        session: SessionKey,
        message: &Message,
        input: (Option<&[u8]>, Option<&[u8]>),
        out: &mut Output<A>,
    ) {
        let seat = self.seats.get(&session);
        let said = seat.and_then(|seat| seat.introduction.as_deref());
        let Some(introduction) = said.or(self.modern.as_ref().map(|modern| &modern.own)) else {
            return;
        };
        let mut digits = [0; 20];
        let added = Added {
            id: super::client::decimal(k, &mut digits),
            introduction,
            level: seat.and_then(|seat| seat.level),
            responses: input.0,
            state: input.1,
        };
        let placed = request(message, &added);
        let mut edits: Vec<Edit<'_>> = placed
            .iter()
            .map(|(span, with)| Edit { span: *span, with })
            .collect();
        out.outbox.message(message, &mut edits);
    }

    /// What is said of a client that sent `params` with its `initialize`; nothing where nobody wants to know.
    ///
    /// # Errors
    /// What it is answered when it says too much.
    pub(super) fn introduction(
        &self,
        params: &[u8],
    ) -> Result<Option<Box<Introduction>>, ErrorObject> {
        if self.modern.is_none() {
            return Ok(None);
        }
        let said = Introduction::of(params).map_err(|length| {
            let text = format!(
                "clientInfo and capabilities of initialize have {length} bytes, more than {MAX_INTRODUCTION}"
            );
            ErrorObject::new(code::INVALID_PARAMS, text)
        });
        said.map(|introduction| Some(Box::new(introduction)))
    }

    /// The log lines that the request `message` asks a modern server for.
    pub(super) fn logs_wanted(
        &self,
        session: SessionKey,
        message: &Message,
        stateless: bool,
    ) -> Option<Level> {
        self.modern.as_ref()?;
        if stateless {
            return message
                .part(message.envelope().meta_level)
                .and_then(Level::parse);
        }
        self.seats.get(&session).and_then(|seat| seat.level)
    }

    /// The answer to a request that was not spoken of in the client's own words.
    pub(super) fn answer_in_dialect(
        &mut self,
        k: u64,
        call: Call<A>,
        id: Span,
        message: &Message,
        now: Instant,
        out: &mut Output<A>,
    ) -> Incoming {
        if !call.is_at_server() {
            // The server can't know of it.
            self.calls.insert(k, call);
            self.metrics.dropped(Dropped::UnknownAnswer);
            return Incoming::Done;
        }
        match (&call.dialect, message.result()) {
            (Dialect::Stream, _) => self.stream_answered(&call, id, message, now, out),
            (_, Some(result)) => self.translated_answer(call, id, message, &result, now, out),
            (_, None) => self.translated_error(&call, id, message, now, out),
        }
        Incoming::Answered
    }

    fn translated_answer(
        &mut self,
        call: Call<A>,
        id: Span,
        message: &Message,
        result: &bytes::Bytes,
        now: Instant,
        out: &mut Output<A>,
    ) {
        let filtered = self.filtered(call.request, message).map(bytes::Bytes::from);
        match answer(filtered.as_ref().unwrap_or(result)) {
            Answer::Complete(cuts) => {
                let place = message.envelope().result.expect("it has a result");
                let mut whole = Vec::new();
                let mut edits = vec![Edit {
                    span: id,
                    with: call.id.as_bytes(),
                }];
                if let Some(filtered) = &filtered {
                    crate::jsonrpc::splice(&mut whole, filtered, &mut cut(&cuts));
                    edits.push(Edit {
                        span: place,
                        with: &whole,
                    });
                } else {
                    let cuts = cut(&cuts);
                    edits.extend(cuts.into_iter().map(|cut| Edit {
                        span: cut.span.inside(place),
                        ..cut
                    }));
                }
                self.ended(&call, Outcome::Ok, now);
                out.deliver(
                    &call.address,
                    DeliveryKind::Answer,
                    message.editing(&mut edits),
                );
            }
            Answer::InputRequired(input) => {
                self.input_required(call, input, result.len(), now, out)
            }
            Answer::Invalid(text) => {
                let error = ErrorObject::new(code::INTERNAL_ERROR, text);
                self.end_with(call, Outcome::Error, &error, DeliveryKind::Answer, now, out);
            }
        }
    }

    fn translated_error(
        &mut self,
        call: &Call<A>,
        id: Span,
        message: &Message,
        now: Instant,
        out: &mut Output<A>,
    ) {
        let place = message.envelope().error;
        let object = message.part(place).unwrap_or_default();
        let reading = call.label == MethodLabel::ResourcesRead;
        let code = place.zip(error_code(object, reading));
        let text = code
            .map(|(_, (_, code))| code.to_string())
            .unwrap_or_default();
        let mut edits = vec![Edit {
            span: id,
            with: call.id.as_bytes(),
        }];
        if let Some((place, (inside, _))) = code {
            edits.push(Edit {
                span: inside.inside(place),
                with: text.as_bytes(),
            });
        }
        self.ended(call, Outcome::Error, now);
        out.deliver(
            &call.address,
            DeliveryKind::Answer,
            message.editing(&mut edits),
        );
    }

    /// A log line of a modern server belongs to the only request that asked for any. Nothing says to which else.
    pub(super) fn modern_log(
        &mut self,
        message: Message,
        now: Instant,
        out: &mut Output<A>,
    ) -> Incoming {
        let asked = |call: &&Call<A>| call.logs.is_some() && call.is_at_server();
        let mut calls = self.calls.values().filter(asked);
        let (Some(call), None) = (calls.next(), calls.next()) else {
            return Incoming::Log(message);
        };
        let (session, address, wanted) = (call.session, call.address.clone(), call.logs);
        let level = message
            .part(message.envelope().level)
            .and_then(Level::parse);
        let too_quiet = level
            .zip(wanted)
            .is_some_and(|(level, wanted)| level < wanted);
        if too_quiet || self.doubt.about_others(session, false, now) {
            return Incoming::Log(message);
        }
        let body = message.editing(&mut []);
        out.deliver(&address, DeliveryKind::Notification, body);
        Incoming::Done
    }

    /// Whose a notification of a modern server is that is of no known kind and names no stream: the only request's.
    pub(super) fn modern_owner(&mut self, now: Instant) -> Option<(SessionKey, A)> {
        let working = |call: &&Call<A>| call.is_at_server() && !call.is_stream();
        let mut calls = self.calls.values().filter(working);
        let (Some(call), None) = (calls.next(), calls.next()) else {
            return None;
        };
        let owner = (call.session, call.address.clone());
        (!self.doubt.about_others(owner.0, false, now)).then_some(owner)
    }
}

fn cut(places: &[Span]) -> Vec<Edit<'static>> {
    let cut = |span: &Span| Edit {
        span: *span,
        with: b"",
    };
    places.iter().map(cut).collect()
}

/// The number that `text` says the id of a stream is.
fn number(text: Option<&[u8]>) -> Option<u64> {
    text.and_then(RequestId::integer)
}
