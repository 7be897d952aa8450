//! What `/metrics` tells of what all data threads of the node share: retained messages and filters.

use fulmar_router::RetainedCounts;
use fulmar_worker::Node;

use crate::metrics::{Exposition, Kind};

pub(super) fn expose(exposition: &mut Exposition, node: &Node) {
    let RetainedCounts {
        messages, bytes, tombstones, tombstone_bytes, expired_total, tombstones_dropped_total, ..
    } = node.retained_counts();
    let gauges = [
        ("retained_messages", messages, "Retained messages."),
        ("retained_bytes", bytes, "Bytes of retained messages, topics included."),
        ("retained_tombstones", tombstones, "Deleted retained messages that are remembered for nodes that are away."),
        ("retained_tombstone_bytes", tombstone_bytes, "Bytes of the topics of deleted retained messages."),
    ];
    for (name, value, help) in gauges {
        exposition.family(&format!("fulmar_{name}"), Kind::Gauge, help).sample(&[], value);
    }
    let counters = [
        ("retained_expired", expired_total, "Retained messages that were dropped because they expired."),
        (
            "retained_tombstones_dropped",
            tombstones_dropped_total,
            "Deletions of retained messages that were forgotten before their time, because there were too many.",
        ),
    ];
    for (name, value, help) in counters {
        exposition.family(&format!("fulmar_{name}_total"), Kind::Counter, help).sample(&[], value);
    }
}
