//! `load compare`: a bridge beside the floors, interleaved in one run, so that a busy machine slows all of them alike.
//!
//! The floor, the bridge and what it starts run on one core, this process on another, when there are two. Each round measures every
//! subject at every shape for a short time; the table shows the median of the rounds.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde::Serialize;
use tokio::process::Command;

use crate::cell::{Cell, Round};
use crate::error::{Error, Result};
use crate::proc::{self, Memory};
use crate::run::{self, Load, Pattern, Report, Transport, Way};
use crate::servers::{Server, free_port, two_cores};
use crate::stdio;

/// Sessions × calls in flight.
const SHAPES: [(u32, usize); 3] = [(1, 1), (1, 32), (64, 4)];

/// The arguments of `load compare`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Compare {
    /// The bridge; started as `BRIDGE run --port P [BRIDGE_ARG…] -- <this program> echo`.
    #[arg(long)]
    bridge: PathBuf,
    /// A further argument of the bridge, before the `--`; may be repeated.
    #[arg(long = "bridge-arg", allow_hyphen_values = true)]
    bridge_args: Vec<String>,
    /// A file for what the bridge writes to stderr.
    #[arg(long)]
    bridge_log: Option<PathBuf>,
    /// Core of the echo server instead of the bridge's.
    #[arg(long)]
    echo_core: Option<usize>,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds for each measurement.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Bytes of text in each call and answer.
    #[arg(long, default_value_t = 64)]
    payload: usize,
}

/// The outcome, a line per subject and shape.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    lines: Vec<Line>,
    bridge_start: Memory,
    bridge_end: Memory,
    /// Core of the servers and core of the generator; none with a single core.
    cores: Option<(usize, usize)>,
}

#[derive(Debug, Serialize)]
struct Line {
    subject: &'static str,
    sessions: u32,
    in_flight: usize,
    #[serde(flatten)]
    cell: Cell,
}

impl Table {
    /// True when no subject answered wrongly.
    pub(crate) fn is_clean(&self) -> bool {
        self.lines.iter().all(|line| line.cell.is_clean())
    }

    /// The table for people.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!(
            "{:<12}{:>8}{:>11}{:>9}{:>9}{:>9}{:>10}{:>10}{:>10}{:>9}{:>7}{:>7}\n",
            "",
            "shape",
            "calls/s",
            "× floor",
            "CPU µs",
            "gen. µs",
            "p50 µs",
            "p99 µs",
            "p99.9 µs",
            "+p50",
            "wrong",
            "failed"
        );
        for line in &self.lines {
            let (shape, cell) = (format!("{}×{}", line.sessions, line.in_flight), &line.cell);
            text += &format!(
                "{:<12}{shape:>8}{:>11.0}{:>9.2}{:>9.2}{:>9.2}{:>10.1}{:>10.1}{:>10.1}{:>9.1}{:>7}{:>7}\n",
                line.subject,
                cell.calls_per_second,
                cell.of_http_floor,
                cell.server_cpu_us,
                cell.generator_cpu_us,
                cell.p50_us,
                cell.p99_us,
                cell.p999_us,
                cell.added_p50_us,
                cell.wrong,
                cell.failed + cell.unanswered
            );
        }
        let (start, end) = (self.bridge_start, self.bridge_end);
        text += &format!(
            "bridge: PSS {} KiB at start, {} KiB at the end\n",
            start.pss_kib, end.pss_kib
        );
        text += &match self.cores {
            Some((servers, generator)) => {
                format!("servers on core {servers}, generator on core {generator}\n")
            }
            None => "one core for all: ratios only\n".to_owned(),
        };
        for line in &self.lines {
            if let Some(trouble) = &line.cell.first_trouble {
                let Line {
                    subject,
                    sessions,
                    in_flight,
                    ..
                } = line;
                text += &format!("{subject} {sessions}×{in_flight}: {trouble}\n");
            }
        }
        text
    }
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Subject {
    Stdio,
    HttpFloor,
    Http,
    Sse,
    /// SSE with a connection for each call in flight, as a client with a connection pool does it.
    SsePooled,
    Stateless,
}

impl Subject {
    const ALL: [Self; 6] = [
        Self::Stdio,
        Self::HttpFloor,
        Self::Http,
        Self::Sse,
        Self::SsePooled,
        Self::Stateless,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Stdio => "stdio floor",
            Self::HttpFloor => "http floor",
            Self::Http => "http",
            Self::Sse => "sse",
            Self::SsePooled => "sse pooled",
            Self::Stateless => "stateless",
        }
    }
}

/// Starts floor and bridge, measures, stops them. Needs a `LocalSet`.
///
/// # Errors
/// When one of them doesn't start or a session can't be opened.
pub(crate) async fn run(compare: &Compare) -> Result<Table> {
    let own = std::env::current_exe()
        .map_err(Error::io("this program"))?
        .to_string_lossy()
        .into_owned();
    let mut echo = vec![own.clone(), "echo".to_owned()];
    echo.extend(compare.echo_core.map(|core| format!("--core={core}")));
    let cores = two_cores();
    let server_core = cores.map(|(servers, _)| servers);

    let port = free_port()?;
    let mut floor = Command::new(&own);
    floor.args(["http-floor", "--port", &port.to_string()]);
    let floor = Server::start(floor, port, server_core).await?;
    let port = free_port()?;
    let mut bridge = Command::new(&compare.bridge);
    bridge
        .args(["run", "--port", &port.to_string()])
        .args(&compare.bridge_args)
        .arg("--")
        .args(&echo);
    bridge
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(match &compare.bridge_log {
            Some(path) => std::fs::File::create(path)
                .map_err(Error::io(path.to_string_lossy()))?
                .into(),
            None => Stdio::null(),
        });
    let bridge = Server::start(bridge, port, server_core).await?;
    if let Some((_, generator)) = cores {
        proc::pin(generator)?;
    }

    let bench = Bench {
        compare,
        echo,
        server_core,
        floor: &floor,
        bridge: &bridge,
    };
    let table = bench.measure(cores).await;
    bridge.stop().await?;
    floor.stop().await?;
    table
}

#[derive(Debug)]
struct Bench<'a> {
    compare: &'a Compare,
    echo: Vec<String>,
    server_core: Option<usize>,
    floor: &'a Server,
    bridge: &'a Server,
}

impl Bench<'_> {
    async fn measure(&self, cores: Option<(usize, usize)>) -> Result<Table> {
        let bridge_start = proc::memory(self.bridge.pid)?;
        let mut reports: Vec<Vec<Round>> = vec![Vec::new(); SHAPES.len() * Subject::ALL.len()];
        for _ in 0..self.compare.rounds.max(1) {
            let mut cells = reports.iter_mut();
            for shape in SHAPES {
                for subject in Subject::ALL {
                    let cell = cells.next().expect("a cell per shape and subject");
                    // One call in flight has one connection anyway.
                    if subject != Subject::SsePooled || shape.1 > 1 {
                        cell.push(Ok(self.once(subject, shape).await?));
                    }
                }
            }
        }
        let bridge_end = proc::memory(self.bridge.pid)?;
        let mut lines = Vec::new();
        for (row, (sessions, in_flight)) in reports.chunks(Subject::ALL.len()).zip(SHAPES) {
            let [stdio, floor, ..] = row else {
                unreachable!("a row has a cell per subject")
            };
            let subjects = Subject::ALL.into_iter().zip(row);
            lines.extend(subjects.filter(|(_, rounds)| !rounds.is_empty()).map(
                |(subject, rounds)| Line {
                    subject: subject.name(),
                    sessions,
                    in_flight,
                    cell: Cell::of(rounds, floor, stdio),
                },
            ));
        }
        Ok(Table {
            lines,
            bridge_start,
            bridge_end,
            cores,
        })
    }

    async fn once(&self, subject: Subject, (sessions, in_flight): (u32, usize)) -> Result<Report> {
        let (transport, server) = match subject {
            Subject::Stdio | Subject::HttpFloor => (Transport::Http, self.floor),
            Subject::Http => (Transport::Http, self.bridge),
            Subject::Sse | Subject::SsePooled => (Transport::Sse, self.bridge),
            Subject::Stateless => (Transport::Stateless, self.bridge),
        };
        let Compare {
            seconds, payload, ..
        } = *self.compare;
        let mut load = Load {
            sessions,
            in_flight,
            seconds,
            warmup: 0.3,
            payload,
            progress: 0,
            pids: Vec::new(),
            drain: Duration::from_secs(5),
        };
        if subject == Subject::Stdio {
            let child = proc::on_core(self.server_core, || stdio::spawn(&self.echo))?;
            return stdio::run(child, &load).await;
        }
        load.pids.push(server.pid);
        let post_connections = if subject == Subject::SsePooled {
            in_flight
        } else {
            1
        };
        let way = Way {
            transport,
            pattern: Pattern::Steady,
            post_connections,
        };
        run::run(&server.url(), &way, &load).await
    }
}
