//! The text: one collector that walks all numbers family by family, as OpenMetrics wants them grouped.

use std::fmt::{Error, Write};
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::labels::{
    Dropped, MethodLabel, Outcome, Refused, StateLabel, ToolOutcome, TransportLabel,
};
use super::{BridgeMetrics, GatewayMetrics, ProcessMetrics, lock};

/// The text of these numbers.
pub(super) fn text(
    process: Arc<ProcessMetrics>,
    gateway: Option<Arc<GatewayMetrics>>,
    bridges: Vec<Arc<BridgeMetrics>>,
) -> String {
    let mut registry = Registry::with_prefix("mcp_bridged");
    registry.register_collector(Box::new(View {
        process,
        gateway,
        bridges,
    }));
    let mut text = String::with_capacity(16 << 10);
    text::encode(&mut text, &registry).expect("writing to a String cannot fail");
    text
}

#[derive(Debug)]
struct View {
    process: Arc<ProcessMetrics>,
    gateway: Option<Arc<GatewayMetrics>>,
    bridges: Vec<Arc<BridgeMetrics>>,
}

/// Label names and values; the encoder escapes the values.
struct Labels<'a, const N: usize>([(&'a str, &'a str); N]);

/// One family: its metadata was written, its samples may follow.
struct Family<'a>(MetricEncoder<'a>);

impl Collector for View {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> Result<(), Error> {
        self.process(&mut out)?;
        if let Some(gateway) = &self.gateway {
            self.gateway(gateway, &mut out)?;
        }
        if self.bridges.is_empty() {
            return Ok(());
        }
        self.calls(&mut out)?;
        self.events(&mut out)?;
        self.levels(&mut out)?;
        self.bytes(&mut out)
    }
}

impl View {
    fn process(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        gauge(out, "connections", "Client connections open now", None)?
            .0
            .encode_gauge(&self.process.connections.get())?;
        let help = "Connections closed at once because of a limit";
        counter(out, "connections_refused", help, None)?
            .0
            .encode_counter::<NoLabelSet, _, u64>(&self.process.connections_refused.get(), None)?;
        let help = "Log lines lost because their reader did not keep up or the disk was full";
        counter(out, "log_lines_dropped", help, None)?
            .0
            .encode_counter::<NoLabelSet, _, u64>(&self.process.log_lines_dropped.get(), None)?;
        let help = "Requests that no trace has because the collector did not take them in time";
        counter(out, "spans_dropped", help, None)?
            .0
            .encode_counter::<NoLabelSet, _, u64>(&self.process.spans_dropped.get(), None)?;
        let help = "Bytes queued for clients, over all bridges";
        gauge(out, "output_queue", help, Some(&Unit::Bytes))?
            .0
            .encode_gauge(&self.process.output_queue_bytes.get())
    }

    /// Families without a sample are left out: most programs have no gateway.
    fn gateway(
        &self,
        gateway: &GatewayMetrics,
        out: &mut DescriptorEncoder<'_>,
    ) -> Result<(), Error> {
        let tables = gateway.lock();
        if !tables.requests.is_empty() {
            let help = "Requests to models that are over, by API, model and outcome";
            let mut family = counter(out, "gateway_requests", help, None)?;
            for ((api, model, outcome), count) in &tables.requests {
                let labels = Labels([("api", *api), ("model", model), ("outcome", outcome)]);
                family.count(&labels, *count)?;
            }
            let help = "Requests to models that are being answered";
            gauge(out, "gateway_requests_in_progress", help, None)?
                .0
                .encode_gauge(&gateway.in_progress.get())?;
        }
        let limits = lock(&gateway.limits);
        if !limits.is_empty() {
            let help = "MCP sessions of the gateway open now";
            gauge(out, "gateway_sessions", help, None)?
                .0
                .encode_gauge(&gateway.sessions.get())?;
            let help = "Requests to the gateway turned away, by reason";
            let mut family = counter(out, "gateway_refused", help, None)?;
            for reason in Refused::ALL {
                let labels = Labels([("reason", reason.as_str())]);
                family.count(&labels, gateway.refused[reason as usize].get())?;
            }
            let help = "Limits of the gateway in force, by key of bridges.yaml; times in seconds, sizes in bytes";
            let mut family = gauge(out, "gateway_limit", help, None)?;
            for (limit, value) in limits.iter() {
                let labels = Labels([("limit", *limit)]);
                family.gauge(&labels, i64::try_from(*value).unwrap_or(i64::MAX))?;
            }
        }
        if !tables.rounds.is_empty() {
            let help = "Turns of models";
            let mut family = counter(out, "gateway_rounds", help, None)?;
            for (model, count) in &tables.rounds {
                family.count(&Labels([("model", model)]), *count)?;
            }
        }
        if !tables.tokens.is_empty() {
            let help = "Tokens, as the providers count them";
            let mut family = counter(out, "gateway_tokens", help, None)?;
            for ((model, kind), count) in &tables.tokens {
                family.count(&Labels([("model", model), ("kind", kind)]), *count)?;
            }
        }
        if tables.tools.is_empty() {
            return Ok(());
        }
        let help = "Tool calls that were executed for models and MCP clients of the gateway";
        let mut family = counter(out, "gateway_tool_calls", help, None)?;
        for (bridge, counts) in &tables.tools {
            for outcome in ToolOutcome::ALL {
                let labels = Labels([("bridge", bridge), ("outcome", outcome.as_str())]);
                family.count(&labels, counts[outcome as usize])?;
            }
        }
        let help = "Time of tool calls that were executed for models";
        let unit = Some(&Unit::Seconds);
        let kind = MetricType::Histogram;
        let mut family = describe(out, "gateway_tool_duration", help, unit, kind)?;
        for (bridge, durations) in &tables.durations {
            let buckets = durations.buckets();
            let count = buckets.iter().map(|&(_, n)| n).sum();
            family
                .0
                .encode_family(&Labels([("bridge", bridge)]))?
                .encode_histogram::<NoLabelSet>(durations.sum(), count, &buckets, None)?;
        }
        Ok(())
    }

    fn calls(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let help = "Requests of clients that are over, by method and outcome";
        let mut family = counter(out, "calls", help, None)?;
        for (bridge, method) in self.methods() {
            for outcome in Outcome::ALL {
                let count = bridge.calls[method as usize][outcome as usize].get();
                if count > 0 {
                    let labels = Labels([
                        ("bridge", &bridge.name),
                        ("method", method.as_str()),
                        ("outcome", outcome.as_str()),
                    ]);
                    family.count(&labels, count)?;
                }
            }
        }
        let help = "Time from a request's arrival to its answer";
        let unit = Some(&Unit::Seconds);
        let mut family = describe(out, "call_duration", help, unit, MetricType::Histogram)?;
        for (bridge, method) in self.methods() {
            let durations = &bridge.durations[method as usize];
            let buckets = durations.buckets();
            let count = buckets.iter().map(|&(_, n)| n).sum();
            if count > 0 {
                let labels = Labels([("bridge", &bridge.name), ("method", method.as_str())]);
                family
                    .0
                    .encode_family(&labels)?
                    .encode_histogram::<NoLabelSet>(durations.sum(), count, &buckets, None)?;
            }
        }
        Ok(())
    }

    fn events(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let help = "Messages that reached nobody, by reason";
        let mut family = counter(out, "dropped", help, None)?;
        for bridge in &self.bridges {
            for reason in Dropped::ALL {
                let labels = Labels([("bridge", &bridge.name), ("reason", reason.as_str())]);
                family.count(&labels, bridge.dropped[reason as usize].get())?;
            }
        }
        let help = "Requests and connections turned away, by reason";
        let mut family = counter(out, "refused", help, None)?;
        for bridge in &self.bridges {
            for reason in Refused::ALL {
                let labels = Labels([("bridge", &bridge.name), ("reason", reason.as_str())]);
                family.count(&labels, bridge.refused[reason as usize].get())?;
            }
        }
        let help = "Starts of a server after its first";
        let mut family = counter(out, "restarts", help, None)?;
        for bridge in &self.bridges {
            family.count(&Labels([("bridge", &bridge.name)]), bridge.restarts.get())?;
        }
        Ok(())
    }

    fn levels(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let help = "1 while the bridge's server can answer, as /health says";
        let mut family = gauge(out, "up", help, None)?;
        for bridge in &self.bridges {
            family.gauge(&Labels([("bridge", &bridge.name)]), bridge.up.get())?;
        }
        let mut family = gauge(out, "sessions", "Sessions open now, by transport", None)?;
        for bridge in &self.bridges {
            for transport in TransportLabel::ALL {
                let labels = Labels([("bridge", &bridge.name), ("transport", transport.as_str())]);
                family.gauge(&labels, bridge.sessions[transport as usize].get())?;
            }
        }
        let help = "Requests of clients that the servers have not answered";
        let mut family = gauge(out, "calls_in_flight", help, None)?;
        for bridge in &self.bridges {
            let labels = Labels([("bridge", &bridge.name)]);
            family.gauge(&labels, bridge.in_flight.get())?;
        }
        let help = "Instances of the server, by state";
        let mut family = gauge(out, "instances", help, None)?;
        for bridge in &self.bridges {
            for state in StateLabel::ALL {
                let labels = Labels([("bridge", &bridge.name), ("state", state.as_str())]);
                family.gauge(&labels, bridge.instances[state as usize].get())?;
            }
        }
        let help = "Limits in force, by key of bridges.yaml; times in seconds, sizes in bytes";
        let mut family = gauge(out, "limit", help, None)?;
        for bridge in &self.bridges {
            for (limit, value) in lock(&bridge.limits).iter() {
                let labels = Labels([("bridge", &bridge.name), ("limit", limit)]);
                family.gauge(&labels, i64::try_from(*value).unwrap_or(i64::MAX))?;
            }
        }
        Ok(())
    }

    fn bytes(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let unit = Some(&Unit::Bytes);
        let help = "Bytes queued for the server and for this bridge's clients";
        let mut family = gauge(out, "queue", help, unit)?;
        for bridge in &self.bridges {
            family.gauge(
                &Labels([("bridge", &bridge.name)]),
                bridge.queue_bytes.get(),
            )?;
        }
        type Pick = fn(&BridgeMetrics) -> u64;
        let streams: [(&str, &str, Pick); 3] = [
            ("stdin", "Bytes written to servers' stdin", |b| {
                b.stdin_bytes.get()
            }),
            ("stdout", "Bytes read from servers' stdout", |b| {
                b.stdout_bytes.get()
            }),
            ("stderr", "Bytes read from servers' stderr", |b| {
                b.stderr_bytes.get()
            }),
        ];
        for (name, help, bytes) in streams {
            let mut family = counter(out, name, help, unit)?;
            for bridge in &self.bridges {
                family.count(&Labels([("bridge", &bridge.name)]), bytes(bridge))?;
            }
        }
        Ok(())
    }

    fn methods(&self) -> impl Iterator<Item = (&BridgeMetrics, MethodLabel)> {
        self.bridges
            .iter()
            .flat_map(|bridge| MethodLabel::ALL.map(|method| (bridge.as_ref(), method)))
    }
}

impl Family<'_> {
    fn count<const N: usize>(&mut self, labels: &Labels<'_, N>, value: u64) -> Result<(), Error> {
        let mut sample = self.0.encode_family(labels)?;
        sample.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn gauge<const N: usize>(&mut self, labels: &Labels<'_, N>, value: i64) -> Result<(), Error> {
        self.0.encode_family(labels)?.encode_gauge(&value)
    }
}

impl<const N: usize> EncodeLabelSet for Labels<'_, N> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), Error> {
        for (name, value) in self.0 {
            let mut label = encoder.encode_label();
            let mut key = label.encode_label_key()?;
            key.write_str(name)?;
            let mut out = key.encode_label_value()?;
            out.write_str(value)?;
            out.finish()?;
        }
        Ok(())
    }
}

fn counter<'a>(
    out: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &str,
    unit: Option<&'a Unit>,
) -> Result<Family<'a>, Error> {
    describe(out, name, help, unit, MetricType::Counter)
}

fn gauge<'a>(
    out: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &str,
    unit: Option<&'a Unit>,
) -> Result<Family<'a>, Error> {
    describe(out, name, help, unit, MetricType::Gauge)
}

fn describe<'a>(
    out: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &str,
    unit: Option<&'a Unit>,
    kind: MetricType,
) -> Result<Family<'a>, Error> {
    out.encode_descriptor(name, help, unit, kind).map(Family)
}
