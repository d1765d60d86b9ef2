//! Splits an event stream into events (HTML, Server-sent events § Parsing). One `data:` line per event, as every MCP server frames its
//! messages; of several the last counts, which the owner check then finds unreadable.

use std::ops::Range;

/// Consumed bytes after which the rest is moved to the front.
const COMPACT: usize = 256 * 1024;

/// An event stream's bytes, and how far they are read.
#[derive(Debug, Default)]
pub(crate) struct Events {
    buffer: Vec<u8>,
    /// Start of the line that is next.
    line: usize,
    /// Up to here that line has been searched for its end.
    searched: usize,
    event: Range<usize>,
    data: Range<usize>,
}

/// One event with data.
#[derive(Debug, PartialEq)]
pub(crate) struct Event<'a> {
    /// Empty when the stream didn't name it, which means `message`.
    pub(crate) name: &'a [u8],
    pub(crate) data: &'a [u8],
}

impl Events {
    /// Where the next bytes of the stream are to be appended.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        let first = [self.event.start, self.data.start]
            .into_iter()
            .filter(|&start| start > 0)
            .fold(self.line, usize::min);
        if first == self.buffer.len() || first > COMPACT {
            self.shift(first);
        }
        &mut self.buffer
    }

    /// The next whole event that has data.
    pub(crate) fn next(&mut self) -> Option<Event<'_>> {
        loop {
            let Some(end) = memchr::memchr(b'\n', &self.buffer[self.searched..]) else {
                self.searched = self.buffer.len();
                return None;
            };
            let end = self.searched + end;
            let mut range = self.line..end;
            if self.buffer[range.clone()].ends_with(b"\r") {
                range.end -= 1;
            }
            self.line = end + 1;
            self.searched = self.line;
            if range.is_empty() {
                let (name, data) = (
                    std::mem::take(&mut self.event),
                    std::mem::take(&mut self.data),
                );
                if !data.is_empty() {
                    return Some(Event {
                        name: &self.buffer[name],
                        data: &self.buffer[data],
                    });
                }
            } else if let Some(value) = self.value(&range, b"data:") {
                self.data = value;
            } else if let Some(value) = self.value(&range, b"event:") {
                self.event = value;
            }
        }
    }

    fn value(&self, line: &Range<usize>, field: &[u8]) -> Option<Range<usize>> {
        let text = &self.buffer[line.clone()];
        let value = text.strip_prefix(field)?;
        let value = value.strip_prefix(b" ").unwrap_or(value);
        Some(line.end - value.len()..line.end)
    }

    fn shift(&mut self, by: usize) {
        self.buffer.drain(..by);
        self.line -= by;
        self.searched -= by;
        for range in [&mut self.event, &mut self.data] {
            // A value never starts a line, so 0 means that there is none.
            if range.start > 0 {
                *range = range.start - by..range.end - by;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_wherever_the_stream_is_cut() {
        let wire = b": hello\n\nevent: endpoint\r\ndata: /messages?s=1\r\n\r\nid: 4\ndata:\n\nevent: message\ndata: {\"a\":1}\n\ndata:{}\n\n";
        for cut in 1..=wire.len() {
            let mut events = Events::default();
            let mut got = Vec::new();
            for part in wire.chunks(cut) {
                events.buffer().extend_from_slice(part);
                while let Some(event) = events.next() {
                    got.push((
                        String::from_utf8_lossy(event.name).into_owned(),
                        String::from_utf8_lossy(event.data).into_owned(),
                    ));
                }
            }
            let pairs: Vec<_> = got
                .iter()
                .map(|(name, data)| (name.as_str(), data.as_str()))
                .collect();
            assert_eq!(
                pairs,
                [
                    ("endpoint", "/messages?s=1"),
                    ("message", "{\"a\":1}"),
                    ("", "{}")
                ],
                "cut at {cut}"
            );
        }
    }
}
