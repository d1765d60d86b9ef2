//! What is told of the program, a bridge and the gateway: everything but secrets.

use std::time::Instant;

use serde_json::{Value, json};

use super::super::{Entry, FrontEntry};
use super::Admin;
use crate::mcp::Era;
use crate::transport::health;

/// The program.
pub(super) fn of_daemon(admin: &Admin) -> Value {
    let uptime = admin.started.elapsed().as_millis();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "uptime_ms": u64::try_from(uptime).unwrap_or(u64::MAX),
        "config": admin.file.as_ref().map(|file| std::path::absolute(file).unwrap_or_else(|_| file.clone())),
    })
}

/// The gateway.
pub(super) fn of_gateway(front: &FrontEntry) -> Value {
    let urls = front.address.map(|address| {
        json!({ "sse": format!("http://{address}/sse"), "http": format!("http://{address}/mcp"), "openai": format!("http://{address}/v1") })
    });
    json!({
        "urls": urls,
        "tools": front.gateway.tools(),
        "absent": front.gateway.absent(),
    })
}

/// Everything about one bridge but its secrets.
pub(super) fn of(entry: &Entry) -> Value {
    let now = Instant::now();
    let settings = entry.bridge.settings();
    let status = entry.bridge.status();
    let mut facts = health::describe(&settings.name, &status, now);
    let urls = entry.address.map(|address| {
        json!({ "sse": format!("http://{address}/sse"), "http": format!("http://{address}/mcp") })
    });
    let instances: Vec<Value> = entry
        .bridge
        .dedicated()
        .iter()
        .map(|status| json!({ "state": status.phase.label(), "pid": status.pid }))
        .collect();
    if let Some(last) = &status.last_exit {
        facts["last_exit"]["stderr"] = json!(last.stderr);
    }
    facts["aliases"] = json!(settings.aliases);
    facts["description"] = json!(settings.description);
    facts["urls"] = json!(urls);
    facts["pid"] = json!(status.pid);
    facts["server"] = json!(
        status
            .server
            .map(|(name, version)| json!({ "name": name, "version": version }))
    );
    facts["era"] = json!(status.era.map(Era::label));
    facts["sessions"] = json!(entry.endpoint.sessions());
    facts["in_flight"] = json!(entry.bridge.metrics().in_flight.get());
    facts["tools"] = json!(entry.bridge.tools());
    facts["instances"] = json!(instances);
    facts
}

/// The tally of deaths, the last one first.
pub(super) fn deaths(entry: &Entry) -> Value {
    let now = Instant::now();
    let status = entry.bridge.status();
    let deaths = status.deaths.iter().rev().map(|death| {
        let mut facts = health::last_exit(&death.last, now);
        facts["generation"] = json!(death.generation);
        facts["productive"] = json!(death.productive);
        facts["stderr"] = json!(death.last.stderr);
        facts
    });
    deaths.collect()
}
