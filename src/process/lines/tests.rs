//! Framing over a real pipe, and the id scanner against serde_json.

use std::io::Write;

use proptest::prelude::*;
use serde_json::value::RawValue;
use tokio::net::unix::pipe;

use super::*;

/// What comes of `input` when it arrives in pieces of at most `piece` bytes.
fn frame(input: &[u8], piece: usize, max_message: usize) -> Vec<Line> {
    let mut lines = Lines::new(max_message);
    let mut found = Vec::new();
    for bytes in input.chunks(piece.max(1)) {
        lines.make_room();
        lines.buffer.extend_from_slice(bytes);
        found.extend(lines.by_ref());
    }
    lines.ended = true;
    found.extend(lines.by_ref());
    assert_eq!(lines.next(), None);
    found
}

fn message(text: &str) -> Line {
    Line::Message(Bytes::copy_from_slice(text.as_bytes()))
}

fn oversize(id: Option<&str>, bytes: u64) -> Line {
    Line::Oversize {
        id: id.map(|id| Bytes::copy_from_slice(id.as_bytes())),
        method: false,
        bytes,
    }
}

#[track_caller]
fn check(input: &str, max_message: usize, expected: &[Line]) {
    for piece in 1..=input.len().max(1) {
        assert_eq!(
            frame(input.as_bytes(), piece, max_message),
            expected,
            "in pieces of {piece}"
        );
    }
}

#[test]
fn lines_are_cut_wherever_the_pieces_end() {
    check("", 10, &[]);
    check("a\nb\n", 10, &[message("a"), message("b")]);
    check("a\r\n\r\n \t\n\nb\r\n", 10, &[message("a"), message("b")]);
    check("a\rb\r\r\n", 10, &[message("a\rb\r")]);
    check("the end", 10, &[message("the end")]);
}

#[test]
fn a_line_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
    check("12345\n12345\r\n", 5, &[message("12345"), message("12345")]);
    check("123456\nok\n", 5, &[oversize(None, 6), message("ok")]);
    check("123456", 5, &[oversize(None, 6)]);
}

#[test]
fn the_id_of_an_oversize_line_is_found_wherever_it_stands() {
    for (line, id, method) in [
        (
            r#"{"id":17,"result":{"x":"yyyyyyyyyyyyyyyy"}}"#,
            Some("17"),
            false,
        ),
        (
            r#"{"result":{"x":"yyyyyyyyyyyyyyyy"},"id" : "a\"b" }"#,
            Some(r#""a\"b""#),
            false,
        ),
        (
            r#"{"result":{"id":3,"x":[{"id":4}]},"id":-1.5e3}"#,
            Some("-1.5e3"),
            false,
        ),
        (r#"{"result":"\"id\":5,{[","id":null}"#, Some("null"), false),
        (
            r#"{"\u0069d":7,"result":"yyyyyyyyyyyyyyyyyy"}"#,
            Some("7"),
            false,
        ),
        (
            r#"{"id":7,"\u006dethod":"roots/list","params":{}}"#,
            Some("7"),
            true,
        ),
        (
            r#"{"method":"notifications/message","params":{"id":1}}"#,
            None,
            true,
        ),
        (
            r#"{"params":{"method":"x"},"id":{"id":1},"x":1}"#,
            None,
            false,
        ),
        (
            r#"[{"id":1,"result":"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"}]"#,
            None,
            false,
        ),
        (
            r#"garbage {"id":1,"result":"yyyyyyyyyyyyyyyyyyyyyyy"}"#,
            None,
            false,
        ),
        (r#"{"result":"cut off before the end","id":12"#, None, false),
    ] {
        let input = format!("{line}\n{{}}\n");
        let expected = Line::Oversize {
            id: id.map(|id| Bytes::copy_from_slice(id.as_bytes())),
            method,
            bytes: line.len() as u64,
        };
        check(&input, 20, &[expected, message("{}")]);
    }
}

#[test]
fn an_id_without_end_is_not_remembered() {
    let line = format!(r#"{{"id":"{}","x":1}}"#, "y".repeat(5000));
    for piece in [1, 100, 10_000] {
        let length = line.len() as u64;
        assert_eq!(frame(line.as_bytes(), piece, 10), [oversize(None, length)]);
    }
}

#[tokio::test]
async fn memory_stays_at_the_limit_and_comes_back_after_a_large_line() {
    const MAX: usize = 1 << 20;
    let (sender, mut receiver) = pipe::pipe().unwrap();
    let mut sender = std::fs::File::from(sender.into_blocking_fd().unwrap());
    let writer = std::thread::spawn(move || {
        sender.write_all(&vec![b'x'; 10 * MAX]).unwrap();
        sender.write_all(b"\n").unwrap();
        sender.write_all(&vec![b'y'; MAX]).unwrap();
        sender.write_all(b"\n").unwrap();
        for _ in 0..50 {
            sender.write_all(b"small\n").unwrap();
        }
    });
    let mut lines = Lines::new(MAX);
    let mut found = Vec::new();
    loop {
        if lines.read(&mut receiver).await.unwrap() == 0 {
            break;
        }
        found.extend(lines.by_ref());
        assert!(lines.buffer.len() <= MAX + MAX_READ + 1);
    }
    writer.join().unwrap();
    assert_eq!(found.len(), 52);
    assert_eq!(found[0], oversize(None, 10 * MAX as u64));
    assert_eq!(found[1], Line::Message(vec![b'y'; MAX].into()));
    assert!(found[2..].iter().all(|line| *line == message("small")));
    assert!(
        lines.buffer.capacity() <= 2 * MAX_READ,
        "{}",
        lines.buffer.capacity()
    );
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let text = r#"(id|method|[\\"{}\[\]:, a-zäé\n]{0,6})"#;
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(|number| number.into()),
        text.prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::vec((text, inner), 0..4)
                .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// The members of an object with the JSON text of each, as serde_json reads them.
fn members(object: &str) -> std::collections::HashMap<String, Box<RawValue>> {
    serde_json::from_str(object).unwrap()
}

proptest! {
    #[test]
    fn the_scanner_agrees_with_serde_json(value in json(), pretty in any::<bool>(), cuts in prop::collection::vec(0usize..500, 0..8)) {
        let text = if pretty {
            // Newlines cannot be in a line, other whitespace can.
            serde_json::to_string_pretty(&value).unwrap().replace('\n', "\t ")
        } else {
            value.to_string()
        };
        let expected = if value.is_object() {
            let members = members(&text);
            let id = members
                .get("id")
                .map(|id| id.get().to_owned())
                .filter(|id| !id.starts_with(['{', '[']));
            (id.map(Bytes::from), members.contains_key("method"))
        } else {
            (None, false)
        };

        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < text.len()).collect();
        cuts.sort_unstable();
        let mut scanner = IdScanner::default();
        let mut start = 0;
        for cut in cuts {
            scanner.feed(&text.as_bytes()[start..cut]);
            start = cut;
        }
        scanner.feed(&text.as_bytes()[start..]);
        prop_assert_eq!(scanner.finish(), expected);
    }

    #[test]
    fn framing_agrees_with_splitting(
        lengths in prop::collection::vec(prop_oneof![0usize..20, 9_000usize..20_000], 0..12),
        piece in prop_oneof![20usize..100, 1_000usize..30_000],
        max_message in prop_oneof![Just(8usize), Just(15_000usize)],
    ) {
        let parts: Vec<String> = lengths
            .iter()
            .zip(["a", "b", "c"].iter().cycle())
            .map(|(length, letter)| letter.repeat(*length))
            .collect();
        let input = parts.join("\n");
        let expected: Vec<Line> = input
            .split('\n')
            .filter(|line| !line.is_empty())
            .map(|line| {
                if line.len() > max_message {
                    oversize(None, line.len() as u64)
                } else {
                    message(line)
                }
            })
            .collect();
        prop_assert_eq!(frame(input.as_bytes(), piece, max_message), expected);
    }
}
