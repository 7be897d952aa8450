use super::*;

fn retain(payload: &str, lifetime: Option<u32>) -> Item {
    Item { message: message("t", payload).with_lifetime(lifetime), retain: true, targets: vec![] }
}

fn version_of(reply: Reply) -> Vec<Option<Result<Version, Bound>>> {
    let Reply::Published { items, .. } = reply else { panic!("{reply:?}") };
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

#[test]
fn the_last_message_counts_and_its_version_is_the_highest() {
    let mut world = World::new();
    let index = world.shard.applied() + 1;
    let reply = world.apply(publish(1, &[retain("1", None), item("-", &[]), retain("2", None)]));
    let version = |index, position| Version { index, position };
    assert_eq!(version_of(reply), [Some(Ok(version(index, 1))), None, Some(Ok(version(index, 3)))]);
    assert_eq!(shown(&world, "t"), Some(("2".to_owned(), None, version(index, 3))));
    let counts = world.shard.counts();
    assert_eq!((counts.retained, counts.messages, counts.bytes), (1, 1, cost::RETAINED + 1 + cost::BODY + 2));
    // A retry of the first does not bring it back.
    assert_eq!(version_of(world.apply(publish(1, &[retain("1", None)]))), [None]);
    assert_eq!(shown(&world, "t"), Some(("2".to_owned(), None, version(index, 3))));
}

#[test]
fn an_empty_payload_leaves_the_topic_without_one_and_has_a_version_too() {
    let mut world = World::new();
    world.apply(publish(1, &[retain("1", None)]));
    let version = Version { index: world.shard.applied() + 1, position: 1 };
    assert_eq!(version_of(world.apply(publish(2, &[retain("", None)]))), [Some(Ok(version))]);
    assert_eq!((shown(&world, "t"), world.shard.counts()), (None, Counts::default()));
}

#[test]
fn retained_messages_expire() {
    let mut world = World::new();
    world.apply(publish(1, &[retain("1", Some(10)), retain("2", Some(20))]));
    world.now += 15 * SECOND;
    assert_eq!(world.expire(), Cleared::default(), "the first one's time went with it");
    assert_eq!(shown(&world, "t").unwrap().1, Some(5));
    world.now += 5 * SECOND;
    assert_eq!(shown(&world, "t"), None, "it is over, though it was not cleared up");
    assert_eq!(world.shard.retained_after(None, world.now).count(), 0);
    assert_eq!(world.expire(), Cleared { retained: 1, ..Cleared::default() });
    assert_eq!(world.shard.counts(), Counts::default());
}

#[test]
fn a_retained_message_is_for_live_targets_too() {
    let mut world = World::new();
    let generation = world.session("c").generation;
    let both = Item { targets: vec![target("c", generation, QoS::AtLeastOnce)], ..retain("x", None) };
    world.apply(publish(1, &[both]));
    assert_eq!((world.payloads("c"), world.shard.counts().messages), (vec!["x".to_owned()], 1));
}

#[test]
fn all_are_read_in_the_order_of_their_topics() {
    let mut world = World::new();
    let items = ["b", "a", "a/b", "c"].map(|topic| Item { message: message(topic, "x"), ..retain("", None) });
    world.apply(publish(1, &items));
    let topics = |after| {
        let messages = world.shard.retained_after(after, world.now);
        messages.map(|(message, _)| message.topic().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (topics(None), topics(Some("a/b"))),
        (["a", "a/b", "b", "c"].map(str::to_owned).to_vec(), vec!["b".to_owned(), "c".to_owned()])
    );
}
