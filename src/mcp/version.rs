//! The protocol revisions with a handshake, as predicates instead of copies.

/// A revision of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are the revisions' own")]
pub enum Version {
    V2024_11_05,
    V2025_03_26,
    V2025_06_18,
    V2025_11_25,
}

impl Version {
    /// Every revision, the oldest first.
    pub const ALL: [Version; 4] = [
        Version::V2024_11_05,
        Version::V2025_03_26,
        Version::V2025_06_18,
        Version::V2025_11_25,
    ];

    /// The newest one.
    pub const LATEST: Version = Version::V2025_11_25;

    /// The revision called `name`.
    pub fn parse(name: &str) -> Option<Version> {
        Version::ALL
            .into_iter()
            .find(|version| version.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Version::V2024_11_05 => "2024-11-05",
            Version::V2025_03_26 => "2025-03-26",
            Version::V2025_06_18 => "2025-06-18",
            Version::V2025_11_25 => "2025-11-25",
        }
    }

    /// Whether several messages may come in one array (MCP 2025-03-26, Transports § Sending Messages; taken back in 2025-06-18).
    pub fn allows_batches(self) -> bool {
        self == Version::V2025_03_26
    }

    /// Whether a stream may begin with an event that has an id and no data (MCP 2025-11-25, Transports § Sending Messages).
    pub fn primes_streams(self) -> bool {
        self >= Version::V2025_11_25
    }

    /// What a client that offers `client` is answered by a server that speaks `server`: the older of both. A revision
    /// that is not known here gets the server's, as the specification has it.
    pub fn negotiate<'a>(client: &'a str, server: &'a str) -> &'a str {
        if Version::parse(client).is_some() && client < server {
            client
        } else {
            server
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_revision_is_agreed_on() {
        for (client, server, want) in [
            ("2024-11-05", "2025-11-25", "2024-11-05"),
            ("2025-11-25", "2024-11-05", "2024-11-05"),
            ("2025-06-18", "2025-06-18", "2025-06-18"),
            ("1.0", "2025-06-18", "2025-06-18"),
            ("2099-01-01", "2025-06-18", "2025-06-18"),
        ] {
            assert_eq!(
                Version::negotiate(client, server),
                want,
                "{client} and {server}"
            );
        }
    }
}
