//! What `/metrics` tells of the store that outlives the process: what is in it, its log, and how fast it commits. Of a
//! broker without a data folder that is nothing but descriptions.

use fulmar_store_raft::{Counts, State};

use crate::metrics::{Exposition, Kind};
use crate::store;

pub(super) fn expose(exposition: &mut Exposition, report: Option<&store::Report>) {
    let (counts, state) = match report.and_then(store::Report::get) {
        Some((counts, state)) => (Some(counts), Some(state)),
        None => (None, None),
    };
    let mut show = |name: &str, kind, help: &str, value: fn(&Counts) -> f64| {
        let name = format!("fulmar_store_{name}");
        let mut family = exposition.family(&name, kind, help);
        if let Some(counts) = &counts {
            family.sample(&[], value(counts));
        }
    };
    show("sessions", Kind::Gauge, "Sessions that the store keeps, of absent clients too.", |it| it.sessions as f64);
    show("subscriptions", Kind::Gauge, "Subscriptions of these sessions.", |it| it.subscriptions as f64);
    show("queued_messages", Kind::Gauge, "Messages in the queues of these sessions.", |it| it.queued as f64);
    show("retained_messages", Kind::Gauge, "Retained messages that the store keeps.", |it| it.retained as f64);
    show("bytes", Kind::Gauge, "Bytes of sessions, messages and retained messages in the store.", |it| it.bytes as f64);
    show("bytes_on_disk", Kind::Gauge, "Those of them of messages that are on the disk and not in memory.", |it| {
        it.bytes_on_disk as f64
    });
    show("body_file_bytes", Kind::Gauge, "Bytes of the files that these messages are in.", |it| {
        it.body_file_bytes as f64
    });
    show("body_bytes_read_total", Kind::Counter, "Bytes of messages that were read from the disk to be sent.", |it| {
        it.body_bytes_read as f64
    });
    show("log_bytes", Kind::Gauge, "Bytes of the write-ahead log on disk.", |it| it.log_bytes as f64);
    show("log_entries", Kind::Gauge, "Entries in the write-ahead log.", |it| it.log_entries as f64);
    show("questions_waiting", Kind::Gauge, "What clients asked of the store and was not proposed yet.", |it| {
        it.asks as f64
    });
    show("leaders", Kind::Gauge, "Shards that this node leads.", |it| it.leaders as f64);
    show("commits_total", Kind::Counter, "Entries that were committed.", |it| it.commits as f64);
    show(
        "commit_seconds_total",
        Kind::Counter,
        "How long they took from the proposal to the answer, together.",
        |it| it.commit_time.as_secs_f64(),
    );
    show("syncs_total", Kind::Counter, "Times that the log was synced to the disk.", |it| it.syncs as f64);
    show("snapshots_total", Kind::Counter, "Snapshots of shards that were written.", |it| it.snapshots as f64);
    show("queue_dropped_total", Kind::Counter, "Messages that made room for newer ones in full queues.", |it| {
        it.dropped as f64
    });
    show("queue_refused_total", Kind::Counter, "Messages that a queue had no room for.", |it| it.refused as f64);
    show("expired_total", Kind::Counter, "Messages whose time was over before they were sent.", |it| it.expired as f64);
    show("disk_full_refusals_total", Kind::Counter, "What was refused because the disk was full.", |it| {
        it.full_disk_refusals as f64
    });
    let help = "1 while the disk has no room and nothing durable is taken; it goes on by itself.";
    let mut family = exposition.family("fulmar_store_disk_full", Kind::Gauge, help);
    if let Some(state) = state {
        family.sample(&[], u8::from(matches!(state, State::Full { .. })));
    }
}
