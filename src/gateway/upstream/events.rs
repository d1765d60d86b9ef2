//! The data of a provider's event stream, taken apart as WHATWG HTML § Server-sent events has it. Names, ids and retry times
//! mean nothing here.
//!
//! Two things are taken that the standard leaves out: what stands before the end of the stream without an empty line, which
//! is how some providers end, and any number of bytes in a push. What one event may hold is bounded.

use std::collections::VecDeque;

/// Bytes of one event. A chunk is some hundred bytes long; only one with a whole image in it is large.
const LARGEST: usize = 16 << 20;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Bytes in, data out.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// The line that is not whole yet.
    line: Vec<u8>,
    /// The data lines of the event that is not whole yet, joined by a newline.
    data: Option<Vec<u8>>,
    ready: VecDeque<Vec<u8>>,
    /// The last byte was a CR, whose LF is still to come or not.
    after_cr: bool,
    /// The first line, which may begin with a byte order mark, is over.
    begun: bool,
}

/// An event is larger than 16 MiB.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

impl Events {
    /// Takes the next bytes of the stream, however they are cut.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), TooLarge> {
        if self.after_cr && !bytes.is_empty() {
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            self.after_cr = false;
        }
        while let Some(end) = memchr::memchr2(b'\r', b'\n', bytes) {
            self.line.extend_from_slice(&bytes[..end]);
            self.end_line();
            let rest = &bytes[end + 1..];
            bytes = match (bytes[end], rest) {
                (b'\r', []) => {
                    self.after_cr = true;
                    rest
                }
                (b'\r', [b'\n', rest @ ..]) => rest,
                _ => rest,
            };
        }
        self.line.extend_from_slice(bytes);
        match self.line.len() + self.data.as_ref().map_or(0, Vec::len) > LARGEST {
            true => Err(TooLarge),
            false => Ok(()),
        }
    }

    /// The data of the oldest event that is whole.
    pub(super) fn pop(&mut self) -> Option<Vec<u8>> {
        self.ready.pop_front()
    }

    /// The stream is over: what it ended with counts as whole.
    pub(super) fn finish(&mut self) {
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
        if field != b"data" {
            return;
        }
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &mut self.data {
            Some(data) => {
                data.push(b'\n');
                data.extend_from_slice(value);
            }
            None => self.data = Some(value.to_vec()),
        }
    }

    fn end_event(&mut self) {
        let data = self.data.take().filter(|data| !data.is_empty());
        self.ready.extend(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stream: &str, want: &[&str]) {
        for size in [1, 2, 3, 7, stream.len().max(1)] {
            let mut events = Events::default();
            for bytes in stream.as_bytes().chunks(size) {
                events.push(bytes).unwrap();
            }
            events.finish();
            let seen: Vec<_> = std::iter::from_fn(|| events.pop())
                .map(|data| String::from_utf8(data).unwrap())
                .collect();
            assert_eq!(seen, want, "{stream:?} in pieces of {size}");
        }
    }

    #[test]
    fn data_comes_out_whole_however_it_is_cut() {
        check("", &[]);
        check("data: {}\n\ndata: [DONE]\n\n", &["{}", "[DONE]"]);
        check("data:{}\r\n\r\ndata:[DONE]\r\n\r\n", &["{}", "[DONE]"]);
        check("data: a\r\rdata: b\r\r", &["a", "b"]);
        check("\u{feff}data: {\"a\":\ndata: 1}\n\n", &["{\"a\":\n1}"]);
        check(
            ": OPENROUTER PROCESSING\n\nevent: x\nid: 1\nretry: 2\n\ndata\n\ndata: \"\u{2028}\"\n\n",
            &["\"\u{2028}\""],
        );
        check("data: a\n\ndata: [DONE]", &["a", "[DONE]"]);
        check("data: a\n\ndata: [DONE]\n", &["a", "[DONE]"]);
        check("data:  two spaces\n\n", &[" two spaces"]);
    }

    #[test]
    fn an_event_without_an_end_is_too_large_at_some_point() {
        let mut events = Events::default();
        let piece = vec![b'x'; 1 << 20];
        let taken = (0..32).take_while(|_| events.push(&piece).is_ok()).count();
        assert_eq!(taken, 16);
        let mut events = Events::default();
        let line = [b"data: ".as_slice(), &piece, b"\n"].concat();
        let taken = (0..32).take_while(|_| events.push(&line).is_ok()).count();
        assert_eq!(taken, 15, "each of the lines is short");
    }
}
