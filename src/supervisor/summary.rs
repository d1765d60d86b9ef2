//! What runs, in words and as a table.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Supervisor;

/// A tool list that takes longer than this is left out of the table.
const LISTING: Duration = Duration::from_secs(3);

/// One line of the table at the start.
#[derive(Debug, Clone)]
pub struct Row {
    /// The bridge.
    pub bridge: String,
    /// Its state.
    pub state: &'static str,
    /// Why it is not ready, and the cure.
    pub remark: Option<String>,
    /// Where it listens.
    pub address: Option<SocketAddr>,
    /// How many tools it has, where it could be asked.
    pub tools: Option<usize>,
}

impl Supervisor {
    /// One row per bridge, in the order of the file. Asks all ready servers for their tools at the same time; a signal to
    /// stop ends that.
    pub async fn rows(&self) -> Vec<Row> {
        let mut asked = JoinSet::new();
        for running in &self.bridges {
            let bridge = running.bridge.clone();
            if bridge.status().phase.is_healthy() {
                asked.spawn(async move { bridge.catalogue().await.map(|_| ()) });
            }
        }
        let listed = async { while asked.join_next().await.is_some() {} };
        tokio::select! {
            _ = timeout(LISTING, listed) => {}
            () = self.shutdown.draining.cancelled() => {}
        }
        let mut rows = Vec::new();
        for running in &self.bridges {
            let status = running.bridge.status();
            let last = status.last_exit.filter(|_| !status.phase.is_healthy());
            let failure = last.map(|last| match last.stderr.last() {
                Some(said) => format!("{}; it said: {said}", last.reason),
                None => last.reason,
            });
            rows.push(Row {
                bridge: running.settings.name.clone(),
                state: status.phase.label(),
                remark: status.cure.or(failure),
                address: running.port.address(),
                tools: running.bridge.tools(),
            });
        }
        if let Some(front) = &self.gateway {
            rows.push(Row {
                bridge: "gateway".to_owned(),
                state: "ready",
                remark: front.gateway.absent(),
                address: front.port.address(),
                tools: Some(front.gateway.tools()),
            });
        }
        rows
    }

    /// Where the gateway listens.
    pub fn gateway_address(&self) -> Option<SocketAddr> {
        self.gateway.as_ref().and_then(|front| front.port.address())
    }

    /// Where everything else listens: the admin listener, and each bridge.
    pub fn addresses(&self) -> (Option<SocketAddr>, Vec<(String, Option<SocketAddr>)>) {
        let bridges = self
            .bridges
            .iter()
            .map(|running| (running.settings.name.clone(), running.port.address()));
        (
            self.admin.as_ref().and_then(|port| port.address()),
            bridges.collect(),
        )
    }

    /// `3/4 ready; git: quarantined`.
    pub(super) fn state_in_words(&self) -> String {
        let mut words = String::new();
        let mut ready = 0;
        for running in &self.bridges {
            let phase = running.bridge.status().phase;
            if running.port.trouble().is_some() {
                words.push_str(&format!("; {}: no port", running.settings.name));
            } else if phase.is_healthy() {
                ready += 1;
            } else {
                words.push_str(&format!("; {}: {}", running.settings.name, phase.label()));
            }
        }
        format!("{ready}/{} ready{words}", self.bridges.len())
    }
}
