//! What makes a text a host, a URL, an origin and so on. An error is the reason, or empty when the expectation says it all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use globset::Glob;

use super::bridge::is_name;
use super::environment::RESERVED;

/// The longest name that people choose freely, in characters.
const LABEL_LIMIT: usize = 128;

/// The longest name of a header, in bytes; longer ones meet limits of proxies.
const HEADER_LIMIT: usize = 128;

/// Headers of HTTP and MCP that a client of a remote server sets by itself, in lower case.
const PROTOCOL_HEADERS: [&str; 15] = [
    "accept",
    "connection",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

pub(super) fn filled(text: &str) -> Result<(), String> {
    holds(!text.trim().is_empty())
}

fn holds(good: bool) -> Result<(), String> {
    if good { Ok(()) } else { Err(String::new()) }
}

pub(super) fn name(text: &str) -> Result<(), String> {
    holds(is_name(text))
}

pub(super) fn host(text: &str) -> Result<IpAddr, String> {
    if text == "localhost" {
        return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let inner = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    inner.parse().map_err(|_| String::new())
}

pub(super) fn user(text: &str) -> Result<(), String> {
    filled(text)?;
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text
            .parse::<u32>()
            .map(|_| ())
            .map_err(|_| "the number is too large".to_owned());
    }
    match nix::unistd::User::from_name(text) {
        Ok(None) => Err("there is no such user".to_owned()),
        // Who can't be looked up now may be there when the child starts.
        Ok(Some(_)) | Err(_) => Ok(()),
    }
}

pub(super) fn variable(name: &str) -> Result<String, String> {
    if RESERVED.contains(&name) {
        return Err("the service manager's own variables are not for children".to_owned());
    }
    holds(!name.is_empty() && !name.contains(['=', '\0']))?;
    Ok(name.to_owned())
}

/// What stands between a server's name and its tool's.
pub(super) fn separator(text: &str) -> Result<(), String> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    holds((1..=4).contains(&text.len()) && text.chars().all(is_fine))
}

/// A name that people chose, which goes into logs and messages as it is.
pub(super) fn label(text: &str) -> Result<(), String> {
    filled(text)?;
    if text.chars().count() > LABEL_LIMIT {
        return Err(format!("it has more than {LABEL_LIMIT} characters"));
    }
    if text.trim() != text || text.contains(char::is_control) {
        return Err("it has spaces around it or control characters".to_owned());
    }
    Ok(())
}

/// The name of a model as clients ask for it.
pub(super) fn model(text: &str) -> Result<(), String> {
    label(text)?;
    if text != "*" && text.contains('*') {
        return Err("only a `*` by itself stands for more than one".to_owned());
    }
    Ok(())
}

/// The base of an OpenAI-compatible endpoint.
pub(super) fn api_base(text: &str) -> Result<String, String> {
    let base = url(text)?;
    for route in ["/chat/completions", "/responses", "/models"] {
        if base.ends_with(route) {
            return Err(format!("it must end before `{route}`"));
        }
    }
    Ok(base)
}

pub(super) fn glob(text: &str) -> Result<(), String> {
    filled(text)?;
    Glob::new(text)
        .map(drop)
        .map_err(|error| error.kind().to_string())
}

pub(super) fn url(text: &str) -> Result<String, String> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let rest = rest.ok_or("it must start with `http://` or `https://`")?;
    if rest.contains(['?', '#']) {
        return Err("it must end with the path, without `?` and `#`".to_owned());
    }
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    authority(host)?;
    holds(path.bytes().all(|byte| byte.is_ascii_graphic()))?;
    Ok(text.trim_end_matches('/').to_owned())
}

/// The endpoint of a remote server, which is asked as it is written: a final `/` and a query may matter to it.
pub(super) fn endpoint(text: &str) -> Result<(), String> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let rest = rest.ok_or("it must start with `http://` or `https://`")?;
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if host.contains('@') {
        return Err("it must not name a user; use `auth_type` and `auth_value`".to_owned());
    }
    authority(host)?;
    if path.contains('#') {
        return Err("it must not have a `#`".to_owned());
    }
    holds(path.bytes().all(|byte| byte.is_ascii_graphic()))
}

/// The name of a header, in lower case.
pub(super) fn header(text: &str) -> Result<String, String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    holds(!text.is_empty() && text.len() <= HEADER_LIMIT && text.bytes().all(is_token))?;
    Ok(text.to_ascii_lowercase())
}

/// The name of a header that may be sent to a remote server beside those that the protocol sets, in lower case.
pub(super) fn sent_header(text: &str) -> Result<String, String> {
    let name = header(text)?;
    if PROTOCOL_HEADERS.contains(&name.as_str()) {
        return Err("the gateway sets it itself".to_owned());
    }
    Ok(name)
}

pub(super) fn origin(text: &str) -> Result<(), String> {
    let (scheme, rest) = text
        .split_once("://")
        .ok_or("it must start with a scheme such as `https://`")?;
    holds(
        !scheme.is_empty()
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)),
    )?;
    if rest.contains('/') {
        return Err("an origin has no path, not even a final `/`".to_owned());
    }
    authority(rest)
}

pub(super) fn authority(text: &str) -> Result<(), String> {
    if text.contains('/') {
        return Err("it has no scheme and no path".to_owned());
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err("its port is no port".to_owned());
    }
    let bracketed = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    holds(match bracketed {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
        }
    })
}

/// A lone word must be a level: `EnvFilter` would take any other for the name of a module.
pub(super) fn level(text: &str) -> Result<(), String> {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    filled(text)?;
    for directive in text.split(',').map(str::trim) {
        let good = if directive.contains('=') {
            tracing_subscriber::EnvFilter::builder()
                .parse(directive)
                .is_ok()
        } else {
            LEVELS.contains(&directive)
        };
        if !good {
            return Err(format!("`{directive}` is neither"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T, E>(read: impl Fn(&str) -> Result<T, E>, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(read(text).is_ok(), "{text}");
        }
        for text in bad {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hosts() {
        check(
            host,
            &["127.0.0.1", "0.0.0.0", "::1", "[::]", "localhost"],
            &["", "mcp", "127.0.0.1:80", "256.1.1.1"],
        );
    }

    #[test]
    fn urls_and_origins() {
        check(
            url,
            &["http://a", "https://a.b:1/c/", "http://[::1]:80/x"],
            &[
                "a",
                "ftp://a",
                "http://",
                "http:///x",
                "http://a:b",
                "http://a/?q",
                "http://u:p@a",
                "http://a b",
            ],
        );
        check(
            origin,
            &[
                "https://a",
                "http://a:1",
                "vscode-webview://abc",
                "http://[::1]:1",
            ],
            &[
                "a",
                "*",
                "null",
                "https://a/",
                "https://",
                "://a",
                "https://a:x",
            ],
        );
        check(
            authority,
            &["a", "mcp-x:8080", "a.b", "[::1]:1", "10.0.0.1:1"],
            &["", ":1", "a:x", "a/b", "http://a", "*"],
        );
        assert_eq!(url("http://a/b//"), Ok("http://a/b".to_owned()));
    }

    #[test]
    fn remote_servers() {
        check(
            endpoint,
            &[
                "http://mcp-n8n:8080/mcp",
                "https://a/mcp/?key=1",
                "https://[::1]:1",
                "http://a?b",
            ],
            &[
                "a/mcp",
                "ws://a",
                "http://",
                "http://u:p@a",
                "http://a/#b",
                "http://a/ b",
                "http://a:x/",
            ],
        );
        check(
            header,
            &["X-Key", "a", "mcp-session-id"],
            &["", "a b", "a:", "ä", "a\n", &"x".repeat(129)],
        );
        check(
            sent_header,
            &["X-Key", "Authorization"],
            &["Mcp-Session-Id", "HOST", "a b"],
        );
        assert_eq!(header("X-Key"), Ok("x-key".to_owned()));
    }

    #[test]
    fn names_of_the_gateway() {
        check(
            separator,
            &["-", "__", "aB9_"],
            &["", ".", "-----", "- ", "ä"],
        );
        check(
            label,
            &["team a", "Käthe", &"x".repeat(128)],
            &["", " ", " a", "a\nb", &"x".repeat(129)],
        );
        check(
            model,
            &["gpt-4o", "ollama/llama3:8b", "*"],
            &["", "gpt-*", "**"],
        );
        check(
            api_base,
            &["http://a/v1", "https://a:1/v1/", "http://a"],
            &[
                "a/v1",
                "http://a/v1/chat/completions",
                "http://a/v1/models/",
            ],
        );
    }

    #[test]
    fn log_levels() {
        check(
            level,
            &[
                "info",
                "off",
                "warn,mcp_bridged=debug",
                "hyper::proto=trace",
            ],
            &["", "inof", "INFO2", "info,", "a=loud", "info,x"],
        );
    }

    #[test]
    fn users() {
        check(
            user,
            &["root", "0", "65534"],
            &["", "no such user", "4294967296"],
        );
    }
}
