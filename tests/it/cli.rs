//! The command line as people and scripts use it: what it prints where, and its exit statuses.

use std::io::pipe;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::harness::{Daemon, Fake, fake, until, within};

/// A demo bridge that wants a key.
const LOCKED: &str = "bridges:\n  locked: { port: 0, demo: true, api_keys: [sk-1] }\n";

/// What one run of the program left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-bridged"));
    command
        .args(arguments)
        .env_remove("MCP_BRIDGED_KEY")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

pub(crate) async fn output(mut command: Command) -> Ran {
    let Output {
        status,
        stdout,
        stderr,
    } = within("the command's end", command.output()).await.unwrap();
    Ran {
        code: status.code(),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

async fn run(arguments: &[&str]) -> Ran {
    output(program(arguments)).await
}

/// Both URLs of a bridge.
fn urls(daemon: &Daemon, bridge: &str) -> [String; 2] {
    ["mcp", "sse"].map(|path| format!("http://{}/{path}", daemon.bridge(bridge)))
}

async fn ready(flags: &[&str]) -> Fake {
    let fake = fake::fake("isolation: shared", flags).await;
    fake.ready().await;
    fake
}

/// Asserts the exit status, that stdout is empty, and that stderr has `part`.
#[track_caller]
pub(crate) fn assert_fails(ran: &Ran, code: i32, part: &str) {
    assert_eq!(ran.code, Some(code), "{ran:?}");
    assert_eq!(ran.out, "", "{ran:?}");
    assert!(ran.err.contains(part), "{ran:?}");
}

#[tokio::test]
async fn tools_are_listed_as_a_table_and_as_json_over_both_transports() {
    let fake = ready(&["--page", "2", "--tools", "3"]).await;
    for url in urls(&fake, "fake") {
        let table = run(&["tools", &url]).await;
        assert_eq!(table.code, Some(0), "{table:?}");
        let mut lines = table.out.lines();
        assert_eq!(lines.next(), Some("TOOL          ARGUMENTS  DESCRIPTION"));
        assert_eq!(
            lines.next_back(),
            Some("tool_2                   The scripted tool tool_2")
        );
        let json = run(&["tools", &url, "--json"]).await;
        let json: Value = serde_json::from_str(&json.out).unwrap();
        let tools = json["tools"].as_array().unwrap();
        assert_eq!(tools.len(), table.out.lines().count() - 1, "every page");
    }
}

#[tokio::test]
async fn output_that_is_lost_on_a_full_disk_is_a_failure() {
    let fake = ready(&[]).await;
    let [url, _] = urls(&fake, "fake");
    let arguments = [r#"{"text": "a"}"#, "--json"];
    for arguments in [
        &["tools", &url][..],
        &["tools", &url, "--json"],
        &["call", &url, "echo", arguments[0]],
        &["call", &url, "echo", arguments[0], arguments[1]],
        &["check", "--config", "bridges.yaml"],
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let mut command = program(arguments);
        command.stdout(full.unwrap()).stderr(Stdio::piped());
        let ended = command.spawn().unwrap().wait_with_output();
        let ended = within("the command's end", ended).await.unwrap();
        let text = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(70), "{arguments:?}: {text}");
        assert!(
            text.contains("failed to write to stdout: No space"),
            "{text}"
        );

        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let mut command = program(arguments);
        command.stdout(writer).stderr(Stdio::piped());
        let ended = command.spawn().unwrap().wait_with_output();
        let ended = within("the command's end", ended).await.unwrap();
        let text = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(0), "{arguments:?}: {text}");
    }
}

#[tokio::test]
async fn json_output_is_what_the_server_wrote() {
    let arguments = r#"{"n":1e400,"big":12345678901234567890, "s":"\ud800", "one":1.0}"#;
    let fake = ready(&[]).await;
    for url in urls(&fake, "fake") {
        let ran = run(&["call", &url, "echo", arguments, "--json"]).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.out.ends_with("}\n") && ran.err.is_empty(), "{ran:?}");
        // What came back unescaped is the server's own `params`, with the client's bytes in it.
        let params = format!(r#""params":{{"name":"echo","arguments":{arguments},"_meta""#);
        assert!(ran.out.contains(&params), "{ran:?}");
        let line = fake.recorded("1e400").await;
        assert!(line.contains(arguments), "{line}");
    }
}

#[tokio::test]
async fn a_call_prints_text_for_people() {
    let daemon = Daemon::start("bridges:\n  demo: { port: 0, demo: true }\n").await;
    daemon.until_ready("demo").await;
    for url in urls(&daemon, "demo") {
        let ran = run(&["call", &url, "echo", r#"{"message":"a\n\u00e9"}"#]).await;
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), "a\n\u{e9}\n"));
        let ran = run(&["call", &url, "current_time"]).await;
        assert_eq!(
            ran.code,
            Some(0),
            "no arguments are an empty object: {ran:?}"
        );
        let ran = run(&["call", &url, "add", r#"{"a": 1}"#]).await;
        assert_fails(&ran, 1, "a and b must be numbers");
        let ran = run(&["call", &url, "add", r#"{"a": 1}"#, "--json"]).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.out.contains(r#""isError":true"#), "{ran:?}");
    }
}

#[tokio::test]
async fn progress_is_shown_on_a_terminal_only() {
    let daemon = Daemon::start("bridges:\n  demo: { port: 0, demo: true }\n").await;
    daemon.until_ready("demo").await;
    let terminal = Path::new("/usr/bin/script");
    for url in urls(&daemon, "demo") {
        let ran = run(&["call", &url, "count", r#"{"n":3}"#]).await;
        assert_eq!(
            (ran.out.as_str(), ran.err.as_str()),
            ("{\"counted\":3}\n", "")
        );
        if terminal.exists() {
            let program = env!("CARGO_BIN_EXE_mcp-bridged");
            let line = format!("{program} call {url} count '{{\"n\":3}}'");
            let mut command = Command::new(terminal);
            command
                .args(["-qec", &line, "/dev/null"])
                .stdin(Stdio::null());
            let ran = output(command).await;
            assert!(ran.out.contains("2/3 counted to 2"), "{ran:?}");
            assert!(ran.out.trim_end().ends_with("{\"counted\":3}"), "{ran:?}");
        }
    }
}

#[tokio::test]
async fn what_goes_wrong_is_said_with_its_cure() {
    let fake = ready(&["--hide-tools", "--tool", "query_all"]).await;
    for url in urls(&fake, "fake") {
        let ran = run(&["call", &url, "querry_all"]).await;
        assert_fails(&ran, 1, "did you mean `query_all`?");
        // Unlisted, but it answers: then there is nothing to complain of.
        assert_eq!(run(&["call", &url, "echo"]).await.code, Some(0));
        let ran = run(&[
            "call",
            &url,
            "fail",
            r#"{"code":-32602,"message":"so not"}"#,
        ])
        .await;
        assert_fails(&ran, 1, "the server has no tool `fail`");
        let ran = run(&["call", &url, "crash", r#"{"signal":9}"#]).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        fake.ready().await;
        let ran = run(&["call", &url, "hold", r#"{"key":"k"}"#, "--timeout", "1s"]).await;
        assert_fails(&ran, 1, "needs a longer --timeout");
    }
    fake.journaled("cancelled", 2).await;

    let [mcp, _] = urls(&fake, "fake");
    for (target, part) in [
        (mcp.replace("/mcp", "/nope"), "answers 404"),
        (mcp.replace("/mcp", "/nope/sse"), "answers 404"),
        (mcp.replace("/mcp", "/health"), "answers 405"),
        (mcp.replace("http:", "https:"), "cannot reach https:"),
        (nobody(), "nothing listens there; start it with"),
        ("http://nowhere.invalid/mcp".to_owned(), "correct the URL"),
    ] {
        assert_fails(&run(&["tools", &target]).await, 69, part);
    }
}

/// A URL at which nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/mcp", listener.local_addr().unwrap())
}

#[tokio::test]
async fn a_key_is_taken_from_the_option_or_the_variable() {
    let daemon = Daemon::start(LOCKED).await;
    daemon.until_ready("locked").await;
    for url in urls(&daemon, "locked") {
        assert_fails(
            &run(&["tools", &url]).await,
            1,
            "--key or in MCP_BRIDGED_KEY",
        );
        let ran = run(&["tools", &url, "--key", "sk-2"]).await;
        assert_fails(&ran, 1, "refused the key");
        assert!(!ran.err.contains("sk-2"), "{ran:?}");
        assert_fails(
            &run(&["tools", &url, "--key", "sk-1\n"]).await,
            64,
            "line end",
        );
        assert_eq!(run(&["tools", &url, "--key", "sk-1"]).await.code, Some(0));
        let mut command = program(&["tools", &url]);
        command.env("MCP_BRIDGED_KEY", "sk-1");
        assert_eq!(output(command).await.code, Some(0));
    }
}

#[tokio::test]
async fn a_bridge_is_found_by_name_and_alias_with_its_key() {
    let daemon = Daemon::start(LOCKED).await;
    daemon.until_ready("locked").await;
    let port = daemon.bridge("locked").port();
    let file = daemon.path("client.yaml");
    let text = format!(
        "bridges:\n  locked: {{ port: {port}, host: 0.0.0.0, demo: true, api_keys: [sk-1], aliases: [lk] }}\n  \
         later: {{ port: 0, command: no-such-program, optional: true }}\n  free: {{ port: 0, demo: true }}\n"
    );
    std::fs::write(&file, text).unwrap();
    let config = file.to_str().unwrap();
    for name in ["locked", "lk"] {
        let ran = run(&["call", "-c", config, name, "echo", r#"{"message":"hi"}"#]).await;
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), "hi\n"), "{ran:?}");
    }
    for (name, code, part) in [
        ("lockd", 64, "did you mean `locked`?"),
        ("zzz", 64, "it has locked, lk, later, free"),
        ("free", 64, "give its URL"),
        ("later", 69, "is unavailable: command `no-such-program`"),
    ] {
        assert_fails(&run(&["tools", "-c", config, name]).await, code, part);
    }
    // what this shell lacks the daemon may have
    let text = format!(
        "bridges:\n  locked: {{ port: {port}, command: no-such-program, env: {{ A: \"${{NO_SUCH}}\" }}, api_keys: [\"${{NO_KEY}}\"] }}\n"
    );
    std::fs::write(&file, text).unwrap();
    let ran = run(&["tools", "-c", config, "--key", "sk-1", "locked"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = run(&["tools", "-c", config, "locked"]).await;
    assert_fails(&ran, 1, "--key or in MCP_BRIDGED_KEY");
    std::fs::write(&file, "bridges: 7\n").unwrap();
    let ran = run(&["tools", "-c", config, "locked"]).await;
    assert_fails(&ran, 78, "client.yaml:1:10: bridges");
    let ran = run(&["tools", "-c", "/no/such.yaml", "locked"]).await;
    assert_fails(&ran, 78, "/no/such.yaml");
}

#[tokio::test]
async fn wrong_arguments_end_with_64() {
    for (arguments, part) in [
        (&["serv"][..], "unrecognized subcommand"),
        (&["--nope"], "--nope"),
        (&["run", "--", "x"], "--port"),
        (&["run", "--port", "70000", "--", "x"], "70000"),
        (&["tools"], "<TARGET>"),
        (&["tools", "ftp://x/mcp"], "http://"),
        (&["call", "http://127.0.0.1:1/mcp"], "<TOOL>"),
        (
            &["call", "http://127.0.0.1:1/mcp", "t", "{\"a\": }"],
            "line 1 column 7",
        ),
        (&["call", "http://127.0.0.1:1/mcp", "t", "[1]"], "no object"),
        (
            &["call", "http://127.0.0.1:1/mcp", "t", "--timeout", "5"],
            "such as 500ms",
        ),
        (&["serve", "-c", "/dev/null", "--log-format", "xml"], "xml"),
    ] {
        assert_fails(&run(arguments).await, 64, part);
    }
}

#[tokio::test]
async fn help_and_version_go_to_stdout() {
    let ran = run(&["--version"]).await;
    let version = concat!("mcp-bridged ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), version));
    for (arguments, part) in [
        (&["--help"][..], "Exit status:"),
        (&["help", "serve"], "SIGHUP"),
        (&["check", "--help"], "line and column"),
        (&["run", "-h"], "Example: mcp-bridged run"),
        (&["call", "--help"], "--timeout"),
    ] {
        let ran = run(arguments).await;
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(ran.out.contains(part), "{ran:?}");
        assert!(!ran.out.contains("ports-file"), "{ran:?}");
    }
}

#[tokio::test]
async fn check_tells_what_is_there_and_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bridges.yaml");
    let config = file.to_str().unwrap();
    std::fs::write(
        &file,
        "bridges:\n  demo: { port: 1, demo: true }\n  gone: { port: 2, command: no-such-program }\n  \
         later: { port: 3, command: no-such-program, optional: true }\n",
    )
    .unwrap();
    let ran = run(&["check", "-c", config]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.out.starts_with(&format!("{config} is valid\n\n")),
        "{ran:?}"
    );
    for part in [
        "gone    127.0.0.1:2  not there\n",
        "\n  gone: command `no-such-program` not found on PATH",
        "later   127.0.0.1:3  unavailable\n",
        "\n  later: command `no-such-program`",
    ] {
        assert!(ran.out.contains(part), "{part}: {ran:?}");
    }
    let ran = run(&["check", "--json", "-c", config]).await;
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["valid"], true);
    assert_eq!(json["bridges"][0]["listen"], "127.0.0.1:1");
    assert_eq!(json["bridges"][1]["command"], Value::Null);

    std::fs::write(&file, "bridges:\n  demo: { prot: 1, demo: true }\n").unwrap();
    let ran = run(&["check", "-c", config]).await;
    assert_fails(
        &ran,
        78,
        ":2:11: bridges.demo.prot: unknown key, did you mean `port`?",
    );
    let ran = run(&["check", "--json", "-c", config]).await;
    assert_eq!(ran.code, Some(78), "{ran:?}");
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["valid"], false);
    assert_eq!(json["errors"].as_array().unwrap().len(), 2, "{json}");
}

#[tokio::test]
async fn check_shows_remote_servers_and_the_gateway_without_their_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bridges.yaml");
    let config = file.to_str().unwrap();
    let yaml = "bridges:
  n8n: { url: http://n8n:8080/hunter2, transport: sse, auth_type: api_key, auth_value: hunter2 }
  later: { url: http://a, auth_type: basic, auth_value: \"${NO_SUCH_VARIABLE}\", optional: true }
gateway:
  port: 7
  master_key: hunter2
  virtual_keys: [{ name: team, api_key: two-hunter2 }]
  model_list: [{ model_name: m, provider: mock }, { model_name: m, api_base: http://a, api_key: hunter2 }]
";
    std::fs::write(&file, yaml).unwrap();
    let ran = run(&["check", "-c", config]).await;
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    assert_eq!(
        ran.out.split_once("\n\n").unwrap().1,
        "BRIDGE  LISTEN  COMMAND\n\
         n8n     remote  http://n8n:8080 (sse)\n\
         later   remote  unavailable\n\n  \
         later: environment variable `NO_SUCH_VARIABLE` is not set; put it into the bridge's `env_file` and reload, or set it \
         and start anew\n\n\
         gateway on 127.0.0.1:7: models m; a master key, 1 virtual key\n"
    );
    let ran = run(&["check", "--json", "-c", config]).await;
    assert!(!ran.out.contains("hunter2"), "{ran:?}");
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["remotes"][0]["origin"], "http://n8n:8080");
    assert_eq!(json["remotes"][1]["transport"], "http");
    let gateway = serde_json::json!({
        "listen": "127.0.0.1:7",
        "models": ["m"],
        "master_key": true,
        "virtual_keys": ["team"],
    });
    assert_eq!(json["gateway"], gateway);
}

#[tokio::test]
async fn run_serves_one_command_without_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = program(&["run", "--port", "0", "--name", "one", "--"]);
    command
        .arg(fake::program())
        .args(["--tool", "only"])
        .current_dir(dir.path())
        .env("SEEN", "yes")
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut table = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = async || {
        within("the table", table.next_line())
            .await
            .unwrap()
            .unwrap()
    };
    assert!(next().await.starts_with("BRIDGE  STATE"));
    let row = next().await;
    assert!(row.starts_with("one     ready"), "{row}");
    let url = row.split_whitespace().last().unwrap();
    let ran = run(&["call", url, "info", "--json"]).await;
    assert!(
        ran.out.contains("SEEN"),
        "it has the whole environment: {ran:?}"
    );
    kill(
        Pid::from_raw(child.id().unwrap().cast_signed()),
        Signal::SIGTERM,
    )
    .unwrap();
    let ended = within("the end", child.wait()).await.unwrap();
    assert_eq!(ended.code(), Some(0));
}

#[tokio::test]
async fn a_log_that_nobody_reads_keeps_the_daemon_from_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (config, ports) = (dir.path().join("b.yaml"), dir.path().join("ports.json"));
    std::fs::write(&config, "bridges:\n  demo: { port: 0, demo: true }\n").unwrap();
    let (unread, full) = pipe().unwrap();
    fill(&full);
    let mut command = program(&["serve", "--log-level", "trace", "-c"]);
    command
        .arg(&config)
        .arg("--ports-file")
        .arg(&ports)
        .stdout(full.try_clone().unwrap())
        .stderr(full);
    let mut child = command.spawn().unwrap();
    let ports = until("the ports file", async || std::fs::read(&ports).ok()).await;
    let ports: Value = serde_json::from_slice(&ports).unwrap();
    let url = format!("http://{}/mcp", ports["bridges"]["demo"].as_str().unwrap());
    let ran = run(&["call", &url, "echo", r#"{"message":"hi"}"#]).await;
    assert_eq!(ran.out, "hi\n", "{ran:?}");
    kill(
        Pid::from_raw(child.id().unwrap().cast_signed()),
        Signal::SIGTERM,
    )
    .unwrap();
    let ended = within("the end", child.wait()).await.unwrap();
    assert_eq!(ended.code(), Some(0));

    // Also when it can't even start.
    std::fs::write(&config, "bridges: 7").unwrap();
    let (unread_too, full) = pipe().unwrap();
    fill(&full);
    let mut command = program(&["serve", "-c"]);
    command.arg(&config).stdout(Stdio::null()).stderr(full);
    let ended = within("the end", command.status()).await.unwrap();
    assert_eq!(ended.code(), Some(78));
    drop((unread, unread_too));
}

/// Leaves no room for a single byte more in a pipe.
fn fill(pipe: &std::io::PipeWriter) {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    use std::io::Write;
    let flags = fcntl(pipe, FcntlArg::F_GETFL).unwrap();
    let flags = OFlag::from_bits_retain(flags);
    fcntl(pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).unwrap();
    let mut writer = pipe;
    for size in [1024, 1] {
        while writer.write(&vec![b'x'; size]).is_ok() {}
    }
    fcntl(pipe, FcntlArg::F_SETFL(flags)).unwrap();
}
