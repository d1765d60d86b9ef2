//! A daemon with one bridge, `fake`, to the scriptable server; `tests/fake_server/main.rs` says what that can do.

use std::fs;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Daemon, Launch, Sse, Streamable, until};

/// The daemon, and what its server has recorded.
#[derive(Debug)]
pub(crate) struct Fake {
    daemon: Daemon,
}

/// Starts a daemon whose only bridge runs the fake server with `flags`; `extra` are further YAML lines of the bridge's entry.
/// Ports are bound, the server may still be starting.
pub(crate) async fn fake(extra: &str, flags: &[&str]) -> Fake {
    let config = config(extra, flags);
    Fake::launch(Launch {
        config,
        ..Launch::default()
    })
    .await
}

/// The same, once the daemon itself has nothing more to ask the server: for tests in which a client's call is to be the
/// only one.
pub(crate) async fn settled(extra: &str, flags: &[&str]) -> Fake {
    let fake = fake(extra, flags).await;
    // the table of the start has the number of its tools
    fake.until_logged("BRIDGE ").await;
    fake
}

/// The configuration that [`fake`] starts with.
pub(crate) fn config(extra: &str, flags: &[&str]) -> String {
    format!(
        "admin: {{ port: 0 }}\nbridges:\n{}",
        entry("fake", extra, flags)
    )
}

/// One entry below `bridges:` for the fake server, which records to `<name>.record` and `<name>.journal` in the test's directory.
pub(crate) fn entry(name: &str, extra: &str, flags: &[&str]) -> String {
    let record = format!("{{dir}}/{name}.record");
    let journal = format!("{{dir}}/{name}.journal");
    let mut args = vec!["--record", &record, "--journal", &journal];
    args.extend(flags);
    let mut entry = format!(
        "  {name}:\n    port: 0\n    command: {}\n    args: {}\n",
        json!(program()),
        json!(args)
    );
    for line in extra.lines() {
        entry.push_str(&format!("    {line}\n"));
    }
    entry
}

/// The fake server's executable.
pub(crate) fn program() -> PathBuf {
    let bin = Path::new(env!("CARGO_BIN_EXE_mcp-bridged"));
    let program = bin.parent().unwrap().join("examples/fake_server");
    assert!(
        program.exists(),
        "{} is missing: cargo build --example fake_server",
        program.display()
    );
    program
}

impl Fake {
    pub(crate) async fn launch(launch: Launch) -> Self {
        Self {
            daemon: Daemon::launch(launch).await,
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.daemon.bridge("fake")
    }

    pub(crate) async fn ready(&self) -> Value {
        self.daemon.until_ready("fake").await
    }

    /// An initialised HTTP+SSE client.
    pub(crate) async fn sse(&self) -> Sse {
        let mut client = Sse::connect(self.addr()).await;
        client.initialize(&json!({})).await;
        client
    }

    /// An initialised Streamable HTTP client.
    pub(crate) async fn streamable(&self) -> Streamable {
        Streamable::open(self.addr(), &json!({})).await
    }

    /// Every line the server has received, in all its lives, with its end.
    pub(crate) fn record(&self) -> Vec<String> {
        let bytes = fs::read(self.path("fake.record")).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        text.split_inclusive('\n').map(str::to_owned).collect()
    }

    /// Waits for a received line that contains `text`; returns the first.
    pub(crate) async fn recorded(&self, text: &str) -> String {
        until(format!("{text:?} on the server's stdin"), async || {
            self.record().into_iter().find(|line| line.contains(text))
        })
        .await
    }

    /// Everything that happened to the server's processes.
    pub(crate) fn journal(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("fake.journal")).unwrap_or_default();
        // the last line may be half written
        let events = text
            .lines()
            .map_while(|line| serde_json::from_str(line).ok());
        events.collect()
    }

    /// The journal's events of one kind.
    pub(crate) fn events(&self, kind: &str) -> Vec<Value> {
        let mut events = self.journal();
        events.retain(|event| event["event"] == kind);
        events
    }

    /// Waits for the nth event (from 1) of one kind.
    pub(crate) async fn journaled(&self, kind: &str, nth: usize) -> Value {
        until(format!("event {kind} number {nth}"), async || {
            self.events(kind).into_iter().nth(nth - 1)
        })
        .await
    }

    /// The pids of all servers started so far, oldest first.
    pub(crate) fn pids(&self) -> Vec<i32> {
        let pid = |event: &Value| i32::try_from(event["pid"].as_i64().unwrap()).unwrap();
        self.events("start").iter().map(pid).collect()
    }
}

impl Deref for Fake {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl DerefMut for Fake {
    fn deref_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}
