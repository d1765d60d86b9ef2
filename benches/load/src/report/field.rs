//! Who runs in a report, and what is asked of them.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::error::{Error, Result};
use crate::run::{Pattern, Transport};
use crate::servers::{Server, free_port};

/// A load.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task {
    pub(super) name: &'static str,
    pub(super) sessions: u32,
    pub(super) in_flight: usize,
    pub(super) payload: usize,
    pub(super) progress: u32,
    pub(super) pattern: Pattern,
}

const SMALL: Task = Task {
    name: "1×1",
    sessions: 1,
    in_flight: 1,
    payload: 64,
    progress: 0,
    pattern: Pattern::Steady,
};

/// What is asked, in this order. Names are sessions × calls in flight, or what is special. Of the large ones there are 8 and 4 in
/// flight, the latter in a session each, so that they have room in any queue; they come before the many connections, whose
/// buffers would count as theirs.
pub(super) const TASKS: [Task; 7] = [
    SMALL,
    Task {
        name: "1×32",
        in_flight: 32,
        ..SMALL
    },
    Task {
        name: "64 KiB",
        in_flight: 8,
        payload: 64 << 10,
        ..SMALL
    },
    Task {
        name: "1 MiB",
        sessions: 4,
        payload: 1 << 20,
        ..SMALL
    },
    Task {
        name: "64×4",
        sessions: 64,
        in_flight: 4,
        ..SMALL
    },
    // Several, because the generator reads a response to its end before it looks at what is in it.
    Task {
        name: "progress",
        sessions: 4,
        progress: 1_000,
        ..SMALL
    },
    Task {
        name: "operation",
        sessions: 8,
        pattern: Pattern::Litellm,
        ..SMALL
    },
];

impl Task {
    /// Whether its texts are nothing beside what a server needs for its connections.
    pub(super) fn is_small(&self) -> bool {
        self.payload == SMALL.payload
    }

    /// A pipe has no sessions to open, and the HTTP floor no progress.
    pub(super) fn makes_sense_for(&self, subject: &Subject) -> bool {
        match subject.kind {
            None => self.pattern == Pattern::Steady,
            Some(Kind::HttpFloor) => self.progress == 0,
            Some(_) => true,
        }
    }
}

/// A server over one of its transports; without a server it is the upstream itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject {
    pub(super) kind: Option<Kind>,
    pub(super) way: &'static str,
    pub(super) transport: Transport,
}

const fn subject(kind: Kind, transport: Transport) -> Subject {
    let way = match transport {
        Transport::Sse => "SSE",
        Transport::Http => "HTTP",
        Transport::Stateless => "2026-07-28",
    };
    Subject {
        kind: Some(kind),
        way,
        transport,
    }
}

/// Place of the pipe among the subjects.
pub(super) const STDIO: usize = 0;
/// Place of the HTTP floor.
pub(super) const HTTP_FLOOR: usize = 1;

/// Who is asked.
pub(super) const SUBJECTS: [Subject; 12] = [
    Subject {
        kind: None,
        way: "pipe",
        transport: Transport::Http,
    },
    subject(Kind::HttpFloor, Transport::Http),
    subject(Kind::Bridge, Transport::Http),
    subject(Kind::Bridge, Transport::Sse),
    subject(Kind::Bridge, Transport::Stateless),
    subject(Kind::SupergatewaySse, Transport::Sse),
    subject(Kind::SupergatewayHttp, Transport::Http),
    subject(Kind::NpmProxy, Transport::Sse),
    subject(Kind::NpmProxy, Transport::Http),
    subject(Kind::NpmProxy, Transport::Stateless),
    subject(Kind::PypiProxy, Transport::Sse),
    subject(Kind::PypiProxy, Transport::Http),
];

/// A server's program, and the way it is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    HttpFloor,
    Bridge,
    /// Serves one transport at a time.
    SupergatewaySse,
    SupergatewayHttp,
    NpmProxy,
    PypiProxy,
}

impl Kind {
    pub(super) const ALL: [Self; 6] = [
        Self::HttpFloor,
        Self::Bridge,
        Self::SupergatewaySse,
        Self::SupergatewayHttp,
        Self::NpmProxy,
        Self::PypiProxy,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::HttpFloor => "axum echo",
            Self::Bridge => "mcp-bridged",
            Self::SupergatewaySse | Self::SupergatewayHttp => "supergateway",
            Self::NpmProxy => "mcp-proxy (npm)",
            Self::PypiProxy => "mcp-proxy (PyPI)",
        }
    }

    /// One that it has: HTTP+SSE if possible.
    pub(super) fn transport(self) -> Transport {
        match self {
            Self::HttpFloor | Self::SupergatewayHttp => Transport::Http,
            _ => Transport::Sse,
        }
    }

    pub(super) fn is_peer(self) -> bool {
        !matches!(self, Self::HttpFloor | Self::Bridge)
    }
}

/// Where everything is.
#[derive(Debug)]
pub(super) struct Place {
    own: String,
    bridge: PathBuf,
    peers: Option<PathBuf>,
    logs: Option<PathBuf>,
    /// Of the servers.
    pub(super) core: Option<usize>,
}

impl Place {
    pub(super) fn new(
        bridge: PathBuf,
        peers: Option<PathBuf>,
        logs: Option<PathBuf>,
        core: Option<usize>,
    ) -> Result<Self> {
        let own = std::env::current_exe().map_err(Error::io("this program"))?;
        Ok(Self {
            own: own.to_string_lossy().into_owned(),
            bridge,
            peers,
            logs,
            core,
        })
    }

    /// The upstream of all.
    pub(super) fn echo(&self) -> Vec<String> {
        vec![self.own.clone(), "echo".to_owned()]
    }

    /// Why there is no server of this kind.
    pub(super) fn missing(&self, kind: Kind) -> Option<String> {
        let program = self.program(kind);
        match &program {
            None => Some(format!("{}: no --peers", kind.name())),
            Some(program) if program.exists() => None,
            Some(program) => Some(format!(
                "{}: {} isn't there",
                kind.name(),
                program.display()
            )),
        }
    }

    /// What is installed.
    pub(super) fn version(&self, kind: Kind) -> Option<String> {
        let peers = self.peers.as_deref()?;
        match kind {
            Kind::HttpFloor | Kind::Bridge => None,
            Kind::SupergatewaySse | Kind::SupergatewayHttp => node_version(peers, "supergateway"),
            Kind::NpmProxy => node_version(peers, "mcp-proxy"),
            Kind::PypiProxy => python_version(peers, "mcp_proxy-"),
        }
    }

    /// Starts one.
    pub(super) async fn start(&self, kind: Kind) -> Result<Server> {
        let port = free_port()?;
        let program = self
            .program(kind)
            .ok_or_else(|| Error::protocol("a peer without --peers"))?;
        let mut command = Command::new(program);
        let echo = self.echo();
        let line = format!("'{}' echo", self.own);
        let number = port.to_string();
        match kind {
            Kind::HttpFloor => command.args(["http-floor", "--port", &number]),
            Kind::Bridge => command.args(["run", "--port", &number, "--"]).args(&echo),
            Kind::SupergatewaySse => {
                command.args(["--logLevel", "none", "--port", &number, "--stdio", &line])
            }
            Kind::SupergatewayHttp => command
                .args(["--outputTransport", "streamableHttp", "--stateful"])
                .args(["--logLevel", "none", "--port", &number, "--stdio", &line]),
            Kind::NpmProxy => command
                .args(["--host", "127.0.0.1", "--port", &number, "--"])
                .args(&echo),
            Kind::PypiProxy => command
                .args(["--log-level", "WARNING", "--port", &number, "--"])
                .args(&echo),
        };
        self.run(command, kind, port).await
    }

    /// Starts one for many sessions; the bridge with three servers, and limits above that.
    pub(super) async fn start_for_idle(&self, kind: Kind) -> Result<Server> {
        if kind != Kind::Bridge {
            return self.start(kind).await;
        }
        let ports = [free_port()?, free_port()?, free_port()?];
        let bridges = ["one", "two", "three"].into_iter().zip(ports);
        let bridges: serde_json::Map<_, _> = bridges
            .map(|(name, port)| {
                let bridge =
                    serde_json::json!({ "port": port, "command": self.own, "args": ["echo"] });
                (name.to_owned(), bridge)
            })
            .collect();
        // JSON is YAML.
        let config = serde_json::json!({
            "max_connections": 20_000,
            "max_connections_per_ip": 20_000,
            "defaults": { "max_sessions": 10_000 },
            "bridges": bridges,
        });
        let name = format!("load-report-{}.yaml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, config.to_string()).map_err(Error::io(path.to_string_lossy()))?;
        let mut command = Command::new(&self.bridge);
        command.arg("serve").arg("--config").arg(&path);
        let server = self.run(command, kind, ports[0]).await;
        std::fs::remove_file(&path).map_err(Error::io(path.to_string_lossy()))?;
        server
    }

    async fn run(&self, mut command: Command, kind: Kind, port: u16) -> Result<Server> {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(match &self.logs {
            None => Stdio::null(),
            Some(folder) => {
                let path = folder.join(format!("{kind:?}.log"));
                let file = std::fs::File::options()
                    .create(true)
                    .append(true)
                    .open(&path);
                file.map_err(Error::io(path.to_string_lossy()))?.into()
            }
        });
        Server::start(command, port, self.core).await
    }

    fn program(&self, kind: Kind) -> Option<PathBuf> {
        let node = |name: &str| {
            Some(
                self.peers
                    .as_ref()?
                    .join("node/node_modules/.bin")
                    .join(name),
            )
        };
        match kind {
            Kind::HttpFloor => Some(self.own.clone().into()),
            Kind::Bridge => Some(self.bridge.clone()),
            Kind::SupergatewaySse | Kind::SupergatewayHttp => node("supergateway"),
            Kind::NpmProxy => node("mcp-proxy"),
            Kind::PypiProxy => Some(self.peers.as_ref()?.join("python/bin/mcp-proxy")),
        }
    }
}

fn node_version(peers: &Path, name: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Package {
        version: String,
    }
    let path = peers.join("node/node_modules").join(name);
    let text = std::fs::read(path.join("package.json")).ok()?;
    let package: Package = serde_json::from_slice(&text).ok()?;
    Some(package.version)
}

fn python_version(peers: &Path, prefix: &str) -> Option<String> {
    let library = std::fs::read_dir(peers.join("python/lib")).ok()?;
    let packages = library.filter_map(|python| {
        let packages = python.ok()?.path().join("site-packages");
        std::fs::read_dir(packages).ok()
    });
    packages.flatten().find_map(|package| {
        let name = package.ok()?.file_name().into_string().ok()?;
        let version = name.strip_prefix(prefix)?.strip_suffix(".dist-info")?;
        Some(version.to_owned())
    })
}
