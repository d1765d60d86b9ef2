//! A value that must not be seen: no `Display`, a `Debug` of three stars, comparison in constant time.

use std::fmt;

use subtle::{Choice, ConstantTimeEq};

/// The longest key that is accepted, in bytes; longer ones are refused at load.
pub(super) const LIMIT: usize = 512;

/// A key that clients must present.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps `value`; at most 512 bytes of it can ever match.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// Whether `presented` is this secret. Takes the same time wherever they differ and however long either of them is,
    /// up to the accepted length.
    #[must_use]
    pub fn matches(&self, presented: &[u8]) -> bool {
        padded_eq(self.0.as_bytes(), presented).into()
    }

    /// The value itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.0.as_bytes())
    }
}

impl Eq for Secret {}

/// Compares both as buffers of [`LIMIT`] bytes, so that the work doesn't depend on their lengths.
fn padded_eq(left: &[u8], right: &[u8]) -> Choice {
    if left.len() > LIMIT || right.len() > LIMIT {
        return Choice::from(0);
    }
    let pad = |bytes: &[u8]| {
        let mut buffer = [0; LIMIT];
        buffer[..bytes.len()].copy_from_slice(bytes);
        buffer
    };
    pad(left).ct_eq(&pad(right)) & (left.len() as u64).ct_eq(&(right.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_secret_matches() {
        let secret = Secret::new("sk-123".to_owned());
        assert!(secret.matches(b"sk-123"));
        for other in [
            &b"sk-12"[..],
            b"sk-1234",
            b"sk-123\0",
            b"",
            b"SK-123",
            &[b'x'; LIMIT + 1],
        ] {
            assert!(!secret.matches(other));
        }
    }

    #[test]
    fn a_secret_prints_stars() {
        assert_eq!(format!("{:?}", [Secret::new("sk-123".to_owned())]), "[***]");
    }
}
