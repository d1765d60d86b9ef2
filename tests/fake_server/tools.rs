//! The scripted tools; `main.rs` has the table of what each does.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, dup2_stdin, dup2_stdout};
use serde_json::{Value, json};

use crate::server::{Request, Server, parse, wait_for_file};
use crate::{modern, processes};

/// Bytes of a flood that are written at a time, so that answers find their way in between.
const FLOOD_CHUNK: usize = 64 * 1024;

const NAMES: [&str; 22] = [
    "echo",
    "hold",
    "release",
    "sleep",
    "crash",
    "emit",
    "oversize",
    "big",
    "progress",
    "log",
    "ask",
    "update",
    "list_changed",
    "flood",
    "hang",
    "close",
    "stderr",
    "alloc",
    "spawn",
    "info",
    "state",
    "fail",
];

/// What `alloc` took.
static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// The raw result of `tools/list`; `cursor` is the index of the page's first tool.
pub(crate) fn list(server: &Server, cursor: Option<&str>) -> String {
    let flags = &server.flags;
    if let Some(result) = &flags.tools_result {
        return result.clone();
    }
    let scripted = NAMES.iter().filter(|_| !flags.hide_tools);
    let mut names: Vec<_> = scripted.map(ToString::to_string).collect();
    names.extend(flags.tool.iter().cloned());
    names.extend((0..flags.tools).map(|n| format!("tool_{n}")));
    let facts = server.facts.lock().expect("no holder panics");
    names.extend(facts.added_tools.iter().cloned());
    drop(facts);
    let from = cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
    let size = flags.page.unwrap_or(usize::MAX);
    let page: Vec<_> = names
        .iter()
        .skip(from)
        .take(size)
        .map(|name| {
            json!({
                "name": name,
                "description": format!("The scripted tool {name}"),
                "inputSchema": {"type": "object"},
                "annotations": {"readOnlyHint": true},
            })
        })
        .collect();
    let mut result = json!({"tools": page});
    let next = from.saturating_add(size);
    if next < names.len() {
        result["nextCursor"] = json!(next.to_string());
    }
    result.to_string()
}

/// The raw result that shows a request as it came.
pub(crate) fn echo(request: &Request) -> String {
    let text = json!(request.line);
    let params = &request.params;
    format!(r#"{{"content":[{{"type":"text","text":{text}}}],"params":{params}}}"#)
}

/// Runs a tool, and answers unless it was told not to.
pub(crate) fn call(server: &Server, request: &Request, name: &str, arguments: &str) {
    let arguments = parse(arguments);
    let text = |key: &str| arguments[key].as_str();
    let count = |key: &str| arguments[key].as_u64();
    let said = |key: &str, default: bool| arguments[key].as_bool().unwrap_or(default);
    let done = match name {
        "hold" => return hold(server, request, &arguments),
        "release" => release(
            server,
            text("key").unwrap_or_default(),
            size(count("n").or(Some(1))),
        ),
        "sleep" => {
            std::thread::sleep(Duration::from_millis(count("ms").unwrap_or(0)));
            json!("slept")
        }
        "crash" => crash(server, request, &arguments),
        "fail" => {
            let message = text("message").unwrap_or("told to fail");
            let code = arguments["code"].as_i64().unwrap_or(-32000);
            return server.fail(&request.id, code, message);
        }
        "emit" => return emit(server, request, &arguments),
        "oversize" => return oversize(server, request, &arguments),
        "big" => json!("x".repeat(size(count("bytes")))),
        "progress" => return progress(server, request, &arguments),
        "log" => {
            let level = text("level").unwrap_or("info");
            let modern = server.is_modern() && !said("loose", false);
            if modern && !modern::wants_log(request, level) {
                return respond(server, request, &json!("not wanted"));
            }
            for n in 1..=count("n").unwrap_or(1) {
                let data = arguments.get("data").cloned().unwrap_or(json!(n));
                let params = json!({"level": level, "logger": "fake", "data": data});
                server.output.notify("notifications/message", &params);
            }
            json!("logged")
        }
        "ask" => match ask(server, &arguments) {
            Some(line) => json!(line),
            None => return,
        },
        "update" => {
            let uri = text("uri").unwrap_or("fake://a");
            if server.is_modern() && !said("loose", false) {
                modern::updated(server, uri);
            } else {
                let method = "notifications/resources/updated";
                server.output.notify(method, &json!({"uri": uri}));
            }
            json!("updated")
        }
        "list_changed" => {
            if let Some(name) = text("add") {
                let mut facts = server.facts.lock().expect("no holder panics");
                facts.added_tools.push(name.to_owned());
            }
            let kind = text("kind").unwrap_or("tools");
            for _ in 0..count("n").unwrap_or(1) {
                if server.is_modern() && !said("loose", false) {
                    modern::list_changed(server, kind);
                    continue;
                }
                let method = format!("notifications/{kind}/list_changed");
                let line = format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#);
                server.output.line(&line);
            }
            json!("changed")
        }
        "flood" => {
            if said("background", false) {
                respond(server, request, &json!("flooding"));
                flood(server, request, &arguments);
                return;
            }
            json!({"sent": flood(server, request, &arguments)})
        }
        "hang" => {
            match text("how") {
                Some("stdin") => {
                    respond(server, request, &json!("deaf from now on"));
                    return server.deaf.store(true, Ordering::SeqCst);
                }
                Some("stop") => kill(Pid::this(), Signal::SIGSTOP).expect("one may stop oneself"),
                _ => server.silent.store(true, Ordering::SeqCst),
            }
            json!("hung")
        }
        "close" => {
            let null = std::fs::File::options()
                .read(true)
                .write(true)
                .open("/dev/null")
                .expect("the null device is there");
            if text("stream") == Some("stdin") {
                dup2_stdin(null.as_fd()).expect("stdin can be replaced");
                server.deaf.store(true, Ordering::SeqCst);
            } else {
                dup2_stdout(null.as_fd()).expect("stdout can be replaced");
            }
            json!("closed")
        }
        "stderr" => {
            let filler = "e".repeat(size(count("bytes")));
            for _ in 0..count("n").unwrap_or(1) {
                stderr(text("text").unwrap_or(&filler), text("end").unwrap_or("\n"));
            }
            json!("written")
        }
        "alloc" => {
            let bytes = vec![1_u8; size(count("mib")) << 20];
            KEPT.lock().expect("no holder panics").push(bytes);
            json!("taken")
        }
        "spawn" => {
            let role = match text("kind") {
                Some("daemon") => processes::Role::Daemon,
                Some("setsid") => processes::Role::Setsid,
                _ => processes::Role::Group,
            };
            processes::spawn(role, &server.flags);
            json!("spawned")
        }
        "input" if modern::input(server, request, &arguments) => return,
        "input" => return server.answer(&request.id, &echo(request)),
        "end_streams" => {
            modern::end_streams(server, text("how").unwrap_or("result"));
            json!("ended")
        }
        "info" => processes::info(),
        "state" => state(server),
        name if known(server, name) => return server.answer(&request.id, &echo(request)),
        name => return server.fail(&request.id, -32602, &format!("no tool {name}")),
    };
    respond(server, request, &done);
}

/// Writes to stderr, whether or not somebody reads it.
pub(crate) fn stderr(text: &str, end: &str) {
    // a closed stderr is part of some tests
    drop(io::stderr().write_all(format!("{text}{end}").as_bytes()));
}

/// A result that is right for a tool, a prompt and a resource alike.
fn respond(server: &Server, request: &Request, done: &Value) {
    let text = match done {
        Value::String(text) => text.clone(),
        done => done.to_string(),
    };
    let mut result = json!({"content": [{"type": "text", "text": text}]});
    if done.is_object() {
        result["structuredContent"] = done.clone();
    }
    server.answer(&request.id, &result.to_string());
}

fn known(server: &Server, name: &str) -> bool {
    let facts = server.facts.lock().expect("no holder panics");
    let listed = server.flags.tool.iter().chain(&facts.added_tools);
    let mut listed = listed.map(String::as_str).chain(NAMES);
    let filler = name.strip_prefix("tool_").and_then(|n| n.parse().ok());
    listed.any(|known| known == name) || filler.is_some_and(|n: usize| n < server.flags.tools)
}

fn hold(server: &Server, request: &Request, arguments: &Value) {
    let ignores = arguments["ignore_cancel"].as_bool().unwrap_or(false);
    let cancelled = || !ignores && server.is_cancelled(&request.id);
    let held = if let Some(file) = arguments["file"].as_str() {
        wait_for_file(file, cancelled)
    } else {
        let key = arguments["key"].as_str().unwrap_or_default();
        let released = server.released.lock().expect("no holder panics");
        let waits = |released: &mut std::collections::HashMap<String, usize>| {
            !released.contains_key(key) && !cancelled()
        };
        let mut released = server
            .changed
            .wait_while(released, waits)
            .expect("no holder panics");
        match released.get_mut(key) {
            // Its release is for whoever still waits.
            Some(_) if cancelled() => false,
            Some(1) => released.remove(key).is_some(),
            Some(times) => {
                *times -= 1;
                true
            }
            None => false,
        }
    };
    if held {
        respond(server, request, &json!("released"));
    }
}

fn release(server: &Server, key: &str, times: usize) -> Value {
    let mut released = server.released.lock().expect("no holder panics");
    *released.entry(key.to_owned()).or_default() += times;
    server.changed.notify_all();
    json!("released")
}

fn crash(server: &Server, request: &Request, arguments: &Value) -> ! {
    if let Some(text) = arguments["stderr"].as_str() {
        stderr(text, "\n");
    }
    if arguments["answer"].as_bool().unwrap_or(false) {
        respond(server, request, &json!("goodbye"));
    }
    if arguments["partial"].as_bool().unwrap_or(false) {
        let half = format!(r#"{{"jsonrpc":"2.0","id":{},"resu"#, request.id);
        server.output.raw(half.as_bytes());
    }
    if let Some(signal) = arguments["signal"].as_i64() {
        let signal = i32::try_from(signal).ok();
        let signal = signal.and_then(|signal| Signal::try_from(signal).ok());
        kill(Pid::this(), signal.expect("a signal's number")).expect("one may kill oneself");
        // the signal may take a moment
        processes::linger();
    }
    let code = arguments["code"].as_i64().unwrap_or(1);
    std::process::exit(i32::try_from(code).expect("an exit code"));
}

fn emit(server: &Server, request: &Request, arguments: &Value) {
    let end = arguments["end"].as_str().unwrap_or("\n");
    let token = request.token.as_deref().unwrap_or("null");
    let write = |lines: &Value| {
        for line in lines.as_array().into_iter().flatten() {
            let line = line.as_str().expect("lines are strings");
            let line = line.replace("$ID", &request.id).replace("$TOKEN", token);
            server.output.raw(format!("{line}{end}").as_bytes());
        }
    };
    if let [Some(first), Some(rest)] = [0, 1].map(|at| arguments["pieces"][at].as_str()) {
        let [first, rest] = [first, rest].map(|piece| piece.replace("$ID", &request.id));
        let file = arguments["file"].as_str().unwrap_or_default();
        let between = |written| {
            let piece = json!({"event": "piece", "written": written});
            server.output.journal(&piece);
            wait_for_file(file, || false);
        };
        let rest = format!("{rest}{end}");
        server
            .output
            .in_pieces(first.as_bytes(), between, rest.as_bytes());
    }
    write(&arguments["lines"]);
    if let Some(hex) = arguments["hex"].as_str() {
        let digits: Vec<_> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let bytes = digits.chunks(2).map(|pair| {
            let pair = std::str::from_utf8(pair).expect("hexadecimal digits are ASCII");
            u8::from_str_radix(pair, 16).expect("hexadecimal digits")
        });
        server.output.raw(&bytes.collect::<Vec<_>>());
    }
    if arguments["answer"].as_bool().unwrap_or(true) {
        respond(server, request, &json!("emitted"));
    }
    write(&arguments["after"]);
}

fn oversize(server: &Server, request: &Request, arguments: &Value) {
    let filler = "x".repeat(size(arguments["mib"].as_u64()) << 20);
    let id = &request.id;
    let result = format!(r#""result":{{"content":[{{"type":"text","text":"{filler}"}}]}}"#);
    server.output.line(&match arguments["id"].as_str() {
        Some("last") => format!(r#"{{"jsonrpc":"2.0",{result},"id":{id}}}"#),
        Some("none") => format!(r#"{{"jsonrpc":"2.0",{result}}}"#),
        _ => format!(r#"{{"jsonrpc":"2.0","id":{id},{result}}}"#),
    });
}

fn progress(server: &Server, request: &Request, arguments: &Value) {
    let n = arguments["n"].as_u64().unwrap_or(1);
    let given = arguments.get("token").map(Value::to_string);
    let token = given.or_else(|| request.token.clone());
    let report = || {
        for step in 1..=n {
            let token = token.as_deref().unwrap_or("null");
            server.output.line(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{step},"total":{n}}}}}"#));
        }
    };
    if arguments["after"].as_bool().unwrap_or(false) {
        respond(server, request, &json!("progress follows"));
        report();
    } else {
        report();
        respond(server, request, &json!("done"));
    }
}

/// `None` if the answer never came.
fn ask(server: &Server, arguments: &Value) -> Option<String> {
    let method = arguments["method"].as_str().unwrap_or("roots/list");
    let params = arguments.get("params").unwrap_or(&json!({})).to_string();
    let next = server.next_ask.fetch_add(1, Ordering::SeqCst);
    let id = arguments["id"].as_str().map(str::to_owned);
    let id = id.unwrap_or_else(|| next.to_string());
    let answer = server.ask(&id, method, &params);
    if arguments["cancel"].as_bool().unwrap_or(false) {
        server.output.line(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"told to"}}}}"#));
    }
    if arguments["wait"].as_bool().unwrap_or(true) {
        answer.recv().ok()
    } else {
        Some("asked".to_owned())
    }
}

fn flood(server: &Server, request: &Request, arguments: &Value) -> u64 {
    let filler = "f".repeat(size(arguments["bytes"].as_u64()));
    let token = request.token.as_deref().unwrap_or("null");
    let line = match arguments["kind"].as_str().unwrap_or("log") {
        "progress" => format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1,"message":"{filler}"}}}}"#
        ),
        "garbage" => format!("this is no JSON {filler}"),
        "list_changed" => {
            r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#.to_owned()
        }
        "line" => arguments["line"].as_str().unwrap_or_default().to_owned(),
        _ => format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"info","data":"{filler}"}}}}"#
        ),
    };
    let line = format!("{line}\n");
    let end = arguments["seconds"]
        .as_f64()
        .map(|s| Instant::now() + Duration::from_secs_f64(s));
    let mut left = arguments["n"].as_u64().unwrap_or(match end {
        Some(_) => u64::MAX,
        None => 100_000,
    });
    let per_chunk = (FLOOD_CHUNK / line.len()).max(1);
    let mut sent = 0;
    while left > 0 && end.is_none_or(|end| Instant::now() < end) {
        let now = u64::try_from(per_chunk).unwrap_or(1).min(left);
        server.output.raw(line.repeat(size(Some(now))).as_bytes());
        left -= now;
        sent += now;
    }
    sent
}

fn state(server: &Server) -> Value {
    let listens = server.listens.lock().expect("no holder panics");
    let streams: Vec<_> = listens.iter().map(|listen| listen.filter.clone()).collect();
    drop(listens);
    let facts = server.facts.lock().expect("no holder panics");
    json!({
        "pid": std::process::id(),
        "requests": facts.requests,
        "initializes": facts.initializes,
        "initialized": facts.initialized,
        "level": facts.level,
        "subscriptions": facts.subscriptions,
        "cancelled": facts.cancelled,
        "streams": streams,
    })
}

fn size(count: Option<u64>) -> usize {
    usize::try_from(count.unwrap_or(0)).expect("sizes fit the address space")
}
