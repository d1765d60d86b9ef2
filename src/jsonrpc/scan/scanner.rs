//! The grammar of RFC 8259 over bytes, without recursion and without a tree.

use std::borrow::Cow;

use super::{MAX_DEPTH, ScanError, Span};

/// A place in a text, and what was seen on the way to it.
pub(super) struct Scanner<'a> {
    text: &'a [u8],
    pub(super) at: usize,
    /// A raw CR or LF stood between tokens.
    pub(super) line_break: bool,
    /// The last string had a backslash.
    pub(super) escaped: bool,
    depth: u32,
}

pub(super) type Scanned<T> = Result<T, ScanError>;

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a [u8]) -> Scanned<Scanner<'a>> {
        if u32::try_from(text.len()).is_err() {
            return Err(ScanError::Invalid {
                reason: "a message is smaller than 4 GiB".into(),
                id: None,
            });
        }
        Ok(Scanner {
            text,
            at: 0,
            line_break: false,
            escaped: false,
            depth: 0,
        })
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn unexpected<T>(&self) -> Scanned<T> {
        let found = match self.peek() {
            None => "end of text".into(),
            Some(byte @ b' '..=b'~') => format!("{:?}", byte as char).into(),
            Some(byte) => format!("byte 0x{byte:02x}").into(),
        };
        Err(ScanError::Syntax { at: self.at, found })
    }

    pub(super) fn whitespace(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' => {}
                b'\n' | b'\r' => self.line_break = true,
                _ => break,
            }
            self.at += 1;
        }
    }

    pub(super) fn end(&mut self) -> Scanned<()> {
        self.whitespace();
        if self.at == self.text.len() {
            Ok(())
        } else {
            self.unexpected()
        }
    }

    /// The object at `self.at`; `member` reads each value, standing on its first byte.
    pub(super) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, Cow<'a, [u8]>) -> Scanned<()>,
    ) -> Scanned<()> {
        self.open(b'{')?;
        self.whitespace();
        if self.peek() == Some(b'}') {
            return self.close();
        }
        loop {
            let key = self.key()?;
            member(self, key)?;
            self.whitespace();
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    self.whitespace();
                }
                Some(b'}') => return self.close(),
                _ => return self.unexpected(),
            }
        }
    }

    /// The array at `self.at`; `element` reads each value, standing on its first byte.
    pub(super) fn array(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Scanned<()>,
    ) -> Scanned<()> {
        self.open(b'[')?;
        self.whitespace();
        if self.peek() == Some(b']') {
            return self.close();
        }
        loop {
            element(self)?;
            self.whitespace();
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    self.whitespace();
                }
                Some(b']') => return self.close(),
                _ => return self.unexpected(),
            }
        }
    }

    fn open(&mut self, bracket: u8) -> Scanned<()> {
        if self.peek() != Some(bracket) {
            return self.unexpected();
        }
        if self.depth == MAX_DEPTH {
            return Err(ScanError::TooDeep { at: self.at });
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    fn close(&mut self) -> Scanned<()> {
        self.depth -= 1;
        self.at += 1;
        Ok(())
    }

    /// A key, decoded, and the colon behind it; stands on the value then.
    fn key(&mut self) -> Scanned<Cow<'a, [u8]>> {
        let span = self.string()?;
        let quoted = span.of(self.text);
        let inner = &quoted[1..quoted.len() - 1];
        let key = if !self.escaped {
            Cow::Borrowed(inner)
        } else {
            // A key with a lone surrogate spells nothing that we look for: its raw text will do.
            match serde_json::from_slice::<String>(quoted) {
                Ok(decoded) => Cow::Owned(decoded.into_bytes()),
                Err(_) => Cow::Borrowed(inner),
            }
        };
        self.whitespace();
        if self.peek() != Some(b':') {
            return self.unexpected();
        }
        self.at += 1;
        self.whitespace();
        Ok(key)
    }

    /// Any value, without recursion: the kinds of the open brackets are the bits of one number.
    pub(super) fn value(&mut self) -> Scanned<Span> {
        let start = self.at;
        let outer = self.depth;
        let mut objects: u128 = 0;
        loop {
            match self.peek() {
                Some(b'"') => drop(self.string()?),
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.literal(b"true")?,
                Some(b'f') => self.literal(b"false")?,
                Some(b'n') => self.literal(b"null")?,
                Some(bracket @ (b'{' | b'[')) => {
                    self.open(bracket)?;
                    let bit = 1u128 << (self.depth - 1);
                    self.whitespace();
                    if bracket == b'{' {
                        objects |= bit;
                        if self.peek() != Some(b'}') {
                            self.skip_key()?;
                            continue;
                        }
                    } else {
                        objects &= !bit;
                        if self.peek() != Some(b']') {
                            continue;
                        }
                    }
                    self.close()?;
                }
                _ => return self.unexpected(),
            }
            loop {
                if self.depth == outer {
                    return Ok(Span::new(start, self.at));
                }
                let in_object = objects & (1u128 << (self.depth - 1)) != 0;
                self.whitespace();
                match (self.peek(), in_object) {
                    (Some(b','), _) => {
                        self.at += 1;
                        self.whitespace();
                        if in_object {
                            self.skip_key()?;
                        }
                        break;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => self.close()?,
                    _ => return self.unexpected(),
                }
            }
        }
    }

    fn skip_key(&mut self) -> Scanned<()> {
        self.string()?;
        self.whitespace();
        if self.peek() != Some(b':') {
            return self.unexpected();
        }
        self.at += 1;
        self.whitespace();
        Ok(())
    }

    fn string(&mut self) -> Scanned<Span> {
        if self.peek() != Some(b'"') {
            return self.unexpected();
        }
        let start = self.at;
        self.at += 1;
        self.escaped = false;
        loop {
            self.plain_run();
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Span::new(start, self.at));
                }
                Some(b'\\') => {
                    self.escaped = true;
                    self.at += 1;
                    match self.peek() {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                            self.at += 1
                        }
                        Some(b'u') => {
                            self.at += 1;
                            for _ in 0..4 {
                                if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                                    return self.unexpected();
                                }
                                self.at += 1;
                            }
                        }
                        _ => return self.unexpected(),
                    }
                }
                Some(0x20..) => self.at += 1,
                _ => return self.unexpected(),
            }
        }
    }

    /// Moves over bytes that are neither quote, backslash nor control: eight at a time, and 64 when there are many.
    fn plain_run(&mut self) {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const HIGHS: u64 = 0x8080_8080_8080_8080;
        let long = self.at + 64;
        while let Some(chunk) = self.text[self.at..].first_chunk::<8>() {
            let word = u64::from_le_bytes(*chunk);
            let quote = word ^ (ONES * b'"' as u64);
            let backslash = word ^ (ONES * b'\\' as u64);
            let special = ((quote.wrapping_sub(ONES) & !quote)
                | (backslash.wrapping_sub(ONES) & !backslash)
                | (word.wrapping_sub(ONES * 0x20) & !word))
                & HIGHS;
            if special != 0 {
                self.at += (special.trailing_zeros() / 8) as usize;
                return;
            }
            self.at += 8;
            if self.at >= long {
                self.at += plain_blocks(&self.text[self.at..]);
            }
        }
        while self.peek().is_some_and(is_plain) {
            self.at += 1;
        }
    }

    fn number(&mut self) -> Scanned<()> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return self.unexpected(),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Scanned<()> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return self.unexpected();
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn literal(&mut self, word: &[u8]) -> Scanned<()> {
        for &byte in word {
            if self.peek() != Some(byte) {
                return self.unexpected();
            }
            self.at += 1;
        }
        Ok(())
    }
}

fn is_plain(byte: u8) -> bool {
    byte >= 0x20 && byte != b'"' && byte != b'\\'
}

/// How many bytes at the beginning of `text`, in whole blocks, are plain. Without an early end within a block the
/// compiler makes vectors of it.
fn plain_blocks(text: &[u8]) -> usize {
    const BLOCK: usize = 64;
    let (blocks, _) = text.as_chunks::<BLOCK>();
    let plain = |block: &&[u8; BLOCK]| block.iter().fold(true, |all, &byte| all & is_plain(byte));
    blocks.iter().take_while(plain).count() * BLOCK
}
