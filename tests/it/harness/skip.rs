//! A test that can't be done here passes, and says so: to who reads its output, and to `tests/run`, which counts them at its end.

use std::fs::File;
use std::io::Write;

/// Says why this test is skipped. The file that `MCP_TEST_SKIPS` names gets a line: the reason, a tab, the test's name.
pub(crate) fn skipped(reason: &str) {
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    {
        eprintln!("skipped: {reason}");
    }
    let Some(file) = std::env::var_os("MCP_TEST_SKIPS") else {
        return;
    };
    let thread = std::thread::current();
    let line = format!("{reason}\t{}\n", thread.name().unwrap_or_default());
    let file = File::options().append(true).create(true).open(file);
    // in one piece, as others write there at the same time
    file.unwrap().write_all(line.as_bytes()).unwrap();
}
