//! What people and scripts read. A closed pipe or a full disk never ends the program: `println!` would.

use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use super::status;

/// How long the daemon waits for somebody to read what it says; a log reader that stalls must not keep it from starting or ending.
const PATIENCE: Duration = Duration::from_secs(1);

/// Writes `text` and a line end to stdout, where nobody waits for it.
pub(super) fn line(text: &str) {
    // Nobody is there to be told.
    let _lost = writeln!(io::stdout().lock(), "{text}");
}

/// Writes `text` and a line end to stdout; false when nobody reads it any more.
pub(super) fn line_or_end(text: &str) -> bool {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")
        .and_then(|()| stdout.flush())
        .is_ok()
}

/// Writes `text` where the last page stood on the terminal.
pub(super) fn page(text: &str) {
    let text = text.replace('\n', "\x1b[K\n");
    let mut stdout = io::stdout().lock();
    // Nobody is there to be told.
    let _lost = write!(stdout, "\x1b[H{text}\x1b[K\n\x1b[J").and_then(|()| stdout.flush());
}

/// Writes what a command was asked for and a line end to stdout. Gives back `code`, or, said why, [`status::SOFTWARE`] when
/// it could not be written; a reader that has closed its pipe wanted no more of it.
pub(super) fn answer(text: &str, code: ExitCode) -> ExitCode {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => fail(
            &format!("failed to write to stdout: {error}"),
            status::SOFTWARE,
        ),
        _ => code,
    }
}

/// Writes `text` and a line end to stderr.
pub(super) fn error(text: &str) {
    // Nobody is there to be told.
    let _lost = writeln!(io::stderr().lock(), "{text}");
}

/// Says on stderr what went wrong, and gives back the exit status.
pub(super) fn fail(message: &str, status: u8) -> ExitCode {
    error(&format!("error: {message}"));
    ExitCode::from(status)
}

/// Writes with `write`, and goes on after a second even if nobody reads: for the daemon's last words.
pub(super) fn patiently(write: impl FnOnce() + Send + 'static) {
    if let Some(written) = aside(write) {
        // Ends when it is written, or when the time is over.
        let _either = written.recv_timeout(PATIENCE);
    }
}

/// Writes with `write` on a thread of its own; what is given back ends when that is done.
pub(super) fn aside(write: impl FnOnce() + Send + 'static) -> Option<mpsc::Receiver<()>> {
    let (done, written) = mpsc::channel();
    let writer = std::thread::Builder::new().name("output".to_owned());
    let spawned = writer.spawn(move || {
        write();
        drop(done);
    });
    spawned.is_ok().then_some(written)
}

/// Replaces the last line of a terminal's stderr by `text`, cut to a usual width; empty takes it away.
pub(super) fn status_line(text: &str) {
    let text: String = text.chars().take(78).collect();
    let mut stderr = io::stderr().lock();
    // Nobody is there to be told.
    let _lost = write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush());
}

/// Runs `future` to its end on this thread.
///
/// # Errors
/// The exit status, said why, when the machine has no room for a runtime.
pub(super) fn wait_for<T>(future: impl Future<Output = T>) -> Result<T, ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            let message = format!("failed to start the runtime: {error}");
            fail(&message, status::SOFTWARE)
        })?;
    let outcome = runtime.block_on(future);
    // A name that is still being looked up would be waited for.
    runtime.shutdown_background();
    Ok(outcome)
}

/// An address that a client on this machine can use.
pub(super) fn seen(address: SocketAddr) -> SocketAddr {
    let mut seen = address;
    if address.ip().is_unspecified() {
        seen.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    seen
}

/// One line of a server's text without characters that steer a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// A server's text as it is, or on a terminal without what steers it.
pub(super) fn for_stdout(text: &str) -> String {
    harmless(text, io::stdout().is_terminal())
}

/// The same for stderr.
pub(super) fn for_stderr(text: &str) -> String {
    harmless(text, io::stderr().is_terminal())
}

fn harmless(text: &str, terminal: bool) -> String {
    if !terminal {
        return text.to_owned();
    }
    text.split('\n')
        .map(|line| {
            let columns: Vec<String> = line.trim_end_matches('\r').split('\t').map(plain).collect();
            columns.join("\t")
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// JSON text with line ends and indentation; every value as it was written.
pub(super) fn pretty(json: &[u8]) -> String {
    let text = String::from_utf8_lossy(json);
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0_usize;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                out.push(c);
                while let Some(c) = chars.next() {
                    out.push(c);
                    match c {
                        '\\' => out.extend(chars.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '{' | '[' => {
                out.push(c);
                while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
                if let Some(end) = chars.next_if(|c| matches!(c, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
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

/// A table, and below it an indented line for each remark on a row: a name and a text.
pub(super) fn table_with_remarks(rows: &[Vec<String>], remarks: &[(&str, String)]) -> String {
    let mut text = table(rows);
    for (number, (name, remark)) in remarks.iter().enumerate() {
        let gap = if number == 0 { "\n" } else { "" };
        text.push_str(&format!("{gap}  {name}: {}\n", plain(remark)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |cells: &[&str]| cells.iter().map(|&cell| cell.to_owned()).collect();
        let text = table(&[row(&["A", "B", "C"]), row(&["long é", "", "x"])]);
        assert_eq!(text, "A       B  C\nlong é     x\n");
    }

    #[test]
    fn pretty_json_keeps_every_value() {
        for (json, text) in [
            ("{}", "{}"),
            ("[ ]", "[]"),
            (
                r#"{ "a":[1.0,-0,1e400] ,"b":"x: {\"}\\","c":{"d":null}}"#,
                "{\n  \"a\": [\n    1.0,\n    -0,\n    1e400\n  ],\n  \"b\": \"x: {\\\"}\\\\\",\n  \"c\": {\n    \"d\": null\n  }\n}",
            ),
        ] {
            assert_eq!(pretty(json.as_bytes()), text);
        }
    }

    #[test]
    fn only_a_terminal_is_spared_escapes() {
        let text = "a\tb\r\n\x1b[2Jc";
        assert_eq!(harmless(text, false), text);
        assert_eq!(harmless(text, true), "a\tb\n\u{fffd}[2Jc");
    }

    #[test]
    fn a_writer_that_stalls_is_not_waited_for() {
        let (held, reader) = mpsc::channel::<()>();
        patiently(move || assert!(reader.recv().is_err()));
        drop(held);
    }
}
