//! An event stream taken apart, as WHATWG HTML § Server-sent events has it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

/// One event that carries data.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Empty for the default, `message`.
    pub(super) name: String,
    /// Its `data` lines, joined by a newline.
    pub(super) data: Bytes,
}

/// Bytes in, events out.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// The line that is not whole yet.
    line: Vec<u8>,
    name: String,
    data: Option<Vec<u8>>,
    ready: VecDeque<Event>,
    /// The last byte was a CR, whose LF is still to come or not.
    after_cr: bool,
    id: Option<Vec<u8>>,
    last_id: Option<Vec<u8>>,
    retry: Option<Duration>,
}

impl Events {
    pub(super) fn push(&mut self, mut chunk: &[u8]) {
        if self.after_cr && !chunk.is_empty() {
            chunk = chunk.strip_prefix(b"\n").unwrap_or(chunk);
            self.after_cr = false;
        }
        while let Some(end) = memchr::memchr2(b'\r', b'\n', chunk) {
            self.line.extend_from_slice(&chunk[..end]);
            self.end_line();
            let rest = &chunk[end + 1..];
            chunk = match (chunk[end], rest) {
                (b'\r', []) => {
                    self.after_cr = true;
                    rest
                }
                (b'\r', [b'\n', rest @ ..]) => rest,
                _ => rest,
            };
        }
        self.line.extend_from_slice(chunk);
    }

    /// The oldest event that is whole.
    pub(super) fn pop(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    /// Nothing yet, on a stream that continues this one.
    pub(super) fn resumed(&self) -> Self {
        Self {
            last_id: self.last_id.clone(),
            retry: self.retry,
            ..Self::default()
        }
    }

    /// The id of the last event that was whole and had one; from there the stream can be resumed.
    pub(super) fn last_id(&self) -> Option<&[u8]> {
        self.last_id.as_deref()
    }

    /// How long to wait before that, if the server said so.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Bytes of the event that is not whole yet.
    pub(super) fn pending(&self) -> usize {
        self.line.len() + self.data.as_ref().map_or(0, Vec::len)
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            if let Some(id) = self.id.take() {
                // An empty one says that there is nothing to resume from.
                self.last_id = Some(id).filter(|id| !id.is_empty());
            }
            // An event without a byte of data only primes a resumption.
            if let Some(data) = self.data.take().filter(|data| !data.is_empty()) {
                let data = data.into();
                self.ready.push_back(Event { name, data });
            }
            return;
        }
        let (field, value) = match memchr::memchr(b':', &line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (&line[..], &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"event" => self.name = String::from_utf8_lossy(value).into_owned(),
            b"data" => match &mut self.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => self.data = Some(value.to_vec()),
            },
            b"id" if !value.contains(&0) => self.id = Some(value.to_vec()),
            b"retry" => {
                let digits = std::str::from_utf8(value).ok();
                let millis = digits.and_then(|digits| digits.parse().ok());
                self.retry = millis.map(Duration::from_millis).or(self.retry);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ": hello\r\nid: 1\nretry: 20\ndata:\n\nid: 2\nevent: endpoint\rdata: /m?s=1\r\rdata:{\"a\":\r\ndata: 1}\r\n\r\n: x\n\nevent: x\n\ndata: last\n\nid: cut\n";

    fn events(size: usize) -> Vec<(String, String)> {
        let mut events = Events::default();
        let mut seen = Vec::new();
        for chunk in STREAM.as_bytes().chunks(size) {
            events.push(chunk);
            while let Some(event) = events.pop() {
                let data = String::from_utf8(event.data.to_vec()).unwrap();
                seen.push((event.name, data));
            }
        }
        assert_eq!(events.pending(), 0);
        assert_eq!(
            events.last_id(),
            Some(&b"2"[..]),
            "the cut event was not whole"
        );
        assert_eq!(events.retry(), Some(Duration::from_millis(20)));
        seen
    }

    #[test]
    fn events_come_out_whole_however_they_are_cut() {
        let want = [("endpoint", "/m?s=1"), ("", "{\"a\":\n1}"), ("", "last")]
            .map(|(name, data)| (name.to_owned(), data.to_owned()));
        for size in [1, 2, 3, 7, STREAM.len()] {
            assert_eq!(events(size), want, "in pieces of {size}");
        }
    }
}
