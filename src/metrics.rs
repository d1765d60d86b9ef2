//! What is counted, and its text for Prometheus.
//!
//! Every bridge has one [`BridgeMetrics`]: plain atomics in arrays that small enums index, so that counting on the data path
//! costs a few relaxed additions and no look-up, lock or allocation. Names and labels exist only when somebody asks for the
//! text: `render` copies the numbers into `prometheus_client`'s encoder. All names begin with `mcp_bridged_`.

mod gateway;
mod labels;
mod numbers;
mod render;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use gateway::GatewayMetrics;
pub use labels::{Dropped, MethodLabel, Outcome, Refused, StateLabel, ToolOutcome, TransportLabel};
pub use numbers::{Counter, Gauge};

use numbers::Histogram;

/// The `Content-Type` of [`Metrics::render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All numbers of the process.
#[derive(Debug)]
pub struct Metrics {
    process: Arc<ProcessMetrics>,
    gateway: Arc<GatewayMetrics>,
    bridges: Mutex<BTreeMap<String, Arc<BridgeMetrics>>>,
}

/// The numbers that belong to no bridge.
#[derive(Debug, Default)]
pub struct ProcessMetrics {
    /// Client connections that are open now.
    pub connections: Gauge,
    /// Connections closed at once because of a limit.
    pub connections_refused: Counter,
    /// Log lines lost because their reader did not keep up or the disk was full.
    pub log_lines_dropped: Counter,
    /// Bytes queued for clients, over all sessions of all bridges.
    pub output_queue_bytes: Gauge,
    /// Requests that are missing from an exported trace: the collector did not take them in time.
    pub spans_dropped: Counter,
}

/// The numbers of one bridge. They outlive its instances and a reload that keeps its name.
#[derive(Debug)]
pub struct BridgeMetrics {
    name: String,
    /// 1 while `/health` says 200, else 0.
    pub up: Gauge,
    /// Bytes written to the servers' stdin.
    pub stdin_bytes: Counter,
    /// Bytes read from the servers' stdout, what was dropped of them included.
    pub stdout_bytes: Counter,
    /// Bytes read from the servers' stderr.
    pub stderr_bytes: Counter,
    /// Bytes queued: towards the servers' stdin and towards this bridge's clients.
    pub queue_bytes: Gauge,
    /// Requests of clients that the servers have not answered.
    pub in_flight: Gauge,
    calls: [[Counter; Outcome::COUNT]; MethodLabel::COUNT],
    durations: [Histogram; MethodLabel::COUNT],
    dropped: [Counter; Dropped::COUNT],
    refused: [Counter; Refused::COUNT],
    sessions: [Gauge; TransportLabel::COUNT],
    instances: [Gauge; StateLabel::COUNT],
    restarts: Counter,
    limits: Mutex<Vec<(String, u64)>>,
}

impl Metrics {
    /// No bridges yet, all numbers zero.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            process: Arc::default(),
            gateway: Arc::default(),
            bridges: Mutex::default(),
        })
    }

    /// The numbers that belong to no bridge.
    #[must_use]
    pub fn process(&self) -> &Arc<ProcessMetrics> {
        &self.process
    }

    /// The numbers of the gateway.
    #[must_use]
    pub fn gateway(&self) -> &Arc<GatewayMetrics> {
        &self.gateway
    }

    /// The numbers of the bridge of that name; the same ones each time until [`Metrics::forget`].
    #[must_use]
    pub fn bridge(&self, name: &str) -> Arc<BridgeMetrics> {
        let mut bridges = lock(&self.bridges);
        if let Some(known) = bridges.get(name) {
            return Arc::clone(known);
        }
        let fresh = Arc::new(BridgeMetrics::new(name));
        bridges.insert(name.to_owned(), Arc::clone(&fresh));
        fresh
    }

    /// Leaves a removed bridge out of the text from now on. Who still holds its numbers counts into nothing.
    pub fn forget(&self, name: &str) {
        lock(&self.bridges).remove(name);
    }

    /// Everything as OpenMetrics text, which Prometheus reads too.
    #[must_use]
    pub fn render(&self) -> String {
        let bridges = lock(&self.bridges).values().cloned().collect();
        render::text(
            Arc::clone(&self.process),
            Some(self.gateway.clone()),
            bridges,
        )
    }

    /// The same text with only the gateway's series and those of the process.
    #[must_use]
    pub fn render_gateway(&self) -> String {
        let gateway = Some(self.gateway.clone());
        render::text(Arc::clone(&self.process), gateway, Vec::new())
    }

    /// The same text with only one bridge's series and those of the process.
    #[must_use]
    pub fn render_bridge(&self, name: &str) -> String {
        let bridges = lock(&self.bridges).get(name).cloned().into_iter().collect();
        render::text(Arc::clone(&self.process), None, bridges)
    }
}

impl BridgeMetrics {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            up: Gauge::default(),
            stdin_bytes: Counter::default(),
            stdout_bytes: Counter::default(),
            stderr_bytes: Counter::default(),
            queue_bytes: Gauge::default(),
            in_flight: Gauge::default(),
            calls: std::array::from_fn(|_| std::array::from_fn(|_| Counter::default())),
            durations: std::array::from_fn(|_| Histogram::default()),
            dropped: std::array::from_fn(|_| Counter::default()),
            refused: std::array::from_fn(|_| Counter::default()),
            sessions: std::array::from_fn(|_| Gauge::default()),
            instances: std::array::from_fn(|_| Gauge::default()),
            restarts: Counter::default(),
            limits: Mutex::default(),
        }
    }

    /// A client's request was answered, or given up; `took` runs from its arrival to its answer.
    pub fn call_finished(&self, method: MethodLabel, outcome: Outcome, took: Duration) {
        self.calls[method as usize][outcome as usize].inc();
        self.durations[method as usize].observe(took);
    }

    /// A message of a server, or a notification for a client, reached nobody.
    pub fn dropped(&self, reason: Dropped) {
        self.dropped[reason as usize].inc();
    }

    /// A client was turned away.
    pub fn refused(&self, reason: Refused) {
        self.refused[reason as usize].inc();
    }

    /// A server was started again after an exit.
    pub fn restarted(&self) {
        self.restarts.inc();
    }

    /// The sessions that are open now over one transport.
    #[must_use]
    pub fn sessions(&self, transport: TransportLabel) -> &Gauge {
        &self.sessions[transport as usize]
    }

    /// An instance went from one state to another; `None` is before its first and after its last.
    pub fn instance_state(&self, from: Option<StateLabel>, to: Option<StateLabel>) {
        if let Some(from) = from {
            self.instances[from as usize].dec();
        }
        if let Some(to) = to {
            self.instances[to as usize].inc();
        }
    }

    /// Replaces the limits that are shown, as `(key of bridges.yaml, value)`; times in seconds, sizes in bytes.
    pub fn limits(&self, limits: &[(&str, u64)]) {
        *lock(&self.limits) = limits
            .iter()
            .map(|&(key, value)| (key.to_owned(), value))
            .collect();
    }
}

/// A lock whose holder panicked still guards whole data here: every holder only copies.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn has(text: &str, line: &str) {
        assert!(text.lines().any(|l| l == line), "no line {line} in\n{text}");
    }

    #[test]
    fn one_name_gives_one_set_of_numbers_until_forgotten() {
        let metrics = Metrics::new();
        metrics.bridge("git").restarted();
        metrics.bridge("git").restarted();
        has(
            &metrics.render(),
            r#"mcp_bridged_restarts_total{bridge="git"} 2"#,
        );
        metrics.forget("git");
        assert!(!metrics.render().contains("git"));
        has(
            &{
                metrics.bridge("git").restarted();
                metrics.render()
            },
            r#"mcp_bridged_restarts_total{bridge="git"} 1"#,
        );
    }

    #[test]
    fn a_call_is_counted_by_method_and_outcome_and_timed_by_method() {
        let metrics = Metrics::new();
        let bridge = metrics.bridge("db");
        let call = MethodLabel::of("tools/call");
        bridge.call_finished(call, Outcome::Ok, Duration::from_micros(90));
        bridge.call_finished(call, Outcome::Ok, Duration::from_millis(3));
        bridge.call_finished(call, Outcome::Timeout, Duration::from_secs(400));
        let text = metrics.render();
        for line in [
            "# TYPE mcp_bridged_calls counter",
            r#"mcp_bridged_calls_total{bridge="db",method="tools/call",outcome="ok"} 2"#,
            r#"mcp_bridged_calls_total{bridge="db",method="tools/call",outcome="timeout"} 1"#,
            "# TYPE mcp_bridged_call_duration_seconds histogram",
            "# UNIT mcp_bridged_call_duration_seconds seconds",
            r#"mcp_bridged_call_duration_seconds_bucket{le="0.0001",bridge="db",method="tools/call"} 1"#,
            r#"mcp_bridged_call_duration_seconds_bucket{le="0.0025",bridge="db",method="tools/call"} 1"#,
            r#"mcp_bridged_call_duration_seconds_bucket{le="0.005",bridge="db",method="tools/call"} 2"#,
            r#"mcp_bridged_call_duration_seconds_bucket{le="300.0",bridge="db",method="tools/call"} 2"#,
            r#"mcp_bridged_call_duration_seconds_bucket{le="+Inf",bridge="db",method="tools/call"} 3"#,
            r#"mcp_bridged_call_duration_seconds_count{bridge="db",method="tools/call"} 3"#,
            r#"mcp_bridged_call_duration_seconds_sum{bridge="db",method="tools/call"} 400.00309"#,
        ] {
            has(&text, line);
        }
        assert!(!text.contains(r#"method="tools/list""#));
    }

    #[test]
    fn unknown_methods_share_one_label() {
        assert_eq!(
            MethodLabel::of("tools/call\"} 1\nforged"),
            MethodLabel::Other
        );
        assert_eq!(MethodLabel::of("tools/list"), MethodLabel::ToolsList);
        for label in MethodLabel::ALL {
            if label != MethodLabel::Other {
                assert_eq!(MethodLabel::of(label.as_str()), label);
            }
        }
    }

    #[test]
    fn drops_and_refusals_begin_at_zero_with_every_reason() {
        let metrics = Metrics::new();
        let bridge = metrics.bridge("db");
        bridge.dropped(Dropped::LateAnswer);
        bridge.refused(Refused::Key);
        let text = metrics.render();
        for line in [
            r#"mcp_bridged_dropped_total{bridge="db",reason="late_answer"} 1"#,
            r#"mcp_bridged_dropped_total{bridge="db",reason="garbage"} 0"#,
            r#"mcp_bridged_refused_total{bridge="db",reason="key"} 1"#,
            r#"mcp_bridged_refused_total{bridge="db",reason="in_flight"} 0"#,
        ] {
            has(&text, line);
        }
    }

    #[test]
    fn gauges_follow_instances_sessions_queues_and_limits() {
        let metrics = Metrics::new();
        let bridge = metrics.bridge("db");
        bridge.instance_state(None, Some(StateLabel::Starting));
        bridge.instance_state(Some(StateLabel::Starting), Some(StateLabel::Ready));
        bridge.sessions(TransportLabel::Sse).add(3);
        bridge.sessions(TransportLabel::Sse).dec();
        bridge.up.set(1);
        bridge.queue_bytes.add(100);
        bridge.in_flight.add(3);
        bridge.stdin_bytes.add(250);
        bridge.limits(&[("max_body", 16 << 20), ("max_sessions", 1000)]);
        metrics.process().connections.inc();
        metrics.process().log_lines_dropped.add(7);
        let text = metrics.render();
        for line in [
            r#"mcp_bridged_instances{bridge="db",state="starting"} 0"#,
            r#"mcp_bridged_instances{bridge="db",state="ready"} 1"#,
            r#"mcp_bridged_up{bridge="db"} 1"#,
            r#"mcp_bridged_sessions{bridge="db",transport="sse"} 2"#,
            r#"mcp_bridged_sessions{bridge="db",transport="streamable"} 0"#,
            r#"mcp_bridged_queue_bytes{bridge="db"} 100"#,
            r#"mcp_bridged_calls_in_flight{bridge="db"} 3"#,
            r#"mcp_bridged_stdin_bytes_total{bridge="db"} 250"#,
            r#"mcp_bridged_limit{bridge="db",limit="max_body"} 16777216"#,
            r#"mcp_bridged_limit{bridge="db",limit="max_sessions"} 1000"#,
            "mcp_bridged_connections 1",
            "mcp_bridged_log_lines_dropped_total 7",
            "# EOF",
        ] {
            has(&text, line);
        }
    }

    #[test]
    fn a_bridges_own_text_has_no_other_bridge() {
        let metrics = Metrics::new();
        metrics.bridge("db").restarted();
        metrics.bridge("git").restarted();
        let text = metrics.render_bridge("git");
        has(&text, r#"mcp_bridged_restarts_total{bridge="git"} 1"#);
        has(&text, "mcp_bridged_connections 0");
        assert!(!text.contains(r#""db""#));
        assert!(
            !metrics
                .render_bridge("nobody")
                .contains("mcp_bridged_restarts")
        );
    }

    #[test]
    fn label_values_are_escaped() {
        let metrics = Metrics::new();
        metrics.bridge("a\"b\\c\nd").restarted();
        has(
            &metrics.render(),
            r#"mcp_bridged_restarts_total{bridge="a\"b\\c\nd"} 1"#,
        );
    }

    #[test]
    fn every_family_stands_once_with_its_help() {
        let metrics = Metrics::new();
        let _ = metrics.bridge("db");
        let _ = metrics.bridge("git");
        let text = metrics.render();
        let mut seen = std::collections::BTreeSet::new();
        for line in text.lines().filter(|l| l.starts_with("# TYPE")) {
            let name = line.split(' ').nth(2).unwrap();
            assert!(seen.insert(name.to_owned()), "{name} twice");
            assert!(text.contains(&format!("# HELP {name} ")), "{name}: no help");
        }
        assert!(seen.len() > 12);
    }
}
