//! The headers `traceparent` and `tracestate` of a POST, continued into the requests that it carries.
//!
//! A server behind a pipe sees no headers; MCP SEP-414 has `params._meta` for that. Headers that are not valid are passed
//! over, as W3C Trace Context has it (§ Processing Model).

use axum::http::HeaderMap;

use super::messages::Messages;
use crate::jsonrpc::{Kind, Message};
use crate::trace::{self, Context, LONGEST_STATE};

/// `messages`, with what `headers` say of their trace in each request that says nothing itself.
pub(super) fn continued(headers: &HeaderMap, messages: Messages) -> Messages {
    let Some(parent) = parent(headers) else {
        return messages;
    };
    let state = state(headers);
    let continued = |message: Message| {
        let continued = (message.kind() == Kind::Request)
            .then(|| trace::continued(&message, parent, state.as_deref()))
            .flatten();
        continued.unwrap_or(message)
    };
    match messages {
        Messages::One(message) => Messages::One(continued(message)),
        Messages::Batch(batch) => {
            let batch = batch.into_iter().map(|message| message.map(continued));
            Messages::Batch(batch.collect())
        }
    }
}

/// The only valid `traceparent`.
fn parent(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all("traceparent").iter();
    let first = values.next()?.to_str().ok()?;
    (values.next().is_none() && Context::parse(first).is_some()).then_some(first)
}

/// All of `tracestate` as one list.
fn state(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all("tracestate").iter();
    let values: Vec<_> = values
        .map(|value| value.to_str().ok())
        .collect::<Option<_>>()?;
    let state = values.join(",");
    (!state.is_empty() && state.len() <= LONGEST_STATE).then_some(state)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};
    use bytes::Bytes;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn check(headers: &[(&'static str, &str)], want: &str) {
        let map: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                let name = HeaderName::from_static(name);
                (name, HeaderValue::from_str(value).unwrap())
            })
            .collect();
        let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        let message = Message::parse(Bytes::from_static(list.as_bytes())).unwrap();
        let Messages::One(got) = continued(&map, Messages::One(message)) else {
            panic!("one is not many")
        };
        let want = list.replace('}', &format!("{want}}}"));
        assert_eq!(got.text(), want.as_bytes(), "{headers:?}");
    }

    #[test]
    fn valid_headers_go_into_the_request() {
        let parent =
            |rest: &str| format!(r#","params":{{"_meta":{{"traceparent":"{PARENT}"{rest}}}}}"#);
        check(&[], "");
        check(&[("traceparent", PARENT)], &parent(""));
        check(
            &[
                ("traceparent", PARENT),
                ("tracestate", "a=1"),
                ("tracestate", "b=2"),
            ],
            &parent(r#","tracestate":"a=1,b=2""#),
        );
        let long = "a".repeat(LONGEST_STATE + 1);
        check(
            &[("traceparent", PARENT), ("tracestate", &long)],
            &parent(""),
        );
        check(&[("tracestate", "a=1")], "");
        check(&[("traceparent", "00-1-2-01"), ("tracestate", "a=1")], "");
        check(&[("traceparent", PARENT), ("traceparent", PARENT)], "");
    }

    #[test]
    fn of_a_batch_only_requests_are_continued() {
        let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"a"},{"jsonrpc":"2.0","method":"b"},{"jsonrpc":"2.0","id":2,"result":{}},1]"#;
        let messages = crate::transport::messages::parse(&Bytes::from_static(batch.as_bytes()));
        let headers = HeaderMap::from_iter([(
            HeaderName::from_static("traceparent"),
            HeaderValue::from_static(PARENT),
        )]);
        let Messages::Batch(batch) = continued(&headers, messages.unwrap()) else {
            panic!("many are not one")
        };
        let has = |message: &Result<Message, _>| {
            let text = message.as_ref().map(|message| message.text().to_vec());
            text.is_ok_and(|text| String::from_utf8(text).unwrap().contains(PARENT))
        };
        let found: Vec<_> = batch.iter().map(has).collect();
        assert_eq!(found, [true, false, false, false]);
    }
}
