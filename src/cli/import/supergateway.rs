//! A command line of supergateway, by npx or docker: `npx -y supergateway --stdio "…" --port 8000`.

use super::Source;
use super::command::{assignments, leads_to, name_of, words};
use super::entry::{Entry, Server};

/// What supergateway does where nothing is said.
const PORT: u16 = 8000;

/// The options after its name.
#[derive(Debug, Default)]
struct Options {
    stdio: Option<String>,
    port: Option<u16>,
    /// Further keys of the bridge.
    more: Vec<(&'static str, String)>,
}

pub(super) fn read(line: &str) -> Result<Source, String> {
    let refuse = |why: &str| format!("this command line {why}: {line}");
    let all = words(line).map_err(|what| refuse(&format!("has {what}")))?;
    let (mut env, all) = assignments(all);
    let own = all
        .iter()
        .position(|word| {
            let base = word.rsplit('/').next().unwrap_or_default();
            base.split(['@', ':']).next() == Some("supergateway")
        })
        .ok_or_else(|| refuse("does not run supergateway"))?;
    let mut source = Source::default();
    docker(&all[..own], &mut env, &mut source.warnings);
    if let Some(server) = leads_to(&all[own], &all[own + 1..]) {
        let name = match &server {
            Server::Remote { url, .. } => host_of(url),
            Server::Local { .. } => String::new(),
        };
        source.entries.push(Entry::new(&name, server));
        return Ok(source);
    }
    let options = options(&all[own + 1..], &mut source.warnings)
        .map_err(|missing| refuse(&format!("has no value after {missing}")))?;
    let stdio = options
        .stdio
        .ok_or_else(|| refuse("has none of --stdio, --sse and --streamableHttp"))?;
    let (command, args) = match words(&stdio) {
        Ok(inner) => {
            let (own, mut inner) = assignments(inner);
            env.extend(own);
            if inner.is_empty() {
                return Err(refuse("has an empty --stdio"));
            }
            (inner.remove(0), inner)
        }
        Err(what) => {
            source
                .warnings
                .push(format!("`{stdio}` has {what}, so a shell runs it"));
            (
                "sh".to_owned(),
                vec!["-c".to_owned(), stdio.replace('$', "$$")],
            )
        }
    };
    let name = match command.as_str() {
        "sh" => "server".to_owned(),
        _ => {
            let all: Vec<_> = [&command].into_iter().chain(&args).cloned().collect();
            name_of(&all)
        }
    };
    source.warnings.push(format!(
        "{name}: supergateway listened on all addresses, this bridge on 127.0.0.1; for others set `host: 0.0.0.0`, and `api_keys`"
    ));
    let mut entry = Entry::new(
        &name,
        Server::Local {
            command,
            args,
            env,
            cwd: None,
            port: Some(options.port.unwrap_or(PORT)),
        },
    );
    entry.more = options.more;
    source.entries.push(entry);
    Ok(source)
}

/// Variables of a container become variables of the server.
fn docker(before: &[String], env: &mut Vec<(String, String)>, warnings: &mut Vec<String>) {
    if !before
        .iter()
        .any(|word| word == "docker" || word == "podman")
    {
        return;
    }
    let mut rest = before.iter();
    while let Some(word) = rest.next() {
        let (option, value) = match word.split_once('=') {
            Some((option, value)) if option.starts_with("--") => (option, Some(value.to_owned())),
            _ => (word.as_str(), None),
        };
        match option {
            "-e" | "--env" => {
                let Some(value) = value.or_else(|| rest.next().cloned()) else {
                    continue;
                };
                match value.split_once('=') {
                    Some((name, value)) => env.push((name.to_owned(), value.to_owned())),
                    None => env.push((value.clone(), format!("${{{value}}}"))),
                }
            }
            "-v" | "--volume" | "--mount" => {
                let volume = value.or_else(|| rest.next().cloned()).unwrap_or_default();
                warnings.push(format!(
                    "paths within the container are others here: see the volume `{volume}`"
                ));
            }
            _ => {}
        }
    }
}

/// # Errors
/// The option whose value is missing.
fn options(words: &[String], warnings: &mut Vec<String>) -> Result<Options, String> {
    let mut options = Options::default();
    let mut rest = words.iter().peekable();
    while let Some(word) = rest.next() {
        let (name, given) = match word.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
            _ => (word.as_str(), None),
        };
        let mut value = || {
            let next = given.clone().or_else(|| rest.next().cloned());
            next.ok_or_else(|| name.to_owned())
        };
        let mut other = |given: String, same: &str, cure: &str| {
            if given != same {
                warnings.push(format!("`{name} {given}` is not taken over: {cure}"));
            }
        };
        match name {
            "--stdio" => options.stdio = Some(value()?),
            "--port" => {
                let port = value()?;
                options.port = port.parse().ok();
                if options.port.is_none() {
                    other(port, "", "it is no port");
                }
            }
            "--baseUrl" => options
                .more
                .push(("public_url", super::write::text(&value()?))),
            "--sessionTimeout" => {
                let millis = value()?;
                options.more.push(("session_idle", format!("{millis}ms")));
            }
            "--outputTransport" => match value()?.as_str() {
                "ws" => other(
                    "ws".to_owned(),
                    "",
                    "WebSocket is no transport of MCP; clients use /mcp or /sse",
                ),
                "stdio" => other("stdio".to_owned(), "", "the bridge serves /mcp and /sse"),
                _ => {}
            },
            "--ssePath" => other(value()?, "/sse", "clients use /sse"),
            "--streamableHttpPath" => other(value()?, "/mcp", "clients use /mcp"),
            // Clients are told where to post to.
            "--messagePath" | "--logLevel" | "--protocolVersion" => drop(value()?),
            // Sessions share one process here, or have their own where they need it.
            "--stateful" | "--no-stateful" => {}
            "--healthEndpoint" => other(
                value()?,
                "/health",
                "the bridge has /health, /ready and /live",
            ),
            "--header" | "--oauth2Bearer" => {
                value()?;
                warnings.push(format!(
                    "`{name}` is not taken over: with --stdio it only adds to answers"
                ));
            }
            "--cors" => {
                let mut origins = Vec::new();
                while let Some(origin) = rest.next_if(|word| !word.starts_with("--")) {
                    origins.push(origin.clone());
                }
                let plain = |origin: &&String| origin.contains("://");
                let listed: Vec<_> = origins
                    .iter()
                    .filter(plain)
                    .map(|it| super::write::text(it))
                    .collect();
                if !listed.is_empty() {
                    options
                        .more
                        .push(("allowed_origins", format!("[{}]", listed.join(", "))));
                }
                if listed.len() < origins.len() || origins.is_empty() {
                    warnings.push("`--cors` for any origin or by a pattern is not taken over: list them in `allowed_origins`".to_owned());
                }
            }
            _ if name.starts_with('-') => other(String::new(), "-", "it has no counterpart"),
            _ => {}
        }
    }
    Ok(options)
}

/// `mcp.example.com` of a URL, for a name.
fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let end = rest.find(['/', ':', '?']).unwrap_or(rest.len());
    rest[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(line: &str) -> (Entry, Vec<String>) {
        let source = read(line).unwrap();
        let entry = source.entries.into_iter().next().unwrap();
        (entry, source.warnings)
    }

    #[test]
    fn a_line_becomes_a_bridge_on_its_port() {
        let line = r#"GITHUB_TOKEN=$PAT npx -y supergateway@3 --stdio "A=1 npx -y @modelcontextprotocol/server-filesystem '/srv/my files' ~/x" --port 8123 --baseUrl https://mcp.example.org --ssePath /sse --cors https://a.example --sessionTimeout 60000 --logLevel none"#;
        let (entry, warnings) = local(line);
        assert_eq!(entry.name, "filesystem");
        let Server::Local {
            command,
            args,
            env,
            port,
            ..
        } = entry.server
        else {
            panic!("{warnings:?}")
        };
        assert_eq!((command.as_str(), port), ("npx", Some(8123)));
        assert_eq!(
            args,
            [
                "-y",
                "@modelcontextprotocol/server-filesystem",
                "/srv/my files",
                "${HOME}/x"
            ]
        );
        let env: Vec<_> = env
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(env, [("GITHUB_TOKEN", "${PAT}"), ("A", "1")]);
        let more: Vec<_> = entry
            .more
            .iter()
            .map(|(key, value)| (*key, &**value))
            .collect();
        let expected = [
            ("public_url", "https://mcp.example.org"),
            ("allowed_origins", "[https://a.example]"),
            ("session_idle", "60000ms"),
        ];
        assert_eq!(more, expected);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("0.0.0.0"));
    }

    #[test]
    fn containers_and_shells_are_understood() {
        let (entry, warnings) = local(
            r#"docker run -it --rm -p 8000:8000 -e KEY -e MODE=a -v /srv:/data supercorp/supergateway:uvx --stdio "cd /data && uvx x" --ssePath /events --cors"#,
        );
        let Server::Local {
            command,
            args,
            env,
            port,
            ..
        } = entry.server
        else {
            panic!()
        };
        assert_eq!((command.as_str(), port), ("sh", Some(8000)));
        assert_eq!(args, ["-c", "cd /data && uvx x"]);
        assert_eq!(env[0], ("KEY".to_owned(), "${KEY}".to_owned()));
        assert_eq!(env[1], ("MODE".to_owned(), "a".to_owned()));
        let said = warnings.join("\n");
        for part in [
            "/srv:/data",
            "an operator of a shell",
            "`--ssePath /events`",
            "`--cors`",
        ] {
            assert!(said.contains(part), "{part} in {said}");
        }
    }

    #[test]
    fn a_line_without_a_server_is_refused() {
        for (line, part) in [
            ("npx -y supergateway --port 1", "none of --stdio"),
            ("npx -y other --stdio x", "does not run supergateway"),
            ("npx supergateway --stdio", "no value after --stdio"),
            ("npx supergateway --stdio 'x", "a quote that is not closed"),
            ("npx supergateway --stdio ''", "an empty --stdio"),
        ] {
            let message = read(line).unwrap_err();
            assert!(message.contains(part), "{line}: {message}");
        }
        let source = read("npx -y supergateway --sse https://mcp.example.org/sse").unwrap();
        assert_eq!(source.entries[0].name, "mcp.example.org");
    }
}
