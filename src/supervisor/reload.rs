//! Reload by difference (SUPERVISION §7): what has not changed is not touched.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::{error, info, warn};

use super::ports::Port;
use super::{Running, Supervisor, publish_limits};
use crate::config::{self, Change, Config, Loaded, Problems};

impl Supervisor {
    /// Reads the configuration again. With any problem in it everything stays as it is.
    pub(super) fn reload(&mut self, load: &impl Fn() -> Result<Loaded, Problems>) {
        self.manager.reloading();
        match load() {
            Ok(Loaded { config, warnings }) => {
                for warning in &warnings {
                    warn!("{warning}");
                }
                let changes = self.apply(config);
                info!(changes, "reloaded");
                self.manager.ready(&self.state_in_words());
            }
            Err(problems) => {
                for problem in problems.iter() {
                    error!("{problem}");
                }
                error!("reload refused: the old configuration stays in force");
                let count = problems.iter().count();
                self.manager.ready(&format!(
                    "reload refused ({count} problems, see the log); {}",
                    self.state_in_words()
                ));
            }
        }
    }

    fn apply(&mut self, config: Config) -> usize {
        let mut changes = 0;
        let old = std::mem::replace(&mut self.config, config.clone());
        self.ports
            .set_limits(config.max_connections, config.max_connections_per_ip);
        let mut before = std::mem::take(&mut self.bridges);
        // Ports are given up before others want them: a removed bridge's port may have a new owner.
        let is_kept = |running: &Running| {
            config
                .bridges
                .iter()
                .any(|bridge| bridge.name == running.settings.name)
        };
        for running in before.extract_if(.., |running| !is_kept(running)) {
            changes += 1;
            self.remove(running);
        }
        for settings in config.bridges {
            match before
                .iter()
                .position(|running| running.settings.name == settings.name)
            {
                Some(at) => {
                    let mut running = before.swap_remove(at);
                    changes += usize::from(self.change(&mut running, settings));
                    self.bridges.push(running);
                }
                None => {
                    changes += 1;
                    let running = self.build(settings, |_, _, _| Port::Wanted {
                        again: Instant::now(),
                    });
                    info!(bridge = running.settings.name, "bridge added");
                    self.bridges.push(running);
                }
            }
        }
        if old.admin != config.admin {
            changes += 1;
            if let Some(mut admin) = self.admin.take() {
                admin.close();
            }
            self.admin = config.admin.map(|_| Port::Wanted {
                again: Instant::now(),
            });
        }
        self.retry_ports(Port::wanted_soon);
        self.publish();
        changes
    }

    fn remove(&mut self, mut running: Running) {
        info!(bridge = running.settings.name, "bridge removed");
        running.port.close();
        running.bridge.drain(Instant::now() + self.config.drain);
        self.leaving.retain(|bridge| bridge.beats().is_some());
        self.leaving.push(running.bridge.clone());
        let metrics = self.shared.metrics.clone();
        let entries = self.entries.subscribe();
        self.tracker().clone().spawn(async move {
            running.bridge.stopped().await;
            running.removed.cancel();
            running.endpoint.end_sessions();
            // A later reload may have brought one of the same name.
            let name = running.bridge.name();
            if !entries
                .borrow()
                .iter()
                .any(|entry| entry.bridge.name() == name)
            {
                metrics.forget(name);
            }
        });
    }

    fn change(&mut self, running: &mut Running, settings: config::Bridge) -> bool {
        let change = settings.change_from(&running.settings);
        if change == Change::None {
            // The time for draining stands above the bridges.
            let settings = running.settings.clone();
            running
                .bridge
                .reconfigure(settings, self.config.drain, false);
            return false;
        }
        let name = settings.name.clone();
        let moved = settings.listen != running.settings.listen;
        running.settings = Arc::new(settings);
        let drain = self.config.drain;
        running
            .bridge
            .reconfigure(running.settings.clone(), drain, change == Change::Restart);
        publish_limits(running.bridge.metrics(), &running.settings.limits);
        if moved {
            // The new port is bound before the old one is closed.
            let new = self.open_port(running, Port::wanted_soon);
            running.port.close();
            running.port = new;
        }
        info!(bridge = name, ?change, "bridge changed");
        true
    }

    fn open_port(&self, running: &Running, failed: fn() -> Port) -> Port {
        let name = &running.settings.name;
        match self.ports.bind(name, &running.settings.listen) {
            Ok(listener) => {
                let metrics = running.bridge.metrics().clone();
                self.ports
                    .open(listener, running.endpoint.router(), Some(metrics), name)
            }
            Err(error) => {
                warn!(bridge = name, "{error}; trying again");
                failed()
            }
        }
    }

    /// When the next port that could not be had is to be tried again.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        let bridges = self.bridges.iter().map(|running| &running.port);
        bridges.chain(&self.admin).filter_map(Port::due).min()
    }

    /// Tries to open the ports that could not be had and are due; `failed` says when those are due again that still can't.
    pub(super) fn retry_ports(&mut self, failed: fn() -> Port) {
        let now = Instant::now();
        let mut opened = false;
        for at in 0..self.bridges.len() {
            if self.bridges[at].port.is_due(now) {
                let port = self.open_port(&self.bridges[at], failed);
                opened |= port.address().is_some();
                self.bridges[at].port = port;
            }
        }
        let admin = self
            .config
            .admin
            .as_ref()
            .filter(|_| self.admin.as_ref().is_some_and(|port| port.is_due(now)));
        if let Some(settings) = admin {
            self.admin = Some(match self.ports.bind("admin", &settings.listen) {
                Ok(listener) => self
                    .ports
                    .open(listener, self.admin_router(), None, "admin"),
                Err(error) => {
                    warn!("{error}; trying again");
                    failed()
                }
            });
        }
        if opened {
            self.publish();
        }
    }
}
