//! Messages of legacy clients for a modern server, and its answers for them: as bytes, and pure.
//!
//! MCP 2026-07-28, Overview § `_meta`: every request says its revision, who the client is and what it can be asked, which
//! a legacy client says once, in `initialize`. What a result has that a legacy one has not (§ ResultType; Caching) is
//! taken out, and codes of errors become those that a legacy client knows. What is no answer yet is told apart.

mod discover;
mod input;

use bytes::Bytes;

pub use discover::{Versions, discover_request, initialize_result};
pub use input::{InputRequest, InputRequired, MAX_REQUESTS};

use super::{MODERN, key};
use crate::jsonrpc::{
    Message, Span, code, member, member_cuts, members, one_line, retain_members, string_value,
};
use crate::mcp::Level;

/// What is said of a client in each request is at most so long: it is kept as long as its session.
pub const MAX_INTRODUCTION: usize = 16 * 1024;

/// MCP 2025-11-25, Resources § Error Handling.
const RESOURCE_NOT_FOUND: i32 = -32002;
/// The extension that tasks have become: nothing that a legacy client knows.
const TASKS: &[u8] = b"io.modelcontextprotocol/tasks";

/// What a client says of itself in each request.
#[derive(Debug, Clone)]
pub struct Introduction {
    client: Bytes,
    capabilities: Bytes,
}

impl Introduction {
    /// The bridge's own: it can be asked nothing.
    #[must_use]
    pub fn own() -> Introduction {
        let client = serde_json::json!({
            "name": env!("CARGO_PKG_NAME"),
            "version": env!("CARGO_PKG_VERSION"),
        });
        Introduction {
            client: client.to_string().into(),
            capabilities: Bytes::from_static(b"{}"),
        }
    }

    /// What the `params` of a client's `initialize` say, as the client wrote it; without tasks, which are not what they
    /// were.
    ///
    /// # Errors
    /// How long it is, when that is more than [`MAX_INTRODUCTION`].
    pub fn of(params: &[u8]) -> Result<Introduction, usize> {
        let own = Introduction::own();
        let part = |key| {
            let text = member(params, key)?.of(params);
            text.starts_with(b"{").then_some(text)
        };
        let length = ["clientInfo", "capabilities"].map(|key| part(key).map_or(0, <[u8]>::len));
        let length = length.iter().sum();
        if length > MAX_INTRODUCTION {
            return Err(length);
        }
        let said = |key| part(key).map(one_line);
        Ok(Introduction {
            client: said("clientInfo").unwrap_or(own.client),
            capabilities: said("capabilities").map_or(own.capabilities, |text| {
                let text = retain_members(&text, |name| name != b"tasks").map_or(text, Bytes::from);
                without_tasks_extension(&text).map_or(text, Bytes::from)
            }),
        })
    }

    /// The members of `_meta` that say it.
    #[must_use]
    pub fn members(&self) -> String {
        let text = String::from_utf8_lossy;
        format!(
            r#""{}":"{MODERN}","{}":{},"{}":{}"#,
            key::VERSION,
            key::CLIENT,
            text(&self.client),
            key::CAPABILITIES,
            text(&self.capabilities)
        )
    }
}

/// What a request is sent with besides its own bytes.
#[derive(Debug, Clone, Copy)]
pub struct Added<'a> {
    /// The id that it goes under, which is its progress token too.
    pub id: &'a [u8],
    /// Who asks.
    pub introduction: &'a Introduction,
    /// The log lines that are wanted.
    pub level: Option<Level>,
    /// The JSON text of `inputResponses`: what the server asked for when the request was sent last.
    pub responses: Option<&'a [u8]>,
    /// The JSON text of `requestState`: what the server wants back.
    pub state: Option<&'a [u8]>,
}

/// A text that goes to a place.
pub type Placed = (Span, Vec<u8>);

/// What goes where in `message`, a request of a legacy client, to make it one for a modern server. Other bytes stay.
#[must_use]
pub fn request(message: &Message, added: &Added<'_>) -> Vec<Placed> {
    let envelope = message.envelope();
    let level = added.level.map(|level| format!("\"{}\"", level.name()));
    let version = format!("\"{MODERN}\"");
    let introduction = added.introduction;
    let of_meta = [
        (
            key::VERSION,
            envelope.meta_version,
            Some(version.as_bytes()),
        ),
        (
            key::CLIENT,
            envelope.meta_client,
            Some(&*introduction.client),
        ),
        (
            key::CAPABILITIES,
            envelope.meta_capabilities,
            Some(&*introduction.capabilities),
        ),
        (
            key::LEVEL,
            envelope.meta_level,
            level.as_ref().map(String::as_bytes),
        ),
    ];
    let of_params = [
        ("inputResponses", envelope.input_responses, added.responses),
        ("requestState", envelope.request_state, added.state),
    ];

    let mut edits = Vec::with_capacity(6);
    let id = envelope.id.expect("a request has an id");
    edits.push((id, added.id.to_vec()));
    let params = message.part(envelope.params).unwrap_or(b"null");
    let mut new_params = Vec::new();
    match (envelope.meta, message.part(envelope.meta)) {
        (Some(place), Some(meta)) if meta.starts_with(b"{") => {
            if let Some(token) = envelope.meta_progress_token {
                edits.push((token, added.id.to_vec()));
            }
            let new = place_or_collect(of_meta, &mut edits);
            edits.push((place.inner(), in_front(&new, meta)));
        }
        (Some(place), Some(_)) => {
            let new = place_or_collect(of_meta, &mut edits);
            edits.push((place, object(&new)));
        }
        _ => {
            let new = place_or_collect(of_meta, &mut edits);
            new_params.push([b"\"_meta\":", object(&new).as_slice()].concat());
        }
    }
    new_params.extend(place_or_collect(of_params, &mut edits));
    match envelope.params {
        Some(place) if params.starts_with(b"{") => {
            edits.push((place.inner(), in_front(&new_params, params)));
        }
        Some(place) if params == b"null" => edits.push((place, object(&new_params))),
        // A list is nothing that the server takes; it shall say so itself.
        Some(_) => {}
        None => {
            let method = envelope.method.expect("a request has a method");
            let params = object(&new_params);
            edits.push((
                method.behind(),
                [b",\"params\":", params.as_slice()].concat(),
            ));
        }
    }
    edits
}

/// A member's name, where its value stands in a message already, and the value that it is to have.
type Wanted<'a> = (&'a str, Option<Span>, Option<&'a [u8]>);

/// Replaces the values that are there already, and returns the members that are not.
fn place_or_collect<const N: usize>(
    members: [Wanted<'_>; N],
    edits: &mut Vec<Placed>,
) -> Vec<Vec<u8>> {
    let mut new = Vec::with_capacity(N);
    for (key, place, value) in members {
        match (place, value) {
            (Some(place), Some(value)) => edits.push((place, value.to_vec())),
            (None, Some(value)) => new.push([format!("\"{key}\":").as_bytes(), value].concat()),
            (_, None) => {}
        }
    }
    new
}

fn object(members: &[Vec<u8>]) -> Vec<u8> {
    [b"{", members.join(&b","[..]).as_slice(), b"}"].concat()
}

/// `members` as they stand in front of those of `object`.
fn in_front(members: &[Vec<u8>], object: &[u8]) -> Vec<u8> {
    let mut text = members.join(&b","[..]);
    let is_empty = object[1..].trim_ascii_start().starts_with(b"}");
    if !text.is_empty() && !is_empty {
        text.push(b',');
    }
    text
}

/// What a result is to a legacy client.
#[derive(Debug)]
pub enum Answer {
    /// Its answer, once these places are gone.
    Complete(Vec<Span>),
    /// None yet: the client is to be asked something first.
    InputRequired(InputRequired),
    /// Nothing that it can be told, and why not.
    Invalid(String),
}

/// What a modern server's `result` is to a legacy client.
#[must_use]
pub fn answer(result: &Bytes) -> Answer {
    let fields = members(result);
    let kind = fields.iter().find(|(key, _)| key.as_ref() == b"resultType");
    let kind = kind.map(|(_, value)| value.of(result));
    let name = kind.map(|kind| string_value(kind).unwrap_or_else(|| String::from_utf8_lossy(kind)));
    match name.as_deref() {
        None | Some("complete") => Answer::Complete(member_cuts(result, &fields, |key| {
            matches!(key, b"resultType" | b"ttlMs" | b"cacheScope")
        })),
        Some("input_required") => {
            InputRequired::read(result).map_or_else(Answer::Invalid, Answer::InputRequired)
        }
        Some(name) => {
            let name: String = name.chars().take(100).collect();
            let text = format!("the MCP server answered with a result of the unknown type {name}");
            Answer::Invalid(text)
        }
    }
}

/// Where the code stands in the error `object`, and which one a legacy client is told instead; `None` when it may stay.
/// `reading`: it answers `resources/read`.
#[must_use]
pub fn error_code(object: &[u8], reading: bool) -> Option<(Span, i32)> {
    let place = member(object, "code")?;
    let number: i64 = std::str::from_utf8(place.of(object)).ok()?.parse().ok()?;
    match number {
        // MCP 2026-07-28, Overview § Error Codes: it was replaced by −32602.
        -32602 if reading => Some((place, RESOURCE_NOT_FOUND)),
        // Codes of this revision, about what the bridge has said and the client can't say otherwise.
        -32099..=-32020 => Some((place, code::INTERNAL_ERROR)),
        _ => None,
    }
}

/// `capabilities` without the extension; `None` when it isn't there.
fn without_tasks_extension(capabilities: &[u8]) -> Option<Vec<u8>> {
    let place = member(capabilities, "extensions")?;
    let fewer = retain_members(place.of(capabilities), |name| name != TASKS)?;
    let (before, behind) = (&capabilities[..place.start()], &capabilities[place.end()..]);
    Some([before, &fewer, behind].concat())
}

#[cfg(test)]
mod tests;
