//! `Accept` and `Content-Type`, as far as MCP needs them (RFC 9110 § 12.5.1, § 8.3).

use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};

/// `application/json`.
pub(super) const JSON: &str = "application/json";
/// `text/event-stream`.
pub(super) const EVENT_STREAM: &str = "text/event-stream";

/// Whether the body is declared to be JSON.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return false;
    };
    let value = value.as_bytes();
    if value == JSON.as_bytes() {
        return true;
    }
    let end = value
        .iter()
        .position(|&byte| byte == b';')
        .unwrap_or(value.len());
    value[..end]
        .trim_ascii()
        .eq_ignore_ascii_case(JSON.as_bytes())
}

/// Whether the client takes both an answer and a stream, as it must with each POST (MCP 2025-11-25, Transports § Sending
/// Messages to the Server). Wildcards count, a missing header doesn't.
pub(super) fn accepts_both(headers: &HeaderMap) -> bool {
    // What the SDKs send, letter by letter.
    if let Some(value) = headers.get(ACCEPT)
        && matches!(
            value.as_bytes(),
            b"application/json, text/event-stream"
                | b"text/event-stream, application/json"
                | b"*/*"
        )
    {
        return true;
    }
    weight(headers, JSON) > 0 && weight(headers, EVENT_STREAM) > 0
}

/// Whether the client takes an event stream; a missing header doesn't say so.
pub(super) fn accepts_event_stream(headers: &HeaderMap) -> bool {
    weight(headers, EVENT_STREAM) > 0
}

/// Whether the client names event streams, not only by a wildcard.
pub(crate) fn names_event_stream(headers: &HeaderMap) -> bool {
    ranges(headers)
        .any(|(range, weight)| weight > 0 && range.eq_ignore_ascii_case(EVENT_STREAM.as_bytes()))
}

/// Whether the client would rather have JSON than an event stream.
pub(crate) fn prefers_json(headers: &HeaderMap) -> bool {
    let (json, stream) = (specific(headers, JSON), specific(headers, EVENT_STREAM));
    json.unwrap_or(0) > stream.unwrap_or(0)
}

/// The weight of `wanted` in thousandths: that of the most specific range that covers it, 0 when none does.
fn weight(headers: &HeaderMap, wanted: &str) -> u16 {
    let kind = wanted.split('/').next().unwrap_or_default();
    let mut best = (0, 0);
    for (range, weight) in ranges(headers) {
        let precision = match range {
            b"*/*" => 1,
            _ if range.eq_ignore_ascii_case(wanted.as_bytes()) => 3,
            _ => match range.strip_suffix(b"/*") {
                Some(prefix) if prefix.eq_ignore_ascii_case(kind.as_bytes()) => 2,
                _ => continue,
            },
        };
        if precision >= best.0 {
            best = (precision, weight);
        }
    }
    best.1
}

fn specific(headers: &HeaderMap, wanted: &str) -> Option<u16> {
    ranges(headers)
        .find(|(range, _)| range.eq_ignore_ascii_case(wanted.as_bytes()))
        .map(|(_, weight)| weight)
}

fn ranges(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], u16)> {
    headers
        .get_all(ACCEPT)
        .into_iter()
        .flat_map(|value: &HeaderValue| value.as_bytes().split(|&b| b == b','))
        .map(|range| {
            let mut parts = range.split(|&byte| byte == b';');
            let name = parts.next().unwrap_or_default().trim_ascii();
            let weight = parts
                .find_map(|part| thousandths(part.trim_ascii()))
                .unwrap_or(1000);
            (name, weight)
        })
}

/// `q=0.5` as 500; what can't be read counts as 1.
fn thousandths(parameter: &[u8]) -> Option<u16> {
    let value = parameter
        .strip_prefix(b"q=")
        .or_else(|| parameter.strip_prefix(b"Q="))?;
    let value: f32 = std::str::from_utf8(value)
        .ok()?
        .trim()
        .parse()
        .unwrap_or(1.0);
    // Between 0 and 1000 by the clamp.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0..=1000 before"
    )]
    Some((value.clamp(0.0, 1.0) * 1000.0) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(values: &[&'static str]) -> HeaderMap {
        values
            .iter()
            .map(|value| (ACCEPT, HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn a_post_needs_both_types() {
        for (values, want) in [
            (&["application/json, text/event-stream"][..], true),
            (&["text/event-stream,application/json"], true),
            (&["application/json", "text/event-stream"], true),
            (&["Application/JSON;q=0.9, text/Event-Stream;q=0.1"], true),
            (&["*/*"], true),
            (&["text/html, */*;q=0.1"], true),
            (&["application/*, text/*"], true),
            (&[], false),
            (&[""], false),
            (&["application/json"], false),
            (&["text/event-stream"], false),
            (&["application/json, text/event-stream;q=0"], false),
            (&["*/*, text/event-stream;q=0"], false),
            (&["text/html"], false),
        ] {
            assert_eq!(accepts_both(&accept(values)), want, "{values:?}");
        }
    }

    #[test]
    fn json_is_preferred_only_when_named() {
        for (values, want) in [
            (&["application/json"][..], true),
            (&["application/json, text/event-stream;q=0.5"], true),
            (&["application/json, text/event-stream"], false),
            (&["*/*"], false),
            (&["text/event-stream"], false),
            (&[], false),
        ] {
            assert_eq!(prefers_json(&accept(values)), want, "{values:?}");
        }
    }

    #[test]
    fn a_bare_url_is_an_event_stream_only_when_asked_by_name() {
        assert!(names_event_stream(&accept(&["text/event-stream"])));
        assert!(!names_event_stream(&accept(&["*/*"])));
        assert!(accepts_event_stream(&accept(&["*/*"])));
    }

    #[test]
    fn json_bodies_are_told_by_their_type_alone() {
        for (value, want) in [
            ("application/json", true),
            ("application/json; charset=utf-8", true),
            ("Application/JSON ;x", true),
            ("text/plain", false),
            ("application/jsonp", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]);
            assert_eq!(is_json(&headers), want, "{value}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
