//! Every packet beside its bytes, written by hand from the specification: what the codec reads from them, and that it
//! writes the same bytes again. A mistake made alike in reading and writing would show here and nowhere else.

use std::num::{NonZeroU16, NonZeroU32};

use fulmar_codec::*;

const V311: Version = Version::V311;
const V5: Version = Version::V5;

fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("it is not 0")
}

fn assert_written(version: Version, packet: &Packet<'_>, bytes: &[u8]) {
    let mut out = Vec::new();
    encode(packet, version, &mut out);
    assert_eq!(out, bytes, "{packet:?}");
}

fn assert_of_client(version: Version, bytes: &[u8], packet: &Packet<'_>) {
    assert_eq!(decode(version, bytes[0], &bytes[2..]).as_ref(), Ok(packet));
    assert_written(version, packet, bytes);
}

fn assert_of_server(version: Version, bytes: &[u8], packet: &Packet<'_>) {
    assert_eq!(decode_from_server(version, bytes[0], &bytes[2..]).as_ref(), Ok(packet));
    assert_written(version, packet, bytes);
}

#[test]
fn connect() {
    // Clean session, will of QoS 1, retained, user name and password; keep alive 60.
    let v311 = b"\x10\x20\0\x04MQTT\x04\xee\0\x3c\0\x02me\0\x04will\0\x03bye\0\x01u\0\x02pw";
    let will = Will { qos: QoS::AtLeastOnce, retain: true, ..Will::new("will", b"bye") };
    let connect = Connect {
        keep_alive: 60,
        will: Some(will),
        username: Some("u"),
        password: Some(b"pw"),
        ..Connect::new(V311, "me")
    };
    assert_eq!(decode_connect(v311[0], &v311[2..]), Ok(connect));
    assert_written(V311, &Packet::Connect(connect), v311);

    let properties =
        b"\x11\0\0\0\x01\x21\0\x02\x27\0\0\0\x03\x22\0\x04\x19\x01\x17\0\x15\0\x01m\x16\0\x01d\x26\0\x01n\0\x01v";
    let will_properties = b"\x18\0\0\0\x05\x02\0\0\0\x06\x01\x01\x03\0\x01c\x08\0\x01r\x09\0\x01k";
    let body = [
        &b"\0\x04MQTT\x05\x14\0\x3c"[..],
        &[properties.len() as u8],
        properties,
        b"\0\x02me",
        &[will_properties.len() as u8],
        will_properties,
        b"\0\x04will\0\x03bye",
    ]
    .concat();
    let forward =
        PropertiesBuilder::new().payload_is_utf8(true).content_type("c").response_topic("r").correlation_data(b"k");
    let user = PropertiesBuilder::new().user("n", "v");
    let will = Will {
        qos: QoS::ExactlyOnce,
        delay: 5,
        message_expiry: Some(6),
        payload_is_utf8: true,
        forward: forward.forward(),
        ..Will::new("will", b"bye")
    };
    let connect = Connect {
        clean_start: false,
        keep_alive: 60,
        will: Some(will),
        session_expiry: 1,
        receive_maximum: NonZeroU16::new(2).unwrap(),
        packet_bytes_max: NonZeroU32::new(3),
        topic_alias_max: 4,
        request_response_information: true,
        request_problem_information: false,
        authentication_method: Some("m"),
        authentication_data: Some(b"d"),
        user: user.user_properties(),
        ..Connect::new(V5, "me")
    };
    assert_eq!(decode_connect(0x10, &body), Ok(connect));
    let header = [0x10, body.len() as u8];
    assert_written(V5, &Packet::Connect(connect), &[&header[..], &body].concat());
}

#[test]
fn connack() {
    assert_of_server(V311, b"\x20\x02\x01\0", &Packet::ConnAck(ConnAck::new(true, ReasonCode::SUCCESS)));
    let refused = ConnAck::new(false, ReasonCode::BAD_USER_NAME_OR_PASSWORD);
    assert_of_server(V311, b"\x20\x02\0\x04", &Packet::ConnAck(refused));
    assert_of_server(V5, b"\x20\x03\0\x86\0", &Packet::ConnAck(refused));

    let properties =
        b"\x11\0\0\0\x01\x21\0\x02\x24\x01\x25\0\x27\0\0\0\x03\x12\0\x01i\x22\0\x04\x1f\0\x01s\x28\0\x29\0\x2a\0\
        \x13\0\x05\x1a\0\x01r\x1c\0\x01o\x15\0\x01m\x16\0\x01d\x26\0\x01n\0\x01v";
    let bytes = [&[0x20, 3 + properties.len() as u8, 0, 0, properties.len() as u8], &properties[..]].concat();
    let user = PropertiesBuilder::new().user("n", "v");
    let properties = ConnAckProperties {
        session_expiry: Some(1),
        receive_maximum: NonZeroU16::new(2).unwrap(),
        qos_max: QoS::AtLeastOnce,
        retain_available: false,
        packet_bytes_max: NonZeroU32::new(3),
        assigned_client_id: Some("i"),
        topic_alias_max: 4,
        reason_string: Some("s"),
        wildcard_subscription_available: false,
        subscription_ids_available: false,
        shared_subscription_available: false,
        server_keep_alive: Some(5),
        response_information: Some("r"),
        server_reference: Some("o"),
        authentication_method: Some("m"),
        authentication_data: Some(b"d"),
        user: user.user_properties(),
    };
    let connack = ConnAck { properties, ..ConnAck::new(false, ReasonCode::SUCCESS) };
    assert_of_server(V5, &bytes, &Packet::ConnAck(connack));
    // One that differs from the default is enough to tell the three apart that have the same value above.
    for (bytes, available) in [
        (b"\x20\x05\0\0\x02\x28\0", (false, true, true)),
        (b"\x20\x05\0\0\x02\x29\0", (true, false, true)),
        (b"\x20\x05\0\0\x02\x2a\0", (true, true, false)),
    ] {
        let properties = ConnAckProperties {
            wildcard_subscription_available: available.0,
            subscription_ids_available: available.1,
            shared_subscription_available: available.2,
            ..ConnAckProperties::NONE
        };
        let connack = ConnAck { properties, ..ConnAck::new(false, ReasonCode::SUCCESS) };
        assert_of_server(V5, bytes, &Packet::ConnAck(connack));
    }
}

#[test]
fn publish() {
    let plain = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: true,
        topic: "a/b",
        packet_id: None,
        properties: PublishProperties::default(),
        payload: b"21.5",
    };
    assert_of_client(V311, b"\x31\x09\0\x03a/b21.5", &Packet::Publish(plain));
    assert_of_client(V5, b"\x31\x0a\0\x03a/b\x0021.5", &Packet::Publish(plain));

    let again = Publish { dup: true, qos: QoS::ExactlyOnce, retain: false, packet_id: Some(id(10)), ..plain };
    assert_of_server(V311, b"\x3c\x0b\0\x03a/b\0\x0a21.5", &Packet::Publish(again));

    let forward = PropertiesBuilder::new().content_type("c").user("n", "v");
    let properties = PublishProperties {
        message_expiry: Some(7),
        topic_alias: NonZeroU16::new(8),
        forward: forward.forward(),
        ..PublishProperties::default()
    };
    let aliased = Publish { qos: QoS::AtLeastOnce, topic: "", packet_id: Some(id(10)), properties, ..plain };
    let bytes = b"\x33\x1c\0\0\0\x0a\x13\x02\0\0\0\x07\x23\0\x08\x03\0\x01c\x26\0\x01n\0\x01v21.5";
    assert_of_client(V5, bytes, &Packet::Publish(aliased));
}

#[test]
fn acknowledgements() {
    let ack = Ack::new(id(0x0102), ReasonCode::SUCCESS);
    for version in [V311, V5] {
        assert_of_client(version, b"\x40\x02\x01\x02", &Packet::PubAck(ack));
        assert_of_client(version, b"\x50\x02\x01\x02", &Packet::PubRec(ack));
        assert_of_client(version, b"\x62\x02\x01\x02", &Packet::PubRel(ack));
        assert_of_client(version, b"\x70\x02\x01\x02", &Packet::PubComp(ack));
    }
    let user = PropertiesBuilder::new().user("n", "v");
    let properties = AckProperties { reason_string: Some("full"), user: user.user_properties() };
    let refused = Ack { properties, ..Ack::new(id(0x0102), ReasonCode::QUOTA_EXCEEDED) };
    let bytes = b"\x40\x12\x01\x02\x97\x0e\x1f\0\x04full\x26\0\x01n\0\x01v";
    assert_of_server(V5, bytes, &Packet::PubAck(refused));
}

#[test]
fn longer_forms_of_what_has_a_shorter_one_are_read_too() {
    let ack = Packet::PubAck(Ack::new(id(1), ReasonCode::SUCCESS));
    assert_eq!(decode(V5, 0x40, b"\0\x01\0"), Ok(ack.clone()));
    assert_eq!(decode(V5, 0x40, b"\0\x01\0\0"), Ok(ack));
    let disconnect = Packet::Disconnect(Disconnect::new(ReasonCode::NORMAL_DISCONNECTION));
    assert_eq!(decode(V5, 0xe0, b"\0"), Ok(disconnect.clone()));
    assert_eq!(decode(V5, 0xe0, b"\0\0"), Ok(disconnect));
}

#[test]
fn subscribe_and_suback() {
    let bytes = b"\x82\x10\0\x0a\x03\x0b\x80\x01\0\x03a/+\x2e\0\x01#\x11";
    let mut out = Vec::new();
    let filters = [
        SubscribeFilter {
            filter: "a/+",
            options: SubscriptionOptions {
                qos: QoS::ExactlyOnce,
                no_local: true,
                retain_as_published: true,
                retain_handling: RetainHandling::DoNotSend,
            },
        },
        SubscribeFilter {
            filter: "#",
            options: SubscriptionOptions {
                qos: QoS::AtLeastOnce,
                retain_handling: RetainHandling::SendIfNew,
                ..SubscriptionOptions::default()
            },
        },
    ];
    encode_subscribe(&mut out, V5, id(10), NonZeroU32::new(128), &filters);
    assert_eq!(out, bytes);
    let Ok(Packet::Subscribe(subscribe)) = decode(V5, out[0], &out[2..]) else { panic!("a good SUBSCRIBE") };
    assert_eq!(subscribe.filters().collect::<Vec<_>>(), filters);

    let Ok(Packet::Subscribe(subscribe)) = decode(V311, 0x82, b"\0\x0a\0\x03a/b\x01") else {
        panic!("a good SUBSCRIBE")
    };
    let options = SubscriptionOptions { qos: QoS::AtLeastOnce, ..SubscriptionOptions::default() };
    assert_eq!(subscribe.filters().collect::<Vec<_>>(), [SubscribeFilter { filter: "a/b", options }]);

    let mut out = Vec::new();
    let codes = [ReasonCode::granted(QoS::ExactlyOnce), ReasonCode::TOPIC_FILTER_INVALID];
    encode_suback(&mut out, V5, id(10), &codes);
    encode_suback(&mut out, V311, id(10), &codes);
    assert_eq!(out, b"\x90\x05\0\x0a\0\x02\x8f\x90\x04\0\x0a\x02\x80");
    let Ok(Packet::SubAck(suback)) = decode_from_server(V5, 0x90, &out[2..7]) else { panic!("a good SUBACK") };
    assert_eq!((suback.packet_id, suback.codes.iter().collect::<Vec<_>>()), (id(10), codes.to_vec()));
}

#[test]
fn unsubscribe_and_unsuback() {
    let mut out = Vec::new();
    encode_unsubscribe(&mut out, V5, id(10), &["a/+", "#"]);
    encode_unsubscribe(&mut out, V311, id(10), &["a/+"]);
    assert_eq!(out, b"\xa2\x0b\0\x0a\0\0\x03a/+\0\x01#\xa2\x07\0\x0a\0\x03a/+");
    let Ok(Packet::Unsubscribe(unsubscribe)) = decode(V5, 0xa2, &out[2..13]) else { panic!("a good UNSUBSCRIBE") };
    assert_eq!(unsubscribe.filters().collect::<Vec<_>>(), ["a/+", "#"]);

    let mut out = Vec::new();
    let codes = [ReasonCode::SUCCESS, ReasonCode::NO_SUBSCRIPTION_EXISTED];
    encode_unsuback(&mut out, V5, id(10), &codes);
    encode_unsuback(&mut out, V311, id(10), &codes);
    assert_eq!(out, b"\xb0\x05\0\x0a\0\0\x11\xb0\x02\0\x0a");
}

#[test]
fn ping_disconnect_and_auth() {
    for version in [V311, V5] {
        assert_of_client(version, b"\xc0\0", &Packet::PingReq);
        assert_of_server(version, b"\xd0\0", &Packet::PingResp);
        let normal = Disconnect::new(ReasonCode::NORMAL_DISCONNECTION);
        assert_of_client(version, b"\xe0\0", &Packet::Disconnect(normal));
    }
    let taken_over = Disconnect::new(ReasonCode::SESSION_TAKEN_OVER);
    assert_of_server(V5, b"\xe0\x01\x8e", &Packet::Disconnect(taken_over));
    let with_will = Disconnect { session_expiry: Some(9), ..Disconnect::new(ReasonCode::DISCONNECT_WITH_WILL) };
    assert_of_client(V5, b"\xe0\x07\x04\x05\x11\0\0\0\x09", &Packet::Disconnect(with_will));
    let moved = Disconnect {
        reason_string: Some("go"),
        server_reference: Some("b"),
        ..Disconnect::new(ReasonCode::USE_ANOTHER_SERVER)
    };
    assert_of_server(V5, b"\xe0\x0b\x9c\x09\x1f\0\x02go\x1c\0\x01b", &Packet::Disconnect(moved));

    let step = Auth::new(ReasonCode::CONTINUE_AUTHENTICATION, Some("m"));
    let step = Auth { data: Some(b"\0\xff"), ..step };
    assert_of_client(V5, b"\xf0\x0b\x18\x09\x15\0\x01m\x16\0\x02\0\xff", &Packet::Auth(step));
}
