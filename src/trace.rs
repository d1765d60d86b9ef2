//! Traces: which trace a request belongs to, and what is kept of it for an OpenTelemetry collector.
//!
//! A client says in `params._meta.traceparent` whose work its request continues (MCP SEP-414; W3C Trace Context), or in
//! HTTP's header of that name, which [`continued`] puts there. That is all as long as nothing is exported: then no
//! request costs more than a look at an empty cell. Once [`install`] was called, each request is a span of its own: the
//! server is told of it as its parent, and its end becomes a [`Record`] in a bounded queue, from which the exporter takes
//! it. A full queue loses records, which are counted, and never makes anybody wait.

mod carrier;
mod context;
mod ids;
mod sampler;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;

use crate::jsonrpc::{Message, member, string_value};
use crate::metrics::{Outcome, ProcessMetrics};

pub use carrier::continued;
pub use context::Context;
pub use sampler::{Root, Sampler};

use ids::Ids;

/// Bytes of a name from outside that are kept.
const LONGEST: usize = 100;
/// Bytes of a `tracestate` that are passed on (W3C Trace Context § tracestate Limits: at least 512 should be).
pub(crate) const LONGEST_STATE: usize = 512;

static TRACER: OnceLock<Tracer> = OnceLock::new();

#[derive(Debug)]
struct Tracer {
    sampler: Sampler,
    ids: Ids,
    records: mpsc::Sender<Record>,
    metrics: Arc<ProcessMetrics>,
}

/// What is known of a request that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// What it is called in its trace.
    pub context: Context,
    /// Whose work it continues.
    pub parent: Option<Context>,
    /// What other tracers have to say, as the client sent it.
    pub state: Option<Box<str>>,
    /// The bridge's name.
    pub bridge: Box<str>,
    /// The session's number in the log.
    pub session: u64,
    /// Its id towards the server, if it got there.
    pub k: Option<u64>,
    /// Its id as the client spelled it, without quotes.
    pub id: Box<str>,
    /// Its method.
    pub method: Box<str>,
    /// What it calls by name.
    pub target: Option<Target>,
    /// When it came.
    pub began: SystemTime,
    /// Until its answer.
    pub took: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// What went wrong in the answer's own words.
    pub fault: Option<Fault>,
}

/// What a request calls by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Of `tools/call`.
    Tool(Box<str>),
    /// Of `prompts/get`.
    Prompt(Box<str>),
}

/// What an answer says went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The code of its error.
    Code(i64),
    /// A tool's result calls itself an error.
    Tool,
}

/// A request under way, while something is exported. Dropping it leaves no record.
#[derive(Debug)]
pub(crate) struct Ongoing {
    context: Context,
    /// `None`: nobody wants to see it.
    record: Option<Record>,
}

/// Begins to export: from now on each request that `sampler` chooses leaves a record at the receiver, of which `capacity`
/// may wait. `None` when that was done before.
pub fn install(
    sampler: Sampler,
    capacity: usize,
    metrics: Arc<ProcessMetrics>,
) -> Option<mpsc::Receiver<Record>> {
    // Full: the record is lost, and counted.
    let (records, receiver) = mpsc::channel(capacity.max(1));
    let tracer = Tracer {
        sampler,
        ids: Ids::default(),
        records,
        metrics,
    };
    TRACER.set(tracer).ok().map(|()| receiver)
}

/// The request `message` has come; `None` while nothing is exported.
pub(crate) fn begin(message: &Message, bridge: &str, session: u64) -> Option<Box<Ongoing>> {
    TRACER
        .get()
        .map(|tracer| Box::new(tracer.begin(message, bridge, session)))
}

impl Tracer {
    fn begin(&self, message: &Message, bridge: &str, session: u64) -> Ongoing {
        let (parent, state) = carrier::parent(message);
        let trace = parent.map_or_else(|| self.ids.trace(), |parent| parent.trace);
        let sampled = self.sampler.samples(&trace, parent.as_ref());
        let context = Context::new(trace, self.ids.span(), parent.as_ref(), sampled);
        let record = sampled.then(|| {
            let method = message.method();
            Record {
                context,
                parent,
                state: state
                    .filter(|state| state.len() <= LONGEST_STATE)
                    .map(Box::from),
                bridge: bridge.into(),
                session,
                k: None,
                id: id(message),
                target: Target::of(message, &method),
                method: shown(&method),
                began: SystemTime::now(),
                took: Duration::ZERO,
                outcome: Outcome::Ok,
                fault: None,
            }
        });
        Ongoing { context, record }
    }
}

impl Ongoing {
    /// It goes to the server under the id `k`: what `message` becomes so that the server knows whose work it does; `None` if
    /// there is no place for that.
    pub(crate) fn sent(&mut self, message: &Message, k: u64) -> Option<Message> {
        if let Some(record) = &mut self.record {
            record.k = Some(k);
        }
        carrier::told(message, &self.context)
    }

    /// The server's answer, which may say that something went wrong.
    pub(crate) fn answered(&mut self, answer: &Message) {
        let Some(record) = &mut self.record else {
            return;
        };
        let envelope = answer.envelope();
        record.fault = match (envelope.error, envelope.result, &record.target) {
            (Some(error), _, _) => {
                let error = error.of(answer.text());
                let code = member(error, "code").map(|span| span.of(error));
                let code = code.and_then(|code| std::str::from_utf8(code).ok());
                code.and_then(|code| code.parse().ok()).map(Fault::Code)
            }
            (_, Some(result), Some(Target::Tool(_))) => {
                let result = result.of(answer.text());
                let is_error = member(result, "isError").map(|span| span.of(result));
                (is_error == Some(b"true")).then_some(Fault::Tool)
            }
            _ => None,
        };
    }

    /// The bridge's own error.
    pub(crate) fn failed(&mut self, code: i32) {
        if let Some(record) = &mut self.record {
            record.fault = Some(Fault::Code(code.into()));
        }
    }

    /// It is over; never waits.
    pub(crate) fn end(&self, outcome: Outcome, took: Duration) {
        let (Some(record), Some(tracer)) = (&self.record, TRACER.get()) else {
            return;
        };
        let record = Record {
            outcome,
            took,
            ..record.clone()
        };
        if tracer.records.try_send(record).is_err() {
            tracer.metrics.spans_dropped.inc();
        }
    }
}

impl Target {
    fn of(message: &Message, method: &str) -> Option<Target> {
        let kind = match method {
            "tools/call" => Target::Tool,
            "prompts/get" => Target::Prompt,
            _ => return None,
        };
        let name = message.part(message.envelope().name).and_then(string_value);
        name.map(|name| kind(shown(&name)))
    }
}

fn id(message: &Message) -> Box<str> {
    let text = message.id().unwrap_or_default();
    match string_value(text) {
        Some(id) => shown(&id),
        None => shown(&String::from_utf8_lossy(text)),
    }
}

fn shown(name: &str) -> Box<str> {
    name[..name.floor_char_boundary(LONGEST)].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        Message::parse(bytes::Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    fn tracer(sampler: Sampler) -> Tracer {
        Tracer {
            sampler,
            ids: Ids::default(),
            records: mpsc::channel(1).0,
            metrics: Arc::default(),
        }
    }

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_request_continues_what_its_client_says_or_begins_a_trace() {
        let tracer = tracer(Sampler::default());
        let call = message(&format!(
            r#"{{"jsonrpc":"2.0","id":"a\u0062","method":"tools/call","params":{{"name":"add","_meta":{{"traceparent":"{PARENT}","tracestate":"x=1"}}}}}}"#
        ));
        let record = tracer.begin(&call, "db", 7).record.unwrap();
        let parent = Context::parse(PARENT).unwrap();
        assert_eq!(record.parent, Some(parent));
        assert_eq!(record.context.trace, parent.trace);
        assert_ne!(record.context.span, parent.span);
        assert_eq!(record.state.as_deref(), Some("x=1"));
        assert_eq!(
            (&*record.id, &*record.bridge, record.session),
            ("ab", "db", 7)
        );
        assert_eq!(record.target, Some(Target::Tool("add".into())));

        for text in [
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"traceparent":"00-1-2-01"}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"traceparent":null}}}"#,
        ] {
            let one = tracer.begin(&message(text), "db", 1);
            let two = tracer.begin(&message(text), "db", 1);
            assert!(one.context.is_sampled(), "{text}");
            assert_ne!(one.context.trace, two.context.trace, "{text}");
            assert_eq!(one.record.unwrap().parent, None, "{text}");
        }
    }

    #[test]
    fn what_nobody_wants_to_see_is_still_continued() {
        let off = Sampler {
            root: Root::AlwaysOff,
            follows_parent: true,
        };
        let call = message(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
        let ongoing = tracer(off).begin(&call, "db", 1);
        assert!(ongoing.record.is_none() && !ongoing.context.is_sampled());
        assert!(ongoing.context.to_string().ends_with("-00"));
    }

    #[test]
    fn answers_say_what_went_wrong() {
        let tracer = tracer(Sampler::default());
        let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}"#;
        let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        for (request, answer, want) in [
            (call, r#""result":{"content":[]}"#, None),
            (call, r#""result":{"isError":false}"#, None),
            (
                call,
                r#""result":{"content":[],"isError":true}"#,
                Some(Fault::Tool),
            ),
            (list, r#""result":{"isError":true}"#, None),
            (
                call,
                r#""error":{"message":"m","code":-32602}"#,
                Some(Fault::Code(-32602)),
            ),
            (call, r#""error":{"code":1.5}"#, None),
        ] {
            let mut ongoing = tracer.begin(&message(request), "db", 1);
            ongoing.answered(&message(&format!(r#"{{"jsonrpc":"2.0","id":1,{answer}}}"#)));
            assert_eq!(ongoing.record.unwrap().fault, want, "{answer}");
        }
    }

    #[test]
    fn names_from_outside_are_cut() {
        let long = "é".repeat(100);
        let call = message(&format!(
            r#"{{"jsonrpc":"2.0","id":"{long}","method":"{long}"}}"#
        ));
        let record = tracer(Sampler::default())
            .begin(&call, "db", 1)
            .record
            .unwrap();
        assert_eq!((record.id.len(), record.method.len()), (LONGEST, LONGEST));
    }
}
