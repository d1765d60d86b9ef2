//! Orders from above, and the ways in which an instance ends: drained, stopped, killed, abandoned.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, info};

use super::{Actor, Life, Probing, Role, label};
use crate::bridge::instance::{Command, Halt, Orders};
use crate::bridge::mailbox::Refusal;
use crate::bridge::mux::{SessionKey, Waiting};
use crate::bridge::state::Phase;
use crate::jsonrpc::{ErrorObject, Kind, code};
use crate::metrics::Refused;
use crate::process::{Exit, Ladder};

impl Actor {
    pub(super) fn ordered(&mut self) {
        let Orders {
            settings,
            restarts,
            halt,
            drain,
        } = self.orders.borrow_and_update().clone();
        let now = Instant::now();
        self.mux.configure(settings.clone());
        self.settings = settings;
        match halt {
            Halt::Now => return self.kill(),
            Halt::Drain(until) => {
                self.then_start = false;
                return self.drain(until.max(now));
            }
            Halt::No => {}
        }
        if restarts != self.restarts_seen {
            self.restarts_seen = restarts;
            self.backoff.reset();
            self.probing = Probing::Unknown;
            info!(bridge = self.settings.name, "restart ordered");
            match self.life {
                Life::Down(_) => {
                    if self.settings.unavailable.is_none() {
                        self.start();
                    } else {
                        self.enter(Phase::Unavailable);
                    }
                }
                Life::Over => {}
                _ => {
                    self.then_start = matches!(self.role, Role::Shared { .. });
                    self.drain(now + drain);
                }
            }
        }
    }

    /// Ends without regard to calls: nobody is there any more.
    pub(super) fn halt(&mut self, now: Instant) {
        self.then_start = false;
        self.drain(now);
    }

    /// Lets calls in flight finish until then and refuses new ones; the process is ended after that.
    pub(super) fn drain(&mut self, until: Instant) {
        self.draining = Some(until);
        for waiter in std::mem::take(&mut self.waiting) {
            let error = self.shutting_down();
            self.refuse(
                &waiter.request,
                Refusal::ShuttingDown,
                &error,
                Refused::Draining,
            );
        }
        match self.life {
            Life::Up(_) => self.enter(Phase::Draining),
            Life::Stopping(..) => {}
            // Dropping a spawn that is under way kills its child.
            Life::Down(_) | Life::Spawning(_) | Life::Over => self.stopped_for_good_or_start(),
        }
    }

    pub(super) fn stopped_for_good_or_start(&mut self) {
        self.draining = None;
        if std::mem::take(&mut self.then_start) {
            if self.settings.unavailable.is_none() {
                self.start();
            } else {
                self.life = Life::Down(None);
                self.enter(Phase::Unavailable);
            }
            return;
        }
        self.life = Life::Over;
        self.enter(Phase::Stopped);
    }

    /// Calls have finished or their time is over: down the stop ladder.
    pub(super) fn stop(&mut self) {
        let error = self.shutting_down();
        let Life::Up(mut up) = std::mem::replace(&mut self.life, Life::Down(None)) else {
            return;
        };
        self.mux
            .end_streams(std::time::Instant::now(), &mut self.out);
        up.flush(&mut self.out.outbox, &self.site.metrics);
        let again = self.mux.generation_ended(
            false,
            |_| error.clone(),
            std::time::Instant::now(),
            &mut self.out,
        );
        debug_assert!(
            again.is_empty(),
            "nothing is repeated when a server is stopped"
        );
        self.handshake = None;
        if !self.then_start {
            // Their last answers first, then the end of their streams.
            self.deliver();
            for facts in self.facts.values() {
                facts.end();
            }
        }
        self.enter(Phase::Stopping);
        let process = up.process.clone();
        up.stdin = None;
        let stopping = Box::pin(async move { up.stop(Ladder::default()).await });
        self.life = Life::Stopping(stopping, process);
    }

    pub(super) fn kill(&mut self) {
        self.then_start = false;
        match &self.life {
            Life::Up(_) => {
                self.stop();
                self.kill();
            }
            Life::Stopping(_, process) => process.kill_now(),
            _ => self.stopped_for_good_or_start(),
        }
    }

    pub(super) fn stopped(&mut self, exit: Exit) {
        debug!(bridge = self.settings.name, %exit, "server stopped");
        self.status.send_modify(|status| status.pid = None);
        self.stopped_for_good_or_start();
    }

    /// The last thing: everybody who still waits is told.
    pub(super) fn finish(&mut self, commands: &mut mpsc::Receiver<Command>) {
        commands.close();
        let error = self.shutting_down();
        for waiter in std::mem::take(&mut self.waiting) {
            self.refuse(
                &waiter.request,
                Refusal::ShuttingDown,
                &error,
                Refused::Draining,
            );
        }
        while let Ok(command) = commands.try_recv() {
            if let Command::Message(session, message, address) = command
                && message.kind() == Kind::Request
            {
                let request = Waiting {
                    session,
                    message,
                    address,
                    repeated: false,
                };
                self.refuse(&request, Refusal::ShuttingDown, &error, Refused::Draining);
            }
        }
        let sessions: Vec<SessionKey> = self.mux.sessions().collect();
        for session in sessions {
            self.mux
                .close(session, std::time::Instant::now(), &mut self.out);
        }
        self.settle();
        for facts in self.facts.values() {
            facts.end();
        }
        let phase = self.status.borrow().phase;
        self.site.metrics.instance_state(Some(label(phase)), None);
    }

    /// After a panic: whoever waits is told, and the sessions end. The process is killed when the generation is dropped.
    pub(super) fn abandon(&mut self) {
        self.life = Life::Over;
        let error = ErrorObject::new(
            code::INTERNAL_ERROR,
            "the bridge failed while it served this request",
        );
        for waiter in std::mem::take(&mut self.waiting) {
            let refusal = Refusal::Overloaded {
                retry_after: Duration::from_secs(1),
            };
            self.refuse(&waiter.request, refusal, &error, Refused::NotReady);
        }
        let now = std::time::Instant::now();
        let again = self
            .mux
            .generation_ended(false, |_| error.clone(), now, &mut self.out);
        debug_assert!(again.is_empty(), "nothing is repeated");
        self.settle();
        for (_, facts) in self.facts.drain() {
            facts.end();
        }
        self.status.send_modify(|status| status.pid = None);
        let phase = self.status.borrow().phase;
        self.site.metrics.instance_state(Some(label(phase)), None);
    }
}
