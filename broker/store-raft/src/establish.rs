//! Makes a folder of shards that come from elsewhere: as if a node that is alone had just taken a snapshot of each.

use std::path::Path;

use fulmar_log::{Disk, File, Log};
use fulmar_raft::{HardState, Membership, Position, Snapshot, State};
use fulmar_store::Shard;

use crate::errors::{Failed, OpenError, written};
use crate::hosted::Kept;
use crate::identity::Identity;
use crate::open::LOG;
use crate::replica::group_of;
use crate::snapshot::{CHUNK_BYTES, MAGIC, Named, VERSION, put_chunk};
use crate::write::Batch;

/// So much is written at once.
const PORTION_BYTES: usize = 4 << 20;

/// One group of a folder that is made.
pub(crate) struct Part {
    pub(crate) group: u16,
    /// Where it stands, and who belongs to it.
    pub(crate) start: Snapshot,
    /// What the snapshot holds, behind that.
    pub(crate) chunks: Box<dyn Iterator<Item = Vec<u8>>>,
}

/// Writes all of it, durably, but for the name of the folder itself: that is up to the caller, who has it under another
/// one until it is whole. The next life of the node is the one after `identity`'s. `salt` is not to be guessed.
///
/// # Errors
/// Says what the disk refused. What is in the folder then is of no use.
pub fn establish<D: Disk + Clone>(
    disk: &D,
    folder: &Path,
    identity: Identity,
    shards: &[Shard],
    salt: u64,
) -> Result<(), OpenError> {
    let membership = Membership::new([identity.node], [])?;
    let part = |shard: &Shard| {
        // There is a snapshot only of something that was done.
        let position = Position { term: 1, index: shard.applied().max(1) };
        let start = Snapshot { position, membership: membership.clone() };
        Part { group: group_of(shard.id()), start, chunks: Box::new(shard.snapshot(CHUNK_BYTES)) }
    };
    fill(disk, folder, identity, shards.iter().map(part), salt)
}

/// The same of any groups.
pub(crate) fn fill<D: Disk + Clone>(
    disk: &D,
    folder: &Path,
    identity: Identity,
    parts: impl Iterator<Item = Part>,
    salt: u64,
) -> Result<(), OpenError> {
    let path = folder.join(LOG);
    disk.create_folder(&path).map_err(OpenError::disk("create", &path))?;
    let mut settings = fulmar_log::Settings::new(identity.node, salt);
    settings.groups_max = settings.groups_max.max(usize::from(identity.shards.get()) + 1);
    let (mut log, _) = Log::open(disk.clone(), &path, settings)?;
    for Part { group, start, chunks } in parts {
        let Position { term, index } = start.position;
        write_snapshot(disk, folder, Named { group, index }, &start, chunks)?;
        let mut batch = Batch::default();
        batch.state(group, &Kept { hard_state: HardState { term, vote: None }, start, floor: None });
        batch.purge(group, index);
        match written(log.write(&batch.writes()))? {
            crate::errors::Written::Whole => {}
            crate::errors::Written::Full(_) => {
                return Err(OpenError::disk("write", &path)(std::io::ErrorKind::StorageFull.into()));
            }
        }
    }
    log.close().map_err(|error| match written(Err(error)) {
        Err(failed) => OpenError::Failed(failed),
        Ok(_) => OpenError::disk("write", &path)(std::io::ErrorKind::StorageFull.into()),
    })?;
    disk.sync_folder(folder).map_err(OpenError::disk("sync", folder))?;
    // Without it nobody takes the rest for a folder.
    Ok(identity.write(disk, folder, true)?)
}

fn write_snapshot<D: Disk>(
    disk: &D,
    folder: &Path,
    named: Named,
    start: &Snapshot,
    chunks: impl Iterator<Item = Vec<u8>>,
) -> Result<(), OpenError> {
    let path = folder.join(named.name());
    let file = disk.create(&path).map_err(OpenError::disk("create", &path))?;
    let mut head = Vec::new();
    State { hard_state: HardState::default(), start: start.clone() }.append_to(&mut head);
    let mut bytes = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
    let mut offset = 0;
    let mut put = |bytes: &mut Vec<u8>| {
        file.write_at(offset, bytes).map_err(OpenError::disk("write", &path))?;
        offset += bytes.len() as u64;
        bytes.clear();
        Ok::<_, OpenError>(())
    };
    for chunk in std::iter::once(head).chain(chunks) {
        put_chunk(&mut bytes, &chunk);
        if bytes.len() >= PORTION_BYTES {
            put(&mut bytes)?;
        }
    }
    put(&mut bytes)?;
    file.sync().map_err(|error| Failed::disk("sync", &path)(error).into())
}
