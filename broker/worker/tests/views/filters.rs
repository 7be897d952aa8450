//! What other members want, and what this one is known to want.

use super::*;

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
