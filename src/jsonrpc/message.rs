//! One JSON-RPC message: its text and the places of its envelope.

mod meta;

use std::borrow::Cow;

use bytes::Bytes;

use super::scan::string_value;
use super::{Edit, Envelope, ScanError, Span, scan, single_line, splice};

/// Texts up to this size are copied whole when an edit is made; larger ones go out as pieces that share the original.
const COPY_BELOW: usize = 8 * 1024;

/// What a message is, by the members it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `method` and `id`.
    Request,
    /// `method` without `id`.
    Notification,
    /// `id` and either `result` or `error`.
    Answer,
}

/// One well-formed JSON-RPC 2.0 message.
#[derive(Debug, Clone)]
pub struct Message {
    text: Bytes,
    envelope: Envelope,
    kind: Kind,
}

impl Message {
    /// Checks `text` and finds its envelope.
    ///
    /// # Errors
    /// [`ScanError`], when it is no JSON, no JSON-RPC 2.0 message, or not UTF-8.
    pub fn parse(text: Bytes) -> Result<Message, ScanError> {
        if let Err(error) = std::str::from_utf8(&text) {
            return Err(ScanError::Syntax {
                at: error.valid_up_to(),
                found: "bytes that are not UTF-8".into(),
            });
        }
        Message::of_utf_8(text)
    }

    fn of_utf_8(text: Bytes) -> Result<Message, ScanError> {
        let envelope = scan(&text)?;
        let invalid = |reason: &'static str| {
            Err(ScanError::Invalid {
                reason: Cow::Borrowed(reason),
                id: envelope.id,
            })
        };
        let kind = match (
            envelope.method,
            envelope.id,
            envelope.result,
            envelope.error,
        ) {
            (Some(_), None, None, None) => Kind::Notification,
            (Some(_), Some(id), None, None) if id.of(&text) != b"null" => Kind::Request,
            (Some(_), Some(_), None, None) => return invalid("a request's id must not be null"),
            (None, Some(_), Some(_), None) | (None, Some(_), None, Some(_)) => Kind::Answer,
            (Some(_), _, _, _) => {
                return invalid("a message with \"method\" has neither \"result\" nor \"error\"");
            }
            (None, None, Some(_), None) | (None, None, None, Some(_)) => {
                return invalid("an answer needs an \"id\"");
            }
            (None, _, Some(_), Some(_)) => {
                return invalid("an answer has either \"result\" or \"error\"");
            }
            (None, _, None, None) => {
                return invalid("a message has a \"method\", a \"result\" or an \"error\"");
            }
        };
        Ok(Message {
            text,
            envelope,
            kind,
        })
    }

    /// The same for a server's line: bytes that are not UTF-8 are replaced, a byte order mark in front is passed over.
    ///
    /// # Errors
    /// As [`Message::parse`].
    pub fn parse_lossy(mut line: Bytes) -> Result<Message, ScanError> {
        if line.starts_with(b"\xef\xbb\xbf") {
            line = line.slice(3..);
        }
        if std::str::from_utf8(&line).is_err() {
            line = String::from_utf8_lossy(&line).into_owned().into();
        }
        Message::of_utf_8(line)
    }

    /// The whole text.
    pub fn text(&self) -> &Bytes {
        &self.text
    }

    /// Where its parts stand.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The bytes of a part.
    pub fn part(&self, span: Option<Span>) -> Option<&[u8]> {
        span.map(|span| span.of(&self.text))
    }

    /// The JSON text of the id.
    pub fn id(&self) -> Option<&[u8]> {
        self.part(self.envelope.id)
    }

    /// The method's name, decoded; empty for an answer.
    pub fn method(&self) -> Cow<'_, str> {
        let Some(text) = self.part(self.envelope.method) else {
            return Cow::Borrowed("");
        };
        if self.envelope.has_odd_method {
            return string_value(text).unwrap_or_default();
        }
        let name = std::str::from_utf8(&text[1..text.len() - 1]);
        Cow::Borrowed(name.expect("a message is UTF-8"))
    }

    /// The result of a successful answer, as text that shares this message's bytes.
    pub fn result(&self) -> Option<Bytes> {
        let span = self.envelope.result?;
        Some(span.slice(&self.text))
    }

    /// Appends the text to `out` as one line, with `edits` made and a newline at its end.
    pub fn write_line(&self, out: &mut Vec<u8>, edits: &mut [Edit<'_>]) {
        let start = out.len();
        splice(out, &self.text, edits);
        if self.envelope.has_line_break {
            single_line(&mut out[start..]);
        }
        out.push(b'\n');
    }

    /// The text with `edits` made, in order, in pieces that share it. Line breaks in it stay.
    pub fn pieces<'m>(&'m self, edits: &'m mut [Edit<'_>]) -> impl Iterator<Item = Bytes> + 'm {
        edits.sort_unstable_by_key(|edit| edit.span.start());
        let starts = std::iter::once(0).chain(edits.iter().map(|edit| edit.span.end()));
        let ends = edits.iter().map(|edit| edit.span.start());
        let ends = ends.chain([self.text.len()]);
        let between = starts
            .zip(ends)
            .map(|(start, end)| self.text.slice(start..end));
        let with = edits.iter().map(|edit| Bytes::copy_from_slice(edit.with));
        between
            .zip(with.map(Some).chain([None]))
            .flat_map(|(text, with)| [Some(text), with])
            .flatten()
    }

    /// The text as one line (without a newline at its end), with `span` replaced by `with`.
    pub fn replacing(&self, span: Span, with: &[u8]) -> Body {
        if self.text.len() > COPY_BELOW && !self.envelope.has_line_break {
            return Body([
                self.text.slice(..span.start()),
                Bytes::copy_from_slice(with),
                self.text.slice(span.end()..),
            ]);
        }
        self.editing(&mut [Edit { span, with }])
    }

    /// The text as one line (without a newline at its end), with `edits` made.
    pub fn editing(&self, edits: &mut [Edit<'_>]) -> Body {
        if edits.is_empty() && !self.envelope.has_line_break && self.text.len() > COPY_BELOW {
            return self.text.clone().into();
        }
        let mut out = Vec::with_capacity(self.text.len() + 32);
        splice(&mut out, &self.text, edits);
        if self.envelope.has_line_break {
            single_line(&mut out);
        }
        Bytes::from(out).into()
    }
}

/// A message on its way out, in at most three pieces so that large ones are not copied.
#[derive(Debug, Clone, Default)]
pub struct Body([Bytes; 3]);

impl Body {
    /// These, in order; some may be empty.
    pub fn of(pieces: [Bytes; 3]) -> Body {
        Body(pieces)
    }

    /// Its size in bytes.
    pub fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pieces in order; some may be empty.
    pub fn pieces(&self) -> &[Bytes; 3] {
        &self.0
    }

    /// One contiguous text.
    pub fn into_bytes(self) -> Bytes {
        let mut filled = self.0.iter().filter(|piece| !piece.is_empty());
        match (filled.next(), filled.next()) {
            (only, None) => only.cloned().unwrap_or_default(),
            _ => self.0.concat().into(),
        }
    }
}

impl From<Bytes> for Body {
    fn from(text: Bytes) -> Body {
        Body([text, Bytes::new(), Bytes::new()])
    }
}

#[cfg(test)]
mod tests;
