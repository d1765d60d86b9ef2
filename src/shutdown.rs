//! Signals, and the tokens that everything listens to.
//!
//! The first SIGTERM or SIGINT cancels `draining`, a second one cancels `now`. SIGHUP is a notification that coalesces.
//! The handlers need no runtime, so that they can stand before anything else: as PID 1 a process has no default
//! dispositions, a signal without handler is lost. A thread of its own turns signals into cancelled tokens.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How the process is asked to end or to reload, and the tasks that have to end before it. Clones share everything.
#[derive(Debug, Clone)]
pub struct Shutdown {
    /// Cancelled by the first SIGTERM or SIGINT: refuse what is new, let what is in flight complete.
    pub draining: CancellationToken,
    /// Cancelled by the second one: kill at once. Implies `draining`.
    pub now: CancellationToken,
    /// Every task of the process.
    pub tracker: TaskTracker,
    hangup: Arc<Notify>,
    /// The signal that cancelled `now`; 0 when none did.
    forced_by: Arc<AtomicI32>,
}

impl Shutdown {
    /// Without signals: for tests and for commands that end by themselves.
    pub fn new() -> Self {
        Self {
            draining: CancellationToken::new(),
            now: CancellationToken::new(),
            tracker: TaskTracker::new(),
            hangup: Arc::new(Notify::new()),
            forced_by: Arc::new(AtomicI32::new(0)),
        }
    }

    /// Installs the handlers of SIGTERM, SIGINT and SIGHUP and starts the thread that serves them. To be called once,
    /// before anything else; needs no runtime.
    ///
    /// # Errors
    /// When a handler cannot be installed or the thread cannot start.
    pub fn on_signals() -> io::Result<Self> {
        let shutdown = Self::new();
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        let served = shutdown.clone();
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                for signal in signals.forever() {
                    served.received(signal);
                }
            })?;
        Ok(shutdown)
    }

    /// Waits until a SIGHUP has arrived since the last call returned; any number of them count as one.
    ///
    /// # Cancel safety
    /// A dropped wait loses no signal. For one waiter at a time.
    pub async fn hangup(&self) {
        self.hangup.notified().await;
    }

    /// The status to exit with after a stop: 0, or 130 or 143 when a second SIGINT or SIGTERM forced it.
    pub fn exit_code(&self) -> u8 {
        match self.forced_by.load(Ordering::Acquire) {
            0 => 0,
            signal => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }

    fn received(&self, signal: i32) {
        match signal {
            SIGHUP => self.hangup.notify_one(),
            _ if !self.draining.is_cancelled() => self.draining.cancel(),
            _ => {
                if !self.now.is_cancelled() {
                    self.forced_by.store(signal, Ordering::Release);
                }
                self.now.cancel();
            }
        }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_first_signal_drains_and_the_second_forces() {
        for (second, code) in [(SIGINT, 130), (SIGTERM, 143)] {
            let shutdown = Shutdown::new();
            shutdown.received(SIGTERM);
            assert!(shutdown.draining.is_cancelled());
            assert!(!shutdown.now.is_cancelled());
            assert_eq!(shutdown.exit_code(), 0);

            shutdown.received(second);
            assert!(shutdown.now.is_cancelled());
            assert_eq!(shutdown.exit_code(), code);

            shutdown.received(SIGINT);
            assert_eq!(shutdown.exit_code(), code);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn hangups_coalesce_into_one() {
        let shutdown = Shutdown::new();
        for _ in 0..3 {
            shutdown.received(SIGHUP);
        }
        shutdown.hangup().await;
        let second = tokio::time::timeout(Duration::from_secs(1), shutdown.hangup()).await;
        assert!(second.is_err(), "three signals, one reload");
        assert!(!shutdown.draining.is_cancelled());
    }

    #[tokio::test]
    async fn real_signals_arrive() {
        let shutdown = Shutdown::on_signals().unwrap();
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGHUP).unwrap();
        shutdown.hangup().await;
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGTERM).unwrap();
        shutdown.draining.cancelled().await;
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGINT).unwrap();
        shutdown.now.cancelled().await;
        assert_eq!(shutdown.exit_code(), 130);
    }
}
