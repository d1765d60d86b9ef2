//! One client's conversation with a bridge: the handle that a transport holds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc::OwnedPermit;

use super::instance::{Command, Facts, Instance, RETRY_WHEN_FULL, Unsent};
use super::mailbox::{Delivery, DeliveryKind, Mailbox, Refusal};
use super::mux::SessionKey;
use super::{Bridge, Transport};
use crate::config::Isolation;
use crate::jsonrpc::{ErrorObject, Kind, Message, code};
use crate::mcp::{ClientCapabilities, Request};
use crate::metrics::Refused;

static NEXT: AtomicU64 = AtomicU64::new(1);

/// One client's conversation. Dropping it ends the session: its calls are cancelled, an instance of its own ends.
#[derive(Debug)]
pub struct Session {
    bridge: Bridge,
    key: SessionKey,
    transport: Option<Transport>,
    facts: Arc<Facts>,
    link: OnceLock<Link>,
}

/// The instance that serves the session; chosen with the first message.
#[derive(Debug)]
struct Link {
    instance: Instance,
    dedicated: bool,
    /// A place in the queue kept for the end of the session, so that it can't fail to be heard.
    close: Option<OwnedPermit<Command>>,
}

impl Session {
    pub(super) fn new(
        bridge: Bridge,
        transport: Option<Transport>,
        outlet: Arc<Mailbox>,
    ) -> Session {
        if let Some(transport) = transport {
            bridge.metrics().sessions(transport).add(1);
        }
        let key = SessionKey(NEXT.fetch_add(1, Ordering::Relaxed));
        Session {
            bridge,
            key,
            transport,
            facts: Facts::new(outlet),
            link: OnceLock::new(),
        }
    }

    /// Sends a message of the client; never waits. A request gets exactly one delivery at `address` that ends it,
    /// whatever happens; its progress, its log lines and what the server asks its client go there before that.
    /// Unsolicited messages go to the outlet.
    pub fn send(&self, message: Message, address: &Arc<Mailbox>) {
        let link = match self.link(&message) {
            Ok(link) => link,
            Err((refusal, reason, error)) => {
                return self.refuse(&message, address, refusal, reason, &error);
            }
        };
        let id = message.id().map(<[u8]>::to_vec);
        let request = message.kind() == Kind::Request;
        let Err(unsent) = link.instance.send(self.key, message, address) else {
            return;
        };
        let (refusal, reason, error) = match unsent {
            Unsent::Full => full(self.bridge.name()),
            Unsent::Ended => ended(),
        };
        self.bridge.metrics().refused(reason);
        if request {
            deliver(address, id.as_deref(), refusal, &error);
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

    /// Where unsolicited messages go.
    pub fn outlet(&self) -> &Arc<Mailbox> {
        &self.facts.outlet
    }

    fn link(&self, message: &Message) -> Result<&Link, (Refusal, Refused, ErrorObject)> {
        if let Some(link) = self.link.get() {
            return Ok(link);
        }
        let link = self.attach(message)?;
        // Two first messages at the same time: one link wins, the other's end is heard as that of a session of its own.
        Ok(self.link.get_or_init(|| link))
    }

    /// Chooses the instance by the bridge's isolation and what the client's `initialize` declares.
    fn attach(&self, message: &Message) -> Result<Link, (Refusal, Refused, ErrorObject)> {
        let initialize = Request::of(&message.method()) == Request::Initialize;
        let dedicated = self.transport.is_some()
            && match self.bridge.settings().isolation {
                Isolation::Shared => false,
                Isolation::Session => true,
                Isolation::Auto => {
                    let params = message.part(message.envelope().params).unwrap_or_default();
                    initialize && ClientCapabilities::declared(params).any()
                }
            };
        if dedicated && !initialize {
            let error = ErrorObject::new(code::INVALID_REQUEST, "send initialize first");
            return Err((Refusal::Invalid, Refused::Malformed, error));
        }
        let instance = if dedicated {
            self.bridge
                .0
                .pool
                .take()
                .ok_or_else(|| too_many_instances(&self.bridge))?
        } else {
            self.bridge.0.shared.clone()
        };
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
            close: Some(close),
        })
    }

    fn refuse(
        &self,
        message: &Message,
        address: &Mailbox,
        refusal: Refusal,
        reason: Refused,
        error: &ErrorObject,
    ) {
        self.bridge.metrics().refused(reason);
        if message.kind() == Kind::Request {
            deliver(address, message.id(), refusal, error);
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

fn deliver(address: &Mailbox, id: Option<&[u8]>, refusal: Refusal, error: &ErrorObject) {
    address.push(Delivery {
        kind: DeliveryKind::Refusal(refusal),
        body: error.response(id).into(),
    });
}

fn full(bridge: &str) -> (Refusal, Refused, ErrorObject) {
    let error = ErrorObject::new(
        code::OVERLOADED,
        format!("too much is queued for the MCP server {bridge}"),
    );
    (
        Refusal::Overloaded {
            retry_after: RETRY_WHEN_FULL,
        },
        Refused::QueueFull,
        error,
    )
}

fn ended() -> (Refusal, Refused, ErrorObject) {
    let error = ErrorObject::new(
        code::SHUTTING_DOWN,
        "the MCP server of this session has ended",
    );
    (Refusal::ShuttingDown, Refused::Draining, error)
}

fn too_many_instances(bridge: &Bridge) -> (Refusal, Refused, ErrorObject) {
    let limit = bridge.settings().limits.max_instances;
    let text = format!(
        "all {limit} instances of bridge {} (max_instances) serve a session already; end one, or wait",
        bridge.name()
    );
    (
        Refusal::Overloaded {
            retry_after: std::time::Duration::from_secs(10),
        },
        Refused::Instances,
        ErrorObject::new(code::OVERLOADED, text),
    )
}
