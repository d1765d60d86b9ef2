//! HTTP/1.1 by hand, client side, and no more of it than a load generator needs: keep-alive connections, heads, bodies by length,
//! by chunks or until close (RFC 9112 §6). A general client would cost as much as the bridge that is measured.

use std::cell::Cell;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::error::{Error, Result};

/// Longest head that is taken.
const MAX_HEAD: usize = 64 * 1024;

/// Room that is kept free for each read.
const READ: usize = 64 * 1024;

/// Where requests go: `http://host:port/path`.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) path: String,
    /// `host:port` as it stood in the URL.
    pub(crate) authority: String,
    address: SocketAddr,
    opened: Cell<u32>,
}

impl Target {
    /// Reads an `http:` URL; an empty path or `/` becomes `default_path`.
    ///
    /// # Errors
    /// When it isn't `http:` or its host has no address.
    pub(crate) fn parse(url: &str, default_path: &str) -> Result<Self> {
        let rest = url
            .strip_prefix("http://")
            .ok_or_else(|| Error::Usage(format!("{url}: not an http:// URL")))?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let with_port = if authority.contains(':') {
            authority.to_owned()
        } else {
            format!("{authority}:80")
        };
        let address = std::net::ToSocketAddrs::to_socket_addrs(&with_port)
            .map_err(Error::io(url))?
            .next()
            .ok_or_else(|| Error::Usage(format!("{url}: no address")))?;
        let path = if path.len() < 2 { default_path } else { path };
        Ok(Self {
            path: path.to_owned(),
            authority: authority.to_owned(),
            address,
            opened: Cell::new(0),
        })
    }

    /// Opens a connection. Towards 127.0.0.1 the source address changes with each, from 127.0.1.1 on: a limit per client address
    /// sees many clients, and many short connections don't run out of ports.
    ///
    /// # Errors
    /// When the target doesn't accept.
    pub(crate) async fn open(&self) -> Result<Connection> {
        let number = self.opened.get();
        self.opened.set(number.wrapping_add(1));
        let connect = async {
            let stream = if self.address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
                let socket = TcpSocket::new_v4()?;
                let host = 0x7f00_0101 + number % 250;
                socket.bind(SocketAddr::from((Ipv4Addr::from_bits(host), 0)))?;
                socket.connect(self.address).await?
            } else {
                TcpStream::connect(self.address).await?
            };
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        let stream = connect
            .await
            .map_err(Error::io(format!("connecting to {}", self.authority)))?;
        Ok(Connection {
            stream,
            input: BytesMut::with_capacity(READ),
        })
    }
}

/// One keep-alive connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    pub(crate) input: BytesMut,
}

impl Connection {
    /// Sends a whole request.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) async fn send(&mut self, request: &[u8]) -> Result<()> {
        self.stream
            .write_all(request)
            .await
            .map_err(Error::io("sending a request"))
    }

    /// Reads the next response's head.
    ///
    /// # Errors
    /// When the connection ends or what comes isn't HTTP/1.1.
    pub(crate) async fn head(&mut self) -> Result<Head> {
        head(&mut self.stream, &mut self.input).await
    }

    /// Reads a whole response; its body replaces what is in `body`.
    ///
    /// # Errors
    /// As [`Connection::head`].
    pub(crate) async fn response(&mut self, body: &mut Vec<u8>) -> Result<Head> {
        response(&mut self.stream, &mut self.input, body).await
    }

    /// Sends a request and reads its whole response.
    ///
    /// # Errors
    /// As [`Connection::head`], and when the status isn't 200 to 299.
    pub(crate) async fn exchange(&mut self, request: &[u8], body: &mut Vec<u8>) -> Result<Head> {
        self.send(request).await?;
        let head = self.response(body).await?;
        head.expect_success(body)?;
        Ok(head)
    }
}

/// [`Connection::head`] for a connection that was split.
pub(crate) async fn head(
    stream: &mut (impl tokio::io::AsyncRead + Unpin),
    input: &mut BytesMut,
) -> Result<Head> {
    loop {
        if let Some(end) = memchr::memmem::find(input, b"\r\n\r\n") {
            let head = Head::parse(&input[..end])?;
            input.advance(end + 4);
            return Ok(head);
        }
        if input.len() > MAX_HEAD {
            return Err(Error::protocol("response head of more than 64 KiB"));
        }
        fill(stream, input).await?;
    }
}

/// [`Connection::response`] for a connection that was split.
pub(crate) async fn response(
    stream: &mut (impl tokio::io::AsyncRead + Unpin),
    input: &mut BytesMut,
    body: &mut Vec<u8>,
) -> Result<Head> {
    body.clear();
    let head = head(stream, input).await?;
    let mut framing = head.framing.clone();
    while !framing.decode(input, body)? {
        fill(stream, input).await?;
    }
    Ok(head)
}

/// Reads once into `input`.
///
/// # Errors
/// When the stream has ended or breaks.
pub(crate) async fn fill(
    stream: &mut (impl tokio::io::AsyncRead + Unpin),
    input: &mut BytesMut,
) -> Result<()> {
    input.reserve(READ);
    match stream
        .read_buf(input)
        .await
        .map_err(Error::io("reading a response"))?
    {
        0 => Err(Error::protocol("the target closed the connection")),
        _ => Ok(()),
    }
}

/// What of a response head matters here.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) is_event_stream: bool,
    pub(crate) session: Option<String>,
    pub(crate) framing: Framing,
}

impl Head {
    fn parse(head: &[u8]) -> Result<Self> {
        let head =
            std::str::from_utf8(head).map_err(|_| Error::protocol("response head isn't text"))?;
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
        let status = status
            .ok_or_else(|| Error::protocol(format!("not an HTTP/1.1 response: {head:.60?}")))?;
        let none = matches!(status, 100..=199 | 204 | 304);
        let framing = if none {
            Framing::Length(0)
        } else {
            Framing::Close
        };
        let mut parsed = Self {
            status,
            is_event_stream: false,
            session: None,
            framing,
        };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") && !none {
                let length = value
                    .parse()
                    .map_err(|_| Error::protocol(format!("content-length {value:?}")))?;
                parsed.framing = Framing::Length(length);
            } else if name.eq_ignore_ascii_case("transfer-encoding") && !none {
                parsed.framing = Framing::Chunk(0);
            } else if name.eq_ignore_ascii_case("content-type") {
                parsed.is_event_stream = value.starts_with("text/event-stream");
            } else if name.eq_ignore_ascii_case("mcp-session-id") {
                parsed.session = Some(value.to_owned());
            }
        }
        Ok(parsed)
    }

    /// An error unless the status is 200 to 299; shows the start of the body.
    ///
    /// # Errors
    /// For every other status.
    pub(crate) fn expect_success(&self, body: &[u8]) -> Result<()> {
        if (200..300).contains(&self.status) {
            return Ok(());
        }
        let shown = String::from_utf8_lossy(&body[..body.len().min(200)]);
        Err(Error::Protocol(format!("status {}: {shown}", self.status)))
    }
}

/// How the rest of a body is delimited.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Framing {
    /// So many bytes are to come.
    Length(usize),
    /// Chunked; so many bytes of the current chunk, with its line end, are to come. 0: a chunk head is next.
    Chunk(usize),
    /// The last chunk was read, its trailer is next.
    Trailer,
    /// Until the connection closes, which callers see as an error: nobody sends one message that way.
    Close,
}

impl Framing {
    /// Moves what is there of the body from `input` to `out`; true when the body is complete.
    ///
    /// # Errors
    /// When a chunk head isn't one.
    pub(crate) fn decode(&mut self, input: &mut BytesMut, out: &mut Vec<u8>) -> Result<bool> {
        loop {
            match self {
                Self::Length(left) => {
                    let take = input.len().min(*left);
                    out.extend_from_slice(&input[..take]);
                    input.advance(take);
                    *left -= take;
                    return Ok(*left == 0);
                }
                Self::Close => {
                    out.extend_from_slice(input);
                    input.clear();
                    return Ok(false);
                }
                Self::Chunk(0) => {
                    let Some(end) = memchr::memchr(b'\n', input) else {
                        return Ok(false);
                    };
                    let digits = input[..end]
                        .split(|byte| matches!(byte, b';' | b'\r'))
                        .next()
                        .unwrap_or_default();
                    let size = std::str::from_utf8(digits)
                        .ok()
                        .and_then(|text| usize::from_str_radix(text.trim(), 16).ok());
                    let size = size.ok_or_else(|| Error::protocol("broken chunk head"))?;
                    input.advance(end + 1);
                    *self = if size == 0 {
                        Self::Trailer
                    } else {
                        Self::Chunk(size + 2)
                    };
                }
                Self::Chunk(left) => {
                    let data = input.len().min(left.saturating_sub(2));
                    out.extend_from_slice(&input[..data]);
                    input.advance(data);
                    *left -= data;
                    if *left <= 2 {
                        let end = input.len().min(*left);
                        input.advance(end);
                        *left -= end;
                    }
                    if *left > 0 {
                        return Ok(false);
                    }
                }
                Self::Trailer => {
                    let Some(end) = memchr::memchr(b'\n', input) else {
                        return Ok(false);
                    };
                    let is_last = input[..end].iter().all(|&byte| byte == b'\r');
                    input.advance(end + 1);
                    if is_last {
                        return Ok(true);
                    }
                }
            }
        }
    }
}

/// Head of a POST of JSON, to be followed by [`post`]: everything but the content-length.
pub(crate) fn post_head(target: &Target, path: &str, extra: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n{extra}",
        target.authority
    )
}

/// A GET of an event stream.
pub(crate) fn get_stream(target: &Target, extra: &str) -> String {
    format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n{extra}\r\n",
        target.path, target.authority
    )
}

/// Appends a POST with `body` to `out`.
pub(crate) fn post(head: &str, body: &[u8], out: &mut Vec<u8>) {
    out.reserve(head.len() + body.len() + 40);
    out.extend_from_slice(head.as_bytes());
    write!(out, "Content-Length: {}\r\n\r\n", body.len()).expect("writing into a Vec cannot fail");
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined_wherever_they_are_cut() {
        let wire = b"5\r\nhello\r\n6;x=1\r\n world\r\n0\r\n\r\nrest";
        for cut in 1..wire.len() {
            let (mut framing, mut out, mut input) =
                (Framing::Chunk(0), Vec::new(), BytesMut::new());
            let mut done = false;
            for part in wire.chunks(cut) {
                input.extend_from_slice(part);
                done = done || framing.decode(&mut input, &mut out).unwrap();
            }
            assert!(done, "cut at {cut}");
            assert_eq!(
                (&out[..], &input[..]),
                (&b"hello world"[..], &b"rest"[..]),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn heads_say_what_follows() {
        let head = Head::parse(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nMcp-Session-Id: a-1\r\ntransfer-encoding: chunked").unwrap();
        assert_eq!(
            (head.status, head.is_event_stream, head.session.as_deref()),
            (200, true, Some("a-1"))
        );
        assert_eq!(head.framing, Framing::Chunk(0));
        assert_eq!(
            Head::parse(b"HTTP/1.1 204 No Content").unwrap().framing,
            Framing::Length(0)
        );
        assert!(Head::parse(b"SSH-2.0-x").is_err());
    }
}
