//! A server that is measured: started on a core, on a port of loopback, and stopped.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::error::{Error, Result};
use crate::http::Target;
use crate::ledger::{Meta, Shape};
use crate::proc::{self, Memory};
use crate::run::Transport;
use crate::session::{Sse, Stateless, Streamable};

/// Where servers listen.
const PORTS: Range<u16> = 20_000..30_000;
/// How long a server may take to answer at first.
const START: Duration = Duration::from_secs(20);
/// How long it may take to stop.
const STOP: Duration = Duration::from_secs(10);
/// Between two attempts to reach one that starts.
const AGAIN: Duration = Duration::from_millis(1);

/// A server that accepts connections. It is killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) pid: u32,
    /// What its memory is compared with: as it was at the start, or at a later look.
    pub(crate) baseline: Memory,
    child: Child,
    started: Instant,
}

impl Server {
    /// Starts `command`, which is to listen on `port`, and waits until it accepts connections.
    ///
    /// # Errors
    /// When it can't be started, ends, or doesn't listen in time.
    pub(crate) async fn start(
        mut command: Command,
        port: u16,
        core: Option<usize>,
    ) -> Result<Self> {
        let name = command
            .as_std()
            .get_program()
            .to_string_lossy()
            .into_owned();
        let started = Instant::now();
        let mut child = proc::on_core(core, || {
            command.kill_on_drop(true).spawn().map_err(Error::io(&name))
        })?;
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if let Some(status) = child.try_wait().map_err(Error::io(&name))? {
                return Err(Error::Protocol(format!(
                    "{name} ended before it listened: {status}"
                )));
            }
            if started.elapsed() > START {
                return Err(Error::Protocol(format!(
                    "{name} doesn't listen on port {port}"
                )));
            }
            sleep(AGAIN).await;
        }
        let pid = child
            .id()
            .ok_or_else(|| Error::Protocol(format!("{name} ended at once")))?;
        Ok(Self {
            port,
            pid,
            baseline: proc::memory(pid)?,
            child,
            started,
        })
    }

    /// Its URL without a path.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Opens a session as soon as that is possible. Returns how long after the start its `initialize` was answered.
    ///
    /// # Errors
    /// What the last attempt said.
    pub(crate) async fn first_answer(&self, transport: Transport) -> Result<Duration> {
        let target = Target::parse(&self.url(), transport.default_path())?;
        loop {
            let left = START.saturating_sub(self.started.elapsed());
            let opened = timeout(left, open(&target, transport)).await;
            match opened.unwrap_or_else(|_| Err(Error::protocol("initialize isn't answered"))) {
                Ok(()) => return Ok(self.started.elapsed()),
                Err(error) if self.started.elapsed() > START => return Err(error),
                Err(_) => sleep(AGAIN).await,
            }
        }
    }

    /// Takes the memory that it has now as what later ones are compared with.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn look(&mut self) -> Result<()> {
        self.baseline = proc::memory(self.pid)?;
        Ok(())
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// It does nothing until it is resumed, so that others are measured without it.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn suspend(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// It goes on.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// SIGTERM, so that it can stop what it started; SIGKILL when it takes too long.
    ///
    /// # Errors
    /// When it can't be waited for.
    pub(crate) async fn stop(mut self) -> Result<()> {
        if self.has_ended() {
            return Ok(());
        }
        self.resume()?;
        self.signal(Signal::SIGTERM)?;
        if timeout(STOP, self.child.wait()).await.is_err() {
            self.child
                .kill()
                .await
                .map_err(Error::io("stopping a server"))?;
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid).map_err(|_| Error::protocol("a pid is too large"))?;
        kill(Pid::from_raw(pid), signal).map_err(Error::os("signalling a server"))
    }
}

async fn open(target: &Target, transport: Transport) -> Result<()> {
    match transport {
        Transport::Sse => Sse::open(target, 1).await.map(drop),
        Transport::Http => Streamable::open(target).await.map(drop),
        Transport::Stateless => {
            let shape = Shape::new(0, 0, Meta::Stateless);
            Stateless::open(target, &shape).await.map(drop)
        }
    }
}

/// A port that nobody listens on, and that no outgoing connection gets meanwhile: Linux takes those from 32768 on.
///
/// # Errors
/// When there is none.
pub(crate) fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in PORTS {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let own = (std::process::id() as u16).wrapping_mul(31);
        let port = PORTS.start + own.wrapping_add(step) % (PORTS.end - PORTS.start);
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(Error::protocol("no port is free"))
}

/// The core of the servers and that of the generator; none with a single core.
pub(crate) fn two_cores() -> Option<(usize, usize)> {
    match proc::cores()[..] {
        [servers, generator, ..] => Some((servers, generator)),
        _ => None,
    }
}
