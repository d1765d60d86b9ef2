//! A way through the multiplexer for `benches/micro.rs`; nothing of the program calls it.
//!
//! It is hidden, and always compiled: behind a feature the benchmarks would be left out of `cargo bench` and of every check
//! that doesn't name it. The linker leaves it out of the program.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::instance::Part;
use super::mailbox::{Budget, Mailbox, Reader};
use super::mux::{Mux, Output, Service, SessionKey};
use crate::config::{self, Command, Listen};
use crate::jsonrpc::{Body, Message};
use crate::mcp::ClientCapabilities;
use crate::metrics::Metrics;

const SESSION: SessionKey = SessionKey(1);

/// One session at a shared server, without the server.
#[derive(Debug)]
pub struct RoundTrip {
    mux: Mux<Arc<Mailbox>>,
    out: Output<Arc<Mailbox>>,
    mailbox: Arc<Mailbox>,
    reader: Reader,
    now: Instant,
}

impl RoundTrip {
    /// With a session that is open.
    #[expect(
        clippy::new_without_default,
        reason = "it is made in one place, by its name"
    )]
    #[must_use]
    pub fn new() -> RoundTrip {
        let listen = Listen::loopback(0);
        let settings = config::Bridge::new("bench".to_owned(), listen, Command::new("x".into()));
        let metrics = Metrics::new().bridge("bench");
        let mut mux = Mux::new(Service::Shared { asks: false }, Arc::new(settings), metrics);
        let mailbox = Mailbox::new(&Arc::<Budget>::default());
        let (part, capabilities) = (Part::default(), ClientCapabilities::default());
        mux.open(SESSION, mailbox.clone(), &part, capabilities);
        RoundTrip {
            mux,
            out: Output::default(),
            reader: mailbox.reader(),
            mailbox,
            now: Instant::now(),
        }
    }

    /// A client's request becomes a line for the server, which takes it; the n-th one has the id n there. Returns its size.
    ///
    /// # Panics
    /// When the multiplexer does not pass it on.
    pub fn request(&mut self, request: &Message) -> usize {
        let (address, now) = (self.mailbox.clone(), self.now);
        self.mux
            .request(SESSION, request, address, false, now, &mut self.out);
        let taken = self.out.outbox.discard();
        assert!(taken > 0, "the request was refused");
        taken
    }

    /// The server's answer reaches the client's mailbox and is read there.
    ///
    /// # Panics
    /// When it answers no request that is in flight.
    pub fn answer(&mut self, answer: Message) -> Body {
        self.mux.receive(answer, self.now, &mut self.out);
        for (mailbox, delivery) in self.out.deliveries.drain(..) {
            mailbox.push(delivery);
        }
        let mut context = Context::from_waker(Waker::noop());
        match self.reader.poll_next(&mut context) {
            Poll::Ready(Some(delivery)) => delivery.body,
            _ => panic!("the answer was delivered to nobody"),
        }
    }
}
