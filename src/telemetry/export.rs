//! Traces for an OpenTelemetry collector, over OTLP/HTTP (OTLP 1.x § OTLP/HTTP), configured by `OTEL_*` alone.
//!
//! A thread of its own takes the records of [`crate::trace`] from their bounded queue, in batches: when one is full, or
//! some seconds after its first. A batch that the collector does not take is sent again a few times, with growing pauses,
//! while the queue fills; what finds no room there is lost and counted. That the collector does not answer is said once,
//! and once that it does again. At the end what is queued gets a short time. Where no endpoint is set there is no thread,
//! and nobody keeps records.

mod otlp;
mod post;
mod settings;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

use crate::metrics::ProcessMetrics;
use crate::trace::{self, Record};
use otlp::Resource;
use post::{Collector, Failure};
use settings::{Batches, Settings};

/// How long the end of the program waits for the last records.
const FLUSH: Duration = Duration::from_secs(2);
/// How often a batch is sent before it is lost.
const ATTEMPTS: u32 = 5;
/// The pause after the first attempt; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Sends what is queued when it is dropped, for at most two seconds.
#[derive(Debug)]
pub(super) struct ExportGuard {
    stop: Option<oneshot::Sender<()>>,
    done: Receiver<()>,
}

/// Starts the export that the environment asks for; `None` when it asks for none, or for one that can't be had, which is
/// logged.
pub(super) fn start(metrics: &Arc<ProcessMetrics>) -> Option<ExportGuard> {
    let asked = settings::read(|name| std::env::var(name).ok());
    for complaint in asked.complaints {
        warn!("{complaint}");
    }
    let settings = asked.settings?;
    match launch(settings, metrics) {
        Ok(guard) => guard,
        Err(error) => {
            warn!("traces are not exported: {error}");
            None
        }
    }
}

fn launch(
    settings: Settings,
    metrics: &Arc<ProcessMetrics>,
) -> Result<Option<ExportGuard>, String> {
    let Settings {
        target,
        resource,
        sampler,
        batches,
    } = settings;
    let host = target.host();
    let collector = Collector::new(target)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let Some(records) = trace::install(sampler, batches.queue, metrics.clone()) else {
        return Ok(None);
    };
    let (stop, stopped) = oneshot::channel();
    let (done, ended) = sync_channel(1);
    let exporter = Exporter {
        collector,
        resource,
        batches,
        host: host.clone(),
        metrics: metrics.clone(),
        stopped,
        is_stopping: false,
        lost: None,
    };
    thread::Builder::new()
        .name("traces".to_owned())
        .spawn(move || {
            runtime.block_on(exporter.run(records));
            // Nobody may be waiting any more.
            let _ = done.send(());
        })
        .map_err(|error| error.to_string())?;
    info!(collector = host, "traces are exported");
    Ok(Some(ExportGuard {
        stop: Some(stop),
        done: ended,
    }))
}

impl Drop for ExportGuard {
    fn drop(&mut self) {
        // Without a receiver the thread has ended, and so does the wait.
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        let _ = self.done.recv_timeout(FLUSH);
    }
}

/// The thread's side.
struct Exporter {
    collector: Collector,
    resource: Resource,
    batches: Batches,
    /// For the log.
    host: String,
    metrics: Arc<ProcessMetrics>,
    stopped: oneshot::Receiver<()>,
    is_stopping: bool,
    /// While the collector takes nothing: the records lost since it last did.
    lost: Option<u64>,
}

impl Exporter {
    async fn run(mut self, mut records: mpsc::Receiver<Record>) {
        let mut batch = Vec::with_capacity(self.batches.size);
        loop {
            if !self.is_stopping {
                tokio::select! {
                    () = fill(&mut records, &mut batch, &self.batches) => {}
                    _ = &mut self.stopped => self.is_stopping = true,
                }
            }
            if self.is_stopping {
                records.close();
                let room = self.batches.size - batch.len();
                if room > 0 {
                    records.recv_many(&mut batch, room).await;
                }
                if batch.is_empty() {
                    return;
                }
            }
            self.export(&batch).await;
            batch.clear();
        }
    }

    /// Sends a batch until the collector takes it or there is no hope.
    async fn export(&mut self, batch: &[Record]) {
        let body = otlp::request(&self.resource, batch);
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            let failure = match self.collector.post(body.clone()).await {
                Ok(()) => return self.taken(),
                Err(failure) => failure,
            };
            self.failed(&failure);
            let Failure::Passing { retry_after, .. } = failure else {
                break;
            };
            if attempt == ATTEMPTS || self.is_stopping {
                break;
            }
            tokio::select! {
                () = sleep(retry_after.unwrap_or(pause)) => {}
                _ = &mut self.stopped => self.is_stopping = true,
            }
            pause *= 2;
        }
        let count = batch.len() as u64;
        self.metrics.spans_dropped.add(count);
        self.lost = Some(self.lost.unwrap_or(0) + count);
    }

    fn taken(&mut self) {
        if let Some(lost) = self.lost.take() {
            info!(collector = self.host, lost, "traces are exported again");
        }
    }

    fn failed(&mut self, failure: &Failure) {
        if self.lost.is_none() {
            self.lost = Some(0);
            warn!(
                collector = self.host,
                "failed to export traces: {failure}; that is not said again until it works"
            );
        }
    }
}

/// Waits until a batch is full, or was begun some time ago. Nothing is lost when the future is dropped.
async fn fill(records: &mut mpsc::Receiver<Record>, batch: &mut Vec<Record>, batches: &Batches) {
    if batch.is_empty() {
        records.recv_many(batch, batches.size).await;
    }
    let due = Instant::now() + batches.delay;
    while batch.len() < batches.size {
        let room = batches.size - batch.len();
        match timeout_at(due, records.recv_many(batch, room)).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}
