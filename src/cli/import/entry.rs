//! One server of a source, as an entry of `bridges`.

/// A text in the language of bridges.yaml: `${VAR}` is a reference, and what isn't meant to be one is escaped.
pub(super) type Text = String;

/// One server.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// As the source calls it.
    pub(super) name: String,
    /// As the source calls it, too.
    pub(super) aliases: Vec<String>,
    pub(super) description: Option<Text>,
    /// Whether it is switched off where it comes from.
    pub(super) is_disabled: bool,
    pub(super) server: Server,
    pub(super) env_file: Option<Text>,
    pub(super) allow: Vec<Text>,
    pub(super) deny: Vec<Text>,
    /// Further keys of bridges.yaml and their values, each as it is to be written.
    pub(super) more: Vec<(&'static str, String)>,
}

/// What it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Server {
    /// A program that is started here.
    Local {
        command: Text,
        args: Vec<Text>,
        env: Vec<(String, Text)>,
        cwd: Option<Text>,
        /// Where it was served before.
        port: Option<u16>,
    },
    /// One on the network.
    Remote {
        url: Text,
        is_sse: bool,
        /// `auth_type` and `auth_value`.
        auth: Option<(&'static str, Text)>,
        headers: Vec<(String, Text)>,
    },
}

impl Entry {
    pub(super) fn new(name: &str, server: Server) -> Self {
        Self {
            name: name.to_owned(),
            aliases: Vec::new(),
            description: None,
            is_disabled: false,
            server,
            env_file: None,
            allow: Vec::new(),
            deny: Vec::new(),
            more: Vec::new(),
        }
    }
}

impl Server {
    /// A server on the network; headers that say who we are become `auth_type`.
    pub(super) fn remote(url: Text, is_sse: Option<bool>, headers: Vec<(String, Text)>) -> Self {
        let path = url.split(['?', '#']).next().unwrap_or_default();
        let is_sse = is_sse.unwrap_or_else(|| path.trim_end_matches('/').ends_with("/sse"));
        let mut auth = None;
        let mut others = Vec::new();
        for (name, value) in headers {
            match authentication(&name, &value) {
                Some(found) if auth.is_none() => auth = Some(found),
                _ => others.push((name, value)),
            }
        }
        Self::Remote {
            url,
            is_sse,
            auth,
            headers: others,
        }
    }
}

fn authentication(name: &str, value: &str) -> Option<(&'static str, Text)> {
    let name = name.to_ascii_lowercase();
    if name == "x-api-key" {
        return Some(("api_key", value.to_owned()));
    }
    if name != "authorization" {
        return None;
    }
    let rest = |scheme: &str| {
        let (found, rest) = value.split_once(' ')?;
        let rest = rest.trim();
        (found.eq_ignore_ascii_case(scheme) && !rest.is_empty()).then(|| rest.to_owned())
    };
    let bearer = rest("bearer").map(|value| ("bearer_token", value));
    let basic = rest("basic").map(|value| ("basic", value));
    bearer
        .or(basic)
        .or_else(|| Some(("authorization", value.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_say_who_we_are_become_auth() {
        for (name, value, expected) in [
            (
                "Authorization",
                "Bearer ${T}",
                Some(("bearer_token", "${T}")),
            ),
            ("authorization", "basic dTpw", Some(("basic", "dTpw"))),
            (
                "Authorization",
                "${WHOLE}",
                Some(("authorization", "${WHOLE}")),
            ),
            ("X-API-Key", "k", Some(("api_key", "k"))),
            ("X-Team", "a", None),
        ] {
            let expected = expected.map(|(kind, value)| (kind, value.to_owned()));
            assert_eq!(authentication(name, value), expected, "{name}: {value}");
        }
    }

    #[test]
    fn the_path_chooses_the_transport_where_nothing_else_does() {
        for (url, given, expected) in [
            ("https://h/sse", None, true),
            ("https://h/sse/?k=v", None, true),
            ("https://h/mcp", None, false),
            ("https://h/sse", Some(false), false),
        ] {
            let server = Server::remote(url.to_owned(), given, Vec::new());
            let Server::Remote { is_sse, .. } = server else {
                panic!("{server:?}")
            };
            assert_eq!(is_sse, expected, "{url}");
        }
    }
}
