//! Logs: `tracing` to stderr, as text for people and as JSON lines for machines. And traces, where a collector wants them.
//!
//! Whoever logs only queues a line; a thread of its own writes them (`queue`). So a stalled reader of stderr, a closed pipe or
//! a full disk costs log lines, which are counted, and never a stop. A panic is logged the same way instead of being
//! printed. `RUST_LOG`, where it is set, wins over the configured level.

mod capture;
#[cfg(feature = "otel")]
mod export;
mod queue;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::sync::Arc;

use tracing::Subscriber;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::journal::Journal;
use crate::metrics::ProcessMetrics;
use capture::Capture;
use queue::{LogGuard, Queue};

/// What is logged, and how it looks.
#[derive(Debug, Clone)]
pub struct Log {
    /// What is logged where `RUST_LOG` says nothing.
    pub level: Level,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise
    #[default]
    Auto,
    /// Text, coloured on a terminal
    Text,
    /// One JSON object a line
    Json,
}

/// A level (`info`) or a list of directives (`info,mcp_bridged::bridge=debug`) that was parsed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level(String);

/// A level or directive that nobody understands.
#[derive(Debug, thiserror::Error)]
pub enum BadLevel {
    /// `tracing` does not understand it.
    #[error("{given:?}: {source}")]
    Directive {
        /// What was given.
        given: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// A single word that is no level; `tracing` would take it for the only module to log.
    #[error("expected off, error, warn, info, debug, trace or target=level, not {0:?}")]
    Word(String),
}

/// Writes what is queued for the log when it is dropped, and before that sends what is queued for a collector: seconds at
/// most.
#[derive(Debug)]
pub struct Guard {
    #[cfg(feature = "otel")]
    _export: Option<export::ExportGuard>,
    _log: LogGuard,
}

/// Starts logging for the whole process, from `info` on into the journal, too, and the export of traces if the environment asks
/// for it.
///
/// Where logging was started before (in tests), this one stays silent.
#[must_use = "dropping the guard at once loses the last lines of the program"]
pub fn start(log: &Log, metrics: &Arc<ProcessMetrics>, journal: &Arc<Journal>) -> Guard {
    let terminal = std::io::stderr().is_terminal();
    let json = match log.format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // A descriptor of its own: `io::stderr()` would share its lock with everybody else who writes there.
    let queue = match std::io::stderr().as_fd().try_clone_to_owned() {
        Ok(stderr) => Queue::start(std::fs::File::from(stderr), json, Arc::clone(metrics)),
        Err(_) => Queue::start(std::io::sink(), json, Arc::clone(metrics)),
    };
    let (filter, complaint) = filter(&log.level, std::env::var("RUST_LOG").ok().as_deref());
    let lines = if json {
        as_json(queue.clone())
    } else {
        as_text(queue.clone(), colours)
    };
    if tracing_subscriber::registry()
        .with(lines.with_filter(without_rmcp(filter)))
        .with(Capture(journal.clone()).with_filter(kept()))
        .try_init()
        .is_ok()
    {
        std::panic::set_hook(Box::new(log_panic));
    }
    if let Some(complaint) = complaint {
        tracing::warn!("ignoring RUST_LOG: {complaint}");
    }
    Guard {
        #[cfg(feature = "otel")]
        _export: export::start(metrics),
        _log: LogGuard::new(queue),
    }
}

impl std::str::FromStr for Level {
    type Err = BadLevel;

    fn from_str(given: &str) -> Result<Self, BadLevel> {
        for part in given.split(',').map(str::trim) {
            let word = !part.contains(['=', '[']);
            if part.is_empty() || (word && part.parse::<LevelFilter>().is_err()) {
                return Err(BadLevel::Word(part.to_owned()));
            }
        }
        parse(given)?;
        Ok(Self(given.to_owned()))
    }
}

impl Default for Level {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

/// The filter that `RUST_LOG` or else the level asks for, and what is wrong with `RUST_LOG`.
fn filter(level: &Level, env: Option<&str>) -> (EnvFilter, Option<BadLevel>) {
    let asked = env.filter(|value| !value.trim().is_empty()).map(parse);
    let complaint = match asked {
        Some(Ok(asked)) => return (asked, None),
        Some(Err(bad)) => Some(bad),
        None => None,
    };
    let filter = parse(&level.0).expect("a Level was parsed when it was made");
    (filter, complaint)
}

/// rmcp says each failure once more, as an error of its own, and what messages have in them; only who asks for it by name
/// gets that.
fn without_rmcp(filter: EnvFilter) -> EnvFilter {
    if filter.to_string().contains("rmcp") {
        return filter;
    }
    filter.add_directive("rmcp=off".parse().expect("it is a directive"))
}

/// What the journal keeps. What goes on per request belongs into the log alone.
fn kept() -> EnvFilter {
    without_rmcp(parse("info,audit=off").expect("it is a list of directives"))
}

fn parse(given: &str) -> Result<EnvFilter, BadLevel> {
    let parsed = EnvFilter::builder().parse(given);
    parsed.map_err(|source| BadLevel::Directive {
        given: given.to_owned(),
        source,
    })
}

fn as_json<S>(queue: Queue) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fmt::layer()
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .log_internal_errors(false)
        .with_writer(queue)
        .boxed()
}

fn as_text<S>(queue: Queue, colours: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fmt::layer()
        .with_ansi(colours)
        .with_target(false)
        .log_internal_errors(false)
        .with_writer(queue)
        .boxed()
}

/// The default hook prints, which blocks on a stalled stderr.
fn log_panic(info: &std::panic::PanicHookInfo<'_>) {
    let payload = info.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("not a text");
    let location = info.location().map(ToString::to_string);
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
    tracing::error!(
        location,
        backtrace = backtrace.as_ref().map(tracing::field::display),
        "panic: {message}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_log_wins_over_the_configured_level() {
        let level = "warn".parse().unwrap();
        let (chosen, complaint) = filter(&level, Some("mcp_bridged=debug"));
        assert_eq!(chosen.to_string(), "mcp_bridged=debug");
        assert!(complaint.is_none());
        for unset in [None, Some(""), Some("  ")] {
            assert_eq!(filter(&level, unset).0.to_string(), "warn");
        }
    }

    #[test]
    fn a_broken_rust_log_is_named_and_ignored() {
        let (chosen, complaint) = filter(&Level::default(), Some("bridge=loud"));
        assert_eq!(chosen.to_string(), "info");
        let complaint = complaint.unwrap().to_string();
        assert!(complaint.contains("bridge=loud"), "{complaint}");
    }

    #[test]
    fn rmcp_speaks_only_when_it_is_asked() {
        for (given, want) in [
            ("debug", "rmcp=off,debug"),
            ("info,rmcp=warn", "rmcp=warn,info"),
        ] {
            assert_eq!(without_rmcp(parse(given).unwrap()).to_string(), want);
        }
    }

    #[test]
    fn a_level_is_checked_when_it_is_parsed() {
        for good in ["off", "info", "DEBUG", "info,hyper=trace"] {
            assert!(good.parse::<Level>().is_ok(), "{good}");
        }
        for bad in ["a=b=c", "verbose", "info,hyper", ""] {
            assert!(bad.parse::<Level>().is_err(), "{bad}");
        }
    }
}
