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
use crate::mcp::Era;
use crate::metrics::Metrics;
use crate::process::Spawner;

/// A server that answers `initialize` and nothing else.
const SERVER: &str = r#"
read -r line
id=${line#*\"id\":}
printf '{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25","capabilities":{}}}\n' "${id%%,*}"
while read -r line; do :; done"#;

/// A server that answers everything alike, and leaves a process behind that keeps its stdout open for a while.
const LEAVING: &str = r#"
/usr/bin/env -i /usr/bin/setsid /bin/sh -c 'sleep 1 &'
while read -r line; do
    case $line in *'"id":'*) ;; *) continue ;; esac
    id=${line#*\"id\":}
    printf '{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25","capabilities":{}}}\n' "${id%%,*}"
done"#;

fn start(name: &str, metrics: &Arc<Metrics>, spawner: &Spawner, isolation: Isolation) -> Bridge {
    start_script(name, SERVER, metrics, spawner, isolation, StartGate::new())
}

fn start_script(
    name: &str,
    script: &str,
    metrics: &Arc<Metrics>,
    spawner: &Spawner,
    isolation: Isolation,
    gate: Arc<StartGate>,
) -> Bridge {
    let mut command = config::Command::new("/bin/sh".into());
    command.args = vec!["-c".into(), script.into()];
    let mut settings = config::Bridge::new(name.to_owned(), Listen::loopback(0), command);
    settings.isolation = isolation;
    settings.era = Some(Era::Legacy);
    let site = Site {
        spawner: spawner.clone(),
        gate,
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

/// Waits until the task has handled what it was sent.
async fn until_answered(bridge: &Bridge) {
    let outlet = Mailbox::new(bridge.budget());
    let session = bridge.open(Transport::Sse, outlet.clone());
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    session.send(Message::parse(ping.into()).unwrap(), &outlet);
    outlet.reader().next().await.expect("it is served");
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

    // Let it take the call, and what follows in one go.
    until_answered(&hurt).await;
    hurt.0.shared.commands.try_send(Command::Panic).unwrap();
    let late = Mailbox::new(hurt.budget());
    let late_session = hurt.open(Transport::Sse, late.clone());
    let ping = r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#;
    late_session.send(Message::parse(ping.into()).unwrap(), &late);
    let answer = reader.next().await.expect("the call is answered");
    let answer = Message::parse(answer.body.into_bytes()).unwrap();
    assert_eq!(answer.id(), Some(&br#""mine""#[..]));
    assert!(answer.result().is_none());
    assert!(reader.next().await.is_none(), "its stream ends");
    assert!(session.is_over());
    let answer = timeout(Duration::from_secs(20), late.reader().next()).await;
    let answer = answer
        .expect("in time")
        .expect("who came after it is served");
    let answer = Message::parse(answer.body.into_bytes()).unwrap();
    assert!(answer.result().is_some());

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

#[tokio::test]
async fn a_call_that_comes_while_a_server_ends_goes_to_the_next_one() {
    let metrics = Metrics::new();
    let spawner = Spawner::start(TaskTracker::new()).unwrap();
    let gate = StartGate::new();
    let bridge = start_script(
        "leaving",
        LEAVING,
        &metrics,
        &spawner,
        Isolation::Shared,
        gate,
    );
    let pid = ready(&bridge, 1).await;
    let outlet = Mailbox::new(bridge.budget());
    let session = bridge.open(Transport::Sse, outlet.clone());
    let mut status = bridge.watch();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    // It has exited, and its stdout is still open.
    let ending = status.wait_for(|now| now.phase == Phase::Stopping);
    drop(
        timeout(Duration::from_secs(20), ending)
            .await
            .unwrap()
            .unwrap(),
    );

    let call = r#"{"jsonrpc":"2.0","id":"mine","method":"tools/call","params":{"name":"x"}}"#;
    session.send(Message::parse(call.into()).unwrap(), &outlet);
    let answer = timeout(Duration::from_secs(20), outlet.reader().next()).await;
    let answer = answer.expect("in time").expect("an answer");
    let answer = Message::parse(answer.body.into_bytes()).unwrap();
    let text = String::from_utf8_lossy(answer.text());
    assert!(answer.result().is_some(), "{text}");
    assert_eq!(bridge.status().generation, 2);
}

#[tokio::test]
async fn servers_that_hang_at_their_start_keep_no_other_from_starting() {
    let metrics = Metrics::new();
    let spawner = Spawner::start(TaskTracker::new()).unwrap();
    let gate = StartGate::holding(Duration::from_millis(50));
    let start = |name: &str, script| {
        let gate = gate.clone();
        start_script(name, script, &metrics, &spawner, Isolation::Shared, gate)
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let hanging: Vec<Bridge> = (0..cores.max(2))
        .map(|n| start(&format!("hangs{n}"), "read -r line; exec sleep 1000"))
        .collect();
    for bridge in &hanging {
        let mut status = bridge.watch();
        let starting = status.wait_for(|now| now.pid.is_some());
        drop(timeout(Duration::from_secs(20), starting).await.unwrap());
    }
    ready(&start("well", SERVER), 1).await;
    assert!(
        hanging
            .iter()
            .all(|bridge| bridge.status().phase == Phase::Starting)
    );
}
