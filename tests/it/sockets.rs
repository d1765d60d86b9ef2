//! Sockets that a service manager holds: taken over by name or address, kept from servers, open while no daemon runs.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use serde_json::json;
use tokio::process::Command;

use crate::harness::http::exchange;
use crate::harness::{
    Connection, Daemon, Fake, GLANCE, Launch, Request, Sse, fake, proc, skipped, until, within,
};

/// What a service manager would hold.
fn hold() -> (Arc<TcpListener>, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (Arc::new(socket), address)
}

fn named(name: &str, socket: &Arc<TcpListener>) -> (String, Arc<TcpListener>) {
    (name.to_owned(), socket.clone())
}

/// The address of the one bridge.
fn at(config: &str, address: SocketAddr) -> String {
    let (before, after) = config.split_once("bridges:").unwrap();
    let after = after.replacen("port: 0", &format!("port: {}", address.port()), 1);
    format!("{before}bridges:{after}")
}

#[tokio::test]
async fn listeners_take_over_the_sockets_of_their_names() {
    let (bridge, bridge_address) = hold();
    let (gateway, gateway_address) = hold();
    let config = fake::config("inherit_env: true", &[]);
    let fake = Fake::launch(Launch {
        config: format!("gateway: {{ port: 0 }}\n{config}"),
        sockets: vec![named("fake", &bridge), named("gateway", &gateway)],
        ..Launch::default()
    })
    .await;
    assert_eq!(fake.addr(), bridge_address);
    assert_eq!(fake.gateway(), gateway_address);
    assert_eq!(fake.get("fake", "/live").await.status(), 200);
    let models = exchange(gateway_address, Request::get("/v1/models")).await;
    assert_eq!(models.status(), 200);
    // the server has nothing of it
    fake.ready().await;
    let info = fake.sse().await.call("info", &json!({})).await;
    let facts = &info["result"]["structuredContent"];
    assert!(facts["env"]["PATH"].is_string(), "{info}");
    assert!(!facts["env"].to_string().contains("LISTEN_"), "{info}");
    assert!(!facts["fds"].to_string().contains("socket:"), "{info}");
}

#[tokio::test]
async fn a_socket_without_a_name_of_ours_goes_by_its_address() {
    let (socket, address) = hold();
    let (idle, idle_address) = hold();
    let config = at(&fake::config("isolation: shared", &[]), address);
    let fake = Fake::launch(Launch {
        config: config.clone(),
        sockets: vec![
            named("mcp-bridged.socket", &socket),
            named("mcp-bridged.socket", &idle),
        ],
        ..Launch::default()
    })
    .await;
    assert_eq!(fake.addr(), address);
    assert_eq!(fake.get("fake", "/live").await.status(), 200);
    fake.until_logged(&idle_address.to_string()).await;
    assert!(fake.log().contains("belongs to no listener"));
    // a bridge that goes and comes finds its socket again
    fake.reload("admin: { port: 0 }\nbridges: { demo: { port: 0, demo: true } }");
    fake.until_logged("bridge removed").await;
    fake.reload(&config);
    fake.until_logged("bridge added").await;
    fake.ready().await;
}

#[tokio::test]
async fn a_restart_closes_no_port() {
    let (socket, address) = hold();
    let launch = Launch {
        config: at(&fake::config("isolation: shared", &[]), address),
        sockets: vec![named("fake", &socket)],
        ..Launch::default()
    };
    let mut first = Daemon::launch(launch.clone()).await;
    first.until_ready("fake").await;
    assert_eq!(first.stop().await, Some(0));
    // connects while nobody is there, and is answered when somebody is
    let mut early = Connection::open(address).await;
    early
        .send(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    let second = Daemon::launch(launch).await;
    let head = within("the answer of the second daemon", early.head()).await;
    assert_eq!(head.status, 200);
    second.until_ready("fake").await;
    let mut client = Sse::connect(address).await;
    client.initialize(&json!({})).await;
}

#[tokio::test]
async fn no_connection_is_refused_over_restarts() {
    let (socket, address) = hold();
    let launch = Launch {
        config: at(&fake::config("isolation: shared", &[]), address),
        sockets: vec![named("fake", &socket)],
        ..Launch::default()
    };
    let mut daemon = Daemon::launch(launch.clone()).await;
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let connects = crate::supervision::beside(async move {
        let mut connected = 0;
        while stopped.try_recv().is_err() {
            drop(tokio::net::TcpStream::connect(address).await.unwrap());
            connected += 1;
            tokio::time::sleep(GLANCE).await;
        }
        connected
    });
    for _ in 0..3 {
        daemon.until_ready("fake").await;
        assert_eq!(daemon.stop().await, Some(0));
        daemon = Daemon::launch(launch.clone()).await;
    }
    stop.send(()).unwrap();
    assert!(connects.await.unwrap() > 3);
}

#[tokio::test]
async fn a_socket_elsewhere_than_the_file_says_ends_the_start() {
    let (socket, address) = hold();
    let (_other, other) = hold();
    let ended = Daemon::launch_fails(Launch {
        config: at(&fake::config("", &[]), other),
        sockets: vec![named("fake", &socket)],
        ..Launch::default()
    })
    .await;
    assert_eq!(ended.status.code(), Some(69), "{}", ended.log);
    assert!(ended.log.contains(&address.to_string()), "{}", ended.log);
    assert!(ended.log.contains(&other.to_string()), "{}", ended.log);
    assert!(!ended.log.contains("server started"), "{}", ended.log);
}

#[tokio::test]
async fn systemd_hands_over_its_socket() {
    let activate = Path::new("/usr/bin/systemd-socket-activate");
    if !activate.exists() {
        skipped(&format!("{} is not there", activate.display()));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // as free as any port is that nobody has
    let (free, address) = hold();
    drop(free);
    let config = at(&fake::config("isolation: shared", &[]), address);
    let config = config.replace("{dir}", dir.path().to_str().unwrap());
    std::fs::write(dir.path().join("bridges.yaml"), config).unwrap();
    let mut systemd = Command::new(activate)
        .arg(format!("--listen={address}"))
        .arg("--fdname=fake")
        .arg(env!("CARGO_BIN_EXE_mcp-bridged"))
        .args(["serve", "--config", "bridges.yaml"])
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pid = i32::try_from(systemd.id().unwrap()).unwrap();
    until("systemd's socket", async || {
        tokio::net::TcpStream::connect(address).await.ok()
    })
    .await;
    // the connection starts the daemon; the first request is answered by it
    let mut client = Sse::connect(address).await;
    client.initialize(&json!({})).await;
    assert_eq!(proc::Process::find(pid).unwrap().name, "mcp-bridged");
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGTERM,
    )
    .unwrap();
    let status = within("the end", systemd.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
}
