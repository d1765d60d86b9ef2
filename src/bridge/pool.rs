//! Which instance a session gets, and the warm spare (CONTRACT §4, Isolation).

mod kept;

use std::ffi::OsString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::Site;
use super::actor::{Actor, Role, tend};
use super::instance::{Halt, Instance, Orders, Queued};
use super::state::{Phase, Status};
use crate::config::{Isolation, Secret};
use crate::mcp::Era;
use kept::Kept;
pub(crate) use kept::Lease;

/// Room for the messages of one session.
const COMMANDS: usize = 1024;

/// The dedicated instances of one bridge.
#[derive(Debug)]
pub(crate) struct Pool {
    site: Arc<Site>,
    orders: watch::Receiver<Orders>,
    /// What is known from the shared instance.
    shared: watch::Receiver<Status>,
    /// Places taken.
    live: Arc<watch::Sender<usize>>,
    shelf: Mutex<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    /// A process that runs and has not been spoken to.
    spare: Option<Spare>,
    kept: Vec<Kept>,
    last_kept: u64,
    /// A task looks after those that are idle.
    is_reaped: bool,
    seen: Vec<watch::Receiver<Status>>,
}

/// A started instance without a session.
#[derive(Debug)]
struct Spare {
    instance: Instance,
    /// [`Orders::restarts`] when it was made: a later order to restart ends it.
    restarts: u64,
}

impl Spare {
    fn is_fit(&self, restarts: u64) -> bool {
        self.restarts == restarts && !self.instance.is_over()
    }
}

/// One of the places that `max_instances` allows; given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot(Arc<watch::Sender<usize>>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.send_modify(|live| *live -= 1);
    }
}

impl Pool {
    pub(crate) fn new(
        site: Arc<Site>,
        orders: watch::Receiver<Orders>,
        shared: watch::Receiver<Status>,
    ) -> Pool {
        Pool {
            site,
            orders,
            shared,
            live: Arc::default(),
            shelf: Mutex::default(),
        }
    }

    /// An instance for one session, warm if there is one; `None` when `max_instances` are running.
    /// With variables of its own it is never a warm one.
    pub(crate) fn take(&self, env: &[(OsString, Secret)]) -> Option<Instance> {
        if !env.is_empty() {
            return self.make(&mut self.shelf(), env);
        }
        let restarts = self.orders.borrow().restarts;
        let mut shelf = self.shelf();
        let instance = self.spare_or_new(&mut shelf, restarts)?;
        drop(shelf);
        self.warm();
        Some(instance)
    }

    fn spare_or_new(&self, shelf: &mut Shelf, restarts: u64) -> Option<Instance> {
        let spare = shelf.spare.take().filter(|spare| spare.is_fit(restarts));
        match spare {
            Some(spare) => Some(spare.instance),
            None => self.make(shelf, &[]),
        }
    }

    /// Waits until fewer than `max_instances` are running, at most `patience`.
    pub(crate) async fn room(&self, patience: Duration) {
        let mut live = self.live.subscribe();
        let limit = self.orders.borrow().settings.limits.max_instances;
        let room = live.wait_for(|live| *live < limit);
        // Whoever waited tries again in either case.
        let _over = tokio::time::timeout(patience, room).await;
    }

    /// Makes a spare if the bridge uses them, there is none, and there is room.
    pub(crate) fn warm(&self) {
        let orders = self.orders.borrow().clone();
        if orders.settings.isolation == Isolation::Shared || orders.halt != Halt::No {
            return;
        }
        let mut shelf = self.shelf();
        if orders.settings.isolation == Isolation::Auto && self.era() == Some(Era::Modern) {
            // Nobody needs an instance of its own there.
            shelf.spare = None;
            return;
        }
        let restarts = orders.restarts;
        if !shelf
            .spare
            .as_ref()
            .is_some_and(|spare| spare.is_fit(restarts))
        {
            shelf.spare = self
                .make(&mut shelf, &[])
                .map(|instance| Spare { instance, restarts });
        }
    }

    /// The instances that run now, the spare among them.
    pub(crate) fn statuses(&self) -> Vec<Status> {
        let mut shelf = self.shelf();
        shelf.seen.retain(|status| status.has_changed().is_ok());
        shelf
            .seen
            .iter()
            .map(|status| status.borrow().clone())
            .collect()
    }

    /// Waits until the instances that run now have ended.
    pub(crate) async fn ended(&self) {
        let running = self.shelf().seen.clone();
        for mut status in running {
            // An error means that the task has ended, which is what is waited for.
            let _ended = status
                .wait_for(|status| status.phase == Phase::Stopped)
                .await;
        }
    }

    fn make(&self, shelf: &mut Shelf, env: &[(OsString, Secret)]) -> Option<Instance> {
        let limit = self.orders.borrow().settings.limits.max_instances;
        let taken = self.live.send_if_modified(|live| {
            let room = *live < limit;
            *live += usize::from(room);
            room
        });
        if !taken {
            return None;
        }
        let slot = Slot(self.live.clone());
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let queued = Arc::<Queued>::default();
        let (status, seen) = watch::channel(Status::before_start());
        let role = Role::Dedicated {
            _slot: slot,
            env: env.to_vec(),
            hello: None,
            known: self.era(),
        };
        let actor = Actor::new(
            role,
            self.site.clone(),
            self.orders.clone(),
            queued.clone(),
            status,
        );
        self.site
            .tracker
            .spawn(tend(actor, None::<fn() -> Actor>, receiver));
        shelf.seen.retain(|status| status.has_changed().is_ok());
        shelf.seen.push(seen);
        Some(Instance { commands, queued })
    }

    /// The era that the next server of this bridge is expected to speak.
    fn era(&self) -> Option<Era> {
        let pinned = self.orders.borrow().settings.era;
        pinned.or_else(|| self.shared.borrow().era)
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
