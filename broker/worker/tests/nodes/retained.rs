//! Retained messages on every node.

use super::*;
use fulmar_store::{Message, Version};
use std::num::NonZeroU16;

#[test]
fn a_retained_message_is_found_on_every_node_until_it_is_deleted() {
    let mut world = World::new(5, 3, 2);
    let publisher = world.connect(0, "publisher");
    world.publish_with(publisher, "lamp/1", "on", QoS::AtLeastOnce, true);
    world.publish_with(publisher, "lamp/2", "off", QoS::AtLeastOnce, true);
    world.settle();
    for node in 0..3 {
        let reader = world.connect(node, &format!("reader-{node}"));
        world.clients[reader].take();
        world.subscribe(reader, "lamp/+", QoS::AtLeastOnce);
        world.settle();
        let kept = |topic: &str, payload: &str| Got::Message {
            topic: topic.into(),
            payload: payload.into(),
            qos: 1,
            retain: true,
        };
        let granted = Got::SubAck(vec![ReasonCode::GRANTED_QOS_1]);
        assert_eq!(world.clients[reader].take(), [granted, kept("lamp/1", "on"), kept("lamp/2", "off")]);
    }
    world.publish_with(publisher, "lamp/1", "", QoS::AtLeastOnce, true);
    world.settle();
    for node in 0..3 {
        let reader = world.connect(node, &format!("late-reader-{node}"));
        world.subscribe(reader, "lamp/+", QoS::AtMostOnce);
        world.settle();
        assert_eq!(world.clients[reader].payloads(), ["off"]);
    }
}

#[test]
fn a_retained_message_that_somebody_has_seen_reaches_who_subscribes_later_anywhere() {
    for seed in 0..200 {
        let mut world = World::new(seed, 3, 2);
        let (publisher, witness) = (world.connect(1, "publisher"), world.connect(0, "witness"));
        let late = world.connect(2, "late");
        world.subscribe(witness, "lamp", QoS::AtMostOnce);
        world.settle();
        // QoS 0 and wills have no acknowledgement that would wait for every node.
        world.publish_with(publisher, "lamp", "on", QoS::AtMostOnce, true);
        while world.clients[witness].payloads().is_empty() {
            assert!(world.step(), "the witness sees it");
        }
        world.subscribe(late, "lamp", QoS::AtMostOnce);
        world.settle();
        assert!(world.clients[late].payloads().contains(&"on"), "seed {seed}");
    }
}

#[test]
fn a_new_node_copies_what_is_retained_and_what_was_deleted_stays_deleted() {
    let mut world = World::new(6, 2, 2);
    let publisher = world.connect(0, "publisher");
    for number in 0..3000 {
        world.publish_with(publisher, &format!("meter/{number}"), "1", QoS::AtMostOnce, true);
    }
    world.publish_with(publisher, "meter/7", "", QoS::AtMostOnce, true);
    world.settle();
    let node = world.add_node(1, &Limits::default());
    world.link(0, node);
    world.link(1, node);
    world.settle();
    assert_eq!(world.nodes[node].node.retained_counts().messages, 2999);
    assert!(world.nodes[node].node.peers().iter().all(|peer| peer.linked && peer.retained_copied));
    let reader = world.connect(node, "reader");
    world.subscribe(reader, "meter/+", QoS::AtMostOnce);
    world.settle();
    assert_eq!(world.clients[reader].payloads().len(), 2999);
}

#[test]
fn a_copied_message_that_a_node_has_no_room_for_is_counted_once() {
    let mut world = World::new(19, 1, 1);
    let publisher = world.connect(0, "publisher");
    for number in 0..5 {
        world.publish_with(publisher, &format!("meter/{number}"), "1", QoS::AtMostOnce, true);
    }
    world.settle();
    let node = world.add_node(1, &Limits { retained_messages: 2, ..Limits::default() });
    world.link(0, node);
    world.settle();
    assert_eq!(world.nodes[node].node.retained_counts().messages, 2);
    assert_eq!(world.counter(node, |counters| counters.limit_hits_retained_messages), 3);
}

/// What the store of a node has of a topic since.
fn store_says(world: &World, node: usize, topic: &str, payload: Option<&str>, clock: u64) {
    let message =
        payload.map(|payload| Message::new(topic, QoS::AtLeastOnce, &[], payload.as_bytes()).with_retain(true));
    let version = Version { clock, node: 7 };
    world.nodes[node].node.set_stored_retained(topic, message.as_ref(), version, world.now);
}

#[test]
fn what_a_store_learns_when_all_are_linked_is_told_to_nodes_without_a_copy_of_it() {
    let mut world = World::of_cluster_with(20, 3, 2, NonZeroU16::new(2));
    let messages = |world: &World| [0, 1, 2].map(|node| world.nodes[node].node.retained_counts().messages);
    store_says(&world, 0, "lamp", Some("on"), 5);
    store_says(&world, 1, "door", Some("open"), 6);
    world.pass(Duration::from_millis(200));
    assert_eq!(messages(&world), [2; 3]);
    store_says(&world, 1, "lamp", None, 7);
    world.pass(Duration::from_millis(200));
    assert_eq!(messages(&world), [1; 3]);
    // More at once than is told one by one.
    for number in 0..3000 {
        store_says(&world, 2, &format!("meter/{number}"), Some("1"), 8);
    }
    world.pass(Duration::from_millis(500));
    assert_eq!(messages(&world), [3001; 3]);
}
