//! Requests of the server: sampling, elicitation, roots.

use super::{ASKING, Bench, SHARED, Service};

const SAMPLING: &str =
    r#"{"jsonrpc":"2.0","id":"q","method":"sampling/createMessage","params":{"n":1.0}}"#;
const CAN_SAMPLE: &str = r#"{"sampling":{}}"#;

/// The server is told that nobody can be asked.
#[track_caller]
fn unroutable(bench: &mut Bench) {
    bench.clients_got(&[]);
    let lines = bench.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with(r#"{"jsonrpc":"2.0","id":"q","error":{"code":-32601,"#),
        "{lines:?}"
    );
}

#[test]
fn the_owner_of_the_only_live_call_is_asked_and_its_answer_goes_back_once() {
    let mut bench = Bench::new(ASKING);
    bench.initialize(1, CAN_SAMPLE);
    bench.initialize(2, CAN_SAMPLE);
    bench.call(1, "1", "tools/call");
    bench.call(2, "1", "tools/list");
    bench.lines();
    bench.server(SAMPLING);
    bench.clients_got(&[
        r#"1/1 request: {"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{"n":1.0}}"#,
    ]);
    let answer = r#"{"jsonrpc":"2.0","result":{"x":1e400},"id":1}"#;
    // Not from another session, not under another id.
    bench.client(2, answer);
    for id in ["2", "\"1\"", "1.0", "\"q\"", "null"] {
        bench.client(
            1,
            &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#),
        );
    }
    bench.server_got(&[]);
    bench.client(1, answer);
    bench.server_got(&[r#"{"jsonrpc":"2.0","result":{"x":1e400},"id":"q"}"#]);
    bench.client(1, answer);
    bench.server_got(&[]);
    bench.dropped("unknown_answer", 7);
    // The server may use its id again, the client hears a new one.
    bench.server(SAMPLING);
    assert!(bench.deliveries()[0].contains(r#""id":2,"#));
    bench.client(
        1,
        r#"{"jsonrpc":"2.0","id":2,"error":{"code":-1,"message":"no"}}"#,
    );
    bench.server_got(&[r#"{"jsonrpc":"2.0","id":"q","error":{"code":-1,"message":"no"}}"#]);
}

#[test]
fn ambiguous_asks_are_refused_and_never_guessed() {
    let mut bench = Bench::new(ASKING);
    for session in [1, 2] {
        bench.initialize(session, CAN_SAMPLE);
    }
    // No call; a call that lets nobody ask; two calls.
    bench.server(SAMPLING);
    unroutable(&mut bench);
    bench.call(1, "1", "tools/list");
    bench.lines();
    bench.server(SAMPLING);
    unroutable(&mut bench);
    for (session, method) in [(1, "prompts/get"), (2, "resources/read")] {
        bench.call(session, "2", method);
    }
    bench.lines();
    bench.server(SAMPLING);
    unroutable(&mut bench);
    // Two calls of one session are no better: which stream would it be?
    bench.answer(3);
    bench.call(1, "3", "tools/call");
    bench.lines();
    bench.deliveries();
    bench.server(SAMPLING);
    unroutable(&mut bench);
    // A client that declared other things is not asked.
    bench.answer(2);
    bench.deliveries();
    bench.server(&SAMPLING.replace("sampling/createMessage", "roots/list"));
    unroutable(&mut bench);
    bench.server(&SAMPLING.replace("sampling/createMessage", "tasks/get"));
    unroutable(&mut bench);
    bench.dropped("unroutable_ask", 6);
}

#[test]
fn each_kind_of_ask_needs_its_capability() {
    for (method, capability) in [
        ("sampling/createMessage", "sampling"),
        ("elicitation/create", "elicitation"),
        ("roots/list", "roots"),
    ] {
        for declared in ["sampling", "elicitation", "roots"] {
            let mut bench = Bench::new(ASKING);
            bench.initialize(2, &format!(r#"{{"{declared}":{{}}}}"#));
            bench.call(2, "1", "tools/call");
            bench.lines();
            bench.server(&SAMPLING.replace("sampling/createMessage", method));
            if declared == capability {
                assert_eq!(bench.deliveries().len(), 1, "{method} {declared}");
                bench.server_got(&[]);
            } else {
                unroutable(&mut bench);
            }
        }
    }
}

#[test]
fn a_server_that_was_not_told_that_it_may_ask_is_refused() {
    let mut bench = Bench::new(SHARED);
    bench.initialize(1, CAN_SAMPLE);
    bench.call(1, "1", "tools/call");
    bench.lines();
    bench.server(SAMPLING);
    unroutable(&mut bench);
}

#[test]
fn an_ask_of_a_cancelled_call_reaches_no_other_session() {
    let mut bench = Bench::new(ASKING);
    for session in [1, 2] {
        bench.initialize(session, CAN_SAMPLE);
    }
    bench.call(1, "1", "tools/call");
    bench.client(
        1,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#,
    );
    bench.deliveries();
    // Its own next call is its own business.
    bench.call(1, "2", "tools/call");
    bench.lines();
    bench.server(SAMPLING);
    assert_eq!(bench.deliveries().len(), 1);
    bench.client(1, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    bench.answer(2);
    bench.call(2, "1", "tools/call");
    bench.lines();
    bench.deliveries();
    bench.server(SAMPLING);
    unroutable(&mut bench);
    // A minute later a server that took the cancellation is not at work on it any more.
    bench.pass(60_000);
    bench.server(SAMPLING);
    assert!(bench.deliveries()[0].starts_with("2/1 request: "));
}

#[test]
fn a_dedicated_client_is_asked_at_its_call_or_outside_of_any() {
    let mut bench = Bench::new(Service::Dedicated);
    bench.server(&SAMPLING.replace("sampling/createMessage", "roots/list"));
    bench.call(1, "5", "tools/call");
    bench.server(&SAMPLING.replace("\"q\"", "-1"));
    bench.call(1, "6", "tools/call");
    bench.server(&SAMPLING.replace("\"q\"", "2"));
    bench.clients_got(&[
        r#"1/outlet request: {"jsonrpc":"2.0","id":1,"method":"roots/list","params":{"n":1.0}}"#,
        r#"1/5 request: {"jsonrpc":"2.0","id":2,"method":"sampling/createMessage","params":{"n":1.0}}"#,
        r#"1/outlet request: {"jsonrpc":"2.0","id":3,"method":"sampling/createMessage","params":{"n":1.0}}"#,
    ]);
    bench.lines();
    for (id, server_id) in [(3, "2"), (1, "\"q\""), (2, "-1")] {
        bench.client(
            1,
            &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#),
        );
        bench.server_got(&[&format!(
            r#"{{"jsonrpc":"2.0","id":{server_id},"result":{{}}}}"#
        )]);
    }
}

#[test]
fn the_server_takes_an_ask_back() {
    let mut bench = Bench::new(ASKING);
    bench.initialize(1, CAN_SAMPLE);
    bench.call(1, "1", "tools/call");
    bench.lines();
    bench.server(SAMPLING);
    bench.deliveries();
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"reason":"r","requestId":"q"}}"#;
    bench.server(&cancel.replace("\"q\"", "1"));
    bench.clients_got(&[]);
    bench.server(cancel);
    bench.clients_got(&[&format!(
        "1/1 notification: {}",
        cancel.replace("\"q\"", "1")
    )]);
    bench.server(cancel);
    bench.client(1, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    bench.clients_got(&[]);
    bench.server_got(&[]);
}

#[test]
fn a_client_reports_progress_on_what_it_was_asked_and_on_nothing_else() {
    let mut bench = Bench::new(ASKING);
    bench.initialize(1, CAN_SAMPLE);
    bench.call(1, "1", "tools/call");
    bench.lines();
    bench.server(&SAMPLING.replace("\"n\":1.0", r#""_meta":{"progressToken":"mine"}"#));
    assert!(bench.deliveries()[0].contains(r#""progressToken":"mine""#));
    let progress =
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"mine"}}"#;
    bench.client(2, progress);
    bench.client(1, &progress.replace("mine", "yours"));
    bench.server_got(&[]);
    bench.client(1, progress);
    bench.server_got(&[progress]);
    bench.client(1, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    bench.lines();
    bench.client(1, progress);
    bench.server_got(&[]);
}

#[test]
fn asks_end_with_the_session_and_with_the_generation() {
    let mut bench = Bench::new(ASKING);
    bench.initialize(1, CAN_SAMPLE);
    bench.call(1, "1", "tools/call");
    bench.server(SAMPLING);
    bench.lines();
    bench.deliveries();
    bench.close(1);
    let lines = bench.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[1].starts_with(r#"{"jsonrpc":"2.0","id":"q","error":{"#),
        "{lines:?}"
    );
    bench.deliveries();

    bench.initialize(2, CAN_SAMPLE);
    bench.pass(60_000);
    bench.call(2, "1", "tools/call");
    bench.server(SAMPLING);
    bench.deliveries();
    assert!(bench.end_generation(true).is_empty());
    let got = bench.deliveries();
    assert_eq!(
        got[1],
        r#"2/1 notification: {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"MCP server ended"}}"#
    );
    bench.restore(false);
    bench.client(2, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    bench.server_got(&[]);
}

#[test]
fn one_id_of_the_server_stands_for_one_ask() {
    let mut bench = Bench::new(Service::Dedicated);
    bench.server(SAMPLING);
    bench.deliveries();
    bench.server(SAMPLING);
    bench.clients_got(&[]);
    let lines = bench.lines();
    assert!(
        lines[0].starts_with(r#"{"jsonrpc":"2.0","id":"q","error":{"code":-32600,"#),
        "{lines:?}"
    );
    bench.client(1, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    bench.server_got(&[r#"{"jsonrpc":"2.0","id":"q","result":{}}"#]);
}
