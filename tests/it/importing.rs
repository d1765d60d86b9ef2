//! `import`: files as their programs write them become a file that `check` accepts and `serve` serves.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::cli::{Ran, assert_fails, output, program};
use crate::harness::{Daemon, Launch};

/// What the files refer to; the values must never show.
const VARIABLES: [(&str, &str); 8] = [
    ("LINEAR_TOKEN", "hunter-1"),
    ("CONTEXT7_API_KEY", "hunter-2"),
    ("PERPLEXITY_KEY", "hunter-3"),
    ("GITHUB_PAT", "hunter-4"),
    ("POSTGRES_MCP_URL", "hunter-5"),
    ("TOOLS_KEY", "hunter-6"),
    ("API_TOKEN", "hunter-7"),
    ("HOME", "/tmp"),
];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/import")
}

/// Imports a file from within its folder, so that it is called by its name alone.
async fn import(arguments: &[&str]) -> Ran {
    let mut command = program(&["import"]);
    command
        .args(arguments)
        .current_dir(fixtures())
        .envs(VARIABLES);
    output(command).await
}

/// A folder with programs of these names that all are the demo server.
fn programs(dir: &Path, names: &[&str]) -> String {
    for name in names {
        let path = dir.join(name);
        let demo = format!(
            "#!/bin/sh\nexec {} demo-server\n",
            env!("CARGO_BIN_EXE_mcp-bridged")
        );
        fs::write(&path, demo).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    format!("{}:/usr/bin:/bin", dir.display())
}

/// Checks and serves what was imported, and calls a tool of each of `bridges`.
async fn serves(yaml: &str, bridges: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let path = programs(dir.path(), &["npx", "uvx", "everything-server"]);
    let workspace = dir.path().display().to_string();
    fs::write(dir.path().join("perplexity.env"), "A=b\n").unwrap();
    let file = dir.path().join("bridges.yaml");
    fs::write(&file, yaml).unwrap();
    let mut env: Vec<(String, String)> = vec![
        ("PATH".to_owned(), path),
        ("WORKSPACE_FOLDER".to_owned(), workspace),
    ];
    env.extend(VARIABLES.map(|(name, value)| (name.to_owned(), value.to_owned())));

    let mut check = program(&["check", "--config", file.to_str().unwrap()]);
    check.envs(env.clone());
    let ran = output(check).await;
    assert_eq!(ran.code, Some(0), "{ran:?}\n{yaml}");
    assert!(!ran.out.contains("not there"), "{ran:?}");

    // The ports of the file may be in use here.
    let lines = yaml
        .lines()
        .map(|line| match line.trim_start().starts_with("port: ") {
            true => format!("{}: 0\n", line.split(':').next().unwrap()),
            false => format!("{line}\n"),
        });
    let daemon = Daemon::launch(Launch {
        config: lines.collect(),
        env,
        ..Launch::default()
    })
    .await;
    for bridge in bridges {
        daemon.until_ready(bridge).await;
        let url = format!("http://{}/sse", daemon.bridge(bridge));
        let ran = output(program(&["call", &url, "add", r#"{"a":1,"b":2}"#])).await;
        assert_eq!(
            (ran.code, &*ran.out),
            (Some(0), "{\"sum\":3}\n"),
            "{bridge}: {ran:?}"
        );
    }
}

async fn imports(file: &str, bridges: &[&str], warnings: &[&str]) {
    let ran = import(&[file]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let (name, _) = file.split_once('.').unwrap();
    let expected = fs::read_to_string(fixtures().join(format!("{name}.expected.yaml"))).unwrap();
    let version = format!("mcp-bridged {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(ran.out.replace(&version, "mcp-bridged"), expected);
    for part in warnings {
        assert!(ran.err.contains(part), "{part:?} in {ran:?}");
    }
    assert_eq!(ran.err.lines().count(), warnings.len(), "{ran:?}");
    assert!(!format!("{ran:?}").contains("hunter"), "{ran:?}");
    serves(&ran.out, bridges).await;
}

#[tokio::test]
async fn a_file_of_claude_desktop_is_imported_checked_and_served() {
    imports(
        "claude_desktop_config.json",
        &["filesystem", "everything"],
        &[
            "github: `autoApprove` is not taken over: clients decide that",
            "linear: `npx …` only leads to a server on the network",
            "context7: `timeout` is not taken over: see `request_timeout`",
            "`Filesystem` is called `filesystem` here",
            "github: env.GITHUB_PERSONAL_ACCESS_TOKEN may be a secret",
            "github: it is disabled, so it is a comment",
            "refers to CONTEXT7_API_KEY, LINEAR_TOKEN; set them",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_file_of_vs_code_is_imported_checked_and_served() {
    imports(
        "vscode_mcp.json",
        &["perplexity", "everything"],
        &[
            "Perplexity: VS Code asks its user for `perplexity-key`; here it is the variable PERPLEXITY_KEY",
            "Perplexity: `${workspaceFolder}` is the folder that is open",
            "Perplexity: `dev` is not taken over: it is for an editor",
            "everything: `${workspaceFolder}` is the folder that is open",
            "events: VS Code asks its user",
            "`Perplexity` is called `perplexity` here",
            "refers to PERPLEXITY_KEY; set them",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_file_of_litellm_is_imported_checked_and_served() {
    imports(
        "litellm_config.yaml",
        &["postgres"],
        &[
            "github_mcp_server: `extra_headers` is not taken over: clients of the gateway send `x-mcp-{alias}-{header}`",
            "github_mcp_server: `access_groups` is not taken over: see `virtual_keys`",
            "`model_list` is not taken over",
            "refers to GITHUB_PAT, POSTGRES_MCP_URL, TOOLS_KEY; set them",
        ],
    )
    .await;
}

#[tokio::test]
async fn command_lines_of_supergateway_are_imported_checked_and_served() {
    let docker = r#"docker run -it --rm -p 9000:9000 -e API_TOKEN supercorp/supergateway --stdio "npx -y @modelcontextprotocol/server-filesystem $HOME" --port 9000"#;
    let npx = r#"npx -y supergateway --stdio "uvx mcp-server-git" --port 9000"#;
    let ran = import(&[
        "--supergateway",
        docker,
        "--supergateway",
        npx,
        "--first-port",
        "9100",
    ])
    .await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.err
            .contains("port 9000 is taken by another one, so it gets 9100"),
        "{ran:?}"
    );
    let expected = r#"
  filesystem:
    port: 9000
    command: npx
    args: [-y, "@modelcontextprotocol/server-filesystem", "${HOME}"]
    env:
      API_TOKEN: "${API_TOKEN}"

  git:
    port: 9100
    command: uvx
    args: [mcp-server-git]
"#;
    let (_, body) = ran.out.split_once("bridges:\n").unwrap();
    assert_eq!(format!("\n{}", body.trim_start_matches('\n')), expected);
    serves(&ran.out, &["filesystem", "git"]).await;
}

#[tokio::test]
async fn what_is_no_such_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    for (text, part) in [
        ("{ \"mcpServers\": { }", "EOF while parsing"),
        ("{ \"mcpServers\": { } }", "there is nothing to import"),
        (
            "{ \"theme\": \"dark\" }",
            "has none of `mcpServers` (Claude)",
        ),
        ("model_list: []", "has none of `mcpServers` (Claude)"),
        ("mcp_servers:\n\ta: b", ":2:1: found a tab"),
    ] {
        fs::write(&file, text).unwrap();
        let ran = output(program(&["import", file.to_str().unwrap()])).await;
        assert_fails(&ran, 78, part);
    }
    let ran = output(program(&["import", "/no/such/file"])).await;
    assert_fails(&ran, 78, "/no/such/file cannot be read");
    assert_fails(&output(program(&["import"])).await, 64, "required");
    let line = "npx -y supergateway --port 1";
    let ran = output(program(&["import", "--supergateway", line])).await;
    assert_fails(&ran, 78, "has none of --stdio");
}

#[tokio::test]
async fn what_is_wrong_with_stdin_is_said_of_stdin() {
    let ran = import(&["-"]).await;
    assert_fails(&ran, 78, "error: stdin");
}
