//! Who may speak with a listener: `Host`, `Origin` and keys.
//!
//! A listener on loopback answers only to names that can't be rebound by somebody else's DNS, and browsers' pages only
//! speak when their origin is known (MCP 2025-11-25, Transports § Security Warning). Keys are compared in constant time.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use axum::http::{HeaderMap, HeaderValue};

use super::Reject;
use crate::config::{Bridge, Secret};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What is asked of a request before anything else.
#[derive(Debug, Clone, Copy)]
pub struct Guard<'a> {
    /// The address that the listener is bound to.
    pub host: IpAddr,
    /// The URL under which clients reach it, when a proxy stands before it.
    pub public_url: Option<&'a str>,
    /// Further values of `Host`, with or without a port.
    pub allowed_hosts: &'a [String],
    /// Further values of `Origin`.
    pub allowed_origins: &'a [String],
    /// Keys in force; none means open.
    pub keys: &'a [Secret],
}

impl<'a> Guard<'a> {
    /// The guard of a bridge's own listener.
    #[must_use]
    pub fn of(bridge: &'a Bridge) -> Guard<'a> {
        Guard {
            host: bridge.listen.host,
            public_url: bridge.public_url.as_deref(),
            allowed_hosts: &bridge.allowed_hosts,
            allowed_origins: &bridge.allowed_origins,
            keys: &bridge.api_keys,
        }
    }

    /// Checks a request's place, then its method, which is one of `methods` (as in an `Allow` header), then its key if it
    /// needs one.
    ///
    /// # Errors
    /// Those of [`Guard::place`] and [`Guard::key`], and [`Reject::Method`].
    pub fn admit(
        &self,
        request: &Request,
        methods: &'static str,
        keyed: bool,
    ) -> Result<(), Reject> {
        self.place(request.headers())?;
        let method = request.method().as_str();
        if !methods.split(", ").any(|allowed| allowed == method) {
            return Err(Reject::Method { allow: methods });
        }
        if keyed {
            self.key(request.headers())?;
        }
        Ok(())
    }

    /// Checks `Host` and `Origin`.
    ///
    /// # Errors
    /// [`Reject::HostMissing`], [`Reject::Host`] or [`Reject::Origin`].
    pub fn place(&self, headers: &HeaderMap) -> Result<(), Reject> {
        let loopback = self.host.to_canonical().is_loopback();
        if loopback && !self.is_own_host(only(headers, &HOST).ok_or(Reject::HostMissing)?) {
            return Err(Reject::Host);
        }
        match headers.get(ORIGIN) {
            None => Ok(()),
            Some(origin) if self.is_own_origin(origin, headers, loopback) => Ok(()),
            Some(_) => Err(Reject::Origin),
        }
    }

    /// Checks the key: `Authorization: Bearer …`, or `X-API-Key` when there is none.
    ///
    /// # Errors
    /// [`Reject::KeyMissing`], [`Reject::KeyWithoutBearer`] or [`Reject::KeyWrong`].
    pub fn key(&self, headers: &HeaderMap) -> Result<(), Reject> {
        if self.keys.is_empty() {
            return Ok(());
        }
        let bearer = headers
            .get(AUTHORIZATION)
            .map(|value| bearer(value.as_bytes()));
        let plain = headers.get(API_KEY).map(HeaderValue::as_bytes);
        let (presented, otherwise) = match (bearer, plain) {
            (Some(Some(key)), _) => (key, Reject::KeyWrong),
            // A proxy's own `Authorization: Basic …` doesn't hide the key beside it.
            (Some(None), Some(key)) | (None, Some(key)) => (key, Reject::KeyWrong),
            (Some(None), None) => return Err(Reject::KeyWithoutBearer),
            (None, None) => return Err(Reject::KeyMissing),
        };
        // No early end: which key matched must not show in the time.
        let known = self
            .keys
            .iter()
            .fold(false, |known, key| known | key.matches(presented));
        if known { Ok(()) } else { Err(otherwise) }
    }

    fn is_own_host(&self, value: &HeaderValue) -> bool {
        let Ok(value) = value.to_str() else {
            return false;
        };
        let name = without_port(value);
        is_loopback_name(name)
            || name.trim_matches(['[', ']']).parse() == Ok(self.host)
            || self
                .public_url
                .is_some_and(|url| without_port(authority(url)).eq_ignore_ascii_case(name))
            || self.allowed_hosts.iter().any(|allowed| {
                allowed.eq_ignore_ascii_case(value)
                    || (without_port(allowed) == allowed && allowed.eq_ignore_ascii_case(name))
            })
    }

    /// Whether nobody else's DNS can make this place mean us: an address, a name within a network, or a listed one.
    fn is_out_of_reach(&self, place: &str) -> bool {
        let name = without_port(place);
        let address = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        address
            || !name.contains('.')
            || self.allowed_hosts.iter().any(|allowed| {
                allowed.eq_ignore_ascii_case(place) || allowed.eq_ignore_ascii_case(name)
            })
    }

    fn is_own_origin(&self, value: &HeaderValue, headers: &HeaderMap, loopback: bool) -> bool {
        let Ok(origin) = value.to_str() else {
            return false;
        };
        let origin = origin.trim_end_matches('/');
        if self
            .allowed_origins
            .iter()
            .any(|allowed| allowed.trim_end_matches('/').eq_ignore_ascii_case(origin))
        {
            return true;
        }
        if !origin.starts_with("http://") && !origin.starts_with("https://") {
            return false;
        }
        let place = authority(origin);
        let same = only(headers, &HOST)
            .is_some_and(|host| host.as_bytes().eq_ignore_ascii_case(place.as_bytes()));
        // Where `Host` is not checked and no key is needed, a page's own name proves nothing if its owner can point it here.
        let own = loopback || !self.keys.is_empty() || self.is_out_of_reach(place);
        (same && own)
            || (loopback && is_loopback_name(without_port(place)))
            || self.public_url.is_some_and(|url| {
                authority(url).eq_ignore_ascii_case(place)
                    && url.split(':').next() == origin.split(':').next()
            })
    }
}

/// The key that a request shows, whether one is needed or not. A bridge without keys has no use for it, and a client that
/// sends one all the same is somebody of its own.
pub(crate) fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers
        .get(AUTHORIZATION)
        .and_then(|value| bearer(value.as_bytes()));
    bearer.or_else(|| headers.get(API_KEY).map(HeaderValue::as_bytes))
}

/// The one value of `name`; `None` when there is none or several.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

/// The key in a value of `Authorization`.
pub(crate) fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = value.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| key.trim_ascii())
}

/// `host:port` of a URL.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// The name in `name:port` or `[address]:port`.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit())
                && !(name.starts_with('[') ^ name.ends_with(']')) =>
        {
            name
        }
        _ => authority,
    }
}

fn is_loopback_name(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost") || name == "127.0.0.1" || name == "[::1]"
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Case {
        host: &'static str,
        hosts: Vec<String>,
        origins: Vec<String>,
        url: Option<&'static str>,
    }

    impl Case {
        fn place(&self, host: &'static str, origin: Option<&'static str>) -> Result<(), Reject> {
            let mut headers = HeaderMap::new();
            if !host.is_empty() {
                headers.insert(HOST, HeaderValue::from_static(host));
            }
            if let Some(origin) = origin {
                headers.insert(ORIGIN, HeaderValue::from_static(origin));
            }
            self.guard(&[]).place(&headers)
        }

        fn guard<'a>(&'a self, keys: &'a [Secret]) -> Guard<'a> {
            Guard {
                host: self.host.parse().unwrap(),
                public_url: self.url,
                allowed_hosts: &self.hosts,
                allowed_origins: &self.origins,
                keys,
            }
        }
    }

    fn on(host: &'static str) -> Case {
        Case {
            host,
            hosts: Vec::new(),
            origins: Vec::new(),
            url: None,
        }
    }

    #[test]
    fn loopback_listeners_answer_only_to_names_of_this_machine() {
        let mut case = on("127.0.0.1");
        case.hosts = vec!["mcp.internal".to_owned(), "proxy:8443".to_owned()];
        case.url = Some("https://mcp.example.org/db");
        for (host, want) in [
            ("localhost", Ok(())),
            ("localhost:48010", Ok(())),
            ("LocalHost:1", Ok(())),
            ("127.0.0.1:48010", Ok(())),
            ("[::1]:48010", Ok(())),
            ("[::1]", Ok(())),
            ("mcp.internal", Ok(())),
            ("mcp.internal:9", Ok(())),
            ("proxy:8443", Ok(())),
            ("mcp.example.org", Ok(())),
            ("proxy:8444", Err(Reject::Host)),
            ("evil.example", Err(Reject::Host)),
            ("localhost.evil.example", Err(Reject::Host)),
            ("127.0.0.1.evil.example:48010", Err(Reject::Host)),
            ("127.0.0.1@evil.example", Err(Reject::Host)),
            ("::1", Err(Reject::Host)),
            ("", Err(Reject::HostMissing)),
        ] {
            assert_eq!(case.place(host, None), want, "{host}");
        }
        assert_eq!(on("127.0.0.2").place("127.0.0.2:1", None), Ok(()));
        assert_eq!(on("0.0.0.0").place("mcp-postgres:8080", None), Ok(()));
    }

    #[test]
    fn a_page_speaks_only_from_a_known_origin() {
        let local = on("127.0.0.1");
        for (origin, allowed) in [
            ("http://localhost:3000", true),
            ("https://127.0.0.1", true),
            ("http://[::1]:5173", true),
            ("http://localhost:48010/", true),
            ("http://evil.example", false),
            ("http://localhost.evil.example", false),
            ("null", false),
            ("", false),
            ("file://", false),
        ] {
            assert_eq!(
                local.place("localhost:48010", Some(origin)).is_ok(),
                allowed,
                "{origin}"
            );
        }
        let mut open = on("0.0.0.0");
        for (host, origin, allowed) in [
            ("db:1", "http://db:1", true),
            ("10.0.0.7:1", "http://10.0.0.7:1", true),
            ("[fd00::1]:1", "http://[fd00::1]:1", true),
            ("db:1", "http://localhost:1", false),
            ("db:1", "http://db:2", false),
            ("rebound.example:1", "http://rebound.example:1", false),
            ("listed.example:1", "http://listed.example:1", true),
        ] {
            open.hosts = vec!["listed.example".to_owned()];
            let place = open.place(host, Some(origin));
            assert_eq!(place.is_ok(), allowed, "{host} {origin}");
        }
        let keys = [Secret::new("k".to_owned())];
        let headers = HeaderMap::from_iter([
            (HOST, HeaderValue::from_static("a.example:1")),
            (ORIGIN, HeaderValue::from_static("http://a.example:1")),
        ]);
        assert_eq!(open.guard(&keys).place(&headers), Ok(()));
        assert_eq!(open.guard(&[]).place(&headers), Err(Reject::Origin));
    }

    #[test]
    fn listed_origins_and_the_public_one_are_allowed() {
        let mut case = on("0.0.0.0");
        case.origins = vec![
            "https://chat.example.org/".to_owned(),
            "vscode-webview://x".to_owned(),
        ];
        case.url = Some("https://mcp.example.org/db");
        for (origin, allowed) in [
            ("https://chat.example.org", true),
            ("HTTPS://Chat.Example.org", true),
            ("vscode-webview://x", true),
            ("https://mcp.example.org", true),
            ("http://mcp.example.org", false),
            ("https://chat.example.org:444", false),
        ] {
            assert_eq!(case.place("a", Some(origin)).is_ok(), allowed, "{origin}");
        }
    }

    #[test]
    fn keys_come_as_bearer_or_in_their_own_header() {
        let keys = ["one", "two"].map(|key| Secret::new(key.to_owned()));
        let case = on("127.0.0.1");
        let guard = case.guard(&keys);
        for (authorization, api_key, want) in [
            (Some("Bearer one"), None, Ok(())),
            (Some("bearer  two"), None, Ok(())),
            (None, Some("two"), Ok(())),
            (Some("Basic eDp5"), Some("one"), Ok(())),
            (Some("Bearer three"), Some("one"), Err(Reject::KeyWrong)),
            (Some("Bearer "), None, Err(Reject::KeyWrong)),
            (Some("one"), None, Err(Reject::KeyWithoutBearer)),
            (None, Some("on"), Err(Reject::KeyWrong)),
            (None, None, Err(Reject::KeyMissing)),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(value) = authorization {
                headers.insert(AUTHORIZATION, HeaderValue::from_static(value));
            }
            if let Some(value) = api_key {
                headers.insert(API_KEY, HeaderValue::from_static(value));
            }
            assert_eq!(guard.key(&headers), want, "{authorization:?} {api_key:?}");
        }
        assert_eq!(case.guard(&[]).key(&HeaderMap::new()), Ok(()));
    }
}
