//! Records as the body of an export request: protobuf, `opentelemetry.proto.collector.trace.v1` (OTLP § OTLP/HTTP Request).
//!
//! Names of attributes are those of OpenTelemetry's semantic conventions for MCP where there is one; what only this
//! program knows begins with `mcp_bridged.`. The few messages that are needed are written by hand: a generated model of
//! all of them would be many times as large as the rest of the exporter.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::metrics::Outcome;
use crate::trace::{Fault, Record, Target};

/// What exports: attributes and their values.
pub(super) type Resource = Vec<(String, String)>;

/// `Span.SpanKind`: the remote side waits for an answer.
const KIND_SERVER: u64 = 2;
/// `Status.StatusCode`.
const STATUS_ERROR: u64 = 2;

/// An `ExportTraceServiceRequest` of one scope.
pub(super) fn request(resource: &Resource, records: &[Record]) -> Vec<u8> {
    let mut request = Message::default();
    request.message(1, |resource_spans| {
        resource_spans.message(1, |out| {
            for (key, value) in resource {
                out.attribute(1, key, Value::Text(value));
            }
        });
        resource_spans.message(2, |scope_spans| {
            scope_spans.message(1, |scope| {
                scope.text(1, "mcp-bridged");
                scope.text(2, env!("CARGO_PKG_VERSION"));
            });
            for record in records {
                scope_spans.message(2, |out| span(out, record));
            }
        });
    });
    request.0
}

fn span(out: &mut Message, record: &Record) {
    out.bytes(1, &record.context.trace);
    out.bytes(2, &record.context.span);
    if let Some(state) = &record.state {
        out.text(3, state);
    }
    if let Some(parent) = &record.parent {
        out.bytes(4, &parent.span);
    }
    let target = match &record.target {
        Some(Target::Tool(name) | Target::Prompt(name)) => Some(name),
        None => None,
    };
    match target {
        Some(target) => out.text(5, &format!("{} {target}", record.method)),
        None => out.text(5, &record.method),
    }
    out.number(6, KIND_SERVER);
    out.fixed64(7, nanoseconds(record.began));
    out.fixed64(8, nanoseconds(record.began + record.took));
    attributes(out, record);
    let error = error_type(record);
    if let Some(error) = &error {
        out.attribute(9, "error.type", Value::Text(error));
    }
    // What its client took back is nobody's error.
    if error.is_some() && record.outcome != Outcome::Cancelled {
        out.message(15, |status| status.number(3, STATUS_ERROR));
    }
    out.fixed32(16, u32::from(record.context.flags()));
}

fn attributes(out: &mut Message, record: &Record) {
    let mut put = |key, value| out.attribute(9, key, value);
    put("mcp.method.name", Value::Text(&record.method));
    put("jsonrpc.request.id", Value::Text(&record.id));
    match &record.target {
        Some(Target::Tool(name)) => {
            put("gen_ai.operation.name", Value::Text("execute_tool"));
            put("gen_ai.tool.name", Value::Text(name));
        }
        Some(Target::Prompt(name)) => put("gen_ai.prompt.name", Value::Text(name)),
        None => {}
    }
    put("mcp_bridged.bridge", Value::Text(&record.bridge));
    put("mcp_bridged.session", Value::Number(record.session));
    if let Some(k) = record.k {
        put("mcp_bridged.k", Value::Number(k));
    }
    put("mcp_bridged.outcome", Value::Text(record.outcome.as_str()));
    if let Some(Fault::Code(code)) = record.fault {
        put("rpc.response.status_code", Value::Text(&code.to_string()));
    }
}

/// Of what class the error is, where there is one.
fn error_type(record: &Record) -> Option<String> {
    match (record.outcome, record.fault) {
        (Outcome::Ok, None) => None,
        (Outcome::Ok, Some(Fault::Tool)) => Some("tool_error".to_owned()),
        (Outcome::Ok | Outcome::Error, Some(Fault::Code(code))) => Some(code.to_string()),
        (outcome, _) => Some(outcome.as_str().to_owned()),
    }
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// `AnyValue`, as far as it is needed.
enum Value<'a> {
    Text(&'a str),
    Number(u64),
}

/// A message of protobuf that is being written (Protocol Buffers, Encoding).
#[derive(Debug, Default)]
struct Message(Vec<u8>);

/// The wire types.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH: u32 = 2;
const FIXED32: u32 = 5;

impl Message {
    fn varint(&mut self, mut value: u64) {
        loop {
            let low = u8::try_from(value & 0x7f).expect("7 bits fit into 8");
            value >>= 7;
            if value == 0 {
                return self.0.push(low);
            }
            self.0.push(low | 0x80);
        }
    }

    fn key(&mut self, field: u32, kind: u32) {
        self.varint(u64::from((field << 3) | kind));
    }

    fn number(&mut self, field: u32, value: u64) {
        self.key(field, VARINT);
        self.varint(value);
    }

    fn fixed64(&mut self, field: u32, value: u64) {
        self.key(field, FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn fixed32(&mut self, field: u32, value: u32) {
        self.key(field, FIXED32);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, field: u32, value: &[u8]) {
        self.key(field, LENGTH);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn text(&mut self, field: u32, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    fn message(&mut self, field: u32, write: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }

    /// A `KeyValue`.
    fn attribute(&mut self, field: u32, key: &str, value: Value<'_>) {
        self.message(field, |pair| {
            pair.text(1, key);
            pair.message(2, |any| match value {
                Value::Text(text) => any.text(1, text),
                Value::Number(number) => any.number(3, number),
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
    use opentelemetry_proto::tonic::trace::v1::Span;
    use prost::Message as _;

    use super::*;
    use crate::trace::Context;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const OWN: &str = "00-0af7651916cd43dd8448eb211c80319c-0102030405060708-01";

    fn record() -> Record {
        Record {
            context: Context::parse(OWN).unwrap(),
            parent: Context::parse(PARENT),
            state: Some("a=1".into()),
            bridge: "db".into(),
            session: 300,
            k: Some(1 << 40),
            id: "7".into(),
            method: "tools/call".into(),
            target: Some(Target::Tool("add".into())),
            began: UNIX_EPOCH + Duration::from_nanos(1_234_567_890_123_456_789),
            took: Duration::from_micros(1500),
            outcome: Outcome::Ok,
            fault: None,
        }
    }

    fn read(records: &[Record]) -> ExportTraceServiceRequest {
        let resource = vec![("service.name".to_owned(), "tools".to_owned())];
        ExportTraceServiceRequest::decode(&request(&resource, records)[..]).unwrap()
    }

    fn attribute(span: &Span, key: &str) -> Option<String> {
        let mut found = span.attributes.iter().filter(|pair| pair.key == key);
        let value = found.next()?.value.clone()?.value?;
        assert!(found.next().is_none(), "{key} twice");
        Some(match value {
            Any::StringValue(text) => text,
            Any::IntValue(number) => number.to_string(),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn a_request_reads_as_the_protocol_has_it() {
        let read = read(&[record(), record()]);
        let spans = &read.resource_spans[0];
        let resource = spans.resource.as_ref().unwrap();
        assert_eq!(resource.attributes[0].key, "service.name");
        let scope = spans.scope_spans[0].scope.as_ref().unwrap();
        assert_eq!(scope.name, "mcp-bridged");
        assert_eq!(spans.scope_spans[0].spans.len(), 2);
        let span = &spans.scope_spans[0].spans[0];
        assert_eq!(span.trace_id, record().context.trace);
        assert_eq!(span.span_id, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(span.parent_span_id, record().parent.unwrap().span);
        assert_eq!((&*span.trace_state, &*span.name), ("a=1", "tools/call add"));
        assert_eq!((span.kind, span.flags), (2, 1));
        assert_eq!(span.start_time_unix_nano, 1_234_567_890_123_456_789);
        assert_eq!(
            span.end_time_unix_nano - span.start_time_unix_nano,
            1_500_000
        );
        assert_eq!(span.status, None);
        for (key, value) in [
            ("mcp.method.name", "tools/call"),
            ("jsonrpc.request.id", "7"),
            ("gen_ai.operation.name", "execute_tool"),
            ("gen_ai.tool.name", "add"),
            ("mcp_bridged.bridge", "db"),
            ("mcp_bridged.session", "300"),
            ("mcp_bridged.k", "1099511627776"),
            ("mcp_bridged.outcome", "ok"),
        ] {
            assert_eq!(attribute(span, key).as_deref(), Some(value), "{key}");
        }
        assert_eq!(attribute(span, "error.type"), None);
    }

    #[test]
    fn errors_have_a_class_and_a_status() {
        for (outcome, fault, class, is_error) in [
            (Outcome::Ok, Some(Fault::Tool), "tool_error", true),
            (Outcome::Error, Some(Fault::Code(-32602)), "-32602", true),
            (Outcome::Error, None, "error", true),
            (Outcome::Timeout, Some(Fault::Code(-31002)), "timeout", true),
            (
                Outcome::ServerGone,
                Some(Fault::Code(-31001)),
                "server_gone",
                true,
            ),
            (Outcome::Refused, Some(Fault::Code(-31004)), "refused", true),
            (
                Outcome::Cancelled,
                Some(Fault::Code(-32600)),
                "cancelled",
                false,
            ),
        ] {
            let mut record = record();
            (record.outcome, record.fault) = (outcome, fault);
            let read = read(&[record]);
            let span = &read.resource_spans[0].scope_spans[0].spans[0];
            assert_eq!(attribute(span, "error.type").as_deref(), Some(class));
            assert_eq!(
                span.status.as_ref().is_some_and(|status| status.code == 2),
                is_error
            );
            let code = match fault {
                Some(Fault::Code(code)) => Some(code.to_string()),
                _ => None,
            };
            assert_eq!(attribute(span, "rpc.response.status_code"), code, "{class}");
        }
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        let mut record = record();
        (record.parent, record.state, record.k) = (None, None, None);
        (record.target, record.method) = (None, "tools/list".into());
        let read = read(&[record]);
        let span = &read.resource_spans[0].scope_spans[0].spans[0];
        assert_eq!(span.name, "tools/list");
        assert!(span.parent_span_id.is_empty() && span.trace_state.is_empty());
        for key in ["mcp_bridged.k", "gen_ai.tool.name", "gen_ai.operation.name"] {
            assert_eq!(attribute(span, key), None, "{key}");
        }
    }
}
