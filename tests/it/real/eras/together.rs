//! Both eras at the same time, on one bridge to an unmodified server-everything.
//!
//! A stateless client's call waits for an elicitation while a whole session of a client of 2024 comes and goes on the same port;
//! then the elicitation is accepted, and the call goes on to its end. Once each has a process, once both share one.

use std::sync::Arc;

use serde_json::json;

use super::super::installed;
use super::play::{Client, NEEDED, Part};
use super::rmcp::{self, Gate};
use super::servers::{EVERYTHING, Server};
use super::steps::{self, content};
use crate::harness::{Daemon, within};

#[tokio::test]
async fn an_elicitation_waits_while_a_client_over_sse_comes_and_goes() {
    elicit_beside_a_legacy_client("auto", 2).await;
}

#[tokio::test]
async fn an_elicitation_waits_in_the_process_that_a_client_over_sse_uses() {
    elicit_beside_a_legacy_client("shared", 1).await;
}

async fn elicit_beside_a_legacy_client(isolation: &str, processes: usize) {
    let Some(installed) = installed(&[&NEEDED[..], &[EVERYTHING]].concat()) else {
        return;
    };
    let server = Server::Everything;
    let mut entry = server.entry("both", &installed);
    entry["isolation"] = json!(isolation);
    let daemon = Daemon::start(&json!({"bridges": {"both": entry}}).to_string()).await;
    daemon.until_ready("both").await;
    let addr = daemon.bridge("both");
    let modern = Part {
        steps: json!([{"call": "trigger-elicitation-request"}]),
        interactive: true,
        content: Some(content()),
    };
    let steps = steps::plain(server, false);
    let legacy = Part::of(&steps, false);
    let gate = Arc::<Gate>::default();
    let url = format!("http://{addr}/mcp");
    let (modern, legacy) = tokio::join!(rmcp::play_through(&url, &modern, gate.clone()), async {
        within("the elicitation", gate.asked.notified()).await;
        let facts = Client::Python("sse")
            .play(&installed.dir, addr, &legacy)
            .await;
        gate.open.notify_one();
        facts
    });
    let faults: Vec<_> = steps
        .iter()
        .zip(legacy["results"].as_array().unwrap())
        .filter_map(|(step, result)| step.fault(result))
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
    assert_eq!(legacy["asked"], json!([]));
    assert_eq!(legacy["version"], "2025-11-25");
    assert_eq!(modern["version"], "2026-07-28");
    assert_eq!(modern["asked"], json!(["elicitation/create"]));
    let text = modern["results"][0]["text"].as_str().unwrap();
    assert!(text.contains("Name: Ada"), "{modern}");
    assert_eq!(processes_spoken_to(&daemon), processes);
}

/// How many processes the bridge has said `initialize` to.
fn processes_spoken_to(daemon: &Daemon) -> usize {
    let heard = super::heard::said(daemon, "both", ".in");
    heard
        .iter()
        .filter(|heard| heard["method"] == "initialize")
        .count()
}
