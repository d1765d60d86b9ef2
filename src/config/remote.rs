//! An MCP server that is already on the network: the gateway speaks with it, and no port of its own is opened for it.

use std::fmt;
use std::time::Duration;

use super::{Secret, ToolFilter};

/// One configured server that others run.
#[derive(Clone, PartialEq)]
pub struct Remote {
    /// Of the form of a bridge's name, unique among the names and aliases of bridges and remote servers.
    pub name: String,
    /// Further names, of the same form.
    pub aliases: Vec<String>,
    /// Its endpoint, such as `http://mcp-n8n:8080/mcp`. Path and query may be a secret: show [`Remote::origin`].
    pub url: String,
    /// How it is spoken with.
    pub transport: RemoteTransport,
    /// What proves who we are.
    pub auth: Option<Auth>,
    /// Further headers of every request; names are in lower case, unique, and none that `auth` or the protocol sets.
    pub headers: Vec<(String, Secret)>,
    /// A line for people.
    pub description: Option<String>,
    /// Which tools are visible and callable.
    pub tools: ToolFilter,
    /// From a request to its answer; progress starts it anew. 300 s.
    pub request_timeout: Duration,
    /// From the first packet to the answer of the handshake. 60 s.
    pub init_timeout: Duration,
    /// The cure, in words, when the server is optional and a variable that it needs is missing. Such a server is not spoken with:
    /// its endpoint and its secrets may be missing.
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

impl Remote {
    /// Whether `name` is the server's name or one of its aliases.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }

    /// The endpoint up to its path, such as `http://mcp-n8n:8080`, for people and logs.
    #[must_use]
    pub fn origin(&self) -> &str {
        let host = self.url.find("://").map_or(0, |at| at + "://".len());
        let end = self.url[host..].find(['/', '?']);
        &self.url[..end.map_or(self.url.len(), |end| host + end)]
    }
}

impl Auth {
    /// The header that it is sent in, in lower case.
    #[must_use]
    pub fn header(&self) -> &'static str {
        match self {
            Self::Bearer(_) | Self::Basic(_) | Self::Authorization(_) => "authorization",
            Self::ApiKey(_) => "x-api-key",
        }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("name", &self.name)
            .field("aliases", &self.aliases)
            .field("origin", &self.origin())
            .field("transport", &self.transport)
            .field("auth", &self.auth)
            .field("headers", &self.headers)
            .field("description", &self.description)
            .field("tools", &self.tools)
            .field("request_timeout", &self.request_timeout)
            .field("init_timeout", &self.init_timeout)
            .field("unavailable", &self.unavailable)
            .finish()
    }
}
