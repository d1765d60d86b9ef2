//! What comes with the program: schema, completions, manual pages, version.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::cli::{output, program};

#[tokio::test]
async fn the_committed_schema_is_current_and_the_root_file_names_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ran = output(program(&["schema"])).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let committed = fs::read_to_string(root.join("bridges.schema.json")).unwrap();
    assert!(
        ran.out == committed,
        "bridges.schema.json is not what `mcp-bridged schema` prints; write it anew"
    );
    let file = fs::read_to_string(root.join("bridges.yaml")).unwrap();
    let first = file.lines().next();
    assert_eq!(
        first,
        Some("# yaml-language-server: $schema=bridges.schema.json")
    );
}

#[tokio::test]
async fn the_schema_has_every_key_with_its_bounds() {
    let ran = output(program(&["schema"])).await;
    let schema: Value = serde_json::from_str(&ran.out).unwrap();
    let bridge = "/properties/bridges/additionalProperties/anyOf";
    for (path, expected) in [
        ("/required/0", Value::from("bridges")),
        ("/additionalProperties", false.into()),
        (
            &format!("{bridge}/0/properties/port/anyOf/0/maximum"),
            65_535.into(),
        ),
        (
            &format!("{bridge}/0/properties/limits/properties/nice/anyOf/0/minimum"),
            (-20).into(),
        ),
        (
            &format!("{bridge}/0/properties/isolation/anyOf/0/enum/0"),
            "auto".into(),
        ),
        (&format!("{bridge}/1/required/0"), "url".into()),
        (
            "/properties/defaults/properties/env/type/0",
            "object".into(),
        ),
        (
            "/properties/admin/properties/socket_mode/anyOf/0/enum/2",
            600.into(),
        ),
        (
            "/properties/gateway/properties/virtual_keys/items/properties/tools/properties/allow/minItems",
            1.into(),
        ),
    ] {
        assert_eq!(schema.pointer(path), Some(&expected), "{path}");
    }
    // A key of its own has no place among the defaults.
    assert_eq!(schema.pointer("/properties/defaults/properties/port"), None);
}

#[tokio::test]
async fn completions_are_scripts_of_their_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = output(program(&["completions", shell])).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        for word in ["probe", "reload", "--first-port"] {
            let word = if shell == "fish" {
                word.trim_start_matches('-')
            } else {
                word
            };
            assert!(ran.out.contains(word), "{shell}: {word}");
        }
        if shell == "bash" {
            let mut bash = Command::new("bash");
            bash.args(["-n", "-c", &ran.out]).stdin(Stdio::null());
            assert_eq!(output(bash).await.code, Some(0));
        }
    }
    let ran = output(program(&["completions", "tcsh"])).await;
    assert_eq!(ran.code, Some(64), "{ran:?}");
}

#[tokio::test]
async fn manual_pages_are_printed_and_written() {
    let ran = output(program(&["man"])).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains(".TH mcp-bridged 1") && ran.out.contains("mcp\\-bridged\\-probe(1)"));
    let dir = tempfile::tempdir().unwrap();
    let made = dir.path().join("share/man1");
    let ran = output(program(&["man", "--dir", made.to_str().unwrap()])).await;
    assert_eq!((ran.code, &*ran.out), (Some(0), ""), "{ran:?}");
    for page in [
        "mcp-bridged.1",
        "mcp-bridged-status.1",
        "mcp-bridged-import.1",
    ] {
        assert!(made.join(page).exists(), "{page}");
    }
    let below_a_file = made.join("mcp-bridged.1/man1");
    let ran = output(program(&["man", "--dir", below_a_file.to_str().unwrap()])).await;
    assert_eq!(ran.code, Some(70), "{ran:?}");
}

#[tokio::test]
async fn the_version_has_the_commit_where_there_is_one() {
    let ran = output(program(&["--version"])).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let version = ran.out.trim_end().strip_prefix("mcp-bridged ").unwrap();
    let (number, commit) = version.split_once(' ').unwrap_or((version, "(0)"));
    assert_eq!(number, env!("CARGO_PKG_VERSION"));
    let commit = commit.strip_prefix('(').unwrap().strip_suffix(')').unwrap();
    assert!(
        commit.bytes().all(|byte| byte.is_ascii_graphic()),
        "{version}"
    );
}

#[tokio::test]
async fn what_a_package_ships_of_it_is_current() {
    let share = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/share");
    // The first page refers to those of the commands.
    let dir = tempfile::tempdir().unwrap();
    let ran = output(program(&["man", "--dir", dir.path().to_str().unwrap()])).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let pages = |dir: &Path| -> BTreeMap<String, String> {
        let files = fs::read_dir(dir).unwrap().map(|file| file.unwrap());
        let read = files.map(|file| {
            let name = file.file_name().into_string().unwrap();
            (name, fs::read_to_string(file.path()).unwrap())
        });
        read.filter(|(name, _)| name.ends_with(".1")).collect()
    };
    let (written, committed) = (pages(dir.path()), pages(&share));
    assert_eq!(
        written.keys().collect::<Vec<_>>(),
        committed.keys().collect::<Vec<_>>()
    );
    for (name, page) in &written {
        assert!(
            *page == committed[name],
            "systemd/share/{name} is not what `mcp-bridged man --dir systemd/share` writes; write it anew"
        );
    }
    for (file, arguments) in [
        ("mcp-bridged.1", &["man"][..]),
        ("mcp-bridged.bash", &["completions", "bash"]),
        ("_mcp-bridged", &["completions", "zsh"]),
        ("mcp-bridged.fish", &["completions", "fish"]),
    ] {
        let printed = output(program(arguments)).await.out;
        let committed = fs::read_to_string(share.join(file)).unwrap();
        assert!(
            printed == committed,
            "systemd/share/{file} is not what `mcp-bridged {}` prints; write it anew",
            arguments.join(" ")
        );
    }
}
