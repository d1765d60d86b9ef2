//! `call`: one tool call; its progress on a terminal, its result as text or as the server's own JSON.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;

use super::client::{Client, ClientError};
use super::target::{Target, nearest};
use super::tools::{elements, name, text, value};
use super::{CallArguments, output, status};
use crate::jsonrpc::{MAX_DEPTH, ScanError, scan};

/// How a call ended, as far as it was one.
enum Outcome {
    Result(Bytes),
    /// The server has no such tool; what it is to be told.
    Unknown(String),
    Failed(ClientError),
    Interrupted,
}

pub(super) fn call(arguments: CallArguments) -> ExitCode {
    let CallArguments {
        target,
        tool,
        arguments,
        json,
        timeout,
    } = arguments;
    let arguments = arguments.unwrap_or_else(|| "{}".to_owned());
    if let Err(complaint) = check_object(&arguments) {
        return output::fail(&complaint, status::USAGE);
    }
    let target = match target.resolve() {
        Ok(target) => target,
        Err((message, status)) => return output::fail(&message, status),
    };
    let outcome = match output::wait_for(run(target, &tool, &arguments, timeout)) {
        Ok(outcome) => outcome,
        Err(failed) => return failed,
    };
    match outcome {
        Outcome::Result(result) => print(&result, json),
        Outcome::Unknown(message) => output::fail(&message, status::FAILURE),
        Outcome::Failed(error) => output::fail(&error.to_string(), error.status()),
        Outcome::Interrupted => ExitCode::from(status::INTERRUPTED),
    }
}

async fn run(target: Target, tool: &str, arguments: &str, limit: Duration) -> Outcome {
    let key = target.key.as_ref().map(|key| key.expose());
    let mut client = match Client::connect(target.url, target.transport, key, limit).await {
        Ok(client) => client,
        Err(error) => return Outcome::Failed(error),
    };
    let shown = std::io::stderr().is_terminal();
    let mut progress = |params: &[u8]| {
        if shown {
            output::status_line(&progress_line(params));
        }
    };
    let called = tokio::select! {
        called = client.call(tool, arguments, &mut progress) => Some(called),
        _ = tokio::signal::ctrl_c() => None,
    };
    if shown {
        output::status_line("");
    }
    let outcome = match called {
        None => {
            client.cancel().await;
            Outcome::Interrupted
        }
        Some(Ok(result)) if !is_error(&result) => Outcome::Result(result),
        Some(called) => match (missing(&mut client, tool, &called).await, called) {
            (Some(message), _) => Outcome::Unknown(message),
            (None, Ok(result)) => Outcome::Result(result),
            (None, Err(error)) => Outcome::Failed(error),
        },
    };
    client.close().await;
    outcome
}

/// Whether the call failed because there is no such tool: asked only after a failure, and answered with the nearest name.
async fn missing(
    client: &mut Client,
    tool: &str,
    called: &Result<Bytes, ClientError>,
) -> Option<String> {
    if let Err(error) = called
        && !matches!(error, ClientError::Refused { .. })
    {
        return None;
    }
    let tools: Vec<String> = client
        .tools()
        .await
        .ok()?
        .iter()
        .map(|it| name(it))
        .collect();
    if tools.iter().any(|known| known == tool) {
        return None;
    }
    let cure = match nearest(tool, tools.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{}`?", output::plain(near)),
        None => "`mcp-bridged tools TARGET` lists what there is".to_owned(),
    };
    Some(format!("the server has no tool `{tool}`; {cure}"))
}

fn is_error(result: &[u8]) -> bool {
    value(result, "isError") == Some(b"true")
}

/// Whether `text` is a JSON object; if not, what is wrong and where.
fn check_object(text: &str) -> Result<(), String> {
    let wrong = match serde_json::from_str::<Box<serde_json::value::RawValue>>(text) {
        Ok(_) if text.trim_start().starts_with('{') => return check_scan(text),
        Ok(_) => "they are JSON, but no object".to_owned(),
        Err(error) => format!("{error}"),
    };
    Err(format!(
        "the tool's arguments must be a JSON object such as '{{\"message\": \"hi\"}}': {wrong}"
    ))
}

/// The bridge is stricter than other parsers; better to hear of it here, with the place.
fn check_scan(text: &str) -> Result<(), String> {
    let message = format!(r#"{{"jsonrpc":"2.0","method":"x","params":{{"arguments":{text}}}}}"#);
    match scan(message.as_bytes()) {
        Ok(_) => Ok(()),
        Err(ScanError::TooDeep { .. }) => Err(format!(
            "the tool's arguments are nested deeper than {MAX_DEPTH}"
        )),
        Err(error) => Err(format!("the tool's arguments can't be sent: {error}")),
    }
}

/// `3/10 the message`.
fn progress_line(params: &[u8]) -> String {
    let number = |key| value(params, key).map(String::from_utf8_lossy);
    let mut line = number("progress").unwrap_or_default().into_owned();
    if let Some(total) = number("total") {
        line.push('/');
        line.push_str(&total);
    }
    if let Some(message) = text(params, "message") {
        line.push(' ');
        line.push_str(&message);
    }
    output::plain(&line)
}

fn print(result: &[u8], json: bool) -> ExitCode {
    let failed = is_error(result);
    let code = match failed {
        true => ExitCode::from(status::FAILURE),
        false => ExitCode::SUCCESS,
    };
    if json {
        return output::answer(&String::from_utf8_lossy(result), code);
    }
    if failed {
        output::error(&output::for_stderr(&readable(result)));
        return code;
    }
    output::answer(&output::for_stdout(&readable(result)), code)
}

/// A result for people: texts as they are, other content described, the structured result when there is no text.
fn readable(result: &[u8]) -> String {
    let content = value(result, "content").unwrap_or_default();
    let mut parts = Vec::new();
    let mut has_text = false;
    for item in elements(content) {
        has_text |= text(item, "type").as_deref() == Some("text");
        parts.push(describe(item));
    }
    if !has_text && let Some(structured) = value(result, "structuredContent") {
        parts.push(output::pretty(structured));
    }
    if parts.is_empty() && value(result, "content").is_none() {
        // No tool's result of any known form: better shown than lost.
        parts.push(output::pretty(result));
    }
    parts.join("\n")
}

fn describe(item: &[u8]) -> String {
    let kind = text(item, "type").unwrap_or_default();
    let of = |object: &[u8], key| text(object, key).unwrap_or_else(|| "?".to_owned());
    match kind.as_str() {
        "text" => text(item, "text").unwrap_or_default(),
        "image" | "audio" => {
            let size = decoded_size(value(item, "data").unwrap_or_default());
            format!("[{kind}: {}, {size} bytes]", of(item, "mimeType"))
        }
        "resource_link" => format!("[link: {} ({})]", of(item, "uri"), of(item, "name")),
        "resource" => {
            let resource = value(item, "resource").unwrap_or_default();
            let uri = of(resource, "uri");
            match (text(resource, "text"), value(resource, "blob")) {
                (Some(text), _) => format!("[resource: {uri}]\n{text}"),
                (None, Some(blob)) => format!(
                    "[resource: {uri}, {}, {} bytes]",
                    of(resource, "mimeType"),
                    decoded_size(blob)
                ),
                (None, None) => format!("[resource: {uri}]"),
            }
        }
        _ => output::pretty(item),
    }
}

/// Bytes that a base64 text (with its quotes) stands for.
fn decoded_size(quoted: &[u8]) -> usize {
    let digits = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
    quoted.iter().filter(digits).count() * 3 / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_are_no_object_are_refused_with_the_place() {
        for good in ["{}", " {\"a\": 1e400, \"b\": \"\\ud800\"} "] {
            assert_eq!(check_object(good), Ok(()), "{good}");
        }
        for (bad, part) in [
            ("{\"a\": }", "line 1 column 7"),
            ("{\n\"a\": 1,\n}", "line 3 column 1"),
            ("", "line 1 column 0"),
            ("[1]", "no object"),
            ("message=hi", "line 1 column 1"),
            ("{} {}", "line 1 column 4"),
        ] {
            let complaint = check_object(bad).unwrap_err();
            assert!(complaint.contains(part), "{bad}: {complaint}");
        }
    }

    #[test]
    fn content_is_text_or_described() {
        for (result, shown) in [
            (
                r#"{"content":[{"type":"text","text":"a\nb"},{"type":"image","mimeType":"image/png","data":"AAAA\/w=="}],"structuredContent":{"a":1}}"#,
                "a\nb\n[image: image/png, 4 bytes]",
            ),
            (
                r#"{"content":[],"structuredContent":{"a":[1e400,12345678901234567890]}}"#,
                "{\n  \"a\": [\n    1e400,\n    12345678901234567890\n  ]\n}",
            ),
            (
                r#"{"content":[{"type":"resource","resource":{"uri":"x:y","text":"T"}},{"type":"resource_link","uri":"u:v","name":"n"}]}"#,
                "[resource: x:y]\nT\n[link: u:v (n)]",
            ),
            (r#"{"content":[]}"#, ""),
            (r#"{"task":1.0}"#, "{\n  \"task\": 1.0\n}"),
        ] {
            assert_eq!(readable(result.as_bytes()), shown, "{result}");
        }
    }

    #[test]
    fn progress_is_one_line() {
        for (params, line) in [
            (
                r#"{"progress":1,"total":3,"message":"one\r\n"}"#,
                "1/3 one\u{fffd}\u{fffd}",
            ),
            (r#"{"progress":0.5}"#, "0.5"),
        ] {
            assert_eq!(progress_line(params.as_bytes()), line);
        }
    }
}
