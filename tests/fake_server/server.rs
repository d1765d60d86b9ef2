//! The server's life: reading lines, answering the methods of MCP, and handing calls to the tools.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::output::Output;
use crate::{Flags, modern, processes, tools};

/// How often a file that is waited for is looked for.
const FILE_POLL: Duration = Duration::from_millis(5);

/// The parts of a line that decide what happens; everything else stays raw.
#[derive(Debug, Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<String>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

/// One request, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The whole line without its end.
    pub(crate) line: String,
    /// The id's JSON text.
    pub(crate) id: String,
    /// The JSON text of `params`, or `null`.
    pub(crate) params: String,
    /// The JSON text of the progress token.
    pub(crate) token: Option<String>,
}

/// The server; shared by all its threads.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) flags: Flags,
    pub(crate) output: Output,
    pub(crate) facts: Mutex<Facts>,
    /// Keys that were released and not yet consumed by a `hold`.
    pub(crate) released: Mutex<HashMap<String, usize>>,
    /// Wakes everyone who waits for a release, a cancellation or an answer.
    pub(crate) changed: Condvar,
    /// Requests to the client under way, by the id's JSON text.
    pub(crate) asks: Mutex<HashMap<String, Sender<String>>>,
    pub(crate) next_ask: AtomicU64,
    /// Streams of revision 2026-07-28.
    pub(crate) listens: Mutex<Vec<modern::Listen>>,
    /// Answer nothing any more.
    pub(crate) silent: AtomicBool,
    /// Read nothing any more.
    pub(crate) deaf: AtomicBool,
}

/// What a test can ask about.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) requests: u64,
    pub(crate) initializes: u64,
    pub(crate) initialized: u64,
    pub(crate) level: Option<String>,
    pub(crate) subscriptions: BTreeMap<String, i64>,
    pub(crate) cancelled: Vec<String>,
    pub(crate) added_tools: Vec<String>,
}

impl Server {
    pub(crate) fn new(flags: Flags) -> Self {
        Self {
            output: Output::new(&flags),
            flags,
            facts: Mutex::default(),
            released: Mutex::default(),
            changed: Condvar::new(),
            asks: Mutex::default(),
            next_ask: AtomicU64::new(1),
            listens: Mutex::default(),
            silent: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
        }
    }

    /// Whether revision 2026-07-28 is spoken.
    pub(crate) fn is_modern(&self) -> bool {
        let initialized = || self.facts.lock().expect("no holder panics").initializes > 0;
        self.flags.modern || self.flags.dual && !initialized()
    }

    /// Answers with a raw result, an object.
    pub(crate) fn answer(&self, id: &str, result: &str) {
        self.answer_with(id, result, r#""resultType":"complete""#);
    }

    /// The same for what may be kept for a while.
    pub(crate) fn answer_cacheable(&self, id: &str, result: &str) {
        let more = r#""resultType":"complete","ttlMs":5000,"cacheScope":"public""#;
        self.answer_with(id, result, more);
    }

    fn answer_with(&self, id: &str, result: &str, of_modern: &str) {
        let mut result = result.to_owned();
        if self.is_modern() {
            let comma = if result == "{}" { "" } else { "," };
            result.insert_str(1, &format!("{of_modern}{comma}"));
        }
        if !self.silent.load(Ordering::SeqCst) {
            self.output.line(&format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#
            ));
        }
    }

    pub(crate) fn fail(&self, id: &str, code: i64, message: &str) {
        if !self.silent.load(Ordering::SeqCst) {
            let error = json!({"code": code, "message": message});
            self.output
                .line(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#));
        }
    }

    pub(crate) fn is_cancelled(&self, id: &str) -> bool {
        let facts = self.facts.lock().expect("no holder panics");
        facts.cancelled.iter().any(|cancelled| cancelled == id)
    }

    /// Sends a request to the client; its answer's raw line arrives on the receiver.
    pub(crate) fn ask(&self, id: &str, method: &str, params: &str) -> mpsc::Receiver<String> {
        let (sender, receiver) = mpsc::channel();
        let mut asks = self.asks.lock().expect("no holder panics");
        asks.insert(id.to_owned(), sender);
        drop(asks);
        self.output.line(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#
        ));
        receiver
    }
}

/// Serves until stdin ends.
pub(crate) fn run(server: &Arc<Server>) -> ExitCode {
    let flags = &server.flags;
    let args: Vec<_> = std::env::args().skip(1).collect();
    let start = json!({"event": "start", "pid": std::process::id(), "args": args});
    server.output.journal(&start);
    for line in &flags.stderr_banner {
        tools::stderr(line, "\n");
    }
    if let Some(code) = flags.exit_at_start {
        std::process::exit(code);
    }
    if flags.fail_while.as_deref().is_some_and(exists) {
        tools::stderr("told to fail", "\n");
        return ExitCode::FAILURE;
    }
    if flags.ignore_sigterm {
        listen_to_signals(server);
    }
    processes::start(flags);
    for line in &flags.banner {
        server.output.line(line);
    }
    let mut input = io::stdin().lock();
    let mut line = Vec::new();
    loop {
        line.clear();
        if !matches!(input.read_until(b'\n', &mut line), Ok(1..)) {
            break;
        }
        server.output.record(&line);
        receive(server, &line);
        while server.deaf.load(Ordering::SeqCst) {
            std::thread::park();
        }
    }
    server.output.journal(&json!({"event": "eof"}));
    if flags.ignore_eof {
        processes::linger();
    }
    ExitCode::SUCCESS
}

fn receive(server: &Arc<Server>, line: &[u8]) {
    let Ok(line) = std::str::from_utf8(line.trim_ascii_end()) else {
        return;
    };
    let Ok(envelope) = serde_json::from_str::<Envelope>(line) else {
        return;
    };
    let params = envelope.params.map_or("null", RawValue::get);
    match (envelope.id, envelope.method) {
        (Some(id), Some(method)) => {
            let request = Request {
                line: line.to_owned(),
                id: id.get().to_owned(),
                params: params.to_owned(),
                token: raw_at(params, &["_meta", "progressToken"]),
            };
            exit_if_told(server, &method, true);
            let quick = matches!(
                method.as_str(),
                "ping" | "logging/setLevel" | "subscriptions/listen"
            );
            if server.flags.synchronous || quick {
                respond(server, &method, &request);
            } else {
                let server = Arc::clone(server);
                std::thread::spawn(move || respond(&server, &method, &request));
            }
        }
        (None, Some(method)) => {
            exit_if_told(server, &method, false);
            notice(server, &method, params);
        }
        (Some(id), None) => {
            let mut asks = server.asks.lock().expect("no holder panics");
            if let Some(sender) = asks.remove(id.get()) {
                // the one who asked may have stopped waiting
                drop(sender.send(line.to_owned()));
            }
        }
        (None, None) => {}
    }
}

fn notice(server: &Server, method: &str, params: &str) {
    match method {
        "notifications/initialized" => {
            server.facts.lock().expect("no holder panics").initialized += 1;
            for line in &server.flags.on_initialized {
                server.output.line(line);
            }
        }
        "notifications/cancelled" => {
            let id = raw_at(params, &["requestId"]).unwrap_or_default();
            server
                .output
                .journal(&json!({"event": "cancelled", "id": id}));
            let mut listens = server.listens.lock().expect("no holder panics");
            listens.retain(|listen| listen.id != id);
            drop(listens);
            let mut facts = server.facts.lock().expect("no holder panics");
            facts.cancelled.push(id);
            drop(facts);
            let released = server.released.lock().expect("no holder panics");
            server.changed.notify_all();
            drop(released);
        }
        _ => {}
    }
}

fn respond(server: &Server, method: &str, request: &Request) {
    let id = &request.id;
    let text = |key: &str| {
        let raw = raw_at(&request.params, &[key]);
        raw.and_then(|raw| serde_json::from_str::<String>(&raw).ok())
    };
    let first = server.facts.lock().expect("no holder panics").initializes == 0;
    if first && method != "initialize" && server.flags.silent_before_init {
        return;
    }
    let both = server.flags.dual && method == "initialize";
    if server.is_modern() && !both && modern::respond(server, method, request) {
        return;
    }
    match method {
        "initialize" => initialize(server, request),
        "ping" if server.flags.ignore_ping => {}
        "ping" if server.flags.refuse_ping => server.fail(id, -32601, "no method ping"),
        "ping" => server.answer(id, "{}"),
        "tools/list" => {
            server.answer_cacheable(id, &tools::list(server, text("cursor").as_deref()))
        }
        "tools/call" | "prompts/get" => {
            let arguments = raw_at(&request.params, &["arguments"]);
            let name = text("name").unwrap_or_default();
            tools::call(server, request, &name, arguments.as_deref().unwrap_or("{}"));
        }
        "resources/read" => {
            let uri = text("uri").unwrap_or_default();
            if let Some(script) = uri.strip_prefix("run:") {
                let name = raw_at(script, &["name"]).unwrap_or_default();
                let arguments = raw_at(script, &["arguments"]);
                let name = name.trim_matches('"');
                tools::call(server, request, name, arguments.as_deref().unwrap_or("{}"));
            } else if uri.starts_with(&format!("{}://", server.flags.scheme)) {
                let contents = json!({"contents": [{"uri": uri, "text": format!("about {uri}")}]});
                server.answer_cacheable(id, &contents.to_string());
            } else {
                let code = if server.is_modern() { -32602 } else { -32002 };
                server.fail(id, code, "no such resource");
            }
        }
        "resources/list" => {
            let resource =
                |name| json!({"uri": format!("{}://{name}", server.flags.scheme), "name": name});
            let all = json!({"resources": [resource("a"), resource("b")]});
            server.answer_cacheable(id, &all.to_string());
        }
        "resources/templates/list" => {
            let template = format!("{}://{{name}}", server.flags.scheme);
            let all = json!({"resourceTemplates": [{"uriTemplate": template, "name": "any"}]});
            server.answer_cacheable(id, &all.to_string());
        }
        "prompts/list" => server.answer_cacheable(id, r#"{"prompts":[{"name":"echo"}]}"#),
        "completion/complete" => {
            server.answer(id, r#"{"completion":{"values":["one","two"],"total":2}}"#);
        }
        "logging/setLevel" => {
            server.facts.lock().expect("no holder panics").level = text("level");
            server.answer(id, "{}");
        }
        "resources/subscribe" if server.flags.refuse_subscribe => {
            server.fail(id, -32002, "subscriptions are refused");
        }
        "resources/subscribe" | "resources/unsubscribe" => {
            let step = if method == "resources/subscribe" {
                1
            } else {
                -1
            };
            let mut facts = server.facts.lock().expect("no holder panics");
            *facts
                .subscriptions
                .entry(text("uri").unwrap_or_default())
                .or_default() += step;
            drop(facts);
            server.answer(id, "{}");
        }
        method if method.starts_with("test/") || method.starts_with("tasks/") => {
            server.answer(id, &tools::echo(request));
        }
        method => server.fail(id, -32601, &format!("no method {method}")),
    }
}

fn initialize(server: &Server, request: &Request) {
    let flags = &server.flags;
    server.facts.lock().expect("no holder panics").initializes += 1;
    std::thread::sleep(Duration::from_millis(flags.init_delay));
    if let Some(file) = &flags.init_hold {
        while !exists(file) {
            std::thread::sleep(FILE_POLL);
        }
    }
    if flags.init_silent {
        return;
    }
    if let Some(message) = &flags.init_error {
        return server.fail(&request.id, -32603, message);
    }
    if let Some(result) = &flags.init_result {
        return server.answer(&request.id, result);
    }
    let asked = raw_at(&request.params, &["protocolVersion"]);
    let version = flags.protocol.as_ref().map(|version| json!(version));
    let version = version.map_or_else(|| asked.unwrap_or_default(), |version| version.to_string());
    let capabilities = capabilities(flags);
    let instructions = match &flags.instructions {
        Some(text) => format!(r#","instructions":{}"#, json!(text)),
        None => String::new(),
    };
    let pid = std::process::id();
    server.answer(
        &request.id,
        &format!(
            r#"{{"protocolVersion":{version},"capabilities":{capabilities},"serverInfo":{{"name":"fake","version":"1"}}{instructions},"_meta":{{"fake/pid":{pid}}}}}"#
        ),
    );
}

/// What is declared.
pub(crate) fn capabilities(flags: &Flags) -> &str {
    flags.capabilities.as_deref().unwrap_or(
        r#"{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"subscribe":true,"listChanged":true},"logging":{},"completions":{}}"#,
    )
}

fn exit_if_told(server: &Server, method: &str, request: bool) {
    let flags = &server.flags;
    let counts = request && !matches!(method, "server/discover" | "initialize" | "ping");
    let mut facts = server.facts.lock().expect("no holder panics");
    facts.requests += u64::from(counts);
    let enough = counts && flags.exit_after == Some(facts.requests);
    let early = flags.exit_on_probe && facts.initializes == 0 && method != "initialize";
    if early || enough || flags.exit_on.as_deref() == Some(method) {
        std::process::exit(flags.exit_code);
    }
}

fn listen_to_signals(server: &Arc<Server>) {
    let polite = [
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGHUP,
    ];
    let mut signals =
        signal_hook::iterator::Signals::new(polite).expect("these signals can be caught");
    let server = Arc::clone(server);
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let name = signal_hook::low_level::signal_name(signal);
            server
                .output
                .journal(&json!({"event": "signal", "name": name}));
        }
    });
}

pub(crate) fn exists(path: &str) -> bool {
    Path::new(path).exists()
}

/// Waits until `path` exists, or `give_up` says so; true if it exists.
pub(crate) fn wait_for_file(path: &str, give_up: impl Fn() -> bool) -> bool {
    while !exists(path) {
        if give_up() {
            return false;
        }
        std::thread::sleep(FILE_POLL);
    }
    true
}

/// The JSON text of a member, however odd its numbers and strings are.
pub(crate) fn raw_at(json: &str, path: &[&str]) -> Option<String> {
    let Some((key, rest)) = path.split_first() else {
        return Some(json.to_owned());
    };
    let members: HashMap<String, &RawValue> = serde_json::from_str(json).ok()?;
    raw_at(members.get(*key)?.get(), rest)
}

/// The arguments of a tool that understands them.
pub(crate) fn parse(arguments: &str) -> Value {
    serde_json::from_str(arguments).unwrap_or(Value::Null)
}
