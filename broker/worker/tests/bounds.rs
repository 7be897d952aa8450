//! What a node keeps is bounded for all its clients together, whatever each of them may have.

mod world;

use fulmar_codec::{Connect, QoS};
use fulmar_worker::Limits;
use std::time::Duration;
use world::World;

fn keep<'a>(connect: Connect<'a>) -> Connect<'a> {
    Connect { clean_start: false, session_expiry: 60, ..connect }
}

#[test]
fn queues_of_absent_clients_fill_the_node_to_its_bound_and_connected_clients_are_served() {
    let bound = 2 << 20;
    let limits = Limits { queued_bytes_total: bound, ..Limits::default() };
    let mut world = World::with_limits(1, 1, 2, &limits);
    // Ids that fall on either thread.
    for number in 0..20 {
        let id = format!("absent-{number}");
        let absent = world.connect_with(0, &id, keep);
        world.subscribe(absent, &format!("to/{number}"), QoS::AtLeastOnce);
        world.settle();
        world.vanish(absent);
    }
    let present = world.connect_with(0, "present", keep);
    world.subscribe(present, "to/present", QoS::AtLeastOnce);
    let publisher = world.connect(0, "publisher");
    let payload = "x".repeat(20_000);
    for round in 0..10 {
        for number in 0..20 {
            world.publish(publisher, &format!("to/{number}"), &payload, QoS::AtLeastOnce);
        }
        world.settle();
        let queued = world.gauges(0).queued_bytes;
        assert!(queued <= bound as u64 * 3 / 4, "round {round}: {queued} bytes");
    }
    // Each client is far below its own bound, and the node at its own.
    assert_eq!(world.counter(0, |counters| counters.dropped_queue_full), 0);
    assert!(world.gauges(0).queued_bytes > bound as u64 / 2);
    let dropped = world.counter(0, |counters| counters.dropped_node_full);
    assert!((100..=150).contains(&dropped), "{dropped} of 200 messages, each of 20 kB");
    world.publish(publisher, "to/present", "still here", QoS::AtLeastOnce);
    world.settle();
    assert_eq!(world.clients[present].payloads(), ["still here"]);
    // Told once, and not again within the minute.
    world.pass(Duration::from_secs(30));
    let told = world.trace.iter().filter(|line| line.contains("LimitReached")).count();
    assert_eq!(told, 1, "{:?}", world.trace);
    world.pass(Duration::from_secs(40));
    assert_eq!(world.gauges(0).queued_bytes, 0, "what ended sessions kept is given back");
}

#[test]
fn clients_that_do_not_read_hold_no_more_output_together_than_allowed() {
    let bound = 1 << 20;
    let limits = Limits { output_bytes_per_thread: bound, output_buffer_bytes: 100_000, ..Limits::default() };
    let mut world = World::with_limits(2, 1, 1, &limits);
    let deaf: Vec<_> = (0..30).map(|number| world.connect(0, &format!("deaf-{number}"))).collect();
    let reader = world.connect(0, "reader");
    for client in deaf.iter().chain([&reader]) {
        world.subscribe(*client, "news", QoS::AtMostOnce);
    }
    world.settle();
    deaf.iter().for_each(|client| world.deafen(*client));
    let publisher = world.connect(0, "publisher");
    let payload = "x".repeat(10_000);
    for round in 1..=20 {
        world.publish(publisher, "news", &payload, QoS::AtMostOnce);
        world.settle();
        world.pass(Duration::from_millis(50));
        let unsent = world.gauges(0).unsent_bytes;
        assert!(unsent <= bound as u64, "round {round}: {unsent} bytes");
    }
    assert_eq!(world.clients[reader].payloads().len(), 20);
    let connected: Vec<_> = deaf.iter().map(|client| world.clients[*client].is_connected()).collect();
    let closed = connected.iter().filter(|is_connected| !**is_connected).count();
    assert!((10..30).contains(&closed), "{closed} of 30 were closed");
    assert_eq!(world.counter(0, |counters| counters.output_full_closes), closed as u64);
    assert_eq!(world.trace.iter().filter(|line| line.contains("outputBufferBytesTotal")).count(), 1);
}
