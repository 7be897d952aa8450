//! What the nodes of a run are like, drawn from its seed: small bounds where they make rare things frequent.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use fulmar_log::disk::SimulatedDisk;
use fulmar_meta::ClusterId;
use fulmar_store_raft::Durability;
use fulmar_worker::Limits;

use crate::node::Shape;
use crate::random::{Chance, Random};

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) nodes: usize,
    shards: NonZeroU16,
    threads: Vec<u16>,
    pub(crate) durability: Durability,
    segment_bytes: u64,
    snapshot_log_bytes: u64,
    snapshot_portion_bytes: usize,
    log_bytes_max: u64,
    log_tail_bytes: u64,
    entry_bytes_max: u64,
    entry_targets_max: u64,
    unacknowledged_bytes_max: u64,
    uncommitted_entries_max: usize,
    cache_entries_max: usize,
    shard_memory_bytes: u64,
    body_file_bytes: u64,
    read_bytes_max: u64,
    /// What a sync takes at least, in microseconds.
    sync: u64,
    begins: u128,
    limits: Limits,
    /// A deliberate mistake that all nodes make.
    #[cfg(feature = "sabotage")]
    pub(crate) bug: Option<crate::Bug>,
}

impl Config {
    pub(crate) fn draw(random: &mut Random) -> Config {
        let nodes = random.pick(&[3, 3, 3, 3, 4, 5, 2, 1]);
        let is_small = random.percent(50);
        Config {
            nodes,
            shards: NonZeroU16::new(random.pick(&[1, 2, 3, 4])).expect("not 0"),
            threads: (0..16).map(|_| random.pick(&[1, 1, 2])).collect(),
            durability: Durability::Fsync,
            segment_bytes: random.pick(&[20_000, 100_000, 1 << 20]),
            snapshot_log_bytes: if is_small { random.pick(&[4000, 20_000]) } else { 1 << 30 },
            snapshot_portion_bytes: random.pick(&[1000, 20_000, 1 << 20]),
            log_bytes_max: if is_small { random.pick(&[20_000, 100_000]) } else { 1 << 30 },
            log_tail_bytes: random.pick(&[0, 1000, 100_000]),
            entry_bytes_max: random.pick(&[300, 262_144, 262_144]),
            entry_targets_max: random.pick(&[1, 2, 4096, 4096]),
            unacknowledged_bytes_max: random.pick(&[30, 1000, 1 << 20]),
            uncommitted_entries_max: random.pick(&[1, 3, 1000, 1000]),
            cache_entries_max: random.pick(&[3, 1000, 1000]),
            shard_memory_bytes: random.pick(&[0, 2000, 8 << 20, 8 << 20]),
            body_file_bytes: random.pick(&[1000, 20_000, 32 << 20]),
            read_bytes_max: random.pick(&[1, 1000, 8 << 20]),
            sync: random.pick(&[100, 500, 2000, 5000]),
            begins: u128::from(random.next()) << 64 | u128::from(random.next()),
            limits: Limits {
                connections: 1000,
                sessions: 10_000,
                inflight: random.pick(&[3, 20, 1024]),
                outbound_inflight: random.pick(&[2, 20, 1024]),
                session_expiry_seconds: 3600,
                ..Limits::default()
            },
            #[cfg(feature = "sabotage")]
            bug: None,
        }
    }

    /// A disk of a machine of this run.
    pub(crate) fn set_speed(&self, disk: &SimulatedDisk, random: &mut Random) {
        let sync = Duration::from_micros(self.sync + random.below(self.sync));
        disk.set_speed(sync, 100 << 20);
    }

    /// A process of the node in this slot.
    pub(crate) fn shape(&self, slot: usize, node: u64, cluster: Option<ClusterId>, random: &mut Random) -> Shape {
        let mut engine = fulmar_store_raft::Settings::of_member(node, PathBuf::from("/data/store"), random.next());
        engine.shards = self.shards;
        engine.threads = NonZeroU16::new(self.threads[slot]).expect("not 0");
        engine.durability = self.durability;
        engine.log.segment_bytes = self.segment_bytes;
        engine.snapshot_log_bytes = self.snapshot_log_bytes;
        engine.snapshot_portion_bytes = self.snapshot_portion_bytes;
        engine.log_bytes_max = self.log_bytes_max;
        engine.log_tail_bytes = self.log_tail_bytes;
        engine.entry_bytes_max = self.entry_bytes_max;
        engine.entry_targets_max = self.entry_targets_max;
        engine.unacknowledged_bytes_max = self.unacknowledged_bytes_max;
        engine.shard_memory_bytes = self.shard_memory_bytes;
        engine.body_file_bytes = self.body_file_bytes;
        engine.read_bytes_max = self.read_bytes_max;
        engine.raft.uncommitted_entries_max = self.uncommitted_entries_max;
        engine.raft.cache_entries_max = self.cache_entries_max;
        let limits = self.limits.clone();
        engine.store.in_flight_max = NonZeroU16::new(limits.outbound_inflight).expect("not 0");
        engine.store.received_ids_max = u16::MAX;
        let settings = fulmar_store_node::Settings {
            engine,
            member: fulmar_member::Settings::default(),
            courier: fulmar_courier::Settings::default(),
            desk: fulmar_courier::DeskSettings::default(),
            nonce: random.next(),
            name: format!("node-{slot}").into(),
            addresses: vec![crate::outside::address_of(slot).to_string().into()],
            zone: "".into(),
            cluster_id: cluster,
            begins: (slot == 0 && cluster.is_none()).then_some(ClusterId(self.begins)),
        };
        let shape = Shape {
            threads: self.threads[slot],
            limits,
            store: settings,
            #[cfg(feature = "sabotage")]
            bug: self.bug,
        };
        #[cfg(feature = "sabotage")]
        let shape = shape.with_mistake();
        shape
    }
}
