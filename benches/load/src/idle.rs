//! `load idle`: what sessions cost that do nothing, and what stays of them.
//!
//! An idle HTTP+SSE session is its stream; an idle Streamable HTTP session is its GET stream. The connections of the handshake are
//! closed, as a client's pool does it. At the end HTTP+SSE streams are just closed; Streamable sessions are deleted.

use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::error::{Error, Result};
use crate::http::{Connection, Target};
use crate::proc::{self, Memory};
use crate::run::Transport;
use crate::session::{Sse, Streamable};

/// Handshakes at the same time.
const OPENING: usize = 32;

/// The arguments of `load idle`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Idle {
    #[arg(long, value_enum)]
    pub(crate) transport: Transport,
    /// How many are open at each look, in rising order.
    #[arg(long, value_delimiter = ',', default_values_t = [500, 5_000])]
    pub(crate) sessions: Vec<u32>,
    /// The process that holds them.
    #[arg(long)]
    pub(crate) pid: u32,
    /// Seconds to wait before each look at the memory.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) settle: f64,
    /// Seconds to wait before the look after all were closed: some servers give memory back only once they rest.
    #[arg(long, default_value_t = 11.0)]
    pub(crate) settle_after: f64,
    /// How long opening them may take before each look.
    #[arg(skip = Duration::from_secs(600))]
    pub(crate) patience: Duration,
}

/// What idle sessions cost.
#[derive(Debug, Serialize)]
pub(crate) struct Cost {
    pub(crate) before: Memory,
    pub(crate) looks: Vec<Look>,
    /// None when not all could be opened in time.
    pub(crate) after: Option<Memory>,
    /// Why there is no more.
    pub(crate) trouble: Option<String>,
}

/// So many sessions at once.
#[derive(Debug, Serialize)]
pub(crate) struct Look {
    pub(crate) sessions: u32,
    pub(crate) held: Memory,
    pub(crate) pss_kib_per_session: f64,
    /// Core share that the process used while nothing happened, in percent.
    pub(crate) idle_cpu_percent: f64,
    pub(crate) open_seconds: f64,
}

impl Cost {
    /// Some lines for people.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("PSS {} KiB before\n", self.before.pss_kib);
        for look in &self.looks {
            text += &format!(
                "{} sessions in {:.2} s: PSS {} KiB, {:.2} KiB per session, {:.1} % CPU while idle\n",
                look.sessions,
                look.open_seconds,
                look.held.pss_kib,
                look.pss_kib_per_session,
                look.idle_cpu_percent
            );
        }
        if let Some(after) = self.after {
            text += &format!("PSS {} KiB after close\n", after.pss_kib);
        }
        if let Some(trouble) = &self.trouble {
            text += &format!("{trouble}\n");
        }
        text
    }
}

#[derive(Debug)]
enum Held {
    Sse(Sse),
    Http(Streamable, Connection),
}

/// Opens the sessions, looks, closes them, looks again. Needs a `LocalSet`.
///
/// # Errors
/// When an argument is wrong or the process can't be looked at. Sessions that can't be opened, or not within
/// [`Idle::patience`], are in the outcome.
pub(crate) async fn run(url: &str, idle: &Idle) -> Result<Cost> {
    if !(0.0..1e6).contains(&idle.settle) {
        return Err(Error::Usage("--settle: not a time".to_owned()));
    }
    if !(0.0..1e6).contains(&idle.settle_after) {
        return Err(Error::Usage("--settle-after: not a time".to_owned()));
    }
    if idle.transport == Transport::Stateless {
        let why = "--transport stateless: that revision has no sessions";
        return Err(Error::Usage(why.to_owned()));
    }
    proc::raise_descriptor_limit();
    let target = Rc::new(Target::parse(url, idle.transport.default_path())?);
    let settled = Duration::from_secs_f64(idle.settle);
    sleep(settled).await;
    let before = proc::memory(idle.pid)?;
    let mut cost = Cost {
        before,
        looks: Vec::new(),
        after: None,
        trouble: None,
    };
    let mut held = Vec::new();
    for &sessions in &idle.sessions {
        let began = Instant::now();
        let opened = open(&target, idle.transport, sessions, &mut held);
        match timeout(idle.patience, opened).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => cost.trouble = Some(error.to_string()),
            Err(_) => cost.trouble = Some(format!("not open within {:?}", idle.patience)),
        }
        if let Some(trouble) = &mut cost.trouble {
            *trouble = format!("{} of {sessions} sessions: {trouble}", held.len());
            return Ok(cost);
        }
        let open_seconds = began.elapsed().as_secs_f64();
        sleep(settled).await;
        let cpu = proc::cpu_micros(idle.pid)?;
        sleep(settled).await;
        let cpu = proc::cpu_micros(idle.pid)? - cpu;
        let now = proc::memory(idle.pid)?;
        let more = now.pss_kib as f64 - before.pss_kib as f64;
        cost.looks.push(Look {
            sessions,
            held: now,
            pss_kib_per_session: more / f64::from(sessions.max(1)),
            idle_cpu_percent: if idle.settle > 0.0 {
                cpu as f64 / idle.settle / 1e4
            } else {
                0.0
            },
            open_seconds,
        });
    }
    for session in held {
        match session {
            Held::Sse(stream) => drop(stream),
            Held::Http(session, stream) => {
                drop(stream);
                session.delete(&target).await?;
            }
        }
    }
    sleep(Duration::from_secs_f64(idle.settle_after)).await;
    cost.after = Some(proc::memory(idle.pid)?);
    Ok(cost)
}

/// Opens more sessions until `held` has so many.
async fn open(
    target: &Rc<Target>,
    transport: Transport,
    sessions: u32,
    held: &mut Vec<Held>,
) -> Result<()> {
    let mut opening = JoinSet::new();
    for _ in held.len()..sessions as usize {
        if opening.len() == OPENING {
            held.extend(joined(&mut opening).await?);
        }
        let target = Rc::clone(target);
        opening.spawn_local(async move {
            if transport == Transport::Sse {
                let mut session = Sse::open(&target, 1).await?;
                session.rest();
                return Ok(Held::Sse(session));
            }
            let session = Streamable::open(&target).await?;
            let mut stream = session.listen(&target).await?;
            stream.head().await?.expect_success(&[])?;
            Ok(Held::Http(session, stream))
        });
    }
    while let Some(session) = joined(&mut opening).await? {
        held.push(session);
    }
    Ok(())
}

async fn joined(opening: &mut JoinSet<Result<Held>>) -> Result<Option<Held>> {
    match opening.join_next().await {
        None => Ok(None),
        Some(Ok(session)) => session.map(Some),
        Some(Err(error)) => Err(Error::Protocol(error.to_string())),
    }
}
