//! Bytes whose checksums fit, but that we would not have written: they are refused, never believed, never a panic.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

use crate::batch::{Position, encode};
use crate::format::{BATCH_HEAD, Carry, Record, SEGMENT_HEAD, decode_record, encode_record};
use crate::replay::Replay;
use crate::{GroupId, Index, Term, Write};

/// The fields of any record.
type Fields = (u8, GroupId, Index, Term, Vec<u8>);

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..6_u64, (u64::MAX - 3)..=u64::MAX, any::<u64>(), Just(u64::from(u32::MAX))]
}

fn fields() -> impl Strategy<Value = Fields> {
    (0..7_u8, 0..3_u32, number(), number(), vec(any::<u8>(), 0..40))
}

fn record((kind, group, index, term, bytes): &Fields) -> Record<'_> {
    let (group, index, term) = (*group, *index, *term);
    Record::Write(match kind {
        0 => Write::State { group, bytes },
        1 | 2 => Write::Append { group, index, term, payload: bytes },
        3 => Write::Truncate { group, from: index },
        4 => Write::Purge { group, until: index },
        5 => Write::Forget { group },
        _ => return Record::Carry(Carry { group, purged: index, next: term, state: bytes }),
    })
}

fn bytes_of(all: &[Fields], rest: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for fields in all {
        encode_record(&mut bytes, 1, 2, record(fields));
    }
    bytes.extend_from_slice(rest);
    bytes
}

proptest! {
    #[test]
    fn records_are_read_as_they_were_written(all in vec(fields(), 0..20)) {
        let mut out = Vec::new();
        let position = Position { seed: 5, offset: SEGMENT_HEAD as u32, sequence: 1, previous: 0, synced: 0 };
        encode(&mut out, position, all.iter().map(record));
        assert_eq!(out.len() % BATCH_HEAD, 0);
        let mut at = BATCH_HEAD;
        for wanted in &all {
            let (found, used) = decode_record(&out[at..]).unwrap();
            assert_eq!(found, record(wanted));
            at += used;
        }
        assert!(out[at..].iter().all(|byte| *byte == 0) && out.len() - at < BATCH_HEAD);
    }

    #[test]
    fn any_records_are_replayed_or_refused(
        carried in vec(fields(), 0..5),
        batches in vec((vec(fields(), 0..8), vec(any::<u8>(), 0..60)), 0..4),
    ) {
        let mut replay = Replay::default();
        let carries: Vec<Fields> = carried.into_iter().map(|(_, b, c, d, e)| (6, b, c, d, e)).collect();
        let _ = replay.carried(&bytes_of(&carries, &[]));
        for (fields, rest) in &batches {
            let _ = replay.written(2, 96, &bytes_of(fields, rest));
            let _ = replay.carried(&bytes_of(fields, rest));
        }
        // Whatever was believed makes sense.
        for group in replay.groups.values() {
            let span = group.span();
            assert!(span.purged < span.next);
            assert!(group.places(0).all(|(index, ..)| span.purged < index && index < span.next));
            let known = group.places(0).count() as u64;
            let missing = group.missing().map_or(0, |(from, until)| until - from + 1);
            assert_eq!(known + missing, span.next - span.purged - 1, "{group:?}");
        }
    }
}
