//! What the revisions of MCP ask of Streamable HTTP differently. Revisions are dates, so they compare as text.

/// The revisions that a session can have, as `MCP-Protocol-Version` names them.
pub(super) const SUPPORTED: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
/// The same in words.
pub(super) const SUPPORTED_TEXT: &str = "2024-11-05, 2025-03-26, 2025-06-18 and 2025-11-25";

/// Whether a session can have this revision.
pub(super) fn is_supported(version: &[u8]) -> bool {
    SUPPORTED
        .iter()
        .any(|supported| supported.as_bytes() == version)
}

/// Only 2025-03-26 knows batches on this transport; 2025-06-18 took them back.
pub(super) fn allows_batch(version: &str) -> bool {
    version == "2025-03-26"
}

/// Since 2025-11-25 a stream begins with an event to resume from; older clients take its empty data for a message.
pub(super) fn primes(version: &str) -> bool {
    version >= "2025-11-25"
}
