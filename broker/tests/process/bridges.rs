//! Bridges of other brokers, which say what they are in the protocol level: byte by byte, as they come.

use fulmar_codec::{PublishHead, QoS, ReasonCode, Version};

use crate::harness::{Broker, Client, Got};

/// A CONNECT with clean session and the client id `b`: protocol name and level, flags, keep alive, client id.
fn connect(name: &[u8], level: u8) -> Vec<u8> {
    let length = [0, name.len() as u8];
    let body = [&length[..], name, &[level, 0x02, 0, 60, 0, 1, b'b']].concat();
    [&[0x10, body.len() as u8], &body[..]].concat()
}

fn hello(broker: &Broker, bytes: &[u8]) -> (Client, Got) {
    let mut client = Client::open(broker.address("mqtt"), Version::V311);
    client.send(bytes);
    let answer = client.next();
    (client, answer)
}

#[test]
fn a_bridge_of_3_1_1_gets_no_message_back_and_hears_what_is_retained() {
    let broker = Broker::start(&[]);
    let (mut bridge, answer) = hello(&broker, &connect(b"MQTT", 0x84));
    assert_eq!(answer, Got::ConnAck { session_present: false, reason: ReasonCode::SUCCESS });
    bridge.subscribe("#", QoS::AtLeastOnce);
    let mut plain = Client::connect(broker.address("mqtt"), "plain");
    plain.subscribe("#", QoS::AtLeastOnce);
    let kept = PublishHead { qos: QoS::AtLeastOnce, retain: true, ..PublishHead::default() };
    let message = |topic: &str, payload: &str, retain, packet_id| Got::Message {
        topic: topic.into(),
        payload: payload.into(),
        qos: 1,
        retain,
        dup: false,
        packet_id,
    };
    let id = bridge.publish_with("from/there", "1", kept);
    assert_eq!(
        (plain.next(), bridge.ping()),
        (message("from/there", "1", false, 1), vec![Got::PubAck(id, ReasonCode::SUCCESS)])
    );
    plain.publish_with("from/here", "2", kept);
    // An ordinary client is told of a message as new, a bridge as it was published.
    assert_eq!(bridge.next(), message("from/here", "2", true, 1));
    assert!(plain.ping().contains(&message("from/here", "2", false, 2)));
}

#[test]
fn bridges_of_versions_that_are_not_spoken_are_refused_in_words_that_they_know() {
    let broker = Broker::start(&[]);
    // MQTT 3.1, as a client and as a bridge: return code 1.
    for level in [0x03, 0x83] {
        let (mut client, answer) = hello(&broker, &connect(b"MQIsdp", level));
        let unsupported = ReasonCode::UNSUPPORTED_PROTOCOL_VERSION;
        assert_eq!(answer, Got::ConnAck { session_present: false, reason: unsupported }, "{level:#x}");
        assert_eq!(client.next(), Got::Closed);
    }
    // MQTT 5.0 has options for all that a bridge wants, so nobody marks it there.
    let (_, answer) = hello(&broker, &connect(b"MQTT", 0x85));
    assert!(matches!(answer, Got::ConnAck { reason: ReasonCode::UNSUPPORTED_PROTOCOL_VERSION, .. }), "{answer:?}");
}
