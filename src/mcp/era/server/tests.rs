use super::*;
use crate::jsonrpc::{Edit, splice};

const SAID: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c", "n":1.0},"io.modelcontextprotocol/clientCapabilities":{"roots":{},"x":1e400}"#;

fn client() -> Introduction {
    let params = br#"{"protocolVersion":"2025-06-18","clientInfo":{"name":"c", "n":1.0},"capabilities":{"roots":{},"tasks":{},"x":1e400}}"#;
    Introduction::of(params).unwrap()
}

fn made(text: &str, edits: &[Placed]) -> String {
    let mut edits: Vec<Edit<'_>> = edits
        .iter()
        .map(|(span, with)| Edit { span: *span, with })
        .collect();
    let mut out = Vec::new();
    splice(&mut out, text.as_bytes(), &mut edits);
    let out = String::from_utf8(out).unwrap();
    assert!(Message::parse(out.clone().into()).is_ok(), "{out}");
    out
}

fn check(text: &str, added: &Added<'_>, want: &str) {
    let message = Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap();
    let want = want.replace("$SAID", SAID);
    assert_eq!(made(text, &request(&message, added)), want);
}

#[test]
fn a_request_says_who_asks_and_keeps_its_bytes() {
    let introduction = client();
    let plain = Added {
        id: b"7",
        introduction: &introduction,
        level: None,
        responses: None,
        state: None,
    };
    for (text, want) in [
        (
            r#"{"jsonrpc":"2.0","id":"a","method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"_meta":{$SAID}}}"#,
        ),
        (
            r#"{"method":"m" , "id":1.0,"jsonrpc":"2.0"}"#,
            r#"{"method":"m","params":{"_meta":{$SAID}} , "id":7,"jsonrpc":"2.0"}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":null}"#,
            r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"_meta":{$SAID}}}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{ }}"#,
            r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"_meta":{$SAID} }}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"name":"t","arguments":{"n":12345678901234567890}}}"#,
            r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"_meta":{$SAID},"name":"t","arguments":{"n":12345678901234567890}}}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{}}}"#,
            r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"_meta":{$SAID}}}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":1,"_meta":null}}"#,
            r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"a":1,"_meta":{$SAID}}}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{"traceparent":"00", "progressToken":"t"},"a":1}}"#,
            r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"_meta":{$SAID,"traceparent":"00", "progressToken":7},"a":1}}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":[1]}"#,
            r#"{"jsonrpc":"2.0","id":7,"method":"m","params":[1]}"#,
        ),
    ] {
        check(text, &plain, want);
    }
    // What a client says where it can't know what it means is said once all the same.
    check(
        r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{"io.modelcontextprotocol/clientCapabilities":{"sampling":{}}}}}"#,
        &plain,
        r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c", "n":1.0},"io.modelcontextprotocol/clientCapabilities":{"roots":{},"x":1e400}}}}"#,
    );
    let logging = Added {
        level: Some(Level::Warning),
        ..plain
    };
    check(
        r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#,
        &logging,
        r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"_meta":{$SAID,"io.modelcontextprotocol/logLevel":"warning"}}}"#,
    );
}

#[test]
fn a_request_is_sent_again_with_what_the_server_asked_for() {
    let introduction = client();
    let again = Added {
        id: b"8",
        introduction: &introduction,
        level: None,
        responses: Some(br#"{"k":{"action":"accept"}}"#),
        state: Some(br#""\u0073""#),
    };
    check(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","_meta":{"progressToken":5}}}"#,
        &again,
        r#"{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"inputResponses":{"k":{"action":"accept"}},"requestState":"\u0073","name":"t","_meta":{$SAID,"progressToken":8}}}"#,
    );
    check(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"requestState":"own"}}"#,
        &again,
        r#"{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"_meta":{$SAID},"inputResponses":{"k":{"action":"accept"}},"requestState":"\u0073"}}"#,
    );
    let without = Added {
        responses: None,
        ..again
    };
    check(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#,
        &without,
        r#"{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"_meta":{$SAID},"requestState":"\u0073"}}"#,
    );
}

#[test]
fn what_a_client_says_of_itself_has_a_limit_and_no_tasks() {
    let long = format!(
        r#"{{"clientInfo":{{"name":"{}"}}}}"#,
        "x".repeat(MAX_INTRODUCTION)
    );
    assert!(Introduction::of(long.as_bytes()).is_err());
    let own = Introduction::own().members();
    for params in ["{}", "null", r#"{"clientInfo":1,"capabilities":[]}"#] {
        assert_eq!(Introduction::of(params.as_bytes()).unwrap().members(), own);
    }
    let params = b"{\"capabilities\":{\"tasks\":{},\n\"extensions\":{\"io.modelcontextprotocol/tasks\":{},\"x/y\":{}}}}";
    let said = Introduction::of(params).unwrap().members();
    assert!(
        said.ends_with(r#""io.modelcontextprotocol/clientCapabilities":{"extensions":{"x/y":{}}}"#),
        "{said}"
    );
}

#[test]
fn a_result_loses_what_only_modern_ones_have() {
    for (result, want) in [
        (
            r#"{"resultType":"complete","content":[{"resultType":1}],"_meta":{"ttlMs":1}}"#,
            r#"{"content":[{"resultType":1}],"_meta":{"ttlMs":1}}"#,
        ),
        (
            r#"{"tools":[1.0, 1e400], "ttlMs":0,"cacheScope":"private","resultType" : "complete"}"#,
            r#"{"tools":[1.0, 1e400]}"#,
        ),
        (r#"{"content":[]}"#, r#"{"content":[]}"#),
        ("7", "7"),
    ] {
        let Answer::Complete(cuts) = answer(&Bytes::from_static(result.as_bytes())) else {
            panic!("{result} is complete");
        };
        let mut edits: Vec<_> = cuts
            .into_iter()
            .map(|span| Edit { span, with: b"" })
            .collect();
        let mut out = Vec::new();
        splice(&mut out, result.as_bytes(), &mut edits);
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }
}

#[test]
fn what_is_no_answer_yet_is_told_apart() {
    let result = br#"{"resultType":"input_required","requestState":"\u0061","inputRequests":{"a":{"method":"roots/list"}, "b\u0022" : {"params":{"n":1.0},"method":"elicitation/create"}}}"#;
    let Answer::InputRequired(input) = answer(&Bytes::from_static(result)) else {
        panic!("it asks for input");
    };
    assert_eq!(input.state.as_deref(), Some(&br#""\u0061""#[..]));
    let asked: Vec<_> = input
        .requests
        .iter()
        .map(|request| (&*request.key, &*request.method, request.params.as_deref()))
        .collect();
    assert_eq!(
        asked,
        [
            (&br#""a""#[..], "roots/list", None),
            (
                br#""b\u0022""#,
                "elicitation/create",
                Some(&br#"{"n":1.0}"#[..])
            ),
        ]
    );
}

#[test]
fn a_result_that_nothing_can_be_made_of_is_said_to_be_one() {
    let many: Vec<String> = (0..=MAX_REQUESTS)
        .map(|n| format!(r#""{n}":{{"method":"roots/list"}}"#))
        .collect();
    let many = format!(
        r#"{{"resultType":"input_required","inputRequests":{{{}}}}}"#,
        many.join(",")
    );
    for (result, want) in [
        (r#"{"resultType":"task"}"#, "unknown type task"),
        (r#"{"resultType":7}"#, "unknown type 7"),
        (r#"{"resultType":"input_required"}"#, "for nothing"),
        (
            r#"{"resultType":"input_required","inputRequests":{},"requestState":null}"#,
            "for nothing",
        ),
        (
            r#"{"resultType":"input_required","inputRequests":[]}"#,
            "no object",
        ),
        (
            r#"{"resultType":"input_required","inputRequests":{"a":{"method":7}}}"#,
            "by which method",
        ),
        (
            r#"{"resultType":"input_required","inputRequests":{"a":{"method":"m"},"\u0061":{"method":"m"}}}"#,
            "under one name",
        ),
        (&many, "more than 32"),
    ] {
        let Answer::Invalid(text) = answer(&Bytes::copy_from_slice(result.as_bytes())) else {
            panic!("{result} is nothing");
        };
        assert!(text.contains(want), "{text} for {result}");
    }
}

#[test]
fn errors_have_the_codes_that_a_legacy_client_knows() {
    for (code, reading, want) in [
        (-32602, true, Some(-32002)),
        (-32602, false, None),
        (-32020, false, Some(-32603)),
        (-32021, true, Some(-32603)),
        (-32099, false, Some(-32603)),
        (-32601, true, None),
        (-32000, true, None),
    ] {
        let object = format!(r#"{{"message":"m","code":{code}}}"#);
        let got = error_code(object.as_bytes(), reading);
        assert_eq!(got.map(|(_, code)| code), want, "{code}");
        if let Some((place, _)) = got {
            assert_eq!(place.of(object.as_bytes()), code.to_string().as_bytes());
        }
    }
    assert_eq!(error_code(br#"{"code":"x"}"#, true), None);
}

#[test]
fn what_is_discovered_makes_an_initialize_result() {
    for (result, want) in [
        (
            r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true},"extensions":{"io.modelcontextprotocol/tasks":{},"x/y":{}}},"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s", "version":"1.0"},"v":1.0},"instructions":"\ud800","ttlMs":5,"cacheScope":"public","x":1e400}"#,
            r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"extensions":{"x/y":{}}},"serverInfo":{"name":"s", "version":"1.0"},"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s", "version":"1.0"},"v":1.0},"instructions":"\ud800","x":1e400}"#,
        ),
        (
            r#"{"supportedVersions":["2026-07-28"]}"#,
            r#"{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"b","version":""}}"#,
        ),
    ] {
        let got = initialize_result(result.as_bytes(), "b");
        assert_eq!(String::from_utf8(got).unwrap(), want);
    }
}

#[test]
fn versions_are_a_list_of_names() {
    for (text, modern, legacy) in [
        (r#"{"v":["2026-07-28"]}"#, true, false),
        (r#"{"v":["2025-11-25","2026-07-28"]}"#, true, true),
        (r#"{"v":["2024-11-05", "x"]}"#, false, true),
        (r#"{"v":["2027-01-01"]}"#, false, false),
        (r#"{"v":[]}"#, false, false),
    ] {
        let versions = Versions::read(text.as_bytes(), "v").unwrap();
        assert_eq!(
            (versions.has_modern(), versions.has_legacy()),
            (modern, legacy),
            "{text}"
        );
    }
    for text in [r#"{"v":"2026-07-28"}"#, r#"{"v":[1]}"#, "{}", "[]"] {
        assert_eq!(Versions::read(text.as_bytes(), "v"), None, "{text}");
    }
}
