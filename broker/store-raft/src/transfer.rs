//! Snapshots on their way to nodes that lack entries which are gone.
//!
//! The leader sends its newest snapshot, with all bodies in it (`whole.rs`), in parts, each when the one before was taken; a part or an answer
//! that is lost is sent again. The receiver writes the parts to a file of its own under the name of one that is not
//! whole, reads all of it again when it is, and gives it its name. Only when that is durable does the group take it;
//! when the group's log is durable as well the shard is replaced, and then the group is told. A crash in between finds
//! a snapshot that fits the log, or one that does not and goes.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fulmar_log::{Disk, File};
use fulmar_raft::{NodeId, Snapshot, Term};
use fulmar_store::Time;

use crate::bodies::{BodyFiles, Room, Spilling};
use crate::engine::Engine;
use crate::errors::{Failed, is_full};
use crate::letter::{Letter, Transfer};
use crate::out::Out;
use crate::settings::sabotaged;
use crate::snapshot::{self, Loaded, Named, VERSION_WITH_PLACES};
use crate::whole::{Whole, WholeError};

/// A part has at most so many bytes: letters are small.
const PORTION_BYTES_MAX: usize = 512 << 10;

/// A part that was not answered for so long is sent again.
const RESEND: Duration = Duration::from_secs(1);

/// Parts that wait for their turn. Each group's leader has one under way, so there are never so many.
const PORTIONS_MAX: usize = 256;

/// See the [module](self).
pub(crate) struct Transfers<F> {
    sending: BTreeMap<(u16, NodeId), Sending<F>>,
    receiving: BTreeMap<u16, Receiving<F>>,
    portions: VecDeque<(NodeId, Portion)>,
    /// What receivers have answered.
    pub(crate) taken: Vec<(NodeId, Transfer, Option<u64>)>,
    /// What groups have taken, until their logs say so.
    installing: BTreeMap<u16, Installing<F>>,
}

impl<F> Default for Transfers<F> {
    fn default() -> Self {
        Self {
            sending: BTreeMap::new(),
            receiving: BTreeMap::new(),
            portions: VecDeque::new(),
            taken: Vec::new(),
            installing: BTreeMap::new(),
        }
    }
}

impl<F> Transfers<F> {
    /// Whether a group has taken a snapshot that is not in its place yet.
    pub(crate) fn is_installing(&self, group: u16) -> bool {
        self.installing.contains_key(&group)
    }

    pub(crate) fn has_work(&self) -> bool {
        !self.portions.is_empty() || !self.taken.is_empty()
    }

    /// When something is to be sent again.
    pub(crate) fn next_resend(&self) -> Option<Instant> {
        self.sending.values().map(|sending| sending.sent + RESEND).min()
    }

    /// A part came; too many are lost as on the network.
    pub(crate) fn push(&mut self, from: NodeId, portion: Portion) {
        if self.portions.len() < PORTIONS_MAX {
            self.portions.push_back((from, portion));
        }
    }
}

/// What was received and loaded, and the files of its bodies.
struct Installing<F> {
    loaded: Loaded,
    files: BodyFiles<F>,
}

/// Where the parts come from.
enum Source<F> {
    /// A snapshot that needs no other files.
    File(F),
    Whole(Whole<F>),
}

struct Sending<F> {
    of: Transfer,
    source: Source<F>,
    total: u64,
    /// Up to where the receiver has it.
    taken: u64,
    sent: Instant,
}

/// See [`Letter::Portion`].
pub(crate) struct Portion {
    pub(crate) of: Transfer,
    pub(crate) total: u64,
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
}

struct Receiving<F> {
    from: NodeId,
    of: Transfer,
    total: u64,
    path: PathBuf,
    file: F,
    offset: u64,
}

impl<D: Disk + Clone> Engine<D> {
    /// A node needs a snapshot of a group.
    pub(crate) fn begin_to_send(&mut self, group: u16, to: NodeId, term: Term, now: Instant) -> Result<(), Failed> {
        let Some(hosted) = self.hosted(group) else { return Ok(()) };
        let named = Named { group, index: hosted.snapshot };
        let path = named.path(&self.settings.folder);
        let opened = self.disk.open(&path).and_then(|file| Ok((file.length()?, file)));
        let (length, file) = opened.map_err(Failed::disk("read", &path))?;
        let (source, total) = match snapshot::version(&self.disk, &path) {
            Some(VERSION_WITH_PLACES) => {
                let held = self.bodies.of(group).held_files();
                let (whole, total) = Whole::new(file, held).map_err(|what| unreadable(&path, what))?;
                (Source::Whole(whole), total)
            }
            _ => (Source::File(file), length),
        };
        let of = Transfer { group, term, index: named.index };
        self.transfers.sending.insert((group, to), Sending { of, source, total, taken: 0, sent: now });
        self.counted.snapshots_sent += 1;
        self.send_portion(group, to, now)
    }

    pub(crate) fn stop_sending(&mut self, group: u16, to: NodeId) {
        self.transfers.sending.remove(&(group, to));
    }

    fn send_portion(&mut self, group: u16, to: NodeId, now: Instant) -> Result<(), Failed> {
        let portion_bytes = self.settings.snapshot_portion_bytes.clamp(1, PORTION_BYTES_MAX);
        let Some(Sending { of, source, total, taken, sent }) = self.transfers.sending.get_mut(&(group, to)) else {
            return Ok(());
        };
        *sent = now;
        let left = usize::try_from(*total - *taken).unwrap_or(usize::MAX);
        let wanted = left.min(portion_bytes);
        let path = Named { group, index: of.index }.path(&self.settings.folder);
        let bytes = match source {
            Source::File(file) => {
                let mut bytes = vec![0; wanted];
                file.read_at(*taken, &mut bytes).map_err(Failed::disk("read", &path))?;
                bytes
            }
            Source::Whole(whole) => whole.read(*taken, wanted).map_err(|error| match error {
                WholeError::Snapshot(what) => unreadable(&path, what),
                WholeError::Body(failed) => failed,
            })?,
        };
        let letter = Letter::Portion { of: *of, total: *total, offset: *taken, bytes };
        self.letters.push((to, letter));
        Ok(())
    }

    /// Takes what came, and sends what is next.
    pub(crate) fn transfer(&mut self, now: Instant) -> Result<(), Failed> {
        self.take_portions(now)?;
        for (from, of, until) in std::mem::take(&mut self.transfers.taken) {
            self.portion_taken(from, of, until, now)?;
        }
        self.resend_portions(now)
    }

    /// Sends again what was not answered.
    fn resend_portions(&mut self, now: Instant) -> Result<(), Failed> {
        let late: Vec<(u16, NodeId)> = self
            .transfers
            .sending
            .iter()
            .filter(|(_, sending)| sending.sent + RESEND <= now)
            .map(|(key, _)| *key)
            .collect();
        late.into_iter().try_for_each(|(group, to)| self.send_portion(group, to, now))
    }

    /// The receiver says how far it is.
    fn portion_taken(&mut self, from: NodeId, of: Transfer, until: Option<u64>, now: Instant) -> Result<(), Failed> {
        let key = (of.group, from);
        let Some(sending) = self.transfers.sending.get_mut(&key) else { return Ok(()) };
        if of != sending.of {
            return Ok(());
        }
        let Some(until) = until.filter(|until| *until <= sending.total) else {
            self.transfers.sending.remove(&key);
            if let Some(hosted) = self.hosted_mut(of.group) {
                hosted.snapshot_failed(from, now);
            }
            return Ok(());
        };
        let has_moved = until > sending.taken;
        // A receiver that has begun anew has less than it had.
        let is_new = until != sending.taken;
        sending.taken = until;
        let is_whole = until == sending.total;
        if is_whole {
            // What becomes of it the group hears from the other's group.
            self.transfers.sending.remove(&key);
        }
        if let Some(hosted) = self.hosted_mut(of.group).filter(|_| has_moved) {
            hosted.snapshot_moved(from, now);
        }
        if is_new && !is_whole { self.send_portion(of.group, from, now) } else { Ok(()) }
    }

    /// Takes the parts that came.
    fn take_portions(&mut self, now: Instant) -> Result<(), Failed> {
        while let Some((from, portion)) = self.transfers.portions.pop_front() {
            let of = portion.of;
            let until = self.take_portion(from, portion, now)?;
            self.letters.push((from, Letter::Taken { of, until }));
        }
        Ok(())
    }

    /// Up to where the snapshot is here; none if it is of no use.
    fn take_portion(&mut self, from: NodeId, portion: Portion, now: Instant) -> Result<Option<u64>, Failed> {
        let Portion { of, total, offset, bytes } = portion;
        let Some(hosted) = self.hosted(of.group) else { return Ok(None) };
        if of.term < hosted.term() || self.transfers.is_installing(of.group) {
            return Ok(None);
        }
        if of.index <= hosted.committed() {
            // It has come by another way.
            self.stop_receiving(of.group)?;
            return Ok(Some(total));
        }
        let is_same = |it: &Receiving<D::File>| it.from == from && it.of == of && it.total == total;
        if !self.transfers.receiving.get(&of.group).is_some_and(is_same) {
            self.stop_receiving(of.group)?;
            if offset > 0 {
                return Ok(Some(0));
            }
            let path = Named { group: of.group, index: of.index }.received(&self.settings.folder);
            let file = match self.disk.create(&path) {
                Ok(file) => file,
                Err(error) if is_full(&error) => return Ok(None),
                Err(error) => return Err(Failed::disk("create", &path)(error)),
            };
            let receiving = Receiving { from, of, total, path, file, offset: 0 };
            self.transfers.receiving.insert(of.group, receiving);
        }
        let Some(receiving) = self.transfers.receiving.get_mut(&of.group) else { return Ok(None) };
        let fits = offset == receiving.offset && offset + bytes.len() as u64 <= total && !bytes.is_empty();
        if !fits {
            return Ok(Some(receiving.offset));
        }
        let is_unsynced = sabotaged!(self.settings, ReceivedNotSynced);
        let written = receiving.file.write_at(offset, &bytes);
        // Part by part, so that no sync keeps everybody waiting.
        match written.and_then(|()| if is_unsynced { Ok(()) } else { receiving.file.sync() }) {
            Ok(()) => receiving.offset += bytes.len() as u64,
            Err(error) if is_full(&error) => {
                self.stop_receiving(of.group)?;
                return Ok(None);
            }
            Err(error) => return Err(Failed::disk("write", &receiving.path)(error)),
        }
        let offset = receiving.offset;
        if offset < total || self.install_received(of.group, now)? { Ok(Some(offset)) } else { Ok(None) }
    }

    /// All parts are here: the group takes it or not.
    fn install_received(&mut self, group: u16, now: Instant) -> Result<bool, Failed> {
        let Some(Receiving { from, of, path, .. }) = self.transfers.receiving.remove(&group) else { return Ok(false) };
        let folder = self.settings.folder.clone();
        let named = Named { group, index: of.index };
        let mut files = BodyFiles::new(group, &folder);
        let file_bytes = self.settings.body_file_bytes;
        let mut keeping = Spilling {
            files: &mut files,
            room: Room { disk: &self.disk, next: &mut self.bodies.next, file_bytes },
            most: self.settings.shard_memory_bytes,
            is_from_elsewhere: true,
        };
        let loaded = snapshot::load(&self.disk, &path, named, &mut keeping);
        let (mut snapshot, loaded) = match loaded {
            Ok(loaded) => loaded,
            // Both disks keep what they are given, and letters have checksums: another build, or no node of ours.
            Err(_) => {
                self.counted.snapshots_refused += 1;
                files.remove_all(&self.disk)?;
                self.disk.remove(&path).map_err(Failed::disk("remove", &path))?;
                return Ok(false);
            }
        };
        if sabotaged!(self.settings, ReceivedAtOtherIndex) {
            snapshot.position.index += 1;
        }
        let whole = named.path(&folder);
        self.disk.rename(&path, &whole).map_err(Failed::disk("rename", &path))?;
        if !sabotaged!(self.settings, ReceivedNotSynced) {
            self.disk.sync_folder(&folder).map_err(Failed::disk("sync", &folder))?;
        }
        let is_taken = self.hosted_mut(group).is_some_and(|hosted| hosted.install(from, of.term, snapshot, now));
        if is_taken {
            if let Some(unfinished) = self.snapshots.give_up(group) {
                self.disk.remove(&unfinished).map_err(Failed::disk("remove", &unfinished))?;
            }
            self.bodies.of(group).give_up_snapshot();
            self.transfers.installing.insert(group, Installing { loaded, files });
        } else {
            files.remove_all(&self.disk)?;
            self.disk.remove(&whole).map_err(Failed::disk("remove", &whole))?;
        }
        Ok(is_taken)
    }

    /// The group's log starts from the snapshot that was received: its state takes the place of what there was.
    pub(crate) fn replace(
        &mut self,
        group: u16,
        snapshot: &Snapshot,
        now: Instant,
        time: Time,
        out: &mut impl Out,
    ) -> Result<(), Failed> {
        let index = snapshot.position.index;
        let loaded = self.transfers.installing.remove(&group);
        if let Some(hosted) = self.hosted_mut(group) {
            (hosted.applied, hosted.snapshot) = (index, index);
        }
        match loaded.map(|Installing { loaded, files }| (loaded, files)) {
            Some((Loaded::Meta(meta), _)) => self.replace_meta(self.settings.sabotaged_meta(*meta), now, out)?,
            Some((Loaded::Shard(shard), files)) => {
                if let Some(at) = self.place_of_group(group) {
                    self.bodies.replace(group, files, &self.disk)?;
                    let seed = self.random.next();
                    let shard = self.settings.sabotaged_shard(*shard);
                    self.replicas[at].replace(shard, seed, time, out);
                    self.are_outboxes_changed = true;
                }
            }
            None => {}
        }
        self.counted.snapshots_received += 1;
        self.remove_snapshots(group, index)?;
        self.log.reclaim()?;
        Ok(())
    }

    /// What came so far of a group's snapshot is of no use.
    pub(crate) fn stop_receiving(&mut self, group: u16) -> Result<(), Failed> {
        match self.transfers.receiving.remove(&group) {
            Some(Receiving { path, .. }) => self.disk.remove(&path).map_err(Failed::disk("remove", &path)),
            None => Ok(()),
        }
    }

    /// A group leaves this node.
    pub(crate) fn forget_transfers(&mut self, group: u16) -> Result<(), Failed> {
        self.transfers.sending.retain(|(of, _), _| *of != group);
        self.transfers.portions.retain(|(_, portion)| portion.of.group != group);
        if let Some(Installing { files, .. }) = self.transfers.installing.remove(&group) {
            files.remove_all(&self.disk)?;
        }
        self.stop_receiving(group)
    }
}

fn unreadable(path: &std::path::Path, what: String) -> Failed {
    Failed::disk("read", path)(std::io::Error::other(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_beyond_the_bound_are_lost() {
        let mut transfers: Transfers<()> = Transfers::default();
        let of = Transfer { group: 1, term: 1, index: 1 };
        for offset in 0..PORTIONS_MAX as u64 + 9 {
            transfers.push(7, Portion { of, total: 1000, offset, bytes: vec![0] });
        }
        let last = transfers.portions.back().map(|(_, portion)| portion.offset);
        assert_eq!((transfers.portions.len(), last), (PORTIONS_MAX, Some(PORTIONS_MAX as u64 - 1)));
    }
}
