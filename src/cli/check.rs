//! `check`: reads a configuration and looks for its commands; starts nothing.

use std::process::ExitCode;

use serde_json::json;

use super::{CheckArguments, output, status};
use crate::config::{Config, Environment, Loaded};

pub(super) fn check(arguments: CheckArguments) -> ExitCode {
    let path = arguments.config.path();
    let Loaded { config, warnings } = match Config::load(&path, &Environment::of_process()) {
        Ok(loaded) => loaded,
        Err(problems) => {
            output::error(&problems.to_string());
            let invalid = ExitCode::from(status::CONFIG);
            if !arguments.json {
                return invalid;
            }
            let errors: Vec<String> = problems.iter().map(ToString::to_string).collect();
            let text = json!({ "valid": false, "errors": errors }).to_string();
            return output::answer(&text, invalid);
        }
    };
    for warning in &warnings {
        output::error(&format!("warning: {warning}"));
    }
    let bridges: Vec<_> = config
        .bridges
        .iter()
        .map(|bridge| (bridge, bridge.command.resolve()))
        .collect();
    if arguments.json {
        let bridges: Vec<_> = bridges
            .iter()
            .map(|(bridge, found)| {
                json!({
                    "bridge": bridge.name,
                    "listen": bridge.listen.to_string(),
                    "command": found.as_ref().ok().map(|path| path.to_string_lossy()),
                    "error": found.as_ref().err().map(ToString::to_string),
                    "unavailable": bridge.unavailable,
                })
            })
            .collect();
        let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        let text = json!({ "valid": true, "bridges": bridges, "warnings": warnings }).to_string();
        return output::answer(&text, ExitCode::SUCCESS);
    }
    let mut rows = vec![["BRIDGE", "LISTEN", "COMMAND"].map(str::to_owned).to_vec()];
    let mut remarks = Vec::new();
    for (bridge, found) in &bridges {
        let command = match (&bridge.unavailable, found) {
            (Some(cure), _) => {
                remarks.push((bridge.name.as_str(), cure.clone()));
                "unavailable".to_owned()
            }
            (None, Ok(path)) => path.display().to_string(),
            (None, Err(error)) => {
                remarks.push((bridge.name.as_str(), error.to_string()));
                "not there".to_owned()
            }
        };
        rows.push(vec![
            bridge.name.clone(),
            bridge.listen.to_string(),
            command,
        ]);
    }
    let text = format!(
        "{} is valid\n\n{}",
        path.display(),
        output::table_with_remarks(&rows, &remarks).trim_end()
    );
    output::answer(&text, ExitCode::SUCCESS)
}
