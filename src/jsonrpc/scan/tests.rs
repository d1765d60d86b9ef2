use proptest::prelude::{Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};
use serde::de::IgnoredAny;

use super::{
    Envelope, MAX_DEPTH, MAX_ID, ScanError, Scanner, Span, array_elements, member, members, scan,
    string_value,
};

fn is_json(text: &[u8]) -> Result<(), ScanError> {
    let mut scanner = Scanner::new(text)?;
    scanner.whitespace();
    scanner.value()?;
    scanner.end()
}

/// The parts of an envelope as text, in the order of their names.
fn parts(text: &str) -> Vec<(&'static str, String)> {
    let envelope = scan(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
    let Envelope {
        id,
        method,
        params,
        result,
        error,
        meta,
        meta_progress_token,
        related_task,
        meta_version,
        meta_client,
        meta_capabilities,
        meta_level,
        subscription_id,
        progress_token,
        request_id,
        uri,
        level,
        name,
        input_responses,
        request_state,
        has_line_break: _,
        has_other_meta: _,
        has_odd_method: _,
    } = envelope;
    [
        ("id", id),
        ("method", method),
        ("params", params),
        ("result", result),
        ("error", error),
        ("meta", meta),
        ("meta token", meta_progress_token),
        ("task", related_task),
        ("version", meta_version),
        ("client", meta_client),
        ("capabilities", meta_capabilities),
        ("log level", meta_level),
        ("subscription", subscription_id),
        ("token", progress_token),
        ("request id", request_id),
        ("uri", uri),
        ("level", level),
        ("name", name),
        ("responses", input_responses),
        ("state", request_state),
    ]
    .into_iter()
    .filter_map(|(name, span)| {
        let part = span?.of(text.as_bytes());
        Some((name, String::from_utf8_lossy(part).into_owned()))
    })
    .collect()
}

#[test]
fn every_part_of_an_envelope_is_found_where_it_stands() {
    for (text, want) in [
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
            &[("id", "1"), ("method", "\"ping\"")][..],
        ),
        (
            " {\t\"method\" :\r\n \"a\\u002fb\" , \"jsonrpc\" : \"2.0\" } \n",
            &[("method", "\"a\\u002fb\"")],
        ),
        (
            r#"{"\u0069d":"\u0069","jsonrpc":"2.0","m\u0065thod":"x"}"#,
            &[("id", r#""\u0069""#), ("method", "\"x\"")],
        ),
        (
            r#"{"x":{"id":2,"method":[{"params":1}]},"jsonrpc":"2.0","id":-0,"result":{"id":3,"_meta":{"progressToken":4}}}"#,
            &[
                ("id", "-0"),
                ("result", r#"{"id":3,"_meta":{"progressToken":4}}"#),
            ],
        ),
        (
            r#"{"jsonrpc":"2.0","id":1e400,"error":{"code":1}}"#,
            &[("id", "1e400"), ("error", r#"{"code":1}"#)],
        ),
        (
            r#"{"jsonrpc":"2.0","id":null,"error":null}"#,
            &[("id", "null"), ("error", "null")],
        ),
        (
            r#"{"params":{"_meta":{"a":1,"progressToken":"t"},"name":"n","uri":"u","level":"l","requestId":7,"progressToken":8},"method":"m","id":"","jsonrpc":"2.0"}"#,
            &[
                ("id", "\"\""),
                ("method", "\"m\""),
                (
                    "params",
                    r#"{"_meta":{"a":1,"progressToken":"t"},"name":"n","uri":"u","level":"l","requestId":7,"progressToken":8}"#,
                ),
                ("meta", r#"{"a":1,"progressToken":"t"}"#),
                ("meta token", "\"t\""),
                ("token", "8"),
                ("request id", "7"),
                ("uri", "\"u\""),
                ("level", "\"l\""),
                ("name", "\"n\""),
            ],
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"inputResponses":{},"requestState":"s","_meta":{"io.modelcontextprotocol/protocolVersion":"v","io.modelcontextprotocol/x":0,"io.modelcontextprotocol/clientInfo":1,"io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/logLevel":"l","io.modelcontextprotocol/subscriptionId":2}}}"#,
            &[
                ("id", "1"),
                ("method", "\"m\""),
                (
                    "params",
                    r#"{"inputResponses":{},"requestState":"s","_meta":{"io.modelcontextprotocol/protocolVersion":"v","io.modelcontextprotocol/x":0,"io.modelcontextprotocol/clientInfo":1,"io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/logLevel":"l","io.modelcontextprotocol/subscriptionId":2}}"#,
                ),
                (
                    "meta",
                    r#"{"io.modelcontextprotocol/protocolVersion":"v","io.modelcontextprotocol/x":0,"io.modelcontextprotocol/clientInfo":1,"io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/logLevel":"l","io.modelcontextprotocol/subscriptionId":2}"#,
                ),
                ("version", "\"v\""),
                ("client", "1"),
                ("capabilities", "{}"),
                ("log level", "\"l\""),
                ("subscription", "2"),
                ("responses", "{}"),
                ("state", "\"s\""),
            ],
        ),
        (
            r#"{"jsonrpc":"2.0","id":12345678901234567890,"method":"m","params":{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"x"},"progressToken":null}}}"#,
            &[
                ("id", "12345678901234567890"),
                ("method", "\"m\""),
                (
                    "params",
                    r#"{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"x"},"progressToken":null}}"#,
                ),
                (
                    "meta",
                    r#"{"io.modelcontextprotocol/related-task":{"taskId":"x"},"progressToken":null}"#,
                ),
                ("task", r#"{"taskId":"x"}"#),
            ],
        ),
        (
            r#"{"jsonrpc":"2.0","method":"m","params":[{"_meta":{"progressToken":1}},"uri"]}"#,
            &[
                ("method", "\"m\""),
                ("params", r#"[{"_meta":{"progressToken":1}},"uri"]"#),
            ],
        ),
        (
            r#"{"jsonrpc":"2.0","method":"m","params":{"_meta":[1],"arguments":{"name":1,"_meta":{"progressToken":2}}}}"#,
            &[
                ("method", "\"m\""),
                (
                    "params",
                    r#"{"_meta":[1],"arguments":{"name":1,"_meta":{"progressToken":2}}}"#,
                ),
                ("meta", "[1]"),
            ],
        ),
    ] {
        let want: Vec<(&str, String)> = want
            .iter()
            .map(|(name, part)| (*name, (*part).to_owned()))
            .collect();
        assert_eq!(parts(text), want, "{text}");
    }
}

#[test]
fn what_is_no_json_is_refused_at_its_first_wrong_byte() {
    for (text, want) in [
        ("", (0, "end of text")),
        ("   ", (3, "end of text")),
        ("nul", (3, "end of text")),
        ("nulL", (3, "'L'")),
        ("True", (0, "'T'")),
        ("NaN", (0, "'N'")),
        ("{", (1, "end of text")),
        ("{]", (1, "']'")),
        ("[}", (1, "'}'")),
        ("[1", (2, "end of text")),
        ("[1}", (2, "'}'")),
        ("[1,]", (3, "']'")),
        ("[,1]", (1, "','")),
        ("[1 2]", (3, "'2'")),
        (r#"{"a":1,}"#, (7, "'}'")),
        (r#"{"a" 1}"#, (5, "'1'")),
        (r#"{"a":}"#, (5, "'}'")),
        (r#"{a:1}"#, (1, "'a'")),
        (r#"{"a":1 "b":2}"#, (7, "'\"'")),
        (r#"{1:2}"#, (1, "'1'")),
        ("{} {}", (3, "'{'")),
        ("{}x", (2, "'x'")),
        ("01", (1, "'1'")),
        ("-", (1, "end of text")),
        ("-a", (1, "'a'")),
        ("+1", (0, "'+'")),
        (".5", (0, "'.'")),
        ("1.", (2, "end of text")),
        ("1.e2", (2, "'e'")),
        ("1e", (2, "end of text")),
        ("1e+", (3, "end of text")),
        ("0x10", (1, "'x'")),
        ("\"", (1, "end of text")),
        (r#""\"#, (2, "end of text")),
        (r#""\x""#, (2, "'x'")),
        (r#""\u12g4""#, (5, "'g'")),
        (r#""\u12"#, (5, "end of text")),
        ("\"a\nb\"", (2, "byte 0x0a")),
        ("\"a\0\"", (2, "byte 0x00")),
        ("\"12345678\u{1f}\"", (9, "byte 0x1f")),
        ("'a'", (0, "'\\''")),
        ("\u{feff}{}", (0, "byte 0xef")),
        ("\u{a0}1", (0, "byte 0xc2")),
        ("// x\n1", (0, "'/'")),
        ("1\u{c}", (1, "byte 0x0c")),
    ] {
        let (at, found) = want;
        let found = found.into();
        assert_eq!(
            is_json(text.as_bytes()),
            Err(ScanError::Syntax { at, found }),
            "{text:?}"
        );
        assert!(
            serde_json::from_str::<IgnoredAny>(text).is_err(),
            "{text:?}"
        );
    }
}

#[test]
fn numbers_and_strings_of_every_spelling_are_json() {
    for text in [
        "0",
        "-0",
        "1.0",
        "1e400",
        "-1E-400",
        "0e0",
        "0.0e+0",
        "12345678901234567890123",
        "9007199254740993",
        r#""\ud800""#,
        r#""\udc00\ud800""#,
        r#""\"\\\/\b\f\n\r\t\u0000\uFFFF""#,
        "\"\u{7f}\u{2028}\u{10ffff}\"",
        " [ ] ",
        "{ }",
        r#"{"":{"":[[],{}]}}"#,
        r#"{"a":1,"a":2}"#,
    ] {
        assert_eq!(is_json(text.as_bytes()), Ok(()), "{text}");
    }
}

#[test]
fn a_message_that_is_json_but_not_json_rpc_says_why_and_keeps_a_usable_id() {
    let long = format!("\"{}\"", "x".repeat(MAX_ID - 1));
    let long_id = format!(r#"{{"jsonrpc":"2.0","id":{long},"method":"m"}}"#);
    let long_token = format!(
        r#"{{"jsonrpc":"2.0","id":5,"method":"m","params":{{"_meta":{{"progressToken":{long}}}}}}}"#
    );
    let members: String = (0..300).map(|n| format!(",\"m{n}\":0")).collect();
    let crowded = format!(r#"{{"jsonrpc":"2.0","id":5,"method":"m"{members}}}"#);
    for (text, reason, id) in [
        ("[]", "a JSON-RPC message is an object", None),
        ("1", "a JSON-RPC message is an object", None),
        (
            r#"{"id":5,"method":"m"}"#,
            r#"member "jsonrpc" must be "2.0""#,
            Some("5"),
        ),
        (
            r#"{"jsonrpc":2.0,"id":5}"#,
            r#"member "jsonrpc" must be "2.0""#,
            Some("5"),
        ),
        (
            r#"{"jsonrpc":"1.0","id":"a"}"#,
            r#"member "jsonrpc" must be "2.0""#,
            Some("\"a\""),
        ),
        (
            r#"{"jsonrpc":"2.0","id":5,"method":1}"#,
            r#"member "method" must be a string"#,
            Some("5"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":true,"method":"m"}"#,
            "an id is a string or a number of at most 1024 bytes",
            None,
        ),
        (
            r#"{"jsonrpc":"2.0","id":{},"method":"m"}"#,
            "an id is a string or a number of at most 1024 bytes",
            None,
        ),
        (
            r#"{"jsonrpc":"2.0","id":[1],"id":2,"method":"m"}"#,
            r#"member "id" is there twice"#,
            Some("2"),
        ),
        (
            long_id.as_str(),
            "an id is a string or a number of at most 1024 bytes",
            None,
        ),
        (
            long_token.as_str(),
            "a progress token has at most 1024 bytes",
            Some("5"),
        ),
        (
            crowded.as_str(),
            "a message has at most 256 unknown members",
            Some("5"),
        ),
    ] {
        let want = (reason.to_owned(), id);
        let got = refusal(text);
        assert_eq!((got.0, got.1.as_deref()), want, "{text}");
    }
}

/// Why `text` is refused, and the id to answer it with.
fn refusal(text: &str) -> (String, Option<String>) {
    match scan(text.as_bytes()) {
        Err(ScanError::Invalid { reason, id }) => {
            let id = id.map(|span| String::from_utf8_lossy(span.of(text.as_bytes())).into_owned());
            (reason.into_owned(), id)
        }
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn a_key_that_routing_acts_on_may_stand_once_however_it_is_spelled() {
    for (members, key) in [
        (r#""id":1,"id":1"#, "id"),
        (r#""id":1,"\u0069d":2"#, "id"),
        (r#""id":1,"method":"a","meth\u006fd":"b""#, "method"),
        (r#""id":1,"method":"a","params":{},"params":{}"#, "params"),
        (r#""id":1,"result":1,"result":1"#, "result"),
        (r#""id":1,"x":1,"y":2,"\u0078":1"#, "x"),
        (r#""jsonrpc":"2.0","id":1"#, "jsonrpc"),
        (r#""id":1,"params":{"uri":1,"ur\u0069":2}"#, "params.uri"),
        (r#""id":1,"params":{"name":1,"name":2}"#, "params.name"),
        (r#""id":1,"params":{"level":1,"level":2}"#, "params.level"),
        (
            r#""id":1,"params":{"requestId":1,"requestId":2}"#,
            "params.requestId",
        ),
        (
            r#""id":1,"params":{"progressToken":1,"progressToken":2}"#,
            "params.progressToken",
        ),
        (r#""id":1,"params":{"_meta":{},"_meta":{}}"#, "params._meta"),
        (
            r#""id":1,"params":{"_meta":{"progressToken":null,"progress\u0054oken":2}}"#,
            "params._meta.progressToken",
        ),
        // What a parser that ignores case takes for the same key.
        (r#""id":1,"params":{"NAME":1,"name":2}"#, "params.name"),
        (r#""id":1,"params":{"uri":1,"Uri":2}"#, "params.uri"),
        (
            r#""id":1,"params":{"re\u0051uestId":1,"requestid":2,"requestId":2}"#,
            "params.requestId",
        ),
    ] {
        let (reason, _) = refusal(&format!(r#"{{"jsonrpc":"2.0",{members}}}"#));
        assert_eq!(
            reason,
            format!("member \"{key}\" is there twice"),
            "{members}"
        );
    }
}

#[test]
fn a_key_in_another_case_may_not_stand_for_the_one_that_routing_reads() {
    for (members, reason) in [
        (r#""ID":7,"method":"m""#, r#"member "ID" is not "id""#),
        (
            r#""id":1,"I\u0064":7,"Method":"m""#,
            r#"member "Id" is not "id""#,
        ),
        (
            r#""id":1,"method":"m","param\u017f":{}"#,
            "member \"param\u{17f}\" is not \"params\"",
        ),
        (
            r#""id":1,"method":"m","params":{"_META":{}}"#,
            r#"member "_META" is not "params._meta""#,
        ),
        (
            r#""id":1,"method":"m","params":{"_meta":{"ProgressToken":7}}"#,
            r#"member "ProgressToken" is not "params._meta.progressToken""#,
        ),
        (
            "\"id\":1,\"method\":\"m\",\"params\":{\"_meta\":{\"progressTo\u{212a}en\":7}}",
            "member \"progressTo\u{212a}en\" is not \"params._meta.progressToken\"",
        ),
    ] {
        let got = refusal(&format!(r#"{{"jsonrpc":"2.0",{members}}}"#)).0;
        assert_eq!(got, reason, "{members}");
    }
    // Alone, where nothing is read, such keys are anybody's.
    let text = r#"{"jsonrpc":"2.0","id":1,"method":"x/y","params":{"Name":1,"URI":2,"arguments":{"ID":1,"_Meta":2}}}"#;
    assert!(scan(text.as_bytes()).is_ok());
}

#[test]
fn depth_128_is_read_and_depth_129_is_not() {
    let nested = |levels: usize, open: &str, close: &str| {
        let inner = format!("{}{}", open.repeat(levels - 1), close.repeat(levels - 1));
        let inner = if inner.is_empty() {
            "1".to_owned()
        } else {
            inner
        };
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":{inner}}}"#)
    };
    for (open, close) in [("[", "]"), ("{\"a\":[", "]}")] {
        let each = open.matches(['[', '{']).count();
        let levels = MAX_DEPTH as usize / each;
        let fits = nested(if each == 1 { levels } else { levels - 1 }, open, close);
        assert!(scan(fits.as_bytes()).is_ok(), "{open}");
        let deep = nested(levels + 1, open, close);
        assert!(
            matches!(scan(deep.as_bytes()), Err(ScanError::TooDeep { .. })),
            "{open}"
        );
    }
    for place in ["\"params\"", "\"params\":{\"_meta\"", "\"x\""] {
        let text = format!(
            r#"{{"jsonrpc":"2.0","method":"m",{place}:{}"#,
            "[".repeat(200_000)
        );
        let refused = scan(text.as_bytes());
        assert!(matches!(refused, Err(ScanError::TooDeep { .. })), "{place}");
    }
    // Siblings add nothing.
    let wide = format!("[{}[]]", "[[],{}],".repeat(10_000));
    assert_eq!(is_json(wide.as_bytes()), Ok(()));
}

#[test]
fn many_unknown_members_cost_no_quadratic_time() {
    let members: String = (0..50_000).map(|n| format!("\"{n}\":0,")).collect();
    let text = format!(r#"{{{members}"jsonrpc":"2.0","id":5,"method":"m"}}"#);
    assert_eq!(
        refusal(&text).0,
        "a message has at most 256 unknown members"
    );
}

#[test]
fn strings_end_where_they_end_at_every_offset_from_a_word() {
    for length in 0..40 {
        for at in 0..length {
            for special in [
                "\"", "\\", "\u{1}", "\u{1f}", "\u{20}", "\u{7f}", "é", "!", "#", "]",
            ] {
                let mut inner = "a".repeat(length);
                inner.replace_range(at..=at, special);
                let text = format!("\"{inner}\"");
                let serde = serde_json::from_str::<IgnoredAny>(&text).is_ok();
                assert_eq!(is_json(text.as_bytes()).is_ok(), serde, "{text:?}");
                let more = format!("[{text},\"{inner}\",1]");
                let serde = serde_json::from_str::<IgnoredAny>(&more).is_ok();
                assert_eq!(is_json(more.as_bytes()).is_ok(), serde, "{more:?}");
            }
        }
    }
}

#[test]
fn raw_line_breaks_between_tokens_are_noted() {
    for (text, want) in [
        (r#"{"jsonrpc":"2.0","id":1,"result":"\n"}"#, false),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\n1}", true),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":[1,\r[]]}", true),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"a\"\n:1}}",
            true,
        ),
        ("\r{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":1}", true),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":1}\n", true),
        ("{\"jsonrpc\":\"2.0\",\t\"id\":1,\"result\": 1}", false),
    ] {
        assert_eq!(
            scan(text.as_bytes()).unwrap().has_line_break,
            want,
            "{text:?}"
        );
    }
}

#[test]
fn members_elements_and_strings_are_read_from_slices() {
    let object = br#" {"a":1,"\u0062":[2],"a":3,"\ud800":4}"#;
    assert_eq!(member(object, "a").unwrap().of(object), b"1");
    assert_eq!(member(object, "b").unwrap().of(object), b"[2]");
    assert_eq!(member(object, "c"), None);
    assert_eq!(member(b"[1]", "a"), None);
    assert_eq!(member(br#"{"a":1"#, "a"), None);
    assert_eq!(members(object).len(), 4);
    assert!(members(b"1").is_empty());
    let array = br#"[ {"x":[1]} ,"a,b", 1.0]"#;
    let elements: Vec<&[u8]> = array_elements(array)
        .unwrap()
        .into_iter()
        .map(|span: Span| span.of(array))
        .collect();
    assert_eq!(elements, [br#"{"x":[1]}"#.as_slice(), br#""a,b""#, b"1.0"]);
    assert_eq!(array_elements(b"[]"), Ok(vec![]));
    assert!(array_elements(b"{}").is_err() && array_elements(b"[1]]").is_err());
    for (text, want) in [
        (r#""a\/b""#, Some("a/b")),
        (r#""é""#, Some("é")),
        (r#""\u00e9""#, Some("é")),
        (r#""\ud83d\ude00""#, Some("😀")),
        (r#""\ud800""#, None),
        ("1", None),
        ("\"", None),
    ] {
        assert_eq!(string_value(text.as_bytes()).as_deref(), want, "{text}");
    }
}

#[test]
fn what_ends_a_string_is_seen_at_every_place_of_a_long_one() {
    let plain = "é x\u{7f}ÿ~!#[]".repeat(30);
    for at in (0..plain.len()).filter(|&at| plain.is_char_boundary(at)) {
        let (before, behind) = plain.split_at(at);
        for (special, fits) in [
            ("\\n", true),
            ("\\\"", true),
            ("\"", false),
            ("\\x", false),
            ("\n", false),
            ("\u{1f}", false),
            ("\0", false),
        ] {
            let text = format!("\"{before}{special}{behind}\"");
            assert_eq!(is_json(text.as_bytes()).is_ok(), fits, "{text}");
        }
    }
}

/// JSON texts of every kind, with blanks between their tokens.
fn json() -> impl Strategy<Value = String> {
    let blank = prop::sample::select(vec!["", "", "", " ", "\n", "\t \r"]);
    let leaf = prop::sample::select(vec![
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1.50",
        "1e400",
        "-2E+7",
        "\"\"",
        "\"a\"",
        r#""\ud800""#,
        r#""\\\"\/\n""#,
        "\"é\u{2028}long enough for words\"",
        "[]",
        "{}",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(5, 40, 5, move |inner| {
        let spaced = (blank.clone(), inner, blank.clone())
            .prop_map(|(before, value, after)| format!("{before}{value}{after}"));
        let key = prop::sample::select(vec!["\"id\"", "\"\"", r#""\u0069d""#, "\"key\""]);
        prop_oneof![
            prop::collection::vec(spaced.clone(), 0..5)
                .prop_map(|values| format!("[{}]", values.join(","))),
            prop::collection::vec((key, spaced), 1..5).prop_map(|members| {
                let members: Vec<String> = members
                    .into_iter()
                    .map(|(key, value)| format!("{key}:{value}"))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn the_same_texts_are_json_here_as_for_serde_json(text in json()) {
        prop_assert_eq!(is_json(text.as_bytes()), Ok(()));
        serde_json::from_str::<IgnoredAny>(&text).unwrap();
    }

    #[test]
    fn the_same_broken_texts_are_refused_as_by_serde_json(
        text in json(),
        changes in prop::collection::vec(
            (any::<prop::sample::Index>(), 0..3u8, prop::sample::select(br#"{}[]:,"\0123eE+-.untflr /"#.to_vec())),
            1..4,
        ),
    ) {
        let mut text = text.into_bytes();
        for (at, how, byte) in changes {
            let at = at.index(text.len() + 1);
            match how {
                0 => text.insert(at, byte),
                1 if at < text.len() => text[at] = byte,
                2 if at < text.len() => drop(text.remove(at)),
                _ => {}
            }
        }
        let serde = serde_json::from_slice::<IgnoredAny>(&text);
        prop_assert_eq!(is_json(&text).is_ok(), serde.is_ok(), "{:?}: {:?}", String::from_utf8_lossy(&text), serde);
    }

    #[test]
    fn no_bytes_make_the_scanner_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = scan(&text);
        let _ = array_elements(&text);
        let _ = members(&text);
    }
}
