//! What a provider's refusals and failures mean to a client, and whether another entry of the same model may do better.
//!
//! | the provider | the client gets | the next entry is tried |
//! |---|---|---|
//! | 400, 404, 413, 422, 429 | the same, with the provider's error object and `Retry-After` | no |
//! | 401, 403 | 502: the *gateway's* key was refused | no |
//! | 5xx | 502 with the reason | yes |
//! | can't be reached, breaks off, answers what is no answer | 502 with the reason | yes |
//! | anything else | 502 with the reason | no |

use std::error::Error;
use std::time::{Duration, SystemTime};

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::gateway::openai::ApiError;

/// Characters of a provider's own words in a message.
const QUOTED: usize = 500;

const WRONG_PATH: &str = "; correct the entry's `api_base` in `model_list`, which has to end with the version, such as `/v1`";
const NOT_THERE: &str = "; start it, or correct the entry's `api_base` in `model_list`";

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Box<ApiError>,
    /// Another entry of the same name may do better.
    pub(super) try_next: bool,
}

impl Failure {
    /// Nothing will help.
    pub(super) fn last(error: ApiError) -> Failure {
        Failure {
            error: Box::new(error),
            try_next: false,
        }
    }

    /// Another entry may help.
    pub(super) fn passing(error: ApiError) -> Failure {
        Failure {
            error: Box::new(error),
            try_next: true,
        }
    }
}

/// What an answer says whose status is no success. `who` is the provider in words, such as "the provider of model `x` at
/// example.org".
pub(super) fn refused(who: &str, status: StatusCode, headers: &HeaderMap, body: &str) -> Failure {
    let error = provider_error(body);
    let retry_after = retry_after(headers, SystemTime::now());
    match status.as_u16() {
        400 | 404 | 413 | 422 | 429 => {
            let object = error.unwrap_or_else(|| {
                let reason =
                    words(headers, body).map_or_else(String::new, |words| format!(": {words}"));
                let kind = match status {
                    StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
                    _ => "invalid_request_error",
                };
                // An endpoint that knows the path says what it misses.
                let cure = match status {
                    StatusCode::NOT_FOUND => WRONG_PATH,
                    _ => "",
                };
                json!({
                    "message": format!("{who} answers {status}{reason}{cure}"),
                    "type": kind,
                    "param": null,
                    "code": null,
                })
            });
            Failure::last(ApiError::passed(status, object, retry_after))
        }
        401 | 403 => Failure::last(ApiError::upstream(
            "upstream_key_refused",
            format!(
                "{who} refused the gateway's key ({status}); correct the entry's `api_key` in `model_list`"
            ),
        )),
        _ => {
            let said = error
                .as_ref()
                .and_then(|error| error.get("message")?.as_str());
            let said = said.map(shortened).or_else(|| words(headers, body));
            let reason = match said {
                Some(said) => format!(": {said}"),
                None if status.is_redirection() => {
                    ", which is not followed; correct the entry's `api_base` in `model_list`"
                        .to_owned()
                }
                None => String::new(),
            };
            let mut error =
                ApiError::upstream("upstream_error", format!("{who} answers {status}{reason}"));
            error.retry_after = retry_after;
            match status.is_server_error() {
                true => Failure::passing(error),
                false => Failure::last(error),
            }
        }
    }
}

/// What an answer or a chunk says that is an error in spite of its status.
pub(super) fn error_in_success(error: &Value) -> Failure {
    let object = error_object(error);
    let code = object.get("code").or_else(|| object.get("status"));
    let code = code.and_then(|code| code.as_u64().or_else(|| code.as_str()?.parse().ok()));
    let status = match code {
        Some(400) => StatusCode::BAD_REQUEST,
        Some(404) => StatusCode::NOT_FOUND,
        Some(413) => StatusCode::PAYLOAD_TOO_LARGE,
        Some(422) => StatusCode::UNPROCESSABLE_ENTITY,
        Some(429) => StatusCode::TOO_MANY_REQUESTS,
        _ => {
            let error = ApiError::passed(StatusCode::BAD_GATEWAY, object, None);
            return Failure::passing(error);
        }
    };
    Failure::last(ApiError::passed(status, object, None))
}

/// The provider can't be reached, or the connection broke.
pub(super) fn unreachable(who: &str, error: &reqwest::Error) -> Failure {
    let (code, reason) = if error.is_connect() && error.is_timeout() {
        (
            "upstream_unreachable",
            "connecting took too long".to_owned(),
        )
    } else if error.is_timeout() {
        ("upstream_timeout", "it took too long".to_owned())
    } else {
        ("upstream_unreachable", cause(error))
    };
    let cure = if error.is_connect() { NOT_THERE } else { "" };
    Failure::passing(ApiError::upstream(
        code,
        format!("failed to reach {who}: {reason}{cure}"),
    ))
}

/// What the provider sends makes no sense.
pub(super) fn nonsense(who: &str, what: &str) -> Failure {
    Failure::passing(ApiError::upstream(
        "upstream_invalid_answer",
        format!("{who} {what}"),
    ))
}

/// The innermost cause, in its own words. The outer ones name the URL, or only that there was an error.
pub(super) fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    if error.is_connect() {
        while let Some(source) = cause.source() {
            if let Some(io) = source.downcast_ref::<std::io::Error>()
                && io.kind() == std::io::ErrorKind::ConnectionRefused
            {
                return "nothing listens there".to_owned();
            }
            cause = source;
        }
        if error.is_dns() {
            return format!("its name has no address ({})", trimmed(cause));
        }
    }
    while let Some(source) = cause.source() {
        cause = source;
    }
    trimmed(cause)
}

fn trimmed(error: &dyn Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// The error object in the body of a refusal, with a message.
fn provider_error(body: &str) -> Option<Value> {
    let body: Value = serde_json::from_str(body).ok()?;
    // Some wrap it in a list.
    let body = body.get(0).unwrap_or(&body);
    let error = body
        .get("error")
        .filter(|error| error.is_object() || error.is_string())?;
    Some(error_object(error))
}

/// An error as an object, whatever it was.
pub(super) fn error_object(error: &Value) -> Value {
    match error {
        Value::Object(_) => error.clone(),
        Value::String(text) => wrapped(text),
        other => wrapped(&other.to_string()),
    }
}

fn wrapped(text: &str) -> Value {
    json!({ "message": shortened(text), "type": "upstream_error", "param": null, "code": null })
}

/// A refusal's own words, if they are meant for people: a page is not.
fn words(headers: &HeaderMap, body: &str) -> Option<String> {
    let body = body.trim();
    let is_page = media_type(headers).contains("html") || body.starts_with('<');
    (!body.is_empty() && !is_page).then(|| shortened(body))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

pub(super) fn media_type(headers: &HeaderMap) -> &str {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    value
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
}

/// RFC 9110, § 10.2.3: seconds or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let date = httpdate::parse_http_date(value).ok()?;
            Some(date.duration_since(now).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const WHO: &str = "the provider of model `x` at h";

    fn check(status: u16, kind: &'static str, body: &str, want: u16, error: Value) {
        let status = StatusCode::from_u16(status).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        let failure = refused(WHO, status, &headers, body);
        assert_eq!(failure.error.status.as_u16(), want, "{status}");
        assert_eq!(failure.error.object(), error, "{status}");
        assert_eq!(failure.try_next, status.is_server_error(), "{status}");
    }

    fn made(message: &str, kind: &str) -> Value {
        json!({ "message": message, "type": kind, "param": null, "code": null })
    }

    fn ours(message: &str, code: &str) -> Value {
        json!({ "message": message, "type": "upstream_error", "param": null, "code": code })
    }

    #[test]
    fn a_refusal_that_is_the_clients_business_passes() {
        let body = r#"{"error":{"message":"m","type":"t","param":"p","code":"c","x":1}}"#;
        let object = json!({ "message": "m", "type": "t", "param": "p", "code": "c", "x": 1 });
        for status in [400, 404, 413, 422, 429] {
            check(status, "application/json", body, status, object.clone());
        }
        check(400, "application/json", &format!("[{body}]"), 400, object);
        check(
            404,
            "application/json",
            r#"{"error":"no"}"#,
            404,
            made("no", "upstream_error"),
        );
        let detail = r#"{"detail":"Not Found"}"#;
        let message = format!("{WHO} answers 404 Not Found: {detail}{WRONG_PATH}");
        check(
            404,
            "application/json",
            detail,
            404,
            made(&message, "invalid_request_error"),
        );
        let page = format!("{WHO} answers 429 Too Many Requests");
        check(
            429,
            "text/html; charset=utf-8",
            "<p>no",
            429,
            made(&page, "rate_limit_error"),
        );
        check(
            429,
            "",
            " <!doctype html>",
            429,
            made(&page, "rate_limit_error"),
        );
        check(
            429,
            "text/plain",
            "slow",
            429,
            made(&format!("{page}: slow"), "rate_limit_error"),
        );
    }

    #[test]
    fn a_refusal_that_is_the_gateways_business_is_a_502() {
        for status in ["401 Unauthorized", "403 Forbidden"] {
            let message = format!(
                "{WHO} refused the gateway's key ({status}); correct the entry's `api_key` in `model_list`"
            );
            let body = r#"{"error":{"message":"Incorrect API key provided: sk-1"}}"#;
            check(
                status[..3].parse().unwrap(),
                "application/json",
                body,
                502,
                ours(&message, "upstream_key_refused"),
            );
        }
        for (status, body, reason) in [
            (
                500,
                r#"{"error":{"message":"broken"}}"#,
                "500 Internal Server Error: broken",
            ),
            (502, "<html>", "502 Bad Gateway"),
            (503, "", "503 Service Unavailable"),
            (402, r#"{"error":"pay"}"#, "402 Payment Required: pay"),
            (408, "slow", "408 Request Timeout: slow"),
            (
                302,
                "",
                "302 Found, which is not followed; correct the entry's `api_base` in `model_list`",
            ),
        ] {
            let message = format!("{WHO} answers {reason}");
            check(status, "", body, 502, ours(&message, "upstream_error"));
        }
    }

    #[test]
    fn an_error_in_a_success_has_the_status_that_its_code_says() {
        for (error, status, passes) in [
            (json!({ "message": "m", "code": 429 }), 429, false),
            (json!({ "message": "m", "code": "400" }), 400, false),
            (json!({ "message": "m", "code": 401 }), 502, true),
            (json!({ "message": "m" }), 502, true),
        ] {
            let failure = error_in_success(&error);
            assert_eq!(
                (failure.error.status.as_u16(), failure.try_next),
                (status, passes)
            );
            assert_eq!(failure.error.object(), error);
        }
        let failure = error_in_success(&json!("m"));
        assert_eq!(failure.error.object(), made("m", "upstream_error"));
    }

    #[test]
    fn the_time_to_wait_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (value, want) in [
            ("7", Some(7)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:27 GMT", Some(0)),
            ("soon", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
            assert_eq!(
                retry_after(&headers, now),
                want.map(Duration::from_secs),
                "{value}"
            );
        }
    }

    #[test]
    fn long_words_are_cut() {
        assert_eq!(shortened(&"ä".repeat(QUOTED)).chars().count(), QUOTED);
        assert_eq!(
            shortened(&"ä".repeat(QUOTED + 1)).chars().count(),
            QUOTED + 1
        );
    }
}
