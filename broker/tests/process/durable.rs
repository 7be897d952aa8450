//! A broker alone with a data folder: what its clients were promised is there after it was killed, and after it was
//! stopped.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use fulmar_auth::passwords::{Argon2idParams, hash_password};
use fulmar_codec::{
    AckKind, Connect, PublishHead, QoS, ReasonCode, SubscribeFilter, SubscriptionOptions, Version, Will,
};

use crate::harness::{Broker, Client, Folder, Got, wait_for};

/// One whose session waits for it.
pub fn lasting(id: &str) -> Connect<'_> {
    Connect { clean_start: false, session_expiry: 3600, ..Connect::new(Version::V5, id) }
}

pub fn start(folder: &Folder, settings: &[&str]) -> Broker {
    let data = format!("dataDir={}", folder.path().join("data").display());
    Broker::start(&[&["threads=2", &data], settings].concat())
}

/// The end that nobody prepares for, and what is found after it.
fn kill_and_start(broker: Broker, folder: &Folder) -> Broker {
    broker.kill();
    start(folder, &[])
}

/// Waits until as few clients are connected as that, and the store has heard of all that went before.
pub fn settle(broker: &Broker, clients: u64) {
    broker.wait_for_metric("fulmar_connections", |count| count == clients);
    broker.wait_for_metric("fulmar_store_questions", |count| count == 0);
}

/// One that only publishes.
pub fn publisher(broker: &Broker) -> Client {
    Client::connect(broker.address("mqtt"), "publisher")
}

fn at_least_once() -> PublishHead<'static> {
    PublishHead { qos: QoS::AtLeastOnce, ..PublishHead::default() }
}

/// Publishes and tells how that was acknowledged.
fn publish_with(client: &mut Client, topic: &str, payload: &str, head: PublishHead<'_>) -> ReasonCode {
    let id = client.publish_with(topic, payload, head);
    match client.next() {
        Got::PubAck(of, reason) if of == id => reason,
        got => panic!("wanted PUBACK {id}, got {got:?}"),
    }
}

pub fn publish(client: &mut Client, topic: &str, payloads: impl IntoIterator<Item = impl ToString>) {
    for payload in payloads {
        let reason = publish_with(client, topic, &payload.to_string(), at_least_once());
        assert_eq!(reason, ReasonCode::SUCCESS, "{topic}");
    }
}

fn retain(client: &mut Client, topic: &str, payload: &str, message_expiry: Option<u32>) {
    let reason = publish_with(client, topic, payload, PublishHead { retain: true, message_expiry, ..at_least_once() });
    assert!(!reason.is_error(), "{topic}: {reason}");
}

/// The payloads of so many messages, as numbers.
pub fn take_numbers(client: &mut Client, count: usize) -> Vec<u32> {
    (0..count).map(|_| client.text().parse().unwrap()).collect()
}

#[test]
fn subscriptions_survive_a_kill_with_all_that_was_said_of_them() {
    let folder = Folder::new();
    let broker = start(&folder, &[]);
    let mut client = Client::connect_with(broker.address("mqtt"), &lasting("subscriber"));
    let options = SubscriptionOptions { qos: QoS::AtLeastOnce, ..SubscriptionOptions::default() };
    let as_published = SubscriptionOptions { retain_as_published: true, ..options };
    let seven = [
        SubscribeFilter { filter: "numbered/+", options },
        SubscribeFilter { filter: "as/published", options: as_published },
    ];
    let granted = Got::SubAck(vec![ReasonCode::GRANTED_QOS_1; 2]);
    assert_eq!(client.ask_to_subscribe_as(NonZeroU32::new(7), &seven), granted);
    client.subscribe_with("others", SubscriptionOptions { no_local: true, ..options });
    client.subscribe("given/up", QoS::AtLeastOnce);
    client.subscribe("less", QoS::ExactlyOnce);
    client.subscribe("less", QoS::AtMostOnce);
    assert_eq!(client.ask_to_unsubscribe(&["given/up"]), Got::UnsubAck(vec![ReasonCode::SUCCESS]));

    let broker = kill_and_start(broker, &folder);
    let mut client = Client::resume(broker.address("mqtt"), &lasting("subscriber"));
    client.acknowledges = true;
    let mut publisher = publisher(&broker);
    let mut got_of = |topic: &str, head: PublishHead<'_>| {
        assert_eq!(publish_with(&mut publisher, topic, "x", head), ReasonCode::SUCCESS, "{topic}");
        let Got::Message { topic: of, retain, qos, .. } = client.next() else { panic!("no message of {topic}") };
        assert_eq!(of, topic);
        (qos, retain, client.details.subscription_ids.clone())
    };
    let retained = PublishHead { retain: true, ..at_least_once() };
    assert_eq!(got_of("numbered/one", retained), (1, false, vec![7]));
    assert_eq!(got_of("as/published", retained), (1, true, vec![7]));
    assert_eq!(got_of("others", at_least_once()), (1, false, vec![]));
    assert_eq!(got_of("less", at_least_once()), (0, false, vec![]));
    publish(&mut publisher, "given/up", ["x"]);
    publish(&mut client, "others", ["its own"]);
    assert_eq!(client.ping(), []);
    broker.wait_for_metric("fulmar_store_subscriptions", |count| count == 4);
}

/// What is retained, with what is left of its time.
fn retained_of(broker: &Broker, connect: &Connect<'_>, count: usize) -> BTreeMap<String, (String, Option<u32>)> {
    let mut client = Client::connect_with(broker.address("mqtt"), connect);
    client.subscribe("retained/#", QoS::AtLeastOnce);
    let mut next = || match client.next() {
        Got::Message { topic, payload, retain: true, .. } => {
            (topic, (String::from_utf8(payload).unwrap(), client.details.message_expiry))
        }
        got => panic!("wanted a retained message, got {got:?}"),
    };
    let found = (0..count).map(|_| next()).collect();
    assert_eq!(client.ping(), []);
    found
}

#[test]
fn retained_messages_survive_a_kill_and_their_time_goes_on() {
    let folder = Folder::new();
    let broker = start(&folder, &[]);
    let mut client = publisher(&broker);
    retain(&mut client, "retained/set", "set", None);
    retain(&mut client, "retained/replaced", "old", Some(1000));
    retain(&mut client, "retained/replaced", "new", None);
    retain(&mut client, "retained/deleted", "deleted", None);
    retain(&mut client, "retained/deleted", "", None);
    retain(&mut client, "retained/limited", "limited", Some(3600));
    retain(&mut client, "short", "short", Some(2));
    let left = wait_for("two seconds to go by", || {
        let found = retained_of(&broker, &Connect::new(Version::V5, "reader"), 3);
        found["retained/limited"].1.filter(|left| *left <= 3598)
    });
    let broker = kill_and_start(broker, &folder);
    let wanted = |left| {
        let of = |name: &str, left| (format!("retained/{name}"), (name.to_owned(), left));
        let new = ("retained/replaced".to_owned(), ("new".to_owned(), None));
        BTreeMap::from([of("set", None), of("limited", Some(left)), new])
    };
    for connect in [Connect::new(Version::V5, "reader"), lasting("lasting reader")] {
        let found = retained_of(&broker, &connect, 3);
        let found_left = found["retained/limited"].1.unwrap();
        assert!((left - 60..=left).contains(&found_left), "{found_left} seconds left of {left}");
        assert_eq!(found, wanted(found_left));
    }
    let mut reader = Client::connect(broker.address("mqtt"), "reader");
    reader.subscribe("short", QoS::AtLeastOnce);
    assert_eq!(reader.ping(), []);
}

#[test]
fn wills_are_published_once_after_a_kill_unless_their_clients_are_back() {
    let folder = Folder::new();
    let broker = start(&folder, &[]);
    let address = broker.address("mqtt");
    let mut watcher = Client::connect_with(address, &lasting("watcher"));
    watcher.subscribe("wills/#", QoS::AtLeastOnce);
    let will = |topic, delay| Some(Will { delay, qos: QoS::AtLeastOnce, ..Will::new(topic, b"gone") });
    let with_will = |id, topic, delay| Connect { will: will(topic, delay), ..lasting(id) };
    let _at_once = Client::connect_with(address, &with_will("at once", "wills/at/once", 0));
    let _late = Client::connect_with(address, &with_will("late", "wills/late", 3));
    let _back = Client::connect_with(address, &with_will("back", "wills/back", 2));
    let leaves = Client::connect_with(address, &with_will("leaves", "wills/leaves", 0));
    leaves.disconnect(ReasonCode::SUCCESS);
    settle(&broker, 4);

    // Nobody has heard of any of them when it is killed again.
    let broker = kill_and_start(broker, &folder);
    let broker = kill_and_start(broker, &folder);
    let address = broker.address("mqtt");
    let _back = Client::resume(address, &lasting("back"));
    let mut watcher = Client::resume(address, &lasting("watcher"));
    watcher.acknowledges = true;
    let topics = [(); 2].map(|()| watcher.message().0);
    assert_eq!(topics, ["wills/at/once", "wills/late"]);
    assert_eq!(watcher.ping(), []);
    watcher.disconnect(ReasonCode::SUCCESS);
    settle(&broker, 1);

    let broker = kill_and_start(broker, &folder);
    let mut watcher = Client::resume(broker.address("mqtt"), &lasting("watcher"));
    let mut publisher = publisher(&broker);
    publish(&mut publisher, "wills/none", ["more"]);
    assert_eq!(watcher.message().0, "wills/none");
}

#[test]
fn the_will_of_a_client_without_a_lasting_session_survives_a_kill() {
    let folder = Folder::new();
    let broker = start(&folder, &[]);
    let mut watcher = Client::connect_with(broker.address("mqtt"), &lasting("watcher"));
    watcher.subscribe("wills/#", QoS::AtLeastOnce);
    let will = Some(Will { qos: QoS::AtLeastOnce, ..Will::new("wills/clean", b"gone") });
    let _clean = Client::connect_with(broker.address("mqtt"), &Connect { will, ..Connect::new(Version::V5, "clean") });
    let broker = kill_and_start(broker, &folder);
    let mut watcher = Client::resume(broker.address("mqtt"), &lasting("watcher"));
    assert_eq!(watcher.message().0, "wills/clean");
    assert_eq!(watcher.ping(), []);
}

#[test]
fn the_time_of_a_session_goes_on_while_its_broker_is_down() {
    let folder = Folder::new();
    let broker = start(&folder, &[]);
    let short = Connect { session_expiry: 2, ..lasting("short") };
    for connect in [short, lasting("long")] {
        let mut client = Client::connect_with(broker.address("mqtt"), &connect);
        client.subscribe(connect.client_id, QoS::AtLeastOnce);
        client.disconnect(ReasonCode::SUCCESS);
    }
    let left = Instant::now();
    settle(&broker, 0);
    broker.kill();
    // Nothing can be awaited where nothing runs: only time goes by.
    std::thread::sleep(Duration::from_secs(2).saturating_sub(left.elapsed()) + Duration::from_millis(500));
    let broker = start(&folder, &[]);
    drop(Client::resume(broker.address("mqtt"), &lasting("long")));
    drop(Client::connect_with(broker.address("mqtt"), &short));
}

#[test]
fn a_session_that_was_started_anew_stays_so_after_a_kill() {
    let folder = Folder::new();
    let broker = start(&folder, &[]);
    let address = broker.address("mqtt");
    for id in ["anew", "ended"] {
        let mut client = Client::connect_with(address, &lasting(id));
        client.subscribe(id, QoS::AtLeastOnce);
        drop(client);
        publish(&mut publisher(&broker), id, ["old"]);
    }
    drop(Client::connect_with(address, &Connect { clean_start: true, ..lasting("anew") }));
    Client::connect_with(address, &Connect::new(Version::V5, "ended")).disconnect(ReasonCode::SUCCESS);
    settle(&broker, 0);

    let broker = kill_and_start(broker, &folder);
    let address = broker.address("mqtt");
    let mut client = Client::resume(address, &lasting("anew"));
    let mut ended = Client::connect_with(address, &lasting("ended"));
    publish(&mut publisher(&broker), "anew", ["new"]);
    publish(&mut publisher(&broker), "ended", ["new"]);
    broker.wait_for_metric("fulmar_store_subscriptions", |count| count == 0);
    broker.wait_for_metric("fulmar_store_sessions", |count| count == 2);
    assert_eq!([client.ping(), ended.ping()], [[], []]);
}

#[test]
fn the_session_of_another_user_is_out_of_reach_after_a_kill() {
    let (folder, users) = (Folder::new(), Folder::new());
    let cheap = Argon2idParams { memory_kib: 8, passes: 1, lanes: 1 };
    let line = |user: &str| format!("{user}:{}\n", hash_password(b"secret", cheap, b"saltsalt").unwrap());
    let file = users.path().join("users");
    std::fs::write(&file, line("anna") + &line("otto")).unwrap();
    let setting = format!("auth.passwordFile={}", file.display());
    let of = |user| Connect { username: Some(user), password: Some(b"secret"), ..lasting("shared") };
    let broker = start(&folder, &[&setting]);
    let mut anna = Client::connect_with(broker.address("mqtt"), &of("anna"));
    anna.subscribe("news", QoS::AtLeastOnce);
    broker.kill();

    let broker = start(&folder, &[&setting]);
    let address = broker.address("mqtt");
    let refused = Got::ConnAck { session_present: false, reason: ReasonCode::NOT_AUTHORIZED };
    let is_refused = |clean_start| {
        let mut otto = Client::open(address, Version::V5);
        assert_eq!(otto.hello(&Connect { clean_start, ..of("otto") }), refused);
        assert_eq!(otto.next(), Got::Closed);
    };
    [true, false].into_iter().for_each(is_refused);
    let mut anna = Client::resume(address, &of("anna"));
    [true, false].into_iter().for_each(is_refused);
    let mut publisher = Client::connect_with(address, &Connect { client_id: "publisher", ..of("otto") });
    publish(&mut publisher, "news", ["for anna"]);
    assert_eq!(anna.text(), "for anna");
    // She may take over her own.
    let mut again = Client::resume(address, &of("anna"));
    assert_eq!(anna.until_closed(), [Got::Disconnect(ReasonCode::SESSION_TAKEN_OVER)]);
    assert_eq!(again.text(), "for anna");
}

#[test]
fn a_client_that_connects_again_while_its_queue_drains_loses_nothing() {
    const MESSAGES: usize = 600;
    let folder = Folder::new();
    let broker = start(&folder, &[]);
    let absent = Connect { receive_maximum: 20.try_into().unwrap(), ..lasting("absent") };
    let mut client = Client::connect_with(broker.address("mqtt"), &absent);
    client.subscribe("numbers", QoS::AtLeastOnce);
    drop(client);
    publish(&mut publisher(&broker), "numbers", 0..MESSAGES);

    let broker = kill_and_start(broker, &folder);
    let mut done = 0;
    let mut last: Option<Client> = None;
    // It comes again in the middle of each hundred, and acknowledges none of the last three that it got.
    while done < MESSAGES {
        let mut client = Client::resume(broker.address("mqtt"), &absent);
        if let Some(mut last) = last.take() {
            let farewell = last.until_closed().pop();
            assert_eq!(farewell, Some(Got::Disconnect(ReasonCode::SESSION_TAKEN_OVER)));
        }
        let count = 100.min(MESSAGES - done);
        let mut next = done;
        let mut ids = Vec::new();
        // The first ones may have been acknowledged on the last connection, whose acknowledgements came too late.
        while next < done + count {
            let Got::Message { payload, dup, packet_id, .. } = client.next() else { panic!("no message") };
            let number: usize = String::from_utf8(payload).unwrap().parse().unwrap();
            assert!(number == next || number < next && dup, "{number} came when {next} was wanted, dup {dup}");
            next = next.max(number + 1);
            if number < done + count - 3 || next == MESSAGES {
                client.acknowledge(AckKind::PubAck, packet_id);
            } else {
                ids.push(packet_id);
            }
        }
        done = if next == MESSAGES {
            ids.into_iter().for_each(|id| client.acknowledge(AckKind::PubAck, id));
            MESSAGES
        } else {
            next - 3
        };
        assert!(client.ping().iter().all(|got| matches!(got, Got::Message { .. })));
        last = Some(client);
    }
}

#[test]
fn what_there_was_when_a_broker_was_stopped_is_there_when_it_starts() {
    let folder = Folder::new();
    let mut broker = start(&folder, &[]);
    let address = broker.address("mqtt");
    for id in ["present", "absent"] {
        Client::connect_with(address, &lasting(id)).subscribe("numbers", QoS::AtLeastOnce);
    }
    let mut present = Client::resume(address, &lasting("present"));
    present.acknowledges = true;
    let mut client = publisher(&broker);
    publish(&mut client, "numbers", 0..50);
    retain(&mut client, "kept", "kept", None);
    assert_eq!(take_numbers(&mut present, 50), (0..50).collect::<Vec<_>>());
    // It was read what it has acknowledged.
    assert_eq!(present.ping(), []);
    broker.signal(libc::SIGTERM);
    assert_eq!(present.until_closed(), [Got::Disconnect(ReasonCode::SERVER_SHUTTING_DOWN)]);
    assert!(broker.wait().success());

    let broker = start(&folder, &[]);
    let address = broker.address("mqtt");
    let mut present = Client::resume(address, &lasting("present"));
    let mut absent = Client::resume(address, &lasting("absent"));
    assert_eq!(present.ping(), []);
    assert_eq!(take_numbers(&mut absent, 50), (0..50).collect::<Vec<_>>());
    let mut reader = Client::connect(address, "reader");
    reader.subscribe("kept", QoS::AtMostOnce);
    assert_eq!(reader.text(), "kept");
}

#[test]
fn a_full_queue_gives_up_its_oldest_messages_and_says_so() {
    let folder = Folder::new();
    let broker = start(&folder, &["limits.queuedMessages=10"]);
    Client::connect_with(broker.address("mqtt"), &lasting("absent")).subscribe("numbers", QoS::AtLeastOnce);
    publish(&mut publisher(&broker), "numbers", 0..25);
    broker.wait_for_metric("fulmar_store_queue_dropped_total", |count| count == 15);
    broker.kill();
    let broker = start(&folder, &["limits.queuedMessages=10"]);
    let mut client = Client::resume(broker.address("mqtt"), &lasting("absent"));
    assert_eq!(take_numbers(&mut client, 10), (15..25).collect::<Vec<_>>());
    assert_eq!(client.ping(), []);
}
