//! A modern client before a legacy server: what its requests become, and what it is answered.
//!
//! MCP 2026-07-28, Overview § `_meta`, § ResultType, § Error Codes; Caching. A request loses the protocol's own keys of
//! `_meta` and keeps all others. A result gains `resultType`, and where a client may keep it, how long: not at all, for a
//! server with a handshake says nothing of that. All other bytes stay as they were.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::Finder;

use super::{MODERN, key};
use crate::jsonrpc::{
    Body, Edit, Message, Outcome, Span, code, is_of_the_request, member, members, outcome,
    retain_members, splice,
};
use crate::mcp::{Version, hide_tasks};

/// Bytes of an answer in which its outcome is looked for; nearly always it begins there.
const HEAD: usize = 4096;
/// MCP 2025-11-25, Resources § Error Handling.
const RESOURCE_NOT_FOUND: i32 = -32002;
/// MCP 2025-11-25, Elicitation § URL Elicitation Required Error. It has no meaning in later revisions.
const URL_ELICITATION_REQUIRED: i32 = -32042;
/// What the revision keeps for itself (MCP 2026-07-28, Overview § Error Codes); a server with a handshake means
/// something else by it.
const RESERVED: RangeInclusive<i32> = -32099..=-32020;

/// A modern `request` as a legacy server gets it.
#[must_use]
pub fn request(request: Message) -> Message {
    let envelope = request.envelope();
    let stateless = |name: &[u8]| matches!(name, b"inputResponses" | b"requestState");
    if let Some(span) = envelope.params
        && (envelope.input_responses.is_some() || envelope.request_state.is_some())
        && let Some(kept) = retain_members(span.of(request.text()), |name| !stateless(name))
        && let Ok(without) = Message::parse(spliced(request.text(), span, &kept))
    {
        return self::request(without);
    }
    let meta = request.part(envelope.meta).unwrap_or_default();
    let kept = if envelope.has_other_meta {
        retain_members(meta, |name| !is_of_the_request(name))
    } else {
        (meta.first() == Some(&b'{')).then(|| b"{}".to_vec())
    };
    match kept {
        Some(kept) => request.with_meta(&kept),
        None => request,
    }
}

/// What the answers to a method carry besides the result itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Nothing: it is no list, and nothing that is read.
    None,
    /// `ttlMs` and `cacheScope` (MCP 2026-07-28, Caching § Cacheable Results).
    Stale,
}

impl Freshness {
    /// Of the results of `method`.
    #[must_use]
    pub fn of(method: &str) -> Freshness {
        match method {
            "server/discover"
            | "tools/list"
            | "prompts/list"
            | "resources/list"
            | "resources/templates/list"
            | "resources/read" => Freshness::Stale,
            _ => Freshness::None,
        }
    }

    /// The members that a result gains, unless it has one of that name.
    fn members(self) -> &'static [(&'static str, &'static str)] {
        const ALL: [(&str, &str); 3] = [
            ("resultType", r#""resultType":"complete""#),
            ("ttlMs", r#""ttlMs":0"#),
            ("cacheScope", r#""cacheScope":"private""#),
        ];
        match self {
            Freshness::None => &ALL[..1],
            Freshness::Stale => &ALL,
        }
    }

    /// All of them, as text.
    fn text(self) -> &'static str {
        static TEXTS: LazyLock<[String; 2]> = LazyLock::new(|| {
            [Freshness::None, Freshness::Stale].map(|freshness| {
                let texts: Vec<&str> = freshness.members().iter().map(|(_, text)| *text).collect();
                texts.join(",")
            })
        });
        let [none, stale] = &*TEXTS;
        match self {
            Freshness::None => none,
            Freshness::Stale => stale,
        }
    }
}

/// An answer on its way to a modern client.
#[derive(Debug)]
pub struct Answer {
    /// The whole message.
    pub body: Body,
    /// The code, if it is an error.
    pub error: Option<i32>,
}

impl Answer {
    /// A modern server's answer, as it came.
    #[must_use]
    pub fn untouched(body: Body) -> Answer {
        let error = match outcome_of(&body) {
            Some(Outcome::Result(_)) => None,
            _ => {
                let text = body.clone().into_bytes();
                member(&text, "error").and_then(|span| error_code(span.of(&text)))
            }
        };
        Answer { body, error }
    }

    /// A legacy server's answer, or one of the bridge itself.
    #[must_use]
    pub fn translated(body: Body, freshness: Freshness) -> Answer {
        if let Some(Outcome::Result(at)) = outcome_of(&body)
            && !mentions(&body, freshness)
            && let Some(body) = insert(&body, at, freshness.text())
        {
            return Answer { body, error: None };
        }
        translated_whole(body.into_bytes(), freshness)
    }
}

/// The same at leisure, for what is an error, or odd.
fn translated_whole(text: Bytes, freshness: Freshness) -> Answer {
    if let Some(error) = member(&text, "error") {
        let object = error.of(&text);
        let code = error_code(object);
        let now = code.map(modern_code);
        let body = match (member(object, "code"), now) {
            (Some(span), Some(now)) if code != Some(now) => {
                spliced(&text, span.inside(error), now.to_string().as_bytes())
            }
            _ => text.clone(),
        };
        return Answer {
            body: body.into(),
            error: now.or(Some(code::INTERNAL_ERROR)),
        };
    }
    let body = member(&text, "result").and_then(|result| {
        let with = completed(result.of(&text), freshness)?;
        Some(spliced(&text, result, &with))
    });
    Answer {
        body: body.unwrap_or(text).into(),
        error: None,
    }
}

/// The object `result` with what it has to gain; `None` when it is no object.
fn completed(result: &[u8], freshness: Freshness) -> Option<Vec<u8>> {
    let rest = result.trim_ascii_start().strip_prefix(b"{")?;
    let has = members(result);
    let gained: Vec<&str> = freshness
        .members()
        .iter()
        .filter(|(name, _)| has.iter().all(|(key, _)| key.as_ref() != name.as_bytes()))
        .map(|(_, text)| *text)
        .collect();
    let comma: &[u8] = if has.is_empty() || gained.is_empty() {
        b""
    } else {
        b","
    };
    Some([b"{", gained.join(",").as_bytes(), comma, rest].concat())
}

/// The code that a modern client is told.
fn modern_code(code: i32) -> i32 {
    match code {
        RESOURCE_NOT_FOUND => code::INVALID_PARAMS,
        URL_ELICITATION_REQUIRED => code::INTERNAL_ERROR,
        code if RESERVED.contains(&code) => code::INTERNAL_ERROR,
        code => code,
    }
}

fn error_code(error: &[u8]) -> Option<i32> {
    let code = member(error, "code")?.of(error);
    std::str::from_utf8(code).ok()?.parse().ok()
}

fn outcome_of(body: &Body) -> Option<Outcome> {
    let [first, second, third] = body.pieces();
    if second.is_empty() && third.is_empty() || first.len() >= HEAD {
        return outcome(&first[..first.len().min(HEAD)]);
    }
    let rest = &third[..third.len().min(HEAD)];
    outcome(&[first, second, rest].concat())
}

/// Whether a name that the result is to gain stands anywhere in it, perhaps where it means what it does there.
fn mentions(body: &Body, freshness: Freshness) -> bool {
    static FINDERS: LazyLock<Vec<Finder<'static>>> = LazyLock::new(|| {
        let names = Freshness::Stale.members().iter();
        names.map(|(name, _)| Finder::new(*name)).collect()
    });
    let finders = &FINDERS[..freshness.members().len()];
    finders.iter().any(|finder| {
        body.pieces()
            .iter()
            .any(|piece| finder.find(piece).is_some())
    })
}

/// Puts `gained` into the object that begins at byte `at`; what follows is shared. `None` when no object begins there, or
/// in the middle of a piece that is to be kept whole.
fn insert(body: &Body, at: usize, gained: &str) -> Option<Body> {
    let pieces = body.pieces();
    let small = body.len().min(at + HEAD);
    let mut before = Vec::with_capacity(small + gained.len() + 8);
    let mut from = 0;
    for (n, piece) in pieces.iter().enumerate() {
        let end = from + piece.len();
        if at >= end {
            before.extend_from_slice(piece);
            from = end;
            continue;
        }
        let inside = at - from;
        if piece[inside] != b'{' {
            return None;
        }
        before.extend_from_slice(&piece[..=inside]);
        before.extend_from_slice(gained.as_bytes());
        let rest = &piece[inside + 1..];
        match rest.iter().find(|byte| !byte.is_ascii_whitespace())? {
            b'}' => {}
            _ => before.push(b','),
        }
        // An id that stands behind the result, and what little follows it.
        let after = &pieces[n + 1..];
        if rest.len() < HEAD {
            before.extend_from_slice(rest);
            for piece in after {
                before.extend_from_slice(piece);
            }
            return Some(Bytes::from(before).into());
        }
        let rest = piece.slice(inside + 1..);
        return Some(Body::of([before.into(), rest, after.concat().into()]));
    }
    None
}

fn spliced(text: &[u8], span: Span, with: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(text.len() + with.len());
    splice(&mut out, text, &mut [Edit { span, with }]);
    out.into()
}

/// The result of `server/discover` for what a server said in the `result` of its handshake (MCP 2026-07-28, Discovery).
#[must_use]
pub fn discovered(result: &[u8]) -> Bytes {
    let hidden = hide_tasks(result);
    let result = hidden.as_deref().unwrap_or(result);
    let part = |name| member(result, name).map(|span| span.of(result));
    let own = |name: &[u8]| {
        matches!(
            name,
            b"protocolVersion" | b"serverInfo" | b"_meta" | b"supportedVersions"
        )
    };
    let mut meta = part("_meta")
        .filter(|meta| meta.first() == Some(&b'{'))
        .unwrap_or(b"{}")
        .to_vec();
    if let Some(info) = part("serverInfo")
        && let Some(without) = meta.strip_suffix(b"}")
    {
        let comma: &[u8] = if members(&meta).is_empty() { b"" } else { b"," };
        let name = format!("\"{}\":", key::SERVER);
        meta = [without, comma, name.as_bytes(), info, b"}"].concat();
    }
    let mut text = format!("{{\"supportedVersions\":{},\"_meta\":", supported()).into_bytes();
    text.extend_from_slice(&meta);
    for (name, value) in members(result) {
        if !own(&name) {
            let name = serde_json::Value::from(String::from_utf8_lossy(&name));
            text.extend_from_slice(format!(",{name}:").as_bytes());
            text.extend_from_slice(value.of(result));
        }
    }
    text.push(b'}');
    completed(&text, Freshness::Stale).unwrap_or(text).into()
}

/// The notification `message` as one of the stream that the request `id` opened.
#[must_use]
pub fn stamped(message: &Message, id: &[u8]) -> Body {
    let envelope = message.envelope();
    let stamp = [b"\"", key::SUBSCRIPTION.as_bytes(), b"\":", id].concat();
    let is_object = |span: Span| span.of(message.text()).first() == Some(&b'{');
    if let Some(span) = envelope.subscription_id {
        return message.replacing(span, id);
    }
    if let Some(meta) = envelope.meta.filter(|span| is_object(*span)) {
        return message.editing(&mut [with_first(message, meta, &stamp)].each_ref().map(edit));
    }
    let stamp = [b"\"_meta\":{", stamp.as_slice(), b"}"].concat();
    if let Some(params) = envelope.params.filter(|span| is_object(*span)) {
        return message.editing(&mut [with_first(message, params, &stamp)].each_ref().map(edit));
    }
    let params = [b",\"params\":{", stamp.as_slice(), b"}"].concat();
    let Some(method) = envelope.method else {
        return message.text().clone().into();
    };
    let span = method.behind();
    message.editing(&mut [Edit {
        span,
        with: &params,
    }])
}

/// The object at `span` with one more member, its first.
fn with_first(message: &Message, span: Span, member: &[u8]) -> (Span, Vec<u8>) {
    let object = span.of(message.text());
    let comma: &[u8] = if members(object).is_empty() {
        b""
    } else {
        b","
    };
    (span, [b"{", member, comma, &object[1..]].concat())
}

fn edit((span, with): &(Span, Vec<u8>)) -> Edit<'_> {
    Edit { span: *span, with }
}

/// The JSON list of the revisions in which a bridge serves a legacy server, the newest first.
#[must_use]
pub fn supported() -> String {
    let legacy = Version::ALL.into_iter().rev().map(Version::name);
    let all: Vec<&str> = std::iter::once(MODERN).chain(legacy).collect();
    serde_json::json!(all).to_string()
}

#[cfg(test)]
mod tests;
