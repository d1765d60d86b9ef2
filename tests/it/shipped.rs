//! The files that are installed beside the program fit it, and each other.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::skipped;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap()
}

/// What `check` says of a file that is shipped.
fn checked(name: &str, env: &[(&str, &str)]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_mcp-bridged"))
        .args(["check", "--json", "--config"])
        .arg(file(name))
        .envs(env.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Where a file's bridges listen.
fn addresses(checked: &Value) -> BTreeSet<String> {
    let bridges = checked["bridges"].as_array().unwrap().iter();
    bridges
        .map(|it| it["listen"].as_str().unwrap().to_owned())
        .collect()
}

/// Runs `systemd-analyze` over the units, with the program where it is; `None` where there is no systemd.
fn analyze(args: &[&str], units: &[&str]) -> Option<Output> {
    if !Path::new("/usr/bin/systemd-analyze").exists() {
        skipped("systemd-analyze is not installed");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let start = format!("ExecStart={}", env!("CARGO_BIN_EXE_mcp-bridged"));
    let mut command = Command::new("/usr/bin/systemd-analyze");
    command.args(args);
    for unit in units {
        let unit_text = text(&format!("systemd/{unit}")).replace("ExecStart=mcp-bridged", &start);
        fs::write(dir.path().join(unit), unit_text).unwrap();
        command.arg(dir.path().join(unit));
    }
    Some(command.output().unwrap())
}

#[test]
fn systemd_finds_nothing_to_say_about_the_units() {
    let units = [
        "mcp-bridged.service",
        "mcp-bridged.socket",
        "mcp-bridged-postgres.socket",
    ];
    let Some(output) = analyze(&["verify"], &units) else {
        return;
    };
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    // other units of this machine are not ours
    assert!(!said.contains("mcp-bridged"), "{said}");
}

#[test]
fn the_service_is_exposed_to_little() {
    // in tenths; 4.9 would still be called OK
    let args = ["security", "--offline=yes", "--threshold=20"];
    let Some(output) = analyze(&args, &["mcp-bridged.service"]) else {
        return;
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
fn the_socket_unit_holds_the_ports_of_the_file() {
    let unit = text("systemd/mcp-bridged.socket");
    let held: BTreeSet<_> = unit
        .lines()
        .filter_map(|line| line.strip_prefix("ListenStream="))
        .map(str::to_owned)
        .collect();
    let mut wanted = addresses(&checked("bridges.yaml", &[]));
    wanted.extend(["127.0.0.1:48000".to_owned(), "127.0.0.1:4000".to_owned()]);
    assert_eq!(held, wanted);
}

#[test]
fn the_containers_files_name_the_same_ports() {
    let example = text("docker/mcp-bridged.env.example");
    let env: Vec<_> = example
        .lines()
        .filter_map(|line| line.trim_start_matches('#').split_once('='))
        .filter(|(name, _)| !name.contains(' '))
        .collect();
    let checked = checked("docker/etc/bridges.yaml", &env);
    let (compose, image) = (text("docker/compose.yaml"), text("docker/Dockerfile"));
    let exposed = image
        .lines()
        .filter(|line| line.starts_with("EXPOSE "))
        .collect::<Vec<_>>();
    assert_eq!(exposed.len(), 3);
    for address in addresses(&checked) {
        let port = address.strip_prefix("0.0.0.0:").unwrap();
        assert!(compose.contains(&format!(":{port}:{port}\"")), "{port}");
        assert!(exposed.iter().all(|line| line.contains(port)), "{port}");
    }
    let litellm = text("docker/litellm.yaml");
    for url in litellm.lines().filter(|line| line.contains("url:")) {
        let known = addresses(&checked)
            .iter()
            .any(|it| url.contains(&it.replace("0.0.0.0", "mcp-bridged")));
        assert!(known, "{url}");
    }
}
