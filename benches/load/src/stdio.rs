//! `load stdio`: the same calls straight into a server's stdin, which is what a bridge is compared with. Sessions don't exist there:
//! `--sessions` × `--in-flight` calls are in flight on the one pipe.

use std::process::Stdio;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Buf as _, BytesMut};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinSet;

use crate::error::{Error, Result};
use crate::http::fill;
use crate::ledger::{Ledger, Meta, Shape};
use crate::meter::Meter;
use crate::proc;
use crate::run::{Load, Report, measure};
use crate::session::{INITIALIZED, Outbox, initialize, initialized};

/// Starts `command`; it is killed when dropped.
///
/// # Errors
/// When it can't be started.
pub(crate) fn spawn(command: &[String]) -> Result<Child> {
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| Error::Usage("no command".to_owned()))?;
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(Error::io(program))
}

/// Starts `command` on `core` and returns how long after that its `initialize` was answered.
///
/// # Errors
/// When it doesn't start or answer.
pub(crate) async fn first_answer(command: Vec<String>, core: Option<usize>) -> Result<Duration> {
    let started = Instant::now();
    let mut child = proc::on_core(core, || spawn(&command))?;
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(Error::Usage("the child's pipes are taken".to_owned()));
    };
    let request = initialize() + "\n";
    input
        .write_all(request.as_bytes())
        .await
        .map_err(Error::io("sending initialize"))?;
    let mut lines = Lines::new(output);
    while initialized(&lines.next().await?)?.is_none() {}
    Ok(started.elapsed())
}

/// Runs `load` on `child`, which is accounted for like a `--pid`. Needs a `LocalSet`.
///
/// # Errors
/// When the server doesn't initialise. Later failures are in the report.
pub(crate) async fn run(mut child: Child, load: &Load) -> Result<Report> {
    load.check()?;
    let mut load = load.clone();
    load.pids.extend(child.id());
    let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(Error::Usage("the child's pipes are taken".to_owned()));
    };
    let meter = Rc::new(Meter::new());
    let mut tasks = JoinSet::new();
    let outbox = Rc::new(Outbox::default());
    let mut writer = JoinSet::new();
    writer.spawn_local({
        let (outbox, meter) = (Rc::clone(&outbox), Rc::clone(&meter));
        async move {
            if let Err(error) = outbox.write_to(input).await {
                meter.fail(error.to_string());
            }
        }
    });
    let mut lines = Lines::new(output);
    outbox.put(|out| line(out, initialize().as_bytes()));
    while initialized(&lines.next().await?)?.is_none() {}
    outbox.put(|out| line(out, INITIALIZED.as_bytes()));
    let calls = load.sessions as usize * load.in_flight;
    let ledger = Ledger::new(
        &Shape::new(load.payload, load.progress, Meta::None),
        0,
        1,
        1,
    );
    tasks.spawn_local(drive(lines, outbox, calls, ledger, Rc::clone(&meter)));
    measure(&load, &meter, tasks).await
}

async fn drive(
    mut lines: Lines,
    outbox: Rc<Outbox>,
    calls: usize,
    mut ledger: Ledger,
    meter: Rc<Meter>,
) -> Result<()> {
    let send = |ledger: &mut Ledger, now| {
        meter.sending();
        outbox.put(|out| {
            ledger.call(out, 0, now);
            out.push(b'\n');
        });
    };
    for _ in 0..calls {
        send(&mut ledger, Instant::now());
    }
    while ledger.open() > 0 {
        let line = lines.next().await?;
        let now = Instant::now();
        if meter.book(ledger.settle(&line, now)).is_some() && !meter.is_stopped() {
            send(&mut ledger, now);
        }
    }
    Ok(())
}

fn line(out: &mut Vec<u8>, message: &[u8]) {
    out.extend_from_slice(message);
    out.push(b'\n');
}

/// The server's stdout, line by line.
#[derive(Debug)]
struct Lines {
    output: ChildStdout,
    input: BytesMut,
    searched: usize,
}

impl Lines {
    fn new(output: ChildStdout) -> Self {
        Self {
            output,
            input: BytesMut::new(),
            searched: 0,
        }
    }

    async fn next(&mut self) -> Result<BytesMut> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.input[self.searched..]) {
                let line = self.input.split_to(self.searched + end);
                self.input.advance(1);
                self.searched = 0;
                return Ok(line);
            }
            self.searched = self.input.len();
            fill(&mut self.output, &mut self.input).await?;
        }
    }
}
