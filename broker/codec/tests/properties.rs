//! MQTT 5.0, table 2-4: every property in every packet, once and twice.

use fulmar_codec::{
    DecodeError, ForwardProperties, Packet, PropertiesBuilder, PublishHead, ReasonCode, Version, decode,
    decode_connect, decode_from_server, encode_publish,
};

const V5: Version = Version::V5;

/// Where a property may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Connect,
    Will,
    ConnAck,
    PublishOfClient,
    PublishOfServer,
    PubAck,
    PubRec,
    PubRel,
    PubComp,
    Subscribe,
    SubAck,
    Unsubscribe,
    UnsubAck,
    DisconnectOfClient,
    DisconnectOfServer,
    AuthOfClient,
    AuthOfServer,
}
use Place::*;

const PLACES: [Place; 17] = [
    Connect,
    Will,
    ConnAck,
    PublishOfClient,
    PublishOfServer,
    PubAck,
    PubRec,
    PubRel,
    PubComp,
    Subscribe,
    SubAck,
    Unsubscribe,
    UnsubAck,
    DisconnectOfClient,
    DisconnectOfServer,
    AuthOfClient,
    AuthOfServer,
];
const MESSAGES: &[Place] = &[Will, PublishOfClient, PublishOfServer];
const ANSWERS: &[Place] = &[
    ConnAck,
    PubAck,
    PubRec,
    PubRel,
    PubComp,
    SubAck,
    UnsubAck,
    DisconnectOfClient,
    DisconnectOfServer,
    AuthOfClient,
    AuthOfServer,
];
const AUTHENTICATION: &[Place] = &[Connect, ConnAck, AuthOfClient, AuthOfServer];

/// A property with a value that is good, and where it may stand.
const PROPERTIES: [(&[u8], &[Place]); 27] = [
    (b"\x01\x01", MESSAGES),
    (b"\x02\0\0\0\x07", MESSAGES),
    (b"\x03\0\x04text", MESSAGES),
    (b"\x08\0\x03a/b", MESSAGES),
    (b"\x09\0\x02\xff\0", MESSAGES),
    (b"\x0b\x80\x01", &[PublishOfServer, Subscribe]),
    (b"\x11\0\0\0\x07", &[Connect, ConnAck, DisconnectOfClient]),
    (b"\x12\0\x02id", &[ConnAck]),
    (b"\x13\0\x07", &[ConnAck]),
    (b"\x15\0\x01m", AUTHENTICATION),
    (b"\x16\0\x01\xff", AUTHENTICATION),
    (b"\x17\0", &[Connect]),
    (b"\x18\0\0\0\x07", &[Will]),
    (b"\x19\x01", &[Connect]),
    (b"\x1a\0\x01a", &[ConnAck]),
    (b"\x1c\0\x01a", &[ConnAck, DisconnectOfServer]),
    (b"\x1f\0\x01a", ANSWERS),
    (b"\x21\0\x07", &[Connect, ConnAck]),
    (b"\x22\0\x07", &[Connect, ConnAck]),
    (b"\x23\0\x07", &[PublishOfClient, PublishOfServer]),
    (b"\x24\x01", &[ConnAck]),
    (b"\x25\0", &[ConnAck]),
    (b"\x26\0\x01a\0\x01b", &PLACES),
    (b"\x27\0\0\0\x07", &[Connect, ConnAck]),
    (b"\x28\0", &[ConnAck]),
    (b"\x29\0", &[ConnAck]),
    (b"\x2a\0", &[ConnAck]),
];

/// Reads a packet that is good but perhaps for its properties.
fn read(place: Place, properties: &[u8]) -> Result<(), DecodeError> {
    let block = [&[properties.len() as u8], properties].concat();
    let block = block.as_slice();
    let from_client = |first, parts: &[&[u8]]| decode(V5, first, &parts.concat()).map(|_| ());
    let from_server = |first, parts: &[&[u8]]| decode_from_server(V5, first, &parts.concat()).map(|_| ());
    let connect = |parts: &[&[u8]]| decode_connect(0x10, &parts.concat()).map(|_| ()).map_err(|error| error.error);
    match place {
        Connect => connect(&[b"\0\x04MQTT\x05\x02\0\0", block, b"\0\0"]),
        Will => connect(&[b"\0\x04MQTT\x05\x06\0\0\0\0\0", block, b"\0\x01a\0\0"]),
        ConnAck => from_server(0x20, &[b"\0\0", block]),
        PublishOfClient => from_client(0x30, &[b"\0\x01a", block]),
        PublishOfServer => from_server(0x30, &[b"\0\x01a", block]),
        PubAck => from_client(0x40, &[b"\0\x01\0", block]),
        PubRec => from_client(0x50, &[b"\0\x01\0", block]),
        PubRel => from_client(0x62, &[b"\0\x01\0", block]),
        PubComp => from_client(0x70, &[b"\0\x01\0", block]),
        Subscribe => from_client(0x82, &[b"\0\x01", block, b"\0\x01a\0"]),
        SubAck => from_server(0x90, &[b"\0\x01", block, b"\0"]),
        Unsubscribe => from_client(0xa2, &[b"\0\x01", block, b"\0\x01a"]),
        UnsubAck => from_server(0xb0, &[b"\0\x01", block, b"\0"]),
        DisconnectOfClient => from_client(0xe0, &[b"\0", block]),
        DisconnectOfServer => from_server(0xe0, &[b"\0", block]),
        AuthOfClient => from_client(0xf0, &[b"\x18", block]),
        AuthOfServer => from_server(0xf0, &[b"\x18", block]),
    }
}

/// What must be there for the property alone to be good: a method.
fn needed_with(place: Place, property: &[u8]) -> &'static [u8] {
    let in_auth = matches!(place, AuthOfClient | AuthOfServer) && property[0] != 0x15;
    if in_auth || property[0] == 0x16 { b"\x15\0\x01m" } else { b"" }
}

#[test]
fn a_property_is_accepted_only_in_the_packets_that_the_table_lists() {
    for (property, places) in PROPERTIES {
        for place in PLACES {
            let read = read(place, &[needed_with(place, property), property].concat());
            let (id, expected) = (property[0], places.contains(&place));
            assert_eq!(read.is_ok(), expected, "property 0x{id:02x} in {place:?}: {read:?}");
            let Err(error) = read else { continue };
            // Known properties in the wrong packet are malformed, known ones from the wrong side a protocol error.
            let wrong_side = matches!((id, place), (0x0b, PublishOfClient) | (0x11, DisconnectOfServer))
                || (id, place) == (0x1c, DisconnectOfClient);
            let reason = if wrong_side { ReasonCode::PROTOCOL_ERROR } else { ReasonCode::MALFORMED_PACKET };
            assert_eq!(error.reason(), reason, "property 0x{id:02x} in {place:?}: {error}");
        }
    }
}

#[test]
fn a_property_is_there_once_but_user_properties_and_subscription_identifiers_of_a_server() {
    for (property, places) in PROPERTIES {
        for place in places.iter().copied() {
            let read = read(place, &[needed_with(place, property), property, property].concat());
            let may_repeat = property[0] == 0x26 || (property[0], place) == (0x0b, PublishOfServer);
            match read {
                Ok(()) => assert!(may_repeat, "property 0x{:02x} in {place:?}", property[0]),
                Err(error) => {
                    assert!(!may_repeat && matches!(error, DecodeError::DuplicateProperty { .. }), "{error}");
                    assert_eq!(error.reason(), ReasonCode::PROTOCOL_ERROR);
                }
            }
        }
    }
}

#[test]
fn limits_of_zero_are_a_protocol_error() {
    for (place, property, name) in [
        (Connect, &b"\x21\0\0"[..], "receive maximum"),
        (ConnAck, b"\x21\0\0", "receive maximum"),
        (Connect, b"\x27\0\0\0\0", "maximum packet size"),
        (ConnAck, b"\x27\0\0\0\0", "maximum packet size"),
        (Subscribe, b"\x0b\0", "subscription identifier"),
        (PublishOfServer, b"\x0b\0", "subscription identifier"),
    ] {
        let error = DecodeError::PropertyValue { property: name, found: 0, wanted: "at least 1" };
        assert_eq!(read(place, property), Err(error));
        assert_eq!(error.reason(), ReasonCode::PROTOCOL_ERROR);
    }
    for (place, property) in [(Connect, 0x17), (Connect, 0x19), (ConnAck, 0x24), (ConnAck, 0x25), (ConnAck, 0x2a)] {
        assert!(matches!(read(place, &[property, 2]), Err(DecodeError::PropertyValue { found: 2, .. })));
    }
}

#[test]
fn what_is_forwarded_leaves_out_what_belongs_to_one_connection_and_keeps_the_order() {
    // User, alias, content type, expiry, user, response topic: what is forwarded lies in three pieces.
    let block = b"\x26\0\x01a\0\x01b\x23\0\x07\x03\0\x01c\x02\0\0\0\x09\x26\0\x01d\0\x01e\x08\0\x01r";
    let body = [&b"\0\x01t"[..], &[block.len() as u8], &block[..], b"payload"].concat();
    let Ok(Packet::Publish(publish)) = decode(V5, 0x30, &body) else { panic!("a good PUBLISH") };
    let expected = PropertiesBuilder::new().user("a", "b").content_type("c").user("d", "e").response_topic("r");

    assert_eq!(publish.properties.forward, expected.forward());
    let mut written = Vec::new();
    publish.properties.forward.write_to(&mut written);
    assert_eq!(written, b"\x26\0\x01a\0\x01b\x03\0\x01c\x26\0\x01d\0\x01e\x08\0\x01r");
    assert_eq!(publish.properties.forward.len(), written.len());
    assert_eq!(ForwardProperties::parse(&written), Ok(expected.forward()));

    let forward = publish.properties.forward;
    assert_eq!((forward.content_type(), forward.response_topic()), (Some("c"), Some("r")));
    assert_eq!((forward.correlation_data(), forward.payload_is_utf8()), (None, false));
    assert_eq!(forward.user_properties().iter().collect::<Vec<_>>(), [("a", "b"), ("d", "e")]);
}

#[test]
fn stored_properties_are_those_that_are_forwarded() {
    for (property, _) in PROPERTIES {
        let forwarded = [0x01, 0x03, 0x08, 0x09, 0x26].contains(&property[0]);
        assert_eq!(ForwardProperties::parse(property).is_ok(), forwarded, "property 0x{:02x}", property[0]);
    }
    assert_eq!(ForwardProperties::parse(b"\x01"), read(PublishOfClient, b"\x01").map(|()| ForwardProperties::EMPTY));
}

#[test]
fn an_encoded_publish_carries_what_its_head_says() {
    let forward = PropertiesBuilder::new().payload_is_utf8(true).correlation_data(b"\0\xff");
    let head = PublishHead {
        message_expiry: Some(60),
        topic_alias: std::num::NonZeroU16::new(3),
        subscription_ids: &[1, 0, 128],
        ..PublishHead::default()
    };
    let mut out = Vec::new();
    encode_publish(&mut out, V5, &head, "", &forward.forward(), b"21.5");
    assert_eq!(out, b"\x30\x1b\0\0\x14\x02\0\0\0\x3c\x23\0\x03\x01\x01\x09\0\x02\0\xff\x0b\x01\x0b\x80\x0121.5");
    let Ok(Packet::Publish(publish)) = decode_from_server(V5, out[0], &out[2..]) else { panic!("a good PUBLISH") };
    assert_eq!(publish.properties.subscription_ids.iter().map(u32::from).collect::<Vec<_>>(), [1, 128]);
    assert!(publish.properties.payload_is_utf8);
    out.clear();
    encode_publish(&mut out, Version::V311, &head, "t", &forward.forward(), b"21.5");
    assert_eq!(out, b"\x30\x07\0\x01t21.5");
}
