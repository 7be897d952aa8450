//! Three nodes of two data threads each, in one process, from one seed: what clients see of a cluster.

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

#[test]
fn each_message_of_a_shared_group_reaches_exactly_one_member_wherever_it_is() {
    for seed in 0..10 {
        let mut world = World::new(seed, 3, 2);
        let members: Vec<_> = (0..6).map(|number| world.connect(1 + number % 2, &format!("member-{number}"))).collect();
        for member in &members {
            world.subscribe(*member, "$share/workers/job/+", QoS::ExactlyOnce);
        }
        world.settle();
        let publishers: Vec<_> = (0..3).map(|node| world.connect(node, &format!("publisher-{node}"))).collect();
        for number in 0..90 {
            world.publish(publishers[number % 3], &format!("job/{number}"), &number.to_string(), QOS[number / 3 % 3]);
            if number % 10 == 0 {
                world.settle();
            }
        }
        world.settle();
        let mut got: Vec<usize> = members
            .iter()
            .flat_map(|member| world.clients[*member].payloads())
            .map(|payload| payload.parse().expect("a number was published"))
            .collect();
        got.sort_unstable();
        assert_eq!(got, (0..90).collect::<Vec<_>>(), "seed {seed}");
        let shares: Vec<_> = members.iter().map(|member| world.clients[*member].payloads().len()).collect();
        assert!(shares.iter().all(|share| *share > 5), "seed {seed}: every member works: {shares:?}");
    }
}

#[test]
fn the_members_of_a_shared_group_on_one_node_take_equal_turns() {
    let mut world = World::new(20, 1, 2);
    let members: Vec<_> = (0..4).map(|number| world.connect(0, &format!("member-{number}"))).collect();
    members.iter().for_each(|member| world.subscribe(*member, "$share/workers/job", QoS::AtMostOnce));
    world.settle();
    let publisher = world.connect(0, "publisher");
    for number in 0..40 {
        world.publish(publisher, "job", &number.to_string(), QoS::AtMostOnce);
    }
    world.settle();
    let shares: Vec<_> = members.iter().map(|member| world.clients[*member].payloads().len()).collect();
    assert_eq!(shares, [10; 4]);
}

#[test]
fn an_absent_member_of_a_shared_group_takes_nothing_while_another_node_has_a_connected_one() {
    let mut world = World::new(18, 2, 1);
    let keep = |connect: fulmar_codec::Connect<'static>| fulmar_codec::Connect { session_expiry: 600, ..connect };
    let absent = world.connect_with(0, "absent", keep);
    world.subscribe(absent, "$share/workers/job", QoS::AtLeastOnce);
    world.settle();
    world.vanish(absent);
    let publisher = world.connect(0, "publisher");
    world.publish(publisher, "job", "waits for the only member", QoS::AtLeastOnce);
    world.settle();
    let present = world.connect(1, "present");
    world.subscribe(present, "$share/workers/job", QoS::AtLeastOnce);
    world.settle();
    for number in 0..5 {
        world.publish(publisher, "job", &number.to_string(), QoS::AtLeastOnce);
    }
    world.settle();
    assert_eq!(world.clients[present].payloads(), ["0", "1", "2", "3", "4"]);
    world
        .reconnect_client(absent, 0, "absent", |connect| fulmar_codec::Connect { clean_start: false, ..keep(connect) });
    assert_eq!(world.clients[absent].payloads(), ["waits for the only member"]);
}

#[test]
fn absent_members_of_a_shared_group_get_its_messages_when_the_last_present_one_has_left() {
    let keep = |connect: fulmar_codec::Connect<'static>| fulmar_codec::Connect {
        clean_start: false,
        session_expiry: 600,
        ..connect
    };
    for leaves in [|world: &mut World, client| world.unsubscribe(client, "$share/workers/job"), World::vanish] {
        let mut world = World::new(21, 2, 2);
        let ids = ["absent-1", "absent-2", "absent-3"];
        let absent = ids.map(|id| world.connect_with(0, id, keep));
        // The last one ends with its connection.
        let present = world.connect(0, "present");
        for member in absent.into_iter().chain([present]) {
            world.subscribe(member, "$share/workers/job", QoS::AtLeastOnce);
        }
        world.settle();
        absent.iter().for_each(|client| world.vanish(*client));
        leaves(&mut world, present);
        world.settle();
        for node in 0..2 {
            let publisher = world.connect(node, &format!("publisher-{node}"));
            for number in 0..3 {
                world.publish(publisher, "job", &format!("{node} {number}"), QoS::AtLeastOnce);
            }
            world.settle();
        }
        let mut got = Vec::new();
        for (client, id) in absent.into_iter().zip(ids) {
            world.reconnect_client(client, 0, id, keep);
            let payloads = world.clients[client].payloads();
            assert_eq!(payloads.len(), 2, "{id} had its turns");
            got.extend(payloads.into_iter().map(str::to_owned));
        }
        got.sort_unstable();
        assert_eq!(got, ["0 0", "0 1", "0 2", "1 0", "1 1", "1 2"]);
        // They are all there again.
        let publisher = world.connect(1, "publisher");
        world.publish(publisher, "job", "last", QoS::AtMostOnce);
        world.settle();
        let last = absent.iter().filter(|client| world.clients[**client].payloads().contains(&"last")).count();
        assert_eq!(last, 1);
    }
}

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
