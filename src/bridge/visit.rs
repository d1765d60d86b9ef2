//! A session that is one request of a stateless client (MCP 2026-07-28).

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::LazyLock;

use bytes::Bytes;

use super::handshake::Hello;
use crate::mcp::ClientCapabilities;

/// What a request says of the client that sent it, as far as it decides which instance serves it.
#[derive(Debug, Clone)]
pub struct Visit {
    /// Whose it is.
    pub principal: Principal,
    /// What the client can be asked, as JSON.
    pub capabilities: Bytes,
    /// Its name and version, as JSON.
    pub client: Option<Bytes>,
    /// What it wants.
    pub purpose: Purpose,
}

/// What a visit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A request in whose course the server may ask its client something.
    Call,
    /// Any other.
    Look,
    /// Nothing but what the server said in its handshake.
    Meet,
}

/// Who sends requests, told by the key that comes with them: equal for equal keys, and for all who need none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Principal(u64);

impl Principal {
    /// Whoever is told by `key`.
    #[must_use]
    pub fn of(key: &(impl Hash + ?Sized)) -> Principal {
        Principal(secret_hash(key))
    }
}

/// Under a secret of this process, so that nobody outside can look for two texts that are alike.
fn secret_hash(value: &(impl Hash + ?Sized)) -> u64 {
    static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    SECRET.hash_one(value)
}

/// Visits that may follow each other on one instance: of one principal, with the same capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Class(Principal, u64);

impl Visit {
    pub(crate) fn class(&self) -> Class {
        Class(self.principal, secret_hash(&self.capabilities))
    }

    /// What the client declares.
    #[must_use]
    pub fn declared(&self) -> ClientCapabilities {
        ClientCapabilities::of(&self.capabilities)
    }

    pub(crate) fn hello(&self) -> Hello {
        Hello {
            capabilities: self.capabilities.clone(),
            client: self.client.clone(),
        }
    }
}
