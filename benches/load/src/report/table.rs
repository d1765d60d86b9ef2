//! A report for people: one Markdown table, and lines beside it.

use std::fmt::Write as _;

use super::field::TASKS;
use super::{IdleRow, Outcome, Row};
use crate::cell::Cell;

/// The columns: their head, and what a row has there.
type Column = (&'static str, fn(&Outcome, &Row) -> Option<String>);

const COLUMNS: [Column; 16] = [
    ("1×1: +p50 µs", |_, row| {
        let cell = cell(row, "1×1")?;
        Some(format!("{:.0}", cell.added_p50_us)).filter(|_| cell.calls_per_second > 0.0)
    }),
    ("1×32", |_, row| ratio(row, "1×32")),
    ("CPU µs", |_, row| cpu(row, "1×32")),
    ("64×4", |_, row| ratio(row, "64×4")),
    ("CPU µs", |_, row| cpu(row, "64×4")),
    ("p99.9 ÷ p50", |_, row| {
        let cell = cell(row, "64×4").filter(|cell| cell.p50_us > 0.0)?;
        Some(format!("{:.1}", cell.p999_us / cell.p50_us))
    }),
    ("64 KiB", |_, row| ratio(row, "64 KiB")),
    ("copies", |_, row| copies(row, "64 KiB")),
    ("1 MiB", |_, row| ratio(row, "1 MiB")),
    ("copies", |_, row| copies(row, "1 MiB")),
    ("progress/s", |_, row| {
        let cell = cell(row, "progress")?;
        Some(thousands(cell.progress_per_second) + mark(cell))
    }),
    ("operations/s", |_, row| {
        let cell = cell(row, "operation")?;
        Some(thousands(cell.calls_per_second) + mark(cell))
    }),
    ("start ms", |_, row| {
        row.start_ms.map(|start| format!("{start:.0}"))
    }),
    ("idle MB", |outcome, row| {
        let cost = idle(outcome, row)?.cost.as_ref()?;
        Some(megabytes(cost.before.pss_kib))
    }),
    ("KB/session", |outcome, row| {
        let look = idle(outcome, row)?.cost.as_ref()?.looks.last()?;
        Some(format!("{:.1}", look.pss_kib_per_session * 1.024))
    }),
    ("MB after", |outcome, row| {
        let cost = idle(outcome, row)?.cost.as_ref()?;
        Some(megabytes(cost.after?.pss_kib))
    }),
];

/// The whole text.
pub(super) fn text(outcome: &Outcome) -> String {
    let mut rows = vec![
        std::iter::once(String::new())
            .chain(COLUMNS.map(|(head, _)| head.to_owned()))
            .collect::<Vec<_>>(),
    ];
    for row in &outcome.subjects {
        let version = row.version.as_deref().unwrap_or_default();
        let name = format!("{} {version} {}", row.server, row.way);
        let mut line = vec![name.split_whitespace().collect::<Vec<_>>().join(" ")];
        line.extend(COLUMNS.map(|(_, of)| of(outcome, row).unwrap_or_else(|| "–".to_owned())));
        rows.push(line);
    }
    markdown(&rows) + "\n" + &notes(outcome)
}

fn notes(outcome: &Outcome) -> String {
    let mut text = String::new();
    let mut say = |line: String| {
        text += &line;
        text.push('\n');
    };
    let floors = TASKS.iter().filter_map(|task| {
        let cell = outcome.cell("axum echo", "HTTP", task.name)?;
        let calls = thousands(cell.calls_per_second);
        (task.progress == 0).then(|| format!("{} {calls}/s", task.name))
    });
    say(format!(
        "1.00 is the axum echo: {}.",
        floors.collect::<Vec<_>>().join(", ")
    ));
    say("✗: answers reached somebody else. …: calls or progress got lost. !: errors or broken connections.".to_owned());
    let idle = outcome.idle.iter().filter_map(|row| {
        let look = row.cost.as_ref()?.looks.last()?;
        let (server, sessions, cpu) = (row.server, look.sessions, look.idle_cpu_percent);
        Some(format!("{server} {cpu:.1} % with {sessions}"))
    });
    say(format!(
        "CPU of idle sessions: {}.",
        idle.collect::<Vec<_>>().join(", ")
    ));
    let machine = &outcome.machine;
    say(format!(
        "{}, {} cores, Linux {}; {}; {} rounds of {} s.",
        machine.cpu,
        machine.cores,
        machine.kernel,
        match outcome.cores {
            Some((servers, generator)) =>
                format!("servers on core {servers}, generator on core {generator}"),
            None => "one core for all".to_owned(),
        },
        outcome.rounds,
        outcome.seconds
    ));
    for skipped in &outcome.skipped {
        say(format!("skipped {skipped}"));
    }
    for row in &outcome.subjects {
        for named in row.cells.iter().filter(|named| !named.cell.is_clean()) {
            let (server, way, load) = (row.server, row.way, named.load);
            say(format!("{server} {way}, {load}: {}", trouble(&named.cell)));
        }
    }
    for row in &outcome.idle {
        let of_cost = row.cost.as_ref().and_then(|cost| cost.trouble.as_ref());
        if let Some(trouble) = row.trouble.as_ref().or(of_cost) {
            say(format!("{}, idle sessions: {trouble}", row.server));
        }
    }
    let missed: Vec<_> = outcome
        .figures
        .iter()
        .filter(|figure| !figure.reached)
        .collect();
    say(format!(
        "figures reached: {} of {}",
        outcome.figures.len() - missed.len(),
        outcome.figures.len()
    ));
    for figure in missed {
        say(format!("missed {figure}"));
    }
    text
}

/// What went wrong, on one line.
fn trouble(cell: &Cell) -> String {
    let counts = [
        (cell.wrong, "wrong"),
        (cell.failed, "failed"),
        (cell.unanswered, "unanswered"),
        (cell.lost_progress, "progress notifications lost"),
        (cell.missing as u64, "rounds without a figure"),
    ];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    let mut parts: Vec<_> = counts.map(|(n, what)| format!("{n} {what}")).collect();
    if parts.is_empty() {
        parts.push("nothing was answered in time".to_owned());
    }
    let first = cell.first_trouble.as_deref().unwrap_or_default();
    let words: Vec<_> = first.split_whitespace().collect();
    let shown: String = words.join(" ").chars().take(120).collect();
    match shown.is_empty() {
        true => parts.join(", "),
        false => format!("{}; first: {shown}", parts.join(", ")),
    }
}

/// Rows as a Markdown table, the first its head.
fn markdown(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<_> = (0..columns)
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0).max(2)
        })
        .collect();
    let mut text = String::new();
    for (n, row) in rows.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let written = match column {
                0 => write!(text, "| {cell:<width$} "),
                _ => write!(text, "| {cell:>width$} "),
            };
            written.expect("a string takes all that is written");
        }
        text += "|\n";
        if n == 0 {
            for (column, width) in widths.iter().enumerate() {
                let rule = "-".repeat(width + 1);
                text += &match column {
                    0 => format!("|-{rule}"),
                    _ => format!("|{rule}:"),
                };
            }
            text += "|\n";
        }
    }
    text
}

fn cell<'a>(row: &'a Row, load: &str) -> Option<&'a Cell> {
    let named = row.cells.iter().find(|named| named.load == load)?;
    Some(&named.cell)
}

/// Only in a server's first row for SSE, which is where the sessions were.
fn idle<'a>(outcome: &'a Outcome, row: &Row) -> Option<&'a IdleRow> {
    let mut idle = outcome.idle.iter();
    idle.find(|idle| idle.server == row.server && row.way == "SSE")
}

fn ratio(row: &Row, load: &str) -> Option<String> {
    let cell = cell(row, load)?;
    if cell.calls_per_second == 0.0 {
        return Some(format!("–{}", mark(cell)));
    }
    let digits = if cell.of_http_floor < 0.1 { 3 } else { 2 };
    Some(format!("{:.digits$}{}", cell.of_http_floor, mark(cell)))
}

fn cpu(row: &Row, load: &str) -> Option<String> {
    let cell = cell(row, load).filter(|cell| cell.calls_per_second > 0.0)?;
    let digits = usize::from(cell.server_cpu_us < 100.0);
    Some(format!("{:.digits$}", cell.server_cpu_us))
}

fn copies(row: &Row, load: &str) -> Option<String> {
    let cell = cell(row, load).filter(|cell| cell.calls_per_second > 0.0)?;
    Some(format!("{:.1}", cell.peak_copies))
}

fn mark(cell: &Cell) -> &'static str {
    match cell {
        cell if cell.wrong > 0 => " ✗",
        cell if cell.unanswered + cell.lost_progress > 0 => " …",
        cell if cell.failed > 0 || cell.missing > 0 => " !",
        _ => "",
    }
}

fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn megabytes(kib: u64) -> String {
    format!("{:.1}", kib as f64 * 1024.0 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, want) in [(7.0, "7"), (999.6, "1,000"), (1_234_567.0, "1,234,567")] {
            assert_eq!(thousands(number), want);
        }
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [["", "p50 µs"], ["a b", "1"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(
            markdown(&rows),
            "|     | p50 µs |\n|-----|-------:|\n| a b |      1 |\n"
        );
    }
}
