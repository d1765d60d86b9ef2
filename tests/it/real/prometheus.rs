//! The dashboard's and the alerts' queries in a real Prometheus that scrapes a real life.

use std::process::Stdio;

use serde_json::Value;
use tokio::process::{Child, Command};

use crate::dashboard::{alerts, eventful, panels};
use crate::harness::{Daemon, Request, http, skipped, until};

/// Prometheus, until dropped.
#[derive(Debug)]
struct Prometheus {
    _child: Child,
    port: u16,
}

/// Whether Debian's package is there; else says that it is missing.
fn is_installed() -> bool {
    let has = |name: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(name).exists())
    };
    let installed = has("prometheus") && has("promtool");
    if !installed {
        skipped("prometheus is not installed");
    }
    installed
}

impl Prometheus {
    /// Scrapes `daemon` every second, and keeps what it needs in the daemon's directory.
    async fn scraping(daemon: &Daemon) -> Self {
        let config = format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: mcp-bridged\n    static_configs: [{{ targets: [\"{}\"] }}]\n",
            daemon.admin()
        );
        let file = daemon.path("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        // it can't tell which port it has taken
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                daemon.path("tsdb").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            _child: child,
            port,
        }
    }

    /// The series that `query` gives now; `None` while it does not answer.
    async fn query(&self, query: &str) -> Option<Vec<Value>> {
        let request = Request::post("/api/v1/query", format!("query={}", encoded(query)))
            .header("content-type", "application/x-www-form-urlencoded");
        let addr = ([127, 0, 0, 1], self.port).into();
        let answer = http::attempt(addr, request).await?;
        // it takes a moment to start
        if answer.status() == 503 {
            return None;
        }
        let answer = answer.json();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"]["result"].as_array().cloned()
    }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn every_query_gives_something_after_a_life_in_which_everything_happened() {
    if !is_installed() {
        return;
    }
    let daemon = eventful().await;
    let prometheus = Prometheus::scraping(&daemon).await;
    // counters that rise while they are watched
    let mut client = crate::harness::Sse::connect(daemon.bridge("fake")).await;
    client.initialize(&serde_json::json!({})).await;
    client.call("echo", &serde_json::json!({})).await;
    // comparisons are for alerts and for legends without zeros: here it counts that there is something to compare
    let bare = |text: &str| {
        let text = text
            .replace("$__rate_interval", "1m")
            .replace("$instance", ".*")
            .replace("$bridge", ".*");
        let end = [" > ", " == "]
            .iter()
            .filter_map(|sign| text.find(sign))
            .min();
        match end {
            Some(end) if text.starts_with("count(") => format!("{})", &text[..end]),
            Some(end) => text[..end].to_owned(),
            None => text,
        }
    };
    for query in panels().into_iter().chain(alerts()) {
        let text = bare(&query.text);
        until(format!("{}: {text}", query.place), async || {
            let series = prometheus.query(&text).await?;
            (!series.is_empty()).then_some(())
        })
        .await;
    }
    for (alert, bridge) in [("McpBridgeQuarantined", "broken")] {
        let rule = alerts()
            .into_iter()
            .find(|rule| rule.place.ends_with(alert));
        let firing = prometheus.query(&rule.unwrap().text).await.unwrap();
        assert_eq!(firing.len(), 1, "{firing:?}");
        assert_eq!(firing[0]["metric"]["bridge"], bridge);
    }
}

#[tokio::test]
async fn every_alert_fires_when_it_should_and_only_then() {
    if !is_installed() {
        return;
    }
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/alerts.yml");
    let output = Command::new("promtool")
        .args(["test", "rules", tests])
        .output()
        .await
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let tests = include_str!("../../alerts.yml");
    for rule in alerts() {
        let name = rule.place.strip_prefix("alert ").unwrap();
        assert!(tests.contains(&format!("alertname: {name}\n")), "{name}");
    }
}
