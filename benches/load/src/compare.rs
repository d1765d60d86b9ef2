//! `load compare`: a bridge beside the floors, interleaved in one run, so that a busy machine slows all of them alike.
//!
//! The floor, the bridge and what it starts run on one core, this process on another, when there are two. Each round measures every
//! subject at every shape for a short time; the table shows the median of the rounds.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::error::{Error, Result};
use crate::proc::{self, Memory};
use crate::run::{self, Load, Pattern, Report, Transport, Way};
use crate::stdio;

/// Sessions × calls in flight.
const SHAPES: [(u32, usize); 3] = [(1, 1), (1, 32), (64, 4)];

/// How long a server may take to accept connections, and to stop.
const PATIENCE: Duration = Duration::from_secs(10);

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

/// Medians of the rounds, sums of what went wrong.
#[derive(Debug, Serialize)]
struct Line {
    subject: &'static str,
    sessions: u32,
    in_flight: usize,
    calls_per_second: f64,
    /// Calls per second as a share of the HTTP floor's at this shape.
    of_http_floor: f64,
    server_cpu_us: f64,
    generator_cpu_us: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    /// p50 above the stdio floor's at this shape.
    added_p50_us: f64,
    wrong: u64,
    failed: u64,
    first_trouble: Option<String>,
}

impl Table {
    /// True when no subject answered wrongly.
    pub(crate) fn is_clean(&self) -> bool {
        self.lines
            .iter()
            .all(|line| line.wrong + line.failed == 0 && line.calls_per_second > 0.0)
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
            let shape = format!("{}×{}", line.sessions, line.in_flight);
            text += &format!(
                "{:<12}{shape:>8}{:>11.0}{:>9.2}{:>9.2}{:>9.2}{:>10.1}{:>10.1}{:>10.1}{:>9.1}{:>7}{:>7}\n",
                line.subject,
                line.calls_per_second,
                line.of_http_floor,
                line.server_cpu_us,
                line.generator_cpu_us,
                line.p50_us,
                line.p99_us,
                line.p999_us,
                line.added_p50_us,
                line.wrong,
                line.failed
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
        for line in self
            .lines
            .iter()
            .filter(|line| line.first_trouble.is_some())
        {
            let trouble = line.first_trouble.as_deref().unwrap_or_default();
            text += &format!(
                "{} {}×{}: {trouble}\n",
                line.subject, line.sessions, line.in_flight
            );
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
    let cores = match proc::cores()[..] {
        [servers, generator, ..] => Some((servers, generator)),
        _ => None,
    };
    let server_core = cores.map(|(servers, _)| servers);

    let floor_port = free_port()?;
    let mut floor = Command::new(&own);
    floor.args(["http-floor", "--port", &floor_port.to_string()]);
    let floor = start(floor, floor_port, server_core).await?;
    let bridge_port = free_port()?;
    let mut bridge = Command::new(&compare.bridge);
    bridge
        .args(["run", "--port", &bridge_port.to_string()])
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
    let bridge = start(bridge, bridge_port, server_core).await?;
    if let Some((_, generator)) = cores {
        proc::pin(generator)?;
    }

    let bench = Bench {
        compare,
        echo,
        server_core,
        floor: (floor_port, id(&floor)?),
        bridge: (bridge_port, id(&bridge)?),
    };
    let table = bench.measure(cores).await;
    stop(bridge).await?;
    stop(floor).await?;
    table
}

#[derive(Debug)]
struct Bench<'a> {
    compare: &'a Compare,
    echo: Vec<String>,
    server_core: Option<usize>,
    /// Port and pid.
    floor: (u16, u32),
    bridge: (u16, u32),
}

impl Bench<'_> {
    async fn measure(&self, cores: Option<(usize, usize)>) -> Result<Table> {
        let bridge_start = proc::memory(self.bridge.1)?;
        let mut reports = vec![Vec::new(); SHAPES.len() * Subject::ALL.len()];
        for _ in 0..self.compare.rounds.max(1) {
            let mut cells = reports.iter_mut();
            for shape in SHAPES {
                for subject in Subject::ALL {
                    let cell = cells.next().expect("a cell per shape and subject");
                    // One call in flight has one connection anyway.
                    if subject != Subject::SsePooled || shape.1 > 1 {
                        cell.push(self.once(subject, shape).await?);
                    }
                }
            }
        }
        let bridge_end = proc::memory(self.bridge.1)?;
        let mut lines = Vec::new();
        for row in reports.chunks(Subject::ALL.len()) {
            let [stdio, floor, ..] = row else {
                unreachable!("a row has a cell per subject")
            };
            for (subject, reports) in Subject::ALL
                .into_iter()
                .zip(row)
                .filter(|(_, reports)| !reports.is_empty())
            {
                lines.push(line(subject, reports, floor, stdio));
            }
        }
        Ok(Table {
            lines,
            bridge_start,
            bridge_end,
            cores,
        })
    }

    async fn once(&self, subject: Subject, (sessions, in_flight): (u32, usize)) -> Result<Report> {
        let (transport, (port, pid)) = match subject {
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
        load.pids.push(pid);
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
        run::run(&format!("http://127.0.0.1:{port}"), &way, &load).await
    }
}

fn line(subject: Subject, reports: &[Report], floor: &[Report], stdio: &[Report]) -> Line {
    // Within a round, then the median: what slows a whole round slows both sides of its ratio.
    let of_floor = reports
        .iter()
        .zip(floor)
        .map(|(report, floor)| report.calls_per_second / floor.calls_per_second);
    let added = reports
        .iter()
        .zip(stdio)
        .map(|(report, stdio)| report.p50_us - stdio.p50_us);
    Line {
        subject: subject.name(),
        sessions: reports[0].sessions,
        in_flight: reports[0].in_flight,
        calls_per_second: median(reports, |report| report.calls_per_second),
        of_http_floor: middle(of_floor.collect()),
        server_cpu_us: median(reports, |report| {
            report
                .processes
                .first()
                .map_or(0.0, |process| process.cpu_us_per_call)
        }),
        generator_cpu_us: median(reports, |report| report.generator_cpu_us_per_call),
        p50_us: median(reports, |report| report.p50_us),
        p99_us: median(reports, |report| report.p99_us),
        p999_us: median(reports, |report| report.p999_us),
        added_p50_us: middle(added.collect()),
        wrong: reports.iter().map(|report| report.wrong).sum(),
        failed: reports
            .iter()
            .map(|report| report.failed + report.unanswered)
            .sum(),
        first_trouble: reports
            .iter()
            .find_map(|report| report.first_trouble.clone()),
    }
}

fn median(reports: &[Report], of: impl Fn(&Report) -> f64) -> f64 {
    middle(reports.iter().map(of).collect())
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(Error::io("a free port"))?;
    Ok(listener
        .local_addr()
        .map_err(Error::io("a free port"))?
        .port())
}

/// Starts a server and waits until it accepts connections.
async fn start(mut command: Command, port: u16, core: Option<usize>) -> Result<Child> {
    let name = command
        .as_std()
        .get_program()
        .to_string_lossy()
        .into_owned();
    let mut child = proc::on_core(core, || {
        command.kill_on_drop(true).spawn().map_err(Error::io(&name))
    })?;
    let deadline = Instant::now() + PATIENCE;
    while tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .is_err()
    {
        if let Some(status) = child.try_wait().map_err(Error::io(&name))? {
            return Err(Error::Protocol(format!(
                "{name} ended before it listened: {status}"
            )));
        }
        if Instant::now() > deadline {
            return Err(Error::Protocol(format!(
                "{name} doesn't listen on port {port}"
            )));
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(child)
}

/// SIGTERM, so that the server can stop what it started; SIGKILL when it takes too long.
async fn stop(mut child: Child) -> Result<()> {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        kill(Pid::from_raw(pid), Signal::SIGTERM).map_err(Error::os("stopping a server"))?;
    }
    if timeout(PATIENCE, child.wait()).await.is_err() {
        child.kill().await.map_err(Error::io("stopping a server"))?;
    }
    Ok(())
}

fn id(child: &Child) -> Result<u32> {
    child
        .id()
        .ok_or_else(|| Error::Protocol("a server ended at once".to_owned()))
}
