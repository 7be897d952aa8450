//! The sessions of a shard that data threads of this node serve.
//!
//! A leader knows a session by its handle here and by the attachment with which it was told of it last.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use fulmar_store::{Ask, ClientId, Delivery, Epoch, Owner, Sequence, ShardId};

/// What this courier calls a session.
pub(crate) type Handle = u32;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Sessions {
    all: BTreeMap<Handle, Session>,
    /// Those whose claim succeeded. No two of a shard have the same epoch.
    owned: BTreeMap<Epoch, Handle>,
    last_handle: Handle,
    last_attachment: u32,
    /// Of those that this run has to attach, all up to this epoch are attached.
    attached_to: Epoch,
}

/// A session that a data thread serves, or claims.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) owner: Owner,
    client: ClientId,
    /// None: its claim is not answered.
    epoch: Option<Epoch>,
    /// With which the last leader was told of it.
    attachment: u32,
    /// The run in which that was.
    run: u64,
    /// All before it was told.
    next: Sequence,
}

impl Sessions {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Of the client's name.
    pub(super) fn name_bytes(&self, handle: Handle) -> usize {
        self.all.get(&handle).map_or(0, |session| session.client.len())
    }

    /// A data thread claims a session.
    pub(super) fn begin(&mut self, owner: Owner, client: ClientId) -> Handle {
        loop {
            self.last_handle = self.last_handle.wrapping_add(1);
            if !self.all.contains_key(&self.last_handle) {
                break;
            }
        }
        let session = Session { owner, client, epoch: None, attachment: 0, run: 0, next: 0 };
        self.all.insert(self.last_handle, session);
        self.last_handle
    }

    /// It is sent to a leader that it is served here: as whose.
    pub(super) fn attach(&mut self, handle: Handle, shard: ShardId, run: u64) -> Option<Owner> {
        let session = self.all.get_mut(&handle)?;
        self.last_attachment = self.last_attachment.wrapping_add(1);
        (session.attachment, session.run) = (self.last_attachment, run);
        Some(Owner { thread: shard.0, slot: handle, generation: session.attachment })
    }

    /// The question by which it is attached.
    pub(super) fn attaching(&mut self, handle: Handle, shard: ShardId, run: u64) -> Option<Ask> {
        let owner = self.attach(handle, shard, run)?;
        let Session { client, epoch, next, .. } = &self.all[&handle];
        Some(Ask::Attach { owner, client: client.clone(), epoch: (*epoch)?, next: *next })
    }

    /// Its claim has succeeded. If that was told by a leader of an earlier run, it is to be attached in this one.
    pub(super) fn claimed(&mut self, handle: Handle, epoch: Epoch, is_attached: bool) -> Option<&Session> {
        let session = self.all.get_mut(&handle)?;
        session.epoch = Some(epoch);
        self.owned.insert(epoch, handle);
        if !is_attached {
            session.run = 0;
            self.attached_to = self.attached_to.min(epoch.saturating_sub(1));
        }
        Some(session)
    }

    /// A data thread serves it no more, or nobody may.
    pub(super) fn end(&mut self, handle: Handle) -> Option<(Owner, Option<Epoch>)> {
        let session = self.all.remove(&handle)?;
        if let Some(epoch) = session.epoch {
            self.owned.remove(&epoch);
        }
        Some((session.owner, session.epoch))
    }

    /// The session that was claimed with this epoch.
    pub(super) fn of_epoch(&self, epoch: Epoch) -> Option<Handle> {
        self.owned.get(&epoch).copied()
    }

    /// The owner of a session that is told of under that epoch, whatever its attachment.
    pub(super) fn is_owned(&self, handle: Handle, epoch: Epoch) -> bool {
        self.all.get(&handle).is_some_and(|session| session.epoch == Some(epoch))
    }

    /// All have to be attached in the run that begins.
    pub(super) fn begin_run(&mut self) {
        self.attached_to = 0;
    }

    /// A mistake for the tests.
    pub(super) fn forget_what_was_told(&mut self) {
        self.all.values_mut().for_each(|session| session.next = 0);
    }

    pub(super) fn is_attached(&self, handle: Handle, run: u64) -> bool {
        self.all.get(&handle).is_none_or(|session| session.run == run)
    }

    /// The next one that is to be attached in this run.
    pub(super) fn next_to_attach(&mut self, run: u64) -> Option<Handle> {
        let mut later = self.owned.range((Excluded(self.attached_to), Unbounded));
        let next = later.find(|(_, handle)| self.all[handle].run != run).map(|(epoch, handle)| (*epoch, *handle));
        // All before it are attached, and those that are claimed from now on have higher epochs or say so.
        self.attached_to = next.map_or(Epoch::MAX, |(epoch, _)| epoch - 1);
        next.map(|(_, handle)| handle)
    }

    /// Takes what was not told yet of deliveries to the last attachment, if that is of this run: of an earlier one,
    /// some before them may have been lost. None: they are late.
    pub(super) fn deliver(
        &mut self,
        wire: Owner,
        epoch: Epoch,
        mut deliveries: Vec<Delivery>,
        run: Option<u64>,
    ) -> Option<(Owner, Vec<Delivery>)> {
        let session = self.all.get_mut(&wire.slot)?;
        let is_late = run.is_some_and(|run| (session.attachment, session.run) != (wire.generation, run));
        if session.epoch != Some(epoch) || is_late {
            return None;
        }
        deliveries.retain(|delivery| delivery.sequence >= session.next);
        session.next = deliveries.last().map_or(session.next, |last| last.sequence + 1);
        Some((session.owner, deliveries))
    }

    /// The life of the node is over, and its clients are closed.
    pub(super) fn forget(&mut self) {
        self.all.clear();
        self.owned.clear();
    }
}
