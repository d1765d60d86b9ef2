//! No process outlives its reason: after kill -9 of the daemon, after crashes, and double forks (SUPERVISION §8).

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Daemon, fake, proc, until};
use crate::supervision::{kill, metric};

/// The daemon's children that are zombies.
fn zombies(daemon: &Daemon) -> Vec<proc::Process> {
    let mut children = proc::children(daemon.pid());
    children.retain(|child| child.state == 'Z');
    children
}

#[tokio::test]
async fn kill_minus_nine_of_the_daemon_ends_its_servers() {
    let polite = fake::entry("polite", "isolation: shared", &[]);
    let stubborn = fake::entry(
        "stubborn",
        "isolation: shared",
        &["--ignore-sigterm", "--ignore-eof"],
    );
    let spares = fake::entry("spares", "", &["--ignore-sigterm", "--ignore-eof"]);
    let config = format!("admin: {{ port: 0 }}\nbridges:\n{polite}{stubborn}{spares}");
    let mut daemon = Daemon::start(&config).await;
    for bridge in ["polite", "stubborn", "spares"] {
        daemon.until_ready(bridge).await;
    }
    let children = until("four servers", async || {
        let children = proc::children(daemon.pid());
        (children.len() == 4).then_some(children)
    })
    .await;
    daemon.signal(Signal::SIGKILL);
    daemon.exit().await;
    for child in children {
        child.gone().await;
    }
}

#[tokio::test]
async fn what_a_dead_server_leaves_behind_is_killed() {
    let flags = ["--grandchild", "--grandchild-setsid", "--daemon"];
    let fake = fake::fake("isolation: shared", &flags).await;
    fake.ready().await;
    fake.journaled("grandchild", 3).await;
    let mut client = fake.sse().await;
    client.call("echo", &json!({})).await;
    let processes = proc::descendants(fake.pid());
    assert_eq!(processes.len(), 4, "{processes:?}");
    kill(fake.pids()[0]);
    for process in processes {
        process.gone().await;
    }
    fake.journaled("grandchild", 6).await;
    fake.ready().await;
    client.call("echo", &json!({})).await;
    assert_eq!(proc::descendants(fake.pid()).len(), 4);
    assert_eq!(zombies(&fake), []);
}

#[tokio::test]
async fn a_grandchild_that_holds_stdout_does_not_hide_the_death() {
    let fake = fake::fake("isolation: shared", &["--grandchild"]).await;
    fake.ready().await;
    fake.journaled("grandchild", 1).await;
    let mut client = fake.sse().await;
    let answer = client.call("crash", &json!({"code": 4})).await;
    assert_eq!(
        answer["error"]["data"]["exit"],
        json!({"code": 4}),
        "{answer}"
    );
    fake.ready().await;
}

#[tokio::test]
async fn forty_crashes_leave_no_descriptor_no_thread_and_no_zombie() {
    let fake = fake::fake("isolation: shared", &[]).await;
    fake.ready().await;
    let mut client = fake.sse().await;
    let crash = json!({"code": 1, "stderr": "again"});
    let mut after_the_first = None;
    // each is productive; restarting by order spares the back-off
    for _ in 0..40 {
        client.call("echo", &json!({})).await;
        client.call("crash", &crash).await;
        crate::supervision::restart(&fake, "fake").await;
        fake.ready().await;
        after_the_first.get_or_insert((proc::open_files(fake.pid()), proc::threads(fake.pid())));
    }
    client.call("echo", &json!({})).await;
    assert!(metric(&fake, "fake", "mcp_bridged_restarts_total").await >= 40);
    until("no zombie", async || {
        zombies(&fake).is_empty().then_some(())
    })
    .await;
    let (files, threads) = after_the_first.unwrap();
    // a descriptor or two may belong to a request that is just ending
    assert!(proc::open_files(fake.pid()) <= files + 2);
    assert!(proc::threads(fake.pid()) <= threads + 1);
    assert_eq!(proc::descendants(fake.pid()).len(), 1);
}
