//! The last lines of logs, and those to come: a request names the last line that it has and waits for the next one.

use std::time::{Duration, UNIX_EPOCH};

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Admin, READ};
use crate::journal::{Excerpt, From, Line, Severity};

/// Lines that are told when nothing is said.
const LAST: usize = 100;
/// How many lines the last words of a server are looked for in, and how much of them is told, in characters.
const RECENT: usize = 50;
const WORDS: usize = 300;
/// How the line begins that the bridge logs when a server writes something else than messages to stdout.
const NO_MESSAGE: &str = "server wrote a line that is no message";
/// The longest wait for a line. Proxies between give up after a minute.
const LONGEST: u64 = 30;

/// What a query asks for: `last=N`, or `after=NUMBER` with `wait=SECONDS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    from: From,
    wait: Duration,
}

pub(super) async fn of_all(State(admin): State<Admin>, request: Request) -> Response {
    if let Err(reject) = admin.admit(&request, READ, true) {
        return reject.into_response();
    }
    answer(&admin, None, Asked::by(&request)).await
}

pub(super) async fn of_one(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    if let Err(reject) = admin.admit(&request, READ, true) {
        return reject.into_response();
    }
    let name = match admin.find(&name) {
        Ok(entry) => entry.bridge.name().to_owned(),
        // Such as the gateway, and bridges that a reload took away.
        Err(_) if admin.journal.knows(&name) || is_gateway(&admin, &name) => name,
        Err(reject) => return reject.into_response(),
    };
    answer(&admin, Some(&name), Asked::by(&request)).await
}

/// A gateway is known before there is anything to say about it.
fn is_gateway(admin: &Admin, name: &str) -> bool {
    name == "gateway" && admin.published.borrow().gateway.is_some()
}

/// What a server wrote last: to stderr, or to stdout where no message was expected.
pub(super) fn last_words(admin: &Admin, bridge: &str) -> Option<String> {
    let excerpt = admin.journal.read(Some(bridge), From::Last(RECENT));
    let is_of_it = |line: &&Line| line.is_servers || line.text.starts_with(NO_MESSAGE);
    let line = excerpt.lines.iter().rfind(is_of_it)?;
    let words = match line.is_servers {
        true => line.text.clone(),
        false => misplaced(&line.text),
    };
    Some(words.chars().take(WORDS).collect())
}

/// What the bridge's own line about a wrong line quotes of that.
fn misplaced(text: &str) -> String {
    let quoted = text.split_once(" line=").map_or(text, |(_, rest)| rest);
    let quoted = quoted
        .split_once(" not_shown=")
        .map_or(quoted, |(it, _)| it);
    format!("{quoted} on stdout, where only messages belong")
}

async fn answer(admin: &Admin, name: Option<&str>, asked: Asked) -> Response {
    let until = tokio::time::sleep(asked.wait);
    tokio::pin!(until);
    let excerpt = loop {
        let excerpt = admin.journal.read(name, asked.from);
        if !excerpt.lines.is_empty() || excerpt.is_cut || until.is_elapsed() {
            break excerpt;
        }
        tokio::select! {
            () = admin.journal.grown_beyond(excerpt.last) => {}
            () = &mut until => {}
            () = admin.stop.cancelled() => break excerpt,
        }
    };
    Json(describe(&excerpt)).into_response()
}

impl Asked {
    fn by(request: &Request) -> Self {
        Self::of(request.uri().query().unwrap_or_default())
    }

    /// What isn't understood is passed over.
    fn of(query: &str) -> Self {
        let number = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let value = pairs.find(|(key, _)| *key == name)?.1;
            value.parse::<u64>().ok()
        };
        let last = number("last").map_or(LAST, |last| usize::try_from(last).unwrap_or(usize::MAX));
        match number("after") {
            Some(after) => Self {
                from: From::After(after),
                wait: Duration::from_secs(number("wait").unwrap_or(0).min(LONGEST)),
            },
            None => Self {
                from: From::Last(last),
                wait: Duration::ZERO,
            },
        }
    }
}

fn describe(excerpt: &Excerpt) -> Value {
    json!({
        "lines": excerpt.lines.iter().map(line).collect::<Vec<_>>(),
        "last": excerpt.last,
        "cut": excerpt.is_cut,
    })
}

fn line(line: &Line) -> Value {
    let time = line.time.duration_since(UNIX_EPOCH).unwrap_or_default();
    json!({
        "number": line.number,
        "time_ms": u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        "bridge": &*line.bridge,
        "level": match line.severity {
            Severity::Error => "error",
            Severity::Warn => "warn",
            Severity::Info => "info",
            Severity::Debug => "debug",
        },
        "source": if line.is_servers { "server" } else { "bridge" },
        "text": line.text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_no_message_is_quoted() {
        for (text, expected) in [
            (
                r#"server wrote a line that is no message error="not JSON" line="a b" not_shown=0"#,
                r#""a b" on stdout, where only messages belong"#,
            ),
            (
                "server wrote a line that is no message line=Listening",
                "Listening on stdout, where only messages belong",
            ),
        ] {
            assert_eq!(misplaced(text), expected);
        }
    }

    #[test]
    fn queries_are_read() {
        for (query, from, wait) in [
            ("", From::Last(LAST), 0),
            ("last=5", From::Last(5), 0),
            ("last=5&wait=3", From::Last(5), 0),
            ("after=7", From::After(7), 0),
            ("wait=3&after=7", From::After(7), 3),
            ("after=0&wait=9999", From::After(0), LONGEST),
            ("last=-1&after=x", From::Last(LAST), 0),
        ] {
            let wait = Duration::from_secs(wait);
            assert_eq!(Asked::of(query), Asked { from, wait }, "{query}");
        }
    }
}
