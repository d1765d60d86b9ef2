//! What people and scripts read. A closed pipe or a full disk never ends the program: `println!` would.

use std::io::{self, Write};

/// Writes `text` and a line end to stdout.
pub(super) fn line(text: &str) {
    // Nobody is there to be told.
    let _lost = writeln!(io::stdout().lock(), "{text}");
}

/// Writes `text` and a line end to stderr.
pub(super) fn error(text: &str) {
    // Nobody is there to be told.
    let _lost = writeln!(io::stderr().lock(), "{text}");
}

/// Columns of text, each as wide as its widest cell; the first row is the head.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |cells: &[&str]| cells.iter().map(|&cell| cell.to_owned()).collect();
        let text = super::table(&[row(&["A", "B", "C"]), row(&["long é", "", "x"])]);
        assert_eq!(text, "A       B  C\nlong é     x\n");
    }
}
