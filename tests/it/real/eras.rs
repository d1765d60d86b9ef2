//! The matrix of eras: clients with a handshake and stateless ones before servers of either kind.
//!
//! MCP 2026-07-28, Versioning and Compatibility. Each cell has all its clients, each with a bridge of its own, and shows of each
//! the features that the table names: tools, resources and prompts are listed and used; a call reports its progress; a cancelled
//! one has ended on the server's side, too; a changed list and an updated resource are told to who subscribed; and what the server
//! asks is answered, an elicitation with content. One session can't be asked anything, another one at the same time can. In the
//! end all clients use one process.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::json;
use tokio::task::{JoinSet, LocalSet};

use super::{Installed, installed};
use crate::harness::Daemon;
use play::{Client, LEGACY, MODERN, Part};
use servers::Server;
use steps::FEATURES;

mod gateway;
mod heard;
mod play;
mod rmcp;
mod servers;
mod steps;
mod together;

#[tokio::test]
async fn modern_clients_use_server_everything() {
    cell(&MODERN, Server::Everything).await;
}

#[tokio::test]
async fn legacy_clients_use_server_everything() {
    cell(&LEGACY, Server::Everything).await;
}

#[tokio::test]
async fn modern_clients_use_a_legacy_server() {
    cell(&MODERN, Server::Legacy).await;
}

#[tokio::test]
async fn modern_clients_use_a_modern_server() {
    cell(&MODERN, Server::Modern).await;
}

#[tokio::test]
async fn legacy_clients_use_a_modern_server() {
    cell(&LEGACY, Server::Modern).await;
}

#[tokio::test]
async fn clients_of_both_eras_use_one_process_of_a_modern_server_at_the_same_time() {
    let all = [&MODERN[..], &LEGACY].concat();
    cells(&all, Server::Python, 1).await;
}

/// What a client showed: faults by feature, none where it is right.
type Row = BTreeMap<&'static str, Vec<String>>;

/// Lets each of `clients` use a server of its own.
async fn cell(clients: &[Client], server: Server) {
    cells(clients, server, clients.len()).await;
}

/// Lets all `clients` use `server` behind that many bridges, prints what each did, and fails unless all is right.
async fn cells(clients: &[Client], server: Server, bridges: usize) {
    let needed = [&play::NEEDED[..], &[servers::EVERYTHING, servers::NODE]].concat();
    let Some(installed) = installed(&needed) else {
        return;
    };
    let mut daemon = start(bridges, server, &installed).await;
    let mut playing = JoinSet::new();
    let local = LocalSet::new();
    for (number, client) in clients.iter().copied().enumerate() {
        let addr = daemon.bridge(&bridge(number % bridges));
        let dir = installed.dir.clone();
        let play = async move { (number, row(client, server, &dir, addr).await) };
        playing.spawn_local_on(play, &local);
    }
    let mut rows: BTreeMap<_, _> = local
        .run_until(playing.join_all())
        .await
        .into_iter()
        .collect();
    for (number, row) in &mut rows {
        let times = clients.len() / bridges;
        let fault = heard::cancellation(server, &daemon, &bridge(number % bridges), times).await;
        row.entry("cancel").or_default().extend(fault);
    }
    assert_eq!(daemon.stop().await, Some(0));
    if server.is_modern() {
        // it is told with each call what its client can be asked
        assert_eq!(daemon.log().matches("server started").count(), bridges);
    }
    for (number, row) in &mut rows {
        let bridge = bridge(number % bridges);
        let late = heard::late_answer(server, &daemon, &bridge);
        row.entry("cancel").or_default().extend(late);
        let left = heard::left_subscribed(server, &daemon, &bridge);
        row.entry("updated").or_default().extend(left);
    }
    #[expect(
        clippy::print_stderr,
        reason = "the table is what the test is there for"
    )]
    {
        eprintln!("{}", table(clients, server, &rows));
    }
    let faults: Vec<_> = rows.values().flat_map(BTreeMap::values).flatten().collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

/// What one client did, in two sessions at the same time.
async fn row(client: Client, server: Server, installed: &Path, addr: SocketAddr) -> Row {
    let steps = [
        steps::plain(server, client.is_modern()),
        steps::interactive(server),
    ];
    let parts = [Part::of(&steps[0], false), Part::of(&steps[1], true)];
    let (plain, interactive) = tokio::join!(
        client.play(installed, addr, &parts[0]),
        client.play(installed, addr, &parts[1]),
    );
    let mut row = Row::new();
    for (steps, facts) in steps.iter().zip([&plain, &interactive]) {
        for (step, result) in steps.iter().zip(facts["results"].as_array().unwrap()) {
            let faults = row.entry(step.feature).or_default();
            faults.extend(step.fault(result));
        }
    }
    assert_eq!(
        plain["asked"],
        json!([]),
        "{client:?} was asked though it can't be"
    );
    row
}

async fn start(bridges: usize, server: Server, installed: &Installed) -> Daemon {
    let entry = |number| (bridge(number), server.entry(&bridge(number), installed));
    let entries: serde_json::Map<_, _> = (0..bridges).map(entry).collect();
    let daemon = Daemon::start(&json!({ "bridges": entries }).to_string()).await;
    for number in 0..bridges {
        daemon.until_ready(&bridge(number)).await;
    }
    daemon
}

fn bridge(number: usize) -> String {
    format!("bridge-{number}")
}

fn table(clients: &[Client], server: Server, rows: &BTreeMap<usize, Row>) -> String {
    let mut table = format!("{:18}", server.name());
    for feature in FEATURES {
        write!(table, " {feature:9}").unwrap();
    }
    table.push('\n');
    for (number, row) in rows {
        write!(table, "{:18}", clients[*number].name()).unwrap();
        for feature in FEATURES {
            let shown = match row.get(feature) {
                None => "-",
                Some(faults) if faults.is_empty() => "yes",
                Some(_) => "FAILS",
            };
            write!(table, " {shown:9}").unwrap();
        }
        table.push('\n');
        for fault in row.values().flatten() {
            writeln!(table, "    {fault}").unwrap();
        }
    }
    table
}
