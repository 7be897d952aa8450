//! Nodes of a durable cluster follow the view and their leases: what is acknowledged, when, and what is not.

mod filters;
mod lease;
mod store;
#[path = "../world/mod.rs"]
mod world;

use fulmar_codec::{Connect, QoS, ReasonCode, Version};
use fulmar_meta::{Member, View};
use fulmar_store::{Answer, Ask, Claimed, OwnedSession, WillFate};
use fulmar_worker::Limits;
use std::num::NonZeroU16;
use std::time::Duration;
use world::World;
use world::client::Got;

fn message(payload: &str, qos: QoS) -> Got {
    Got::Message { topic: "a".into(), payload: payload.into(), qos: qos.level(), retain: false }
}

fn connected() -> Got {
    Got::ConnAck { session_present: false, reason: ReasonCode::SUCCESS }
}

/// Three nodes; a subscriber of `a` on the second, a publisher on the first, both with nothing unread.
fn subscriber_and_publisher(seed: u64) -> (World, usize, usize) {
    let mut world = World::of_cluster(seed, 3, 2);
    let subscriber = world.connect(1, "subscriber");
    world.subscribe(subscriber, "a", QoS::ExactlyOnce);
    let publisher = world.connect(0, "publisher");
    world.settle();
    assert_eq!(world.clients[subscriber].take(), [connected(), Got::SubAck(vec![ReasonCode::GRANTED_QOS_2])]);
    assert_eq!(world.clients[publisher].take(), [connected()]);
    (world, subscriber, publisher)
}

#[test]
fn a_lost_link_ends_no_wait_and_a_newer_view_without_the_member_does() {
    for seed in 0..6 {
        let (mut world, _, publisher) = subscriber_and_publisher(seed);
        world.stall(0, 1, true);
        world.publish(publisher, "a", "1", QoS::AtLeastOnce);
        world.publish(publisher, "a", "2", QoS::ExactlyOnce);
        world.publish(publisher, "b", "nobody wants it", QoS::AtLeastOnce);
        world.settle();
        // Links count silent peers as gone after two seconds.
        world.pass(Duration::from_secs(4));
        assert!(world.nodes[0].node.peers().iter().any(|peer| peer.lanes_up == 0));
        assert_eq!(world.clients[publisher].take(), [], "seed {seed}");
        world.follow(2, &[0, 1, 2]);
        assert_eq!(world.clients[publisher].take(), [], "seed {seed}");
        world.follow(3, &[0, 2]);
        let all = [Got::PubAck(1), Got::PubRec(2), Got::PubAck(3), Got::PubComp(2)];
        assert_eq!(world.clients[publisher].take(), all, "seed {seed}");
    }
}

#[test]
fn a_publish_for_a_member_that_is_not_linked_is_not_acknowledged_and_its_client_goes_after_ten_seconds() {
    let (mut world, subscriber, publisher) = subscriber_and_publisher(1);
    world.stall(0, 1, true);
    world.pass(Duration::from_secs(4));
    world.publish(publisher, "a", "1", QoS::AtLeastOnce);
    world.pass(Duration::from_secs(9));
    assert_eq!(world.clients[publisher].take(), []);
    world.pass(Duration::from_secs(2));
    let closed = [Got::Disconnect(ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR), Got::Closed];
    assert_eq!(world.clients[publisher].take(), closed);
    world.reconnect_client(publisher, 0, "publisher", |connect| connect);
    world.clients[publisher].take();
    world.link(0, 1);
    world.settle();
    world.publish(publisher, "a", "2", QoS::AtLeastOnce);
    world.settle();
    assert_eq!(world.clients[publisher].take(), [Got::PubAck(2)]);
    assert_eq!(world.clients[subscriber].take(), [message("2", QoS::AtLeastOnce)]);
}

#[test]
fn nobody_waits_for_a_node_that_is_not_in_the_view() {
    let (mut world, subscriber, publisher) = subscriber_and_publisher(3);
    world.follow(2, &[0, 2]);
    world.publish(publisher, "a", "1", QoS::AtLeastOnce);
    world.settle();
    assert_eq!(world.clients[subscriber].take(), [message("1", QoS::AtLeastOnce)], "it is linked yet");
    world.stall(0, 1, true);
    world.publish(publisher, "a", "2", QoS::AtLeastOnce);
    let other = world.connect(0, "other");
    world.subscribe(other, "b", QoS::AtMostOnce);
    world.settle();
    assert_eq!(world.clients[publisher].take(), [Got::PubAck(1), Got::PubAck(2)]);
    assert_eq!(world.clients[other].take(), [connected(), Got::SubAck(vec![ReasonCode::SUCCESS])]);
    // When its link is lost nothing of it stays, and it is a stranger.
    world.pass(Duration::from_secs(4));
    assert_eq!(world.nodes[0].node.trie_counts().remote, 0);
}

#[test]
fn another_life_of_a_member_does_not_confirm_for_the_one_that_the_view_has() {
    let (mut world, _, publisher) = subscriber_and_publisher(8);
    // The process of node 1 was killed and is back, before the cluster has noticed.
    world.begin_life(1);
    world.link(0, 1);
    world.settle();
    world.publish(publisher, "a", "1", QoS::AtLeastOnce);
    let other = world.connect(0, "other");
    world.subscribe(other, "b", QoS::AtMostOnce);
    world.settle();
    assert_eq!(world.clients[publisher].take(), [], "the life that wanted it may still serve");
    assert_eq!(world.clients[other].take(), [connected()]);
    world.follow(2, &[0, 2]);
    assert_eq!(world.clients[publisher].take(), [Got::PubAck(1)]);
    assert_eq!(world.clients[other].take(), [Got::SubAck(vec![ReasonCode::SUCCESS])]);
}

#[test]
fn a_retained_message_is_acknowledged_when_every_member_has_it() {
    let (mut world, _, publisher) = subscriber_and_publisher(9);
    world.stall(0, 2, true);
    world.publish_with(publisher, "lamp", "on", QoS::AtLeastOnce, true);
    world.pass(Duration::from_secs(4));
    assert_eq!(world.clients[publisher].take(), []);
    world.follow(2, &[0, 1]);
    assert_eq!(world.clients[publisher].take(), [Got::PubAck(1)]);
}

#[test]
fn a_view_that_is_not_newer_changes_nothing() {
    let (mut world, _, publisher) = subscriber_and_publisher(10);
    world.follow(5, &[0, 1, 2]);
    world.stall(0, 1, true);
    world.publish(publisher, "a", "1", QoS::AtLeastOnce);
    world.settle();
    world.follow(4, &[0, 2]);
    world.nodes[0].node.follow(&View::new(5, [world.member(0)]));
    world.settle();
    assert_eq!((world.nodes[0].node.followed(), world.clients[publisher].take()), (5, vec![]));
}

#[test]
fn publishes_that_wait_for_a_lost_member_do_not_add_up_when_their_clients_come_and_go() {
    let (mut world, _, publisher) = subscriber_and_publisher(11);
    world.stall(0, 1, true);
    world.pass(Duration::from_secs(4));
    for round in 0..20 {
        for _ in 0..500 {
            world.publish(publisher, "a", "1", QoS::AtLeastOnce);
        }
        world.settle();
        world.reconnect_client(publisher, 0, "publisher", |connect| connect);
        let waits = world.gauges(0).publishes_waiting;
        assert!(waits <= 1024, "{waits} in round {round}");
    }
}

#[test]
fn a_link_that_is_silent_but_not_lost_holds_nobody_up_once_the_view_is_without_the_member() {
    let (mut world, _, publisher) = subscriber_and_publisher(12);
    world.stall(0, 1, true);
    world.publish(publisher, "a", "1", QoS::AtLeastOnce);
    world.settle();
    assert_eq!(world.clients[publisher].take(), []);
    world.follow(2, &[0, 2]);
    assert_eq!(world.clients[publisher].take(), [Got::PubAck(1)]);
}

#[test]
fn a_message_of_a_shared_group_goes_to_a_member_that_can_be_reached() {
    let mut world = World::of_cluster(13, 3, 2);
    let members = [1, 2].map(|node| world.connect(node, &format!("member-{node}")));
    members.iter().for_each(|member| world.subscribe(*member, "$share/workers/a", QoS::AtLeastOnce));
    let publisher = world.connect(0, "publisher");
    world.clients[publisher].take();
    world.stall(0, 1, true);
    world.pass(Duration::from_secs(4));
    for number in 0..4 {
        world.publish(publisher, "a", &number.to_string(), QoS::AtLeastOnce);
    }
    world.settle();
    assert_eq!(world.clients[publisher].take(), [1, 2, 3, 4].map(Got::PubAck));
    assert_eq!(world.clients[members[1]].payloads(), ["0", "1", "2", "3"]);
}
