//! A value that must not be seen: no `Display`, a `Debug` of three stars, comparison in constant time.

use std::fmt;

use subtle::{Choice, ConstantTimeEq};

/// The longest key that clients may present, in bytes; longer ones are refused at load.
const LIMIT: usize = 512;

/// The longest secret that is sent to others, in bytes: what servers commonly take as one header.
const SENT_LIMIT: usize = 8 << 10;

/// What a secret is for, which says what it must be like.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// Clients present it.
    Presented,
    /// It is sent to others in a header.
    Sent,
}

/// A key that clients must present, or one that proves to others who we are.
#[derive(Clone)]
pub struct Secret {
    value: String,
    variable: Option<String>,
}

impl Secret {
    /// Wraps `value`; one of more than 512 bytes is never matched.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self {
            value,
            variable: None,
        }
    }

    /// The same, from a variable of the environment.
    #[must_use]
    pub(super) fn from_variable(value: String, variable: Option<&str>) -> Self {
        Self {
            value,
            variable: variable.map(str::to_owned),
        }
    }

    /// The variable that it comes from, if it is the whole of one.
    #[must_use]
    pub fn variable(&self) -> Option<&str> {
        self.variable.as_deref()
    }

    /// Whether only its place is known ([`Config::load_by_reference`](super::Config::load_by_reference)).
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.value.is_empty()
    }

    /// Whether `presented` is this secret. Takes the same time wherever they differ and however long either of them is,
    /// up to the accepted length.
    #[must_use]
    pub fn matches(&self, presented: &[u8]) -> bool {
        !self.is_absent() && bool::from(padded_eq(self.value.as_bytes(), presented))
    }

    /// The value itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.value
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Of the value alone.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.value.as_bytes().ct_eq(other.value.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl Purpose {
    /// The words for it.
    pub(super) fn expected(self) -> String {
        match self {
            Self::Presented => format!("a key of 1 to {LIMIT} visible ASCII characters"),
            Self::Sent => format!("a secret of 1 to {SENT_LIMIT} visible ASCII characters"),
        }
    }

    /// Whether `value` is like that. A header's value may have spaces inside.
    pub(super) fn admits(self, value: &str) -> bool {
        let (limit, spaces) = match self {
            Self::Presented => (LIMIT, false),
            Self::Sent => (SENT_LIMIT, true),
        };
        (1..=limit).contains(&value.len())
            && value.trim() == value
            && value
                .bytes()
                .all(|byte| byte.is_ascii_graphic() || spaces && byte == b' ')
    }
}

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
        assert!(
            !Secret::new(String::new()).matches(b""),
            "an absent one is nobody's"
        );
    }

    #[test]
    fn long_secrets_that_are_sent_are_equal_to_themselves() {
        let secret = Secret::new("x".repeat(SENT_LIMIT));
        assert_eq!(secret, secret.clone());
        assert_ne!(secret, Secret::new("x".repeat(SENT_LIMIT - 1)));
        assert!(!secret.matches(secret.expose().as_bytes()));
    }

    #[test]
    fn what_is_presented_has_no_spaces_and_what_is_sent_may() {
        for (value, presented, sent) in [
            ("k", true, true),
            ("Bearer k", false, true),
            (" k", false, false),
            ("k\n", false, false),
            ("a\tb", false, false),
            ("ä", false, false),
            ("", false, false),
            (&"x".repeat(LIMIT + 1), false, true),
            (&"x".repeat(SENT_LIMIT + 1), false, false),
        ] {
            assert_eq!(Purpose::Presented.admits(value), presented, "{value}");
            assert_eq!(Purpose::Sent.admits(value), sent, "{value}");
        }
    }

    #[test]
    fn a_secret_prints_stars() {
        assert_eq!(format!("{:?}", [Secret::new("sk-123".to_owned())]), "[***]");
    }
}
