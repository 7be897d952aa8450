//! Links that break all the time.

use super::*;

/// Publishers and subscribers everywhere while links break and resume: what was acknowledged arrived, QoS 2 once, and
/// in order.
fn run_under_fire(seed: u64) -> Vec<String> {
    let mut world = World::new(seed, 3, 2);
    let subscribers: Vec<_> = (0..6).map(|number| world.connect(number % 3, &format!("subscriber-{number}"))).collect();
    for (number, subscriber) in subscribers.iter().enumerate() {
        world.subscribe(*subscriber, ["t/#", "t/+", "t/1"][number % 3], QoS::ExactlyOnce);
    }
    world.settle();
    let publishers: Vec<_> = (0..3).map(|node| world.connect(node, &format!("publisher-{node}"))).collect();
    publishers.iter().chain(&subscribers).for_each(|client| drop(world.clients[*client].take()));
    let mut published: Vec<Vec<String>> = vec![vec![]; 3];
    for round in 0..60 {
        for (node, publisher) in publishers.iter().enumerate() {
            let qos = [QoS::AtLeastOnce, QoS::ExactlyOnce][world.pick(2)];
            let payload = format!("{node}-{round}");
            world.publish(*publisher, "t/1", &payload, qos);
            published[node].push(payload);
        }
        for _ in 0..world.pick(40) {
            world.step();
        }
        if world.pick(6) == 0 {
            let a = world.pick(3);
            let b = (a + 1) % 3;
            world.cut(a, b);
            for _ in 0..world.pick(30) {
                world.step();
            }
            world.pass(Duration::from_millis(100));
            world.reconnect(a, b);
        }
    }
    world.settle();
    for (node, publisher) in publishers.iter().enumerate() {
        let done = world.clients[*publisher].got.iter().filter(|got| matches!(got, Got::PubAck(_) | Got::PubComp(_)));
        assert_eq!(done.count(), published[node].len(), "seed {seed}: every publish is acknowledged");
    }
    for subscriber in subscribers {
        let got = world.clients[subscriber].payloads();
        for (node, expected) in published.iter().enumerate() {
            let mine: Vec<_> = got.iter().filter(|payload| payload.starts_with(&format!("{node}-"))).collect();
            assert_eq!(mine, expected.iter().collect::<Vec<_>>(), "seed {seed}, publisher {node}");
        }
    }
    world.trace
}

#[test]
fn breaking_links_lose_repeat_and_reorder_nothing_that_was_acknowledged() {
    for seed in 0..40 {
        run_under_fire(seed);
    }
}

#[test]
fn one_seed_gives_one_history() {
    assert_eq!(run_under_fire(4711), run_under_fire(4711));
}
