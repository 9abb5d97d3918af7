//! The node's counters in the two text formats that Prometheus reads; totals only, without series per connection.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, prometheus_text, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{Registry, Unit};
use serde::Serialize;

use crate::faults::Faults;
use crate::net::node::Node;
use crate::snapshot::{ConnState, Flow, NodeSnapshot, Totals, UpstreamTotals};
use crate::verdict::LocalLimit;

/// A text format for the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `OpenMetrics` 1.0, which has units and info metrics.
    OpenMetrics,
    /// The text format 0.0.4 of Prometheus, which all readers support.
    Prometheus,
}

impl Format {
    /// Returns the media type, version included.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
        }
    }
}

/// Number of lines of this process's log that were dropped, because a node never waits for the reader of its log.
/// All nodes of a process share its log.
pub(crate) static LOG_LINES_LOST: AtomicU64 = AtomicU64::new(0);

/// Number of audit lines of this process that were dropped or could not be written. All nodes of a process share them.
pub(crate) static AUDIT_LINES_LOST: AtomicU64 = AtomicU64::new(0);

/// All states of a connection, so that an empty one is exported as 0.
const STATES: [ConnState; 8] = [
    ConnState::Head,
    ConnState::Connecting,
    ConnState::Waiting,
    ConnState::Delayed,
    ConnState::Streaming,
    ConnState::Lingering,
    ConnState::Idle,
    ConnState::Admin,
];

/// One label and its value.
type Label = [(&'static str, String); 1];

/// The series of one metric in insertion order: the library's own family has a random order, and outputs that are
/// compared or stored should differ only in values.
#[derive(Debug)]
struct Series<M>(Vec<(Label, M)>);

impl<M: EncodeMetric + TypedMetric> EncodeMetric for Series<M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(label, metric)| metric.encode(encoder.encode_family(label)?))
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Encodes the metrics as of now.
pub(crate) fn render(node: &Node, format: Format) -> Result<String, fmt::Error> {
    let snapshot = node.snapshot();
    let mut metrics = Registry::with_prefix("chainview");
    describe(&mut metrics, &snapshot);
    count_connections(&mut metrics, node, &snapshot);
    count_upstream(&mut metrics, snapshot.upstream);
    count_bodies(&mut metrics, &snapshot.totals.flow);
    count_tunnels(&mut metrics, &snapshot.totals);
    count_evidence(&mut metrics, node, &snapshot);
    let mut page = String::new();
    match format {
        Format::OpenMetrics => text::encode(&mut page, &metrics)?,
        Format::Prometheus => prometheus_text::encode(&mut page, &metrics)?,
    }
    Ok(page)
}

fn describe(metrics: &mut Registry, snapshot: &NodeSnapshot) {
    metrics.register("build", "The program", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
    let uptime = ConstGauge::new(snapshot.uptime_us as f64 / 1e6);
    metrics.register_with_unit("uptime", "Time since the node started", Unit::Seconds, uptime);
    let lost = ConstCounter::new(LOG_LINES_LOST.load(Relaxed));
    metrics.register("log_lines_dropped", "Lines of the process's log that were dropped", lost);
    let lost = ConstCounter::new(AUDIT_LINES_LOST.load(Relaxed));
    metrics.register("audit_lines_dropped", "Audit lines of the process that were dropped or not written", lost);
    metrics.register("draining", "1 while the node drains", ConstGauge::new(u32::from(snapshot.draining)));
    count_faults(metrics, snapshot.faults);
}

/// Rate limit, delay and faults, one metric per unit; inactive ones without a neutral value are absent.
fn count_faults(metrics: &mut Registry, faults: Faults) {
    let Faults { limit, delay_ms, jitter_ms, stall, fragment, truncate, reject } = faults;
    let mut register = |name: &str, help: &str, unit: Unit, value: Option<f64>| {
        if let Some(value) = value {
            metrics.register_with_unit(name, help, unit, ConstGauge::new(value));
        }
    };
    let (seconds, bytes) = (|ms: u64| Some(ms as f64 / 1000.0), |bytes: Option<u64>| bytes.map(|bytes| bytes as f64));
    let rate = Unit::Other("bytes_per_second".to_owned());
    register("rate_limit", "Limit on body bytes sent downstream", rate, bytes(limit));
    register("injected_delay", "Delay before each reply", Unit::Seconds, seconds(delay_ms));
    register("injected_jitter", "Largest random change of the delay", Unit::Seconds, seconds(jitter_ms));
    register("fragment", "Largest piece of a body", Unit::Bytes, bytes(fragment));
    register("truncate", "Length at which bodies are truncated", Unit::Bytes, bytes(truncate));
    let active = [
        ("jitter", jitter_ms > 0),
        ("stall", stall),
        ("fragment", fragment.is_some()),
        ("truncate", truncate.is_some()),
        ("reject", reject),
    ];
    let active = active.map(|(fault, on)| (label("fault", fault), ConstGauge::new(u32::from(on))));
    metrics.register("fault_active", "1 for a fault that is active", Series(active.into()));
}

fn count_connections(metrics: &mut Registry, node: &Node, snapshot: &NodeSnapshot) {
    let totals = snapshot.totals;
    let states = node.registry.states();
    let count = |state| ConstGauge::new(states.get(&state).copied().unwrap_or(0));
    let open = STATES.map(|state| (label("state", json_name(state)), count(state)));
    metrics.register("connections", "Open connections, by state", Series(open.into()));
    metrics.register("connections_accepted", "Connections accepted", ConstCounter::new(totals.accepted));
    let refused = ConstCounter::new(totals.refused);
    metrics.register("connections_refused", "Connections refused because the node was full", refused);
    let help = "Connections refused because --clients does not list their address";
    metrics.register("connections_denied", help, ConstCounter::new(totals.denied));
    let evicted = ConstCounter::new(node.registry.evicted());
    metrics.register("connections_evicted", "Idle connections closed to make room", evicted);
    metrics.register("requests_served", "File requests served completely", ConstCounter::new(totals.served));
    let help = "Files that changed after their last byte was sent, before a client without a digest had read it";
    metrics.register("late_changes", help, ConstCounter::new(node.late_changes.load(Relaxed)));
    let failed = node.registry.failures().into_iter();
    let failed = failed.map(|(reason, count)| (label("reason", json_name(reason)), ConstCounter::new(count))).collect();
    metrics.register("requests_failed", "File requests that failed, by reason", Series(failed));
}

/// Connections to next hops.
fn count_upstream(metrics: &mut Registry, totals: UpstreamTotals) {
    let UpstreamTotals { idle, opened, reused, expired, displaced, found_closed } = totals;
    let help = "Idle connections to next hops, kept for the next request";
    metrics.register("upstream_idle_connections", help, ConstGauge::new(idle));
    let mut count = |name: &str, help: &str, value| metrics.register(name, help, ConstCounter::new(value));
    count("upstream_connections_opened", "Connections to next hops opened", opened);
    count("upstream_connections_reused", "Requests sent on an idle connection to the next hop", reused);
    let unused = [("expired", expired), ("displaced", displaced), ("found_closed", found_closed)];
    let unused = unused.map(|(reason, value)| (label("reason", reason), ConstCounter::new(value)));
    let help = "Idle connections to next hops that ended before another request used them, by reason";
    metrics.register("upstream_connections_unused", help, Series(unused.into()));
}

fn count_bodies(metrics: &mut Registry, flow: &Flow) {
    let bytes = |count| ConstCounter::new(count);
    metrics.register_with_unit("received", "Body bytes read from upstream or disk", Unit::Bytes, bytes(flow.bytes_in));
    metrics.register_with_unit("sent", "Body bytes sent downstream", Unit::Bytes, bytes(flow.bytes_out));
    let kinds = [
        ("starved", flow.starved_us),
        ("blocked", flow.blocked_us),
        ("limited", flow.limited_us),
        ("delayed", flow.reply_us),
    ];
    let waits = Series(kinds.map(|(kind, us)| (label("kind", kind), ConstCounter::new(us as f64 / 1e6))).into());
    let help = "Time bodies were starved of input, blocked on output, rate-limited, or delayed before they began";
    metrics.register_with_unit("wait", help, Unit::Seconds, waits);
    let active = ConstCounter::new(flow.active_us as f64 / 1e6);
    metrics.register_with_unit("active", "Time with a body in transfer", Unit::Seconds, active);
}

/// Tunnels, and their bytes toward next hops; those toward clients are counted like bodies.
fn count_tunnels(metrics: &mut Registry, totals: &Totals) {
    metrics.register("tunnels_opened", "Tunnels opened", ConstCounter::new(totals.tunnels));
    let flow = &totals.upstream_flow;
    let help = "Bytes read from clients in tunnels";
    metrics.register_with_unit("tunnel_received", help, Unit::Bytes, ConstCounter::new(flow.bytes_in));
    let help = "Bytes sent to next hops in tunnels";
    metrics.register_with_unit("tunnel_sent", help, Unit::Bytes, ConstCounter::new(flow.bytes_out));
}

/// The evidence for the verdict that one node has.
fn count_evidence(metrics: &mut Registry, node: &Node, snapshot: &NodeSnapshot) {
    if let Some(load) = snapshot.load {
        let seconds = |us: u64| ConstCounter::new(us as f64 / 1e6);
        let help = "Processor time of the process";
        metrics.register_with_unit("process_cpu", help, Unit::Seconds, seconds(load.process_us));
        let help = "Time the thread that moves bodies was ready to run but had no processor";
        metrics.register_with_unit("run_delay", help, Unit::Seconds, seconds(load.run_delay_us));
    }
    let gauge = |bytes: u64| ConstGauge::new(bytes as f64);
    let help = "Body bytes received and not known to have arrived at the next stage";
    metrics.register_with_unit("buffered", help, Unit::Bytes, gauge(snapshot.buffered()));
    let unread = snapshot.connections.iter().map(|conn| conn.queued_in).sum();
    metrics.register_with_unit(
        "queued_in",
        "Body bytes in the kernel's receive queue, not yet read",
        Unit::Bytes,
        gauge(unread),
    );
    let sent = snapshot.connections.iter().map(|conn| conn.queued_out).sum();
    let help = "Body bytes sent and not yet acknowledged";
    metrics.register_with_unit("queued_out", help, Unit::Bytes, gauge(sent));
    let now = node.local_limit();
    let limit = LocalLimit::ALL.map(|each| (label("limit", each.label()), ConstGauge::new(u32::from(each == now))));
    let help = "1 for what limits this node's bodies over the last second, by its own evidence";
    metrics.register("limit", help, Series(limit.into()));
}

/// Returns the name used in JSON.
fn json_name(value: impl Serialize) -> String {
    let json_name = serde_json::to_value(value).ok();
    json_name.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}

fn label(name: &'static str, value: impl Into<String>) -> Label {
    [(name, value.into())]
}
