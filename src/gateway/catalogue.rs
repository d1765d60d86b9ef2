//! Everything that all servers offer, as one: tools and prompts under unique names, resources under their own URIs.
//!
//! Each server has a task that keeps its [`Offer`]; one more puts the offers together whenever one of them has changed, and
//! publishes the [`Snapshot`]. What is listed is what is there; a name is resolved also while its server is down, so that a
//! call of it ends with the reason and not with "unknown tool".

mod snapshot;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use snapshot::Source;
pub(crate) use snapshot::{Snapshot, Standing, Tool};

use super::offer::{self, Offer};
use super::remote::Remote;
use super::server::Server;
use crate::config::ToolFilter;

/// What all servers offer, kept up to date. Dropping it ends its tasks.
#[derive(Debug)]
pub(crate) struct Catalogue {
    stalls: watch::Sender<Arc<[Stall]>>,
    rules: watch::Sender<Rules>,
    snapshot: Arc<Published>,
    tasks: TaskTracker,
    _stop: DropGuard,
}

/// The snapshot that is served.
#[derive(Debug, Default)]
struct Published {
    snapshot: watch::Sender<Arc<Snapshot>>,
    /// Held by whoever puts one together, so that an older one is never published after a newer one.
    turn: Mutex<()>,
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
    pub(crate) fn new(servers: Vec<Server>, rules: Rules, tasks: &TaskTracker) -> Catalogue {
        let snapshot = Arc::<Published>::default();
        let stop = CancellationToken::new();
        let catalogue = Catalogue {
            stalls: watch::Sender::new(Arc::from([])),
            rules: watch::Sender::new(rules),
            snapshot: snapshot.clone(),
            tasks: tasks.clone(),
            _stop: stop.clone().drop_guard(),
        };
        catalogue.set_servers(servers);
        let (stalls, rules) = (catalogue.stalls.subscribe(), catalogue.rules.subscribe());
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = keep_published(stalls, rules, snapshot) => {}
            }
        });
        catalogue
    }

    /// What is offered now.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.snapshot.borrow().clone()
    }

    /// To wait for another one.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.snapshot.subscribe()
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
        // At once, because the next request may name one of them.
        let (stalls, rules) = (self.stalls.subscribe(), self.rules.subscribe());
        self.snapshot.publish(&stalls, &rules);
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
        let mut snapshot = self.watch();
        // An error means that the program is stopping.
        let _ended = snapshot.wait_for(|snapshot| snapshot.is_settled()).await;
    }

    fn open(&self, server: Server) -> Stall {
        let (offer, seen) = watch::channel(Offer::default());
        let stop = CancellationToken::new();
        let kept = offer::keep(server.clone(), offer);
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
async fn keep_published(
    mut stalls: watch::Receiver<Arc<[Stall]>>,
    mut rules: watch::Receiver<Rules>,
    snapshot: Arc<Published>,
) {
    loop {
        let mut now: Vec<Stall> = stalls.borrow_and_update().to_vec();
        rules.mark_unchanged();
        for stall in &mut now {
            stall.offer.mark_unchanged();
        }
        snapshot.publish(&stalls, &rules);
        tokio::select! {
            changed = stalls.changed() => if changed.is_err() { return },
            changed = rules.changed() => if changed.is_err() { return },
            () = any_changed(&mut now) => {}
        }
    }
}

impl Published {
    fn publish(&self, stalls: &watch::Receiver<Arc<[Stall]>>, rules: &watch::Receiver<Rules>) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let sources: Vec<Source> = stalls.borrow().iter().map(Stall::source).collect();
        let snapshot = Snapshot::of(&sources, &rules.borrow());
        self.snapshot.send_replace(Arc::new(snapshot));
    }
}

impl Stall {
    fn source(&self) -> Source {
        Source {
            name: self.server.name().into(),
            aliases: self.server.aliases(),
            description: self.server.description(),
            offer: self.offer.borrow().clone(),
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

/// Servers of these names and aliases that offer nothing.
#[cfg(test)]
pub(crate) fn named(servers: &[(&str, &[&str])]) -> Snapshot {
    let source = |(name, aliases): &(&str, &[&str])| Source {
        name: (*name).into(),
        aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
        description: None,
        offer: Offer::default(),
    };
    let rules = Rules {
        separator: "-".to_owned(),
        tools: ToolFilter::default(),
    };
    Snapshot::of(&servers.iter().map(source).collect::<Vec<_>>(), &rules)
}
