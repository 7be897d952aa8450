//! A state machine that does nothing, which the suite needs beside a log: it remembers where it is.

use std::io::Cursor;
use std::sync::{Arc, Mutex};

use openraft::storage::RaftStateMachine;
use openraft::{
    Entry, EntryPayload, LogId, OptionalSend, RaftLogId, RaftSnapshotBuilder, Snapshot, SnapshotMeta, StorageError,
    StoredMembership,
};

use crate::Types;

type Meta = SnapshotMeta<u64, openraft::BasicNode>;
type Members = StoredMembership<u64, openraft::BasicNode>;
type Result<T> = std::result::Result<T, StorageError<u64>>;

#[derive(Debug, Clone, Default)]
pub(crate) struct Nothing {
    applied: Option<LogId<u64>>,
    members: Members,
    /// The newest, of all clones.
    snapshot: Arc<Mutex<Option<Meta>>>,
}

impl Nothing {
    fn snapshot_of(meta: Meta) -> Snapshot<Types> {
        Snapshot { meta, snapshot: Box::new(Cursor::new(Vec::new())) }
    }
}

impl RaftSnapshotBuilder<Types> for Nothing {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>> {
        let (last_log_id, last_membership) = (self.applied, self.members.clone());
        let snapshot_id = last_log_id.map_or_else(String::new, |id| id.to_string());
        let meta = Meta { last_log_id, last_membership, snapshot_id };
        *self.snapshot.lock().unwrap() = Some(meta.clone());
        Ok(Nothing::snapshot_of(meta))
    }
}

impl RaftStateMachine<Types> for Nothing {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId<u64>>, Members)> {
        Ok((self.applied, self.members.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<()>>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut count = 0;
        for entry in entries {
            self.applied = Some(*entry.get_log_id());
            if let EntryPayload::Membership(members) = entry.payload {
                self.members = Members::new(self.applied, members);
            }
            count += 1;
        }
        Ok(vec![(); count])
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>> {
        Ok(Box::new(Cursor::new(Vec::new())))
    }

    async fn install_snapshot(&mut self, meta: &Meta, _snapshot: Box<Cursor<Vec<u8>>>) -> Result<()> {
        (self.applied, self.members) = (meta.last_log_id, meta.last_membership.clone());
        *self.snapshot.lock().unwrap() = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>> {
        Ok(self.snapshot.lock().unwrap().clone().map(Nothing::snapshot_of))
    }
}
