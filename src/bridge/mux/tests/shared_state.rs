//! What sessions of a shared server have in common with it: log levels, subscriptions, lists.

use super::{Bench, Incoming, SHARED};

fn log(level: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"{level}","data":1}}}}"#
    )
}

fn set_level(bench: &mut Bench, session: u64, level: &str) {
    let params = format!(r#"{{"level":"{level}"}}"#);
    bench.call_with(session, "\"s\"", "logging/setLevel", &params);
}

/// The level that the server was told, and nothing else.
#[track_caller]
fn told(bench: &mut Bench, k: u64, level: &str) {
    bench.server_got(&[&format!(
        r#"{{"jsonrpc":"2.0","id":{k},"method":"logging/setLevel","params":{{"level":"{level}"}}}}"#
    )]);
}

#[test]
fn the_server_is_told_the_most_verbose_level_and_each_session_gets_its_own() {
    let mut bench = Bench::new(SHARED);
    set_level(&mut bench, 1, "warning");
    told(&mut bench, 1, "warning");
    bench.answer(1);
    set_level(&mut bench, 2, "info");
    told(&mut bench, 2, "info");
    bench.answer(2);
    // Less verbose than what the server was told: no need to say it.
    set_level(&mut bench, 3, "error");
    bench.server_got(&[]);
    assert_eq!(bench.deliveries().len(), 3);
    for (session, wanted) in [(1, ["warning", "error"]), (2, ["info", "error"])] {
        bench.call(session, "1", "tools/call");
        for level in ["debug", "info", "warning", "error"] {
            let incoming = bench.server(&log(level));
            let owned =
                wanted[0] == level || level == "error" || (session == 2 && level != "debug");
            assert_eq!(
                matches!(incoming, Incoming::Log(_)),
                !owned,
                "{session} {level}"
            );
            let want = owned.then(|| format!("{session}/1 notification: {}", log(level)));
            bench.clients_got(&want.iter().map(String::as_str).collect::<Vec<_>>());
        }
        let k = 2 + session;
        bench.answer(k);
        bench.deliveries();
    }
    bench.lines();
    // The most verbose session goes: the server may say less.
    bench.close(2);
    told(&mut bench, 5, "warning");
    bench.close(3);
    bench.server_got(&[]);
}

#[test]
fn log_lines_go_to_the_owner_of_the_only_live_call_or_to_nobody() {
    let mut bench = Bench::new(SHARED);
    for session in [1, 2] {
        set_level(&mut bench, session, "debug");
        bench.answer(1);
    }
    bench.deliveries();
    assert!(matches!(bench.server(&log("error")), Incoming::Log(_)));
    bench.call(1, "1", "tools/call");
    bench.call(2, "1", "tools/call");
    assert!(matches!(bench.server(&log("error")), Incoming::Log(_)));
    bench.clients_got(&[]);
    bench.answer(2);
    bench.deliveries();
    assert!(matches!(bench.server(&log("error")), Incoming::Done));
    bench.clients_got(&[&format!("2/1 notification: {}", log("error"))]);
    // A session that never asked for log lines gets none.
    bench.answer(3);
    bench.call(3, "1", "tools/call");
    assert!(matches!(bench.server(&log("error")), Incoming::Log(_)));
}

#[test]
fn log_lines_of_a_cancelled_call_reach_no_other_session() {
    let mut bench = Bench::new(SHARED);
    set_level(&mut bench, 2, "debug");
    bench.answer(1);
    bench.call(1, "1", "tools/call");
    bench.close(1);
    bench.call(2, "1", "tools/call");
    bench.deliveries();
    assert!(matches!(bench.server(&log("error")), Incoming::Log(_)));
    // The server says that it is done with the cancelled call.
    bench.answer(2);
    assert!(matches!(bench.server(&log("error")), Incoming::Done));
    bench.clients_got(&[&format!("2/1 notification: {}", log("error"))]);
}

#[test]
fn levels_asked_for_at_the_same_time_see_each_other() {
    let mut bench = Bench::new(SHARED);
    set_level(&mut bench, 1, "debug");
    set_level(&mut bench, 2, "error");
    // The server must not end up at "error", and nobody is told yes before the server said it.
    bench.server_got(&[
        r#"{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"debug"}}"#,
        r#"{"jsonrpc":"2.0","id":2,"method":"logging/setLevel","params":{"level":"debug"}}"#,
    ]);
    bench.clients_got(&[]);
    bench.answer(2);
    bench.answer(1);
    set_level(&mut bench, 3, "info");
    bench.server_got(&[]);
    assert_eq!(bench.deliveries().len(), 3);
}

#[test]
fn a_level_that_the_server_refuses_is_not_kept() {
    let mut bench = Bench::new(SHARED);
    set_level(&mut bench, 1, "debug");
    bench.fail(1);
    bench.lines();
    bench.clients_got(&[r#"1/"s" answer: {"jsonrpc":"2.0","id":"s","error":{"code":-1}}"#]);
    set_level(&mut bench, 2, "error");
    told(&mut bench, 2, "error");
    bench.answer(2);
    // A level that is none is no business of the server's.
    set_level(&mut bench, 2, "loud");
    bench.server_got(&[]);
    bench.end_generation(false);
    bench.deliveries();
    bench.restore(false);
    told(&mut bench, 3, "error");
}

#[test]
fn the_progress_token_of_a_level_request_is_mapped_too() {
    let mut bench = Bench::new(SHARED);
    set_level(&mut bench, 1, "debug");
    bench.lines();
    // 1 is what the server knows the first session's request by.
    let params = r#"{"_meta":{"progressToken":1},"level":"error"}"#;
    bench.call_with(2, "7", "logging/setLevel", params);
    bench.server_got(&[
        r#"{"jsonrpc":"2.0","id":2,"method":"logging/setLevel","params":{"_meta":{"progressToken":2},"level":"debug"}}"#,
    ]);
}

fn subscribe(bench: &mut Bench, session: u64, method: &str, uri: &str) {
    let params = format!(r#"{{"uri":{uri}}}"#);
    bench.call_with(session, "\"s\"", &format!("resources/{method}"), &params);
}

#[track_caller]
fn told_uri(bench: &mut Bench, k: u64, method: &str, uri: &str) {
    bench.server_got(&[&format!(
        r#"{{"jsonrpc":"2.0","id":{k},"method":"resources/{method}","params":{{"uri":{uri}}}}}"#
    )]);
}

fn updated(uri: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":{uri}}}}}"#
    )
}

/// Who is told of an update of `uri`.
#[track_caller]
fn check_subscribers(bench: &mut Bench, uri: &str, want: &[u64]) {
    bench.deliveries();
    bench.server(&updated(uri));
    let want: Vec<String> = want
        .iter()
        .map(|session| format!("{session}/outlet notification: {}", updated(uri)))
        .collect();
    assert_eq!(bench.deliveries(), want);
}

#[test]
fn the_first_subscription_and_the_last_unsubscription_are_the_servers_business() {
    let mut bench = Bench::new(SHARED);
    let uri = "\"file:///a\"";
    subscribe(&mut bench, 1, "subscribe", uri);
    told_uri(&mut bench, 1, "subscribe", uri);
    check_subscribers(&mut bench, uri, &[]);
    bench.answer(1);
    check_subscribers(&mut bench, uri, &[1]);
    subscribe(&mut bench, 2, "subscribe", uri);
    subscribe(&mut bench, 2, "subscribe", uri);
    bench.server_got(&[]);
    check_subscribers(&mut bench, uri, &[1, 2]);
    check_subscribers(&mut bench, "\"file:///b\"", &[]);
    // Somebody who has no subscription can't take one away.
    subscribe(&mut bench, 3, "unsubscribe", uri);
    bench.server_got(&[]);
    check_subscribers(&mut bench, uri, &[1, 2]);
    subscribe(&mut bench, 1, "unsubscribe", uri);
    bench.server_got(&[]);
    check_subscribers(&mut bench, uri, &[2]);
    subscribe(&mut bench, 2, "unsubscribe", uri);
    told_uri(&mut bench, 2, "unsubscribe", uri);
    check_subscribers(&mut bench, uri, &[]);
    // The server may say what it likes: the session wanted no updates.
    bench.fail(2);
    check_subscribers(&mut bench, uri, &[]);
    // What nobody has is for the server to judge.
    subscribe(&mut bench, 3, "unsubscribe", uri);
    told_uri(&mut bench, 3, "unsubscribe", uri);
}

#[test]
fn a_uri_is_the_same_however_its_characters_are_spelled() {
    let mut bench = Bench::new(SHARED);
    subscribe(&mut bench, 1, "subscribe", r#""file:\/\/\/\u00e9""#);
    told_uri(&mut bench, 1, "subscribe", r#""file:\/\/\/\u00e9""#);
    bench.answer(1);
    check_subscribers(&mut bench, "\"file:///é\"", &[1]);
    subscribe(&mut bench, 2, "subscribe", "\"file:///é\"");
    bench.server_got(&[]);
    bench.close(1);
    bench.server_got(&[]);
    bench.close(2);
    told_uri(&mut bench, 2, "unsubscribe", "\"file:///é\"");
}

#[test]
fn an_update_of_a_part_goes_to_who_subscribed_to_the_whole() {
    let mut bench = Bench::new(SHARED);
    for (session, uri) in [(1, "\"x://a/\""), (2, "\"x://a/b\""), (3, "\"x://a/b/c\"")] {
        subscribe(&mut bench, session, "subscribe", uri);
        bench.answer(session);
    }
    for (uri, want) in [
        ("\"x://a/b/c\"", &[3][..]),
        ("\"x://a/b/d\"", &[2]),
        ("\"x://a/b#f\"", &[2]),
        ("\"x://a/bc\"", &[1]),
        ("\"x://a\"", &[]),
        ("\"x://ab\"", &[]),
        ("7", &[]),
    ] {
        check_subscribers(&mut bench, uri, want);
    }
}

#[test]
fn two_subscriptions_on_their_way_are_both_counted() {
    let mut bench = Bench::new(SHARED);
    let uri = "\"u\"";
    subscribe(&mut bench, 1, "subscribe", uri);
    subscribe(&mut bench, 2, "subscribe", uri);
    assert_eq!(bench.lines().len(), 2);
    bench.answer(1);
    // The second one is still on its way: the server must not be told that nobody is left.
    subscribe(&mut bench, 1, "unsubscribe", uri);
    bench.server_got(&[]);
    bench.answer(2);
    check_subscribers(&mut bench, uri, &[2]);
    bench.close(2);
    told_uri(&mut bench, 3, "unsubscribe", uri);

    // The one that is left was refused: the server is told after all.
    subscribe(&mut bench, 1, "subscribe", uri);
    subscribe(&mut bench, 3, "subscribe", uri);
    bench.lines();
    bench.answer(4);
    bench.close(1);
    bench.server_got(&[]);
    bench.fail(5);
    told_uri(&mut bench, 6, "unsubscribe", uri);
}

#[test]
fn a_subscription_that_the_server_refuses_is_none() {
    let mut bench = Bench::new(SHARED);
    subscribe(&mut bench, 1, "subscribe", "\"u\"");
    bench.lines();
    bench.fail(1);
    check_subscribers(&mut bench, "\"u\"", &[]);
    bench.close(1);
    bench.server_got(&[]);
}

#[test]
fn a_subscription_that_was_given_up_on_its_way_is_taken_back() {
    let cancel =
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"s"}}"#;
    for how in ["close", "cancel", "time out", "oversize"] {
        let mut bench = Bench::new(SHARED);
        subscribe(&mut bench, 1, "subscribe", "\"u\"");
        bench.lines();
        match how {
            "close" => bench.close(1),
            "cancel" => bench.client(1, cancel),
            "time out" => bench.pass(300_000),
            _ => bench
                .mux
                .oversize(Some(b"1"), 1 << 30, bench.now, &mut bench.out),
        }
        let lines = bench.lines();
        assert_eq!(
            lines.last().unwrap(),
            r#"{"jsonrpc":"2.0","id":2,"method":"resources/unsubscribe","params":{"uri":"u"}}"#,
            "{how}"
        );
        bench.answer(1);
        bench.answer(2);
        check_subscribers(&mut bench, "\"u\"", &[]);
        bench.close(1);
        bench.server_got(&[]);
    }
}

#[test]
fn unsubscribing_before_the_subscription_is_granted_leaves_none() {
    let mut bench = Bench::new(SHARED);
    subscribe(&mut bench, 1, "subscribe", "\"u\"");
    bench.call_with(1, "2", "resources/unsubscribe", r#"{"uri":"u"}"#);
    assert_eq!(bench.lines().len(), 2);
    bench.answer(1);
    bench.answer(2);
    check_subscribers(&mut bench, "\"u\"", &[]);
    bench.close(1);
    bench.server_got(&[]);
}

#[test]
fn a_session_that_asks_twice_has_one_subscription_until_both_are_over() {
    let mut bench = Bench::new(SHARED);
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}"#;
    bench.call_with(1, "1", "resources/subscribe", r#"{"uri":"u"}"#);
    bench.call_with(1, "2", "resources/subscribe", r#"{"uri":"u"}"#);
    bench.client(1, cancel);
    assert_eq!(bench.lines().len(), 3);
    bench.answer(1);
    check_subscribers(&mut bench, "\"u\"", &[1]);
    subscribe(&mut bench, 1, "unsubscribe", "\"u\"");
    // An answer to a subscription before that gives nothing back.
    bench.call_with(2, "1", "resources/subscribe", r#"{"uri":"v"}"#);
    bench.call_with(2, "2", "resources/unsubscribe", r#"{"uri":"v"}"#);
    bench.call_with(2, "3", "resources/subscribe", r#"{"uri":"v"}"#);
    bench.answer(4);
    bench.fail(6);
    check_subscribers(&mut bench, "\"v\"", &[]);
}

#[test]
fn the_next_generation_is_brought_to_what_the_sessions_asked_for() {
    let mut bench = Bench::new(SHARED);
    for session in [1, 2] {
        bench.initialize(session, "{}");
    }
    set_level(&mut bench, 1, "info");
    bench.answer(1);
    subscribe(&mut bench, 1, "subscribe", "\"u\"");
    bench.answer(2);
    subscribe(&mut bench, 2, "subscribe", "\"v\"");
    bench.answer(3);
    subscribe(&mut bench, 2, "subscribe", "\"lost\"");
    assert!(bench.end_generation(true).is_empty());
    bench.deliveries();
    // A session that goes between two generations has nobody to tell.
    bench.close(2);
    bench.server_got(&[]);
    bench.pass(1000);
    bench.restore(true);
    bench.server_got(&[
        r#"{"jsonrpc":"2.0","id":5,"method":"logging/setLevel","params":{"level":"info"}}"#,
        r#"{"jsonrpc":"2.0","id":6,"method":"resources/subscribe","params":{"uri":"u"}}"#,
    ]);
    assert!(matches!(
        bench.server(r#"{"jsonrpc":"2.0","id":5,"result":{}}"#),
        Incoming::Own(super::OwnRequest::Restore, _)
    ));
    bench.answer(6);
    check_subscribers(&mut bench, "\"u\"", &[1]);
    bench.pass(50);
    bench.clients_got(
        &["tools", "prompts", "resources"]
            .map(changed)
            .each_ref()
            .map(String::as_str),
    );
    bench.close(1);
    told_uri(&mut bench, 7, "unsubscribe", "\"u\"");
}

fn changed(list: &str) -> String {
    format!(
        r#"1/outlet notification: {{"jsonrpc":"2.0","method":"notifications/{list}/list_changed"}}"#
    )
}

#[test]
fn changes_of_lists_are_coalesced_and_wait_for_quiet() {
    let mut bench = Bench::new(SHARED);
    let tools = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    bench.initialize(1, "{}");
    bench.pass(1000);
    for _ in 0..100 {
        bench.server(tools);
    }
    bench.clients_got(&[]);
    bench.pass(49);
    bench.server(tools);
    bench.clients_got(&[]);
    bench.pass(1);
    // Sessions 2 and 3 were never answered anything: they know no list that could be out of date.
    bench.clients_got(&[&changed("tools")]);
    assert_eq!(bench.mux.next_tick(), None);

    bench.call(1, "1", "ping");
    bench.deliveries();
    bench.server(tools);
    bench.server(r#"{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}"#);
    bench.pass(249);
    bench.clients_got(&[]);
    bench.pass(1);
    bench.clients_got(&[&changed("tools"), &changed("prompts")]);
}

#[test]
fn a_session_that_is_never_quiet_hears_of_changes_all_the_same() {
    let mut bench = Bench::new(SHARED);
    bench.initialize(1, "{}");
    bench.server(r#"{"jsonrpc":"2.0","method":"notifications/resources/list_changed"}"#);
    let mut waited = 0;
    loop {
        bench.call(1, "1", "ping");
        bench.deliveries();
        bench.pass(100);
        waited += 100;
        if !bench.deliveries().is_empty() {
            break;
        }
    }
    assert_eq!(waited, 5100);
}

#[test]
fn what_a_shared_server_says_to_nobody_in_particular_reaches_nobody() {
    let mut bench = Bench::new(SHARED);
    let vendor = r#"{"jsonrpc":"2.0","method":"notifications/x"}"#;
    bench.server(vendor);
    bench.clients_got(&[]);
    bench.call(1, "1", "x");
    bench.server(vendor);
    bench.clients_got(&[&format!("1/1 notification: {vendor}")]);
    bench.call(2, "1", "x");
    bench.server(vendor);
    bench.clients_got(&[]);
}
