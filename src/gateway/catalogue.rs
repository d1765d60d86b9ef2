//! Everything that all servers offer, as one: tools and prompts under unique names, resources under their own URIs.
//!
//! Each server has a task that keeps its [`Offer`]; one more puts the offers together whenever one of them has changed, and
//! publishes the [`Snapshot`]. What is listed is what is there; a name is resolved also while its server is down, so that a
//! call of it ends with the reason and not with "unknown tool".

mod snapshot;

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub(crate) use snapshot::{Snapshot, Standing, Tool};

use super::offer::{self, Offer, Presence};
use super::remote::Remote;
use super::server::Server;
use crate::bridge::Budget;
use crate::config::ToolFilter;

/// What all servers offer, kept up to date. Dropping it ends its tasks.
#[derive(Debug)]
pub(crate) struct Catalogue {
    stalls: watch::Sender<Arc<[Stall]>>,
    rules: watch::Sender<Rules>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    tasks: TaskTracker,
    budget: Arc<Budget>,
    _stop: DropGuard,
}

/// How names are made, and which tools there are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rules {
    /// Between a server's name and its tool's.
    pub(crate) separator: String,
    /// Which tools are offered, by their public names.
    pub(crate) tools: ToolFilter,
}

/// A server and what it offers.
#[derive(Debug, Clone)]
struct Stall {
    server: Server,
    offer: watch::Receiver<Offer>,
    _stop: Arc<DropGuard>,
}

impl Catalogue {
    /// Begins to ask `servers`. Needs a runtime.
    pub(crate) fn new(
        servers: Vec<Server>,
        rules: Rules,
        budget: &Arc<Budget>,
        tasks: &TaskTracker,
    ) -> Catalogue {
        let (published, snapshot) = watch::channel(Arc::default());
        let stop = CancellationToken::new();
        let catalogue = Catalogue {
            stalls: watch::Sender::new(Arc::from([])),
            rules: watch::Sender::new(rules),
            snapshot,
            tasks: tasks.clone(),
            budget: budget.clone(),
            _stop: stop.clone().drop_guard(),
        };
        catalogue.set_servers(servers);
        let (stalls, rules) = (catalogue.stalls.subscribe(), catalogue.rules.subscribe());
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = publish(stalls, rules, published) => {}
            }
        });
        catalogue
    }

    /// What is offered now.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    /// To wait for another one.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.clone()
    }

    /// The remote servers behind it.
    pub(crate) fn remotes(&self) -> Vec<Remote> {
        let stalls = self.stalls.borrow();
        let remote = |stall: &Stall| match &stall.server {
            Server::Remote(remote) => Some(remote.clone()),
            Server::Bridge(_) => None,
        };
        stalls.iter().filter_map(remote).collect()
    }

    /// The server of this name.
    pub(crate) fn server(&self, name: &str) -> Option<Server> {
        let stalls = self.stalls.borrow();
        let stall = stalls.iter().find(|stall| stall.server.name() == name)?;
        Some(stall.server.clone())
    }

    /// Takes over another list of servers; those that stay keep what is known of them.
    pub(crate) fn set_servers(&self, servers: Vec<Server>) {
        let known = self.stalls.borrow().clone();
        let stalls = servers.into_iter().map(|server| {
            let same = known.iter().find(|stall| stall.server.is(&server));
            same.cloned().unwrap_or_else(|| self.open(server))
        });
        let stalls: Arc<[Stall]> = stalls.collect();
        self.stalls.send_replace(stalls);
    }

    /// Takes over other rules.
    pub(crate) fn set_rules(&self, rules: Rules) {
        self.rules.send_if_modified(|now| {
            let changed = *now != rules;
            *now = rules;
            changed
        });
    }

    /// Waits until every server was asked once, or is known to be down.
    pub(crate) async fn settled(&self) {
        let mut snapshot = self.snapshot.clone();
        // An error means that the program is stopping.
        let _ended = snapshot.wait_for(|snapshot| snapshot.is_settled()).await;
    }

    fn open(&self, server: Server) -> Stall {
        let (offer, seen) = watch::channel(Offer::default());
        let stop = CancellationToken::new();
        let kept = offer::keep(server.clone(), self.budget.clone(), offer);
        let stopped = stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = kept => {}
            }
        });
        Stall {
            server,
            offer: seen,
            _stop: Arc::new(stop.drop_guard()),
        }
    }
}

/// Puts the offers together whenever something has changed.
async fn publish(
    mut stalls: watch::Receiver<Arc<[Stall]>>,
    mut rules: watch::Receiver<Rules>,
    published: watch::Sender<Arc<Snapshot>>,
) {
    loop {
        let mut now: Vec<Stall> = stalls.borrow_and_update().to_vec();
        let rule = rules.borrow_and_update().clone();
        let offers: Vec<(Server, Offer)> = now
            .iter_mut()
            .map(|stall| {
                (
                    stall.server.clone(),
                    stall.offer.borrow_and_update().clone(),
                )
            })
            .collect();
        published.send_replace(Arc::new(Snapshot::of(&offers, &rule)));
        tokio::select! {
            changed = stalls.changed() => if changed.is_err() { return },
            changed = rules.changed() => if changed.is_err() { return },
            () = any_changed(&mut now) => {}
        }
    }
}

/// Waits until one of the offers is another.
async fn any_changed(stalls: &mut [Stall]) {
    let mut waiting: Vec<_> = stalls
        .iter_mut()
        .map(|stall| Box::pin(stall.offer.changed()))
        .collect();
    std::future::poll_fn(|context| {
        let mut ready = false;
        // A closed one is a server that was taken away; the list of servers says so.
        waiting.retain_mut(|changed| match changed.as_mut().poll(context) {
            std::task::Poll::Ready(outcome) => {
                ready |= outcome.is_ok();
                false
            }
            std::task::Poll::Pending => true,
        });
        if ready {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

impl Standing {
    fn of(server: &Server, offer: &Offer, tools: usize) -> Standing {
        Standing {
            name: server.name().into(),
            aliases: server.aliases(),
            description: server.description(),
            instructions: offer.listing.instructions.clone(),
            presence: offer.presence.clone(),
            tools,
        }
    }

    /// Why it is not there; `None` when it is.
    pub(crate) fn note(&self) -> Option<String> {
        match &self.presence {
            Presence::There => None,
            Presence::Unknown => Some("starting".to_owned()),
            Presence::Down(why) => Some(why.clone()),
        }
    }
}
