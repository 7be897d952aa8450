//! What `/metrics` shows: the data threads' reports summed up, what the control side counts, and the process itself.
//!
//! Nothing is counted here on the path of a message: data threads count in plain numbers and report now and then.

mod auth;
mod durable;
mod exposition;
mod links;
mod member;
mod process;
mod report;
mod stores;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use fulmar_worker::{Counters, Gauges, Refused};

use crate::link::Links;
use crate::pressure::MemoryState;
use crate::reactor::{LAG_BOUNDS, LagCounts};
use crate::store;

pub(crate) use auth::AuthMetrics;
pub(crate) use exposition::{Exposition, Kind};
pub(crate) use process::resident_bytes;
pub(crate) use report::{Numbers, ThreadReport};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What happens outside the workers: on the control side and in the reactors.
#[derive(Debug, Default)]
pub(crate) struct ControlMetrics {
    /// TLS clients that failed before their first packet.
    pub(crate) tls_handshake_failures: Count,
    /// TLS clients that were silent for too long before their first packet.
    pub(crate) tls_timeouts: Count,
    /// TLS clients that made no progress while others waited.
    pub(crate) tls_crowded_out: Count,
    /// Times that accepting rested because descriptors or memory were short.
    pub(crate) accept_rests: Count,
    /// Certificates taken into use after a change of their files.
    pub(crate) certificate_reloads: Count,
    /// Changed certificates that were no good.
    pub(crate) certificate_reload_failures: Count,
    /// Attempts to dial peers.
    pub(crate) link_dials: Count,
    /// Attempts to dial peers that failed.
    pub(crate) link_dial_failures: Count,
    /// Inbound connections of peers that failed or were refused.
    pub(crate) link_refusals: Count,
    /// Sockets closed before the peer had read the last bytes, because too many were closing at a time.
    pub(crate) lingering_cut: Count,
    /// HTTP connections closed for newer ones, because too many were open.
    pub(crate) http_crowded_out: Count,
    /// HTTP connections closed because no whole request came in time.
    pub(crate) http_timeouts: Count,
    /// Limits that are met before a data thread has the connection.
    pub(crate) limits: LimitHits,
}

/// What is counted as data threads count it, by others.
#[derive(Debug, Default)]
pub(crate) struct LimitHits(Mutex<Counters>);

impl LimitHits {
    /// A connection was not taken.
    pub(crate) fn refused(&self, refused: Refused) {
        self.lock().refused(refused);
    }

    /// Accepting rested, because connections came as fast as they may.
    pub(crate) fn connect_rate_reached(&self) {
        self.lock().limit_hits_listener_connects_per_second += 1;
    }

    fn counters(&self) -> Counters {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Counters> {
        self.0.lock().expect("nothing panics while a number grows")
    }
}

/// Everything that `/metrics` reads.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) version: &'static str,
    /// The node's name.
    pub(crate) node: String,
    pub(crate) node_id: u64,
    pub(crate) threads: Vec<Arc<ThreadReport>>,
    pub(crate) control: Arc<ControlMetrics>,
    pub(crate) memory: Arc<MemoryState>,
    pub(crate) log_lines_dropped: Arc<AtomicU64>,
    /// None: the broker is alone.
    pub(crate) links: Option<Arc<Links>>,
    /// None: nothing outlives the process.
    pub(crate) store: Option<Arc<store::Report>>,
    pub(crate) auth: AuthMetrics,
}

impl Metrics {
    /// All metrics in the text format of Prometheus.
    pub(crate) fn expose(&self) -> String {
        let Metrics { version, node, node_id, threads, control, memory, log_lines_dropped, links, store, auth } = self;
        let mut exposition = Exposition::default();
        exposition
            .family("fulmar_build_info", Kind::Gauge, "The version that runs; always 1.")
            .sample(&[("version", version)], 1);
        let help = "The node that this is: its name, its id and the version that runs; always 1.";
        let labels = [("node", node.as_str()), ("node_id", &format!("{node_id:016x}")), ("version", version)];
        exposition.family("fulmar_node_info", Kind::Gauge, help).sample(&labels, 1);
        let mut numbers: Vec<Numbers> = threads.iter().map(|report| report.numbers()).collect();
        numbers.push(Numbers { counters: control.limits.counters(), ..Numbers::default() });
        expose_counters(&mut exposition, &numbers);
        expose_gauges(&mut exposition, &numbers);
        expose_lag(&mut exposition, &numbers);
        expose_memory(&mut exposition, memory);
        links::expose(&mut exposition, &numbers, links.as_deref());
        expose_control(&mut exposition, control);
        stores::expose(&mut exposition, &auth.node);
        durable::expose(&mut exposition, store.as_deref());
        member::expose(&mut exposition, store.as_deref());
        auth::expose(&mut exposition, auth);
        let dropped = log_lines_dropped.load(Ordering::Relaxed);
        let help = "Log lines dropped because nobody read them fast enough.";
        exposition.family("fulmar_log_lines_dropped_total", Kind::Counter, help).sample(&[], dropped);
        process::expose(&mut exposition);
        exposition.into_text()
    }
}

/// Counters whose names differ in their last or first part only are one metric with a label.
fn family_of(field: &str) -> (String, Option<(&'static str, String)>) {
    if let Some((name, qos)) = field.split_once("_qos") {
        return (format!("fulmar_{name}_total"), Some(("qos", qos.to_owned())));
    }
    for (prefix, name, label) in [
        ("dropped_", "dropped", "reason"),
        ("auth_results_", "auth_results", "result"),
        ("overload_", "overload_actions", "action"),
    ] {
        if let Some(value) = field.strip_prefix(prefix) {
            return (format!("fulmar_{name}_total"), Some((label, value.to_owned())));
        }
    }
    if let Some(limit) = field.strip_prefix("limit_hits_") {
        return (LIMIT_HITS.to_owned(), Some(("limit", setting_name(limit))));
    }
    (format!("fulmar_{field}_total"), None)
}

/// How often each limit was reached.
const LIMIT_HITS: &str = "fulmar_limit_hits_total";

/// The name of a limit in the configuration, for who wants to change it.
fn setting_name(field: &str) -> String {
    let (listener, field) = match field.strip_prefix("listener_") {
        Some(field) => ("listeners[].limits.", field),
        None => ("", field),
    };
    let mut words = field.split('_');
    let first = words.next().unwrap_or_default();
    let capitalised = words.map(|word| [&word[..1].to_uppercase(), &word[1..]].concat());
    [listener.to_owned(), first.to_owned()].into_iter().chain(capitalised).collect()
}

fn family_help<'a>(name: &str, help: &'a str) -> &'a str {
    match name {
        "fulmar_publishes_received_total" => "PUBLISH packets received, by QoS.",
        "fulmar_deliveries_total" => "PUBLISH packets sent, or queued to be sent, by QoS.",
        "fulmar_auth_results_total" => "What became of clients that wanted to be let in, by result.",
        "fulmar_overload_actions_total" => "What was done to use less memory while it was short, by action.",
        LIMIT_HITS => "How often a limit was reached, by its name in the configuration.",
        "fulmar_dropped_total" => "Messages not delivered, by reason.",
        _ => help.trim(),
    }
}

fn expose_counters(exposition: &mut Exposition, numbers: &[Numbers]) {
    let mut sums = vec![0; Counters::FIELDS.len()];
    for numbers in numbers {
        for (sum, value) in sums.iter_mut().zip(numbers.counters.values()) {
            *sum += value;
        }
    }
    for ((field, help), sum) in Counters::FIELDS.iter().zip(sums) {
        let (name, label) = family_of(field);
        let help = family_help(&name, help);
        let label = label.as_ref().map(|(label, value)| (*label, value.as_str()));
        exposition.family(&name, Kind::Counter, help).sample(label.as_slice(), sum);
    }
}

fn expose_gauges(exposition: &mut Exposition, numbers: &[Numbers]) {
    for (index, (field, help)) in Gauges::FIELDS.iter().enumerate() {
        let sum: u64 = numbers.iter().map(|numbers| numbers.gauges.values()[index]).sum();
        exposition.family(&format!("fulmar_{field}"), Kind::Gauge, help.trim()).sample(&[], sum);
    }
}

fn expose_lag(exposition: &mut Exposition, numbers: &[Numbers]) {
    let mut sum = LagCounts::default();
    for Numbers { lag, .. } in numbers {
        sum.probes.iter_mut().zip(lag.probes).for_each(|(sum, probes)| *sum += probes);
        sum.waited += lag.waited;
    }
    let help = "How long whoever comes at any time waits until the event loop of its data thread looks at what it sent: \
                what somebody who came every 10 ms would have met.";
    let ends = LAG_BOUNDS.iter().map(|(_, end)| *end);
    let mut family = exposition.family("fulmar_loop_lag_seconds", Kind::Histogram, help);
    family.histogram(ends, &sum.probes, sum.waited.as_secs_f64());
}

fn expose_memory(exposition: &mut Exposition, memory: &MemoryState) {
    let MemoryState { used, granted, pressure } = memory;
    let gauges = [
        (
            "memory_used_bytes",
            used,
            "Memory that counts against what is granted, without files that the kernel can drop.",
        ),
        ("memory_granted_bytes", granted, "Memory that the configuration, the control group or the machine grants."),
        (
            "memory_pressure",
            pressure,
            "How short memory is: 0 not at all, 1 new work is refused, 2 clients are closed.",
        ),
    ];
    for (name, value, help) in gauges {
        let value = value.load(Ordering::Relaxed);
        exposition.family(&format!("fulmar_{name}"), Kind::Gauge, help).sample(&[], value);
    }
}

fn expose_control(exposition: &mut Exposition, control: &ControlMetrics) {
    let ControlMetrics {
        tls_handshake_failures,
        tls_timeouts,
        tls_crowded_out,
        accept_rests,
        certificate_reloads,
        certificate_reload_failures,
        link_dials,
        link_dial_failures,
        link_refusals,
        lingering_cut,
        http_crowded_out,
        http_timeouts,
        limits: _,
    } = control;
    let counters = [
        ("tls_handshake_failures", tls_handshake_failures, "TLS clients that failed before their first packet."),
        ("tls_timeouts", tls_timeouts, "TLS clients that were silent for too long before their first packet."),
        ("tls_crowded_out", tls_crowded_out, "TLS clients closed because they made no progress while others waited."),
        ("accept_rests", accept_rests, "Times that accepting rested because descriptors or memory were short."),
        ("certificate_reloads", certificate_reloads, "Certificates taken into use after a change of their files."),
        ("certificate_reload_failures", certificate_reload_failures, "Changed certificates that were no good."),
        ("link_dials", link_dials, "Attempts to dial peers."),
        ("link_dial_failures", link_dial_failures, "Attempts to dial peers that failed."),
        ("link_refusals", link_refusals, "Inbound connections of peers that failed or were refused."),
        (
            "lingering_cut",
            lingering_cut,
            "Sockets closed before their last bytes were read, because many were closing.",
        ),
        ("http_crowded_out", http_crowded_out, "HTTP connections closed for newer ones, because too many were open."),
        ("http_timeouts", http_timeouts, "HTTP connections closed because no whole request came in time."),
    ];
    for (name, count, help) in counters {
        exposition.family(&format!("fulmar_{name}_total"), Kind::Counter, help).sample(&[], count.get());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use fulmar_config::AuthConfig;
    use fulmar_worker::{AuthSettings, LinkCounters, Node, NodeSettings};

    use crate::auth::AuthFiles;

    use super::*;

    fn metrics(threads: Vec<Arc<ThreadReport>>) -> Metrics {
        let control = Arc::new(ControlMetrics::default());
        control.accept_rests.add(2);
        let files = AuthFiles::load(&AuthConfig::default()).unwrap();
        Metrics {
            version: "1.2.3",
            node: "broker-0".to_owned(),
            node_id: 7,
            threads,
            control,
            memory: Arc::default(),
            log_lines_dropped: Arc::default(),
            links: None,
            store: None,
            auth: AuthMetrics { node: Arc::new(node()), files: Arc::new(files), pool: None },
        }
    }

    fn node() -> Node {
        Node::new(NodeSettings {
            node_id: 7,
            incarnation: 1,
            name: "broker-0".to_owned(),
            threads: 1,
            limits: fulmar_worker::Limits::default(),
            anonymous: Vec::new(),
            auth: AuthSettings::new([7; 32]),
            seed: 7,
            views: false,
            store_shards: None,
            wall_clock_microseconds: 0,
            start: Instant::now(),
        })
    }

    fn report(numbers: Numbers) -> Arc<ThreadReport> {
        let report = ThreadReport::default();
        report.publish(numbers);
        Arc::new(report)
    }

    #[test]
    fn threads_are_summed_and_links_are_summed_by_peer() {
        let lane = |peer: &str, publishes_sent| LinkCounters {
            peer: peer.to_owned(),
            publishes_sent,
            connected: true,
            ..LinkCounters::default()
        };
        let numbers = |connections, links| Numbers {
            counters: Counters { publishes_received_qos1: 5, dropped_expired: 1, ..Counters::default() },
            gauges: Gauges { connections, ..Gauges::default() },
            links,
            lag: LagCounts::default(),
        };
        let one = report(numbers(3, vec![lane("broker-1", 10), lane("broker-2", 1)]));
        let two = report(numbers(4, vec![lane("broker-1", 20)]));
        let text = metrics(vec![one, two]).expose();
        for line in [
            "fulmar_build_info{version=\"1.2.3\"} 1",
            "fulmar_node_info{node=\"broker-0\",node_id=\"0000000000000007\",version=\"1.2.3\"} 1",
            "fulmar_connections 7",
            "fulmar_publishes_received_total{qos=\"0\"} 0",
            "fulmar_publishes_received_total{qos=\"1\"} 10",
            "fulmar_dropped_total{reason=\"expired\"} 2",
            "fulmar_link_publishes_sent_total{peer=\"broker-1\"} 30",
            "fulmar_link_publishes_sent_total{peer=\"broker-2\"} 1",
            "fulmar_link_lanes_connected{peer=\"broker-1\"} 2",
            "fulmar_accept_rests_total 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn every_metric_has_a_help_text_and_a_type_once() {
        let text = metrics(vec![report(Numbers::default())]).expose();
        let mut described = std::collections::HashSet::new();
        for line in text.lines().filter(|line| line.starts_with("# HELP ")) {
            let mut words = line.split(' ').skip(2);
            let name = words.next().unwrap();
            assert!(described.insert(name.to_owned()), "{name} is described twice");
            assert!(words.count() >= 2, "{line}");
        }
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            // Of a histogram the parts are shown.
            let parts = ["", "_bucket", "_sum", "_count"];
            let mut families = parts.iter().filter_map(|part| name.strip_suffix(part));
            assert!(families.any(|name| described.contains(name)), "{name} has no help text");
            assert!(name.starts_with("fulmar_") || name.starts_with("process_"), "{name}");
        }
    }
}
