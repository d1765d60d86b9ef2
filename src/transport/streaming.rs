//! An event stream on a socket of its own, without an HTTP machine around it.
//!
//! A stream that waits for hours needs neither the 16 KiB of buffers that hyper keeps for a connection nor its state:
//! once the response is known, the connection is taken from hyper, and what is left is this: head, chunks (RFC 9112 §
//! 7.1), and an eye on the client's end. The connection closes with the stream.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use axum::body::Body;
use axum::http::Response;
use bytes::{Buf, Bytes, BytesMut};
use http_body::Body as _;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::socket::Socket;

/// Marks a response whose stream lives long, as an extension.
#[derive(Debug, Clone, Copy)]
pub(super) struct LongLived;

/// Pieces that one write takes.
const PIECES: usize = 16;
/// Bytes that are taken from the body at a time, but for the last piece.
const ENOUGH: usize = 64 * 1024;
/// Chunks up to this size are copied into one piece with their frame.
const SMALL: usize = 4 * 1024;

/// A response that is being streamed.
#[derive(Debug)]
pub(super) struct Streaming {
    socket: Socket,
    body: Option<Body>,
    pieces: VecDeque<Bytes>,
}

impl Streaming {
    /// Sends `response` on `socket`, on which nothing else is on its way.
    pub(super) fn new(socket: Socket, response: Response<Body>) -> Streaming {
        let (parts, body) = response.into_parts();
        let mut head = BytesMut::with_capacity(256);
        write!(head, "HTTP/1.1 {}\r\n", parts.status).expect("memory takes all that is written");
        for (name, value) in &parts.headers {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        let date = httpdate::fmt_http_date(SystemTime::now());
        write!(
            head,
            "date: {date}\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        .expect("memory takes all that is written");
        Streaming {
            socket,
            body: Some(body),
            pieces: VecDeque::from([head.freeze()]),
        }
    }

    /// Ready when the stream is over and closed, or the client is gone.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let idle = self.gather(context);
            match self.poll_write(context) {
                Poll::Ready(outcome) => outcome?,
                Poll::Pending => return self.poll_gone(context),
            }
            if self.body.is_none() {
                return Pin::new(&mut self.socket).poll_shutdown(context);
            }
            if idle {
                // An idle stream keeps no room for pieces.
                self.pieces = VecDeque::new();
                return self.poll_gone(context);
            }
        }
    }

    /// Takes what the body has; `true` when it has no more now.
    fn gather(&mut self, context: &mut Context<'_>) -> bool {
        let mut bytes = 0;
        // Large messages one by one: what is taken from the body is no longer counted against any limit.
        while self.pieces.len() < PIECES && bytes < ENOUGH {
            let Some(body) = &mut self.body else {
                return true;
            };
            match Pin::new(body).poll_frame(context) {
                Poll::Pending => return true,
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        bytes += data.len();
                        self.chunk(data);
                    }
                }
                // A stream that broke off must not look complete.
                Poll::Ready(Some(Err(_))) => self.body = None,
                Poll::Ready(None) => {
                    self.pieces.push_back(Bytes::from_static(b"0\r\n\r\n"));
                    self.body = None;
                }
            }
        }
        false
    }

    fn chunk(&mut self, data: Bytes) {
        if data.is_empty() {
            return;
        }
        let small = data.len() <= SMALL;
        let mut piece = BytesMut::with_capacity(if small { data.len() + 8 } else { 16 });
        write!(piece, "{:x}\r\n", data.len()).expect("memory takes all that is written");
        if small {
            piece.extend_from_slice(&data);
            piece.extend_from_slice(b"\r\n");
            self.pieces.push_back(piece.freeze());
        } else {
            self.pieces
                .extend([piece.freeze(), data, Bytes::from_static(b"\r\n")]);
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pieces.is_empty() {
            let mut slices = [IoSlice::new(&[]); PIECES];
            let mut count = 0;
            for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                *slice = IoSlice::new(piece);
                count += 1;
            }
            let mut written =
                ready!(Pin::new(&mut self.socket).poll_write_vectored(context, &slices[..count]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            while let Some(piece) = self.pieces.front_mut() {
                if written < piece.len() {
                    piece.advance(written);
                    break;
                }
                written -= piece.len();
                self.pieces.pop_front();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when the client has closed its end; what it sends is of no use here.
    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = [0; 256];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.socket).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
