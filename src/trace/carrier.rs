//! `traceparent` and `tracestate` in a request's `params._meta` (MCP SEP-414), by splices: no other byte changes.

use std::borrow::Cow;

use super::Context;
use crate::jsonrpc::{Edit, Message, Span, member, string_value};

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";

/// Where members of `_meta` go that are not there yet, and whether others follow them.
enum Gap {
    Meta(Span, bool),
    Params(Span, bool),
    /// There are no `params`.
    Message(Span),
}

/// The request `message` with what HTTP's headers say of its trace. `None` when nothing changes: it says something
/// itself, or has no place for it.
#[must_use]
pub fn continued(message: &Message, parent: &str, state: Option<&str>) -> Option<Message> {
    if place_of(message, PARENT).is_some() {
        return None;
    }
    let mut members = format!("\"{PARENT}\":\"{parent}\"");
    if let Some(state) = state.filter(|_| place_of(message, STATE).is_none()) {
        members.push_str(&format!(",\"{STATE}\":{}", serde_json::Value::from(state)));
    }
    let (span, with) = gap(message)?.filled(&members);
    Some(edited(message, span, &with))
}

/// The request `message` as it is told to the server: the work of `context`. `None` where there is no place for that.
pub(super) fn told(message: &Message, context: &Context) -> Option<Message> {
    let (span, with) = match place_of(message, PARENT) {
        Some(span) => (span, format!("\"{context}\"")),
        None => gap(message)?.filled(&format!("\"{PARENT}\":\"{context}\"")),
    };
    Some(edited(message, span, &with))
}

fn edited(message: &Message, span: Span, with: &str) -> Message {
    let with = with.as_bytes();
    let text = message.editing(&mut [Edit { span, with }]).into_bytes();
    Message::parse(text).expect("one member of an object was added or replaced")
}

/// Whose work `message` continues, and what other tracers say.
pub(super) fn parent(message: &Message) -> (Option<Context>, Option<Cow<'_, str>>) {
    let text = |name| string_value(place_of(message, name)?.of(message.text()));
    let Some(parent) = text(PARENT).and_then(|parent| Context::parse(&parent)) else {
        return (None, None);
    };
    (Some(parent), text(STATE))
}

fn place_of(message: &Message, name: &str) -> Option<Span> {
    let meta = message.envelope().meta?;
    Some(member(meta.of(message.text()), name)?.inside(meta))
}

fn gap(message: &Message) -> Option<Gap> {
    let envelope = message.envelope();
    let inside = |object: Span| {
        let rest = object.of(message.text()).strip_prefix(b"{")?;
        Some((object.inner(), rest.trim_ascii_start() != b"}"))
    };
    match (envelope.meta, envelope.params) {
        (Some(meta), _) => inside(meta).map(|(at, others)| Gap::Meta(at, others)),
        (None, Some(params)) => inside(params).map(|(at, others)| Gap::Params(at, others)),
        (None, None) => Some(Gap::Message(envelope.method?.behind())),
    }
}

impl Gap {
    fn filled(&self, members: &str) -> (Span, String) {
        let comma = |others: &bool| if *others { "," } else { "" };
        match self {
            Gap::Meta(at, others) => (*at, format!("{members}{}", comma(others))),
            Gap::Params(at, others) => (*at, format!("\"_meta\":{{{members}}}{}", comma(others))),
            Gap::Message(at) => (*at, format!(",\"params\":{{\"_meta\":{{{members}}}}}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const OWN: &str = "00-01010101010101010101010101010101-0202020202020202-01";

    fn message(text: &str) -> Message {
        Message::parse(bytes::Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    /// What becomes of `params` (with its comma) by a header, and by a span of our own. `H` and `O` stand for their values.
    #[track_caller]
    fn check(before: &str, by_header: Option<&str>, by_own: Option<&str>) {
        let whole = |rest: &str| {
            let rest = rest.replace("=H", HEADER).replace("=O", OWN);
            format!(r#"{{"x":1.0,"id":"\u0031","method":"m"{rest} ,"jsonrpc":"2.0"}}"#)
        };
        let request = message(&whole(before));
        let text = |message: &Message| String::from_utf8(message.text().to_vec()).unwrap();
        let got = continued(&request, HEADER, None).map(|message| text(&message));
        assert_eq!(got, by_header.map(whole), "{before} by a header");
        let own = Context::new([1; 16], [2; 8], None, true);
        let got = told(&request, &own).map(|message| text(&message));
        assert_eq!(got, by_own.map(whole), "{before} by our own");
    }

    #[test]
    fn a_parent_goes_where_there_is_none() {
        check(
            "",
            Some(r#","params":{"_meta":{"traceparent":"=H"}}"#),
            Some(r#","params":{"_meta":{"traceparent":"=O"}}"#),
        );
        check(
            r#","params": { }"#,
            Some(r#","params": {"_meta":{"traceparent":"=H"} }"#),
            Some(r#","params": {"_meta":{"traceparent":"=O"} }"#),
        );
        check(
            r#","params":{ "a":1e400}"#,
            Some(r#","params":{"_meta":{"traceparent":"=H"}, "a":1e400}"#),
            Some(r#","params":{"_meta":{"traceparent":"=O"}, "a":1e400}"#),
        );
        check(
            r#","params":{"_meta":{},"a":[]}"#,
            Some(r#","params":{"_meta":{"traceparent":"=H"},"a":[]}"#),
            Some(r#","params":{"_meta":{"traceparent":"=O"},"a":[]}"#),
        );
        check(
            r#","params":{"_meta":{"progressToken":1},"a":[]}"#,
            Some(r#","params":{"_meta":{"traceparent":"=H","progressToken":1},"a":[]}"#),
            Some(r#","params":{"_meta":{"traceparent":"=O","progressToken":1},"a":[]}"#),
        );
    }

    #[test]
    fn what_a_client_says_itself_wins_over_its_header() {
        check(
            r#","params":{"_meta":{"v":1,"traceparent":"00-1-2-01"}}"#,
            None,
            Some(r#","params":{"_meta":{"v":1,"traceparent":"=O"}}"#),
        );
        check(
            r#","params":{"_meta":{"traceparent" : null}}"#,
            None,
            Some(r#","params":{"_meta":{"traceparent" : "=O"}}"#),
        );
    }

    #[test]
    fn what_is_no_object_has_no_place_for_it() {
        for params in [
            r#","params":[1]"#,
            r#","params":null"#,
            r#","params":{"_meta":null}"#,
            r#","params":{"_meta":"x"}"#,
        ] {
            check(params, None, None);
        }
    }

    #[test]
    fn a_state_goes_along_with_its_parent() {
        let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        let got = continued(&message(list), HEADER, Some(r#"a=1,b="\"#)).unwrap();
        let (parent, state) = super::parent(&got);
        assert_eq!(parent.unwrap().to_string(), HEADER);
        assert_eq!(state.as_deref(), Some(r#"a=1,b="\"#));
        let own =
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{"tracestate":"c=2"}}}"#;
        let got = continued(&message(own), HEADER, Some("a=1")).unwrap();
        assert_eq!(super::parent(&got).1.as_deref(), Some("c=2"));
    }
}
