//! HTTP/1.1 on a bare socket: sends any bytes, reads what comes, and hides nothing.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::within;

/// A request to be written. `Host` and `Content-Length` are added unless they are set.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

/// Status line and headers.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

/// One connection, on which requests can follow each other.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    addr: SocketAddr,
    body: Framing,
}

/// How the body that is being read ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
    Done,
}

impl Request {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: None,
        }
    }

    pub(crate) fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// A POST of JSON that takes JSON or an event stream for an answer, as every revision of Streamable HTTP wants it.
    pub(crate) fn post(path: &str, body: impl Into<Vec<u8>>) -> Self {
        let mut request = Self::new("POST", path)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        request.body = Some(body.into());
        request
    }

    /// Sets a header, in place of one of the same name.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self = self.without(name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    fn bytes(&self, addr: SocketAddr) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        let has = |name: &str| {
            let mut names = self.headers.iter().map(|(known, _)| known);
            names.any(|known| known.eq_ignore_ascii_case(name))
        };
        if !has("host") {
            write!(head, "Host: {addr}\r\n").unwrap();
        }
        if let Some(body) = &self.body
            && !has("content-length")
            && !has("transfer-encoding")
        {
            write!(head, "Content-Length: {}\r\n", body.len()).unwrap();
        }
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

impl Head {
    /// The value of a header; name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn content_type(&self) -> &str {
        self.header("content-type").unwrap_or_default()
    }
}

impl Response {
    pub(crate) fn status(&self) -> u16 {
        self.head.status
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(json) => json,
            Err(error) => panic!("{error} in {:?} {:?}", self.head, self.text()),
        }
    }
}

impl Connection {
    pub(crate) async fn open(addr: SocketAddr) -> Self {
        Self::open_from(IpAddr::from([127, 0, 0, 1]), addr).await
    }

    /// Opens a connection from another address of this machine.
    pub(crate) async fn open_from(from: IpAddr, addr: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        if from != IpAddr::from([127, 0, 0, 1]) {
            socket.bind((from, 0).into()).unwrap();
        }
        let connecting = within(format!("a connection to {addr}"), socket.connect(addr));
        let stream = connecting.await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: BufReader::new(stream),
            addr,
            body: Framing::Done,
        }
    }

    /// Writes these very bytes.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        within("room to send", self.stream.write_all(bytes))
            .await
            .unwrap();
    }

    /// Writes a request and reads the answer's head.
    pub(crate) async fn request(&mut self, request: &Request) -> Head {
        let bytes = request.bytes(self.addr);
        self.send(&bytes).await;
        self.head().await
    }

    /// Writes a request and reads the whole answer.
    pub(crate) async fn exchange(&mut self, request: &Request) -> Response {
        let head = self.request(request).await;
        let body = self.rest().await;
        Response { head, body }
    }

    /// Reads status line and headers.
    pub(crate) async fn head(&mut self) -> Head {
        let status_line = self.line().await;
        let status = status_line.split(' ').nth(1).map(str::parse);
        let Some(Ok(status)) = status else {
            panic!("no status line: {status_line:?}");
        };
        let mut headers = Vec::new();
        loop {
            let line = self.line().await;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap();
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let head = Head { status, headers };
        self.body = if head.header("transfer-encoding") == Some("chunked") {
            Framing::Chunked
        } else if let Some(length) = head.header("content-length") {
            Framing::Length(length.parse().unwrap())
        } else if matches!(status, 100..200 | 204 | 304) {
            Framing::Done
        } else {
            Framing::UntilClose
        };
        head
    }

    /// The next piece of the body; `None` at its end. A body that is cut short ends with a panic.
    pub(crate) async fn piece(&mut self) -> Option<Vec<u8>> {
        let piece = match self.body {
            Framing::Done => return None,
            Framing::Length(0) => Vec::new(),
            Framing::Length(left) => {
                let mut piece = self.some(left).await;
                assert!(!piece.is_empty(), "the body ends {left} bytes too early");
                piece.truncate(left);
                self.body = Framing::Length(left - piece.len());
                piece
            }
            Framing::UntilClose => self.some(usize::MAX).await,
            Framing::Chunked => {
                let size = self.line().await;
                let size = usize::from_str_radix(&size, 16).unwrap();
                let mut piece = vec![0; size];
                within("a chunk", self.stream.read_exact(&mut piece))
                    .await
                    .unwrap();
                assert_eq!(self.line().await, "", "a chunk ends with a line's end");
                piece
            }
        };
        if piece.is_empty() {
            self.body = Framing::Done;
            return None;
        }
        Some(piece)
    }

    /// The rest of the body.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece().await {
            body.extend(piece);
        }
        body
    }

    /// Waits until the other side closes; returns what still came.
    pub(crate) async fn closed(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // a reset is a way to close, too
        drop(within("the connection's end", self.stream.read_to_end(&mut rest)).await);
        rest
    }

    async fn line(&mut self) -> String {
        let mut line = Vec::new();
        within("a line of HTTP", self.stream.read_until(b'\n', &mut line))
            .await
            .unwrap();
        let line = String::from_utf8(line).unwrap();
        let whole = line.strip_suffix("\r\n");
        whole
            .unwrap_or_else(|| panic!("the connection ended within {line:?}"))
            .to_owned()
    }

    /// Bytes that have come, at least one and at most `limit`; none at the end.
    async fn some(&mut self, limit: usize) -> Vec<u8> {
        let buffered = within("more of a body", self.stream.fill_buf());
        let buffered = buffered.await.unwrap();
        let piece = buffered[..buffered.len().min(limit)].to_vec();
        self.stream.consume(piece.len());
        piece
    }
}

/// One request on a connection of its own.
pub(crate) async fn exchange(addr: SocketAddr, request: Request) -> Response {
    let request = request.header("connection", "close");
    Connection::open(addr).await.exchange(&request).await
}

/// The same where a listener may come or go: `None` when the connection was refused, reset or closed too early.
pub(crate) async fn attempt(addr: SocketAddr, request: Request) -> Option<Response> {
    TcpStream::connect(addr).await.ok()?;
    // a task of its own, because a broken connection panics
    let mut attempt = JoinSet::new();
    attempt.spawn(exchange(addr, request));
    attempt.join_next().await?.ok()
}
