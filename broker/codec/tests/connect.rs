//! CONNECT as the first packet: what is taken, what is refused, and in which version a refusal is answered.

use std::num::NonZeroU16;

use fulmar_codec::{
    Connect, DecodeError, PacketType, PropertiesBuilder, QoS, ReasonCode, Version, Will, decode_connect,
    encode_connect, split_connect,
};

const V311: Version = Version::V311;
const V5: Version = Version::V5;

#[test]
fn the_example_of_the_specification_is_read() {
    // MQTT 5.0, figure 3-6, with a payload for its flags.
    let body = b"\0\x04MQTT\x05\xce\0\x0a\x05\x11\0\0\0\x0a\0\x02id\0\0\x01t\0\x01p\0\x04user\0\x04pass";
    let mut will = Will::new("t", b"p");
    will.qos = QoS::AtLeastOnce;
    let expected = Connect {
        clean_start: true,
        keep_alive: 10,
        will: Some(will),
        username: Some("user"),
        password: Some(b"pass"),
        session_expiry: 10,
        ..Connect::new(V5, "id")
    };
    assert_eq!(decode_connect(0x10, body), Ok(expected));
}

#[test]
fn a_connect_that_is_too_long_is_answered_in_its_version_as_soon_as_that_has_come() {
    let head = |level: u8| [&[0x10, 0xff, 0xff, 0x03, 0, 4][..], b"MQTT", &[level, 2]].concat();
    let answer = |bytes: &[u8]| split_connect(bytes, 65_536).unwrap_err().answer();
    assert_eq!(split_connect(&head(5), 65_536).unwrap_err().error.reason(), ReasonCode::PACKET_TOO_LARGE);
    assert_eq!(answer(&head(5)), Some((V5, ReasonCode::PACKET_TOO_LARGE)));
    // There is no such code in 3.1.1, and nobody knows the version yet after the length alone.
    assert_eq!((answer(&head(4)), answer(&head(5)[..10]), answer(&head(5)[..4])), (None, None, None));
    assert_eq!(answer(&[&[0x30], &head(5)[1..]].concat()), None);
}

#[test]
fn all_properties_of_connect_and_will_are_read() {
    let user = PropertiesBuilder::new().user("a", "b");
    let forward = PropertiesBuilder::new().payload_is_utf8(true).content_type("c").user("d", "e");
    let will = Will {
        qos: QoS::ExactlyOnce,
        retain: true,
        delay: 7,
        message_expiry: Some(0),
        payload_is_utf8: true,
        forward: forward.forward(),
        ..Will::new("will", b"gone")
    };
    let connect = Connect {
        clean_start: false,
        keep_alive: 65_535,
        will: Some(will),
        password: Some(b"\0\xff"),
        session_expiry: u32::MAX,
        receive_maximum: NonZeroU16::MIN,
        packet_bytes_max: std::num::NonZeroU32::new(1_000),
        topic_alias_max: 10,
        request_response_information: true,
        request_problem_information: false,
        authentication_method: Some("method"),
        authentication_data: Some(b""),
        user: user.user_properties(),
        ..Connect::new(V5, "")
    };
    let mut out = Vec::new();
    encode_connect(&mut out, &connect);
    assert_eq!(decode_connect(out[0], &out[2..]), Ok(connect));
}

#[test]
fn clean_session_decides_how_long_a_3_1_1_session_lasts() {
    let expiry = |flags| {
        decode_connect(0x10, &[b"\0\x04MQTT\x04", &[flags][..], b"\0\0\0\x01a"].concat()).map(|c| c.session_expiry)
    };
    assert_eq!((expiry(2), expiry(0)), (Ok(0), Ok(u32::MAX)));
}

#[test]
fn a_3_1_1_bridge_is_known_by_its_level() {
    let connect = decode_connect(0x10, b"\0\x04MQTT\x84\x02\0\0\0\x01a").unwrap();
    assert_eq!((connect.version, connect.bridge), (V311, true));
    let mut out = Vec::new();
    encode_connect(&mut out, &connect);
    assert_eq!(out, b"\x10\x0d\0\x04MQTT\x84\x02\0\0\0\x01a");
}

/// Body, error, and the version and reason of the CONNACK that goes before the close.
type Refused<'a> = (&'a [u8], DecodeError, Option<(Version, ReasonCode)>);

#[test]
fn a_bad_connect_is_answered_in_the_version_that_its_sender_knows() {
    let malformed = Some((V5, ReasonCode::MALFORMED_PACKET));
    let protocol_error = Some((V5, ReasonCode::PROTOCOL_ERROR));
    let (v5, v311) = (ReasonCode::UNSUPPORTED_PROTOCOL_VERSION, ReasonCode::UNSUPPORTED_PROTOCOL_VERSION);
    let truncated = |what, wanted, found| DecodeError::Truncated { what, wanted, found };
    let flags = |found, wanted| DecodeError::ConnectFlags { found, wanted };
    let rows: &[Refused<'_>] = &[
        // Not MQTT, or nothing that tells its version: closed without a word.
        (b"", truncated("protocol name", 2, 0), None),
        (b"\0\x04MQ", truncated("protocol name", 4, 2), None),
        (b"\0\x04MQTT", truncated("protocol level", 1, 0), None),
        (b"\0\x04HTTP\x05\x02\0\0\0\0\0", DecodeError::ProtocolName, None),
        (b"\0\x04mqtt\x05\x02\0\0\0\0\0", DecodeError::ProtocolName, None),
        (b"\0\0\x05\x02\0\0\0\0\0", DecodeError::ProtocolName, None),
        // Other versions: old ones know a return code, new ones a reason code.
        (b"\0\x06MQIsdp\x03\x02\0\0\0\0", DecodeError::ProtocolLevel { level: 3 }, Some((V311, v311))),
        (b"\0\x06MQIsdp\x04\x02\0\0\0\0", DecodeError::ProtocolLevel { level: 4 }, Some((V311, v311))),
        (b"\0\x04MQTT\x03\x02\0\0\0\0", DecodeError::ProtocolLevel { level: 3 }, Some((V311, v311))),
        (b"\0\x04MQTT\x06\x02\0\0\0\0\0", DecodeError::ProtocolLevel { level: 6 }, Some((V5, v5))),
        (b"\0\x04MQTT\x85\x02\0\0\0\0\0", DecodeError::ProtocolLevel { level: 0x85 }, Some((V311, v311))),
        // Flags.
        (b"\0\x04MQTT\x05\x03\0\0\0\0\0", flags(3, "the reserved bit must be 0"), malformed),
        (b"\0\x04MQTT\x05\x0a\0\0\0\0\0", flags(0x0a, "will QoS and will retain must be 0 without a will"), malformed),
        (b"\0\x04MQTT\x05\x22\0\0\0\0\0", flags(0x22, "will QoS and will retain must be 0 without a will"), malformed),
        (b"\0\x04MQTT\x05\x1e\0\0\0\0\0\0\0\x01t\0\0", DecodeError::Qos3 { what: "will" }, malformed),
        // Fields.
        (b"\0\x04MQTT\x05", truncated("connect flags", 1, 0), malformed),
        (b"\0\x04MQTT\x05\x02\0", truncated("keep alive", 2, 1), malformed),
        (b"\0\x04MQTT\x05\x02\0\0", truncated("property length", 1, 0), malformed),
        (b"\0\x04MQTT\x05\x02\0\0\x09\0\0", truncated("properties", 9, 2), malformed),
        (b"\0\x04MQTT\x05\x02\0\0\0", truncated("client identifier", 2, 0), malformed),
        (b"\0\x04MQTT\x05\x02\0\0\0\0\x02a", truncated("client identifier", 2, 1), malformed),
        (b"\0\x04MQTT\x05\x02\0\0\0\0\x01\xff", DecodeError::NotUtf8 { what: "client identifier", at: 0 }, malformed),
        (b"\0\x04MQTT\x05\x82\0\0\0\0\0", truncated("user name", 2, 0), malformed),
        (b"\0\x04MQTT\x05\x82\0\0\0\0\0\0\x01\0", DecodeError::NullCharacter { what: "user name", at: 0 }, malformed),
        (b"\0\x04MQTT\x05\x42\0\0\0\0\0\0\x02p", truncated("password", 2, 1), malformed),
        (b"\0\x04MQTT\x05\x06\0\0\0\0\0", truncated("property length", 1, 0), malformed),
        (b"\0\x04MQTT\x05\x06\0\0\0\0\0\0\0\x01t", truncated("will payload", 2, 0), malformed),
        (
            b"\0\x04MQTT\x05\x02\0\0\0\0\0rest",
            DecodeError::TrailingBytes { packet: PacketType::Connect, extra: 4 },
            malformed,
        ),
        (
            b"\0\x04MQTT\x05\x02\0\0\x03\x16\0\0\0\0",
            DecodeError::NoAuthenticationMethod { packet: PacketType::Connect },
            protocol_error,
        ),
        (
            b"\0\x04MQTT\x05\x06\0\0\0\0\0\0\0\0\0\0",
            DecodeError::EmptyTopic { what: "will topic" },
            Some((V5, ReasonCode::TOPIC_NAME_INVALID)),
        ),
        (
            b"\0\x04MQTT\x05\x06\0\0\0\0\0\0\0\x01#\0\0",
            DecodeError::WildcardInTopic { what: "will topic", found: '#', at: 0 },
            Some((V5, ReasonCode::TOPIC_NAME_INVALID)),
        ),
        // MQTT 3.1.1 has a return code for the name of a client, and none for malformed packets.
        (b"\0\x04MQTT\x04\0\0\0\0\0", DecodeError::NoClientId, Some((V311, ReasonCode::CLIENT_IDENTIFIER_NOT_VALID))),
        (b"\0\x04MQTT\x04\x42\0\0\0\0\0\x01p", flags(0x42, "a password needs a user name in MQTT 3.1.1"), None),
        (b"\0\x04MQTT\x04\x02\0\0", truncated("client identifier", 2, 0), None),
    ];
    for (body, error, answer) in rows {
        let found = decode_connect(0x10, body).expect_err("a bad CONNECT");
        assert_eq!((found.error, found.answer()), (*error, *answer), "{body:02x?}");
    }
}

#[test]
fn the_first_packet_is_connect_with_its_flags() {
    let connect = b"\0\x04MQTT\x05\x02\0\0\0\0\0";
    assert!(decode_connect(0x10, connect).is_ok());
    for first in (0..=0xff).filter(|&first| first != 0x10) {
        let error = decode_connect(first, connect).unwrap_err();
        let answer = if first >> 4 == 1 { Some((V5, ReasonCode::MALFORMED_PACKET)) } else { None };
        assert_eq!(error.answer(), answer, "0x{first:02x}");
    }
    let error = decode_connect(0x30, b"\0\x01a").unwrap_err();
    assert_eq!(error.to_string(), "PUBLISH is not expected here, want CONNECT as the first packet");
}
