//! A broker alone with a data folder: what holds for a session that comes back under other terms than it had: rights that
//! were lost, a client that takes less, a message that there is no room for.

use fulmar_codec::{AckKind, Connect, PacketId, PublishHead, QoS, ReasonCode};

use crate::durable::{lasting, publish, publisher, settle, start};
use crate::harness::{Client, Folder, Got};

fn exactly_once(packet_id: u16) -> PublishHead<'static> {
    PublishHead { qos: QoS::ExactlyOnce, packet_id: PacketId::new(packet_id), ..PublishHead::default() }
}

#[test]
fn a_packet_identifier_is_free_after_a_message_was_refused() {
    let folder = Folder::new();
    let broker = start(&folder, &["limits.retainedMessages=1"]);
    let address = broker.address("mqtt");
    let mut subscriber = Client::connect(address, "subscriber");
    subscriber.subscribe("news", QoS::ExactlyOnce);
    let mut client = Client::connect_with(address, &lasting("client"));
    client.acknowledges = false;
    let retained = |packet_id| PublishHead { retain: true, ..exactly_once(packet_id) };
    client.publish_with("first", "kept", retained(1));
    assert_eq!(client.next(), Got::PubRec(1, ReasonCode::SUCCESS));
    client.publish_with("second", "refused", retained(2));
    assert_eq!(client.next(), Got::PubRec(2, ReasonCode::QUOTA_EXCEEDED));
    // It may be used for another message now, on this connection and on the next.
    for (packet_id, payload) in [(2, "here"), (3, "there")] {
        if packet_id == 3 {
            client.publish_with("third", "refused", retained(3));
            assert_eq!(client.next(), Got::PubRec(3, ReasonCode::QUOTA_EXCEEDED));
            client = Client::resume(address, &lasting("client"));
        }
        client.publish_with("news", payload, exactly_once(packet_id));
        assert_eq!(client.next(), Got::PubRec(packet_id, ReasonCode::SUCCESS));
        assert_eq!(subscriber.text(), payload);
    }
}

#[test]
fn a_client_that_comes_back_to_less_than_it_had_is_sent_no_more_than_it_takes() {
    let folder = Folder::new();
    let broker = start(&folder, &[]);
    let address = broker.address("mqtt");
    let mut client = Client::connect_with(address, &lasting("client"));
    client.acknowledges = false;
    client.subscribe("numbers", QoS::AtLeastOnce);
    publish(&mut publisher(&broker), "numbers", 0..5);
    for _ in 0..5 {
        assert!(matches!(client.next(), Got::Message { dup: false, .. }));
    }
    drop(client);
    settle(&broker, 0);
    let mut client = Client::resume(address, &Connect { receive_maximum: 1.try_into().unwrap(), ..lasting("client") });
    for number in 0..5 {
        let Got::Message { payload, packet_id, dup, .. } = client.next() else { panic!("a message is wanted") };
        assert_eq!((payload, dup), (number.to_string().into_bytes(), true));
        assert_eq!(client.ping(), [], "the next one waits for the acknowledgement");
        client.acknowledge(AckKind::PubAck, packet_id);
    }
}

#[test]
fn who_may_not_subscribe_any_more_gets_nothing_when_coming_back() {
    let (folder, files) = (Folder::new(), Folder::new());
    let rules = files.path().join("access.yaml");
    let setting = format!("auth.accessFile={}", rules.display());
    let allow =
        |filters: &str| std::fs::write(&rules, format!("rules: [{{allow: all, filters: [{filters}]}}]")).unwrap();
    allow("open, secret");
    let broker = start(&folder, &[&setting]);
    let mut client = Client::connect_with(broker.address("mqtt"), &lasting("client"));
    client.subscribe("open", QoS::AtLeastOnce);
    client.subscribe("secret", QoS::AtLeastOnce);
    drop(client);
    settle(&broker, 0);
    let mut sender = publisher(&broker);
    publish(&mut sender, "secret", ["for whoever may"]);
    publish(&mut sender, "open", ["for everyone"]);
    broker.kill();

    allow("open");
    let broker = start(&folder, &[&setting]);
    let mut client = Client::resume(broker.address("mqtt"), &lasting("client"));
    client.acknowledges = true;
    assert_eq!(client.text(), "for everyone");
    broker.wait_for_metric("fulmar_store_subscriptions", |count| count == 1);
    assert_eq!(client.ping(), []);
}
