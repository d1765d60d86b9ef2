//! A provider on a socket, whose answers are scripted.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub(super) struct Provider {
    pub(super) address: SocketAddr,
    script: Arc<Script>,
    _serving: JoinSet<()>,
}

#[derive(Default)]
struct Script {
    replies: Mutex<VecDeque<Reply>>,
    asked: Mutex<Vec<Asked>>,
}

/// One request, as it came.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) line: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
    pub(super) peer: SocketAddr,
}

type Piece = Result<Bytes, io::Error>;

pub(super) struct Reply {
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: mpsc::Receiver<Piece>,
}

impl Reply {
    pub(super) fn new(status: u16, kind: &'static str, body: impl Into<String>) -> Reply {
        let (reply, sender) = Reply::live(kind);
        sender.try_send(Ok(body.into().into())).unwrap();
        Reply { status, ..reply }
    }

    pub(super) fn json(body: &Value) -> Reply {
        Reply::new(200, "application/json", body.to_string())
    }

    pub(super) fn events(body: impl Into<String>) -> Reply {
        Reply::new(200, "text/event-stream", body)
    }

    /// One whose connection breaks after `body`.
    pub(super) fn cut(kind: &'static str, body: &'static str) -> Reply {
        let (reply, sender) = Reply::live(kind);
        sender.try_send(Ok(body.into())).unwrap();
        sender.try_send(Err(io::Error::other("cut"))).unwrap();
        reply
    }

    /// One whose body is sent by the test; the sender is closed when nobody reads it any more.
    pub(super) fn live(kind: &'static str) -> (Reply, mpsc::Sender<Piece>) {
        let (sender, body) = mpsc::channel(8);
        let headers = vec![("content-type", kind)];
        let reply = Reply {
            status: 200,
            headers,
            body,
        };
        (reply, sender)
    }

    pub(super) fn with(mut self, name: &'static str, value: &'static str) -> Reply {
        self.headers.push((name, value));
        self
    }
}

struct Pieces {
    pieces: mpsc::Receiver<Piece>,
    /// Told once what was sent before is on its way.
    error: Option<io::Error>,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match self.pieces.poll_recv(context) {
            Poll::Ready(Some(Err(error))) => {
                self.error = Some(error);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            piece => piece.map(|piece| piece.map(|piece| piece.map(Frame::data))),
        }
    }
}

impl Provider {
    pub(super) async fn start(replies: impl IntoIterator<Item = Reply>) -> Provider {
        let script = Arc::new(Script {
            replies: Mutex::new(replies.into_iter().collect()),
            ..Script::default()
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let handler = {
            let script = script.clone();
            move |ConnectInfo(peer): ConnectInfo<SocketAddr>, request: Request| {
                answer(script, peer, request)
            }
        };
        let service = Router::new()
            .fallback(handler)
            .into_make_service_with_connect_info::<SocketAddr>();
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, service).await.unwrap() });
        Provider {
            address,
            script,
            _serving: serving,
        }
    }

    pub(super) fn base(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.script.asked.lock().unwrap().clone()
    }
}

async fn answer(script: Arc<Script>, peer: SocketAddr, request: Request) -> Response {
    let line = format!("{} {}", request.method(), request.uri());
    let headers = request.headers().clone();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    script.asked.lock().unwrap().push(Asked {
        line,
        headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
        peer,
    });
    let reply = script.replies.lock().unwrap().pop_front();
    let reply = reply.unwrap_or_else(|| Reply::new(418, "text/plain", "the script is over"));
    let mut response = Response::builder().status(StatusCode::from_u16(reply.status).unwrap());
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response
        .body(Body::new(Pieces {
            pieces: reply.body,
            error: None,
        }))
        .unwrap()
}

/// A whole answer of a regular model.
pub(super) fn hello() -> Value {
    json!({
        "id": "x", "object": "chat.completion", "created": 1, "model": "theirs",
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": "hello" }, "finish_reason": "stop" }],
        "usage": { "total_tokens": 2 },
    })
}
