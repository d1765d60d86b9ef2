//! One pass over a JSON text: is it well formed, and where does its envelope stand?
//!
//! The grammar is RFC 8259's. Depth is limited, keys that routing acts on may not come twice (a server that takes the
//! last one where we took the first would let one session speak with another's token), and escaped spellings of keys
//! (`"\u0069d"`) count as the key they spell. For the same reason there may be no `ID` where `id` is meant: some servers'
//! parsers ignore case.

mod parts;
mod scanner;

use std::borrow::Cow;
use std::num::NonZeroU32;

use bytes::Bytes;
pub use parts::{Outcome, member_cuts, outcome, retain_members};
use scanner::{Scanned, Scanner};

/// Lists that are taken apart have no more elements: a body of commas would become many times its size in places.
const MAX_ELEMENTS: usize = 65_536;
/// Arrays and objects nested deeper than this are refused.
pub const MAX_DEPTH: u32 = 128;

/// Bytes of the JSON text of an id or a progress token, which are kept as long as their request is in flight.
pub const MAX_ID: usize = 1024;
/// Unknown members of one message, which are looked through for duplicates.
const MAX_OTHERS: usize = 256;
/// The members of a message.
const MEMBERS: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];
/// The members of `params` that routing acts on besides `_meta`.
const PARAMS: [&str; 5] = ["progressToken", "requestId", "uri", "level", "name"];

/// What the protocol's own keys of `_meta` begin with.
const PROTOCOL: &[u8] = b"io.modelcontextprotocol/";

/// What is wrong with a message that is JSON, once something is.
type Fault = Option<Cow<'static, str>>;

/// A half-open range of bytes in one message, which does not end at its first byte. Messages are far below 4 GiB, so 32
/// bits do, and an absent span takes no room of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: NonZeroU32,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Span {
        let narrow =
            |at: usize| u32::try_from(at).expect("a scanner refuses texts of 4 GiB and more");
        Span {
            start: narrow(start),
            end: NonZeroU32::new(narrow(end)).expect("no part of a message ends before it begins"),
        }
    }

    /// First byte.
    pub fn start(self) -> usize {
        self.start as usize
    }

    /// One past the last byte.
    pub fn end(self) -> usize {
        self.end.get() as usize
    }

    /// The bytes it covers in `text`, shared.
    pub fn slice(self, text: &Bytes) -> Bytes {
        text.slice(self.start()..self.end())
    }

    /// The place right behind its first byte, without a byte: in an object, before its members.
    pub fn inner(self) -> Span {
        Span::new(self.start() + 1, self.start() + 1)
    }

    /// The place right behind it, without a byte.
    pub fn behind(self) -> Span {
        Span::new(self.end(), self.end())
    }

    /// The bytes it covers in `text`.
    pub fn of(self, text: &[u8]) -> &[u8] {
        &text[self.start()..self.end()]
    }

    /// The same place in the whole text, when `self` was found in a slice of it that starts at `outer.start`.
    pub fn inside(self, outer: Span) -> Span {
        Span::new(self.start() + outer.start(), self.end() + outer.start())
    }
}

/// Where the parts of one JSON-RPC message stand. Values include their quotes; absent members are `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Envelope {
    /// `id`: a string, a number, or `null`; at most [`MAX_ID`] bytes.
    pub id: Option<Span>,
    /// `method`, with quotes.
    pub method: Option<Span>,
    /// `params`, whatever its type.
    pub params: Option<Span>,
    /// `result`.
    pub result: Option<Span>,
    /// `error`.
    pub error: Option<Span>,
    /// `params._meta`, whatever its type.
    pub meta: Option<Span>,
    /// `params._meta.progressToken`: what a request asks its progress to be called; absent when it is `null`.
    pub meta_progress_token: Option<Span>,
    /// `params._meta["io.modelcontextprotocol/related-task"]`.
    pub related_task: Option<Span>,
    /// `params._meta["io.modelcontextprotocol/protocolVersion"]`, and so on: what a request of the stateless revisions
    /// says of itself.
    pub meta_version: Option<Span>,
    /// `…/clientInfo`.
    pub meta_client: Option<Span>,
    /// `…/clientCapabilities`.
    pub meta_capabilities: Option<Span>,
    /// `…/logLevel`.
    pub meta_level: Option<Span>,
    /// `…/subscriptionId`, of notifications.
    pub subscription_id: Option<Span>,
    /// `params.progressToken`, of `notifications/progress`.
    pub progress_token: Option<Span>,
    /// `params.requestId`, of `notifications/cancelled`.
    pub request_id: Option<Span>,
    /// `params.uri`.
    pub uri: Option<Span>,
    /// `params.level`.
    pub level: Option<Span>,
    /// `params.name`.
    pub name: Option<Span>,
    /// `params.inputResponses`.
    pub input_responses: Option<Span>,
    /// `params.requestState`.
    pub request_state: Option<Span>,
    /// A raw CR or LF stands between tokens.
    pub has_line_break: bool,
    /// `params._meta` has members besides the four that a request of the stateless revisions says of itself.
    pub has_other_meta: bool,
    /// The method is spelled with escapes.
    pub has_odd_method: bool,
}

/// Why a text is no JSON-RPC message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// Not JSON: −32700.
    #[error("not valid JSON: unexpected {found} at byte {at}")]
    Syntax {
        /// Offset of the first byte that does not fit.
        at: usize,
        /// That byte in words.
        found: Cow<'static, str>,
    },
    /// Nested deeper than [`MAX_DEPTH`]: −32700.
    #[error("nested deeper than {MAX_DEPTH} levels at byte {at}")]
    TooDeep {
        /// Offset of the bracket that went too far.
        at: usize,
    },
    /// JSON, but not a JSON-RPC 2.0 message: −32600.
    #[error("{reason}")]
    Invalid {
        /// What is wrong, in words.
        reason: Cow<'static, str>,
        /// The message's id where one was found, so that the answer can carry it.
        id: Option<Span>,
    },
}

/// Reads `text` once and returns where its envelope stands.
///
/// # Errors
/// [`ScanError`], when the text is not one JSON object, or when a member that routing acts on is there twice, in two
/// cases, or is no value for it.
pub fn scan(text: &[u8]) -> Result<Envelope, ScanError> {
    let mut scanner = Scanner::new(text)?;
    scanner.whitespace();
    if scanner.peek() != Some(b'{') {
        scanner.value()?;
        scanner.end()?;
        return Err(ScanError::Invalid {
            reason: "a JSON-RPC message is an object".into(),
            id: None,
        });
    }
    let mut envelope = Envelope::default();
    let mut version = None;
    let mut others: Vec<Cow<'_, [u8]>> = Vec::new();
    let mut fault = None;
    scanner.object(|scanner, key| {
        let slot = match key.as_ref() {
            b"jsonrpc" => &mut version,
            b"id" => &mut envelope.id,
            b"method" => &mut envelope.method,
            b"params" => &mut envelope.params,
            b"result" => &mut envelope.result,
            b"error" => &mut envelope.error,
            _ => {
                if let Some(name) = MEMBERS.into_iter().find(|name| resembles(&key, name)) {
                    fault.get_or_insert_with(|| in_another_case(&key, name));
                } else if others.len() == MAX_OTHERS {
                    fault.get_or_insert_with(|| {
                        format!("a message has at most {MAX_OTHERS} unknown members").into()
                    });
                } else if others.contains(&key) {
                    fault.get_or_insert_with(|| twice("", &key));
                } else {
                    others.push(key);
                }
                return scanner.value().map(drop);
            }
        };
        if slot.is_some() {
            fault.get_or_insert_with(|| twice("", &key));
        }
        match key.as_ref() {
            b"params" => envelope.params = Some(params(scanner, &mut envelope, &mut fault)?),
            b"method" => {
                envelope.method = Some(scanner.value()?);
                envelope.has_odd_method = scanner.escaped;
            }
            _ => *slot = Some(scanner.value()?),
        }
        Ok(())
    })?;
    scanner.end()?;
    envelope.has_line_break = scanner.line_break;
    let id = envelope.id.filter(|id| is_id(id.of(text)));
    let invalid = |reason: Cow<'static, str>| Err(ScanError::Invalid { reason, id });
    if envelope.id != id {
        let reason = format!("an id is a string or a number of at most {MAX_ID} bytes");
        return invalid(reason.into());
    }
    if let Some(reason) = fault {
        return invalid(reason);
    }
    if version.map(|span| span.of(text)) != Some(b"\"2.0\"") {
        return invalid("member \"jsonrpc\" must be \"2.0\"".into());
    }
    if envelope
        .method
        .is_some_and(|method| method.of(text)[0] != b'"')
    {
        return invalid("member \"method\" must be a string".into());
    }
    if let Some(token) = envelope.meta_progress_token {
        match token.of(text) {
            b"null" => envelope.meta_progress_token = None,
            token if token.len() > MAX_ID => {
                let reason = format!("a progress token has at most {MAX_ID} bytes");
                return invalid(reason.into());
            }
            _ => {}
        }
    }
    Ok(envelope)
}

/// The elements of the array in `text`, for batches.
///
/// # Errors
/// [`ScanError`], when the text is not one JSON array.
pub fn array_elements(text: &[u8]) -> Result<Vec<Span>, ScanError> {
    let mut scanner = Scanner::new(text)?;
    let mut elements = Vec::new();
    scanner.whitespace();
    scanner.array(|scanner| {
        if elements.len() == MAX_ELEMENTS {
            let reason = format!("a list has at most {MAX_ELEMENTS} elements").into();
            return Err(ScanError::Invalid { reason, id: None });
        }
        elements.push(scanner.value()?);
        Ok(())
    })?;
    scanner.end()?;
    Ok(elements)
}

/// The span of the value of `key` in the object `text`, if it is one and has it; the first, if it has several.
pub fn member(text: &[u8], key: &str) -> Option<Span> {
    let mut found = None;
    each_member(text, |name, value| {
        if found.is_none() && name.as_ref() == key.as_bytes() {
            found = Some(value);
        }
    })?;
    found
}

/// Keys (decoded) and value spans of the object `text`; empty when it is no object.
pub fn members(text: &[u8]) -> Vec<(Cow<'_, [u8]>, Span)> {
    let mut found = Vec::new();
    match each_member(text, |name, value| found.push((name, value))) {
        Some(()) => found,
        None => Vec::new(),
    }
}

/// `None` when `text` does not begin with an object.
fn each_member<'a>(text: &'a [u8], mut take: impl FnMut(Cow<'a, [u8]>, Span)) -> Option<()> {
    let mut scanner = Scanner::new(text).ok()?;
    scanner.whitespace();
    let outcome = scanner.object(|scanner, key| {
        take(key, scanner.value()?);
        Ok(())
    });
    outcome.ok()
}

/// What the JSON string `text` (with its quotes) says; `None` when it is no string or spells no Unicode text.
pub fn string_value(text: &[u8]) -> Option<Cow<'_, str>> {
    let inner = text.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if memchr::memchr(b'\\', inner).is_none() {
        return std::str::from_utf8(inner).ok().map(Cow::Borrowed);
    }
    serde_json::from_slice(text).ok().map(Cow::Owned)
}

/// `params`: its span, with the places of the keys that routing acts on noted in `envelope`.
fn params(scanner: &mut Scanner<'_>, envelope: &mut Envelope, fault: &mut Fault) -> Scanned<Span> {
    if scanner.peek() != Some(b'{') {
        return scanner.value();
    }
    let start = scanner.at;
    let mut lookalikes = [false; PARAMS.len()];
    scanner.object(|scanner, key| {
        let slot = match key.as_ref() {
            b"_meta" => &mut envelope.meta,
            b"progressToken" => &mut envelope.progress_token,
            b"requestId" => &mut envelope.request_id,
            b"uri" => &mut envelope.uri,
            b"level" => &mut envelope.level,
            b"name" => &mut envelope.name,
            b"inputResponses" => &mut envelope.input_responses,
            b"requestState" => &mut envelope.request_state,
            _ => {
                if resembles(&key, "_meta") {
                    fault.get_or_insert_with(|| in_another_case(&key, "params._meta"));
                }
                if let Some(at) = PARAMS.iter().position(|name| resembles(&key, name)) {
                    lookalikes[at] = true;
                }
                return scanner.value().map(drop);
            }
        };
        if slot.is_some() {
            fault.get_or_insert_with(|| twice("params.", &key));
        }
        if key.as_ref() == b"_meta" {
            envelope.meta = Some(meta(scanner, envelope, fault)?);
        } else {
            *slot = Some(scanner.value()?);
        }
        Ok(())
    })?;
    let found = [
        envelope.progress_token,
        envelope.request_id,
        envelope.uri,
        envelope.level,
        envelope.name,
    ];
    for (at, name) in PARAMS.into_iter().enumerate() {
        if lookalikes[at] && found[at].is_some() {
            fault.get_or_insert_with(|| twice("params.", name.as_bytes()));
        }
    }
    Ok(Span::new(start, scanner.at))
}

fn meta(scanner: &mut Scanner<'_>, envelope: &mut Envelope, fault: &mut Fault) -> Scanned<Span> {
    if scanner.peek() != Some(b'{') {
        return scanner.value();
    }
    let start = scanner.at;
    scanner.object(|scanner, key| {
        envelope.has_other_meta |= !is_of_the_request(&key);
        let slot = match key.as_ref() {
            b"progressToken" => &mut envelope.meta_progress_token,
            key if key.starts_with(PROTOCOL) => match &key[PROTOCOL.len()..] {
                b"related-task" => &mut envelope.related_task,
                b"protocolVersion" => &mut envelope.meta_version,
                b"clientInfo" => &mut envelope.meta_client,
                b"clientCapabilities" => &mut envelope.meta_capabilities,
                b"logLevel" => &mut envelope.meta_level,
                b"subscriptionId" => &mut envelope.subscription_id,
                _ => return scanner.value().map(drop),
            },
            _ => {
                if resembles(&key, "progressToken") {
                    let name = "params._meta.progressToken";
                    fault.get_or_insert_with(|| in_another_case(&key, name));
                }
                return scanner.value().map(drop);
            }
        };
        if slot.is_some() {
            fault.get_or_insert_with(|| twice("params._meta.", &key));
        }
        *slot = Some(scanner.value()?);
        Ok(())
    })?;
    Ok(Span::new(start, scanner.at))
}

/// Whether `key` of `_meta` is what a request of the stateless revisions says of itself.
pub fn is_of_the_request(key: &[u8]) -> bool {
    let own = key.strip_prefix(PROTOCOL);
    matches!(
        own,
        Some(b"protocolVersion" | b"clientInfo" | b"clientCapabilities" | b"logLevel")
    )
}

fn is_id(text: &[u8]) -> bool {
    text.len() <= MAX_ID && matches!(text[0], b'"' | b'-' | b'0'..=b'9' | b'n')
}

/// Whether a parser that ignores case (Go's `encoding/json` does, by Unicode's simple folding) takes `key` for `name`.
fn resembles(key: &[u8], name: &str) -> bool {
    if key.is_ascii() {
        return key.eq_ignore_ascii_case(name.as_bytes());
    }
    std::str::from_utf8(key).is_ok_and(|key| {
        let plain = key.replace('\u{17f}', "s").replace('\u{212a}', "k");
        plain.eq_ignore_ascii_case(name)
    })
}

fn twice(place: &str, key: &[u8]) -> Cow<'static, str> {
    format!("member \"{place}{}\" is there twice", shown(key)).into()
}

fn in_another_case(key: &[u8], name: &str) -> Cow<'static, str> {
    format!("member \"{}\" is not \"{name}\"", shown(key)).into()
}

fn shown(key: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(&key[..key.len().min(64)])
}

#[cfg(test)]
mod tests;
