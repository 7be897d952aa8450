//! Acknowledgements wait for other nodes, in order and not for ever.

use super::*;

#[test]
fn suback_waits_for_a_silent_node_for_two_seconds_at_most() {
    let mut world = World::new(9, 3, 2);
    let subscriber = world.connect(0, "subscriber");
    world.clients[subscriber].take();
    world.stall(0, 2, true);
    world.subscribe(subscriber, "a", QoS::AtMostOnce);
    world.settle();
    assert_eq!(world.clients[subscriber].take(), []);
    world.pass(Duration::from_millis(1500));
    assert_eq!(world.clients[subscriber].take(), []);
    world.pass(Duration::from_millis(700));
    assert_eq!(world.clients[subscriber].take(), [Got::SubAck(vec![ReasonCode::SUCCESS])]);
}

#[test]
fn puback_waits_for_every_interested_node_and_for_no_other() {
    let mut world = World::new(10, 3, 2);
    let [near, far] = [1, 2].map(|node| world.connect(node, &format!("subscriber-{node}")));
    world.subscribe(near, "near", QoS::AtLeastOnce);
    world.subscribe(far, "far", QoS::AtLeastOnce);
    world.settle();
    let publisher = world.connect(0, "publisher");
    let bystander = world.connect(0, "bystander");
    [publisher, bystander].iter().for_each(|client| drop(world.clients[*client].take()));
    world.stall(0, 2, true);
    world.publish(publisher, "far", "1", QoS::AtLeastOnce);
    world.publish(bystander, "near", "2", QoS::AtLeastOnce);
    world.settle();
    assert_eq!(world.clients[publisher].take(), []);
    assert_eq!(world.clients[bystander].take(), [Got::PubAck(1)]);
    world.stall(0, 2, false);
    world.cut(0, 2);
    world.reconnect(0, 2);
    world.settle();
    assert_eq!(world.clients[publisher].take(), [Got::PubAck(1)]);
    assert_eq!(world.clients[far].payloads(), ["1"]);
}

#[test]
fn acknowledgements_leave_in_the_order_of_the_publishes() {
    let mut world = World::new(11, 2, 1);
    let subscriber = world.connect(1, "subscriber");
    world.subscribe(subscriber, "far", QoS::AtLeastOnce);
    world.settle();
    let publisher = world.connect(0, "publisher");
    world.clients[publisher].take();
    world.stall(0, 1, true);
    world.publish(publisher, "far", "1", QoS::AtLeastOnce);
    world.publish(publisher, "nobody", "2", QoS::AtLeastOnce);
    world.settle();
    assert_eq!(world.clients[publisher].take(), []);
    world.stall(0, 1, false);
    world.cut(0, 1);
    world.reconnect(0, 1);
    world.settle();
    assert_eq!(world.clients[publisher].take(), [Got::PubAck(1), Got::PubAck(2)]);
}

#[test]
fn a_node_that_does_not_come_back_holds_nobody_longer_than_its_time() {
    let mut world = World::new(12, 2, 2);
    let subscriber = world.connect(1, "subscriber");
    world.subscribe(subscriber, "far", QoS::AtLeastOnce);
    world.settle();
    let publisher = world.connect(0, "publisher");
    world.clients[publisher].take();
    world.cut(0, 1);
    world.publish(publisher, "far", "1", QoS::AtLeastOnce);
    world.settle();
    assert_eq!(world.clients[publisher].take(), []);
    world.pass(Duration::from_millis(2200));
    assert_eq!(world.clients[publisher].take(), [Got::PubAck(1)]);
    assert!(world.nodes[0].node.peers().iter().all(|peer| !peer.linked));
    world.link(0, 1);
    world.settle();
    world.publish(publisher, "far", "2", QoS::AtLeastOnce);
    world.settle();
    assert_eq!(world.clients[publisher].take(), [Got::PubAck(2)]);
    assert_eq!(world.clients[subscriber].payloads(), ["2"]);
}

#[test]
fn with_receive_maximum_unanswered_publishes_the_client_is_not_read_and_nothing_is_lost() {
    let limits = Limits { inflight: 4, ..Limits::default() };
    let mut world = World::with_limits(13, 2, 1, &limits);
    let subscriber = world.connect(1, "subscriber");
    world.subscribe(subscriber, "far", QoS::AtLeastOnce);
    world.settle();
    let publisher = world.connect_with(0, "publisher", |connect| fulmar_codec::Connect {
        version: Version::V311,
        keep_alive: 1,
        ..connect
    });
    world.clients[publisher].take();
    world.stall(0, 1, true);
    for number in 1..=20 {
        world.publish(publisher, "far", &number.to_string(), QoS::AtLeastOnce);
    }
    world.settle();
    assert_eq!(world.counter(0, |counters| counters.publishes_received_qos1), 4);
    // Its keep alive is over, but it is we who do not listen.
    world.pass(Duration::from_millis(1700));
    assert!(world.clients[publisher].is_connected());
    world.stall(0, 1, false);
    world.cut(0, 1);
    world.reconnect(0, 1);
    world.settle();
    assert_eq!(world.clients[publisher].take(), (1..=20).map(Got::PubAck).collect::<Vec<_>>());
    assert_eq!(world.clients[subscriber].payloads(), (1..=20).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn answers_that_wait_behind_a_silent_link_hold_the_reading_and_close_nobody() {
    let limits = Limits { inflight: 4, ..Limits::default() };
    let mut world = World::with_limits(14, 2, 1, &limits);
    let subscriber = world.connect(1, "subscriber");
    world.subscribe(subscriber, "far", QoS::AtLeastOnce);
    world.settle();
    let publisher = world.connect(0, "publisher");
    world.clients[publisher].take();
    world.stall(0, 1, true);
    world.publish(publisher, "far", "1", QoS::AtLeastOnce);
    for number in 2..=12 {
        // Nobody wants these: they are routed at once, but answered after the first.
        world.publish(publisher, "nobody", &number.to_string(), QoS::AtLeastOnce);
    }
    world.settle();
    assert_eq!(world.clients[publisher].take(), []);
    world.stall(0, 1, false);
    world.cut(0, 1);
    world.reconnect(0, 1);
    world.settle();
    assert_eq!(world.clients[publisher].take(), (1..=12).map(Got::PubAck).collect::<Vec<_>>());
}

#[test]
fn a_client_that_never_reads_is_not_read_either() {
    let limits = Limits { output_buffer_bytes: 1000, ..Limits::default() };
    let mut world = World::with_limits(15, 1, 1, &limits);
    let client = world.connect(0, "deaf");
    world.deafen(client);
    for _ in 0..5000 {
        world.send_bytes(client, &[0xc0, 0]);
    }
    world.settle();
    let answered = world.unsent_bytes(client);
    assert!((1000..1010).contains(&answered), "{answered} bytes wait");
    world.hear_again(client);
    world.settle();
    assert_eq!(world.clients[client].got.iter().filter(|got| **got == Got::Pong).count(), 5000);
}
