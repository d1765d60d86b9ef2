//! JSON with comments and commas before closing brackets, as editors write it.

use serde_json::Value;

/// Parses it. Places in messages are those of `text`.
pub(super) fn parse(text: &str) -> serde_json::Result<Value> {
    serde_json::from_str(&plain(text))
}

/// The same text with spaces in place of comments and superfluous commas.
fn plain(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut at = 0;
    // The last thing outside strings that was no space, if it was a comma.
    let mut comma = None;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                comma = None;
                at = end_of_string(&bytes, at);
            }
            b'/' if matches!(bytes.get(at + 1), Some(b'/' | b'*')) => {
                let end = end_of_comment(&bytes, at);
                for byte in &mut bytes[at..end] {
                    if *byte != b'\n' {
                        *byte = b' ';
                    }
                }
                at = end;
            }
            byte => {
                match byte {
                    b',' => comma = Some(at),
                    b']' | b'}' => {
                        if let Some(comma) = comma.take() {
                            bytes[comma] = b' ';
                        }
                    }
                    byte if byte.is_ascii_whitespace() => {}
                    _ => comma = None,
                }
                at += 1;
            }
        }
    }
    // Only ASCII was replaced, and whole comments.
    String::from_utf8(bytes).expect("it was UTF-8 before")
}

/// Behind the string that begins at `start`.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Behind the comment that begins at `start`.
fn end_of_comment(bytes: &[u8], start: usize) -> usize {
    let rest = &bytes[start + 2..];
    let length = match bytes[start + 1] {
        b'/' => rest.iter().position(|byte| *byte == b'\n'),
        _ => rest
            .windows(2)
            .position(|two| two == b"*/")
            .map(|at| at + 2),
    };
    length.map_or(bytes.len(), |length| start + 2 + length)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn comments_and_commas_are_passed_over_and_strings_are_not() {
        let text = "{ // one\n \"url\": \"http://h/*x*/\", /* two\n lines */ \"a\": [1, 2,\n // end\n], \"q\": \"\\\"//\", }";
        let expected = json!({"url": "http://h/*x*/", "a": [1, 2], "q": "\"//"});
        assert_eq!(parse(text).unwrap(), expected);
        let error = parse("{\n // x\n \"a\": oh }").unwrap_err();
        assert_eq!((error.line(), error.column()), (3, 7));
        assert!(parse("{\"a\": 1 /").is_err() && parse("{\"a").is_err() && parse("[,]").is_ok());
    }
}
