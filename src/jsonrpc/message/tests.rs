use bytes::Bytes;

use super::{COPY_BELOW, Edit, Kind, Message, ScanError};

fn message(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes()))
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn the_members_tell_what_a_message_is() {
    for (members, want) in [
        (r#""id":1,"method":"m""#, Ok(Kind::Request)),
        (r#""id":"","method":"m","params":null"#, Ok(Kind::Request)),
        (r#""method":"m""#, Ok(Kind::Notification)),
        (r#""id":1,"result":null"#, Ok(Kind::Answer)),
        (r#""id":1,"error":{}"#, Ok(Kind::Answer)),
        (r#""id":null,"error":{}"#, Ok(Kind::Answer)),
        (
            r#""id":null,"method":"m""#,
            Err("a request's id must not be null"),
        ),
        (
            r#""id":1,"method":"m","result":1"#,
            Err("a message with \"method\" has neither \"result\" nor \"error\""),
        ),
        (
            r#""method":"m","error":1"#,
            Err("a message with \"method\" has neither \"result\" nor \"error\""),
        ),
        (r#""result":1"#, Err("an answer needs an \"id\"")),
        (
            r#""id":1,"result":1,"error":1"#,
            Err("an answer has either \"result\" or \"error\""),
        ),
        (
            r#""id":1"#,
            Err("a message has a \"method\", a \"result\" or an \"error\""),
        ),
        (
            r#""params":{}"#,
            Err("a message has a \"method\", a \"result\" or an \"error\""),
        ),
    ] {
        let text = format!(r#"{{"jsonrpc":"2.0",{members}}}"#);
        let got = match Message::parse(text.into()) {
            Ok(message) => Ok(message.kind()),
            Err(error) => Err(error.to_string()),
        };
        assert_eq!(got, want.map_err(str::to_owned), "{members}");
    }
}

#[test]
fn bytes_that_are_not_utf_8_are_refused_or_replaced() {
    let broken = Bytes::from_static(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"\xff\"}");
    assert_eq!(
        Message::parse(broken.clone()).unwrap_err(),
        ScanError::Syntax {
            at: 34,
            found: "bytes that are not UTF-8".into()
        }
    );
    let lossy = Message::parse_lossy(broken).unwrap();
    assert_eq!(lossy.result().unwrap(), "\"\u{fffd}\"".as_bytes());
    let marked = Bytes::from_static(b"\xef\xbb\xbf{\"jsonrpc\":\"2.0\",\"method\":\"m\"}");
    assert!(Message::parse(marked.clone()).is_err());
    assert_eq!(Message::parse_lossy(marked).unwrap().method(), "m");
}

#[test]
fn splices_leave_every_other_byte_as_it_was() {
    let text = r#" {"x" :[1e400, "\ud800"],"id": 1.0 ,"method":"a\/b","params":{"_meta":{"progressToken" :"T"},"z":12345678901234567890},"jsonrpc":"2.0"}"#;
    let message = message(text);
    let (id, token) = (
        message.envelope().id.unwrap(),
        message.envelope().meta_progress_token.unwrap(),
    );
    assert_eq!(message.method(), "a/b");
    let edits = [
        Edit {
            span: token,
            with: b"17",
        },
        Edit {
            span: id,
            with: b"\"new\"",
        },
    ];
    let want = text.replace("1.0 ", "\"new\" ").replace("\"T\"", "17");
    for mut edits in [edits, [edits[1], edits[0]]] {
        assert_eq!(message.editing(&mut edits).into_bytes(), want);
        let mut line = b"before\n".to_vec();
        message.write_line(&mut line, &mut edits);
        assert_eq!(line, format!("before\n{want}\n").into_bytes());
    }
    assert_eq!(message.editing(&mut []).into_bytes(), text);
    let without = Edit {
        span: id,
        with: b"",
    };
    assert_eq!(
        message.editing(&mut [without]).into_bytes(),
        text.replace("1.0 ", " ")
    );
}

#[test]
fn line_breaks_between_tokens_become_blanks() {
    let message = message("{\"jsonrpc\":\"2.0\",\r\n\"id\":1,\n\"method\":\"m\\n\\r\u{2028}\"}\r");
    let want = "{\"jsonrpc\":\"2.0\",  \"id\":7, \"method\":\"m\\n\\r\u{2028}\"} ";
    let span = message.envelope().id.unwrap();
    assert_eq!(message.replacing(span, b"7").into_bytes(), want);
    let mut out = b"a\n".to_vec();
    message.write_line(&mut out, &mut [Edit { span, with: b"7" }]);
    assert_eq!(out, format!("a\n{want}\n").into_bytes());
}

#[test]
fn large_messages_go_out_in_pieces_that_share_their_bytes() {
    for (size, line_break) in [
        (10, ""),
        (COPY_BELOW, ""),
        (COPY_BELOW, "\n"),
        (COPY_BELOW * 4, ""),
    ] {
        let filling = "x".repeat(size);
        let text = format!(r#"{{"jsonrpc":"2.0","id":5,{line_break}"result":"{filling}"}}"#);
        let message = message(&text);
        let body = message.replacing(message.envelope().id.unwrap(), b"\"five\"");
        let want = text.replace(":5,", ":\"five\",").replace('\n', " ");
        assert_eq!((body.len(), body.is_empty()), (want.len(), false));
        assert_eq!(body.pieces().concat(), want.as_bytes());
        let shares = body.pieces()[2].as_ptr()
            == message.text()[message.envelope().id.unwrap().end()..].as_ptr();
        assert_eq!(shares, size >= COPY_BELOW && line_break.is_empty());
        assert_eq!(body.into_bytes(), want);
        assert_eq!(
            message.editing(&mut []).into_bytes(),
            text.replace('\n', " ")
        );
    }
}
