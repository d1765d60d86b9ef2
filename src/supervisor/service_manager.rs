//! What systemd is told (sd_notify(3)). Without it nothing happens here.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::debug;

/// The service manager's end of the line.
#[derive(Debug)]
pub(super) struct ServiceManager {
    watchdog: Option<Duration>,
    last_status: String,
}

impl ServiceManager {
    pub(super) fn new() -> ServiceManager {
        ServiceManager {
            watchdog: sd_notify::watchdog_enabled(),
            last_status: String::new(),
        }
    }

    /// How often [`ServiceManager::watchdog`] is to be called, if it wants to be.
    pub(super) fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|time| time / 3)
    }

    pub(super) fn ready(&mut self, status: &str) {
        self.last_status = status.to_owned();
        send(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// RELOADING and the time in one datagram, as `Type=notify-reload` wants it.
    pub(super) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => send(&[NotifyState::Reloading, now]),
            Err(error) => debug!(%error, "no monotonic clock for the service manager"),
        }
    }

    /// With the longest time that the stop may take, so that a long drain isn't cut by the unit's own time-out.
    pub(super) fn stopping(&self, longest: Duration) {
        send(&[
            NotifyState::Stopping,
            NotifyState::ExtendTimeoutUsec(u32::try_from(longest.as_micros()).unwrap_or(u32::MAX)),
            NotifyState::Status("stopping: calls in flight may finish"),
        ]);
    }

    pub(super) fn status(&mut self, status: &str) {
        if status != self.last_status {
            self.last_status = status.to_owned();
            send(&[NotifyState::Status(status)]);
        }
    }

    pub(super) fn watchdog(&self) {
        if self.watchdog.is_some() {
            send(&[NotifyState::Watchdog]);
        }
    }
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "the service manager does not listen");
    }
}
