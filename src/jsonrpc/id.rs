//! A request id as its author spelled it.

use std::fmt;

/// The JSON text of a request id: `1`, `"1"` and `1.0` are three different ids, and each comes back as it was.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Box<[u8]>);

impl RequestId {
    /// Takes the JSON text of an id.
    pub fn new(text: &[u8]) -> RequestId {
        RequestId(text.into())
    }

    /// The JSON text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
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

impl std::borrow::Borrow<[u8]> for RequestId {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
