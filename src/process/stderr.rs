//! A child's stderr: always drained, its end kept, its lines logged within limits (SUPERVISION §4).
//!
//! A task reads for as long as anybody writes, because a child that blocks on stderr hangs. The last 64 KiB are kept for
//! error messages and the tally of deaths. Lines go to the log under the target `server`, at most [`LINES_PER_SECOND`]
//! and [`BYTES_PER_SECOND`]; how many were dropped is said every ten seconds.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::config::Redaction;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::metrics::{BridgeMetrics, Dropped};

/// What is kept of the end of the stream.
const KEPT: usize = 64 * 1024;
/// What an error and the tally of deaths show of it.
const SHOWN: usize = 4 * 1024;
/// A longer line is cut in the log.
const LOGGED_LINE: usize = 8 * 1024;
const LINES_PER_SECOND: u32 = 200;
const BYTES_PER_SECOND: usize = 64 * 1024;
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// One read; the task holds a buffer of this size for as long as the child lives.
const READ: usize = 4096;

/// The end of what a child wrote to stderr. Draining goes on until this is dropped or nobody can write any more.
#[derive(Debug)]
pub struct StderrTail {
    kept: Arc<Mutex<VecDeque<u8>>>,
    ended: watch::Receiver<bool>,
    redaction: Redaction,
    _stop: DropGuard,
}

impl StderrTail {
    /// Starts the task that drains `pipe` into the log of bridge `name`.
    pub(super) fn start(
        pipe: pipe::Receiver,
        name: String,
        redaction: Redaction,
        pid: i32,
        metrics: Arc<BridgeMetrics>,
        tracker: &TaskTracker,
    ) -> Self {
        let kept = Arc::new(Mutex::new(VecDeque::new()));
        let (end, ended) = watch::channel(false);
        let stop = CancellationToken::new();
        let drain = Drain {
            pipe,
            kept: Arc::clone(&kept),
            log: Log::new(name, redaction.clone(), pid, metrics),
            _end: EndOnDrop(end),
        };
        tracker.spawn(drain.run(stop.clone()));
        Self {
            kept,
            ended,
            redaction,
            _stop: stop.drop_guard(),
        }
    }

    /// The last `count` lines at most, and of them the last 4 KiB, without terminal escapes and secrets; the last may be
    /// unfinished.
    pub fn last_lines(&self, count: usize) -> Vec<String> {
        let kept = self.tail(KEPT);
        let mut room = SHOWN;
        let mut lines = Vec::new();
        for line in kept.lines().rev().filter(|line| !line.trim().is_empty()) {
            if lines.len() == count || room == 0 {
                break;
            }
            let line = self.redaction.apply(clean(line));
            let cut = line.ceil_char_boundary(line.len().saturating_sub(room));
            room = room.saturating_sub(line.len());
            lines.push(line[cut..].to_owned());
        }
        lines.reverse();
        lines
    }

    /// The last `bytes` bytes at most (64 KiB are kept); what is not UTF-8 is replaced.
    pub fn tail(&self, bytes: usize) -> String {
        let mut kept = lock(&self.kept);
        let kept = kept.make_contiguous();
        let start = kept.len().saturating_sub(bytes);
        String::from_utf8_lossy(&kept[start..]).into_owned()
    }

    /// Whether everything that will ever be written has been read.
    pub fn has_ended(&self) -> bool {
        *self.ended.borrow() || self.ended.has_changed().is_err()
    }

    /// Waits until everything that will ever be written has been read. After an exit that is a matter of milliseconds,
    /// unless some other process holds the stream; so give it a limit.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut ended = self.ended.clone();
        async move {
            // An error means that the task was dropped with its runtime: no more will come.
            let _ = ended.wait_for(|ended| *ended).await;
        }
    }
}

/// The task.
struct Drain {
    pipe: pipe::Receiver,
    kept: Arc<Mutex<VecDeque<u8>>>,
    log: Log,
    _end: EndOnDrop,
}

struct EndOnDrop(watch::Sender<bool>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

impl Drain {
    async fn run(mut self, stop: CancellationToken) {
        let mut buffer = [0; READ];
        loop {
            let report_at = self.log.report_at;
            tokio::select! {
                read = self.pipe.read(&mut buffer) => match read {
                    Ok(0) | Err(_) => break,
                    Ok(read) => self.take(&buffer[..read]),
                },
                () = wait_until(report_at) => self.log.report(),
                () = stop.cancelled() => {
                    // What was written before the end of the child, but no more than a pipe holds.
                    for _ in 0..16 {
                        match self.pipe.try_read(&mut buffer) {
                            Ok(0) | Err(_) => break,
                            Ok(read) => self.take(&buffer[..read]),
                        }
                    }
                    break;
                }
            }
        }
        self.log.finish();
    }

    fn take(&mut self, bytes: &[u8]) {
        let mut kept = lock(&self.kept);
        let excess = (kept.len() + bytes.len()).saturating_sub(KEPT);
        kept.drain(..excess);
        kept.extend(bytes);
        drop(kept);
        self.log.metrics.stderr_bytes.add(bytes.len() as u64);
        self.log.take(bytes);
    }
}

async fn wait_until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Makes lines of bytes and lets through what the limits allow.
struct Log {
    bridge: String,
    redaction: Redaction,
    pid: i32,
    /// The beginning of the current line, at most [`LOGGED_LINE`] bytes.
    line: Vec<u8>,
    /// The current line is longer than that.
    cut: bool,
    second: Instant,
    lines: u32,
    bytes: usize,
    dropped: u64,
    metrics: Arc<BridgeMetrics>,
    report_at: Option<Instant>,
}

impl Log {
    fn new(bridge: String, redaction: Redaction, pid: i32, metrics: Arc<BridgeMetrics>) -> Self {
        Self {
            bridge,
            redaction,
            pid,
            line: Vec::new(),
            cut: false,
            second: Instant::now(),
            lines: 0,
            bytes: 0,
            dropped: 0,
            metrics,
            report_at: None,
        }
    }

    fn take(&mut self, mut bytes: &[u8]) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.append(&bytes[..end]);
            self.end_line();
            bytes = &bytes[end + 1..];
        }
        self.append(bytes);
    }

    fn append(&mut self, bytes: &[u8]) {
        let room = LOGGED_LINE - self.line.len();
        self.cut |= bytes.len() > room;
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self) {
        let blank = self.line.trim_ascii().is_empty();
        if !blank && self.admit(Instant::now()) {
            let mut text = self
                .redaction
                .apply(clean(&String::from_utf8_lossy(&self.line)));
            if self.cut {
                text.push('…');
            }
            info!(target: "server", bridge = self.bridge, pid = self.pid, "{text}");
        }
        self.line.clear();
        self.cut = false;
    }

    /// Whether the current line may be logged; counts it either way.
    fn admit(&mut self, now: Instant) -> bool {
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            self.second = now;
            self.lines = 0;
            self.bytes = 0;
        }
        if self.lines >= LINES_PER_SECOND || self.bytes + self.line.len() > BYTES_PER_SECOND {
            self.dropped += 1;
            self.metrics.dropped(Dropped::StderrOverflow);
            self.report_at.get_or_insert(now + REPORT_EVERY);
            return false;
        }
        self.lines += 1;
        self.bytes += self.line.len();
        true
    }

    fn report(&mut self) {
        self.report_at = None;
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            warn!(target: "server", bridge = self.bridge, pid = self.pid, "dropped {dropped} lines of stderr");
        }
    }

    fn finish(&mut self) {
        self.end_line();
        self.report();
    }
}

/// Without terminal escapes and control characters, which would act on the terminal of whoever reads the log.
fn clean(line: &str) -> String {
    let mut clean = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '\x1b' => skip_escape(&mut characters),
            '\t' => clean.push('\t'),
            control if control.is_control() => {}
            other => clean.push(other),
        }
    }
    clean
}

/// Skips the rest of an escape sequence: `[ … letter`, `] … BEL` or `] … ESC \`, or a single character.
fn skip_escape(characters: &mut std::str::Chars<'_>) {
    match characters.next() {
        Some('[') => {
            characters.find(|c| matches!(c, '\x40'..='\x7e'));
        }
        Some(']') if characters.find(|c| matches!(c, '\x07' | '\x1b')) == Some('\x1b') => {
            characters.next();
        }
        _ => {}
    }
}

fn lock(kept: &Mutex<VecDeque<u8>>) -> MutexGuard<'_, VecDeque<u8>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn escapes_and_control_characters_are_removed() {
        for (raw, expected) in [
            ("plain\ttext", "plain\ttext"),
            ("\x1b[1;31mred\x1b[0m", "red"),
            ("\x1b]0;title\x07after", "after"),
            ("\x1b]8;;http://x\x1b\\link", "link"),
            ("a\rb\x08c\u{9b}d", "abcd"),
            ("cut \x1b[3", "cut "),
            ("Größe ☃", "Größe ☃"),
        ] {
            assert_eq!(clean(raw), expected, "{raw:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_cut_by_lines_and_by_bytes_each_second() {
        let metrics = Metrics::new().bridge("b");
        let mut log = Log::new("b".into(), Redaction::default(), 1, metrics);
        let start = Instant::now();
        log.line = vec![b'x'; 10];
        let admitted = (0..1000).filter(|_| log.admit(start)).count();
        assert_eq!(admitted, 200);
        assert_eq!(log.dropped, 800);
        assert_eq!(log.report_at, Some(start + REPORT_EVERY));

        let later = start + Duration::from_secs(1);
        log.line = vec![b'x'; LOGGED_LINE];
        let admitted = (0..1000).filter(|_| log.admit(later)).count();
        assert_eq!(admitted, 8);
        log.report();
        assert_eq!((log.dropped, log.report_at), (0, None));
    }

    #[test]
    fn a_line_without_end_takes_no_more_than_its_limit() {
        let metrics = Metrics::new().bridge("b");
        let mut log = Log::new("b".into(), Redaction::default(), 1, metrics);
        for _ in 0..100 {
            log.take(&[b'x'; 1000]);
        }
        assert_eq!(log.line.len(), LOGGED_LINE);
        assert!(log.cut);
        log.take(b"\nnext");
        assert_eq!(log.line, b"next");
        assert!(!log.cut);
    }
}
