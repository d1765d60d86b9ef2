//! What the bridge is to reach beside a fast upstream, and whether it did in this run.

use std::fmt;

use serde::Serialize;

use super::Outcome;

/// One figure.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    what: String,
    got: f64,
    bound: Bound,
    pub(super) reached: bool,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

use Bound::{AtLeast, AtMost};

impl Figure {
    fn new(what: impl Into<String>, got: f64, bound: Bound) -> Self {
        Self {
            what: what.into(),
            got,
            bound,
            reached: match bound {
                AtMost(bound) => got <= bound,
                AtLeast(bound) => got >= bound,
            },
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, got, .. } = self;
        match self.bound {
            AtMost(bound) => write!(f, "{what}: {got:.2}, at most {bound}"),
            AtLeast(bound) => write!(f, "{what}: {got:.2}, at least {bound}"),
        }
    }
}

/// All of them; what wasn't measured is left out.
pub(super) fn of(outcome: &Outcome) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (way, cpu) in [("HTTP", 12.0), ("SSE", 15.0), ("2026-07-28", 15.0)] {
        let cell = |load| outcome.cell("mcp-bridged", way, load);
        let mut add = |what: &str, got, bound| {
            figures.push(Figure::new(format!("{way}, {what}"), got, bound));
        };
        for load in ["1×32", "64×4"] {
            if let Some(cell) = cell(load) {
                add(
                    &format!("{load}, CPU µs per call"),
                    cell.server_cpu_us,
                    AtMost(cpu),
                );
                add(
                    &format!("{load}, × axum echo"),
                    cell.of_http_floor,
                    AtLeast(0.6),
                );
            }
        }
        if let Some(cell) = cell("1×1") {
            add("1×1, added p50 µs", cell.added_p50_us, AtMost(20.0));
        }
        if let Some(cell) = cell("64×4").filter(|cell| cell.p50_us > 0.0) {
            let tail = cell.p999_us / cell.p50_us;
            add("64×4, p99.9 ÷ p50", tail, AtMost(10.0));
        }
        for load in ["64 KiB", "1 MiB"] {
            if let Some(cell) = cell(load) {
                add(
                    &format!("{load}, × axum echo"),
                    cell.of_http_floor,
                    AtLeast(0.3),
                );
                add(
                    &format!("{load}, copies of what is in flight"),
                    cell.peak_copies,
                    AtMost(4.0),
                );
            }
        }
        if let Some(cell) = cell("progress") {
            let got = cell.progress_per_second;
            add("progress notifications per second", got, AtLeast(400_000.0));
        }
        if let Some(cell) = cell("operation") {
            let got = cell.calls_per_second;
            add("operations per second", got, AtLeast(5_000.0));
        }
    }
    figures.extend(of_the_process(outcome));
    figures
}

fn of_the_process(outcome: &Outcome) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut add = |what: &str, got, bound| figures.push(Figure::new(what, got, bound));
    let bytes = |kib: f64| kib * 1024.0;
    let mut own = outcome
        .idle
        .iter()
        .filter(|row| row.server == "mcp-bridged");
    if let Some(cost) = own.next().and_then(|row| row.cost.as_ref()) {
        let before = cost.before.pss_kib as f64;
        add(
            "idle MB with three bridges",
            bytes(before) / 1e6,
            AtMost(6.0),
        );
        if let Some(look) = cost.looks.last() {
            let per_session = bytes(look.pss_kib_per_session) / 1e3;
            add("KB per idle session", per_session, AtMost(10.0));
            add("idle CPU %", look.idle_cpu_percent, AtMost(0.0));
            if let Some(after) = cost.after {
                let kept = bytes(after.pss_kib as f64 - before) / 1e3 / f64::from(look.sessions);
                add(
                    "KB kept per session that is closed (allocator's pools included)",
                    kept,
                    AtMost(0.5),
                );
            }
        }
    }
    let mut own = outcome.subjects.iter().filter(|row| row.is_ours);
    if let Some(start) = own.next().and_then(|row| row.start_ms) {
        add(
            "start to first answer, ms above the server's own",
            start - outcome.echo_start_ms,
            AtMost(20.0),
        );
    }
    let size = outcome.bridge_bytes as f64 / 1e6;
    add("program in MB", size, AtMost(15.0));
    figures
}
