//! `export`: right in a shell that has none of the daemon's variables, with the daemon and without.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::cli::{Ran, assert_fails, output, program};
use crate::harness::{Daemon, Launch};

/// Runs `export` for Claude Code in a shell that has no variable but its own.
async fn export(dir: &Path, arguments: &[&str]) -> Ran {
    let mut command = program(&["export", "--client", "claude", "--config"]);
    command
        .arg(dir.join("bridges.yaml"))
        .args(arguments)
        .env("RUNTIME_DIRECTORY", dir);
    output(command).await
}

/// The servers of what was printed.
#[track_caller]
fn servers(ran: &Ran) -> Value {
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(!format!("{ran:?}").contains("hunter"), "{ran:?}");
    let printed: Value = serde_json::from_str(&ran.out).unwrap();
    printed["mcpServers"].clone()
}

/// An entry for a server at `port` of this machine whose key is in a variable.
fn entry(port: u16, variable: &str) -> Value {
    json!({
        "type": "http",
        "url": format!("http://127.0.0.1:{port}/mcp"),
        "headers": {"Authorization": format!("Bearer ${{{variable}}}")},
    })
}

#[tokio::test]
async fn the_daemon_has_the_variables_that_a_shell_has_not() {
    let config = r#"
defaults: { api_keys: ["${DAEMON_KEY}"] }
bridges:
  one: { port: 0, demo: true, env: { TOKEN: "${DAEMON_TOKEN}" } }
  free: { port: "${DAEMON_PORT:-1}", demo: true, api_keys: [] }
  far: { url: "${DAEMON_URL}", auth_type: bearer_token, auth_value: "${DAEMON_TOKEN}" }
  gone: { port: 0, command: no-such-program, optional: true }
gateway: { port: 0, master_key: "${DAEMON_MASTER:-}" }
"#;
    let env = [
        ("DAEMON_KEY", "hunter-1"),
        ("DAEMON_TOKEN", "hunter-2"),
        ("DAEMON_MASTER", "hunter-3"),
        ("DAEMON_URL", "http://127.0.0.1:9/hunter-4"),
        ("DAEMON_PORT", "0"),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let daemon = Daemon::launch(Launch {
        config: config.to_owned(),
        env: env.to_vec(),
        ..Launch::default()
    })
    .await;
    let ran = export(daemon.dir(), &[]).await;
    let gateway = daemon.gateway().port();
    let expected = json!({
        "one": entry(daemon.bridge("one").port(), "DAEMON_KEY"),
        "free": {"type": "http", "url": format!("http://{}/mcp", daemon.bridge("free"))},
        "gateway": entry(gateway, "DAEMON_MASTER"),
    });
    assert_eq!(servers(&ran), expected);
    for part in [
        "note: gone is left out: it is unavailable: command `no-such-program`",
        "note: far is left out: it is a remote server, whose credentials are not for clients; give clients the gateway",
        "note: DAEMON_KEY, DAEMON_MASTER must be set in Claude Code's environment",
    ] {
        assert!(ran.err.contains(part), "{part} in {ran:?}");
    }
    let ran = export(daemon.dir(), &["far"]).await;
    assert_fails(&ran, 64, "`far` can't be exported: it is a remote server");

    // What counts is what runs, not what the file says meanwhile.
    daemon.configure("bridges: 7\n");
    let ran = export(daemon.dir(), &["gateway"]).await;
    assert_eq!(
        servers(&ran),
        json!({"gateway": entry(gateway, "DAEMON_MASTER")})
    );
}

#[tokio::test]
async fn without_a_daemon_the_file_is_read_by_reference() {
    let dir = tempfile::tempdir().unwrap();
    let config = r#"
defaults: { api_keys: ["${DAEMON_KEY}"], request_timeout: "${DAEMON_TIMEOUT}" }
bridges:
  one: { port: 71, demo: true, env: { TOKEN: "${DAEMON_TOKEN}" }, env_file: no-such.env }
  two: { port: 72, command: no-such-program, optional: true, api_keys: ["file:${CREDENTIALS_DIRECTORY}/key"] }
  three: { port: 73, command: "${DAEMON_PROGRAM}", api_keys: ["file:no-such-key"] }
  free: { port: 0, demo: true }
gateway:
  port: 74
  master_key: "${DAEMON_MASTER:-}"
  virtual_keys: [{ api_key: "${ONE}" }, { api_key: "${OTHER}" }]
  model_list: [{ model_name: m, api_base: "${DAEMON_URL}", api_key: "${DAEMON_TOKEN}" }]
"#;
    fs::write(dir.path().join("bridges.yaml"), config).unwrap();
    let ran = export(dir.path(), &[]).await;
    let expected = json!({
        "one": entry(71, "DAEMON_KEY"),
        "two": entry(72, "TWO_KEY"),
        "three": entry(73, "THREE_KEY"),
        "gateway": entry(74, "DAEMON_MASTER"),
    });
    assert_eq!(servers(&ran), expected);
    let part = "free is left out: it takes a free port, which its daemon knows: no daemon answers";
    assert!(ran.err.contains(part), "{ran:?}");
    let mut codex = program(&["export", "--client", "codex", "gateway", "--config"]);
    codex.arg(dir.path().join("bridges.yaml"));
    let ran = output(codex).await;
    assert!(ran.out.contains("http://127.0.0.1:74/v1"), "{ran:?}");

    // An address is not to be guessed.
    for (bridge, key) in [
        (
            r#"{ port: "${DAEMON_PORT}", demo: true }"#,
            "bridges.one.port: ",
        ),
        (
            r#"{ port: 71, demo: true, public_url: "${URL_OF_IT}" }"#,
            "bridges.one.public_url: ",
        ),
    ] {
        let config = format!("bridges:\n  one: {bridge}\n");
        fs::write(dir.path().join("bridges.yaml"), config).unwrap();
        let ran = export(dir.path(), &[]).await;
        assert_fails(&ran, 78, key);
        assert!(
            ran.err.contains("note: the daemon was not asked: "),
            "{ran:?}"
        );
    }
}
