//! A shard whose bodies leave memory at any time does what one does that has all of them in memory.

use std::collections::BTreeMap;

use super::random::Source;
use super::{message, publish};
use crate::body::Nowhere;
use crate::tests::model::Model;
use crate::*;

const SEEDS: u64 = 200;
const ENTRIES: u64 = 80;
const CHUNK_BYTES: usize = 300;

/// What files would hold, and how often a body was read.
#[derive(Default)]
struct Files {
    written: BTreeMap<BodyPlace, (u64, Message)>,
    offset: u32,
    reads: usize,
}

#[derive(Debug)]
struct Missing;

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it is not there")
    }
}

impl From<BytesError> for Missing {
    fn from(error: BytesError) -> Self {
        panic!("a chunk of a snapshot: {error}")
    }
}

impl Bodies for Files {
    type Error = Missing;

    fn read(&mut self, body: u64, place: BodyPlace) -> Result<Message, Missing> {
        self.reads += 1;
        self.written.get(&place).filter(|(id, _)| *id == body).map(|(_, message)| message.clone()).ok_or(Missing)
    }
}

impl Files {
    fn write(&mut self, id: u64, message: Message) -> BodyPlace {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        assert_eq!(Message::decode(&bytes).as_ref(), Ok(&message));
        let length = u32::try_from(bytes.len()).unwrap();
        let place = BodyPlace { file: 1, offset: self.offset, length };
        self.offset += length;
        self.written.insert(place, (id, message));
        place
    }

    /// So many bodies leave memory, the oldest first.
    fn take(&mut self, shard: &mut Shard, most: usize) {
        let leaving: Vec<_> = shard.leaving().take(most).map(|(id, message)| (id, message.clone())).collect();
        assert!(leaving.is_sorted_by_key(|(id, _)| *id));
        for (id, message) in leaving {
            shard.put_on_disk(id, self.write(id, message));
        }
    }

    /// A body moves to another place.
    fn move_one(&mut self, shard: &mut Shard) {
        let Some((id, place)) = shard.body_places().last() else { return };
        let message = self.read(id, place).unwrap();
        assert!(shard.is_at(id, place));
        shard.put_on_disk(id, self.write(id, message));
        assert!(!shard.is_at(id, place));
    }

    fn give_back(&mut self, shard: &mut Shard) {
        shard.take_freed().iter().for_each(|place| assert!(self.written.remove(place).is_some(), "{place:?} twice"));
        let places: Vec<_> = shard.body_places().map(|(_, place)| place).collect();
        assert_eq!(self.written.len(), places.len(), "what is not freed is wanted");
    }

    fn inlined(&mut self, shard: &Shard) -> Vec<Vec<u8>> {
        let mut inlining = Inlining::new(CHUNK_BYTES);
        let mut chunks = Vec::new();
        // Chunks of other sizes are cut anew.
        for chunk in shard.snapshot(CHUNK_BYTES / 2) {
            inlining.give(chunk).unwrap();
            while let Some(chunk) = inlining.next(self).unwrap() {
                chunks.push(chunk);
            }
        }
        chunks.extend(inlining.finish());
        let given = shard.snapshot(CHUNK_BYTES / 2).map(Ok::<_, Missing>);
        let length: usize = chunks.iter().map(|chunk| chunk.len() + 8).sum();
        assert_eq!(Inlining::length(given, CHUNK_BYTES, 8).unwrap(), length as u64);
        chunks
    }

    fn loaded(&mut self, shard: &Shard) -> Shard {
        let mut loader = Loader::with_places();
        for chunk in shard.snapshot(CHUNK_BYTES) {
            loader.chunk_with(&chunk, self).unwrap();
        }
        loader.finish().unwrap()
    }
}

const ALL: Credit = Credit { messages: usize::MAX, bytes: u64::MAX };

fn compare(shard: &Shard, whole: &Shard, files: &mut Files) {
    for session in whole.kept_sessions() {
        let expected = whole.deliverable(session.client, 0, ALL, whole.time(), &mut Nowhere).unwrap();
        assert_eq!(shard.deliverable(session.client, 0, ALL, whole.time(), files).unwrap(), expected);
        let sizes = expected.iter().map(|it| (it.sequence, it.message.as_ref().map_or(0, Message::bytes)));
        assert!(shard.in_flight_before(session.client, u64::MAX).eq(sizes));
    }
    for (destination, _) in whole.destinations() {
        let expected = whole.outbox(destination, 0, ALL, whole.time(), &mut Nowhere).unwrap();
        assert_eq!(shard.last_for(destination), expected.last().unwrap().number);
        assert_eq!(shard.outbox(destination, 0, ALL, whole.time(), files).unwrap(), expected);
    }
    let time = whole.time();
    assert!(shard.retained_after(None, time).eq(whole.retained_after(None, time)), "retained messages stay");
    let counts = Counts { bytes_on_disk: shard.bytes_on_disk(), ..whole.counts() };
    assert_eq!((shard.counts(), shard.totals()), (counts, whole.totals()));
    assert_eq!(shard.bytes_in_memory() + shard.bytes_on_disk(), whole.bytes_in_memory());
}

#[test]
fn what_leaves_memory_changes_nothing_but_where_it_is() {
    let (mut reads, mut on_disk) = (0, 0);
    for seed in 0..SEEDS {
        let mut source = Source::new(seed);
        let (mut whole, mut model, mut files) = (Shard::new(ShardId(1)), Model::default(), Files::default());
        let mut shard = whole.clone();
        for index in 1..ENTRIES {
            let entry = source.entry(&model);
            let expected = whole.apply(index, &entry);
            model.apply(index, &entry);
            assert_eq!(shard.apply(index, &entry), expected, "seed {seed}");
            match source.random.below(4) {
                0 => files.take(&mut shard, usize::MAX),
                1 => files.take(&mut shard, 1),
                2 => files.move_one(&mut shard),
                _ => {}
            }
            files.give_back(&mut shard);
            on_disk += shard.body_places().count();
            if index % 8 == 0 {
                compare(&shard, &whole, &mut files);
                let expected: Vec<_> = whole.snapshot(CHUNK_BYTES).collect();
                assert_eq!(files.inlined(&shard), expected, "seed {seed}");
                let is_gone = shard.body_places().next().is_some();
                let mut loader = Loader::new();
                let loaded = shard.snapshot(CHUNK_BYTES).try_for_each(|chunk| loader.chunk(&chunk));
                assert_eq!(loaded.is_err(), is_gone, "a snapshot with places is no whole one");
                shard = files.loaded(&shard);
            }
        }
        compare(&shard, &whole, &mut files);
        shard.bring_all(&mut files).unwrap();
        assert!(shard.snapshot(CHUNK_BYTES).eq(whole.snapshot(CHUNK_BYTES)));
        reads += files.reads;
    }
    assert!(reads > 10_000 && on_disk > 10_000, "{reads} reads, {on_disk} bodies");
}

#[test]
fn retained_messages_of_a_snapshot_come_back_when_their_bodies_have_left_before_it_was_known() {
    let mut shard = Shard::new(ShardId(0));
    let item = Item { message: message("t", "kept"), retain: Some(Version { clock: 1, node: 1 }), targets: vec![] };
    shard.apply(1, &Entry { time: 1, commands: vec![publish(1, &[item])] });
    let (mut files, mut loader) = (Files::default(), Loader::new());
    for chunk in shard.snapshot(1) {
        if let Some(shard) = loader.shard_mut() {
            files.take(shard, usize::MAX);
        }
        loader.chunk_with(&chunk, &mut files).unwrap();
    }
    let loaded = loader.finish().unwrap();
    assert_eq!((loaded.body_places().count(), files.written.len(), files.reads), (0, 1, 1));
    assert!(loaded.retained_after(None, 1).eq(shard.retained_after(None, 1)));
}

#[test]
fn a_body_that_is_gone_is_no_place_for_another_one() {
    let mut shard = Shard::new(ShardId(0));
    shard.put_on_disk(7, BodyPlace { file: 1, offset: 0, length: 9 });
    assert_eq!((shard.body_places().count(), shard.take_freed()), (0, vec![]));
}
