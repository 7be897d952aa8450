//! Brings what is on its way between shards to where it goes, in shards that nobody serves.
//!
//! What a client published with QoS 2, or left as its will, may wait in one shard for another. Each shard knows its
//! subscriptions, so it must arrive before sessions go elsewhere. An engine does that when it opens: so one opens a
//! copy, in memory.

use std::num::NonZeroU16;
use std::path::Path;
use std::time::Instant;

use fulmar_log::disk::SimulatedDisk;
use fulmar_raft::NodeId;
use fulmar_store::{Message, Node, Party, Shard, ShardId, Time, Told, Version};

use crate::engine::Engine;
use crate::errors::OpenError;
use crate::establish::establish;
use crate::identity::Identity;
use crate::inspect::{Inspector, Wanted};
use crate::letter::Letter;
use crate::out::Out;
use crate::settings::{Mode, Settings};

const FOLDER: &str = "/settled";

/// Whether something waits in one shard for another, or for another member of a shared subscription.
#[must_use]
pub fn is_settled(shards: &[Shard]) -> bool {
    let mut waiting = shards.iter().flat_map(Shard::destinations);
    waiting.all(|(destination, _)| matches!(destination, Party::Node(_)))
}

/// The shards as they are when all that is on its way has come: those of a node that is alone and was just started.
/// Of `shards` some may be missing, which have nothing then.
///
/// # Errors
/// If they do not fit together.
pub fn settle(shards: &[Shard], identity: Identity, now: Instant, time: Time) -> Result<Vec<Shard>, OpenError> {
    let identity = Identity { mode: Mode::Alone, ..identity };
    let disk = SimulatedDisk::new(identity.node);
    let folder = Path::new(FOLDER);
    let all: Vec<Shard> = all_of(shards, identity.shards);
    establish(&disk, folder, identity, &all, identity.node)?;
    let mut settings = Settings::new(identity.node, folder.to_owned(), identity.node);
    settings.shards = identity.shards;
    settings.store = *all.first().map_or(&settings.store, Shard::settings);
    let engine = Engine::open(disk.clone(), settings, now, time, &mut Nobody)?;
    engine.close()?;
    let mut inspector = Inspector::open(disk, folder, Wanted::default());
    Ok(inspector.groups().into_iter().filter_map(|group| inspector.group(group).1).collect())
}

/// A shard for each number.
fn all_of(shards: &[Shard], count: NonZeroU16) -> Vec<Shard> {
    let of = |id| shards.iter().find(|shard| shard.id() == id).cloned().unwrap_or_else(|| Shard::new(id));
    (0..count.get()).map(ShardId).map(of).collect()
}

/// No client is connected, and nobody asks.
struct Nobody;

impl Out for Nobody {
    fn tell(&mut self, _to: Node, _thread: u16, _told: Told) {}

    fn interest(&mut self, _shard: ShardId, _share: Option<&str>, _filter: &str, _begins: bool) {}

    fn retained(&mut self, _topic: &str, _message: Option<&Message>, _version: Version) {}

    fn send(&mut self, _to: NodeId, _letter: Letter) {}
}
