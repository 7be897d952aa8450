//! The store decides who has a client id.

use super::*;

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

/// A client with a session of the store, which is let in.
fn connect_lasting(world: &mut World, node: usize, id: &str) -> usize {
    let connect = |connect| Connect { session_expiry: 3600, clean_start: false, ..connect };
    let client = world.connect_with(node, id, connect);
    let asked = world.asked(node);
    let [(ticket, Ask::Claim { .. })] = asked.as_slice() else { panic!("wanted a claim, found {asked:?}") };
    world.answer_ask(node, *ticket, owned(1));
    assert_eq!(world.clients[client].take(), [connected()]);
    client
}

#[test]
fn a_publish_of_qos_2_is_kept_as_received_only_when_every_member_has_it() {
    for seed in 0..6 {
        let mut world = World::of_cluster_with(seed, 2, 1, NonZeroU16::new(4));
        let subscriber = world.connect(1, "car-1");
        let_in(&mut world, 1, 1);
        world.subscribe(subscriber, "a", QoS::ExactlyOnce);
        world.settle();
        world.clients[subscriber].take();
        let publisher = connect_lasting(&mut world, 0, "publisher");
        world.stall(0, 1, true);
        // The second one waits for nobody but the first, behind which it is to be committed.
        world.publish(publisher, "a", "1", QoS::ExactlyOnce);
        world.publish(publisher, "b", "2", QoS::ExactlyOnce);
        world.settle();
        // Who came again to another node would be told that it was received: nobody would bring it to the subscriber.
        assert_eq!(world.asked(0), [], "seed {seed}");
        world.stall(0, 1, false);
        world.cut(0, 1);
        world.reconnect(0, 1);
        world.settle();
        assert_eq!(world.clients[subscriber].take(), [message("1", QoS::ExactlyOnce)], "seed {seed}");
        let asked = world.asked(0);
        let received = |(_, ask): &(_, Ask)| match ask {
            Ask::ReceiveQos2 { packet_id, epoch: 1, .. } => packet_id.get(),
            other => panic!("wanted what is received, found {other:?}"),
        };
        assert_eq!(asked.iter().map(received).collect::<Vec<_>>(), [1, 2], "seed {seed}");
        assert_eq!(world.clients[publisher].take(), [], "seed {seed}");
    }
}

#[test]
fn a_publish_of_qos_2_is_kept_as_received_when_its_client_goes() {
    let mut world = World::of_cluster_with(0, 2, 1, NonZeroU16::new(4));
    let subscriber = world.connect(1, "car-1");
    let_in(&mut world, 1, 1);
    world.subscribe(subscriber, "a", QoS::ExactlyOnce);
    world.settle();
    let publisher = connect_lasting(&mut world, 0, "publisher");
    world.stall(0, 1, true);
    world.publish(publisher, "a", "1", QoS::ExactlyOnce);
    world.settle();
    world.vanish(publisher);
    world.settle();
    // It may come again to another node at once, where it must be known for a retry.
    let asked = world.asked(0);
    let [(_, Ask::ReceiveQos2 { .. }), (_, Ask::Disconnect { .. })] = asked.as_slice() else {
        panic!("wanted what is received and then the end, found {asked:?}")
    };
}
