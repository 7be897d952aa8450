//! One connection for each client id.

use super::*;

#[test]
fn a_client_id_that_connects_elsewhere_closes_the_older_connection() {
    for seed in 0..20 {
        let mut world = World::new(seed, 3, 2);
        let keep = |connect: fulmar_codec::Connect<'static>| fulmar_codec::Connect {
            clean_start: false,
            session_expiry: 600,
            ..connect
        };
        let first = world.connect_with(0, "car-1", keep);
        let second = world.connect_with(2, "car-1", keep);
        assert_eq!(world.farewell(first), Some(ReasonCode::SESSION_TAKEN_OVER), "seed {seed}");
        assert!(!world.clients[first].is_connected() && world.clients[second].is_connected());
        let connected = Got::ConnAck { session_present: false, reason: ReasonCode::SUCCESS };
        assert_eq!(world.clients[second].take(), [connected]);
        let sessions: Vec<_> = (0..3).map(|node| world.gauges(node).sessions).collect();
        assert_eq!(sessions, [0, 0, 1]);
    }
}

#[test]
fn both_sides_of_a_healed_partition_agree_on_the_newer_connection() {
    let mut world = World::new(8, 2, 2);
    world.cut(0, 1);
    world.pass(Duration::from_secs(3));
    let other = world.connect(0, "car-2");
    let first = world.connect(0, "car-1");
    world.pass(Duration::from_millis(1));
    let second = world.connect(1, "car-1");
    world.publish(other, "x", "1", QoS::AtMostOnce);
    world.link(0, 1);
    world.settle();
    // They could not talk, and the first node has used up more of Lamport time: the wall clocks know which came last.
    let connected = [first, second].map(|client| world.clients[client].is_connected());
    assert_eq!(connected, [false, true]);
    assert!(world.clients[other].is_connected());
}

#[test]
fn a_late_word_of_a_peers_end_does_not_end_its_next_life() {
    let mut world = World::new(16, 2, 2);
    let subscriber = world.connect(1, "subscriber");
    world.subscribe(subscriber, "far", QoS::AtLeastOnce);
    world.settle();
    world.link(0, 1);
    world.settle();
    // The end of the first life is told after the second has begun.
    world.tell_peer_gone(0, 1, 1);
    world.settle();
    let publisher = world.connect(0, "publisher");
    world.publish(publisher, "far", "1", QoS::AtLeastOnce);
    world.settle();
    assert_eq!(world.clients[subscriber].payloads(), ["1"]);
}

#[test]
fn every_claim_arrives_however_small_the_link_is() {
    let limits = Limits { link_buffer_bytes: 2000, ..Limits::default() };
    let mut world = World::with_limits(17, 2, 2, &limits);
    world.cut(0, 1);
    world.pass(Duration::from_secs(3));
    let old: Vec<_> = (0..300).map(|number| world.connect(0, &format!("car-{number}"))).collect();
    world.observe_all(0, 1);
    let new: Vec<_> = (0..300).map(|number| world.connect(1, &format!("car-{number}"))).collect();
    world.link(0, 1);
    world.settle();
    world.pass(Duration::from_secs(1));
    assert!(old.iter().all(|client| !world.clients[*client].is_connected()));
    assert!(new.iter().all(|client| world.clients[*client].is_connected()));
}
