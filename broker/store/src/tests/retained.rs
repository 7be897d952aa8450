use super::*;

fn version(clock: u64, node: u64) -> Version {
    Version { clock, node }
}

/// A message of the topic `t`; an empty one deletes.
fn retain(payload: &str, clock: u64) -> Item {
    retain_at("t", payload, version(clock, 1))
}

fn retain_at(topic: &str, payload: &str, version: Version) -> Item {
    Item { message: message(topic, payload), retain: Some(version), targets: vec![] }
}

fn lasting(payload: &str, clock: u64, seconds: u32) -> Item {
    Item { message: message("t", payload).with_lifetime(Some(seconds)), ..retain("", clock) }
}

/// What became of messages of the stream from A.
fn publish_all(world: &mut World, items: &[Item]) -> Vec<Option<RetainReply>> {
    let first = world.shard.expected(Party::Node(A));
    let Reply::Published { items, .. } = world.apply(publish(first, items)) else { panic!("they come in order") };
    let retained = |reply| match reply {
        ItemReply::Stored(stored) => stored.retained,
        ItemReply::DoneBefore => None,
    };
    items.into_iter().map(retained).collect()
}

fn shown(world: &World, topic: &str) -> Option<(String, Option<u32>, Version)> {
    let (message, version) = world.shard.retained(topic, world.now)?;
    Some((String::from_utf8(message.payload().to_vec()).unwrap(), message.lifetime_seconds, version))
}

fn tombstones(world: &World) -> usize {
    world.shard.counts().tombstones
}

const APPLIED: Option<RetainReply> = Some(RetainReply::Applied);
const OLDER: Option<RetainReply> = Some(RetainReply::Older);

#[test]
fn the_highest_version_counts_in_whatever_order_they_come() {
    let mut world = World::new();
    let items = [retain("2", 2), item("-", &[]), retain("1", 1), retain("again", 2), retain("3", 3)];
    assert_eq!(publish_all(&mut world, &items), [APPLIED, None, OLDER, OLDER, APPLIED]);
    assert_eq!(shown(&world, "t"), Some(("3".to_owned(), None, version(3, 1))));
    // Between equal clocks the node decides.
    let items = [retain_at("t", "of 2", version(3, 2)), retain_at("t", "of 0", version(3, 0))];
    assert_eq!(publish_all(&mut world, &items), [APPLIED, OLDER]);
    assert_eq!(shown(&world, "t"), Some(("of 2".to_owned(), None, version(3, 2))));
    let counts = world.shard.counts();
    assert_eq!((counts.retained, counts.messages, counts.bytes), (1, 1, cost::RETAINED + 1 + cost::BODY + 5));
}

#[test]
fn an_empty_payload_leaves_the_topic_without_one_and_nothing_older_comes_back() {
    let mut world = World::new();
    let items = [retain("1", 1), retain("", 3), retain("2", 2), retain("", 2)];
    assert_eq!(publish_all(&mut world, &items), [APPLIED, APPLIED, OLDER, OLDER]);
    let counts = Counts { tombstones: 1, bytes: cost::TOMBSTONE + 1, ..Counts::default() };
    assert_eq!((shown(&world, "t"), world.shard.counts()), (None, counts));
    assert_eq!(publish_all(&mut world, &[retain("4", 4)]), [APPLIED]);
    assert_eq!((shown(&world, "t").unwrap().0, tombstones(&world)), ("4".to_owned(), 0));
}

#[test]
fn a_deletion_that_comes_before_what_it_deletes_counts_too() {
    let mut world = World::new();
    assert_eq!(publish_all(&mut world, &[retain("", 2), retain("1", 1)]), [APPLIED, OLDER]);
    assert_eq!(shown(&world, "t"), None);
}

#[test]
fn a_deletion_is_forgotten_after_an_hour() {
    let mut world = World::new();
    publish_all(&mut world, &[retain("1", 1), retain("", 3)]);
    let ends = world.now + 3600 * SECOND;
    assert_eq!(world.shard.next_due(), Some(ends));
    world.now = ends - 1;
    assert_eq!((world.expire(), tombstones(&world)), (Cleared::default(), 1));
    world.now = ends;
    assert_eq!(world.expire(), Cleared { tombstones: 1, ..Cleared::default() });
    assert_eq!((world.shard.counts(), world.shard.next_due()), (Counts::default(), None));
    assert_eq!(publish_all(&mut world, &[retain("1", 1)]), [APPLIED]);
    assert_eq!(world.shard.totals(), Totals::default());
}

#[test]
fn deletions_are_remembered_up_to_a_bound_the_oldest_are_forgotten_first() {
    let mut world = World::with(Settings { tombstones_max: 2, ..Settings::default() });
    let delete = |topic, clock| retain_at(topic, "", version(clock, 1));
    // The second deletion of `b` makes it the latest.
    let items = [delete("b", 1), delete("c", 1), delete("b", 2), delete("a", 1)];
    assert_eq!(publish_all(&mut world, &items), [APPLIED; 4]);
    assert_eq!((tombstones(&world), world.shard.totals().forgotten), (2, 1));
    let late = ["a", "b", "c"].map(|topic| retain_at(topic, "late", version(1, 0)));
    assert_eq!(publish_all(&mut world, &late), [OLDER, OLDER, APPLIED]);

    let bytes = 2 * (cost::TOMBSTONE + 1);
    world.apply(Command::Settings(Settings { tombstone_bytes_max: bytes - 1, ..Settings::default() }));
    assert_eq!(publish_all(&mut world, &[delete("d", 1)]), [APPLIED]);
    assert_eq!((tombstones(&world), world.shard.totals().forgotten), (1, 3));
    assert_eq!(publish_all(&mut world, &[retain_at("d", "late", version(0, 1))]), [OLDER]);
}

#[test]
fn a_full_shard_deletes_and_remembers_what_takes_no_more_than_it_frees() {
    let mut world = World::new();
    publish_all(&mut world, &[retain("1", 2)]);
    let shard_bytes_max = world.shard.counts().bytes;
    world.apply(Command::Settings(Settings { shard_bytes_max, ..Settings::default() }));
    let deletions = [retain("", 3), retain_at("other", "", version(3, 1))];
    assert_eq!(publish_all(&mut world, &deletions), [APPLIED; 2]);
    assert_eq!((tombstones(&world), world.shard.totals().forgotten), (1, 1));
    assert_eq!(publish_all(&mut world, &[retain("1", 2)]), [OLDER]);
}

#[test]
fn retained_messages_expire_and_nothing_older_comes_back() {
    let mut world = World::new();
    publish_all(&mut world, &[lasting("1", 1, 10), lasting("2", 2, 20)]);
    world.now += 15 * SECOND;
    assert_eq!(world.expire(), Cleared::default(), "the first one's time went with it");
    assert_eq!(shown(&world, "t").unwrap().1, Some(5));
    world.now += 5 * SECOND;
    assert_eq!(shown(&world, "t"), None, "it is over, though it was not cleared up");
    assert_eq!(world.shard.retained_after(None, world.now).count(), 0);
    assert_eq!(world.expire(), Cleared { retained: 1, ..Cleared::default() });
    let counts = Counts { tombstones: 1, bytes: cost::TOMBSTONE + 1, ..Counts::default() };
    assert_eq!(world.shard.counts(), counts);
    assert_eq!(publish_all(&mut world, &[lasting("1", 1, 100)]), [OLDER]);
    // One that is over when it comes counts as a deletion.
    assert_eq!(publish_all(&mut world, &[lasting("3", 3, 0), retain("2", 2)]), [APPLIED, OLDER]);
}

#[test]
fn a_retained_message_is_for_live_targets_too_even_an_older_one() {
    let mut world = World::new();
    let generation = world.session("c").generation;
    let targets = vec![target("c", generation, QoS::AtLeastOnce)];
    let both = |payload, clock| Item { targets: targets.clone(), ..retain(payload, clock) };
    assert_eq!(publish_all(&mut world, &[both("x", 2), both("late", 1)]), [APPLIED, OLDER]);
    assert_eq!((world.payloads("c"), world.shard.counts().messages), (vec!["x".to_owned(), "late".to_owned()], 2));
}

#[test]
fn a_will_is_retained_as_the_version_that_it_is_given() {
    let mut world = World::new();
    let publish_will = |will, clock| {
        let retain = Some(version(clock, 1));
        Command::PublishWill { will, retain, targets: vec![], destinations: vec![] }
    };
    for (nonce, clock, retained) in [(1, 5, APPLIED), (2, 4, OLDER)] {
        let epoch = world.claim(&Claim { will: will("bye", 0), ..claim("c", A, nonce) }).epoch;
        world.apply(disconnect("c", epoch, WillFate::Keep));
        let stored = Stored { retained, ..Stored::default() };
        assert_eq!(world.apply(publish_will(nonce, clock)), Reply::Routed(stored));
    }
    assert_eq!(shown(&world, "will"), Some(("bye".to_owned(), None, version(5, 1))));
}

#[test]
fn all_are_read_in_the_order_of_their_topics() {
    let mut world = World::new();
    let items = ["b", "a", "a/b", "c", "a/c"].map(|topic| retain_at(topic, "x", version(1, 1)));
    publish_all(&mut world, &items);
    publish_all(&mut world, &[retain_at("a/c", "", version(2, 1))]);
    let topics = |after| {
        let messages = world.shard.retained_after(after, world.now);
        messages.map(|(message, _)| message.topic().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (topics(None), topics(Some("a/b"))),
        (["a", "a/b", "b", "c"].map(str::to_owned).to_vec(), vec!["b".to_owned(), "c".to_owned()])
    );
}
