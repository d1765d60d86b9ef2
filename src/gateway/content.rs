//! A tool's result in the form that a model gets it.
//!
//! The chat API's tool messages are texts. So texts are joined; what isn't a text leaves a line that says what it was, and
//! pictures follow in a message of the user's after all tool messages of the turn, the only place that has parts for them.
//! Base64 never stands as text. `structuredContent` repeats the texts as JSON, so it counts only without them
//! (MCP 2025-11-25, Server Features, Tools § Structured Content).

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::execute::{Called, Failure};

/// Types of pictures that models take.
const SHOWN: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];
/// Base64 characters of all pictures that one turn shows; those beyond are only named.
const PICTURES: usize = 32 << 20;

/// A tool's result for a model.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Content {
    /// The text of the tool message.
    pub(crate) text: String,
    /// What it can't say.
    pub(crate) pictures: Vec<Picture>,
}

/// An image of a tool's result.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Picture {
    /// What the text calls it: `image 1`.
    pub(crate) name: String,
    mime: String,
    /// Base64, as it came.
    data: String,
}

/// What a model gets of a call: its text has at most `max_result` bytes, apart from the note of how much was cut.
pub(crate) fn of(called: &Called, max_result: usize) -> Content {
    let mut content = match &called.result {
        Ok(result) => of_result(result),
        Err(failure) => Content {
            text: failure_in_words(failure),
            pictures: Vec::new(),
        },
    };
    if called.result.is_ok() && called.is_error() {
        content.text.insert_str(0, "The tool reports an error:\n");
    }
    cut(&mut content.text, max_result);
    content
}

/// The message that shows the pictures of a turn's calls, given with each call's tool; none when there are none.
pub(crate) fn show<'a>(results: impl Iterator<Item = (&'a str, &'a [Picture])>) -> Option<Value> {
    let mut parts = Vec::new();
    let mut room = PICTURES;
    for (tool, pictures) in results {
        for picture in pictures {
            let Some(left) = room.checked_sub(picture.data.len()) else {
                continue;
            };
            room = left;
            let Picture { name, mime, data } = picture;
            parts.push(
                json!({ "type": "text", "text": format!("{name} of the result of `{tool}`:") }),
            );
            let url = format!("data:{mime};base64,{data}");
            parts.push(json!({ "type": "image_url", "image_url": { "url": url } }));
        }
    }
    (!parts.is_empty()).then(|| json!({ "role": "user", "content": parts }))
}

fn of_result(result: &Value) -> Content {
    let mut reading = Reading::default();
    let parts = result.get("content").and_then(Value::as_array);
    for part in parts.into_iter().flatten() {
        reading.part(part);
    }
    let structured = result
        .get("structuredContent")
        .filter(|value| !value.is_null());
    if let Some(structured) = structured.filter(|_| !reading.has_text) {
        reading.lines.insert(0, structured.to_string());
    }
    let mut text = reading.lines.join("\n");
    // some providers refuse an empty message
    if text.is_empty() {
        "[the tool returned nothing]".clone_into(&mut text);
    }
    Content {
        text,
        pictures: reading.pictures,
    }
}

#[derive(Default)]
struct Reading {
    lines: Vec<String>,
    has_text: bool,
    pictures: Vec<Picture>,
    images: usize,
    sounds: usize,
}

impl Reading {
    fn part(&mut self, part: &Value) {
        let data = text(part, "data");
        match text(part, "type") {
            "text" => {
                self.has_text = true;
                self.lines.push(text(part, "text").to_owned());
            }
            "image" => self.image(text(part, "mimeType"), data, ""),
            "audio" => {
                self.sounds += 1;
                let line = named(&format!("audio {}", self.sounds), part, data, "");
                self.lines.push(line);
            }
            "resource" => self.resource(part.get("resource").unwrap_or(&Value::Null)),
            "resource_link" => {
                let size = part.get("size").and_then(Value::as_u64);
                let mut line = format!("[resource link {}", text(part, "uri"));
                for member in ["name", "mimeType"] {
                    if !text(part, member).is_empty() {
                        let _ = write!(line, ", {}", text(part, member));
                    }
                }
                if let Some(size) = size {
                    let _ = write!(line, ", {}", in_words(size));
                }
                line.push(']');
                if !text(part, "description").is_empty() {
                    let _ = write!(line, " {}", text(part, "description"));
                }
                self.lines.push(line);
            }
            other => self.lines.push(format!("[content of type {other:?}]")),
        }
    }

    fn image(&mut self, mime: &str, data: &str, uri: &str) {
        self.images += 1;
        let name = format!("image {}", self.images);
        let line = named(&name, &json!({ "mimeType": mime }), data, uri);
        self.lines.push(line);
        if SHOWN.contains(&mime) && !data.is_empty() {
            self.pictures.push(Picture {
                name,
                mime: mime.to_owned(),
                data: data.to_owned(),
            });
        }
    }

    fn resource(&mut self, resource: &Value) {
        let (uri, mime) = (text(resource, "uri"), text(resource, "mimeType"));
        match resource.get("text").and_then(Value::as_str) {
            Some(text) => {
                self.has_text = true;
                self.lines.push(format!("[resource {uri}]\n{text}"));
            }
            None if mime.starts_with("image/") => self.image(mime, text(resource, "blob"), uri),
            None => {
                let blob = text(resource, "blob");
                self.lines
                    .push(named(&format!("resource {uri}"), resource, blob, ""));
            }
        }
    }
}

fn failure_in_words(failure: &Failure) -> String {
    match failure {
        Failure::Arguments(why) => format!(
            "The tool was not called: its arguments are no JSON object ({why}). Call it again with corrected arguments."
        ),
        Failure::TimedOut(after) => {
            format!(
                "The tool gave no result within {after:?}; the call was given up. It may still have had an effect."
            )
        }
        Failure::Error(why) => format!("The call failed: {why}"),
    }
}

/// Cuts `text` at a character's boundary and says so.
fn cut(text: &mut String, max_result: usize) {
    let whole = text.len();
    if whole > max_result {
        text.truncate(text.floor_char_boundary(max_result));
        let left_out = whole - text.len();
        let _ = write!(text, "\n[cut: {left_out} of {whole} bytes are left out]");
    }
}

fn named(name: &str, part: &Value, base64: &str, uri: &str) -> String {
    let mime = match text(part, "mimeType") {
        "" => "of unknown type",
        mime => mime,
    };
    let mut line = format!("[{name}: {mime}, {}", in_words(decoded(base64)));
    if !uri.is_empty() {
        let _ = write!(line, ", {uri}");
    }
    line.push(']');
    line
}

/// Bytes that this base64 stands for.
fn decoded(base64: &str) -> u64 {
    let characters = base64.trim_end_matches('=').len() as u64;
    characters * 3 / 4
}

fn in_words(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..0x10_0000 => format!("{} KB", bytes.div_ceil(1024)),
        _ => format!("{} MB", bytes.div_ceil(0x10_0000)),
    }
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value
        .get(member)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn content(result: Result<Value, Failure>) -> Content {
        let called = Called { result };
        of(&called, 1000)
    }

    fn check(result: Value, expected: &str) {
        let content = content(Ok(result));
        assert_eq!(content.text, expected);
        assert_eq!(content.pictures, []);
    }

    #[test]
    fn texts_are_joined_and_structure_counts_only_without_them() {
        let texts = json!([{ "type": "text", "text": "a" }, { "type": "text", "text": "b\n" }]);
        check(
            json!({ "content": texts, "structuredContent": { "x": 1 } }),
            "a\nb\n",
        );
        check(
            json!({ "content": [], "structuredContent": { "x": [1, "ü"] } }),
            "{\"x\":[1,\"ü\"]}",
        );
        check(json!({ "content": [] }), "[the tool returned nothing]");
        check(json!({}), "[the tool returned nothing]");
        check(
            json!({ "content": [{ "type": "text", "text": "" }] }),
            "[the tool returned nothing]",
        );
    }

    #[test]
    fn failures_are_told_in_words() {
        check(
            json!({ "content": [{ "type": "text", "text": "no such table" }], "isError": true }),
            "The tool reports an error:\nno such table",
        );
        let told = |failure| content(Err(failure)).text;
        assert!(told(Failure::Arguments("line 1".to_owned())).contains("(line 1)"));
        assert!(told(Failure::TimedOut(Duration::from_secs(60))).contains("within 60s"));
        assert_eq!(
            told(Failure::Error("gone".to_owned())),
            "The call failed: gone"
        );
    }

    #[test]
    fn what_is_no_text_leaves_a_line_and_never_base64() {
        check(
            json!({ "content": [
                { "type": "audio", "mimeType": "audio/wav", "data": "AAAA" },
                { "type": "image", "mimeType": "image/svg+xml", "data": "AAA=" },
                { "type": "resource", "resource": { "uri": "file:///a", "mimeType": "application/pdf", "blob": "AAAAAA==" } },
                { "type": "resource", "resource": { "uri": "file:///b.txt", "text": "B" } },
                { "type": "resource_link", "uri": "file:///c", "name": "c", "mimeType": "text/plain", "size": 3000, "description": "The third." },
                { "type": "resource_link", "uri": "file:///d" },
                { "type": "video", "data": "AAAA" },
            ] }),
            "[audio 1: audio/wav, 3 bytes]\n[image 1: image/svg+xml, 2 bytes]\n\
             [resource file:///a: application/pdf, 4 bytes]\n[resource file:///b.txt]\nB\n\
             [resource link file:///c, c, text/plain, 3 KB] The third.\n[resource link file:///d]\n\
             [content of type \"video\"]",
        );
    }

    #[test]
    fn pictures_are_shown_in_a_message_of_their_own() {
        let data = "A".repeat(16_384);
        let content = content(Ok(json!({ "content": [
            { "type": "image", "mimeType": "image/png", "data": data },
            { "type": "resource", "resource": { "uri": "file:///b.gif", "mimeType": "image/gif", "blob": "AAAA" } },
        ], "structuredContent": { "n": 2 } })));
        assert_eq!(
            content.text,
            "{\"n\":2}\n[image 1: image/png, 12 KB]\n[image 2: image/gif, 3 bytes, file:///b.gif]"
        );
        let message = show([("demo-draw", &content.pictures[..]), ("other", &[])].into_iter());
        assert_eq!(
            message,
            Some(json!({ "role": "user", "content": [
                { "type": "text", "text": "image 1 of the result of `demo-draw`:" },
                { "type": "image_url", "image_url": { "url": format!("data:image/png;base64,{data}") } },
                { "type": "text", "text": "image 2 of the result of `demo-draw`:" },
                { "type": "image_url", "image_url": { "url": "data:image/gif;base64,AAAA" } },
            ] }))
        );
        assert_eq!(show([("other", &[][..])].into_iter()), None);
    }

    #[test]
    fn a_long_result_is_cut_at_a_characters_boundary() {
        let mut text = "aüb".to_owned();
        cut(&mut text, 4);
        assert_eq!(text, "aüb");
        cut(&mut text, 2);
        assert_eq!(text, "a\n[cut: 3 of 4 bytes are left out]");
    }
}
