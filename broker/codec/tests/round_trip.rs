//! Whatever we encode we decode, in both versions: every packet with every property, of any content.
//! And every beginning of such a packet is known to be incomplete, or refused: never a panic.

use std::num::{NonZeroU16, NonZeroU32};

use fulmar_codec::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V311), Just(Version::V5)]
}

fn text() -> impl Strategy<Value = String> {
    "[^\0]{0,12}"
}

fn topic() -> impl Strategy<Value = String> {
    "[^\0+#]{1,24}"
}

fn binary() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..40)
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(|number| PacketId::new(number).expect("it is not 0"))
}

/// User properties among those that a packet may have.
fn user() -> impl Strategy<Value = PropertiesBuilder> {
    vec((text(), text()), 0..3).prop_map(|pairs| {
        pairs.iter().fold(PropertiesBuilder::new(), |properties, (name, value)| properties.user(name, value))
    })
}

/// Properties that are forwarded, and whether they say that the payload is UTF-8.
fn forward() -> impl Strategy<Value = (PropertiesBuilder, bool)> {
    let properties = (user(), option::of(any::<bool>()), option::of(text()), option::of(topic()), option::of(binary()));
    properties.prop_map(|(mut properties, utf8, content_type, response_topic, correlation_data)| {
        if let Some(utf8) = utf8 {
            properties = properties.payload_is_utf8(utf8);
        }
        if let Some(text) = content_type {
            properties = properties.content_type(&text);
        }
        if let Some(topic) = response_topic {
            properties = properties.response_topic(&topic);
        }
        if let Some(bytes) = correlation_data {
            properties = properties.correlation_data(&bytes);
        }
        (properties, utf8 == Some(true))
    })
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum From {
    Client,
    Server,
}

/// Encodes, decodes and compares; tries the bytes cut off everywhere.
fn assert_comes_back(version: Version, from: From, packet: &Packet<'_>) {
    let mut out = b"before".to_vec();
    encode(packet, version, &mut out);
    let bytes = &out[b"before".len()..];
    let Ok(Framed::Whole { first, body, length }) = split_frame(bytes, bytes.len()) else {
        panic!("{packet:?} became {bytes:02x?}, which is no packet")
    };
    assert_eq!(length, bytes.len());
    let read = |body| match (packet, from) {
        (Packet::Connect(_), _) => decode_connect(first, body).map(Packet::Connect).map_err(|error| error.error),
        (_, From::Client) => decode(version, first, body),
        (_, From::Server) => decode_from_server(version, first, body),
    };
    assert_eq!(read(body).as_ref(), Ok(packet));
    for end in 0..bytes.len() {
        let needed = (end >= bytes.len() - body.len()).then_some(bytes.len());
        assert_eq!(split_frame(&bytes[..end], bytes.len()), Ok(Framed::Incomplete { needed }));
    }
    for end in 0..body.len() {
        // Some packets are whole without their end: a PUBLISH with less payload, a SUBACK with fewer codes.
        assert_ne!(read(&body[..end]).as_ref(), Ok(packet));
    }
}

/// What 3.1.1 has no place for is not in its packets.
fn in_v5<T>(version: Version, value: T, otherwise: T) -> T {
    match version {
        Version::V311 => otherwise,
        Version::V5 => value,
    }
}

proptest! {
    #[test]
    fn publish(
        version in version(),
        (from, ids) in prop_oneof![Just((From::Client, vec![])), vec(1..=268_435_455_u32, 0..3).prop_map(|ids| (From::Server, ids))],
        (dup, qos, retain, id) in (any::<bool>(), qos(), any::<bool>(), packet_id()),
        (topic, alias, expiry) in (topic(), option::of(1..=u16::MAX), option::of(any::<u32>())),
        (forward, payload_is_utf8) in forward(),
        payload in binary(),
    ) {
        // Subscription identifiers are seen by the receiver only: they are taken from an encoded packet.
        let head = PublishHead { subscription_ids: in_v5(version, &ids, &[]), ..PublishHead::default() };
        let mut with_ids = Vec::new();
        encode_publish(&mut with_ids, version, &head, "t", &ForwardProperties::EMPTY, b"");
        let Ok(Packet::Publish(sample)) = decode_from_server(version, with_ids[0], &with_ids[2..]) else { panic!("a good PUBLISH") };

        let packet_id = (qos > QoS::AtMostOnce).then_some(id);
        let properties = PublishProperties {
            topic_alias: alias.and_then(NonZeroU16::new),
            message_expiry: expiry,
            payload_is_utf8,
            forward: forward.forward(),
            subscription_ids: sample.properties.subscription_ids,
        };
        let properties = in_v5(version, properties, PublishProperties::default());
        let dup = dup && packet_id.is_some();
        let publish = Publish { dup, qos, retain, topic: &topic, packet_id, properties, payload: &payload };
        assert_comes_back(version, from, &Packet::Publish(publish));

        // The length is known beforehand, and identifier and DUP can be set afterwards.
        let head = PublishHead {
            dup, qos, retain, packet_id,
            message_expiry: properties.message_expiry, topic_alias: properties.topic_alias, subscription_ids: &ids,
        };
        let mut out = Vec::new();
        encode_publish(&mut out, version, &head, &topic, &properties.forward, &payload);
        prop_assert_eq!(out.len(), publish_length(version, &head, &topic, &properties.forward, &payload));
        if packet_id.is_some() {
            let head = PublishHead { dup: true, packet_id: Some(PacketId::MIN), ..head };
            let mut expected = Vec::new();
            encode_publish(&mut expected, version, &head, &topic, &properties.forward, &payload);
            set_publish_packet_id(&mut out, PacketId::MIN);
            set_publish_dup(&mut out);
            prop_assert_eq!(out, expected);
        }
    }

    #[test]
    fn acknowledgements(
        version in version(),
        kind in 0..4_usize,
        packet_id in packet_id(),
        reason in 0..2_usize,
        (reason_string, user) in (option::of(text()), user()),
    ) {
        let properties = AckProperties { reason_string: reason_string.as_deref(), user: user.user_properties() };
        let properties = in_v5(version, properties, AckProperties::default());
        let of_publish = [ReasonCode::SUCCESS, ReasonCode::QUOTA_EXCEEDED][in_v5(version, reason, 0)];
        let of_release = [ReasonCode::SUCCESS, ReasonCode::PACKET_IDENTIFIER_NOT_FOUND][in_v5(version, reason, 0)];
        let packet = match kind {
            0 => Packet::PubAck(Ack { packet_id, reason: of_publish, properties }),
            1 => Packet::PubRec(Ack { packet_id, reason: of_publish, properties }),
            2 => Packet::PubRel(Ack { packet_id, reason: of_release, properties }),
            _ => Packet::PubComp(Ack { packet_id, reason: of_release, properties }),
        };
        assert_comes_back(version, From::Client, &packet);
        assert_comes_back(version, From::Server, &packet);
    }

    #[test]
    fn connect(
        version in version(),
        (bridge, clean_start, keep_alive) in any::<(bool, bool, u16)>(),
        client_id in "[^\0]{1,30}",
        (username, password) in (option::of(text()), option::of(binary())),
        will in option::of((qos(), any::<bool>(), topic(), binary(), any::<u32>(), option::of(any::<u32>()), forward())),
        (expiry, receive, bytes, aliases) in (any::<u32>(), 1..=u16::MAX, option::of(1..=u32::MAX), any::<u16>()),
        (response, problem) in any::<(bool, bool)>(),
        authentication in option::of((text(), option::of(binary()))),
        user in user(),
    ) {
        let will = will.as_ref().map(|(qos, retain, topic, payload, delay, message_expiry, (forward, utf8))| {
            let plain = Will { qos: *qos, retain: *retain, ..Will::new(topic, payload) };
            let v5 = Will {
                delay: *delay, message_expiry: *message_expiry, payload_is_utf8: *utf8, forward: forward.forward(), ..plain
            };
            in_v5(version, v5, plain)
        });
        let plain = Connect { clean_start, keep_alive, will, username: username.as_deref(), ..Connect::new(version, &client_id) };
        let connect = match version {
            Version::V311 => Connect {
                bridge,
                password: password.as_deref().filter(|_| username.is_some()),
                session_expiry: if clean_start { 0 } else { u32::MAX },
                ..plain
            },
            Version::V5 => Connect {
                password: password.as_deref(),
                session_expiry: expiry,
                receive_maximum: NonZeroU16::new(receive).unwrap(),
                packet_bytes_max: bytes.and_then(NonZeroU32::new),
                topic_alias_max: aliases,
                request_response_information: response,
                request_problem_information: problem,
                authentication_method: authentication.as_ref().map(|(method, _)| method.as_str()),
                authentication_data: authentication.as_ref().and_then(|(_, data)| data.as_deref()),
                user: user.user_properties(),
                ..plain
            },
        };
        assert_comes_back(version, From::Client, &Packet::Connect(connect));
    }

    #[test]
    fn connack(
        version in version(),
        session_present in any::<bool>(),
        refused in any::<bool>(),
        (session_expiry, receive, qos_max, bytes, aliases) in
            (option::of(any::<u32>()), 1..=u16::MAX, qos(), option::of(1..=u32::MAX), any::<u16>()),
        (retain, wildcards, ids, shared) in any::<(bool, bool, bool, bool)>(),
        texts in (option::of(text()), option::of(text()), option::of(text()), option::of(text())),
        server_keep_alive in option::of(any::<u16>()),
        authentication in option::of((text(), option::of(binary()))),
        user in user(),
    ) {
        let (assigned_client_id, reason_string, response_information, server_reference) = &texts;
        let properties = ConnAckProperties {
            session_expiry,
            receive_maximum: NonZeroU16::new(receive).unwrap(),
            qos_max,
            retain_available: retain,
            packet_bytes_max: bytes.and_then(NonZeroU32::new),
            assigned_client_id: assigned_client_id.as_deref(),
            topic_alias_max: aliases,
            reason_string: reason_string.as_deref(),
            wildcard_subscription_available: wildcards,
            subscription_ids_available: ids,
            shared_subscription_available: shared,
            server_keep_alive,
            response_information: response_information.as_deref(),
            server_reference: server_reference.as_deref(),
            authentication_method: authentication.as_ref().map(|(method, _)| method.as_str()),
            authentication_data: authentication.as_ref().and_then(|(_, data)| data.as_deref()),
            user: user.user_properties(),
        };
        let reason = if refused { ReasonCode::NOT_AUTHORIZED } else { ReasonCode::SUCCESS };
        let properties = in_v5(version, properties, ConnAckProperties::NONE);
        let packet = Packet::ConnAck(ConnAck { session_present: session_present && !refused, reason, properties });
        assert_comes_back(version, From::Server, &packet);
    }

    #[test]
    fn subscribe_and_unsubscribe(
        version in version(),
        packet_id in packet_id(),
        id in option::of(1..=268_435_455_u32),
        filters in vec((text(), qos(), any::<(bool, bool)>(), 0..3_u8), 1..4),
    ) {
        let subscriptions: Vec<SubscribeFilter<'_>> = filters.iter().map(|(filter, qos, (local, retain), handling)| {
            let plain = SubscriptionOptions { qos: *qos, ..SubscriptionOptions::default() };
            let retain_handling =
                [RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend][usize::from(*handling)];
            let no_local = *local && !filter.starts_with("$share/");
            let v5 = SubscriptionOptions { no_local, retain_as_published: *retain, retain_handling, ..plain };
            SubscribeFilter { filter, options: in_v5(version, v5, plain) }
        }).collect();
        let id = in_v5(version, id.and_then(NonZeroU32::new), None);
        let mut out = Vec::new();
        encode_subscribe(&mut out, version, packet_id, id, &subscriptions);
        let Ok(Framed::Whole { first, body, .. }) = split_frame(&out, out.len()) else { panic!("a whole packet") };
        let Ok(Packet::Subscribe(subscribe)) = decode(version, first, body) else { panic!("a good SUBSCRIBE") };
        prop_assert_eq!((subscribe.packet_id, subscribe.subscription_id), (packet_id, id));
        prop_assert_eq!(subscribe.count(), subscriptions.len());
        prop_assert_eq!(subscribe.filters().collect::<Vec<_>>(), subscriptions);
        assert_comes_back(version, From::Client, &Packet::Subscribe(subscribe));

        let filters: Vec<&str> = filters.iter().map(|(filter, ..)| filter.as_str()).collect();
        let mut out = Vec::new();
        encode_unsubscribe(&mut out, version, packet_id, &filters);
        let Ok(Framed::Whole { first, body, .. }) = split_frame(&out, out.len()) else { panic!("a whole packet") };
        let Ok(Packet::Unsubscribe(unsubscribe)) = decode(version, first, body) else { panic!("a good UNSUBSCRIBE") };
        prop_assert_eq!((unsubscribe.packet_id, unsubscribe.count()), (packet_id, filters.len()));
        prop_assert_eq!(unsubscribe.filters().collect::<Vec<_>>(), filters);
        assert_comes_back(version, From::Client, &Packet::Unsubscribe(unsubscribe));
    }

    #[test]
    fn suback_and_unsuback(
        version in version(),
        packet_id in packet_id(),
        (reason_string, user) in (option::of(text()), user()),
        granted in vec(proptest::sample::select(vec![0_u8, 1, 2, 0x80]), 1..4),
        ended in vec(proptest::sample::select(vec![0_u8, 0x11, 0x87]), 1..4),
    ) {
        let properties = AckProperties { reason_string: reason_string.as_deref(), user: user.user_properties() };
        let properties = in_v5(version, properties, AckProperties::default());
        let codes = ReasonCodes::new(&granted);
        assert_comes_back(version, From::Server, &Packet::SubAck(SubAck { packet_id, properties, codes }));
        let codes = in_v5(version, ReasonCodes::new(&ended), ReasonCodes::default());
        assert_comes_back(version, From::Server, &Packet::UnsubAck(UnsubAck { packet_id, properties, codes }));
    }

    #[test]
    fn disconnect_and_auth(
        reason in proptest::sample::select(vec![ReasonCode::NORMAL_DISCONNECTION, ReasonCode::QUOTA_EXCEEDED]),
        session_expiry in option::of(any::<u32>()),
        (reason_string, server_reference, user) in (option::of(text()), option::of(text()), user()),
        (method, data) in (text(), option::of(binary())),
    ) {
        let (reason_string, server_reference) = (reason_string.as_deref(), server_reference.as_deref());
        let plain = Disconnect { reason_string, user: user.user_properties(), ..Disconnect::new(reason) };
        let of_client = Packet::Disconnect(Disconnect { session_expiry, ..plain });
        assert_comes_back(Version::V5, From::Client, &of_client);
        let of_server = Packet::Disconnect(Disconnect { server_reference, ..plain });
        assert_comes_back(Version::V5, From::Server, &of_server);

        let step = Auth::new(ReasonCode::CONTINUE_AUTHENTICATION, Some(&method));
        let step = Auth { data: data.as_deref(), reason_string, user: user.user_properties(), ..step };
        assert_comes_back(Version::V5, From::Client, &Packet::Auth(step));
        assert_comes_back(Version::V5, From::Server, &Packet::Auth(Auth { reason: ReasonCode::SUCCESS, ..step }));
    }
}

#[test]
fn packets_without_content() {
    for version in [Version::V311, Version::V5] {
        assert_comes_back(version, From::Client, &Packet::PingReq);
        assert_comes_back(version, From::Server, &Packet::PingResp);
        let disconnect = Disconnect::new(ReasonCode::NORMAL_DISCONNECTION);
        assert_comes_back(version, From::Client, &Packet::Disconnect(disconnect));
    }
    let success = Auth::new(ReasonCode::SUCCESS, None);
    assert_comes_back(Version::V5, From::Server, &Packet::Auth(success));
}

#[test]
fn a_3_1_1_server_says_what_its_version_can_say() {
    let mut out = Vec::new();
    let id = PacketId::new(10).unwrap();
    encode_connack(&mut out, Version::V311, &ConnAck::new(true, ReasonCode::SUCCESS));
    encode_connack(&mut out, Version::V311, &ConnAck::new(true, ReasonCode::NOT_AUTHORIZED));
    encode_connack(&mut out, Version::V311, &ConnAck::new(false, ReasonCode::MALFORMED_PACKET));
    encode_ack(&mut out, Version::V311, AckKind::PubAck, &Ack::new(id, ReasonCode::QUOTA_EXCEEDED));
    encode_suback(&mut out, Version::V311, id, &[ReasonCode::granted(QoS::ExactlyOnce), ReasonCode::NOT_AUTHORIZED]);
    encode_unsuback(&mut out, Version::V311, id, &[ReasonCode::NO_SUBSCRIPTION_EXISTED]);
    encode(&Packet::Auth(Auth::new(ReasonCode::CONTINUE_AUTHENTICATION, Some("m"))), Version::V311, &mut out);
    // The refusal without a return code is not there, nor is AUTH; the other failures have lost their cause.
    assert_eq!(out, b"\x20\x02\x01\0\x20\x02\0\x05\x40\x02\0\x0a\x90\x04\0\x0a\x02\x80\xb0\x02\0\x0a");
}

#[test]
fn success_without_properties_has_its_shortest_form() {
    let mut out = Vec::new();
    let id = PacketId::new(0x0102).unwrap();
    encode_ack(&mut out, Version::V5, AckKind::PubRel, &Ack::new(id, ReasonCode::SUCCESS));
    encode_ack(&mut out, Version::V5, AckKind::PubComp, &Ack::new(id, ReasonCode::PACKET_IDENTIFIER_NOT_FOUND));
    encode_disconnect(&mut out, Version::V5, &Disconnect::new(ReasonCode::NORMAL_DISCONNECTION));
    encode_disconnect(&mut out, Version::V5, &Disconnect::new(ReasonCode::SESSION_TAKEN_OVER));
    assert_eq!(out, b"\x62\x02\x01\x02\x70\x03\x01\x02\x92\xe0\0\xe0\x01\x8e");
}
