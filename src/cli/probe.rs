//! `probe`: what an operator does by hand after an installation, as steps that pass or fail.

mod report;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::call::content::readable;
use super::call::{check_object, is_error};
use super::client::{Client, Transport};
use super::target::Target;
use super::tools::{name, value};
use super::{ProbeArguments, output, status};
use report::{Report, Step};

/// Characters of a result in a step's line; the log has more.
const SHOWN: usize = 100;

/// What every target is tried with.
#[derive(Debug)]
struct Trial {
    call: Option<(String, String)>,
    expect: Vec<String>,
    limit: Duration,
}

pub(super) fn probe(arguments: ProbeArguments) -> ExitCode {
    if let Err(complaint) = check_object(&arguments.args) {
        return output::fail(&complaint, status::USAGE);
    }
    let mut report = match Report::new(arguments.log.as_deref(), arguments.json) {
        Ok(report) => report,
        Err(message) => return output::fail(&message, status::USAGE),
    };
    let trial = Trial {
        call: arguments.call.map(|tool| (tool, arguments.args)),
        expect: arguments.expect,
        limit: arguments.timeout,
    };
    let all = async {
        for name in &arguments.targets {
            report.begin(name);
            match Target::of(name, arguments.config.clone(), arguments.key.clone()) {
                Ok(target) => try_target(target, &trial, &mut report).await,
                Err((message, _)) => report.step(Step::failed("target", None, &message)),
            }
        }
    };
    match output::wait_for(all) {
        Ok(()) => report.end(),
        Err(failed) => failed,
    }
}

async fn try_target(target: Target, trial: &Trial, report: &mut Report) {
    let path = target.url.path().trim_end_matches('/');
    if ["/live", "/health", "/ready"]
        .iter()
        .any(|end| path.ends_with(end))
    {
        return ask(target, trial.limit, report).await;
    }
    let transport = match target.transport {
        Transport::Sse => "HTTP+SSE",
        Transport::Streamable => "Streamable HTTP",
    };
    let begun = Instant::now();
    let key = target.key.as_ref().map(|key| key.expose());
    let connected = Client::connect(target.url, target.transport, key, trial.limit).await;
    let mut client = match connected {
        Ok(client) => client,
        Err(error) => {
            return report.step(Step::failed("initialize", Some(begun), &error.to_string()));
        }
    };
    let peer = output::plain(client.peer());
    report.step(Step::passed(
        "initialize",
        begun,
        &format!("{transport}, {peer}"),
    ));
    list(&mut client, &trial.expect, report).await;
    if let Some((tool, arguments)) = &trial.call {
        call(&mut client, tool, arguments, report).await;
    }
    client.close().await;
}

async fn list(client: &mut Client, expect: &[String], report: &mut Report) {
    let begun = Instant::now();
    let tools = match client.tools().await {
        Ok(tools) => tools,
        Err(error) => {
            return report.step(Step::failed("tools/list", Some(begun), &error.to_string()));
        }
    };
    let names: Vec<String> = tools
        .iter()
        .map(|tool| output::plain(&name(tool)))
        .collect();
    let flaw = tools.iter().find_map(|tool| {
        let has_schema = value(tool, "inputSchema").is_some_and(|schema| schema.starts_with(b"{"));
        match (name(tool).is_empty(), has_schema) {
            (true, _) => Some("a tool has no name".to_owned()),
            (false, false) => Some(format!(
                "the tool {} has no schema",
                output::plain(&name(tool))
            )),
            (false, true) => None,
        }
    });
    let missing: Vec<_> = expect
        .iter()
        .filter(|tool| !names.contains(tool))
        .cloned()
        .collect();
    let step = if names.is_empty() {
        Step::failed("tools/list", Some(begun), "the catalogue is empty")
    } else if let Some(flaw) = flaw {
        Step::failed("tools/list", Some(begun), &flaw)
    } else if !missing.is_empty() {
        let what = format!("{} tools, without {}", names.len(), missing.join(", "));
        Step::failed("tools/list", Some(begun), &what)
    } else {
        let what = format!("{} tools: {}", names.len(), names.join(", "));
        Step::passed("tools/list", begun, &cut(&what))
    };
    report.step(step.with_details(names));
}

async fn call(client: &mut Client, tool: &str, arguments: &str, report: &mut Report) {
    let begun = Instant::now();
    let step = match client.call(tool, arguments, &mut |_| {}).await {
        Err(error) => Step::failed("tools/call", Some(begun), &format!("{tool}: {error}")),
        Ok(result) => {
            let text = readable(&result, false, None);
            let first = text.lines().find(|line| !line.trim().is_empty());
            let what = format!(
                "{tool}: {}",
                cut(&output::plain(first.unwrap_or("no content")))
            );
            let lines = text.lines().map(output::plain).collect();
            match is_error(&result) {
                true => Step::failed("tools/call", Some(begun), &what),
                false => Step::passed("tools/call", begun, &what),
            }
            .with_details(lines)
        }
    };
    report.step(step);
}

/// A probe of ours, or of whatever has one at that path.
async fn ask(target: Target, limit: Duration, report: &mut Report) {
    let begun = Instant::now();
    let step = match super::client::status_of(target.url, limit).await {
        Ok(status) if status.is_success() => Step::passed("GET", begun, &status.to_string()),
        Ok(status) => Step::failed("GET", Some(begun), &status.to_string()),
        Err(error) => Step::failed("GET", Some(begun), &error.to_string()),
    };
    report.step(step);
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
