//! What a mistake in an instance's task does; everything else is shown on the wire.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::backoff::Jitter;
use crate::bridge::instance::Command;
use crate::bridge::{Bridge, Budget, Mailbox, Phase, Site, StartGate, Transport};
use crate::config::{self, Isolation, Listen};
use crate::jsonrpc::Message;
use crate::metrics::Metrics;
use crate::process::Spawner;

/// A server that answers `initialize` and nothing else.
const SERVER: &str = r#"
read -r line
id=${line#*\"id\":}
printf '{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25","capabilities":{}}}\n' "${id%%,*}"
while read -r line; do :; done"#;

fn start(name: &str, metrics: &Arc<Metrics>, spawner: &Spawner, isolation: Isolation) -> Bridge {
    let mut command = config::Command::new("/bin/sh".into());
    command.args = vec!["-c".into(), SERVER.into()];
    let mut settings = config::Bridge::new(name.to_owned(), Listen::loopback(0), command);
    settings.isolation = isolation;
    let site = Site {
        spawner: spawner.clone(),
        gate: StartGate::new(),
        metrics: metrics.bridge(name),
        budget: Budget::new(metrics.process().clone()),
        tracker: TaskTracker::new(),
        jitter: Jitter::none(),
    };
    Bridge::start(Arc::new(settings), Duration::ZERO, site)
}

async fn ready(bridge: &Bridge, generation: u64) -> i32 {
    let mut status = bridge.watch();
    let ready = status.wait_for(|now| now.phase == Phase::Ready && now.generation == generation);
    let status = timeout(Duration::from_secs(20), ready).await;
    status
        .expect("in time")
        .expect("the task lives")
        .pid
        .unwrap()
}

#[tokio::test]
async fn a_panic_of_a_task_ends_only_what_its_own_bridge_was_doing() {
    let metrics = Metrics::new();
    let spawner = Spawner::start(TaskTracker::new()).unwrap();
    let hurt = start("hurt", &metrics, &spawner, Isolation::Shared);
    let well = start("well", &metrics, &spawner, Isolation::Shared);
    let old = ready(&hurt, 1).await;
    let untouched = ready(&well, 1).await;
    let outlet = Mailbox::new(hurt.budget());
    let mut reader = outlet.reader();
    let session = hurt.open(Transport::Sse, outlet.clone());
    let call = r#"{"jsonrpc":"2.0","id":"mine","method":"tools/call","params":{"name":"x"}}"#;
    session.send(Message::parse(call.into()).unwrap(), &outlet);

    hurt.0.shared.commands.send(Command::Panic).await.unwrap();
    let answer = reader.next().await.expect("the call is answered");
    let answer = Message::parse(answer.body.into_bytes()).unwrap();
    assert_eq!(answer.id(), Some(&br#""mine""#[..]));
    assert!(answer.result().is_none());
    assert!(reader.next().await.is_none(), "its stream ends");
    assert!(session.is_over());

    let new = ready(&hurt, 2).await;
    assert_ne!(old, new);
    let gone = async {
        while std::path::Path::new(&format!("/proc/{old}")).exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), gone).await.unwrap();
    assert_eq!(ready(&well, 1).await, untouched);

    let outlet = Mailbox::new(hurt.budget());
    let session = hurt.open(Transport::Sse, outlet.clone());
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    session.send(Message::parse(ping.into()).unwrap(), &outlet);
    let answer = outlet.reader().next().await.expect("it is served");
    let answer = Message::parse(answer.body.into_bytes()).unwrap();
    assert!(answer.result().is_some());
}

#[tokio::test]
async fn a_session_that_comes_when_its_bridge_drains_keeps_nothing_alive() {
    let metrics = Metrics::new();
    let spawner = Spawner::start(TaskTracker::new()).unwrap();
    let bridge = start("late", &metrics, &spawner, Isolation::Session);
    ready(&bridge, 1).await;
    let outlet = Mailbox::new(bridge.budget());
    let session = bridge.open(Transport::Sse, outlet.clone());
    bridge.drain(tokio::time::Instant::now() + Duration::from_secs(1));
    // The spare too.
    timeout(Duration::from_secs(20), bridge.stopped())
        .await
        .expect("it stops");

    let initialize = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#;
    session.send(Message::parse(initialize.into()).unwrap(), &outlet);
    timeout(Duration::from_secs(20), bridge.stopped())
        .await
        .expect("it stops");
    let answer = timeout(Duration::from_secs(20), outlet.reader().next()).await;
    let answer = answer.expect("in time").expect("an answer");
    assert!(answer.kind.ends_a_request());
    let instances = bridge.dedicated();
    assert!(
        instances
            .iter()
            .all(|status| status.phase == Phase::Stopped),
        "{instances:?}"
    );
}
