//! What is logged about bridges, and by their servers, also goes into the [`Journal`], whatever level the log itself has.

use std::fmt::{Debug, Write as _};
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::journal::{Journal, Severity};

/// The target of what servers write to stderr.
const SERVER: &str = "server";

/// The layer that adds to a journal.
#[derive(Debug)]
pub(super) struct Capture(pub(super) Arc<Journal>);

impl<S: Subscriber> Layer<S> for Capture {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let is_servers = metadata.target() == SERVER;
        let mut words = Words {
            with_fields: !is_servers,
            ..Words::default()
        };
        event.record(&mut words);
        let severity = match *metadata.level() {
            Level::ERROR => Severity::Error,
            Level::WARN => Severity::Warn,
            Level::INFO => Severity::Info,
            _ => Severity::Debug,
        };
        let text = format!("{}{}", words.message, words.fields);
        // A server's lines keep their indentation: a traceback has no other shape.
        let text = match is_servers {
            true => text.trim_end(),
            false => text.trim(),
        };
        self.0
            .add(&words.bridge, severity, is_servers, text.to_owned());
    }
}

/// An event as a line: its message, then its fields.
#[derive(Default)]
struct Words {
    bridge: String,
    message: String,
    fields: String,
    /// A server's own line stands for itself.
    with_fields: bool,
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "bridge" => value.clone_into(&mut self.bridge),
            _ => self.record_debug(field, &format_args!("{value}")),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a String can't fail.
        let _written = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "bridge" => write!(self.bridge, "{value:?}"),
            name if self.with_fields => {
                let value = format!("{value:?}");
                match value.contains(' ') && !value.starts_with('"') {
                    true => write!(self.fields, " {name}={value:?}"),
                    false => write!(self.fields, " {name}={value}"),
                }
            }
            _ => Ok(()),
        };
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::journal::From;

    #[test]
    fn events_become_lines_of_their_bridge() {
        let journal = Journal::new();
        let subscriber = tracing_subscriber::registry().with(Capture(journal.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "server", bridge = "db", pid = 7, "  listening on stdio ");
            let name = "db".to_owned();
            tracing::warn!(
                bridge = name,
                attempt = 2,
                reason = "signal 9",
                "server exited"
            );
            tracing::info!(changes = 1, "reloaded");
        });
        let lines = journal.read(None, From::Last(9)).lines;
        let lines: Vec<_> = lines
            .iter()
            .map(|line| (&*line.bridge, line.severity, line.is_servers, &*line.text))
            .collect();
        let expected = [
            ("db", Severity::Info, true, "  listening on stdio"),
            (
                "db",
                Severity::Warn,
                false,
                "server exited attempt=2 reason=\"signal 9\"",
            ),
            ("", Severity::Info, false, "reloaded changes=1"),
        ];
        assert_eq!(lines, expected);
    }
}
