//! What the server wants to know before it answers a legacy client.

use super::super::Bench;
use super::said;

const CAN: &str = r#"{"elicitation":{},"sampling":{},"roots":{}}"#;

/// A modern server that has been called by session 1 (id 1, token "t") under `k` 1.
fn called() -> Bench {
    let mut bench = Bench::modern();
    bench.initialize(1, CAN);
    bench.call_with(
        1,
        "1",
        "tools/call",
        r#"{"name":"t","_meta":{"progressToken":"t"}}"#,
    );
    bench.lines();
    bench
}

fn requires(bench: &mut Bench, k: u64, members: &str) {
    bench.server(&format!(
        r#"{{"jsonrpc":"2.0","id":{k},"result":{{"resultType":"input_required",{members}}}}}"#
    ));
}

fn again(k: u64, input: &str) -> String {
    let said = said(CAN);
    format!(
        r#"{{"jsonrpc":"2.0","id":{k},"method":"tools/call","params":{{{input},"name":"t","_meta":{{{said},"progressToken":{k}}}}}}}"#
    )
}

const ROOTS: &str = r#""inputRequests":{"r":{"method":"roots/list"}}"#;
const ELICIT: &str =
    r#""inputRequests":{"e":{"method":"elicitation/create","params":{"message":"m","n":1.0}}}"#;
const BOTH: &str = r#""inputRequests":{"e":{"method":"elicitation/create","params":{}},"r":{"method":"roots/list"}}"#;

#[test]
fn the_client_is_asked_and_the_call_sent_again_until_it_is_answered() {
    let mut bench = called();
    let asked = r#""requestState":"\u0073","inputRequests":{"e\u0031":{"method":"elicitation/create","params":{"message":"m","n":1.0}},"r":{"method":"roots/list"}}"#;
    requires(&mut bench, 1, asked);
    bench.server_got(&[]);
    bench.clients_got(&[
        r#"1/1 request: {"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"message":"m","n":1.0}}"#,
        r#"1/1 request: {"jsonrpc":"2.0","id":2,"method":"roots/list"}"#,
    ]);
    bench.client(
        1,
        "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"roots\":\n[1e400]}}",
    );
    bench.server_got(&[]);
    // An answer counts once, and only from who was asked.
    for (session, id) in [(1, 2), (2, 1), (1, 3)] {
        bench.client(
            session,
            &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"wrong":1}}}}"#),
        );
    }
    bench.dropped("unknown_answer", 3);
    bench.server_got(&[]);
    bench.client(
        1,
        r#"{"jsonrpc":"2.0","id":1,"result":{"action":"accept"}}"#,
    );
    let input = r#""inputResponses":{"e\u0031":{"action":"accept"},"r":{"roots": [1e400]}},"requestState":"\u0073""#;
    bench.server_got(&[&again(2, input)]);

    // Another round, of which the progress goes on under the client's own token.
    bench.server(r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":2,"progress":1}}"#);
    requires(&mut bench, 2, ROOTS);
    bench.clients_got(&[
        r#"1/1 notification: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":1}}"#,
        r#"1/1 request: {"jsonrpc":"2.0","id":3,"method":"roots/list"}"#,
    ]);
    bench.client(1, r#"{"jsonrpc":"2.0","id":3,"result":{}}"#);
    bench.server_got(&[&again(3, r#""inputResponses":{"r":{}}"#)]);
    bench.server(r#"{"jsonrpc":"2.0","id":3,"result":{"resultType":"complete","content":[]}}"#);
    bench.clients_got(&[r#"1/1 answer: {"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#]);
    bench.close(1);
    bench.server_got(&[]);
}

#[test]
fn what_the_server_says_of_a_call_that_it_was_not_sent_yet_counts_for_nothing() {
    let mut bench = called();
    requires(&mut bench, 1, ROOTS);
    bench.deliveries();
    // The old number is over, the new one was not told to it.
    for k in [1, 2] {
        bench.answer(k);
        bench.server(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{k}}}}}"#));
        let (now, out) = (bench.now, &mut bench.out);
        bench
            .mux
            .oversize(Some(k.to_string().as_bytes()), 1 << 30, now, out);
    }
    bench.clients_got(&[]);
    bench.client(1, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    bench.server_got(&[&again(2, r#""inputResponses":{"r":{}}"#)]);
}

#[test]
fn a_state_alone_is_sent_back_at_once_but_not_for_ever() {
    let mut bench = called();
    for k in 1..=10 {
        requires(&mut bench, k, r#""requestState":"s""#);
        bench.server_got(&[&again(k + 1, r#""requestState":"s""#)]);
        bench.clients_got(&[]);
    }
    requires(&mut bench, 11, r#""requestState":"s""#);
    bench.server_got(&[]);
    bench.got_error("1/1 answer: ", -32603);
}

#[test]
fn a_client_that_refuses_an_elicitation_has_cancelled_it_and_other_refusals_end_the_call() {
    let mut bench = called();
    requires(&mut bench, 1, ELICIT);
    bench.deliveries();
    bench.client(
        1,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no"}}"#,
    );
    bench.server_got(&[&again(2, r#""inputResponses":{"e":{"action":"cancel"}}"#)]);
    requires(&mut bench, 2, BOTH);
    bench.deliveries();
    bench.client(
        1,
        r#"{"jsonrpc":"2.0","id":3,"error":{"code":-1,"message":"no","data":1.0}}"#,
    );
    bench.clients_got(&[
        r#"1/1 notification: {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2,"reason":"another question was refused"}}"#,
        r#"1/1 answer: {"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no","data":1.0}}"#,
    ]);
    bench.client(1, r#"{"jsonrpc":"2.0","id":2,"result":{}}"#);
    bench.server_got(&[]);
    bench.dropped("unknown_answer", 1);
}

#[test]
fn a_client_is_only_asked_for_what_it_has_declared() {
    let ask = |method: &str| format!(r#""inputRequests":{{"a":{{"method":"{method}"}}}}"#);
    for (method, capability, code) in [
        ("roots/list", "roots", -32602),
        ("sampling/createMessage", "sampling", -32602),
        ("elicitation/create", "elicitation", -32602),
        ("ping", "no client is asked", -32603),
    ] {
        let mut bench = Bench::modern();
        bench.initialize(1, r#"{"experimental":{}}"#);
        bench.call(1, "1", "tools/call");
        bench.lines();
        requires(&mut bench, 1, &ask(method));
        let got = bench.deliveries().join("");
        assert!(got.starts_with("1/1 answer: "), "{got}");
        assert!(
            got.contains(capability) && got.contains(&code.to_string()),
            "{got}"
        );
        bench.server_got(&[]);
    }
    // Nor where nothing may be asked at all.
    let mut bench = Bench::modern();
    bench.initialize(1, CAN);
    bench.call(1, "1", "tools/list");
    requires(&mut bench, 1, ROOTS);
    bench.got_error("1/1 answer: ", -32603);
}

#[test]
fn prompts_and_resources_may_ask_too() {
    for (method, params) in [
        ("prompts/get", r#"{"name":"p"}"#),
        ("resources/read", r#"{"uri":"u"}"#),
    ] {
        let mut bench = Bench::modern();
        bench.initialize(1, CAN);
        bench.call_with(1, "1", method, params);
        requires(&mut bench, 1, ROOTS);
        bench.client(1, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        let line = bench.lines().pop().unwrap();
        assert!(line.contains(r#""inputResponses":{"r":{}}"#), "{line}");
        bench.answer(2);
        assert!(
            bench
                .deliveries()
                .pop()
                .unwrap()
                .starts_with("1/1 answer: ")
        );
    }
}

#[test]
fn a_call_that_ends_while_its_client_is_asked_takes_the_questions_back() {
    let withdrawn = r#"1/1 notification: {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"its call is over"}}"#;
    let asked = || {
        let mut bench = called();
        requires(&mut bench, 1, ROOTS);
        bench.deliveries();
        bench
    };
    let ends: [fn(&mut Bench); 3] = [
        |bench| {
            bench.client(
                1,
                r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#,
            );
        },
        |bench| bench.pass(300_000),
        |bench| assert!(bench.end_generation(true).is_empty()),
    ];
    for end in ends {
        let mut bench = asked();
        end(&mut bench);
        let got = bench.deliveries();
        assert_eq!(got.len(), 2, "{got:?}");
        assert_eq!(got[0], withdrawn);
        assert!(
            got[1].starts_with("1/1 ") && got[1].contains("\"error\""),
            "{got:?}"
        );
        // The server has answered its part of it already, and hears no more.
        bench.server_got(&[]);
        bench.client(1, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        bench.server_got(&[]);
        bench.clients_got(&[]);
        bench.close(1);
        bench.close(2);
        bench.close(3);
        assert!(bench.mux.is_empty(), "{:?}", bench.mux);
    }
    // A session that ends gets its one last answer.
    let mut bench = asked();
    bench.close(1);
    bench.got_error("1/1 answer: ", -32600);
    bench.server_got(&[]);
}

#[test]
fn a_call_whose_client_is_asked_has_its_time_anew() {
    let mut bench = called();
    bench.pass(299_000);
    requires(&mut bench, 1, ROOTS);
    bench.deliveries();
    bench.pass(299_000);
    bench.clients_got(&[]);
    bench.client(1, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    bench.pass(299_000);
    bench.clients_got(&[]);
    bench.lines();
    bench.pass(1000);
    bench.got_error("1/1 answer: ", -31002);
    let lines = bench.lines();
    assert!(lines[0].contains(r#""requestId":2,"#), "{lines:?}");
}

#[test]
fn a_question_to_open_a_url_has_the_id_that_a_legacy_one_needs() {
    let mut bench = called();
    requires(
        &mut bench,
        1,
        r#""inputRequests":{"u":{"method":"elicitation/create","params":{"mode":"url","url":"https://x","message":"m"}}}"#,
    );
    bench.clients_got(&[
        r#"1/1 request: {"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"elicitationId":"1-1","mode":"url","url":"https://x","message":"m"}}"#,
    ]);
}

#[test]
fn questions_of_a_session_and_what_is_kept_for_them_are_bounded() {
    let mut bench = Bench::modern();
    bench.initialize(1, CAN);
    let many: Vec<String> = (0..32)
        .map(|n| format!(r#""{n}":{{"method":"roots/list"}}"#))
        .collect();
    let many = format!(r#""inputRequests":{{{}}}"#, many.join(","));
    for k in 1..=5 {
        bench.call(1, &k.to_string(), "tools/call");
        requires(&mut bench, 2 * k - 1, &many);
        let got = bench.deliveries();
        if k <= 4 {
            assert_eq!(got.len(), 32);
        } else {
            assert!(got.len() == 1 && got[0].contains("-31004"), "{got:?}");
        }
    }
    // Requests that are too large together can be answered, but not asked about.
    let mut bench = Bench::modern();
    bench.initialize(1, CAN);
    let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(15 << 20));
    for id in 1..=5 {
        bench.call_with(1, &id.to_string(), "tools/call", &large);
        bench.lines();
    }
    requires(&mut bench, 4, ROOTS);
    assert!(bench.deliveries()[0].starts_with("1/4 request: "));
    requires(&mut bench, 5, ROOTS);
    bench.got_error("1/5 answer: ", -31004);
    // What a client answers counts too.
    bench.client(
        1,
        &format!(r#"{{"jsonrpc":"2.0","id":1,"result":{large}}}"#),
    );
    bench.got_error("1/4 answer: ", -31004);
}
