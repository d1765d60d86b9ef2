//! `docker/grafana/mcp-bridged.json` and `docker/prometheus/alerts.yml`: every query of theirs names metrics and labels that
//! `/metrics` has, after a life in which everything happened that they show.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::harness::{Daemon, Request, fake, http, until};

const DASHBOARD: &str = include_str!("../../docker/grafana/mcp-bridged.json");
const ALERTS: &str = include_str!("../../docker/prometheus/alerts.yml");

/// One query, and where it stands.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) place: String,
    pub(crate) text: String,
}

/// A daemon that has seen calls with all outcomes, a crash, a server in quarantine, refusals, and a model.
pub(crate) async fn eventful() -> Daemon {
    let config = format!(
        "admin: {{ port: 0 }}\nbridges:\n{}{}gateway:\n  port: 0\n  model_list:\n    - {{ model_name: mock, provider: mock }}\n",
        fake::entry("fake", "isolation: shared\nrequest_timeout: 1s", &[]),
        fake::entry("broken", "isolation: shared", &["--exit-at-start", "1"]),
    );
    let daemon = Daemon::start(&config).await;
    daemon.until_ready("fake").await;
    chat(&daemon).await;
    let mut client = crate::harness::Sse::connect(daemon.bridge("fake")).await;
    client.initialize(&json!({})).await;
    client.call("echo", &json!({})).await;
    client.call("fail", &json!({})).await;
    client.call("hold", &json!({"key": "never"})).await;
    let params = json!({"name": "crash", "arguments": {"code": 3}});
    client.request("tools/call", &params).await;
    for bridge in ["fake", "broken"] {
        let foreign = Request::get("/health").header("origin", "http://elsewhere.example");
        let refused = http::exchange(daemon.bridge(bridge), foreign).await;
        assert_eq!(refused.status(), 403);
    }
    until("quarantine", async || {
        let (_, body) = daemon.health("broken").await;
        (body["state"] == "quarantined").then_some(())
    })
    .await;
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params":
        {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
    let request = Request::post("/mcp", request.to_string());
    assert_eq!(
        http::exchange(daemon.bridge("broken"), request)
            .await
            .status(),
        503
    );
    daemon.until_ready("fake").await;
    daemon
}

async fn chat(daemon: &Daemon) {
    let body = json!({"model": "mock", "messages":
        [{"role": "user", "content": "Use fake-echo with {\"a\": 1}"}]});
    let request = Request::post("/v1/chat/completions", body.to_string());
    let response = http::exchange(daemon.gateway(), request).await;
    assert_eq!(response.status(), 200, "{}", response.text());
    until("the call of the model's tool in the numbers", async || {
        let numbers = http::exchange(daemon.admin(), Request::get("/metrics")).await;
        let called = "gateway_tool_calls_total{bridge=\"fake\",outcome=\"ok\"} 1";
        numbers.text().contains(called).then_some(())
    })
    .await;
}

/// The queries of all panels and variables of the dashboard.
pub(crate) fn panels() -> Vec<Query> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut queries = Vec::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        let targets = panel["targets"].as_array().map_or(&[][..], Vec::as_slice);
        assert_eq!(targets.is_empty(), panel["type"] == "row", "{title}");
        queries.extend(targets.iter().map(|target| Query {
            place: format!("panel {title}"),
            text: target["expr"].as_str().unwrap().to_owned(),
        }));
    }
    queries
}

/// The expressions of all rules, as `(alert, expression)`.
pub(crate) fn alerts() -> Vec<Query> {
    let mut queries = Vec::new();
    let mut alert = None;
    for line in ALERTS.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("- alert: ") {
            assert_eq!(alert.replace(name), None, "no expression before {name}");
        } else if let Some(expression) = line.strip_prefix("expr: ") {
            queries.push(Query {
                place: format!("alert {}", alert.take().unwrap()),
                text: expression.to_owned(),
            });
        }
    }
    assert_eq!(alert, None);
    assert_eq!(queries.len(), ALERTS.matches("expr:").count());
    queries
}

/// The values of each label of each metric.
type Series = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

fn series(text: &str) -> Series {
    let mut series = Series::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = name.split_once('{').unwrap_or((name, "}"));
        let known = series.entry(name.to_owned()).or_default();
        for (label, _, value) in matchers(labels.strip_suffix('}').unwrap()) {
            known.entry(label).or_default().insert(value);
        }
    }
    series
}

/// A label, an operator, and a value.
type Matcher = (String, String, String);

/// What stands between braces. No value of ours has a quote in it.
fn matchers(text: &str) -> Vec<Matcher> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((head, tail)) = rest.split_once('"') {
        let (value, after) = tail.split_once('"').unwrap();
        let head = head.trim_start_matches(',').trim();
        let at = head.find(['=', '!']).unwrap();
        let (label, operator) = head.split_at(at);
        found.push((label.to_owned(), operator.to_owned(), value.to_owned()));
        rest = after;
    }
    found
}

/// Each metric that `query` names, with what it wants of its labels.
fn selectors(query: &str) -> Vec<(String, Vec<Matcher>)> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for (at, _) in query.match_indices("mcp_bridged_") {
        let rest = &query[at..];
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let labels = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        found.push((
            name.to_owned(),
            labels.map_or(Vec::new(), |(inside, _)| matchers(inside)),
        ));
    }
    found
}

/// The labels in `by (…)` and `on (…)`.
fn grouped(query: &str) -> Vec<&str> {
    let mut labels = Vec::new();
    for word in ["by (", "on ("] {
        for (at, _) in query.match_indices(word) {
            let inside = &query[at + word.len()..];
            let (inside, _) = inside.split_once(')').unwrap();
            labels.extend(inside.split(',').map(str::trim));
        }
    }
    labels
}

fn fault(query: &str, series: &Series) -> Option<String> {
    // Prometheus itself adds these
    let is_foreign = |label: &str| ["instance", "job"].contains(&label);
    let selectors = selectors(query);
    for (name, wanted) in &selectors {
        let Some(labels) = series.get(name) else {
            return Some(format!("there is no {name}"));
        };
        for (label, operator, value) in wanted {
            if is_foreign(label) {
                continue;
            }
            let Some(values) = labels.get(label) else {
                return Some(format!("{name} has no {label}"));
            };
            assert!(["=", "!=", "=~", "!~"].contains(&operator.as_str()));
            // a variable of the dashboard may be anything
            let named = value.split('|').filter(|value| !value.starts_with('$'));
            let mut unknown = named.filter(|value| !values.contains(*value));
            if let Some(unknown) = unknown.next() {
                return Some(format!("{name} has no {label}=\"{unknown}\""));
            }
        }
        for label in grouped(query) {
            if !is_foreign(label) && !labels.contains_key(label) {
                return Some(format!("{name} has no {label} to group by"));
            }
        }
    }
    (selectors.is_empty() && !query.starts_with("up{job=\"mcp-bridged\"}"))
        .then(|| "no metric of ours".to_owned())
}

#[tokio::test]
async fn every_query_names_metrics_and_labels_that_are_there() {
    let daemon = eventful().await;
    let numbers = http::exchange(daemon.admin(), Request::get("/metrics")).await;
    let series = series(&numbers.text());
    let faults: Vec<_> = panels()
        .iter()
        .chain(&alerts())
        .filter_map(|query| {
            let fault = fault(&query.text, &series)?;
            Some(format!("{}: {fault}: {}", query.place, query.text))
        })
        .collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn a_query_that_asks_for_what_is_not_there_is_found_out() {
    let series = series(
        "# TYPE mcp_bridged_calls counter\nmcp_bridged_calls_total{bridge=\"a\",outcome=\"ok\"} 1\nmcp_bridged_connections 1\n",
    );
    for good in [
        "sum by (bridge) (rate(mcp_bridged_calls_total{instance=~\"$i\",outcome!=\"ok\"}[5m]))",
        "mcp_bridged_calls_total{bridge=~\"$bridge\"} unless on (instance) mcp_bridged_connections",
        "up{job=\"mcp-bridged\"} == 0",
    ] {
        assert_eq!(fault(good, &series), None, "{good}");
    }
    for bad in [
        "mcp_bridged_calls{bridge=\"a\"}",
        "mcp_bridged_calls_total{method=\"x\"}",
        "mcp_bridged_calls_total{outcome=~\"ok|timeout\"}",
        "sum by (state) (mcp_bridged_calls_total)",
        "up == 0",
    ] {
        assert!(fault(bad, &series).is_some(), "{bad}");
    }
}
