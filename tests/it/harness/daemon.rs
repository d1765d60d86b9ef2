//! One daemon per test: its configuration, ports, log and end.

use std::collections::HashMap;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::http::{Request, Response, exchange};
use super::{proc, until, within};

/// Bytes of the log that a failed test prints.
const LOG_TAIL: usize = 16 * 1024;

/// How to start a daemon.
#[derive(Debug, Default, Clone)]
pub(crate) struct Launch {
    /// The text of `bridges.yaml`; `{dir}` in it becomes the test's directory.
    pub(crate) config: String,
    /// Arguments after `serve -c FILE --ports-file OUT`.
    pub(crate) args: Vec<String>,
    /// Variables beside the test's own.
    pub(crate) env: Vec<(String, String)>,
    /// At most two sockets that the daemon inherits as from a service manager, by name.
    pub(crate) sockets: Vec<(String, Arc<TcpListener>)>,
}

/// A running daemon. Dropping it kills it and every process below it, and prints its log if the test failed.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    pid: i32,
    dir: TempDir,
    ports: Ports,
}

/// How a daemon ended that was expected to.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) log: String,
}

/// What the daemon writes when all its ports are bound.
#[derive(Debug, Default, Deserialize)]
struct Ports {
    admin: Option<SocketAddr>,
    #[serde(default)]
    gateway: Option<SocketAddr>,
    #[serde(default)]
    bridges: HashMap<String, SocketAddr>,
}

impl Daemon {
    /// Starts a daemon on `config` (all ports 0), and waits until its ports are bound.
    pub(crate) async fn start(config: &str) -> Self {
        let config = config.to_owned();
        Self::launch(Launch {
            config,
            ..Launch::default()
        })
        .await
    }

    pub(crate) async fn launch(launch: Launch) -> Self {
        let mut daemon = Self::spawn(launch);
        let file = daemon.dir.path().join("ports.json");
        let ports = until("the ports file", async || {
            if let Some(status) = daemon.child.try_wait().unwrap() {
                panic!("the daemon ended with {status} before its ports were bound");
            }
            fs::read(&file).ok()
        })
        .await;
        daemon.ports = serde_json::from_slice(&ports).unwrap();
        daemon
    }

    /// Starts a daemon that is expected to end on its own, and waits for that.
    pub(crate) async fn fails(config: &str) -> Ended {
        let config = config.to_owned();
        Self::launch_fails(Launch {
            config,
            ..Launch::default()
        })
        .await
    }

    pub(crate) async fn launch_fails(launch: Launch) -> Ended {
        let mut daemon = Self::spawn(launch);
        let status = daemon.exit().await;
        let log = daemon.log();
        Ended { status, log }
    }

    fn spawn(launch: Launch) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("mcp-bridged-")
            .tempdir()
            .unwrap();
        write_config(dir.path(), &launch.config);
        let log = File::create(dir.path().join("daemon.log")).unwrap();
        let mut command = program(&launch.sockets, &dir.path().join("daemon.log"));
        if launch.sockets.is_empty() {
            command
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap());
        }
        let child = command
            .arg("serve")
            .arg("-c")
            .arg(dir.path().join("bridges.yaml"))
            .arg("--ports-file")
            .arg(dir.path().join("ports.json"))
            .args(launch.args)
            // where its admin socket goes
            .env("RUNTIME_DIRECTORY", dir.path())
            .envs(launch.env)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id().unwrap()).unwrap();
        Self {
            child,
            pid,
            dir,
            ports: Ports::default(),
        }
    }

    /// The address of a bridge's listener.
    pub(crate) fn bridge(&self, name: &str) -> SocketAddr {
        let addr = self.ports.bridges.get(name);
        *addr.unwrap_or_else(|| panic!("no bridge {name} in {:?}", self.ports))
    }

    /// The address of the admin listener.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.ports.admin.unwrap()
    }

    /// Where the gateway listens.
    pub(crate) fn gateway(&self) -> SocketAddr {
        self.ports.gateway.unwrap()
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// The directory of this test: configuration, log, and whatever the test puts there. Removed with the daemon.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A path in [`Self::dir`].
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) async fn get(&self, bridge: &str, path: &str) -> Response {
        exchange(self.bridge(bridge), Request::get(path)).await
    }

    /// Status and body of a bridge's `/health`.
    pub(crate) async fn health(&self, bridge: &str) -> (u16, Value) {
        let response = self.get(bridge, "/health").await;
        (response.status(), response.json())
    }

    /// Waits until the bridge's `/health` has this status; returns its body.
    pub(crate) async fn until_health(&self, bridge: &str, status: u16) -> Value {
        until(format!("/health {status} of {bridge}"), async || {
            let (now, body) = self.health(bridge).await;
            (now == status).then_some(body)
        })
        .await
    }

    pub(crate) async fn until_ready(&self, bridge: &str) -> Value {
        self.until_health(bridge, 200).await
    }

    /// The bridge's own `/metrics`, as text.
    pub(crate) async fn metrics(&self, bridge: &str) -> String {
        self.get(bridge, "/metrics").await.text()
    }

    /// Everything the daemon has written to stdout and stderr.
    pub(crate) fn log(&self) -> String {
        let log = fs::read(self.path("daemon.log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Waits until the log contains `text`.
    pub(crate) async fn until_logged(&self, text: &str) {
        until(format!("{text:?} in the log"), async || {
            self.log().contains(text).then_some(())
        })
        .await;
    }

    /// Replaces the configuration file and nothing else.
    pub(crate) fn configure(&self, config: &str) {
        write_config(self.dir.path(), config);
    }

    /// Replaces the configuration file and sends SIGHUP.
    pub(crate) fn reload(&self, config: &str) {
        self.configure(config);
        self.signal(Signal::SIGHUP);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid), signal).unwrap();
    }

    /// Waits for the daemon's end.
    pub(crate) async fn exit(&mut self) -> ExitStatus {
        within("the daemon's exit", self.child.wait())
            .await
            .unwrap()
    }

    /// Sends SIGTERM, waits for the end, and returns its exit code.
    pub(crate) async fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        self.exit().await.code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let from = log.ceil_char_boundary(log.len().saturating_sub(LOG_TAIL));
            // the test's own output is captured by the test runner
            #[expect(clippy::print_stderr, reason = "a failed test explains itself")]
            {
                eprintln!("--- log of the daemon:\n{}\n---", &log[from..]);
            }
        }
        if self.child.id().is_some() {
            let below = proc::descendants(self.pid);
            // both may be gone already, which is all that is wanted
            drop(self.child.start_kill());
            below.iter().for_each(proc::Process::kill);
        }
    }
}

/// The daemon's program, or a shell that becomes it after moving the sockets to where a service manager leaves them.
fn program(sockets: &[(String, Arc<TcpListener>)], log: &Path) -> Command {
    /// stdin and stdout are all that a child can be given without unsafe code.
    const BECOME: &str = r#"exec 3<&0 4<&1 0</dev/null 1>>"$1"
[ "$LISTEN_FDS" = 2 ] || exec 4<&-
export LISTEN_PID=$$
shift
exec "$@""#;
    let daemon = env!("CARGO_BIN_EXE_mcp-bridged");
    if sockets.is_empty() {
        return Command::new(daemon);
    }
    let names: Vec<_> = sockets.iter().map(|(name, _)| &**name).collect();
    let mut handed = sockets
        .iter()
        .map(|(_, socket)| Stdio::from(OwnedFd::from(socket.try_clone().unwrap())));
    let mut command = Command::new("sh");
    command
        .args(["-c", BECOME, "sh"])
        .arg(log)
        .arg(daemon)
        .env("LISTEN_FDS", sockets.len().to_string())
        .env("LISTEN_FDNAMES", names.join(":"))
        .stdin(handed.next().unwrap_or_else(Stdio::null))
        .stdout(handed.next().unwrap_or_else(Stdio::null));
    command
}

fn write_config(dir: &Path, config: &str) {
    let config = config.replace("{dir}", dir.to_str().unwrap());
    fs::write(dir.join("bridges.yaml"), config).unwrap();
}
