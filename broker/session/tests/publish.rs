//! Messages from the client: acknowledgements, QoS 2, quotas and aliases.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

mod common;

use common::*;
use fulmar_codec::{
    AckKind, Connect, PropertiesBuilder, Publish, PublishProperties, QoS, ReasonCode, TopicLimits, Version,
};
use fulmar_session::{AckAction, Excess, Limit, Limits, PublishAction, TopicSource};

const V311: Version = Version::V311;
const V5: Version = Version::V5;
const SUCCESS: ReasonCode = ReasonCode::SUCCESS;

fn fixture(version: Version) -> Fixture {
    Fixture::connected(&lasting(version), Limits::default())
}

fn with_inflight_max(version: Version, inflight_max: u16) -> Fixture {
    let limits = Limits { inflight_max: maximum(inflight_max), ..Limits::default() };
    Fixture::connected(&lasting(version), limits)
}

#[test]
fn qos_0_is_routed_without_a_token_and_not_answered() {
    let mut fixture = fixture(V5);
    let action = fixture.publish(&publish(QOS0, 0, b"21.5"));
    assert_eq!(action, PublishAction::Route { token: None, topic: TopicSource::InPacket });
    assert_eq!((fixture.session.open_tokens(), fixture.packets()), (0, vec![]));
}

#[test]
fn acknowledgements_leave_in_the_order_of_arrival() {
    for version in [V311, V5] {
        let mut fixture = fixture(version);
        let first = fixture.publish_open(&publish(QOS1, 9, b"1"));
        let second = fixture.publish_open(&publish(QOS2, 3, b"2"));
        let third = fixture.publish_open(&publish(QOS1, 4, b"3"));
        fixture.routed(third, SUCCESS);
        fixture.routed(second, SUCCESS);
        assert_eq!((fixture.session.open_tokens(), fixture.packets()), (3, vec![]));
        fixture.routed(first, SUCCESS);
        assert_eq!(fixture.packets(), [puback(9, SUCCESS), pubrec(3, SUCCESS), puback(4, SUCCESS)]);
        assert_eq!(fixture.session.open_tokens(), 0);
    }
}

#[test]
fn an_answer_that_comes_twice_is_written_once() {
    let mut fixture = fixture(V5);
    let first = fixture.publish_open(&publish(QOS1, 1, b""));
    let second = fixture.publish_open(&publish(QOS1, 2, b""));
    fixture.routed(second, SUCCESS);
    fixture.routed(second, ReasonCode::NOT_AUTHORIZED);
    fixture.routed(first, SUCCESS);
    fixture.routed(first, SUCCESS);
    assert_eq!(fixture.packets(), [puback(1, SUCCESS), puback(2, SUCCESS)]);
}

#[test]
fn a_failure_is_told_in_mqtt_5_and_acknowledged_in_mqtt_3() {
    let mut fixture5 = fixture(V5);
    let token = fixture5.publish_open(&publish(QOS1, 1, b""));
    fixture5.routed(token, ReasonCode::NOT_AUTHORIZED);
    assert_eq!(fixture5.packets(), [puback(1, ReasonCode::NOT_AUTHORIZED)]);
    let mut fixture3 = fixture(V311);
    let token = fixture3.publish_open(&publish(QOS1, 1, b""));
    fixture3.routed(token, ReasonCode::NOT_AUTHORIZED);
    assert_eq!(fixture3.packets(), [puback(1, SUCCESS)]);
}

#[test]
fn retried_qos2_publish_is_routed_once() {
    for version in [V311, V5] {
        let mut fixture = fixture(version);
        let original = publish(QOS2, 7, b"21.5");
        let token = fixture.publish_open(&original);
        let again = Publish { dup: true, ..original };
        // Before it is routed, the duplicate waits for the original.
        assert_eq!(fixture.publish(&again), PublishAction::Done);
        assert_eq!(fixture.packets(), []);
        fixture.routed(token, SUCCESS);
        assert_eq!(fixture.packets(), [pubrec(7, SUCCESS), pubrec(7, SUCCESS)]);
        // Afterwards it is answered at once.
        assert_eq!(fixture.publish(&again), PublishAction::Done);
        assert_eq!(fixture.packets(), [pubrec(7, SUCCESS)]);
        // Once released, the identifier stands for a new message.
        assert_eq!(fixture.ack(AckKind::PubRel, 7), AckAction::Nothing);
        assert_eq!(fixture.packets(), [pubcomp(7, SUCCESS)]);
        fixture.publish_open(&original);
    }
}

#[test]
fn a_duplicate_is_answered_in_its_turn_and_like_its_original() {
    let mut fixture = fixture(V5);
    let original = fixture.publish_open(&publish(QOS2, 7, b""));
    let other = fixture.publish_open(&publish(QOS1, 8, b""));
    assert_eq!(fixture.publish(&publish(QOS2, 7, b"")), PublishAction::Done);
    fixture.routed(original, ReasonCode::QUOTA_EXCEEDED);
    assert_eq!(fixture.packets(), [pubrec(7, ReasonCode::QUOTA_EXCEEDED)]);
    // The identifier is free, and a duplicate of the new message is one of the new message.
    let another = fixture.publish_open(&publish(QOS2, 7, b"another"));
    assert_eq!(fixture.publish(&publish(QOS2, 7, b"another")), PublishAction::Done);
    fixture.routed(other, SUCCESS);
    assert_eq!(fixture.packets(), [puback(8, SUCCESS), pubrec(7, ReasonCode::QUOTA_EXCEEDED)]);
    fixture.routed(another, SUCCESS);
    assert_eq!(fixture.packets(), [pubrec(7, SUCCESS), pubrec(7, SUCCESS)]);
}

#[test]
fn a_refused_qos2_publish_frees_its_identifier_where_the_client_learns_of_it() {
    let mut fixture5 = fixture(V5);
    let token = fixture5.publish_open(&publish(QOS2, 7, b""));
    fixture5.routed(token, ReasonCode::NOT_AUTHORIZED);
    assert_eq!(fixture5.packets(), [pubrec(7, ReasonCode::NOT_AUTHORIZED)]);
    fixture5.publish_open(&publish(QOS2, 7, b"another"));

    let mut fixture3 = fixture(V311);
    let token = fixture3.publish_open(&publish(QOS2, 7, b""));
    fixture3.routed(token, ReasonCode::NOT_AUTHORIZED);
    assert_eq!(fixture3.publish(&publish(QOS2, 7, b"")), PublishAction::Done);
    assert_eq!(fixture3.packets(), [pubrec(7, SUCCESS), pubrec(7, SUCCESS)]);
}

#[test]
fn the_release_of_an_unknown_identifier_is_answered_as_such() {
    let mut fixture5 = fixture(V5);
    assert_eq!(fixture5.ack(AckKind::PubRel, 7), AckAction::Nothing);
    assert_eq!(fixture5.packets(), [pubcomp(7, ReasonCode::PACKET_IDENTIFIER_NOT_FOUND)]);
    let mut fixture3 = fixture(V311);
    assert_eq!(fixture3.ack(AckKind::PubRel, 7), AckAction::Nothing);
    assert_eq!(fixture3.packets(), [pubcomp(7, SUCCESS)]);
}

#[test]
fn reading_pauses_while_the_receive_maximum_is_open() {
    for version in [V311, V5] {
        let mut fixture = with_inflight_max(version, 2);
        let start = fixture.now;
        assert_eq!((fixture.session.reading_paused(), fixture.session.oldest_open()), (false, None));
        let first = fixture.publish_open(&publish(QOS1, 1, b""));
        fixture.pass(3);
        let second = fixture.publish_open(&publish(QOS2, 2, b""));
        assert_eq!((fixture.session.reading_paused(), fixture.session.oldest_open()), (true, Some(start)));
        fixture.routed(second, SUCCESS);
        assert_eq!((fixture.session.reading_paused(), fixture.session.oldest_open()), (true, Some(start)));
        fixture.routed(first, SUCCESS);
        assert_eq!((fixture.session.reading_paused(), fixture.session.oldest_open()), (false, None));
    }
}

#[test]
fn publishes_in_spite_of_the_pause_end_the_connection() {
    let mut fixture = with_inflight_max(V5, 1);
    fixture.publish_open(&publish(QOS2, 1, b""));
    let exceeded = beyond(Limit::Inflight, ReasonCode::RECEIVE_MAXIMUM_EXCEEDED);
    assert_eq!(fixture.publish(&publish(QOS1, 2, b"")), exceeded);
    assert_eq!(fixture.publish(&publish(QOS2, 1, b"")), exceeded);
    assert_eq!(fixture.session.open_tokens(), 1);
}

#[test]
fn with_receive_maximum_1_one_publish_after_the_other_goes_through() {
    let mut fixture = with_inflight_max(V5, 1);
    for number in 1..=100 {
        let token = fixture.publish_open(&publish(QOS2, number, b""));
        fixture.routed(token, SUCCESS);
        fixture.ack(AckKind::PubRel, number);
        assert_eq!(fixture.packets(), [pubrec(number, SUCCESS), pubcomp(number, SUCCESS)]);
    }
}

/// Publishes at QoS 2 and never releases; says how many were taken.
fn hoard(fixture: &mut Fixture, count: u16) -> (u16, Option<ReasonCode>) {
    for number in 1..=count {
        match fixture.publish(&publish(QOS2, number, b"")) {
            PublishAction::Route { token: Some(token), .. } => fixture.routed(token, SUCCESS),
            PublishAction::Beyond(Excess { limit: Limit::Inflight, reason }) => return (number - 1, Some(reason)),
            other => panic!("{other:?} where a new identifier was used"),
        }
    }
    (count, None)
}

#[test]
fn what_awaits_pubrel_counts_against_the_receive_maximum() {
    let mut fixture = with_inflight_max(V5, 3);
    assert_eq!(hoard(&mut fixture, 10), (3, Some(ReasonCode::RECEIVE_MAXIMUM_EXCEEDED)));
    // A new connection begins with the whole quota (MQTT 5.0, 4.9).
    fixture.lose();
    fixture.connect(&lasting(V5), true);
    for number in 11..=13 {
        fixture.publish_open(&publish(QOS2, number, b""));
    }
}

#[test]
fn mqtt_3_knows_no_receive_maximum_so_all_identifiers_may_await_pubrel() {
    let mut fixture = with_inflight_max(V311, 3);
    assert_eq!(hoard(&mut fixture, u16::MAX), (u16::MAX, None));
}

#[test]
fn a_lost_connection_takes_its_unwritten_acknowledgements_along() {
    let mut fixture = fixture(V5);
    let token = fixture.publish_open(&publish(QOS1, 1, b""));
    fixture.lose();
    fixture.connect(&lasting(V5), true);
    fixture.packets();
    let another = fixture.publish_open(&publish(QOS1, 1, b"another"));
    fixture.routed(token, SUCCESS);
    assert_eq!(fixture.packets(), []);
    fixture.routed(another, SUCCESS);
    assert_eq!(fixture.packets(), [puback(1, SUCCESS)]);
}

#[test]
fn a_qos2_publish_that_is_still_on_its_way_when_the_client_returns_is_routed_once() {
    for version in [V311, V5] {
        let mut fixture = fixture(version);
        let original = publish(QOS2, 7, b"");
        let token = fixture.publish_open(&original);
        fixture.lose();
        fixture.pass(1);
        fixture.connect(&lasting(version), true);
        fixture.packets();
        assert_eq!(fixture.session.oldest_open(), Some(fixture.now));
        assert_eq!(fixture.publish(&Publish { dup: true, ..original }), PublishAction::Done);
        // PUBREL answers a PUBREC, and there was none.
        fixture.ack(AckKind::PubRel, 7);
        let not_found = if version == V5 { ReasonCode::PACKET_IDENTIFIER_NOT_FOUND } else { SUCCESS };
        assert_eq!(fixture.packets(), [pubcomp(7, not_found)]);
        fixture.routed(token, SUCCESS);
        assert_eq!(fixture.packets(), [pubrec(7, SUCCESS)]);
        fixture.ack(AckKind::PubRel, 7);
        assert_eq!(fixture.packets(), [pubcomp(7, SUCCESS)]);
        assert_eq!((fixture.session.open_tokens(), fixture.session.oldest_open()), (0, None));
    }
}

#[test]
fn a_qos2_publish_that_fails_while_the_client_is_away_is_routed_when_it_comes_again() {
    // Answered before the connection was lost but not written, or answered afterwards.
    for answered_before in [true, false] {
        let mut fixture = fixture(V5);
        let blocks = fixture.publish_open(&publish(QOS1, 1, b""));
        let token = fixture.publish_open(&publish(QOS2, 7, b""));
        if answered_before {
            fixture.routed(token, ReasonCode::QUOTA_EXCEEDED);
        }
        fixture.lose();
        fixture.routed(token, ReasonCode::QUOTA_EXCEEDED);
        fixture.routed(blocks, SUCCESS);
        fixture.connect(&lasting(V5), true);
        fixture.packets();
        let token = fixture.publish_open(&Publish { dup: true, ..publish(QOS2, 7, b"") });
        fixture.routed(token, SUCCESS);
        assert_eq!(fixture.packets(), [pubrec(7, SUCCESS)]);
    }
}

#[test]
fn what_an_earlier_connection_left_open_counts_until_it_is_routed() {
    let mut fixture = with_inflight_max(V5, 2);
    let tokens = [1, 2].map(|number| fixture.publish_open(&publish(QOS2, number, b"")));
    fixture.lose();
    fixture.connect(&lasting(V5), true);
    assert_eq!((fixture.session.open_tokens(), fixture.session.reading_paused()), (2, true));
    fixture.routed(tokens[1], SUCCESS);
    assert_eq!((fixture.session.open_tokens(), fixture.session.reading_paused()), (1, false));
}

#[test]
fn a_topic_alias_stands_for_the_topic_it_was_last_set_to() {
    let mut fixture = fixture(V5);
    let in_packet = PublishAction::Route { token: None, topic: TopicSource::InPacket };
    let alias = PublishAction::Route { token: None, topic: TopicSource::Alias };
    assert_eq!(fixture.publish(&with_alias("a/b", 32)), in_packet);
    assert_eq!(fixture.publish(&with_alias("c", 1)), in_packet);
    assert_eq!((fixture.publish(&with_alias("", 32)), fixture.topic.as_str()), (alias, "a/b"));
    assert_eq!(fixture.publish(&with_alias("d", 32)), in_packet);
    assert_eq!((fixture.publish(&with_alias("", 32)), fixture.topic.as_str()), (alias, "d"));
    assert_eq!((fixture.publish(&with_alias("", 1)), fixture.topic.as_str()), (alias, "c"));
}

#[test]
fn the_topics_of_aliases_may_not_be_long_all_together() {
    let mut fixture = Fixture::connected(&Connect::new(V5, "meter"), Limits::default());
    let in_packet = PublishAction::Route { token: None, topic: TopicSource::InPacket };
    // 32 aliases for topics of 1 KiB each, or fewer for longer ones.
    let topic = "t".repeat(8 * 1024);
    for alias in [1, 2, 3, 4, 4] {
        assert_eq!(fixture.publish(&with_alias(&topic, alias)), in_packet);
    }
    assert_eq!(fixture.publish(&with_alias("t", 5)), beyond(Limit::TopicAliases, ReasonCode::QUOTA_EXCEEDED));
    assert_eq!(fixture.publish(&with_alias("short", 4)), in_packet);
    assert_eq!(fixture.publish(&with_alias("t", 5)), in_packet);
}

#[test]
fn aliases_beyond_our_maximum_or_never_set_end_the_connection() {
    let mut fixture = fixture(V5);
    let invalid = beyond(Limit::TopicAliases, ReasonCode::TOPIC_ALIAS_INVALID);
    assert_eq!(fixture.publish(&with_alias("a", 33)), invalid);
    assert_eq!(fixture.publish(&with_alias("", 2)), PublishAction::Close(ReasonCode::PROTOCOL_ERROR));
    fixture.publish(&with_alias("a", 2));
    assert_eq!(fixture.publish(&with_alias("", 1)), PublishAction::Close(ReasonCode::PROTOCOL_ERROR));
    // Aliases end with the connection (MQTT 5.0, 3.3.2.3.4).
    fixture.lose();
    fixture.connect(&lasting(V5), true);
    assert_eq!(fixture.publish(&with_alias("", 2)), PublishAction::Close(ReasonCode::PROTOCOL_ERROR));
}

#[test]
fn what_we_said_we_do_not_take_ends_the_connection() {
    let limits = Limits {
        qos_max: QoS::AtLeastOnce,
        retain_available: false,
        topic: TopicLimits { levels_max: 2, bytes_max: 5 },
        ..Limits::default()
    };
    let mut fixture = Fixture::connected(&Connect::new(V5, "meter"), limits);
    let plain = publish(QOS0, 0, b"");
    let cases = [
        (publish(QOS2, 1, b""), PublishAction::Close(ReasonCode::QOS_NOT_SUPPORTED)),
        (Publish { retain: true, ..plain }, PublishAction::Close(ReasonCode::RETAIN_NOT_SUPPORTED)),
        (Publish { topic: "a/b/c", ..plain }, beyond(Limit::TopicLevels, ReasonCode::TOPIC_NAME_INVALID)),
        (Publish { topic: "//", ..plain }, beyond(Limit::TopicLevels, ReasonCode::TOPIC_NAME_INVALID)),
        (Publish { topic: "abcdef", ..plain }, beyond(Limit::TopicBytes, ReasonCode::TOPIC_NAME_INVALID)),
    ];
    for (refused, action) in cases {
        assert_eq!(fixture.publish(&refused), action, "{refused:?}");
    }
    let longest = Publish { topic: "ab/cd", ..publish(QOS1, 1, b"") };
    fixture.publish_open(&longest);
}

#[test]
fn a_publish_has_so_many_user_properties_and_no_more() {
    let limits = Limits { user_properties_max: 2, ..Limits::default() };
    let mut fixture = Fixture::connected(&Connect::new(V5, "meter"), limits);
    let with = |count: usize| (0..count).fold(PropertiesBuilder::new(), |builder, _| builder.user("", ""));
    let in_packet = PublishAction::Route { token: None, topic: TopicSource::InPacket };
    let too_many = beyond(Limit::UserProperties, ReasonCode::QUOTA_EXCEEDED);
    for (count, action) in [(0, in_packet), (2, in_packet), (3, too_many), (300, too_many)] {
        let builder = with(count);
        let properties = PublishProperties { forward: builder.forward(), ..PublishProperties::default() };
        assert_eq!(fixture.publish(&Publish { properties, ..publish(QOS0, 0, b"") }), action, "{count}");
    }
    // Other properties are no user properties, however long.
    let builder = with(2).content_type(&"c".repeat(1000));
    let properties = PublishProperties { forward: builder.forward(), ..PublishProperties::default() };
    assert_eq!(fixture.publish(&Publish { properties, ..publish(QOS0, 0, b"") }), in_packet);
}

fn beyond(limit: Limit, reason: ReasonCode) -> PublishAction {
    PublishAction::Beyond(Excess { limit, reason })
}
