//! JSON that is a list of objects, as a table; every value as the server wrote it.

use super::super::output;
use super::super::tools::elements;
use crate::jsonrpc::{members, string_value};

/// Characters of a cell.
const CELL: usize = 60;

/// The table, if `json` is a list of objects, or an object that holds nothing but one.
pub(super) fn table(json: &[u8]) -> Option<String> {
    serde_json::from_slice::<serde::de::IgnoredAny>(json).ok()?;
    let json = json.trim_ascii();
    let list = match json.first()? {
        b'[' => json,
        b'{' => {
            let [(_, only)] = &members(json)[..] else {
                return None;
            };
            only.of(json)
        }
        _ => return None,
    };
    if list.first() != Some(&b'[') {
        return None;
    }
    let mut head: Vec<String> = Vec::new();
    let mut rows = Vec::new();
    for element in elements(list) {
        if element.first() != Some(&b'{') {
            return None;
        }
        let mut row: Vec<String> = Vec::new();
        for (name, span) in members(element) {
            let name = output::plain(&String::from_utf8_lossy(&name));
            let column = head.iter().position(|known| *known == name);
            let column = column.unwrap_or_else(|| {
                head.push(name);
                head.len() - 1
            });
            row.resize(row.len().max(column + 1), String::new());
            row[column] = cell(span.of(element));
        }
        rows.push(row);
    }
    if rows.is_empty() || head.is_empty() {
        return None;
    }
    rows.insert(0, head);
    Some(output::table(&rows).trim_end().to_owned())
}

/// A text without quotes, anything else as JSON, on one line and no wider than a cell.
fn cell(json: &[u8]) -> String {
    let text = match string_value(json) {
        Some(text) => text.into_owned(),
        None => String::from_utf8_lossy(json).into_owned(),
    };
    let text = output::plain(&text);
    match text.char_indices().nth(CELL) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_objects_are_tables_and_nothing_else_is() {
        for (json, expected) in [
            (
                r#"[{"name":"a\nb","n":1e400},{"n":12345678901234567890,"more":{"x":[1]},"z":null}]"#,
                Some(
                    "name  n                     more       z\na\u{fffd}b   1e400\n      12345678901234567890  {\"x\":[1]}  null",
                ),
            ),
            (r#" {"result": [{"a":true}]} "#, Some("a\ntrue")),
            ("[]", None),
            ("[{}]", None),
            ("[1,{}]", None),
            (r#"{"a":[{"b":1}],"c":2}"#, None),
            ("[{\"a\":1}] tail", None),
            ("plain text", None),
            ("", None),
        ] {
            assert_eq!(table(json.as_bytes()).as_deref(), expected, "{json}");
        }
        let long = format!(r#"[{{"a":"{}"}}]"#, "x".repeat(70));
        assert_eq!(
            table(long.as_bytes())
                .unwrap()
                .lines()
                .nth(1)
                .unwrap()
                .chars()
                .count(),
            CELL + 1
        );
    }
}
