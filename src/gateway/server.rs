//! One server behind the gateway, and a session with it.

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderName, HeaderValue};
use bytes::Bytes;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use super::remote::{self, Remote};
use crate::bridge::{self, Bridge, Mailbox, Part, Status, Transport, Visit};
use crate::config::{Isolation, Secret};
use crate::jsonrpc::{ErrorObject, Message};
use crate::mcp::Era;

/// A server. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) enum Server {
    /// A bridge of this program, spoken with in process.
    Bridge(Bridge),
    /// A server that others run.
    Remote(Remote),
}

/// A session with a server. Dropping it cancels its calls.
#[derive(Debug)]
pub(crate) enum Link {
    /// With a bridge.
    Bridge(bridge::Session),
    /// With a remote server.
    Remote(remote::Session),
}

/// Whether a server can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Health {
    /// It can; the number grows with each start.
    Ready(u64),
    /// Not yet.
    Starting,
    /// It can't, for this reason.
    Down(String),
    /// It never will again.
    Gone,
}

/// Tells when [`Health`] may have changed.
#[derive(Debug)]
pub(crate) enum Watcher {
    /// Of a bridge.
    Bridge(watch::Receiver<Status>),
    /// Of a remote server.
    Remote(watch::Receiver<remote::Standing>),
}

/// How a session stands in a client's conversation with several servers.
#[derive(Debug, Default)]
pub(crate) struct Place {
    /// Requests of the server get ids above this one.
    pub(crate) asks_above: u64,
    /// Headers that the client sent for this server alone, without their prefix.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// The conversation is one request of a stateless client.
    pub(crate) visit: Option<Visit>,
}

impl Server {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        match self {
            Server::Bridge(bridge) => bridge.name(),
            Server::Remote(remote) => remote.name(),
        }
    }

    /// Whether both are the same server, not only of the same name.
    pub(crate) fn is(&self, other: &Server) -> bool {
        match (self, other) {
            (Server::Bridge(one), Server::Bridge(other)) => one.is(other),
            (Server::Remote(one), Server::Remote(other)) => one.is(other),
            _ => false,
        }
    }

    /// Its further names.
    pub(crate) fn aliases(&self) -> Vec<String> {
        match self {
            Server::Bridge(bridge) => bridge.settings().aliases.clone(),
            Server::Remote(remote) => remote.settings().aliases.clone(),
        }
    }

    /// A line for people.
    pub(crate) fn description(&self) -> Option<String> {
        match self {
            Server::Bridge(bridge) => bridge.settings().description.clone(),
            Server::Remote(remote) => remote.settings().description.clone(),
        }
    }

    /// To wait for a change of its health.
    pub(crate) fn watch(&self) -> Watcher {
        match self {
            Server::Bridge(bridge) => Watcher::Bridge(bridge.watch()),
            Server::Remote(remote) => Watcher::Remote(remote.watch()),
        }
    }

    /// A session of the gateway's own, for its catalogue.
    pub(crate) fn open_own(&self, outlet: Arc<Mailbox>) -> Link {
        match self {
            Server::Bridge(bridge) => Link::Bridge(bridge.open_own(outlet)),
            Server::Remote(remote) => Link::Remote(remote.open(outlet, Vec::new())),
        }
    }

    /// A session for a client.
    pub(crate) fn open(&self, outlet: Arc<Mailbox>, place: &Place) -> Link {
        match self {
            Server::Bridge(bridge) => {
                let part = Part {
                    asks_above: place.asks_above,
                    env: variables(&bridge.settings().headers_to_env, &place.headers),
                };
                let transport = Transport::Gateway;
                Link::Bridge(match &place.visit {
                    // What is kept for a class of clients has no variables of one of them.
                    Some(visit) if part.env.is_empty() => {
                        bridge.open_visit(transport, outlet, part, visit.clone())
                    }
                    _ => bridge.open_part(transport, outlet, part),
                })
            }
            Server::Remote(remote) => Link::Remote(remote.open(outlet, place.headers.clone())),
        }
    }

    /// What it promises and says of itself, where that is known without asking: the members of an initialize result.
    pub(crate) fn handshake(&self) -> Option<Bytes> {
        let Server::Remote(remote) = self else {
            return None;
        };
        match &*remote.watch().borrow() {
            remote::Standing::Ready {
                capabilities,
                instructions,
                ..
            } => {
                let known = json!({ "capabilities": capabilities, "instructions": instructions });
                Some(known.to_string().into())
            }
            _ => None,
        }
    }

    /// Whether a session must begin with `initialize` even for a client that declares nothing.
    pub(crate) fn wants_handshake(&self, place: &Place) -> bool {
        match self {
            Server::Bridge(bridge) => {
                let settings = bridge.settings();
                (settings.isolation == Isolation::Session && place.visit.is_none())
                    || !variables(&settings.headers_to_env, &place.headers).is_empty()
            }
            // Its own client shakes hands.
            Server::Remote(_) => false,
        }
    }

    /// Whether a session begins without the `initialize` of a client that can be asked something: a server with a handshake
    /// is told by whoever keeps its instance, a stateless one only hears what the session has said.
    pub(crate) fn greets_itself(&self, place: &Place) -> bool {
        match self {
            Server::Bridge(bridge) => place.visit.is_some() && bridge.era() != Some(Era::Modern),
            Server::Remote(_) => false,
        }
    }
}

impl Link {
    /// See [`bridge::Session::send`].
    pub(crate) fn send(&self, message: Message, address: &Arc<Mailbox>) {
        match self {
            Link::Bridge(session) => session.send(message, address),
            Link::Remote(session) => session.send(message, address),
        }
    }

    /// See [`bridge::Session::hold`]; a remote server's calls have their time whoever is waited for.
    pub(crate) fn hold(&self, until: Option<Instant>) {
        if let Link::Bridge(session) = self {
            session.hold(until);
        }
    }

    /// See [`bridge::Session::answered`].
    pub(crate) fn answered(&self) {
        if let Link::Bridge(session) = self {
            session.answered();
        }
    }

    /// Whether it has ended from the server's side.
    pub(crate) fn is_over(&self) -> bool {
        match self {
            Link::Bridge(session) => session.is_over(),
            Link::Remote(session) => session.is_over(),
        }
    }
}

impl Watcher {
    /// The health now.
    pub(crate) fn now(&mut self) -> Health {
        match self {
            Watcher::Bridge(status) => health_of(&status.borrow_and_update()),
            Watcher::Remote(standing) => health_of_remote(&standing.borrow_and_update()),
        }
    }

    /// Waits for a change, which may be none of the health.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn changed(&mut self) {
        let changed = match self {
            Watcher::Bridge(status) => status.changed().await,
            Watcher::Remote(standing) => standing.changed().await,
        };
        if changed.is_err() {
            // The last word stays: there is nothing more to wait for.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the health is another than `known`.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn other_than(&mut self, known: &Health) {
        while self.now() == *known {
            self.changed().await;
        }
    }
}

fn health_of(status: &Status) -> Health {
    // A suspect one may be merely busy; one that hangs is ended soon.
    if matches!(
        status.phase,
        bridge::Phase::Ready | bridge::Phase::Suspect(_)
    ) {
        return Health::Ready(status.generation);
    }
    if status.phase == bridge::Phase::Stopped {
        return Health::Gone;
    }
    if status.phase == bridge::Phase::Starting {
        return Health::Starting;
    }
    let why = status.cure.clone().or_else(|| {
        let last = status.last_exit.as_ref()?;
        Some(last.reason.clone())
    });
    let label = status.phase.label();
    Health::Down(why.map_or_else(|| label.to_owned(), |why| format!("{label}: {why}")))
}

fn health_of_remote(standing: &remote::Standing) -> Health {
    match standing {
        remote::Standing::Connecting => Health::Starting,
        remote::Standing::Ready { generation, .. } => Health::Ready(*generation),
        remote::Standing::Down { reason } => Health::Down(reason.clone()),
        remote::Standing::Unavailable { cure } => Health::Down(format!("unavailable: {cure}")),
        remote::Standing::Stopped => Health::Gone,
    }
}

/// The variables that a client's headers become.
fn variables(
    map: &[(String, String)],
    headers: &[(HeaderName, HeaderValue)],
) -> Vec<(OsString, Secret)> {
    let value = |name: &str| {
        let (_, value) = headers.iter().find(|(header, _)| header == name)?;
        Some(Secret::new(value.to_str().ok()?.to_owned()))
    };
    map.iter()
        .filter_map(|(header, variable)| Some((variable.into(), value(header)?)))
        .collect()
}

/// A session whose user waits for each answer.
#[derive(Debug)]
pub(crate) struct Asking {
    link: Link,
    next: AtomicU64,
}

impl Asking {
    /// Asks over `link`, on which nobody else makes requests.
    pub(crate) fn new(link: Link) -> Asking {
        Asking {
            link,
            next: AtomicU64::new(1),
        }
    }

    /// Whether its session has ended from the server's side.
    pub(crate) fn is_over(&self) -> bool {
        self.link.is_over()
    }

    /// The result of `method` with `params`, the text of a JSON object.
    ///
    /// # Errors
    /// The server's error, or the bridge's when the server is not there.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the request.
    pub(crate) async fn ask(&self, method: &str, params: &str) -> Result<Bytes, ErrorObject> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let address = Mailbox::new(&Arc::default());
        self.link.send(
            message(format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#
            )),
            &address,
        );
        let waiting = Waiting {
            link: &self.link,
            id: Some(id),
        };
        let answer = bridge::answer_at(&address).await;
        waiting.over();
        answer
    }

    /// Begins a session: `initialize` as a client that can't be asked anything.
    ///
    /// # Errors
    /// As [`Asking::ask`].
    pub(crate) async fn begin(&self) -> Result<Bytes, ErrorObject> {
        let params = format!(
            r#"{{"protocolVersion":"{}","capabilities":{{}},"clientInfo":{{"name":"mcp-bridged","version":"{}"}}}}"#,
            crate::mcp::Version::LATEST.name(),
            env!("CARGO_PKG_VERSION"),
        );
        let result = self.ask("initialize", &params).await?;
        let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        self.link.send(
            message(initialized.to_owned()),
            &Mailbox::new(&Arc::default()),
        );
        Ok(result)
    }
}

/// A message of our own.
pub(crate) fn message(text: String) -> Message {
    Message::parse(text.into()).expect("a message of our own is well formed")
}

/// Cancels a request whose asker is gone.
struct Waiting<'a> {
    link: &'a Link,
    id: Option<u64>,
}

impl Waiting<'_> {
    fn over(mut self) {
        self.id = None;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let text = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
            );
            self.link
                .send(message(text), &Mailbox::new(&Arc::default()));
        }
    }
}
