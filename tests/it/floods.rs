//! A server that writes without end: others are served, memory is bounded (SUPERVISION §4).

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Daemon, Sse, fake, proc};

/// Growth of resident memory that no flood may cause.
const GROWTH: u64 = 192 << 20;
/// A call of somebody else is answered within this.
const CALL: Duration = Duration::from_secs(2);

/// Calls somebody else's tool until `seconds` are over; panics if one takes too long.
async fn call_for(seconds: u64, clients: &mut [&mut Sse]) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        for client in &mut *clients {
            let start = Instant::now();
            client.call("echo", &json!({})).await;
            assert!(start.elapsed() < CALL, "{:?}", start.elapsed());
        }
    }
}

/// Floods with `arguments`, while a session of the same bridge and one of another bridge work.
async fn flood(arguments: serde_json::Value) {
    let one = fake::entry("one", "isolation: shared", &[]);
    let two = fake::entry("two", "isolation: shared", &[]);
    let daemon = Daemon::start(&format!("admin: {{ port: 0 }}\nbridges:\n{one}{two}")).await;
    let mut clients = Vec::new();
    for bridge in ["one", "one", "two"] {
        daemon.until_ready(bridge).await;
        let mut client = Sse::connect(daemon.bridge(bridge)).await;
        client.initialize(&json!({})).await;
        client
            .request("logging/setLevel", &json!({"level": "debug"}))
            .await;
        clients.push(client);
    }
    let [flooded, same, other] = &mut clients[..] else {
        unreachable!("three clients")
    };
    let before = proc::resident(daemon.pid());
    // the client that causes it reads nothing meanwhile
    flooded
        .start_call("flood", &arguments, &json!("mine"))
        .await;
    call_for(2, &mut [same, other]).await;
    // the kernel's counts are a little behind, so that a peak can seem less than what was there before
    let growth = proc::peak_resident(daemon.pid()).saturating_sub(before);
    assert!(growth < GROWTH, "{} MiB", growth >> 20);
    assert_eq!(daemon.health("one").await.0, 200);
}

#[tokio::test]
async fn log_lines_without_end_hurt_nobody() {
    flood(json!({"kind": "log", "seconds": 2.0, "bytes": 100})).await;
}

#[tokio::test]
async fn progress_without_end_hurts_nobody() {
    flood(json!({"kind": "progress", "seconds": 2.0, "bytes": 100})).await;
}

#[tokio::test]
async fn garbage_without_end_hurts_nobody() {
    flood(json!({"kind": "garbage", "seconds": 2.0, "bytes": 1000})).await;
}

#[tokio::test]
async fn changed_lists_without_end_hurt_nobody() {
    flood(json!({"kind": "list_changed", "seconds": 2.0})).await;
}
