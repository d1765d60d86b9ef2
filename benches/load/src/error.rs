//! What can go wrong while measuring: one enum, because every failure here ends a session or the run and is only ever shown.

use std::io;

/// Result of anything in this crate that can fail.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// A failure of a session, of a run or of the arguments.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The operating system refused; `what` says what was tried.
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    /// The target answered something that HTTP, SSE or MCP doesn't allow here.
    #[error("{0}")]
    Protocol(String),
    /// The arguments contradict each other or name something that isn't there.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// For `map_err` on I/O: keeps what was tried beside the cause.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// For a nix call, whose errors are plain numbers.
    pub(crate) fn os(what: impl Into<String>) -> impl FnOnce(nix::Error) -> Self {
        let what = what.into();
        move |errno| Self::Io {
            what,
            source: errno.into(),
        }
    }

    /// An answer that isn't what the protocol has at this place.
    pub(crate) fn protocol(what: impl Into<String>) -> Self {
        Self::Protocol(what.into())
    }
}
