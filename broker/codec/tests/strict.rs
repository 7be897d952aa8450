//! What a peer may not send after CONNECT, and the error that each offence is answered with.
//! Single offences are rows of (bytes, error); rules that come as tables in the specification are tried in full.

use fulmar_codec::{DecodeError, PacketType, ReasonCode, Version, decode, decode_from_server};

const V311: Version = Version::V311;
const V5: Version = Version::V5;

/// From a client: first byte, body, error.
fn assert_refused(version: Version, rows: &[(u8, &[u8], DecodeError)]) {
    for (first, body, error) in rows {
        assert_eq!(decode(version, *first, body), Err(*error), "{version} 0x{first:02x} {body:02x?}");
    }
}

#[test]
fn publish_is_refused_when_its_fields_do_not_fit() {
    let padded = DecodeError::VariableIntegerNotShortest { what: "property length" };
    assert_refused(
        V5,
        &[
            (0x36, b"\0\x01a\0\x01\0", DecodeError::Qos3 { what: "PUBLISH" }),
            (0x38, b"\0\x01a\0", DecodeError::DupAtQos0),
            (0x30, b"", DecodeError::Truncated { what: "topic", wanted: 2, found: 0 }),
            (0x30, b"\0", DecodeError::Truncated { what: "topic", wanted: 2, found: 1 }),
            (0x30, b"\0\x05ab", DecodeError::Truncated { what: "topic", wanted: 5, found: 2 }),
            (0x30, b"\xff\xffab", DecodeError::Truncated { what: "topic", wanted: 65_535, found: 2 }),
            (0x32, b"\0\x01a", DecodeError::Truncated { what: "packet identifier", wanted: 2, found: 0 }),
            (0x32, b"\0\x01a\x01", DecodeError::Truncated { what: "packet identifier", wanted: 2, found: 1 }),
            (0x32, b"\0\x01a\0\0\0", DecodeError::PacketIdZero { packet: PacketType::Publish }),
            (0x34, b"\0\x01a\0\0\0", DecodeError::PacketIdZero { packet: PacketType::Publish }),
            (0x30, b"\0\x01a", DecodeError::Truncated { what: "property length", wanted: 1, found: 0 }),
            (0x30, b"\0\x01a\x05\x01\x01", DecodeError::Truncated { what: "properties", wanted: 5, found: 2 }),
            (0x30, b"\0\x01a\x80", DecodeError::Truncated { what: "property length", wanted: 2, found: 1 }),
            (0x30, b"\0\x01a\x80\0", padded),
            (0x30, b"\0\x01a\xff\xff\xff\xff\x01", DecodeError::VariableIntegerTooLong { what: "property length" }),
            (0x30, b"\0\0\0", DecodeError::NoTopic),
            (0x30, b"\0\x03a/+\0", DecodeError::WildcardInTopic { what: "topic", found: '+', at: 2 }),
            (0x30, b"\0\x01#\0", DecodeError::WildcardInTopic { what: "topic", found: '#', at: 0 }),
            (0x30, b"\0\x02a\0\0", DecodeError::NullCharacter { what: "topic", at: 1 }),
            (0x30, b"\0\x03\xed\xa0\x80\0", DecodeError::NotUtf8 { what: "topic", at: 0 }),
            (0x30, b"\0\x04ab\xc3(\0", DecodeError::NotUtf8 { what: "topic", at: 2 }),
        ],
    );
    assert_refused(
        V311,
        &[
            (0x36, b"\0\x01a\0\x01", DecodeError::Qos3 { what: "PUBLISH" }),
            (0x38, b"\0\x01a", DecodeError::DupAtQos0),
            (0x30, b"\0\0", DecodeError::EmptyTopic { what: "topic" }),
            (0x32, b"\0\x01a\0\0", DecodeError::PacketIdZero { packet: PacketType::Publish }),
            (0x30, b"\0\x01+", DecodeError::WildcardInTopic { what: "topic", found: '+', at: 0 }),
        ],
    );
}

#[test]
fn properties_are_refused_when_their_bytes_do_not_fit() {
    let value = |property, found, wanted| DecodeError::PropertyValue { property, found, wanted };
    for (properties, error) in [
        (&b"\0"[..], DecodeError::UnknownProperty { id: 0 }),
        (b"\x04", DecodeError::UnknownProperty { id: 4 }),
        (b"\x7f", DecodeError::UnknownProperty { id: 127 }),
        (b"\x81\x01", DecodeError::UnknownProperty { id: 129 }),
        (b"\x81\0\x01", DecodeError::VariableIntegerNotShortest { what: "property identifier" }),
        (b"\xff\xff\xff\xff\x01", DecodeError::VariableIntegerTooLong { what: "property identifier" }),
        (b"\x80", DecodeError::Truncated { what: "property identifier", wanted: 2, found: 1 }),
        (b"\x01", DecodeError::Truncated { what: "payload format indicator", wanted: 1, found: 0 }),
        (b"\x01\x02", value("payload format indicator", 2, "0 or 1")),
        (b"\x02\0\0\0", DecodeError::Truncated { what: "message expiry interval", wanted: 4, found: 3 }),
        (b"\x03\0\x02a", DecodeError::Truncated { what: "content type", wanted: 2, found: 1 }),
        (b"\x03\0\x01\xff", DecodeError::NotUtf8 { what: "content type", at: 0 }),
        (b"\x03\0\x02a\0", DecodeError::NullCharacter { what: "content type", at: 1 }),
        (b"\x08\0\0", DecodeError::ResponseTopic),
        (b"\x08\0\x01+", DecodeError::ResponseTopic),
        (b"\x08\0\x03a/#", DecodeError::ResponseTopic),
        (b"\x0b\0", value("subscription identifier", 0, "at least 1")),
        (b"\x0b\x01", DecodeError::SubscriptionIdFromClient),
        (b"\x23\0\0", DecodeError::TopicAliasZero),
        (b"\x23\x01", DecodeError::Truncated { what: "topic alias", wanted: 2, found: 1 }),
        (b"\x26\0\x01a", DecodeError::Truncated { what: "user property value", wanted: 2, found: 0 }),
        (b"\x26\0\x01\0\0\x01b", DecodeError::NullCharacter { what: "user property name", at: 0 }),
        (b"\x26\0\x01a\0\x01\xc0", DecodeError::NotUtf8 { what: "user property value", at: 0 }),
    ] {
        let body = [&b"\0\x01a"[..], &[properties.len() as u8], properties, b"payload"].concat();
        assert_eq!(decode(V5, 0x30, &body), Err(error), "{properties:02x?}");
    }
}

#[test]
fn acknowledgements_are_refused_when_their_fields_do_not_fit() {
    for (first, packet) in [
        (0x40, PacketType::PubAck),
        (0x50, PacketType::PubRec),
        (0x62, PacketType::PubRel),
        (0x70, PacketType::PubComp),
    ] {
        assert_refused(
            V5,
            &[
                (first, b"", DecodeError::Truncated { what: "packet identifier", wanted: 2, found: 0 }),
                (first, b"\x01", DecodeError::Truncated { what: "packet identifier", wanted: 2, found: 1 }),
                (first, b"\0\0", DecodeError::PacketIdZero { packet }),
                (first, b"\0\x01\0\0\0", DecodeError::TrailingBytes { packet, extra: 1 }),
                (first, b"\0\x01\0\x01", DecodeError::Truncated { what: "properties", wanted: 1, found: 0 }),
                (first, b"\0\x01\x01", DecodeError::ReasonCodeNotAllowed { packet, found: 1 }),
            ],
        );
        assert_refused(
            V311,
            &[
                (first, b"\0\0", DecodeError::PacketIdZero { packet }),
                (first, b"\0\x01\0", DecodeError::TrailingBytes { packet, extra: 1 }),
            ],
        );
    }
}

#[test]
fn subscribe_is_refused_when_its_fields_do_not_fit() {
    let packet = PacketType::Subscribe;
    assert_refused(
        V5,
        &[
            (0x82, b"\0", DecodeError::Truncated { what: "packet identifier", wanted: 2, found: 1 }),
            (0x82, b"\0\0\0\0\x01a\0", DecodeError::PacketIdZero { packet }),
            (0x82, b"\0\x01\0", DecodeError::NoTopicFilter { packet }),
            (0x82, b"\0\x01\0\0", DecodeError::Truncated { what: "topic filter", wanted: 2, found: 1 }),
            (0x82, b"\0\x01\0\0\x02a", DecodeError::Truncated { what: "topic filter", wanted: 2, found: 1 }),
            (0x82, b"\0\x01\0\0\x01a", DecodeError::Truncated { what: "subscription options", wanted: 1, found: 0 }),
            (0x82, b"\0\x01\0\0\x01a\0\0", DecodeError::Truncated { what: "topic filter", wanted: 2, found: 1 }),
            (0x82, b"\0\x01\0\0\x01\xff\0", DecodeError::NotUtf8 { what: "topic filter", at: 0 }),
            (0x82, b"\0\x01\0\0\x01\0\0", DecodeError::NullCharacter { what: "topic filter", at: 0 }),
            (0x82, b"\0\x01\0\0\x01a\x03", DecodeError::SubscriptionQos3),
            (0x82, b"\0\x01\0\0\x01a\x30", DecodeError::RetainHandling3),
            (0x82, b"\0\x01\0\0\x01a\x40", DecodeError::SubscriptionOptions { found: 0x40 }),
            (0x82, b"\0\x01\0\0\x01a\x80", DecodeError::SubscriptionOptions { found: 0x80 }),
            (0x82, b"\0\x01\0\0\x0a$share/g/a\x04", DecodeError::NoLocalShared),
            // The second filter counts as much as the first.
            (0x82, b"\0\x01\0\0\x01a\0\0\x01b\x03", DecodeError::SubscriptionQos3),
        ],
    );
    assert_refused(
        V311,
        &[
            (0x82, b"\0\x01", DecodeError::NoTopicFilter { packet }),
            (0x82, b"\0\x01\0\x01a\x03", DecodeError::Qos3 { what: "subscription" }),
            (0x82, b"\0\x01\0\x01a\x04", DecodeError::SubscriptionOptions { found: 4 }),
        ],
    );
}

#[test]
fn unsubscribe_is_refused_when_its_fields_do_not_fit() {
    let packet = PacketType::Unsubscribe;
    assert_refused(
        V5,
        &[
            (0xa2, b"\0\0\0\0\x01a", DecodeError::PacketIdZero { packet }),
            (0xa2, b"\0\x01\0", DecodeError::NoTopicFilter { packet }),
            (0xa2, b"\0\x01\0\0\x02a", DecodeError::Truncated { what: "topic filter", wanted: 2, found: 1 }),
            (0xa2, b"\0\x01\0\0\x01\xff", DecodeError::NotUtf8 { what: "topic filter", at: 0 }),
        ],
    );
    assert_refused(V311, &[(0xa2, b"\0\x01", DecodeError::NoTopicFilter { packet })]);
}

#[test]
fn packets_that_only_signal_have_no_body() {
    for version in [V311, V5] {
        let packet = PacketType::PingReq;
        assert_eq!(decode(version, 0xc0, b"\0"), Err(DecodeError::TrailingBytes { packet, extra: 1 }));
        let packet = PacketType::PingResp;
        assert_eq!(decode_from_server(version, 0xd0, b"ab"), Err(DecodeError::TrailingBytes { packet, extra: 2 }));
    }
    let packet = PacketType::Disconnect;
    assert_refused(V311, &[(0xe0, b"\0", DecodeError::TrailingBytes { packet, extra: 1 })]);
    assert_refused(V5, &[(0xe0, b"\0\0\0", DecodeError::TrailingBytes { packet, extra: 1 })]);
}

#[test]
fn auth_needs_its_method() {
    let packet = PacketType::Auth;
    assert_refused(
        V5,
        &[
            (0xf0, b"\x18\0", DecodeError::NoAuthenticationMethod { packet }),
            (0xf0, b"\x18\x03\x16\0\0", DecodeError::NoAuthenticationMethod { packet }),
            (0xf0, b"\x18\x04\x15\0\x01m\0", DecodeError::TrailingBytes { packet, extra: 1 }),
            (0xf0, b"\x18", DecodeError::Truncated { what: "property length", wanted: 1, found: 0 }),
            // No body at all is success, which is for the server to say.
            (0xf0, b"", DecodeError::ReasonCodeNotAllowed { packet, found: 0 }),
        ],
    );
    assert!(decode_from_server(V5, 0xf0, b"").is_ok());
}

#[test]
fn what_a_server_sends_is_refused_when_its_fields_do_not_fit() {
    let (connack, suback, unsuback) = (PacketType::ConnAck, PacketType::SubAck, PacketType::UnsubAck);
    for (version, first, body, error) in [
        (V5, 0x20, &b"\x02\0\0"[..], DecodeError::ConnAckFlags { found: 2 }),
        (V5, 0x20, b"\x01\x87\0", DecodeError::SessionPresentWithError { found: 0x87 }),
        (V5, 0x20, b"\0\x01\0", DecodeError::ReasonCodeNotAllowed { packet: connack, found: 1 }),
        (V5, 0x20, b"\0\0", DecodeError::Truncated { what: "property length", wanted: 1, found: 0 }),
        (V5, 0x20, b"\0\0\x03\x16\0\0", DecodeError::NoAuthenticationMethod { packet: connack }),
        (V5, 0x20, b"\0\0\0\0", DecodeError::TrailingBytes { packet: connack, extra: 1 }),
        (V311, 0x20, b"\0\x06", DecodeError::ReasonCodeNotAllowed { packet: connack, found: 6 }),
        (V311, 0x20, b"\x01\x05", DecodeError::SessionPresentWithError { found: 5 }),
        (V311, 0x20, b"\0\0\0", DecodeError::TrailingBytes { packet: connack, extra: 1 }),
        (V5, 0x90, b"\0\x01\0", DecodeError::NoReasonCode { packet: suback }),
        (V5, 0x90, b"\0\0\0\0", DecodeError::PacketIdZero { packet: suback }),
        (V311, 0x90, b"\0\x01", DecodeError::NoReasonCode { packet: suback }),
        (V5, 0xb0, b"\0\x01\0", DecodeError::NoReasonCode { packet: unsuback }),
        (V311, 0xb0, b"\0\x01\0", DecodeError::TrailingBytes { packet: unsuback, extra: 1 }),
        (V311, 0xb0, b"\0\0", DecodeError::PacketIdZero { packet: unsuback }),
    ] {
        assert_eq!(decode_from_server(version, first, body), Err(error), "{version} 0x{first:02x} {body:02x?}");
    }
}

/// Types that each side may send after CONNECT, with the flags and the shortest body that each may have.
fn shortest(version: Version, from_server: bool) -> Vec<(u8, &'static [u8])> {
    let v5 = version == V5;
    let mut packets: Vec<(u8, &[u8])> =
        vec![(0x40, b"\0\x01"), (0x50, b"\0\x01"), (0x62, b"\0\x01"), (0x70, b"\0\x01")];
    for publish in [0x30, 0x31] {
        packets.push((publish, if v5 { b"\0\x01a\0" } else { b"\0\x01a" }));
    }
    for publish in [0x32, 0x33, 0x34, 0x35, 0x3a, 0x3b, 0x3c, 0x3d] {
        packets.push((publish, if v5 { b"\0\x01a\0\x01\0" } else { b"\0\x01a\0\x01" }));
    }
    match from_server {
        false => {
            packets.push((0x82, if v5 { b"\0\x01\0\0\x01a\0" } else { b"\0\x01\0\x01a\0" }));
            packets.push((0xa2, if v5 { b"\0\x01\0\0\x01a" } else { b"\0\x01\0\x01a" }));
            packets.extend([(0xc0, &b""[..]), (0xe0, b"")]);
        }
        true => {
            packets.push((0x20, if v5 { b"\0\0\0" } else { b"\0\0" }));
            packets.push((0x90, if v5 { b"\0\x01\0\0" } else { b"\0\x01\0" }));
            packets.push((0xb0, if v5 { b"\0\x01\0\0" } else { b"\0\x01" }));
            packets.push((0xd0, b""));
        }
    }
    if v5 {
        packets.push((0xf0, b"\x18\x04\x15\0\x01m"));
        packets.push((0xe0, b""));
    }
    packets
}

/// MQTT 5.0, 2.1.2 and 2.1.3: every first byte there is, from either side.
#[test]
fn a_first_byte_is_accepted_only_with_its_flags_and_from_its_side() {
    for (version, from_server) in [(V311, false), (V311, true), (V5, false), (V5, true)] {
        let decode = if from_server { decode_from_server } else { decode };
        let allowed = shortest(version, from_server);
        let types: Vec<u8> = allowed.iter().map(|(first, _)| first >> 4).collect();
        for first in 0..=0xff {
            if let Some((_, body)) = allowed.iter().find(|(allowed, _)| *allowed == first) {
                assert!(decode(version, first, body).is_ok(), "{version} 0x{first:02x}");
                continue;
            }
            let expected = match first >> 4 {
                0 => ReasonCode::MALFORMED_PACKET,
                15 if version == V311 => ReasonCode::MALFORMED_PACKET,
                kind if types.contains(&kind) => ReasonCode::MALFORMED_PACKET,
                // Known packets from the wrong side are a protocol error, unless their flags are wrong as well.
                8 | 10 if first & 0x0f != 2 => ReasonCode::MALFORMED_PACKET,
                kind if kind != 8 && kind != 10 && first & 0x0f != 0 => ReasonCode::MALFORMED_PACKET,
                _ => ReasonCode::PROTOCOL_ERROR,
            };
            let error = decode(version, first, b"\0\x01\0\0\x01a\0").unwrap_err();
            assert_eq!(error.reason(), expected, "{version} 0x{first:02x} {error}");
        }
    }
}

#[test]
fn a_second_connect_is_a_protocol_error() {
    let wanted = "what a connected client sends";
    let error = DecodeError::UnexpectedPacket { packet: PacketType::Connect, wanted };
    assert_eq!(decode(V5, 0x10, b"\0\x04MQTT\x05\x02\0\0\0\0\0"), Err(error));
    assert_eq!(error.to_string(), "CONNECT is not expected here, want what a connected client sends");
}

/// MQTT 5.0, 2.4 and the tables of each packet: all 256 reason codes in all packets that carry one.
#[test]
fn a_reason_code_is_accepted_only_where_the_tables_list_it() {
    type Decoded = fn(u8) -> bool;
    let packets: [(&str, Decoded, &[u8]); 14] = [
        (
            "CONNACK",
            |code| decode_from_server(V5, 0x20, &[0, code, 0]).is_ok(),
            &[
                0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99,
                0x9a, 0x9b, 0x9c, 0x9d, 0x9f,
            ],
        ),
        ("CONNACK 3.1.1", |code| decode_from_server(V311, 0x20, &[0, code]).is_ok(), &[0, 1, 2, 3, 4, 5]),
        ("PUBACK", |code| decode(V5, 0x40, &[0, 1, code]).is_ok(), PUBACK),
        ("PUBREC", |code| decode(V5, 0x50, &[0, 1, code]).is_ok(), PUBACK),
        ("PUBREL", |code| decode(V5, 0x62, &[0, 1, code]).is_ok(), &[0x00, 0x92]),
        ("PUBCOMP", |code| decode(V5, 0x70, &[0, 1, code]).is_ok(), &[0x00, 0x92]),
        (
            "SUBACK",
            |code| decode_from_server(V5, 0x90, &[0, 1, 0, code]).is_ok(),
            &[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2],
        ),
        (
            "SUBACK, second",
            |code| decode_from_server(V5, 0x90, &[0, 1, 0, 0, code]).is_ok(),
            &[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2],
        ),
        ("SUBACK 3.1.1", |code| decode_from_server(V311, 0x90, &[0, 1, code]).is_ok(), &[0x00, 0x01, 0x02, 0x80]),
        (
            "UNSUBACK",
            |code| decode_from_server(V5, 0xb0, &[0, 1, 0, code]).is_ok(),
            &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91],
        ),
        (
            "DISCONNECT of a client",
            |code| decode(V5, 0xe0, &[code]).is_ok(),
            &[0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99],
        ),
        (
            "DISCONNECT of a server",
            |code| decode_from_server(V5, 0xe0, &[code]).is_ok(),
            &[
                0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96,
                0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
            ],
        ),
        ("AUTH of a client", |code| decode(V5, 0xf0, &[code, 4, 0x15, 0, 1, b'm']).is_ok(), &[0x18, 0x19]),
        ("AUTH of a server", |code| decode_from_server(V5, 0xf0, &[code, 4, 0x15, 0, 1, b'm']).is_ok(), &[0x00, 0x18]),
    ];
    for (packet, is_accepted, listed) in packets {
        for code in 0..=0xff {
            assert_eq!(is_accepted(code), listed.contains(&code), "{packet} 0x{code:02x}");
        }
    }
}

const PUBACK: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];

#[test]
fn errors_speak_for_themselves() {
    for (error, text) in [
        (decode(V5, 0x30, b"\0\x05ab").unwrap_err(), "packet ends in the topic: 5 bytes wanted, 2 left"),
        (decode(V5, 0x80, b"").unwrap_err(), "flags of SUBSCRIBE are 0b0000, must be 0b0010"),
        (decode(V311, 0xf0, b"").unwrap_err(), "packet type 15 is reserved in MQTT 3.1.1"),
        (
            decode(V5, 0x30, b"\0\x03a/+\0").unwrap_err(),
            "topic holds the wildcard '+' at byte 2, a topic name has none",
        ),
        (decode(V5, 0x40, b"\0\x01\x02").unwrap_err(), "reason code 0x02 is not one of PUBACK"),
    ] {
        assert_eq!(error.to_string(), text);
    }
}
