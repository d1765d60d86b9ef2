//! What a server heard, and what it said to that: the side of a cell that its clients don't see.
//!
//! Our own server stops a call that is cancelled, and says so on stderr. server-everything takes the cancellation, but its tool goes
//! on to its end; then it keeps the answer to itself. What goes in and out of it is in files.

use std::fs;

use serde_json::Value;

use super::servers::Server;
use crate::harness::{Daemon, until};

/// What is wrong with how the server behind `bridge` took the cancellations of that many clients; waits until the calls have ended
/// there.
pub(super) async fn cancellation(
    server: Server,
    daemon: &Daemon,
    bridge: &str,
    times: usize,
) -> Option<String> {
    match server {
        Server::Legacy | Server::Modern | Server::Python => {
            until("the tool to stop", async || {
                let log = daemon.log();
                let own = log.lines().filter(|line| line.contains(bridge));
                let stopped = own.filter(|line| line.contains("stopped: test_until_cancelled"));
                (stopped.count() == times).then_some(())
            })
            .await;
            None
        }
        Server::Everything => {
            let calls = cancelled(daemon, bridge);
            let [call] = calls.as_slice() else {
                return Some(format!("the server was told {} times", calls.len()));
            };
            until("the tool's end", async || {
                let reports = said(daemon, bridge, ".out");
                let mut own = reports
                    .iter()
                    .filter(|report| report["params"]["progressToken"] == *call);
                own.any(|report| report["params"]["progress"] == report["params"]["total"])
                    .then_some(())
            })
            .await;
            None
        }
    }
}

/// An answer to the cancelled call after all; the server has ended.
pub(super) fn late_answer(server: Server, daemon: &Daemon, bridge: &str) -> Option<String> {
    if server != Server::Everything {
        return None;
    }
    let calls = cancelled(daemon, bridge);
    let said = said(daemon, bridge, ".out");
    let answer = said
        .iter()
        .find(|said| said.get("method").is_none() && calls.contains(&said["id"]));
    answer.map(|answer| format!("the server answered the cancelled call: {answer}"))
}

/// Resources that the server is still to tell of, though nobody listens any more; it has ended.
pub(super) fn left_subscribed(server: Server, daemon: &Daemon, bridge: &str) -> Option<String> {
    if server != Server::Everything {
        return None;
    }
    let heard = said(daemon, bridge, ".in");
    let times = |method: &str| {
        heard
            .iter()
            .filter(|heard| heard["method"] == method)
            .count()
    };
    let (on, off) = (times("resources/subscribe"), times("resources/unsubscribe"));
    (on == 0 || on != off).then(|| format!("subscribed {on} times, unsubscribed {off} times"))
}

/// The ids of the long calls that the server was told to cancel.
fn cancelled(daemon: &Daemon, bridge: &str) -> Vec<Value> {
    let heard = said(daemon, bridge, ".in");
    let calls = heard
        .iter()
        .filter(|heard| heard["params"]["arguments"]["steps"] == 10);
    let calls = calls.map(|call| &call["id"]);
    let ids: Vec<_> = calls.collect();
    let told = heard
        .iter()
        .filter(|heard| heard["method"] == "notifications/cancelled");
    let told = told.map(|told| told["params"]["requestId"].clone());
    told.filter(|id| ids.contains(&id)).collect()
}

/// The messages in all files of the bridge's servers that end so.
pub(super) fn said(daemon: &Daemon, bridge: &str, end: &str) -> Vec<Value> {
    let files = fs::read_dir(daemon.dir())
        .unwrap()
        .map(|file| file.unwrap());
    let own = files.filter(|file| {
        let name = file.file_name().into_string().unwrap();
        name.starts_with(bridge) && name.ends_with(end)
    });
    own.flat_map(|file| {
        let text = fs::read_to_string(file.path()).unwrap();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_default());
        lines.collect::<Vec<Value>>()
    })
    .collect()
}
