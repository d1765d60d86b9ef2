//! What `serve` and `run` print once every bridge has started or failed: what is where, and below it why something is not ready.

use super::output;
use crate::supervisor::Row;

/// The table, and one line for each bridge with a remark.
pub(super) fn start_table(rows: &[Row]) -> String {
    let head = ["BRIDGE", "STATE", "TOOLS", "SSE", "HTTP"];
    let mut cells = vec![head.map(str::to_owned).to_vec()];
    for row in rows {
        let url = |path: &str| match row.address {
            Some(address) => format!("http://{}{path}", output::seen(address)),
            None => "-".to_owned(),
        };
        let tools = row.tools.map(|tools| tools.to_string());
        cells.push(vec![
            row.bridge.clone(),
            row.state.to_owned(),
            tools.unwrap_or_else(|| "-".to_owned()),
            url("/sse"),
            url("/mcp"),
        ]);
    }
    let remarks: Vec<_> = rows
        .iter()
        .filter_map(|row| Some((row.bridge.as_str(), row.remark.clone()?)))
        .collect();
    output::table_with_remarks(&cells, &remarks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(bridge: &str, address: Option<&str>, tools: Option<usize>, remark: Option<&str>) -> Row {
        Row {
            bridge: bridge.to_owned(),
            state: if tools.is_some() { "ready" } else { "back-off" },
            remark: remark.map(str::to_owned),
            address: address.map(|address| address.parse().unwrap()),
            tools,
        }
    }

    #[test]
    fn remarks_stand_below_the_table() {
        let rows = [
            row("demo", Some("127.0.0.1:48001"), Some(5), None),
            row("git", Some("0.0.0.0:9"), None, Some("exited\nwith 1")),
            row("db", None, None, Some("no command")),
        ];
        let text = "\
BRIDGE  STATE     TOOLS  SSE                         HTTP
demo    ready     5      http://127.0.0.1:48001/sse  http://127.0.0.1:48001/mcp
git     back-off  -      http://127.0.0.1:9/sse      http://127.0.0.1:9/mcp
db      back-off  -      -                           -

  git: exited\u{fffd}with 1
  db: no command
";
        assert_eq!(start_table(&rows), text);
    }

    #[test]
    fn a_table_without_remarks_ends_with_its_last_row() {
        let text = start_table(&[row("a", Some("[::]:9"), Some(1), None)]);
        assert!(text.ends_with("http://[::1]:9/mcp\n"), "{text:?}");
        assert_eq!(text.lines().count(), 2);
    }
}
