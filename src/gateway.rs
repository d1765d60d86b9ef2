//! The gateway: one listener over all bridges and remote servers, which lists their tools under unique names, executes
//! them, and serves MCP and the OpenAI API.
//!
//! [`Gateway`] is the handle; its [`Gateway::router`] goes to the listener. `core` is what every request is served from:
//! the `catalogue` of all servers (each kept up to date by its `offer`), the keys (`access`), the models (`upstream`).
//! `mcp` serves MCP over the same transports as a bridge; `chat` and `responses` are two faces of one loop (`rounds`), whose
//! tool calls go through `execute`. Servers are spoken with in process, by the sessions that HTTP clients have, too.

mod access;
mod audit;
mod catalogue;
mod chat;
mod content;
mod continuations;
mod core;
mod execute;
mod json;
mod mcp;
mod names;
mod offer;
mod openai;
mod remote;
mod responses;
mod rounds;
mod routes;
mod selection;
mod server;
mod stream;
mod tally;
mod upstream;

use std::sync::Arc;

use axum::Router;
use tokio_util::sync::CancellationToken;

use crate::bridge::{Bridge, Budget};
use crate::config;
use crate::metrics::Metrics;
use crate::transport::{Front, Shared};
use catalogue::{Catalogue, Rules};
use core::{Core, Force};
use mcp::Aggregate;
use remote::Remote;
use server::Server;

/// The gateway. Clones are the same.
#[derive(Debug, Clone)]
pub struct Gateway {
    core: Arc<Core>,
    front: Front,
    metrics: Arc<Metrics>,
    removed: CancellationToken,
}

impl Gateway {
    /// Begins to ask the servers what they offer. Needs a runtime.
    #[must_use]
    pub fn start(
        settings: config::Gateway,
        bridges: Vec<Bridge>,
        remotes: Vec<config::Remote>,
        budget: Arc<Budget>,
        shared: &Shared,
    ) -> Gateway {
        let removed = shared.stop.child_token();
        let start = |settings: config::Remote| {
            let settings = Arc::new(settings);
            Remote::start(settings, &shared.tasks, removed.child_token())
        };
        let remotes = remotes.into_iter().map(start).map(Server::Remote);
        let catalogue = Catalogue::new(
            bridges
                .into_iter()
                .map(Server::Bridge)
                .chain(remotes)
                .collect(),
            Rules::of(&settings),
            &shared.tasks,
        );
        let core = Arc::new(Core::new(
            settings,
            catalogue,
            shared.metrics.gateway().clone(),
            budget,
            shared.tasks.clone(),
            removed.clone(),
        ));
        let front = Front::new(Arc::new(Aggregate(core.clone())), shared, &removed);
        Gateway {
            core,
            front,
            metrics: shared.metrics.clone(),
            removed,
        }
    }

    /// Takes over a changed configuration and other servers; requests under way go on with what they began with, but those
    /// on a remote server that was changed or taken away end, and so do the sessions of keys that were.
    pub fn reconfigure(
        &self,
        settings: config::Gateway,
        bridges: Vec<Bridge>,
        remotes: Vec<config::Remote>,
    ) {
        self.core.catalogue.set_rules(Rules::of(&settings));
        let mut known: Vec<Remote> = self.core.catalogue.remotes();
        let mut servers: Vec<Server> = bridges.into_iter().map(Server::Bridge).collect();
        for settings in remotes {
            let same = known
                .iter()
                .position(|remote| *remote.settings() == settings);
            servers.push(Server::Remote(match same {
                Some(at) => known.swap_remove(at),
                None => Remote::start(
                    Arc::new(settings),
                    &self.core.tasks,
                    self.removed.child_token(),
                ),
            }));
        }
        self.core.catalogue.set_servers(servers);
        for remote in known {
            remote.stop();
        }
        if *self.core.force().settings != settings {
            self.core.set_force(Force::new(settings));
            self.front.sweep();
        }
    }

    /// Its routes.
    pub fn router(&self) -> Router {
        routes::router(self.clone())
    }

    /// Waits until every server was asked once what it offers, or is known to be down.
    pub async fn settled(&self) {
        self.core.catalogue.settled().await;
    }

    /// Tools that are offered now, over all servers.
    #[must_use]
    pub fn tools(&self) -> usize {
        let snapshot = self.core.snapshot();
        snapshot.servers().iter().map(|server| server.tools).sum()
    }

    /// The remote servers that are not there, and why; bridges say that themselves.
    #[must_use]
    pub fn absent(&self) -> Option<String> {
        let snapshot = self.core.snapshot();
        let remotes = self.core.catalogue.remotes();
        let notes = remotes.iter().filter_map(|remote| {
            let note = snapshot.standing(remote.name())?.note()?;
            Some(format!("{}: {note}", remote.name()))
        });
        let notes: Vec<String> = notes.collect();
        (!notes.is_empty()).then(|| notes.join("; "))
    }

    /// Takes no new requests from now on.
    pub fn drain(&self) {
        self.core.drain();
    }

    /// Waits until no request to a model and no call of a tool is being answered.
    pub async fn finished(&self) {
        self.core.finished().await;
    }

    /// Ends every session and every request under way.
    pub fn end(&self) {
        self.removed.cancel();
        self.front.end_sessions();
    }
}

impl Rules {
    fn of(settings: &config::Gateway) -> Rules {
        Rules {
            separator: settings.separator.clone(),
            tools: settings.tools.clone(),
        }
    }
}
