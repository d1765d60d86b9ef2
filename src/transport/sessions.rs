//! The sessions of one listener: found by id, bounded in number, ended when idle.
//!
//! When `max_sessions` are open, a new client takes the place of one that never said a second word (the oldest of them),
//! else of the one that has been idle longest, if that is over 60 s, without a stream or a request; else it is refused.
//! A session counts as idle when no stream of it is open and no request of it waits.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use tokio::time::Instant;

use super::Reject;
use super::backend::{Backend, Conversation};
use super::replay::Streams;
use crate::bridge::{Answers, Budget, Mailbox, Transport};
use crate::jsonrpc::Message;
use crate::memory::fit;

/// Idle time from which a session may be ended for a new one.
const EVICTABLE: Duration = Duration::from_secs(60);
/// How long notifications wait after a session's last answer: clients that open a session for a single operation close
/// at that point, and some lose the finished result to a notification meanwhile.
pub(super) const QUIET: Duration = Duration::from_millis(250);
/// Time that a client has for its second word before another client takes its instance.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// How often at most and at least the sweeper looks.
const SWEEP: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// 128 bits from the system's generator, as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SessionId(u128);

impl SessionId {
    fn new() -> SessionId {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)
            .expect("the system's random generator works from early boot on");
        SessionId(u128::from_ne_bytes(bytes))
    }

    /// Reads what [`fmt::Display`] wrote, and nothing else.
    pub(super) fn parse(text: &[u8]) -> Option<SessionId> {
        if text.len() != 32 {
            return None;
        }
        text.iter()
            .try_fold(0u128, |id, &byte| {
                let digit = match byte {
                    b'0'..=b'9' => byte - b'0',
                    b'a'..=b'f' => byte - b'a' + 10,
                    _ => return None,
                };
                Some(id << 4 | u128::from(digit))
            })
            .map(SessionId)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Whoever holds the id holds the session, so logs show only its beginning.
impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}…", (self.0 >> 96) as u32)
    }
}

/// All sessions of one listener.
#[derive(Debug)]
pub(super) struct Sessions {
    backend: Arc<dyn Backend>,
    start: Instant,
    open: Mutex<HashMap<SessionId, Arc<Client>, foldhash::fast::RandomState>>,
    kept: Arc<AtomicUsize>,
}

/// One client's session as HTTP sees it.
#[derive(Debug)]
pub(super) struct Client {
    /// Its id.
    pub id: SessionId,
    /// How it speaks.
    pub transport: Transport,
    /// Its resumable streams.
    pub streams: Mutex<Streams>,
    outlet: Arc<Mailbox>,
    /// Gone once the session is ended, whoever still holds the client.
    session: Mutex<Option<Box<dyn Conversation>>>,
    start: Instant,
    opened: u64,
    used: AtomicU64,
    answers: Arc<Answers>,
    words: AtomicU32,
    open_streams: AtomicUsize,
    requests: AtomicUsize,
}

impl Sessions {
    /// No sessions yet.
    pub(super) fn new(backend: Arc<dyn Backend>) -> Arc<Sessions> {
        Arc::new(Sessions {
            backend,
            start: Instant::now(),
            open: Mutex::default(),
            kept: Arc::default(),
        })
    }

    /// What is queued for clients, over all listeners.
    pub(super) fn budget(&self) -> &Arc<Budget> {
        self.backend.budget()
    }

    /// Waits until a session can get a server of its own, at most `patience`.
    pub(super) async fn room(&self, patience: Duration) {
        self.backend.room(patience).await;
    }

    /// Ends an idle instance that is kept for stateless clients; false when there is none.
    pub(super) fn evict_idle(&self) -> bool {
        self.backend.evict_idle()
    }

    /// What the rings of all streams count their bytes in.
    pub(super) fn kept(&self) -> &Arc<AtomicUsize> {
        &self.kept
    }

    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Opens one for a client that sent `headers`; ends another one when there are too many.
    ///
    /// # Errors
    /// [`Reject::Draining`], [`Reject::Sessions`], and what the backend says of the headers.
    pub(super) fn open(
        &self,
        transport: Transport,
        headers: &HeaderMap,
    ) -> Result<Arc<Client>, Reject> {
        if self.backend.is_draining() {
            return Err(Reject::Draining);
        }
        let limit = self.backend.max_sessions();
        let outlet = Mailbox::new(self.backend.budget());
        let session = self.backend.open(transport, &outlet, headers)?;
        let (id, now) = (SessionId::new(), self.now());
        tracing::debug!(
            bridge = self.backend.name(),
            session = session.number(),
            ?id,
            transport = transport.as_str(),
            "session opens"
        );
        let client = Arc::new(Client {
            id,
            transport,
            streams: Mutex::default(),
            outlet,
            session: Mutex::new(Some(session)),
            start: self.start,
            opened: now,
            used: AtomicU64::new(now),
            answers: Arc::default(),
            words: AtomicU32::new(0),
            open_streams: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
        });
        let evicted = {
            let mut open = self.lock();
            let evicted = if open.len() < limit {
                None
            } else {
                let victim = choose(open.values().map(|client| client.standing()), now)
                    .ok_or(Reject::Sessions)?;
                Some(open.remove(&victim).ok_or(Reject::Sessions)?)
            };
            open.insert(client.id, client.clone());
            evicted
        };
        if let Some(evicted) = evicted {
            tracing::debug!(bridge = self.backend.name(), session = ?evicted.id, "too many sessions, ended one");
            evicted.end();
        }
        Ok(client)
    }

    /// The open session of that id and transport, if it belongs to whoever sent `headers`.
    ///
    /// # Errors
    /// [`Reject::SessionUnknown`], also when its instance ended.
    pub(super) fn find(
        &self,
        id: &[u8],
        transport: Transport,
        headers: &HeaderMap,
    ) -> Result<Arc<Client>, Reject> {
        let id = SessionId::parse(id).ok_or(Reject::SessionUnknown)?;
        let client = self
            .lock()
            .get(&id)
            .cloned()
            .ok_or(Reject::SessionUnknown)?;
        if client.transport != transport || !client.is_of(headers) {
            return Err(Reject::SessionUnknown);
        }
        if client.is_over() {
            self.end(id);
            return Err(Reject::SessionUnknown);
        }
        client.touch();
        Ok(client)
    }

    /// Ends one: its calls are cancelled, its streams close. Nothing happens when it is not open.
    pub(super) fn end(&self, id: SessionId) {
        let client = {
            let mut open = self.lock();
            let client = open.remove(&id);
            fit(&mut open);
            client
        };
        if let Some(client) = client {
            client.end();
        }
    }

    /// Ends all.
    pub(super) fn end_all(&self) {
        let all = std::mem::take(&mut *self.lock());
        for client in all.into_values() {
            client.end();
        }
    }

    /// Ends the session with an instance of its own that has been idle longest, by the rule for too many sessions.
    pub(super) fn end_idle_dedicated(&self) -> bool {
        let now = self.now();
        let victim = {
            let open = self.lock();
            choose(
                open.values()
                    .filter(|client| client.is_dedicated())
                    .map(|client| client.standing())
                    .filter(|standing| !standing.has_just_spoken(now)),
                now,
            )
        };
        let Some(victim) = victim else { return false };
        self.end(victim);
        true
    }

    /// Ends those whose idle time or instance is over, and forgets old events.
    pub(super) fn sweep(&self) {
        let idle = self.backend.session_idle();
        let (now, instant) = (self.now(), Instant::now());
        let clients: Vec<_> = self.lock().values().cloned().collect();
        for client in clients {
            if client.is_over() || client.standing().idle(now).is_some_and(|time| time >= idle) {
                tracing::debug!(bridge = self.backend.name(), session = ?client.id, "session ended: idle too long, or its instance is gone");
                self.end(client.id);
            } else {
                client.streams().sweep(instant);
            }
        }
    }

    /// Sweeps until dropped.
    pub(super) async fn keep_swept(self: Arc<Self>) {
        loop {
            let idle = self.backend.session_idle();
            tokio::time::sleep((idle / 4).clamp(SWEEP.0, SWEEP.1)).await;
            self.sweep();
        }
    }

    fn now(&self) -> u64 {
        millis(self.start.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Client>, foldhash::fast::RandomState>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// Hands a message to the session; an ended one takes nothing, and its calls are answered already.
    pub(super) fn send(&self, message: Message, address: &Arc<Mailbox>) {
        self.words.fetch_add(1, Ordering::Relaxed);
        match &*self.session() {
            Some(session) => session.send(message, address),
            None => address.close(),
        }
    }

    /// What is meant for the client and belongs to no request.
    pub(super) fn outlet(&self) -> &Arc<Mailbox> {
        &self.outlet
    }

    /// Whether a revision was negotiated and `accepts` it.
    pub(super) fn version_is(&self, accepts: impl FnOnce(&str) -> bool) -> bool {
        self.session()
            .as_ref()
            .and_then(|session| session.version())
            .is_some_and(accepts)
    }

    /// Requests that wait for their answer.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Counts a request; see [`Client::answered`].
    pub(super) fn asked(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// A request counted by [`Client::asked`] is over.
    pub(super) fn answered(&self) {
        // An answer to nothing must not make the count wrap.
        let less = |count: usize| count.checked_sub(1);
        if self
            .requests
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_err()
        {
            tracing::debug!(session = ?self.id, "an answer that nobody asked for");
        }
        self.touch();
    }

    /// Until when nothing unsolicited is sent: no POST waits for an answer, and the last one came only just now.
    pub(super) fn quiet_until(&self) -> Option<Instant> {
        let until = self.answers.last()? + QUIET;
        (until > Instant::now()).then_some(until)
    }

    /// The answers to its POSTs.
    pub(super) fn answers(&self) -> &Arc<Answers> {
        &self.answers
    }

    /// Counts a request until dropped.
    pub(super) fn busy(self: &Arc<Client>) -> Busy {
        self.asked();
        Busy(self.clone())
    }

    /// Counts a stream until dropped.
    pub(super) fn streaming(self: &Arc<Client>) -> Streaming {
        self.open_streams.fetch_add(1, Ordering::Relaxed);
        Streaming(self.clone())
    }

    /// Its resumable streams.
    pub(super) fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.session()
            .as_ref()
            .is_none_or(|session| session.is_over())
    }

    /// An ended one is anybody's, for it has nothing more to give.
    fn is_of(&self, headers: &HeaderMap) -> bool {
        self.session()
            .as_ref()
            .is_none_or(|session| session.is_of(headers))
    }

    fn is_dedicated(&self) -> bool {
        self.session()
            .as_ref()
            .is_some_and(|session| session.is_dedicated())
    }

    fn touch(&self) {
        self.used
            .store(millis(self.start.elapsed()), Ordering::Relaxed);
    }

    fn end(&self) {
        // Dropped outside the lock: it tells the bridge.
        let session = self.session().take();
        drop(session);
        self.outlet.close();
    }

    fn session(&self) -> MutexGuard<'_, Option<Box<dyn Conversation>>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn standing(&self) -> Standing {
        Standing {
            id: self.id,
            opened: self.opened,
            used: self.used.load(Ordering::Relaxed),
            words: self.words.load(Ordering::Relaxed),
            streams: self.open_streams.load(Ordering::Relaxed),
            // A call whose client went away goes on, and can be asked for again.
            requests: self.requests().max(self.answers.expected()),
        }
    }
}

/// A request that waits for its answer.
#[derive(Debug)]
pub(super) struct Busy(Arc<Client>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.answered();
    }
}

/// A stream that is open.
#[derive(Debug)]
pub(super) struct Streaming(Arc<Client>);

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.open_streams.fetch_sub(1, Ordering::Relaxed);
        self.0.touch();
    }
}

/// What decides which session has to go. Times are milliseconds since the bridge's start.
#[derive(Debug, Clone, Copy)]
struct Standing {
    id: SessionId,
    opened: u64,
    used: u64,
    words: u32,
    streams: usize,
    requests: usize,
}

impl Standing {
    fn has_just_spoken(&self, now: u64) -> bool {
        now.saturating_sub(self.used) < millis(HANDSHAKE)
    }

    fn idle(&self, now: u64) -> Option<Duration> {
        (self.streams == 0 && self.requests == 0)
            .then(|| Duration::from_millis(now.saturating_sub(self.used)))
    }
}

fn choose(sessions: impl Iterator<Item = Standing>, now: u64) -> Option<SessionId> {
    let (mut silent, mut idle) = (None::<Standing>, None::<Standing>);
    for session in sessions {
        if session.words <= 1
            && session.requests == 0
            && silent.is_none_or(|other| session.opened < other.opened)
        {
            silent = Some(session);
        }
        if session.idle(now).is_some_and(|time| time > EVICTABLE)
            && idle.is_none_or(|other| session.used < other.used)
        {
            idle = Some(session);
        }
    }
    silent.or(idle).map(|session| session.id)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
