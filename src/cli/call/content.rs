//! A result for people: texts as they are or as tables, images as files, other content described.

use super::super::output;
use super::super::tools::{elements, text, value};
use super::files::Files;
use super::table::table;

/// The whole result; with `tables`, JSON that is a list of objects becomes one. Without `files` nothing is saved.
pub(in crate::cli) fn readable(result: &[u8], tables: bool, files: Option<&Files>) -> String {
    let content = value(result, "content").unwrap_or_default();
    let mut parts = Vec::new();
    let mut has_text = false;
    for item in elements(content) {
        has_text |= text(item, "type").as_deref() == Some("text");
        parts.push(describe(item, tables, files));
    }
    if !has_text && let Some(structured) = value(result, "structuredContent") {
        parts.push(pretty(structured, tables));
    }
    if parts.is_empty() && value(result, "content").is_none() {
        // No tool's result of any known form: better shown than lost.
        parts.push(output::pretty(result));
    }
    parts.join("\n")
}

fn describe(item: &[u8], tables: bool, files: Option<&Files>) -> String {
    let kind = text(item, "type").unwrap_or_default();
    let of = |object: &[u8], key| text(object, key).unwrap_or_else(|| "?".to_owned());
    match kind.as_str() {
        "text" => {
            let text = text(item, "text").unwrap_or_default();
            match tables.then(|| table(text.as_bytes())).flatten() {
                Some(table) => table,
                None => text,
            }
        }
        "image" | "audio" => {
            let data = text(item, "data").unwrap_or_default();
            bytes(&kind, &of(item, "mimeType"), &data, files)
        }
        "resource_link" => format!("[link: {} ({})]", of(item, "uri"), of(item, "name")),
        "resource" => {
            let resource = value(item, "resource").unwrap_or_default();
            let uri = of(resource, "uri");
            match (text(resource, "text"), text(resource, "blob")) {
                (Some(text), _) => format!("[resource: {uri}]\n{text}"),
                (None, Some(blob)) => {
                    let kind = format!("resource: {uri}");
                    bytes(&kind, &of(resource, "mimeType"), &blob, files)
                }
                (None, None) => format!("[resource: {uri}]"),
            }
        }
        _ => output::pretty(item),
    }
}

/// Bytes, saved where there is a place for them.
fn bytes(kind: &str, mime_type: &str, data: &str, files: Option<&Files>) -> String {
    match files {
        Some(files) => files.describe(kind, mime_type, data),
        None => format!("[{kind}: {mime_type}]"),
    }
}

fn pretty(json: &[u8], tables: bool) -> String {
    let table = tables.then(|| table(json)).flatten();
    table.unwrap_or_else(|| output::pretty(json))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_text_described_or_saved() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().display().to_string();
        for (result, shown) in [
            (
                r#"{"content":[{"type":"text","text":"a\nb"},{"type":"image","mimeType":"image/png","data":"AAAA\/w=="}],"structuredContent":{"a":1}}"#,
                format!("a\nb\n[image: image/png, 4 bytes, saved as {folder}/tool.png]"),
            ),
            (
                r#"{"content":[{"type":"image","mimeType":"image/png","data":"AAAA"},{"type":"audio","mimeType":"x/y","data":"?"}]}"#,
                format!(
                    "[image: image/png, 3 bytes, saved as {folder}/tool-2.png]\n[audio: x/y, no base64]"
                ),
            ),
            (
                r#"{"content":[],"structuredContent":{"a":[1e400,12345678901234567890]}}"#,
                "{\n  \"a\": [\n    1e400,\n    12345678901234567890\n  ]\n}".to_owned(),
            ),
            (
                r#"{"content":[{"type":"resource","resource":{"uri":"x:y","text":"T"}},{"type":"resource_link","uri":"u:v","name":"n"}]}"#,
                "[resource: x:y]\nT\n[link: u:v (n)]".to_owned(),
            ),
            (r#"{"content":[]}"#, String::new()),
            (r#"{"task":1.0}"#, "{\n  \"task\": 1.0\n}".to_owned()),
        ] {
            let files = Files::new(Some(directory.path().to_owned()), "tool");
            assert_eq!(
                readable(result.as_bytes(), false, Some(&files)),
                shown,
                "{result}"
            );
        }
        let saved = std::fs::read(directory.path().join("tool.png")).unwrap();
        assert_eq!(saved, [0, 0, 0, 0xff]);
    }

    #[test]
    fn json_becomes_a_table_where_it_is_wanted() {
        let result = br#"{"content":[{"type":"text","text":"[{\"a\":1}]"}]}"#;
        assert_eq!(readable(result, true, None), "a\n1");
        assert_eq!(readable(result, false, None), "[{\"a\":1}]");
    }
}
