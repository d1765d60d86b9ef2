//! `probe` as an acceptance, and what `call` makes of results: tables, files, arguments from stdin.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::cli::{assert_fails, output, program};
use crate::harness::{Daemon, Fake, fake};

const DEMO: &str = "bridges:\n  demo: { port: 0, demo: true }\n  locked: { port: 0, demo: true, api_keys: [sk-1] }\n";

async fn ready(flags: &[&str]) -> Fake {
    let fake = fake::fake("isolation: shared", flags).await;
    fake.ready().await;
    fake
}

fn url(daemon: &Daemon, bridge: &str, path: &str) -> String {
    format!("http://{}/{path}", daemon.bridge(bridge))
}

/// A call of the fake server's that is answered with this result.
fn answering(result: &Value) -> String {
    let line = format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{result}}}"#);
    json!({"lines": [line], "answer": false}).to_string()
}

#[tokio::test]
async fn a_probe_of_everything_passes_with_times_and_a_log() {
    let daemon = Daemon::start(DEMO).await;
    daemon.until_ready("demo").await;
    let targets = ["sse", "mcp", "live", "health"].map(|path| url(&daemon, "demo", path));
    let log = daemon.path("acceptance.log");
    let more = [
        "--call",
        "add",
        "--args",
        r#"{"a":1,"b":2}"#,
        "--expect",
        "echo",
        "--log",
    ];
    let mut arguments = vec!["probe"];
    arguments.extend(targets.iter().map(String::as_str));
    arguments.extend(more);
    arguments.push(log.to_str().unwrap());
    for round in 1..=2 {
        let ran = output(program(&arguments)).await;
        assert_eq!((ran.code, &*ran.err), (Some(0), ""), "{ran:?}");
        assert!(ran.out.ends_with("\nPASS: 8 steps\n"), "{ran:?}");
        for part in [
            "HTTP+SSE, mcp-bridged-demo ",
            "Streamable HTTP, mcp-bridged-demo ",
            "6 tools: echo, add, ",
            "add: {\"sum\":3}",
            "200 OK",
        ] {
            assert!(ran.out.contains(part), "{part} in {ran:?}");
        }
        let steps = ran.out.lines().filter(|line| line.starts_with("  PASS  "));
        assert!(steps.clone().all(|line| line.contains(" ms  ")), "{ran:?}");
        assert_eq!(steps.count(), 8, "{ran:?}");
        // Each run is added to the same file.
        let text = fs::read_to_string(&log).unwrap();
        let headed = text
            .lines()
            .all(|line| line.starts_with("20") && line.contains("Z  "));
        assert!(headed && text.ends_with("Z  PASS: 8 steps\n"), "{text}");
        assert_eq!(
            text.matches("      list_tool_schemas\n").count(),
            2 * round,
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_probe_fails_by_the_step_that_fails() {
    let daemon = Daemon::start(DEMO).await;
    daemon.until_ready("locked").await;
    let [demo, locked] = ["demo", "locked"].map(|bridge| url(&daemon, bridge, "mcp"));
    for (arguments, line) in [
        (&[&*demo, "--expect", "nix"][..], "  FAIL  tools/list  "),
        (&[&demo, "--call", "add"], "add: a and b must be numbers"),
        (&[&demo, "--call", "nix"], "  FAIL  tools/call  "),
        (&[&locked], "wants a key: give it with --key"),
        (&[&locked.replace("/mcp", "/sse")], "wants a key"),
        (&["http://127.0.0.1:1/mcp"], "nothing listens there"),
        (&["ftp://h"], "begins with neither http:// nor https://"),
        (&[&demo.replace("/mcp", "/nope/live")], "404 Not Found"),
    ] {
        let mut all = vec!["probe"];
        all.extend(arguments);
        let ran = output(program(&all)).await;
        assert_eq!(ran.code, Some(1), "{arguments:?}: {ran:?}");
        assert!(
            ran.out.contains(line) && ran.out.contains("\nFAIL: 1 of "),
            "{line}: {ran:?}"
        );
    }
    let ran = output(program(&["probe", &locked, "--key", "sk-1", "--json"])).await;
    let outcome: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (ran.code, &outcome["passed"]),
        (Some(0), &json!(true)),
        "{ran:?}"
    );
    let took = outcome["steps"][1]["ms"].as_f64().unwrap();
    assert!(took > 0.0, "{outcome}");
    assert_eq!(took, (took * 1000.0).round() / 1000.0, "microseconds");

    let ran = output(program(&["probe", &demo, "--call", "add", "--args", "{"])).await;
    assert_fails(&ran, 64, "must be a JSON object");
    let ran = output(program(&["probe", &demo, "--log", "/no/such/file"])).await;
    assert_fails(&ran, 64, "/no/such/file cannot be written");
    let ran = output(program(&["probe", &demo, "--log", "/dev/full"])).await;
    assert_eq!(ran.code, Some(70), "{ran:?}");
    assert!(ran.err.contains("/dev/full cannot be written"), "{ran:?}");
}

#[tokio::test]
async fn a_live_stream_without_a_catalogue_is_no_acceptance() {
    // It answers everything, and keep-alives come: only its list shows what it is worth.
    for (result, what) in [
        (r#"{"tools":[]}"#, "the catalogue is empty"),
        (r#"{"tools":[{"name":"a"}]}"#, "the tool a has no schema"),
        (r#"{"tools":[{"inputSchema":{}}]}"#, "a tool has no name"),
        (r#"{}"#, "has no list of tools"),
    ] {
        let fake = ready(&["--tools-result", result]).await;
        let ran = output(program(&["probe", &url(&fake, "fake", "sse")])).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(
            ran.out.contains("  PASS  initialize") && ran.out.contains(what),
            "{what}: {ran:?}"
        );
    }
    let fake = ready(&[]).await;
    let url = url(&fake, "fake", "sse");
    let hold = [
        "--call",
        "hold",
        "--args",
        r#"{"key":"k"}"#,
        "--timeout",
        "1s",
    ];
    let ran = output(program(&[&["probe", &url][..], &hold].concat())).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.out.contains("did not answer `tools/call` within 1s"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn images_are_saved_and_named() {
    let fake = ready(&[]).await;
    let url = url(&fake, "fake", "mcp");
    let folder = fake.path("images");
    fs::create_dir(&folder).unwrap();
    let image = json!({"type": "image", "mimeType": "image/png", "data": "iVBORw0K"});
    let text = json!({"type": "text", "text": "look"});
    let arguments = answering(&json!({"content": [text, image]}));
    let save = ["--save", folder.to_str().unwrap()];
    for name in ["emit.png", "emit-2.png"] {
        let ran = output(program(&[
            "call", &url, "emit", &arguments, save[0], save[1],
        ]))
        .await;
        let path = folder.join(name);
        let expected = format!(
            "look\n[image: image/png, 6 bytes, saved as {}]\n",
            path.display()
        );
        assert_eq!((ran.code, ran.out), (Some(0), expected));
        assert_eq!(fs::read(path).unwrap(), b"\x89PNG\r\n");
    }
    // Without a folder it is the one where the command runs.
    let mut here = program(&["call", &url, "emit", &arguments]);
    here.current_dir(&folder);
    let ran = output(here).await;
    assert!(ran.out.ends_with("saved as emit-3.png]\n"), "{ran:?}");
    // For scripts nothing is saved.
    let mut json = program(&["call", &url, "emit", &arguments, "--json"]);
    json.current_dir(fake.dir());
    assert_eq!(output(json).await.code, Some(0));
    assert!(!fake.path("emit.png").exists());
}

#[tokio::test]
async fn lists_of_objects_are_tables_for_people() {
    let fake = ready(&[]).await;
    let url = url(&fake, "fake", "mcp");
    let rows = r#"[{"name":"public","rows":12345678901234567890},{"name":"audit","rows":null}]"#;
    let arguments = answering(&json!({"content": [{"type": "text", "text": rows}]}));
    let table = "name    rows\npublic  12345678901234567890\naudit   null\n";
    let ran = output(program(&["call", &url, "emit", &arguments, "--table"])).await;
    assert_eq!((ran.code, &*ran.out), (Some(0), table), "{ran:?}");
    // A pipe gets what the server wrote.
    let ran = output(program(&["call", &url, "emit", &arguments])).await;
    assert_eq!(ran.out, format!("{rows}\n"));
    let terminal = Path::new("/usr/bin/script");
    if terminal.exists() {
        let line = format!(
            "{} call {url} emit '{arguments}'",
            env!("CARGO_BIN_EXE_mcp-bridged")
        );
        let mut command = tokio::process::Command::new(terminal);
        command
            .args(["-qec", &line, "/dev/null"])
            .stdin(Stdio::null());
        let ran = output(command).await;
        assert!(ran.out.replace('\r', "").ends_with(table), "{ran:?}");
    }
}

#[tokio::test]
async fn arguments_are_read_from_stdin() {
    let daemon = Daemon::start(DEMO).await;
    daemon.until_ready("demo").await;
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer
        .write_all(b"{\"message\": \"from stdin\"}\n")
        .unwrap();
    drop(writer);
    let mut command = program(&["call", &url(&daemon, "demo", "mcp"), "echo", "-"]);
    command.stdin(reader);
    let ran = output(command).await;
    assert_eq!((ran.code, &*ran.out), (Some(0), "from stdin\n"), "{ran:?}");
}
