//! The owner check: which calls are open, and whether an answer is the right one. Pure and synchronous.
//!
//! Every call carries `run-session-sequence-padding` as its text, and its JSON-RPC id is the sequence number, so ids are equal in
//! all sessions on purpose: a bridge that mixes sessions up delivers a right id with another session's text, which is found here.
//! An answer is right when its id is open on this ledger and its text is, byte for byte, what was sent under that id.
//! A ledger belongs to one session, or to one connection of a session; then the connections share the id space by `step`.

use std::borrow::Cow;
use std::io::Write as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::value::RawValue;

/// Bytes of `run-session-sequence-` before the padding: 8 + 1 + 6 + 1 + 12 + 1.
pub(crate) const TAG: usize = 29;

/// The members of `_meta` that the stateless revision requires; this client can be asked nothing.
pub(crate) const STATELESS: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#;

/// Bytes of padding from which on it is checked without a JSON parser.
const LONG: usize = 1024;

/// What a call says of itself in `_meta`, besides a token for progress that it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meta {
    /// Nothing.
    None,
    /// A progress token in any case, as LiteLLM sends it.
    Token,
    /// What the stateless revision requires (MCP 2026-07-28, Overview § `_meta`).
    Stateless,
}

/// What each call of a run looks like.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    /// Tells this run's texts from those of another generator at the same target.
    run: u32,
    padding: Rc<str>,
    /// Progress notifications asked for per call; 0 calls the plain echo tool.
    progress: u32,
    meta: Meta,
}

impl Shape {
    /// Calls whose text is `bytes` long (at least [`TAG`]) and which ask for `progress` notifications each.
    pub(crate) fn new(bytes: usize, progress: u32, meta: Meta) -> Self {
        let clock = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.subsec_nanos());
        Self {
            run: std::process::id().rotate_left(16) ^ clock,
            padding: "x".repeat(bytes.saturating_sub(TAG)).into(),
            progress,
            meta,
        }
    }

    /// The tool that the calls name.
    pub(crate) fn tool(&self) -> &'static str {
        if self.progress > 0 {
            "progress"
        } else {
            "echo"
        }
    }
}

/// A call that was sent and not yet answered.
#[derive(Debug)]
struct Open {
    sequence: u64,
    lane: usize,
    sent: Instant,
    progress: u32,
}

/// The calls of one session (or connection).
#[derive(Debug)]
pub(crate) struct Ledger {
    shape: Shape,
    session: u32,
    next: u64,
    step: u64,
    open: Vec<Open>,
}

/// What a message from the target turned out to be.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// The right answer. `lost` counts progress notifications that should have come before it.
    Answered {
        lane: usize,
        latency: Duration,
        lost: u32,
    },
    /// A progress notification of an open call of this session.
    Progress,
    /// Another notification, or a request of the server.
    Other,
    /// An answer or progress that belongs to somebody else, came twice, or carries a wrong text. The lane of the call it closed.
    Wrong { lane: Option<usize>, why: String },
    /// A JSON-RPC error or tool error for an open call.
    Refused { lane: usize, why: String },
}

impl Ledger {
    /// A ledger whose ids are `first`, `first + step`, ….
    pub(crate) fn new(shape: &Shape, session: u32, first: u64, step: u64) -> Self {
        Self {
            shape: shape.clone(),
            session,
            next: first,
            step,
            open: Vec::new(),
        }
    }

    /// Calls that wait for their answer.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    /// Appends the next `tools/call` to `out` (no newline) and keeps it open. `lane` is handed back with the answer.
    pub(crate) fn call(&mut self, out: &mut Vec<u8>, lane: usize, now: Instant) {
        let sequence = self.next;
        self.next += self.step;
        self.open.push(Open {
            sequence,
            lane,
            sent: now,
            progress: 0,
        });
        let name = self.shape.tool();
        let Shape {
            run,
            padding,
            progress,
            meta,
        } = &self.shape;
        let session = self.session;
        let mut put = || -> std::io::Result<()> {
            write!(
                out,
                r#"{{"jsonrpc":"2.0","id":{sequence},"method":"tools/call","params":{{"name":"{name}","#
            )?;
            let has_token = *progress > 0 || *meta == Meta::Token;
            match (has_token, *meta == Meta::Stateless) {
                (false, false) => {}
                (true, false) => write!(out, r#""_meta":{{"progressToken":{sequence}}},"#)?,
                (false, true) => write!(out, r#""_meta":{{{STATELESS}}},"#)?,
                (true, true) => {
                    write!(
                        out,
                        r#""_meta":{{"progressToken":{sequence},{STATELESS}}},"#
                    )?;
                }
            }
            out.extend_from_slice(br#""arguments":{"#);
            if *progress > 0 {
                write!(out, r#""n":{progress},"#)?;
            }
            write!(out, r#""text":"{run:08x}-{session:06}-{sequence:012}-"#)?;
            out.extend_from_slice(padding.as_bytes());
            out.extend_from_slice(br#""}}}"#);
            Ok(())
        };
        put().expect("writing into a Vec cannot fail");
    }

    /// Judges one message that arrived on this session's way.
    pub(crate) fn settle(&mut self, message: &[u8], now: Instant) -> Verdict {
        match self.without_padding(message) {
            Some(short) => self.judge(&short, true, now),
            None => self.judge(message, false, now),
        }
    }

    /// A long message with the padding of its text checked and taken out, because a JSON parser would cost more than all the rest.
    /// What was equal to the padding had no quote and no escape in it, so the text ends where it ended. `None`: check as usual.
    fn without_padding(&self, message: &[u8]) -> Option<Vec<u8>> {
        let padding = self.shape.padding.as_bytes();
        if padding.len() < LONG {
            return None;
        }
        let start = memchr::memmem::find(message, br#""text":""#)? + br#""text":""#.len() + TAG;
        let (before, rest) = message.split_at_checked(start)?;
        let after = rest
            .strip_prefix(padding)
            .filter(|after| after.first() == Some(&b'"'))?;
        // A backslash before the padding would escape its first byte, and quotes end the text early.
        let is_plain = before[start - TAG..]
            .iter()
            .all(|byte| !matches!(byte, b'\\' | b'"'));
        is_plain.then(|| [before, after].concat())
    }

    fn judge(&mut self, message: &[u8], is_short: bool, now: Instant) -> Verdict {
        let message: Message<'_> = match serde_json::from_slice(message) {
            Ok(message) => message,
            Err(error) => {
                return Verdict::Wrong {
                    lane: None,
                    why: format!("unreadable message: {error}"),
                };
            }
        };
        match (message.id, message.method) {
            (_, Some(method)) if method == "notifications/progress" => {
                self.progress(message.params)
            }
            (_, Some(_)) | (None, None) => Verdict::Other,
            (Some(id), None) => self.answer(id, message.result, message.error, is_short, now),
        }
    }

    fn progress(&mut self, params: Option<&RawValue>) -> Verdict {
        let token = params.and_then(|params| serde_json::from_str::<Token>(params.get()).ok());
        match token.and_then(|token| {
            self.open
                .iter_mut()
                .find(|open| open.sequence == token.progress_token)
        }) {
            Some(open) => {
                open.progress += 1;
                Verdict::Progress
            }
            None => Verdict::Wrong {
                lane: None,
                why: "progress for a call that isn't open here".to_owned(),
            },
        }
    }

    fn answer(
        &mut self,
        id: u64,
        result: Option<Outcome<'_>>,
        error: Option<&RawValue>,
        is_short: bool,
        now: Instant,
    ) -> Verdict {
        let Some(at) = self.open.iter().position(|open| open.sequence == id) else {
            return Verdict::Wrong {
                lane: None,
                why: format!("answer for id {id}, which isn't open here"),
            };
        };
        let Open {
            sequence,
            lane,
            sent,
            progress,
        } = self.open.swap_remove(at);
        let Some(result) = result else {
            let why = error.map_or("answer without result and error", RawValue::get);
            return Verdict::Refused {
                lane,
                why: why.to_owned(),
            };
        };
        let text = result
            .content
            .iter()
            .find_map(|part| part.text.as_deref())
            .unwrap_or("");
        if result.is_error {
            return Verdict::Refused {
                lane,
                why: text.to_owned(),
            };
        }
        if !self.is_text_of(text, sequence, is_short) {
            let shown: String = text.chars().take(TAG).collect();
            let session = self.session;
            return Verdict::Wrong {
                lane: Some(lane),
                why: format!(
                    "session {session}, id {id}: got {} bytes starting {shown:?}",
                    text.len()
                ),
            };
        }
        let lost = self.shape.progress.saturating_sub(progress);
        Verdict::Answered {
            lane,
            latency: now.saturating_duration_since(sent),
            lost,
        }
    }

    fn is_text_of(&self, text: &str, sequence: u64, is_short: bool) -> bool {
        let padding = if is_short { "" } else { &*self.shape.padding };
        let mut tag = [0_u8; TAG];
        let (run, session) = (self.shape.run, self.session);
        let written = write!(&mut tag[..], "{run:08x}-{session:06}-{sequence:012}-");
        let text = text.as_bytes();
        written.is_ok()
            && text.len() >= TAG
            && text[..TAG] == tag
            && text[TAG..] == *padding.as_bytes()
    }
}

/// The part of a message that is judged. The text is borrowed unless it was escaped on the way.
#[derive(Deserialize)]
struct Message<'a> {
    id: Option<u64>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<Outcome<'a>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Outcome<'a> {
    #[serde(borrow, default)]
    content: Vec<Part<'a>>,
    #[serde(default, rename = "isError")]
    is_error: bool,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
}

/// `Cow` alone always copies inside an `Option`; this borrows.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

#[derive(Deserialize)]
struct Token {
    #[serde(rename = "progressToken")]
    progress_token: u64,
}

#[cfg(test)]
mod tests;
