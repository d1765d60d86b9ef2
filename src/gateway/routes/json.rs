//! The body of a request to a model, read as JSON within bounds.

use memchr::memchr2;
use serde_json::{Map, Value};

use crate::gateway::openai::ApiError;

/// Values in one body. In memory each takes some hundred bytes, however short its text, so that a body of nothing but small
/// ones would take fifty times its size.
const VALUES: usize = 1 << 19;

/// The object that `body` is.
///
/// # Errors
/// 400 for anything else.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    if values(body) > VALUES {
        let message = format!("the body has more than {VALUES} JSON values; send less at once");
        return Err(ApiError::invalid("body", message));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(ApiError::invalid(
            "body",
            "the body has to be a JSON object",
        )),
        Err(error) => {
            let message = format!("the body is no JSON: {error}");
            Err(ApiError::invalid("body", message))
        }
    }
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
    fn a_body_is_an_object_with_some_values() {
        for (body, cure) in [
            ("{".to_owned(), "no JSON"),
            ("[]".to_owned(), "JSON object"),
            (format!("{{\"a\":[{}0]}}", "0,".repeat(VALUES)), "send less"),
        ] {
            let error = object(body.as_bytes()).unwrap_err();
            assert_eq!(error.param.as_deref(), Some("body"));
            assert!(error.message.contains(cure), "{error}");
        }
        assert_eq!(object(b"{\"a\":1,\"a\":2}").unwrap()["a"], 2);
    }
}
