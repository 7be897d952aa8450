//! Who gets a message, and as what.

use fulmar_codec::QoS;
use fulmar_store::{Answer, Ask, ItemReply, Published, Recipients, Reply, Stored, Subscription};

use super::fixture::*;

/// A session with these subscriptions.
fn subscribed(world: &mut World, name: &str, slot: u32, subscriptions: &[(&str, Subscription)]) -> u64 {
    let epoch = world.claim(name, slot).claimed.epoch;
    let subscriptions = subscriptions.iter().map(|(filter, it)| ((*filter).into(), *it)).collect();
    let answer = world.ask(Ask::Subscribe { client: client(name), epoch, subscriptions });
    assert!(matches!(answer, Answer::Reply(Reply::Subscribed(_))), "{answer:?}");
    epoch
}

fn with(qos: QoS, id: u32, no_local: bool, retain_as_published: bool) -> Subscription {
    let mut subscription = subscription(qos, id);
    (subscription.options.no_local, subscription.options.retain_as_published) = (no_local, retain_as_published);
    subscription
}

fn queued(answer: &Answer) -> Option<u32> {
    match answer {
        Answer::Reply(Reply::Published { items, .. }) => match &items[..] {
            [ItemReply::Stored(stored)] => Some(stored.queued),
            _ => None,
        },
        _ => None,
    }
}

#[test]
fn overlapping_subscriptions_give_one_delivery_with_all_their_identifiers() {
    let mut world = World::new();
    let subscriptions = [
        ("a/#", with(QoS::AtLeastOnce, 7, false, false)),
        ("a/b", with(QoS::ExactlyOnce, 3, false, true)),
        ("+/b", with(QoS::AtMostOnce, 5, false, false)),
        ("a/c", with(QoS::ExactlyOnce, 9, false, false)),
    ];
    subscribed(&mut world, "sub", 1, &subscriptions);
    let message = message_of(QoS::ExactlyOnce, "a/b", "x").with_retain(true);
    assert_eq!(queued(&world.ask(publish(shard_of("sub"), message.clone()))), Some(1));
    let [delivery] = &world.delivered(1)[..] else { panic!("one delivery") };
    let mut ids: Vec<u32> = delivery.subscription_ids.iter().map(|id| id.get()).collect();
    ids.sort_unstable();
    assert_eq!((delivery.qos, delivery.retain, ids), (QoS::ExactlyOnce, true, vec![3, 5, 7]));
    assert_eq!(delivery.message, Some(message));
}

#[test]
fn the_lower_quality_of_service_counts_and_zero_waits_for_nobody() {
    let mut world = World::new();
    subscribed(&mut world, "sub", 1, &[("one", subscription(QoS::AtLeastOnce, 0))]);
    subscribed(&mut world, "sub", 1, &[("two", subscription(QoS::ExactlyOnce, 0))]);
    subscribed(&mut world, "sub", 1, &[("none", subscription(QoS::AtMostOnce, 0))]);
    world.delivered(1);
    let shard = shard_of("sub");
    for (topic, qos) in [("one", QoS::ExactlyOnce), ("two", QoS::AtLeastOnce), ("none", QoS::ExactlyOnce)] {
        world.ask(publish(shard, message_of(qos, topic, topic)));
    }
    let deliveries = world.delivered(1);
    let found: Vec<_> = deliveries.iter().map(|it| (it.qos, it.message.as_ref().map(|it| it.topic()))).collect();
    assert_eq!(found, [(QoS::AtLeastOnce, Some("one")), (QoS::AtLeastOnce, Some("two"))]);
}

#[test]
fn no_local_holds_for_each_subscription() {
    let mut world = World::new();
    let subscriptions = [
        ("t", with(QoS::AtLeastOnce, 1, true, false)),
        ("+", with(QoS::AtLeastOnce, 2, false, false)),
        ("own", with(QoS::AtLeastOnce, 3, true, false)),
        ("u/#", with(QoS::AtLeastOnce, 4, true, false)),
    ];
    subscribed(&mut world, "sub", 1, &subscriptions);
    let publish_as = |publisher: &str, topic: &str| {
        let to = Recipients::Matching { publisher: Some(client(publisher)) };
        Ask::Publish { shard: shard_of("sub"), published: Published { message: message(topic, "x"), retain: None, to } }
    };
    assert_eq!(queued(&world.ask(publish_as("sub", "t"))), Some(1));
    assert_eq!(queued(&world.ask(publish_as("sub", "u/v"))), Some(0));
    assert_eq!(queued(&world.ask(publish_as("other", "u/v"))), Some(1));
    let deliveries = world.delivered(1);
    let ids: Vec<Vec<u32>> =
        deliveries.iter().map(|it| it.subscription_ids.iter().map(|id| id.get()).collect()).collect();
    assert_eq!(ids, [vec![2], vec![4]]);
}

#[test]
fn what_nobody_wants_makes_no_entry() {
    let mut world = World::new();
    subscribed(&mut world, "sub", 1, &[("t", subscription(QoS::AtLeastOnce, 0))]);
    let before = world.engine.counts();
    let answer = world.ask(publish(shard_of("sub"), message("other", "x")));
    let nothing = vec![ItemReply::Stored(Stored::default())];
    assert_eq!(answer, Answer::Reply(Reply::Published { items: nothing, expected: 1 }));
    assert_eq!(world.engine.counts(), before);
}

#[test]
fn a_message_for_one_session_goes_there_whatever_it_subscribed_to() {
    let mut world = World::new();
    world.claim("sub", 1);
    let one = |name: &str, qos| {
        let to = Recipients::One { client: client(name), qos, retain: true, subscription_ids: vec![], share: None };
        Ask::Publish { shard: shard_of("sub"), published: Published { message: message("t", "x"), retain: None, to } }
    };
    assert_eq!(queued(&world.ask(one("sub", QoS::AtLeastOnce))), Some(1));
    assert_eq!(queued(&world.ask(one("sub", QoS::AtMostOnce))), Some(0));
    assert_eq!(queued(&world.ask(one("nobody", QoS::AtLeastOnce))), Some(0));
    let [delivery] = &world.delivered(1)[..] else { panic!("one delivery") };
    assert_eq!((delivery.retain, delivery.qos), (true, QoS::AtLeastOnce));
}

#[test]
fn members_of_a_group_take_turns_and_absent_ones_only_if_nobody_is_there() {
    let mut world = World::new();
    // All in one shard, as a group that spans shards takes turns among them first.
    let members: Vec<String> =
        (0..).map(|it| format!("m{it}")).filter(|it| shard_of(it) == shard_of("sub")).take(3).collect();
    let epochs: Vec<u64> = (1..)
        .zip(&members)
        .map(|(slot, name)| {
            subscribed(&mut world, name, slot, &[("$share/g/t/+", subscription(QoS::AtLeastOnce, slot))])
        })
        .collect();
    let turn = |world: &mut World| {
        let to = Recipients::Group { group: "g".into(), filter: "t/+".into() };
        let published = Published { message: message("t/1", "x"), retain: None, to };
        assert_eq!(queued(&world.ask(Ask::Publish { shard: shard_of("sub"), published })), Some(1));
        let taken: Vec<u32> = (1..=3).filter(|slot| !world.delivered(*slot).is_empty()).collect();
        taken
    };
    let mut first: Vec<Vec<u32>> = (0..3).map(|_| turn(&mut world)).collect();
    first.sort_unstable();
    assert_eq!(first, [[1], [2], [3]]);

    let leave = |world: &mut World, at: usize| {
        let will = fulmar_store::WillFate::Keep;
        world.ask(Ask::Disconnect { client: client(&members[at]), epoch: epochs[at], expiry_seconds: None, will });
    };
    leave(&mut world, 0);
    leave(&mut world, 2);
    assert_eq!((0..4).map(|_| turn(&mut world)).collect::<Vec<_>>(), [[2], [2], [2], [2]]);
    leave(&mut world, 1);
    assert_eq!((0..7).map(|_| turn(&mut world)).collect::<Vec<_>>(), [[0_u32; 0]; 7], "they wait");
    world.claim(&members[0], 1);
    // The first one was not acknowledged.
    let waited = world.delivered(1).len() - 1;
    assert_eq!((0..3).map(|_| turn(&mut world)).collect::<Vec<_>>(), [[1], [1], [1]]);
    assert!((2..=3).contains(&waited), "{waited} of seven that waited for three");
}
