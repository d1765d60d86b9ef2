//! What a listener stands before: one bridge, or all of them as one.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;

use super::Reject;
use crate::bridge::{Bridge, Budget, Mailbox, Session, Transport};
use crate::jsonrpc::Message;

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

    /// Waits until a session can get a server of its own, at most `patience`. Dropping the future changes nothing.
    fn room<'a>(&'a self, patience: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}

/// One client's session, as a transport needs it. Dropping it ends it: its calls are cancelled.
pub trait Conversation: Debug + Send + Sync {
    /// Takes a message of the client; never waits. A request gets exactly one delivery at `address` that ends it.
    fn send(&self, message: Message, address: &Arc<Mailbox>);

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

    fn room<'a>(&'a self, patience: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(Bridge::room(self, patience))
    }
}

impl Conversation for Session {
    fn send(&self, message: Message, address: &Arc<Mailbox>) {
        Session::send(self, message, address);
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
