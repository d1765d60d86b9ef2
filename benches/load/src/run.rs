//! `load run`: sessions against one URL for some seconds, and what came of it.
//!
//! All sessions are opened before the first call. After the warm-up the meter counts; at the end calls in flight get
//! [`Load::drain`] to arrive, and what hasn't by then is reported as unanswered.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::error::{Error, Result};
use crate::http::Target;
use crate::ledger::{Ledger, Meta, Shape, TAG};
use crate::meter::Meter;
use crate::proc::{self, Memory};
use crate::session::{Sse, Stateless, Streamable};

/// How long answers may take after the end.
const DRAIN: Duration = Duration::from_secs(5);

/// How MCP is spoken over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    /// HTTP+SSE of revision 2024-11-05.
    Sse,
    /// Streamable HTTP with sessions, of the revisions up to 2025-11-25.
    Http,
    /// Streamable HTTP without, of revision 2026-07-28.
    Stateless,
}

impl Transport {
    /// The path that a URL without one means.
    pub(crate) fn default_path(self) -> &'static str {
        match self {
            Self::Sse => "/sse",
            Self::Http | Self::Stateless => "/mcp",
        }
    }
}

/// What a session does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Pattern {
    /// Warm sessions that keep calls in flight.
    Steady,
    /// Connect, initialize, initialized, one call, close: per operation, as LiteLLM does. An operation is what is counted.
    Litellm,
}

/// The load.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Load {
    /// Sessions side by side.
    #[arg(long, default_value_t = 1)]
    pub(crate) sessions: u32,
    /// Calls in flight per session.
    #[arg(long, default_value_t = 1)]
    pub(crate) in_flight: usize,
    /// Seconds that are counted.
    #[arg(long, default_value_t = 5.0)]
    pub(crate) seconds: f64,
    /// Seconds before that.
    #[arg(long, default_value_t = 0.5)]
    pub(crate) warmup: f64,
    /// Bytes of text in each call and answer, at least 29.
    #[arg(long, default_value_t = 64)]
    pub(crate) payload: usize,
    /// Progress notifications that each call asks for.
    #[arg(long, default_value_t = 0)]
    pub(crate) progress: u32,
    /// Process to account for; may be repeated.
    #[arg(long = "pid")]
    pub(crate) pids: Vec<u32>,
    /// How long answers may take after the end.
    #[arg(skip = DRAIN)]
    pub(crate) drain: Duration,
}

/// How the load reaches its target.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Way {
    #[arg(long, value_enum)]
    pub(crate) transport: Transport,
    #[arg(long, value_enum, default_value_t = Pattern::Steady)]
    pub(crate) pattern: Pattern,
    /// Connections per SSE session for its POSTs; with fewer than calls in flight they are pipelined.
    #[arg(long, default_value_t = 1)]
    pub(crate) post_connections: usize,
}

/// What a run showed.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) sessions: u32,
    pub(crate) in_flight: usize,
    pub(crate) payload: usize,
    pub(crate) seconds: f64,
    pub(crate) calls: u64,
    pub(crate) calls_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
    /// Answers and progress that weren't this session's, came twice or carried a wrong text.
    pub(crate) wrong: u64,
    /// JSON-RPC errors, refused requests and broken connections.
    pub(crate) failed: u64,
    /// Calls without an answer some seconds after the end.
    pub(crate) unanswered: u64,
    pub(crate) progress_per_second: f64,
    pub(crate) lost_progress: u64,
    /// The first wrong or failed thing.
    pub(crate) first_trouble: Option<String>,
    pub(crate) generator_cpu_us_per_call: f64,
    pub(crate) processes: Vec<Process>,
}

/// What a run cost a process.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) cpu_us_per_call: f64,
    pub(crate) before: Memory,
    pub(crate) after: Memory,
}

impl Report {
    /// True when each call got its own answer.
    pub(crate) fn is_clean(&self) -> bool {
        self.wrong + self.failed + self.unanswered + self.lost_progress == 0 && self.calls > 0
    }

    /// Some lines for people.
    pub(crate) fn to_text(&self) -> String {
        let Self {
            calls_per_second,
            p50_us,
            p99_us,
            p999_us,
            max_us,
            ..
        } = self;
        let Self {
            wrong,
            failed,
            unanswered,
            lost_progress,
            progress_per_second,
            ..
        } = self;
        let mut text = format!(
            "{calls_per_second:.0} calls/s  p50 {p50_us:.1} µs  p99 {p99_us:.1} µs  p99.9 {p999_us:.1} µs  max {max_us:.1} µs\n\
             wrong {wrong}  failed {failed}  unanswered {unanswered}\n"
        );
        if *progress_per_second > 0.0 || *lost_progress > 0 {
            text += &format!("progress {progress_per_second:.0}/s  lost {lost_progress}\n");
        }
        if let Some(trouble) = &self.first_trouble {
            text += &format!("first trouble: {trouble}\n");
        }
        text += &format!(
            "generator: {:.2} µs CPU per call\n",
            self.generator_cpu_us_per_call
        );
        for Process {
            pid,
            cpu_us_per_call,
            before,
            after,
        } in &self.processes
        {
            text += &format!(
                "pid {pid}: {cpu_us_per_call:.2} µs CPU per call, RSS {} → {} KiB with a peak of {} KiB, PSS {} → {} KiB\n",
                before.rss_kib, after.rss_kib, after.peak_kib, before.pss_kib, after.pss_kib
            );
        }
        text
    }
}

/// Runs `load` against `url`. Needs a `LocalSet`.
///
/// # Errors
/// When a session can't be opened, or an argument or pid is wrong. Later failures are in the report.
pub(crate) async fn run(url: &str, way: &Way, load: &Load) -> Result<Report> {
    load.check()?;
    let target = Rc::new(Target::parse(url, way.transport.default_path())?);
    let meta = match (way.transport, way.pattern) {
        (Transport::Stateless, _) => Meta::Stateless,
        (_, Pattern::Litellm) => Meta::Token,
        (_, Pattern::Steady) => Meta::None,
    };
    let shape = Shape::new(load.payload, load.progress, meta);
    let meter = Rc::new(Meter::new());
    let mut tasks = JoinSet::new();
    match (way.pattern, way.transport) {
        (Pattern::Steady, Transport::Sse) => {
            let mut sessions = Vec::new();
            for _ in 0..load.sessions {
                sessions
                    .push(Sse::open(&target, way.post_connections.clamp(1, load.in_flight)).await?);
            }
            for (number, session) in (0..).zip(sessions) {
                tasks.spawn_local(session.drive(
                    load.in_flight,
                    Ledger::new(&shape, number, 1, 1),
                    Rc::clone(&meter),
                ));
            }
        }
        (Pattern::Steady, Transport::Http) => {
            let mut sessions = Vec::new();
            for _ in 0..load.sessions {
                sessions.push(Streamable::open(&target).await?);
            }
            for (number, session) in (0..).zip(sessions) {
                let (target, shape, meter) = (Rc::clone(&target), shape.clone(), Rc::clone(&meter));
                tasks.spawn_local(session.drive(target, load.in_flight, (shape, number), meter));
            }
        }
        (Pattern::Steady, Transport::Stateless) => {
            let mut sessions = Vec::new();
            for _ in 0..load.sessions {
                sessions.push(Stateless::open(&target, &shape).await?);
            }
            for (number, session) in (0..).zip(sessions) {
                let (target, shape, meter) = (Rc::clone(&target), shape.clone(), Rc::clone(&meter));
                tasks.spawn_local(session.drive(target, load.in_flight, (shape, number), meter));
            }
        }
        (Pattern::Litellm, transport) => {
            let operations = Rc::new(Cell::new(0));
            for _ in 0..load.sessions as usize * load.in_flight {
                let (target, operations) = (Rc::clone(&target), Rc::clone(&operations));
                tasks.spawn_local(operate(
                    transport,
                    target,
                    shape.clone(),
                    operations,
                    Rc::clone(&meter),
                ));
            }
        }
    }
    measure(load, &meter, tasks).await
}

/// Does whole operations one after another; each is a session of its own, with equal ids.
async fn operate(
    transport: Transport,
    target: Rc<Target>,
    shape: Shape,
    operations: Rc<Cell<u32>>,
    meter: Rc<Meter>,
) -> Result<()> {
    while !meter.is_stopped() {
        let number = operations.replace((operations.get() + 1) % 1_000_000);
        let mut ledger = Ledger::new(&shape, number, 1, 1);
        let began = Instant::now();
        meter.sending();
        let done = match transport {
            Transport::Sse => match Sse::open(&target, 1).await {
                Ok(mut session) => session.call(&mut ledger, &meter).await,
                Err(error) => Err(error),
            },
            Transport::Http => over_http(&target, &mut ledger, &meter).await,
            Transport::Stateless => match Stateless::open(&target, &shape).await {
                Ok(mut connection) => connection.call(&mut ledger, &meter).await,
                Err(error) => Err(error),
            },
        };
        meter.done();
        match done {
            Ok(()) => meter.operation(began.elapsed()),
            Err(error) => meter.fail(error.to_string()),
        }
    }
    Ok(())
}

async fn over_http(target: &Target, ledger: &mut Ledger, meter: &Meter) -> Result<()> {
    let mut session = Streamable::open(target).await?;
    let _stream = session.listen(target).await?;
    session.call(ledger, meter).await?;
    session.delete(target).await
}

impl Load {
    /// Refuses what can't be run.
    ///
    /// # Errors
    /// Says which argument.
    pub(crate) fn check(&self) -> Result<()> {
        let usage = |why: String| Err(Error::Usage(why));
        if self.payload < TAG {
            return usage(format!("--payload: an owner's tag alone is {TAG} bytes"));
        }
        if self.sessions == 0 || self.sessions >= 1_000_000 || self.in_flight == 0 {
            return usage("--sessions is 1 to 999999, --in-flight at least 1".to_owned());
        }
        if !(self.seconds > 0.0 && self.seconds < 1e6 && self.warmup >= 0.0 && self.warmup < 1e6) {
            return usage("--seconds and --warmup: not a time".to_owned());
        }
        Ok(())
    }
}

/// Lets `tasks` work for the time of `load` and reports.
///
/// # Errors
/// When a pid is wrong.
pub(crate) async fn measure(
    load: &Load,
    meter: &Meter,
    mut tasks: JoinSet<Result<()>>,
) -> Result<Report> {
    let own = std::process::id();
    let snapshot = |pid: u32| Ok::<_, Error>((proc::cpu_micros(pid)?, proc::memory(pid)?));
    for &pid in &load.pids {
        proc::forget_peak(pid)?;
    }
    work(&mut tasks, meter, load.warmup).await;
    let mut before = Vec::new();
    for &pid in &load.pids {
        before.push(snapshot(pid)?);
    }
    let own_before = proc::cpu_micros(own)?;
    meter.begin();
    work(&mut tasks, meter, load.seconds).await;
    let elapsed = meter.end();
    let own_after = proc::cpu_micros(own)?;
    let calls = meter.calls.get();
    let per_call = |from: u64, to: u64| to.saturating_sub(from) as f64 / calls.max(1) as f64;
    let mut processes = Vec::new();
    for (&pid, (cpu, memory)) in load.pids.iter().zip(before) {
        let (cpu_after, after) = snapshot(pid)?;
        processes.push(Process {
            pid,
            cpu_us_per_call: per_call(cpu, cpu_after),
            before: memory,
            after,
        });
    }
    let drain = async { while join(&mut tasks, meter).await {} };
    // What is late shows as unanswered.
    let _ = timeout(load.drain, drain).await;
    tasks.shutdown().await;
    let latencies = meter.latencies();
    Ok(Report {
        sessions: load.sessions,
        in_flight: load.in_flight,
        payload: load.payload,
        seconds: elapsed.as_secs_f64(),
        calls,
        calls_per_second: calls as f64 / elapsed.as_secs_f64(),
        p50_us: latencies.quantile(0.5),
        p99_us: latencies.quantile(0.99),
        p999_us: latencies.quantile(0.999),
        max_us: latencies.max(),
        wrong: meter.wrong.get(),
        failed: meter.failed.get(),
        unanswered: meter.sent.get().saturating_sub(meter.settled.get()),
        progress_per_second: meter.progress.get() as f64 / elapsed.as_secs_f64(),
        lost_progress: meter.lost_progress.get(),
        first_trouble: meter.first_trouble(),
        generator_cpu_us_per_call: per_call(own_before, own_after),
        processes,
    })
}

/// Waits so many seconds, or less when no task is left.
async fn work(tasks: &mut JoinSet<Result<()>>, meter: &Meter, seconds: f64) {
    let mut time = std::pin::pin!(sleep(Duration::from_secs_f64(seconds)));
    loop {
        tokio::select! {
            () = &mut time => return,
            more = join(tasks, meter) => if !more { return },
        }
    }
}

/// Waits for one task; false when none is left.
async fn join(tasks: &mut JoinSet<Result<()>>, meter: &Meter) -> bool {
    match tasks.join_next().await {
        None => return false,
        Some(Ok(Ok(()))) => {}
        Some(Ok(Err(error))) => meter.fail(error.to_string()),
        Some(Err(error)) => meter.fail(error.to_string()),
    }
    true
}
