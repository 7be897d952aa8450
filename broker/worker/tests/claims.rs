//! Whose a session is, on several nodes: one user's newest connection has it, another user gets it nowhere. Users come
//! with certificates, which need no passwords.

mod world;

use fulmar_auth::identity::{CertificateName, CertificateNames, IdentityRules};
use fulmar_cluster::claims::Takeover;
use fulmar_codec::{Connect, QoS, ReasonCode, Version, Will};
use fulmar_worker::{AuthSettings, Limits};
use std::sync::Arc;
use std::time::Duration;
use world::World;
use world::client::Got;

fn settings(takeover: Takeover) -> AuthSettings {
    let identity = IdentityRules { certificate: Some(CertificateName::CommonName), ..IdentityRules::default() };
    AuthSettings { identity: vec![identity], takeover, ..AuthSettings::new([7; 32]) }
}

fn world(seed: u64, nodes: usize) -> World {
    World::with_auth(seed, nodes, 2, &Limits::default(), settings(Takeover::SameUser))
}

fn come_as(world: &mut World, user: &str) {
    let names = CertificateNames { common_names: vec![user.to_owned()], ..CertificateNames::default() };
    world.certificate = Some(Arc::new(names));
}

fn lasting<'a>(version: Version) -> impl Fn(Connect<'a>) -> Connect<'a> {
    move |connect| {
        let expiry = if version == Version::V5 { 3600 } else { 0 };
        Connect { version, clean_start: false, session_expiry: expiry, keep_alive: 0, ..connect }
    }
}

/// A client of this user with the id that all want, whose session outlives its connection.
fn connect(world: &mut World, node: usize, user: &str, version: Version) -> usize {
    come_as(world, user);
    world.connect_with(node, "shared", lasting(version))
}

/// The client of this user comes back with a new connection.
fn come_back(world: &mut World, client: usize, node: usize, user: &str, version: Version) {
    come_as(world, user);
    world.reconnect_client(client, node, "shared", lasting(version));
}

fn connack(session_present: bool) -> Got {
    Got::ConnAck { session_present, reason: ReasonCode::SUCCESS }
}

/// All that a client gets who comes to a node that does not know yet whose the id is.
fn refused_late(version: Version) -> Vec<Got> {
    match version {
        Version::V5 => vec![connack(false), Got::Disconnect(ReasonCode::NOT_AUTHORIZED), Got::Closed],
        _ => vec![connack(false), Got::Closed],
    }
}

fn refusals(world: &World) -> Vec<u64> {
    (0..world.nodes.len()).map(|node| world.counter(node, |counters| counters.session_owner_refusals)).collect()
}

fn sessions(world: &World) -> Vec<u64> {
    (0..world.nodes.len()).map(|node| world.gauges(node).sessions).collect()
}

fn publish(world: &mut World, node: usize, payload: &str) {
    come_as(world, "publisher");
    let publisher = world.connect(node, "publisher");
    world.publish(publisher, "news", payload, QoS::AtLeastOnce);
    world.settle();
    world.vanish(publisher);
    world.settle();
}

fn is_between(world: &mut World, nodes: &[(usize, usize)], cut: bool) {
    for (a, b) in nodes {
        if cut {
            world.cut(*a, *b);
        } else {
            world.link(*a, *b);
        }
    }
    // Until everybody has given the others up.
    if cut {
        world.pass(Duration::from_secs(3));
    }
    world.settle();
}

#[test]
fn another_user_at_another_node_is_closed_and_the_owner_notices_nothing() {
    for seed in 0..10 {
        for version in [Version::V5, Version::V311] {
            let mut world = world(seed, 3);
            let anna = connect(&mut world, 0, "anna", version);
            world.subscribe(anna, "news", QoS::AtLeastOnce);
            world.settle();
            world.clients[anna].take();
            for (node, user) in [(1, "otto"), (2, "otto"), (1, "emma")] {
                let other = connect(&mut world, node, user, version);
                assert_eq!(world.clients[other].take(), refused_late(version), "seed {seed}");
            }
            publish(&mut world, 2, "for anna");
            assert_eq!(world.clients[anna].payloads(), ["for anna"], "seed {seed}");
            assert_eq!(world.clients[anna].take().len(), 1);
            assert_eq!((refusals(&world), sessions(&world)), (vec![0, 2, 1], vec![1, 0, 0]));
            assert_eq!(world.counter(0, |counters| counters.takeovers), 0);
            let told = |line: &&String| line.contains("a session of another user at another node");
            assert_eq!(world.trace.iter().filter(told).count(), 3);
        }
    }
}

#[test]
fn a_session_that_waits_for_its_client_is_nobody_elses_at_another_node_either() {
    for seed in 0..10 {
        for version in [Version::V5, Version::V311] {
            let mut world = world(seed, 2);
            let anna = connect(&mut world, 0, "anna", version);
            world.subscribe(anna, "news", QoS::AtLeastOnce);
            world.settle();
            world.vanish(anna);
            world.clients[anna].take();
            let otto = connect(&mut world, 1, "otto", version);
            assert_eq!(world.clients[otto].take(), refused_late(version));
            publish(&mut world, 1, "kept");
            come_back(&mut world, anna, 0, "anna", version);
            world.settle();
            assert_eq!(world.clients[anna].payloads(), ["kept"], "seed {seed}");
            assert_eq!(world.clients[anna].take()[0], connack(true));
        }
    }
}

#[test]
fn a_client_that_should_not_have_been_let_in_leaves_no_will() {
    let will = Will { delay: 0, ..Will::new("news", b"of otto") };
    let wills = [None, Some(will), Some(Will { delay: 60, ..will })];
    for (expiry, will) in [0, 3600].into_iter().flat_map(|expiry| wills.map(|will| (expiry, will))) {
        let mut world = world(1, 2);
        let anna = connect(&mut world, 0, "anna", Version::V5);
        world.subscribe(anna, "news", QoS::AtLeastOnce);
        world.settle();
        world.clients[anna].take();
        come_as(&mut world, "otto");
        let otto = world.connect_with(1, "shared", |connect| Connect { session_expiry: expiry, will, ..connect });
        assert_eq!(world.clients[otto].take(), refused_late(Version::V5));
        world.pass(Duration::from_secs(61));
        assert_eq!(world.clients[anna].take(), []);
        assert_eq!(world.counter(1, |counters| counters.wills_published), 0);
    }
}

#[test]
fn one_user_moves_from_node_to_node_and_takes_the_place_along() {
    for seed in 0..10 {
        let mut world = world(seed, 3);
        let first = connect(&mut world, 0, "anna", Version::V5);
        // Otto comes later than she did, where nobody knows.
        is_between(&mut world, &[(0, 2), (1, 2)], true);
        let otto = connect(&mut world, 2, "otto", Version::V5);
        world.pass(Duration::from_secs(1));
        let second = connect(&mut world, 1, "anna", Version::V5);
        assert_eq!(world.farewell(first), Some(ReasonCode::SESSION_TAKEN_OVER));
        assert_eq!((world.clients[otto].is_connected(), world.clients[second].is_connected()), (true, true));
        is_between(&mut world, &[(0, 2), (1, 2)], false);
        assert_eq!(world.farewell(otto), Some(ReasonCode::NOT_AUTHORIZED), "seed {seed}");
        assert!(world.clients[second].is_connected(), "seed {seed}");
        assert_eq!((refusals(&world), sessions(&world)), (vec![0, 0, 1], vec![0, 1, 0]));
    }
}

#[test]
fn nodes_that_link_up_later_find_out_whose_the_session_is() {
    let cases = [(true, false), (false, false), (true, true), (false, true)];
    for (seed, (clean_start, is_absent)) in (0..10).flat_map(|seed| cases.map(|case| (seed, case))) {
        let mut world = world(seed, 2);
        is_between(&mut world, &[(0, 1)], true);
        let anna = connect(&mut world, 0, "anna", Version::V5);
        world.pass(Duration::from_secs(1));
        let otto = connect(&mut world, 1, "otto", Version::V5);
        world.pass(Duration::from_secs(1));
        // That she came back since then makes her no newcomer.
        come_as(&mut world, "anna");
        world.reconnect_client(anna, 0, "shared", |connect| Connect { clean_start, ..lasting(Version::V5)(connect) });
        if is_absent {
            world.vanish(anna);
        }
        is_between(&mut world, &[(0, 1)], false);
        assert_eq!(world.farewell(otto), Some(ReasonCode::NOT_AUTHORIZED), "seed {seed}");
        assert_eq!((world.clients[anna].is_connected(), sessions(&world)), (!is_absent, vec![1, 0]));
    }
}

#[test]
fn of_two_absent_users_only_the_first_has_a_session_left_when_nodes_link_up() {
    for (seed, owner) in (0..10).flat_map(|seed| [(seed, 0), (seed, 1)]) {
        let mut world = world(seed, 2);
        is_between(&mut world, &[(0, 1)], true);
        let anna = connect(&mut world, owner, "anna", Version::V5);
        world.subscribe(anna, "news", QoS::AtLeastOnce);
        world.settle();
        world.vanish(anna);
        publish(&mut world, owner, "kept");
        world.pass(Duration::from_secs(1));
        let otto = connect(&mut world, 1 - owner, "otto", Version::V5);
        world.vanish(otto);
        is_between(&mut world, &[(0, 1)], false);
        let at_owner = |count: u64| if owner == 0 { vec![count, 0] } else { vec![0, count] };
        assert_eq!(sessions(&world), at_owner(1), "seed {seed}, {:?}", refusals(&world));
        world.clients[anna].take();
        come_back(&mut world, anna, owner, "anna", Version::V5);
        world.settle();
        assert_eq!((world.clients[anna].payloads(), sessions(&world)), (vec!["kept"], at_owner(1)), "seed {seed}");
        assert_eq!(world.clients[anna].take()[0], connack(true));
    }
}

#[test]
fn of_many_who_come_at_once_whoever_is_left_is_of_the_first_user() {
    for seed in 0..60 {
        let mut world = world(seed, 3);
        let links = [(0, 1), (0, 2), (1, 2)];
        links.iter().for_each(|(a, b)| world.stall(*a, *b, true));
        let mut clients = Vec::new();
        let users: Vec<_> = (0..3).map(|_| ["anna", "otto"][world.pick(2)]).collect();
        for (node, user) in users.iter().enumerate() {
            clients.push(connect(&mut world, node, user, Version::V5));
            world.pass(Duration::from_millis(100));
        }
        let first = world.pick(3);
        for (a, b) in (0..3).map(|number| links[(first + number) % 3]) {
            world.stall(a, b, false);
            world.cut(a, b);
            world.reconnect(a, b);
            for _ in 0..world.pick(40) {
                world.step();
            }
        }
        world.settle();
        let left: Vec<_> = (0..3).filter(|at| world.clients[clients[*at]].is_connected()).collect();
        assert!(left.len() <= 1 && left.iter().all(|at| users[*at] == users[0]), "seed {seed}: {users:?}, {left:?}");
        if users[0] == users[1] || users[0] != users[2] {
            assert_eq!(left.len(), 1, "seed {seed}: {users:?}");
        }
    }
}

#[test]
fn claims_that_a_full_link_did_not_take_follow_when_it_has_room() {
    for is_absent in [false, true] {
        let limits = Limits { link_buffer_bytes: 500, ..Limits::default() };
        let mut world = World::with_limits(17, 2, 2, &limits);
        let come = |world: &mut World, node| -> Vec<usize> {
            (0..100).map(|car| world.connect_with(node, &format!("car-{car}"), lasting(Version::V5))).collect()
        };
        let old = come(&mut world, 0);
        world.settle();
        world.stall(0, 1, true);
        world.pass(Duration::from_millis(50));
        let new = come(&mut world, 1);
        if is_absent {
            old.iter().chain(&new).for_each(|client| world.vanish(*client));
        }
        world.stall(0, 1, false);
        world.cut(0, 1);
        world.reconnect(0, 1);
        world.settle();
        assert_eq!(sessions(&world), [0, 100]);
        assert!(old.iter().all(|client| !world.clients[*client].is_connected()));
        assert!(new.iter().all(|client| world.clients[*client].is_connected() != is_absent));
    }
}

#[test]
fn nodes_that_are_set_differently_agree_all_the_same() {
    for (older, newer) in [(Takeover::SameUser, Takeover::AnyUser), (Takeover::AnyUser, Takeover::SameUser)] {
        let mut world = World::with_auth(1, 1, 2, &Limits::default(), settings(older));
        world.auth = settings(newer);
        let node = world.add_node(2, &Limits::default());
        world.link(0, node);
        world.settle();
        let anna = connect(&mut world, 0, "anna", Version::V5);
        // It comes to rest, or this would not return.
        let otto = connect(&mut world, node, "otto", Version::V5);
        assert_eq!(world.clients[otto].take(), refused_late(Version::V5));
        assert!(world.clients[anna].is_connected());
    }
}

#[test]
fn where_anybody_may_take_over_nobody_gets_what_waited_for_another() {
    for node in [0, 1] {
        let mut world = World::with_auth(1, 2, 2, &Limits::default(), settings(Takeover::AnyUser));
        let anna = connect(&mut world, 0, "anna", Version::V5);
        world.subscribe(anna, "news", QoS::AtLeastOnce);
        world.settle();
        world.vanish(anna);
        publish(&mut world, 0, "for anna");
        let otto = connect(&mut world, node, "otto", Version::V5);
        publish(&mut world, 0, "for anna, too");
        assert_eq!(world.clients[otto].take(), [connack(false)]);
        assert_eq!(refusals(&world), [0, 0]);
        come_back(&mut world, anna, 0, "anna", Version::V5);
        assert_eq!(world.farewell(otto), Some(ReasonCode::SESSION_TAKEN_OVER));
        assert!(world.clients[anna].is_connected());
    }
}
