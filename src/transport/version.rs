//! The revisions of MCP as Streamable HTTP names them: [`Version`]'s predicates, for what stands in a header or in a
//! server's answer.

use crate::mcp::Version;

/// The revisions that a session can have, in words.
pub(super) const SUPPORTED_TEXT: &str = "2024-11-05, 2025-03-26, 2025-06-18 and 2025-11-25";

/// Whether a session can have this revision.
pub(super) fn is_supported(version: &[u8]) -> bool {
    std::str::from_utf8(version).is_ok_and(|version| Version::parse(version).is_some())
}

/// See [`Version::allows_batches`]; a revision that is not known here has none.
pub(super) fn allows_batch(version: &str) -> bool {
    Version::parse(version).is_some_and(Version::allows_batches)
}

/// See [`Version::primes_streams`]; older clients take an event without data for a message. A server may speak a
/// revision that is not known here: they are dates, so they compare as text.
pub(super) fn primes(version: &str) -> bool {
    let newer = version > Version::LATEST.name();
    Version::parse(version).map_or(newer, Version::primes_streams)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_revision_is_supported_and_named() {
        for version in Version::ALL {
            assert!(is_supported(version.name().as_bytes()));
            assert!(SUPPORTED_TEXT.contains(version.name()));
        }
        assert!(!is_supported(b"2026-01-01") && !is_supported(b"\xff"));
    }

    #[test]
    fn what_is_not_known_is_placed_by_its_date() {
        for (version, batches, priming) in [
            ("2024-10-07", false, false),
            ("2025-03-26", true, false),
            ("2025-06-18", false, false),
            ("2025-11-25", false, true),
            ("2026-01-01", false, true),
        ] {
            assert_eq!(
                (allows_batch(version), primes(version)),
                (batches, priming),
                "{version}"
            );
        }
    }
}
