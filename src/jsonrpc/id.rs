//! A request id as its author spelled it.

use std::fmt;
use std::hash::{Hash, Hasher};

/// The JSON text of a request id: `1`, `"1"` and `1.0` are three different ids, and each comes back as it was.
#[derive(Clone)]
pub struct RequestId(Text);

/// Bytes that fit beside their length in the room of a boxed slice and a half. Most ids are counters; UUIDs are longer.
const SHORT: usize = 22;

#[derive(Clone)]
enum Text {
    Short { length: u8, bytes: [u8; SHORT] },
    Long(Box<[u8]>),
}

impl RequestId {
    /// Takes the JSON text of an id.
    pub fn new(text: &[u8]) -> RequestId {
        let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
        let mut bytes = [0; SHORT];
        RequestId(match bytes.get_mut(..text.len()) {
            Some(room) => {
                room.copy_from_slice(text);
                Text::Short { length, bytes }
            }
            None => Text::Long(text.into()),
        })
    }

    /// The JSON text.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Text::Short { length, bytes } => &bytes[..usize::from(*length)],
            Text::Long(text) => text,
        }
    }

    /// Reads a plain non-negative integer, the only spelling that ids of our own minting have.
    pub fn integer(text: &[u8]) -> Option<u64> {
        if text.is_empty() || text.len() > 16 || (text[0] == b'0' && text.len() > 1) {
            return None;
        }
        text.iter().try_fold(0u64, |sum, &byte| {
            byte.is_ascii_digit()
                .then(|| sum * 10 + u64::from(byte - b'0'))
        })
    }
}

impl PartialEq for RequestId {
    fn eq(&self, other: &RequestId) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for RequestId {}

/// As that of its text.
impl Hash for RequestId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl std::borrow::Borrow<[u8]> for RequestId {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn short_and_long_ids_are_their_texts() {
        let texts: Vec<String> = (0..60).map(|length| "7".repeat(length)).collect();
        let mut table = HashMap::new();
        for (n, text) in texts.iter().enumerate() {
            let id = RequestId::new(text.as_bytes());
            assert_eq!(id.as_bytes(), text.as_bytes());
            assert_eq!(format!("{id:?}"), *text);
            table.insert(id, n);
        }
        for (n, text) in texts.iter().enumerate() {
            assert_eq!(table.get(text.as_bytes()), Some(&n));
        }
        assert_eq!(size_of::<Option<RequestId>>(), 24);
    }

    #[test]
    fn only_plain_integers_are_ids_of_our_own() {
        for (text, want) in [
            ("0", Some(0)),
            ("42", Some(42)),
            ("9007199254740991", Some((1 << 53) - 1)),
            ("", None),
            ("-1", None),
            ("1.0", None),
            ("01", None),
            ("1e3", None),
            ("\"1\"", None),
            ("null", None),
            ("12345678901234567", None),
        ] {
            assert_eq!(RequestId::integer(text.as_bytes()), want, "{text}");
        }
    }
}
