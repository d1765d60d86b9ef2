//! `call`: one tool call; its progress on a terminal, its result as text, tables and files or as the server's own JSON.

pub(super) mod content;
mod files;
mod table;

use std::cell::RefCell;
use std::io::IsTerminal;
use std::pin::pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::client::{Client, ClientError};
use super::target::{Target, nearest};
use super::tools::{name, text, value};
use super::{CallArguments, clock, output, status};
use crate::jsonrpc::{MAX_DEPTH, ScanError, scan};

/// Characters of a bar of progress.
const BAR: usize = 20;

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
        table,
        save,
        timeout,
    } = arguments;
    let arguments = match arguments.as_deref() {
        Some("-") => match std::io::read_to_string(std::io::stdin()) {
            Ok(text) => text,
            Err(error) => {
                let message = format!("failed to read the arguments from stdin: {error}");
                return output::fail(&message, status::USAGE);
            }
        },
        Some(text) => text.to_owned(),
        None => "{}".to_owned(),
    };
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
        Outcome::Result(result) if json => {
            output::answer(&String::from_utf8_lossy(&result), code(&result))
        }
        Outcome::Result(result) => {
            let tables = table || std::io::stdout().is_terminal();
            let files = files::Files::new(save, &tool);
            let text = content::readable(&result, tables, Some(&files));
            if is_error(&result) {
                output::error(&output::for_stderr(&text));
                return code(&result);
            }
            output::answer(&output::for_stdout(&text), code(&result))
        }
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
    let called = watched(&mut client, tool, arguments).await;
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

/// Calls the tool and shows on a terminal how it goes; nothing when the user gave up.
async fn watched(
    client: &mut Client,
    tool: &str,
    arguments: &str,
) -> Option<Result<Bytes, ClientError>> {
    let begun = Instant::now();
    let is_shown = std::io::stderr().is_terminal();
    let last = RefCell::new(String::new());
    let show = || {
        if is_shown {
            let time = clock::span(Duration::from_secs(begun.elapsed().as_secs().max(1)));
            output::status_line(&format!("{time}  {}", last.borrow()));
        }
    };
    let mut progress = |params: &[u8]| {
        *last.borrow_mut() = progress_line(params);
        show();
    };
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.reset();
    let mut call = pin!(client.call(tool, arguments, &mut progress));
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    let called = loop {
        tokio::select! {
            called = &mut call => break Some(called),
            _ = tick.tick() => show(),
            _ = &mut interrupted => break None,
        }
    };
    if is_shown {
        output::status_line("");
    }
    called
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

pub(super) fn is_error(result: &[u8]) -> bool {
    value(result, "isError") == Some(b"true")
}

/// Whether `text` is a JSON object; if not, what is wrong and where.
pub(super) fn check_object(text: &str) -> Result<(), String> {
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

/// `[######              ] 3/10 the message`; no bar where nobody knows how much it will be.
fn progress_line(params: &[u8]) -> String {
    let number = |key| value(params, key).map(String::from_utf8_lossy);
    let float = |key| number(key).and_then(|text| text.parse::<f64>().ok());
    let mut line = String::new();
    if let (Some(done), Some(total)) = (float("progress"), float("total"))
        && total > 0.0
    {
        let share = (done / total).clamp(0.0, 1.0);
        let full = (0..BAR)
            .filter(|at| (*at as f64) < share * BAR as f64)
            .count();
        line = format!("[{}{}] ", "#".repeat(full), " ".repeat(BAR - full));
    }
    line.push_str(&number("progress").unwrap_or_default());
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

fn code(result: &[u8]) -> ExitCode {
    match is_error(result) {
        true => ExitCode::from(status::FAILURE),
        false => ExitCode::SUCCESS,
    }
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
    fn progress_is_one_line() {
        for (params, line) in [
            (
                r#"{"progress":1,"total":3,"message":"one\r\n"}"#,
                "[#######             ] 1/3 one\u{fffd}\u{fffd}",
            ),
            (r#"{"progress":0.5}"#, "0.5"),
        ] {
            assert_eq!(progress_line(params.as_bytes()), line);
        }
    }
}
