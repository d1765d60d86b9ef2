//! Clients that are configured by nothing but the exact output of `export`.

use std::fs;

use serde_json::json;
use tokio::process::Command;

use super::codex::{CODEX, check_call, codex, model_that_calls_echo};
use super::gateway::Gateway;
use super::litellm::{LITELLM, LiteLlm, free_address, random_key};
use super::{INSPECTOR, installed, output};
use crate::cli::{self, program};
use crate::harness::{Daemon, Launch, until};

/// What bridges want from clients, in the variable `BRIDGE_KEY`.
pub(super) const BRIDGE_KEY: &str = "sk-of-the-bridge";

/// A bridge whose name LiteLLM doesn't allow, one without a key, and the gateway.
const CONFIG: &str = r#"
defaults: { api_keys: ["${BRIDGE_KEY}"] }
bridges:
  demo-one: { port: 0, demo: true, aliases: [one] }
  open: { port: 0, host: 0.0.0.0, demo: true, api_keys: [] }
gateway: { port: 0, master_key: "${MASTER_KEY}" }
"#;
const VARIABLES: [(&str, &str); 2] = [("BRIDGE_KEY", BRIDGE_KEY), ("MASTER_KEY", "sk-master")];

async fn daemon() -> Daemon {
    let env = VARIABLES.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let daemon = Daemon::launch(Launch {
        config: CONFIG.to_owned(),
        env: env.to_vec(),
        ..Launch::default()
    })
    .await;
    daemon.until_ready("demo-one").await;
    daemon.until_ready("open").await;
    daemon
}

/// What `export` prints for a client; it has no value of a key in it.
async fn export(daemon: &Daemon, arguments: &[&str]) -> String {
    let mut command = program(&["export"]);
    command
        .args(arguments)
        .arg("--config")
        .arg(daemon.path("bridges.yaml"))
        .env("RUNTIME_DIRECTORY", daemon.dir());
    let ran = cli::output(command).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(!format!("{ran:?}").contains("sk-"), "{ran:?}");
    ran.out
}

/// Lists the tools of a LiteLLM that is configured for this transport, and calls one of each bridge and of the gateway.
async fn litellm_uses_bridges(transport: &str) {
    let Some(installed) = installed(&[LITELLM]) else {
        return;
    };
    let daemon = daemon().await;
    let config = export(&daemon, &["--client", "litellm", "--transport", transport]).await;
    assert!(
        config.contains(&format!("transport: {transport}\n")),
        "{config}"
    );
    let (addr, key) = (free_address(), random_key());
    let litellm = LiteLlm::start(&installed, daemon.dir(), addr, &key, &config, &VARIABLES).await;
    let url = format!("http://{}/mcp/", litellm.address());

    // LiteLLM shows a server under its alias.
    let names = ["one-add", "open-add", "gateway-demo-one-add"];
    until("every tool in LiteLLM's list", async || {
        let ran = cli::output(program(&["tools", &url, "--key", &key])).await;
        names
            .iter()
            .all(|name| ran.out.contains(name))
            .then_some(())
    })
    .await;
    for name in names {
        let arguments = ["call", &url, name, r#"{"a":40,"b":2}"#, "--key", &key];
        let ran = cli::output(program(&arguments)).await;
        assert_eq!(
            (ran.code, &*ran.out),
            (Some(0), "{\"sum\":42}\n"),
            "{name}: {ran:?}"
        );
    }
}

#[tokio::test]
async fn litellm_uses_bridges_by_its_export_over_sse() {
    litellm_uses_bridges("sse").await;
}

#[tokio::test]
async fn litellm_uses_bridges_by_its_export_over_http() {
    litellm_uses_bridges("http").await;
}

#[tokio::test]
async fn codex_uses_a_bridge_by_its_export() {
    let Some(installed) = installed(&[CODEX]) else {
        return;
    };
    let model = model_that_calls_echo().await;
    // A bridge with a key, which the harness's own gateway has not.
    let bridges = json!({"bridge": {"port": 0, "demo": true, "api_keys": [BRIDGE_KEY]}});
    let gateway = Gateway::start(&bridges, model).await;
    let more = export(&gateway.daemon, &["--client", "codex", "bridge"]).await;
    assert!(
        more.contains("bearer_token_env_var = \"BRIDGE_KEY\""),
        "{more}"
    );
    check_call(&codex(&gateway, &installed.path(CODEX), "scripted", &more).await);
}

#[tokio::test]
async fn the_inspector_uses_a_bridge_by_its_export() {
    let Some(installed) = installed(&[INSPECTOR]) else {
        return;
    };
    let daemon = daemon().await;
    let file = daemon.path("session.json");
    for transport in ["http", "sse"] {
        let text = export(
            &daemon,
            &["--client", "inspector", "--transport", transport],
        )
        .await;
        fs::write(&file, text).unwrap();
        for (server, header) in [("demo-one", Some(BRIDGE_KEY)), ("open", None)] {
            let mut command = Command::new(installed.path(INSPECTOR));
            command.args([
                "--cli",
                "--server",
                server,
                "--method",
                "tools/list",
                "--config",
            ]);
            command.arg(&file);
            if let Some(key) = header {
                command.args(["--header", &format!("Authorization: Bearer {key}")]);
            }
            let printed = output(command).await;
            assert!(
                printed.contains("\"add\""),
                "{server} {transport}: {printed}"
            );
        }
    }
}
