//! Extended authentication (MQTT 5.0, 4.12): an authenticator that asks back, or answers later, and clients that have to
//! prove themselves again.

mod world;

use fulmar_auth::hooks::{Admission, Attempt, Authenticate, Client, Hooks, Step, Ticket};
use fulmar_auth::identity::{IdentityRules, UsernameRule};
use fulmar_auth::{AccessFile, AccessLimits};
use fulmar_codec::{Connect, QoS, ReasonCode, Version};
use fulmar_worker::{AuthSettings, Counters, Limits, Rules};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use world::World;
use world::client::Got;

const METHOD: &str = "riddle";
/// The wall clock at the start of a [`World`], in seconds.
const START: u64 = 1;

/// Knows one method. CONNECT says in its data who the client is; it is asked what it has to know, and admitted under its
/// name if it says `open, NAME`. Whoever says `ask me more` is asked again.
#[derive(Clone, Default)]
struct Riddles(Arc<Mutex<Notes>>);

#[derive(Default)]
struct Notes {
    /// Under way, with the name of each.
    names: Vec<(Ticket, String)>,
    abandoned: Vec<Ticket>,
    /// How long a proof holds.
    until_unix_seconds: Option<u64>,
    answers_later: bool,
}

impl Riddles {
    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.0.lock().expect("nobody panics with it")
    }

    fn ask(&self, ticket: Ticket, name: &[u8]) -> Step {
        let name = String::from_utf8_lossy(name).into_owned();
        let challenge = format!("who are you, {name}?");
        let mut notes = self.notes();
        notes.names.push((ticket, name));
        if notes.answers_later { Step::Later } else { Step::Challenge(challenge.into_bytes()) }
    }

    fn abandoned(&self) -> Vec<Ticket> {
        self.notes().abandoned.clone()
    }

    /// The last one that was asked.
    fn ticket(&self) -> Ticket {
        self.notes().names.last().expect("somebody was asked").0
    }
}

fn admit(name: &str, until_unix_seconds: Option<u64>) -> Step {
    Step::Admit(Admission { username: Some(name.into()), until_unix_seconds, data: b"welcome".to_vec() })
}

impl Authenticate for Riddles {
    fn begin(&self, ticket: Ticket, attempt: &Attempt<'_>) -> Step {
        match attempt.connect.authentication_method {
            Some(METHOD) => self.ask(ticket, attempt.connect.authentication_data.unwrap_or_default()),
            // One that asks whoever comes without a method would break the standard.
            None if attempt.connect.client_id == "silent" => self.ask(ticket, b"silent"),
            _ => Step::Pass,
        }
    }

    fn proceed(&self, ticket: Ticket, data: &[u8]) -> Step {
        let notes = self.notes();
        let Some((_, name)) = notes.names.iter().find(|(known, _)| *known == ticket) else {
            return Step::Refuse(ReasonCode::UNSPECIFIED_ERROR);
        };
        match data {
            b"ask me more" => Step::Challenge(b"more?".to_vec()),
            _ if data == format!("open, {name}").as_bytes() => admit(name, notes.until_unix_seconds),
            _ => Step::Refuse(ReasonCode::BAD_USER_NAME_OR_PASSWORD),
        }
    }

    fn reauthenticate(&self, ticket: Ticket, client: &Client<'_>, data: &[u8]) -> Step {
        assert_eq!(client.username, Some("anna"));
        self.ask(ticket, data)
    }

    fn abandon(&self, ticket: Ticket) {
        self.notes().abandoned.push(ticket);
    }
}

fn world_with(seed: u64, auth: AuthSettings) -> (World, Riddles) {
    let riddles = Riddles::default();
    let mut world = World::with_auth(seed, 0, 2, &Limits::default(), auth);
    world.hooks = Hooks { authenticate: vec![Box::new(riddles.clone())], ..Hooks::default() };
    world.add_node(2, &Limits::default());
    (world, riddles)
}

fn world(seed: u64) -> (World, Riddles) {
    world_with(seed, AuthSettings::new([7; 32]))
}

fn riddled<'a>(name: &'a str) -> impl FnOnce(Connect<'a>) -> Connect<'a> {
    move |connect| Connect {
        authentication_method: Some(METHOD),
        authentication_data: Some(name.as_bytes()),
        ..connect
    }
}

fn asked(question: &str) -> Got {
    let reason = ReasonCode::CONTINUE_AUTHENTICATION;
    Got::Auth { reason, method: METHOD.into(), data: question.into() }
}

fn connack(reason: ReasonCode) -> Got {
    Got::ConnAck { session_present: false, reason }
}

/// A client that has solved its riddle.
fn let_in(world: &mut World, id: &str, name: &str) -> usize {
    let client = world.connect_with(0, id, |connect| riddled(name)(Connect { client_id: id, ..connect }));
    assert_eq!(world.clients[client].take(), [asked(&format!("who are you, {name}?"))]);
    world.auth(client, ReasonCode::CONTINUE_AUTHENTICATION, METHOD, &format!("open, {name}"));
    world.settle();
    assert_eq!(world.clients[client].take(), [connack(ReasonCode::SUCCESS)]);
    client
}

fn count(world: &World, of: impl Fn(&Counters) -> u64) -> u64 {
    world.counter(0, of)
}

#[test]
fn a_client_that_answers_is_let_in_under_its_name_and_told_the_method() {
    for seed in 0..20 {
        let (mut world, _) = world(seed);
        let client = let_in(&mut world, "c", "anna");
        let told = (METHOD.to_owned(), Some("welcome".to_owned()));
        assert_eq!(world.clients[client].authentication, Some(told), "seed {seed}");
        // It is a client like others, and its session is anna's.
        world.subscribe(client, "news", QoS::AtMostOnce);
        world.publish(client, "news", "hello", QoS::AtMostOnce);
        world.settle();
        assert_eq!(world.clients[client].payloads(), ["hello"]);
        let other = world.connect(0, "c");
        assert_eq!(world.clients[other].take(), [connack(ReasonCode::NOT_AUTHORIZED), Got::Closed]);
        assert_eq!(count(&world, |counters| counters.auth_results_admitted_by_hook), 1);
        assert_eq!(world.gauges(0).connections_pending, 0);
    }
}

#[test]
fn what_comes_behind_the_answer_waits_for_it() {
    for seed in 0..20 {
        let (mut world, _) = world(seed);
        let client = world.connect_with(0, "c", riddled("anna"));
        world.auth(client, ReasonCode::CONTINUE_AUTHENTICATION, METHOD, "ask me more");
        world.auth(client, ReasonCode::CONTINUE_AUTHENTICATION, METHOD, "open, anna");
        world.subscribe(client, "news", QoS::AtMostOnce);
        world.settle();
        let wanted = [
            asked("who are you, anna?"),
            asked("more?"),
            connack(ReasonCode::SUCCESS),
            Got::SubAck(vec![ReasonCode::GRANTED_QOS_0]),
        ];
        assert_eq!(world.clients[client].take(), wanted, "seed {seed}");
        assert_eq!(count(&world, |counters| counters.packets_received), 4);
        assert_eq!(count(&world, |counters| counters.packets_sent), 4);
    }
}

#[test]
fn methods_that_nobody_knows_and_wrong_answers_are_refused() {
    let (mut world, riddles) = world(1);
    let method = |connect| Connect { authentication_method: Some("unheard of"), ..connect };
    let client = world.connect_with(0, "c", method);
    assert_eq!(world.clients[client].take(), [connack(ReasonCode::BAD_AUTHENTICATION_METHOD), Got::Closed]);
    let client = world.connect_with(0, "c", riddled("anna"));
    world.auth(client, ReasonCode::CONTINUE_AUTHENTICATION, METHOD, "no idea");
    world.settle();
    let refused = connack(ReasonCode::BAD_USER_NAME_OR_PASSWORD);
    assert_eq!(world.clients[client].take(), [asked("who are you, anna?"), refused, Got::Closed]);
    // Who names no method gets no AUTH (MQTT 5.0, 4.12.0-6).
    let client = world.connect(0, "silent");
    assert_eq!(world.clients[client].take(), [connack(ReasonCode::NOT_AUTHORIZED), Got::Closed]);
    assert_eq!(riddles.abandoned(), [riddles.ticket()]);
    // In MQTT 3.1.1 there is no method.
    let old = world.connect_with(0, "old", |_| Connect::new(Version::V311, "old"));
    assert_eq!(world.clients[old].take(), [connack(ReasonCode::SUCCESS)]);
    assert_eq!(world.clients[old].authentication, None);
    assert_eq!(world.gauges(0).connections_pending, 0);
}

#[test]
fn only_auth_of_the_same_method_or_a_goodbye_may_follow_such_a_connect() {
    type Send = fn(&mut World, usize);
    let wrong: [(&str, Send); 5] = [
        ("another method", |world, client| {
            world.auth(client, ReasonCode::CONTINUE_AUTHENTICATION, "other", "open, anna");
        }),
        ("another reason", |world, client| world.auth(client, ReasonCode::REAUTHENTICATE, METHOD, "open, anna")),
        ("SUBSCRIBE", |world, client| world.subscribe(client, "news", QoS::AtMostOnce)),
        ("bytes that are none of MQTT", |world, client| world.send_bytes(client, &[0, 0])),
        ("DISCONNECT", |world, client| world.send_bytes(client, &[0xe0, 0])),
    ];
    for (what, send) in wrong {
        let (mut world, riddles) = world(3);
        let client = world.connect_with(0, "c", riddled("anna"));
        send(&mut world, client);
        world.settle();
        assert_eq!(world.clients[client].take(), [asked("who are you, anna?"), Got::Closed], "{what}");
        assert_eq!(riddles.abandoned(), [riddles.ticket()], "{what}");
        assert_eq!(world.gauges(0).connections_pending, 0, "{what}");
        assert_eq!(world.gauges(0).session_bytes, 0, "{what}");
    }
}

#[test]
fn a_hook_finds_no_user_whose_name_other_nodes_cannot_be_told() {
    for (bytes, reason) in [(65_535, ReasonCode::SUCCESS), (65_536, ReasonCode::NOT_AUTHORIZED)] {
        let (mut world, riddles) = world(1);
        riddles.notes().answers_later = true;
        let client = world.connect_with(0, "c", riddled("anna"));
        world.stepped(0, riddles.ticket(), &admit(&"a".repeat(bytes), None));
        assert_eq!(world.clients[client].take()[0], connack(reason));
        assert_eq!(count(&world, |counters| counters.auth_results_refused_by_hook), (bytes - 65_535) as u64);
    }
}

#[test]
fn an_answer_that_comes_later_is_waited_for_as_long_as_a_client_may_take_to_connect() {
    for seed in 0..5 {
        let (mut world, riddles) = world(seed);
        riddles.notes().answers_later = true;
        let client = world.connect_with(0, "c", riddled("anna"));
        world.subscribe(client, "news", QoS::AtMostOnce);
        world.settle();
        assert_eq!(world.clients[client].take(), []);
        // The hook asks back after all, and owes an answer again.
        world.stepped(0, riddles.ticket(), &Step::Later);
        world.stepped(0, riddles.ticket(), &admit("anna", None));
        let subscribed = Got::SubAck(vec![ReasonCode::GRANTED_QOS_0]);
        assert_eq!(world.clients[client].take(), [connack(ReasonCode::SUCCESS), subscribed], "seed {seed}");
        // An answer to what is over, or to nobody.
        world.stepped(0, riddles.ticket(), &Step::Refuse(ReasonCode::BANNED));
        world.stepped(0, Ticket(u64::MAX), &admit("anna", None));
        assert!(world.clients[client].is_connected());

        let late = world.connect_with(0, "d", riddled("otto"));
        world.pass(Limits::default().connect_timeout + Duration::from_secs(1));
        assert_eq!(world.clients[late].take(), [Got::Closed]);
        assert_eq!(riddles.abandoned(), [riddles.ticket()]);
        world.stepped(0, riddles.ticket(), &admit("otto", None));
        assert_eq!(count(&world, |counters| counters.connect_timeouts), 1);
        assert_eq!(world.gauges(0).connections_pending, 0);
    }
}

#[test]
fn rounds_and_time_of_an_exchange_are_bounded() {
    let (mut world, riddles) = world(5);
    let client = world.connect_with(0, "c", riddled("anna"));
    for _ in 0..20 {
        world.auth(client, ReasonCode::CONTINUE_AUTHENTICATION, METHOD, "ask me more");
        world.settle();
    }
    let got = world.clients[client].take();
    assert_eq!(got.len(), 18, "16 questions, CONNACK, the end: {got:?}");
    assert_eq!(got[16..], [connack(ReasonCode::QUOTA_EXCEEDED), Got::Closed]);
    let silent = world.connect_with(0, "d", riddled("otto"));
    world.pass(Limits::default().connect_timeout + Duration::from_secs(1));
    assert_eq!(world.clients[silent].take(), [asked("who are you, otto?"), Got::Closed]);
    assert_eq!(riddles.abandoned().len(), 2);
    assert_eq!((world.gauges(0).connections_pending, world.gauges(0).session_bytes), (0, 0));
}

#[test]
fn bans_and_what_ties_names_to_client_ids_hold_for_hooks_too() {
    let text = "rules: []\nbans:\n- {user: otto}\n";
    let access = AccessFile::parse(text, AccessLimits::default()).expect("it is an access file");
    let rules = Arc::new(Rules { access: Some(Arc::new(access)), ..Rules::default() });
    let (mut banning, _) = world_with(6, AuthSettings { rules, ..AuthSettings::new([7; 32]) });
    let identity = vec![IdentityRules { certificate: None, username: UsernameRule::IsClientId }];
    let (mut tying, _) = world_with(6, AuthSettings { identity, ..AuthSettings::new([7; 32]) });
    for (world, name, reason) in
        [(&mut banning, "otto", ReasonCode::BANNED), (&mut tying, "anna", ReasonCode::NOT_AUTHORIZED)]
    {
        let username = if name == "anna" { Some("c") } else { None };
        let client = world.connect_with(0, "c", |connect| Connect { username, ..riddled(name)(connect) });
        world.auth(client, ReasonCode::CONTINUE_AUTHENTICATION, METHOD, &format!("open, {name}"));
        world.settle();
        assert_eq!(world.clients[client].take()[1..], [connack(reason), Got::Closed], "{name}");
    }
}

#[test]
fn a_client_proves_itself_again_and_goes_on_meanwhile() {
    for seed in 0..3 {
        let (mut world, riddles) = world(seed);
        riddles.notes().until_unix_seconds = Some(START + 20);
        let client = let_in(&mut world, "c", "anna");
        riddles.notes().until_unix_seconds = Some(START + 60);
        world.auth(client, ReasonCode::REAUTHENTICATE, METHOD, "anna");
        world.send_bytes(client, &[0xc0, 0]);
        world.settle();
        assert_eq!(world.clients[client].take(), [asked("who are you, anna?"), Got::Pong]);
        world.auth(client, ReasonCode::CONTINUE_AUTHENTICATION, METHOD, "open, anna");
        world.settle();
        let success = Got::Auth { reason: ReasonCode::SUCCESS, method: METHOD.into(), data: "welcome".into() };
        assert_eq!(world.clients[client].take(), [success], "seed {seed}");
        world.pass(Duration::from_secs(50));
        assert!(world.clients[client].is_connected());
        // What it proved does not hold for ever.
        world.pass(Duration::from_secs(11));
        let closed = [Got::Disconnect(ReasonCode::MAXIMUM_CONNECT_TIME), Got::Closed];
        assert_eq!(world.clients[client].take(), closed, "seed {seed}");
        assert_eq!(count(&world, |counters| counters.authentication_timeouts), 1);
    }
}

#[test]
fn whoever_fails_to_prove_itself_again_is_closed() {
    type Then = fn(&mut World, usize, &Riddles);
    let again = |world: &mut World, client| world.auth(client, ReasonCode::REAUTHENTICATE, METHOD, "anna");
    let failures: [(&str, ReasonCode, Then); 7] = [
        ("a wrong answer", ReasonCode::NOT_AUTHORIZED, |world, client, _| {
            world.auth(client, ReasonCode::CONTINUE_AUTHENTICATION, METHOD, "no idea");
        }),
        ("another method", ReasonCode::PROTOCOL_ERROR, |world, client, _| {
            world.auth(client, ReasonCode::CONTINUE_AUTHENTICATION, "other", "open, anna");
        }),
        ("a second time meanwhile", ReasonCode::PROTOCOL_ERROR, |world, client, _| {
            world.auth(client, ReasonCode::REAUTHENTICATE, METHOD, "anna");
        }),
        ("no answer", ReasonCode::NOT_AUTHORIZED, |world, _, _| world.pass(Duration::from_secs(11))),
        ("somebody else", ReasonCode::NOT_AUTHORIZED, |world, _, riddles| {
            world.stepped(0, riddles.ticket(), &admit("otto", None));
        }),
        ("a proof of the past", ReasonCode::NOT_AUTHORIZED, |world, _, riddles| {
            world.stepped(0, riddles.ticket(), &admit("anna", Some(START)));
        }),
        ("nobody's business", ReasonCode::NOT_AUTHORIZED, |world, _, riddles| {
            world.stepped(0, riddles.ticket(), &Step::Pass);
        }),
    ];
    for (what, reason, then) in failures {
        let (mut world, riddles) = world(8);
        let client = let_in(&mut world, "c", "anna");
        again(&mut world, client);
        world.settle();
        assert_eq!(world.clients[client].take(), [asked("who are you, anna?")], "{what}");
        then(&mut world, client, &riddles);
        world.settle();
        assert_eq!(world.clients[client].take(), [Got::Disconnect(reason), Got::Closed], "{what}");
        // Its ticket is worth nothing any more.
        world.stepped(0, riddles.ticket(), &admit("anna", None));
    }
    // An answer that nobody asked for.
    let (mut world, _) = world(9);
    let client = let_in(&mut world, "c", "anna");
    world.auth(client, ReasonCode::CONTINUE_AUTHENTICATION, METHOD, "open, anna");
    world.settle();
    assert_eq!(world.clients[client].take(), [Got::Disconnect(ReasonCode::PROTOCOL_ERROR), Got::Closed]);
}

#[test]
fn a_client_that_vanishes_is_not_waited_for() {
    let (mut world, riddles) = world(10);
    let client = let_in(&mut world, "c", "anna");
    world.auth(client, ReasonCode::REAUTHENTICATE, METHOD, "anna");
    world.settle();
    world.vanish(client);
    assert_eq!(riddles.abandoned(), [riddles.ticket()]);
}
