//! What a scripted model answers once; the same turn serves a client that wants one JSON body and one that wants a stream.
//!
//! [`Odd`] names what other providers do differently from OpenAI.

use serde_json::{Map, Value};

use super::Gate;

mod answer;

pub(crate) use answer::Answer;

/// The time that every answer bears.
pub(super) const CREATED: u64 = 1_700_000_000;

/// Prompt and completion tokens of a turn that doesn't say.
const USAGE: (u64, u64) = (10, 5);

/// One answer of the model.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    says: Says,
    id: Option<String>,
    call_ids: Vec<String>,
    usage: (u64, u64),
    reasoning: Option<String>,
    signature: Option<Value>,
    extra: Map<String, Value>,
    headers: Vec<(String, String)>,
    odd: Vec<Odd>,
    end: End,
    /// Pieces before an unclean end.
    pieces: usize,
    gate: Option<Gate>,
    pace: Option<Gate>,
}

/// What some providers do differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Odd {
    /// A call's arguments are an object instead of a string, and come whole.
    ObjectArguments,
    /// A call without arguments has an empty string instead of `{}`.
    EmptyArguments,
    /// Calls have no id.
    NoCallIds,
    /// The deltas of calls have no index; each call comes whole.
    NoIndex,
    /// Each call comes whole under index 0.
    SameIndex,
    /// Later fragments of a call have an empty id and name.
    EmptyHeads,
    /// The finish reason is `stop` even with calls.
    FinishStop,
    /// `content: null` and `tool_calls: null` wherever there is none.
    Nulls,
    /// A message without text has no `content` at all.
    NoContent,
    /// No usage is told.
    NoUsage,
    /// In a stream, usage comes with the finish reason, asked for or not.
    UsageWithFinish,
    /// In a stream, usage comes after the finish reason in a chunk that has a choice, as LiteLLM sends it.
    UsageWithChoice,
    /// The stream ends without `[DONE]`.
    NoDone,
}

#[derive(Debug, Clone)]
enum Says {
    Message {
        text: Option<String>,
        calls: Vec<(String, Value)>,
    },
    /// The same bytes, whatever was asked for.
    Exactly {
        status: u16,
        content_type: &'static str,
        body: String,
    },
    /// A stream of these, whatever was asked for.
    Chunks(Vec<Value>),
}

/// How an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Clean,
    /// The connection is cut.
    Cut,
    /// Nothing more comes until the client goes away.
    Hang,
}

impl Turn {
    /// Text, and the end of the conversation.
    pub(crate) fn text(text: &str) -> Self {
        Self::of(Says::Message {
            text: Some(text.to_owned()),
            calls: Vec::new(),
        })
    }

    /// Calls of tools with these arguments.
    pub(crate) fn calls(calls: &[(&str, Value)]) -> Self {
        Self::of(Says::Message {
            text: None,
            calls: owned(calls),
        })
    }

    /// Text before calls.
    pub(crate) fn text_and_calls(text: &str, calls: &[(&str, Value)]) -> Self {
        Self::of(Says::Message {
            text: Some(text.to_owned()),
            calls: owned(calls),
        })
    }

    /// This JSON body, even where a stream was asked for.
    pub(crate) fn raw(body: &Value) -> Self {
        Self::status(200, body)
    }

    /// These chunks and `[DONE]`, even where no stream was asked for.
    pub(crate) fn chunks(chunks: impl IntoIterator<Item = Value>) -> Self {
        Self::of(Says::Chunks(chunks.into_iter().collect()))
    }

    /// These bytes as an event stream.
    pub(crate) fn event_stream(body: &str) -> Self {
        Self::exactly(200, "text/event-stream", body)
    }

    /// A status and a JSON body.
    pub(crate) fn status(status: u16, body: &Value) -> Self {
        Self::exactly(status, "application/json", &body.to_string())
    }

    /// A proxy's error page.
    pub(crate) fn html(status: u16) -> Self {
        let page = "<html><body><h1>Something went wrong</h1></body></html>";
        Self::exactly(status, "text/html", page)
    }

    /// No answer, not even a head, until the client goes away.
    pub(crate) fn hang() -> Self {
        Self::text("").hanging_after(0)
    }

    /// The completion's id, otherwise `chatcmpl-` and the request's number.
    pub(crate) fn with_id(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    /// The ids of the calls, otherwise `call_<request>_<call>`, both counted from 0.
    pub(crate) fn with_call_ids(mut self, ids: &[&str]) -> Self {
        self.call_ids = ids.iter().map(ToString::to_string).collect();
        self
    }

    /// Prompt and completion tokens, otherwise 10 and 5.
    pub(crate) fn usage(mut self, prompt: u64, completion: u64) -> Self {
        self.usage = (prompt, completion);
        self
    }

    /// Thoughts, as `reasoning_content`.
    pub(crate) fn reasoning(mut self, thoughts: &str) -> Self {
        self.reasoning = Some(thoughts.to_owned());
        self
    }

    /// What a provider signs each call with, as `extra_content`.
    pub(crate) fn signed(mut self, signature: Value) -> Self {
        self.signature = Some(signature);
        self
    }

    /// A further field of the completion, or of each of its chunks.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(name.to_owned(), value.into());
        self
    }

    /// A further header of the answer.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn odd(mut self, odd: Odd) -> Self {
        self.odd.push(odd);
        self
    }

    /// The connection is cut after so many events of a stream (the role is the first), or in the middle of a JSON body.
    pub(crate) fn broken_after(mut self, events: usize) -> Self {
        (self.end, self.pieces) = (End::Cut, events);
        self
    }

    /// Nothing more comes after so many events until the client goes away; after none, not even a head has come.
    pub(crate) fn hanging_after(mut self, events: usize) -> Self {
        (self.end, self.pieces) = (End::Hang, events);
        self
    }

    /// The answer waits at this gate before its head.
    pub(crate) fn after(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// Each event of the stream, `[DONE]` too, waits at this gate.
    pub(crate) fn paced(mut self, gate: &Gate) -> Self {
        self.pace = Some(gate.clone());
        self
    }

    pub(crate) fn gate(&self) -> Option<&Gate> {
        self.gate.as_ref()
    }

    fn of(says: Says) -> Self {
        Self {
            says,
            id: None,
            call_ids: Vec::new(),
            usage: USAGE,
            reasoning: None,
            signature: None,
            extra: Map::new(),
            headers: Vec::new(),
            odd: Vec::new(),
            end: End::Clean,
            pieces: 0,
            gate: None,
            pace: None,
        }
    }

    fn exactly(status: u16, content_type: &'static str, body: &str) -> Self {
        Self::of(Says::Exactly {
            status,
            content_type,
            body: body.to_owned(),
        })
    }
}

fn owned(calls: &[(&str, Value)]) -> Vec<(String, Value)> {
    let owned = |(name, arguments): &(&str, Value)| ((*name).to_owned(), arguments.clone());
    calls.iter().map(owned).collect()
}
