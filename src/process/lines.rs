//! Cuts a child's stdout into lines, bounded and cancel safe (SUPERVISION §4).
//!
//! A buffer, an index to where the current line starts and one to where no newline has been looked for yet: each byte is
//! searched once. A line is copied out when it is the smaller part of the buffer, so that no small message keeps a large
//! buffer alive, and takes the buffer with it when it is the larger part, so that a large one is not copied. A line over
//! the limit is not buffered: it is skipped up to its end while `IdScanner` looks for the `id` to answer.

mod id_scanner;

use std::io;

use bytes::{BufMut, Bytes};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use id_scanner::IdScanner;

/// The bytes asked for by one read at first and when the child says little.
const MIN_READ: usize = 8 * 1024;
/// The most that one read asks for. More would save few system calls, and the buffer would be twice as large.
const MAX_READ: usize = 128 * 1024;

/// One line of stdout that is not blank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// The line without its newline and without a carriage return before it.
    Message(Bytes),
    /// A line over the limit, which was skipped.
    Oversize {
        /// The JSON text of the top-level `id`, wherever it stands, if there is one and it is a string, number, `true`,
        /// `false` or `null` of at most 1 KiB.
        id: Option<Bytes>,
        /// Whether it has a top-level `method`: a request of the server, whose `id` is the server's own, or a
        /// notification. Otherwise it was an answer.
        method: bool,
        /// The length of the line.
        bytes: u64,
    },
}

/// The framing of one stdout. To be used in turns: [`Lines::read`], then [`Iterator::next`] until `None`, which means "no whole line yet" and not the end.
#[derive(Debug)]
pub struct Lines {
    max_message: usize,
    buffer: Vec<u8>,
    /// Where the current line starts.
    start: usize,
    /// Up to here the buffer has no newline after `start`.
    searched: usize,
    /// How much the next read asks for.
    read: usize,
    /// The current line is over the limit and is being skipped.
    skipping: Option<Skip>,
    ended: bool,
}

#[derive(Debug, Default)]
struct Skip {
    scanner: IdScanner,
    bytes: u64,
}

impl Lines {
    /// For lines of at most `max_message` bytes. Memory in use is at most that plus 128 KiB.
    pub fn new(max_message: usize) -> Self {
        Self {
            max_message,
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            read: MIN_READ,
            skipping: None,
            ended: false,
        }
    }

    /// Waits for something and reads it, 8 to 128 KiB at most depending on what came before, and returns how much it was;
    /// 0 is the end, after which [`Iterator::next`] gives the line that was not ended, if any. One system call less per
    /// message than waiting for readiness and [`Lines::try_read`].
    ///
    /// # Errors
    /// What the pipe says.
    ///
    /// # Cancel safety
    /// Dropped, it has read nothing.
    pub async fn read(&mut self, from: &mut pipe::Receiver) -> io::Result<usize> {
        self.make_room();
        let mut room = (&mut self.buffer).limit(self.read);
        let read = from.read_buf(&mut room).await?;
        self.took(read);
        Ok(read)
    }

    /// As [`Lines::read`], without waiting.
    ///
    /// # Errors
    /// What the pipe says; `WouldBlock` when nothing is there.
    pub fn try_read(&mut self, from: &pipe::Receiver) -> io::Result<usize> {
        self.make_room();
        let read = from.try_read_buf(&mut (&mut self.buffer).limit(self.read))?;
        self.took(read);
        Ok(read)
    }

    /// Adapts the next read to this one.
    fn took(&mut self, read: usize) {
        self.ended = read == 0;
        if read == self.read {
            self.read = (self.read * 2).min(MAX_READ);
        } else if read < self.read / 4 {
            self.read = (self.read / 2).max(MIN_READ);
        }
    }

    /// Moves the unfinished line to the front and makes place for one read behind it.
    fn make_room(&mut self) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        let needed = self.buffer.len() + self.read;
        if self.buffer.capacity() < needed {
            self.buffer.reserve(self.read);
        } else if self.buffer.capacity() > 8 * needed {
            // Large lines or a flood have passed.
            self.buffer.shrink_to(needed);
        }
    }

    /// The current line ends at `end`: makes a `Line` of it, or nothing if it is blank, and goes on to the next.
    fn take_line(&mut self, end: usize) -> Option<Line> {
        let start = self.start;
        let next = (end + 1).min(self.buffer.len());
        self.start = next;
        self.searched = next;
        let line = &self.buffer[start..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if self.skipping.is_some() || line.len() > self.max_message {
            let mut skip = self.skipping.take().unwrap_or_default();
            skip.take(line);
            return Some(skip.finish());
        }
        if line.trim_ascii().is_empty() {
            return None;
        }
        if line.len() < MIN_READ || line.len() < self.buffer.len() / 2 {
            return Some(Line::Message(Bytes::copy_from_slice(line)));
        }
        // The larger part of the buffer goes, the smaller is copied to a new one.
        let line = start..start + line.len();
        let rest = self.buffer.split_off(next);
        let mut whole = std::mem::replace(&mut self.buffer, rest);
        if whole.capacity() > 2 * whole.len() {
            whole.shrink_to_fit();
        }
        self.start = 0;
        self.searched = 0;
        Some(Line::Message(Bytes::from(whole).slice(line)))
    }

    /// Stops buffering a line that is over the limit.
    fn skip_if_oversize(&mut self) {
        let unfinished = self.buffer.len() - self.start;
        // One more, because the last byte may be a carriage return that does not count.
        if self.skipping.is_none() && unfinished <= self.max_message.saturating_add(1) {
            return;
        }
        let skip = self.skipping.get_or_insert_default();
        skip.take(&self.buffer[self.start..]);
        self.buffer.clear();
        self.start = 0;
        self.searched = 0;
    }
}

impl Iterator for Lines {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        loop {
            let newline = memchr::memchr(b'\n', &self.buffer[self.searched..]);
            let unfinished = self.start < self.buffer.len() || self.skipping.is_some();
            let end = match newline {
                Some(offset) => self.searched + offset,
                None if self.ended && unfinished => self.buffer.len(),
                None => {
                    self.searched = self.buffer.len();
                    self.skip_if_oversize();
                    return None;
                }
            };
            let line = self.take_line(end);
            if line.is_some() {
                return line;
            }
        }
    }
}

impl Skip {
    fn take(&mut self, bytes: &[u8]) {
        self.scanner.feed(bytes);
        self.bytes += bytes.len() as u64;
    }

    fn finish(self) -> Line {
        let (id, method) = self.scanner.finish();
        Line::Oversize {
            id,
            method,
            bytes: self.bytes,
        }
    }
}

#[cfg(test)]
mod tests;
