//! `serve` and `run`: the daemon.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;
use tracing::warn;

use super::start_table::start_table;
use super::{LogArguments, RunArguments, ServeArguments, output, status};
use crate::config::{self, Config, Environment, Listen, Loaded, Problems};
use crate::journal::Journal;
use crate::memory;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;
use crate::supervisor::{Sockets, StartError, Supervisor};
use crate::telemetry::{self, Level, Log, LogFormat};

/// Serves what a file configures.
pub(super) fn serve(arguments: ServeArguments) -> ExitCode {
    let path = match arguments.config.found() {
        Ok(path) => path,
        Err(message) => return fail(&message, status::CONFIG),
    };
    let environment = Environment::of_process();
    let socket_of = |config: &Config| match &config.socket.path {
        Some(path) => vec![path.clone()],
        None => config::admin_sockets(config.file.as_deref(), "", &environment),
    };
    let load = || Config::load(&path, &environment);
    daemon(load, socket_of, arguments.log, arguments.ports_file)
}

/// Serves one command.
pub(super) fn run(arguments: RunArguments) -> ExitCode {
    let RunArguments {
        port,
        host,
        name,
        log,
        command,
        ports_file,
    } = arguments;
    let mut words = command.into_iter();
    let program = words.next().expect("clap requires a command");
    let listen = Listen { host, port };
    let mut config = Config::single(listen, program, words.collect(), &Environment::of_process());
    if let (Some(name), Some(bridge)) = (name, config.bridges.first_mut()) {
        bridge.name = name;
    }
    daemon(
        move || {
            Ok(Loaded {
                config: config.clone(),
                warnings: Vec::new(),
            })
        },
        |_| Vec::new(),
        log,
        ports_file,
    )
}

/// `sockets_of` tells where another daemon of the same configuration would answer.
fn daemon(
    load: impl Fn() -> Result<Loaded, Problems>,
    sockets_of: impl Fn(&Config) -> Vec<PathBuf>,
    log: LogArguments,
    ports_file: Option<PathBuf>,
) -> ExitCode {
    memory::prepare();
    // First, because they are known by number only.
    let sockets = match Sockets::inherited() {
        Ok(sockets) => sockets,
        Err(error) => return fail(&format!("failed to {error}"), status::UNAVAILABLE),
    };
    // Before anything else: a signal without a handler would be lost (as PID 1) or end us without order.
    let shutdown = match Shutdown::on_signals() {
        Ok(shutdown) => shutdown,
        Err(error) => {
            return fail(
                &format!("failed to install signal handlers: {error}"),
                status::SOFTWARE,
            );
        }
    };
    let Loaded { config, warnings } = match load() {
        Ok(loaded) => loaded,
        Err(problems) => {
            output::patiently(move || output::error(&problems.to_string()));
            return ExitCode::from(status::CONFIG);
        }
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            return fail(
                &format!("failed to start the runtime: {error}"),
                status::SOFTWARE,
            );
        }
    };
    let log = match log_of(log, &config) {
        Ok(log) => log,
        Err(error) => return fail(&error, status::USAGE),
    };
    let metrics = Metrics::new();
    let journal = Journal::new();
    let guard = telemetry::start(&log, metrics.process(), &journal);
    for warning in warnings {
        warn!("{warning}");
    }
    let rivals = sockets_of(&config);
    let started =
        runtime.block_on(async { Supervisor::start(config, sockets, shutdown, metrics, journal) });
    let supervisor = match started {
        Ok(supervisor) => supervisor,
        Err(error @ (StartError::Bind(_) | StartError::Socket(_))) => {
            let rival = rivals.iter().any(|path| UnixStream::connect(path).is_ok());
            let rival = match rival {
                true => {
                    "\na daemon of this configuration runs already: `mcp-bridged status` shows it, `mcp-bridged reload` has it read the \
                     file again"
                }
                false => "",
            };
            return fail(&format!("{error}{rival}"), status::UNAVAILABLE);
        }
        Err(StartError::Machine(error)) => {
            return fail(
                &format!("failed to prepare for starting processes: {error}"),
                status::SOFTWARE,
            );
        }
    };
    let code = runtime.block_on(async {
        if let Some(file) = ports_file
            && let Err(error) = write_ports(&file, &supervisor)
        {
            warn!(%error, file = %file.display(), "failed to write the ports file");
        }
        supervisor.settle().await;
        let table = start_table(&supervisor.rows().await);
        // Not waited for: bridges are served whether somebody reads this or not.
        output::aside(move || output::line(&table));
        supervisor.run(load).await
    });
    runtime.shutdown_background();
    drop(guard);
    ExitCode::from(code)
}

/// One worker per core; with a single core one thread does everything, which saves the way between threads.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut builder = match cores {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.enable_all().thread_name("worker").build()
}

fn log_of(arguments: LogArguments, config: &Config) -> Result<Log, String> {
    let level = arguments
        .log_level
        .unwrap_or_else(|| config.log.level.clone());
    let format = arguments.log_format.unwrap_or(match config.log.format {
        config::LogFormat::Auto => LogFormat::Auto,
        config::LogFormat::Text => LogFormat::Text,
        config::LogFormat::Json => LogFormat::Json,
    });
    let level = level
        .parse::<Level>()
        .map_err(|error| format!("--log-level: {error}"))?;
    Ok(Log { level, format })
}

fn fail(message: &str, status: u8) -> ExitCode {
    let text = format!("error: {message}");
    output::patiently(move || output::error(&text));
    ExitCode::from(status)
}

fn write_ports(file: &Path, supervisor: &Supervisor) -> std::io::Result<()> {
    let (admin, bridges) = supervisor.addresses();
    let bridges: serde_json::Map<_, _> = bridges
        .into_iter()
        .map(|(name, address)| (name, json!(address.map(|it| it.to_string()))))
        .collect();
    let text = json!({
        "admin": admin.map(|it| it.to_string()),
        "gateway": supervisor.gateway_address().map(|it| it.to_string()),
        "bridges": bridges,
    });
    let partial = file.with_extension("partial");
    std::fs::write(&partial, text.to_string())?;
    std::fs::rename(partial, file)
}
