//! The topics of `$SYS` and the figures behind them. Names and units are those that users of mosquitto know.

use std::time::Duration;

use fulmar_router::RetainedCounts;
use fulmar_worker::{Counters, Gauges};

use super::load::{Load, WINDOWS};

/// How things stand with the node at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) counters: Counters,
    pub(crate) gauges: Gauges,
    pub(crate) retained: RetainedCounts,
    /// Clients that were connected at one time, at most.
    pub(crate) clients_max: u64,
    pub(crate) resident_bytes: u64,
    pub(crate) resident_bytes_max: u64,
    pub(crate) uptime: Duration,
}

impl Figures {
    fn sessions_absent(&self) -> u64 {
        self.gauges.sessions.saturating_sub(self.gauges.connections)
    }

    fn publishes_received(&self) -> u64 {
        let Counters { publishes_received_qos0, publishes_received_qos1, publishes_received_qos2, .. } = self.counters;
        publishes_received_qos0 + publishes_received_qos1 + publishes_received_qos2
    }

    /// Those to absent clients at QoS 0 are left out: nobody expects them to be kept.
    fn publishes_dropped(&self) -> u64 {
        let named = Counters::FIELDS.iter().zip(self.counters.values());
        let dropped = named.filter(|((field, _), _)| field.starts_with("dropped_") && *field != "dropped_absent");
        dropped.map(|(_, count)| count).sum()
    }
}

/// A figure under a topic.
struct Topic {
    /// Below [`ROOT`].
    name: &'static str,
    value: fn(&Figures) -> u64,
}

const ROOT: &str = "$SYS/broker/";

const TOPICS: &[Topic] = &[
    Topic { name: "clients/connected", value: |figures| figures.gauges.connections },
    Topic { name: "clients/active", value: |figures| figures.gauges.connections },
    Topic { name: "clients/disconnected", value: Figures::sessions_absent },
    Topic { name: "clients/inactive", value: Figures::sessions_absent },
    Topic { name: "clients/total", value: |figures| figures.gauges.sessions },
    Topic { name: "clients/maximum", value: |figures| figures.clients_max },
    Topic { name: "clients/expired", value: |figures| figures.counters.sessions_expired },
    Topic { name: "clients/slow", value: |figures| figures.gauges.slow_consumers },
    Topic { name: "messages/received", value: |figures| figures.counters.packets_received },
    Topic { name: "messages/sent", value: |figures| figures.counters.packets_sent },
    Topic { name: "messages/stored", value: |figures| figures.retained.messages as u64 },
    Topic { name: "store/messages/count", value: |figures| figures.retained.messages as u64 },
    Topic {
        name: "store/messages/bytes",
        value: |figures| figures.retained.bytes as u64 + figures.gauges.queued_bytes,
    },
    Topic { name: "retained messages/count", value: |figures| figures.retained.messages as u64 },
    Topic { name: "subscriptions/count", value: |figures| figures.gauges.subscriptions },
    Topic { name: "publish/messages/received", value: Figures::publishes_received },
    Topic { name: "publish/messages/sent", value: |figures| figures.counters.publishes_sent },
    Topic { name: "publish/messages/dropped", value: Figures::publishes_dropped },
    Topic { name: "publish/bytes/received", value: |figures| figures.counters.payload_bytes_received },
    Topic { name: "publish/bytes/sent", value: |figures| figures.counters.payload_bytes_sent },
    Topic { name: "bytes/received", value: |figures| figures.counters.bytes_received },
    Topic { name: "bytes/sent", value: |figures| figures.counters.bytes_sent },
    Topic { name: "heap/current", value: |figures| figures.resident_bytes },
    Topic { name: "heap/maximum", value: |figures| figures.resident_bytes_max },
];

/// What is told per minute, below `load/`.
const LOADS: &[Topic] = &[
    Topic { name: "messages/received", value: |figures| figures.counters.packets_received },
    Topic { name: "messages/sent", value: |figures| figures.counters.packets_sent },
    Topic { name: "publish/received", value: Figures::publishes_received },
    Topic { name: "publish/sent", value: |figures| figures.counters.publishes_sent },
    Topic { name: "publish/dropped", value: Figures::publishes_dropped },
    Topic { name: "bytes/received", value: |figures| figures.counters.bytes_received },
    Topic { name: "bytes/sent", value: |figures| figures.counters.bytes_sent },
    Topic { name: "sockets", value: |figures| figures.counters.connections_accepted },
    Topic {
        name: "connections",
        value: |figures| figures.counters.clients_connected + figures.counters.clients_refused,
    },
];

/// All topics, as figures come in one after the other.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    loads: [Load; LOADS.len()],
    last: Duration,
}

impl Topics {
    /// Every topic with what it says now.
    pub(crate) fn of(&mut self, figures: &Figures) -> Vec<(String, String)> {
        let since = figures.uptime.saturating_sub(std::mem::replace(&mut self.last, figures.uptime));
        let version = format!("fulmar version {}", env!("CARGO_PKG_VERSION"));
        let mut all = vec![
            (format!("{ROOT}version"), version),
            (format!("{ROOT}uptime"), format!("{} seconds", figures.uptime.as_secs())),
        ];
        all.extend(TOPICS.iter().map(|topic| (format!("{ROOT}{}", topic.name), (topic.value)(figures).to_string())));
        for (topic, load) in LOADS.iter().zip(&mut self.loads) {
            load.update((topic.value)(figures), since);
            for ((window, _), average) in WINDOWS.iter().zip(load.per_minute()) {
                all.push((format!("{ROOT}load/{}/{window}", topic.name), format!("{average:.2}")));
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_is_there_once_and_says_what_it_is_named_for() {
        let figures = Figures {
            counters: Counters {
                publishes_received_qos0: 1,
                publishes_received_qos2: 2,
                dropped_queue_full: 4,
                dropped_absent: 8,
                dropped_too_large: 16,
                ..Counters::default()
            },
            gauges: Gauges { connections: 3, sessions: 5, queued_bytes: 100, slow_consumers: 6, ..Gauges::default() },
            retained: RetainedCounts { messages: 7, bytes: 900, ..RetainedCounts::default() },
            clients_max: 9,
            uptime: Duration::from_millis(60_999),
            ..Figures::default()
        };
        let all = Topics::default().of(&figures);
        let names: std::collections::BTreeSet<_> = all.iter().map(|(topic, _)| topic).collect();
        assert_eq!(names.len(), all.len());
        let value = |name: &str| all.iter().find(|(topic, _)| topic == &format!("{ROOT}{name}")).unwrap().1.clone();
        for (name, wanted) in [
            ("uptime", "60 seconds"),
            ("clients/connected", "3"),
            ("clients/disconnected", "2"),
            ("clients/total", "5"),
            ("clients/maximum", "9"),
            ("clients/slow", "6"),
            ("publish/messages/received", "3"),
            ("publish/messages/dropped", "20"),
            ("retained messages/count", "7"),
            ("store/messages/bytes", "1000"),
            ("heap/current", "0"),
        ] {
            assert_eq!(value(name), wanted, "{name}");
        }
        // 3 in a minute and a second, of which the last minute has seen all but what has faded.
        assert_eq!(value("load/publish/received/1min"), "1.88");
    }
}
