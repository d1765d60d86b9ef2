//! As the first process of a container: signals have no default there, and every orphan is ours.

use std::fs;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use serde_json::json;
use tokio::process::{Child, Command};

use crate::harness::http::exchange;
use crate::harness::{Request, Sse, fake, proc, skipped, until, within};

/// A daemon that is process 1 of a namespace.
struct Container {
    unshare: Child,
    /// The daemon's number outside.
    daemon: i32,
    dir: tempfile::TempDir,
}

/// `None` where only root may make a namespace, and we aren't.
async fn container(flags: &[&str]) -> Option<Container> {
    if !Uid::effective().is_root() {
        skipped("only root can make a PID namespace");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let config = fake::config("isolation: shared", flags);
    let config = config.replace("{dir}", dir.path().to_str().unwrap());
    fs::write(dir.path().join("bridges.yaml"), config).unwrap();
    let log = fs::File::create(dir.path().join("daemon.log")).unwrap();
    let unshare = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
        .arg(env!("CARGO_BIN_EXE_mcp-bridged"))
        .args(["serve", "--ports-file", "ports.json"])
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pid = i32::try_from(unshare.id().unwrap()).unwrap();
    let daemon = until("the daemon", async || {
        let child = proc::children(pid).into_iter().next()?;
        (child.name == "mcp-bridged").then_some(child.pid)
    })
    .await;
    Some(Container {
        unshare,
        daemon,
        dir,
    })
}

impl Container {
    async fn addr(&self) -> std::net::SocketAddr {
        let ports = until("the ports file", async || {
            fs::read(self.dir.path().join("ports.json")).ok()
        })
        .await;
        let ports: serde_json::Value = serde_json::from_slice(&ports).unwrap();
        ports["bridges"]["fake"].as_str().unwrap().parse().unwrap()
    }

    /// What `docker stop` does first.
    fn terminate(&self) {
        kill(Pid::from_raw(self.daemon), Signal::SIGTERM).unwrap();
    }

    /// The status that `docker inspect` would show.
    async fn ended(&mut self) -> Option<i32> {
        within("the container's end", self.unshare.wait())
            .await
            .unwrap()
            .code()
    }

    /// Runs a script in the namespace, as `docker exec` does.
    async fn exec(&self, script: &str) {
        let status = Command::new("nsenter")
            .arg(format!("--target={}", self.daemon))
            .args(["--pid", "--mount", "sh", "-c", script])
            .status();
        assert!(within("nsenter", status).await.unwrap().success());
    }
}

#[tokio::test]
async fn the_first_process_drains_and_ends_with_0() {
    let Some(mut container) = container(&[]).await else {
        return;
    };
    let addr = container.addr().await;
    let mut client = Sse::connect(addr).await;
    client.initialize(&json!({})).await;
    let info = client.call("info", &json!({})).await;
    assert_eq!(info["result"]["structuredContent"]["ppid"], 1, "{info}");
    let done = container.dir.path().join("done");
    let hold = json!({"name": "hold", "arguments": {"file": done.to_str()}});
    let call = client.start("tools/call", &hold).await;
    until("the call", async || {
        let record = fs::read_to_string(container.dir.path().join("fake.record")).ok()?;
        record.contains("\"hold\"").then_some(())
    })
    .await;
    container.terminate();
    until("the drain", async || {
        let refused = tokio::net::TcpStream::connect(addr).await.is_err();
        refused.then_some(())
    })
    .await;
    fs::write(done, "").unwrap();
    let answer = client.answer(call).await;
    assert!(answer["result"].is_object(), "{answer}");
    assert_eq!(container.ended().await, Some(0));
}

#[tokio::test]
async fn the_first_process_reaps_what_others_leave() {
    let flags = ["--grandchild", "--grandchild-setsid", "--daemon"];
    let Some(mut container) = container(&flags).await else {
        return;
    };
    let addr = container.addr().await;
    until("the server", async || {
        let health = exchange(addr, Request::get("/health")).await;
        (health.status() == 200).then_some(())
    })
    .await;
    let orphan = container.dir.path().join("orphan");
    // its parent ends at once; it dies as a child of process 1
    let script = format!(
        "(sh -c 'until grep \"^PPid:.1$\" /proc/$$/status > {}; do sleep 0.01; done; kill -9 $$' &)",
        orphan.display()
    );
    container.exec(&script).await;
    until("the orphan", async || {
        let parent = fs::read_to_string(&orphan).ok()?;
        parent.ends_with('\n').then_some(())
    })
    .await;
    // a zombie would keep its name
    until("the orphan's end", async || {
        let children = proc::children(container.daemon);
        children.iter().all(|it| it.name != "sh").then_some(())
    })
    .await;
    let below = proc::descendants(container.daemon);
    assert!(below.len() >= 4, "{below:?}");
    container.terminate();
    assert_eq!(container.ended().await, Some(0));
    for process in below {
        process.gone().await;
    }
}

#[tokio::test]
async fn a_signal_right_after_the_start_is_not_lost() {
    let Some(mut container) = container(&["--init-silent"]).await else {
        return;
    };
    container.addr().await;
    container.terminate();
    assert_eq!(container.ended().await, Some(0));
}
