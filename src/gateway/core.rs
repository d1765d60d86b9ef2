//! What every request of the gateway is served from: the configuration in force, and everything behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::HeaderMap;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::access::{Access, Denied, Keys};
use super::audit::Audit;
use super::catalogue::{Catalogue, Snapshot};
use super::continuations::Continuations;
use super::execute::Caller;
use super::responses::Store;
use super::tally::{Active, Tally};
use super::upstream::Models;
use crate::bridge::Budget;
use crate::config;
use crate::metrics::GatewayMetrics;

/// From the start, the time in which a request waits for servers that are starting.
const PATIENCE: Duration = Duration::from_secs(5);

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Core {
    force: watch::Sender<Arc<Force>>,
    /// Everything that all servers offer.
    pub(crate) catalogue: Arc<Catalogue>,
    /// What is counted.
    pub(crate) metrics: Arc<GatewayMetrics>,
    /// What is queued for clients, over all listeners.
    pub(crate) budget: Arc<Budget>,
    /// Where tasks run.
    pub(crate) tasks: TaskTracker,
    /// Ends what is still under way.
    pub(crate) stop: CancellationToken,
    /// What earlier conversations are to be reminded of.
    pub(crate) continuations: Arc<Continuations>,
    /// Requests to models and calls of tools that are being answered.
    active: Arc<watch::Sender<usize>>,
    /// Responses that clients may go on with.
    pub(crate) responses: Arc<Store>,
    /// Until when requests wait for servers that start with the program.
    patience: Instant,
    draining: AtomicBool,
}

/// The configuration in force, and what is made of it.
#[derive(Debug)]
pub(crate) struct Force {
    /// The `gateway` section.
    pub(crate) settings: Arc<config::Gateway>,
    /// Its keys.
    pub(crate) keys: Keys,
    /// Its models.
    pub(crate) models: Arc<Models>,
}

impl Force {
    pub(crate) fn new(settings: config::Gateway) -> Arc<Force> {
        Arc::new(Force {
            keys: Keys::new(&settings),
            models: Arc::new(Models::new(&settings)),
            settings: Arc::new(settings),
        })
    }
}

impl Core {
    pub(super) fn new(
        settings: config::Gateway,
        catalogue: Catalogue,
        metrics: Arc<GatewayMetrics>,
        budget: Arc<Budget>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Core {
        publish_limits(&metrics, &settings);
        Core {
            force: watch::Sender::new(Force::new(settings)),
            catalogue: Arc::new(catalogue),
            metrics,
            budget,
            tasks,
            stop,
            continuations: Arc::default(),
            active: Arc::default(),
            responses: Arc::default(),
            patience: Instant::now() + PATIENCE,
            draining: AtomicBool::new(false),
        }
    }

    /// The configuration in force.
    pub(crate) fn force(&self) -> Arc<Force> {
        self.force.borrow().clone()
    }

    /// Takes over another configuration; requests under way go on with theirs.
    pub(super) fn set_force(&self, force: Arc<Force>) {
        publish_limits(&self.metrics, &force.settings);
        self.force.send_replace(force);
    }

    /// What all servers offer now.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.catalogue.snapshot()
    }

    /// Waits, shortly after the start only, until every server was asked what it offers, so that the first request doesn't
    /// meet an empty catalogue.
    pub(crate) async fn settled(&self) {
        let _late = timeout_at(self.patience, self.catalogue.settled()).await;
    }

    /// What the sender of `headers` may do.
    ///
    /// # Errors
    /// [`Denied`].
    pub(crate) fn access(&self, headers: &HeaderMap) -> Result<Access, Denied> {
        self.force().keys.access(headers, &self.snapshot())
    }

    /// Where the calls of a request for `model` are noted.
    pub(crate) fn audit(&self, model: &str) -> Audit {
        Audit {
            model: model.into(),
            metrics: self.metrics.clone(),
            with_arguments: self.force().settings.audit_arguments,
        }
    }

    /// Who calls tools for a request to `model` by this API.
    pub(crate) fn caller(&self, access: &Arc<Access>, api: &'static str, model: &str) -> Caller {
        let audit = self.audit(model);
        Caller::new(
            self.catalogue.clone(),
            access.clone(),
            Tally::new(
                self.metrics.clone(),
                self.active(),
                api,
                audit.model.clone(),
            ),
            audit,
            self.force().settings.tool_timeout,
        )
    }

    /// A request under way, until dropped.
    pub(crate) fn active(&self) -> Active {
        Active::new(self.active.clone())
    }

    /// Takes no new requests from now on.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Waits until no request to a model and no call of a tool is being answered.
    pub(crate) async fn finished(&self) {
        let mut active = self.active.subscribe();
        // The sender is here, so this can't end in any other way.
        let _none = active.wait_for(|active| *active == 0).await;
    }

    /// Whether it takes no new requests.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}

fn publish_limits(metrics: &GatewayMetrics, settings: &config::Gateway) {
    metrics.limits(&[
        ("max_rounds", u64::from(settings.max_rounds)),
        ("deadline", settings.deadline.as_secs()),
        ("tool_timeout", settings.tool_timeout.as_secs()),
        ("max_result", settings.max_result as u64),
        ("max_body", settings.max_body as u64),
        ("max_sessions", settings.max_sessions as u64),
        ("session_idle", settings.session_idle.as_secs()),
    ]);
}
