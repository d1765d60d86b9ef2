//! What an operator is told who asked in a way that can't be answered: which file, which daemon, which order, which path.

use std::path::Path;

use crate::cli::{assert_fails, output, program};
use crate::harness::{Daemon, Request, http::exchange};

#[tokio::test]
async fn where_no_file_is_both_places_are_named() {
    let installed = "/etc/mcp-bridged/bridges.yaml";
    if Path::new(installed).exists() {
        return;
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
