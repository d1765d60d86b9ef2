//! What can go wrong with a remote server, in words that read after its name, each with its cure.
//!
//! Nothing here has a header's value, a query or a body's text in it: any of them may hold a secret.

use std::error::Error;
use std::time::Duration;

use reqwest::{StatusCode, Url};
use rmcp::service::{ClientInitializeError, ServiceError};
use rmcp::transport::DynamicTransportError;
use rmcp::transport::streamable_http_client::StreamableHttpError;

use super::MAX_MESSAGE;

/// Bytes of a server's own words that are repeated.
const MAX_WORDS: usize = 1024;

/// Why a remote server could not be spoken with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// 401 or 403.
    #[error("refused our credentials (HTTP {status}): check auth_type and auth_value")]
    Credentials { status: u16 },
    /// 401 or 403 on a connection that was opened with a client's own headers.
    #[error("refused the credentials that the client sent for it (HTTP {status})")]
    ForeignCredentials { status: u16 },
    /// No HTTP answer came.
    #[error(
        "cannot be reached at {url}: {reason}; correct url, or look at the server or the network"
    )]
    Unreachable { url: String, reason: String },
    /// A status that is no success, without an error that an MCP server would put beside it.
    #[error("answered HTTP {status}: check url, and transport (http or sse)")]
    Status { status: u16 },
    /// It sends us elsewhere, where our credentials must not go.
    #[error("redirects to {to}: if that is right, set url to it")]
    Redirect { to: String },
    /// A JSON-RPC error instead of a handshake, or beside a status.
    #[error("refused: {message} (code {code})")]
    Rejected { code: i64, message: String },
    /// HTTP+SSE: a JSON-RPC error instead of the stream, as the endpoint of another transport has it.
    #[error("gives no event stream: {message}; check url, and transport (http or sse)")]
    NoStream { message: String },
    /// An answer that is no MCP.
    #[error("answered with {what}, which is no MCP: check url, and transport (http or sse)")]
    NotMcp { what: String },
    /// HTTP+SSE: its endpoint is on another origin.
    #[error(
        "named an endpoint on another origin ({origin}), where our credentials must not go: check url"
    )]
    ForeignEndpoint { origin: String },
    /// A message larger than what is kept.
    #[error("sent a message of more than {MAX_MESSAGE} bytes")]
    TooLarge,
    /// No handshake in time.
    #[error("did not answer the handshake within {limit:?} (init_timeout)")]
    Late { limit: Duration },
    /// The connection ended.
    #[error("broke the connection: {reason}")]
    Broken { reason: String },
    /// What is configured, or what the client sent, can't be used.
    #[error("cannot be spoken with: {0}")]
    Setup(String),
}

impl Fault {
    /// Whether only a person can help, so that trying again soon is of no use.
    pub(super) fn needs_a_person(&self) -> bool {
        matches!(
            self,
            Fault::Credentials { .. }
                | Fault::ForeignCredentials { .. }
                | Fault::ForeignEndpoint { .. }
                | Fault::Redirect { .. }
                | Fault::Setup(_)
        )
    }

    /// Whether the server, or we for it, are gone; it may not like pings and live all the same.
    pub(super) fn ends_a_connection(&self) -> bool {
        match self {
            // Those of a proxy in front of it, and of a server that doesn't know the place any more.
            Fault::Status { status } => matches!(status, 404 | 410 | 502..=504),
            Fault::Rejected { .. } => false,
            _ => true,
        }
    }

    /// What `reqwest` says, in the words of its innermost cause.
    pub(super) fn of_request(url: &Url, error: &reqwest::Error) -> Fault {
        let url = shown(url);
        let reason = innermost(error);
        if error.is_connect() || error.is_timeout() || error.is_builder() {
            return Fault::Unreachable { url, reason };
        }
        Fault::Broken { reason }
    }

    /// What the transport of a request or of a handshake says.
    pub(super) fn of_transport(error: &DynamicTransportError) -> Fault {
        let error = error.error.as_ref();
        if let Some(fault) = error.downcast_ref::<Fault>() {
            return fault.clone();
        }
        match error.downcast_ref::<StreamableHttpError<Fault>>() {
            Some(StreamableHttpError::Client(fault)) => fault.clone(),
            Some(error) => Fault::broken(error.to_string()),
            None => Fault::broken("its transport failed"),
        }
    }

    /// What a handshake that failed says.
    pub(super) fn of_handshake(error: &ClientInitializeError) -> Fault {
        match error {
            ClientInitializeError::TransportError { error, .. } => Fault::of_transport(error),
            ClientInitializeError::JsonRpcError(error) => {
                Fault::rejected(error.code.0.into(), &error.message)
            }
            ClientInitializeError::ConnectionClosed(_) => {
                Fault::broken("it ended during the handshake")
            }
            _ => Fault::NotMcp {
                what: "something else than a handshake".to_owned(),
            },
        }
    }

    /// What a request that got no answer says.
    pub(super) fn of_service(error: &ServiceError) -> Fault {
        match error {
            ServiceError::TransportSend(error) => Fault::of_transport(error),
            ServiceError::McpError(error) => Fault::rejected(error.code.0.into(), &error.message),
            _ => Fault::broken("it ended before the answer came"),
        }
    }

    pub(super) fn of_status(status: StatusCode, own_headers: bool) -> Fault {
        let status = status.as_u16();
        match (status, own_headers) {
            (401 | 403, false) => Fault::Credentials { status },
            (401 | 403, true) => Fault::ForeignCredentials { status },
            _ => Fault::Status { status },
        }
    }

    /// With the beginning of what the server says; it goes into logs.
    pub(super) fn rejected(code: i64, message: &str) -> Fault {
        Fault::Rejected {
            code,
            message: message[..message.floor_char_boundary(MAX_WORDS)].to_owned(),
        }
    }

    pub(super) fn broken(reason: impl Into<String>) -> Fault {
        Fault::Broken {
            reason: reason.into(),
        }
    }
}

/// A URL without what may be secret in it.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Neither can fail for a URL with a host.
    let _kept = (url.set_username(""), url.set_password(None));
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if let Some(io) = cause.downcast_ref::<std::io::Error>()
        && io.kind() == std::io::ErrorKind::ConnectionRefused
    {
        return "nothing listens there".to_owned();
    }
    // reqwest's own texts end with the URL, and io's with a number.
    let text = cause.to_string();
    let text = text.split(" for url (").next().unwrap_or_default();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned()
}
