//! One subject under one load, over all rounds: medians, sums of what went wrong, and ratios to the floors.
//!
//! A ratio is taken within a round, and then the median of the rounds: what slows a whole round slows both of its sides.

use serde::Serialize;

use crate::run::Report;

/// What a round showed, or why it showed nothing.
pub(crate) type Round = Result<Report, String>;

/// The rounds in one.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Cell {
    pub(crate) calls_per_second: f64,
    /// Calls per second as a share of the HTTP floor's.
    pub(crate) of_http_floor: f64,
    /// Of the server's process alone.
    pub(crate) server_cpu_us: f64,
    pub(crate) generator_cpu_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    /// p50 above the stdio floor's.
    pub(crate) added_p50_us: f64,
    pub(crate) progress_per_second: f64,
    /// The peak of the memory above what it was before, as a multiple of the texts in flight.
    pub(crate) peak_copies: f64,
    /// Answers that weren't their reader's.
    pub(crate) wrong: u64,
    /// Errors, refusals and broken connections.
    pub(crate) failed: u64,
    pub(crate) unanswered: u64,
    pub(crate) lost_progress: u64,
    /// Rounds without a figure.
    pub(crate) missing: usize,
    pub(crate) first_trouble: Option<String>,
    /// Calls per second of each round.
    pub(crate) rounds: Vec<f64>,
}

impl Cell {
    /// The rounds of a subject beside those of the floors under the same load.
    pub(crate) fn of(rounds: &[Round], http_floor: &[Round], stdio: &[Round]) -> Self {
        let beside = |floor: &[Round], of: fn(&Report, &Report) -> f64| {
            let pairs = rounds.iter().zip(floor);
            median(
                pairs.filter_map(|(own, floor)| Some(of(own.as_ref().ok()?, floor.as_ref().ok()?))),
            )
        };
        let good = || rounds.iter().flatten();
        let middle = |of: fn(&Report) -> f64| median(good().map(of));
        let sum = |of: fn(&Report) -> u64| good().map(of).sum();
        let trouble = |round: &Round| match round {
            Ok(report) => report.first_trouble.clone(),
            Err(why) => Some(why.clone()),
        };
        Self {
            calls_per_second: middle(|report| report.calls_per_second),
            of_http_floor: beside(http_floor, |own, floor| {
                own.calls_per_second / floor.calls_per_second.max(1.0)
            }),
            server_cpu_us: middle(server_cpu),
            generator_cpu_us: middle(|report| report.generator_cpu_us_per_call),
            p50_us: middle(|report| report.p50_us),
            p99_us: middle(|report| report.p99_us),
            p999_us: middle(|report| report.p999_us),
            added_p50_us: beside(stdio, |own, stdio| own.p50_us - stdio.p50_us),
            progress_per_second: middle(|report| report.progress_per_second),
            peak_copies: middle(peak_copies),
            wrong: sum(|report| report.wrong),
            failed: sum(|report| report.failed),
            unanswered: sum(|report| report.unanswered),
            lost_progress: sum(|report| report.lost_progress),
            missing: rounds.iter().filter(|round| round.is_err()).count(),
            first_trouble: rounds.iter().find_map(trouble),
            rounds: good().map(|report| report.calls_per_second).collect(),
        }
    }

    /// Whether each call got its own answer.
    pub(crate) fn is_clean(&self) -> bool {
        self.wrong + self.failed + self.unanswered + self.lost_progress == 0
            && self.missing == 0
            && self.calls_per_second > 0.0
    }
}

fn server_cpu(report: &Report) -> f64 {
    report
        .processes
        .iter()
        .map(|process| process.cpu_us_per_call)
        .sum()
}

fn peak_copies(report: &Report) -> f64 {
    let in_flight = report.sessions as usize * report.in_flight * report.payload;
    let grown = report.processes.iter().map(|process| {
        let (before, after) = (process.before.rss_kib, process.after.peak_kib);
        after.saturating_sub(before) * 1024
    });
    grown.sum::<u64>() as f64 / in_flight.max(1) as f64
}

/// The middle one; 0 when there is none.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(calls_per_second: f64, wrong: u64) -> Round {
        Ok(Report {
            calls_per_second,
            wrong,
            ..Report::default()
        })
    }

    #[test]
    fn ratios_are_those_of_the_rounds() {
        // The machine was half as fast in the second round and a quarter as fast in the third.
        let own = [round(60.0, 0), round(30.0, 0), round(15.0, 0)];
        let floor = [round(100.0, 0), round(50.0, 0), round(25.0, 0)];
        let cell = Cell::of(&own, &floor, &floor);
        assert!((cell.of_http_floor - 0.6).abs() < 1e-9);
        assert!((cell.calls_per_second - 30.0).abs() < 1e-9);
        assert!(cell.is_clean());
    }

    #[test]
    fn a_round_that_failed_is_neither_lost_nor_counted() {
        let own = [Err("it fell over".to_owned()), round(10.0, 3)];
        let floor = [round(100.0, 0), round(100.0, 0)];
        let cell = Cell::of(&own, &floor, &floor);
        assert!((cell.of_http_floor - 0.1).abs() < 1e-9);
        assert_eq!((cell.wrong, cell.missing), (3, 1));
        assert_eq!(cell.first_trouble.as_deref(), Some("it fell over"));
        assert!(!cell.is_clean());
    }
}
