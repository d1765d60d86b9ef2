//! The bounded queue between those who log and the thread that writes.
//!
//! At most [`LINES`] lines and [`BYTES`] bytes wait. A line over that, or one whose write fails, is dropped and counted; when
//! lines pass again, a line of our own says how many are missing.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use crate::metrics::ProcessMetrics;

/// Lines that may wait: several seconds of a chatty server.
const LINES: usize = 8192;
/// Bytes that may wait, because a line may be long.
const BYTES: usize = 8 << 20;
/// How long the guard waits for the last lines.
const FLUSH: Duration = Duration::from_secs(1);
/// How long a non-blocking descriptor may be full before the line is dropped.
const PATIENCE: Duration = Duration::from_millis(100);

/// Where lines are queued; clones share the queue.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    sender: SyncSender<Entry>,
    shared: Arc<Shared>,
}

/// Writes what is queued when it is dropped, for at most a second.
#[derive(Debug)]
pub(super) struct LogGuard(Queue);

#[derive(Debug)]
enum Entry {
    Line(Box<[u8]>),
    /// Answered when everything before it was written or dropped.
    Flush(SyncSender<()>),
}

#[derive(Debug)]
struct Shared {
    bytes: AtomicUsize,
    metrics: Arc<ProcessMetrics>,
}

/// The thread's side.
struct Drain<W> {
    out: W,
    json: bool,
    shared: Arc<Shared>,
    /// Lost lines that our own line has told of.
    reported: u64,
    /// The last write ended inside a line.
    torn: bool,
}

impl Queue {
    /// A queue whose thread writes to `out` until the process ends.
    pub(super) fn start(
        out: impl Write + Send + 'static,
        json: bool,
        metrics: Arc<ProcessMetrics>,
    ) -> Self {
        let (sender, receiver) = sync_channel(LINES);
        let shared = Arc::new(Shared {
            bytes: AtomicUsize::new(0),
            metrics,
        });
        let drain = Drain {
            out,
            json,
            shared: Arc::clone(&shared),
            reported: 0,
            torn: false,
        };
        // Without the thread the receiver is gone, and each line counts as lost: no reason not to serve.
        let _ = thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || drain.run(&receiver));
        Self { sender, shared }
    }

    fn push(&self, line: &[u8]) {
        let size = line.len();
        let before = self.shared.bytes.fetch_add(size, Ordering::Relaxed);
        let queued = before.saturating_add(size) <= BYTES
            && self.sender.try_send(Entry::Line(line.into())).is_ok();
        if !queued {
            self.shared.bytes.fetch_sub(size, Ordering::Relaxed);
            self.shared.metrics.log_lines_dropped.inc();
        }
    }

    /// Waits until everything queued so far was written or dropped, at most until the time is over.
    fn flush(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let (done, written) = sync_channel(1);
        loop {
            match self.sender.try_send(Entry::Flush(done.clone())) {
                Ok(()) => break,
                Err(TrySendError::Full(_)) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(5));
                }
                Err(_) => return,
            }
        }
        let _ = written.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

/// `tracing_subscriber` writes each line with one call.
impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl LogGuard {
    pub(super) fn new(queue: Queue) -> Self {
        Self(queue)
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.0.flush(FLUSH);
    }
}

impl<W: Write> Drain<W> {
    fn run(mut self, receiver: &Receiver<Entry>) {
        while let Ok(entry) = receiver.recv() {
            match entry {
                Entry::Line(line) => {
                    self.report_losses();
                    if !self.write(&line) {
                        self.shared.metrics.log_lines_dropped.inc();
                    }
                    self.shared.bytes.fetch_sub(line.len(), Ordering::Relaxed);
                }
                Entry::Flush(done) => {
                    self.report_losses();
                    let _ = done.try_send(());
                }
            }
        }
    }

    fn report_losses(&mut self) {
        let lost = self.shared.metrics.log_lines_dropped.get();
        if lost > self.reported && self.write(loss(lost - self.reported, self.json).as_bytes()) {
            self.reported = lost;
        }
    }

    /// Whether the whole line was written.
    fn write(&mut self, line: &[u8]) -> bool {
        if self.torn {
            if self.write_some(b"\n") == 0 {
                return false;
            }
            self.torn = false;
        }
        let written = self.write_some(line);
        self.torn = written > 0 && written < line.len();
        written == line.len()
    }

    /// Writes until it fails for good, and says how many bytes went out.
    fn write_some(&mut self, line: &[u8]) -> usize {
        let mut written = 0;
        let mut deadline = None;
        while written < line.len() {
            match self.out.write(&line[written..]) {
                Ok(0) => break,
                Ok(n) => {
                    written += n;
                    deadline = None;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    let now = Instant::now();
                    if now >= *deadline.get_or_insert(now + PATIENCE) {
                        break;
                    }
                    thread::sleep(Duration::from_millis(5));
                }
                Err(_) => break,
            }
        }
        written
    }
}

/// The line that tells of lost lines, in the form of the others.
fn loss(lines: u64, json: bool) -> String {
    let mut now = String::new();
    if SystemTime.format_time(&mut Writer::new(&mut now)).is_err() {
        now.clear();
    }
    if json {
        format!(
            "{{\"timestamp\":\"{now}\",\"level\":\"WARN\",\"message\":\"dropped {lines} log lines\",\"dropped\":{lines},\"target\":\"{}\"}}\n",
            module_path!()
        )
    } else {
        format!("{now}  WARN dropped {lines} log lines\n")
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::sync::Mutex;

    use super::*;

    /// A disk of a few bytes that can be emptied.
    #[derive(Debug, Clone, Default)]
    struct Disk {
        written: Arc<Mutex<Vec<u8>>>,
        room: Arc<AtomicUsize>,
    }

    impl Write for Disk {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            let n = self.room.load(Ordering::SeqCst).min(buf.len());
            if n == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.room.fetch_sub(n, Ordering::SeqCst);
            self.written.lock().unwrap().extend_from_slice(&buf[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_pipe_that_nobody_reads_stops_nobody() {
        let (reader, writer) = io::pipe().unwrap();
        let metrics = Arc::new(ProcessMetrics::default());
        let queue = Queue::start(writer, false, Arc::clone(&metrics));
        let begin = Instant::now();
        let line = format!("{}\n", "x".repeat(199));
        for _ in 0..30_000 {
            queue.push(line.as_bytes());
        }
        assert!(begin.elapsed() < Duration::from_secs(2));
        let lost = metrics.log_lines_dropped.get();
        assert!(lost > 30_000 - LINES as u64 - 1_000, "only {lost} dropped");

        // The guard gives up in time, and what passes once somebody reads tells of the loss. With the guard the last sender
        // goes, so the pipe ends once all is written, and a count that falls short fails instead of waiting.
        drop(LogGuard::new(queue));
        assert!(begin.elapsed() < Duration::from_secs(4));
        let mut told = 0;
        let mut lines = BufReader::new(reader).lines();
        while told < lost {
            let line = lines.next().unwrap().unwrap();
            let report = line
                .split_once("dropped ")
                .and_then(|(_, rest)| rest.split_once(' '));
            told += report.map_or(0, |(count, _)| count.parse::<u64>().unwrap());
        }
        assert_eq!(told, lost);
    }

    #[test]
    fn a_full_disk_costs_lines_and_the_next_one_starts_afresh() {
        let disk = Disk::default();
        disk.room.store(8, Ordering::SeqCst);
        let metrics = Arc::new(ProcessMetrics::default());
        let queue = Queue::start(disk.clone(), true, Arc::clone(&metrics));
        queue.push(b"first\n");
        queue.push(b"second\n");
        queue.push(b"third\n");
        queue.flush(FLUSH);
        assert_eq!(metrics.log_lines_dropped.get(), 2);
        disk.room.store(1_000, Ordering::SeqCst);
        queue.push(b"fourth\n");
        queue.flush(FLUSH);
        let text = String::from_utf8(disk.written.lock().unwrap().clone()).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines[0], lines[1], lines[3]), ("first", "se", "fourth"));
        let told: serde_json::Value = serde_json::from_str(lines[2]).unwrap();
        assert_eq!(told["dropped"], 2);
        assert_eq!(told["level"], "WARN");
    }

    #[test]
    fn a_closed_pipe_is_counted_and_survived() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let metrics = Arc::new(ProcessMetrics::default());
        let queue = Queue::start(writer, false, Arc::clone(&metrics));
        for _ in 0..10 {
            queue.push(b"line\n");
        }
        queue.flush(FLUSH);
        assert_eq!(metrics.log_lines_dropped.get(), 10);
    }

    #[test]
    fn lines_over_the_byte_limit_are_dropped() {
        let metrics = Arc::new(ProcessMetrics::default());
        let queue = Queue::start(io::sink(), false, Arc::clone(&metrics));
        queue.push(&vec![b'x'; BYTES + 1]);
        assert_eq!(metrics.log_lines_dropped.get(), 1);
        queue.push(b"short\n");
        queue.flush(FLUSH);
        assert_eq!(metrics.log_lines_dropped.get(), 1);
    }
}
