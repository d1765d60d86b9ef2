//! A result that is none yet: what the client is to be asked before its request is sent again.
//!
//! MCP 2026-07-28, Multi Round-Trip Requests § InputRequiredResult.

use std::borrow::Cow;
use std::collections::HashSet;

use bytes::Bytes;

use crate::jsonrpc::{member, members, string_value};

/// So many things are asked at a time.
pub const MAX_REQUESTS: usize = 32;

/// What a server wants to know before it answers.
#[derive(Debug)]
pub struct InputRequired {
    /// What the client is to be asked, in the server's order.
    pub requests: Vec<InputRequest>,
    /// The JSON text that the server wants back.
    pub state: Option<Bytes>,
}

/// One of several things that a client is to be asked.
#[derive(Debug)]
pub struct InputRequest {
    /// Under which name the server wants the answer: JSON text, with quotes.
    pub key: Bytes,
    /// `elicitation/create`, `sampling/createMessage` or `roots/list`, unless the server errs.
    pub method: String,
    /// The JSON text of the parameters, an object.
    pub params: Option<Bytes>,
}

impl InputRequired {
    /// Reads a result whose type is `input_required`.
    ///
    /// # Errors
    /// In words, when it is none.
    pub(super) fn read(result: &Bytes) -> Result<InputRequired, String> {
        let invalid = |what: &str| Err(format!("the MCP server asks for input, but {what}"));
        let present = |key| member(result, key).filter(|place| place.of(result) != b"null");
        let state = present("requestState").map(|place| place.slice(result));
        let mut requests = Vec::new();
        if let Some(place) = present("inputRequests") {
            let text = place.slice(result);
            if !text.starts_with(b"{") {
                return invalid("its inputRequests are no object");
            }
            let fields = members(&text);
            if fields.len() > MAX_REQUESTS {
                return invalid(&format!("for more than {MAX_REQUESTS} things at once"));
            }
            let mut names = HashSet::new();
            let mut from = 1;
            for (name, value) in &fields {
                if !names.insert(name) {
                    return invalid("for two things under one name");
                }
                let key = quoted(&text, from, value.start());
                from = value.end();
                let request = value.slice(&text);
                let part = |key| member(&request, key).map(|place| place.slice(&request));
                let method = part("method");
                let Some(method) = method.as_deref().and_then(string_value) else {
                    return invalid("does not say by which method");
                };
                requests.push(InputRequest {
                    key,
                    method: Cow::into_owned(method),
                    params: part("params").filter(|params| params.starts_with(b"{")),
                });
            }
        }
        if requests.is_empty() && state.is_none() {
            return invalid("for nothing");
        }
        Ok(InputRequired { requests, state })
    }
}

/// The name of a member between the end of what is before it and the beginning of its value: there are no other quotes.
fn quoted(text: &Bytes, from: usize, to: usize) -> Bytes {
    let between = &text[from..to];
    let first = memchr::memchr(b'"', between).expect("a member has a name");
    let last = memchr::memrchr(b'"', between).expect("a member has a name");
    text.slice(from + first..=from + last)
}
