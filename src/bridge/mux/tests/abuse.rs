//! Clients and servers that mean harm.

use super::{ASKING, Bench, SHARED, Service};
use crate::bridge::instance::MAX_QUEUED;

#[test]
fn a_request_may_not_be_called_like_a_notification_nor_a_notification_like_a_request() {
    let mut bench = Bench::new(SHARED);
    bench.call(2, "1", "tools/call");
    bench.lines();
    // A server that looks at the method alone would cancel the second client's call.
    bench.call_with(1, "1", "notifications/cancelled", r#"{"requestId":1}"#);
    bench.got_error("1/1 invalid: ", -32601);
    bench.call_with(1, "1", r"notifications\/cancelled", r#"{"requestId":1}"#);
    bench.got_error("1/1 invalid: ", -32601);
    for method in [
        "initialize",
        "tools/call",
        "logging/setLevel",
        "resources/unsubscribe",
        "tasks/cancel",
        "ping",
    ] {
        bench.client(
            1,
            &format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"uri":"u"}}}}"#),
        );
    }
    bench.server_got(&[]);
    bench.clients_got(&[]);
    let vendor = r#"{"jsonrpc":"2.0","method":"vendor/hello"}"#;
    bench.client(1, vendor);
    bench.server_got(&[vendor]);
}

#[test]
fn subscriptions_of_a_session_and_their_length_are_bounded() {
    let mut bench = Bench::new(SHARED);
    for n in 0..1000 {
        let params = format!(r#"{{"uri":"x:{n}"}}"#);
        bench.call_with(1, &n.to_string(), "resources/subscribe", &params);
        bench.answer(n + 1);
    }
    bench.lines();
    bench.deliveries();
    bench.call_with(1, "1", "resources/subscribe", r#"{"uri":"x:1000"}"#);
    bench.got_error("1/1 invalid: ", -31004);
    // What it has already costs nothing more, and others have their own.
    bench.call_with(1, "1", "resources/subscribe", r#"{"uri":"x:7"}"#);
    bench.call_with(2, "1", "resources/subscribe", r#"{"uri":"x:7"}"#);
    assert_eq!(bench.deliveries().len(), 2);
    bench.server_got(&[]);
    bench.call_with(1, "1", "resources/unsubscribe", r#"{"uri":"x:8"}"#);
    bench.call_with(1, "2", "resources/subscribe", r#"{"uri":"x:1000"}"#);
    assert_eq!(bench.lines().len(), 2);

    let long = format!(r#"{{"uri":"x:{}"}}"#, "y".repeat(5000));
    bench.call_with(3, "1", "resources/subscribe", &long);
    bench.got_error("3/1 invalid: ", -32602);
    for params in ["{}", r#"{"uri":1}"#, r#"{"uri":"\ud800"}"#, "[]"] {
        bench.call_with(3, "1", "resources/subscribe", params);
        bench.got_error("3/1 invalid: ", -32602);
    }
    bench.close(1);
    // One is shared with session 2, one was given up, one is still on its way: cancelled and taken back.
    assert_eq!(bench.lines().len(), 998 + 3);
}

#[test]
fn names_from_outside_are_repeated_in_part() {
    let mut bench = Bench::new(SHARED);
    let long = format!("tasks/{}", "é".repeat(100_000));
    bench.call(1, "1", &long);
    assert!(bench.deliveries()[0].len() < 1000);
    bench.server(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{long}"}}"#));
    assert!(bench.lines()[0].len() < 1000);
}

#[test]
fn endless_asks_end_at_a_limit() {
    let mut bench = Bench::new(Service::Dedicated);
    let ask = |bench: &mut Bench, id: u64| {
        bench.server(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"roots/list"}}"#
        ));
    };
    for id in 0..200 {
        ask(&mut bench, id);
    }
    assert_eq!(bench.deliveries().len(), 128);
    assert_eq!(bench.lines().len(), 72);
    bench.client(1, r#"{"jsonrpc":"2.0","id":5,"result":{}}"#);
    ask(&mut bench, 500);
    assert_eq!(bench.deliveries().len(), 1);
}

#[test]
fn asks_of_calls_that_are_over_give_way() {
    let mut bench = Bench::new(ASKING);
    bench.initialize(1, r#"{"roots":{}}"#);
    bench.call(1, "1", "tools/call");
    for id in 0..128 {
        bench.server(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"roots/list"}}"#
        ));
    }
    bench.answer(1);
    bench.call(1, "1", "tools/call");
    bench.lines();
    bench.deliveries();
    bench.server(r#"{"jsonrpc":"2.0","id":"new","method":"roots/list"}"#);
    // Each of the old ones is taken back at the client and answered at the server.
    let got = bench.deliveries();
    assert_eq!((got.len(), bench.lines().len()), (129, 128));
    assert!(got[128].starts_with("1/1 request: "), "{}", got[128]);
    bench.client(1, r#"{"jsonrpc":"2.0","id":3,"result":{}}"#);
    bench.server_got(&[]);
}

#[test]
fn a_server_that_asks_and_does_not_read_gets_no_more_answers() {
    let mut bench = Bench::new(SHARED);
    let id = format!("\"{}\"", "x".repeat(1000));
    let ping = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
    for _ in 0..20_000 {
        bench.server(&ping);
    }
    assert!(bench.out.outbox.len() < MAX_QUEUED + 2000);
    bench.lines();
    bench.server(&ping);
    assert_eq!(bench.lines().len(), 1);
}

#[test]
fn calls_given_up_in_masses_put_everybody_in_doubt_and_fill_no_memory() {
    let mut bench = Bench::new(ASKING);
    bench.initialize(2, r#"{"roots":{}}"#);
    for n in 0..3000 {
        bench.call(1, "1", "tools/call");
        bench.client(
            1,
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#,
        );
        // The first ones are answered after all, the others are not.
        bench.answer(n.min(1100));
    }
    bench.call(2, "1", "tools/call");
    bench.lines();
    bench.deliveries();
    let roots = r#"{"jsonrpc":"2.0","id":1,"method":"roots/list"}"#;
    bench.server(roots);
    bench.clients_got(&[]);
    bench.pass(60_000);
    bench.server(roots);
    assert_eq!(bench.deliveries().len(), 1);
}

#[test]
fn the_bridges_own_requests_are_not_remembered_for_ever() {
    let mut bench = Bench::new(SHARED);
    for n in 0..3000u64 {
        bench.open(100 + n);
        bench.call_with(100 + n, "1", "resources/subscribe", r#"{"uri":"u"}"#);
        bench.close(100 + n);
        bench.lines();
        bench.deliveries();
    }
    assert!(bench.mux.own.len() <= super::super::MAX_OWN);
}
