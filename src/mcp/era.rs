//! The two eras of the protocol: with a handshake (legacy, up to 2025-11-25), and stateless (modern, 2026-07-28).
//!
//! MCP 2026-07-28, Versioning and Compatibility § Terminology. Inside the house messages are legacy ones; what comes from a
//! modern client or goes to a modern server is translated at that edge, as bytes, or passes untouched where both are modern.

pub mod client;
pub mod server;

/// Which of the two a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Era {
    /// It is initialised once: revisions 2024-11-05 to 2025-11-25.
    Legacy,
    /// Each request says all that is needed: revision 2026-07-28.
    Modern,
}

impl Era {
    /// The name in the configuration, in `/bridges` and in logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Era::Legacy => "legacy",
            Era::Modern => "modern",
        }
    }
}

/// The stateless revision.
pub const MODERN: &str = "2026-07-28";

/// The keys of `_meta` that belong to the protocol (MCP 2026-07-28, Overview § `_meta`).
pub mod key {
    /// The revision of a request; required.
    pub const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
    /// Name and version of the client.
    pub const CLIENT: &str = "io.modelcontextprotocol/clientInfo";
    /// What the client can be asked; required.
    pub const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
    /// The least severe log messages that the request wants.
    pub const LEVEL: &str = "io.modelcontextprotocol/logLevel";
    /// The request `subscriptions/listen` that a notification belongs to.
    pub const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
    /// Name and version of the server, in results.
    pub const SERVER: &str = "io.modelcontextprotocol/serverInfo";
}
