//! Command lines: their words, a name for what they run, and those of them that only lead to a server on the network.

use super::entry::Server;
use super::reference::Spelling;

/// The words of a command line as a POSIX shell would split it, with its variables as references of ours.
///
/// # Errors
/// What only a shell can do with it.
pub(super) fn words(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\'' => {
                let mut quoted = String::new();
                loop {
                    match rest.next() {
                        Some('\'') => break,
                        Some(c) => quoted.push(c),
                        None => return Err("a quote that is not closed"),
                    }
                }
                // Nothing is expanded within.
                word.get_or_insert_default().push_str(&literal(&quoted));
            }
            '"' => {
                let mut quoted = String::new();
                loop {
                    match rest.next() {
                        Some('"') => break,
                        Some('\\') => match rest.next() {
                            Some(c @ ('"' | '\\')) => quoted.push(c),
                            Some('\n') => {}
                            Some('$') => {
                                let before = expanded(&std::mem::take(&mut quoted));
                                word.get_or_insert_default().push_str(&(before + "$$"));
                            }
                            Some(c) => quoted.extend(['\\', c]),
                            None => return Err("a quote that is not closed"),
                        },
                        Some('`') => return Err("a command substitution"),
                        Some('$') if rest.peek() == Some(&'(') => {
                            return Err("a command substitution");
                        }
                        Some(c) => quoted.push(c),
                        None => return Err("a quote that is not closed"),
                    }
                }
                word.get_or_insert_default().push_str(&expanded(&quoted));
            }
            '\\' => match rest.next() {
                Some('\n') => {}
                Some(c) => word
                    .get_or_insert_default()
                    .push_str(&literal(&c.to_string())),
                None => return Err("a backslash at its end"),
            },
            '|' | '&' | ';' | '<' | '>' | '(' | ')' | '`' => return Err("an operator of a shell"),
            '$' if rest.peek() == Some(&'(') => return Err("a command substitution"),
            '~' if word.is_none() => {
                word.get_or_insert_default().push_str("${HOME}");
            }
            c if c.is_whitespace() => words.extend(word.take()),
            '$' => {
                let mut reference = "$".to_owned();
                let braced = rest.peek() == Some(&'{');
                while let Some(c) = rest.next_if(|c| match braced {
                    true => true,
                    false => c.is_ascii_alphanumeric() || *c == '_',
                }) {
                    reference.push(c);
                    if braced && c == '}' {
                        break;
                    }
                }
                word.get_or_insert_default().push_str(&expanded(&reference));
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// The first words that set variables (`A=b program …`), and the rest.
pub(super) fn assignments(words: Vec<String>) -> (Vec<(String, String)>, Vec<String>) {
    let mut env = Vec::new();
    let mut rest = words.into_iter().peekable();
    while let Some((name, value)) = rest
        .peek()
        .and_then(|word| word.split_once('='))
        .filter(|(name, _)| super::reference::is_variable(name))
    {
        env.push((name.to_owned(), value.to_owned()));
        rest.next();
    }
    (env, rest.collect())
}

/// What a server that is run so may be called: `filesystem` for `npx -y @modelcontextprotocol/server-filesystem@1 /srv`.
pub(super) fn name_of(words: &[String]) -> String {
    const RUNNERS: [&str; 15] = [
        "npx", "uvx", "bunx", "pnpm", "yarn", "npm", "uv", "docker", "podman", "node", "python",
        "python3", "deno", "bun", "pipx",
    ];
    const VERBS: [&str; 8] = ["run", "exec", "dlx", "tool", "start", "x", "-m", "--"];
    /// Options of runners that have a value as a word of its own.
    const VALUED: [&str; 8] = [
        "--from",
        "--with",
        "-e",
        "--env",
        "-v",
        "--volume",
        "--directory",
        "-p",
    ];
    let base = |word: &str| word.rsplit('/').next().unwrap_or_default().to_owned();
    let mut rest = words.iter();
    let mut found = rest.next().map_or("server", |word| word.as_str());
    if RUNNERS.contains(&&*base(found)) {
        while let Some(word) = rest.next() {
            if VALUED.contains(&&**word) {
                rest.next();
            } else if !word.starts_with('-') && !VERBS.contains(&&**word) {
                found = word;
                break;
            }
        }
    }
    let name = base(found);
    // Without version, tag, and what all servers are called.
    let name = name.split(['@', ':']).next().unwrap_or_default();
    let name = [".js", ".mjs", ".ts", ".py", ".sh"]
        .iter()
        .fold(name, |name, end| name.trim_end_matches(end));
    let short = ["mcp-server-", "server-", "mcp-"]
        .iter()
        .fold(name, |name, start| name.strip_prefix(start).unwrap_or(name));
    let short = ["-mcp-server", "-mcp", "-server"]
        .iter()
        .fold(short, |name, end| name.strip_suffix(end).unwrap_or(name));
    match short.is_empty() {
        true => "server".to_owned(),
        false => short.to_owned(),
    }
}

/// The server on the network that a command of this kind only leads to (`mcp-remote`, or supergateway without `--stdio`).
pub(super) fn leads_to(command: &str, args: &[String]) -> Option<Server> {
    let words: Vec<&str> = [command]
        .into_iter()
        .chain(args.iter().map(String::as_str))
        .collect();
    let is = |word: &str, program: &str| {
        let base = word.rsplit('/').next().unwrap_or_default();
        base.split(['@', ':']).next() == Some(program)
    };
    let mut headers = Vec::new();
    let mut header = |text: &str| {
        if let Some((name, value)) = text.split_once(':') {
            headers.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    };
    if let Some(at) = words.iter().position(|word| is(word, "mcp-remote")) {
        let mut rest = words[at + 1..].iter();
        let mut url = None;
        let mut is_sse = None;
        while let Some(word) = rest.next() {
            match *word {
                "--header" => header(rest.next()?),
                "--transport" => {
                    is_sse = match *rest.next()? {
                        "sse-only" | "sse-first" => Some(true),
                        _ => Some(false),
                    }
                }
                word if word.contains("://") && url.is_none() => url = Some(word.to_owned()),
                // A port for logins, or an option that is about them; those need a browser, and so the program itself.
                "--static-oauth-client-info" | "--static-oauth-client-metadata" => return None,
                _ => {}
            }
        }
        // Without a key it logs in by a browser, which only it can.
        return (!headers.is_empty()).then_some(Server::remote(url?, is_sse, headers));
    }
    let at = words.iter().position(|word| is(word, "supergateway"))?;
    let mut rest = words[at + 1..].iter();
    let mut target = None;
    while let Some(word) = rest.next() {
        match *word {
            "--sse" => target = Some((rest.next()?.to_string(), true)),
            "--streamableHttp" => target = Some((rest.next()?.to_string(), false)),
            "--header" => header(rest.next()?),
            "--oauth2Bearer" => header(&format!("Authorization: Bearer {}", rest.next()?)),
            _ => {}
        }
    }
    let (url, is_sse) = target?;
    Some(Server::remote(url, Some(is_sse), headers))
}

fn expanded(text: &str) -> String {
    Spelling::Shell.translate(text, &mut |_| {})
}

/// Text that the shell takes as it is, in our language.
fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_as_a_shell_does() {
        for (line, expected) in [
            ("npx -y  server", &["npx", "-y", "server"][..]),
            (r#"a "b c" 'd "e"' f\ g"#, &["a", "b c", "d \"e\"", "f g"]),
            (
                r#"x="$HOME/a" ${B}c $D.e"#,
                &["x=${HOME}/a", "${B}c", "${D}.e"],
            ),
            (r#"'$HOME ${X}' "a\$X"b"#, &["$$HOME $${X}", "a$$Xb"]),
            ("~/bin/x a~b", &["${HOME}/bin/x", "a~b"]),
            ("a \\\n  b ''", &["a", "b", ""]),
        ] {
            assert_eq!(words(line).unwrap(), expected, "{line}");
        }
        for line in [
            "a | b",
            "a && b",
            "a > b",
            "a $(b)",
            "a \"`b`\"",
            "a 'b",
            "a \"b",
        ] {
            assert!(words(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_server_is_called_after_what_it_is() {
        for (line, name) in [
            (
                "npx -y @modelcontextprotocol/server-filesystem@1.2 /srv",
                "filesystem",
            ),
            ("uvx mcp-server-git --repository .", "git"),
            ("uv --directory /opt/x run postgres-mcp", "postgres"),
            (
                "docker run -i --rm -e TOKEN ghcr.io/github/github-mcp-server:v1",
                "github",
            ),
            ("/usr/local/bin/mcp-server-fetch", "fetch"),
            ("python -m mcp_server_time", "mcp_server_time"),
            ("node build/index.js", "index"),
            ("mcp", "mcp"),
        ] {
            assert_eq!(name_of(&words(line).unwrap()), name, "{line}");
        }
    }

    #[test]
    fn commands_that_lead_elsewhere_are_seen_through() {
        let of = |line: &str| {
            let all = words(line).unwrap();
            leads_to(&all[0], &all[1..])
        };
        let header = |value: &str| vec![("Authorization".to_owned(), value.to_owned())];
        for (line, expected) in [
            (
                "npx -y mcp-remote@latest https://h/mcp --header 'Authorization: Bearer ${T}'",
                Some(Server::remote(
                    "https://h/mcp".to_owned(),
                    None,
                    header("Bearer $${T}"),
                )),
            ),
            (
                "npx mcp-remote https://h/x --transport sse-only --header X-Key:k",
                Some(Server::remote(
                    "https://h/x".to_owned(),
                    Some(true),
                    vec![("X-Key".to_owned(), "k".to_owned())],
                )),
            ),
            (
                "npx -y supergateway --streamableHttp https://h/s --oauth2Bearer k",
                Some(Server::remote(
                    "https://h/s".to_owned(),
                    Some(false),
                    header("Bearer k"),
                )),
            ),
            ("npx mcp-remote https://h/login", None),
            ("npx -y supergateway --stdio x", None),
            ("npx -y something https://h", None),
        ] {
            assert_eq!(of(line), expected, "{line}");
        }
    }
}
