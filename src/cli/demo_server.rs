//! The demo server: a small, honest stdio MCP server inside the binary, so that a bridge has something to serve on a machine
//! without node, python or a database.
//!
//! It implements tools, resources, a resource template, a prompt, logging and ping for the revisions 2024-11-05 to 2025-11-25.
//! One thread reads stdin and answers at once; only `count`, which takes time, runs on a thread of its own, so that it blocks
//! nobody. All write whole lines through one lock. End of input cancels what still runs and ends the server.
//! Batches (2025-03-26) are refused with −32600.

use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::clock::rfc3339;

mod catalog;
#[cfg(test)]
mod tests;

/// Oldest first; a client that asks for another revision is offered the last one.
const VERSIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// Least to most severe, as in `LoggingLevel`.
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

/// `count` refuses more: a thousand progress notifications show everything there is to see.
const MAX_COUNT: u64 = 1_000;

/// The longest pause between two steps of `count`.
const MAX_DELAY_MS: u64 = 60_000;

/// Counts that run at the same time; each holds a thread.
const MAX_COUNTS: usize = 64;

const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;
const RESOURCE_NOT_FOUND: i64 = -32002;

/// Serves MCP on this process's stdin and stdout until stdin ends.
///
/// # Errors
///
/// When stdin can't be read or stdout can't be written.
pub fn run() -> io::Result<()> {
    serve(io::stdin().lock(), io::stdout())
}

/// Serves MCP on the given pipes until `input` ends; returns when every call has ended.
///
/// # Errors
///
/// When `input` can't be read or `output` can't be written.
pub fn serve(mut input: impl BufRead, output: impl Write + Send) -> io::Result<()> {
    let server = Server::new(output);
    thread::scope(|scope| {
        let mut line = Vec::new();
        let outcome = loop {
            line.clear();
            match input.read_until(b'\n', &mut line) {
                Ok(0) => break Ok(()),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
            match server.receive(&line) {
                Next::Nothing => {}
                Next::Answer(answer) => {
                    if let Err(error) = server.send(&answer) {
                        break Err(error);
                    }
                }
                Next::Count(count) => {
                    scope.spawn(|| server.count(count));
                }
            }
        };
        server.cancel_all();
        outcome
    })
}

/// What a line asks for.
enum Next {
    /// A notification, or something that needs no answer.
    Nothing,
    /// The whole answer, ready to be written.
    Answer(Value),
    /// A call that takes time.
    Count(Count),
}

/// One `count` call under way.
struct Count {
    id: Value,
    to: u64,
    delay: Duration,
    progress_token: Option<Value>,
    cancelled: Arc<Cancelled>,
}

/// A flag that a sleeping call wakes up for.
#[derive(Default)]
struct Cancelled {
    flag: Mutex<bool>,
    raised: Condvar,
}

/// Why a request gets an error instead of a result.
struct Refusal {
    code: i64,
    message: String,
}

struct Server<W> {
    output: Mutex<W>,
    started: Instant,
    calls: AtomicU64,
    /// Counts under way, by the JSON text of their request id.
    counts: Mutex<HashMap<String, Arc<Cancelled>>>,
    /// Index into [`LEVELS`]; nothing is logged before a client has set it.
    log_level: Mutex<Option<usize>>,
}

impl<W: Write + Send> Server<W> {
    fn new(output: W) -> Self {
        Self {
            output: Mutex::new(output),
            started: Instant::now(),
            calls: AtomicU64::new(0),
            counts: Mutex::default(),
            log_level: Mutex::default(),
        }
    }

    fn receive(&self, line: &[u8]) -> Next {
        if line.trim_ascii().is_empty() {
            return Next::Nothing;
        }
        let message: Value = match serde_json::from_slice(line) {
            Ok(message) => message,
            Err(error) => {
                return Next::Answer(failure(&Value::Null, refuse(PARSE_ERROR, error)));
            }
        };
        let method = message.get("method").and_then(Value::as_str);
        let params = message.get("params").unwrap_or(&Value::Null);
        match (message.get("id"), method) {
            (Some(id @ (Value::String(_) | Value::Number(_))), Some(method)) => {
                match self.request(id, method, params) {
                    Ok(Outcome::Result(result)) => {
                        Next::Answer(json!({"jsonrpc": "2.0", "id": id, "result": result}))
                    }
                    Ok(Outcome::Count(count)) => Next::Count(count),
                    Err(refusal) => Next::Answer(failure(id, refusal)),
                }
            }
            (None, Some(method)) => {
                self.notification(method, params);
                Next::Nothing
            }
            // an answer, though this server never asks
            (Some(_), None) if message.get("result").or(message.get("error")).is_some() => {
                Next::Nothing
            }
            _ => Next::Answer(failure(
                &Value::Null,
                refuse(INVALID_REQUEST, "not a JSON-RPC request or notification"),
            )),
        }
    }

    fn notification(&self, method: &str, params: &Value) {
        if method == "notifications/cancelled"
            && let Some(id) = params.get("requestId")
            && let Some(cancelled) = locked(&self.counts).remove(&id.to_string())
        {
            cancelled.raise();
        }
    }

    fn request(&self, id: &Value, method: &str, params: &Value) -> Result<Outcome, Refusal> {
        let result = match method {
            "initialize" => catalog::initialize(params, &VERSIONS),
            "ping" => json!({}),
            "tools/list" => json!({"tools": catalog::tools()}),
            "tools/call" => return self.call(id, params),
            "resources/list" => json!({"resources": catalog::resources()}),
            "resources/templates/list" => {
                json!({"resourceTemplates": catalog::resource_templates()})
            }
            "resources/read" => {
                let uri = text(params, "uri")?;
                catalog::read(uri)
                    .ok_or_else(|| refuse(RESOURCE_NOT_FOUND, format!("no resource {uri}")))?
            }
            "prompts/list" => json!({"prompts": catalog::prompts()}),
            "prompts/get" => {
                let arguments = params.get("arguments").unwrap_or(&Value::Null);
                match text(params, "name")? {
                    catalog::PROMPT => catalog::explain(text(arguments, "topic")?),
                    name => return Err(refuse(INVALID_PARAMS, format!("no prompt {name}"))),
                }
            }
            "logging/setLevel" => {
                let level = text(params, "level")?;
                let index = LEVELS.iter().position(|known| *known == level);
                *locked(&self.log_level) = Some(
                    index.ok_or_else(|| refuse(INVALID_PARAMS, format!("no log level {level}")))?,
                );
                json!({})
            }
            _ => return Err(refuse(METHOD_NOT_FOUND, format!("no method {method}"))),
        };
        Ok(Outcome::Result(result))
    }

    fn call(&self, id: &Value, params: &Value) -> Result<Outcome, Refusal> {
        let name = text(params, "name")?;
        let none = Map::new();
        let arguments = match params.get("arguments") {
            None | Some(Value::Null) => &none,
            Some(Value::Object(arguments)) => arguments,
            Some(_) => return Err(refuse(INVALID_PARAMS, "arguments is not an object")),
        };
        self.calls.fetch_add(1, Ordering::Relaxed);
        let result = match name {
            "echo" => match arguments.get("message").and_then(Value::as_str) {
                Some(message) => tool_text(message),
                None => tool_error("message must be a string"),
            },
            "add" => match (number(arguments, "a"), number(arguments, "b")) {
                (Some(a), Some(b)) => tool_result(&json!({"sum": sum(a, b)})),
                _ => tool_error("a and b must be numbers"),
            },
            "current_time" => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH);
                let seconds = now.unwrap_or_default().as_secs();
                tool_result(&json!({"utc": rfc3339(seconds), "unix_seconds": seconds}))
            }
            "count" => match self.start_count(id, params, arguments) {
                Ok(count) => return Ok(Outcome::Count(count)),
                Err(reason) => tool_error(&reason),
            },
            "server_info" => tool_result(&json!({
                "pid": std::process::id(),
                "uptime_ms": u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
                "calls": self.calls.load(Ordering::Relaxed),
            })),
            "list_tool_schemas" => tool_result(&catalog::tool_schemas()),
            _ => return Err(refuse(INVALID_PARAMS, format!("no tool {name}"))),
        };
        Ok(Outcome::Result(result))
    }

    fn start_count(
        &self,
        id: &Value,
        params: &Value,
        arguments: &Map<String, Value>,
    ) -> Result<Count, String> {
        let to = arguments.get("n").and_then(Value::as_u64);
        let to = to.filter(|n| *n <= MAX_COUNT);
        let to = to.ok_or_else(|| format!("n must be a whole number from 0 to {MAX_COUNT}"))?;
        let delay = arguments
            .get("delay_ms")
            .map_or(Some(0), Value::as_u64)
            .filter(|delay| *delay <= MAX_DELAY_MS)
            .ok_or_else(|| format!("delay_ms must be a whole number from 0 to {MAX_DELAY_MS}"))?;
        let mut counts = locked(&self.counts);
        if counts.len() >= MAX_COUNTS {
            return Err(format!("{MAX_COUNTS} counts are running already"));
        }
        let cancelled = Arc::<Cancelled>::default();
        counts.insert(id.to_string(), Arc::clone(&cancelled));
        Ok(Count {
            id: id.clone(),
            to,
            delay: Duration::from_millis(delay),
            progress_token: params.pointer("/_meta/progressToken").cloned(),
            cancelled,
        })
    }

    /// Counts, and answers unless it was cancelled. A failed write ends it: the reading thread finds the same failure.
    fn count(&self, count: Count) {
        for step in 1..=count.to {
            if count.cancelled.within(count.delay) {
                return;
            }
            if let Some(token) = &count.progress_token {
                let progress = json!({
                    "jsonrpc": "2.0",
                    "method": "notifications/progress",
                    "params": {
                        "progressToken": token,
                        "progress": step,
                        "total": count.to,
                        "message": format!("counted to {step}"),
                    },
                });
                if self.send(&progress).is_err() {
                    return;
                }
            }
            self.log("debug", &format!("counted to {step} of {}", count.to));
        }
        self.log("info", &format!("finished counting to {}", count.to));
        // whoever removes the entry decides: answered or cancelled, never both
        if locked(&self.counts).remove(&count.id.to_string()).is_some() {
            let result = tool_result(&json!({"counted": count.to}));
            let answer = json!({"jsonrpc": "2.0", "id": count.id, "result": result});
            // nobody is left to tell when stdout is gone
            drop(self.send(&answer));
        }
    }

    fn log(&self, level: &str, message: &str) {
        let severity = LEVELS.iter().position(|known| *known == level);
        let wanted = *locked(&self.log_level);
        if wanted.is_some_and(|wanted| severity >= Some(wanted)) {
            // a log line that can't be written is no reason to fail the call
            drop(self.send(&json!({
                "jsonrpc": "2.0",
                "method": "notifications/message",
                "params": {"level": level, "logger": "demo", "data": message},
            })));
        }
    }

    fn send(&self, message: &Value) -> io::Result<()> {
        let mut line = message.to_string();
        line.push('\n');
        let mut output = locked(&self.output);
        output.write_all(line.as_bytes())?;
        output.flush()
    }

    fn cancel_all(&self) {
        for (_, cancelled) in locked(&self.counts).drain() {
            cancelled.raise();
        }
    }
}

/// A request that was accepted.
enum Outcome {
    Result(Value),
    Count(Count),
}

impl Cancelled {
    fn raise(&self) {
        *locked(&self.flag) = true;
        self.raised.notify_all();
    }

    /// Waits for `delay`; true as soon as the call is cancelled.
    fn within(&self, delay: Duration) -> bool {
        let flag = locked(&self.flag);
        let (flag, _) = self
            .raised
            .wait_timeout_while(flag, delay, |raised| !*raised)
            .unwrap_or_else(PoisonError::into_inner);
        *flag
    }
}

fn refuse(code: i64, message: impl ToString) -> Refusal {
    Refusal {
        code,
        message: message.to_string(),
    }
}

fn failure(id: &Value, refusal: Refusal) -> Value {
    let error = json!({"code": refusal.code, "message": refusal.message});
    json!({"jsonrpc": "2.0", "id": id, "error": error})
}

fn text<'a>(params: &'a Value, key: &str) -> Result<&'a str, Refusal> {
    params
        .get(key)
        .and_then(Value::as_str)
        .ok_or_else(|| refuse(INVALID_PARAMS, format!("{key} must be a string")))
}

fn tool_text(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}], "isError": false})
}

/// A structured result, and the same as text for clients before 2025-06-18.
fn tool_result(structured: &Value) -> Value {
    let mut result = tool_text(&structured.to_string());
    result["structuredContent"] = structured.clone();
    result
}

/// A failure that the model can read and mend.
fn tool_error(reason: &str) -> Value {
    json!({"content": [{"type": "text", "text": reason}], "isError": true})
}

fn number<'a>(arguments: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    arguments.get(key).filter(|value| value.is_number())
}

/// Exact for integers as long as the sum fits 64 bits, else in floating point.
fn sum(a: &Value, b: &Value) -> Value {
    let exact = a.as_i64().zip(b.as_i64());
    match exact.and_then(|(a, b)| a.checked_add(b)) {
        Some(sum) => json!(sum),
        None => json!(a.as_f64().unwrap_or(f64::NAN) + b.as_f64().unwrap_or(f64::NAN)),
    }
}

/// No code panics while it holds one of these locks; should it, the value behind it is still whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
