//! Every bound is reached, and named.

use super::*;

#[test]
fn a_node_says_no_more_of_itself_than_it_may() {
    let mut world = World::new(1);
    let too_long = |length: usize| -> Box<str> { "x".repeat(length).into() };
    let usual = || start(2, 1);
    let starts = [
        (Start { name: too_long(254), ..usual() }, "bytes of a node's name: found 254, at most 253 are allowed"),
        (Start { zone: too_long(64), ..usual() }, "bytes of a zone: found 64, at most 63 are allowed"),
        (Start { addresses: vec!["a".into(); 9], ..usual() }, "addresses of a node: found 9, at most 8 are allowed"),
        (
            Start { addresses: vec!["a".into(), too_long(261)], ..usual() },
            "bytes of an address: found 261, at most 260 are allowed",
        ),
    ];
    for (start, wanted) in starts {
        let made_at = world.meta.applied();
        let refused = world.refused(Command::Join { cluster: CLUSTER, made_at, start: start.clone() });
        assert_eq!(text(&refused), wanted);
        let bootstrap = Command::Bootstrap { cluster: CLUSTER, shards: 1, first: start };
        assert_eq!(text(&World::empty().refused(bootstrap)), wanted);
    }
    let describe = Command::Describe { member: member(1, 1), addresses: vec![], zone: too_long(64) };
    assert_eq!(text(&world.refused(describe)), "bytes of a zone: found 64, at most 63 are allowed");
}

#[test]
fn a_cluster_has_1_to_64_shards() {
    for (shards, wanted) in [(0, 1), (65, 64)] {
        let bootstrap = Command::Bootstrap { cluster: CLUSTER, shards, first: start(1, 1) };
        assert_eq!(World::empty().refused(bootstrap), Refusal::Shards { found: shards, wanted });
    }
}

#[test]
fn a_cluster_has_no_more_nodes_than_it_may() {
    let mut world = World::new(1);
    for id in 2..=NODES_MAX as u64 {
        assert_eq!(world.join(start(id, 1)), Reply::Done);
    }
    let made_at = world.meta.applied();
    let one_more = world.refused(Command::Join { cluster: CLUSTER, made_at, start: start(1000, 1) });
    assert_eq!(text(&one_more), "nodes: found 257, at most 256 are allowed");
    world.remove(member(2, 1));
    let successor = Start { name: "broker-2".into(), ..start(1000, 1) };
    assert_eq!(world.join(successor), Reply::Done, "it takes the place of one that was there");
}

/// Node after node of one name, each with an empty folder.
fn replace(world: &mut World, ids: std::ops::Range<u64>) {
    for id in ids {
        let old = world.meta.nodes().find(|(_, node)| &*node.name == "again").map(|(_, node)| node.member);
        if let Some(old) = old {
            world.remove(old);
        }
        assert_eq!(world.join(Start { name: "again".into(), ..start(id, 1) }), Reply::Done);
    }
}

#[test]
fn retired_nodes_are_refused_for_ever_though_only_some_are_remembered() {
    let mut world = World::new(1);
    let made_at = world.meta.applied();
    replace(&mut world, 100..102);
    let later = world.meta.applied();
    replace(&mut world, 102..100 + TOMBSTONES_MAX as u64 + 1);
    assert_eq!((world.meta.tombstones(), world.meta.tombstone(100).is_some()), (TOMBSTONES_MAX, true));
    replace(&mut world, 2000..2001);
    assert_eq!((world.meta.tombstones(), world.meta.tombstone(100)), (TOMBSTONES_MAX, None));
    // Its folder was made before it was retired, and so is refused though nobody knows its name.
    let join = |made_at, id| Command::Join { cluster: CLUSTER, made_at, start: start(id, 1) };
    let (before, after) = (world.meta.applied() + 1, later);
    assert_eq!(world.refused(join(made_at, 100)), Refusal::OldFolder { found: made_at, after, before });
    let boot = Command::Boot { cluster: CLUSTER, start: start(100, 2) };
    assert_eq!(world.refused(boot), Refusal::Unknown { node: 100 });
    // Nor helps it to say that the folder will be made tomorrow.
    let future = world.refused(join(u64::MAX, 100));
    assert_eq!(future, Refusal::OldFolder { found: u64::MAX, after, before: before + 2 });
    assert_eq!(world.apply(join(later + 1, 3000)), Reply::Done);
}
