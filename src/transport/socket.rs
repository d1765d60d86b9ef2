//! A client's socket with its time limits.
//!
//! The socket sees reads and writes, the service sees requests begin and end; together they show what a silent client is
//! late with, and [`Watch`] waits for it: the head of its first request (counted from the connection), the rest of a head (from its first byte), the
//! next request (from the last answer), or reading what we write (from the first write that did not fit). Timers are
//! armed only when a read or a write has to wait, and are moved only when they fire too early, so that a busy connection
//! touches no timer.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::http::Response;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// From a head's first byte (or the connection) to its end. 10 s.
    pub head: Duration,
    /// From an answer to the next request. 75 s.
    pub idle: Duration,
    /// From a write that does not fit to the next progress. 30 s.
    pub stall: Duration,
    /// For reading on after an error response, so that the client gets to see it. 2 s.
    pub linger: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            stall: Duration::from_secs(30),
            linger: Duration::from_secs(2),
        }
    }
}

/// Bytes read on at most while lingering.
const LINGERING: usize = 32 * 1024 * 1024;

/// What socket and service tell each other and the [`Watch`].
#[derive(Debug, Default)]
pub(super) struct Progress {
    begun: AtomicU32,
    ended: AtomicU32,
    /// Bytes came while no request was served.
    heard: AtomicBool,
    linger: AtomicBool,
    /// Something was written that was not flushed yet.
    unflushed: AtomicBool,
    handed: AtomicBool,
    stream: Mutex<Option<Response<Body>>>,
}

impl Progress {
    /// A request's head is there.
    pub(super) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.heard.store(false, Ordering::Relaxed);
    }

    /// Its response is known; after an error the client may still be sending its body.
    pub(super) fn respond(&self, is_error: bool) {
        self.linger.store(is_error, Ordering::Relaxed);
    }

    /// Its response is out.
    pub(super) fn end(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether all earlier responses have left for the system.
    pub(super) fn is_flushed(&self) -> bool {
        !self.unflushed.load(Ordering::Relaxed)
    }

    /// Leaves a long-lived response to the task of the connection.
    pub(super) fn hand_over(&self, response: Response<Body>) {
        *self.stream.lock().unwrap_or_else(PoisonError::into_inner) = Some(response);
        self.handed.store(true, Ordering::Relaxed);
    }

    /// The response that was left.
    pub(super) fn handed_over(&self) -> Option<Response<Body>> {
        if !self.handed.swap(false, Ordering::Relaxed) {
            return None;
        }
        self.stream
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    fn is_serving(&self) -> bool {
        self.begun.load(Ordering::Relaxed) != self.ended.load(Ordering::Relaxed)
    }
}

/// Watches a connection for what its client is late with.
#[derive(Debug)]
pub(super) struct Watch {
    progress: Arc<Progress>,
    timeouts: Timeouts,
    seen: u32,
    waiting: Waiting,
    timer: Option<Pin<Box<Sleep>>>,
}

/// What is waited for while no request is served.
#[derive(Debug, Clone, Copy)]
enum Waiting {
    /// Not known yet: a request has just been served.
    Fresh,
    Idle(Instant),
    Head(Instant),
}

/// What a client was late with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    /// The next request on a connection that was kept.
    Request,
    /// A head, or the rest of it.
    Head,
}

impl Watch {
    /// Watches a connection that was just accepted.
    pub(super) fn new(progress: Arc<Progress>, timeouts: Timeouts) -> Watch {
        let waiting = Waiting::Head(Instant::now() + timeouts.head);
        Watch {
            progress,
            timeouts,
            seen: 0,
            waiting,
            timer: None,
        }
    }

    /// Ready when the client is late. To be polled after the connection, which knows more then.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Late> {
        let begun = self.progress.begun.load(Ordering::Relaxed);
        if begun != self.seen {
            self.seen = begun;
            self.waiting = Waiting::Fresh;
        }
        if self.progress.is_serving() {
            return Poll::Pending;
        }
        match self.waiting {
            Waiting::Fresh | Waiting::Idle(_) if self.progress.heard.load(Ordering::Relaxed) => {
                self.waiting = Waiting::Head(Instant::now() + self.timeouts.head);
            }
            Waiting::Fresh => self.waiting = Waiting::Idle(Instant::now() + self.timeouts.idle),
            _ => {}
        }
        let (due, late) = match self.waiting {
            Waiting::Fresh => return Poll::Pending,
            Waiting::Idle(due) => (due, Late::Request),
            Waiting::Head(due) => (due, Late::Head),
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if timer.deadline() > due {
            timer.as_mut().reset(due);
        }
        loop {
            ready!(timer.as_mut().poll(context));
            if timer.deadline() >= due {
                return Poll::Ready(late);
            }
            timer.as_mut().reset(due);
        }
    }
}

/// The socket.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    progress: Arc<Progress>,
    timeouts: Timeouts,
    linger_timer: Option<Pin<Box<Sleep>>>,
    write_timer: Option<Pin<Box<Sleep>>>,
    shut: bool,
    lingered: usize,
}

impl Socket {
    /// Wraps a connection that was just accepted.
    pub(super) fn new(stream: TcpStream, progress: Arc<Progress>, timeouts: Timeouts) -> Socket {
        Socket {
            stream,
            progress,
            timeouts,
            linger_timer: None,
            write_timer: None,
            shut: false,
            lingered: 0,
        }
    }

    /// Passes `outcome` on, or an error when writing has made no progress for too long.
    fn unless_stalled<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.write_timer = None;
            return outcome;
        }
        let stall = self.timeouts.stall;
        let timer = self
            .write_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        timer
            .as_mut()
            .poll(context)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_read(context, buffer);
        if outcome.is_ready() && !this.progress.is_serving() {
            this.progress.heard.store(true, Ordering::Relaxed);
        }
        outcome
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.progress.unflushed.store(true, Ordering::Relaxed);
        let outcome = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.unless_stalled(context, outcome)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.progress.unflushed.store(true, Ordering::Relaxed);
        let outcome = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.unless_stalled(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes when it has nothing left to write; a TCP socket has nothing to flush.
        self.progress.unflushed.store(false, Ordering::Relaxed);
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    /// Closes our side. After an error response it then reads on for a while: closing with unread bytes would reset the
    /// connection and take the response from the client (RFC 9112 § 9.6).
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.shut {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            this.shut = true;
        }
        if !this.progress.linger.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let mut scratch = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut this.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() && this.lingered < LINGERING => {
                    this.lingered += buffer.filled().len();
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => break,
            }
        }
        let linger = this.timeouts.linger;
        let timer = this
            .linger_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(linger)));
        timer.as_mut().poll(context).map(Ok)
    }
}
