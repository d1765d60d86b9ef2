//! One pass over a JSON text: is it well formed, and where does its envelope stand?
//!
//! The grammar is RFC 8259's. Depth is limited, keys that routing acts on may not come twice (a server that takes the
//! last one where we took the first would let one session speak with another's token), and escaped spellings of keys
//! (`"\u0069d"`) count as the key they spell.

use std::borrow::Cow;

/// Arrays and objects nested deeper than this are refused.
pub const MAX_DEPTH: u32 = 128;

/// A half-open range of bytes in one message. Messages are far below 4 GiB, so 32 bits do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    fn new(start: usize, end: usize) -> Span {
        let narrow =
            |at: usize| u32::try_from(at).expect("a scanner refuses texts of 4 GiB and more");
        Span {
            start: narrow(start),
            end: narrow(end),
        }
    }

    /// The bytes it covers in `text`.
    pub fn of(self, text: &[u8]) -> &[u8] {
        &text[self.start as usize..self.end as usize]
    }

    /// The same place in the whole text, when `self` was found in a slice of it that starts at `outer.start`.
    pub fn inside(self, outer: Span) -> Span {
        Span {
            start: self.start + outer.start,
            end: self.end + outer.start,
        }
    }
}

/// Where the parts of one JSON-RPC message stand. Values include their quotes; absent members are `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Envelope {
    /// `id`: a string, a number, or `null`.
    pub id: Option<Span>,
    /// `method`, with quotes.
    pub method: Option<Span>,
    /// `params`, whatever its type.
    pub params: Option<Span>,
    /// `result`.
    pub result: Option<Span>,
    /// `error`.
    pub error: Option<Span>,
    /// `params._meta`, when it is an object.
    pub meta: Option<Span>,
    /// `params._meta.progressToken`: what a request asks its progress to be called.
    pub meta_progress_token: Option<Span>,
    /// `params._meta["io.modelcontextprotocol/related-task"]`.
    pub related_task: Option<Span>,
    /// `params.progressToken`, of `notifications/progress`.
    pub progress_token: Option<Span>,
    /// `params.requestId`, of `notifications/cancelled`.
    pub request_id: Option<Span>,
    /// `params.uri`.
    pub uri: Option<Span>,
    /// `params.level`.
    pub level: Option<Span>,
    /// `params.name`.
    pub name: Option<Span>,
    /// A raw CR or LF stands between tokens.
    pub has_line_break: bool,
}

/// Why a text is no JSON-RPC message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// Not JSON: −32700.
    #[error("not valid JSON: unexpected {found} at byte {at}")]
    Syntax {
        /// Offset of the first byte that does not fit.
        at: usize,
        /// That byte in words.
        found: Cow<'static, str>,
    },
    /// Nested deeper than [`MAX_DEPTH`]: −32700.
    #[error("nested deeper than {MAX_DEPTH} levels at byte {at}")]
    TooDeep {
        /// Offset of the bracket that went too far.
        at: usize,
    },
    /// JSON, but not a JSON-RPC 2.0 message: −32600.
    #[error("{reason}")]
    Invalid {
        /// What is wrong, in words.
        reason: Cow<'static, str>,
        /// The message's id where one was found, so that the answer can carry it.
        id: Option<Span>,
    },
}

/// Reads `text` once and returns where its envelope stands.
///
/// # Errors
/// [`ScanError`], when the text is not one JSON object, or when a member that routing acts on is there twice.
pub fn scan(text: &[u8]) -> Result<Envelope, ScanError> {
    let mut scanner = Scanner::new(text)?;
    scanner.whitespace();
    if scanner.peek() != Some(b'{') {
        scanner.value()?;
        scanner.end()?;
        return Err(ScanError::Invalid {
            reason: "a JSON-RPC message is an object".into(),
            id: None,
        });
    }
    let mut envelope = Envelope::default();
    let mut version = None;
    let mut others: Vec<Cow<'_, [u8]>> = Vec::new();
    let mut twice = None;
    scanner.object(|scanner, key| {
        let slot = match key.as_ref() {
            b"jsonrpc" => &mut version,
            b"id" => &mut envelope.id,
            b"method" => &mut envelope.method,
            b"params" => &mut envelope.params,
            b"result" => &mut envelope.result,
            b"error" => &mut envelope.error,
            _ => {
                if others.contains(&key) {
                    twice = Some(String::from_utf8_lossy(&key).into_owned());
                }
                others.push(key);
                return scanner.value().map(drop);
            }
        };
        if slot.is_some() {
            twice = Some(String::from_utf8_lossy(&key).into_owned());
        }
        if key.as_ref() == b"params" {
            envelope.params = Some(scanner.params(&mut envelope, &mut twice)?);
        } else {
            *slot = Some(scanner.value()?);
        }
        Ok(())
    })?;
    scanner.end()?;
    envelope.has_line_break = scanner.line_break;
    let invalid = |reason: Cow<'static, str>| ScanError::Invalid {
        reason,
        id: envelope.id,
    };
    if let Some(key) = twice {
        return Err(invalid(format!("member {key:?} is there twice").into()));
    }
    if version.map(|span| span.of(text)) != Some(b"\"2.0\"") {
        return Err(invalid("member \"jsonrpc\" must be \"2.0\"".into()));
    }
    if let Some(id) = envelope.id
        && !matches!(id.of(text)[0], b'"' | b'-' | b'0'..=b'9' | b'n')
    {
        return Err(ScanError::Invalid {
            reason: "an id is a string or a number".into(),
            id: None,
        });
    }
    if envelope
        .method
        .is_some_and(|method| method.of(text)[0] != b'"')
    {
        return Err(invalid("member \"method\" must be a string".into()));
    }
    Ok(envelope)
}

/// The elements of the array in `text`, for batches.
///
/// # Errors
/// [`ScanError`], when the text is not one JSON array.
pub fn array_elements(text: &[u8]) -> Result<Vec<Span>, ScanError> {
    let mut scanner = Scanner::new(text)?;
    let mut elements = Vec::new();
    scanner.whitespace();
    scanner.array(|scanner| {
        elements.push(scanner.value()?);
        Ok(())
    })?;
    scanner.end()?;
    Ok(elements)
}

/// The span of the value of `key` in the object `text`, if it is one and has it.
pub fn member(text: &[u8], key: &str) -> Option<Span> {
    members(text)
        .into_iter()
        .find(|(name, _)| name.as_ref() == key.as_bytes())
        .map(|(_, value)| value)
}

/// Keys (decoded) and value spans of the object `text`; empty when it is no object.
pub fn members(text: &[u8]) -> Vec<(Cow<'_, [u8]>, Span)> {
    let Ok(mut scanner) = Scanner::new(text) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    scanner.whitespace();
    let outcome = scanner.object(|scanner, key| {
        let value = scanner.value()?;
        found.push((key, value));
        Ok(())
    });
    if outcome.is_err() { Vec::new() } else { found }
}

/// What the JSON string `text` (with its quotes) says; `None` when it is no string or spells no Unicode text.
pub fn string_value(text: &[u8]) -> Option<Cow<'_, str>> {
    let inner = text.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if memchr::memchr(b'\\', inner).is_none() {
        return std::str::from_utf8(inner).ok().map(Cow::Borrowed);
    }
    serde_json::from_slice(text).ok().map(Cow::Owned)
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    line_break: bool,
    depth: u32,
}

type Scanned<T> = Result<T, ScanError>;

impl<'a> Scanner<'a> {
    fn new(text: &'a [u8]) -> Scanned<Scanner<'a>> {
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
            depth: 0,
        })
    }

    fn peek(&self) -> Option<u8> {
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

    fn whitespace(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' => {}
                b'\n' | b'\r' => self.line_break = true,
                _ => break,
            }
            self.at += 1;
        }
    }

    fn end(&mut self) -> Scanned<()> {
        self.whitespace();
        if self.at == self.text.len() {
            Ok(())
        } else {
            self.unexpected()
        }
    }

    /// The object at `self.at`; `member` reads each value, standing on its first byte.
    fn object(
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
    fn array(&mut self, mut element: impl FnMut(&mut Self) -> Scanned<()>) -> Scanned<()> {
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
        let key = if memchr::memchr(b'\\', inner).is_none() {
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

    /// `params`: its span, with the places of the keys that routing acts on noted in `envelope`.
    fn params(&mut self, envelope: &mut Envelope, twice: &mut Option<String>) -> Scanned<Span> {
        if self.peek() != Some(b'{') {
            return self.value();
        }
        let start = self.at;
        self.object(|scanner, key| {
            let slot = match key.as_ref() {
                b"_meta" => &mut envelope.meta,
                b"progressToken" => &mut envelope.progress_token,
                b"requestId" => &mut envelope.request_id,
                b"uri" => &mut envelope.uri,
                b"level" => &mut envelope.level,
                b"name" => &mut envelope.name,
                _ => return scanner.value().map(drop),
            };
            if slot.is_some() {
                *twice = Some(format!("params.{}", String::from_utf8_lossy(&key)));
            }
            if key.as_ref() == b"_meta" && scanner.peek() == Some(b'{') {
                envelope.meta = Some(scanner.meta(envelope, twice)?);
            } else {
                *slot = Some(scanner.value()?);
            }
            Ok(())
        })?;
        Ok(Span::new(start, self.at))
    }

    fn meta(&mut self, envelope: &mut Envelope, twice: &mut Option<String>) -> Scanned<Span> {
        let start = self.at;
        self.object(|scanner, key| {
            let slot = match key.as_ref() {
                b"progressToken" => &mut envelope.meta_progress_token,
                b"io.modelcontextprotocol/related-task" => &mut envelope.related_task,
                _ => return scanner.value().map(drop),
            };
            if slot.is_some() {
                *twice = Some(format!("params._meta.{}", String::from_utf8_lossy(&key)));
            }
            *slot = Some(scanner.value()?);
            Ok(())
        })?;
        Ok(Span::new(start, self.at))
    }

    /// Any value, without recursion: the kinds of the open brackets are the bits of one number.
    fn value(&mut self) -> Scanned<Span> {
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
        loop {
            self.plain_run();
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Span::new(start, self.at));
                }
                Some(b'\\') => {
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

    /// Moves over bytes that are neither quote, backslash nor control, eight at a time.
    fn plain_run(&mut self) {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const HIGHS: u64 = 0x8080_8080_8080_8080;
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
        }
        while self
            .peek()
            .is_some_and(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\')
        {
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
