//! One client's lines to all servers, and what a new one has to be told.

use std::collections::HashMap;
use std::sync::Arc;

use super::line::Line;
use crate::bridge::Mailbox;
use crate::gateway::server::{Server, message};
use crate::mcp::Level;

/// The lines of one conversation, at most one open to each server.
#[derive(Debug, Default)]
pub(super) struct Lines {
    open: HashMap<Arc<str>, Arc<Line>>,
    /// To servers that were taken away; their calls may finish.
    left: Vec<Arc<Line>>,
    opened: u64,
    level: Option<Level>,
    /// Requests of our own so far.
    own: u64,
}

impl Lines {
    /// The line to `server`, made by `open` under its number if there is none or it is over. It takes over what the last
    /// one was told.
    pub(super) fn to(
        &mut self,
        server: Server,
        open: impl FnOnce(u64, Server) -> Arc<Line>,
    ) -> Arc<Line> {
        let name = Arc::<str>::from(server.name());
        let last = self.open.get(&name).cloned();
        if let Some(line) = last.as_ref().filter(|line| !line.is_over()) {
            if line.is_to(&server) {
                return line.clone();
            }
            self.left.retain(|line| !line.is_over());
            self.left.push(line.clone());
        }
        self.opened += 1;
        let line = open(self.opened, server);
        if let Some(level) = self.level {
            self.ask_level(&line, level);
        }
        for uri in last.iter().flat_map(|last| last.subscribed()) {
            self.ask_subscription(&line, &uri);
        }
        self.open.insert(name, line.clone());
        line
    }

    /// Every server is to log from this level on, also those that are called later.
    pub(super) fn set_level(&mut self, level: Level) {
        self.level = Some(level);
        let open: Vec<_> = self.all().cloned().collect();
        for line in open {
            self.ask_level(&line, level);
        }
    }

    /// Every line, also those that nothing new goes to.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Line>> {
        self.open.values().chain(&self.left)
    }

    /// A server without levels says so; nobody needs to hear it.
    fn ask_level(&mut self, line: &Line, level: Level) {
        let params = format!(r#"{{"level":"{}"}}"#, level.name());
        let nowhere = Mailbox::new(&Arc::default());
        self.ask(line, "logging/setLevel", &params, &nowhere);
    }

    /// What the server before had granted. It stays wanted whatever becomes of this: the server may die over it, and one
    /// that refuses can be asked again.
    fn ask_subscription(&mut self, line: &Line, uri: &str) {
        line.note_subscription(uri, true);
        let params = serde_json::json!({ "uri": uri }).to_string();
        let nowhere = Mailbox::new(&Arc::default());
        self.ask(line, "resources/subscribe", &params, &nowhere);
    }

    /// A request of our own, under an id that no other has.
    fn ask(&mut self, line: &Line, method: &str, params: &str, address: &Arc<Mailbox>) {
        self.own += 1;
        let id = self.own;
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":"mcp-bridged-{id}","method":"{method}","params":{params}}}"#
        );
        line.send(message(text), address);
    }
}
