//! The HTTP client of one remote server: what it sends with every request, and where it does not go.
//!
//! Proxies come from the environment, except for this machine's own addresses.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Client, Url};

use crate::config::{Auth, Remote, Secret};
use crate::gateway::remote::Fault;
use crate::transport::outward;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// The rest after which a silent connection is probed, so that a host that vanished is noticed.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Servers close idle connections, often after 5 s and some after 2 s; a request that meets the end of one would be lost.
const IDLE: Duration = Duration::from_millis(1500);
/// Redirects that one request follows.
const MAX_REDIRECTS: usize = 3;
/// Headers that a connection has of its own, whatever a client sends.
const OWN_HEADERS: [&str; 11] = [
    "accept",
    "connection",
    "content-length",
    "content-type",
    "host",
    "last-event-id",
    "mcp-protocol-version",
    "mcp-session-id",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// The client for `settings`, with `headers` in the place of its own of the same name.
pub(super) fn client(
    settings: &Remote,
    headers: &[(HeaderName, HeaderValue)],
) -> Result<Client, Fault> {
    outward::install_tls();
    let url = endpoint(settings)?;
    let mut builder = Client::builder()
        .user_agent(concat!("mcp-bridged/", env!("CARGO_PKG_VERSION")))
        .default_headers(credentials(settings, headers)?)
        .connect_timeout(CONNECT)
        .tcp_keepalive(KEEPALIVE)
        .pool_idle_timeout(IDLE)
        .redirect(Policy::custom(follow));
    if url.scheme() == "http" {
        // Spares looking for certificates, which a small container may not have.
        builder = builder.tls_certs_only([]);
    }
    if outward::is_loopback(&url) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|_| {
        Fault::Setup("TLS can't be set up: look at the system's certificates".to_owned())
    })
}

/// Where the server is.
pub(in crate::gateway::remote) fn endpoint(settings: &Remote) -> Result<Url, Fault> {
    parsed(&settings.url)
}

pub(super) fn parsed(url: &str) -> Result<Url, Fault> {
    match Url::parse(url) {
        Ok(url) if url.has_host() && matches!(url.scheme(), "http" | "https") => Ok(url),
        _ => Err(Fault::Setup(
            "url is no http or https URL with a host".to_owned(),
        )),
    }
}

/// What is sent with every request.
fn credentials(
    settings: &Remote,
    headers: &[(HeaderName, HeaderValue)],
) -> Result<HeaderMap, Fault> {
    let mut all = HeaderMap::new();
    if let Some(auth) = &settings.auth {
        let (name, text) = match auth {
            Auth::Bearer(secret) => (AUTHORIZATION, format!("Bearer {}", secret.expose())),
            Auth::Basic(secret) => (AUTHORIZATION, format!("Basic {}", secret.expose())),
            Auth::Authorization(secret) => (AUTHORIZATION, secret.expose().to_owned()),
            Auth::ApiKey(secret) => (
                HeaderName::from_static("x-api-key"),
                secret.expose().to_owned(),
            ),
        };
        let value = hidden(&Secret::new(text))
            .ok_or_else(|| Fault::Setup("auth_value is no header's value".to_owned()))?;
        all.insert(name, value);
    }
    for (name, value) in &settings.headers {
        let parsed = HeaderName::try_from(name).ok();
        let (Some(parsed), Some(value)) = (parsed, hidden(value)) else {
            let text =
                format!("headers: {name:?} is no header's name, or its value is no header's");
            return Err(Fault::Setup(text));
        };
        all.insert(parsed, value);
    }
    for (name, value) in headers {
        if OWN_HEADERS.contains(&name.as_str()) {
            continue;
        }
        all.insert(name.clone(), value.clone());
    }
    Ok(all)
}

fn hidden(secret: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(secret.expose()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn follow(attempt: Attempt<'_>) -> Action {
    let keeps_body = matches!(attempt.status().as_u16(), 307 | 308);
    let first = attempt.previous().first();
    let same_origin = first.is_some_and(|first| first.origin() == attempt.url().origin());
    if keeps_body && same_origin && attempt.previous().len() <= MAX_REDIRECTS {
        attempt.follow()
    } else {
        attempt.stop()
    }
}
