//! MCP sessions as a load generator drives them: HTTP+SSE (2024-11-05), Streamable HTTP (2025-03-26 to 2025-11-25), and
//! what of the stateless revision (2026-07-28) stands for a session ([`Stateless`]).
//!
//! `open` does the handshake and waits for each answer; `drive` then keeps calls in flight until the meter says stop, with every
//! answer checked by a [`Ledger`]. Writers are tasks of their own behind an [`Outbox`], so a target that doesn't read can't stop
//! us from reading what it sends.

mod stateless;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use bytes::BytesMut;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::error::{Error, Result};
use crate::events::Events;
use crate::http::{self, Connection, Framing, Target};
use crate::ledger::{Ledger, Shape};
use crate::meter::Meter;

pub(crate) use stateless::Stateless;

/// The newest revision with a handshake.
const REVISION: &str = "2025-11-25";

/// Bytes to be written by a task of their own. Not bounded by itself: what is in it is bounded by the calls in flight.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: RefCell<Vec<u8>>,
    filled: Notify,
}

impl Outbox {
    /// Lets `put` append to what is to be written.
    pub(crate) fn put(&self, put: impl FnOnce(&mut Vec<u8>)) {
        put(&mut self.bytes.borrow_mut());
        self.filled.notify_one();
    }

    /// Writes whatever is put, until writing fails.
    ///
    /// # Errors
    /// The failed write.
    pub(crate) async fn write_to(&self, mut writer: impl AsyncWrite + Unpin) -> Result<()> {
        let mut batch = Vec::new();
        loop {
            std::mem::swap(&mut batch, &mut *self.bytes.borrow_mut());
            if batch.is_empty() {
                self.filled.notified().await;
                continue;
            }
            writer
                .write_all(&batch)
                .await
                .map_err(Error::io("sending a request"))?;
            batch.clear();
        }
    }
}

/// The `initialize` request; its id is out of the way of the ledgers' ids.
pub(crate) fn initialize() -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{REVISION}","capabilities":{{}},"clientInfo":{{"name":"load","version":"1"}}}}}}"#
    )
}

/// The notification that ends the handshake.
pub(crate) const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// Reads the revision from the answer to [`initialize`]; `None` for any other message.
///
/// # Errors
/// When the target refused.
pub(crate) fn initialized(message: &[u8]) -> Result<Option<String>> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        id: Option<u64>,
        method: Option<serde::de::IgnoredAny>,
        #[serde(borrow)]
        result: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Handshake<'a> {
        #[serde(borrow, rename = "protocolVersion")]
        version: std::borrow::Cow<'a, str>,
    }
    let refused = || Error::Protocol(format!("initialize: {}", String::from_utf8_lossy(message)));
    let answer: Answer<'_> = serde_json::from_slice(message).map_err(|_| refused())?;
    // What isn't the answer may be somebody else's, which isn't counted before there is a session.
    if answer.id != Some(0) || answer.method.is_some() {
        return Ok(None);
    }
    let result = answer.result.ok_or_else(refused)?;
    let handshake: Handshake<'_> = serde_json::from_str(result.get()).map_err(|_| refused())?;
    Ok(Some(handshake.version.into_owned()))
}

/// An HTTP+SSE session after its handshake.
#[derive(Debug)]
pub(crate) struct Sse {
    stream: Connection,
    framing: Framing,
    events: Events,
    /// Head of each POST.
    post: String,
    /// Where POSTs go, each on its own connection.
    posts: Vec<Connection>,
}

impl Sse {
    /// Connects, reads the endpoint, initialises. `posts` is the number of connections for POSTs.
    ///
    /// # Errors
    /// Whatever the target does otherwise than the revision has it.
    pub(crate) async fn open(target: &Target, posts: usize) -> Result<Self> {
        let mut stream = target.open().await?;
        stream.send(http::get_stream(target, "").as_bytes()).await?;
        let head = stream.head().await?;
        head.expect_success(&stream.input)?;
        if !head.is_event_stream {
            return Err(Error::protocol("GET didn't answer with an event stream"));
        }
        let mut session = Self {
            stream,
            framing: head.framing,
            events: Events::default(),
            post: String::new(),
            posts: Vec::new(),
        };
        let endpoint = session.endpoint().await?;
        session.post = http::post_head(target, &endpoint, "");
        for _ in 0..posts {
            session.posts.push(target.open().await?);
        }
        session.post(initialize().as_bytes()).await?;
        loop {
            while let Some(event) = session.events.next() {
                if initialized(event.data)?.is_some() {
                    session.post(INITIALIZED.as_bytes()).await?;
                    return Ok(session);
                }
            }
            session.fill().await?;
        }
    }

    async fn endpoint(&mut self) -> Result<String> {
        loop {
            if let Some(event) = self.events.next() {
                let path = String::from_utf8_lossy(event.data);
                let path = match path.strip_prefix("http://") {
                    Some(rest) => &rest[rest.find('/').unwrap_or(rest.len())..],
                    None => &*path,
                };
                return match event.name {
                    b"endpoint" if path.starts_with('/') => Ok(path.to_owned()),
                    _ => Err(Error::protocol(
                        "the first event isn't an endpoint with an absolute path",
                    )),
                };
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<()> {
        if self.stream.input.is_empty() {
            http::fill(&mut self.stream.stream, &mut self.stream.input).await?;
        }
        if self
            .framing
            .decode(&mut self.stream.input, self.events.buffer())?
        {
            return Err(Error::protocol("the event stream ended"));
        }
        Ok(())
    }

    async fn post(&mut self, body: &[u8]) -> Result<()> {
        let mut request = Vec::new();
        http::post(&self.post, body, &mut request);
        self.posts[0].exchange(&request, &mut Vec::new()).await?;
        Ok(())
    }

    /// One call, as a client does it that waits for the 202 and then for the answer.
    ///
    /// # Errors
    /// When the connection breaks. A wrong answer is the meter's.
    pub(crate) async fn call(&mut self, ledger: &mut Ledger, meter: &Meter) -> Result<()> {
        let mut body = Vec::new();
        ledger.call(&mut body, 0, Instant::now());
        self.post(&body).await?;
        while ledger.open() > 0 {
            while let Some(event) = self.events.next() {
                meter.judge(ledger.settle(event.data, Instant::now()));
            }
            if ledger.open() > 0 {
                self.fill().await?;
            }
        }
        Ok(())
    }

    /// Closes the connections for POSTs, as a client's pool does with idle ones; the stream stays.
    pub(crate) fn rest(&mut self) {
        self.posts.clear();
    }

    /// Keeps `in_flight` calls going. Call n goes out on the connection that call n − `in_flight` used, without waiting for its 202:
    /// with fewer connections than calls POSTs are pipelined.
    ///
    /// # Errors
    /// When the stream ends or breaks.
    pub(crate) async fn drive(
        mut self,
        in_flight: usize,
        mut ledger: Ledger,
        meter: Rc<Meter>,
    ) -> Result<()> {
        let mut tasks = JoinSet::new();
        let mut outboxes = Vec::new();
        let post = std::mem::take(&mut self.post);
        for connection in std::mem::take(&mut self.posts) {
            let outbox = Rc::new(Outbox::default());
            outboxes.push(Rc::clone(&outbox));
            let (reader, writer) = connection.stream.into_split();
            tasks.spawn_local(accepted(reader, connection.input, Rc::clone(&meter)));
            let meter = Rc::clone(&meter);
            tasks.spawn_local(async move {
                if let Err(error) = outbox.write_to(writer).await {
                    meter.fail(error.to_string());
                }
            });
        }
        let mut body = Vec::new();
        let mut send = |ledger: &mut Ledger, lane: usize, now| {
            body.clear();
            ledger.call(&mut body, lane, now);
            meter.sending();
            outboxes[lane % outboxes.len()].put(|out| http::post(&post, &body, out));
        };
        let now = Instant::now();
        for lane in 0..in_flight {
            send(&mut ledger, lane, now);
        }
        while ledger.open() > 0 {
            while let Some(event) = self.events.next() {
                let now = Instant::now();
                let lane = meter.book(ledger.settle(event.data, now));
                if let (Some(lane), false) = (lane, meter.is_stopped()) {
                    send(&mut ledger, lane, now);
                }
            }
            if ledger.open() > 0 {
                self.fill().await?;
            }
        }
        Ok(())
    }
}

/// Reads the responses to POSTs, which have nothing to say but their status.
async fn accepted(mut reader: OwnedReadHalf, mut input: BytesMut, meter: Rc<Meter>) {
    let mut body = Vec::new();
    loop {
        let response = http::response(&mut reader, &mut input, &mut body).await;
        if let Err(error) = response.and_then(|head| head.expect_success(&body)) {
            return meter.fail(format!("POST: {error}"));
        }
    }
}

/// A Streamable HTTP session after its handshake.
#[derive(Debug)]
pub(crate) struct Streamable {
    /// Head of each POST, with session and revision.
    post: String,
    headers: String,
    first: Connection,
}

impl Streamable {
    /// Connects and initialises.
    ///
    /// # Errors
    /// Whatever the target does otherwise than the revision has it.
    pub(crate) async fn open(target: &Target) -> Result<Self> {
        let mut first = target.open().await?;
        let (mut request, mut body) = (Vec::new(), Vec::new());
        http::post(
            &http::post_head(target, &target.path, ""),
            initialize().as_bytes(),
            &mut request,
        );
        let head = first.exchange(&request, &mut body).await?;
        let mut version = None;
        each_message(&head, &mut body, |message| {
            if version.is_none() {
                version = initialized(message)?;
            }
            Ok(())
        })?;
        let version = version.ok_or_else(|| Error::protocol("initialize wasn't answered"))?;
        let session = head
            .session
            .map(|session| format!("Mcp-Session-Id: {session}\r\n"))
            .unwrap_or_default();
        let headers = format!("{session}MCP-Protocol-Version: {version}\r\n");
        let post = http::post_head(target, &target.path, &headers);
        request.clear();
        http::post(&post, INITIALIZED.as_bytes(), &mut request);
        first.exchange(&request, &mut body).await?;
        Ok(Self {
            post,
            headers,
            first,
        })
    }

    /// Opens the session's GET stream, of which nothing is read; a 405 is a server without one.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) async fn listen(&self, target: &Target) -> Result<Connection> {
        let mut stream = target.open().await?;
        stream
            .send(http::get_stream(target, &self.headers).as_bytes())
            .await?;
        Ok(stream)
    }

    /// One call on the session's first connection.
    ///
    /// # Errors
    /// When the connection breaks or the status isn't a success. A wrong answer is the meter's.
    pub(crate) async fn call(&mut self, ledger: &mut Ledger, meter: &Meter) -> Result<()> {
        one_call(&mut self.first, &self.post, ledger, meter).await
    }

    /// Ends the session.
    ///
    /// # Errors
    /// When the connection breaks. A server may refuse with 405.
    pub(crate) async fn delete(mut self, target: &Target) -> Result<()> {
        let request = format!(
            "DELETE {} HTTP/1.1\r\nHost: {}\r\n{}\r\n",
            target.path, target.authority, self.headers
        );
        self.first.send(request.as_bytes()).await?;
        self.first.response(&mut Vec::new()).await.map(drop)
    }

    /// Keeps `in_flight` calls going, each on a connection of its own.
    ///
    /// # Errors
    /// When a connection can't be opened. What happens to a call is the meter's.
    pub(crate) async fn drive(
        self,
        target: Rc<Target>,
        in_flight: usize,
        (shape, number): (Shape, u32),
        meter: Rc<Meter>,
    ) -> Result<()> {
        let lanes = Lanes {
            target,
            post: self.post,
            first: self.first,
            in_flight,
        };
        lanes.drive((shape, number), meter).await
    }
}

/// Calls that go out one after another on each of some connections.
#[derive(Debug)]
struct Lanes {
    target: Rc<Target>,
    /// Head of each POST.
    post: String,
    /// A connection that is there already.
    first: Connection,
    in_flight: usize,
}

impl Lanes {
    async fn drive(self, (shape, number): (Shape, u32), meter: Rc<Meter>) -> Result<()> {
        let mut connections = vec![self.first];
        while connections.len() < self.in_flight {
            connections.push(self.target.open().await?);
        }
        let post: Rc<str> = self.post.into();
        let mut tasks = JoinSet::new();
        for (first, connection) in (1..).zip(connections) {
            let ledger = Ledger::new(&shape, number, first, self.in_flight as u64);
            let (post, meter) = (Rc::clone(&post), Rc::clone(&meter));
            tasks.spawn_local(async move {
                if let Err(error) = one_at_a_time(connection, &post, ledger, &meter).await {
                    meter.fail(error.to_string());
                }
            });
        }
        while tasks.join_next().await.is_some() {}
        Ok(())
    }
}

/// One call, not counted for itself.
async fn one_call(
    connection: &mut Connection,
    post: &str,
    ledger: &mut Ledger,
    meter: &Meter,
) -> Result<()> {
    let (mut call, mut request, mut body) = (Vec::new(), Vec::new(), Vec::new());
    ledger.call(&mut call, 0, Instant::now());
    http::post(post, &call, &mut request);
    let head = connection.exchange(&request, &mut body).await?;
    each_message(&head, &mut body, |message| {
        meter.judge(ledger.settle(message, Instant::now()));
        Ok(())
    })?;
    match ledger.open() {
        0 => Ok(()),
        _ => Err(Error::protocol("the response ended without an answer")),
    }
}

async fn one_at_a_time(
    mut connection: Connection,
    post: &str,
    mut ledger: Ledger,
    meter: &Meter,
) -> Result<()> {
    let (mut call, mut request, mut body) = (Vec::new(), Vec::new(), Vec::new());
    while !meter.is_stopped() {
        call.clear();
        request.clear();
        ledger.call(&mut call, 0, Instant::now());
        http::post(post, &call, &mut request);
        meter.sending();
        let head = connection.exchange(&request, &mut body).await?;
        each_message(&head, &mut body, |message| {
            meter.book(ledger.settle(message, Instant::now()));
            Ok(())
        })?;
        if ledger.open() > 0 {
            return Err(Error::protocol("the response ended without an answer"));
        }
    }
    Ok(())
}

/// Hands on each message of a response, which is one JSON text or an event stream.
fn each_message(
    head: &http::Head,
    body: &mut Vec<u8>,
    mut each: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    if !head.is_event_stream {
        return if body.is_empty() { Ok(()) } else { each(body) };
    }
    let mut events = Events::default();
    std::mem::swap(events.buffer(), body);
    while let Some(event) = events.next() {
        each(event.data)?;
    }
    std::mem::swap(events.buffer(), body);
    Ok(())
}
