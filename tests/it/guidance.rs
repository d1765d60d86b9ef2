//! What an operator is told who asked in a way that can't be answered: which file, which order,
//! which path, which target.

use std::path::Path;

use crate::cli::{assert_fails, output, program};
use crate::harness::{Daemon, Request, http::exchange, skipped, until};

#[tokio::test]
async fn where_no_file_is_both_places_are_named() {
    let installed = "/etc/mcp-bridged/bridges.yaml";
    if Path::new(installed).exists() {
        return skipped(&format!("{installed} exists"));
    }
    let empty = tempfile::tempdir().unwrap();
    let named = format!("there is neither ./bridges.yaml nor {installed}; name the configuration");
    for arguments in [
        &["check"][..],
        &["tools", "demo"],
        &["call", "demo", "add"],
        &["serve"],
        &[],
    ] {
        let mut command = program(arguments);
        command.current_dir(empty.path());
        assert_fails(&output(command).await, 78, &named);
    }
    let mut command = program(&["check", "--json"]);
    command.current_dir(empty.path());
    let ran = output(command).await;
    assert!(
        ran.out
            .starts_with(r#"{"valid":false,"errors":["there is "#),
        "{ran:?}"
    );
}

#[tokio::test]
async fn an_option_before_the_command_is_told_its_place() {
    for arguments in [
        &["--config", "bridges.yaml", "status"][..],
        &["-c", "bridges.yaml", "tools", "demo"],
    ] {
        let ran = output(program(arguments)).await;
        let command = arguments[2];
        let tip = format!("options stand after the command: `mcp-bridged {command} …`");
        assert_fails(&ran, 64, &tip);
    }
}

#[tokio::test]
async fn the_admin_listener_says_what_there_is() {
    let daemon =
        Daemon::start("admin: { port: 0 }\nbridges:\n  one: { port: 0, demo: true }\n").await;
    for (path, part) in [
        ("/nope", "/bridges/NAME/logs"),
        ("/mcp", "this is the admin listener"),
        ("/bridges/two", "no such bridge; there is one"),
        ("/bridges/two/logs", "no such bridge; there is one"),
    ] {
        let response = exchange(daemon.admin(), Request::get(path)).await;
        assert_eq!(response.status(), 404, "{path}");
        assert!(response.text().contains(part), "{}", response.text());
    }
}

#[tokio::test]
async fn the_gateway_is_asked_and_never_restarted() {
    let daemon = Daemon::start(
        "bridges:\n  one: { port: 0, demo: true }\ngateway: { port: 0, master_key: sk-1 }\n",
    )
    .await;
    daemon.until_ready("one").await;
    let port = daemon.gateway().port();
    let client = daemon.path("client.yaml");
    let text = format!(
        "bridges:\n  one: {{ port: 1, demo: true }}\ngateway: {{ port: {port}, master_key: sk-1 }}\n"
    );
    std::fs::write(&client, text).unwrap();
    let client = client.to_str().unwrap();
    let call = [
        "call",
        "-c",
        client,
        "gateway",
        "one-add",
        r#"{"a":1,"b":2}"#,
    ];
    let ran = until("the tools behind the gateway", async || {
        let ran = output(program(&call)).await;
        (ran.code == Some(0)).then_some(ran)
    })
    .await;
    assert_eq!(ran.out, "{\"sum\":3}\n", "{ran:?}");
    let ran = output(program(&["tools", "-c", client, "gateway"])).await;
    assert!(ran.out.contains("one-add"), "{ran:?}");
    let ran = output(program(&["tools", "-c", client, "gatway"])).await;
    assert_fails(&ran, 64, "did you mean `gateway`?");

    let file = daemon.path("bridges.yaml");
    let mut restart = program(&["restart", "gateway", "--config", file.to_str().unwrap()]);
    restart.env("RUNTIME_DIRECTORY", daemon.dir());
    let ran = output(restart).await;
    assert_fails(&ran, 64, "`mcp-bridged reload` applies its changed section");
    let mut logs = program(&["logs", "gateway", "--config", file.to_str().unwrap()]);
    logs.env("RUNTIME_DIRECTORY", daemon.dir());
    assert_eq!(output(logs).await.code, Some(0));
}

#[tokio::test]
async fn one_step_of_a_probe_is_one_step() {
    let daemon = Daemon::start("bridges:\n  one: { port: 0, demo: true }\n").await;
    for (path, code, verdict) in [
        ("live", 0, "PASS: 1 step\n"),
        ("nope/live", 1, "FAIL: 1 of 1 steps\n"),
    ] {
        let url = format!("http://{}/{path}", daemon.bridge("one"));
        let ran = output(program(&["probe", &url])).await;
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(ran.out.ends_with(verdict), "{ran:?}");
    }
}
