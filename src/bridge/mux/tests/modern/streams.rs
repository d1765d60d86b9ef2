//! Modern clients that listen.

use super::super::Bench;

const ID: &str = "io.modelcontextprotocol/subscriptionId";

fn note(method: &str, id: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/{method}","params":{{"uri":"u", "_meta":{{"x":1.0,"{ID}":{id}}}}}}}"#
    )
}

/// Sessions 1 and 2 listen under the ids "a" and 1, which are 1 and 2 at the server.
fn listening() -> Bench {
    let mut bench = Bench::modern();
    for (session, id) in [(1, "\"a\""), (2, "1")] {
        let filter = r#","notifications":{"resourceSubscriptions":["u"]}"#;
        bench.stateless(session, id, "subscriptions/listen", filter);
    }
    assert_eq!(bench.lines().len(), 2);
    bench
}

#[test]
fn what_is_said_under_the_id_of_a_request_goes_there_under_the_clients_own() {
    let mut bench = listening();
    for method in [
        "subscriptions/acknowledged",
        "resources/updated",
        "tools/list_changed",
        "vendor/new",
    ] {
        bench.server(&note(method, "1"));
        bench.server(&note(method, "2"));
        bench.clients_got(&[
            &format!("1/\"a\" notification: {}", note(method, "\"a\"")),
            &format!("2/1 notification: {}", note(method, "1")),
        ]);
    }
    for id in ["3", "\"1\"", "1.0", "null"] {
        bench.server(&note("resources/updated", id));
    }
    // Of another call, not of a stream.
    bench.stateless(3, "1", "tools/call", "");
    bench.server(&note("resources/updated", "3"));
    bench.clients_got(&[]);
    bench.dropped("unattributed_notification", 5);
}

#[test]
fn a_stream_has_no_time_to_end_and_keeps_no_server_from_stopping_or_hanging() {
    let mut bench = listening();
    assert_eq!(bench.mux.in_flight(), 0);
    bench.pass(4_000_000_000);
    bench.clients_got(&[]);
    bench.server(&note("resources/updated", "1"));
    assert_eq!(bench.deliveries().len(), 1);
}

#[test]
fn a_stream_ends_in_good_order_when_the_server_says_so() {
    let mut bench = listening();
    bench.server(&format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"_meta":{{"v":1.0,"{ID}":1}},"resultType":"complete"}}}}"#
    ));
    bench
        .server(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}"#);
    bench.clients_got(&[
        &format!(
            r#"1/"a" answer: {{"jsonrpc":"2.0","id":"a","result":{{"_meta":{{"v":1.0,"{ID}":"a"}},"resultType":"complete"}}}}"#
        ),
        &format!(
            r#"2/1 answer: {{"jsonrpc":"2.0","id":1,"result":{{"resultType":"complete","_meta":{{"{ID}":1}}}}}}"#
        ),
    ]);
    bench.server_got(&[]);
    // A call can't be taken back like that.
    bench.stateless(3, "1", "tools/call", "");
    bench
        .server(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}"#);
    bench.clients_got(&[]);
    assert_eq!(bench.mux.in_flight(), 1);
}

#[test]
fn a_stream_ends_with_its_client_and_with_its_server() {
    let mut bench = listening();
    bench.client(
        1,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a"}}"#,
    );
    bench.close(2);
    bench.server_got(&[
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2,"reason":"client disconnected"}}"#,
    ]);
    let got = bench.deliveries();
    assert!(got[0].starts_with("1/\"a\" cancelled: ") && got[1].starts_with("2/1 answer: "));

    // A server that dies leaves an error, one that is stopped an end.
    let mut bench = listening();
    assert!(bench.end_generation(true).is_empty());
    let got = bench.deliveries();
    assert!(got.iter().all(|text| text.contains("-31001")), "{got:?}");
    let mut bench = listening();
    bench.mux.end_streams(bench.now, &mut bench.out);
    let got = bench.deliveries();
    assert_eq!(got.len(), 2);
    assert!(
        got.iter()
            .all(|text| text.contains(r#""resultType":"complete""#)),
        "{got:?}"
    );
    assert_eq!(bench.lines().len(), 2);
}

#[test]
fn streams_take_no_place_of_calls_and_have_a_limit_of_their_own() {
    let mut bench = listening();
    bench.configure(|settings| {
        settings.limits.max_in_flight = 1;
        settings.limits.max_sessions = 3;
    });
    bench.stateless(3, "1", "tools/call", "");
    bench.stateless(3, "2", "subscriptions/listen", "");
    assert_eq!(bench.lines().len(), 2);
    bench.stateless(3, "3", "tools/call", "");
    bench.got_error("3/3 refusal: ", -31004);
    bench.answer(3);
    bench.deliveries();
    bench.stateless(3, "4", "subscriptions/listen", "");
    bench.got_error("3/4 refusal: ", -31004);
}
