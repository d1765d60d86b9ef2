//! Where bytes leave the server: stdout, the record and the journal.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};

use serde_json::Value;

use crate::Flags;

/// The three places, each written whole lines at a time.
#[derive(Debug)]
pub(crate) struct Output {
    turns: Turns,
    /// Bytes that have gone to stdout.
    written: AtomicU64,
    record: Option<Mutex<File>>,
    journal: Option<String>,
    survive: bool,
}

impl Output {
    pub(crate) fn new(flags: &Flags) -> Self {
        Self {
            turns: Turns::default(),
            written: AtomicU64::new(0),
            record: flags.record.as_deref().map(|path| Mutex::new(append(path))),
            journal: flags.journal.clone(),
            survive: flags.ignore_eof,
        }
    }

    /// Writes `bytes` to stdout at once; others' bytes never come between them. Ends the process when nobody reads any more.
    pub(crate) fn raw(&self, bytes: &[u8]) {
        let written = self.turns.take(|| self.write(bytes));
        self.or_end(written);
    }

    /// Writes `first` and then `rest`; others' bytes don't come between them, however long `between` takes. It is told how many
    /// bytes have gone to stdout in all.
    pub(crate) fn in_pieces(&self, first: &[u8], between: impl FnOnce(u64), rest: &[u8]) {
        let written = self.turns.take(|| {
            self.write(first)?;
            between(self.written.load(Ordering::Relaxed));
            self.write(rest)
        });
        self.or_end(written);
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush())?;
        let count = u64::try_from(bytes.len()).expect("a length fits");
        self.written.fetch_add(count, Ordering::Relaxed);
        Ok(())
    }

    fn or_end(&self, written: io::Result<()>) {
        if written.is_err() && !self.survive {
            self.journal(&serde_json::json!({"event": "broken-pipe"}));
            std::process::exit(1);
        }
    }

    pub(crate) fn line(&self, line: &str) {
        self.raw(format!("{line}\n").as_bytes());
    }

    pub(crate) fn notify(&self, method: &str, params: &Value) {
        let params = params.to_string();
        self.line(&format!(
            r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#
        ));
    }

    pub(crate) fn record(&self, line: &[u8]) {
        if let Some(record) = &self.record {
            let mut record = record.lock().expect("no holder panics");
            record.write_all(line).expect("the record can be written");
        }
    }

    pub(crate) fn journal(&self, event: &Value) {
        if let Some(path) = &self.journal {
            journal(path, event);
        }
    }
}

/// Whoever comes first writes first. A plain lock would go to a flood again and again, and starve every answer.
#[derive(Debug, Default)]
struct Turns {
    next: AtomicU64,
    now: Mutex<u64>,
    changed: Condvar,
}

impl Turns {
    fn take<T>(&self, write: impl FnOnce() -> T) -> T {
        let mine = self.next.fetch_add(1, Ordering::Relaxed);
        let now = self.now.lock().expect("no holder panics");
        drop(
            self.changed
                .wait_while(now, |now| *now != mine)
                .expect("no holder panics"),
        );
        let written = write();
        *self.now.lock().expect("no holder panics") += 1;
        self.changed.notify_all();
        written
    }
}

/// Appends one event to the journal; a single write, so that several processes can share it.
pub(crate) fn journal(path: &str, event: &Value) {
    let line = format!("{event}\n");
    append(path)
        .write_all(line.as_bytes())
        .expect("the journal can be written");
}

fn append(path: &str) -> File {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.unwrap_or_else(|error| panic!("failed to open {path}: {error}"))
}
