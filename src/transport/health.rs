//! `/health`, `/ready`, `/live`: what probes ask. They read a snapshot and never touch the server.

use std::time::{Duration, Instant};

use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER};
use axum::response::Response;
use serde_json::{Value, json};

use super::reject;
use crate::bridge::{Bridge, LastExit, Phase, Status};
use crate::process::Exit;

/// 200 while the server can answer, else 503; the body says why.
pub fn health(bridge: &Bridge) -> Response {
    let status = bridge.status();
    let body = describe(bridge.name(), &status, Instant::now());
    respond(status.phase.is_healthy(), &body)
}

/// As [`health`], and 503 while the bridge drains or sheds load.
pub fn ready(bridge: &Bridge) -> Response {
    let status = bridge.status();
    let mut body = describe(bridge.name(), &status, Instant::now());
    let hindrance = if bridge.is_draining() {
        Some("the bridge is draining")
    } else if bridge.budget().is_spent() {
        Some("too many bytes are queued for clients that read slowly")
    } else {
        None
    };
    if let Some(hindrance) = hindrance {
        body["reason"] = hindrance.into();
    }
    respond(hindrance.is_none() && status.phase.is_healthy(), &body)
}

/// 200: whoever reads it knows that the event loop turns.
pub fn live() -> Response {
    respond(true, &json!({"live": true}))
}

/// One bridge's state for people and programs. It holds nothing of the server's output, so it is fit for everybody.
pub fn describe(name: &str, status: &Status, now: Instant) -> Value {
    let exit = status.last_exit.as_ref();
    let reason = match (status.phase, &status.cure, exit) {
        (phase, ..) if phase.is_healthy() => None,
        (_, Some(cure), _) => Some(cure.as_str()),
        // What hinders now comes before how the last process ended.
        (Phase::Suspect(_), ..) => Some("the server does not answer pings"),
        (Phase::Draining, ..) => Some("the bridge is draining"),
        (Phase::Stopping, ..) => Some("the server is ending"),
        (_, _, Some(exit)) => Some(exit.reason.as_str()),
        (Phase::Starting, ..) => Some("the server is starting"),
        _ => Some("the server is not running"),
    };
    json!({
        "bridge": name,
        "state": status.phase.label(),
        "since_ms": millis(now.saturating_duration_since(status.since)),
        "generation": status.generation,
        "restarts": status.restarts,
        "last_exit": exit.map(|exit| last_exit(exit, now)),
        "next_start_ms": status.next_start.map(|at| millis(at.saturating_duration_since(now))),
        "reason": reason,
    })
}

/// How a server ended, without what it wrote.
pub fn last_exit(exit: &LastExit, now: Instant) -> Value {
    let (code, signal) = match exit.exit {
        Some(Exit::Code(code)) => (Some(code), None),
        Some(Exit::Signal(signal)) => (None, Some(signal)),
        None => (None, None),
    };
    json!({
        "code": code,
        "signal": signal,
        "reason": exit.reason,
        "uptime_ms": millis(exit.uptime),
        "ago_ms": millis(now.saturating_duration_since(exit.at)),
    })
}

fn respond(well: bool, body: &Value) -> Response {
    let status = if well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut response = reject::json(status, bytes::Bytes::from(body.to_string()));
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !well {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("2"));
    }
    response
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_in_backoff_says_why_and_until_when() {
        let now = Instant::now();
        let ago = |millis| now.checked_sub(Duration::from_millis(millis)).unwrap();
        let exit = LastExit {
            exit: Some(Exit::Signal(9)),
            reason: "signal 9 (SIGKILL)".to_owned(),
            uptime: Duration::from_secs(3),
            stderr: vec!["password=1".to_owned()],
            at: ago(70),
        };
        let mut status = Status {
            phase: Phase::Backoff,
            since: ago(50),
            generation: 4,
            restarts: 3,
            pid: None,
            last_exit: Some(exit),
            deaths: std::sync::Arc::default(),
            next_start: Some(now + Duration::from_millis(200)),
            cure: None,
            server: None,
            era: None,
            supported_versions: None,
        };
        assert_eq!(
            describe("db", &status, now).to_string(),
            r#"{"bridge":"db","state":"backoff","since_ms":50,"generation":4,"restarts":3,"last_exit":{"code":null,"#
                .to_owned()
                + r#""signal":9,"reason":"signal 9 (SIGKILL)","uptime_ms":3000,"ago_ms":70},"next_start_ms":200,"#
                + r#""reason":"signal 9 (SIGKILL)"}"#
        );
        status.phase = Phase::Ready;
        assert_eq!(describe("db", &status, now)["reason"], Value::Null);
        for (phase, reason) in [
            (Phase::Suspect(2), "the server does not answer pings"),
            (Phase::Stopping, "the server is ending"),
            (Phase::Starting, "signal 9 (SIGKILL)"),
        ] {
            status.phase = phase;
            assert_eq!(describe("db", &status, now)["reason"], reason);
        }
        status.last_exit = None;
        assert_eq!(
            describe("db", &status, now)["reason"],
            "the server is starting"
        );
        status.phase = Phase::Unavailable;
        status.cure = Some("set DATABASE_URI".to_owned());
        assert_eq!(describe("db", &status, now)["reason"], "set DATABASE_URI");
    }
}
