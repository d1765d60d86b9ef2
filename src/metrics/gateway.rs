//! The numbers of the gateway: requests, rounds, tokens and tool calls.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::numbers::{Counter, Gauge, Histogram};
use super::{Refused, ToolOutcome};

/// Models that are told apart; further ones count as `other`, because clients choose the names.
const MODELS: usize = 200;

/// The numbers of the gateway.
#[derive(Debug, Default)]
pub struct GatewayMetrics {
    /// Requests to models that are being answered.
    pub in_progress: Gauge,
    /// MCP sessions that are open.
    pub sessions: Gauge,
    pub(super) refused: [Counter; Refused::COUNT],
    pub(super) limits: Mutex<Vec<(&'static str, u64)>>,
    tables: Mutex<Tables>,
}

/// Everything with labels.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// By API, model and outcome.
    pub(super) requests: BTreeMap<(&'static str, String, &'static str), u64>,
    /// By model.
    pub(super) rounds: BTreeMap<String, u64>,
    /// By model and kind.
    pub(super) tokens: BTreeMap<(String, &'static str), u64>,
    /// By bridge and outcome.
    pub(super) tools: BTreeMap<String, [u64; ToolOutcome::COUNT]>,
    /// By bridge.
    pub(super) durations: BTreeMap<String, Histogram>,
    models: Vec<String>,
}

impl GatewayMetrics {
    /// A request to a model is over. `outcome` is `ok`, `cancelled` or what kind of error it was.
    pub fn request(&self, api: &'static str, model: &str, outcome: &'static str) {
        let mut tables = self.lock();
        let model = tables.label(model);
        *tables.requests.entry((api, model, outcome)).or_default() += 1;
    }

    /// A model had another turn.
    pub fn round(&self, model: &str) {
        let mut tables = self.lock();
        let model = tables.label(model);
        *tables.rounds.entry(model).or_default() += 1;
    }

    /// What a request cost, as the provider says.
    pub fn tokens(&self, model: &str, prompt: u64, completion: u64) {
        let mut tables = self.lock();
        let model = tables.label(model);
        for (kind, count) in [("prompt", prompt), ("completion", completion)] {
            *tables.tokens.entry((model.clone(), kind)).or_default() += count;
        }
    }

    /// A tool call is over.
    pub fn tool_called(&self, bridge: &str, outcome: ToolOutcome, took: Duration) {
        let mut tables = self.lock();
        tables.tools.entry(bridge.to_owned()).or_default()[outcome as usize] += 1;
        tables
            .durations
            .entry(bridge.to_owned())
            .or_default()
            .observe(took);
    }

    /// A client was turned away.
    pub fn refused(&self, reason: Refused) {
        self.refused[reason as usize].inc();
    }

    /// Replaces the limits that are shown, as `(key of bridges.yaml, value)`; times in seconds, sizes in bytes.
    pub fn limits(&self, limits: &[(&'static str, u64)]) {
        *super::lock(&self.limits) = limits.to_vec();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Tables> {
        super::lock(&self.tables)
    }
}

impl Tables {
    fn label(&mut self, model: &str) -> String {
        if !self.models.iter().any(|known| known == model) {
            if self.models.len() >= MODELS {
                return "other".to_owned();
            }
            self.models.push(model.to_owned());
        }
        model.to_owned()
    }
}
