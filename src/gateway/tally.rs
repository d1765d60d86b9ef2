//! The numbers of one request to a model: counted when it is over, however it ends.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::watch;

use super::openai::ApiError;
use crate::metrics::GatewayMetrics;

/// What one request is counted as.
#[derive(Debug)]
pub(crate) struct Tally {
    metrics: Arc<GatewayMetrics>,
    api: &'static str,
    model: Arc<str>,
    outcome: Mutex<&'static str>,
    active: Arc<watch::Sender<usize>>,
}

impl Tally {
    /// A request to `model` by this API begins, one more of the `active` ones; until somebody says otherwise, its client will
    /// have gone away.
    pub(crate) fn new(
        metrics: Arc<GatewayMetrics>,
        active: Arc<watch::Sender<usize>>,
        api: &'static str,
        model: Arc<str>,
    ) -> Tally {
        metrics.in_progress.inc();
        active.send_modify(|active| *active += 1);
        Tally {
            metrics,
            api,
            model,
            outcome: Mutex::new("cancelled"),
            active,
        }
    }

    /// The model had another turn, which cost this.
    pub(crate) fn turn(&self, usage: Option<&Value>) {
        self.metrics.round(&self.model);
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
        self.set("ok");
    }

    /// It has none.
    pub(crate) fn failed(&self, error: &ApiError) {
        self.set(match error.status.as_u16() {
            404 => UNKNOWN,
            400..=499 => "refused",
            504 => "deadline",
            _ => "error",
        });
    }

    fn set(&self, outcome: &'static str) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = outcome;
    }
}

/// No such model: its name is not counted, because clients can make up any.
const UNKNOWN: &str = "unknown_model";

impl Drop for Tally {
    fn drop(&mut self) {
        self.metrics.in_progress.dec();
        self.active.send_modify(|active| *active -= 1);
        let outcome = *self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let model = if outcome == UNKNOWN { "" } else { &self.model };
        self.metrics.request(self.api, model, outcome);
    }
}
