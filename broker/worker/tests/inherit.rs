//! What a member of a shared subscription did not finish is done by another one when its session has ended.

mod world;

use fulmar_codec::{Connect, QoS};
use std::time::Duration;
use world::World;

const FILTER: &str = "$share/workers/job";
const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// A member on node 0 with room for two messages, which it never acknowledges, and four messages of each quality of
/// service that it gets as the only member.
fn stuck_member(seed: u64, nodes: usize, session_expiry: u32) -> (World, usize) {
    let mut world = World::new(seed, nodes, 2);
    let window = 2.try_into().expect("2 is not 0");
    let stuck =
        world.connect_with(0, "stuck", |connect| Connect { receive_maximum: window, session_expiry, ..connect });
    world.clients[stuck].acknowledges = false;
    world.subscribe(stuck, FILTER, QoS::ExactlyOnce);
    world.settle();
    let publisher = world.connect(nodes - 1, "publisher");
    for number in 0..4 {
        for qos in QOS {
            world.publish(publisher, "job", &format!("{number} {qos}"), qos);
            world.settle();
        }
    }
    let sent = ["0 0", "0 1", "0 2", "1 0", "2 0", "3 0"];
    let published: Vec<_> = world.clients[stuck].payloads().into_iter().map(str::to_owned).collect();
    assert_eq!(published.len(), sent.len(), "{published:?}");
    (world, stuck)
}

/// All but those of QoS 0, which were sent, and the one of QoS 2 that was.
fn owed() -> Vec<String> {
    let all = (0..4).flat_map(|number| QOS[1..].iter().map(move |qos| format!("{number} {qos}")));
    all.filter(|payload| *payload != format!("0 {}", QoS::ExactlyOnce)).collect()
}

fn sorted(world: &World, members: &[usize]) -> Vec<String> {
    let mut all: Vec<_> =
        members.iter().flat_map(|member| world.clients[*member].payloads()).map(str::to_owned).collect();
    all.sort_unstable();
    all
}

#[test]
fn other_members_get_what_was_not_acknowledged_wherever_they_are() {
    for (seed, node) in [(0, 0), (1, 1)] {
        let (mut world, stuck) = stuck_member(seed, 2, 0);
        let members = ["one", "two", "three"].map(|id| world.connect(node, id));
        members.iter().for_each(|member| world.subscribe(*member, FILTER, QoS::ExactlyOnce));
        world.settle();
        assert_eq!(sorted(&world, &members), Vec::<String>::new());
        world.vanish(stuck);
        world.settle();
        assert_eq!(sorted(&world, &members), owed(), "members on node {node}");
        assert!(members.iter().all(|member| !world.clients[*member].payloads().is_empty()), "they take turns");
    }
}

#[test]
fn a_member_that_left_the_subscription_before_it_went_is_no_exception() {
    let (mut world, stuck) = stuck_member(2, 1, 0);
    let other = world.connect(0, "other");
    world.subscribe(other, FILTER, QoS::ExactlyOnce);
    world.unsubscribe(stuck, FILTER);
    world.settle();
    world.vanish(stuck);
    world.settle();
    assert_eq!(sorted(&world, &[other]), owed());
}

#[test]
fn while_its_session_waits_for_it_nobody_else_gets_what_it_is_owed() {
    let (mut world, stuck) = stuck_member(3, 1, 60);
    let other = world.connect(0, "other");
    world.subscribe(other, FILTER, QoS::ExactlyOnce);
    world.settle();
    world.vanish(stuck);
    world.pass(Duration::from_secs(59));
    assert_eq!(sorted(&world, &[other]), Vec::<String>::new());
    world.pass(Duration::from_secs(2));
    assert_eq!(sorted(&world, &[other]), owed());
}

#[test]
fn a_node_that_stops_leaves_the_work_of_sessions_that_wait_for_their_clients_to_other_nodes() {
    let (mut world, _) = stuck_member(5, 2, 60);
    let other = world.connect(1, "other");
    world.subscribe(other, FILTER, QoS::ExactlyOnce);
    world.settle();
    world.shut_down(0);
    let publisher = world.connect(1, "late publisher");
    world.publish(publisher, "job", "while it stops", QoS::AtLeastOnce);
    world.settle();
    let wanted: Vec<_> = owed().into_iter().chain(["while it stops".to_owned()]).collect();
    assert_eq!(sorted(&world, &[other]), wanted);
}

#[test]
fn without_another_member_it_is_lost_and_counted() {
    let (mut world, stuck) = stuck_member(4, 1, 0);
    world.vanish(stuck);
    world.settle();
    assert_eq!(world.counter(0, |counters| counters.dropped_no_member), owed().len() as u64);
}

#[test]
fn what_was_on_its_way_to_a_member_that_ended_goes_to_another() {
    const MESSAGES: usize = 40;
    for (seed, nodes) in (0..20).map(|seed| (seed, 1 + seed as usize % 2)) {
        let mut world = World::new(seed, nodes, 2);
        let ending = ["one", "two", "three", "four"].map(|id| world.connect(nodes - 1, id));
        let staying = world.connect(nodes - 1, "stays");
        let publisher = world.connect(0, "publisher");
        ending.iter().chain([&staying]).for_each(|member| world.subscribe(*member, FILTER, QoS::AtLeastOnce));
        world.settle();
        for number in 0..MESSAGES {
            world.publish(publisher, "job", &number.to_string(), QoS::AtLeastOnce);
        }
        for member in ending {
            (0..4).for_each(|_| _ = world.step());
            world.vanish(member);
        }
        world.settle();
        let mut got = sorted(&world, &[&ending[..], &[staying]].concat());
        got.dedup();
        assert_eq!((got.len(), seed), (MESSAGES, seed));
    }
}
