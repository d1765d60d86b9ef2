//! The loop: the model's turns, the calls that are executed in between, and what is handed back to the client.
//!
//! Each round sends the whole conversation. The calls of a turn that name tools of the catalogue run at the same time; their
//! results, and words for whatever couldn't be called, go back in the order of the calls. The loop ends with a turn without
//! calls, with a turn that calls tools of the client's (then ours of that turn are executed, and remembered for when the client
//! goes on: [`super::continuations`]), or after `max_rounds`, when one last turn is asked for that may not call anything.

mod assembly;
mod concurrently;
mod conversation;
mod plan;
mod run;
mod usage;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::catalogue::Tool;
use super::continuations::Continuations;
use super::execute::{Called, Caller};
use super::openai::ApiError;
use super::upstream::Models;

pub(crate) use concurrently::concurrently;
pub(crate) use plan::Tools;

/// What a request to a model is made of, whichever API it came by.
#[derive(Debug)]
pub(crate) struct Request {
    /// The body of `POST /v1/chat/completions` without `messages`, `tools`, `stream` and `stream_options`: `model`,
    /// `temperature` and whatever else, sent with every round.
    pub(crate) parameters: Map<String, Value>,
    /// The conversation so far, in the chat API's shape.
    pub(crate) messages: Vec<Value>,
    /// The client's own tools, in the chat API's shape. On a clash of names they win.
    pub(crate) own_tools: Vec<Value>,
    /// Tools of the catalogue that the model may call.
    pub(crate) offered: Vec<Offered>,
    /// Whether the model's answers are wanted in pieces.
    pub(crate) stream: bool,
}

/// A tool of the catalogue, offered to a model.
#[derive(Debug, Clone)]
pub(crate) struct Offered {
    /// The tool; the model knows it by its public name.
    pub(crate) tool: Arc<Tool>,
    /// Whether a call is handed back for the client's approval instead of executed.
    pub(crate) needs_approval: bool,
}

/// What happens while the loop runs, in order. [`Event::Piece`] comes only when the answers are streamed.
#[derive(Debug)]
pub(crate) enum Event {
    /// A chunk of the model's answer, regular as [`super::upstream::Chunks::next`] has it, with everything in it.
    Piece(Value),
    /// A turn of the model is over: its whole `message`, all calls included, and what they are.
    Turn(Turn),
    /// A call of a catalogue tool begins; `id` is the call's.
    Calling {
        id: String,
        tool: Arc<Tool>,
        arguments: String,
    },
    /// It is over.
    Called { id: String, called: Called },
}

/// One turn of the model.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    /// The assistant message, `tool_calls` and unknown members included.
    pub(crate) message: Value,
    /// Its calls, in order.
    pub(crate) calls: Vec<Call>,
    /// As the model gave it, made regular.
    pub(crate) finish_reason: String,
}

/// One call of a turn.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// The whole object, as it stands in the message.
    pub(crate) object: Value,
    /// Its id.
    pub(crate) id: String,
    /// The name that the model called.
    pub(crate) name: String,
    /// Its arguments, as the model wrote them.
    pub(crate) arguments: String,
    /// Who answers it.
    pub(crate) kind: CallKind,
}

/// Who answers a call.
#[derive(Debug, Clone)]
pub(crate) enum CallKind {
    /// The gateway executes it.
    Ours(Arc<Tool>),
    /// The client has to approve it first.
    Approval(Arc<Tool>),
    /// The client's own tool.
    Clients,
    /// Nobody knows it: the model is told so.
    Unknown,
}

/// How a request ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The last turn's message for the client: only calls that are handed back are in it.
    pub(crate) message: Value,
    /// Calls that are handed back ([`CallKind::Clients`] and [`CallKind::Approval`]).
    pub(crate) handed_back: Vec<Call>,
    /// `stop`, `length`, `tool_calls` …
    pub(crate) finish_reason: String,
    /// Summed over the rounds; `None` when no round told.
    pub(crate) usage: Option<Value>,
    /// The last answer without `choices`, `usage` and `object`: `id`, `created`, `model` and whatever else.
    pub(crate) rest: Map<String, Value>,
    /// Its choice without `index`, `message` and `finish_reason`: `logprobs` and whatever else.
    pub(crate) choice: Map<String, Value>,
    /// The conversation with everything that was added to it, the last turn included.
    pub(crate) messages: Vec<Value>,
}

/// When a request has to be done with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    at: Instant,
    after: Duration,
}

/// What the loop needs of the gateway.
#[derive(Debug)]
pub(crate) struct Rounds<'a> {
    /// Who answers.
    pub(crate) models: &'a Models,
    /// Who executes.
    pub(crate) caller: &'a Caller,
    /// `max_rounds`.
    pub(crate) max_rounds: u32,
    /// Bytes of one tool's result that the model gets.
    pub(crate) max_result: usize,
    /// When the loop has to be over.
    pub(crate) deadline: Deadline,
    /// What was added to earlier conversations, and is to this one.
    pub(crate) continuations: &'a Continuations,
    /// [`super::access::Access::key`]: whose conversations they are.
    pub(crate) key: &'a str,
}

impl Deadline {
    /// `after` from now, the value of `deadline`.
    pub(crate) fn new(after: Duration) -> Deadline {
        Deadline {
            at: Instant::now() + after,
            after,
        }
    }

    /// Waits until it is over, and gives the error that says so.
    pub(crate) async fn over(&self) -> ApiError {
        tokio::time::sleep_until(self.at).await;
        ApiError::deadline(format!(
            "the request wasn't done after {:?}, model and tools together; ask for less, or raise `deadline` in the \
             `gateway` section",
            self.after
        ))
    }
}

impl Request {
    /// The tools that the model knows, by name.
    pub(crate) fn tools(&self) -> Tools {
        Tools::new(&self.own_tools, &self.offered)
    }
}

impl Call {
    fn is_handed_back(&self) -> bool {
        matches!(self.kind, CallKind::Clients | CallKind::Approval(_))
    }
}
