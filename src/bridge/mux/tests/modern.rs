//! A modern server: legacy clients are translated, modern ones pass. CONTRACT §5.

mod feed;
mod property;
mod rounds;
mod streams;

use super::{Bench, SHARED, message};
use crate::bridge::mux::Service;

/// What is said of a client that has said nothing.
pub(super) fn own() -> String {
    crate::mcp::era::server::Introduction::own().members()
}

/// What is said of a client with these capabilities.
pub(super) fn said(capabilities: &str) -> String {
    own().replace(
        r#"clientCapabilities":{}"#,
        &format!(r#"clientCapabilities":{capabilities}"#),
    )
}

impl Bench {
    /// A modern server that tells of no lists.
    pub(super) fn modern() -> Bench {
        Bench::modern_with(|_| false)
    }

    pub(super) fn modern_with(tells_of: fn(&str) -> bool) -> Bench {
        let mut bench = Bench::new(SHARED);
        bench.mux.meet_modern(tells_of, bench.now, &mut bench.out);
        bench
    }

    /// A request of a modern client; `meta` are further members of its `_meta`.
    pub(super) fn stateless(&mut self, session: u64, id: &str, method: &str, rest: &str) {
        let meta = own();
        self.client(
            session,
            &format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{"_meta":{{{meta}}}{rest}}}}}"#
            ),
        );
    }
}

#[test]
fn a_legacy_clients_request_says_what_it_said_in_initialize() {
    let mut bench = Bench::modern();
    bench.initialize(1, r#"{"roots":{"listChanged":true},"tasks":{}}"#);
    bench.call_with(
        1,
        "\"a\"",
        "tools/call",
        r#"{"name":"t","_meta":{"progressToken":"p"}}"#,
    );
    bench.call(2, "1", "prompts/list");
    let (one, two) = (said(r#"{"roots":{"listChanged":true}}"#), own());
    bench.server_got(&[
        &format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"t","_meta":{{{one},"progressToken":1}}}}}}"#
        ),
        &format!(
            r#"{{"jsonrpc":"2.0","id":2,"method":"prompts/list","params":{{"_meta":{{{two}}}}}}}"#
        ),
    ]);
    bench.server(r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#);
    bench.server(r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","content":[1.0]}}"#);
    bench.server(r#"{"jsonrpc":"2.0","id":2,"result":{"prompts":[],"ttlMs":0,"cacheScope":"private","resultType":"complete"}}"#);
    bench.clients_got(&[
        r#"1/"a" notification: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p","progress":1}}"#,
        r#"1/"a" answer: {"jsonrpc":"2.0","id":"a","result":{"content":[1.0]}}"#,
        r#"2/1 answer: {"jsonrpc":"2.0","id":1,"result":{"prompts":[]}}"#,
    ]);
}

#[test]
fn a_modern_clients_request_passes_as_it_is() {
    let mut bench = Bench::modern();
    let text = r#"{"jsonrpc":"2.0","id":"x", "method":"tools/call","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","progressToken":7},"n":1e400}}"#;
    bench.client(1, text);
    let want = text.replace("\"x\"", "1").replace(":7", ":1");
    bench.server_got(&[&want]);
    bench.server(
        r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required","requestState":"s"}}"#,
    );
    bench.clients_got(&[
        r#"1/"x" answer: {"jsonrpc":"2.0","id":"x","result":{"resultType":"input_required","requestState":"s"}}"#,
    ]);
    bench.stateless(1, "1", "resources/read", "");
    bench.lines();
    bench.server(r#"{"jsonrpc":"2.0","id":2,"error":{"code":-32602,"message":"m"}}"#);
    bench.clients_got(&[
        r#"1/1 answer: {"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"m"}}"#,
    ]);
    // What would make a server of both eras a legacy one.
    bench.stateless(1, "1", "initialize", "");
    bench.got_error("1/1 invalid: ", -32601);
    bench.server_got(&[]);
}

#[test]
fn errors_have_the_codes_of_the_clients_era() {
    let mut bench = Bench::modern();
    for (method, code, want) in [
        ("resources/read", -32602, -32002),
        ("tools/call", -32602, -32602),
        ("tools/call", -32021, -32603),
        ("x", -32601, -32601),
    ] {
        bench.call(1, "1", method);
        let k = bench.mux.next;
        bench.server(&format!(
            r#"{{"jsonrpc":"2.0","id":{k},"error":{{"code":{code},"message":"m","data":1.0}}}}"#
        ));
        bench.clients_got(&[&format!(
            r#"1/1 answer: {{"jsonrpc":"2.0","id":1,"error":{{"code":{want},"message":"m","data":1.0}}}}"#
        )]);
    }
    bench.call(1, "1", "tools/call");
    bench.lines();
    bench.server(r#"{"jsonrpc":"2.0","id":5,"result":{"resultType":"task"}}"#);
    bench.got_error("1/1 answer: ", -32603);
}

#[test]
fn tools_that_are_denied_are_left_out_and_refused_in_both_eras() {
    let mut bench = Bench::modern();
    bench.configure(|settings| {
        settings.tools = crate::config::ToolFilter::new(vec![], vec!["b".into()]).unwrap();
    });
    let result = r#"{"resultType":"complete","tools":[{"name":"a"},{"name":"b"}],"ttlMs":1,"cacheScope":"public"}"#;
    bench.call(1, "1", "tools/list");
    bench.server(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#));
    bench.stateless(2, "1", "tools/list", "");
    bench.server(&format!(r#"{{"jsonrpc":"2.0","id":2,"result":{result}}}"#));
    bench.clients_got(&[
        r#"1/1 answer: {"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"}]}}"#,
        r#"2/1 answer: {"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","tools":[{"name":"a"}],"ttlMs":1,"cacheScope":"public"}}"#,
    ]);
    bench.call_with(1, "2", "tools/call", r#"{"name":"b"}"#);
    bench.got_error("1/2 invalid: ", -32602);
    bench.stateless(2, "2", "tools/call", r#","name":"b""#);
    bench.got_error("2/2 invalid: ", -32602);
}

#[test]
fn what_the_server_does_not_know_any_more_is_answered_or_swallowed_here() {
    let mut bench = Bench::modern();
    bench.initialize(1, "{}");
    for (method, params) in [("ping", "{}"), ("logging/setLevel", r#"{"level":"info"}"#)] {
        bench.call_with(1, "1", method, params);
        bench.clients_got(&[r#"1/1 answer: {"jsonrpc":"2.0","id":1,"result":{}}"#]);
    }
    bench.call_with(1, "1", "logging/setLevel", r#"{"level":"loud"}"#);
    bench.got_error("1/1 invalid: ", -32602);
    for method in [
        "initialize",
        "server/discover",
        "subscriptions/listen",
        "tasks/list",
        "notifications/x",
    ] {
        bench.call(1, "1", method);
        bench.got_error("1/1 invalid: ", -32601);
    }
    for method in ["initialized", "roots/list_changed", "progress"] {
        bench.client(
            1,
            &format!(r#"{{"jsonrpc":"2.0","method":"notifications/{method}"}}"#),
        );
    }
    bench.server_got(&[]);
}

#[test]
fn a_session_that_says_too_much_of_itself_is_refused() {
    let mut bench = Bench::modern();
    let long = "x".repeat(20_000);
    let initialize = message(&format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"2025-06-18","clientInfo":{{"name":"{long}"}}}}}}"#
    ));
    let answer = message(
        r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{}}}"#,
    );
    let handshake = crate::bridge::handshake::Handshake::read(&answer).unwrap();
    let address = super::To(1, "0".into());
    let (now, out) = (bench.now, &mut bench.out);
    let key = super::SessionKey(1);
    let agreed = bench
        .mux
        .initialize(key, &initialize, &address, &handshake, now, out);
    assert_eq!(agreed, None);
    bench.got_error("1/0 invalid: ", -32602);
}

#[test]
fn log_lines_go_to_the_only_request_that_asked_for_any() {
    let mut bench = Bench::modern();
    bench.call_with(1, "0", "logging/setLevel", r#"{"level":"warning"}"#);
    bench.call(1, "1", "tools/call");
    bench.call(2, "1", "tools/call");
    let line = bench.lines().swap_remove(0);
    assert!(
        line.contains(r#""io.modelcontextprotocol/logLevel":"warning""#),
        "{line}"
    );
    bench.deliveries();
    let log = |level: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"{level}"}}}}"#
        )
    };
    bench.server(&log("error"));
    bench.server(&log("info"));
    bench.clients_got(&[&format!("1/1 notification: {}", log("error"))]);
    // Two that ask can't be told apart.
    let logs = r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/logLevel":"debug"}}"#;
    bench.call_with(3, "1", "tools/call", logs);
    bench.server(&log("error"));
    bench.clients_got(&[]);
    bench.answer(1);
    bench.deliveries();
    bench.server(&log("debug"));
    bench.clients_got(&[&format!("3/1 notification: {}", log("debug"))]);
    // One that was cancelled may still log.
    bench.client(
        3,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#,
    );
    bench.call(1, "2", "tools/call");
    bench.deliveries();
    bench.server(&log("error"));
    bench.clients_got(&[]);
    // One that wanted none puts nobody in doubt.
    bench.answer(3);
    bench.client(
        2,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#,
    );
    bench.deliveries();
    bench.server(&log("error"));
    bench.clients_got(&[&format!("1/2 notification: {}", log("error"))]);
}

#[test]
fn a_modern_server_asks_nobody() {
    for service in [SHARED, super::ASKING, Service::Dedicated] {
        let mut bench = Bench::new(service);
        bench.mux.meet_modern(|_| false, bench.now, &mut bench.out);
        bench.initialize(1, r#"{"roots":{}}"#);
        bench.call(1, "1", "tools/call");
        bench.lines();
        bench.server(r#"{"jsonrpc":"2.0","id":"a","method":"roots/list"}"#);
        let lines = bench.lines();
        assert!(lines[0].contains("-32601"), "{lines:?}");
        bench.clients_got(&[]);
    }
}

#[test]
fn a_modern_clients_message_is_not_for_a_legacy_server() {
    let mut bench = Bench::new(SHARED);
    bench.stateless(1, "1", "tools/list", "");
    let got = bench.deliveries().join("");
    assert!(got.starts_with("1/1 refusal: "), "{got}");
    assert!(
        got.contains("-31001") && got.contains(r#""kind":"server_changed""#),
        "{got}"
    );
    // A session that was initialised is a legacy one, whatever its messages hold.
    bench.initialize(2, "{}");
    bench.stateless(2, "1", "tools/list", "");
    bench.clients_got(&[]);
    assert_eq!(bench.lines().len(), 1);
}

#[test]
fn a_dedicated_modern_server_is_spoken_with_as_a_shared_one() {
    let mut bench = Bench::new(Service::Dedicated);
    bench.mux.meet_modern(|_| false, bench.now, &mut bench.out);
    bench.initialize(1, r#"{"roots":{}}"#);
    bench.call(1, "1", "tools/call");
    let line = bench.lines().remove(0);
    assert!(line.contains(&said(r#"{"roots":{}}"#)), "{line}");
    bench.call_with(1, "2", "logging/setLevel", r#"{"level":"info"}"#);
    bench.clients_got(&[r#"1/2 answer: {"jsonrpc":"2.0","id":2,"result":{}}"#]);
    bench.client(
        1,
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
    );
    bench.server_got(&[]);
}
