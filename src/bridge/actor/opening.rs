//! The first words with a server: what its era is, and how it is made ready (SUPERVISION §2).
//!
//! Each generation is asked anew. A server that ends when it is asked (some do at any first word but `initialize`) is
//! started again at once and initialised; that is the bridge's doing, and no failure of its own.

use tokio::time::Instant;
use tracing::info;

use super::generation::Generation;
use super::{Actor, Life, Role};
use crate::bridge::discovery::{Next, Opening};
use crate::bridge::handshake::Handshake;
use crate::bridge::mux::OwnRequest;
use crate::bridge::state::Phase;
use crate::mcp::Era;
use crate::mcp::era::server::discover_request;
use crate::process::has_read_all;

/// What is known of servers that end at `server/discover`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probing {
    /// Nothing: they are asked.
    Unknown,
    /// The last one ended then. This one is initialised without being asked, which will show whether that was why.
    Suspected,
    /// It was: they are not asked any more, as long as they can be initialised.
    Hurts,
    /// It was not: they end in any case.
    Harmless,
}

impl Actor {
    /// What to say first to a server that has just been started; `None`: nothing before its client does.
    pub(super) fn opening(&self) -> Option<Opening> {
        let known = match &self.role {
            Role::Shared { .. } => None,
            Role::Dedicated { known, .. } => *known,
        };
        let direct = matches!(self.probing, Probing::Suspected | Probing::Hurts);
        let legacy = self.settings.era == Some(Era::Legacy) || known == Some(Era::Legacy) || direct;
        match (self.settings.era, legacy) {
            (Some(Era::Modern), _) => Some(Opening::DiscoverOnly),
            (_, true) => matches!(self.role, Role::Shared { .. }).then_some(Opening::Initialize),
            (_, false) => Some(Opening::Discover),
        }
    }

    /// Says it.
    pub(super) fn open(&mut self, opening: Option<Opening>, now: Instant) {
        match opening {
            Some(Opening::Discover | Opening::DiscoverOnly) => {
                let request = OwnRequest::Discover;
                self.mux
                    .own_request(request, discover_request, &mut self.out);
            }
            Some(Opening::Initialize) | None => self.proceed(Next::Initialize, now),
        }
    }

    pub(super) fn proceed(&mut self, next: Next, now: Instant) {
        match next {
            Next::Wait => {}
            Next::Initialize => self.initialize(now),
            Next::Ready(handshake) => self.initialized(handshake, now),
            Next::Fail(reason) => self.doom(reason, now),
        }
    }

    /// A server of many sessions is initialised by the bridge, one of a single session by its client.
    pub(super) fn initialize(&mut self, now: Instant) {
        if let Some(hello) = self.hello() {
            let request = |k| hello.request(k);
            self.mux
                .own_request(OwnRequest::Initialize, request, &mut self.out);
            return self.expect_initialize(now);
        }
        if let Life::Up(up) = &mut self.life {
            up.init_by = None;
        }
        self.release_waiting(now);
    }

    /// The server is ready, and has said of itself what it says to everybody.
    fn initialized(&mut self, handshake: Handshake, now: Instant) {
        if matches!(&self.life, Life::Up(up) if !up.goes_on()) {
            // Too late: nobody is to be sent there any more.
            return;
        }
        let era = handshake.era();
        if era == Era::Legacy {
            self.out
                .outbox
                .line(&[br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#]);
        }
        let Life::Up(up) = &mut self.life else { return };
        up.ready_since = Some(now);
        up.init_by = None;
        up.permit = None;
        let (number, took) = (up.number, now.duration_since(up.started));
        self.probing = match self.probing {
            Probing::Suspected | Probing::Hurts => Probing::Hurts,
            Probing::Unknown | Probing::Harmless => Probing::Unknown,
        };
        info!(
            bridge = self.settings.name,
            generation = number,
            ?took,
            era = era.label(),
            version = handshake.spoken(),
            "server ready"
        );
        self.status.send_modify(|status| {
            status.server = handshake.server_info();
            status.era = Some(era);
            status.supported_versions = handshake.supported_versions().cloned();
        });
        if era == Era::Modern {
            self.mux.meet_modern(
                |kind| handshake.tells_of(kind),
                now.into_std(),
                &mut self.out,
            );
        }
        if number > 1 {
            self.mux.restore(
                |capability| handshake.has(capability),
                now.into_std(),
                &mut self.out,
            );
        }
        self.handshake = Some(handshake);
        if self.draining.is_none() {
            self.enter(Phase::Ready);
        }
        self.release_waiting(now);
        if let Role::Shared { pool } = &self.role {
            pool.warm();
        }
    }

    /// A generation has ended. Returns whether that is to be taken as its answer to `server/discover`.
    pub(super) fn ended_at_discover(&mut self, up: &Generation) -> bool {
        if up.ready_since.is_some() {
            return false;
        }
        // What it has not read can't have hurt it.
        let has_read = self.out.outbox.is_empty() && up.stdin.as_ref().is_some_and(has_read_all);
        let told = up.has_left() && has_read && self.draining.is_none();
        self.probing = match self.probing {
            Probing::Unknown if told && up.discovery.may_have_hurt() => {
                info!(
                    bridge = self.settings.name,
                    "server ended at server/discover; it is started again and initialized"
                );
                self.probing = Probing::Suspected;
                return true;
            }
            Probing::Suspected => Probing::Harmless,
            // It may be another server by now.
            Probing::Hurts => Probing::Unknown,
            other => other,
        };
        false
    }
}
