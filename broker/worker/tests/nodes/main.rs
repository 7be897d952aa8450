//! Three nodes of two data threads each, in one process, from one seed: what clients see of a cluster.

mod answers;
mod claims;
mod fire;
mod retained;
mod shared;
#[path = "../world/mod.rs"]
mod world;

use fulmar_codec::{QoS, ReasonCode, Version};
use fulmar_worker::Limits;
use std::time::Duration;
use world::World;
use world::client::Got;

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

fn message(topic: &str, payload: &str, qos: QoS) -> Got {
    Got::Message { topic: topic.into(), payload: payload.into(), qos: qos.level(), retain: false }
}

#[test]
fn a_message_reaches_subscribers_on_every_node_once_at_every_qos() {
    for seed in 0..20 {
        let mut world = World::new(seed, 3, 2);
        let subscribers: Vec<_> = (0..3).map(|node| world.connect(node, &format!("subscriber-{node}"))).collect();
        for subscriber in &subscribers {
            world.subscribe(*subscriber, "room/+/temperature", QoS::ExactlyOnce);
        }
        world.settle();
        subscribers.iter().for_each(|subscriber| drop(world.clients[*subscriber].take()));
        for from in 0..3 {
            let publisher = world.connect(from, &format!("publisher-{from}"));
            world.clients[publisher].take();
            for qos in QOS {
                world.publish(publisher, "room/7/temperature", &format!("{from} {qos}"), qos);
            }
            world.settle();
            assert_eq!(world.clients[publisher].take(), [Got::PubAck(1), Got::PubRec(2), Got::PubComp(2)]);
        }
        for subscriber in subscribers {
            let expected: Vec<_> = (0..3)
                .flat_map(|from| QOS.map(|qos| message("room/7/temperature", &format!("{from} {qos}"), qos)))
                .collect();
            assert_eq!(world.clients[subscriber].take(), expected, "seed {seed}");
        }
    }
}

#[test]
fn a_publish_crosses_a_link_once_however_many_subscribers_there_are_and_never_where_none_is() {
    let mut world = World::new(1, 3, 2);
    for number in 0..100 {
        let subscriber = world.connect(1, &format!("subscriber-{number}"));
        world.subscribe(subscriber, "a/b", QoS::AtLeastOnce);
    }
    world.settle();
    let publisher = world.connect(0, "publisher");
    for _ in 0..10 {
        world.publish(publisher, "a/b", "x", QoS::AtLeastOnce);
    }
    world.settle();
    assert_eq!((world.link_publishes(0, 1).0, world.link_publishes(0, 2).0), (10, 0));
    assert_eq!((world.link_publishes(1, 0).1, world.link_publishes(2, 0).1), (10, 0));
    assert_eq!(world.counter(1, |counters| counters.deliveries_qos1), 1000);
}

#[test]
fn overlapping_subscriptions_give_one_message_with_the_highest_qos() {
    let mut world = World::new(3, 1, 2);
    let subscriber = world.connect(0, "subscriber");
    world.subscribe(subscriber, "a/#", QoS::AtMostOnce);
    world.subscribe(subscriber, "a/+", QoS::ExactlyOnce);
    world.subscribe(subscriber, "a/b", QoS::AtLeastOnce);
    world.settle();
    world.clients[subscriber].take();
    for number in 0..8 {
        let publisher = world.connect(0, &format!("publisher-{number}"));
        world.publish(publisher, "a/b", "x", QoS::ExactlyOnce);
        world.settle();
        assert_eq!(world.clients[subscriber].take(), [message("a/b", "x", QoS::ExactlyOnce)]);
    }
}
