//! What legacy sessions subscribe to, in one stream.

use super::super::Bench;
use super::own;

const ID: &str = "io.modelcontextprotocol/subscriptionId";

fn listen(k: u64, filter: &str) -> String {
    let own = own();
    format!(
        r#"{{"jsonrpc":"2.0","id":{k},"method":"subscriptions/listen","params":{{"_meta":{{{own}}},"notifications":{{{filter}}}}}}}"#
    )
}

fn cancelled(k: u64) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{k}}}}}"#
    )
}

fn acknowledge(bench: &mut Bench, k: u64, uris: &str) {
    bench.server(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"_meta":{{"{ID}":{k}}},"notifications":{{"resourceSubscriptions":[{uris}]}}}}}}"#
    ));
}

fn subscribe(bench: &mut Bench, session: u64, id: &str, uri: &str) {
    bench.call_with(
        session,
        id,
        "resources/subscribe",
        &format!(r#"{{"uri":"{uri}"}}"#),
    );
}

fn update(bench: &mut Bench, k: u64, uri: &str) {
    bench.server(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":"{uri}","_meta":{{"{ID}":{k},"v":1.0}}}}}}"#
    ));
}

fn updated(session: u64, uri: &str) -> String {
    format!(
        r#"{session}/outlet notification: {{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":"{uri}","_meta":{{"v":1.0}}}}}}"#
    )
}

const YES: &str = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;

#[test]
fn a_subscription_is_answered_when_the_stream_with_it_is_acknowledged() {
    let mut bench = Bench::modern();
    bench.server_got(&[]);
    subscribe(&mut bench, 1, "1", "u");
    bench.server_got(&[&listen(2, r#""resourceSubscriptions":["u"]"#)]);
    // Others wait for their turn, together.
    subscribe(&mut bench, 2, "1", "v");
    subscribe(&mut bench, 3, "1", "\\u0075");
    bench.server_got(&[]);
    bench.clients_got(&[]);
    acknowledge(&mut bench, 2, "\"u\"");
    bench.clients_got(&[&format!("1/1 answer: {YES}"), &format!("3/1 answer: {YES}")]);
    bench.server_got(&[&listen(5, r#""resourceSubscriptions":["u","v"]"#)]);
    update(&mut bench, 2, "u");
    bench.clients_got(&[&updated(1, "u"), &updated(3, "u")]);
    acknowledge(&mut bench, 5, "\"v\",\"u\"");
    bench.clients_got(&[&format!("2/1 answer: {YES}")]);
    bench.server_got(&[&cancelled(2)]);
    update(&mut bench, 5, "v");
    bench.clients_got(&[&updated(2, "v")]);
    // One that is there already costs nothing.
    subscribe(&mut bench, 1, "2", "v");
    bench.clients_got(&[r#"1/2 answer: {"jsonrpc":"2.0","id":2,"result":{}}"#]);
    bench.server_got(&[]);
}

#[test]
fn what_nobody_wants_any_more_is_left_out_a_little_later() {
    let mut bench = Bench::modern();
    subscribe(&mut bench, 1, "1", "u");
    subscribe(&mut bench, 2, "1", "v");
    acknowledge(&mut bench, 2, "\"u\"");
    acknowledge(&mut bench, 4, "\"u\",\"v\"");
    bench.lines();
    bench.deliveries();
    bench.call_with(1, "1", "resources/unsubscribe", r#"{"uri":"u"}"#);
    bench.clients_got(&[&format!("1/1 answer: {YES}")]);
    bench.server_got(&[]);
    update(&mut bench, 4, "u");
    bench.clients_got(&[]);
    bench.pass(100);
    bench.server_got(&[&listen(5, r#""resourceSubscriptions":["v"]"#)]);
    acknowledge(&mut bench, 5, "\"v\"");
    bench.server_got(&[&cancelled(4)]);
    bench.close(2);
    bench.server_got(&[]);
    bench.pass(100);
    bench.server_got(&[&cancelled(5)]);
    bench.pass(1_000_000);
    bench.server_got(&[]);
    bench.close(1);
    bench.close(3);
    assert!(bench.mux.is_empty(), "{:?}", bench.mux);
}

#[test]
fn what_the_server_does_not_honour_is_refused_and_may_be_asked_for_again() {
    let mut bench = Bench::modern();
    subscribe(&mut bench, 1, "1", "u");
    subscribe(&mut bench, 2, "1", "v");
    bench.lines();
    acknowledge(&mut bench, 2, "");
    bench.got_error("1/1 answer: ", -32602);
    bench.lines();
    acknowledge(&mut bench, 4, "\"v\"");
    bench.clients_got(&[&format!("2/1 answer: {YES}")]);
    bench.lines();
    subscribe(&mut bench, 1, "2", "u");
    bench.server_got(&[&listen(6, r#""resourceSubscriptions":["u","v"]"#)]);
    acknowledge(&mut bench, 6, "\"v\"");
    bench.got_error("1/2 answer: ", -32602);
    bench.server_got(&[&cancelled(4)]);
    // At once, before it was left out.
    subscribe(&mut bench, 1, "3", "u");
    bench.server_got(&[&listen(8, r#""resourceSubscriptions":["u","v"]"#)]);
    acknowledge(&mut bench, 8, "\"u\",\"v\"");
    assert!(bench.deliveries()[0].starts_with("1/3 answer: "));
}

#[test]
fn a_server_that_refuses_the_stream_refuses_the_subscription() {
    let mut bench = Bench::modern();
    subscribe(&mut bench, 1, "1", "u");
    bench.lines();
    bench.server(r#"{"jsonrpc":"2.0","id":2,"error":{"code":-32601,"message":"no such method"}}"#);
    let got = bench.deliveries().join("");
    assert!(
        got.starts_with("1/1 answer: ") && got.contains("no such method"),
        "{got}"
    );
    // There is nothing to try again.
    bench.pass(1000);
    bench.server_got(&[]);
    // One that is not acknowledged is given up.
    subscribe(&mut bench, 1, "1", "u");
    bench.lines();
    bench.pass(30_000);
    bench.got_error("1/1 answer: ", -31002);
    bench.server_got(&[&cancelled(4)]);
    acknowledge(&mut bench, 4, "\"u\"");
    bench.clients_got(&[]);
}

#[test]
fn changes_of_lists_come_in_the_same_stream_and_go_to_every_session() {
    let mut bench = Bench::modern_with(|kind| kind != "prompts");
    let lists = r#""toolsListChanged":true,"resourcesListChanged":true"#;
    bench.server_got(&[&listen(1, lists)]);
    acknowledge(&mut bench, 1, "");
    bench.call(1, "1", "tools/list");
    bench.answer(2);
    bench.lines();
    bench.deliveries();
    bench.server(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{{"_meta":{{"{ID}":1}}}}}}"#
    ));
    bench.pass(300);
    bench.clients_got(&[
        r#"1/outlet notification: {"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#,
    ]);
    subscribe(&mut bench, 1, "1", "u");
    bench.server_got(&[&listen(
        4,
        &format!(r#"{lists},"resourceSubscriptions":["u"]"#),
    )]);
}

#[test]
fn a_stream_that_the_server_ends_is_opened_again_later_each_time() {
    let mut bench = Bench::modern_with(|kind| kind == "tools");
    let mut k = 1;
    for (ends_by_result, pause) in [(true, 1000), (false, 2000), (true, 4000)] {
        bench.server_got(&[&listen(k, r#""toolsListChanged":true"#)]);
        acknowledge(&mut bench, k, "");
        if ends_by_result {
            bench.answer(k);
        } else {
            bench.server(&cancelled(k));
        }
        bench.pass(pause - 1);
        bench.server_got(&[]);
        bench.pass(1);
        k += 1;
    }
    // One that held has earned a short pause.
    bench.lines();
    acknowledge(&mut bench, k, "");
    bench.pass(60_000);
    bench.answer(k);
    bench.pass(1000);
    bench.server_got(&[&listen(k + 1, r#""toolsListChanged":true"#)]);
}

#[test]
fn the_next_generation_gets_the_stream_anew() {
    let mut bench = Bench::modern();
    subscribe(&mut bench, 1, "1", "u");
    acknowledge(&mut bench, 2, "\"u\"");
    subscribe(&mut bench, 2, "1", "v");
    bench.deliveries();
    assert!(bench.end_generation(false).is_empty());
    bench.got_error("2/1 answer: ", -31001);
    bench.close(3);
    bench.mux.meet_modern(|_| false, bench.now, &mut bench.out);
    bench.restore(false);
    bench.server_got(&[&listen(5, r#""resourceSubscriptions":["u"]"#)]);
    acknowledge(&mut bench, 5, "\"u\"");
    update(&mut bench, 2, "u");
    bench.clients_got(&[]);
    update(&mut bench, 5, "u");
    bench.clients_got(&[&updated(1, "u")]);
    // And one of the other era what it knows.
    assert!(bench.end_generation(false).is_empty());
    bench.restore(false);
    bench.server_got(&[
        r#"{"jsonrpc":"2.0","id":6,"method":"resources/subscribe","params":{"uri":"u"}}"#,
    ]);
}

#[test]
fn a_subscription_that_is_given_up_on_its_way_is_none() {
    let mut bench = Bench::modern();
    subscribe(&mut bench, 1, "1", "u");
    bench.lines();
    bench.client(
        1,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#,
    );
    assert!(bench.deliveries()[0].starts_with("1/1 cancelled: "));
    bench.server_got(&[]);
    acknowledge(&mut bench, 2, "\"u\"");
    bench.clients_got(&[]);
    update(&mut bench, 2, "u");
    bench.clients_got(&[]);
    bench.pass(100);
    bench.server_got(&[&cancelled(2)]);
}

#[test]
fn a_server_that_reads_nothing_is_not_told_more() {
    let mut bench = Bench::modern();
    let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(9 << 20));
    bench.call_with(1, "0", "x", &large);
    subscribe(&mut bench, 1, "1", "u");
    bench.pass(1000);
    assert_eq!(bench.lines().len(), 1, "the call");
    bench.pass(1000);
    bench.server_got(&[&listen(3, r#""resourceSubscriptions":["u"]"#)]);
}

#[test]
fn the_uris_of_all_sessions_have_a_limit_together() {
    let mut bench = Bench::modern();
    let uri = |n: usize| format!("{n:04}{}", "x".repeat(4000));
    for n in 0..261 {
        subscribe(&mut bench, 1, "1", &uri(n));
        let k = bench.mux.next;
        bench.server(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"_meta":{{"{ID}":{k}}},"notifications":{{"resourceSubscriptions":["{}"]}}}}}}"#,
            uri(n)
        ));
        bench.lines();
        assert!(bench.deliveries()[0].contains("result"));
    }
    subscribe(&mut bench, 2, "1", &uri(261));
    bench.got_error("2/1 invalid: ", -31004);
}
