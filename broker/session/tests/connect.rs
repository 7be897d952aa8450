//! How connections begin and end: admission, CONNACK, keep alive, session expiry, wills.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

mod common;

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use common::*;
use fulmar_codec::{
    ConnAck, ConnAckProperties, Connect, Disconnect, ForwardProperties, Packet, PropertiesBuilder, ReasonCode,
    TopicLimits, Version,
};
use fulmar_session::{
    Admitted, DisconnectAction, Ended, Excess, Identity, Limit, Limits, Outgoing, Policy, Session, WillFate, admit,
    check_connect,
};

const V311: Version = Version::V311;
const V5: Version = Version::V5;

fn admit_anonymous(connect: &Connect<'_>, limits: &Limits) -> Result<Admitted, ReasonCode> {
    admit(connect, Policy { allow_anonymous: true, limits, authentication: None }, Identity::Anonymous, || {
        "assigned-1".into()
    })
}

fn will(delay: u32) -> fulmar_codec::Will<'static> {
    fulmar_codec::Will {
        qos: QOS1,
        retain: true,
        topic: "gone",
        payload: b"meter",
        delay,
        message_expiry: Some(60),
        payload_is_utf8: false,
        forward: ForwardProperties::EMPTY,
    }
}

#[test]
fn a_client_is_admitted_on_its_own_terms_within_ours() {
    let limits =
        Limits { session_expiry_seconds_max: 100, keep_alive_seconds_max: NonZeroU16::new(60), ..Limits::default() };
    let connect = Connect {
        clean_start: false,
        keep_alive: 61,
        session_expiry: 101,
        receive_maximum: maximum(7),
        packet_bytes_max: NonZeroU32::new(500),
        topic_alias_max: 9,
        ..Connect::new(V5, "meter")
    };
    let expected = Admitted {
        version: V5,
        bridge: false,
        client_id: "meter".into(),
        client_id_assigned: false,
        identity: Identity::Anonymous,
        clean_start: false,
        keep_alive_seconds: 60,
        keep_alive_changed: true,
        session_expiry_seconds: 100,
        session_expiry_changed: true,
        receive_maximum: 7,
        packet_bytes_max: NonZeroU32::new(500),
        topic_alias_max: 9,
        will: None,
        authentication: None,
    };
    assert_eq!(admit_anonymous(&connect, &limits), Ok(expected.clone()));

    let modest = Connect { keep_alive: 60, session_expiry: 100, ..connect };
    let unchanged = Admitted { keep_alive_changed: false, session_expiry_changed: false, ..expected.clone() };
    assert_eq!(admit_anonymous(&modest, &limits), Ok(unchanged));

    // Without a keep alive a client asks for the longest there is.
    let silent = Connect { keep_alive: 0, ..connect };
    assert_eq!(admit_anonymous(&silent, &limits), Ok(expected.clone()));

    // MQTT 3.1.1 has no Server Keep Alive: there the client's own holds.
    let old = Connect { version: V311, ..connect };
    let old_expected = Admitted { version: V311, keep_alive_seconds: 61, keep_alive_changed: false, ..expected };
    assert_eq!(admit_anonymous(&old, &limits), Ok(old_expected));
}

#[test]
fn clients_are_refused_with_the_code_for_the_cause() {
    let limits = Limits {
        client_id_bytes_max: 5,
        topic: TopicLimits { levels_max: 2, bytes_max: 10 },
        qos_max: QOS1,
        retain_available: false,
        ..Limits::default()
    };
    let named = Connect::new(V5, "meter");
    let fair = fulmar_codec::Will { retain: false, ..will(0) };
    let cases = [
        (Connect { authentication_method: Some("SCRAM"), ..named }, ReasonCode::BAD_AUTHENTICATION_METHOD),
        (Connect { client_id: "meters", ..named }, ReasonCode::CLIENT_IDENTIFIER_NOT_VALID),
        (Connect { client_id: "a\nb", ..named }, ReasonCode::CLIENT_IDENTIFIER_NOT_VALID),
        (
            Connect { version: V311, client_id: "", clean_start: false, ..named },
            ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
        ),
        (
            Connect { will: Some(fulmar_codec::Will { topic: "a/b/c", ..fair }), ..named },
            ReasonCode::TOPIC_NAME_INVALID,
        ),
        (Connect { will: Some(fulmar_codec::Will { qos: QOS2, ..fair }), ..named }, ReasonCode::QOS_NOT_SUPPORTED),
        (
            Connect { will: Some(fulmar_codec::Will { retain: true, ..fair }), ..named },
            ReasonCode::RETAIN_NOT_SUPPORTED,
        ),
    ];
    for (connect, reason) in cases {
        assert_eq!(admit_anonymous(&connect, &limits), Err(reason), "{connect:?}");
    }
    assert!(admit_anonymous(&Connect { will: Some(fair), ..named }, &limits).is_ok());
}

#[test]
fn a_connect_carries_no_more_than_the_bounds_allow() {
    let topic = TopicLimits { levels_max: 2, bytes_max: 5 };
    let limits = Limits { user_properties_max: 1, will_bytes_max: 20, topic, ..Limits::default() };
    let (one, two) = (PropertiesBuilder::new().user("", ""), PropertiesBuilder::new().user("", "").user("", ""));
    let named = Connect::new(V5, "meter");
    let of_topic = |topic| fulmar_codec::Will::new(topic, b"gone");
    let beyond = |limit| Err(Excess { limit, reason: ReasonCode::QUOTA_EXCEEDED });
    let invalid = |limit| Err(Excess { limit, reason: ReasonCode::TOPIC_NAME_INVALID });
    let with_will = |will| Connect { will: Some(will), ..named };
    let cases = [
        (Connect { user: one.user_properties(), ..named }, Ok(())),
        (Connect { user: two.user_properties(), ..named }, beyond(Limit::UserProperties)),
        (with_will(fulmar_codec::Will { forward: two.forward(), ..of_topic("t") }), beyond(Limit::UserProperties)),
        (with_will(fulmar_codec::Will { payload: &[0; 19], ..of_topic("t") }), Ok(())),
        (with_will(fulmar_codec::Will { payload: &[0; 20], ..of_topic("t") }), beyond(Limit::WillBytes)),
        // Its properties are kept as well.
        (
            with_will(fulmar_codec::Will { payload: &[0; 15], forward: one.forward(), ..of_topic("t") }),
            beyond(Limit::WillBytes),
        ),
        (with_will(of_topic("a/b")), Ok(())),
        (with_will(of_topic("a/b/c")), invalid(Limit::TopicLevels)),
        (with_will(of_topic("topics")), invalid(Limit::TopicBytes)),
    ];
    for (connect, result) in cases {
        assert_eq!(check_connect(&connect, &limits), result, "{connect:?}");
    }
}

#[test]
fn a_client_that_cannot_take_its_connack_is_refused() {
    let limits = Limits::default();
    let connect = Connect { session_expiry: u32::MAX, ..Connect::new(V5, "") };
    let mut fixture = Fixture::new(limits.clone());
    fixture.connect(&connect, false);
    let length = u32::try_from(fixture.out.len()).unwrap();
    for (packet_bytes_max, fits) in [(length, true), (length - 1, false), (1, false)] {
        let connect = Connect { packet_bytes_max: NonZeroU32::new(packet_bytes_max), ..connect };
        let admitted = admit_anonymous(&connect, &limits).map(|admitted| admitted.client_id);
        assert_eq!(admitted, if fits { Ok("assigned-1".into()) } else { Err(ReasonCode::PACKET_TOO_LARGE) });
    }
}

#[test]
fn a_client_that_nobody_vouches_for_is_refused_unless_the_listener_allows_it() {
    let (connect, limits) = (Connect::new(V5, "meter"), Limits::default());
    let policy = Policy { allow_anonymous: false, limits: &limits, authentication: None };
    let assign = || unreachable!("the client has a name");
    assert_eq!(admit(&connect, policy, Identity::Anonymous, assign), Err(ReasonCode::NOT_AUTHORIZED));
    let user = Identity::User("anna".into());
    let admitted = admit(&connect, policy, user.clone(), assign).unwrap();
    assert_eq!(admitted.identity, user);
}

#[test]
fn a_session_belongs_to_the_identity_that_made_it() {
    let fixture = Fixture::new(Limits::default());
    assert!(fixture.session.same_identity(&Identity::Anonymous));
    assert!(!fixture.session.same_identity(&Identity::User("meter".into())));
}

#[test]
fn connack_says_what_holds_and_nothing_that_is_so_anyway() {
    let mut fixture = Fixture::new(Limits::default());
    fixture.connect(&Connect::new(V5, "meter"), false);
    let expected = connack(false, V5, &fixture.limits.clone());
    assert_eq!(fixture.packets(), [Packet::ConnAck(expected)]);

    let mut fixture = Fixture::new(Limits::default());
    fixture.connect(&Connect::new(V311, "meter"), false);
    let expected = connack(false, V311, &fixture.limits.clone());
    assert_eq!(fixture.packets(), [Packet::ConnAck(expected)]);
}

#[test]
fn connack_names_what_we_changed() {
    let limits = Limits {
        session_expiry_seconds_max: 100,
        keep_alive_seconds_max: NonZeroU16::new(60),
        qos_max: QOS1,
        retain_available: false,
        ..Limits::default()
    };
    let connect = Connect { session_expiry: 3600, ..Connect::new(V5, "") };
    let admitted = admitted(&connect, &limits);
    let expected = connack(false, V5, &limits);
    let expected = ConnAck {
        properties: ConnAckProperties {
            session_expiry: Some(100),
            server_keep_alive: Some(60),
            assigned_client_id: Some("assigned-1"),
            qos_max: QOS1,
            retain_available: false,
            ..expected.properties
        },
        ..expected
    };
    let Fixture { now, share, .. } = Fixture::new(Limits::default());
    let mut session = Session::new(admitted.client_id.clone(), Identity::Anonymous, limits.into());
    let mut out = Vec::new();
    session.attach(admitted, false, &share, now, &mut out);
    assert_eq!(decode_all(V5, &out), [Packet::ConnAck(expected)]);
    assert_eq!(session.client_id(), "assigned-1");
}

#[test]
fn a_client_is_late_after_one_and_a_half_keep_alives_of_silence() {
    let connect = Connect { keep_alive: 10, ..Connect::new(V5, "meter") };
    let mut fixture = Fixture::connected(&connect, Limits::default());
    let start = fixture.now;
    assert_eq!(fixture.session.keep_alive_deadline(), Some(start + Duration::from_secs(15)));
    fixture.pass(9);
    fixture.session.seen(fixture.now);
    assert_eq!(fixture.session.keep_alive_deadline(), Some(start + Duration::from_secs(24)));
    fixture.lose();
    assert_eq!(fixture.session.keep_alive_deadline(), None);
    fixture.connect(&Connect { keep_alive: 0, ..connect }, false);
    assert_eq!(fixture.session.keep_alive_deadline(), None);
}

#[test]
fn keep_alive_stands_still_while_nobody_listens_to_the_client() {
    let connect = Connect { keep_alive: 10, ..Connect::new(V5, "meter") };
    let mut fixture = Fixture::connected(&connect, Limits { inflight_max: maximum(1), ..Limits::default() });
    let token = fixture.publish_open(&publish(QOS1, 1, b"x"));
    assert_eq!(fixture.session.keep_alive_deadline(), None);
    fixture.pass(60);
    fixture.routed(token, ReasonCode::SUCCESS);
    assert_eq!(fixture.session.keep_alive_deadline(), Some(fixture.now + Duration::from_secs(15)));
}

#[test]
fn a_session_lasts_as_long_as_its_expiry_says() {
    let ended = |connect: &Connect<'_>| {
        let mut fixture = Fixture::connected(connect, Limits::default());
        fixture.lose().keep_until.map(|until| until - fixture.now)
    };
    assert_eq!(ended(&Connect::new(V5, "meter")), None);
    assert_eq!(ended(&lasting(V5)), Some(Duration::from_secs(3600)));
    let for_ever = Connect { session_expiry: u32::MAX, ..lasting(V311) };
    assert_eq!(ended(&for_ever), Some(Duration::from_secs(7 * 24 * 3600)));
}

#[test]
fn disconnect_changes_the_expiry_but_makes_no_session_last_that_was_not_to() {
    let bye = Disconnect { session_expiry: Some(5), ..Disconnect::new(ReasonCode::NORMAL_DISCONNECTION) };
    let mut fixture = Fixture::connected(&lasting(V5), Limits::default());
    assert_eq!(fixture.session.handle_disconnect(&bye), DisconnectAction::Close);
    let keep_until = Some(fixture.now + Duration::from_secs(5));
    assert_eq!(fixture.lose(), Ended { keep_until, will: WillFate::None });

    let mut fixture = Fixture::connected(&lasting(V5), Limits::default());
    let end = Disconnect { session_expiry: Some(0), ..bye };
    assert_eq!(fixture.session.handle_disconnect(&end), DisconnectAction::Close);
    assert_eq!(fixture.lose(), Ended { keep_until: None, will: WillFate::None });

    let mut fixture = Fixture::connected(&Connect::new(V5, "meter"), Limits::default());
    assert_eq!(fixture.session.handle_disconnect(&bye), DisconnectAction::Refuse(ReasonCode::PROTOCOL_ERROR));
    assert_eq!(fixture.lose(), Ended { keep_until: None, will: WillFate::None });
}

/// What becomes of the will, as seconds from now; what is published at once is read.
fn fate(connect: &Connect<'_>, disconnect: Option<ReasonCode>) -> (Option<u64>, Option<u64>, bool) {
    let mut fixture = Fixture::connected(connect, Limits::default());
    if let Some(reason) = disconnect {
        assert_eq!(fixture.session.handle_disconnect(&Disconnect::new(reason)), DisconnectAction::Close);
    }
    let Ended { keep_until, will } = fixture.lose();
    let keep = keep_until.map(|until| (until - fixture.now).as_secs());
    match will {
        WillFate::None => (keep, None, false),
        WillFate::Now(_) => (keep, Some(0), fixture.session.take_will().is_some()),
        WillFate::At(at) => (keep, Some((at - fixture.now).as_secs()), fixture.session.take_will().is_some()),
    }
}

#[test]
fn a_will_goes_out_when_its_delay_is_over_or_the_session_ends_whichever_is_first() {
    let with = |session_expiry, delay| Connect { session_expiry, will: Some(will(delay)), ..lasting(V5) };
    assert_eq!(fate(&with(0, 0), None), (None, Some(0), false));
    assert_eq!(fate(&with(0, 10), None), (None, Some(0), false));
    assert_eq!(fate(&with(100, 0), None), (Some(100), Some(0), false));
    assert_eq!(fate(&with(100, 10), None), (Some(100), Some(10), true));
    assert_eq!(fate(&with(100, 1000), None), (Some(100), Some(100), true));
    assert_eq!(fate(&Connect { will: None, ..with(100, 0) }, None), (Some(100), None, false));
}

#[test]
fn only_a_normal_disconnection_takes_the_will_back() {
    let connect = Connect { will: Some(will(0)), ..lasting(V5) };
    assert_eq!(fate(&connect, Some(ReasonCode::NORMAL_DISCONNECTION)), (Some(3600), None, false));
    assert_eq!(fate(&connect, Some(ReasonCode::DISCONNECT_WITH_WILL)), (Some(3600), Some(0), false));
    assert_eq!(fate(&connect, Some(ReasonCode::UNSPECIFIED_ERROR)), (Some(3600), Some(0), false));
}

#[test]
fn a_will_does_not_go_out_once_the_client_is_back() {
    let connect = Connect { will: Some(will(10)), ..lasting(V5) };
    let mut fixture = Fixture::connected(&connect, Limits::default());
    assert!(matches!(fixture.lose().will, WillFate::At(_)));
    fixture.connect(&lasting(V5), true);
    assert_eq!(fixture.session.take_will(), None);
    assert_eq!(fixture.lose().will, WillFate::None);
}

#[test]
fn a_will_begins_to_expire_when_it_is_published() {
    let properties = PropertiesBuilder::new().user("why", "gone");
    let forward = properties.forward();
    let will = fulmar_codec::Will { forward, ..will(0) };
    let mut fixture = Fixture::connected(&Connect { will: Some(will), ..lasting(V5) }, Limits::default());
    fixture.pass(1000);
    let WillFate::Now(will) = fixture.lose().will else { panic!("the will was to go out at once") };
    let expires = Some(fixture.now + Duration::from_secs(60));
    let expected = Outgoing { topic: "gone", qos: QOS1, retain: true, forward, payload: b"meter", expires };
    assert_eq!(will.outgoing(fixture.now), expected);
}

#[test]
fn the_reason_of_a_close_is_told_in_mqtt_5_only_and_to_a_connected_client_only() {
    let told = |version, lost: bool| {
        let mut fixture = Fixture::connected(&Connect::new(version, "meter"), Limits::default());
        if lost {
            fixture.lose();
        }
        fixture.session.encode_disconnect(ReasonCode::SESSION_TAKEN_OVER, &mut fixture.out);
        fixture.packets() == [disconnect(ReasonCode::SESSION_TAKEN_OVER)]
    };
    assert_eq!((told(V5, false), told(V5, true), told(V311, false)), (true, false, false));
}
