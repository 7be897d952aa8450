//! How nodes join, live and start again.

use super::*;

#[test]
fn a_cluster_begins_once_with_one_node_that_is_up_and_keeps_everything() {
    let mut world = World::empty();
    let bootstrap = |cluster, shards, id| Command::Bootstrap { cluster, shards, first: start(id, 1) };
    assert_eq!(world.apply(bootstrap(CLUSTER, 12, 1)), Reply::Done);
    assert_eq!(world.view(), [member(1, 1)]);
    assert_eq!(world.states(), [(1, State::Up)]);
    assert_eq!((world.meta.cluster(), world.meta.view().number, world.meta.level()), (Some(CLUSTER), 1, 1));
    assert_eq!(world.meta.shards().len(), 12);
    assert!(world.meta.shards().iter().all(|it| it.voters() == [1] && it.leader() == 1 && it.moving().is_none()));

    assert_eq!(world.apply(bootstrap(CLUSTER, 12, 1)), Reply::DoneBefore);
    let refused = world.refused(bootstrap(ClusterId(0xbad), 12, 1));
    assert_eq!(refused, Refusal::OtherCluster { found: ClusterId(0xbad), wanted: CLUSTER });
    let wanted = "cluster 00000000000000000000000000000bad, but this one is 000000000000000000000000000000c1";
    assert_eq!(text(&refused), wanted);
    assert_eq!(world.refused(bootstrap(CLUSTER, 64, 1)), Refusal::Shards { found: 64, wanted: 12 });
    assert_eq!(world.refused(bootstrap(CLUSTER, 12, 2)), Refusal::OtherFirst { found: 2 });
}

#[test]
fn nothing_happens_before_the_cluster_begins() {
    let mut world = World::empty();
    let commands = [
        Command::Lead { leader: 1, term: 1 },
        Command::Join { cluster: CLUSTER, made_at: 0, start: start(1, 1) },
        Command::Boot { cluster: CLUSTER, start: start(1, 1) },
        Command::Confirm { member: member(1, 1), by: member(2, 1) },
        Command::Remove { member: member(1, 1), term: 0 },
        Command::Describe { member: member(1, 1), addresses: vec![], zone: "".into() },
        Command::Drain { node: 1, purpose: Purpose::Leave },
        Command::CancelDrain { node: 1 },
        Command::Gone { node: 1 },
        Command::MoveReplica { shard: ShardId(1), step: Step::Prefer(1) },
    ];
    for command in commands {
        assert_eq!(world.refused(command), Refusal::NoCluster);
    }
}

#[test]
fn members_wait_for_a_joiner_at_once_and_it_is_up_when_all_do() {
    let mut world = World::new(2);
    let view = world.meta.view().number;
    assert_eq!(world.join(start(3, 1)), Reply::Done);
    assert_eq!(world.view(), [member(1, 1), member(2, 1), member(3, 1)]);
    assert_eq!(world.meta.view().number, view + 1);
    assert_eq!(world.states(), [(1, State::Up), (2, State::Up), (3, State::Joining)]);

    let confirm = |by| Command::Confirm { member: member(3, 1), by };
    assert_eq!(world.apply(confirm(member(1, 1))), Reply::Done);
    assert_eq!(world.apply(confirm(member(1, 1))), Reply::DoneBefore);
    assert_eq!(world.meta.state(3), Some(State::Joining));
    assert_eq!(world.apply(confirm(member(2, 1))), Reply::Done);
    assert_eq!(world.meta.state(3), Some(State::Up));
    assert_eq!(world.apply(confirm(member(2, 1))), Reply::DoneBefore);
    assert_eq!(world.meta.view().number, view + 1, "who is live has not changed");

    let stranger = world.refused(confirm(member(4, 1)));
    assert_eq!(stranger, Refusal::NotInView { member: member(4, 1), view: view + 1 });
}

#[test]
fn two_joiners_wait_for_each_other() {
    let mut world = World::new(1);
    world.join(start(2, 1));
    world.join(start(3, 1));
    for (joiner, by) in [(2, 1), (3, 1), (2, 3)] {
        world.apply(Command::Confirm { member: member(joiner, 1), by: member(by, 1) });
    }
    assert_eq!(world.states(), [(1, State::Up), (2, State::Up), (3, State::Joining)]);
    world.apply(Command::Confirm { member: member(3, 1), by: member(2, 1) });
    assert_eq!(world.meta.state(3), Some(State::Up));
}

#[test]
fn a_joiner_does_not_wait_for_a_member_that_is_removed() {
    let mut world = World::new(2);
    world.join(start(3, 1));
    world.apply(Command::Confirm { member: member(3, 1), by: member(1, 1) });
    assert_eq!(world.remove(member(2, 1)), Reply::Done);
    assert_eq!(world.states(), [(1, State::Up), (2, State::Down), (3, State::Up)]);
}

#[test]
fn what_a_removed_member_confirmed_is_asked_of_its_next_life_again() {
    let mut world = World::new(3);
    world.join(start(4, 1));
    world.apply(Command::Confirm { member: member(4, 1), by: member(2, 1) });
    world.remove(member(2, 1));
    world.boot(start(2, 2));
    for by in [1, 3] {
        world.apply(Command::Confirm { member: member(4, 1), by: member(by, 1) });
    }
    assert_eq!(world.meta.state(4), Some(State::Joining));
    world.apply(Command::Confirm { member: member(4, 1), by: member(2, 2) });
    assert_eq!(world.meta.state(4), Some(State::Up));
}

#[test]
fn a_join_that_is_sent_again_changes_nothing() {
    let mut world = World::new(2);
    assert_eq!(world.join(start(2, 1)), Reply::DoneBefore);
    let made_at = world.meta.applied();
    let other_process = Start { nonce: 7, ..start(2, 1) };
    let refused = world.refused(Command::Join { cluster: CLUSTER, made_at, start: other_process });
    assert_eq!(refused, Refusal::Known { node: 2, recorded: 1 });
    let other = Command::Join { cluster: ClusterId(1), made_at, start: start(3, 1) };
    assert_eq!(world.refused(other), Refusal::OtherCluster { found: ClusterId(1), wanted: CLUSTER });
}

#[test]
fn a_start_is_a_new_life_that_others_have_to_confirm() {
    let mut world = World::new(3);
    let boot = |incarnation| Command::Boot { cluster: CLUSTER, start: start(2, incarnation) };
    let refused = world.refused(boot(2));
    assert_eq!(refused, Refusal::StillLive { member: member(2, 1) });
    assert_eq!(text(&refused), "0000000000000002#1 is still in the view");
    world.remove(member(2, 1));
    let view = world.meta.view().number;
    assert_eq!(world.apply(boot(2)), Reply::Done);
    assert_eq!(world.apply(boot(2)), Reply::DoneBefore);
    assert_eq!(world.meta.view().number, view + 1);
    assert_eq!(world.view(), [member(1, 1), member(2, 2), member(3, 1)]);
    assert_eq!(world.meta.state(2), Some(State::Joining));
    world.confirm_all(member(2, 2));
    assert_eq!(world.meta.state(2), Some(State::Up));
}

#[test]
fn a_restored_or_copied_folder_does_not_start() {
    let mut world = World::new(3);
    world.remove(member(2, 1));
    world.boot(start(2, 5));
    world.remove(member(2, 5));
    let restored = world.refused(Command::Boot { cluster: CLUSTER, start: start(2, 4) });
    assert_eq!(restored, Refusal::Restored { found: 4, recorded: 5 });
    assert_eq!(text(&restored), "boot counter 4 of a restored or copied folder, more than 5 is wanted");
    // The same counter of another process: both have a copy of one folder.
    let copied = Start { nonce: 7, ..start(2, 5) };
    let copied = world.refused(Command::Boot { cluster: CLUSTER, start: copied });
    assert_eq!(copied, Refusal::Restored { found: 5, recorded: 5 });
    // The process that was removed itself: it lives on, with a new life.
    let over = world.refused(Command::Boot { cluster: CLUSTER, start: start(2, 5) });
    assert_eq!(over, Refusal::Over { member: member(2, 5) });
    assert_eq!(world.boot(start(2, 6)), Reply::Done);
}

#[test]
fn who_never_joined_does_not_start_and_a_name_stays_with_its_folder() {
    let mut world = World::new(2);
    let unknown = world.refused(Command::Boot { cluster: CLUSTER, start: start(9, 4) });
    assert_eq!(unknown, Refusal::Unknown { node: 9 });
    world.remove(member(2, 1));
    let moved = Start { name: "broker-7".into(), ..start(2, 2) };
    let moved = world.refused(Command::Boot { cluster: CLUSTER, start: moved });
    assert_eq!(text(&moved), "node 0000000000000002 is \"broker-2\", found \"broker-7\"");
}

#[test]
fn a_new_id_under_an_old_name_retires_the_old_one_for_ever() {
    let mut world = World::new(3);
    let successor = Start { name: "broker-3".into(), ..start(30, 1) };
    let made_at = world.meta.applied();
    let early = world.refused(Command::Join { cluster: CLUSTER, made_at, start: successor.clone() });
    assert_eq!(early, Refusal::NameTaken { name: "broker-3".into(), member: member(3, 1) });
    world.remove(member(3, 1));
    assert_eq!(world.join(successor), Reply::Done);
    assert_eq!(world.states(), [(1, State::Up), (2, State::Up), (30, State::Joining)]);
    assert_eq!(world.meta.state(3), Some(State::Gone));
    let index = world.meta.applied();
    assert_eq!(world.meta.tombstone(3), Some(Tombstone { index, successor: Some(30) }));
    assert_eq!(world.meta.places().pop().unwrap().replaces, [3]);

    let retired = Refusal::Retired { node: 3 };
    let boot = Command::Boot { cluster: CLUSTER, start: start(3, 9) };
    assert_eq!(world.refused(boot), retired);
    let made_at = world.meta.applied();
    assert_eq!(world.refused(Command::Join { cluster: CLUSTER, made_at, start: start(3, 9) }), retired);
    assert_eq!(world.refused(Command::Drain { node: 3, purpose: Purpose::Leave }), retired);
}

#[test]
fn a_removal_counts_only_in_the_term_that_decided_it() {
    let mut world = World::new(3);
    assert_eq!(world.apply(Command::Lead { leader: 2, term: 5 }), Reply::Done);
    assert_eq!(world.apply(Command::Lead { leader: 2, term: 5 }), Reply::DoneBefore);
    assert_eq!(world.meta.leader(), Leader { node: 2, term: 5 });
    let old = world.refused(Command::Remove { member: member(3, 1), term: 1 });
    assert_eq!(old, Refusal::NotLeading { found: 1, wanted: 5 });
    let back = world.refused(Command::Lead { leader: 1, term: 1 });
    assert_eq!(text(&back), "decided in term 1, but the leader's is 5");
    let twice = world.refused(Command::Lead { leader: 1, term: 5 });
    assert_eq!(twice, Refusal::NotLeading { found: 5, wanted: 5 });
    assert_eq!(world.remove(member(3, 1)), Reply::Done);
    let again = world.refused(Command::Remove { member: member(3, 1), term: 5 });
    assert_eq!(again, Refusal::NotInView { member: member(3, 1), view: 4 });
}

#[test]
fn the_feature_level_is_that_of_the_oldest_build_and_never_goes_down() {
    let mut world = World::new(2);
    let at = |id, incarnation, level| Start { level, ..start(id, incarnation) };
    world.remove(member(1, 1));
    world.boot(at(1, 2, 3));
    assert_eq!(world.meta.level(), 1);
    world.remove(member(2, 1));
    assert_eq!(world.meta.level(), 1, "who is down comes back, perhaps with its old build");
    world.boot(at(2, 2, 2));
    assert_eq!(world.meta.level(), 2);
    world.remove(member(2, 2));
    let older = world.refused(Command::Boot { cluster: CLUSTER, start: at(2, 3, 1) });
    assert_eq!(older, Refusal::Level { found: 1, wanted: 2 });
    let made_at = world.meta.applied();
    let joins = world.refused(Command::Join { cluster: CLUSTER, made_at, start: at(3, 1, 1) });
    assert_eq!(text(&joins), "feature level 1, at least 2 is wanted");
}

#[test]
fn a_member_may_move() {
    let mut world = World::new(2);
    let describe =
        |zone: &str| Command::Describe { member: member(2, 1), addresses: vec!["a:1".into()], zone: zone.into() };
    assert_eq!(world.apply(describe("east")), Reply::Done);
    assert_eq!(world.apply(describe("east")), Reply::DoneBefore);
    let node = world.meta.node(2).unwrap();
    assert_eq!((&*node.zone, &node.addresses[..]), ("east", &["a:1".into()][..]));
    world.remove(member(2, 1));
    assert_eq!(world.refused(describe("west")), Refusal::NotInView { member: member(2, 1), view: 3 });
}

#[test]
fn an_entry_counts_once() {
    let mut world = World::new(2);
    let before = world.meta.clone();
    let entry = Entry { time: 99, commands: vec![Command::Remove { member: member(2, 1), term: 1 }] };
    let index = world.meta.applied();
    assert_eq!(world.meta.apply(index, &entry), Applied { index, ..Applied::default() });
    assert_eq!(world.meta, before);
    let applied = world.meta.apply(index + 1, &entry);
    assert_eq!(applied, Applied { index: index + 1, replies: vec![Reply::Done], is_new_view: true });
}

#[test]
fn what_a_retired_node_was_called_is_remembered_when_all_nodes_know_how() {
    let at = |level: Level| {
        let mut world = World::empty();
        for id in 1..=3 {
            let start = Start { level, ..start(id, 1) };
            let reply = match id {
                1 => world.apply(Command::Bootstrap { cluster: CLUSTER, shards: 2, first: start }),
                _ => world.join(start),
            };
            assert_eq!(reply, Reply::Done);
        }
        world.apply(Command::Lead { leader: 1, term: 1 });
        assert_eq!(world.apply(Command::Drain { node: 2, purpose: Purpose::Leave }), Reply::Done);
        assert_eq!(world.remove(member(2, 1)), Reply::Done);
        assert_eq!(world.apply(Command::Gone { node: 2 }), Reply::Done);
        world.meta
    };
    for (level, name, format) in [(1, None, 1), (2, Some("broker-2"), 2)] {
        let meta = at(level);
        assert_eq!((meta.state(2), meta.retired_name(2)), (Some(State::Gone), name));
        let mut bytes = Vec::new();
        meta.snapshot(&mut bytes);
        assert_eq!((bytes[0], Meta::load(&bytes)), (format, Ok(meta)), "builds of level 1 read the first format");
        for length in 0..bytes.len() {
            assert!(Meta::load(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
        }
    }
}
