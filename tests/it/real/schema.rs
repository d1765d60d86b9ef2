//! The schema of `bridges.yaml` as a validator understands it: what is right passes, what an editor should mark doesn't.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tokio::process::Command;

use super::{installed, output};

/// Has the `jsonschema` and `yaml` packages.
const VALIDATOR: &str = "litellm/bin/python";
/// Prints for each file how many things are wrong with it.
const SCRIPT: &str = "import json, sys, yaml, jsonschema
schema = json.load(open(sys.argv[1]))
jsonschema.Draft7Validator.check_schema(schema)
validator = jsonschema.Draft7Validator(schema)
print(json.dumps([len(list(validator.iter_errors(yaml.safe_load(open(file))))) for file in sys.argv[2:]]))";

#[tokio::test]
async fn a_validator_tells_right_files_from_wrong_ones() {
    let Some(installed) = installed(&[VALIDATOR]) else {
        return;
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().unwrap();
    let right = [
        "bridges: { a: { port: \"${PORT}\", command: cat, user: 0, limits: { memory: 1GiB } }, b: { url: \"http://h\" } }".to_owned(),
        "bridges: { a: { port: 1, demo: true, inherit_env: [A], env: { N: 3 }, ping_interval: 500ms } }\nadmin: { socket: x, socket_mode: 660 }\nlog:".to_owned(),
    ];
    let wrong = [
        "bridges: {}",
        "bridges: { a: { prot: 1, command: cat } }",
        "bridges: { a: { port: 70000, command: cat } }",
        "bridges: { a: { port: 1, command: cat, isolation: shard } }",
        "bridges: { A b: { port: 1, command: cat } }",
        "bridges: { a: { port: 1, command: cat, session_idle: 30 } }",
        "bridges: { a: { port: 1, command: cat } }\ngateway: { model_list: [{ modl: x }] }",
        "defaults: { port: 1 }\nbridges: { a: { port: 1, command: cat } }",
    ];
    let mut command = Command::new(installed.path(VALIDATOR));
    command
        .arg("-c")
        .arg(SCRIPT)
        .arg(root.join("bridges.schema.json"));
    command.args([
        root.join("bridges.yaml"),
        root.join("docker/etc/bridges.yaml"),
    ]);
    let all = right.iter().map(String::as_str).chain(wrong);
    for (number, yaml) in all.enumerate() {
        let file = dir.path().join(format!("{number}.yaml"));
        fs::write(&file, yaml).unwrap();
        command.arg(file);
    }
    let printed = output(command).await;
    let counts: Vec<u64> = serde_json::from_str::<Value>(&printed)
        .unwrap()
        .as_array()
        .unwrap()
        .iter()
        .map(|count| count.as_u64().unwrap())
        .collect();
    let (right_ones, wrong_ones) = counts.split_at(2 + right.len());
    assert!(right_ones.iter().all(|count| *count == 0), "{counts:?}");
    assert!(wrong_ones.iter().all(|count| *count > 0), "{counts:?}");
    assert_eq!(wrong_ones.len(), wrong.len());
}
