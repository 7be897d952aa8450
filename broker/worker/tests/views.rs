//! Nodes of a durable cluster follow the view and their leases: what is acknowledged, when, and what is not.

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
fn what_a_member_wants_is_remembered_while_it_is_away_and_replaced_when_it_is_back() {
    for seed in 0..6 {
        let (mut world, subscriber, publisher) = subscriber_and_publisher(seed);
        let other = world.connect(1, "other");
        world.subscribe(other, "b", QoS::AtLeastOnce);
        world.settle();
        world.stall(0, 1, true);
        world.pass(Duration::from_secs(4));
        // Nobody has to know of this before UNSUBACK.
        world.unsubscribe(other, "b");
        world.settle();
        world.publish(publisher, "b", "1", QoS::AtLeastOnce);
        world.settle();
        assert_eq!(world.clients[publisher].take(), [], "seed {seed}: the member may still want it");
        world.link(0, 1);
        world.settle();
        world.publish(publisher, "a", "2", QoS::AtLeastOnce);
        world.publish(publisher, "b", "3", QoS::AtLeastOnce);
        world.settle();
        assert_eq!(world.clients[subscriber].take(), [message("2", QoS::AtLeastOnce)], "seed {seed}");
        assert_eq!(world.link_publishes(0, 1).0, 1, "seed {seed}");
        assert_eq!(world.clients[publisher].take(), [], "in the order of the publishes, and the first one waits");
        world.follow(2, &[0, 2]);
        assert_eq!(world.clients[publisher].take(), [1, 2, 3].map(Got::PubAck), "seed {seed}");
    }
}

#[test]
fn a_subscription_is_acknowledged_when_every_member_of_the_view_knows_it_and_not_before() {
    for seed in 0..6 {
        let mut world = World::of_cluster(seed, 2, 2);
        let subscriber = world.connect(0, "subscriber");
        let stranger = world.add_node(2, &Limits::default());
        world.follow(2, &[0, 1, stranger]);
        world.clients[subscriber].take();
        world.subscribe(subscriber, "a", QoS::AtLeastOnce);
        world.pass(Duration::from_secs(5));
        assert_eq!(world.clients[subscriber].take(), []);
        let suback = [Got::SubAck(vec![ReasonCode::GRANTED_QOS_1])];
        if seed % 2 == 0 {
            world.follow(3, &[0, 1]);
        } else {
            world.link(0, stranger);
            world.link(1, stranger);
            world.settle();
        }
        assert_eq!(world.clients[subscriber].take(), suback, "seed {seed}");
    }
}

#[test]
fn a_subscription_that_a_member_never_confirms_ends_with_the_connection() {
    let mut world = World::of_cluster(1, 2, 1);
    let subscriber = world.connect(0, "subscriber");
    world.stall(0, 1, true);
    world.clients[subscriber].take();
    world.subscribe(subscriber, "a", QoS::AtLeastOnce);
    world.pass(Duration::from_secs(11));
    let closed = [Got::Disconnect(ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR), Got::Closed];
    assert_eq!(world.clients[subscriber].take(), closed);
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
fn while_a_members_filters_are_not_known_nothing_is_taken_that_would_be_acknowledged() {
    for seed in 0..6 {
        let (mut world, subscriber, publisher) = subscriber_and_publisher(seed);
        let joiner = world.add_node(2, &Limits::default());
        world.follow(2, &[0, 1, 2, joiner]);
        let new = world.member(joiner);
        assert!(!world.nodes[0].node.knows_interest_of(new) && !world.nodes[0].node.has_confirmed_interest(new));
        assert_eq!(world.nodes[0].node.followed(), 2);
        world.publish(publisher, "a", "0", QoS::AtMostOnce);
        world.publish(publisher, "a", "1", QoS::AtLeastOnce);
        world.publish(publisher, "a", "2", QoS::AtMostOnce);
        world.settle();
        assert_eq!(world.clients[subscriber].take(), [message("0", QoS::AtMostOnce)], "seed {seed}");
        assert_eq!(world.counter(0, |counters| counters.view_holds), 1);
        for node in 0..3 {
            world.link(node, joiner);
        }
        world.settle();
        let rest = [message("1", QoS::AtLeastOnce), message("2", QoS::AtMostOnce)];
        assert_eq!(world.clients[subscriber].take(), rest, "seed {seed}");
        assert_eq!(world.clients[publisher].take(), [Got::PubAck(1)], "seed {seed}");
        assert!((0..3).all(|node| world.nodes[node].node.knows_interest_of(new)));
        assert!((0..3).all(|node| world.nodes[node].node.has_confirmed_interest(new)));
    }
}

#[test]
fn a_joiner_that_gives_up_lets_publishers_go_on() {
    let (mut world, subscriber, publisher) = subscriber_and_publisher(4);
    let joiner = world.add_node(1, &Limits::default());
    world.follow(2, &[0, 1, 2, joiner]);
    world.publish(publisher, "a", "1", QoS::AtLeastOnce);
    world.settle();
    assert_eq!(world.clients[subscriber].take(), []);
    world.follow(3, &[0, 1, 2]);
    assert_eq!(world.clients[subscriber].take(), [message("1", QoS::AtLeastOnce)]);
    assert_eq!(world.clients[publisher].take(), [Got::PubAck(1)]);
}

#[test]
fn a_lease_that_ends_between_reading_and_writing_holds_back_what_it_would_acknowledge() {
    for seed in 0..6 {
        let (mut world, subscriber, publisher) = subscriber_and_publisher(seed);
        world.lease(0, Duration::from_secs(2));
        world.stops = Some((0, Duration::from_secs(2)));
        world.publish(publisher, "a", "1", QoS::AtLeastOnce);
        world.publish(publisher, "a", "2", QoS::ExactlyOnce);
        world.subscribe(publisher, "b", QoS::AtMostOnce);
        world.settle();
        let both = [message("1", QoS::AtLeastOnce), message("2", QoS::ExactlyOnce)];
        assert_eq!(world.clients[subscriber].take(), both);
        assert_eq!(world.clients[publisher].take(), [], "seed {seed}");
        world.pass(Duration::from_secs(1));
        assert_eq!(world.clients[publisher].take(), [], "seed {seed}");
        world.lease(0, Duration::from_secs(2));
        world.pass(Duration::from_millis(50));
        let mut got = world.clients[publisher].take();
        got.sort_by_key(|got| matches!(got, Got::SubAck(_)));
        let suback = Got::SubAck(vec![ReasonCode::SUCCESS]);
        assert_eq!(got, [Got::PubAck(1), Got::PubRec(2), Got::PubComp(2), suback], "seed {seed}");
    }
}

#[test]
fn a_process_that_was_stopped_acknowledges_nothing_not_even_to_who_leaves() {
    for seed in 0..6 {
        let mut world = World::of_cluster(seed, 1, 1);
        let [stays, leaves, errs] = ["stays", "leaves", "errs"].map(|id| world.connect(0, id));
        [stays, leaves, errs].into_iter().for_each(|client| drop(world.clients[client].take()));
        world.lease(0, Duration::from_secs(2));
        world.stops = Some((0, Duration::from_secs(30)));
        world.publish(stays, "a", "1", QoS::AtLeastOnce);
        world.publish(leaves, "a", "1", QoS::AtLeastOnce);
        world.send_bytes(leaves, &[0xe0, 0]);
        world.publish(errs, "a", "1", QoS::AtLeastOnce);
        world.send_bytes(errs, &[0xf0, 0x80, 0x80, 0x80, 0x80]);
        world.settle();
        assert_eq!(world.clients[stays].take(), [], "seed {seed}");
        assert_eq!(world.clients[leaves].take(), [Got::Closed], "seed {seed}");
        let refused = [Got::Disconnect(ReasonCode::MALFORMED_PACKET), Got::Closed];
        assert_eq!(world.clients[errs].take(), refused, "seed {seed}");
    }
}

#[test]
fn a_node_that_does_not_serve_closes_its_clients_and_refuses_others_until_it_does() {
    let mut world = World::of_cluster(5, 2, 2);
    let clients: Vec<_> = (0..500).map(|number| world.connect(0, &format!("client-{number}"))).collect();
    let old = world.connect_with(0, "old", |connect| Connect { version: Version::V311, ..connect });
    let elsewhere = world.connect(1, "elsewhere");
    clients.iter().chain([&old, &elsewhere]).for_each(|client| drop(world.clients[*client].take()));
    // The lease is over, and what this one is owed goes with it.
    world.lease(0, Duration::ZERO);
    world.publish(clients[0], "a", "1", QoS::AtLeastOnce);
    world.settle();
    world.nodes[0].node.serve(false);
    world.settle();
    for client in &clients {
        let told = [Got::Disconnect(ReasonCode::SERVER_BUSY), Got::Closed];
        assert_eq!(world.clients[*client].take(), told);
    }
    assert_eq!(world.clients[old].take(), [Got::Closed]);
    assert!(world.clients[elsewhere].is_connected());
    let refused = |reason| [Got::ConnAck { session_present: false, reason }, Got::Closed];
    let new = world.connect(0, "new");
    assert_eq!(world.clients[new].take(), refused(ReasonCode::SERVER_UNAVAILABLE));
    let old = world.connect_with(0, "old", |connect| Connect { version: Version::V311, ..connect });
    assert_eq!(world.clients[old].take(), refused(ReasonCode::SERVER_UNAVAILABLE));
    assert_eq!(world.gauges(0).sessions, 0);
    world.lease(0, Duration::from_secs(2));
    world.nodes[0].node.serve(true);
    world.settle();
    let new = world.connect(0, "new");
    assert_eq!(world.clients[new].take(), [connected()]);
    // However short it was, whoever was there before has to go.
    world.nodes[0].node.serve(false);
    world.nodes[0].node.serve(true);
    world.settle();
    let told = [Got::Disconnect(ReasonCode::SERVER_BUSY), Got::Closed];
    assert_eq!(world.clients[new].take(), told);
}

#[test]
fn a_node_that_drains_sends_so_many_of_its_clients_to_others_as_it_is_told_and_all_that_come() {
    let mut world = World::of_cluster(8, 2, 2);
    let clients: Vec<_> = (0..100).map(|number| world.connect(0, &format!("client-{number}"))).collect();
    clients.iter().for_each(|client| drop(world.clients[*client].take()));
    let housekeeping = Duration::from_millis(200);
    let still_here = |world: &World| clients.iter().filter(|client| world.clients[**client].is_connected()).count();
    // Who does not drain sends nobody away.
    world.nodes[0].node.send_away(10);
    world.pass(housekeeping);
    assert_eq!(still_here(&world), 100);
    world.nodes[0].node.drain(true);
    world.pass(housekeeping);
    assert_eq!(still_here(&world), 100, "what was allowed before does not count");
    for gone in [30, 60] {
        world.nodes[0].node.send_away(30);
        world.pass(housekeeping);
        assert_eq!(still_here(&world), 100 - gone);
    }
    let refused = |reason| [Got::ConnAck { session_present: false, reason }, Got::Closed];
    let new = world.connect(0, "new");
    assert_eq!(world.clients[new].take(), refused(ReasonCode::USE_ANOTHER_SERVER));
    let old = world.connect_with(0, "old", |connect| Connect { version: Version::V311, ..connect });
    assert_eq!(world.clients[old].take(), refused(ReasonCode::SERVER_UNAVAILABLE));
    let elsewhere = world.connect(1, "elsewhere");
    assert_eq!(world.clients[elsewhere].take(), [connected()]);
    // More than there are.
    world.nodes[0].node.send_away(1000);
    world.pass(housekeeping);
    for client in &clients {
        let told = [Got::Disconnect(ReasonCode::USE_ANOTHER_SERVER), Got::Closed];
        assert_eq!(world.clients[*client].take(), told);
    }
    assert_eq!((world.nodes[0].node.clients(), world.counter(0, |it| it.clients_sent_away)), (0, 100));
    // What was not used is forgotten.
    world.nodes[0].node.drain(false);
    world.settle();
    let back = world.connect(0, "back");
    assert_eq!(world.clients[back].take(), [connected()]);
    world.nodes[0].node.drain(true);
    world.pass(housekeeping);
    assert!(world.clients[back].is_connected());
}

#[test]
fn a_node_that_has_started_serves_nobody_until_it_is_told() {
    let mut world = World::of_cluster(6, 1, 2);
    let started = world.add_node(2, &Limits::default());
    let early = world.connect(started, "early");
    let refused = Got::ConnAck { session_present: false, reason: ReasonCode::SERVER_UNAVAILABLE };
    assert_eq!(world.clients[early].take(), [refused, Got::Closed]);
    world.nodes[started].node.serve(true);
    world.lease(started, Duration::from_secs(2));
    world.settle();
    let client = world.connect(started, "client");
    assert_eq!(world.clients[client].take(), [connected()]);
}

#[test]
fn a_client_whose_socket_has_taken_part_of_a_packet_is_closed_without_a_word() {
    let mut world = World::of_cluster(7, 1, 1);
    let client = world.connect(0, "client");
    world.clients[client].take();
    world.deafen(client);
    world.publish(client, "a", "1", QoS::AtLeastOnce);
    world.settle();
    world.lease(0, Duration::ZERO);
    world.nodes[0].node.serve(false);
    world.settle();
    assert_eq!(world.clients[client].take(), [Got::Closed]);
}

#[test]
fn a_nodes_next_life_begins_with_nothing_of_the_last_one() {
    for seed in 0..6 {
        let (mut world, subscriber, publisher) = subscriber_and_publisher(seed);
        let (first, others) = (world.member(0), [world.member(1), world.member(2)]);
        world.stall(0, 1, true);
        world.publish(publisher, "a", "1", QoS::AtLeastOnce);
        world.settle();
        world.begin_life(0);
        assert_eq!(world.nodes[0].node.followed(), 1);
        assert_eq!(
            world.clients[publisher].take(),
            [Got::Disconnect(ReasonCode::SERVER_BUSY), Got::Closed],
            "seed {seed}"
        );
        let node = &world.nodes[0].node;
        assert!(others.iter().all(|it| !node.knows_interest_of(*it) && !node.has_confirmed_interest(*it)));
        assert_eq!((node.trie_counts().remote, node.peers().iter().filter(|peer| peer.linked).count()), (0, 0));
        world.follow(2, &[1, 2]);
        let second = world.member(0);
        assert_eq!(second, Member { incarnation: 2, ..first });
        world.link(0, 1);
        world.link(0, 2);
        world.settle();
        world.follow(3, &[0, 1, 2]);
        let node = &world.nodes[0].node;
        assert!(others.iter().all(|it| node.knows_interest_of(*it) && node.has_confirmed_interest(*it)));
        assert!([1, 2].iter().all(|it| world.nodes[*it].node.has_confirmed_interest(second)));
        world.nodes[0].node.serve(true);
        world.lease(0, Duration::from_secs(2));
        world.settle();
        world.reconnect_client(publisher, 0, "publisher", |connect| connect);
        world.publish(publisher, "a", "2", QoS::AtLeastOnce);
        world.settle();
        assert_eq!(world.clients[publisher].take(), [connected(), Got::PubAck(2)], "seed {seed}");
        assert_eq!(world.clients[subscriber].take(), [message("2", QoS::AtLeastOnce)], "seed {seed}");
    }
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

/// What the store has for a client that had no session.
fn owned(epoch: u64) -> Answer {
    let claimed = Claimed { epoch, generation: epoch, present: false, took_over: None, sent_until: 0 };
    Answer::Claimed(Box::new(OwnedSession { claimed, subscriptions: Vec::new(), received: Vec::new() }))
}

/// The store lets the client in that has just come.
fn let_in(world: &mut World, node: usize, epoch: u64) {
    let asked = world.asked(node);
    let [(ticket, Ask::Claim { claim, .. })] = asked.as_slice() else { panic!("wanted a claim, found {asked:?}") };
    assert_eq!((&*claim.client, claim.clean, claim.expiry_seconds, &claim.will), ("car-1", true, 0, &None));
    world.answer_ask(node, *ticket, owned(epoch));
}

#[test]
fn the_store_alone_decides_between_two_connections_of_one_client_id_at_two_nodes() {
    let mut world = World::of_cluster_with(14, 2, 2, NonZeroU16::new(4));
    let first = world.connect(0, "car-1");
    assert_eq!(world.clients[first].take(), [], "its session is claimed before it is let in");
    let_in(&mut world, 0, 1);
    let second = world.connect(1, "car-1");
    let_in(&mut world, 1, 2);
    // Nodes whose clocks differ would disagree with the store about who came later.
    assert_eq!([first, second].map(|client| world.clients[client].take()), [[connected()], [connected()]]);
    world.link(0, 1);
    world.settle();
    assert!([first, second].iter().all(|client| world.clients[*client].is_connected()));
}

#[test]
fn a_client_that_is_claimed_when_its_node_stops_to_serve_is_refused_and_given_up() {
    let mut world = World::of_cluster_with(15, 1, 1, NonZeroU16::new(4));
    let client = world.connect(0, "car-1");
    let claim = world.asked(0);
    world.nodes[0].node.serve(false);
    world.settle();
    assert_eq!(world.clients[client].take(), []);
    world.answer_ask(0, claim[0].0, owned(7));
    let refused = Got::ConnAck { session_present: false, reason: ReasonCode::SERVER_UNAVAILABLE };
    assert_eq!(world.clients[client].take(), [refused, Got::Closed]);
    let asked: Vec<_> = world.asked(0).into_iter().map(|(_, ask)| ask).collect();
    let end = Ask::Disconnect { client: "car-1".into(), epoch: 7, expiry_seconds: Some(0), will: WillFate::Delete };
    assert_eq!(asked, [end]);
}

#[test]
fn a_publish_waits_for_the_whole_list_of_what_a_member_wants() {
    for seed in 0..3 {
        let mut world = World::of_cluster(seed, 2, 1);
        let subscriber = world.connect(1, "subscriber");
        let filters: Vec<String> = (0..900).map(|number| format!("{number}")).chain(["z".to_owned()]).collect();
        filters.iter().for_each(|filter| world.subscribe(subscriber, filter, QoS::AtLeastOnce));
        world.settle();
        world.clients[subscriber].take();
        world.begin_life(0);
        world.follow(2, &[0, 1]);
        world.nodes[0].node.serve(true);
        world.lease(0, Duration::from_secs(2));
        world.settle();
        let publisher = world.connect(0, "publisher");
        world.link(0, 1);
        world.publish(publisher, "z", "1", QoS::AtLeastOnce);
        world.settle();
        assert_eq!(world.clients[publisher].take(), [connected(), Got::PubAck(1)]);
        assert_eq!(world.clients[subscriber].payloads(), ["1"], "seed {seed}");
    }
}
