//! Reload by difference (SUPERVISION §7): what has not changed is not touched.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::{error, info, warn};

use super::outcome::{Changed, Reloaded, What};
use super::ports::Port;
use super::{Front, Running, Supervisor, publish_limits};
use crate::config::{self, Change, Config, Loaded, Problems};
use crate::gateway::Gateway;

impl Supervisor {
    /// Reads the configuration again. With any problem in it everything stays as it is.
    pub(super) fn reload(&mut self, load: &impl Fn() -> Result<Loaded, Problems>) -> Reloaded {
        self.manager.reloading();
        match load() {
            Ok(Loaded { config, warnings }) => {
                for warning in &warnings {
                    warn!("{warning}");
                }
                let changes = self.apply(config);
                info!(changes = changes.len(), "reloaded");
                self.manager.ready(&self.state_in_words());
                Reloaded::Applied { changes, warnings }
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
                Reloaded::Refused(problems)
            }
        }
    }

    fn apply(&mut self, config: Config) -> Vec<Changed> {
        let old = std::mem::replace(&mut self.config, config.clone());
        let mut changes = Changed::around(&old, &config);
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
            changes.push(Changed::new(&running.settings.name, What::Removed));
            self.remove(running);
        }
        for settings in config.bridges {
            match before
                .iter()
                .position(|running| running.settings.name == settings.name)
            {
                Some(at) => {
                    let mut running = before.swap_remove(at);
                    let generation = running.bridge.status().generation;
                    let what = self.change(&mut running, settings);
                    let name = &running.settings.name;
                    changes.extend(what.map(|what| Changed::of(name, what, generation)));
                    self.bridges.push(running);
                }
                None => {
                    let running = self.build(settings, |_, _, _| Port::untried());
                    info!(bridge = running.settings.name, "bridge added");
                    changes.push(Changed::new(&running.settings.name, What::Added));
                    self.bridges.push(running);
                }
            }
        }
        if old.admin != config.admin {
            if let Some(mut admin) = self.admin.take() {
                admin.close();
            }
            self.admin = config.admin.map(|_| Port::untried());
        }
        if old.socket != config.socket {
            self.reopen_socket();
        }
        self.change_gateway(&old, config.gateway);
        self.retry_ports(Port::wanted_soon);
        self.warn_of_idle_sockets();
        self.publish();
        changes
    }

    /// The gateway takes over its settings and the bridges there are; without a section it ends.
    fn change_gateway(&mut self, old: &Config, settings: Option<config::Gateway>) {
        let changed = old.gateway != settings || old.remotes != self.config.remotes;
        let bridges = self.bridges.iter().map(|running| running.bridge.clone());
        let bridges = bridges.collect();
        match (self.gateway.take(), settings) {
            (None, None) => {}
            (None, Some(settings)) => {
                let gateway = self.start_gateway(settings);
                let port = Port::untried();
                self.gateway = Some(Front { gateway, port });
            }
            (Some(mut front), None) => {
                front.port.close();
                front.gateway.drain();
                // Calls under way may finish; what is left then is cut.
                let drain = self.config.drain;
                self.tracker().clone().spawn(async move {
                    tokio::time::sleep(drain).await;
                    front.gateway.end();
                });
            }
            (Some(mut front), Some(settings)) => {
                let moved = old
                    .gateway
                    .as_ref()
                    .is_some_and(|old| old.listen != settings.listen);
                let remotes = self.config.remotes.clone();
                front.gateway.reconfigure(settings, bridges, remotes);
                if moved {
                    let new = self.open_gateway(&front.gateway, Port::wanted_soon);
                    front.port.close();
                    front.port = new;
                }
                self.gateway = Some(front);
            }
        }
        if changed {
            info!(bridge = "gateway", "gateway changed");
        }
    }

    fn open_gateway(&self, gateway: &Gateway, failed: fn(&str) -> Port) -> Port {
        let Some(settings) = &self.config.gateway else {
            return Port::Closed;
        };
        match self.ports.bind("gateway", &settings.listen) {
            Ok(listener) => self
                .ports
                .open(listener, Arc::new(gateway.router()), None, "gateway"),
            Err(error) => {
                warn!("{error}; trying again");
                failed(&error.to_string())
            }
        }
    }

    fn remove(&mut self, mut running: Running) {
        info!(bridge = running.settings.name, "bridge removed");
        running.port.close();
        running.bridge.drain(Instant::now() + self.config.drain);
        self.leaving.retain(|bridge| bridge.beats().is_some());
        self.leaving.push(running.bridge.clone());
        // At once: a bridge of that name may be added again before this one has ended.
        self.shared.metrics.forget(&running.settings.name);
        self.tracker().clone().spawn(async move {
            running.bridge.stopped().await;
            running.removed.cancel();
            running.endpoint.end_sessions();
        });
    }

    fn change(&mut self, running: &mut Running, settings: config::Bridge) -> Option<What> {
        let change = settings.change_from(&running.settings);
        if change == Change::None {
            // The time for draining stands above the bridges.
            let settings = running.settings.clone();
            running
                .bridge
                .reconfigure(settings, self.config.drain, false);
            return None;
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
        Some(change.into())
    }

    fn open_port(&self, running: &Running, failed: fn(&str) -> Port) -> Port {
        let name = &running.settings.name;
        match self.ports.bind(name, &running.settings.listen) {
            Ok(listener) => {
                let metrics = running.bridge.metrics().clone();
                self.ports.open(
                    listener,
                    Arc::new(running.endpoint.clone()),
                    Some(metrics),
                    name,
                )
            }
            Err(error) => {
                warn!(bridge = name, "{error}; trying again");
                failed(&error.to_string())
            }
        }
    }

    /// When the next port that could not be had is to be tried again.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        let bridges = self.bridges.iter().map(|running| &running.port);
        let gateway = self.gateway.as_ref().map(|front| &front.port);
        bridges
            .chain(&self.admin)
            .chain(gateway)
            .filter_map(Port::due)
            .min()
    }

    /// Tries to open the ports that could not be had and are due; `failed` says when those are due again that still can't.
    pub(super) fn retry_ports(&mut self, failed: fn(&str) -> Port) {
        let now = Instant::now();
        let mut opened = false;
        // The admin listener has no entry of its own that would show it.
        let admin_before = self.admin.as_ref().and_then(Port::trouble);
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
                Ok(listener) => {
                    self.ports
                        .open(listener, Arc::new(self.admin_router()), None, "admin")
                }
                Err(error) => {
                    warn!("{error}; trying again");
                    failed(&error.to_string())
                }
            });
        }
        if let Some(mut front) = self.gateway.take() {
            if front.port.is_due(now) {
                front.port = self.open_gateway(&front.gateway, failed);
                opened |= front.port.address().is_some();
            }
            self.gateway = Some(front);
        }
        opened |= self.admin.as_ref().and_then(Port::trouble) != admin_before;
        if opened {
            self.publish();
        }
    }
}
