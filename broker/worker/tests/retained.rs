//! Retained messages on their way to a new subscription, whatever happens to the client meanwhile.

mod world;

use fulmar_codec::{Connect, QoS};
use fulmar_worker::Limits;
use std::collections::BTreeSet;
use std::num::NonZeroU16;
use world::World;

fn keep<'a>(connect: Connect<'a>) -> Connect<'a> {
    let receive_maximum = NonZeroU16::new(3).expect("3 is not 0");
    Connect { clean_start: false, session_expiry: 600, receive_maximum, ..connect }
}

fn retain(world: &mut World, count: usize) {
    let publisher = world.connect(0, "publisher");
    for number in 0..count {
        world.publish_with(publisher, &format!("meter/{number:03}"), &number.to_string(), QoS::AtLeastOnce, true);
    }
    world.settle();
}

#[test]
fn a_client_that_leaves_in_the_middle_gets_the_rest_when_it_comes_back() {
    for seed in 0..5 {
        let mut world = World::new(seed, 1, 2);
        retain(&mut world, 200);
        let reader = world.connect_with(0, "reader", keep);
        world.clients[reader].acknowledges = false;
        world.subscribe(reader, "meter/#", QoS::AtLeastOnce);
        world.settle();
        assert_eq!(world.clients[reader].payloads().len(), 3);
        world.vanish(reader);
        // What was read from the store waits in the queue, the rest in the store.
        assert!(world.gauges(0).queued_bytes < 64 * 300, "{} bytes", world.gauges(0).queued_bytes);
        world.clients[reader].acknowledges = true;
        world.reconnect_client(reader, 0, "reader", keep);
        let got: Vec<usize> = world.clients[reader]
            .payloads()
            .iter()
            .map(|payload| payload.parse().expect("a number is retained"))
            .collect();
        assert_eq!(got.iter().copied().collect::<BTreeSet<_>>(), (0..200).collect(), "seed {seed}");
        // The three that were not acknowledged came twice.
        assert_eq!(got.len(), 203, "seed {seed}");
    }
}

#[test]
fn a_session_that_starts_anew_or_ends_gets_nothing_of_it() {
    let mut world = World::new(7, 1, 1);
    retain(&mut world, 20);
    let reader = world.connect_with(0, "reader", keep);
    world.clients[reader].acknowledges = false;
    world.subscribe(reader, "meter/#", QoS::AtLeastOnce);
    world.settle();
    world.vanish(reader);
    world.clients[reader].take();
    world.reconnect_client(reader, 0, "reader", |connect| Connect { clean_start: true, ..keep(connect) });
    assert_eq!(world.clients[reader].payloads(), [""; 0]);
    assert_eq!(world.gauges(0).queued_bytes, 0);
}

#[test]
fn subscribing_again_and_again_without_taking_anything_is_bounded() {
    let mut world = World::with_limits(8, 1, 1, &Limits::default());
    retain(&mut world, 5);
    let reader = world.connect_with(0, "reader", keep);
    world.clients[reader].acknowledges = false;
    for _ in 0..1000 {
        world.subscribe(reader, "meter/#", QoS::AtLeastOnce);
    }
    world.settle();
    world.clients[reader].acknowledges = true;
    world.reconnect_client(reader, 0, "reader", keep);
    let got = world.clients[reader].payloads().len();
    assert!((8..200).contains(&got), "{got} messages of 5 for a thousand subscriptions");
}
