//! Load generator for MCP bridges, the fast upstream that stands behind them, and the floors they are compared with.
//!
//! Reading order: `ledger` (what makes an answer right), `meter` (what is counted), `http` and `events` (the wire), `session` and
//! `stdio` (the clients), `run` and `idle` (the measures), `cell` (rounds in one), `compare` and `report` (many measures in one run),
//! `servers` (what they start), `echo` and `floor` (servers of our own), `proc` (what it cost).

mod cell;
mod compare;
mod echo;
mod error;
mod events;
mod floor;
mod http;
mod idle;
mod ledger;
mod meter;
mod proc;
mod report;
mod run;
mod servers;
mod session;
mod stdio;

use std::future::Future;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Serialize;

use crate::error::{Error, Result};

#[derive(Parser)]
#[command(about, version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A fast stdio MCP server: the upstream.
    Echo {
        /// Core to run on instead of the parent's.
        #[arg(long)]
        core: Option<usize>,
    },
    /// A bare axum echo at POST /mcp on loopback: the HTTP floor.
    HttpFloor {
        #[arg(long)]
        port: u16,
    },
    /// Load on one URL; exit status 1 unless each call got its own answer.
    Run {
        url: String,
        #[command(flatten)]
        way: run::Way,
        #[command(flatten)]
        load: run::Load,
        #[arg(long)]
        json: bool,
    },
    /// Load on a command's stdin and stdout: the stdio floor.
    Stdio {
        #[command(flatten)]
        load: run::Load,
        #[arg(long)]
        json: bool,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Memory of sessions that do nothing.
    Idle {
        url: String,
        #[command(flatten)]
        idle: idle::Idle,
        #[arg(long)]
        json: bool,
    },
    /// A bridge beside the floors and its peers, in every respect: one table of ratios.
    Report {
        #[command(flatten)]
        plan: report::Plan,
    },
    /// A bridge beside the floors, interleaved in one run.
    Compare {
        #[command(flatten)]
        compare: compare::Compare,
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    match execute(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Nobody is left to tell when stderr is closed.
            let _ = writeln!(std::io::stderr(), "load: {error}");
            ExitCode::from(if matches!(error, Error::Usage(_)) {
                64
            } else {
                1
            })
        }
    }
}

/// True when what was measured was right.
fn execute(command: Command) -> Result<bool> {
    match command {
        Command::Echo { core } => {
            core.map_or(Ok(()), proc::pin)?;
            echo::serve().map(|()| true)
        }
        Command::HttpFloor { port } => block_on(floor::serve(port)).map(|()| true),
        Command::Run {
            url,
            way,
            load,
            json,
        } => {
            proc::raise_descriptor_limit();
            let report = block_on(run::run(&url, &way, &load))?;
            show(json, &report, run::Report::to_text)?;
            Ok(report.is_clean())
        }
        Command::Stdio {
            load,
            json,
            command,
        } => {
            let report = block_on(async { stdio::run(stdio::spawn(&command)?, &load).await })?;
            show(json, &report, run::Report::to_text)?;
            Ok(report.is_clean())
        }
        Command::Idle { url, idle, json } => {
            let cost = block_on(idle::run(&url, &idle))?;
            show(json, &cost, idle::Cost::to_text).map(|()| true)
        }
        Command::Report { plan } => {
            let outcome = block_on_interruptible(report::run(&plan))?;
            show(false, &outcome, report::Outcome::to_text)?;
            Ok(outcome.is_clean())
        }
        Command::Compare { compare, json } => {
            let table = block_on_interruptible(compare::run(&compare))?;
            show(json, &table, compare::Table::to_text)?;
            Ok(table.is_clean())
        }
    }
}

/// The same for work that starts servers: they are ended, too, when this program is told to end.
fn block_on_interruptible<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    use tokio::signal::unix::{SignalKind, signal};

    block_on(async {
        let mut end = signal(SignalKind::terminate()).map_err(Error::io("signals"))?;
        tokio::select! {
            done = work => done,
            _ = end.recv() => Err(Error::protocol("told to end")),
            interrupt = tokio::signal::ctrl_c() => {
                interrupt.map_err(Error::io("signals"))?;
                Err(Error::protocol("interrupted"))
            }
        }
    })
}

/// One thread, so that the generator stays on one core and needs no locks.
fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("runtime"))?;
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

fn show<T: Serialize>(json: bool, value: &T, text: impl FnOnce(&T) -> String) -> Result<()> {
    let shown = if json {
        serde_json::to_string_pretty(value).map_err(|error| Error::Protocol(error.to_string()))?
            + "\n"
    } else {
        text(value)
    };
    std::io::stdout()
        .write_all(shown.as_bytes())
        .map_err(Error::io("stdout"))
}
