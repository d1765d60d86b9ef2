//! What the service manager is told, on a real notification socket (SUPERVISION §9).

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{DEADLINE, Fake, Launch, fake};

struct Manager(UnixDatagram);

impl Manager {
    /// The next datagram that contains `text`, and what came before it.
    fn told(&self, text: &str) -> (String, Vec<String>) {
        let mut before = Vec::new();
        loop {
            let mut buffer = [0; 4096];
            let read = self.0.recv(&mut buffer);
            let Ok(read) = read else {
                panic!("waited in vain for {text} after {before:?}");
            };
            let datagram = String::from_utf8(buffer[..read].to_vec()).unwrap();
            if datagram.lines().any(|line| line.starts_with(text)) {
                return (datagram, before);
            }
            before.push(datagram);
        }
    }
}

async fn launch(config: &str, watchdog: Option<&str>) -> (Fake, Manager, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut env = vec![(
        "NOTIFY_SOCKET".to_owned(),
        path.to_str().unwrap().to_owned(),
    )];
    env.extend(watchdog.map(|time| ("WATCHDOG_USEC".to_owned(), time.to_owned())));
    let fake = Fake::launch(Launch {
        config: config.to_owned(),
        env,
        ..Launch::default()
    })
    .await;
    (fake, Manager(socket), dir)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_is_told_of_every_turn() {
    let config = fake::config("isolation: shared", &["--init-hold", "{dir}/go"]);
    let (mut fake, manager, _dir) = launch(&config, None).await;
    fake.recorded("\"initialize\"").await;
    // not ready before its server is
    manager.0.set_nonblocking(true).unwrap();
    assert!(manager.0.recv(&mut [0; 4096]).is_err());
    manager.0.set_nonblocking(false).unwrap();
    fs::write(fake.path("go"), "").unwrap();
    let (ready, _) = manager.told("READY=1");
    assert!(ready.contains("STATUS=1/1 ready"), "{ready}");

    fake.signal(Signal::SIGHUP);
    let (reloading, _) = manager.told("RELOADING=1");
    assert!(
        reloading.contains("MONOTONIC_USEC="),
        "one datagram: {reloading}"
    );
    manager.told("READY=1");

    fake.reload("bridges: {");
    manager.told("RELOADING=1");
    let (refused, _) = manager.told("READY=1");
    assert!(refused.contains("STATUS=reload refused"), "{refused}");

    let mut client = fake.sse().await;
    let info = client.call("info", &json!({})).await;
    assert!(!info.to_string().contains("NOTIFY_SOCKET"), "{info}");

    fake.signal(Signal::SIGTERM);
    let (stopping, _) = manager.told("STOPPING=1");
    assert!(stopping.contains("STATUS="), "{stopping}");
    // the drain, the stop ladder, and the last responses
    assert!(
        stopping.contains("EXTEND_TIMEOUT_USEC=24000000"),
        "{stopping}"
    );
    assert_eq!(fake.exit().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_fails_does_not_hold_up_ready() {
    let good = fake::entry("fake", "isolation: shared", &[]);
    let bad = fake::entry("bad", "isolation: shared", &["--exit-at-start", "1"]);
    let (_fake, manager, _dir) = launch(&format!("bridges:\n{good}{bad}"), None).await;
    let (ready, _) = manager.told("READY=1");
    assert!(ready.contains("1/2 ready; bad: "), "{ready}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watchdog_is_fed_and_status_follows() {
    let config = fake::config("isolation: shared", &["--fail-while", "{dir}/broken"]);
    let (fake, manager, _dir) = launch(&config, Some("600000")).await;
    manager.told("READY=1");
    for _ in 0..3 {
        manager.told("WATCHDOG=1");
    }
    fs::write(fake.path("broken"), "").unwrap();
    crate::supervision::kill(fake.pids()[0]);
    manager.told("STATUS=0/1 ready; fake: ");
    // a bridge that is down is no reason to restart everything
    manager.told("WATCHDOG=1");
    // but a daemon that stands still is
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(fake.pid()), Signal::SIGSTOP).unwrap();
    manager
        .0
        .set_read_timeout(Some(Duration::from_millis(700)))
        .unwrap();
    let mut silent = false;
    for _ in 0..5 {
        silent |= manager.0.recv(&mut [0; 4096]).is_err();
    }
    assert!(silent);
    fake.signal(Signal::SIGCONT);
}
