//! One run of a server's process, from spawn to its last line.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::unix::pipe;
use tokio::time::{Instant, Sleep, sleep};
use tracing::{info, warn};

use super::{Actor, Boxed, FAR, Life, REPEAT_WITHIN, Role, Waiter};
use crate::backoff::Verdict;
use crate::bridge::discovery::{Discovery, Opening};
use crate::bridge::liveness::{Liveness, Pulse, Sampler};
use crate::bridge::mux::OwnRequest;
use crate::bridge::outbox::Outbox;
use crate::bridge::start_gate::StartPermit;
use crate::bridge::state::{LastExit, Phase};
use crate::config::{OnCrash, Redaction, Restart, Timing};
use crate::jsonrpc::{ErrorObject, code};
use crate::mcp::Era;
use crate::mcp::era::server::discover_request;
use crate::metrics::BridgeMetrics;
use crate::process::{Child, Exit, Ladder, Lines, Process, SpawnError, StderrTail};

/// After the exit of a process its stdout is read this long: a grandchild may hold it open.
const READ_AFTER_EXIT: Duration = Duration::from_millis(80);
/// A process that closed stdout, or its end of stdin, gets this long to exit.
pub(super) const EXIT_AFTER_EOF: Duration = Duration::from_secs(1);
/// The exit of a killed process is waited for this long.
const EXIT_AFTER_KILL: Duration = Duration::from_millis(1500);
/// A generation that was ready this long has been of use, whatever it was asked.
const PRODUCTIVE_AFTER: Duration = Duration::from_secs(10);
/// Reads in a row after an exit, each of at most 256 KiB, before others get their turn.
const READS_IN_A_ROW: usize = 64;
/// Bytes of the reason for a kill.
const LONGEST_REASON: usize = 500;
/// Lines of stderr that an error and the status show.
const STDERR_LINES: usize = 5;

/// A running process and what is known of it.
pub(super) struct Generation {
    pub(super) process: Process,
    pub(super) stdin: Option<pipe::Sender>,
    pub(super) stdout: Option<pipe::Receiver>,
    pub(super) exited: Boxed<Exit>,
    /// It has exited; what it wrote is still being read.
    pub(super) exit: Option<Exit>,
    pub(super) ready_since: Option<Instant>,
    pub(super) timer: Pin<Box<Sleep>>,
    pub(super) number: u64,
    pub(super) stderr: StderrTail,
    pub(super) lines: Lines,
    pub(super) started: Instant,
    /// It has answered a request of a client.
    pub(super) answered: bool,
    pub(super) liveness: Liveness,
    /// How far it is from being ready.
    pub(super) discovery: Discovery,
    /// It must be ready by then.
    pub(super) init_by: Option<Instant>,
    /// It must have ended by then, or is taken as ended.
    end_by: Option<Instant>,
    /// It closed a stream and must exit by then.
    pub(super) exit_by: Option<Instant>,
    /// Why it was killed, if it was.
    doomed: Option<String>,
    pub(super) permit: Option<StartPermit>,
    pub(super) garbage: Sampler,
    /// What is hidden in what the log shows of it.
    pub(super) redaction: Redaction,
    pub(super) log: Sampler,
}

impl Generation {
    /// Whether its end has not begun.
    pub(super) fn goes_on(&self) -> bool {
        self.doomed.is_none() && self.exit.is_none()
    }

    /// Whether it has exited of its own accord.
    pub(super) fn has_left(&self) -> bool {
        self.doomed.is_none() && self.exit.is_some()
    }

    pub(super) fn next_tick(&self, timing: &Timing) -> Option<Instant> {
        let alive = self.ready_since.filter(|_| self.goes_on());
        let liveness = alive.map(|_| Instant::from_std(self.liveness.due(timing)));
        let permit = self.permit.as_ref().map(|permit| permit.until);
        let discovery = self.discovery.due().filter(|_| self.goes_on());
        let ends = [self.init_by, self.end_by, self.exit_by];
        ends.into_iter()
            .chain([discovery, liveness, permit])
            .flatten()
            .min()
    }

    /// Writes what the pipe takes. A closed pipe starts the time in which the process must exit.
    pub(super) fn flush(&mut self, outbox: &mut Outbox, metrics: &BridgeMetrics) {
        let Some(stdin) = &self.stdin else { return };
        match outbox.flush(stdin) {
            Ok(0) => {}
            Ok(count) => metrics.stdin_bytes.add(count as u64),
            Err(_) => {
                self.stdin = None;
                self.exit_by.get_or_insert(Instant::now() + EXIT_AFTER_EOF);
            }
        }
    }

    /// Ends it step by step, reading what it still has to say so that it can't block on that.
    pub(super) async fn stop(self, ladder: Ladder) -> Exit {
        let Generation {
            process,
            stdout,
            stderr,
            ..
        } = self;
        match stdout {
            Some(stdout) => {
                Child {
                    stdin: None,
                    stdout,
                    stderr,
                    process,
                }
                .stop(ladder)
                .await
            }
            None => process.stop(ladder).await,
        }
    }

    fn doom(&mut self, reason: String, now: Instant) {
        if self.goes_on() {
            self.doomed = Some(reason);
            self.end_by = Some(now + EXIT_AFTER_KILL);
            self.process.kill_now();
        }
    }
}

impl Actor {
    /// Begins a new generation after one that failed, or the first.
    pub(super) fn start(&mut self) {
        let restart = self.status.borrow().generation > 0;
        self.spawn(restart);
    }

    /// Begins a new generation: waits for its turn and spawns. `restart`: it counts as one.
    fn spawn(&mut self, restart: bool) {
        let env = match &self.role {
            Role::Shared { .. } => &[][..],
            Role::Dedicated { env, .. } => env,
        };
        let command = match self.site.resolve(&self.settings, env) {
            Ok(spec) => spec,
            Err(reason) => return self.failed_to_start(reason, true),
        };
        let (gate, spawner) = (self.site.gate.clone(), self.site.spawner.clone());
        self.life = Life::Spawning(Box::pin(async move {
            let permit = gate.permit().await;
            (spawner.spawn(command).await, permit)
        }));
        self.status.send_modify(|status| {
            status.restarts += u64::from(restart);
            status.generation += 1;
        });
        if restart {
            self.site.metrics.restarted();
        }
        self.enter(Phase::Starting);
        self.set_patience(Phase::Starting, Instant::now());
    }

    pub(super) fn not_spawned(&mut self, error: &SpawnError) {
        let mut reason = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            reason = format!("{reason}: {cause}");
            source = cause.source();
        }
        self.failed_to_start(format!("failed to {reason}"), error.counts());
    }

    fn failed_to_start(&mut self, reason: String, counts: bool) {
        self.life = Life::Down(None);
        let now = Instant::now();
        let verdict = if counts {
            self.backoff.command_missing()
        } else {
            Verdict::Retry(Duration::from_secs(1))
        };
        warn!(bridge = self.settings.name, reason, delay = ?verdict.delay(), "server did not start");
        let last = LastExit {
            exit: None,
            reason,
            uptime: Duration::ZERO,
            stderr: Vec::new(),
            at: now.into_std(),
        };
        self.status.send_modify(|status| status.died(last, false));
        self.after_failure(verdict, now);
    }

    pub(super) fn spawned(&mut self, child: Child, permit: StartPermit) {
        let now = Instant::now();
        let number = self.status.borrow().generation;
        let pid = child.pid();
        self.status.send_modify(|status| status.pid = Some(pid));
        info!(
            bridge = self.settings.name,
            generation = number,
            pid,
            dedicated = matches!(self.role, Role::Dedicated { .. }),
            "server started"
        );
        let Child {
            stdin,
            stdout,
            stderr,
            process,
        } = child;
        let shared = matches!(self.role, Role::Shared { .. });
        let opening = self.opening();
        self.life = Life::Up(Box::new(Generation {
            exited: Box::pin(process.exited()),
            process,
            stdin,
            stdout: Some(stdout),
            exit: None,
            ready_since: None,
            timer: Box::pin(sleep(FAR)),
            number,
            stderr,
            lines: Lines::new(self.settings.limits.max_message),
            started: now,
            answered: false,
            liveness: Liveness::new(now.into_std()),
            discovery: Discovery::new(opening.unwrap_or(Opening::Initialize), now),
            init_by: opening.map(|_| now + self.settings.timing.init_timeout),
            end_by: None,
            exit_by: None,
            doomed: None,
            // A spare waits for its client: it must not keep others from starting.
            permit: shared.then_some(permit),
            redaction: self.redaction(),
            garbage: Sampler::new(5, Duration::from_secs(10)),
            log: Sampler::new(200, Duration::from_millis(50)),
        }));
        self.open(opening, now);
    }

    fn redaction(&self) -> Redaction {
        let redaction = Redaction::of(&self.settings.command.env);
        match &self.role {
            Role::Shared { .. } => redaction,
            Role::Dedicated { env, .. } => {
                redaction.and(env.iter().map(|(_, value)| value.expose().into()))
            }
        }
    }

    /// The server has been sent `initialize`: from now on it has its time to answer.
    pub(super) fn expect_initialize(&mut self, now: Instant) {
        if let Life::Up(up) = &mut self.life
            && up.ready_since.is_none()
        {
            up.init_by
                .get_or_insert(now + self.settings.timing.init_timeout);
        }
    }

    pub(super) fn doom(&mut self, reason: String, now: Instant) {
        if let Life::Up(up) = &mut self.life {
            // It may quote the server.
            let mut reason = up.redaction.apply(reason);
            reason.truncate(reason.floor_char_boundary(LONGEST_REASON));
            warn!(bridge = self.settings.name, reason, "killing server");
            up.doom(reason, now);
            self.enter(Phase::Stopping);
        }
    }

    pub(super) fn exited(&mut self, exit: Exit) {
        let Life::Up(up) = &mut self.life else { return };
        up.exit = Some(exit);
        up.exit_by = None;
        up.end_by = Some(Instant::now() + READ_AFTER_EXIT);
        self.read_some(READS_IN_A_ROW);
        self.enter(Phase::Stopping);
        self.end_if_all_is_read();
    }

    /// The process has exited: its end is made known when its last words have been read, or when their time is over.
    pub(super) fn end_if_all_is_read(&mut self) {
        if let Life::Up(up) = &self.life
            && up.exit.is_some()
            && up.stdout.is_none()
            && up.stderr.has_ended()
        {
            self.end_generation();
        }
    }

    pub(super) fn tick_generation(&mut self, now: Instant) {
        let Life::Up(up) = &mut self.life else { return };
        up.permit.take_if(|permit| permit.until <= now);
        if up.end_by.is_some_and(|by| by <= now) {
            return self.end_generation();
        }
        if up.exit_by.is_some_and(|by| by <= now) {
            up.exit_by = None;
            return self.doom(
                "it closed its stdin or stdout without exiting".to_owned(),
                now,
            );
        }
        if up.init_by.is_some_and(|by| by <= now) {
            up.init_by = None;
            let (method, timeout) = (up.discovery.method(), self.settings.timing.init_timeout);
            return self.doom(format!("no answer to {method} within {timeout:?}"), now);
        }
        if up.goes_on() {
            let next = up.discovery.tick(now);
            self.proceed(next, now);
        }
        let Life::Up(up) = &mut self.life else { return };
        if up.ready_since.is_none() || !up.goes_on() {
            return;
        }
        let busy = self.mux.in_flight() > 0;
        let missed = match up
            .liveness
            .tick(now.into_std(), &self.settings.timing, busy)
        {
            Pulse::Quiet => return,
            Pulse::Ping => None,
            Pulse::Missed(count) => Some(count),
            Pulse::Hung => {
                let count = self.settings.timing.ping_failures;
                return self.doom(
                    format!("it hangs: {count} pings in a row were not answered"),
                    now,
                );
            }
        };
        let ping = match up.discovery.era() {
            Some(Era::Modern) => discover_request,
            _ => |k| format!(r#"{{"jsonrpc":"2.0","id":{k},"method":"ping"}}"#),
        };
        self.mux.own_request(OwnRequest::Ping, ping, &mut self.out);
        if let (Some(count), None) = (missed, self.draining) {
            self.enter(Phase::Suspect(count));
        }
    }

    /// The process is gone, or as good as: calls end, and what comes next is decided.
    pub(super) fn end_generation(&mut self) {
        let now = Instant::now();
        let Life::Up(up) = std::mem::replace(&mut self.life, Life::Down(None)) else {
            return;
        };
        if up.exit.is_none() {
            up.process.kill_now();
        }
        if self.ended_at_discover(&up) {
            return self.start_anew(now);
        }
        let ready = up.ready_since.map(|since| now.duration_since(since));
        if let Some(ready) = ready {
            self.backoff.ready_for(ready);
        }
        let productive = up.answered || ready.is_some_and(|ready| ready >= PRODUCTIVE_AFTER);
        let how = up.exit.map_or_else(
            || "it was killed and has not ended yet".to_owned(),
            |exit| exit.to_string(),
        );
        let last = LastExit {
            exit: up.exit,
            reason: up.doomed.clone().unwrap_or(how),
            uptime: now.duration_since(up.started),
            stderr: up.stderr.last_lines(STDERR_LINES),
            at: now.into_std(),
        };
        self.handshake = None;
        let dedicated = matches!(self.role, Role::Dedicated { .. });
        if dedicated {
            self.queued.is_ending.store(true, Ordering::Release);
        }
        let goes_on = !dedicated && self.draining.is_none() && self.restarts_after(up.exit);
        let verdict = goes_on.then(|| self.backoff.failed(productive));
        let delay = verdict.map(Verdict::delay);
        let error = self.exit_error(&last, up.number, delay);
        self.status
            .send_modify(|status| status.died(last.clone(), productive));
        let level_down = dedicated && up.exit == Some(Exit::Code(0));
        if level_down || self.draining.is_some() {
            info!(
                bridge = self.settings.name,
                reason = last.reason,
                "server ended"
            );
        } else {
            let stderr = last.stderr.join("\n");
            let retry_in_ms =
                delay.map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
            warn!(
                bridge = self.settings.name,
                reason = last.reason,
                stderr,
                retry_in_ms,
                "server ended"
            );
        }
        let again = self
            .mux
            .generation_ended(goes_on, error, now.into_std(), &mut self.out);
        self.waiting.extend(again.into_iter().map(|request| Waiter {
            request,
            since: now,
            until: now + REPEAT_WITHIN,
        }));
        if dedicated {
            self.refuse_all_waiting(now);
        }
        if dedicated || self.draining.is_some() {
            return self.stopped_for_good_or_start();
        }
        if self.settings.on_crash == OnCrash::End {
            self.end_sessions(now);
        }
        match verdict {
            Some(verdict) => self.after_failure(verdict, now),
            None => {
                self.enter(Phase::Stopped);
                self.refuse_all_waiting(now);
            }
        }
    }

    /// The last generation was never of use, and that was not its fault.
    fn start_anew(&mut self, now: Instant) {
        self.status.send_modify(|status| status.pid = None);
        let nobody = |_| ErrorObject::new(code::SERVER_UNAVAILABLE, "MCP server is started again");
        let again = self
            .mux
            .generation_ended(false, nobody, now.into_std(), &mut self.out);
        debug_assert!(again.is_empty(), "nothing was sent before it was ready");
        self.spawn(false);
    }

    fn restarts_after(&self, exit: Option<Exit>) -> bool {
        match self.settings.restart {
            Restart::Always => true,
            Restart::OnFailure => exit != Some(Exit::Code(0)),
            Restart::Never => false,
        }
    }

    pub(super) fn after_failure(&mut self, verdict: Verdict, now: Instant) {
        if matches!(self.role, Role::Dedicated { .. }) {
            self.refuse_all_waiting(now);
            return self.stopped_for_good_or_start();
        }
        let start = now + verdict.delay();
        self.life = Life::Down(Some(start));
        match verdict {
            Verdict::Retry(_) => {
                self.enter(Phase::Backoff);
                self.set_patience(Phase::Backoff, now);
            }
            Verdict::Quarantine(_) => {
                self.enter(Phase::Quarantined);
                self.refuse_all_waiting(now);
            }
        }
    }

    fn end_sessions(&mut self, now: Instant) {
        self.refuse_all_waiting(now);
        let mut ended = Vec::new();
        for (session, facts) in self.facts.drain() {
            self.mux.close(session, now.into_std(), &mut self.out);
            ended.push(facts);
        }
        // Their last answers first, then the end of their streams.
        self.deliver();
        for facts in ended {
            facts.end();
        }
        // There is no server that could read what closing sessions had to say to it.
        self.out.outbox = Outbox::default();
    }

    fn refuse_all_waiting(&mut self, now: Instant) {
        for waiter in std::mem::take(&mut self.waiting) {
            self.refuse_unavailable(&waiter.request, now);
        }
    }
}
