//! `load report`: the bridge beside the floors and its peers, interleaved in one run on one machine.
//!
//! A round starts every server anew, measures each load on each subject in turn, and stops them; peers are suspended while they
//! aren't measured. Then the sessions that do nothing. A peer that can't be started, or answers wrongly, has that in its cells.
//! `field` says who runs and what is asked of them, `table` shows it, `figures` compares it with what the bridge is to reach.

mod field;
mod figures;
mod table;

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::time::timeout;

use crate::cell::{Cell, Round, median};
use crate::error::{Error, Result};
use crate::idle::{self, Idle};
use crate::proc;
use crate::run::{self, Load, Transport, Way};
use crate::servers::{Server, two_cores};
use crate::stdio;
use field::{Kind, Place, SUBJECTS, Subject, TASKS, Task};
use figures::Figure;

/// What may be late in a measurement of so many seconds, sessions that are opened before it included.
const SLACK: Duration = Duration::from_secs(15);
/// How long answers may take after the end of a measurement.
const DRAIN: Duration = Duration::from_secs(1);
/// How long opening idle sessions may take.
const OPENING: Duration = Duration::from_secs(30);

/// The arguments of `load report`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Plan {
    /// The bridge; started as `BRIDGE run --port P -- <this program> echo`.
    #[arg(long)]
    bridge: PathBuf,
    /// The folder that `benches/run` installs the peers into; without it they are left out.
    #[arg(long)]
    peers: Option<PathBuf>,
    /// A file for everything that was measured.
    #[arg(long)]
    json: Option<PathBuf>,
    /// A folder for what the servers write to stderr.
    #[arg(long)]
    logs: Option<PathBuf>,
    /// One short round, and no more than 500 idle sessions: to see that everything works.
    #[arg(long)]
    quick: bool,
    /// 3, or 1 with `--quick`.
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds for each measurement: 0.8, or 0.3 with `--quick`.
    #[arg(long)]
    seconds: Option<f64>,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    unix_time: u64,
    machine: proc::Machine,
    /// Core of the servers and core of the generator; none with a single core.
    cores: Option<(usize, usize)>,
    quick: bool,
    rounds: usize,
    seconds: f64,
    bridge_bytes: u64,
    /// Peers that weren't there, and why.
    skipped: Vec<String>,
    /// From the start of the echo server to its answer to `initialize`.
    echo_start_ms: f64,
    subjects: Vec<Row>,
    idle: Vec<IdleRow>,
    figures: Vec<Figure>,
}

/// One subject under every load.
#[derive(Debug, Serialize)]
struct Row {
    server: &'static str,
    version: Option<String>,
    way: &'static str,
    is_ours: bool,
    /// From the start of the server to its first answer to `initialize`; of the first of its rows.
    start_ms: Option<f64>,
    cells: Vec<Named>,
}

#[derive(Debug, Serialize)]
struct Named {
    load: &'static str,
    #[serde(flatten)]
    cell: Cell,
}

/// What sessions over HTTP+SSE cost a server that do nothing.
#[derive(Debug, Serialize)]
struct IdleRow {
    server: &'static str,
    #[serde(flatten)]
    cost: Option<idle::Cost>,
    trouble: Option<String>,
}

impl Outcome {
    /// Whether the bridge gave each call its own answer; peers needn't.
    pub(crate) fn is_clean(&self) -> bool {
        let mut own = self.subjects.iter().filter(|row| row.is_ours);
        own.all(|row| row.cells.iter().all(|named| named.cell.is_clean()))
    }

    /// The table, and what is to be said beside it.
    pub(crate) fn to_text(&self) -> String {
        table::text(self)
    }

    fn cell(&self, server: &str, way: &str, load: &str) -> Option<&Cell> {
        let row = |row: &&Row| row.server == server && row.way == way;
        let cells = &self.subjects.iter().find(row)?.cells;
        Some(&cells.iter().find(|named| named.load == load)?.cell)
    }
}

/// Measures everything. Needs a `LocalSet`.
///
/// # Errors
/// When the bridge or a floor doesn't start, or the file can't be written.
pub(crate) async fn run(plan: &Plan) -> Result<Outcome> {
    proc::raise_descriptor_limit();
    let cores = two_cores();
    let place = Place::new(
        plan.bridge.clone(),
        plan.peers.clone(),
        plan.logs.clone(),
        cores.map(|(servers, _)| servers),
    )?;
    let bridge_bytes = std::fs::metadata(&plan.bridge)
        .map_err(Error::io(plan.bridge.to_string_lossy()))?
        .len();
    if let Some((_, generator)) = cores {
        proc::pin(generator)?;
    }
    let mut field = Field::new(plan, place);
    for round in 1..=field.rounds {
        field.round(round).await?;
    }
    let mut idle = Vec::new();
    for kind in field.kinds.clone() {
        if kind.transport() == Transport::Sse {
            idle.push(field.idle(kind).await);
        }
    }
    let mut outcome = Outcome {
        unix_time: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
        machine: proc::machine(),
        cores,
        quick: plan.quick,
        rounds: field.rounds,
        seconds: field.seconds,
        bridge_bytes,
        skipped: field.skipped.clone(),
        echo_start_ms: median(field.echo_starts.iter().copied()),
        subjects: field.rows(),
        idle,
        figures: Vec::new(),
    };
    outcome.figures = figures::of(&outcome);
    if let Some(path) = &plan.json {
        let text = serde_json::to_string_pretty(&outcome)
            .map_err(|error| Error::Protocol(error.to_string()))?;
        std::fs::write(path, text + "\n").map_err(Error::io(path.to_string_lossy()))?;
    }
    Ok(outcome)
}

/// The run so far.
#[derive(Debug)]
struct Field {
    place: Place,
    quick: bool,
    rounds: usize,
    seconds: f64,
    kinds: Vec<Kind>,
    skipped: Vec<String>,
    /// A list of rounds per subject and load, in the order of both tables.
    results: Vec<Vec<Round>>,
    /// Milliseconds.
    starts: Vec<(Kind, f64)>,
    echo_starts: Vec<f64>,
}

/// A server in a round.
#[derive(Debug)]
enum Seat {
    Running(Server),
    /// It didn't start, and why.
    Absent(String),
}

impl Field {
    fn new(plan: &Plan, place: Place) -> Self {
        let (mut kinds, mut skipped) = (Vec::new(), Vec::new());
        for kind in Kind::ALL {
            match place.missing(kind) {
                None => kinds.push(kind),
                Some(why) if skipped.contains(&why) => {}
                Some(why) => skipped.push(why),
            }
        }
        Self {
            place,
            quick: plan.quick,
            rounds: plan.rounds.unwrap_or(if plan.quick { 1 } else { 3 }).max(1),
            seconds: plan.seconds.unwrap_or(if plan.quick { 0.3 } else { 0.8 }),
            kinds,
            skipped,
            results: vec![Vec::new(); SUBJECTS.len() * TASKS.len()],
            starts: Vec::new(),
            echo_starts: Vec::new(),
        }
    }

    async fn round(&mut self, number: usize) -> Result<()> {
        self.say(number, "start");
        let mut seats = Vec::new();
        for kind in self.kinds.clone() {
            seats.push((kind, self.start(kind).await?));
        }
        let echo = stdio::first_answer(self.place.echo(), self.place.core).await?;
        self.echo_starts.push(echo.as_secs_f64() * 1e3);
        for (at, task) in TASKS.iter().enumerate() {
            self.say(number, task.name);
            for (n, subject) in SUBJECTS.iter().enumerate() {
                if !self.runs(subject, task) {
                    continue;
                }
                let round = self.once(&mut seats, subject, task).await?;
                self.results[n * TASKS.len() + at].push(round);
            }
        }
        for (_, seat) in seats {
            if let Seat::Running(server) = seat {
                server.stop().await?;
            }
        }
        Ok(())
    }

    fn say(&self, round: usize, what: &str) {
        progress(&format!("round {round} of {}: {what}", self.rounds));
    }

    fn runs(&self, subject: &Subject, task: &Task) -> bool {
        let there = subject.kind.is_none_or(|kind| self.kinds.contains(&kind));
        there && task.makes_sense_for(subject)
    }

    /// Starts a server and waits for its first answer. What is ours has to start.
    async fn start(&mut self, kind: Kind) -> Result<Seat> {
        let started = async {
            let server = self.place.start(kind).await?;
            let took = server.first_answer(kind.transport()).await?;
            if kind.is_peer() {
                server.suspend()?;
            }
            Ok::<_, Error>((server, took))
        };
        match started.await {
            Ok((server, took)) => {
                self.starts.push((kind, took.as_secs_f64() * 1e3));
                Ok(Seat::Running(server))
            }
            Err(error) if kind.is_peer() => Ok(Seat::Absent(error.to_string())),
            Err(error) => Err(error),
        }
    }

    async fn once(
        &mut self,
        seats: &mut [(Kind, Seat)],
        subject: &Subject,
        task: &Task,
    ) -> Result<Round> {
        let mut load = Load {
            sessions: task.sessions,
            in_flight: task.in_flight,
            seconds: self.seconds,
            warmup: self.seconds / 4.0,
            payload: task.payload,
            progress: task.progress,
            pids: Vec::new(),
            drain: DRAIN,
        };
        let Some(kind) = subject.kind else {
            let echo = self.place.echo();
            let child = proc::on_core(self.place.core, || stdio::spawn(&echo))?;
            return Ok(Ok(stdio::run(child, &load).await?));
        };
        let seat = seats.iter_mut().find(|(other, _)| *other == kind);
        let (_, seat) = seat.expect("a subject runs only when its server has a seat");
        if let Seat::Running(server) = seat
            && server.has_ended()
        {
            *seat = self.start(kind).await?;
        }
        let server = match seat {
            Seat::Running(server) => server,
            Seat::Absent(why) => return Ok(Err(why.clone())),
        };
        load.pids.push(server.pid);
        let way = Way {
            transport: subject.transport,
            pattern: task.pattern,
            post_connections: 1,
        };
        server.resume()?;
        let limit = SLACK + Duration::from_secs_f64(2.0 * self.seconds);
        let mut round = match timeout(limit, run::run(&server.url(), &way, &load)).await {
            Ok(round) => round.map_err(|error| error.to_string()),
            Err(_) => Err(format!("not over after {limit:?}")),
        };
        for process in round.iter_mut().flat_map(|report| &mut report.processes) {
            // Not what an earlier load with large texts left behind: this one may use it.
            process.before = server.baseline;
        }
        if !server.has_ended() {
            if task.is_small() {
                server.look()?;
            }
            if kind.is_peer() {
                server.suspend()?;
            }
        }
        match round {
            Err(why) if !kind.is_peer() => Err(Error::Protocol(format!(
                "{} {}, {}: {why}",
                kind.name(),
                subject.way,
                task.name
            ))),
            round => Ok(round),
        }
    }

    /// A server of this kind, with sessions that do nothing.
    async fn idle(&self, kind: Kind) -> IdleRow {
        progress(&format!("idle sessions: {}", kind.name()));
        let measured = async {
            let server = self.place.start_for_idle(kind).await?;
            server.first_answer(kind.transport()).await?;
            let idle = Idle {
                transport: Transport::Sse,
                sessions: if self.quick {
                    vec![500]
                } else {
                    vec![500, 5_000]
                },
                pid: server.pid,
                settle: 2.0,
                settle_after: 11.0,
                patience: OPENING,
            };
            let cost = idle::run(&server.url(), &idle).await;
            server.stop().await?;
            cost
        };
        let (cost, trouble) = match measured.await {
            Ok(cost) => (Some(cost), None),
            Err(error) => (None, Some(error.to_string())),
        };
        IdleRow {
            server: kind.name(),
            cost,
            trouble,
        }
    }

    fn rows(&self) -> Vec<Row> {
        let rounds = |subject: usize, task: usize| &self.results[subject * TASKS.len() + task][..];
        let mut shown = Vec::new();
        let mut rows = Vec::new();
        for (n, subject) in SUBJECTS.iter().enumerate() {
            if subject.kind.is_some_and(|kind| !self.kinds.contains(&kind)) {
                continue;
            }
            let cells = TASKS.iter().enumerate().map(|(at, task)| Named {
                load: task.name,
                cell: Cell::of(
                    rounds(n, at),
                    rounds(field::HTTP_FLOOR, at),
                    rounds(field::STDIO, at),
                ),
            });
            let kind = subject.kind.filter(|kind| !shown.contains(kind));
            shown.extend(kind);
            let starts = |kind: Kind| {
                let starts = self.starts.iter().filter(move |(of, _)| *of == kind);
                median(starts.map(|(_, ms)| *ms))
            };
            rows.push(Row {
                server: subject.kind.map_or("stdio", Kind::name),
                version: subject.kind.and_then(|kind| self.place.version(kind)),
                way: subject.way,
                is_ours: subject.kind == Some(Kind::Bridge),
                start_ms: match subject.kind {
                    None => Some(median(self.echo_starts.iter().copied())),
                    Some(_) => kind.map(starts),
                },
                cells: cells
                    .zip(TASKS)
                    .filter(|(_, task)| task.makes_sense_for(subject))
                    .map(|(named, _)| named)
                    .collect(),
            });
        }
        rows
    }
}

/// A word to who waits.
fn progress(what: &str) {
    use std::io::Write as _;
    // Nobody waits when stderr is closed.
    let _ = writeln!(std::io::stderr(), "load: {what}");
}
