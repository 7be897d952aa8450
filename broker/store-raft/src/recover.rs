//! Makes a folder in which one node keeps alone what a cluster kept that has lost its quorum.
//!
//! What it is made of was read before, of one folder or of several. Each group goes on far behind any entry and any term
//! that lost nodes may have seen (`fulmar_meta::RECOVERY_GAP`), with this node as its only member.

use std::path::Path;

use fulmar_log::Disk;
use fulmar_meta::{Meta, RECOVERY_GAP, Survivor};
use fulmar_raft::{Membership, Position, Snapshot};
use fulmar_store::{Shard, ShardId};

use crate::errors::OpenError;
use crate::establish::{Part, fill};
use crate::identity::Identity;
use crate::meta_group::META;
use crate::replica::group_of;
use crate::settings::Mode;
use crate::snapshot::CHUNK_BYTES;

/// What is left of a cluster.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Its state, as far as it is known.
    pub meta: Meta,
    /// Its shards. Those that are missing have nothing from now on.
    pub shards: Vec<Shard>,
    /// The last entry and the latest term that anybody has of any group.
    pub last: Position,
}

/// Writes the folder of node `id`, which had the identity `was`, as [`establish`](crate::establish) does. None, and nothing
/// is written, if the cluster does not know the node.
///
/// # Errors
/// Says what the disk refused. What is in the folder then is of no use.
pub fn recover<D: Disk + Clone>(
    disk: &D,
    folder: &Path,
    was: Identity,
    id: u64,
    cluster: Cluster,
    salt: u64,
) -> Result<Option<Meta>, OpenError> {
    let Cluster { meta, shards, last } = cluster;
    let (index, term) = (last.index + RECOVERY_GAP, last.term + RECOVERY_GAP);
    let Some(meta) = meta.recovered(Survivor { was: was.node, id, index, term }) else { return Ok(None) };
    let identity = Identity { node: id, shards: was.shards, incarnation: 0, mode: Mode::Member };
    let found = |number| shards.iter().find(|shard| shard.id() == ShardId(number)).cloned();
    let mut shards: Vec<Shard> =
        (0..was.shards.get()).map(|number| found(number).unwrap_or_else(|| Shard::new(ShardId(number)))).collect();
    Shard::reconcile(&mut shards);
    let start = Snapshot { position: Position { term, index }, membership: Membership::new([id], [])? };
    let mut bytes = Vec::new();
    meta.snapshot(&mut bytes);
    let of_meta = Part { group: META, start: start.clone(), chunks: Box::new(std::iter::once(bytes)) };
    let of_shards = shards.into_iter().map(|mut shard| {
        shard.stand_at(index);
        Part { group: group_of(shard.id()), start: start.clone(), chunks: Box::new(shard.snapshot(CHUNK_BYTES)) }
    });
    fill(disk, folder, identity, std::iter::once(of_meta).chain(of_shards), salt)?;
    Ok(Some(meta))
}
