//! A FIFO that processes hold open: what they write says that they live, its end that none does.

use std::io::{BufRead, BufReader};
use std::path::Path;

use nix::sys::stat::Mode;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::{Spec, sh, soon};

/// Says what was written to a FIFO, and when nobody is left who could write.
pub(super) struct Watch {
    directory: TempDir,
    pub(super) lines: mpsc::Receiver<String>,
}

impl Watch {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        let (sender, lines) = mpsc::channel(100);
        std::thread::spawn(move || {
            // Waits for the first writer.
            let fifo = BufReader::new(std::fs::File::open(path).unwrap());
            for line in fifo.lines() {
                sender.blocking_send(line.unwrap()).unwrap();
            }
        });
        Self { directory, lines }
    }

    pub(super) fn path(&self) -> String {
        let path: &Path = self.directory.path();
        path.join("fifo").to_str().unwrap().to_owned()
    }

    /// A script whose processes have the FIFO open as descriptor 9.
    pub(super) fn script(&self, rest: &str) -> Spec {
        sh(&format!("exec 9>{}\n{rest}", self.path()))
    }

    /// The pids that the processes wrote.
    pub(super) async fn pids(&mut self, count: usize) -> Vec<i32> {
        let mut pids = Vec::new();
        for _ in 0..count {
            let line = soon(self.lines.recv()).await.expect("it lives");
            pids.push(line.parse().unwrap());
        }
        pids
    }

    pub(super) async fn all_are_dead(&mut self) {
        assert_eq!(soon(self.lines.recv()).await, None);
    }
}
