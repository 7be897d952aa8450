//! What the store is to be like, by the broker's configuration.

use std::num::NonZeroU16;
use std::path::Path;

use fulmar_config::Config;
use fulmar_meta::ClusterId;
use fulmar_store_raft::{Durability, Settings};

use crate::zone;

/// The shards of a store.
pub(crate) const SHARDS: NonZeroU16 = NonZeroU16::new(12).expect("12 is not 0");

/// The folder of the store within the data folder.
pub(crate) const FOLDER: &str = "store";

/// What a shard and a queue are of use with, and the most that is counted.
const SHARD_BYTES_LEAST: u64 = 1 << 20;
const SHARD_BYTES_MOST: u64 = 1 << 40;
const QUEUE_BYTES_LEAST: u64 = 1 << 10;

/// Of a node that is alone. `seed` is not to be guessed.
pub(crate) fn settings(data_dir: &Path, node: u64, threads: u16, config: &Config, seed: u64) -> Settings {
    let mut settings = Settings::new(node, data_dir.join(FOLDER), seed);
    // Nobody lags behind a node that is alone.
    settings.raft.cache_bytes_max = 256 << 10;
    fit(&mut settings, threads, config);
    settings
}

/// Of a member of a cluster. `random` gives numbers that are not to be guessed.
pub(crate) fn member_settings(
    data_dir: &Path,
    node: u64,
    threads: u16,
    config: &Config,
    mut random: impl FnMut() -> u64,
) -> fulmar_store_node::Settings {
    let cluster = config.cluster.clone().unwrap_or_default();
    let name = config.name.clone().unwrap_or_default();
    let mut engine = Settings::of_member(node, data_dir.join(FOLDER), random());
    fit(&mut engine, threads, config);
    let begins = cluster.may_bootstrap(&name);
    let drawn = ClusterId(u128::from(random()) << 64 | u128::from(random()));
    fulmar_store_node::Settings {
        engine,
        member: fulmar_member::Settings::default(),
        courier: fulmar_courier::Settings::default(),
        desk: fulmar_courier::DeskSettings::default(),
        nonce: random(),
        name: name.into(),
        addresses: vec![format!("{}:{}", cluster.address, cluster.port).into()],
        zone: zone::find(&cluster).unwrap_or_default().into(),
        cluster_id: cluster.id.map(|id| ClusterId(id.0)),
        begins: begins.then_some(drawn),
    }
}

/// What is the same for all, with so many data threads.
fn fit(settings: &mut Settings, threads: u16, config: &Config) {
    let limits = &config.limits;
    settings.shards = SHARDS;
    settings.durability = match config.durability {
        fulmar_config::Durability::Memory => Durability::Memory,
        _ => Durability::Fsync,
    };
    settings.threads = NonZeroU16::new(threads).unwrap_or(NonZeroU16::MIN);
    let store = &mut settings.store;
    // All shards together are counted where they are asked.
    store.sessions_max = limits.sessions.max(1);
    let bytes = limits.stored_bytes().saturating_add(limits.session_bytes_total).saturating_add(limits.retained_bytes);
    // All shards have equal parts of what may be in memory, whatever they may have on the disk.
    settings.shard_memory_bytes = limits.stored_bytes_in_memory / u64::from(SHARDS.get());
    store.shard_bytes_max = part(bytes).clamp(SHARD_BYTES_LEAST, SHARD_BYTES_MOST);
    // A quarter of a shard is not for what waits.
    let waiting = store.shard_bytes_max - store.shard_bytes_max / 4;
    store.queue_messages_max = limits.queued_messages.max(1);
    store.queue_bytes_max = limits.queued_bytes.clamp(QUEUE_BYTES_LEAST, waiting);
    store.tombstone_bytes_max = store.tombstone_bytes_max.min(waiting);
    store.in_flight_max = NonZeroU16::new(limits.outbound_inflight).unwrap_or(NonZeroU16::MIN);
    store.subscriptions_max = limits.subscriptions_per_client.max(1);
    store.will_bytes_max = limits.will_bytes.min(SHARD_BYTES_LEAST as u32);
    // Clients of MQTT 3.1.1 know no Receive Maximum: only the number of identifiers bounds what they have sent and not
    // released, and a publish that is refused for one more would be lost to them.
    store.received_ids_max = u16::MAX;
    store.retained_max = u32::try_from(part(limits.retained_messages.into())).unwrap_or(u32::MAX);
}

/// What one shard may have of what all may have together. Names spread over the shards by chance: each may have a quarter
/// more than its part, and some more where there are few.
fn part(all: u64) -> u64 {
    let part = all / u64::from(SHARDS.get());
    all.min(part + part / 4 + 64)
}

#[cfg(test)]
mod tests {
    use fulmar_config::Limits;

    use super::*;

    #[test]
    fn whatever_is_configured_makes_a_store() {
        let defaults = Limits::default();
        let least = Limits {
            sessions: 1,
            session_bytes_total: 1,
            queued_messages: 1,
            queued_bytes: 1,
            queued_bytes_total: 1,
            stored_bytes_total: 1,
            stored_bytes_in_memory: 1,
            retained_bytes: 0,
            retained_messages: 0,
            inflight: 1,
            will_bytes: 0,
            ..Limits::default()
        };
        let most = Limits {
            sessions: u32::MAX,
            session_bytes_total: u64::MAX,
            queued_messages: u32::MAX,
            queued_bytes: u64::MAX,
            queued_bytes_total: u64::MAX,
            stored_bytes_total: u64::MAX,
            stored_bytes_in_memory: u64::MAX,
            retained_bytes: u64::MAX,
            retained_messages: u32::MAX,
            will_bytes: u32::MAX,
            ..Limits::default()
        };
        for limits in [defaults, least, most] {
            let settings =
                settings(Path::new("data"), 1, 2, &Config { limits: limits.clone(), ..Config::default() }, 3);
            assert_eq!(settings.store.check(), Ok(()), "{limits:?}");
        }
    }

    #[test]
    fn a_client_may_have_sent_and_not_released_as_many_messages_as_there_are_identifiers() {
        let limits = Limits { inflight: 3, ..Limits::default() };
        let settings = settings(Path::new("data"), 1, 2, &Config { limits, ..Config::default() }, 3);
        assert_eq!(settings.store.received_ids_max, u16::MAX);
    }

    #[test]
    fn shards_have_a_little_more_than_their_part_and_never_more_than_all() {
        assert_eq!([0, 10, 64, 120, 12_000, 1_200_000].map(part), [0, 10, 64, 76, 1314, 125_064]);
    }
}
