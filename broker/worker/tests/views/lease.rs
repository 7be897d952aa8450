//! What a lease that ends, or was never there, holds back.

use super::*;

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
