//! Clients with user names and passwords, whose passwords are verified elsewhere: at once or much later, as the seed has
//! it.

mod world;

use fulmar_auth::identity::{CertificateName, CertificateNames, IdentityRules, UsernameRule};
use fulmar_auth::passwords::{Argon2idParams, PasswordFile, PasswordLimits, hash_password};
use fulmar_codec::{Connect, QoS, ReasonCode, Version};
use fulmar_worker::{AuthSettings, Counters, Limits, Rules};
use std::sync::Arc;
use std::time::Duration;
use world::World;
use world::client::Got;

/// A file in which each user's password is the name backwards.
fn password_file(users: &[&str]) -> Arc<PasswordFile> {
    let params = Argon2idParams { memory_kib: 8, passes: 1, lanes: 1 };
    let line = |user: &&str| {
        let hash = hash_password(password_of(user).as_bytes(), params, b"saltsalt").expect("it is a password");
        format!("{user}:{hash}\n")
    };
    let text: String = users.iter().map(line).collect();
    Arc::new(PasswordFile::parse(&text, PasswordLimits::default()).expect("it is a password file"))
}

fn password_of(user: &str) -> String {
    user.chars().rev().collect()
}

fn settings(users: &[&str]) -> AuthSettings {
    let rules = Rules { passwords: Some(password_file(users)), ..Rules::default() };
    AuthSettings { rules: Arc::new(rules), ..AuthSettings::new([7; 32]) }
}

/// Listener 0 of a node lets in anonymous clients.
fn world(seed: u64, auth: AuthSettings) -> World {
    World::with_auth(seed, 1, 2, &Limits::default(), auth)
}

fn connect(world: &mut World, id: &str, user: &str, password: &str) -> usize {
    world.connect_with(0, id, |connect| Connect {
        username: Some(user),
        password: Some(password.as_bytes()),
        ..connect
    })
}

fn connack(reason: ReasonCode) -> Vec<Got> {
    let mut got = vec![Got::ConnAck { session_present: false, reason }];
    if reason.is_error() {
        got.push(Got::Closed);
    }
    got
}

fn count(world: &World, of: impl Fn(&Counters) -> u64) -> u64 {
    world.counter(0, of)
}

#[test]
fn a_right_password_lets_in_and_a_wrong_one_looks_like_an_unknown_user() {
    for seed in 0..20 {
        let mut world = world(seed, settings(&["anna"]));
        let anna = connect(&mut world, "a", "anna", "anna-not");
        let nobody = connect(&mut world, "b", "nobody", "ydobon");
        for client in [anna, nobody] {
            assert_eq!(world.clients[client].take(), connack(ReasonCode::BAD_USER_NAME_OR_PASSWORD), "seed {seed}");
        }
        let anna = connect(&mut world, "a", "anna", "anna");
        assert_eq!(world.clients[anna].take(), connack(ReasonCode::SUCCESS), "seed {seed}");
        let old = world.connect_with(0, "c", |_| Connect {
            username: Some("anna"),
            password: Some(b"wrong"),
            ..Connect::new(Version::V311, "c")
        });
        // Return code 4 (MQTT 3.1.1, 3.2.2.3).
        assert_eq!(world.clients[old].take(), connack(ReasonCode::BAD_USER_NAME_OR_PASSWORD), "seed {seed}");
        assert_eq!(count(&world, |counters| counters.auth_results_wrong_password), 3);
        assert_eq!(count(&world, |counters| counters.auth_results_verified), 1);
    }
}

#[test]
fn what_a_client_sends_behind_connect_waits_for_the_answer() {
    for seed in 0..20 {
        let mut world = world(seed, settings(&["anna"]));
        world.is_pool_busy = true;
        let anna = connect(&mut world, "a", "anna", "anna");
        world.subscribe(anna, "news", QoS::AtMostOnce);
        world.publish(anna, "news", "early", QoS::AtLeastOnce);
        world.settle();
        assert_eq!((world.clients[anna].take(), world.questions(0)), (vec![], 1));
        world.is_pool_busy = false;
        world.settle();
        assert_eq!(
            world.clients[anna].take(),
            [
                Got::ConnAck { session_present: false, reason: ReasonCode::SUCCESS },
                Got::SubAck(vec![ReasonCode::GRANTED_QOS_0]),
                Got::Message { topic: "news".into(), payload: "early".into(), qos: 0, retain: false },
                Got::PubAck(2),
            ],
            "seed {seed}"
        );
        // The packet was counted once, however often it was looked at.
        assert_eq!(count(&world, |counters| counters.packets_received), 3);
    }
}

#[test]
fn a_client_that_comes_back_is_known_without_being_verified_again() {
    let mut world = world(1, settings(&["anna"]));
    connect(&mut world, "a", "anna", "anna");
    world.is_pool_busy = true;
    let again = connect(&mut world, "b", "anna", "anna");
    assert_eq!(world.clients[again].take(), connack(ReasonCode::SUCCESS));
    assert_eq!(world.questions(0), 0);
    assert_eq!(count(&world, |counters| counters.auth_results_remembered), 1);
    assert_eq!(world.nodes[0].node.auth_counts().verified, 1);
}

#[test]
fn what_many_clients_ask_at_once_is_verified_once() {
    let mut world = world(1, settings(&["anna"]));
    world.is_pool_busy = true;
    let ids: Vec<String> = (0..10).map(|number| number.to_string()).collect();
    let clients: Vec<usize> = ids.iter().map(|id| connect(&mut world, id, "anna", "anna")).collect();
    assert_eq!(world.questions(0), 10);
    world.is_pool_busy = false;
    world.settle();
    for client in clients {
        assert_eq!(world.clients[client].take(), connack(ReasonCode::SUCCESS));
    }
    assert_eq!(world.verifications, 1);
    // A wrong one is verified each time.
    for id in &ids[..2] {
        connect(&mut world, id, "anna", "wrong");
    }
    assert_eq!(world.verifications, 3);
}

#[test]
fn who_does_not_say_who_it_is_is_let_in_only_where_anonymous_clients_are() {
    let mut world = world(1, settings(&["anna"]));
    let anonymous = world.connect(0, "a");
    assert_eq!(world.clients[anonymous].take(), connack(ReasonCode::SUCCESS));
    let nameless = world.connect_with(0, "b", |connect| Connect { username: Some("anna"), ..connect });
    assert_eq!(world.clients[nameless].take(), connack(ReasonCode::BAD_USER_NAME_OR_PASSWORD));
    world.listener = 1;
    let refused = world.connect(0, "c");
    assert_eq!(world.clients[refused].take(), connack(ReasonCode::NOT_AUTHORIZED));
    let old = world.connect_with(0, "d", |_| Connect::new(Version::V311, "d"));
    assert_eq!(world.clients[old].take(), connack(ReasonCode::NOT_AUTHORIZED));
    assert_eq!(count(&world, |counters| counters.auth_results_no_user), 2);
    assert_eq!(count(&world, |counters| counters.auth_results_no_password), 1);
}

#[test]
fn a_client_that_has_gone_or_used_up_its_time_leaves_no_question_behind() {
    let mut world = world(1, settings(&["anna"]));
    world.is_pool_busy = true;
    let gone = connect(&mut world, "a", "anna", "anna");
    let patient = connect(&mut world, "b", "anna", "anna");
    assert_eq!(world.questions(0), 2);
    world.vanish(gone);
    assert_eq!(world.questions(0), 1);
    world.pass(Duration::from_secs(11));
    assert_eq!((world.clients[patient].take(), world.questions(0)), (vec![Got::Closed], 0));
    assert_eq!(count(&world, |counters| counters.auth_results_abandoned), 2);
    assert_eq!(count(&world, |counters| counters.connect_timeouts), 1);
    assert_eq!(world.gauges(0).connections_pending, 0);
}

#[test]
fn when_too_many_wait_the_next_is_told_to_come_later() {
    let mut world = world(1, settings(&["anna"]));
    (world.is_pool_busy, world.questions_max) = (true, 2);
    let waiting = [connect(&mut world, "a", "anna", "anna"), connect(&mut world, "b", "anna", "anna")];
    let refused = connect(&mut world, "c", "anna", "anna");
    assert_eq!(world.clients[refused].take(), connack(ReasonCode::QUOTA_EXCEEDED));
    assert_eq!(count(&world, |counters| counters.auth_results_queue_full), 1);
    world.is_pool_busy = false;
    world.settle();
    for client in waiting {
        assert_eq!(world.clients[client].take(), connack(ReasonCode::SUCCESS));
    }
}

#[test]
fn who_guesses_has_to_wait_and_then_gets_one_try() {
    let mut auth = settings(&["anna"]);
    auth.backoff.user_free_failures = 3;
    let mut world = world(1, auth);
    for _ in 0..3 {
        let guess = connect(&mut world, "a", "anna", "guess");
        assert_eq!(world.clients[guess].take(), connack(ReasonCode::BAD_USER_NAME_OR_PASSWORD));
    }
    // The right one would not help now, or waiting would not slow down who guesses.
    let early = connect(&mut world, "a", "anna", "anna");
    assert_eq!(world.clients[early].take(), connack(ReasonCode::CONNECTION_RATE_EXCEEDED));
    world.pass(Duration::from_secs(2));
    let anna = connect(&mut world, "a", "anna", "anna");
    assert_eq!(world.clients[anna].take(), connack(ReasonCode::SUCCESS));
    let again = connect(&mut world, "b", "anna", "anna");
    assert_eq!(world.clients[again].take(), connack(ReasonCode::SUCCESS));
    assert_eq!(count(&world, |counters| counters.auth_results_must_wait), 1);
}

#[test]
fn a_session_is_nobody_elses() {
    let mut world = world(1, settings(&["anna", "otto"]));
    let anna = connect(&mut world, "shared", "anna", "anna");
    let otto = connect(&mut world, "shared", "otto", "otto");
    assert_eq!(world.clients[otto].take(), connack(ReasonCode::NOT_AUTHORIZED));
    let anonymous = world.connect(0, "shared");
    assert_eq!(world.clients[anonymous].take(), connack(ReasonCode::NOT_AUTHORIZED));
    assert_eq!(count(&world, |counters| counters.session_owner_refusals), 2);
    assert!(world.clients[anna].is_connected(), "{:?}", world.clients[anna].got);
    let again = connect(&mut world, "shared", "anna", "anna");
    assert!(world.clients[again].is_connected() && !world.clients[anna].is_connected());
}

#[test]
fn a_user_name_can_be_bound_to_the_client_id() {
    let mut auth = settings(&["anna", "otto"]);
    auth.identity = vec![IdentityRules { username: UsernameRule::IsClientId, ..IdentityRules::default() }];
    let mut world = world(1, auth);
    let other = connect(&mut world, "anna", "otto", "otto");
    assert_eq!(world.clients[other].take(), connack(ReasonCode::NOT_AUTHORIZED));
    let anna = connect(&mut world, "anna", "anna", "anna");
    assert_eq!(world.clients[anna].take(), connack(ReasonCode::SUCCESS));
    assert_eq!(count(&world, |counters| counters.auth_results_other_name), 1);
    assert!(world.trace.iter().any(|line| line.contains("the user name \\\"otto\\\" is wanted")), "{:?}", world.trace);
}

#[test]
fn a_certificate_needs_no_password_and_names_its_client_on_whatever_thread() {
    let mut auth = settings(&["anna"]);
    auth.identity = vec![IdentityRules { certificate: Some(CertificateName::CommonName), ..IdentityRules::default() }];
    for seed in 0..10 {
        let mut world = world(seed, auth.clone());
        world.is_pool_busy = true;
        let names = CertificateNames { common_names: vec!["meter-1".to_owned()], ..CertificateNames::default() };
        world.certificate = Some(Arc::new(names));
        let meter = world.connect(0, "a");
        assert_eq!(world.clients[meter].take(), connack(ReasonCode::SUCCESS), "seed {seed}");
        // Another name than the certificate's is a lie, whatever its password.
        let liar = connect(&mut world, "b", "anna", "anna");
        assert_eq!(world.clients[liar].take(), connack(ReasonCode::NOT_AUTHORIZED), "seed {seed}");
        world.certificate = None;
        let anonymous = world.connect(0, "a");
        assert_eq!(world.clients[anonymous].take(), connack(ReasonCode::NOT_AUTHORIZED), "the session of another");
        assert_eq!(count(&world, |counters| counters.auth_results_certificate), 1);
    }
}
