//! The listener over real sockets, in front of a router of three routes.

use std::time::{Duration, Instant};

use axum::routing::{get, post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::metrics::{Metrics, ProcessMetrics};

struct Server {
    address: SocketAddr,
    options: Options,
    numbers: Arc<ProcessMetrics>,
}

impl Server {
    async fn start(max: usize, timeouts: Timeouts) -> Server {
        let metrics = Metrics::new();
        let numbers = metrics.process().clone();
        let options = Options {
            name: "test".into(),
            connections: Connections::new(max, max, numbers.clone()),
            metrics: Some(metrics.bridge("test")),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            kill: CancellationToken::new(),
            timeouts,
        };
        let router = Router::new()
            .route("/hello", get(async || "hello"))
            .route("/large", get(async || vec![b'x'; 64 << 20]))
            .route("/wait", get(async || std::future::pending::<()>().await))
            .route("/stream", get(async || long_lived(false)))
            .route("/endless", get(async || long_lived(true)))
            .route(
                "/torrent",
                get(async || {
                    let pieces = vec![Bytes::from(vec![b'x'; 1 << 16]); 1 << 10];
                    streaming(pieces, true)
                }),
            )
            .route(
                "/refuse",
                post(async || axum::http::StatusCode::UNAUTHORIZED),
            );
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        options
            .tasks
            .spawn(serve(listener, Arc::new(router), options.clone()));
        Server {
            address,
            options,
            numbers,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn finish(self) {
        self.options.stop.cancel();
        self.options.tasks.close();
        tokio::time::timeout(Duration::from_secs(5), self.options.tasks.wait())
            .await
            .expect("connections end");
        assert_eq!(self.numbers.connections.get(), 0);
    }
}

/// A stream of a small piece and a large one, that then ends or waits.
struct Pieces {
    pieces: Vec<Bytes>,
    endless: bool,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.pieces.pop() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None if self.endless => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}

fn long_lived(endless: bool) -> Response<Body> {
    let pieces = vec![Bytes::from(vec![b'x'; 5000]), Bytes::from_static(b"small")];
    streaming(pieces, endless)
}

fn streaming(pieces: Vec<Bytes>, endless: bool) -> Response<Body> {
    let mut response = Response::new(Body::new(Pieces { pieces, endless }));
    response.extensions_mut().insert(LongLived);
    response
}

/// Everything until the server closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut text)).await;
    read.expect("the server closes").unwrap();
    String::from_utf8(text).unwrap()
}

async fn ask(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// One response with a body of five bytes.
async fn hello(stream: &mut TcpStream) {
    ask(stream, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut text = String::new();
    while !text.ends_with("hello") {
        let mut buffer = [0; 512];
        let n = stream.read(&mut buffer).await.unwrap();
        assert!(n > 0, "closed after {text}");
        text.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
    }
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
}

fn quick() -> Timeouts {
    let short = Duration::from_millis(150);
    Timeouts {
        head: short,
        idle: Duration::from_millis(600),
        stall: short,
        linger: Duration::from_secs(2),
    }
}

#[tokio::test]
async fn heads_over_the_limits_are_431() {
    let server = Server::start(9, Timeouts::default()).await;
    let long = format!("x: {}\r\n", "y".repeat(HEAD));
    let many: String = (0..=FIELDS).map(|n| format!("x{n}: y\r\n")).collect();
    for fields in [long, many] {
        let mut stream = server.connect().await;
        ask(
            &mut stream,
            &format!("GET /hello HTTP/1.1\r\nHost: a\r\n{fields}\r\n"),
        )
        .await;
        let text = rest(&mut stream).await;
        assert!(text.starts_with("HTTP/1.1 431 "), "{text}");
    }
    server.finish().await;
}

#[tokio::test]
async fn a_head_must_come_in_time_but_an_idle_connection_may_wait() {
    let server = Server::start(9, quick()).await;
    let start = Instant::now();
    let mut silent = server.connect().await;
    let mut slow = server.connect().await;
    ask(&mut slow, "GET /hel").await;
    let mut kept = server.connect().await;
    hello(&mut kept).await;
    assert_eq!(rest(&mut silent).await, "");
    assert_eq!(rest(&mut slow).await, "");
    let late = start.elapsed();
    assert!(
        late >= Duration::from_millis(150) && late < Duration::from_millis(500),
        "{late:?}"
    );
    tokio::time::sleep(Duration::from_millis(100)).await;
    hello(&mut kept).await;
    ask(&mut kept, "GET /hel").await;
    let start = Instant::now();
    assert_eq!(rest(&mut kept).await, "");
    assert!(
        start.elapsed() < Duration::from_millis(500),
        "the rest of a head is not given the idle time"
    );
    server.finish().await;
}

#[tokio::test]
async fn an_idle_connection_ends() {
    let server = Server::start(9, quick()).await;
    let mut stream = server.connect().await;
    hello(&mut stream).await;
    let start = Instant::now();
    assert_eq!(rest(&mut stream).await, "");
    assert!(start.elapsed() >= Duration::from_millis(500));
    server.finish().await;
}

#[tokio::test]
async fn a_response_that_is_not_read_ends_the_connection() {
    let server = Server::start(9, quick()).await;
    for path in ["/large", "/torrent"] {
        let mut stream = server.connect().await;
        ask(
            &mut stream,
            &format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"),
        )
        .await;
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).await.unwrap();
        assert_eq!(&begin, b"HTTP/1.1 200");
        let start = Instant::now();
        while server.numbers.connections.get() > 0 {
            assert!(
                start.elapsed() < Duration::from_secs(5),
                "the connection is still open"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(
            start.elapsed() >= Duration::from_millis(100),
            "{path} {:?}",
            start.elapsed()
        );
    }
    server.finish().await;
}

#[tokio::test]
async fn a_connection_too_many_is_told_so() {
    let server = Server::start(2, Timeouts::default()).await;
    let mut first = server.connect().await;
    hello(&mut first).await;
    let mut second = server.connect().await;
    hello(&mut second).await;
    let text = rest(&mut server.connect().await).await;
    assert!(
        text.starts_with("HTTP/1.1 503 ") && text.contains("Retry-After: 1"),
        "{text}"
    );
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(&format!("Content-Length: {}", body.len())),
        "{head}"
    );
    assert_eq!(server.numbers.connections_refused.get(), 1);
    drop(first);
    while server.numbers.connections.get() > 1 {
        tokio::task::yield_now().await;
    }
    hello(&mut server.connect().await).await;
    drop(second);
    server.finish().await;
}

#[tokio::test]
async fn an_error_reaches_a_client_that_is_still_sending() {
    let server = Server::start(
        9,
        Timeouts {
            linger: Duration::from_millis(500),
            ..Timeouts::default()
        },
    )
    .await;
    let mut stream = server.connect().await;
    ask(
        &mut stream,
        "POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n",
    )
    .await;
    stream
        .write_all(&vec![b'x'; 4_000_000])
        .await
        .expect("the server reads on");
    let text = rest(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 401 "), "{text}");
    server.finish().await;
}

#[tokio::test]
async fn a_stop_frees_the_port_and_ends_idle_connections_but_no_request() {
    let server = Server::start(9, Timeouts::default()).await;
    let mut idle = server.connect().await;
    hello(&mut idle).await;
    let mut waiting = server.connect().await;
    ask(&mut waiting, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
    // The request is in the handler once its task has run; a later answer on another connection shows that it has.
    hello(&mut server.connect().await).await;
    server.options.stop.cancel();
    assert_eq!(rest(&mut idle).await, "");
    let again = bind(server.address).expect("the port is free");
    drop(again);
    assert_eq!(server.numbers.connections.get(), 1);
    server.options.kill.cancel();
    assert_eq!(rest(&mut waiting).await, "");
    server.finish().await;
}

#[tokio::test]
async fn a_long_lived_stream_leaves_hyper_and_looks_the_same() {
    let server = Server::start(9, Timeouts::default()).await;
    let body = format!("5\r\nsmall\r\n1388\r\n{}\r\n0\r\n\r\n", "x".repeat(5000));
    let mut stream = server.connect().await;
    hello(&mut stream).await;
    ask(&mut stream, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let text = rest(&mut stream).await;
    let (head, rest_of_it) = text.split_once("\r\n\r\n").unwrap();
    let fields: Vec<_> = head
        .split("\r\n")
        .map(|line| line.split(": ").next().unwrap())
        .collect();
    assert_eq!(
        fields,
        ["HTTP/1.1 200 OK", "date", "connection", "transfer-encoding"]
    );
    assert_eq!(rest_of_it, body);

    let mut old = server.connect().await;
    ask(&mut old, "GET /stream HTTP/1.0\r\n\r\n").await;
    let text = rest(&mut old).await;
    assert!(
        text.starts_with("HTTP/1.0 200 OK\r\n")
            && text.ends_with(&format!("small{}", "x".repeat(5000))),
        "{text}"
    );
    server.finish().await;
}

#[tokio::test]
async fn a_long_lived_stream_ends_with_its_client_or_by_kill() {
    let server = Server::start(9, Timeouts::default()).await;
    let mut begin = [0; 12];
    for kill in [false, true] {
        let mut stream = server.connect().await;
        ask(&mut stream, "GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await;
        stream.read_exact(&mut begin).await.unwrap();
        assert_eq!(server.numbers.connections.get(), 1);
        if kill {
            server.options.kill.cancel();
            assert!(
                rest(&mut stream).await.ends_with("x\r\n"),
                "no end is feigned"
            );
        }
        drop(stream);
        while server.numbers.connections.get() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    server.finish().await;
}
