//! What clients may publish and subscribe to by the access rules, and what becomes of those who lose a right.

mod world;

use fulmar_auth::hooks::{Attempt, Authorise, Client, Hooks, OnConnect, OnDeliver, OnDisconnect, OnPublish};
use fulmar_auth::passwords::{Argon2idParams, PasswordFile, PasswordLimits, hash_password};
use fulmar_auth::{AccessFile, AccessLimits};
use fulmar_codec::{Connect, ForwardProperties, Publish, QoS, ReasonCode, Version, Will};
use fulmar_worker::{AuthSettings, Limits, Rules};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use world::World;
use world::client::Got;

fn access(text: &str) -> Option<Arc<AccessFile>> {
    Some(Arc::new(AccessFile::parse(text, AccessLimits::default()).expect("it is an access file")))
}

fn passwords(users: &[(&str, &str)]) -> Option<Arc<PasswordFile>> {
    let params = Argon2idParams { memory_kib: 8, passes: 1, lanes: 1 };
    let line = |(user, password): &(&str, &str)| {
        format!("{user}:{}\n", hash_password(password.as_bytes(), params, b"saltsalt").expect("it is a password"))
    };
    let text: String = users.iter().map(line).collect();
    Some(Arc::new(PasswordFile::parse(&text, PasswordLimits::default()).expect("it is a password file")))
}

fn rules(generation: u32, users: &[(&str, &str)], text: &str) -> Rules {
    Rules { generation, passwords: passwords(users), access: access(text) }
}

fn world(rules: Rules) -> World {
    let auth = AuthSettings { rules: Arc::new(rules), ..AuthSettings::new([7; 32]) };
    World::with_auth(1, 1, 2, &Limits::default(), auth)
}

fn as_user<'a>(user: &'a str, password: &'a str) -> impl FnOnce(Connect<'a>) -> Connect<'a> {
    move |connect| Connect { username: Some(user), password: Some(password.as_bytes()), ..connect }
}

fn durable<'a>(user: &'a str, password: &'a str) -> impl FnOnce(Connect<'a>) -> Connect<'a> {
    move |connect| Connect { clean_start: false, session_expiry: 600, ..as_user(user, password)(connect) }
}

const ANNA: (&str, &str) = ("anna", "secret");
const OTTO: (&str, &str) = ("otto", "secret");

/// Everyone may publish below its own client id, and anna may read all of that.
const METERS: &str = "
rules:
- {allow: publish, filters: ['meters/${clientid}/#']}
- {allow: subscribe, users: [anna], filters: ['meters/#']}
- {allow: subscribe, filters: ['news/+']}
";
const NOT_METERS: &str = "
rules:
- {allow: publish, filters: ['meters/${clientid}/#']}
- {allow: subscribe, filters: ['news/+']}
";

#[test]
fn each_filter_of_a_subscribe_is_judged_by_itself() {
    for (version, denied) in [(Version::V5, ReasonCode::NOT_AUTHORIZED), (Version::V311, ReasonCode::UNSPECIFIED_ERROR)]
    {
        let mut world = world(rules(0, &[ANNA], METERS));
        let anonymous = world.connect_with(0, "a", |_| Connect::new(version, "a"));
        let anna = world.connect_with(0, "b", |_| as_user("anna", "secret")(Connect::new(version, "b")));
        for client in [anonymous, anna] {
            world.clients[client].take();
            for filter in ["news/today", "news/#", "meters/+/power", "$share/g/meters/#"] {
                world.subscribe(client, filter, QoS::AtMostOnce);
            }
        }
        world.settle();
        let granted = || Got::SubAck(vec![ReasonCode::GRANTED_QOS_0]);
        let denied = || Got::SubAck(vec![denied]);
        assert_eq!(world.clients[anonymous].take(), [granted(), denied(), denied(), denied()]);
        assert_eq!(world.clients[anna].take(), [granted(), denied(), granted(), granted()]);
        assert_eq!(world.counter(0, |counters| counters.subscriptions_denied), 4);
    }
}

#[test]
fn what_a_client_may_not_publish_reaches_nobody_and_is_not_retained() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut world = world(rules(0, &[ANNA], METERS));
        let anna = world.connect_with(0, "reader", as_user("anna", "secret"));
        world.subscribe(anna, "meters/#", QoS::AtMostOnce);
        let meter = world.connect(0, "meter-1");
        world.settle();
        for topic in ["meters/meter-2/power", "meters/meter-1/power", "elsewhere"] {
            world.publish_with(meter, topic, topic, qos, true);
        }
        world.settle();
        assert_eq!(world.clients[anna].payloads(), ["meters/meter-1/power"], "QoS {qos}");
        assert_eq!(world.counter(0, |counters| counters.publishes_denied), 2);
        assert_eq!(world.nodes[0].node.retained_counts().messages, 1);
        // Its client goes on: a denied message is no reason to close.
        assert!(world.clients[meter].is_connected());
    }
}

#[test]
fn a_will_is_judged_when_it_is_published() {
    let will = |topic: &'static str| Will {
        qos: QoS::AtLeastOnce,
        retain: false,
        topic,
        payload: b"gone",
        delay: 0,
        message_expiry: None,
        payload_is_utf8: false,
        forward: ForwardProperties::EMPTY,
    };
    let mut world = world(rules(0, &[ANNA], METERS));
    let anna = world.connect_with(0, "reader", as_user("anna", "secret"));
    world.subscribe(anna, "meters/#", QoS::AtMostOnce);
    let good = world.connect_with(0, "good", |connect| Connect { will: Some(will("meters/good/state")), ..connect });
    let bad = world.connect_with(0, "bad", |connect| Connect { will: Some(will("meters/good/state")), ..connect });
    world.vanish(bad);
    world.settle();
    assert_eq!(world.clients[anna].payloads(), [""; 0]);
    world.vanish(good);
    world.settle();
    assert_eq!(world.clients[anna].payloads(), ["gone"]);
    let counted = (|counters: &fulmar_worker::Counters| counters.wills_published, 1);
    assert_eq!(world.counter(0, counted.0), counted.1);
    assert_eq!(world.counter(0, |counters| counters.publishes_denied), 1);
}

#[test]
fn a_publish_that_was_allowed_is_denied_from_the_next_rules_on() {
    let mut world = world(rules(0, &[], METERS));
    let meter = world.connect(0, "meter-1");
    world.publish(meter, "meters/meter-1/power", "1", QoS::AtLeastOnce);
    world.settle();
    world.reload(rules(1, &[], "rules: [{allow: all, filters: [news/#]}]"));
    world.publish(meter, "meters/meter-1/power", "2", QoS::AtLeastOnce);
    world.settle();
    assert_eq!(world.counter(0, |counters| counters.publishes_denied), 1);
    world.reload(rules(2, &[], METERS));
    world.publish(meter, "meters/meter-1/power", "3", QoS::AtLeastOnce);
    world.settle();
    assert_eq!(world.counter(0, |counters| counters.publishes_denied), 1);
    assert!(world.clients[meter].is_connected());
}

#[test]
fn a_subscription_that_is_no_longer_allowed_ends_with_its_connection_and_no_other_does() {
    let mut world = world(rules(0, &[ANNA], METERS));
    let reader = world.connect_with(0, "reader", durable("anna", "secret"));
    world.subscribe(reader, "meters/#", QoS::AtLeastOnce);
    world.subscribe(reader, "news/today", QoS::AtLeastOnce);
    let away = world.connect_with(0, "away", durable("anna", "secret"));
    world.subscribe(away, "meters/#", QoS::AtLeastOnce);
    let other = world.connect_with(0, "other", as_user("anna", "secret"));
    world.subscribe(other, "news/today", QoS::AtLeastOnce);
    world.settle();
    world.vanish(away);
    world.reload(rules(1, &[ANNA], NOT_METERS));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.farewell(reader), Some(ReasonCode::NOT_AUTHORIZED));
    assert!(world.clients[other].is_connected());
    // What is left is what may be left, for absent clients too.
    assert_eq!(world.gauges(0).subscriptions, 2);
    assert_eq!(world.counter(0, |counters| counters.rights_withdrawn), 1);
    let meter = world.connect(0, "meter-1");
    world.publish(meter, "meters/meter-1/power", "1", QoS::AtLeastOnce);
    world.clients[reader].take();
    world.reconnect_client(reader, 0, "reader", durable("anna", "secret"));
    assert_eq!(
        world.clients[reader].take(),
        [Got::ConnAck { session_present: true, reason: ReasonCode::SUCCESS }],
        "the session is there, without messages of the subscription that ended"
    );
}

#[test]
fn a_changed_password_and_a_removed_user_end_the_connections_that_they_let_in() {
    let mut world = world(rules(0, &[ANNA, OTTO], METERS));
    let anna = world.connect_with(0, "anna-1", durable("anna", "secret"));
    let otto = world.connect_with(0, "otto-1", durable("otto", "secret"));
    let away = world.connect_with(0, "otto-2", durable("otto", "secret"));
    let anonymous = world.connect(0, "anonymous");
    world.vanish(away);
    // Nothing has changed for anybody.
    world.reload(rules(1, &[ANNA, OTTO], METERS));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.counter(0, |counters| counters.rights_withdrawn), 0);
    world.reload(rules(2, &[("anna", "another")], METERS));
    let early = world.connect_with(0, "anna-2", as_user("anna", "another"));
    world.pass(Duration::from_secs(1));
    for gone in [anna, otto] {
        assert_eq!(world.farewell(gone), Some(ReasonCode::NOT_AUTHORIZED));
    }
    assert!(world.clients[anonymous].is_connected() && world.clients[early].is_connected());
    // The session of the one waits for its user, those of the other have none any more.
    assert_eq!(world.gauges(0).sessions, 3);
    let late = world.connect_with(0, "anna-1", durable("anna", "secret"));
    let refused = Got::ConnAck { session_present: false, reason: ReasonCode::BAD_USER_NAME_OR_PASSWORD };
    assert_eq!(world.clients[late].take(), [refused, Got::Closed], "the old password is not remembered");
    world.reconnect_client(late, 0, "anna-1", durable("anna", "another"));
    let resumed = Got::ConnAck { session_present: true, reason: ReasonCode::SUCCESS };
    assert_eq!(world.clients[late].take(), [resumed]);
}

#[test]
fn who_is_banned_is_sent_away_and_not_let_in() {
    let mut world = world(rules(0, &[ANNA, OTTO], METERS));
    let anna = world.connect_with(0, "a", as_user("anna", "secret"));
    let otto = world.connect_with(0, "o", as_user("otto", "secret"));
    // The wall clock of the simulation began at 1.
    let bans = format!("{METERS}bans: [{{user: anna, untilUnixSeconds: 60}}]\n");
    world.reload(rules(1, &[ANNA, OTTO], &bans));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.farewell(anna), Some(ReasonCode::NOT_AUTHORIZED));
    assert!(world.clients[otto].is_connected());
    let again = world.connect_with(0, "a", as_user("anna", "secret"));
    let refused = Got::ConnAck { session_present: false, reason: ReasonCode::BANNED };
    assert_eq!(world.clients[again].take(), [refused, Got::Closed]);
    assert_eq!(world.counter(0, |counters| counters.auth_results_banned), 1);
    world.pass(Duration::from_secs(60));
    world.reconnect_client(again, 0, "a", as_user("anna", "secret"));
    assert!(world.clients[again].is_connected(), "the ban is over");
}

#[test]
fn a_change_of_rules_is_carried_out_in_portions() {
    let auth = AuthSettings { rules: Arc::new(rules(0, &[ANNA], METERS)), ..AuthSettings::new([7; 32]) };
    let limits = Limits { turn_effort: 1_000_000, ..Limits::default() };
    let mut world = World::with_auth(1, 1, 1, &limits, auth);
    let ids: Vec<String> = (0..300).map(|number| format!("client-{number}")).collect();
    for id in &ids {
        let client = world.connect_with(0, id, |connect| Connect { session_expiry: 600, ..connect });
        world.subscribe(client, "news/today", QoS::AtMostOnce);
    }
    world.settle();
    world.reload(rules(1, &[("anna", "another")], "rules: []"));
    world.is_pool_busy = true;
    // The turn that brings its CONNECT looks at the first portion, the one that lets it in at its own.
    let late = world.connect_with(0, "late", as_user("anna", "another"));
    let first = world.counter(0, |counters| counters.rights_withdrawn);
    assert!((1..300).contains(&first), "{first} in the first turn");
    world.is_pool_busy = false;
    world.settle();
    world.pass(Duration::from_secs(1));
    assert_eq!(world.counter(0, |counters| counters.rights_withdrawn), 300);
    assert_eq!(world.gauges(0).subscriptions, 0);
    assert!(world.clients[late].is_connected(), "who came meanwhile was let in by what holds now");
}

#[test]
fn the_session_of_a_user_who_was_removed_is_not_for_who_has_the_name_next() {
    // The second change comes before anybody was looked at for the first, or afterwards.
    for is_done in [false, true] {
        let mut world = world(rules(0, &[ANNA, OTTO], METERS));
        let (old, otto) = (
            world.connect_with(0, "a", durable("anna", "secret")),
            world.connect_with(0, "o", as_user("otto", "secret")),
        );
        world.subscribe(old, "meters/#", QoS::AtLeastOnce);
        world.settle();
        world.vanish(old);
        world.publish(otto, "meters/otto/mail", "for the first anna", QoS::AtLeastOnce);
        world.settle();
        world.reload(rules(1, &[OTTO], METERS));
        if is_done {
            world.pass(Duration::from_secs(1));
        }
        world.reload(rules(2, &[OTTO, ("anna", "another")], METERS));
        let new = world.connect_with(0, "a", durable("anna", "another"));
        world.settle();
        let welcome = Got::ConnAck { session_present: false, reason: ReasonCode::SUCCESS };
        assert_eq!(world.clients[new].take(), [welcome], "done: {is_done}");
    }
}

#[test]
fn who_loses_many_subscriptions_in_several_turns_is_sent_away_once_and_keeps_the_others() {
    let auth = AuthSettings { rules: Arc::new(rules(0, &[ANNA], METERS)), ..AuthSettings::new([7; 32]) };
    let limits = Limits { turn_effort: 100_000, ..Limits::default() };
    let mut world = World::with_auth(1, 1, 1, &limits, auth);
    let anna = world.connect_with(0, "a", durable("anna", "secret"));
    world.subscribe(anna, "news/today", QoS::AtLeastOnce);
    for number in 0..500 {
        world.subscribe(anna, &format!("meters/{number}"), QoS::AtLeastOnce);
        world.settle();
    }
    world.reload(rules(1, &[ANNA], NOT_METERS));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.farewell(anna), Some(ReasonCode::NOT_AUTHORIZED));
    assert_eq!(world.counter(0, |counters| counters.rights_withdrawn), 1);
    assert_eq!(world.gauges(0).subscriptions, 1);
    world.reconnect_client(anna, 0, "a", durable("anna", "secret"));
    world.pass(Duration::from_secs(1));
    assert!(world.clients[anna].is_connected(), "nothing is left to be withdrawn");
}

#[test]
fn what_a_client_is_told_about_its_topics_counts_as_memory_of_its_session() {
    let text = "{default: allow, rules: []}";
    let bytes_of = |topics: usize, session_bytes_total: usize| {
        let limits = Limits { session_bytes_total, ..Limits::default() };
        let auth = AuthSettings { rules: Arc::new(rules(0, &[], text)), ..AuthSettings::new([7; 32]) };
        let mut world = World::with_auth(1, 1, 1, &limits, auth);
        let client = world.connect(0, "client");
        let before = world.gauges(0).session_bytes;
        for number in 0..topics {
            world.publish(client, &format!("{number}/{}", "x".repeat(200)), "", QoS::AtMostOnce);
        }
        world.settle();
        let bytes = world.gauges(0).session_bytes;
        assert_eq!(world.counter(0, |counters| counters.publishes_unmatched), topics as u64);
        world.vanish(client);
        assert_eq!(world.gauges(0).session_bytes, 0, "what ended sessions took is given back");
        (before, bytes - before)
    };
    let (session, one) = bytes_of(1, 1 << 20);
    assert!((200..600).contains(&one), "{one} bytes for one topic");
    let (_, many) = bytes_of(100, 1 << 20);
    assert!((1600..3000).contains(&many), "{many} bytes for more topics than are remembered");
    let full = usize::try_from(session).expect("it is small") + 100;
    assert_eq!(bytes_of(100, full), (session, 0), "without memory each topic is judged anew");
}

/// Lets nobody publish to `secret`, and leaves all else to the rules.
struct KeepSecret;

impl Authorise for KeepSecret {
    fn may_publish(&self, client: &Client<'_>, topic: &str) -> Option<bool> {
        (topic == "secret").then_some(client.username == Some("anna"))
    }
}

#[test]
fn a_hook_is_asked_before_the_rules_and_also_without_any() {
    let auth = AuthSettings::new([7; 32]);
    let mut world = World::with_auth(1, 0, 1, &Limits::default(), auth);
    world.hooks = Hooks { authorise: Some(Box::new(KeepSecret)), ..Hooks::default() };
    world.add_node(1, &Limits::default());
    let client = world.connect(0, "client");
    for topic in ["secret", "open"] {
        world.publish(client, topic, "", QoS::AtMostOnce);
    }
    world.settle();
    assert_eq!(world.counter(0, |counters| counters.publishes_denied), 1);
    assert_eq!(world.counter(0, |counters| counters.publishes_unmatched), 1);
}

/// Has a say at every other point, and writes down whom it heard of.
#[derive(Clone, Default)]
struct Everywhere(Arc<Mutex<Vec<String>>>);

impl Everywhere {
    fn note(&self, text: String) {
        self.0.lock().expect("nobody panics with it").push(text);
    }
}

impl OnConnect for Everywhere {
    fn connect(&self, attempt: &Attempt<'_>) -> Result<(), ReasonCode> {
        self.note(format!("connect {} by {}", attempt.connect.client_id, attempt.listener));
        if attempt.connect.client_id == "unwanted" { Err(ReasonCode::SERVER_BUSY) } else { Ok(()) }
    }
}

impl OnPublish for Everywhere {
    fn publish(&self, client: &Client<'_>, publish: &Publish<'_>) -> Result<(), ReasonCode> {
        self.note(format!("publish {} of {}", publish.topic, client.client_id));
        if publish.payload == b"rubbish" { Err(ReasonCode::PAYLOAD_FORMAT_INVALID) } else { Ok(()) }
    }
}

impl OnDeliver for Everywhere {
    fn deliver(&self, client: &Client<'_>, topic: &str, _payload: &[u8]) -> bool {
        self.note(format!("deliver {topic} to {:?}", client.username));
        !topic.ends_with("withheld")
    }
}

impl OnDisconnect for Everywhere {
    fn disconnected(&self, client: &Client<'_>, reason: ReasonCode) {
        self.note(format!("{} has gone: {reason}", client.client_id));
    }
}

#[test]
fn hooks_are_asked_where_they_have_a_say() {
    let rules = Rules { passwords: passwords(&[ANNA]), ..Rules::default() };
    let listener_names = vec!["front".to_owned()];
    let auth = AuthSettings { rules: Arc::new(rules), listener_names, ..AuthSettings::new([7; 32]) };
    let mut world = World::with_auth(1, 0, 1, &Limits::default(), auth);
    let everywhere = Everywhere::default();
    world.hooks = Hooks {
        connect: Some(Box::new(everywhere.clone())),
        publish: Some(Box::new(everywhere.clone())),
        deliver: Some(Box::new(everywhere.clone())),
        disconnect: Some(Box::new(everywhere.clone())),
        ..Hooks::default()
    };
    world.add_node(1, &Limits::default());
    let unwanted = world.connect(0, "unwanted");
    let refused = Got::ConnAck { session_present: false, reason: ReasonCode::SERVER_BUSY };
    assert_eq!(world.clients[unwanted].take(), [refused, Got::Closed]);
    let anna = world.connect_with(0, "a", as_user("anna", "secret"));
    world.publish_with(anna, "kept/withheld", "old", QoS::AtMostOnce, true);
    world.subscribe(anna, "#", QoS::AtMostOnce);
    world.publish(anna, "t", "rubbish", QoS::AtLeastOnce);
    world.publish(anna, "t", "good", QoS::AtMostOnce);
    world.publish(anna, "withheld", "good", QoS::AtMostOnce);
    world.settle();
    assert_eq!(world.clients[anna].payloads(), ["good"]);
    world.vanish(anna);
    let heard = everywhere.0.lock().expect("nobody panics with it").clone();
    assert_eq!(
        heard,
        [
            "connect unwanted by front",
            "connect a by front",
            "publish kept/withheld of a",
            "deliver kept/withheld to Some(\"anna\")",
            "publish t of a",
            "publish t of a",
            "deliver t to Some(\"anna\")",
            "publish withheld of a",
            "deliver withheld to Some(\"anna\")",
            "a has gone: unspecified error (0x80)",
        ]
    );
    assert_eq!(world.counter(0, |counters| counters.auth_results_refused_by_hook), 1);
    assert_eq!(world.counter(0, |counters| counters.publishes_denied), 1);
    assert_eq!(world.counter(0, |counters| counters.dropped_withheld), 2);
}
