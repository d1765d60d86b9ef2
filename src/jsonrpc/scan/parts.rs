//! Objects taken apart further than routing needs: leaving members out, finding where an answer's outcome begins.

use std::borrow::Cow;

use super::{Scanner, Span, each_member};

/// The object `text` with only the members whose (decoded) key `keep` says yes to; each kept one as it was written.
/// `None` when nothing has to go, or when it is no object.
pub fn retain_members(text: &[u8], keep: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let mut kept = Vec::new();
    let mut last = None::<Span>;
    let mut gone = false;
    each_member(text, |key, value| {
        let from = last.map_or_else(|| brace(text) + 1, Span::end);
        last = Some(value);
        if keep(&key) {
            let member = &text[from..value.end()];
            let begin = member.iter().position(|byte| *byte == b'"').unwrap_or(0);
            kept.push(&member[begin..]);
        } else {
            gone = true;
        }
    })?;
    gone.then(|| [b"{", kept.join(&b","[..]).as_slice(), b"}"].concat())
}

/// The places that go from the object `text`, whose members are `fields`, when those go whose key `goes` says yes to.
pub fn member_cuts(
    text: &[u8],
    fields: &[(Cow<'_, [u8]>, Span)],
    goes: impl Fn(&[u8]) -> bool,
) -> Vec<Span> {
    let Some(first) = fields.iter().position(|(key, _)| !goes(key)) else {
        // All of them, if there are any.
        let last = fields.last().map(|(_, value)| value.end());
        return last
            .map(|end| Span::new(brace(text) + 1, end))
            .into_iter()
            .collect();
    };
    let mut cuts = Vec::new();
    if first > 0 {
        let end = fields[first - 1].1.end();
        let comma = memchr::memchr(b',', &text[end..]);
        let comma = comma.expect("a comma stands before a next member");
        cuts.push(Span::new(brace(text) + 1, end + comma + 1));
    }
    for pair in fields[first..].windows(2) {
        let ((_, before), (key, value)) = (&pair[0], &pair[1]);
        if goes(key) {
            cuts.push(Span::new(before.end(), value.end()));
        }
    }
    cuts
}

fn brace(text: &[u8]) -> usize {
    memchr::memchr(b'{', text).expect("the caller has found an object")
}

/// Which of `result` and `error` an answer has, and where its value begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// At this byte.
    Result(usize),
    /// At this byte.
    Error(usize),
}

/// The outcome of the well-formed answer that begins with `head`; `None` when it begins only behind it. What comes after
/// is not looked at, so a large result costs nothing.
pub fn outcome(head: &[u8]) -> Option<Outcome> {
    let mut scanner = Scanner::new(head).ok()?;
    let mut found = None;
    scanner.whitespace();
    // It ends with an error at the end of the head, or at the place that is looked for.
    let _end = scanner.object(|scanner, key| {
        match key.as_ref() {
            b"result" => found = Some(Outcome::Result(scanner.at)),
            b"error" => found = Some(Outcome::Error(scanner.at)),
            _ => return scanner.value().map(drop),
        }
        Err(super::ScanError::TooDeep { at: scanner.at })
    });
    found.filter(|outcome| {
        let (Outcome::Result(at) | Outcome::Error(at)) = outcome;
        *at < head.len()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_go_and_the_others_stay_as_they_were() {
        for (text, want) in [
            (
                r#"{"a":1.0, "x" : 2 ,"b":[1, 2]}"#,
                Some(r#"{"a":1.0,"b":[1, 2]}"#),
            ),
            (r#" { "x":1 , "a" : {"x":1} } "#, Some(r#"{"a" : {"x":1}}"#)),
            (r#"{"x":1,"\u0078":2}"#, Some("{}")),
            (r#"{"a":1}"#, None),
            ("{}", None),
            ("[1]", None),
            ("1", None),
        ] {
            let got = retain_members(text.as_bytes(), |key| key != b"x");
            let got = got.map(|bytes| String::from_utf8(bytes).unwrap());
            assert_eq!(got.as_deref(), want, "{text}");
        }
    }

    #[test]
    fn members_are_cut_out_and_every_other_byte_stays() {
        for (text, want) in [
            (r#"{"x":1}"#, "{}"),
            (r#"{ "x" : 1 , "a": 2 }"#, r#"{ "a": 2 }"#),
            (r#"{"x":1,"y":2,"a":1.0}"#, r#"{"a":1.0}"#),
            (r#" {"x":1,"y":2} "#, " {} "),
            (r#"{"a":1,"x":[1,2]}"#, r#"{"a":1}"#),
            (
                r#"{"a":1, "x":{"x":1} ,"y":2, "b":"\ud800"}"#,
                r#"{"a":1, "b":"\ud800"}"#,
            ),
            (r#"{"x":0,"a":1,"x":2,"b":3,"y":"}"}"#, r#"{"a":1,"b":3}"#),
            (r#"{"\u0078":1,"a":{"x":1}}"#, r#"{"a":{"x":1}}"#),
            (r#"{"a":1}"#, r#"{"a":1}"#),
            ("{}", "{}"),
            ("[1]", "[1]"),
        ] {
            let fields = crate::jsonrpc::members(text.as_bytes());
            let goes = |key: &[u8]| matches!(key, b"x" | b"y");
            let cuts = member_cuts(text.as_bytes(), &fields, goes);
            let mut edits: Vec<_> = cuts
                .into_iter()
                .map(|span| crate::jsonrpc::Edit { span, with: b"" })
                .collect();
            let mut out = Vec::new();
            crate::jsonrpc::splice(&mut out, text.as_bytes(), &mut edits);
            assert_eq!(String::from_utf8(out).unwrap(), want, "{text}");
        }
    }

    #[test]
    fn an_outcome_is_found_before_it_is_read() {
        for (head, want) in [
            (
                r#"{"jsonrpc":"2.0","id":1,"result":{"a"#,
                Some(Outcome::Result(33)),
            ),
            (r#"{"result": [1,2"#, Some(Outcome::Result(11))),
            (
                r#"{"x":{"result":1},"error":{"code":1}}"#,
                Some(Outcome::Error(26)),
            ),
            (r#"{"jsonrpc":"2.0","id":1,"result":"#, None),
            (r#"{"jsonrpc":"2.0","id"#, None),
            (r#"{"id":1}"#, None),
            ("", None),
        ] {
            assert_eq!(outcome(head.as_bytes()), want, "{head}");
        }
    }
}
