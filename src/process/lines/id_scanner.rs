//! Finds the top-level `id` of a JSON object that comes in pieces and is never held as a whole.
//!
//! A state machine of depth, strings and, at depth 1, the place in `key: value, …`. It is not a validator: what is not
//! JSON yields no id or a wrong one, and the caller compares with the ids that it waits for. Inside strings, where most
//! bytes of a large message are, it jumps from quote to quote.

use bytes::Bytes;

/// A longer id is not remembered.
const MAX_ID: usize = 1024;
/// The longest spelling of the keys that matter: `"method"` with each letter as `\u006d`.
const MAX_KEY: usize = 2 + 6 * 6;

#[derive(Debug, Default)]
pub(super) struct IdScanner {
    depth: u64,
    place: Place,
    in_string: bool,
    /// The last byte was a backslash inside a string.
    escaped: bool,
    /// The bytes of the key or the id that is being read at depth 1.
    capture: Option<Capture>,
    id: Option<Bytes>,
    method: bool,
}

/// Where in the top-level object.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    BeforeObject,
    BeforeKey,
    AfterKey(Key),
    BeforeValue(Key),
    /// In a value or after it.
    Value,
    /// After the object, or in something that is none: nothing matters any more.
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Id,
    Other,
}

#[derive(Debug)]
struct Capture {
    bytes: Vec<u8>,
    limit: usize,
    is_key: bool,
}

impl Capture {
    fn key() -> Self {
        Self::new(MAX_KEY, true)
    }

    fn id() -> Self {
        Self::new(MAX_ID, false)
    }

    fn new(limit: usize, is_key: bool) -> Self {
        Self {
            bytes: Vec::new(),
            limit,
            is_key,
        }
    }

    /// One byte over the limit is kept to know that it was passed.
    fn push(&mut self, bytes: &[u8]) {
        let room = (self.limit + 1).saturating_sub(self.bytes.len());
        self.bytes
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn complete(self) -> Option<Vec<u8>> {
        (self.bytes.len() <= self.limit).then_some(self.bytes)
    }
}

impl IdScanner {
    /// Takes the next piece.
    pub(super) fn feed(&mut self, mut piece: &[u8]) {
        while self.place != Place::Over {
            if self.in_string {
                let Some(rest) = self.string(piece) else {
                    return;
                };
                piece = rest;
            } else {
                let Some((&byte, rest)) = piece.split_first() else {
                    return;
                };
                self.byte(byte);
                piece = rest;
            }
        }
    }

    /// The JSON text of the id, and whether there was a `method`.
    pub(super) fn finish(self) -> (Option<Bytes>, bool) {
        (self.id, self.method)
    }

    /// Goes on inside a string. Returns what follows its next quote or escape, or nothing if the piece is used up.
    fn string<'a>(&mut self, piece: &'a [u8]) -> Option<&'a [u8]> {
        let taken = if self.escaped {
            1
        } else {
            memchr::memchr2(b'"', b'\\', piece).map_or(piece.len(), |at| at + 1)
        };
        let (taken, rest) = piece.split_at_checked(taken)?;
        if let Some(capture) = &mut self.capture {
            capture.push(taken);
        }
        let last = taken.last()?;
        if self.escaped {
            self.escaped = false;
        } else if *last == b'\\' {
            self.escaped = true;
        } else if *last == b'"' {
            self.in_string = false;
            self.string_ended();
        }
        Some(rest)
    }

    fn string_ended(&mut self) {
        let Some(capture) = self.capture.take() else {
            return;
        };
        if !capture.is_key {
            self.id = capture.complete().map(Bytes::from);
            return;
        }
        let name: Option<String> = capture
            .complete()
            .and_then(|text| serde_json::from_slice(&text).ok());
        let key = match name.as_deref() {
            Some("id") => Key::Id,
            Some("method") => {
                self.method = true;
                Key::Other
            }
            _ => Key::Other,
        };
        self.place = Place::AfterKey(key);
    }

    /// A byte outside strings.
    fn byte(&mut self, byte: u8) {
        match (self.depth, byte) {
            (0, b' ' | b'\t' | b'\r') => {}
            (0, b'{') => {
                self.depth = 1;
                self.place = Place::BeforeKey;
            }
            (0, _) => self.place = Place::Over,
            (1, _) => self.top_level(byte),
            (_, b'"') => self.in_string = true,
            (_, b'{' | b'[') => self.depth += 1,
            (_, b'}' | b']') => self.depth -= 1,
            _ => {}
        }
    }

    /// A byte of the top-level object outside strings.
    fn top_level(&mut self, byte: u8) {
        match (self.place, byte) {
            (_, b' ' | b'\t' | b'\r') => self.scalar_ended(),
            (Place::BeforeKey, b'"') => {
                self.in_string = true;
                self.begin(Capture::key(), byte);
            }
            (Place::AfterKey(key), b':') => self.place = Place::BeforeValue(key),
            (Place::BeforeValue(key), _) => {
                self.place = Place::Value;
                match byte {
                    b'{' | b'[' => {
                        self.depth = 2;
                        return;
                    }
                    b'"' => self.in_string = true,
                    _ => {}
                }
                if key == Key::Id {
                    self.begin(Capture::id(), byte);
                }
            }
            (Place::Value, b',') => {
                self.scalar_ended();
                self.place = Place::BeforeKey;
            }
            (Place::Value | Place::BeforeKey, b'}') => {
                self.scalar_ended();
                self.place = Place::Over;
            }
            (Place::Value, b'"' | b'{' | b'[' | b']' | b':') => self.place = Place::Over,
            (Place::Value, _) => {
                if let Some(capture) = &mut self.capture {
                    capture.push(&[byte]);
                }
            }
            _ => self.place = Place::Over,
        }
    }

    fn begin(&mut self, mut capture: Capture, first: u8) {
        capture.push(&[first]);
        self.capture = Some(capture);
    }

    /// The id was a number or a word, if it was being read.
    fn scalar_ended(&mut self) {
        if let Some(capture) = self.capture.take() {
            self.id = capture.complete().map(Bytes::from);
        }
    }
}
