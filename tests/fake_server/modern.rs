//! The stateless revision (MCP 2026-07-28): what `--modern` and `--dual` add.

use serde_json::{Value, json};

use crate::server::{Request, Server, capabilities, raw_at, wait_for_file};

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const LEVEL: &str = "io.modelcontextprotocol/logLevel";
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
const LEVELS: [&str; 8] = [
    "debug",
    "info",
    "notice",
    "warning",
    "error",
    "critical",
    "alert",
    "emergency",
];

/// A stream that is open: the id of its request and what was agreed on.
#[derive(Debug, Clone)]
pub(crate) struct Listen {
    pub(crate) id: String,
    pub(crate) filter: Value,
}

/// Answers what only this revision knows, and refuses what it knows no more. False: the method is of both.
pub(crate) fn respond(server: &Server, method: &str, request: &Request) -> bool {
    let id = &request.id;
    let meta = |key| raw_at(&request.params, &["_meta", key]);
    if meta(VERSION).is_none() || meta(CAPABILITIES).is_none() {
        server.fail(
            id,
            -32602,
            "params._meta lacks protocolVersion or clientCapabilities",
        );
        return true;
    }
    if meta(VERSION).as_deref() != Some("\"2026-07-28\"") {
        let data = json!({"supported": versions(server), "requested": meta(VERSION)});
        let error =
            json!({"code": -32022, "message": "Unsupported protocol version", "data": data});
        server
            .output
            .line(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#));
        return true;
    }
    match method {
        "server/discover" => discover(server, request),
        "subscriptions/listen" => listen(server, request),
        "initialize"
        | "ping"
        | "logging/setLevel"
        | "resources/subscribe"
        | "resources/unsubscribe" => server.fail(id, -32601, "this revision has no such method"),
        _ => return false,
    }
    true
}

fn versions(server: &Server) -> Value {
    if server.flags.dual {
        json!(["2025-11-25", "2026-07-28"])
    } else {
        json!(["2026-07-28"])
    }
}

fn discover(server: &Server, request: &Request) {
    let flags = &server.flags;
    let id = &request.id;
    if let Some(file) = &flags.discover_hold {
        wait_for_file(file, || false);
    }
    if let Some(error) = &flags.discover_error {
        let line = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#);
        return server.output.line(&line);
    }
    if let Some(result) = &flags.discover_result {
        let line = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
        return server.output.line(&line);
    }
    let capabilities = capabilities(flags);
    let instructions = match &flags.instructions {
        Some(text) => format!(r#","instructions":{}"#, json!(text)),
        None => String::new(),
    };
    let versions = versions(server);
    let pid = std::process::id();
    server.answer_cacheable(
        id,
        &format!(
            r#"{{"supportedVersions":{versions},"capabilities":{capabilities}{instructions},"_meta":{{"io.modelcontextprotocol/serverInfo":{{"name":"fake","version":"1"}},"fake/pid":{pid}}}}}"#
        ),
    );
}

fn listen(server: &Server, request: &Request) {
    let flags = &server.flags;
    if flags.refuse_listen {
        return server.fail(&request.id, -32601, "streams are refused");
    }
    let filter = raw_at(&request.params, &["notifications"]).unwrap_or_default();
    let mut filter: Value = serde_json::from_str(&filter).unwrap_or_default();
    let uris = filter.get_mut("resourceSubscriptions");
    if let Some(uris) = uris.and_then(Value::as_array_mut) {
        let refused = |uri: &Value| flags.refuse_uri.iter().any(|refused| uri == refused);
        uris.retain(|uri| !refused(uri));
    }
    let listen = Listen {
        id: request.id.clone(),
        filter,
    };
    notify(
        server,
        &listen,
        "subscriptions/acknowledged",
        json!({"notifications": listen.filter}),
    );
    let mut listens = server.listens.lock().expect("no holder panics");
    listens.push(listen);
}

fn notify(server: &Server, listen: &Listen, method: &str, params: Value) {
    let mut params = params;
    let id: Value = serde_json::from_str(&listen.id).expect("an id is JSON");
    params["_meta"] = json!({ SUBSCRIPTION: id });
    server
        .output
        .notify(&format!("notifications/{method}"), &params);
}

/// Tells who listens for it that the resource has changed.
pub(crate) fn updated(server: &Server, uri: &str) {
    each(server, |listen| {
        let uris = listen.filter["resourceSubscriptions"].as_array();
        if uris.is_some_and(|uris| uris.iter().any(|listed| listed == uri)) {
            notify(server, listen, "resources/updated", json!({"uri": uri}));
        }
    });
}

/// Tells who listens for it that a list has changed.
pub(crate) fn list_changed(server: &Server, kind: &str) {
    each(server, |listen| {
        if listen.filter[format!("{kind}ListChanged")] == true {
            notify(server, listen, &format!("{kind}/list_changed"), json!({}));
        }
    });
}

fn each(server: &Server, mut tell: impl FnMut(&Listen)) {
    let listens = server.listens.lock().expect("no holder panics");
    listens.iter().for_each(&mut tell);
}

/// Ends all streams, by their results or by taking them back.
pub(crate) fn end_streams(server: &Server, how: &str) {
    let ended = std::mem::take(&mut *server.listens.lock().expect("no holder panics"));
    for listen in ended {
        let id = &listen.id;
        let line = if how == "cancelled" {
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
            )
        } else {
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","_meta":{{"{SUBSCRIPTION}":{id}}}}}}}"#
            )
        };
        server.output.line(&line);
    }
}

/// Whether the request asked for log lines of this level.
pub(crate) fn wants_log(request: &Request, level: &str) -> bool {
    let place = |name: &str| LEVELS.iter().position(|known| *known == name);
    let wanted = raw_at(&request.params, &["_meta", LEVEL]);
    let wanted = wanted.and_then(|wanted| place(wanted.trim_matches('"')));
    wanted.is_some_and(|wanted| place(level) >= Some(wanted))
}

/// The tool `input`: wants to know what `rounds` say, one after the other, and answers with the last request as it came.
/// False when there is nothing more to know.
pub(crate) fn input(server: &Server, request: &Request, arguments: &Value) -> bool {
    let rounds = arguments["rounds"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let state = raw_at(&request.params, &["requestState"]);
    let answered = raw_at(&request.params, &["inputResponses"]).is_some();
    let at = match state {
        Some(state) => state
            .trim_matches('"')
            .rsplit(' ')
            .next()
            .and_then(|n| n.parse().ok()),
        None => Some(usize::from(answered)),
    };
    let at: usize = at.expect("the state is one of ours");
    if let Some(step) = arguments["progress"].as_u64() {
        let token = request.token.as_deref().unwrap_or("null");
        let progress = step + at as u64;
        server.output.line(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{progress}}}}}"#));
    }
    if let Some(file) = arguments["hold"].as_str().filter(|_| at > 0) {
        wait_for_file(file, || false);
    }
    let endless = arguments["endless"].as_bool().unwrap_or(false);
    let Some(round) = rounds.get(if endless { 0 } else { at }) else {
        return false;
    };
    let mut result = json!({"resultType": "input_required"});
    if !round["requests"].is_null() {
        result["inputRequests"] = round["requests"].clone();
    }
    if round["state"].as_bool().unwrap_or(true) {
        result["requestState"] = json!(format!("opaque {}", at + 1));
    }
    let id = &request.id;
    server.output.line(&format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#
    ));
    true
}
