//! `check`: reads a configuration and looks for its commands; starts nothing.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{CheckArguments, output, status};
use crate::config::{Config, Environment, Gateway, Loaded, Remote, RemoteTransport};

pub(super) fn check(arguments: CheckArguments) -> ExitCode {
    let invalid = |errors: &[String]| {
        let code = ExitCode::from(status::CONFIG);
        if !arguments.json {
            return code;
        }
        let text = json!({ "valid": false, "errors": errors }).to_string();
        output::answer(&text, code)
    };
    let path = match arguments.config.found() {
        Ok(path) => path,
        Err(message) => {
            output::error(&format!("error: {message}"));
            return invalid(&[message]);
        }
    };
    let Loaded { config, warnings } = match Config::load(&path, &Environment::of_process()) {
        Ok(loaded) => loaded,
        Err(problems) => {
            output::error(&problems.to_string());
            let errors: Vec<String> = problems.iter().map(ToString::to_string).collect();
            return invalid(&errors);
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
        let text = json!({
            "valid": true,
            "bridges": bridges,
            "remotes": config.remotes.iter().map(remote_as_json).collect::<Vec<_>>(),
            "gateway": config.gateway.as_ref().map(gateway_as_json),
            "warnings": warnings,
        })
        .to_string();
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
    for remote in &config.remotes {
        let what = match &remote.unavailable {
            Some(cure) => {
                remarks.push((remote.name.as_str(), cure.clone()));
                "unavailable".to_owned()
            }
            None => format!("{} ({})", remote.origin(), transport(remote)),
        };
        rows.push(vec![remote.name.clone(), "remote".to_owned(), what]);
    }
    let mut text = format!(
        "{} is valid\n\n{}",
        path.display(),
        output::table_with_remarks(&rows, &remarks).trim_end()
    );
    if let Some(gateway) = &config.gateway {
        text.push_str(&format!("\n\n{}", in_words(gateway)));
    }
    output::answer(&text, ExitCode::SUCCESS)
}

/// `gateway on 127.0.0.1:4000: models gpt-4o-mock; a master key, 2 virtual keys`.
fn in_words(gateway: &Gateway) -> String {
    let models = match &names_of_models(gateway)[..] {
        [] => "no models".to_owned(),
        names => format!("models {}", names.join(", ")),
    };
    let master = gateway
        .master_key
        .as_ref()
        .map(|_| "a master key".to_owned());
    let virtual_keys = match gateway.virtual_keys.len() {
        0 => None,
        1 => Some("1 virtual key".to_owned()),
        count => Some(format!("{count} virtual keys")),
    };
    let keys: Vec<String> = master.into_iter().chain(virtual_keys).collect();
    let keys = match &keys[..] {
        [] => "no keys: open to everybody on this machine".to_owned(),
        keys => keys.join(", "),
    };
    format!("gateway on {}: {models}; {keys}", gateway.listen)
}

fn gateway_as_json(gateway: &Gateway) -> Value {
    let names = gateway.virtual_keys.iter().map(|key| &key.name);
    json!({
        "listen": gateway.listen.to_string(),
        "models": names_of_models(gateway),
        "master_key": gateway.master_key.is_some(),
        "virtual_keys": names.collect::<Vec<_>>(),
    })
}

fn remote_as_json(remote: &Remote) -> Value {
    json!({
        "remote": remote.name,
        "origin": remote.origin(),
        "transport": transport(remote),
        "unavailable": remote.unavailable,
    })
}

/// Each once; several models may have one name.
fn names_of_models(gateway: &Gateway) -> Vec<&str> {
    let mut names = Vec::new();
    for model in &gateway.models {
        if !names.contains(&model.name.as_str()) {
            names.push(&model.name);
        }
    }
    names
}

fn transport(remote: &Remote) -> &'static str {
    match remote.transport {
        RemoteTransport::Http => "http",
        RemoteTransport::Sse => "sse",
    }
}
