//! What a caller may not ask for; and what it may.

use crate::disk::SimulatedDisk;
use crate::tests::fixture::{append, filled, folder, open, settings};
use crate::{Entry, Log, ReadError, Refusal, STATE_BYTES_MAX, Settings, Write, WriteError};

fn refusal(writes: &[Write<'_>]) -> Refusal {
    let disk = SimulatedDisk::new(1);
    let mut log = filled(&disk, 5);
    log.write(&[Write::Purge { group: 1, until: 2 }]).unwrap();
    let before = log.usage();
    let Err(WriteError::Refused(refusal)) = log.write(writes) else { panic!("{writes:?} was not refused") };
    assert_eq!(log.usage(), before);
    refusal
}

#[test]
fn entries_follow_each_other() {
    let out_of_order = |found, wanted| Refusal::OutOfOrder { group: 1, found, wanted };
    assert_eq!(refusal(&[append(1, 5, 1, b"")]), out_of_order(5, 6));
    assert_eq!(refusal(&[append(1, 7, 1, b"")]), out_of_order(7, 6));
    assert_eq!(refusal(&[append(1, 6, 1, b""), append(1, 6, 1, b"")]), out_of_order(6, 7));
    assert_eq!(refusal(&[Write::Truncate { group: 1, from: 4 }, append(1, 6, 1, b"")]), out_of_order(6, 4));
    assert_eq!(refusal(&[Write::Forget { group: 1 }, append(1, 6, 1, b"")]), out_of_order(6, 1));
    assert_eq!(refusal(&[append(4, 2, 1, b"")]), Refusal::OutOfOrder { group: 4, found: 2, wanted: 1 });
}

#[test]
fn what_was_purged_is_not_taken_back() {
    let truncate = Write::Truncate { group: 1, from: 2 };
    assert_eq!(refusal(&[truncate]), Refusal::TruncateOfPurged { group: 1, found: 2, purged: 2 });
    let max = u64::MAX - 1;
    let purge = Write::Purge { group: 1, until: u64::MAX };
    assert_eq!(refusal(&[purge]), Refusal::PurgeOfAll { group: 1, found: u64::MAX, max });
    assert_eq!(
        refusal(&[purge]).to_string(),
        format!("group 1 is to be purged up to {}, at most {max} is possible", u64::MAX)
    );
}

#[test]
fn state_has_at_most_64_kib() {
    let bytes = vec![1; STATE_BYTES_MAX + 1];
    let refused = Refusal::StateTooLarge { group: 1, found: STATE_BYTES_MAX + 1, max: STATE_BYTES_MAX };
    assert_eq!(refusal(&[Write::State { group: 1, bytes: &bytes }]), refused);
    let (mut log, _) = open(&SimulatedDisk::new(1)).unwrap();
    log.write(&[Write::State { group: 1, bytes: &bytes[1..] }]).unwrap();
}

#[test]
fn there_are_as_many_groups_as_set() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = Log::open(disk, folder(), Settings { groups_max: 2, ..settings() }).unwrap();
    let state = |group| Write::State { group, bytes: b"s" };
    let refused = Err(WriteError::Refused(Refusal::TooManyGroups { group: 3, max: 2 }));
    assert_eq!(log.write(&[state(1), state(2), state(3)]), refused);
    log.write(&[state(1), state(2)]).unwrap();
    assert_eq!(log.write(&[state(3)]), refused);
    log.write(&[Write::Forget { group: 1 }, state(3)]).unwrap();
}

#[test]
fn purge_beyond_the_last_entry_moves_the_group_on() {
    let mut log = filled(&SimulatedDisk::new(1), 5);
    log.write(&[Write::Purge { group: 1, until: 70 }, append(1, 71, 3, b"after the snapshot")]).unwrap();
    assert_eq!(log.entries(1), Some([(71, 3), (71, 3)]));
    assert_eq!(log.term(1, 5), None);
    assert_eq!(log.read(1, 71, 0).unwrap(), [Entry { index: 71, term: 3, payload: b"after the snapshot" }]);
    assert!(matches!(log.read(1, 70, 0), Err(ReadError::Purged { group: 1, found: 70, first: 71 })));
}

#[test]
fn reading_stops_at_the_limit_but_gives_one_entry() {
    let mut log = filled(&SimulatedDisk::new(1), 50);
    let mut count = |from, bytes_max| log.read(1, from, bytes_max).unwrap().len();
    // Payloads of 100 bytes, and 29 around each.
    assert_eq!([count(1, 0), count(1, 257), count(1, 258), count(30, 1290), count(50, 1290)], [1, 1, 2, 10, 1]);
    assert_eq!(count(51, 1000), 0, "there is no entry yet");
    assert!(log.read(8, 1, 1000).unwrap().is_empty(), "nobody knows that group");
}

#[test]
fn reading_of_entries_far_apart_takes_bounded_memory() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = Log::open(disk, folder(), Settings::new(settings().node, 1)).unwrap();
    for index in 1..=100 {
        log.write(&[append(1, index, 1, b""), append(2, index, 1, &[0; 10_000])]).unwrap();
    }
    // A hundred empty entries would fit into the limit, but not a megabyte of what stands between them.
    assert_eq!(log.read(1, 1, 2_900).unwrap().len(), 5);
    assert!(log.read_buffer.len() < 2_900 * 17, "{}", log.read_buffer.len());
    assert_eq!(log.read(1, 1, 100_000).unwrap().len(), 100);
}
