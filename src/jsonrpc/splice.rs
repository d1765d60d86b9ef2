//! Edits as spans and bytes: everything outside an edit stays as it was.

use bytes::Bytes;

use super::Span;

/// Puts `with` in the place of `span`.
#[derive(Debug, Clone, Copy)]
pub struct Edit<'a> {
    /// What goes.
    pub span: Span,
    /// What comes; empty to delete.
    pub with: &'a [u8],
}

/// Appends `text` to `out` with `edits` made. The edits may come in any order but must not overlap.
pub fn splice(out: &mut Vec<u8>, text: &[u8], edits: &mut [Edit<'_>]) {
    edits.sort_unstable_by_key(|edit| edit.span.start());
    let mut from = 0;
    for edit in edits.iter() {
        out.extend_from_slice(&text[from..edit.span.start()]);
        out.extend_from_slice(edit.with);
        from = edit.span.end();
    }
    out.extend_from_slice(&text[from..]);
}

/// A copy of a part of a message that stands on one line and shares nothing with it.
pub fn one_line(text: &[u8]) -> Bytes {
    let mut text = text.to_vec();
    single_line(&mut text);
    text.into()
}

/// Turns CR and LF into spaces. In JSON they stand raw only between tokens, so nothing that the text says changes.
pub fn single_line(text: &mut [u8]) {
    for byte in text {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}
