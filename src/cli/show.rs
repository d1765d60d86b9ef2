//! `status`: what runs, as a table that may refresh itself.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::admin::{Admin, AdminArguments, AdminError};
use super::{StatusArguments, clock, output, status};

/// Characters of how a server ended in the table; what is below it, and `--json`, has all of it.
const REASON: usize = 40;

/// What to type next when servers are down.
const NEXT: &str =
    "\n  `mcp-bridged logs NAME` tells more; `mcp-bridged restart NAME` tries it at once\n";

pub(super) fn show(arguments: StatusArguments) -> ExitCode {
    match output::wait_for(run(arguments)) {
        Ok(code) | Err(code) => code,
    }
}

async fn run(arguments: StatusArguments) -> ExitCode {
    let StatusArguments { admin, watch, json } = arguments;
    let Some(every) = watch else {
        return match ask(&admin).await {
            Ok(facts) => {
                let code = match is_well(&facts) {
                    true => ExitCode::SUCCESS,
                    false => ExitCode::from(status::FAILURE),
                };
                output::answer(&shown(&facts, json), code)
            }
            Err(error) => error.fail(),
        };
    };
    loop {
        let (text, gone) = match ask(&admin).await {
            Ok(facts) => (shown(&facts, json), None),
            // It may be on its way back; what it can't become is another one.
            Err(
                error @ (AdminError::Nobody { .. }
                | AdminError::NoFile
                | AdminError::NobodyAt(_)
                | AdminError::Lost { .. }),
            ) => (String::new(), Some(error.to_string())),
            Err(error) => return error.fail(),
        };
        let page = std::io::stdout().is_terminal() && !json;
        if page {
            let text = gone.as_ref().unwrap_or(&text);
            output::page(&format!("{}\n\n{text}", clock::now()));
        } else if let Some(gone) = &gone {
            output::error(gone);
        } else if !output::line_or_end(&text) {
            return ExitCode::SUCCESS;
        }
        tokio::time::sleep(every).await;
    }
}

/// Looks for the daemon anew each time: the one that is there now may be another.
async fn ask(admin: &AdminArguments) -> Result<Value, AdminError> {
    let admin: Admin = admin.find()?;
    let answer = admin.get("status").await?;
    match answer.body["bridges"].is_array() {
        true => Ok(answer.body),
        false => Err(admin.strange(&answer)),
    }
}

fn shown(facts: &Value, json: bool) -> String {
    match json {
        true => facts.to_string(),
        false => table(facts).trim_end().to_owned(),
    }
}

/// Whether every bridge that should run does, as `/health` of the admin listener has it.
fn is_well(facts: &Value) -> bool {
    let bridges = facts["bridges"].as_array();
    let run = bridges.into_iter().flatten().all(|bridge| {
        // The first ping that is missed proves nothing yet; `/health` says 200, too, and gives no reason.
        bridge["reason"].is_null() || bridge["state"] == "unavailable"
    });
    run && facts["portless"].as_array().is_none_or(Vec::is_empty)
}

fn table(facts: &Value) -> String {
    let daemon = &facts["daemon"];
    let mut text = format!(
        "mcp-bridged {}, pid {}, up {}",
        word(&daemon["version"]),
        word(&daemon["pid"]),
        ago(&daemon["uptime_ms"])
    );
    if let Some(file) = daemon["config"].as_str() {
        text.push_str(&format!(", {file}"));
    }
    let head = [
        "BRIDGE",
        "STATE",
        "SINCE",
        "PID",
        "RESTARTS",
        "SESSIONS",
        "IN FLIGHT",
        "TOOLS",
        "LAST EXIT",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut remarks = Vec::new();
    for bridge in facts["bridges"].as_array().into_iter().flatten() {
        let name = bridge["bridge"].as_str().unwrap_or_default();
        if let Some(reason) = bridge["reason"].as_str() {
            remarks.push((name, remark(bridge, reason)));
        }
        rows.push(row(bridge, name));
    }
    let gateway = &facts["gateway"];
    if gateway.is_object() {
        let mut row: Vec<_> = head.iter().map(|_| "-".to_owned()).collect();
        row[0] = "gateway".to_owned();
        row[1] = match gateway["urls"].is_object() {
            true => "ready".to_owned(),
            false => "no port".to_owned(),
        };
        row[7] = word(&gateway["tools"]);
        rows.push(row);
        if let Some(absent) = gateway["absent"].as_str() {
            remarks.push(("gateway", absent.to_owned()));
        }
    }
    // A reload could not have them; no server is at fault.
    for listener in facts["portless"].as_array().into_iter().flatten() {
        let (name, reason) = (&listener["name"], &listener["reason"]);
        if let (Some(name), Some(reason)) = (name.as_str(), reason.as_str()) {
            remarks.push((name, reason.to_owned()));
        }
    }
    let mut table = output::table_with_remarks(&rows, &remarks);
    let bridges = facts["bridges"].as_array();
    if bridges.into_iter().flatten().any(is_down) {
        table.push_str(NEXT);
    }
    format!("{text}\n\n{table}")
}

/// Whether its server can't be kept running.
fn is_down(bridge: &Value) -> bool {
    match bridge["state"].as_str() {
        Some("backoff" | "quarantined" | "stopped") => true,
        // Not for the first time.
        Some("starting") => !bridge["last_exit"].is_null(),
        _ => false,
    }
}

fn row(bridge: &Value, name: &str) -> Vec<String> {
    let instances = bridge["instances"].as_array().map_or(0, Vec::len);
    let mut pid = word(&bridge["pid"]);
    if instances > 0 {
        pid.push_str(&format!(" +{instances}"));
    }
    let exit = &bridge["last_exit"];
    let exit = match exit["reason"].as_str() {
        Some(reason) => format!("{} ago: {}", ago(&exit["ago_ms"]), in_short(reason)),
        None => "-".to_owned(),
    };
    let state = match bridge["state"] == "ready" && bridge["urls"].is_null() {
        true => "no port".to_owned(),
        false => word(&bridge["state"]),
    };
    vec![
        name.to_owned(),
        state,
        ago(&bridge["since_ms"]),
        pid,
        word(&bridge["restarts"]),
        word(&bridge["sessions"]),
        word(&bridge["in_flight"]),
        word(&bridge["tools"]),
        exit,
    ]
}

/// So much of a reason as a table has room for.
fn in_short(reason: &str) -> String {
    let reason = output::plain(reason);
    match reason.char_indices().nth(REASON) {
        Some((end, _)) => format!("{}…", &reason[..end]),
        None => reason,
    }
}

/// Why it is not ready, when it will be tried again, and what it said last.
fn remark(bridge: &Value, reason: &str) -> String {
    let mut remark = reason.to_owned();
    if bridge["next_start_ms"].is_u64() {
        remark.push_str(&format!(
            "; next start in {}",
            ago(&bridge["next_start_ms"])
        ));
    }
    let said = bridge["last_exit"]["stderr"].as_array();
    let said = said.and_then(|lines| lines.last()).and_then(Value::as_str);
    let logged = bridge["last_line"].as_str();
    if bridge["state"] == "unavailable" {
        return remark;
    }
    // One that starts has written what the one before it had no time for.
    let fresh = logged.filter(|_| bridge["state"] == "starting");
    if let Some(last) = fresh.or(said).or(logged) {
        remark.push_str(&format!("; it said: {last}"));
    }
    remark
}

/// A text or a number as it is, nothing as a dash.
fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => output::plain(text),
        other => other.to_string(),
    }
}

fn ago(millis: &Value) -> String {
    match millis.as_u64() {
        Some(millis) => clock::span(Duration::from_millis(millis)),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn facts() -> Value {
        json!({
            "daemon": {"version": "1.2.3", "pid": 7, "uptime_ms": 61_000, "config": "/etc/b.yaml"},
            "bridges": [
                {"bridge": "db", "state": "ready", "urls": {}, "since_ms": 2_000, "pid": 8, "restarts": 1, "sessions": 2, "in_flight": 3,
                 "tools": 4, "instances": [{"state": "ready", "pid": 9}], "reason": null,
                 "last_exit": {"reason": "signal 9 (SIGKILL)", "ago_ms": 3_000, "stderr": ["x"]}},
                {"bridge": "git", "state": "backoff", "since_ms": 100, "pid": null, "restarts": 0, "sessions": 0, "in_flight": 0,
                 "tools": null, "instances": [], "reason": "exit code 1", "next_start_ms": 400,
                 "last_exit": {"reason": "exit code 1", "ago_ms": 100, "stderr": ["a", "no repository"]}},
            ],
            "gateway": {"urls": {}, "tools": 4, "absent": null},
        })
    }

    #[test]
    fn the_table_has_everything_of_interest() {
        let expected = "\
mcp-bridged 1.2.3, pid 7, up 1m 1s, /etc/b.yaml

BRIDGE   STATE    SINCE  PID   RESTARTS  SESSIONS  IN FLIGHT  TOOLS  LAST EXIT
db       ready    2s     8 +1  1         2         3          4      3s ago: signal 9 (SIGKILL)
git      backoff  100ms  -     0         0         0          -      100ms ago: exit code 1
gateway  ready    -      -     -         -         -          4      -

  git: exit code 1; next start in 400ms; it said: no repository

  `mcp-bridged logs NAME` tells more; `mcp-bridged restart NAME` tries it at once
";
        assert_eq!(table(&facts()), expected);
    }

    #[test]
    fn a_remark_has_what_the_server_wrote_last() {
        let said = |state: &str, stderr: Value, line: Value| {
            let bridge =
                json!({"state": state, "last_exit": {"stderr": stderr}, "last_line": line});
            remark(&bridge, "why")
        };
        for (state, stderr, line, expected) in [
            ("backoff", json!(["a", "b"]), json!("c"), "why; it said: b"),
            ("backoff", json!([]), json!("c"), "why; it said: c"),
            ("starting", json!(["a"]), json!("c"), "why; it said: c"),
            ("starting", json!(null), json!(null), "why"),
            ("unavailable", json!(["a"]), json!("c"), "why"),
        ] {
            assert_eq!(said(state, stderr, line), expected, "{state}");
        }
    }

    #[test]
    fn a_long_reason_keeps_the_table_narrow() {
        let exit = json!({"reason": "é".repeat(100), "ago_ms": 1_000});
        let row = row(&json!({"last_exit": exit}), "a");
        assert_eq!(row[8], format!("1s ago: {}…", "é".repeat(REASON)));
    }

    #[test]
    fn a_bridge_without_a_port_is_not_ready() {
        let mut facts = facts();
        facts["bridges"][1] = facts["bridges"][0].take();
        facts["bridges"][0] = facts["bridges"][1].clone();
        assert!(is_well(&facts));
        facts["bridges"][0]["urls"] = json!(null);
        facts["portless"] = json!([{"name": "db", "reason": "cannot listen on 1.2.3.4:5"}]);
        assert!(!is_well(&facts));
        let table = table(&facts);
        assert!(table.contains("\ndb       no port  "), "{table}");
        assert!(
            table.ends_with("\n  db: cannot listen on 1.2.3.4:5\n"),
            "{table}"
        );
    }

    #[test]
    fn only_what_is_meant_to_run_counts() {
        let mut facts = facts();
        assert!(!is_well(&facts));
        facts["bridges"][1]["state"] = json!("unavailable");
        assert!(is_well(&facts));
        facts["bridges"][0]["reason"] = json!("the bridge is draining");
        assert!(!is_well(&facts));
    }
}
