//! The limit of open files: raised to the hard limit for this process, given back as it was to its children.
//!
//! Sockets are many here. A child gets the original soft limit, because programs that use `select` break above 1024 and
//! some close every possible descriptor at start.

use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Soft and hard limit as this process found them.
static ORIGINAL: OnceLock<(u64, u64)> = OnceLock::new();

/// Raises the soft limit to the hard one and returns what is now in force. The first call remembers the original;
/// further calls change nothing. A refusal leaves the limit as it was.
pub fn raise_open_files() -> u64 {
    let (soft, hard) = *ORIGINAL.get_or_init(current);
    if soft < hard {
        // Lowering is always allowed and this is within the hard limit; a filter that refuses it leaves us as we were.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    current().0
}

/// The limits a child starts with.
pub(super) fn original() -> (u64, u64) {
    *ORIGINAL.get_or_init(current)
}

fn current() -> (u64, u64) {
    // getrlimit fails for invalid arguments only; 1024 is the kernel's own default.
    getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024))
}
