//! What the server says: its lines, and what they mean for its life.

use std::io;

use tokio::time::Instant;
use tracing::{info, warn};

use super::generation::EXIT_AFTER_EOF;
use super::{Actor, Life};
use crate::bridge::handshake::Handshake;
use crate::bridge::mux::{Incoming, OwnRequest};
use crate::bridge::state::Phase;
use crate::config::Redaction;
use crate::jsonrpc::{Message, member, string_value};
use crate::mcp::Era;
use crate::metrics::Dropped;
use crate::process::Line;

/// Bytes of a broken line that the log shows.
const SHOWN: usize = 200;
/// Bytes of a log line's parameters that the log shows.
const SHOWN_LOG: usize = 1024;
/// A secret of so many bytes is found also where what is shown is cut.
const LONGEST_SECRET: usize = 4096;

impl Actor {
    /// Something was `read`, so many bytes: handles the lines that are whole now. Returns how many bytes came.
    pub(super) fn heard(&mut self, read: io::Result<usize>) -> usize {
        let count = self.handle_lines(read);
        self.end_if_all_is_read();
        count
    }

    /// Reads so many times at most, until there is nothing to read.
    pub(super) fn read_some(&mut self, times: usize) {
        for _ in 0..times {
            let Life::Up(up) = &mut self.life else { break };
            let Some(stdout) = &up.stdout else { break };
            match up.lines.try_read(stdout) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                read => self.handle_lines(read),
            };
        }
    }

    fn handle_lines(&mut self, read: io::Result<usize>) -> usize {
        let now = Instant::now();
        let Life::Up(up) = &mut self.life else {
            return 0;
        };
        if let Err(error) = &read {
            warn!(bridge = self.settings.name, %error, "failed to read from server");
        }
        let count = read.unwrap_or(0);
        if count == 0 {
            up.stdout = None;
            up.exit_by.get_or_insert(now + EXIT_AFTER_EOF);
        }
        self.site.metrics.stdout_bytes.add(count as u64);
        while let Life::Up(up) = &mut self.life {
            let Some(line) = up.lines.next() else { break };
            self.line(line, now);
        }
        count
    }

    pub(super) fn line(&mut self, line: Line, now: Instant) {
        let Life::Up(up) = &mut self.life else { return };
        let text = match line {
            Line::Message(text) => text,
            Line::Oversize { id, method, bytes } => {
                warn!(
                    bridge = self.settings.name,
                    bytes, "server sent a line over max_message; it is lost"
                );
                let now = now.into_std();
                return match id {
                    Some(id) if method => self.mux.oversize_ask(&id, bytes, &mut self.out),
                    id => self.mux.oversize(id.as_deref(), bytes, now, &mut self.out),
                };
            }
        };
        let message = match Message::parse_lossy(text.clone()) {
            Ok(message) => message,
            Err(error) => {
                self.site.metrics.dropped(Dropped::Garbage);
                if let Some(before) = up.garbage.admit(now.into_std()) {
                    let line = shown(&up.redaction, &text, SHOWN);
                    let name = &self.settings.name;
                    warn!(bridge = name, %error, ?line, not_shown = before, "server wrote a line that is no message");
                }
                return;
            }
        };
        if up.liveness.heard(now.into_std()) && self.is_ready() && self.draining.is_none() {
            self.enter(Phase::Ready);
        }
        match self.mux.receive(message, now.into_std(), &mut self.out) {
            Incoming::Done => {}
            Incoming::Answered => {
                if let Life::Up(up) = &mut self.life {
                    up.answered = true;
                }
            }
            Incoming::Own(OwnRequest::Initialize, message) => {
                if let Life::Up(up) = &mut self.life {
                    let next = up.discovery.initialized(Handshake::read(&message), now);
                    self.proceed(next, now);
                }
            }
            Incoming::Own(OwnRequest::Discover, message) => {
                if let Life::Up(up) = &mut self.life {
                    let next = up.discovery.discovered(&message, &self.settings.name);
                    self.proceed(next, now);
                }
            }
            Incoming::Own(OwnRequest::Ping | OwnRequest::Restore, _) => {}
            Incoming::Initialized(message) => self.client_initialized(&message, now),
            Incoming::Log(message) => self.log_line(&message, now),
        }
    }

    /// The server of a dedicated instance has answered its client's `initialize`.
    fn client_initialized(&mut self, answer: &Message, now: Instant) {
        let Life::Up(up) = &mut self.life else { return };
        up.ready_since = Some(now);
        up.init_by = None;
        up.discovery.client_initialized();
        self.status
            .send_modify(|status| status.era = Some(Era::Legacy));
        if let Some(result) = answer.result() {
            let version =
                member(&result, "protocolVersion").and_then(|span| string_value(span.of(&result)));
            for facts in self.facts.values() {
                let version = version.as_deref().unwrap_or_default().to_owned();
                // A second initialize changes nothing.
                let _first = facts.version.set(version);
            }
        }
        if self.is_ready() && self.draining.is_none() {
            self.enter(Phase::Ready);
        }
        self.release_waiting(now);
    }

    fn log_line(&mut self, message: &Message, now: Instant) {
        let Life::Up(up) = &mut self.life else { return };
        self.site.metrics.dropped(Dropped::UnattributedNotification);
        if let Some(before) = up.log.admit(now.into_std()) {
            let params = message.part(message.envelope().params).unwrap_or_default();
            let params = shown(&up.redaction, params, SHOWN_LOG);
            info!(target: "server", bridge = self.settings.name, not_shown = before, "{params}");
        }
    }
}

/// The beginning of `text`, at most `limit` bytes, without secrets, also not the beginning of one.
fn shown(redaction: &Redaction, text: &[u8], limit: usize) -> String {
    let text = &text[..text.len().min(limit + LONGEST_SECRET)];
    let mut shown = redaction.apply(String::from_utf8_lossy(text).into_owned());
    shown.truncate(shown.floor_char_boundary(limit));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown_in_part_where_a_line_is_cut() {
        let redaction = Redaction::of(&[("API_KEY".into(), "sk-0123456789".into())]);
        for (text, want) in [
            ("key sk-0123456789 refused", "key *** "),
            ("key  sk-0123456789", "key  ***"),
            ("the key sk-0123456789", "the key "),
            ("ééééé", "éééé"),
        ] {
            assert_eq!(shown(&redaction, text.as_bytes(), 8), want);
        }
    }
}
