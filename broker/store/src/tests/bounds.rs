//! Each bound is reached, says which it is, and leaves things as they were.

use super::*;

fn refused(position: u32, bound: Bound) -> ItemReply {
    ItemReply::Stored(Stored { refused: vec![(position, bound)], ..Stored::default() })
}

fn published(items: Vec<ItemReply>, expected: Number) -> Reply {
    Reply::Published { items, expected }
}

fn retain(topic: &str, payload: &str, clock: u64) -> Item {
    Item { message: message(topic, payload), retain: Some(Version { clock, node: 1 }), targets: vec![] }
}

fn absent(world: &mut World, client: &str) {
    let epoch = world.session(client).epoch;
    world.apply(disconnect(client, epoch, WillFate::Keep));
}

#[test]
fn a_full_queue_drops_the_oldest_that_wait() {
    let mut world = World::with(Settings { queue_messages_max: 2, ..Settings::default() });
    absent(&mut world, "c");
    let dropped = ItemReply::Stored(Stored { queued: 1, dropped: 1, ..Stored::default() });
    assert_eq!(world.queue("c", &["1", "2", "3"]), published(vec![stored(1), stored(1), dropped], 4));
    assert_eq!(world.shard.totals(), Totals { dropped: 1, ..Totals::default() });
    world.claim(&claim("c", A, 2));
    assert_eq!(world.payloads("c"), ["2", "3"]);
}

#[test]
fn a_message_that_makes_room_for_itself_is_kept() {
    let mut world = World::with(Settings { queue_messages_max: 1, ..Settings::default() });
    absent(&mut world, "c");
    let target = target("c", 1, QoS::AtLeastOnce);
    let both = Stored { queued: 2, dropped: 1, ..Stored::default() };
    let reply = world.apply(publish(1, &[item("x", &[target.clone(), target])]));
    assert_eq!(reply, published(vec![ItemReply::Stored(both)], 2));
    world.claim(&claim("c", A, 2));
    assert_eq!(world.deliverable("c"), [(1, 2, "x".to_owned())]);
}

#[test]
fn a_full_queue_drops_nothing_that_is_in_flight() {
    let mut world = World::with(Settings { queue_messages_max: 1, ..Settings::default() });
    let two = Claim { receive_maximum: NonZeroU16::new(2).unwrap(), ..claim("c", A, 1) };
    let epoch = world.claim(&two).epoch;
    let dropped = ItemReply::Stored(Stored { queued: 1, dropped: 1, ..Stored::default() });
    assert_eq!(world.queue("c", &["1", "2", "3", "4"]), published(vec![stored(1), stored(1), stored(1), dropped], 5));
    world.apply(acknowledge("c", epoch, &[(0, Ack::Ack), (1, Ack::Ack)]));
    assert_eq!(world.payloads("c"), ["4"]);
    // What goes out does not wait, and what would have to wait has no room.
    world.apply(Command::Settings(Settings { queue_messages_max: 0, ..Settings::default() }));
    let no_room = refused(0, Bound::QueueMessages);
    assert_eq!(world.queue("c", &["5", "6"]), published(vec![stored(1), no_room], 7));
    assert_eq!(world.shard.totals(), Totals { dropped: 1, refused: 1, ..Totals::default() });
}

#[test]
fn a_full_queue_of_the_other_policy_refuses_the_new_message() {
    let settings = Settings { queue_messages_max: 1, queue_policy: QueuePolicy::Refuse, ..Settings::default() };
    let mut world = World::with(settings);
    absent(&mut world, "c");
    assert_eq!(world.queue("c", &["1", "2"]), published(vec![stored(1), refused(0, Bound::QueueMessages)], 3));
    world.claim(&claim("c", A, 2));
    assert_eq!(world.payloads("c"), ["1"]);
}

#[test]
fn the_bytes_of_a_queue_are_bounded_and_nothing_is_dropped_in_vain() {
    // A message of `t` and nine bytes takes ten.
    let mut world = World::with(Settings { queue_bytes_max: 25, ..Settings::default() });
    absent(&mut world, "c");
    let dropped = ItemReply::Stored(Stored { queued: 1, dropped: 2, ..Stored::default() });
    let large = refused(0, Bound::QueueBytes);
    assert_eq!(
        world.queue("c", &["123456789", "123456789", "12345678901234567890123456", "12345678901234567890"]),
        published(vec![stored(1), stored(1), large, dropped], 5)
    );
    assert_eq!(world.shard.session("c").unwrap().queued_bytes, 21);
    // What is in flight does not count.
    let back = Claim { receive_maximum: NonZeroU16::MIN, ..claim("c", A, 2) };
    world.claim(&back);
    assert_eq!(world.queue("c", &["12345678901234567890"]), published(vec![stored(1)], 6));
}

#[test]
fn messages_that_wait_leave_a_quarter_of_the_bytes_to_those_that_are_sent() {
    let mut world = World::new();
    absent(&mut world, "c");
    world.session("d");
    let one = cost::BODY + 2 + cost::PLACE;
    let all = world.shard.counts().bytes + 4 * one;
    // Three quarters are for what is there and one message.
    let shard_bytes_max = (all - 3 * one).div_ceil(3) * 4;
    world.apply(Command::Settings(Settings { shard_bytes_max, ..Settings::default() }));
    let full = refused(0, Bound::ShardBytes);
    assert_eq!(world.queue("c", &["1", "2"]), published(vec![stored(1), full], 3));
    assert_eq!(world.queue("d", &["1", "2"]), published(vec![stored(1), stored(1)], 5));
}

#[test]
fn the_bytes_of_the_shard_are_bounded() {
    let mut world = World::new();
    let Claimed { epoch, generation, .. } = world.session("c");
    let used = world.shard.counts().bytes;
    let room = cost::BODY + 2 + cost::PLACE;
    world.apply(Command::Settings(Settings { shard_bytes_max: used + room, ..Settings::default() }));
    assert_eq!(
        world.queue("c", &["12", "1", "1"]),
        published(vec![refused(0, Bound::ShardBytes), stored(1), refused(0, Bound::ShardBytes)], 4)
    );
    let full = Reply::Refused(Refusal::Bound(Bound::ShardBytes));
    assert_eq!(world.apply(Command::Claim(claim("d", A, 1))), full);
    let subscriptions = vec![(text("a"), subscription(QoS::AtLeastOnce))];
    assert_eq!(
        world.apply(Command::Subscribe { client: text("c"), epoch, subscriptions }),
        Reply::Subscribed(vec![Err(Bound::ShardBytes)])
    );
    let retain = retain("t", "x", 1);
    let no_room = Stored { retained: Some(RetainReply::Refused(Bound::ShardBytes)), ..Stored::default() };
    assert_eq!(world.apply(publish(4, &[retain])), published(vec![ItemReply::Stored(no_room)], 5));
    let packet_id = fulmar_codec::PacketId::MIN;
    let routed = Routed { item: item("x", &[]), destinations: vec![] };
    assert_eq!(world.apply(Command::ReceiveQos2 { client: text("c"), epoch, packet_id, routed }), full);
    assert_eq!(world.shard.counts().bytes, used + room);

    // Who comes back gets what there is, and makes room.
    let back = world.claim(&claim("c", B, 2));
    assert_eq!((back.generation, world.payloads("c")), (generation, vec!["1".to_owned()]));
    world.apply(acknowledge("c", back.epoch, &[(0, Ack::Ack)]));
    assert_eq!(world.queue("c", &["1"]), published(vec![stored(1)], 6));
}

#[test]
fn a_retained_message_that_does_not_fit_leaves_the_old_one() {
    let mut world = World::new();
    world.apply(publish(1, &[retain("t", "1", 1)]));
    let bytes = world.shard.counts().bytes;
    world.apply(Command::Settings(Settings { shard_bytes_max: bytes + 10, ..Settings::default() }));
    let no_room = Stored { retained: Some(RetainReply::Refused(Bound::ShardBytes)), ..Stored::default() };
    assert_eq!(world.apply(publish(2, &[retain("t", "2", 2)])), published(vec![ItemReply::Stored(no_room)], 3));
    assert_eq!(world.shard.retained("t", world.now).unwrap().0.payload(), b"1");
    assert_eq!(world.shard.counts().bytes, bytes);
}

#[test]
fn sessions_subscriptions_wills_identifiers_retained_messages_and_nodes_are_bounded() {
    let settings = Settings {
        sessions_max: 1,
        subscriptions_max: 1,
        will_bytes_max: 7,
        received_ids_max: 1,
        retained_max: 1,
        nodes_max: 1,
        ..Settings::default()
    };
    let mut world = World::with(settings);
    let large_will = Claim { will: will("four", 0), ..claim("c", A, 1) };
    let refused = |bound| Reply::Refused(Refusal::Bound(bound));
    assert_eq!(world.apply(Command::Claim(large_will)), refused(Bound::WillBytes));
    let epoch = world.claim(&Claim { will: will("fit", 0), ..claim("c", A, 1) }).epoch;
    assert_eq!(world.apply(Command::Claim(claim("d", A, 1))), refused(Bound::Sessions));

    let one = subscription(QoS::AtLeastOnce);
    let subscriptions = ["a", "b", "a"].map(|filter| (text(filter), one)).to_vec();
    let outcomes = vec![Ok(true), Err(Bound::Subscriptions), Ok(false)];
    assert_eq!(
        world.apply(Command::Subscribe { client: text("c"), epoch, subscriptions }),
        Reply::Subscribed(outcomes)
    );

    let mut receive = |id| {
        let packet_id = fulmar_codec::PacketId::new(id).unwrap();
        let routed = Routed { item: item("x", &[]), destinations: vec![] };
        world.apply(Command::ReceiveQos2 { client: text("c"), epoch, packet_id, routed })
    };
    assert_eq!(
        [receive(1), receive(2), receive(1)],
        [Reply::Routed(Stored::default()), refused(Bound::ReceivedIds), Reply::Duplicate]
    );

    let reply = world.apply(publish(1, &[retain("a", "x", 1), retain("b", "x", 2), retain("a", "x", 3)]));
    let retained = |retained| ItemReply::Stored(Stored { retained: Some(retained), ..Stored::default() });
    let outcomes = [RetainReply::Applied, RetainReply::Refused(Bound::Retained), RetainReply::Applied];
    assert_eq!(reply, published(outcomes.map(retained).to_vec(), 4));

    let from_another = Command::Publish { source: Party::Node(B), first: 1, items: vec![], goes_on: false };
    assert_eq!(world.apply(from_another), refused(Bound::Nodes));
}
