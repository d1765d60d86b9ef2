//! What can go wrong between this client and a server, each thing as a sentence with its cure.

use std::error::Error;
use std::time::Duration;

use reqwest::{StatusCode, Url};
use thiserror::Error;

use crate::cli::logs::more_about;
use crate::cli::service::start_it;
use crate::cli::status;

/// Why a server could not be used.
#[derive(Debug, Error)]
pub(in crate::cli) enum ClientError {
    /// No HTTP answer came.
    #[error("cannot reach {url}: {reason}; {cure}")]
    Unreachable {
        url: String,
        reason: String,
        cure: String,
    },
    /// Something answers there, but it does not speak MCP, or not this transport.
    #[error(
        "{url} is no MCP server: {what}; a bridge serves Streamable HTTP at /mcp and HTTP+SSE at /sse"
    )]
    NotMcp { url: String, what: String },
    /// 401 or 403 without a key.
    #[error("{url} wants a key: give it with --key or in MCP_BRIDGED_KEY")]
    KeyMissing { url: String },
    /// 401 with a key.
    #[error("{url} refused the key: compare --key, MCP_BRIDGED_KEY and the bridge's `api_keys`")]
    KeyWrong { url: String },
    /// The server answered with a JSON-RPC error.
    #[error("{message} (code {code}){}", down.as_deref().map_or_else(String::new, |down| format!("; {}", more_about(down))))]
    Refused {
        code: i64,
        message: String,
        /// The bridge that says so because its server is down.
        down: Option<String>,
    },
    /// The answer did not come in time.
    #[error("{url} did not answer `{method}` within {limit:?}; {cure}")]
    Late {
        url: String,
        method: String,
        limit: Duration,
        cure: &'static str,
    },
    /// The connection ended before the answer.
    #[error(
        "the connection to {url} ended before `{method}` was answered; whether the server has acted on it is unknown"
    )]
    Lost { url: String, method: String },
    /// An answer larger than this client keeps.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge { limit: usize },
    /// The TLS library could not be set up.
    #[error("failed to set up the HTTP client: {0}")]
    Setup(String),
}

impl ClientError {
    /// The exit status that it deserves.
    pub(in crate::cli) fn status(&self) -> u8 {
        match self {
            Self::Unreachable { .. } | Self::NotMcp { .. } | Self::Lost { .. } => {
                status::UNAVAILABLE
            }
            Self::Late { method, .. } if method == "initialize" => status::UNAVAILABLE,
            Self::Setup(_) => status::SOFTWARE,
            Self::KeyMissing { .. }
            | Self::KeyWrong { .. }
            | Self::Refused { .. }
            | Self::Late { .. }
            | Self::TooLarge { .. } => status::FAILURE,
        }
    }

    /// What `reqwest` says, in the words of its innermost cause.
    pub(super) fn unreachable(url: &Url, error: &reqwest::Error) -> Self {
        let mut cause: &dyn Error = error;
        let mut refused = false;
        loop {
            if let Some(io) = cause.downcast_ref::<std::io::Error>() {
                refused |= io.kind() == std::io::ErrorKind::ConnectionRefused;
            }
            match cause.source() {
                Some(source) => cause = source,
                None => break,
            }
        }
        let (reason, cure) = if refused {
            (
                "nothing listens there".to_owned(),
                format!("{}, or correct host and port", start_it(None)),
            )
        } else {
            let text = cause.to_string();
            let reason = text.split(" (os error").next().unwrap_or_default();
            (
                reason.to_owned(),
                "correct the URL, or look at the network".to_owned(),
            )
        };
        Self::Unreachable {
            url: shown(url),
            reason,
            cure,
        }
    }

    /// What an HTTP status says that no MCP server has explained.
    pub(super) fn of_status(url: &Url, status: StatusCode, keyed: bool) -> Self {
        let url = shown(url);
        match (status, keyed) {
            (StatusCode::UNAUTHORIZED, false) => Self::KeyMissing { url },
            (StatusCode::UNAUTHORIZED, true) => Self::KeyWrong { url },
            _ => Self::NotMcp {
                url,
                what: format!("it answers {status}"),
            },
        }
    }
}

/// A URL without what may be secret in it.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Neither can fail for a URL with a host.
    let _kept = (url.set_username(""), url.set_password(None));
    url.set_query(None);
    url.to_string()
}
