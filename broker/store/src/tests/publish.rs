use super::*;

#[test]
fn a_message_is_kept_once_for_all_its_targets() {
    let mut world = World::new();
    let [c, d] = ["c", "d"].map(|client| world.session(client).generation);
    let targets = [target("c", c, QoS::AtLeastOnce), target("d", d, QoS::ExactlyOnce)];
    assert_eq!(
        world.apply(publish(1, &[item("hello", &targets)])),
        Reply::Published { items: vec![stored(2)], expected: 2 }
    );
    let counts = world.shard.counts();
    assert_eq!((counts.queued, counts.messages), (2, 1));
    assert_eq!(counts.bytes, 2 * (cost::SESSION + 1 + cost::PLACE) + cost::BODY + 6);
    assert_eq!([world.payloads("c"), world.payloads("d")], [["hello"], ["hello"]]);
    world.apply(acknowledge("c", 1, &[(0, Ack::Ack)]));
    assert_eq!(world.shard.counts().messages, 1);
    world.apply(acknowledge("d", 2, &[(0, Ack::Received)]));
    assert_eq!((world.shard.counts().messages, world.payloads("d")), (0, vec!["PUBREL".to_owned()]));
}

#[test]
fn a_source_goes_on_with_the_expected_number_only() {
    let mut world = World::new();
    let generation = world.session("c").generation;
    let item = |payload: &str| item(payload, &[target("c", generation, QoS::AtLeastOnce)]);
    assert_eq!(
        world.apply(publish(1, &[item("1"), item("2")])),
        Reply::Published { items: vec![stored(1), stored(1)], expected: 3 }
    );
    // The batch with number 3 was lost with the leader that had it.
    let gap = Refusal::OutOfOrder { found: 4, expected: 3 };
    assert_eq!(world.apply(publish(4, &[item("4")])), Reply::Refused(gap));
    assert_eq!(
        world.apply(publish(2, &[item("2"), item("3"), item("4")])),
        Reply::Published { items: vec![ItemReply::DoneBefore, stored(1), stored(1)], expected: 5 }
    );
    assert_eq!(
        world.apply(publish(1, &[item("1"), item("2")])),
        Reply::Published { items: vec![ItemReply::DoneBefore, ItemReply::DoneBefore], expected: 5 }
    );
    assert_eq!(world.payloads("c"), ["1", "2", "3", "4"]);
}

#[test]
fn the_parts_of_a_message_have_one_number_and_nobody_gets_two_of_them() {
    let mut world = World::new();
    let [a, b, c] = ["a", "b", "c"].map(|client| (client, world.session(client).generation));
    let part = |of: &[(&str, Generation)], goes_on| {
        let targets: Vec<_> = of.iter().map(|(client, it)| target(client, *it, QoS::AtLeastOnce)).collect();
        Command::Publish { source: Party::Node(A), first: 1, items: vec![item("x", &targets)], goes_on }
    };
    let answered = |item, expected| Reply::Published { items: vec![item], expected };
    assert_eq!(world.apply(part(&[a, b], true)), answered(stored(2), 1));
    assert_eq!(world.shard.came_until(Party::Node(A)).map(|client| &**client), Some("b"));
    // The leader changed, and the next one matches anew and cuts elsewhere.
    assert_eq!(world.apply(part(&[a], true)), answered(stored(0), 1));
    assert_eq!(world.shard.came_until(Party::Node(A)).map(|client| &**client), Some("b"));
    assert_eq!(world.apply(part(&[b, c], false)), answered(stored(1), 2));
    assert_eq!(world.shard.came_until(Party::Node(A)), None);
    // What the old one had proposed comes late.
    assert_eq!(world.apply(part(&[c], false)), answered(ItemReply::DoneBefore, 2));
    assert_eq!(["a", "b", "c"].map(|client| world.payloads(client)), [["x"], ["x"], ["x"]]);
}

#[test]
fn each_source_has_numbers_of_its_own() {
    let mut world = World::new();
    let restarted = Node { incarnation: 2, ..A };
    for source in [Party::Node(A), Party::Node(B), Party::Node(restarted), Party::Shard(ShardId(1))] {
        let command = Command::Publish { source, first: 1, items: vec![item("x", &[])], goes_on: false };
        assert_eq!(world.apply(command), Reply::Published { items: vec![stored(0)], expected: 2 });
    }
    assert_eq!(world.shard.counts(), Counts::default());
}

#[test]
fn targets_of_another_life_of_a_session_are_ignored() {
    let mut world = World::new();
    let old = world.session("c").generation;
    let new = world.claim(&Claim { clean: true, ..claim("c", A, 2) }).generation;
    let targets = [
        target("c", old, QoS::AtLeastOnce),
        target("nobody", old, QoS::AtLeastOnce),
        target("c", new, QoS::AtMostOnce),
        target("c", new, QoS::AtLeastOnce),
    ];
    let expected = Stored { queued: 1, ignored: 3, ..Stored::default() };
    assert_eq!(
        world.apply(publish(1, &[item("x", &targets)])),
        Reply::Published { items: vec![ItemReply::Stored(expected)], expected: 2 }
    );
    assert_eq!(world.payloads("c"), ["x"]);
}

#[test]
fn messages_of_a_session_that_is_over_are_ignored_though_it_was_not_cleared_up() {
    let mut world = World::new();
    let Claimed { epoch, .. } = world.claim(&Claim { expiry_seconds: 10, ..claim("c", A, 1) });
    world.apply(disconnect("c", epoch, WillFate::Keep));
    world.now += 10 * SECOND;
    let ignored = Stored { ignored: 1, ..Stored::default() };
    assert_eq!(world.queue("c", &["x"]), Reply::Published { items: vec![ItemReply::Stored(ignored)], expected: 2 });
}

#[test]
fn an_entry_that_was_applied_before_changes_nothing() {
    let mut world = World::new();
    let generation = world.session("c").generation;
    let index = world.shard.applied();
    let commands = vec![publish(1, &[item("x", &[target("c", generation, QoS::AtLeastOnce)])])];
    let entry = Entry { time: 0, commands };
    assert_eq!(world.shard.apply(index, &entry), Applied { index, ..Applied::default() });
    assert_eq!(world.payloads("c"), [""; 0]);
}

#[test]
fn time_never_goes_back() {
    let mut world = World::new();
    let late = world.now;
    world.now = 5;
    world.session("c");
    assert_eq!(world.shard.time(), late);
}
