//! Bytes of entries, replies and snapshots: any at all are an error or a value, and a shard that was loaded is sound.

use proptest::prelude::*;

use fulmar_random::Random;

use super::random::Source;
use super::*;
use crate::tests::model::Model;

/// A shard with something of everything, and an entry that changes it further.
fn grown(seed: u64) -> (Shard, Entry) {
    let mut source = Source::new(seed);
    let (mut shard, mut model) = (Shard::new(ShardId(1)), Model::default());
    for index in 1..60 {
        let entry = source.entry(&model);
        shard.apply(index, &entry);
        model.apply(index, &entry);
    }
    let entry = source.entry(&model);
    (shard, entry)
}

fn load(chunks: &[Vec<u8>]) -> Result<Shard, SnapshotError> {
    let mut loader = Loader::new();
    chunks.iter().try_for_each(|chunk| loader.chunk(chunk))?;
    loader.finish()
}

fn encoded(entry: &Entry) -> Vec<u8> {
    let mut bytes = Vec::new();
    entry.encode(&mut bytes);
    bytes
}

/// Changes, cuts or repeats some of the bytes.
pub(super) fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len() as u64) as usize;
    match random.below(5) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.pick(&[0, 1, 0x7f, 0x80, 0xff]),
        2 => bytes.truncate(at),
        3 => bytes.extend_from_within(at..),
        _ => drop(bytes.remove(at)),
    }
}

proptest! {
    #[test]
    fn any_bytes_are_an_error_or_a_value(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = bytes;
        for format in [None, Some(2)] {
            if let (Some(format), Some(first)) = (format, bytes.first_mut()) {
                *first = format;
            }
            if let Ok(entry) = Entry::decode(&bytes) {
                prop_assert_eq!(&encoded(&entry), &bytes);
            }
            if let Ok(reply) = Reply::decode(&bytes) {
                let mut again = Vec::new();
                reply.encode(&mut again);
                prop_assert_eq!(&again, &bytes);
            }
            let _ = load(std::slice::from_ref(&bytes));
        }
    }

    #[test]
    fn damaged_entries_are_an_error_or_an_entry_that_does_no_harm(seed in any::<u64>()) {
        let (mut shard, entry) = grown(seed);
        let mut bytes = encoded(&entry);
        damage(&mut bytes, &mut Random::new(seed));
        if let Ok(entry) = Entry::decode(&bytes) {
            shard.apply(shard.applied() + 1, &entry);
            prop_assert!(load(&shard.snapshot(1000).collect::<Vec<_>>()).is_ok());
        }
    }

    #[test]
    fn a_damaged_snapshot_is_an_error_or_a_sound_shard(seed in any::<u64>()) {
        let (shard, entry) = grown(seed);
        let mut random = Random::new(seed);
        let mut chunks: Vec<_> = shard.snapshot(300).collect();
        for _ in 0..random.below(3) + 1 {
            let chunk = random.below(chunks.len() as u64) as usize;
            damage(&mut chunks[chunk], &mut random);
            chunks.retain(|chunk| !chunk.is_empty());
        }
        if let Ok(mut loaded) = load(&chunks) {
            for _ in 0..3 {
                loaded.apply(loaded.applied() + 1, &entry);
                loaded.apply(loaded.applied() + 1, &Entry { time: u64::MAX, commands: vec![Command::Expire] });
            }
            prop_assert!(load(&loaded.snapshot(1000).collect::<Vec<_>>()).is_ok());
        }
    }
}

#[test]
fn a_command_of_a_newer_build_is_named_with_what_this_one_knows() {
    let mut bytes = encoded(&Entry { time: 7, commands: vec![Command::Expire] });
    let last = bytes.len() - 1;
    bytes[last] = 99;
    let error = Entry::decode(&bytes).unwrap_err();
    assert_eq!(error, BytesError::UnknownCommand { found: 99, level: LEVEL });
    assert_eq!(error.to_string(), "command 99 is unknown to feature level 1");
}

#[test]
fn another_format_is_refused() {
    let mut bytes = encoded(&Entry { time: 7, commands: vec![] });
    assert_eq!(bytes, [4, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0]);
    bytes[0] = 1;
    assert_eq!(Entry::decode(&bytes), Err(BytesError::Format { found: 1, wanted: 4 }));
}

#[test]
fn a_length_that_is_a_lie_takes_no_memory() {
    let bytes = [4, 0, 0, 0, 0, 0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(Entry::decode(&bytes), Err(BytesError::Truncated { at: 13, wanted: 1, found: 0 }));
    let subscribe = [&bytes[..9], &[0, 0, 0, 1, 3, 0xff, 0xff, 0xff, 0xff, b'c']].concat();
    assert_eq!(Entry::decode(&subscribe), Err(BytesError::Truncated { at: 18, wanted: 0xffff_ffff, found: 1 }));
}

#[test]
fn chunks_are_bounded_and_hold_whole_records() {
    let mut world = World::new();
    world.session("c");
    let large = "x".repeat(5000);
    world.queue("c", &["1", &large, "2"]);
    let chunks: Vec<_> = world.shard.snapshot(1000).collect();
    let large: Vec<_> = chunks.iter().map(|chunk| chunk.len() > 1000).collect();
    assert_eq!(large.iter().filter(|is_large| **is_large).count(), 1, "{large:?}");
    assert!(chunks.iter().all(|chunk| chunk.len() < 5100));
    let loaded = load(&chunks).unwrap();
    assert_eq!(loaded.counts(), world.shard.counts());
}

#[test]
fn chunks_must_be_complete_and_in_order() {
    let mut world = World::new();
    world.session("c");
    world.queue("c", &["1", "2"]);
    let chunks: Vec<_> = world.shard.snapshot(100).collect();
    assert!(chunks.len() > 2);
    let [first, second, .., last] = &*chunks else { panic!("too few") };
    let failed = |chunks: &[&Vec<u8>]| load(&chunks.iter().copied().cloned().collect::<Vec<_>>()).unwrap_err();
    assert_eq!(failed(&[second]), SnapshotError::OutOfOrder { found: 1, expected: 0 });
    assert_eq!(failed(&[first, first]), SnapshotError::OutOfOrder { found: 0, expected: 1 });
    let found = u32::try_from(chunks.len() - 1).unwrap();
    assert_eq!(failed(&[first, last]), SnapshotError::OutOfOrder { found, expected: 1 });
    assert!(matches!(failed(&[first, second]), SnapshotError::Incomplete { .. }));
    assert_eq!(load(&[]).unwrap_err(), SnapshotError::Incomplete { records: 0 });
    let mut after_the_end = last.clone();
    after_the_end[1..5].copy_from_slice(&(found + 1).to_be_bytes());
    let mut all = chunks.clone();
    all.push(after_the_end);
    assert!(matches!(load(&all).unwrap_err(), SnapshotError::Inconsistent { .. }));
}

#[test]
fn messages_of_an_outbox_come_out_as_they_went_in() {
    let message = |number, to| OutboxMessage { number, message: message("t", "x").with_lifetime(Some(7)), to };
    let all =
        [message(3, Addressee::Subscribers { publisher: text("c") }), message(4, Addressee::Group(text("$share/g/t")))];
    let mut bytes = Vec::new();
    OutboxMessage::encode_all(&all, &mut bytes);
    assert_eq!(OutboxMessage::decode_all(&bytes).as_deref(), Ok(&all[..]));
    bytes.pop();
    assert!(matches!(OutboxMessage::decode_all(&bytes), Err(BytesError::Truncated { .. })));
}
