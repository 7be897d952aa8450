//! What clients get of each other: every quality of service, retained messages, shared subscriptions, wills, sessions
//! that wait, takeover. Two data threads, so that clients meet across threads.

use std::num::NonZeroU16;
use std::sync::mpsc::RecvTimeoutError;

use fulmar_codec::{
    AckKind, Connect, ForwardProperties, PacketId, PublishHead, QoS, ReasonCode, RetainHandling, SubscribeFilter,
    SubscriptionOptions, Version, Will, encode_connect, encode_publish, encode_subscribe,
};

use crate::harness::{Broker, Client, Got};

fn start() -> Broker {
    Broker::start(&["threads=2"])
}

/// One that lasts beyond its connection.
fn lasting(id: &str) -> Connect<'_> {
    Connect { clean_start: false, session_expiry: 60, ..Connect::new(Version::V5, id) }
}

fn message(topic: &str, payload: &str, qos: u8, packet_id: u16) -> Got {
    let payload = payload.as_bytes().to_vec();
    Got::Message { topic: topic.to_owned(), payload, qos, retain: false, dup: false, packet_id }
}

#[test]
fn every_quality_of_service_passes_between_any_two_of_many_clients() {
    let broker = start();
    // Eight ids are spread over both threads whatever their hashes are; each client was accepted by either.
    let mut clients: Vec<Client> =
        (0..8).map(|number| Client::connect(broker.address("mqtt"), &format!("client-{number}"))).collect();
    for client in &mut clients {
        client.subscribe("all/+", QoS::ExactlyOnce);
    }
    for publisher in 0..clients.len() {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let topic = format!("all/{publisher}");
            let id = clients[publisher].publish(&topic, format!("at {qos}"), qos);
            for (number, client) in clients.iter_mut().enumerate() {
                let (mut receipts, mut messages) = (Vec::new(), Vec::new());
                let receipts_wanted = usize::from(number == publisher && qos != QoS::AtMostOnce);
                while messages.is_empty() || receipts.len() < receipts_wanted {
                    match client.next() {
                        Got::Message { topic, payload, qos, .. } => messages.push((topic, payload, qos)),
                        got => receipts.push(got),
                    }
                }
                let wanted = (topic.clone(), format!("at {qos}").into_bytes(), qos.level());
                assert_eq!(messages, [wanted], "from {publisher} to {number}");
                match (number == publisher, qos) {
                    (true, QoS::AtLeastOnce) => assert_eq!(receipts, [Got::PubAck(id, ReasonCode::SUCCESS)]),
                    (true, QoS::ExactlyOnce) => {
                        assert_eq!(receipts, [Got::PubRec(id, ReasonCode::SUCCESS)]);
                        client.acknowledge(AckKind::PubRel, id);
                        assert_eq!(client.next(), Got::PubComp(id));
                    }
                    _ => assert_eq!(receipts, []),
                }
            }
        }
    }
    for client in &mut clients {
        assert_eq!(client.ping(), []);
    }
    for qos in 0..3 {
        broker.wait_for_metric(&format!("fulmar_publishes_received_total{{qos=\"{qos}\"}}"), |count| count == 8);
        broker.wait_for_metric(&format!("fulmar_deliveries_total{{qos=\"{qos}\"}}"), |count| count == 64);
    }
}

#[test]
fn a_client_need_not_wait_for_connack() {
    let broker = start();
    for id in ["one", "two", "three", "four"] {
        let mut client = Client::open(broker.address("mqtt"), Version::V5);
        let mut bytes = Vec::new();
        encode_connect(&mut bytes, &Connect::new(Version::V5, id));
        let filter = SubscribeFilter { filter: id, options: SubscriptionOptions::default() };
        encode_subscribe(&mut bytes, Version::V5, PacketId::MIN, None, &[filter]);
        let head = PublishHead::default();
        encode_publish(&mut bytes, Version::V5, &head, id, &ForwardProperties::EMPTY, b"eager");
        client.send(&bytes);
        assert_eq!(client.next(), Got::ConnAck { session_present: false, reason: ReasonCode::SUCCESS });
        assert_eq!(client.next(), Got::SubAck(vec![ReasonCode::GRANTED_QOS_0]));
        assert_eq!(client.next(), message(id, "eager", 0, 0));
    }
}

#[test]
fn one_publishers_messages_keep_their_order() {
    let broker = start();
    let mut publisher = Client::connect(broker.address("mqtt"), "publisher");
    let mut subscribers: Vec<Client> =
        (0..4).map(|number| Client::connect(broker.address("mqtt"), &format!("subscriber-{number}"))).collect();
    for subscriber in &mut subscribers {
        subscriber.subscribe("numbers", QoS::AtLeastOnce);
    }
    for number in 0..2000 {
        publisher.publish("numbers", number.to_string(), QoS::AtMostOnce);
    }
    for subscriber in &mut subscribers {
        for number in 0..2000 {
            assert_eq!(subscriber.text(), number.to_string());
        }
    }
}

#[test]
fn retained_messages_are_kept_replaced_and_deleted() {
    let broker = start();
    let mut publisher = Client::connect(broker.address("mqtt"), "publisher");
    let retained = PublishHead { qos: QoS::AtLeastOnce, retain: true, ..PublishHead::default() };
    for (topic, payload) in [("room/1", "old"), ("room/1", "new"), ("room/2", "gone"), ("room/2", ""), ("hall", "x")] {
        let id = publisher.publish_with(topic, payload, retained);
        assert_eq!(publisher.next(), Got::PubAck(id, ReasonCode::SUCCESS));
    }
    let mut subscriber = Client::connect(broker.address("mqtt"), "subscriber");
    subscriber.subscribe("room/+", QoS::AtMostOnce);
    let got = |payload: &str, retain| match message("room/1", payload, 0, 0) {
        Got::Message { topic, payload, qos, dup, packet_id, .. } => {
            Got::Message { topic, payload, qos, dup, packet_id, retain }
        }
        _ => unreachable!("it is a message"),
    };
    assert_eq!(subscriber.ping(), [got("new", true)]);
    // To those who were there it is a message like any other, unless they ask for the flag.
    publisher.publish_with("room/1", "newer", retained);
    assert_eq!(subscriber.next(), got("newer", false));
    let again = |retain_handling, retain_as_published| SubscriptionOptions {
        retain_handling,
        retain_as_published,
        ..SubscriptionOptions::default()
    };
    subscriber.subscribe_with("room/+", again(RetainHandling::SendIfNew, false));
    subscriber.subscribe_with("room/#", again(RetainHandling::DoNotSend, false));
    assert_eq!(subscriber.ping(), []);
    subscriber.subscribe_with("room/+", again(RetainHandling::Send, true));
    assert_eq!(subscriber.ping(), [got("newer", true)]);
}

#[test]
fn a_shared_group_gets_each_message_once_whichever_thread_its_members_are_on() {
    let broker = start();
    let mut members: Vec<Client> =
        (0..4).map(|number| Client::connect(broker.address("mqtt"), &format!("member-{number}"))).collect();
    for member in &mut members {
        member.subscribe("$share/workers/job", QoS::AtLeastOnce);
    }
    let mut publisher = Client::connect(broker.address("mqtt"), "publisher");
    for number in 0..40 {
        let id = publisher.publish("job", number.to_string(), QoS::AtLeastOnce);
        assert_eq!(publisher.next(), Got::PubAck(id, ReasonCode::SUCCESS));
    }
    broker.wait_for_metric("fulmar_deliveries_total{qos=\"1\"}", |count| count == 40);
    let payloads = |got: Vec<Got>| -> Vec<u32> {
        let number = |got| match got {
            Got::Message { payload, .. } => String::from_utf8(payload).unwrap().parse().unwrap(),
            got => panic!("wanted a message, got {got:?}"),
        };
        got.into_iter().map(number).collect()
    };
    let shares: Vec<Vec<u32>> = members.iter_mut().map(|member| payloads(member.ping())).collect();
    assert!(shares.iter().all(|share| share.len() >= 5), "{shares:?}");
    let mut all: Vec<u32> = shares.concat();
    all.sort_unstable();
    assert_eq!(all, (0..40).collect::<Vec<u32>>());
}

#[test]
fn a_session_waits_for_its_client_with_all_that_was_open() {
    let broker = start();
    let address = broker.address("mqtt");
    let mut client = Client::connect_with(address, &lasting("sleeper"));
    client.acknowledges = false;
    client.subscribe("news", QoS::ExactlyOnce);
    let mut publisher = Client::connect(address, "publisher");
    // Open in three ways: PUBACK, PUBREC and PUBCOMP are awaited.
    for (payload, qos) in [("one", QoS::AtLeastOnce), ("two", QoS::ExactlyOnce), ("three", QoS::ExactlyOnce)] {
        publisher.publish("news", payload, qos);
    }
    let ids: Vec<u16> = (0..3)
        .map(|_| match client.next() {
            Got::Message { packet_id, dup: false, .. } => packet_id,
            got => panic!("wanted a message, got {got:?}"),
        })
        .collect();
    client.acknowledge(AckKind::PubRec, ids[2]);
    assert_eq!(client.next(), Got::PubRel(ids[2]));
    // On the client's own way: received, not released.
    let own = client.publish("own", "from the sleeper", QoS::ExactlyOnce);
    assert_eq!(client.next(), Got::PubRec(own, ReasonCode::SUCCESS));
    drop(client);
    broker.wait_for_metric("fulmar_connections", |count| count == 1);
    publisher.publish("news", "four", QoS::AtLeastOnce);
    publisher.publish("news", "not kept", QoS::AtMostOnce);
    broker.wait_for_metric("fulmar_dropped_total{reason=\"absent\"}", |count| count == 1);

    let mut client = Client::resume(address, &lasting("sleeper"));
    let again = |payload: &str, qos, packet_id| match message("news", payload, qos, packet_id) {
        Got::Message { topic, payload, qos, retain, packet_id, .. } => {
            Got::Message { topic, payload, qos, retain, packet_id, dup: true }
        }
        _ => unreachable!("it is a message"),
    };
    let four = ids[2] + 1;
    let wanted =
        [again("one", 1, ids[0]), again("two", 2, ids[1]), Got::PubRel(ids[2]), message("news", "four", 1, four)];
    assert_eq!(client.ping(), wanted);
    client.acknowledge(AckKind::PubAck, ids[0]);
    client.acknowledge(AckKind::PubRec, ids[1]);
    client.acknowledge(AckKind::PubComp, ids[2]);
    client.acknowledge(AckKind::PubAck, four);
    assert_eq!(client.next(), Got::PubRel(ids[1]));
    client.acknowledge(AckKind::PubComp, ids[1]);
    client.acknowledge(AckKind::PubRel, own);
    assert_eq!(client.next(), Got::PubComp(own));
    drop(client);

    broker.wait_for_metric("fulmar_connections", |count| count == 1);
    assert_eq!(Client::resume(address, &lasting("sleeper")).ping(), []);
}

#[test]
fn a_session_ends_with_its_expiry_and_a_clean_start_ends_an_older_one() {
    let broker = start();
    let address = broker.address("mqtt");
    drop(Client::connect_with(address, &Connect { session_expiry: 1, ..lasting("short") }));
    drop(Client::connect_with(address, &lasting("long")));
    broker.wait_for_metric("fulmar_sessions_expired_total", |count| count == 1);
    assert_eq!(broker.metric("fulmar_sessions"), 1);
    drop(Client::connect_with(address, &lasting("short")));
    drop(Client::resume(address, &lasting("long")));
    drop(Client::connect_with(address, &Connect { clean_start: true, ..lasting("long") }));
}

#[test]
fn the_newer_connection_of_a_client_id_takes_the_session_over() {
    let broker = start();
    let address = broker.address("mqtt");
    let mut first = Client::connect_with(address, &lasting("twin"));
    first.subscribe("to/twin", QoS::AtLeastOnce);
    // Whichever thread accepts a connection, all of one id meet on one thread.
    for _ in 0..6 {
        let mut second = Client::resume(address, &lasting("twin"));
        assert_eq!(first.until_closed(), [Got::Disconnect(ReasonCode::SESSION_TAKEN_OVER)]);
        second.acknowledges = true;
        first = second;
    }
    Client::connect(address, "other").publish("to/twin", "which of them?", QoS::AtMostOnce);
    assert_eq!(first.text(), "which of them?");
    broker.wait_for_metric("fulmar_takeovers_total", |count| count == 6);
    broker.wait_for_metric("fulmar_sessions", |count| count == 1);
}

#[test]
fn a_will_is_published_when_its_client_goes_without_a_word() {
    let broker = start();
    let address = broker.address("mqtt");
    let mut witness = Client::connect(address, "witness");
    witness.subscribe("will/+", QoS::AtLeastOnce);
    let will = |topic| Some(Will { qos: QoS::AtLeastOnce, ..Will::new(topic, b"gone") });
    let with_will = |id, topic| Connect { will: will(topic), ..Connect::new(Version::V5, id) };

    drop(Client::connect_with(address, &with_will("lost", "will/lost")));
    assert_eq!(witness.message().0, "will/lost");
    Client::connect_with(address, &with_will("polite", "will/polite")).disconnect(ReasonCode::NORMAL_DISCONNECTION);
    Client::connect_with(address, &with_will("explicit", "will/explicit")).disconnect(ReasonCode::DISCONNECT_WITH_WILL);
    assert_eq!(witness.message().0, "will/explicit");
    let mut broken = Client::connect_with(address, &with_will("broken", "will/broken"));
    broken.send(&[0xc1, 0]);
    assert_eq!(witness.message().0, "will/broken");
    let mut silent = Client::connect_with(address, &Connect { keep_alive: 1, ..with_will("silent", "will/silent") });
    assert_eq!(silent.until_closed(), [Got::Disconnect(ReasonCode::KEEP_ALIVE_TIMEOUT)]);
    assert_eq!(witness.message().0, "will/silent");
    let mut elder = Client::connect_with(address, &with_will("twin", "will/twin"));
    let _younger = Client::connect(address, "twin");
    assert_eq!(elder.until_closed(), [Got::Disconnect(ReasonCode::SESSION_TAKEN_OVER)]);
    assert_eq!(witness.message().0, "will/twin");
    assert_eq!(witness.ping(), []);
    broker.wait_for_metric("fulmar_wills_published_total", |count| count == 5);
}

#[test]
fn a_delayed_will_waits_and_is_called_off_by_its_clients_return() {
    let broker = start();
    let address = broker.address("mqtt");
    let mut witness = Client::connect(address, "witness");
    witness.subscribe("will/+", QoS::AtMostOnce);
    let delayed = |id, topic| Connect { will: Some(Will { delay: 1, ..Will::new(topic, b"gone") }), ..lasting(id) };
    let back = Client::connect_with(address, &delayed("back", "will/back"));
    let away = Client::connect_with(address, &delayed("away", "will/away"));
    drop((back, away));
    broker.wait_for_metric("fulmar_connections", |count| count == 1);
    // The session's end is the latest moment for a will (MQTT 5.0, 3.1.3.2.2).
    let ends_early = Connect { session_expiry: 0, ..delayed("early", "will/early") };
    drop(Client::connect_with(address, &ends_early));
    assert_eq!(witness.message().0, "will/early");
    let _back = Client::resume(address, &lasting("back"));
    assert_eq!(witness.message().0, "will/away");
    assert_eq!(witness.ping(), []);
    assert_eq!(broker.wait_for_metric("fulmar_wills_published_total", |count| count >= 2), 2);
}

#[test]
fn keep_alive_is_met_by_any_packet_and_missed_by_silence() {
    let broker = start();
    let address = broker.address("mqtt");
    let keep_alive = |id| Connect { keep_alive: 1, ..Connect::new(Version::V5, id) };
    let mut lively = Client::connect_with(address, &keep_alive("lively"));
    let mut silent = Client::connect_with(address, &keep_alive("silent"));
    let mut old = Client::connect_with(address, &Connect { keep_alive: 1, ..Connect::new(Version::V311, "old") });
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send((silent.until_closed(), old.until_closed())));
    let start = std::time::Instant::now();
    // Until the silent ones are gone, the lively one says something now and then.
    let ends = loop {
        assert_eq!(lively.ping(), []);
        match told.recv_timeout(std::time::Duration::from_millis(200)) {
            Ok(ends) => break ends,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => panic!("the silent ones were told something else"),
        }
    };
    // One and a half times the keep alive (MQTT 5.0, 3.1.2.10).
    assert!(start.elapsed().as_millis() >= 1400, "{:?}", start.elapsed());
    assert_eq!(ends, (vec![Got::Disconnect(ReasonCode::KEEP_ALIVE_TIMEOUT)], vec![]));
    assert_eq!(lively.ping(), []);
    broker.wait_for_metric("fulmar_keep_alive_timeouts_total", |count| count == 2);
}

#[test]
fn a_client_gets_no_more_at_a_time_than_its_receive_maximum() {
    let broker = start();
    let narrow = Connect { receive_maximum: NonZeroU16::new(2).unwrap(), ..Connect::new(Version::V5, "narrow") };
    let mut client = Client::connect_with(broker.address("mqtt"), &narrow);
    client.acknowledges = false;
    client.subscribe("burst", QoS::AtLeastOnce);
    let mut publisher = Client::connect(broker.address("mqtt"), "publisher");
    for number in 1..=5 {
        publisher.publish("burst", number.to_string(), QoS::AtLeastOnce);
    }
    broker.wait_for_metric("fulmar_deliveries_total{qos=\"1\"}", |count| count == 5);
    assert_eq!(client.ping(), [message("burst", "1", 1, 1), message("burst", "2", 1, 2)]);
    client.acknowledge(AckKind::PubAck, 1);
    assert_eq!(client.ping(), [message("burst", "3", 1, 3)]);
    client.acknowledges = true;
    client.acknowledge(AckKind::PubAck, 2);
    client.acknowledge(AckKind::PubAck, 3);
    assert_eq!([client.text(), client.text()], ["4", "5"]);
}
