//! Objects of others, read as JSON within bounds.

use memchr::memchr2;
use serde_json::{Map, Value};

/// Values in one object that nobody needs more of. In memory each takes some hundred bytes, however short its text, so that a text of nothing but small
/// ones would take fifty times its size.
pub(crate) const VALUES: usize = 1 << 18;
/// Values in a whole answer of a model: each token may have some hundred, with `logprobs`.
pub(crate) const ANSWER: usize = 1 << 21;

/// Why a text is no object for us.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// More values than it may have.
    #[error("it has more than {0} JSON values")]
    TooMany(usize),
    /// No JSON, or another value than an object.
    #[error("it is no JSON object: {0}")]
    Invalid(#[from] serde_json::Error),
}

/// The object that `text` is, which may have `most` values.
///
/// # Errors
/// [`Unreadable`].
pub(crate) fn object(text: &[u8], most: usize) -> Result<Map<String, Value>, Unreadable> {
    if values(text) > most {
        return Err(Unreadable::TooMany(most));
    }
    Ok(serde_json::from_slice(text)?)
}

/// How many values this JSON text has, or more.
fn values(mut text: &[u8]) -> usize {
    let mut count = 1;
    let mut in_string = false;
    while let Some(&byte) = text.first() {
        let read = match (in_string, byte) {
            (true, _) => match memchr2(b'"', b'\\', text) {
                Some(end) if text[end] == b'"' => {
                    in_string = false;
                    end + 1
                }
                Some(escape) => escape + 2,
                None => return count,
            },
            (false, b'"') => {
                in_string = true;
                1
            }
            (false, b',' | b'[' | b'{') => {
                count += 1;
                1
            }
            _ => 1,
        };
        text = text.get(read..).unwrap_or_default();
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_outside_of_strings() {
        for (text, count) in [
            ("", 1),
            ("1", 1),
            ("[1,2]", 3),
            (r#"{"a,[":"b\",{","c":[]}"#, 4),
            (r#"["\\",1]"#, 3),
            (r#"["never ends, \"#, 2),
        ] {
            assert_eq!(values(text.as_bytes()), count, "{text}");
        }
    }

    #[test]
    fn an_object_has_a_bounded_number_of_values() {
        let of = |count: usize| format!("{{\"a\":[{}0]}}", "0,".repeat(count));
        assert!(object(of(99).as_bytes(), 102).is_ok());
        for (text, why) in [
            ("{", "no JSON object: EOF"),
            ("[]", "no JSON object: invalid type"),
            (&of(100), "more than 102 JSON"),
        ] {
            let error = object(text.as_bytes(), 102).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert_eq!(object(b"{\"a\":1,\"a\":2}", VALUES).unwrap()["a"], 2);
    }
}
