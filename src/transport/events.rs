//! An event stream that somebody else sends, taken apart as WHATWG HTML § Server-sent events has it.
//!
//! Data is bytes: what is no UTF-8 in it is the reader's business. The reader also bounds it, by [`Events::pending`].

use std::collections::VecDeque;
use std::time::Duration;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// One event, with what was said in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// `event`.
    pub(crate) name: Option<String>,
    /// The `data` lines, joined by a newline.
    pub(crate) data: Option<Vec<u8>>,
    /// `id`, unless it holds a NUL.
    pub(crate) id: Option<Vec<u8>>,
    /// `retry`, of milliseconds.
    pub(crate) retry: Option<Duration>,
}

/// Bytes in, events out.
#[derive(Debug, Default)]
pub(crate) struct Events {
    /// The line that is not whole yet.
    line: Vec<u8>,
    /// The event that is not whole yet.
    event: Event,
    ready: VecDeque<Event>,
    /// The last byte was a CR, whose LF is still to come or not.
    after_cr: bool,
    /// The first line, which may begin with a byte order mark, is over.
    begun: bool,
}

impl Events {
    /// Takes the next bytes of the stream, however they are cut.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) {
        if self.after_cr && !bytes.is_empty() {
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            self.after_cr = false;
        }
        while let Some(end) = memchr::memchr2(b'\r', b'\n', bytes) {
            self.line.extend_from_slice(&bytes[..end]);
            self.end_line();
            let rest = &bytes[end + 1..];
            self.after_cr = bytes[end] == b'\r' && rest.is_empty();
            bytes = match bytes[end] {
                b'\r' => rest.strip_prefix(b"\n").unwrap_or(rest),
                _ => rest,
            };
        }
        self.line.extend_from_slice(bytes);
    }

    /// The oldest event that is whole. One without a field is none.
    pub(crate) fn pop(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    /// Bytes that are kept of the event that is not whole yet.
    pub(crate) fn pending(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let event = &self.event;
        let name = event.name.as_ref().map_or(0, String::len);
        self.line.len() + name + length(&event.data) + length(&event.id)
    }

    /// The stream is over, and what it ended with counts as whole; by the standard it wouldn't.
    pub(crate) fn finish(&mut self) {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.end_event();
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let mut line = line.as_slice();
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        if line.is_empty() {
            return self.end_event();
        }
        let (field, value) = match memchr::memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"event" => self.event.name = Some(String::from_utf8_lossy(value).into_owned()),
            b"data" => match &mut self.event.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => self.event.data = Some(value.to_vec()),
            },
            b"id" if !value.contains(&0) => self.event.id = Some(value.to_vec()),
            b"retry" => {
                let digits = std::str::from_utf8(value).ok();
                let millis = digits.and_then(|digits| digits.parse().ok());
                self.event.retry = millis.map(Duration::from_millis).or(self.event.retry);
            }
            _ => {}
        }
    }

    fn end_event(&mut self) {
        let event = std::mem::take(&mut self.event);
        if event != Event::default() {
            self.ready.push_back(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stream: &str, finished: bool, want: &[Event]) {
        for size in [1, 2, 3, 7, stream.len().max(1)] {
            let mut events = Events::default();
            for bytes in stream.as_bytes().chunks(size) {
                events.push(bytes);
            }
            if finished {
                events.finish();
                assert_eq!(events.pending(), 0);
            }
            assert_eq!(
                Vec::from(events.ready),
                want,
                "{stream:?} in pieces of {size}"
            );
        }
    }

    fn data(text: &str) -> Event {
        Event {
            data: Some(text.into()),
            ..Event::default()
        }
    }

    #[test]
    fn events_come_out_whole_however_they_are_cut() {
        check("", true, &[]);
        check(
            "data: {}\n\ndata: [DONE]\n\n",
            false,
            &[data("{}"), data("[DONE]")],
        );
        check(
            "data:{}\r\n\r\ndata:b\r\n\r\n",
            false,
            &[data("{}"), data("b")],
        );
        check("data: a\r\rdata: b\r\r", false, &[data("a"), data("b")]);
        check(
            "\u{feff}data: {\"a\":\ndata: 1}\n\n",
            false,
            &[data("{\"a\":\n1}")],
        );
        check("data:  two spaces\n\n", false, &[data(" two spaces")]);
        check("data: \"\u{2028}\"\n\n", false, &[data("\"\u{2028}\"")]);
        check(": comment\n\nfoo\n\n\ndata\n\n", false, &[data("")]);
    }

    #[test]
    fn an_event_has_all_that_was_said_in_it() {
        let primed = Event {
            id: Some("1".into()),
            retry: Some(Duration::from_millis(20)),
            ..data("")
        };
        let named = Event {
            name: Some("endpoint".to_owned()),
            id: Some("2".into()),
            ..data("/m?s=1")
        };
        check(
            "id: 1\nretry: 20\nretry: x\ndata:\n\nid: 2\nid: 3\0\nevent: endpoint\rdata: /m?s=1\r\r",
            false,
            &[primed, named],
        );
    }

    #[test]
    fn what_a_stream_ends_with_counts_only_when_it_is_finished() {
        check("data: a\n\ndata: b", false, &[data("a")]);
        check("data: a\n\ndata: b", true, &[data("a"), data("b")]);
        check("data: a\n\ndata: b\n", true, &[data("a"), data("b")]);
    }

    #[test]
    fn what_is_not_whole_yet_is_counted() {
        let mut events = Events::default();
        events.push(b"event: abc\ndata: 12345\nid: 6\ndata: 7");
        assert_eq!(
            events.pending(),
            "abc".len() + "12345".len() + "6".len() + "data: 7".len()
        );
    }
}
