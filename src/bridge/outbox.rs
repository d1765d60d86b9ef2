//! Lines on their way to a server's stdin.
//!
//! Small lines are put together in one buffer, large ones are pieces that share the text of their message; all of it is
//! written as far as the pipe takes it, many lines with one system call. Positions count bytes over the whole life of a
//! generation, so that it can be told whether a line has begun to be delivered. The bound is kept by the sessions, who
//! ask before they send.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf as _, Bytes};
use tokio::net::unix::pipe;

use crate::jsonrpc::{Edit, Message};

/// A buffer that grew beyond this is given back once it is empty.
const KEEP: usize = 256 * 1024;
/// Messages from this size on are not copied. The buffer that such a text is a part of is at most some times larger.
const SHARED: usize = 32 * 1024;
/// Pieces that one write takes.
const PIECES: usize = 16;

/// The bytes that a server has not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// What goes before `buffer`. What is written of a piece is cut off.
    pieces: VecDeque<Bytes>,
    /// The length of all pieces.
    bytes: usize,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that are written already; none while there are pieces.
    start: usize,
    written: u64,
}

impl Outbox {
    /// Adds `message` as one line, with `edits` made.
    pub(crate) fn message(&mut self, message: &Message, edits: &mut [Edit<'_>]) {
        if message.text().len() < SHARED || message.envelope().has_line_break {
            return message.write_line(&mut self.buffer, edits);
        }
        for piece in message.pieces(edits) {
            self.share(piece);
        }
        self.buffer.push(b'\n');
    }

    /// Adds a part of a line without copying it, unless it is small.
    fn share(&mut self, piece: Bytes) {
        if piece.len() < SHARED {
            return self.buffer.extend_from_slice(&piece);
        }
        if self.buffer.len() > self.start {
            let mut before = Bytes::from(std::mem::take(&mut self.buffer));
            before.advance(self.start);
            self.push(before);
        }
        self.buffer.clear();
        self.start = 0;
        self.push(piece);
    }

    fn push(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        self.pieces.push_back(piece);
    }

    /// Adds a line put together from `parts`; they hold no line break.
    pub(crate) fn line(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.buffer.extend_from_slice(part);
        }
        self.buffer.push(b'\n');
    }

    /// Where the next line will begin, in bytes since the generation began.
    pub(crate) fn position(&self) -> u64 {
        self.written + self.len() as u64
    }

    /// Whether any byte of the line that began at `position` was taken by the server's pipe.
    pub(crate) fn has_begun(&self, position: u64) -> bool {
        self.written > position
    }

    /// Bytes waiting.
    pub(crate) fn len(&self) -> usize {
        self.bytes + self.buffer.len() - self.start
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes as much as the pipe takes without waiting; returns how many bytes that was.
    ///
    /// # Errors
    /// What the pipe says, `BrokenPipe` when the server has closed its stdin. A full pipe is no error.
    pub(crate) fn flush(&mut self, pipe: &pipe::Sender) -> io::Result<usize> {
        let mut taken = 0;
        while !self.is_empty() {
            match self.write(pipe) {
                Ok(count) => {
                    taken += count;
                    self.took(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.compact();
        Ok(taken)
    }

    fn write(&self, pipe: &pipe::Sender) -> io::Result<usize> {
        let tail = &self.buffer[self.start..];
        if self.pieces.is_empty() {
            return pipe.try_write(tail);
        }
        let mut slices = [IoSlice::new(&[]); PIECES];
        let all = self.pieces.iter().map(Bytes::as_ref).chain([tail]);
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(all) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        pipe.try_write_vectored(&slices[..count])
    }

    /// The pipe has taken the first `count` bytes.
    fn took(&mut self, mut count: usize) {
        self.written += count as u64;
        while let Some(piece) = self.pieces.front_mut() {
            let part = count.min(piece.len());
            piece.advance(part);
            self.bytes -= part;
            count -= part;
            if piece.has_remaining() {
                return;
            }
            self.pieces.pop_front();
        }
        self.start += count;
    }

    /// Takes all that waits, as a pipe does that is never full.
    pub(super) fn discard(&mut self) -> usize {
        let taken = self.len();
        self.took(taken);
        self.compact();
        taken
    }

    /// Gives back the room of what is written.
    fn compact(&mut self) {
        if self.is_empty() {
            self.start = 0;
            self.pieces.shrink_to(PIECES);
            if self.buffer.capacity() > KEEP {
                self.buffer = Vec::new();
            } else {
                self.buffer.clear();
            }
        } else if self.start > KEEP && self.start > self.buffer.len() / 2 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
    }
}

#[cfg(test)]
impl Outbox {
    /// Takes the lines that wait, as if a pipe had.
    pub(crate) fn take_lines(&mut self) -> Vec<Bytes> {
        let tail = self.buffer[self.start..].iter().copied();
        let all: Vec<u8> = self.pieces.iter().flatten().copied().chain(tail).collect();
        self.discard();
        all.split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(Bytes::copy_from_slice)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    /// A request with a text of `size` bytes, and as the line that it becomes under the id 77.
    fn request(size: usize) -> (Message, String) {
        let text = "x".repeat(size);
        let line = |id| {
            format!(r#"{{"jsonrpc":"2.0","method":"m","params":{{"a":"{text}","b":1}},"id":{id}}}"#)
        };
        let message = Message::parse(line("\"client's\"").into()).expect("it is one");
        (message, line("77") + "\n")
    }

    fn add(outbox: &mut Outbox, message: &Message) {
        let span = message.envelope().id.expect("it has one");
        outbox.message(message, &mut [Edit { span, with: b"77" }]);
    }

    #[tokio::test]
    async fn large_and_small_lines_reach_the_pipe_in_order_and_whole() {
        let (sender, receiver) = pipe::pipe().expect("a pipe");
        let receiver = receiver.into_blocking_fd().expect("nobody uses it");
        let mut receiver = std::fs::File::from(receiver);
        let mut outbox = Outbox::default();
        let (mut wanted, mut got) = (String::new(), Vec::new());
        let mut room = vec![0; 8192];
        let mut read = || {
            let count = receiver.read(&mut room).expect("something is there");
            room[..count].to_vec()
        };
        for size in [1, SHARED, 10, 10, 5 * SHARED, SHARED - 100, 2 * SHARED, 3] {
            let (message, line) = request(size);
            assert_eq!(outbox.position(), wanted.len() as u64);
            add(&mut outbox, &message);
            wanted += &line;
            outbox.line(&[b"small", b"!"]);
            wanted += "small!\n";
            // The pipe stops in the middle of lines, and some are added while it is full.
            if size < 5 * SHARED {
                sender.writable().await.expect("it is open");
                outbox.flush(&sender).expect("it is open");
                got.extend(read());
            }
        }
        while got.len() < wanted.len() {
            if !outbox.is_empty() {
                sender.writable().await.expect("it is open");
                outbox.flush(&sender).expect("it is open");
            }
            got.extend(read());
        }
        assert!(got == wanted.as_bytes(), "lines got mixed up");
        assert!(outbox.is_empty() && outbox.has_begun(wanted.len() as u64 - 1));
        assert!(!outbox.has_begun(wanted.len() as u64));
    }

    #[test]
    fn a_large_message_is_shared_and_a_small_one_is_not() {
        let mut outbox = Outbox::default();
        for (size, shared) in [(100, false), (SHARED, true)] {
            let (message, line) = request(size);
            add(&mut outbox, &message);
            let piece = outbox.pieces.iter().find(|piece| piece.len() >= SHARED);
            let from = message.text().as_ptr();
            assert_eq!(piece.is_some_and(|piece| piece.as_ptr() == from), shared);
            assert_eq!(outbox.take_lines(), [line.trim_end()]);
        }
    }

    #[test]
    fn what_is_discarded_counts_as_written() {
        let mut outbox = Outbox::default();
        add(&mut outbox, &request(SHARED).0);
        let position = outbox.position();
        outbox.line(&[b"next"]);
        assert!(!outbox.has_begun(0));
        assert_eq!(outbox.discard() as u64, position + 5);
        assert!(outbox.has_begun(position) && outbox.is_empty());
    }
}
