use super::*;

fn answer_to(call: &[u8]) -> String {
    let call = std::str::from_utf8(call).unwrap();
    let id = call
        .split(r#""id":"#)
        .nth(1)
        .unwrap()
        .split(',')
        .next()
        .unwrap();
    let text = call
        .split(r#""text":""#)
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    format!(
        r#"{{"result":{{"content":[{{"type":"text","text":"{text}"}}]}},"jsonrpc":"2.0","id":{id}}}"#
    )
}

#[test]
fn an_own_answer_is_accepted_once() {
    let now = Instant::now();
    let mut ledger = Ledger::new(&Shape::new(64, 0, Meta::None), 3, 1, 1);
    let mut call = Vec::new();
    ledger.call(&mut call, 7, now);
    let answer = answer_to(&call);
    let right = Verdict::Answered {
        lane: 7,
        latency: Duration::ZERO,
        lost: 0,
    };
    assert_eq!(ledger.settle(answer.as_bytes(), now), right);
    assert!(matches!(
        ledger.settle(answer.as_bytes(), now),
        Verdict::Wrong { lane: None, .. }
    ));
    assert_eq!(ledger.open(), 0);
}

#[test]
fn an_equal_id_of_another_session_is_wrong() {
    let now = Instant::now();
    let shape = Shape::new(64, 0, Meta::None);
    let (mut one, mut two) = (Ledger::new(&shape, 1, 1, 1), Ledger::new(&shape, 2, 1, 1));
    let (mut call, mut other) = (Vec::new(), Vec::new());
    one.call(&mut call, 0, now);
    two.call(&mut other, 0, now);
    assert!(matches!(
        one.settle(answer_to(&other).as_bytes(), now),
        Verdict::Wrong { lane: Some(0), .. }
    ));
}

#[test]
fn a_changed_or_cut_text_is_wrong() {
    let now = Instant::now();
    let spoilers = [
        ("xx\"", "xy\""),
        ("xx\"", "x\""),
        ("xx\"", "xxx\""),
        ("-000001-", "-000002-"),
        ("-x", "\"x"),
    ];
    for (bytes, (from, to)) in [40, 4096]
        .into_iter()
        .flat_map(|bytes| spoilers.map(|spoiler| (bytes, spoiler)))
    {
        let mut ledger = Ledger::new(&Shape::new(bytes, 0, Meta::None), 1, 1, 1);
        let mut call = Vec::new();
        ledger.call(&mut call, 0, now);
        let spoiled = answer_to(&call).replacen(from, to, 1);
        let verdict = ledger.settle(spoiled.as_bytes(), now);
        assert!(
            matches!(verdict, Verdict::Wrong { .. }),
            "{bytes} bytes, {from} to {to}: {verdict:?}"
        );
    }
}

#[test]
fn a_long_answer_is_accepted_in_any_spelling() {
    let now = Instant::now();
    for (from, to) in [
        ("", ""),
        ("\"text\":", "\"text\" : "),
        ("xx\"", "x\\u0078\""),
    ] {
        let mut ledger = Ledger::new(&Shape::new(4096, 0, Meta::None), 1, 1, 1);
        let mut call = Vec::new();
        ledger.call(&mut call, 0, now);
        let answer = answer_to(&call).replacen(from, to, 1);
        let verdict = ledger.settle(answer.as_bytes(), now);
        assert!(
            matches!(verdict, Verdict::Answered { .. }),
            "{from} to {to}: {verdict:?}"
        );
    }
}

#[test]
fn a_call_says_in_meta_what_it_has_to() {
    let version = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#;
    for (progress, meta, has_token, is_stateless) in [
        (0, Meta::None, false, false),
        (0, Meta::Token, true, false),
        (3, Meta::None, true, false),
        (0, Meta::Stateless, false, true),
        (3, Meta::Stateless, true, true),
    ] {
        let mut call = Vec::new();
        Ledger::new(&Shape::new(64, progress, meta), 1, 1, 1).call(&mut call, 0, Instant::now());
        let call = String::from_utf8(call).unwrap();
        serde_json::from_str::<serde::de::IgnoredAny>(&call).unwrap();
        let says = (
            call.contains(r#""progressToken":1"#),
            call.contains(version),
        );
        assert_eq!(says, (has_token, is_stateless), "{call}");
    }
}

#[test]
fn errors_are_refusals_and_missing_progress_is_counted() {
    let now = Instant::now();
    let mut ledger = Ledger::new(&Shape::new(29, 3, Meta::None), 1, 5, 5);
    let mut call = Vec::new();
    ledger.call(&mut call, 0, now);
    ledger.call(&mut Vec::new(), 1, now);
    let progress =
        br#"{"method":"notifications/progress","params":{"progressToken":5,"progress":1}}"#;
    assert_eq!(ledger.settle(progress, now), Verdict::Progress);
    let foreign =
        br#"{"method":"notifications/progress","params":{"progressToken":6,"progress":1}}"#;
    assert!(matches!(ledger.settle(foreign, now), Verdict::Wrong { .. }));
    let verdict = ledger.settle(answer_to(&call).as_bytes(), now);
    assert_eq!(
        verdict,
        Verdict::Answered {
            lane: 0,
            latency: Duration::ZERO,
            lost: 2
        }
    );
    let error = br#"{"id":10,"error":{"code":-31001,"message":"gone"}}"#;
    assert!(matches!(
        ledger.settle(error, now),
        Verdict::Refused { lane: 1, .. }
    ));
}
