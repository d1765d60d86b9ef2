//! `restart` and `reload`: what the daemon is told to do, and what came of it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::admin::{Admin, AdminError};
use super::target::GATEWAY;
use super::{ReloadArguments, RestartArguments, clock, logs, output, status};

/// How often a bridge is looked at while its server starts.
const GLANCE: Duration = Duration::from_millis(100);
/// How long a port may be taken after a reload: the daemon tries it again at once, and then seconds later.
const FREED: Duration = Duration::from_millis(500);
/// Lines of a server's last words.
const LAST_WORDS: usize = 10;

/// How a start ended.
#[derive(Debug, PartialEq)]
enum Start {
    Ready {
        after: Duration,
        pid: Option<u64>,
        tools: Option<u64>,
    },
    Failed {
        reason: String,
        said: Vec<String>,
    },
    /// Not within the time.
    Late {
        state: String,
    },
}

pub(super) fn restart(arguments: RestartArguments) -> ExitCode {
    match output::wait_for(run(&arguments)) {
        Ok(Ok(code)) | Err(code) => code,
        Ok(Err(error)) => error.fail(),
    }
}

async fn run(arguments: &RestartArguments) -> Result<ExitCode, AdminError> {
    let admin = arguments.admin.find()?;
    let mut worst = ExitCode::SUCCESS;
    for bridge in &arguments.bridges {
        let begun = Instant::now();
        let before = admin.get(&format!("bridges/{bridge}")).await?;
        if before.status == 404 && bridge == GATEWAY {
            let message = "the gateway is no server that could be restarted, but a part of the daemon: `mcp-bridged reload` applies \
                           its changed section, and `mcp-bridged restart BRIDGE` restarts a server behind it";
            worst = output::fail(message, status::USAGE);
            continue;
        }
        if before.status == 404 {
            worst = logs::unknown(&admin, bridge).await?;
            continue;
        }
        if before.body["state"] == "unavailable" {
            let cure = before.body["reason"].as_str().unwrap_or_default();
            let message = format!("{bridge} is unavailable: {}", output::plain(cure));
            worst = output::fail(&message, status::FAILURE);
            continue;
        }
        let answer = admin.post(&format!("bridges/{bridge}/restart")).await?;
        let Some(generation) = answer.body["generation"].as_u64() else {
            return Err(admin.strange(&answer));
        };
        if arguments.no_wait {
            output::line(&format!("{bridge}: restarting"));
            continue;
        }
        let start = await_start(&admin, bridge, generation, begun, arguments.timeout).await?;
        if !said(bridge, &start, begun) {
            worst = ExitCode::from(status::FAILURE);
        }
    }
    Ok(worst)
}

pub(super) fn reload(arguments: ReloadArguments) -> ExitCode {
    match output::wait_for(run_reload(&arguments)) {
        Ok(Ok(code)) | Err(code) => code,
        Ok(Err(error)) => error.fail(),
    }
}

async fn run_reload(arguments: &ReloadArguments) -> Result<ExitCode, AdminError> {
    let admin = arguments.admin.find()?;
    let begun = Instant::now();
    let answer = admin.post("reload").await?;
    let outcome = &answer.body;
    match outcome["reloaded"].as_bool() {
        Some(true) => {}
        Some(false) if outcome["stopping"] == true => {
            return Ok(output::fail("the daemon is stopping", status::UNAVAILABLE));
        }
        Some(false) => {
            let code = ExitCode::from(status::CONFIG);
            if arguments.json {
                return Ok(output::answer(&outcome.to_string(), code));
            }
            for problem in messages(&outcome["errors"]) {
                output::error(problem);
            }
            output::error("error: reload refused: the old configuration stays in force");
            return Ok(code);
        }
        None => return Err(admin.strange(&answer)),
    }
    for warning in messages(&outcome["warnings"]) {
        output::error(&format!("warning: {warning}"));
    }
    let changes = outcome["changes"].as_array().map_or(&[][..], Vec::as_slice);
    if arguments.json {
        return Ok(output::answer(&outcome.to_string(), ExitCode::SUCCESS));
    }
    if changes.is_empty() {
        return Ok(output::answer("nothing has changed", ExitCode::SUCCESS));
    }
    let width = changes.iter().map(|it| word(it, "change").len()).max();
    for change in changes {
        let width = width.unwrap_or(0);
        output::line(&format!(
            "{:width$}  {}",
            word(change, "change"),
            word(change, "name")
        ));
    }
    if arguments.no_wait {
        return Ok(ExitCode::SUCCESS);
    }
    let mut code = ExitCode::SUCCESS;
    for reason in without_port(&admin, changes).await? {
        output::error(&format!("error: {reason}"));
        code = ExitCode::from(status::FAILURE);
    }
    for change in changes {
        let (name, generation) = (word(change, "name"), change["generation"].as_u64());
        let starts = generation.is_some() || word(change, "change") == "added";
        // Remote servers and sections aren't bridges.
        let path = format!("bridges/{name}");
        if !starts || admin.get(&path).await?.status == 404 {
            continue;
        }
        let generation = generation.unwrap_or(0);
        let start = await_start(&admin, name, generation, begun, arguments.timeout).await?;
        if !said(name, &start, begun) {
            code = ExitCode::from(status::FAILURE);
        }
    }
    Ok(code)
}

/// Why listeners among the changed ones can't have their ports. One that this very reload frees is waited for.
async fn without_port(admin: &Admin, changes: &[Value]) -> Result<Vec<String>, AdminError> {
    let until = Instant::now() + FREED;
    loop {
        let facts = admin.get("status").await?.body;
        let portless = facts["portless"].as_array().into_iter().flatten();
        let changed = |name: &str| changes.iter().any(|change| word(change, "name") == name);
        let reasons = portless.filter(|it| changed(word(it, "name")));
        let reasons: Vec<String> = reasons
            .map(|it| output::plain(word(it, "reason")))
            .collect();
        if reasons.is_empty() || Instant::now() >= until {
            return Ok(reasons);
        }
        tokio::time::sleep(GLANCE).await;
    }
}

/// Waits until the bridge has started a server after the one of `generation`, or has failed to.
async fn await_start(
    admin: &Admin,
    bridge: &str,
    generation: u64,
    begun: Instant,
    limit: Duration,
) -> Result<Start, AdminError> {
    loop {
        let facts = admin.get(&format!("bridges/{bridge}")).await?.body;
        let elapsed = begun.elapsed();
        if let Some(start) = outcome(&facts, generation, elapsed) {
            return Ok(start);
        }
        if elapsed >= limit {
            let state = word(&facts, "state").to_owned();
            return Ok(Start::Late { state });
        }
        tokio::time::sleep(GLANCE).await;
    }
}

/// What a bridge's facts say of a start that was ordered `elapsed` ago; nothing as long as it goes on.
fn outcome(facts: &Value, generation: u64, elapsed: Duration) -> Option<Start> {
    let is_new = facts["generation"].as_u64() > Some(generation);
    let exit = &facts["last_exit"];
    let recent = |millis: &Value| {
        millis
            .as_u64()
            .is_some_and(|millis| Duration::from_millis(millis) <= elapsed)
    };
    let span = |key: &str| Duration::from_millis(facts[key].as_u64().unwrap_or_default());
    match word(facts, "state") {
        "ready" if is_new => Some(Start::Ready {
            // It may have been ready for a while when its turn to be looked at came.
            after: elapsed.saturating_sub(span("since_ms")),
            pid: facts["pid"].as_u64(),
            tools: facts["tools"].as_u64(),
        }),
        "unavailable" => Some(Start::Failed {
            reason: word(facts, "reason").to_owned(),
            said: Vec::new(),
        }),
        // A command that can't be started counts as no new server.
        "backoff" | "quarantined" | "stopped" if is_new || recent(&exit["ago_ms"]) => {
            let lines = exit["stderr"].as_array();
            let lines = lines.map_or(&[][..], |lines| {
                &lines[lines.len().saturating_sub(LAST_WORDS)..]
            });
            let reason = exit["reason"].as_str().unwrap_or("it stopped");
            Some(Start::Failed {
                // A command that can't be started has its cure, and no more in the logs.
                reason: match lines.is_empty() && is_new {
                    true => format!("{reason}; {}", logs::more_about(word(facts, "bridge"))),
                    false => reason.to_owned(),
                },
                said: lines
                    .iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect(),
            })
        }
        _ => None,
    }
}

/// Tells it; whether it went well.
fn said(bridge: &str, start: &Start, begun: Instant) -> bool {
    match start {
        Start::Ready { after, pid, tools } => {
            let mut facts = vec![format!("after {}", clock::span(*after))];
            facts.extend(pid.map(|pid| format!("pid {pid}")));
            facts.extend(tools.map(|tools| format!("{tools} tools")));
            output::line(&format!("{bridge}: ready ({})", facts.join(", ")));
            true
        }
        Start::Failed { reason, said } => {
            output::error(&format!("error: {bridge}: {}", output::plain(reason)));
            for line in said {
                output::error(&format!("  {}", output::plain(line)));
            }
            false
        }
        Start::Late { state } => {
            let time = clock::span(begun.elapsed());
            let more = logs::more_about(bridge);
            output::error(&format!(
                "error: {bridge}: still {state} after {time}; {more}"
            ));
            false
        }
    }
}

fn word<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

fn messages(problems: &Value) -> impl Iterator<Item = &str> {
    let problems = problems.as_array().into_iter().flatten();
    problems.filter_map(|problem| problem["message"].as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_start_ends_when_the_next_server_is_ready_or_has_failed() {
        let check = |facts: Value, expected: Option<Start>| {
            let found = outcome(&facts, 3, Duration::from_secs(1));
            assert_eq!(found, expected, "{facts}");
        };
        let failed = |reason: &str, said: &[&str]| {
            let said = said.iter().map(|&line| line.to_owned()).collect();
            Some(Start::Failed {
                reason: reason.to_owned(),
                said,
            })
        };
        let ready = |after| {
            Some(Start::Ready {
                after: Duration::from_millis(after),
                pid: Some(7),
                tools: None,
            })
        };
        let exit =
            |ago: u64| json!({"reason": "exit code 1", "ago_ms": ago, "stderr": ["no", "way"]});
        check(json!({"state": "ready", "generation": 3, "pid": 6}), None);
        check(json!({"state": "draining", "generation": 3}), None);
        check(
            json!({"state": "starting", "generation": 4, "pid": 7}),
            None,
        );
        check(
            json!({"state": "ready", "generation": 4, "pid": 7}),
            ready(1_000),
        );
        // It was looked at late.
        check(
            json!({"state": "ready", "generation": 4, "pid": 7, "since_ms": 900}),
            ready(100),
        );
        let mute = json!({"reason": "no answer", "ago_ms": 1, "stderr": []});
        check(
            json!({"state": "backoff", "generation": 3, "bridge": "db", "last_exit": mute}),
            failed("no answer", &[]),
        );
        check(
            json!({"state": "backoff", "generation": 4, "bridge": "db", "last_exit": mute}),
            failed("no answer; `mcp-bridged logs db` tells more", &[]),
        );
        check(
            json!({"state": "backoff", "generation": 3, "last_exit": exit(2_000)}),
            None,
        );
        let said = failed("exit code 1", &["no", "way"]);
        check(
            json!({"state": "backoff", "generation": 3, "last_exit": exit(500)}),
            said,
        );
        let said = failed("exit code 1", &["no", "way"]);
        check(
            json!({"state": "quarantined", "generation": 4, "last_exit": exit(500)}),
            said,
        );
        check(
            json!({"state": "unavailable", "generation": 0, "reason": "set X"}),
            failed("set X", &[]),
        );
    }
}
