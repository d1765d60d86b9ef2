//! The numbers of one request to a model: counted when it is over, however it ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::watch;

use super::openai::ApiError;
use crate::metrics::GatewayMetrics;

/// A request under way, for whose end a stop of the gateway waits; until dropped.
#[derive(Debug)]
pub(crate) struct Active(Arc<watch::Sender<usize>>);

impl Active {
    /// One more of these.
    pub(crate) fn new(all: Arc<watch::Sender<usize>>) -> Active {
        all.send_modify(|active| *active += 1);
        Active(all)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.send_modify(|active| *active -= 1);
    }
}

/// What one request is counted as.
#[derive(Debug)]
pub(crate) struct Tally {
    metrics: Arc<GatewayMetrics>,
    api: &'static str,
    model: Arc<str>,
    standing: Mutex<Standing>,
    _active: Active,
}

/// How the request stands.
#[derive(Debug, Clone, Copy)]
struct Standing {
    outcome: &'static str,
    /// Whether the model answered once.
    had_turn: bool,
    /// Whether it is counted under the model's name: clients can make up any.
    names_model: bool,
}

impl Tally {
    /// A request to `model` by this API begins; until somebody says otherwise, its client will have gone away.
    pub(crate) fn new(
        metrics: Arc<GatewayMetrics>,
        active: Active,
        api: &'static str,
        model: Arc<str>,
    ) -> Tally {
        metrics.in_progress.inc();
        Tally {
            metrics,
            api,
            model,
            standing: Mutex::new(Standing {
                outcome: "cancelled",
                had_turn: false,
                names_model: true,
            }),
            _active: active,
        }
    }

    /// The model had another turn, which cost this.
    pub(crate) fn turn(&self, usage: Option<&Value>) {
        self.metrics.round(&self.model);
        self.standing().had_turn = true;
        let count = |key| {
            usage
                .and_then(|usage| usage.get(key)?.as_u64())
                .unwrap_or(0)
        };
        let (prompt, completion) = (count("prompt_tokens"), count("completion_tokens"));
        if prompt + completion > 0 {
            self.metrics.tokens(&self.model, prompt, completion);
        }
    }

    /// It has an answer.
    pub(crate) fn answered(&self) {
        self.standing().outcome = "ok";
    }

    /// It has none.
    pub(crate) fn failed(&self, error: &ApiError) {
        let mut standing = self.standing();
        let status = error.status.as_u16();
        // whoever was refused at once may have asked for what doesn't exist
        standing.names_model = standing.had_turn || !matches!(status, 400 | 403 | 404);
        standing.outcome = match status {
            404 => "unknown_model",
            400..=499 => "refused",
            504 => "deadline",
            _ => "error",
        };
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        // Every holder only assigns.
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.metrics.in_progress.dec();
        let Standing {
            outcome,
            names_model,
            ..
        } = *self.standing();
        let model = if names_model { &*self.model } else { "" };
        self.metrics.request(self.api, model, outcome);
    }
}
