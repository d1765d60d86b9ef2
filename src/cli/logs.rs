//! `logs`: what servers wrote to stderr and what happened to them, and what they write from now on.

use std::process::ExitCode;

use serde_json::Value;

use super::admin::{Admin, AdminError};
use super::target::nearest;
use super::{LogsArguments, clock, output, status};

/// Seconds that the daemon waits for a line before it says that there is none; a proxy between may not wait for ever.
const WAIT: u64 = 20;

pub(super) fn logs(arguments: LogsArguments) -> ExitCode {
    match output::wait_for(run(arguments)) {
        Ok(code) | Err(code) => code,
    }
}

async fn run(arguments: LogsArguments) -> ExitCode {
    let outcome = match arguments.admin.find() {
        Ok(admin) => follow(&admin, &arguments).await,
        Err(error) => Err(error),
    };
    outcome.unwrap_or_else(|error| error.fail())
}

async fn follow(admin: &Admin, arguments: &LogsArguments) -> Result<ExitCode, AdminError> {
    let base = match &arguments.bridge {
        Some(bridge) => format!("bridges/{bridge}/logs"),
        None => "logs".to_owned(),
    };
    let mut query = format!("last={}", arguments.lines);
    let mut width = 0;
    let mut begun = false;
    loop {
        let answer = admin.get(&format!("{base}?{query}")).await?;
        let (Some(lines), Some(last)) = (
            answer.body["lines"].as_array(),
            answer.body["last"].as_u64(),
        ) else {
            return match &arguments.bridge {
                Some(bridge) if answer.status == 404 => Ok(unknown(admin, bridge).await?),
                _ => Err(admin.strange(&answer)),
            };
        };
        if lines.is_empty() && arguments.lines > 0 && !begun {
            output::error(&format!("note: {}", silence(admin, arguments).await?));
        }
        begun = true;
        if answer.body["cut"] == true {
            output::error("… lines were dropped: there were too many at once");
        }
        // Grows, so that a follower's columns stay where they are.
        let names = lines.iter().filter_map(|line| line["bridge"].as_str());
        width = names.map(str::len).max().unwrap_or(0).max(width);
        for line in lines {
            let text = match arguments.json {
                true => line.to_string(),
                false => shown(line, arguments.bridge.is_none().then_some(width)),
            };
            if !output::line_or_end(&text) {
                return Ok(ExitCode::SUCCESS);
            }
        }
        if !arguments.follow {
            return Ok(ExitCode::SUCCESS);
        }
        query = format!("after={last}&wait={WAIT}");
    }
}

/// What shows more of a bridge's server than there is room for.
pub(super) fn more_about(bridge: &str) -> String {
    format!("`mcp-bridged logs {bridge}` tells more")
}

/// Why there is no line.
async fn silence(admin: &Admin, arguments: &LogsArguments) -> Result<String, AdminError> {
    let Some(bridge) = &arguments.bridge else {
        return Ok("nothing has been logged yet".to_owned());
    };
    let facts = admin.get(&format!("bridges/{bridge}")).await?.body;
    let state = facts["state"].as_str().map(|state| match &facts["reason"] {
        Value::String(reason) => format!("; it is {state}: {}", output::plain(reason)),
        _ => format!("; it is {state}"),
    });
    Ok(format!(
        "nothing has been logged about `{bridge}` yet{}",
        state.unwrap_or_default()
    ))
}

/// Says which bridges there are.
pub(super) async fn unknown(admin: &Admin, bridge: &str) -> Result<ExitCode, AdminError> {
    let answer = admin.get("bridges").await?;
    let bridges = answer.body["bridges"].as_array();
    let names: Vec<&str> = bridges
        .into_iter()
        .flatten()
        .filter_map(|it| it["bridge"].as_str())
        .collect();
    let cure = match nearest(bridge, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("it has {}", names.join(", ")),
    };
    let message = format!(
        "the daemon has no bridge `{}`; {cure}",
        output::plain(bridge)
    );
    Ok(output::fail(&message, status::USAGE))
}

/// `2026-11-28T11:52:32Z  db  stderr  listening on stdio`, the name in a column of some width, or no name where only one bridge
/// is asked for.
fn shown(line: &Value, named: Option<usize>) -> String {
    let text = |key: &str| line[key].as_str().unwrap_or_default();
    let time = clock::rfc3339(line["time_ms"].as_u64().unwrap_or_default() / 1000);
    let source = match text("source") {
        "server" => "stderr",
        _ => text("level"),
    };
    let name = match (named, text("bridge")) {
        (None, _) => String::new(),
        (Some(width), "") => format!("{:width$}  ", "-"),
        (Some(width), name) => format!("{name:width$}  "),
    };
    format!(
        "{time}  {name}{source:6}  {}",
        output::for_stdout(text("text"))
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_say_when_who_and_what() {
        let line = |bridge, level, source, text| json!({"number": 1, "time_ms": 1_000_999, "bridge": bridge, "level": level, "source": source, "text": text});
        for (line, named, expected) in [
            (
                line("db", "info", "server", "up"),
                None,
                "1970-01-01T00:16:40Z  stderr  up",
            ),
            (
                line("db", "warn", "bridge", "server exited"),
                Some(3),
                "1970-01-01T00:16:40Z  db   warn    server exited",
            ),
            (
                line("", "info", "bridge", "reloaded"),
                Some(1),
                "1970-01-01T00:16:40Z  -  info    reloaded",
            ),
        ] {
            assert_eq!(shown(&line, named), expected);
        }
    }
}
