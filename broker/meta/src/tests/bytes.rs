//! What is written is read again, and nothing else is.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::random::{command, grown};
use super::*;

fn encoded(entry: &Entry) -> Vec<u8> {
    let mut bytes = Vec::new();
    entry.encode(&mut bytes);
    bytes
}

fn snapshot(meta: &Meta) -> Vec<u8> {
    let mut bytes = Vec::new();
    meta.snapshot(&mut bytes);
    bytes
}

#[test]
fn replicas_with_snapshots_in_between_are_the_same_byte_for_byte() {
    let (mut done, mut moved, mut gone) = (0, 0, 0);
    for seed in 0..200 {
        let (mut world, mut random) = grown(seed, 40);
        let mut other = Meta::load(&snapshot(&world.meta)).expect("a snapshot can be loaded");
        for _ in 0..40 {
            let entry = Entry { time: random.below(50), commands: vec![command(&mut random, &world.meta)] };
            let entry = Entry::decode(&encoded(&entry)).expect("an entry is read again");
            let index = world.meta.applied() + 1;
            let applied = world.meta.apply(index, &entry);
            assert_eq!(other.apply(index, &entry), applied, "seed {seed}");
            done += u64::from(applied.replies == [Reply::Done]);
            assert_eq!(Meta::load(&snapshot(&world.meta)).as_ref(), Ok(&world.meta), "seed {seed}");
        }
        assert_eq!(snapshot(&world.meta), snapshot(&other), "seed {seed}");
        moved += world.meta.shards().iter().filter(|replicas| replicas.voters().len() > 1).count();
        gone += world.meta.tombstones();
    }
    assert!(done > 1000 && moved > 100 && gone > 10, "{done} {moved} {gone}");
}

#[test]
fn the_bytes_of_an_entry_stay_what_they_are() {
    let entry = Entry { time: 7, commands: vec![Command::Remove { member: member(2, 3), term: 4 }] };
    let bytes = encoded(&entry);
    let wanted = [
        &[1][..],
        &[0, 0, 0, 0, 0, 0, 0, 7],
        &[0, 0, 0, 1],
        &[6],
        &[0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3],
        &[0, 0, 0, 0, 0, 0, 0, 4],
    ]
    .concat();
    assert_eq!(bytes, wanted);
}

#[test]
fn messages_are_read_again() {
    let renewal = Renewal { member: member(7, 2), number: 9, unreachable: vec![3, 4] };
    let grant = Grant { member: member(7, 2), number: 9, view: 5 };
    let goodbye = Goodbye { member: member(7, 2) };
    let restored = Refusal::Restored { found: 4, recorded: 5 };
    let answer = Answer::of(&Reply::Refused(restored.clone()));
    assert_eq!(answer, Answer { advice: Advice::StartAnew, text: restored.to_string().into() });
    assert_eq!(Answer::of(&Reply::DoneBefore), Answer { advice: Advice::Done, text: "".into() });
    let mut bytes = [(); 4].map(|()| Vec::new());
    let [of_renewal, of_grant, of_goodbye, of_answer] = &mut bytes;
    renewal.encode(of_renewal);
    grant.encode(of_grant);
    goodbye.encode(of_goodbye);
    answer.encode(of_answer);
    assert_eq!(Renewal::decode(of_renewal), Ok(renewal));
    assert_eq!(Grant::decode(of_grant), Ok(grant));
    assert_eq!(Goodbye::decode(of_goodbye), Ok(goodbye));
    assert_eq!(Answer::decode(of_answer), Ok(answer));
    for bytes in bytes {
        let cut = &bytes[..bytes.len() - 1];
        assert!(Renewal::decode(cut).is_err() && Grant::decode(cut).is_err() && Answer::decode(cut).is_err());
    }
}

#[test]
fn a_command_of_a_newer_build_and_another_format_are_named() {
    let mut bytes = encoded(&Entry { time: 7, commands: vec![Command::Gone { node: 1 }] });
    bytes[13] = 99;
    let error = Entry::decode(&bytes).unwrap_err();
    assert_eq!(error, BytesError::UnknownCommand { found: 99, level: LEVEL });
    assert_eq!(error.to_string(), "command 99 is unknown to feature level 2");
    bytes[0] = 3;
    assert_eq!(Entry::decode(&bytes), Err(BytesError::Format { found: 3, wanted: 1 }));
    assert_eq!(Meta::load(&bytes), Err(SnapshotError::Bytes(BytesError::Format { found: 3, wanted: 1 })));
}

#[test]
fn a_length_that_is_a_lie_takes_no_memory() {
    let bytes = [1, 0, 0, 0, 0, 0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(Entry::decode(&bytes), Err(BytesError::Truncated { at: 13, wanted: 1, found: 0 }));
}

#[test]
fn the_largest_snapshot_is_small() {
    let mut world = World::new(1);
    let wide = |id: u64| Start {
        name: format!("{id:0253}").into(),
        addresses: vec!["x".repeat(ADDRESS_BYTES_MAX).into(); ADDRESSES_MAX],
        zone: "x".repeat(ZONE_BYTES_MAX).into(),
        ..start(id, 1)
    };
    (2..=NODES_MAX as u64).for_each(|id| assert_eq!(world.join(wide(id)), Reply::Done));
    let joiners: BTreeSet<_> = world.view().into_iter().skip(1).collect();
    for node in world.meta.cluster.as_mut().unwrap().nodes.values_mut() {
        node.life = Life::Joining { confirmed: joiners.clone() };
    }
    assert!(snapshot(&world.meta).len() < 2 << 20, "{}", snapshot(&world.meta).len());
}

proptest! {
    #[test]
    fn any_bytes_are_an_error_or_exactly_what_they_say(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = [&[1], &bytes[..]].concat();
        if let Ok(entry) = Entry::decode(&bytes) {
            prop_assert_eq!(encoded(&entry), bytes.clone());
        }
        if let Ok(meta) = Meta::load(&bytes) {
            prop_assert_eq!(snapshot(&meta), bytes);
        }
    }

    #[test]
    fn a_damaged_snapshot_is_an_error_or_a_sound_state(seed in any::<u64>(), damage in any::<u64>()) {
        let (world, mut random) = grown(seed, 60);
        let mut bytes = snapshot(&world.meta);
        let at = damage as usize % bytes.len();
        bytes[at] ^= 1 << (damage >> 32 & 7);
        if let Ok(mut loaded) = Meta::load(&bytes) {
            prop_assert_eq!(snapshot(&loaded), bytes);
            for _ in 0..20 {
                let entry = Entry { time: 0, commands: vec![command(&mut random, &loaded)] };
                loaded.apply(loaded.applied() + 1, &entry);
                let again = Meta::load(&snapshot(&loaded));
                prop_assert_eq!(again.as_ref(), Ok(&loaded));
            }
        }
    }
}
