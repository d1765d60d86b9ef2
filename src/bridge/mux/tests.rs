//! CONTRACT §4, row by row. An address is a session's number and a label: the id of a request, or `outlet`.

mod abuse;
mod modern;
mod property;
mod server_asks;
mod shared_state;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Incoming, Mux, Output, OwnRequest, Service, SessionKey, Waiting};
use crate::bridge::handshake::Handshake;
use crate::bridge::instance::Part;
use crate::bridge::mailbox::{DeliveryKind, Refusal};
use crate::config::{self, Command, Listen, ToolFilter};
use crate::jsonrpc::{ErrorObject, Kind, Message};
use crate::mcp::ClientCapabilities;
use crate::metrics::Metrics;

#[derive(Debug, Clone, PartialEq, Eq)]
struct To(u64, String);

/// A multiplexer, and what came out of it since it was looked at last.
struct Bench {
    mux: Mux<To>,
    out: Output<To>,
    metrics: Arc<Metrics>,
    now: Instant,
}

fn message(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes()))
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn settings() -> config::Bridge {
    config::Bridge::new("b".into(), Listen::loopback(0), Command::new("x".into()))
}

const SHARED: Service = Service::Shared { asks: false };
const ASKING: Service = Service::Shared { asks: true };

impl Bench {
    /// With the sessions 1, 2 and 3; session 1 only where it is dedicated.
    fn new(service: Service) -> Bench {
        let metrics = Metrics::new();
        let mux = Mux::new(service, Arc::new(settings()), metrics.bridge("b"));
        let mut bench = Bench {
            mux,
            out: Output::default(),
            metrics,
            now: Instant::now(),
        };
        for session in 1..=if service == Service::Dedicated { 1 } else { 3 } {
            bench.open(session);
        }
        bench
    }

    fn configure(&mut self, change: impl FnOnce(&mut config::Bridge)) {
        let mut settings = settings();
        change(&mut settings);
        self.mux.configure(Arc::new(settings));
    }

    fn open(&mut self, session: u64) {
        let outlet = To(session, "outlet".into());
        let part = Part::default();
        self.mux.open(
            SessionKey(session),
            outlet,
            &part,
            ClientCapabilities::default(),
        );
    }

    fn close(&mut self, session: u64) {
        self.mux.close(SessionKey(session), self.now, &mut self.out);
    }

    /// A message of a client.
    fn client(&mut self, session: u64, text: &str) {
        let (key, message) = (SessionKey(session), message(text));
        match message.kind() {
            Kind::Request => {
                let label = String::from_utf8_lossy(message.id().unwrap()).into_owned();
                let address = To(session, label);
                self.mux
                    .request(key, &message, address, false, self.now, &mut self.out);
            }
            Kind::Notification => self
                .mux
                .notification(key, &message, self.now, &mut self.out),
            Kind::Answer => self.mux.answer(key, &message, self.now, &mut self.out),
        }
    }

    /// A request of `session` with the id `id`.
    fn call(&mut self, session: u64, id: &str, method: &str) {
        self.client(
            session,
            &format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"}}"#),
        );
    }

    /// The same with `params`.
    fn call_with(&mut self, session: u64, id: &str, method: &str, params: &str) {
        self.client(
            session,
            &format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#),
        );
    }

    /// The `initialize` of a client that declares `capabilities`; its answer is not looked at.
    fn initialize(&mut self, session: u64, capabilities: &str) {
        let answer = message(
            r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{}}}"#,
        );
        let handshake = Handshake::read(&answer).unwrap();
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"2025-06-18","capabilities":{capabilities}}}}}"#
        );
        let address = To(session, "0".into());
        let agreed = self.mux.initialize(
            SessionKey(session),
            &message(&text),
            &address,
            &handshake,
            self.now,
            &mut self.out,
        );
        assert_eq!(agreed.as_deref(), Some("2025-06-18"));
        self.out.deliveries.clear();
    }

    /// A line of the server.
    fn server(&mut self, text: &str) -> Incoming {
        self.mux.receive(message(text), self.now, &mut self.out)
    }

    /// The server's answer `{}` to `k`.
    fn answer(&mut self, k: u64) {
        self.server(&format!(r#"{{"jsonrpc":"2.0","id":{k},"result":{{}}}}"#));
    }

    fn fail(&mut self, k: u64) {
        self.server(&format!(
            r#"{{"jsonrpc":"2.0","id":{k},"error":{{"code":-1}}}}"#
        ));
    }

    fn pass(&mut self, milliseconds: u64) {
        self.now += Duration::from_millis(milliseconds);
        self.mux.tick(self.now, &mut self.out);
    }

    /// What the server was told since the last look.
    fn lines(&mut self) -> Vec<String> {
        let lines = self.out.outbox.take_lines();
        let text = |line: Bytes| String::from_utf8(line.to_vec()).unwrap();
        lines.into_iter().map(text).collect()
    }

    #[track_caller]
    fn server_got(&mut self, want: &[&str]) {
        assert_eq!(self.lines(), want, "lines for the server");
    }

    /// What clients were told since the last look, as `session/label kind: text`.
    fn deliveries(&mut self) -> Vec<String> {
        self.out
            .deliveries
            .drain(..)
            .map(|(To(session, label), delivery)| {
                let kind = match delivery.kind {
                    DeliveryKind::Notification => "notification",
                    DeliveryKind::Request => "request",
                    DeliveryKind::Answer => "answer",
                    DeliveryKind::Cancelled => "cancelled",
                    DeliveryKind::Refusal(Refusal::Invalid) => "invalid",
                    DeliveryKind::Refusal(_) => "refusal",
                };
                let text = String::from_utf8(delivery.body.into_bytes().to_vec()).unwrap();
                format!("{session}/{label} {kind}: {text}")
            })
            .collect()
    }

    #[track_caller]
    fn clients_got(&mut self, want: &[&str]) {
        assert_eq!(self.deliveries(), want, "messages for clients");
    }

    /// One delivery of this kind, whose error has this code.
    #[track_caller]
    fn got_error(&mut self, address_and_kind: &str, code: i32) {
        let got = self.deliveries();
        assert_eq!(got.len(), 1, "{got:?}");
        assert!(got[0].starts_with(address_and_kind), "{got:?}");
        assert!(got[0].contains(&format!("\"code\":{code},")), "{got:?}");
    }

    #[track_caller]
    fn dropped(&self, reason: &str, count: u64) {
        let line = format!(r#"mcp_bridged_dropped_total{{bridge="b",reason="{reason}"}} {count}"#);
        let text = self.metrics.render();
        assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
    }

    fn end_generation(&mut self, repeat: bool) -> Vec<Waiting<To>> {
        let error = |delivered| ErrorObject {
            code: -31001,
            message: format!("delivered {delivered}"),
            data: None,
        };
        let (now, out) = (self.now, &mut self.out);
        self.mux.generation_ended(repeat, error, now, out)
    }

    fn restore(&mut self, has_lists: bool) {
        self.mux.restore(|_| has_lists, self.now, &mut self.out);
    }
}

#[test]
fn ids_of_every_spelling_come_back_as_they_were() {
    let mut bench = Bench::new(SHARED);
    let ids = [
        "1",
        "1.0",
        "-0",
        "1e400",
        "12345678901234567890",
        "9007199254740993",
        "\"1\"",
        "\"\"",
        r#""\u0031""#,
        r#""\ud800""#,
    ];
    for id in ids {
        bench.call(1, id, "x");
    }
    for (at, line) in bench.lines().into_iter().enumerate() {
        let k = at + 1;
        assert_eq!(
            line,
            format!(r#"{{"jsonrpc":"2.0","id":{k},"method":"x"}}"#)
        );
    }
    for (at, id) in ids.into_iter().enumerate().rev() {
        let k = at + 1;
        bench.server(&format!(
            r#"{{"result":{{"n":1.0}}, "id" : {k},"jsonrpc":"2.0"}}"#
        ));
        bench.clients_got(&[&format!(
            r#"1/{id} answer: {{"result":{{"n":1.0}}, "id" : {id},"jsonrpc":"2.0"}}"#
        )]);
    }
    assert_eq!(bench.mux.in_flight(), 0);
}

#[test]
fn equal_ids_of_two_clients_stay_apart() {
    let mut bench = Bench::new(SHARED);
    bench.call(1, "0", "x");
    bench.call(2, "0", "x");
    bench.server(r#"{"jsonrpc":"2.0","id":2,"result":"two"}"#);
    bench.server(r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"one"}}"#);
    bench.clients_got(&[
        r#"2/0 answer: {"jsonrpc":"2.0","id":0,"result":"two"}"#,
        r#"1/0 answer: {"jsonrpc":"2.0","id":0,"error":{"code":1,"message":"one"}}"#,
    ]);
}

#[test]
fn an_id_may_be_used_again_once_it_was_answered_but_not_before() {
    let mut bench = Bench::new(SHARED);
    bench.call(1, "7", "x");
    bench.call(1, "7", "y");
    bench.got_error("1/7 invalid: ", -32600);
    bench.call(1, "7", "ping");
    bench.got_error("1/7 invalid: ", -32600);
    bench.answer(1);
    bench.call(1, "7", "y");
    bench.server_got(&[
        r#"{"jsonrpc":"2.0","id":1,"method":"x"}"#,
        r#"{"jsonrpc":"2.0","id":2,"method":"y"}"#,
    ]);
    bench.answer(2);
    bench.clients_got(&[
        r#"1/7 answer: {"jsonrpc":"2.0","id":7,"result":{}}"#,
        r#"1/7 answer: {"jsonrpc":"2.0","id":7,"result":{}}"#,
    ]);
}

#[test]
fn late_unknown_and_second_answers_reach_nobody() {
    let mut bench = Bench::new(SHARED);
    bench.call(1, "1", "x");
    bench.answer(1);
    bench.deliveries();
    for id in [
        "1",
        "2",
        "\"1\"",
        "1.0",
        "-1",
        "null",
        "18446744073709551617",
    ] {
        bench.server(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":0}}"#));
    }
    bench.clients_got(&[]);
    bench.dropped("late_answer", 1);
    bench.dropped("unknown_answer", 6);
}

#[test]
fn progress_goes_to_its_owner_under_its_own_token() {
    let mut bench = Bench::new(SHARED);
    // The second client's token is the first one's number at the server.
    bench.call_with(
        1,
        "1",
        "tools/call",
        r#"{"_meta":{"progressToken":"t","x":1.0}}"#,
    );
    bench.call_with(2, "1", "tools/call", r#"{"_meta":{"progressToken":1}}"#);
    bench.call(3, "1", "tools/call");
    bench.call_with(3, "2", "tools/call", r#"{"_meta":{"progressToken":null}}"#);
    bench.server_got(&[
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":1,"x":1.0}}}"#,
        r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"_meta":{"progressToken":2}}}"#,
        r#"{"jsonrpc":"2.0","id":3,"method":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"_meta":{"progressToken":null}}}"#,
    ]);
    for token in ["1", "2", "3", "4", "5", "\"1\"", "null"] {
        bench.server(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progress":1.50,"progressToken": {token} }}}}"#
        ));
    }
    bench.clients_got(&[
        r#"1/1 notification: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1.50,"progressToken": "t" }}"#,
        r#"2/1 notification: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1.50,"progressToken": 1 }}"#,
    ]);
    bench.dropped("unattributed_notification", 5);
    bench.answer(1);
    bench.deliveries();
    bench.server(
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1}}"#,
    );
    bench.clients_got(&[]);
}

#[test]
fn progress_keeps_a_request_alive_for_an_hour_at_most() {
    let mut bench = Bench::new(SHARED);
    bench.call_with(1, "1", "x", r#"{"_meta":{"progressToken":1}}"#);
    bench.lines();
    for _ in 0..14 {
        bench.pass(250_000);
        bench.server(
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1}}"#,
        );
        assert!(bench.deliveries()[0].starts_with("1/1 notification"));
    }
    bench.pass(99_999);
    bench.clients_got(&[]);
    bench.pass(1);
    bench.got_error("1/1 answer: ", -31002);
}

#[test]
fn a_request_that_takes_too_long_ends_and_is_cancelled_at_the_server() {
    let mut bench = Bench::new(SHARED);
    bench.call(1, "\"a\"", "x");
    bench.lines();
    bench.call(2, "2", "x");
    assert_eq!(
        bench.mux.next_tick(),
        Some(bench.now + Duration::from_secs(300))
    );
    bench.pass(299_999);
    bench.clients_got(&[]);
    bench.pass(1);
    let got = bench.deliveries().join("\n");
    for part in [
        r#"1/"a" answer: {"jsonrpc":"2.0","id":"a","error":{"code":-31002,"message":"MCP server did not answer within 300.0 s""#,
        r#""delivered":true"#,
        r#"2/2 answer: {"jsonrpc":"2.0","id":2,"#,
        r#""delivered":false"#,
    ] {
        assert!(got.contains(part), "no {part} in {got}");
    }
    let mut lines = bench.lines();
    lines.sort();
    assert_eq!(lines[0], r#"{"jsonrpc":"2.0","id":2,"method":"x"}"#);
    assert_eq!(
        lines[1],
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"request timed out"}}"#
    );
    bench.answer(1);
    bench.clients_got(&[]);
    bench.dropped("late_answer", 1);
    assert_eq!(bench.mux.next_tick(), None);
}

#[test]
fn a_client_cancels_its_own_request_and_nobody_elses() {
    let mut bench = Bench::new(SHARED);
    bench.call(1, "1", "tools/call");
    bench.call(2, "5", "tools/call");
    bench.lines();
    let cancel = |id: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"\u0078"}}}}"#
        )
    };
    // 2 is what the server knows the other client's request by.
    for id in ["2", "5", "\"1\"", "1.0", "null"] {
        bench.client(1, &cancel(id));
    }
    bench.client(1, r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#);
    bench.server_got(&[]);
    bench.clients_got(&[]);
    bench.client(2, &cancel("5"));
    bench.server_got(&[&cancel("2")]);
    bench.got_error("2/5 cancelled: ", -32600);
    bench.client(2, &cancel("5"));
    bench.server_got(&[]);
    bench.answer(2);
    bench.clients_got(&[]);
    bench.answer(1);
    bench.clients_got(&[r#"1/1 answer: {"jsonrpc":"2.0","id":1,"result":{}}"#]);
}

#[test]
fn initialize_is_never_cancelled() {
    let mut bench = Bench::new(Service::Dedicated);
    bench.call(1, "0", "initialize");
    bench.lines();
    bench.client(
        1,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":0}}"#,
    );
    bench.server_got(&[]);
    assert!(matches!(
        bench.server(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#),
        Incoming::Initialized(_)
    ));
    bench.clients_got(&[r#"1/0 answer: {"jsonrpc":"2.0","id":0,"result":{}}"#]);
    bench.call(1, "1", "initialize");
    bench.lines();
    bench.close(1);
    bench.server_got(&[]);
    bench.got_error("1/1 answer: ", -32600);
}

#[test]
fn a_shared_server_is_initialized_once_and_every_client_gets_the_kept_result() {
    let mut bench = Bench::new(SHARED);
    let request = OwnRequest::Initialize;
    let text = |k| format!(r#"{{"jsonrpc":"2.0","id":{k},"method":"initialize"}}"#);
    bench.mux.own_request(request, text, &mut bench.out);
    bench.server_got(&[r#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#]);
    let Incoming::Own(OwnRequest::Initialize, answer) = bench.server(
        r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{"tasks":{}}}}"#,
    ) else {
        panic!("the bridge's own answer");
    };
    let handshake = Handshake::read(&answer).unwrap();
    for (offered, agreed) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-06-18"),
    ] {
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":"i","method":"initialize","params":{{"protocolVersion":"{offered}"}}}}"#
        );
        let (message, address) = (message(&text), To(2, "i".into()));
        let (now, out) = (bench.now, &mut bench.out);
        let got = bench
            .mux
            .initialize(SessionKey(2), &message, &address, &handshake, now, out);
        assert_eq!(got.as_deref(), Some(agreed));
        bench.clients_got(&[&format!(
            r#"2/i answer: {{"jsonrpc":"2.0","id":"i","result":{{"protocolVersion":"{agreed}","capabilities":{{}}}}}}"#
        )]);
    }
    bench.client(
        2,
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
    );
    bench.client(
        2,
        r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#,
    );
    bench.call(2, "9", "initialize");
    bench.server_got(&[]);
    bench.got_error("2/9 invalid: ", -32600);
}

#[test]
fn a_dedicated_server_gets_everything_of_its_client() {
    let mut bench = Bench::new(Service::Dedicated);
    for line in [
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/x","params":{"a":1e400}}"#,
    ] {
        bench.client(1, line);
        bench.server_got(&[line]);
    }
    for (k, method) in ["logging/setLevel", "resources/subscribe", "tasks/get", "x"]
        .into_iter()
        .enumerate()
    {
        bench.call(1, "\"i\"", method);
        let k = k + 1;
        bench.server_got(&[&format!(
            r#"{{"jsonrpc":"2.0","id":{k},"method":"{method}"}}"#
        )]);
        bench.answer(k as u64);
        bench.clients_got(&[r#"1/"i" answer: {"jsonrpc":"2.0","id":"i","result":{}}"#]);
    }
    for line in [
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"debug"}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"u"}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{}}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/x"}"#,
    ] {
        bench.server(line);
        bench.clients_got(&[&format!("1/outlet notification: {line}")]);
    }
}

#[test]
fn ping_is_answered_by_the_bridge_in_both_directions() {
    let mut bench = Bench::new(SHARED);
    bench.call(1, "1.0", "ping");
    bench.server_got(&[]);
    bench.clients_got(&[r#"1/1.0 answer: {"jsonrpc":"2.0","id":1.0,"result":{}}"#]);
    bench.server(r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#);
    bench.server_got(&[r#"{"jsonrpc":"2.0","id":"p","result":{}}"#]);
    bench.clients_got(&[]);
}

#[test]
fn a_session_that_ends_has_its_calls_cancelled_and_answered() {
    let mut bench = Bench::new(SHARED);
    bench.call(1, "1", "x");
    bench.call(2, "1", "x");
    bench.call(1, "2", "x");
    bench.lines();
    bench.close(1);
    bench.server_got(&[1, 3].map(|k| {
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{k},"reason":"client disconnected"}}}}"#)
    }).each_ref().map(String::as_str));
    let got = bench.deliveries();
    assert_eq!(got.len(), 2, "{got:?}");
    assert!(
        got[0].starts_with(r#"1/1 answer: {"jsonrpc":"2.0","id":1,"error":"#),
        "{got:?}"
    );
    assert!(
        got[1].starts_with(r#"1/2 answer: {"jsonrpc":"2.0","id":2,"error":"#),
        "{got:?}"
    );
    bench.answer(1);
    bench.answer(2);
    bench.clients_got(&[r#"2/1 answer: {"jsonrpc":"2.0","id":1,"result":{}}"#]);
    bench.call(1, "5", "x");
    bench.got_error("1/5 invalid: ", -32600);
    bench.client(1, r#"{"jsonrpc":"2.0","method":"notifications/x"}"#);
    bench.server_got(&[]);
    bench.close(1);
    bench.close(2);
    bench.close(3);
    assert!(bench.mux.is_empty());
}

#[test]
fn the_end_of_a_generation_answers_every_call_and_repeats_lists_once() {
    let mut bench = Bench::new(SHARED);
    bench.call(1, "1", "tools/call");
    bench.call(2, "1", "tools/list");
    bench.call(2, "2", "prompts/list");
    bench.lines();
    bench.call(3, "1", "tools/call");
    let again = bench.end_generation(true);
    bench.clients_got(&[
        r#"1/1 answer: {"jsonrpc":"2.0","id":1,"error":{"code":-31001,"message":"delivered true"}}"#,
        r#"3/1 answer: {"jsonrpc":"2.0","id":1,"error":{"code":-31001,"message":"delivered false"}}"#,
    ]);
    assert_eq!((again.len(), bench.mux.in_flight()), (2, 0));
    bench.restore(false);
    for (at, waiting) in again.into_iter().enumerate() {
        assert!(waiting.repeated);
        assert_eq!(waiting.address, To(2, (at + 1).to_string()));
        bench.mux.request(
            waiting.session,
            &waiting.message,
            waiting.address,
            waiting.repeated,
            bench.now,
            &mut bench.out,
        );
    }
    bench.server_got(&[
        r#"{"jsonrpc":"2.0","id":5,"method":"tools/list"}"#,
        r#"{"jsonrpc":"2.0","id":6,"method":"prompts/list"}"#,
    ]);
    // A client that sent the same id anew meanwhile: the repeated request is the older one.
    bench.call(2, "1", "tools/list");
    bench.got_error("2/1 invalid: ", -32600);
    // A ghost of the old generation.
    bench.answer(2);
    bench.clients_got(&[]);
    bench.answer(6);
    bench.clients_got(&[r#"2/2 answer: {"jsonrpc":"2.0","id":2,"result":{}}"#]);
    assert!(bench.end_generation(true).is_empty());
    bench.clients_got(&[
        r#"2/1 answer: {"jsonrpc":"2.0","id":1,"error":{"code":-31001,"message":"delivered true"}}"#,
    ]);
}

#[test]
fn nothing_is_repeated_when_no_generation_follows() {
    let mut bench = Bench::new(SHARED);
    bench.call(1, "1", "tools/list");
    assert!(bench.end_generation(false).is_empty());
    bench.got_error("1/1 answer: ", -31001);
}

#[test]
fn an_answer_over_the_limit_ends_its_call_with_the_limit() {
    let mut bench = Bench::new(SHARED);
    bench.call(1, "\"x\"", "tools/call");
    for id in [None, Some(&b"2"[..]), Some(b"\"1\""), Some(b"1.0")] {
        bench.mux.oversize(id, 20 << 20, bench.now, &mut bench.out);
    }
    bench.clients_got(&[]);
    let (now, out) = (bench.now, &mut bench.out);
    bench.mux.oversize(Some(b"1"), 20 << 20, now, out);
    bench.got_error(r#"1/"x" answer: {"jsonrpc":"2.0","id":"x""#, -31003);
    bench.dropped("oversize", 5);
    bench.answer(1);
    bench.clients_got(&[]);
}

#[test]
fn denied_tools_are_neither_listed_nor_called() {
    let mut bench = Bench::new(SHARED);
    bench.configure(|settings| {
        settings.tools = ToolFilter::new(vec![], vec!["exec*".into()]).unwrap();
    });
    bench.call(1, "\"l\"", "tools/list");
    bench.lines();
    bench.server(
        r#"{"jsonrpc":"2.0","result":{"tools":[{"name":"a"},{"name":"execute"}],"n":1.0},"id":1}"#,
    );
    bench.clients_got(&[
        r#"1/"l" answer: {"jsonrpc":"2.0","result":{"tools":[{"name":"a"}],"n":1.0},"id":"l"}"#,
    ]);
    for params in [
        r#"{"name":"execute"}"#,
        r#"{"name":"exec\u0075te"}"#,
        r#"{"Name":"execute"}"#,
        r#"{"name":["execute"]}"#,
        r#"{"name":"execute\ud800"}"#,
        "{}",
        "[]",
    ] {
        bench.call_with(1, "2", "tools/call", params);
        bench.got_error("1/2 invalid: ", -32602);
    }
    bench.server_got(&[]);
    bench.call_with(1, "2", "tools/call", r#"{"name":"a"}"#);
    assert_eq!(bench.lines().len(), 1);
}

#[test]
fn a_session_and_a_bridge_have_so_many_requests_in_flight_and_no_more() {
    let mut bench = Bench::new(SHARED);
    bench.configure(|settings| settings.limits.max_in_flight = 130);
    for id in 0..128 {
        bench.call(1, &id.to_string(), "x");
    }
    bench.clients_got(&[]);
    bench.call(1, "128", "x");
    bench.got_error("1/128 refusal: ", -31004);
    bench.call(2, "1", "x");
    bench.call(2, "2", "x");
    bench.clients_got(&[]);
    bench.call(3, "1", "x");
    bench.got_error("3/1 refusal: ", -31004);
    bench.call(1, "200", "ping");
    assert_eq!(bench.deliveries().len(), 1);
    bench.answer(1);
    bench.deliveries();
    bench.call(3, "1", "x");
    bench.clients_got(&[]);
}

#[test]
fn raw_line_breaks_never_reach_the_server() {
    let mut bench = Bench::new(SHARED);
    bench.client(1, "{\"jsonrpc\":\"2.0\",\n\"id\":1,\"method\":\"x\"\r\n}");
    bench.client(1, "{\"jsonrpc\":\"2.0\",\n\"method\":\"y\"}\n");
    bench.server_got(&[
        "{\"jsonrpc\":\"2.0\", \"id\":1,\"method\":\"x\"  }",
        "{\"jsonrpc\":\"2.0\", \"method\":\"y\"} ",
    ]);
}
