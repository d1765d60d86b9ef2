//! One client's conversation with all servers.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use axum::http::HeaderMap;
use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::line::{ASK_BITS, Line};
use super::lines::Lines;
use super::{answers, passage};
use crate::bridge::{Delivery, DeliveryKind, Mailbox, Visit};
use crate::gateway::access::Access;
use crate::gateway::catalogue::Snapshot;
use crate::gateway::core::Core;
use crate::gateway::server::{Place, Server};
use crate::jsonrpc::{Edit, Kind, Message, Span, code, member, string_value};
use crate::mcp::{ClientCapabilities, ClientNotification, Level, Request, ServerNotification};
use crate::transport::Conversation;

static NEXT: AtomicU64 = AtomicU64::new(1);

/// One client's conversation.
#[derive(Debug)]
pub(super) struct Talk {
    number: u64,
    core: Arc<Core>,
    access: Arc<Access>,
    outlet: Arc<Mailbox>,
    /// It is one request of a stateless client.
    visit: Option<Visit>,
    hello: OnceLock<Hello>,
    lines: Mutex<Lines>,
    /// Cancelled when the session ends, before its calls are.
    over: CancellationToken,
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.core.metrics.sessions.dec();
        self.over.cancel();
    }
}

/// What the client said in `initialize`.
#[derive(Debug)]
struct Hello {
    version: String,
    /// Under an id that no request of the client has while it matters.
    message: Message,
    capabilities: ClientCapabilities,
}

impl Talk {
    pub(super) fn new(
        core: Arc<Core>,
        access: Access,
        outlet: Arc<Mailbox>,
        visit: Option<Visit>,
    ) -> Talk {
        core.metrics.sessions.inc();
        Talk {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            core,
            access: Arc::new(access),
            outlet,
            visit,
            hello: OnceLock::new(),
            lines: Mutex::default(),
            over: CancellationToken::new(),
        }
    }

    fn request(&self, message: &Message, address: &Arc<Mailbox>) {
        let id = message.id().unwrap_or(b"null");
        let method = message.method();
        match Request::of(&method) {
            Request::Initialize => self.initialize(message, address, id),
            Request::Ping => answers::result(address, id, b"{}"),
            Request::SetLevel => self.set_level(message, address, id),
            Request::CallTool => self.call_tool(message, address, id),
            Request::Interactive if method == "prompts/get" => {
                self.get_prompt(message, address, id);
            }
            Request::Interactive | Request::Subscribe | Request::Unsubscribe => {
                self.use_resource(message, address, id);
            }
            Request::ListTools | Request::List => {
                let snapshot = self.core.snapshot();
                match answers::list(&method, &snapshot, &self.access) {
                    Some(list) => answers::result(address, id, &list),
                    None => unknown_method(address, id, &method),
                }
            }
            _ if method == "completion/complete" => self.complete(message, address, id),
            _ => unknown_method(address, id, &method),
        }
    }

    fn initialize(&self, message: &Message, address: &Mailbox, id: &[u8]) {
        let Some(version) = answers::version(message) else {
            let text = "initialize needs params.protocolVersion, a string";
            return answers::error(address, id, code::INVALID_PARAMS, text);
        };
        let params = message.part(message.envelope().params).unwrap_or_default();
        let own = message.envelope().id.map_or_else(
            || message.text().clone(),
            |span| {
                let with = br#""mcp-bridged""#;
                message.editing(&mut [Edit { span, with }]).into_bytes()
            },
        );
        let Ok(own) = Message::parse(own) else {
            return answers::error(
                address,
                id,
                code::INVALID_REQUEST,
                "initialize can't be read",
            );
        };
        if own.text().len() > MAX_HELLO {
            let text = format!("initialize has more than {MAX_HELLO} bytes");
            return answers::error(address, id, code::TOO_LARGE, text);
        }
        let hello = Hello {
            version: version.clone(),
            message: own,
            capabilities: ClientCapabilities::declared(params),
        };
        if self.hello.set(hello).is_err() {
            let text = "this session is initialized already";
            return answers::error(address, id, code::INVALID_REQUEST, text);
        }
        let snapshot = self.core.snapshot();
        self.tell_changes();
        let result = answers::handshake(&version, &snapshot, &self.access);
        answers::result(address, id, &result);
    }

    /// Tells the client of changed lists from now on. What servers say of changes doesn't reach it, because it would ask
    /// again before the catalogue has them.
    fn tell_changes(&self) {
        let mut snapshots = self.core.catalogue.watch();
        let mut told = snapshots.borrow_and_update().clone();
        let (access, outlet, over) = (self.access.clone(), self.outlet.clone(), self.over.clone());
        let core = self.core.clone();
        self.core.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = over.cancelled() => return,
                    changed = snapshots.changed() => if changed.is_err() { return },
                }
                // What goes away now goes with the gateway itself.
                if core.is_draining() {
                    return;
                }
                let now = snapshots.borrow_and_update().clone();
                let lists = now.differs_from(&told, &access);
                told = now;
                for (list, _) in lists
                    .into_iter()
                    .enumerate()
                    .filter(|(_, changed)| *changed)
                {
                    let method = ServerNotification::LISTS[list].1;
                    let text = format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#);
                    outlet.push(Delivery {
                        kind: DeliveryKind::Notification,
                        body: Bytes::from(text).into(),
                    });
                }
            }
        });
    }

    fn set_level(&self, message: &Message, address: &Mailbox, id: &[u8]) {
        let level = message.part(message.envelope().level);
        let Some(level) = level.and_then(Level::parse) else {
            let text = "`params.level` has to be one of debug, info, notice, warning, error, critical, alert and emergency";
            return answers::error(address, id, code::INVALID_PARAMS, text);
        };
        self.lines().set_level(level);
        answers::result(address, id, b"{}");
    }

    fn call_tool(&self, message: &Message, address: &Arc<Mailbox>, id: &[u8]) {
        let snapshot = self.core.snapshot();
        let Some((span, name)) = named(message, address, id) else {
            return;
        };
        let Some(tool) = snapshot.tool(&name, &self.access) else {
            return self.unknown("tool", &name, address, id);
        };
        let with = serde_json::Value::from(&*tool.original).to_string();
        let Some(line) = self.line(&tool.server) else {
            return gone(address, id, &tool.server);
        };
        let params = message.part(message.envelope().params).unwrap_or_default();
        let arguments = member(params, "arguments").map(|span| span.of(params));
        let arguments = String::from_utf8_lossy(arguments.unwrap_or_default());
        let audit = self.core.audit("mcp");
        let noted = audit.line(&self.access.key, tool, &arguments);
        let address = passage::audited(
            address,
            line.number,
            noted,
            self.core.active(),
            self.over.clone(),
        );
        pass(&line, message, span, with.as_bytes(), &address);
    }

    fn get_prompt(&self, message: &Message, address: &Arc<Mailbox>, id: &[u8]) {
        let snapshot = self.core.snapshot();
        let Some((span, name)) = named(message, address, id) else {
            return;
        };
        let Some(prompt) = snapshot.prompt(&name, &self.access) else {
            return self.unknown("prompt", &name, address, id);
        };
        let with = serde_json::Value::from(&*prompt.original).to_string();
        match self.line(&prompt.server) {
            Some(line) => {
                let address = passage::to(address, line.number);
                pass(&line, message, span, with.as_bytes(), &address);
            }
            None => gone(address, id, &prompt.server),
        }
    }

    /// `kind`: `tool` or `prompt`.
    fn unknown(&self, kind: &str, name: &str, address: &Mailbox, id: &[u8]) {
        let snapshot = self.core.snapshot();
        let absent = snapshot.absent(name, &self.access);
        let (code, text) = match absent.and_then(|server| Some((&server.name, server.note()?))) {
            Some((server, note)) => {
                let text = format!(
                    "`{name}` is not available: the MCP server {server} is not there ({note})"
                );
                (code::SERVER_UNAVAILABLE, text)
            }
            None => {
                let text = format!("unknown {kind} `{name}`; {kind}s/list has those there are");
                (code::INVALID_PARAMS, text)
            }
        };
        answers::error(address, id, code, text);
    }

    fn use_resource(&self, message: &Message, address: &Arc<Mailbox>, id: &[u8]) {
        let snapshot = self.core.snapshot();
        let Some((_, uri)) = text_at(message, message.envelope().uri) else {
            return answers::error(address, id, code::INVALID_PARAMS, "`params.uri` is missing");
        };
        let Some(server) = snapshot.owner(&uri, &self.access) else {
            return answers::error(address, id, RESOURCE_NOT_FOUND, no_owner(&uri));
        };
        let Some(line) = self.line(server) else {
            return gone(address, id, server);
        };
        let (request, number) = (Request::of(&message.method()), line.number);
        let address = match request {
            Request::Subscribe | Request::Unsubscribe => {
                let (line, uri) = (Arc::downgrade(&line), uri.into_owned());
                passage::until_the_end(address, number, move |delivery| {
                    if let (Some(line), true) = (line.upgrade(), passage::succeeded(delivery)) {
                        line.note_subscription(&uri, request == Request::Subscribe);
                    }
                })
            }
            _ => passage::to(address, number),
        };
        line.send(message.clone(), &address);
    }

    fn complete(&self, message: &Message, address: &Arc<Mailbox>, id: &[u8]) {
        let snapshot = self.core.snapshot();
        let Some((server, edit)) = completed(message, &snapshot, &self.access) else {
            let text = "`params.ref` names no prompt and no resource template of this gateway";
            return answers::error(address, id, code::INVALID_PARAMS, text);
        };
        match (self.line(&server), edit) {
            (Some(line), Some((span, name))) => {
                pass(
                    &line,
                    message,
                    span,
                    name.as_bytes(),
                    &passage::to(address, line.number),
                );
            }
            (Some(line), None) => {
                line.send(message.clone(), &passage::to(address, line.number));
            }
            (None, _) => gone(address, id, &server),
        }
    }

    /// The line to a server, opened if there is none or its server ended it; `None` when the server was taken away.
    fn line(&self, server: &str) -> Option<Arc<Line>> {
        let there = self.core.catalogue.server(server)?;
        Some(
            self.lines()
                .to(there, |number, there| self.open(number, there)),
        )
    }

    fn open(&self, number: u64, there: Server) -> Arc<Line> {
        let place = Place {
            asks_above: number << ASK_BITS,
            headers: self.access.headers_for(there.name()),
            visit: self.visit.clone(),
        };
        let asked = self.hello.get().filter(|hello| {
            (hello.capabilities.any() && !there.greets_itself(&place))
                || there.wants_handshake(&place)
        });
        // Its own end must not close what the client hears from the others.
        let link = there.open(passage::to(&self.outlet, number), &place);
        match asked {
            Some(hello) => Line::begin(number, there, link, &hello.message, &self.core.tasks),
            None => Line::open(number, there, link),
        }
    }

    fn each_line(&self, tell: impl Fn(&Line)) {
        let lines: Vec<_> = self.lines().all().cloned().collect();
        for line in lines {
            tell(&line);
        }
    }

    fn send_to(&self, number: u64, message: &Message, address: &Arc<Mailbox>) {
        self.each_line(|line| {
            if line.number == number {
                line.send(message.clone(), address);
            }
        });
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of an `initialize`; it is kept as long as the session, for the servers that are to get it.
const MAX_HELLO: usize = 256 * 1024;
/// MCP 2025-11-25, Resources § Error Handling.
const RESOURCE_NOT_FOUND: i32 = -32002;

impl Conversation for Talk {
    fn send(&self, message: Message, address: &Arc<Mailbox>) {
        match message.kind() {
            Kind::Request => self.request(&message, address),
            Kind::Notification if message.method() == "notifications/initialized" => {}
            Kind::Notification
                if ClientNotification::of(&message.method()) == ClientNotification::Progress =>
            {
                if let Some((number, message)) = passage::progress(&message) {
                    self.send_to(number, &message, address);
                }
            }
            // Ids are unique in the client's session, so of all servers only the one that knows it is concerned.
            Kind::Notification => {
                self.each_line(|line| line.send(message.clone(), address));
            }
            Kind::Answer => {
                let id = message
                    .id()
                    .and_then(|id| std::str::from_utf8(id).ok()?.parse::<u64>().ok());
                if let Some(id) = id {
                    self.send_to(id >> ASK_BITS, &message, address);
                }
            }
        }
    }

    fn hold(&self, until: Option<Instant>) {
        self.each_line(|line| line.hold(until));
    }

    fn answered(&self) {
        self.each_line(Line::answered);
    }

    fn version(&self) -> Option<&str> {
        self.hello.get().map(|hello| hello.version.as_str())
    }

    /// What a key opened ends with it, also its streams.
    fn is_over(&self) -> bool {
        !self.core.force().keys.still_grant(&self.access)
    }

    fn is_dedicated(&self) -> bool {
        false
    }

    fn number(&self) -> u64 {
        self.number
    }

    fn is_of(&self, headers: &HeaderMap) -> bool {
        let access = self.core.access(headers);
        access.is_ok_and(|access| access.is_like(&self.access))
    }
}

fn unknown_method(address: &Mailbox, id: &[u8], method: &str) {
    let text = format!("the gateway has no method `{method}`");
    answers::error(address, id, code::METHOD_NOT_FOUND, text);
}

fn gone(address: &Mailbox, id: &[u8], server: &str) {
    let text = format!("the MCP server {server} was taken out of the configuration");
    answers::error(address, id, code::SERVER_UNAVAILABLE, text);
}

fn no_owner(uri: &str) -> String {
    format!("no server of this gateway has the resource `{uri}`")
}

fn pass(line: &Line, message: &Message, span: Span, with: &[u8], address: &Arc<Mailbox>) {
    let text = message.editing(&mut [Edit { span, with }]).into_bytes();
    // One JSON string in the place of another.
    let message = Message::parse(text).expect("it was well formed before");
    line.send(message, address);
}

/// The string that stands at `span`.
fn text_at(message: &Message, span: Option<Span>) -> Option<(Span, Cow<'_, str>)> {
    let span = span?;
    Some((span, string_value(message.part(Some(span))?)?))
}

/// What the request `id` names, and where; it is answered when it names nothing.
fn named<'m>(message: &'m Message, address: &Mailbox, id: &[u8]) -> Option<(Span, Cow<'m, str>)> {
    let named = text_at(message, message.envelope().name);
    if named.is_none() {
        let text = "`params.name` is missing";
        answers::error(address, id, code::INVALID_PARAMS, text);
    }
    named
}

/// Whose a completion is, and how its prompt's name has to be spelled there.
type Completed = (Arc<str>, Option<(Span, String)>);

fn completed(message: &Message, snapshot: &Snapshot, access: &Access) -> Option<Completed> {
    let params_at = message.envelope().params?;
    let params = message.part(Some(params_at))?;
    let reference_at = member(params, "ref")?;
    let reference = reference_at.of(params);
    if let Some(uri) = member(reference, "uri") {
        let uri = string_value(uri.of(reference))?;
        return Some((snapshot.owner(&uri, access)?.clone(), None));
    }
    let name_at = member(reference, "name")?;
    let name = string_value(name_at.of(reference))?;
    let prompt = snapshot.prompt(&name, access)?;
    let span = name_at.inside(reference_at).inside(params_at);
    let original = serde_json::Value::from(&*prompt.original).to_string();
    Some((prompt.server.clone(), Some((span, original))))
}
