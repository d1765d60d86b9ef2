//! One client's conversation with a bridge: the handle that a transport holds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::OwnedPermit;

use super::instance::{Command, Facts, Instance, Part, RETRY_WHEN_FULL, Unsent};
use super::mailbox::{Delivery, DeliveryKind, Mailbox, Refusal};
use super::mux::SessionKey;
use super::pool::Lease;
use super::visit::{Purpose, Visit};
use super::{Bridge, Transport};
use crate::config::Isolation;
use crate::jsonrpc::{ErrorObject, Kind, Message, code};
use crate::mcp::{ClientCapabilities, Era, Request};
use crate::metrics::Refused;

/// A session ends when its client does, which may take a while.
const RETRY_WHEN_NO_INSTANCE: Duration = Duration::from_secs(10);

static NEXT: AtomicU64 = AtomicU64::new(1);

/// One client's conversation. Dropping it ends the session: its calls are cancelled, an instance of its own ends.
#[derive(Debug)]
pub struct Session {
    bridge: Bridge,
    key: SessionKey,
    transport: Option<Transport>,
    facts: Arc<Facts>,
    link: OnceLock<Link>,
    /// Held while the instance is chosen; the visit, if it is one, is of no use after that.
    attaching: Mutex<Option<Visit>>,
}

/// The instance that serves the session; chosen with the first message.
#[derive(Debug)]
struct Link {
    instance: Instance,
    dedicated: bool,
    lease: Option<Lease>,
    /// A place in the queue kept for the end of the session, so that it can't fail to be heard.
    close: Option<OwnedPermit<Command>>,
}

impl Session {
    pub(super) fn new(
        bridge: Bridge,
        transport: Option<Transport>,
        outlet: Arc<Mailbox>,
        part: Part,
        visit: Option<Visit>,
    ) -> Session {
        if let Some(transport) = transport {
            bridge.metrics().sessions(transport).add(1);
        }
        let key = SessionKey(NEXT.fetch_add(1, Ordering::Relaxed));
        Session {
            bridge,
            key,
            transport,
            facts: Facts::new(
                outlet,
                part,
                // Whoever made the visit tells its client what it lacks.
                visit
                    .as_ref()
                    .map(|_| ClientCapabilities::STATELESS)
                    .unwrap_or_default(),
            ),
            link: OnceLock::new(),
            attaching: Mutex::new(visit),
        }
    }

    /// Sends a message of the client; never waits. A request gets exactly one delivery at `address` that ends it,
    /// whatever happens; its progress, its log lines and what the server asks its client go there before that.
    /// Unsolicited messages go to the outlet.
    pub fn send(&self, message: Message, address: &Arc<Mailbox>) {
        let link = match self.link(&message) {
            Ok(link) => link,
            Err(turned) => return self.refuse(&message, address, &turned),
        };
        if let Err((unsent, message)) = link
            .instance
            .send(self.key, message, address)
            .map_err(|unsent| *unsent)
        {
            let turned = match unsent {
                Unsent::Full => full(self.bridge.name()),
                Unsent::Ended => ended(),
            };
            self.refuse(&message, address, &turned);
        }
    }

    /// Its calls wait for their client until then and don't time out before; with `None` for the server again.
    pub fn hold(&self, until: Option<tokio::time::Instant>) {
        if let Some(link) = self.link.get() {
            // A full queue is that of a server which is overwhelmed: the call times out as others do.
            let _full = link
                .instance
                .commands
                .try_send(Command::Hold(self.key, until));
        }
    }

    /// Its request was answered: the server is not at work on it any more.
    pub fn answered(&self) {
        if let Some(lease) = self.link.get().and_then(|link| link.lease.as_ref()) {
            lease.answered();
        }
    }

    /// The revision agreed on, once `initialize` was answered.
    pub fn version(&self) -> Option<&str> {
        self.facts.version.get().map(String::as_str)
    }

    /// Whether the session has ended from the server's side: its own instance is gone.
    pub fn is_over(&self) -> bool {
        self.facts.is_over()
    }

    /// Whether it has an instance of its own.
    pub fn is_dedicated(&self) -> bool {
        self.link.get().is_some_and(|link| link.dedicated)
    }

    /// Its number in the log.
    pub fn number(&self) -> u64 {
        self.key.0
    }

    /// Where unsolicited messages go.
    pub fn outlet(&self) -> &Arc<Mailbox> {
        &self.facts.outlet
    }

    fn link(&self, message: &Message) -> Result<&Link, Box<Turned>> {
        if let Some(link) = self.link.get() {
            return Ok(link);
        }
        // Of two first messages at the same time one attaches and the other waits for it, some microseconds.
        let mut attaching = self
            .attaching
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = self.link.get() {
            return Ok(link);
        }
        let link = match &*attaching {
            Some(visit) => self.attach_visit(visit)?,
            None => self.attach(message)?,
        };
        *attaching = None;
        Ok(self.link.get_or_init(|| link))
    }

    /// Chooses the instance by the bridge's isolation and what the client's `initialize` declares.
    fn attach(&self, message: &Message) -> Result<Link, Box<Turned>> {
        let initialize = Request::of(&message.method()) == Request::Initialize;
        let env = &self.facts.part.env;
        let modern = self.bridge.era() == Some(Era::Modern);
        // It belongs to no session.
        let stateless = modern && message.envelope().meta_version.is_some();
        let dedicated = !env.is_empty()
            || self.transport.is_some()
                && match self.bridge.settings().isolation {
                    Isolation::Shared => false,
                    Isolation::Session => !stateless,
                    // What a modern server asks belongs to its call, whoever else is there.
                    Isolation::Auto if modern => false,
                    Isolation::Auto => {
                        let params = message.part(message.envelope().params).unwrap_or_default();
                        initialize && ClientCapabilities::declared(params).any()
                    }
                };
        if dedicated && !initialize && !stateless {
            let error = ErrorObject::new(code::INVALID_REQUEST, "send initialize first");
            return Err(Turned::away(Refusal::Invalid, Refused::Malformed, error));
        }
        let instance = if dedicated {
            self.bridge
                .0
                .pool
                .take(env)
                .ok_or_else(|| too_many_instances(&self.bridge))?
        } else {
            self.bridge.0.shared.clone()
        };
        self.join(instance, dedicated, None)
    }

    /// Chooses the instance by the bridge's isolation and what the request says that its client can be asked.
    fn attach_visit(&self, visit: &Visit) -> Result<Link, Box<Turned>> {
        let isolation = self.bridge.settings().isolation;
        let shared = match isolation {
            _ if visit.purpose == Purpose::Meet => true,
            Isolation::Shared => true,
            Isolation::Session => false,
            Isolation::Auto => !visit.declared().any() || !self.bridge.keeps_instances(),
        };
        if shared {
            return self.join(self.bridge.0.shared.clone(), false, None);
        }
        let reuse = isolation == Isolation::Auto;
        let (instance, lease) = self
            .bridge
            .0
            .pool
            .keep(visit, reuse)
            .ok_or_else(|| too_many_instances(&self.bridge))?;
        self.join(instance, true, Some(lease))
    }

    fn join(
        &self,
        instance: Instance,
        dedicated: bool,
        lease: Option<Lease>,
    ) -> Result<Link, Box<Turned>> {
        let permit = |instance: &Instance| instance.commands.clone().try_reserve_owned();
        let (open, close) = match (permit(&instance), permit(&instance)) {
            (Ok(open), Ok(close)) => (open, close),
            _ if instance.commands.is_closed() => return Err(ended()),
            _ => return Err(full(self.bridge.name())),
        };
        open.send(Command::Open(self.key, self.facts.clone()));
        Ok(Link {
            instance,
            dedicated,
            lease,
            close: Some(close),
        })
    }

    fn refuse(&self, message: &Message, address: &Mailbox, turned: &Turned) {
        self.bridge.metrics().refused(turned.reason);
        if message.kind() == Kind::Request {
            let kind = DeliveryKind::Refusal(turned.refusal);
            let body = turned.error.response(message.id()).into();
            address.push(Delivery { kind, body });
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(transport) = self.transport {
            self.bridge.metrics().sessions(transport).sub(1);
        }
        self.facts.outlet.close();
        if let Some(close) = self.link.get_mut().and_then(|link| link.close.take()) {
            close.send(Command::Close(self.key));
        }
    }
}

/// A message that went nowhere, and why.
struct Turned {
    refusal: Refusal,
    reason: Refused,
    error: ErrorObject,
}

impl Turned {
    fn away(refusal: Refusal, reason: Refused, error: ErrorObject) -> Box<Turned> {
        Box::new(Turned {
            refusal,
            reason,
            error,
        })
    }
}

fn full(bridge: &str) -> Box<Turned> {
    let text = format!("too much is queued for the MCP server {bridge}");
    let refusal = Refusal::Overloaded {
        retry_after: RETRY_WHEN_FULL,
    };
    Turned::away(
        refusal,
        Refused::QueueFull,
        ErrorObject::new(code::OVERLOADED, text),
    )
}

fn ended() -> Box<Turned> {
    let error = ErrorObject::new(
        code::SHUTTING_DOWN,
        "the MCP server of this session has ended",
    );
    Turned::away(Refusal::ShuttingDown, Refused::Draining, error)
}

fn too_many_instances(bridge: &Bridge) -> Box<Turned> {
    let limit = bridge.settings().limits.max_instances;
    let text = format!(
        "all {limit} instances of bridge {} (max_instances) serve a session already; end one, or wait",
        bridge.name()
    );
    let refusal = Refusal::Overloaded {
        retry_after: RETRY_WHEN_NO_INSTANCE,
    };
    Turned::away(
        refusal,
        Refused::Instances,
        ErrorObject::new(code::OVERLOADED, text),
    )
}
