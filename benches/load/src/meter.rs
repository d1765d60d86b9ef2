//! What a run counts: calls, latencies, wrong answers. One meter is shared by all sessions of a run, on one thread.
//!
//! Latencies go into a histogram of fixed size: 64 steps for each power of two, so a percentile is exact to 1.6 %.
//! Everything before [`Meter::begin`] and after [`Meter::end`] is warm-up and drain: checked for its owner, not counted as a call.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use crate::ledger::Verdict;

/// Steps per power of two.
const STEPS: usize = 64;

/// Latencies in nanoseconds by logarithmic buckets.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Histogram {
    /// An empty histogram of some 30 KB.
    pub(crate) fn new() -> Self {
        Self {
            buckets: vec![0; STEPS * 60],
            count: 0,
            max: 0,
        }
    }

    /// Adds one latency.
    pub(crate) fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[Self::bucket(nanos)] += 1;
        self.count += 1;
        self.max = self.max.max(nanos);
    }

    /// The latency in µs below which the share `quantile` (0 to 1) of all calls stayed; 0 when nothing was recorded.
    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        let rank = (self.count as f64 * quantile).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank.max(1) {
                return Self::upper(bucket).min(self.max) as f64 / 1e3;
            }
        }
        0.0
    }

    /// The longest latency in µs.
    pub(crate) fn max(&self) -> f64 {
        self.max as f64 / 1e3
    }

    fn bucket(nanos: u64) -> usize {
        let steps = STEPS as u64;
        if nanos < steps {
            return nanos as usize;
        }
        let shift = nanos.ilog2() - STEPS.ilog2();
        (u64::from(shift) * steps + (nanos >> shift)) as usize
    }

    fn upper(bucket: usize) -> u64 {
        if bucket < 2 * STEPS {
            return bucket as u64;
        }
        let shift = bucket / STEPS - 1;
        (((bucket - shift * STEPS) as u64 + 1) << shift) - 1
    }
}

/// The counters of one run.
#[derive(Debug)]
pub(crate) struct Meter {
    counting: Cell<bool>,
    stopped: Cell<bool>,
    began: Cell<Option<Instant>>,
    histogram: RefCell<Histogram>,
    pub(crate) calls: Cell<u64>,
    pub(crate) wrong: Cell<u64>,
    pub(crate) failed: Cell<u64>,
    pub(crate) sent: Cell<u64>,
    pub(crate) settled: Cell<u64>,
    pub(crate) progress: Cell<u64>,
    pub(crate) lost_progress: Cell<u64>,
    first_trouble: RefCell<Option<String>>,
}

impl Meter {
    /// A meter that doesn't count yet.
    pub(crate) fn new() -> Self {
        Self {
            counting: Cell::new(false),
            stopped: Cell::new(false),
            began: Cell::new(None),
            histogram: RefCell::new(Histogram::new()),
            calls: Cell::default(),
            wrong: Cell::default(),
            failed: Cell::default(),
            sent: Cell::default(),
            settled: Cell::default(),
            progress: Cell::default(),
            lost_progress: Cell::default(),
            first_trouble: RefCell::default(),
        }
    }

    /// Calls count from here.
    pub(crate) fn begin(&self) {
        self.counting.set(true);
        self.began.set(Some(Instant::now()));
    }

    /// Calls count no more and no new ones are to be sent. Returns how long they counted.
    pub(crate) fn end(&self) -> Duration {
        self.counting.set(false);
        self.stopped.set(true);
        self.began
            .get()
            .map_or(Duration::ZERO, |began| began.elapsed())
    }

    /// True once no new calls are to be sent.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.get()
    }

    /// Notes that a call goes out.
    pub(crate) fn sending(&self) {
        bump(&self.sent, 1);
    }

    /// Books a judged message; the lane of the call that it closed, if it did.
    pub(crate) fn book(&self, verdict: Verdict) -> Option<usize> {
        let latency = match &verdict {
            Verdict::Answered { latency, .. } => Some(*latency),
            _ => None,
        };
        let lane = self.judge(verdict)?;
        bump(&self.settled, 1);
        if let Some(latency) = latency {
            self.operation(latency);
        }
        Some(lane)
    }

    /// Counts what is wrong with a message, and progress; not the call itself, which is a part of something longer.
    pub(crate) fn judge(&self, verdict: Verdict) -> Option<usize> {
        match verdict {
            Verdict::Answered { lane, lost, .. } => {
                bump(&self.lost_progress, u64::from(lost));
                Some(lane)
            }
            Verdict::Progress if self.counting.get() => {
                bump(&self.progress, 1);
                None
            }
            Verdict::Progress | Verdict::Other => None,
            Verdict::Wrong { lane, why } => {
                bump(&self.wrong, 1);
                self.trouble(why);
                lane
            }
            Verdict::Refused { lane, why } => {
                self.fail(why);
                Some(lane)
            }
        }
    }

    /// Notes that something which went out is done.
    pub(crate) fn done(&self) {
        bump(&self.settled, 1);
    }

    /// Counts one finished operation.
    pub(crate) fn operation(&self, latency: Duration) {
        if self.counting.get() {
            bump(&self.calls, 1);
            self.histogram.borrow_mut().record(latency);
        }
    }

    /// Counts a call or session that failed.
    pub(crate) fn fail(&self, why: String) {
        bump(&self.failed, 1);
        self.trouble(why);
    }

    /// The first thing that went wrong, in words.
    pub(crate) fn first_trouble(&self) -> Option<String> {
        self.first_trouble.borrow().clone()
    }

    /// Reads the latencies.
    pub(crate) fn latencies(&self) -> std::cell::Ref<'_, Histogram> {
        self.histogram.borrow()
    }

    fn trouble(&self, why: String) {
        self.first_trouble.borrow_mut().get_or_insert(why);
    }
}

fn bump(cell: &Cell<u64>, by: u64) {
    cell.set(cell.get() + by);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_exact_to_a_bucket() {
        let mut histogram = Histogram::new();
        for micros in 1..=10_000 {
            histogram.record(Duration::from_micros(micros));
        }
        for (quantile, expected) in [
            (0.5, 5_000.0),
            (0.99, 9_900.0),
            (0.999, 9_990.0),
            (1.0, 10_000.0),
        ] {
            let got = histogram.quantile(quantile);
            assert!(
                (got - expected).abs() / expected < 0.016,
                "{quantile}: {got}"
            );
        }
        assert!((histogram.max() - 10_000.0).abs() < f64::EPSILON);
    }

    #[test]
    fn buckets_and_their_bounds_agree() {
        for nanos in (0..100_000).chain([u64::from(u32::MAX), 1 << 50]) {
            let bucket = Histogram::bucket(nanos);
            assert!(nanos <= Histogram::upper(bucket), "{nanos}");
            assert!(
                bucket == 0 || nanos > Histogram::upper(bucket - 1),
                "{nanos}"
            );
        }
    }
}
