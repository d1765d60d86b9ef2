//! An operator's hands on a running daemon: `status`, `logs`, `restart` and `reload`, over its admin socket and its listener.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::cli::{Ran, assert_fails, output, program};
use crate::harness::{Daemon, Launch, Request, fake, http::exchange, until, within};

/// No admin section at all.
const PLAIN: &str = "bridges:\n  demo: { port: 0, demo: true, aliases: [d] }\n";

/// A command that looks for the daemon as the daemon's own user would: by its configuration.
fn command(daemon: &Daemon, arguments: &[&str]) -> Command {
    let mut command = program(arguments);
    command
        .arg("--config")
        .arg(daemon.path("bridges.yaml"))
        .env("RUNTIME_DIRECTORY", daemon.dir());
    command
}

async fn run(daemon: &Daemon, arguments: &[&str]) -> Ran {
    output(command(daemon, arguments)).await
}

async fn json(daemon: &Daemon, arguments: &[&str]) -> Value {
    let ran = run(daemon, arguments).await;
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

/// The admin sockets in the daemon's directory.
fn sockets(daemon: &Daemon) -> Vec<PathBuf> {
    let files = std::fs::read_dir(daemon.dir()).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let sockets = paths.filter(|path| path.extension().is_some_and(|it| it == "sock"));
    sockets.collect()
}

/// The socket that a daemon without a configured one makes.
fn socket(daemon: &Daemon) -> PathBuf {
    let [socket] = sockets(daemon).try_into().unwrap();
    socket
}

#[tokio::test]
async fn status_shows_what_runs_without_any_admin_section() {
    let daemon = Daemon::start(PLAIN).await;
    daemon.until_ready("demo").await;
    let mode = std::fs::metadata(socket(&daemon)).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);

    let ran = run(&daemon, &["status"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let mut lines = ran.out.lines();
    let first = lines.next().unwrap();
    assert!(first.contains(&format!("pid {}", daemon.pid())), "{first}");
    assert!(first.ends_with("/bridges.yaml"), "{first}");
    let head = lines.nth(1).unwrap();
    assert!(head.starts_with("BRIDGE  STATE") && head.contains("IN FLIGHT"));
    assert!(
        lines.next().unwrap().starts_with("demo    ready"),
        "{ran:?}"
    );

    let facts = json(&daemon, &["status", "--json"]).await;
    assert_eq!(facts["bridges"][0]["state"], "ready", "{facts}");
    assert_eq!(facts["daemon"]["pid"], daemon.pid());
}

#[tokio::test]
async fn status_counts_sessions_and_calls_in_flight() {
    let fake = fake::fake("isolation: shared", &[]).await;
    fake.ready().await;
    let url = format!("http://{}/sse", fake.bridge("fake"));
    let mut call = program(&["call", &url, "hold", r#"{"key":"k"}"#])
        .spawn()
        .unwrap();
    until("a call in flight", async || {
        let facts = json(&fake, &["status", "--json"]).await;
        let bridge = &facts["bridges"][0];
        (bridge["in_flight"] == 1 && bridge["sessions"] == 1).then_some(())
    })
    .await;
    let metrics = fake.metrics("fake").await;
    assert!(
        metrics.contains(r#"mcp_bridged_calls_in_flight{bridge="fake"} 1"#),
        "{metrics}"
    );
    call.kill().await.unwrap();
    until("no call in flight", async || {
        let facts = json(&fake, &["status", "--json"]).await;
        (facts["bridges"][0]["in_flight"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn status_is_no_success_while_a_bridge_is_down() {
    let config = "bridges:\n  bad: { port: 0, command: sh, args: [-c, \"echo no luck >&2; exit 3\"] }\n  gone: { port: 0, command: no-such-program, optional: true }\n";
    let daemon = Daemon::start(config).await;
    let ran = until("its last words", async || {
        let ran = run(&daemon, &["status"]).await;
        ran.out.contains("it said: no luck").then_some(ran)
    })
    .await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("bad: exit code 3"), "{ran:?}");
    assert!(
        ran.out
            .contains("gone: command `no-such-program` not found"),
        "{ran:?}"
    );

    assert!(ran.out.ends_with("tries it at once\n"), "{ran:?}");
    daemon.until_logged("; it said: no luck\n").await;

    let ran = run(&daemon, &["logs", "gone"]).await;
    assert_eq!((ran.code, &*ran.out), (Some(0), ""), "{ran:?}");
    let note =
        "note: nothing has been logged about `gone` yet; it is unavailable: command `no-such";
    assert!(ran.err.starts_with(note), "{ran:?}");

    let ran = run(&daemon, &["restart", "bad"]).await;
    assert_fails(&ran, 1, "error: bad: exit code 3\n  no luck\n");
    let ran = run(&daemon, &["restart", "gone"]).await;
    assert_fails(
        &ran,
        1,
        "gone is unavailable: command `no-such-program` not found",
    );
}

#[tokio::test]
async fn status_has_what_a_server_says_that_never_gets_ready() {
    let wrong = "echo Listening...; exec sleep 1000";
    let late = "echo no database >&2; exec sleep 1000";
    let daemon = Daemon::start(&format!(
        "bridges:\n  wrong: {{ port: 0, command: sh, args: [-c, \"{wrong}\"] }}\n  late: {{ port: 0, command: sh, args: [-c, \"{late}\"] }}\n"
    ))
    .await;
    let parts = [
        "  wrong: the server is starting; it said: \"Listening...\" on stdout, where only messages belong\n",
        "  late: the server is starting; it said: no database\n",
    ];
    until("what they say", async || {
        let ran = run(&daemon, &["status"]).await;
        parts
            .iter()
            .all(|part| ran.out.contains(part))
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_watched_status_survives_the_daemon() {
    let mut daemon = Daemon::start(PLAIN).await;
    daemon.until_ready("demo").await;
    let mut watch = command(&daemon, &["status", "--watch=100ms", "--json"]);
    watch.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut watch = watch.spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut errors = BufReader::new(watch.stderr.take().unwrap()).lines();
    for _ in 0..2 {
        let line = within("a refreshed status", lines.next_line())
            .await
            .unwrap();
        assert!(line.unwrap().contains(r#""state":"ready""#));
    }
    daemon.stop().await;
    let error = within("the daemon is missed", errors.next_line())
        .await
        .unwrap();
    assert!(error.unwrap().contains("no daemon answers"));
    assert!(watch.try_wait().unwrap().is_none(), "it goes on looking");
    watch.kill().await.unwrap();
}

#[tokio::test]
async fn a_restart_waits_for_the_new_server() {
    let daemon = Daemon::start(PLAIN).await;
    let before = daemon.until_ready("demo").await;
    // By its alias, too.
    for name in ["demo", "d"] {
        let ran = run(&daemon, &["restart", name]).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(
            ran.out.starts_with(&format!("{name}: ready (after ")),
            "{ran:?}"
        );
    }
    let after = daemon.until_ready("demo").await;
    let generation = |health: &Value| health["generation"].as_u64().unwrap();
    assert_eq!(generation(&after), generation(&before) + 2);

    let ran = run(&daemon, &["restart", "demmo"]).await;
    assert_fails(&ran, 64, "no bridge `demmo`; did you mean `demo`?");
    let ran = run(&daemon, &["restart", "demo", "--no-wait"]).await;
    assert_eq!((ran.code, &*ran.out), (Some(0), "demo: restarting\n"));
}

#[tokio::test]
async fn logs_have_stderr_and_the_life_of_the_server_at_any_log_level() {
    let daemon = Daemon::launch(Launch {
        config: format!(
            "bridges:\n{}",
            fake::entry("fake", "isolation: shared", &[])
        ),
        args: vec!["--log-level".to_owned(), "error".to_owned()],
        ..Launch::default()
    })
    .await;
    daemon.until_ready("fake").await;
    let url = format!("http://{}/mcp", daemon.bridge("fake"));
    let say = |text: &str| format!(r#"{{"text":"{text}"}}"#);
    let ran = output(program(&["call", &url, "stderr", &say("heron one")])).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = until("its line on stderr", async || {
        let ran = run(&daemon, &["logs", "fake"]).await;
        ran.out.contains("  stderr  heron one\n").then_some(ran)
    })
    .await;
    assert!(ran.out.contains("  info    server ready "), "{ran:?}");
    assert!(
        !daemon.log().contains("heron one"),
        "the log has its own level"
    );
    let last = run(&daemon, &["logs", "-n", "1"]).await;
    assert_eq!(last.out.lines().count(), 1, "{last:?}");
    assert!(last.out.contains("  fake  stderr  heron one"), "{last:?}");

    let mut follow = command(&daemon, &["logs", "fake", "-f", "-n", "0"]);
    let mut follow = follow.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    // Whatever comes before the follower is there isn't its matter: so until it has heard one.
    let line = until("a line of a follower", async || {
        let ran = output(program(&["call", &url, "stderr", &say("heron two")])).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let heard = tokio::time::timeout(std::time::Duration::from_secs(1), lines.next_line());
        heard.await.ok().map(|line| line.unwrap().unwrap())
    })
    .await;
    assert!(line.ends_with("  stderr  heron two"), "{line}");
    follow.kill().await.unwrap();

    let ran = run(&daemon, &["logs", "fakke"]).await;
    assert_fails(&ran, 64, "no bridge `fakke`; did you mean `fake`?");
}

#[tokio::test]
async fn a_follower_ends_with_the_daemon() {
    let mut daemon = Daemon::start(PLAIN).await;
    daemon.until_ready("demo").await;
    let mut follow = command(&daemon, &["logs", "-f"]);
    let mut follow = follow
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    within("a line", lines.next_line()).await.unwrap();
    assert_eq!(daemon.stop().await, Some(0), "a follower keeps nobody");
    let status = within("the follower's end", follow.wait()).await.unwrap();
    assert_eq!(status.code(), Some(69));
    assert_eq!(
        sockets(&daemon),
        [] as [PathBuf; 0],
        "the socket goes with the daemon"
    );
}

#[tokio::test]
async fn a_reload_prints_what_it_did() {
    let daemon = Daemon::start("bridges:\n  a: { port: 0, demo: true }\n  b: { port: 0, demo: true }\n  c: { port: 0, demo: true }\n").await;
    daemon.until_ready("c").await;
    let ran = run(&daemon, &["reload"]).await;
    assert_eq!(
        (ran.code, &*ran.out),
        (Some(0), "nothing has changed\n"),
        "{ran:?}"
    );

    daemon.configure("bridges:\n  b: { port: 0, demo: true, max_sessions: 5 }\n  c: { port: 0, demo: true, env: { A: b } }\n  d: { port: 0, demo: true }\nlog: { level: debug }\n");
    let ran = run(&daemon, &["reload"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for line in [
        "removed            a\n",
        "changed            b\n",
        "restarted          c\n",
        "added              d\n",
        "at the next start  log\n",
        "c: ready (after ",
        "d: ready (after ",
    ] {
        assert!(ran.out.contains(line), "{line:?} in {ran:?}");
    }

    daemon.configure("bridges:\n  b: { prt: 0, demo: true }\n  c: { port: 99999, demo: true }\n");
    let ran = run(&daemon, &["reload"]).await;
    assert_fails(&ran, 78, "bridges.yaml:2:8: bridges.b.prt: ");
    assert!(
        ran.err.contains("bridges.yaml:3:14: bridges.c.port: "),
        "{ran:?}"
    );
    assert!(
        ran.err.contains("the old configuration stays in force"),
        "{ran:?}"
    );
    let outcome = json(&daemon, &["reload", "--json"]).await;
    assert_eq!(outcome["reloaded"], false);
    assert_eq!(outcome["errors"][0]["line"], 2, "{outcome}");
    // A broken file hides nobody.
    assert_eq!(run(&daemon, &["status"]).await.code, Some(0));

    daemon.configure(
        "bridges:\n  b: { port: 0, command: sh, args: [-c, \"echo broke >&2; exit 4\"] }\n",
    );
    let ran = run(&daemon, &["reload"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.err.contains("error: b: exit code 4\n  broke\n"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn a_reload_that_cannot_have_a_port_is_no_success() {
    let daemon = Daemon::start(&format!("admin: {{ port: 0 }}\n{PLAIN}")).await;
    daemon.until_ready("demo").await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let moved = PLAIN.replace("port: 0", &format!("port: {}", address.port()));
    daemon.configure(&format!("admin: {{ port: 0 }}\n{moved}"));
    let ran = run(&daemon, &["reload"]).await;
    let reason = format!("cannot listen on {address} for demo: ");
    assert_eq!((ran.code, &*ran.out), (Some(1), "moved  demo\n"), "{ran:?}");
    assert!(ran.err.starts_with(&format!("error: {reason}")), "{ran:?}");

    let ran = run(&daemon, &["status"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("\ndemo    no port  "), "{ran:?}");
    assert!(ran.out.contains(&format!("\n  demo: {reason}")), "{ran:?}");
    let health = exchange(daemon.admin(), Request::get("/health")).await;
    assert_eq!(health.status(), 503);
    assert!(health.text().contains("cannot listen on"));

    drop(taken);
    until("its port", async || {
        (run(&daemon, &["status"]).await.code == Some(0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_configured_socket_is_used_and_moves_with_a_reload() {
    let config = |socket: &str, mode: &str| {
        format!("admin: {{ socket: {socket}, socket_mode: {mode} }}\n{PLAIN}")
    };
    let daemon = Daemon::start(&config("one.sock", "660")).await;
    daemon.until_ready("demo").await;
    let mode = std::fs::metadata(daemon.path("one.sock"))
        .unwrap()
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o660);
    assert_eq!(run(&daemon, &["status"]).await.code, Some(0));

    daemon.reload(&config("two.sock", "600"));
    until("the new socket", async || {
        daemon.path("two.sock").exists().then_some(())
    })
    .await;
    assert!(!daemon.path("one.sock").exists());
    assert_eq!(run(&daemon, &["status"]).await.code, Some(0));
    let two = daemon.path("two.sock");
    let ran = output(program(&["status", "--admin", two.to_str().unwrap()])).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");

    // A reload over the socket that it takes away is answered.
    daemon.configure(&config("three.sock", "600"));
    let ran = output(program(&[
        "reload",
        "--no-wait",
        "--admin",
        two.to_str().unwrap(),
    ]))
    .await;
    assert_eq!(
        (ran.code, &*ran.out),
        (Some(0), "changed  admin.socket\n"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn a_second_daemon_of_a_file_hears_of_the_first() {
    let ports = [0, 1].map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let [a, b] = ports.map(|port| port.local_addr().unwrap().port());
    let daemon = Daemon::start(&format!(
        "bridges:\n  a: {{ port: {a}, demo: true }}\n  b: {{ port: {b}, demo: true }}\n"
    ))
    .await;
    daemon.until_ready("b").await;
    let ran = run(&daemon, &["serve"]).await;
    assert_fails(
        &ran,
        69,
        "a daemon of this configuration runs already: `mcp-bridged status`",
    );
    assert_eq!(ran.err.matches("cannot listen on 127.0.0.1:").count(), 2);
    assert_eq!(
        ran.err.matches("another program has it").count(),
        1,
        "{ran:?}"
    );
}

#[tokio::test]
async fn a_socket_that_cannot_be_had_ends_the_start() {
    let config = format!("admin: {{ socket: none/such.sock }}\n{PLAIN}");
    let ended = Daemon::fails(&config).await;
    assert_eq!(ended.status.code(), Some(69), "{}", ended.log);
    assert!(
        ended.log.contains("its directory is missing"),
        "{}",
        ended.log
    );
}

#[tokio::test]
async fn the_admin_listener_serves_as_well_and_wants_its_key() {
    let config = format!("admin: {{ port: 0, api_keys: [sk-admin] }}\n{PLAIN}");
    let daemon = Daemon::start(&config).await;
    daemon.until_ready("demo").await;
    let url = format!("http://{}", daemon.admin());
    let ran = output(program(&["status", "--admin", &url])).await;
    assert_fails(&ran, 69, "wants a key");
    let ran = output(program(&[
        "restart", "demo", "--admin", &url, "--key", "sk-admin",
    ]))
    .await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let mut logs = program(&["logs", "--admin", &url]);
    logs.env("MCP_BRIDGED_KEY", "sk-admin");
    let ran = output(logs).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    // The socket is guarded by its permissions.
    assert_eq!(run(&daemon, &["status"]).await.code, Some(0));

    let bridge = format!("http://{}", daemon.bridge("demo"));
    let ran = output(program(&["status", "--admin", &bridge])).await;
    assert_fails(&ran, 69, "is no admin listener of this version");

    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let ran = output(program(&["status", "--admin", &nobody])).await;
    let named = format!("no daemon answers at the admin listener {nobody} (Connection refused");
    assert_fails(&ran, 69, &named);
    assert!(ran.err.contains("; start it with `"), "{ran:?}");
}

#[tokio::test]
async fn without_a_daemon_its_file_is_named() {
    let mut daemon = Daemon::start(PLAIN).await;
    daemon.signal(Signal::SIGKILL);
    daemon.exit().await;
    // What it left behind answers nobody.
    assert!(socket(&daemon).exists());
    for arguments in [
        &["status"][..],
        &["logs"],
        &["reload"],
        &["restart", "demo"],
    ] {
        let ran = run(&daemon, arguments).await;
        assert_fails(&ran, 69, "no daemon answers for ");
        assert!(
            ran.err
                .contains("/bridges.yaml; start it with `mcp-bridged serve`"),
            "{ran:?}"
        );
        assert!(!ran.err.contains(".sock;"), "{ran:?}");
    }
}
