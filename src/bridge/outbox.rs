//! Lines on their way to a server's stdin.
//!
//! Lines are put together in one buffer and written as far as the pipe takes them, many with one system call. Positions
//! count bytes over the whole life of a generation, so that it can be told whether a line has begun to be delivered.
//! The bound is kept by the sessions, who ask before they send.

use std::io;

use tokio::net::unix::pipe;

use crate::jsonrpc::{Edit, Message};

/// A buffer that grew beyond this is given back once it is empty.
const KEEP: usize = 256 * 1024;

/// The bytes that a server has not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that are written already.
    start: usize,
    written: u64,
}

impl Outbox {
    /// Adds `message` as one line, with `edits` made.
    pub(crate) fn message(&mut self, message: &Message, edits: &mut [Edit<'_>]) {
        message.write_line(&mut self.buffer, edits);
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
        self.buffer.len() - self.start
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
            match pipe.try_write(&self.buffer[self.start..]) {
                Ok(count) => {
                    taken += count;
                    self.start += count;
                    self.written += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.compact();
        Ok(taken)
    }

    /// Takes all that waits, as a pipe does that is never full.
    pub(super) fn discard(&mut self) -> usize {
        let taken = self.len();
        self.start += taken;
        self.written += taken as u64;
        self.compact();
        taken
    }

    /// Gives back the room of what is written.
    fn compact(&mut self) {
        if self.is_empty() {
            self.start = 0;
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
    pub(crate) fn take_lines(&mut self) -> Vec<bytes::Bytes> {
        let lines = self
            .buffer
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        let lines = lines.map(bytes::Bytes::copy_from_slice).collect();
        self.written += self.len() as u64;
        self.buffer.clear();
        lines
    }
}
