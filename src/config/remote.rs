//! An MCP server that is already on the network: the gateway speaks with it, and no port of its own is opened for it.

use super::{Secret, ToolFilter};
use std::time::Duration;

/// One configured server that others run.
#[derive(Clone, Debug, PartialEq)]
pub struct Remote {
    /// Of the form of a bridge's name, unique among the names and aliases of bridges and remote servers.
    pub name: String,
    /// Further names, of the same form.
    pub aliases: Vec<String>,
    /// Its endpoint, such as `http://mcp-n8n:8080/mcp`.
    pub url: String,
    /// How it is spoken with.
    pub transport: RemoteTransport,
    /// What proves who we are.
    pub auth: Option<Auth>,
    /// Further headers of every request.
    pub headers: Vec<(String, Secret)>,
    /// A line for people.
    pub description: Option<String>,
    /// Which tools are visible and callable.
    pub tools: ToolFilter,
    /// From a request to its answer; progress starts it anew. 300 s.
    pub request_timeout: Duration,
    /// From the first packet to the answer of the handshake. 60 s.
    pub init_timeout: Duration,
    /// The cure, in words, when the server is optional and a variable that it needs is missing. Such a server is not spoken with.
    pub unavailable: Option<String>,
}

/// How a remote server is spoken with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RemoteTransport {
    /// Streamable HTTP.
    #[default]
    Http,
    /// HTTP+SSE (MCP 2024-11-05).
    Sse,
}

/// What proves to a remote server who we are; LiteLLM's `auth_type` and `auth_value`.
#[derive(Clone, Debug, PartialEq)]
pub enum Auth {
    /// `auth_type: bearer_token`: `Authorization: Bearer <value>`.
    Bearer(Secret),
    /// `auth_type: basic`: `Authorization: Basic <value>`, the value as it is sent.
    Basic(Secret),
    /// `auth_type: api_key`: `X-API-Key: <value>`.
    ApiKey(Secret),
    /// `auth_type: authorization`: `Authorization: <value>`.
    Authorization(Secret),
}
