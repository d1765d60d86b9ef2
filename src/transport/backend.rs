//! What a listener stands before: one bridge, or all of them as one.

use std::fmt::{self, Debug};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use bytes::Bytes;
use tokio::time::Instant;

use super::{Reject, guard};
use crate::bridge::{Bridge, Budget, Mailbox, Part, Principal, Session, Transport, Visit};
use crate::jsonrpc::Message;
use crate::mcp::Era;
use crate::mcp::mirrored::Mirrored;

/// Where sessions come from.
pub trait Backend: Debug + Send + Sync {
    /// For logs.
    fn name(&self) -> &str;

    /// What is queued for clients, over all listeners.
    fn budget(&self) -> &Arc<Budget>;

    /// Whether it is stopping.
    fn is_draining(&self) -> bool;

    /// Sessions that may be open at the same time.
    fn max_sessions(&self) -> usize;

    /// Idle time after which a session ends.
    fn session_idle(&self) -> Duration;

    /// A new session for a client that sent `headers`; unsolicited messages go to `outlet`.
    ///
    /// # Errors
    /// What is wrong with the headers.
    fn open(
        &self,
        transport: Transport,
        outlet: &Arc<Mailbox>,
        headers: &HeaderMap,
    ) -> Result<Box<dyn Conversation>, Reject>;

    /// A session that is one request of a stateless client.
    ///
    /// # Errors
    /// What is wrong with the headers.
    fn visit(
        &self,
        outlet: &Arc<Mailbox>,
        headers: &HeaderMap,
        visit: Visit,
    ) -> Result<Box<dyn Conversation>, Reject>;

    /// Whether a visit of a client that can be asked something has to begin with `initialize`.
    fn greets(&self) -> bool;

    /// Who sent `headers`.
    fn principal(&self, headers: &HeaderMap) -> Principal;

    /// Which era the server speaks; `None` as long as that is not known.
    fn era(&self) -> Option<Era>;

    /// The JSON list of the revisions that a modern server speaks.
    fn supported_versions(&self) -> Option<Bytes>;

    /// Waits until the era is known, as long as a request would wait. Dropping the future changes nothing.
    fn settled<'a>(&'a self) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

    /// The tool parameters that clients mirror into headers.
    fn mirrored(&self) -> Known<'_>;

    /// How long a call waits for the input of its client.
    fn input_timeout(&self) -> Duration;

    /// Ends an idle instance that is kept for stateless clients; false when there is none.
    fn evict_idle(&self) -> bool;

    /// Waits until a session can get a server of its own, at most `patience`. Dropping the future changes nothing.
    fn room<'a>(&'a self, patience: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}

/// What is known now, or will be.
pub enum Known<'a> {
    /// Now.
    Now(Arc<Mirrored>),
    /// Later, if it can be had. Dropping the future changes nothing.
    Later(Pin<Box<dyn Future<Output = Option<Arc<Mirrored>>> + Send + 'a>>),
}

impl Debug for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Known::Now(mirrored) => f.debug_tuple("Now").field(mirrored).finish(),
            Known::Later(_) => f.write_str("Later"),
        }
    }
}

impl Known<'_> {
    /// Waits for it.
    pub(super) async fn get(self) -> Option<Arc<Mirrored>> {
        match self {
            Known::Now(mirrored) => Some(mirrored),
            Known::Later(later) => later.await,
        }
    }
}

/// One client's session, as a transport needs it. Dropping it ends it: its calls are cancelled.
pub trait Conversation: Debug + Send + Sync {
    /// Takes a message of the client; never waits. A request gets exactly one delivery at `address` that ends it.
    fn send(&self, message: Message, address: &Arc<Mailbox>);

    /// Its calls wait for their client until then and don't time out before; with `None` for the server again.
    fn hold(&self, until: Option<Instant>);

    /// Its only request was answered.
    fn answered(&self);

    /// The revision agreed on, once `initialize` was answered.
    fn version(&self) -> Option<&str>;

    /// Whether it has ended from the server's side.
    fn is_over(&self) -> bool;

    /// Whether a server runs for it alone.
    fn is_dedicated(&self) -> bool;

    /// Its number in the log.
    fn number(&self) -> u64;

    /// Whether it is the conversation of whoever sent `headers`.
    fn is_of(&self, headers: &HeaderMap) -> bool;
}

impl Backend for Bridge {
    fn name(&self) -> &str {
        Bridge::name(self)
    }

    fn budget(&self) -> &Arc<Budget> {
        Bridge::budget(self)
    }

    fn is_draining(&self) -> bool {
        Bridge::is_draining(self)
    }

    fn max_sessions(&self) -> usize {
        self.settings().limits.max_sessions
    }

    fn session_idle(&self) -> Duration {
        self.settings().timing.session_idle
    }

    fn open(
        &self,
        transport: Transport,
        outlet: &Arc<Mailbox>,
        _headers: &HeaderMap,
    ) -> Result<Box<dyn Conversation>, Reject> {
        Ok(Box::new(Bridge::open(self, transport, outlet.clone())))
    }

    fn visit(
        &self,
        outlet: &Arc<Mailbox>,
        _headers: &HeaderMap,
        visit: Visit,
    ) -> Result<Box<dyn Conversation>, Reject> {
        let transport = Transport::Stateless;
        let session = self.open_visit(transport, outlet.clone(), Part::default(), visit);
        Ok(Box::new(session))
    }

    fn greets(&self) -> bool {
        false
    }

    fn principal(&self, headers: &HeaderMap) -> Principal {
        Principal::of(&guard::presented(headers))
    }

    fn era(&self) -> Option<Era> {
        Bridge::era(self)
    }

    fn supported_versions(&self) -> Option<Bytes> {
        Bridge::supported_versions(self)
    }

    fn settled<'a>(&'a self) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(Bridge::settled(self))
    }

    fn mirrored(&self) -> Known<'_> {
        match self.mirrored_now() {
            Some(mirrored) => Known::Now(mirrored),
            None => Known::Later(Box::pin(Bridge::mirrored(self))),
        }
    }

    fn input_timeout(&self) -> Duration {
        self.settings().timing.input_timeout
    }

    fn evict_idle(&self) -> bool {
        Bridge::evict_idle(self)
    }

    fn room<'a>(&'a self, patience: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(Bridge::room(self, patience))
    }
}

impl Conversation for Session {
    fn send(&self, message: Message, address: &Arc<Mailbox>) {
        Session::send(self, message, address);
    }

    fn hold(&self, until: Option<Instant>) {
        Session::hold(self, until);
    }

    fn answered(&self) {
        Session::answered(self);
    }

    fn version(&self) -> Option<&str> {
        Session::version(self)
    }

    fn is_over(&self) -> bool {
        Session::is_over(self)
    }

    fn is_dedicated(&self) -> bool {
        Session::is_dedicated(self)
    }

    fn number(&self) -> u64 {
        Session::number(self)
    }

    fn is_of(&self, _headers: &HeaderMap) -> bool {
        true
    }
}
