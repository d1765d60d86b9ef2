use super::*;

fn text(body: Body) -> String {
    String::from_utf8(body.into_bytes().to_vec()).unwrap()
}

#[test]
fn a_request_loses_what_the_protocol_says_of_it_and_keeps_the_rest() {
    for (given, want) in [
        (
            r#"{"jsonrpc":"2.0","id":1.0,"method":"tools/call","params":{"name":"a","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","traceparent":"00-1","io.modelcontextprotocol/clientCapabilities":{"x":{}},"progressToken":7, "vendor/x":1e400,"io.modelcontextprotocol/clientInfo":{},"io.modelcontextprotocol/logLevel":"info"},"arguments":{"n":12345678901234567890}}}"#,
            r#"{"jsonrpc":"2.0","id":1.0,"method":"tools/call","params":{"name":"a","_meta":{"traceparent":"00-1","progressToken":7,"vendor/x":1e400},"arguments":{"n":12345678901234567890}}}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{}}}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"inputResponses":{"a":{}},"name":"x","_meta":{"io.modelcontextprotocol/protocolVersion":"v"},"requestState":"s"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"name":"x","_meta":{}}}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#,
        ),
    ] {
        let message = Message::parse(Bytes::from_static(given.as_bytes())).unwrap();
        assert_eq!(request(message).text(), want);
    }
}

#[test]
fn a_result_gains_its_type_and_how_long_it_is_fresh() {
    for (given, freshness, want) in [
        (
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#,
            Freshness::None,
            r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","content":[]}}"#,
        ),
        (
            r#"{"result": { },"id":1,"jsonrpc":"2.0"}"#,
            Freshness::Stale,
            r#"{"result": {"resultType":"complete","ttlMs":0,"cacheScope":"private" },"id":1,"jsonrpc":"2.0"}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"resultType":1}],"ttlMs":5}}"#,
            Freshness::Stale,
            r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","cacheScope":"private","tools":[{"resultType":1}],"ttlMs":5}}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"task"}}"#,
            Freshness::None,
            r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"task"}}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"result":7}"#,
            Freshness::None,
            r#"{"jsonrpc":"2.0","id":1,"result":7}"#,
        ),
    ] {
        let answer = Answer::translated(Bytes::from_static(given.as_bytes()).into(), freshness);
        assert_eq!(answer.error, None);
        assert_eq!(text(answer.body), want);
    }
}

#[test]
fn a_large_result_is_not_copied() {
    let large = format!(
        r#"{{"jsonrpc":"2.0","result":{{"text":"{}"}},"id":1}}"#,
        "x".repeat(20_000)
    );
    let message = Message::parse(Bytes::from(large.clone())).unwrap();
    let body = message.replacing(message.envelope().id.unwrap(), b"\"mine\"");
    let last = body.pieces()[0].as_ptr_range().end;
    let answer = Answer::translated(body, Freshness::None);
    assert_eq!(answer.body.pieces()[1].as_ptr_range().end, last);
    let want = large
        .replace(r#""result":{"#, r#""result":{"resultType":"complete","#)
        .replace(r#""id":1"#, r#""id":"mine""#);
    assert_eq!(text(answer.body), want);
}

#[test]
fn errors_have_codes_that_the_revision_knows() {
    for (code, want) in [
        (-32002, -32602),
        (-32042, -32603),
        (-32021, -32603),
        (-32601, -32601),
        (-31001, -31001),
        (-32000, -32000),
    ] {
        let given = format!(
            r#"{{"jsonrpc":"2.0","id":1,"error":{{"message":"no","code":{code},"data":1.0}}}}"#
        );
        let answer = Answer::translated(Bytes::from(given.clone()).into(), Freshness::Stale);
        assert_eq!(answer.error, Some(want));
        assert_eq!(
            text(answer.body),
            given.replace(&code.to_string(), &want.to_string())
        );
        let answer = Answer::untouched(Bytes::from(given.clone()).into());
        assert_eq!((answer.error, text(answer.body)), (Some(code), given));
    }
}

#[test]
fn a_handshake_tells_what_can_be_discovered() {
    let result = br#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"tasks":{}},"serverInfo":{"name":"s","version":"1.0"},"instructions":"\ud800","_meta":{"v":1.0},"x":1e400}"#;
    let want = r#"{"resultType":"complete","ttlMs":0,"cacheScope":"private","supportedVersions":["2026-07-28","2025-11-25","2025-06-18","2025-03-26","2024-11-05"],"_meta":{"v":1.0,"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1.0"}},"capabilities":{"tools":{"listChanged":true}},"instructions":"\ud800","x":1e400}"#;
    assert_eq!(discovered(result), want);
}

#[test]
fn a_notification_carries_the_request_that_it_belongs_to() {
    const KEY: &str = "io.modelcontextprotocol/subscriptionId";
    for (given, want) in [
        (
            r#"{"jsonrpc":"2.0","method":"m"}"#,
            format!(r#"{{"jsonrpc":"2.0","method":"m","params":{{"_meta":{{"{KEY}":"a"}}}}}}"#),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"m","params":{"uri":"x:","n":1.0}}"#,
            format!(
                r#"{{"jsonrpc":"2.0","method":"m","params":{{"_meta":{{"{KEY}":"a"}},"uri":"x:","n":1.0}}}}"#
            ),
        ),
        (
            r#"{"params":{"_meta":{"v":1}},"method":"m","jsonrpc":"2.0"}"#,
            format!(
                r#"{{"params":{{"_meta":{{"{KEY}":"a","v":1}}}},"method":"m","jsonrpc":"2.0"}}"#
            ),
        ),
        (
            r#"{"params":{"_meta":{"io.modelcontextprotocol/subscriptionId":7}},"method":"m","jsonrpc":"2.0"}"#,
            format!(r#"{{"params":{{"_meta":{{"{KEY}":"a"}}}},"method":"m","jsonrpc":"2.0"}}"#),
        ),
    ] {
        let message = Message::parse(Bytes::from_static(given.as_bytes())).unwrap();
        assert_eq!(text(stamped(&message, b"\"a\"")), want);
    }
}
