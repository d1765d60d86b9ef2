//! New ids for traces and spans.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

/// A counter behind a keyed hash whose key is this process's own: as good as random, and no call of the kernel.
#[derive(Debug, Default)]
pub(super) struct Ids {
    secret: RandomState,
    next: AtomicU64,
}

impl Ids {
    pub(super) fn trace(&self) -> [u8; 16] {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.span());
        id[8..].copy_from_slice(&self.span());
        id
    }

    pub(super) fn span(&self) -> [u8; 8] {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // An id of zeros means that there is none.
        self.secret.hash_one(number).max(1).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ() {
        let ids = Ids::default();
        let spans: std::collections::HashSet<_> = (0..1000).map(|_| ids.span()).collect();
        assert_eq!(spans.len(), 1000);
        assert_ne!(ids.trace(), ids.trace());
        assert_ne!(ids.trace(), Ids::default().trace());
    }
}
