//! Broken files: each gives all of its problems at once, with file, line, column, what was found, what was expected and the
//! cure, and none of them shows a value that may be secret.

mod gateway;
mod outside;
mod remote;
mod structure;
mod values;

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use mcp_bridged::config::{Config, Environment};
use tempfile::TempDir;

/// A file and everything that is wrong with it.
struct Case {
    name: &'static str,
    /// A line break at the very start isn't part of the file.
    yaml: &'static [u8],
    /// The lines that are printed, in this order. One that ends with `…` may go on.
    problems: &'static [&'static str],
}

/// What no message may contain.
const SECRET: &str = "hunter2";

#[test]
fn every_problem_of_a_broken_file_is_reported_at_once() {
    let mut wrong = Vec::new();
    for case in cases() {
        let directory = directory_of(case);
        let path = directory.path().join("bridges.yaml");
        let printed = match Config::load(&path, &environment().into_iter().collect()) {
            Ok(_) => "it was loaded".to_owned(),
            Err(problems) => problems.to_string(),
        };
        let printed = printed.replace(&format!("{}/", directory.path().display()), "");
        wrong.extend(check(case, &printed));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_program_prints_every_problem_and_exits_with_78() {
    let mut wrong = Vec::new();
    for case in cases() {
        let directory = directory_of(case);
        for command in ["check", "serve"] {
            let output = std::process::Command::new(env!("CARGO_BIN_EXE_mcp-bridged"))
                .args([command, "-c", "bridges.yaml"])
                .current_dir(&directory)
                .env_clear()
                .envs(environment())
                .output()
                .unwrap();
            if output.status.code() != Some(78) {
                wrong.push(format!(
                    "{}: {command} ended with {}",
                    case.name, output.status
                ));
            }
            wrong.extend(check(
                case,
                String::from_utf8_lossy(&output.stderr).trim_end(),
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let directory = TempDir::new().unwrap();
    let load = |path: &Path| {
        let problems = Config::load(path, &Environment::default()).unwrap_err();
        problems
            .to_string()
            .replace(&directory.path().display().to_string(), "…")
    };
    assert_eq!(
        load(&directory.path().join("none.yaml")),
        "…/none.yaml: cannot be read: no such file or directory"
    );
    assert_eq!(load(directory.path()), "…: cannot be read: is a directory");
}

fn cases() -> impl Iterator<Item = &'static Case> {
    structure::CASES
        .iter()
        .chain(values::CASES)
        .chain(gateway::CASES)
        .chain(outside::CASES)
        .chain(remote::CASES)
}

/// What differs between the lines that were printed and those that were expected.
fn check(case: &Case, printed: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if printed.contains(SECRET) {
        wrong.push("a secret is shown".to_owned());
    }
    let mut lines = printed.lines();
    for expected in case.problems {
        let good = |line: &str| match expected.strip_suffix('…') {
            Some(start) => line.starts_with(start),
            None => line == *expected,
        };
        let line = lines.next().unwrap_or("nothing");
        if !good(line) {
            wrong.push(format!("expected {expected}\n   found {line}"));
        }
    }
    wrong.extend(lines.map(|line| format!("too much {line}")));
    wrong
        .into_iter()
        .map(|text| format!("{}: {text}", case.name))
        .collect()
}

/// A directory with the case's file and those that cases name.
fn directory_of(case: &Case) -> TempDir {
    let directory = TempDir::new().expect("the temporary directory can be written");
    for (name, content) in [
        (
            "bridges.yaml",
            case.yaml.strip_prefix(b"\n").unwrap_or(case.yaml),
        ),
        ("good.env", b"FROM_FILE=x\n"),
        (
            "bad.env",
            b"FROM_FILE=x\nhunter2\n  HUNTER='hunter2\n=hunter2\n",
        ),
        ("empty.key", b"\n"),
    ] {
        let path = directory.path().join(name);
        fs::write(&path, content).expect("a new file can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
            .expect("an own file's mode can be set");
    }
    directory
}

fn environment() -> Vec<(OsString, OsString)> {
    vec![
        ("PATH".into(), "/usr/bin:/bin".into()),
        ("SECRET".into(), SECRET.into()),
        ("EMPTY".into(), "".into()),
        ("YAML".into(), "x\nadmin: { port: 1 }".into()),
        ("BYTES".into(), OsString::from_vec(vec![0xff])),
    ]
}
