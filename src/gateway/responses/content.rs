//! Content of the Responses API in the chat API's words: text, images, files.

use serde_json::{Map, Value, json};

use crate::gateway::openai::ApiError;

/// The content of a message of the user or the system: a text where it is nothing but text, because not every provider
/// takes parts; else a list of parts.
///
/// # Errors
/// 400 for a part that can't be given to a chat model, at `place`.
pub(super) fn message(content: &Value, place: &str) -> Result<Value, ApiError> {
    let parts = match content {
        Value::Null => return Ok("".into()),
        Value::String(_) => return Ok(content.clone()),
        Value::Array(parts) => parts,
        _ => {
            return Err(ApiError::invalid(
                place,
                format!("`{place}` has to be a string or a list of parts"),
            ));
        }
    };
    let mut chat = Vec::with_capacity(parts.len());
    for (n, each) in parts.iter().enumerate() {
        chat.push(part(each, &format!("{place}[{n}]"))?);
    }
    let texts: Option<Vec<&str>> = chat.iter().map(plain_text).collect();
    Ok(match texts {
        Some(texts) => texts.join("\n").into(),
        None => chat.into(),
    })
}

/// The content and the refusal of a message of the assistant.
///
/// # Errors
/// 400 for a part that an assistant doesn't say.
pub(super) fn reply(content: &Value, place: &str) -> Result<(Value, Option<String>), ApiError> {
    let parts = match content {
        Value::Null | Value::String(_) => return Ok((content.clone(), None)),
        Value::Array(parts) => parts,
        _ => {
            return Err(ApiError::invalid(
                place,
                format!("`{place}` has to be a string or a list of parts"),
            ));
        }
    };
    let (mut text, mut refusal) = (None::<String>, None::<String>);
    for (n, part) in parts.iter().enumerate() {
        let (target, piece) = match kind(part) {
            "output_text" | "text" | "input_text" => (&mut text, part.get("text")),
            "refusal" => (&mut refusal, part.get("refusal")),
            other => return Err(unknown(other, &format!("{place}[{n}]"))),
        };
        let piece = piece.and_then(Value::as_str).unwrap_or_default();
        target.get_or_insert_default().push_str(piece);
    }
    Ok((text.map_or(Value::Null, Value::String), refusal))
}

/// The output of a call: its text, and its images, which a `tool` message can't have.
///
/// # Errors
/// 400 for a part that can't be given to a chat model.
pub(super) fn output(output: &Value, place: &str) -> Result<(String, Vec<Value>), ApiError> {
    let parts = match output {
        Value::Null => return Ok((String::new(), Vec::new())),
        Value::String(text) => return Ok((text.clone(), Vec::new())),
        Value::Array(parts) => parts,
        other => return Ok((other.to_string(), Vec::new())),
    };
    let (mut texts, mut others) = (Vec::new(), Vec::new());
    for (n, each) in parts.iter().enumerate() {
        let part = part(each, &format!("{place}[{n}]"))?;
        if part["type"] == "text" {
            texts.push(part["text"].as_str().unwrap_or_default().to_owned());
        } else {
            others.push(part);
        }
    }
    if texts.is_empty() && !others.is_empty() {
        texts.push("(the output follows in the next message)".to_owned());
    }
    Ok((texts.join("\n"), others))
}

fn part(part: &Value, place: &str) -> Result<Value, ApiError> {
    if let Value::String(text) = part {
        return Ok(json!({ "type": "text", "text": text }));
    }
    let missing = |member: &str, cure: &str| {
        let place = format!("{place}.{member}");
        ApiError::invalid(&place, format!("`{place}` is missing; {cure}"))
    };
    match kind(part) {
        "input_text" | "text" | "output_text" | "summary_text" => {
            let text = part.get("text").and_then(Value::as_str);
            let text = text.ok_or_else(|| missing("text", "it has to be a string"))?;
            let mut chat = others(part, &["type", "text", "annotations", "logprobs"]);
            chat.insert("type".into(), "text".into());
            chat.insert("text".into(), text.into());
            Ok(Value::Object(chat))
        }
        "refusal" => Ok(json!({ "type": "text", "text": part.get("refusal") })),
        "input_image" => {
            let mut image = match part.get("image_url") {
                Some(Value::String(url)) => {
                    Map::from_iter([("url".to_owned(), url.as_str().into())])
                }
                Some(Value::Object(image)) => image.clone(),
                _ => {
                    let cure =
                        "files are not kept here, so send the image as an `https:` or `data:` URL";
                    return Err(missing("image_url", cure));
                }
            };
            if let Some(detail) = part.get("detail").filter(|detail| detail.is_string()) {
                image.insert("detail".into(), detail.clone());
            }
            Ok(json!({ "type": "image_url", "image_url": image }))
        }
        "input_file" => {
            let file = ["file_data", "file_id", "filename"]
                .into_iter()
                .filter_map(|member| Some((member, part.get(member)?)))
                .filter(|(_, value)| value.is_string());
            let file: Map<String, Value> = file
                .map(|(member, value)| (member.to_owned(), value.clone()))
                .collect();
            if !file.contains_key("file_data") && !file.contains_key("file_id") {
                let cure =
                    "chat models read no `file_url`, so send the file itself as a `data:` URL";
                return Err(missing("file_data", cure));
            }
            Ok(json!({ "type": "file", "file": file }))
        }
        // Chat's own parts; audio is the same in both.
        "image_url" | "file" | "input_audio" | "video_url" => Ok(part.clone()),
        other => Err(unknown(other, place)),
    }
}

fn unknown(kind: &str, place: &str) -> ApiError {
    let place = format!("{place}.type");
    ApiError::invalid(
        &place,
        format!(
            "`{place}` is {kind:?}, which a chat model can't be given; \
             use `input_text`, `input_image`, `input_file`, `output_text` or `refusal`"
        ),
    )
}

/// The text of a part that is a text and nothing more.
fn plain_text(part: &Value) -> Option<&str> {
    let part = part.as_object()?;
    match (part.len(), part.get("type")?.as_str()?) {
        (2, "text") => part.get("text")?.as_str(),
        _ => None,
    }
}

/// The `type` of a part or an item; empty when it has none.
pub(super) fn kind(value: &Value) -> &str {
    value
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The members of an object that are not `known`.
pub(super) fn others(value: &Value, known: &[&str]) -> Map<String, Value> {
    let members = value.as_object().into_iter().flatten();
    members
        .filter(|(name, value)| !known.contains(&name.as_str()) && !value.is_null())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content: Value, expected: Value) {
        assert_eq!(message(&content, "input[0].content").unwrap(), expected);
    }

    #[test]
    fn text_stays_text_and_images_become_parts() {
        check(json!("hi"), json!("hi"));
        check(json!([]), json!(""));
        check(json!([{ "type": "input_text", "text": "hi" }]), json!("hi"));
        check(
            json!([{ "type": "text", "text": "a" }, { "type": "input_text", "text": "b" }]),
            json!("a\nb"),
        );
        let marked =
            json!({ "type": "text", "text": "a", "cache_control": { "type": "ephemeral" } });
        let mut chat = others(&marked, &["type", "text"]);
        chat.insert("type".into(), "text".into());
        chat.insert("text".into(), "a".into());
        check(json!([marked]), json!([chat]));
        check(
            json!([
                { "type": "input_text", "text": "what is this?" },
                { "type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "high" },
                { "type": "input_image", "image_url": { "url": "https://x/y.png" } },
                { "type": "input_file", "file_data": "data:,x", "filename": "x.txt" },
                { "type": "image_url", "image_url": { "url": "https://x/z.png" } },
            ]),
            json!([
                { "type": "text", "text": "what is this?" },
                { "type": "image_url", "image_url": { "url": "data:image/png;base64,AA==", "detail": "high" } },
                { "type": "image_url", "image_url": { "url": "https://x/y.png" } },
                { "type": "file", "file": { "file_data": "data:,x", "filename": "x.txt" } },
                { "type": "image_url", "image_url": { "url": "https://x/z.png" } },
            ]),
        );
    }

    #[test]
    fn a_part_that_no_chat_model_reads_is_named() {
        for (part, param) in [
            (json!({ "type": "hologram" }), "input[0].content[0].type"),
            (json!({ "type": "input_text" }), "input[0].content[0].text"),
            (
                json!({ "type": "input_image", "file_id": "file-1" }),
                "input[0].content[0].image_url",
            ),
            (
                json!({ "type": "input_file", "file_url": "https://x/y" }),
                "input[0].content[0].file_data",
            ),
        ] {
            let error = message(&json!([part]), "input[0].content").unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param), "{error}");
        }
        let error = message(&json!(1), "input[0].content").unwrap_err();
        assert_eq!(error.param.as_deref(), Some("input[0].content"));
    }

    #[test]
    fn an_assistant_speaks_or_refuses() {
        let content = json!([
            { "type": "output_text", "text": "I ", "annotations": [] },
            { "type": "output_text", "text": "can" },
            { "type": "refusal", "refusal": "not" },
        ]);
        assert_eq!(
            reply(&content, "p").unwrap(),
            (json!("I can"), Some("not".to_owned()))
        );
        assert_eq!(reply(&json!("x"), "p").unwrap(), (json!("x"), None));
        assert!(reply(&json!([{ "type": "input_image" }]), "p").is_err());
    }

    #[test]
    fn images_of_an_output_are_apart_from_its_text() {
        let image = json!({ "type": "input_image", "image_url": "data:,", "detail": "high" });
        let (text, images) = output(
            &json!([{ "type": "input_text", "text": "a" }, { "type": "input_text", "text": "b" }, image]),
            "p",
        )
        .unwrap();
        assert_eq!(text, "a\nb");
        assert_eq!(images[0]["image_url"]["detail"], "high");
        for (value, expected) in [
            (json!("x"), "x"),
            (Value::Null, ""),
            (json!({ "a": 1 }), "{\"a\":1}"),
        ] {
            assert_eq!(output(&value, "p").unwrap().0, expected);
        }
    }
}
