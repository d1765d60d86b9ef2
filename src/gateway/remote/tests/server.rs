//! A scripted MCP server over real HTTP: Streamable HTTP at `/mcp`, HTTP+SSE at `/sse`; on a runtime of its own, so that
//! it can vanish at once with all its connections.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http_body::Frame;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::gateway::remote::MAX_MESSAGE;

/// Bytes in the result of the tool `big`.
pub(super) const BIG: usize = 3 * 1024 * 1024;
/// Messages that the test has not looked at.
const SEEN: usize = 1000;

/// What the server got: the message, and who sent it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) message: Value,
    pub(super) authorization: String,
    pub(super) user: String,
}

/// How a server behaves from its start on.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Script {
    /// 0 for any.
    pub(super) port: u16,
    /// The only value of `Authorization` that is let in.
    pub(super) key: Option<&'static str>,
    /// What `/sse` names as its endpoint.
    pub(super) endpoint: Option<&'static str>,
}

pub(super) struct Server {
    pub(super) port: u16,
    seen: mpsc::Receiver<Seen>,
    house: Arc<House>,
    runtime: Option<Runtime>,
}

struct House {
    script: Script,
    seen: mpsc::Sender<Seen>,
    /// On which the server can say things unasked.
    streams: Mutex<Vec<mpsc::Sender<Bytes>>>,
    /// The only session that it knows.
    session: Mutex<u64>,
    tasks: TaskTracker,
}

/// What is said to a request.
enum Said {
    Json(String),
    Events(mpsc::Receiver<Bytes>),
    Status(StatusCode),
}

impl Server {
    pub(super) fn start(script: Script) -> Server {
        let (sender, seen) = mpsc::channel(SEEN);
        let house = Arc::new(House {
            script,
            seen: sender,
            streams: Mutex::default(),
            session: Mutex::new(1),
            tasks: TaskTracker::new(),
        });
        let elsewhere = || async { Redirect::temporary("http://127.0.0.2:9/mcp") };
        let page = || async { ([(CONTENT_TYPE, "text/html")], "hello") };
        let router = Router::new()
            .route("/mcp", post(message).get(stream).delete(|| async {}))
            .route("/sse", get(legacy))
            .route("/messages", post(legacy_message))
            .route("/moved", post(|| async { Redirect::temporary("/mcp") }))
            .route("/elsewhere", post(elsewhere))
            .route("/page", post(page))
            .with_state(house.clone());
        let listener = std::net::TcpListener::bind(("127.0.0.1", script.port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
        Server {
            port,
            seen,
            house,
            runtime: Some(runtime),
        }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The next message of `method`; others are passed over.
    pub(super) async fn saw(&mut self, method: &str) -> Seen {
        loop {
            let seen = super::soon(self.seen.recv()).await.unwrap();
            if seen.message["method"] == method {
                return seen;
            }
        }
    }

    /// The messages that came since, by method.
    pub(super) fn seen_since(&mut self) -> Vec<String> {
        let mut methods = Vec::new();
        while let Ok(seen) = self.seen.try_recv() {
            methods.push(seen.message["method"].as_str().unwrap_or("-").to_owned());
        }
        methods
    }

    /// Says `text` on every open stream.
    pub(super) async fn say(&self, text: &str) {
        let streams = self.house.streams.lock().unwrap().clone();
        for stream in streams {
            let _closed = stream.send(event(text)).await;
        }
    }

    /// Knows the sessions so far no more.
    pub(super) fn forget_sessions(&self) {
        *self.house.session.lock().unwrap() += 1;
    }

    /// Is gone, with all its connections.
    pub(super) async fn vanish(mut self) -> u16 {
        let runtime = self.runtime.take().unwrap();
        let ended = move || runtime.shutdown_timeout(Duration::from_secs(5));
        tokio::task::spawn_blocking(ended).await.unwrap();
        self.port
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn message(State(house): State<Arc<House>>, headers: HeaderMap, body: Bytes) -> Response {
    let Some(text) = house.take(&headers, body).await else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let session = house.session.lock().unwrap().to_string();
    let given = headers.get("mcp-session-id");
    if given.is_some_and(|given| *given != *session) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let session = [("mcp-session-id", session)];
    match house.answer(&text).await {
        None => StatusCode::ACCEPTED.into_response(),
        Some(Said::Status(status)) => status.into_response(),
        Some(Said::Json(text)) => {
            (session, [(CONTENT_TYPE, "application/json")], text).into_response()
        }
        Some(Said::Events(events)) => (session, events_of(events)).into_response(),
    }
}

async fn stream(State(house): State<Arc<House>>) -> Response {
    events_of(house.open_stream().1)
}

async fn legacy(State(house): State<Arc<House>>, headers: HeaderMap) -> Response {
    if !house.lets_in(&headers) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let (number, events) = house.open_stream();
    let endpoint = match house.script.endpoint {
        Some(endpoint) => endpoint.to_owned(),
        None => format!("messages?stream={number}"),
    };
    let stream = house.streams.lock().unwrap()[number].clone();
    let text = format!("event: endpoint\ndata: {endpoint}\n\n");
    stream.send(text.into()).await.unwrap();
    events_of(events)
}

async fn legacy_message(
    State(house): State<Arc<House>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(text) = house.take(&headers, body).await else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let number: usize = query.unwrap().split('=').nth(1).unwrap().parse().unwrap();
    let stream = house.streams.lock().unwrap()[number].clone();
    match house.answer(&text).await {
        None => {}
        Some(Said::Status(status)) => return status.into_response(),
        Some(Said::Json(text)) => stream.send(event(&text)).await.unwrap(),
        Some(Said::Events(mut events)) => {
            house.tasks.spawn(async move {
                while let Some(event) = events.recv().await {
                    stream.send(event).await.unwrap();
                }
            });
        }
    }
    (StatusCode::ACCEPTED, "Accepted").into_response()
}

impl House {
    fn lets_in(&self, headers: &HeaderMap) -> bool {
        self.script.key.is_none_or(|key| {
            headers
                .get("authorization")
                .is_some_and(|given| given == key)
        })
    }

    /// The message's text, as it came.
    async fn take(&self, headers: &HeaderMap, body: Bytes) -> Option<String> {
        if !self.lets_in(headers) {
            return None;
        }
        let header = |name| {
            let value = headers.get(name).map(|value| value.to_str().unwrap());
            value.unwrap_or_default().to_owned()
        };
        let seen = Seen {
            message: serde_json::from_slice(&body).unwrap(),
            authorization: header("authorization"),
            user: header("x-user"),
        };
        self.seen.send(seen).await.unwrap();
        Some(String::from_utf8(body.to_vec()).unwrap())
    }

    fn open_stream(&self) -> (usize, mpsc::Receiver<Bytes>) {
        let (sender, events) = mpsc::channel(16);
        let mut streams = self.streams.lock().unwrap();
        streams.push(sender);
        (streams.len() - 1, events)
    }

    async fn answer(self: &Arc<House>, text: &str) -> Option<Said> {
        let message: Value = serde_json::from_str(text).unwrap();
        let id = message.get("id")?.clone();
        let result = |result: &str| {
            Said::Json(format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#
            ))
        };
        let params = &message["params"];
        Some(match message["method"].as_str()? {
            "initialize" => result(
                r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"scripted","version":"7"},"instructions":"be kind"}"#,
            ),
            "tools/list" => result(r#"{"tools":[{"name":"echo"},{"name":"secret","x":1.0}]}"#),
            "tools/call" => match params["name"].as_str().unwrap() {
                // What it got, to the byte.
                "echo" => {
                    let text = serde_json::to_string(text).unwrap();
                    result(&format!(
                        r#"{{"content":[],"got":{text},"n":1.10,"new":{{}}}}"#
                    ))
                }
                "fail" => Said::Json(format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32042,"message":"no","data":{{"n":1.10}}}}}}"#
                )),
                "big" => result(&format!(r#"{{"content":"{}"}}"#, "x".repeat(BIG))),
                "huge" => result(&format!(
                    r#"{{"content":"{}"}}"#,
                    "x".repeat(MAX_MESSAGE + BIG)
                )),
                "break" => Said::Status(StatusCode::INTERNAL_SERVER_ERROR),
                name => self.script(name, &id, &params["_meta"]["progressToken"]),
            },
            _ => result("{}"),
        })
    }

    /// Answers in events: `stall` never, `cut` breaks off, `progress` after twenty notifications, each a little later.
    fn script(&self, name: &str, id: &Value, token: &Value) -> Said {
        let (sender, events) = mpsc::channel(16);
        let (name, id, token) = (name.to_owned(), id.clone(), token.clone());
        self.tasks.spawn(async move {
            match name.as_str() {
                "cut" => {}
                "huge in events" => {
                    let text = "x".repeat(MAX_MESSAGE + BIG);
                    let _refused = sender.send(event(&text)).await;
                }
                "progress" => {
                    for n in 0..20 {
                        let text = format!(
                            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{n}}}}}"#
                        );
                        sender.send(event(&text)).await.unwrap();
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"done":true}}}}"#);
                    sender.send(event(&text)).await.unwrap();
                }
                _ => sender.closed().await,
            }
        });
        Said::Events(events)
    }
}

fn event(text: &str) -> Bytes {
    format!("event: message\ndata: {text}\n\n").into()
}

fn events_of(events: mpsc::Receiver<Bytes>) -> Response {
    let body = Body::new(Events(events));
    ([(CONTENT_TYPE, "text/event-stream")], body).into_response()
}

struct Events(mpsc::Receiver<Bytes>);

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(context)
            .map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}
