//! What a modern server wants to know before it answers a legacy client: asked as a legacy server asks.
//!
//! MCP 2026-07-28, Multi Round-Trip Requests. The client's request stays open. Each thing that the server wants becomes a
//! request to the client where the answers of its call go; when all are answered, the call is sent again under a new id,
//! with the answers and the state that the server wants back. Meanwhile the call stands in the table under the new id,
//! which the server has not heard of. A call that ends takes back what its client has not answered yet.

use std::time::Instant;

use bytes::Bytes;

use super::super::generations::cancel_at_client;
use super::super::{Call, MAX_ASKS_PER_SESSION, Mux, Output, SessionKey};
use super::Dialect;
use crate::bridge::instance::MAX_QUEUED;
use crate::bridge::mailbox::DeliveryKind;
use crate::jsonrpc::{ErrorObject, Message, code, member, one_line};
use crate::mcp::Request;
use crate::mcp::era::server::{InputRequest, InputRequired};
use crate::metrics::{Dropped, MethodLabel, Outcome};

/// A server that still asks after so many times gets no answer any more.
const MAX_ROUNDS: u32 = 10;
/// A request of so few bytes is always kept, to be sent again.
const SMALL: usize = 64 * 1024;
/// Bytes that all larger ones of an instance may have together with what is asked and answered about them.
const MAX_KEPT: usize = 64 * 1024 * 1024;

/// What becomes of one translated request.
#[derive(Debug)]
pub(in crate::bridge::mux) struct Exchange {
    /// As the client sent it; `None` where it will not be sent again.
    message: Option<Message>,
    /// How often the server has asked.
    rounds: u32,
    round: Option<Round>,
}

/// What the client is being asked.
#[derive(Debug)]
struct Round {
    questions: Vec<Question>,
    state: Option<Bytes>,
}

#[derive(Debug)]
struct Question {
    /// The server's name for it, with quotes.
    key: Bytes,
    /// The id under which the client is asked.
    minted: u64,
    /// An error of the client is an answer too.
    elicits: bool,
    answer: Option<Bytes>,
}

impl Exchange {
    pub(super) fn new(message: Option<Message>) -> Exchange {
        Exchange {
            message,
            rounds: 0,
            round: None,
        }
    }

    pub(super) fn is_with_client(&self) -> bool {
        self.round.is_some()
    }

    /// Bytes that it keeps in memory.
    fn kept(&self) -> usize {
        let message = self
            .message
            .as_ref()
            .map_or(0, |message| message.text().len());
        let round = self.round.iter().flat_map(|round| {
            let texts = round.questions.iter().map(|question| {
                question.key.len() + question.answer.as_ref().map_or(0, Bytes::len)
            });
            texts.chain(round.state.iter().map(Bytes::len))
        });
        message + round.sum::<usize>()
    }
}

impl<A: Clone> Mux<A> {
    /// `message`, if it may have to be sent again and there is room to keep it.
    pub(super) fn keep(&self, request: Request, message: &Message) -> Option<Message> {
        let size = message.text().len();
        let keeps = request.may_ask() && (size <= SMALL || self.kept() + size <= MAX_KEPT);
        keeps.then(|| message.clone())
    }

    /// Bytes kept of requests that are to be sent again, as far as they count.
    fn kept(&self) -> usize {
        let kept = self.calls.values().map(|call| match &call.dialect {
            Dialect::Translated(exchange) => exchange.kept(),
            _ => 0,
        });
        kept.filter(|size| *size > SMALL).sum()
    }

    /// The server wants to know something before it answers `call`; it said so in `size` bytes.
    pub(super) fn input_required(
        &mut self,
        mut call: Call<A>,
        input: InputRequired,
        size: usize,
        now: Instant,
        out: &mut Output<A>,
    ) {
        if let Err(error) = self.admit_round(&mut call, &input, size) {
            return self.end_with(call, Outcome::Error, &error, DeliveryKind::Answer, now, out);
        }
        let k = self.mint();
        call.extend(self.settings.timing.request_timeout, now);
        call.span.record("k", k);
        let seat = self.seats.get_mut(&call.session);
        let seat = seat.expect("a session's calls end with it");
        seat.in_flight.insert(call.id.clone(), k);
        let mut questions = Vec::with_capacity(input.requests.len());
        for request in &input.requests {
            let minted = seat.next_ask;
            seat.next_ask += 1;
            seat.questions.insert(minted, k);
            out.deliver(
                &call.address,
                DeliveryKind::Request,
                question(minted, call.session, request),
            );
            questions.push(Question {
                key: Bytes::copy_from_slice(&request.key),
                minted,
                elicits: request.method == "elicitation/create",
                answer: None,
            });
        }
        let state = input.state.as_deref().map(Bytes::copy_from_slice);
        if let Dialect::Translated(exchange) = &mut call.dialect {
            exchange.round = Some(Round { questions, state });
        }
        self.calls.insert(k, call);
        if input.requests.is_empty() {
            self.send_again(k, now, out);
        }
    }

    /// Counts the round.
    ///
    /// # Errors
    /// What the client is told when there is to be none.
    fn admit_round(
        &self,
        call: &mut Call<A>,
        input: &InputRequired,
        size: usize,
    ) -> Result<(), ErrorObject> {
        let fault = |code, text: String| Err(ErrorObject::new(code, text));
        let Dialect::Translated(exchange) = &mut call.dialect else {
            return fault(code::INTERNAL_ERROR, "the call asks nothing".to_owned());
        };
        if !call.request.may_ask() {
            let text = "the MCP server asks for input where it may not";
            return fault(code::INTERNAL_ERROR, text.to_owned());
        }
        exchange.rounds += 1;
        if exchange.rounds > MAX_ROUNDS {
            let text = format!("the MCP server asked for input more than {MAX_ROUNDS} times");
            return fault(code::INTERNAL_ERROR, text);
        }
        let fits = size <= SMALL || self.kept() + size <= MAX_KEPT;
        if exchange.message.is_none() || !fits {
            let text = "the MCP server asks for input, and there is too much to keep for that";
            return fault(code::OVERLOADED, text.to_owned());
        }
        let seat = self.seats.get(&call.session);
        for request in &input.requests {
            let method = &request.method;
            let Some(capability) = capability(method) else {
                let text = format!(
                    "the MCP server asks for {}, which no client is asked",
                    super::super::shown(method)
                );
                return fault(code::INTERNAL_ERROR, text);
            };
            if !seat.is_some_and(|seat| seat.capabilities.covers(method)) {
                let text = format!(
                    "the MCP server asks for {method}, and this client has not declared the capability {capability}"
                );
                return fault(code::INVALID_PARAMS, text);
            }
        }
        let open = seat.map_or(0, |seat| seat.asks.len() + seat.questions.len());
        if open + input.requests.len() > MAX_ASKS_PER_SESSION {
            let text = "too many requests wait for this client's answer";
            return fault(code::OVERLOADED, text.to_owned());
        }
        Ok(())
    }

    /// The answer of `session` to what it was asked about its call `k`.
    pub(in crate::bridge::mux) fn answer_question(
        &mut self,
        session: SessionKey,
        k: u64,
        minted: u64,
        message: &Message,
        now: Instant,
        out: &mut Output<A>,
    ) {
        let size = message.text().len();
        let fits = size <= SMALL || self.kept() + size <= MAX_KEPT;
        let Some(call) = self
            .calls
            .get_mut(&k)
            .filter(|call| call.session == session)
        else {
            return self.metrics.dropped(Dropped::UnknownAnswer);
        };
        let Dialect::Translated(exchange) = &mut call.dialect else {
            return;
        };
        let Some(round) = &mut exchange.round else {
            return;
        };
        let mut questions = round.questions.iter_mut();
        let Some(question) = questions.find(|question| question.minted == minted) else {
            return;
        };
        question.answer = match message.part(message.envelope().result) {
            Some(result) if fits => Some(one_line(result)),
            None if question.elicits => Some(Bytes::from_static(br#"{"action":"cancel"}"#)),
            _ => None,
        };
        if question.answer.is_some() {
            if round
                .questions
                .iter()
                .all(|question| question.answer.is_some())
            {
                self.send_again(k, now, out);
            }
            return;
        }
        let Some(call) = self.calls.remove(&k) else {
            return;
        };
        if message.envelope().result.is_some() {
            let text = "the answer is larger than what can be kept";
            let error = ErrorObject::new(code::OVERLOADED, text);
            return self.end_with(call, Outcome::Error, &error, DeliveryKind::Answer, now, out);
        }
        self.withdraw(&call, "another question was refused", out);
        self.ended(&call, Outcome::Error, now);
        let error = message.part(message.envelope().error).unwrap_or(b"null");
        let text = [
            br#"{"jsonrpc":"2.0","id":"#.as_slice(),
            call.id.as_bytes(),
            br#","error":"#,
            &one_line(error),
            b"}",
        ]
        .concat();
        out.deliver(&call.address, DeliveryKind::Answer, Bytes::from(text));
    }

    /// Everything that the server wanted to know for the call `k` is known.
    fn send_again(&mut self, k: u64, now: Instant, out: &mut Output<A>) {
        let Some(call) = self.calls.get_mut(&k) else {
            return;
        };
        let Dialect::Translated(exchange) = &mut call.dialect else {
            return;
        };
        let (Some(message), Some(round)) = (exchange.message.clone(), exchange.round.take()) else {
            return;
        };
        let answers: Vec<Vec<u8>> = round
            .questions
            .iter()
            .map(|question| {
                let answer = question.answer.as_deref().unwrap_or(b"null");
                [&*question.key, b":", answer].concat()
            })
            .collect();
        let answers = [b"{", answers.join(&b","[..]).as_slice(), b"}"].concat();
        let state = round.state.as_deref();
        let size = message.text().len() + answers.len() + state.map_or(0, <[u8]>::len);
        let waiting = out.outbox.len();
        if waiting > 0 && waiting + size > MAX_QUEUED {
            let name = &self.settings.name;
            let text = format!("too much is queued for the MCP server {name}");
            let error = ErrorObject::new(code::OVERLOADED, text);
            if let Some(call) = self.calls.remove(&k) {
                self.end_with(call, Outcome::Error, &error, DeliveryKind::Answer, now, out);
            }
            return;
        }
        call.extend(self.settings.timing.request_timeout, now);
        call.position = out.outbox.position();
        let session = call.session;
        call.logs = self.seats.get(&session).and_then(|seat| seat.level);
        let responses = (!round.questions.is_empty()).then_some(answers.as_slice());
        self.write_translated(k, session, &message, (responses, state), out);
    }

    /// Takes back what the client of `call`, which is over, has not answered.
    pub(in crate::bridge::mux) fn withdraw(
        &mut self,
        call: &Call<A>,
        reason: &str,
        out: &mut Output<A>,
    ) {
        let Dialect::Translated(exchange) = &call.dialect else {
            return;
        };
        let (Some(round), Some(seat)) = (&exchange.round, self.seats.get_mut(&call.session)) else {
            return;
        };
        for question in &round.questions {
            if seat.questions.remove(&question.minted).is_some() {
                cancel_at_client(question.minted, &call.address, reason, out);
            }
        }
    }
}

/// What a client must have declared to be asked by `method`.
fn capability(method: &str) -> Option<&'static str> {
    match MethodLabel::of(method) {
        MethodLabel::Elicit => Some("elicitation"),
        MethodLabel::CreateMessage => Some("sampling"),
        MethodLabel::RootsList => Some("roots"),
        _ => None,
    }
}

/// The request to the client. One to open a URL has an id of its own there (MCP 2025-11-25, Elicitation § URL Mode), which
/// a modern server does not give it.
fn question(minted: u64, session: SessionKey, request: &InputRequest) -> Bytes {
    let mut text = format!(
        r#"{{"jsonrpc":"2.0","id":{minted},"method":"{}""#,
        request.method
    )
    .into_bytes();
    if let Some(params) = &request.params {
        text.extend_from_slice(b",\"params\":");
        let part = |key| member(params, key).map(|place| place.of(params));
        if part("mode") == Some(b"\"url\"") && part("elicitationId").is_none() {
            let id = format!(r#"{{"elicitationId":"{}-{minted}","#, session.0);
            text.extend_from_slice(id.as_bytes());
            text.extend_from_slice(&params[1..]);
        } else {
            text.extend_from_slice(params);
        }
    }
    text.push(b'}');
    text.into()
}
