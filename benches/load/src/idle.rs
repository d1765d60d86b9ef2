//! `load idle`: what sessions cost that do nothing, and what stays of them.
//!
//! An idle HTTP+SSE session is its stream; an idle Streamable HTTP session is its GET stream. The connections of the handshake are
//! closed, as a client's pool does it. At the end HTTP+SSE streams are just closed; Streamable sessions are deleted.

use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::sleep;

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
    #[arg(long, default_value_t = 5_000)]
    pub(crate) sessions: u32,
    /// The process that holds them.
    #[arg(long)]
    pub(crate) pid: u32,
    /// Seconds to wait before each look at the memory.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) settle: f64,
}

/// What idle sessions cost.
#[derive(Debug, Serialize)]
pub(crate) struct Cost {
    sessions: u32,
    before: Memory,
    held: Memory,
    after: Memory,
    pss_kib_per_session: f64,
    /// Core share that the process used while nothing happened, in percent.
    idle_cpu_percent: f64,
    open_seconds: f64,
}

impl Cost {
    /// Some lines for people.
    pub(crate) fn to_text(&self) -> String {
        let Self {
            sessions,
            before,
            held,
            after,
            pss_kib_per_session,
            idle_cpu_percent,
            open_seconds,
        } = self;
        format!(
            "{sessions} sessions in {open_seconds:.2} s\nPSS {} KiB before, {} KiB held, {} KiB after close\n\
             {pss_kib_per_session:.2} KiB per session, {idle_cpu_percent:.1} % CPU while idle\n",
            before.pss_kib, held.pss_kib, after.pss_kib
        )
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
/// When a session can't be opened or the process can't be looked at.
pub(crate) async fn run(url: &str, idle: &Idle) -> Result<Cost> {
    let Idle {
        transport,
        sessions,
        pid,
        settle,
    } = *idle;
    if !(0.0..1e6).contains(&settle) {
        return Err(Error::Usage("--settle: not a time".to_owned()));
    }
    proc::raise_descriptor_limit();
    let target = Rc::new(Target::parse(url, transport.default_path())?);
    let before = proc::memory(pid)?;
    let began = std::time::Instant::now();
    let mut opening = JoinSet::new();
    let mut held = Vec::new();
    for _ in 0..sessions {
        if opening.len() == OPENING {
            held.extend(joined(&mut opening).await?);
        }
        let target = Rc::clone(&target);
        opening.spawn_local(async move {
            Ok(match transport {
                Transport::Sse => {
                    let mut session = Sse::open(&target, 1).await?;
                    session.rest();
                    Held::Sse(session)
                }
                Transport::Http => {
                    let session = Streamable::open(&target).await?;
                    let mut stream = session.listen(&target).await?;
                    stream.head().await?.expect_success(&[])?;
                    Held::Http(session, stream)
                }
            })
        });
    }
    while let Some(session) = joined(&mut opening).await? {
        held.push(session);
    }
    let open_seconds = began.elapsed().as_secs_f64();
    let settled = Duration::from_secs_f64(settle);
    sleep(settled).await;
    let cpu = proc::cpu_micros(pid)?;
    sleep(settled).await;
    let cpu = proc::cpu_micros(pid)? - cpu;
    let full = proc::memory(pid)?;
    for session in held {
        match session {
            Held::Sse(stream) => drop(stream),
            Held::Http(session, stream) => {
                drop(stream);
                session.delete(&target).await?;
            }
        }
    }
    sleep(settled).await;
    let after = proc::memory(pid)?;
    Ok(Cost {
        sessions,
        before,
        held: full,
        after,
        pss_kib_per_session: (full.pss_kib as f64 - before.pss_kib as f64) / f64::from(sessions),
        idle_cpu_percent: if settle > 0.0 {
            cpu as f64 / settle / 1e4
        } else {
            0.0
        },
        open_seconds,
    })
}

async fn joined(opening: &mut JoinSet<Result<Held>>) -> Result<Option<Held>> {
    match opening.join_next().await {
        None => Ok(None),
        Some(Ok(session)) => session.map(Some),
        Some(Err(error)) => Err(Error::Protocol(error.to_string())),
    }
}
