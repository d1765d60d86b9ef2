use bytes::Bytes;

use super::*;

const DISCOVERED: &str =
    r#""result":{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{}}"#;
const UNKNOWN: &str = r#""error":{"code":-32601,"message":"no method"}"#;

fn answer(outcome: &str) -> Message {
    let text = format!(r#"{{"jsonrpc":"2.0","id":1,{outcome}}}"#);
    Message::parse(Bytes::from(text)).unwrap()
}

fn handshake() -> Result<Handshake, String> {
    Handshake::read(&answer(
        r#""result":{"protocolVersion":"2025-06-18","capabilities":{}}"#,
    ))
}

/// What comes next, and the era, in short.
fn told(discovery: &Discovery, next: &Next) -> String {
    match next {
        Next::Wait => "wait".to_owned(),
        Next::Initialize => "initialize".to_owned(),
        Next::Ready(handshake) => {
            assert_eq!(discovery.era(), Some(handshake.era()));
            format!("{} {}", handshake.era().label(), handshake.spoken())
        }
        Next::Fail(reason) => format!("fail: {reason}"),
    }
}

#[test]
fn what_a_server_says_to_discover_tells_its_era() {
    for (outcome, want, pinned) in [
        (DISCOVERED, "modern 2026-07-28", "modern 2026-07-28"),
        (
            UNKNOWN,
            "initialize",
            "fail: it is no server of era: modern: it answered server/discover with the error {\"code\":-32601",
        ),
        (
            r#""error":{"code":-32602,"message":"m"}"#,
            "initialize",
            "fail: it is no server",
        ),
        (
            r#""error":{"code":-32000}"#,
            "initialize",
            "fail: it is no server",
        ),
        (r#""error":7"#, "initialize", "fail: it is no server"),
        (
            r#""result":{"protocolVersion":"2025-06-18","capabilities":{}}"#,
            "initialize",
            "fail: it is no server",
        ),
        (
            r#""result":{"supportedVersions":"2026-07-28"}"#,
            "initialize",
            "fail: it is no server",
        ),
        (
            r#""result":{"supportedVersions":["2025-11-25"]}"#,
            "initialize",
            "fail: it is no server of era: modern: it speaks the revisions [\"2025-11-25\"]",
        ),
        (
            r#""result":{"supportedVersions":["2027-01-01"]}"#,
            "fail: it speaks the revisions [\"2027-01-01\"] only",
            "fail: it speaks the revisions [\"2027-01-01\"] only",
        ),
        (
            r#""error":{"code":-32022,"message":"m","data":{"supported":["2025-11-25"]}}"#,
            "initialize",
            "fail: it is no server",
        ),
        (
            r#""error":{"code":-32022,"message":"m","data":{"supported":["2027-01-01"]}}"#,
            "fail: it speaks the revisions [\"2027-01-01\"] only",
            "fail: it speaks the revisions [\"2027-01-01\"] only",
        ),
        (
            r#""error":{"code":-32021,"message":"m"}"#,
            "fail: it answered server/discover with the error {\"code\":-32021",
            "fail: it answered server/discover with the error {\"code\":-32021",
        ),
    ] {
        let now = Instant::now();
        for (opening, want) in [(Opening::Discover, want), (Opening::DiscoverOnly, pinned)] {
            let mut discovery = Discovery::new(opening, now);
            let next = discovery.discovered(&answer(outcome), "b");
            let got = told(&discovery, &next);
            assert!(got.starts_with(want), "{got} for {outcome}, {opening:?}");
        }
    }
}

#[test]
fn a_silent_server_is_initialised_unless_it_is_said_to_be_modern() {
    let now = Instant::now();
    let mut discovery = Discovery::new(Opening::Discover, now);
    assert_eq!(discovery.due(), Some(now + SILENCE));
    assert_eq!(discovery.method(), "server/discover");
    for (at, want) in [
        (Duration::from_millis(2999), "wait"),
        (SILENCE, "initialize"),
    ] {
        let next = discovery.tick(now + at);
        assert_eq!(told(&discovery, &next), want);
    }
    assert_eq!((discovery.due(), discovery.method()), (None, "initialize"));
    let next = discovery.initialized(handshake(), now + SILENCE);
    assert_eq!(told(&discovery, &next), "legacy 2025-06-18");
    let next = discovery.discovered(&answer(DISCOVERED), "b");
    assert_eq!(told(&discovery, &next), "wait");
    assert_eq!(discovery.era(), Some(Era::Legacy));

    let mut pinned = Discovery::new(Opening::DiscoverOnly, now);
    assert_eq!(pinned.due(), None);
    assert!(matches!(pinned.tick(now + 10 * SILENCE), Next::Wait));
}

#[test]
fn a_server_that_is_late_and_refuses_to_be_initialised_is_modern() {
    let refusal = || Err("it answered initialize with the error 7".to_owned());
    let now = Instant::now();
    let silent = || {
        let mut discovery = Discovery::new(Opening::Discover, now);
        assert!(matches!(discovery.tick(now + SILENCE), Next::Initialize));
        discovery
    };
    // In either order.
    let mut discovery = silent();
    let next = discovery.discovered(&answer(DISCOVERED), "b");
    assert_eq!(told(&discovery, &next), "wait");
    let next = discovery.initialized(refusal(), now);
    assert_eq!(told(&discovery, &next), "modern 2026-07-28");

    let mut discovery = silent();
    let next = discovery.initialized(refusal(), now);
    assert_eq!(told(&discovery, &next), "wait");
    assert_eq!(discovery.due(), Some(now + SILENCE));
    let next = discovery.discovered(&answer(DISCOVERED), "b");
    assert_eq!(told(&discovery, &next), "modern 2026-07-28");

    // Without it, the refusal counts.
    let mut discovery = silent();
    assert!(matches!(discovery.initialized(refusal(), now), Next::Wait));
    let next = discovery.discovered(&answer(UNKNOWN), "b");
    assert_eq!(
        told(&discovery, &next),
        "fail: it answered initialize with the error 7"
    );
    let mut discovery = silent();
    assert!(matches!(discovery.initialized(refusal(), now), Next::Wait));
    assert!(matches!(discovery.tick(now), Next::Wait));
    let next = discovery.tick(now + SILENCE);
    assert_eq!(
        told(&discovery, &next),
        "fail: it answered initialize with the error 7"
    );
    let mut discovery = silent();
    assert!(matches!(
        discovery.discovered(&answer(UNKNOWN), "b"),
        Next::Wait
    ));
    let next = discovery.initialized(refusal(), now);
    assert_eq!(
        told(&discovery, &next),
        "fail: it answered initialize with the error 7"
    );

    // A server of both eras that was initialised after all speaks as it was spoken to.
    let mut discovery = silent();
    assert!(matches!(
        discovery.discovered(&answer(DISCOVERED), "b"),
        Next::Wait
    ));
    let next = discovery.initialized(handshake(), now);
    assert_eq!(told(&discovery, &next), "legacy 2025-06-18");
}

#[test]
fn an_exit_is_laid_to_the_question_only_while_it_is_open() {
    let now = Instant::now();
    let mut discovery = Discovery::new(Opening::Discover, now);
    assert!(discovery.may_have_hurt());
    discovery.tick(now + SILENCE);
    assert!(discovery.may_have_hurt());
    discovery.discovered(&answer(UNKNOWN), "b");
    assert!(!discovery.may_have_hurt());
    for opening in [Opening::Initialize, Opening::DiscoverOnly] {
        assert!(!Discovery::new(opening, now).may_have_hurt());
    }
}
