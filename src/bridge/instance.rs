//! The handle to one instance, and what is shared between a session and the task that owns its instance.

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::Instant;

use super::handshake::Hello;
use super::mailbox::Mailbox;
use super::mux::SessionKey;
use crate::config::{self, Secret};
use crate::jsonrpc::Message;
use crate::mcp::ClientCapabilities;

/// Bytes that may wait for one server; above it requests are refused.
pub(crate) const MAX_QUEUED: usize = 8 * 1024 * 1024;
/// Messages that may wait for the task of one instance, besides one place per session for its end.
pub(crate) const MAX_COMMANDS: usize = 8192;

/// What a session tells the task that owns its instance.
#[derive(Debug)]
pub(crate) enum Command {
    /// A session is there.
    Open(SessionKey, Arc<Facts>),
    /// A message of the client; answers go to the mailbox.
    Message(SessionKey, Message, Arc<Mailbox>),
    /// The session is over.
    Close(SessionKey),
    /// Its calls wait for their client until then; `None`: for the server again.
    Hold(SessionKey, Option<Instant>),
    /// A dedicated instance is to serve many sessions, and is initialised for all of them with this.
    Adopt(Box<Hello>),
    /// A sign of life is wanted.
    Beat,
    /// What a mistake in the task would do.
    #[cfg(test)]
    Panic,
}

/// What all instances of a bridge are to do, latest wins.
#[derive(Debug, Clone)]
pub(crate) struct Orders {
    /// The configuration in force.
    pub(crate) settings: Arc<config::Bridge>,
    /// How long calls in flight may go on when a server is started anew.
    pub(crate) drain: Duration,
    /// Grows when the servers are to be started anew.
    pub(crate) restarts: u64,
    /// Whether to go on.
    pub(crate) halt: Halt,
}

/// Whether an instance is to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Halt {
    /// Yes.
    No,
    /// No new requests; those in flight may finish until then.
    Drain(Instant),
    /// Kill what is left.
    Now,
}

/// A session that is part of a larger conversation, such as one with several servers. The default is a whole one.
#[derive(Debug, Default, Clone)]
pub struct Part {
    /// Requests of the server to the client get ids above this one, so that those of several parts stay apart.
    pub asks_above: u64,
    /// Variables that the server gets beside its own; with any the session has an instance of its own.
    pub env: Vec<(OsString, Secret)>,
}

/// What a session and its instance know of each other.
#[derive(Debug)]
pub(crate) struct Facts {
    /// How it stands in a larger conversation.
    pub(crate) part: Part,
    /// What its client can be asked, where no `initialize` says so.
    pub(crate) declared: ClientCapabilities,
    /// Where unsolicited messages go.
    pub(crate) outlet: Arc<Mailbox>,
    /// The revision agreed on in `initialize`.
    pub(crate) version: OnceLock<String>,
    /// The instance has ended, and the session with it.
    pub(crate) over: AtomicBool,
}

impl Facts {
    pub(crate) fn new(
        outlet: Arc<Mailbox>,
        part: Part,
        declared: ClientCapabilities,
    ) -> Arc<Facts> {
        Arc::new(Facts {
            part,
            declared,
            outlet,
            version: OnceLock::new(),
            over: AtomicBool::new(false),
        })
    }

    /// The session ends from the server's side.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.outlet.close();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

/// What the task of an instance lets others see without asking: what is on its way to the server and back, signs of life.
#[derive(Debug, Default)]
pub(crate) struct Queued {
    /// In the channel to the task.
    pub(crate) incoming: AtomicUsize,
    /// In the task's outbox.
    pub(crate) outgoing: AtomicUsize,
    /// Requests that the server has not answered.
    pub(crate) in_flight: AtomicUsize,
    /// Signs of life of the task.
    pub(crate) beats: AtomicU64,
    /// Changes of the server's tools, new servers among them.
    pub(crate) tool_lists: AtomicU64,
    /// A dedicated instance has lost its server: nobody new is to be sent there.
    pub(crate) is_ending: AtomicBool,
}

/// How to reach the task that owns an instance. The task ends when all handles are gone.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) queued: Arc<Queued>,
}

impl Instance {
    /// Whether it has no server any more and gets none.
    pub(crate) fn is_over(&self) -> bool {
        self.commands.is_closed() || self.queued.is_ending.load(Ordering::Acquire)
    }
}

/// Why a command did not reach the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unsent {
    /// Too much waits already.
    Full,
    /// The instance has ended.
    Ended,
}

impl Instance {
    /// Hands `message` over without waiting.
    ///
    /// # Errors
    /// [`Unsent`] and the message, with nothing changed.
    pub(crate) fn send(
        &self,
        session: SessionKey,
        message: Message,
        address: &Arc<Mailbox>,
    ) -> Result<(), Box<(Unsent, Message)>> {
        let size = message.text().len();
        let before = self.queued.incoming.fetch_add(size, Ordering::Relaxed);
        let waiting = before + self.queued.outgoing.load(Ordering::Relaxed);
        let (unsent, message) = if waiting > 0 && waiting + size > MAX_QUEUED {
            (Unsent::Full, message)
        } else {
            match self.commands.try_reserve() {
                Ok(place) => {
                    place.send(Command::Message(session, message, address.clone()));
                    return Ok(());
                }
                Err(TrySendError::Full(())) => (Unsent::Full, message),
                Err(TrySendError::Closed(())) => (Unsent::Ended, message),
            }
        };
        self.queued.incoming.fetch_sub(size, Ordering::Relaxed);
        Err(Box::new((unsent, message)))
    }
}

/// How long a client that met a full queue should wait.
pub(crate) const RETRY_WHEN_FULL: Duration = Duration::from_secs(1);
