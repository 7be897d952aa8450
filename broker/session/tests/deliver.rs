//! Messages to the client: windows, mailboxes, limits, and what is sent again after a reconnect.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

mod common;

use std::num::NonZeroU32;
use std::time::Duration;

use common::*;
use fulmar_codec::{AckKind, Connect, Packet, PropertiesBuilder, Publish, PublishProperties, ReasonCode, Version};
use fulmar_session::{AckAction, Deliver, Delivered, Drained, DropReason, Limits, Outgoing};

const V311: Version = Version::V311;
const V5: Version = Version::V5;
const SUCCESS: ReasonCode = ReasonCode::SUCCESS;
const QUEUED: Delivered = Delivered::Queued { evicted: 0, evicted_by_node: 0 };

fn fixture(connect: &Connect<'_>) -> Fixture {
    Fixture::connected(connect, Limits::default())
}

/// A client that takes so many publishes at once.
fn window(receive_maximum: u16) -> Connect<'static> {
    Connect { receive_maximum: maximum(receive_maximum), ..lasting(V5) }
}

fn drained(sent: usize) -> Drained {
    Drained { sent, ..Drained::default() }
}

#[test]
fn a_message_is_sent_at_the_lower_quality_of_publisher_and_subscription() {
    for version in [V311, V5] {
        let mut fixture = fixture(&lasting(version));
        for (published, subscribed) in [(QOS0, QOS2), (QOS2, QOS0), (QOS1, QOS2), (QOS2, QOS1), (QOS2, QOS2)] {
            assert_eq!(fixture.deliver_as(&outgoing(published, b"p"), to(subscribed)), Delivered::Sent);
        }
        let expected =
            [sent(QOS0, 0, b"p"), sent(QOS0, 0, b"p"), sent(QOS1, 1, b"p"), sent(QOS1, 2, b"p"), sent(QOS2, 3, b"p")];
        assert_eq!(fixture.packets(), expected);
    }
}

#[test]
fn a_message_carries_what_its_subscriptions_say_and_what_is_left_of_its_expiry() {
    let properties = PropertiesBuilder::new().content_type("text").user("a", "b");
    let forward = properties.forward();
    let expected = Publish {
        retain: true,
        properties: PublishProperties { message_expiry: Some(4), forward, ..Default::default() },
        ..publish(QOS1, 1, b"21.5")
    };
    let ids = |packets: &[Packet<'_>]| match packets {
        [Packet::Publish(publish)] => {
            let ids: Vec<_> = publish.properties.subscription_ids.iter().map(NonZeroU32::get).collect();
            let without = PublishProperties { subscription_ids: Default::default(), ..publish.properties };
            assert_eq!(Publish { properties: without, ..*publish }, expected);
            ids
        }
        other => panic!("{other:?} where one message was wanted"),
    };
    for subscription_ids in [&[][..], &[7], &[7, 268_435_455]] {
        // Sent at once, and out of the mailbox.
        for absent in [false, true] {
            let mut fixture = fixture(&lasting(V5));
            let expires = Some(fixture.now + Duration::from_secs(10));
            let outgoing = Outgoing { forward, expires, ..outgoing(QOS1, b"21.5") };
            if absent {
                fixture.lose();
            } else {
                fixture.pass(6);
            }
            let how = Deliver { retain: true, subscription_ids, ..to(QOS1) };
            assert_eq!(fixture.deliver_as(&outgoing, how), if absent { QUEUED } else { Delivered::Sent });
            if absent {
                fixture.pass(6);
                assert_eq!(fixture.connect(&lasting(V5), true), drained(1));
                let packets = fixture.packets();
                assert_eq!(ids(&packets[1..]), subscription_ids);
            } else {
                assert_eq!(ids(&fixture.packets()), subscription_ids);
            }
        }
    }
}

#[test]
fn expired_messages_are_dropped_at_once_and_in_the_mailbox() {
    let mut fixture = fixture(&window(1));
    let expires = Some(fixture.now + Duration::from_secs(5));
    let short_lived = Outgoing { expires, ..outgoing(QOS1, b"short") };
    assert_eq!(fixture.deliver(QOS1, b"1"), Delivered::Sent);
    assert_eq!(fixture.deliver_as(&short_lived, to(QOS1)), QUEUED);
    assert_eq!(fixture.deliver(QOS1, b"2"), QUEUED);
    fixture.pass(5);
    assert_eq!(fixture.deliver_as(&short_lived, to(QOS0)), Delivered::Dropped(DropReason::Expired));
    assert_eq!(fixture.ack(AckKind::PubAck, 1), AckAction::Completed);
    assert_eq!(fixture.drain(), Drained { sent: 1, expired: 1, ..Drained::default() });
    assert_eq!(fixture.packets(), [sent(QOS1, 1, b"1"), sent(QOS1, 2, b"2")]);
}

#[test]
fn a_packet_larger_than_the_client_takes_is_dropped() {
    // Fixed header 2, topic 3, packet id 2, property length 1, payload. CONNACK has to fit too.
    let connect = Connect { packet_bytes_max: NonZeroU32::new(32), receive_maximum: maximum(1), ..lasting(V5) };
    let mut fixture = fixture(&connect);
    let too_large = Delivered::Dropped(DropReason::PacketTooLarge);
    assert_eq!(fixture.deliver(QOS0, &[b'x'; 27]), too_large);
    assert_eq!(fixture.deliver(QOS0, &[b'x'; 26]), Delivered::Sent);
    assert_eq!(fixture.deliver(QOS1, &[b'x'; 25]), too_large);
    assert_eq!(fixture.deliver(QOS1, &[b'x'; 24]), Delivered::Sent);
    let with_id = Deliver { subscription_ids: &[1], ..to(QOS1) };
    assert_eq!(fixture.deliver_as(&outgoing(QOS1, &[b'x'; 24]), with_id), too_large);
    // What waited for a client that took more.
    fixture.lose();
    assert_eq!(fixture.deliver(QOS1, &[b'x'; 25]), QUEUED);
    assert_eq!(fixture.connect(&connect, true), drained(1));
    fixture.ack(AckKind::PubAck, 1);
    assert_eq!(fixture.drain(), Drained { too_large: 1, ..Drained::default() });
}

#[test]
fn qos_0_is_dropped_and_the_rest_waits_while_too_much_is_unsent() {
    let limits = Limits { output_bytes_max: 20, ..Limits::default() };
    let mut fixture = Fixture::connected(&lasting(V5), limits);
    assert_eq!(fixture.deliver(QOS0, &[b'x'; 14]), Delivered::Sent);
    assert_eq!(fixture.out.len(), 20);
    assert_eq!(fixture.deliver(QOS0, b"no"), Delivered::Dropped(DropReason::OutputFull));
    assert_eq!(fixture.deliver(QOS1, b"later"), QUEUED);
    assert_eq!(fixture.drain(), drained(0));
    fixture.packets();
    // Nothing overtakes what waits.
    assert_eq!(fixture.deliver(QOS1, b"last"), QUEUED);
    assert_eq!(fixture.drain(), drained(2));
    assert_eq!(fixture.packets(), [sent(QOS1, 1, b"later"), sent(QOS1, 2, b"last")]);
}

#[test]
fn no_more_is_open_than_the_client_and_our_own_limit_allow() {
    let limits = Limits { outbound_inflight_max: maximum(3), ..Limits::default() };
    for (receive_maximum, open) in [(1, 1), (2, 2), (3, 3), (65_535, 3)] {
        let mut fixture = Fixture::connected(&window(receive_maximum), limits.clone());
        let sent_at_once = (0..5).filter(|_| fixture.deliver(QOS2, b"") == Delivered::Sent).count();
        assert_eq!(
            (sent_at_once, fixture.session.in_flight(), fixture.session.queued_messages()),
            (open, open, 5 - open)
        );
    }
}

#[test]
fn with_receive_maximum_1_one_message_after_the_other_goes_through() {
    let mut fixture = fixture(&window(1));
    let payloads: [&[u8]; 4] = [b"1", b"2", b"3", b"4"];
    for (index, payload) in payloads.iter().enumerate() {
        let qos = if index % 2 == 0 { QOS2 } else { QOS1 };
        assert_eq!(fixture.deliver(qos, payload), if index == 0 { Delivered::Sent } else { QUEUED });
    }
    assert_eq!(fixture.packets(), [sent(QOS2, 1, b"1")]);
    assert_eq!((fixture.ack(AckKind::PubRec, 1), fixture.drain()), (AckAction::Nothing, drained(0)));
    assert_eq!(fixture.packets(), [pubrel(1, SUCCESS)]);
    assert_eq!((fixture.ack(AckKind::PubComp, 1), fixture.drain()), (AckAction::Completed, drained(1)));
    assert_eq!(fixture.packets(), [sent(QOS1, 2, b"2")]);
    assert_eq!((fixture.ack(AckKind::PubAck, 2), fixture.drain()), (AckAction::Completed, drained(1)));
    assert_eq!(fixture.packets(), [sent(QOS2, 3, b"3")]);
    // A refused message is over.
    assert_eq!(fixture.ack_with(AckKind::PubRec, 3, ReasonCode::QUOTA_EXCEEDED), AckAction::Completed);
    assert_eq!(fixture.drain(), drained(1));
    assert_eq!(fixture.packets(), [sent(QOS1, 4, b"4")]);
    assert_eq!((fixture.ack(AckKind::PubAck, 4), fixture.drain()), (AckAction::Completed, drained(0)));
    assert_eq!((fixture.session.in_flight(), fixture.session.queued_bytes()), (0, 0));
}

#[test]
fn all_65_535_identifiers_can_be_in_flight_and_wrap_around() {
    let limits = Limits { outbound_inflight_max: maximum(u16::MAX), output_bytes_max: usize::MAX, ..Limits::default() };
    let mut fixture = Fixture::connected(&Connect::new(V5, "meter"), limits);
    for _ in 0..1000 {
        fixture.deliver(QOS1, b"");
    }
    for number in 1..=1000 {
        assert_eq!(fixture.ack(AckKind::PubAck, number), AckAction::Completed);
    }
    for _ in 0..u16::MAX {
        assert_eq!(fixture.deliver(QOS1, b""), Delivered::Sent);
    }
    assert_eq!((fixture.session.in_flight(), fixture.deliver(QOS1, b"waits")), (65_535, QUEUED));
    fixture.packets();
    // The oldest is 1001. One that is acknowledged behind it leaves no room, because identifiers lie in a row.
    assert_eq!((fixture.ack(AckKind::PubAck, 1000), fixture.drain()), (AckAction::Completed, drained(0)));
    assert_eq!((fixture.ack(AckKind::PubAck, 1001), fixture.drain()), (AckAction::Completed, drained(1)));
    assert_eq!(fixture.packets(), [sent(QOS1, 1001, b"waits")]);
    for number in (1..=u16::MAX).rev().filter(|&number| number != 1000) {
        assert_eq!(fixture.ack(AckKind::PubAck, number), AckAction::Completed);
    }
    assert_eq!((fixture.session.in_flight(), fixture.deliver(QOS1, b"next")), (0, Delivered::Sent));
    assert_eq!(fixture.packets(), [sent(QOS1, 1002, b"next")]);
}

#[test]
fn a_client_that_never_acknowledges_the_oldest_cannot_make_the_row_grow_for_ever() {
    let limits = Limits { outbound_inflight_max: maximum(2), ..Limits::default() };
    let mut fixture = Fixture::connected(&lasting(V5), limits);
    fixture.deliver(QOS1, b"oldest");
    let mut sent_at_once = 0;
    while fixture.deliver(QOS1, b"next") == Delivered::Sent {
        sent_at_once += 1;
        fixture.ack(AckKind::PubAck, sent_at_once + 1);
    }
    assert_eq!((sent_at_once, fixture.session.in_flight(), fixture.session.queued_messages()), (31, 1, 1));
    fixture.packets();
    fixture.ack(AckKind::PubAck, 1);
    assert_eq!(fixture.drain(), drained(1));
}

#[test]
fn acknowledgements_of_unknown_identifiers_do_no_harm() {
    for version in [V311, V5] {
        let mut fixture = fixture(&lasting(version));
        assert_eq!(fixture.ack(AckKind::PubAck, 7), AckAction::Nothing);
        assert_eq!(fixture.ack(AckKind::PubComp, 7), AckAction::Nothing);
        assert_eq!(fixture.packets(), []);
        assert_eq!(fixture.ack(AckKind::PubRec, 7), AckAction::Nothing);
        let not_found = if version == V5 { ReasonCode::PACKET_IDENTIFIER_NOT_FOUND } else { SUCCESS };
        assert_eq!(fixture.packets(), [pubrel(7, not_found)]);
    }
}

#[test]
fn an_acknowledgement_of_the_wrong_kind_is_a_protocol_error() {
    let error = AckAction::Close(ReasonCode::PROTOCOL_ERROR);
    for (qos, kinds) in [(QOS1, [AckKind::PubRec, AckKind::PubComp]), (QOS2, [AckKind::PubAck, AckKind::PubComp])] {
        for kind in kinds {
            let mut fixture = fixture(&lasting(V5));
            fixture.deliver(qos, b"");
            assert_eq!((fixture.ack(kind, 1), fixture.session.in_flight()), (error, 1));
        }
    }
}

#[test]
fn a_full_mailbox_drops_its_oldest_messages() {
    let limits = Limits { queued_messages_max: 2, ..Limits::default() };
    let mut fixture = Fixture::connected(&lasting(V5), limits);
    fixture.lose();
    assert_eq!(fixture.deliver(QOS1, b"1"), QUEUED);
    assert_eq!(fixture.deliver(QOS1, b"2"), QUEUED);
    assert_eq!(fixture.deliver(QOS2, b"3"), Delivered::Queued { evicted: 1, evicted_by_node: 0 });
    assert_eq!(fixture.connect(&lasting(V5), true), drained(2));
    assert_eq!(fixture.packets()[1..], [sent(QOS1, 1, b"2"), sent(QOS2, 2, b"3")]);
}

#[test]
fn the_bytes_of_a_mailbox_are_bounded_too() {
    let limits = Limits { queued_bytes_max: 1000, ..Limits::default() };
    let mut fixture = Fixture::connected(&lasting(V5), limits);
    fixture.lose();
    for _ in 0..3 {
        assert_eq!(fixture.deliver(QOS1, &[0; 200]), QUEUED);
    }
    assert!((800..=1000).contains(&fixture.session.queued_bytes()));
    assert_eq!(fixture.deliver(QOS1, &[0; 500]), Delivered::Queued { evicted: 2, evicted_by_node: 0 });
    assert!((700..=1000).contains(&fixture.session.queued_bytes()));
    // One that is too large for an empty mailbox drives nobody out.
    assert_eq!(fixture.deliver(QOS1, &[0; 1000]), Delivered::Dropped(DropReason::QueueFull));
    assert_eq!(fixture.session.queued_messages(), 2);

    let mut fixture = Fixture::connected(&lasting(V5), Limits { queued_messages_max: 0, ..Limits::default() });
    fixture.lose();
    assert_eq!(fixture.deliver(QOS1, b""), Delivered::Dropped(DropReason::QueueFull));
}

#[test]
fn an_absent_client_misses_qos_0_and_all_if_its_session_does_not_last() {
    let not_connected = Delivered::Dropped(DropReason::NotConnected);
    let mut lasts = fixture(&lasting(V5));
    lasts.lose();
    assert_eq!((lasts.deliver(QOS0, b""), lasts.deliver(QOS1, b"")), (not_connected, QUEUED));
    let mut ends = fixture(&Connect::new(V5, "meter"));
    ends.lose();
    assert_eq!((ends.deliver(QOS0, b""), ends.deliver(QOS1, b"")), (not_connected, not_connected));
}

#[test]
fn what_was_open_is_sent_again_in_its_order_before_what_waits() {
    for version in [V311, V5] {
        let mut fixture = fixture(&lasting(version));
        fixture.deliver(QOS1, b"1");
        fixture.deliver(QOS2, b"2");
        fixture.deliver(QOS2, b"3");
        fixture.deliver(QOS1, b"4");
        fixture.deliver(QOS1, b"5");
        fixture.ack(AckKind::PubRec, 2);
        fixture.ack(AckKind::PubAck, 4);
        fixture.lose();
        assert_eq!(fixture.deliver(QOS1, b"6"), QUEUED);
        assert_eq!(fixture.connect(&lasting(version), true), drained(4));
        let expected = [
            Packet::ConnAck(connack(true, version, &fixture.limits.clone())),
            sent_again(QOS1, 1, b"1"),
            pubrel(2, SUCCESS),
            sent_again(QOS2, 3, b"3"),
            sent_again(QOS1, 5, b"5"),
            sent(QOS1, 6, b"6"),
        ];
        assert_eq!(fixture.packets(), expected);
    }
}

#[test]
fn nothing_is_sent_again_on_a_live_connection() {
    let mut fixture = fixture(&lasting(V5));
    fixture.deliver(QOS1, b"1");
    fixture.deliver(QOS2, b"2");
    fixture.packets();
    fixture.pass(3600);
    assert_eq!((fixture.drain(), fixture.packets()), (drained(0), vec![]));
}

#[test]
fn a_smaller_receive_maximum_is_kept_to_when_sending_again() {
    let mut fixture = fixture(&lasting(V5));
    for payload in [b"1", b"2", b"3"] {
        fixture.deliver(QOS1, payload);
    }
    fixture.lose();
    assert_eq!(fixture.connect(&window(1), true), drained(1));
    assert_eq!(fixture.packets()[1..], [sent_again(QOS1, 1, b"1")]);
    // An answer to what the earlier connection carried.
    assert_eq!(fixture.ack(AckKind::PubAck, 2), AckAction::Completed);
    assert_eq!((fixture.drain(), fixture.deliver(QOS1, b"4")), (drained(0), QUEUED));
    assert_eq!((fixture.ack(AckKind::PubAck, 1), fixture.drain()), (AckAction::Completed, drained(1)));
    assert_eq!(fixture.packets(), [sent_again(QOS1, 3, b"3")]);
    assert_eq!((fixture.ack(AckKind::PubAck, 3), fixture.drain()), (AckAction::Completed, drained(1)));
    assert_eq!(fixture.packets(), [sent(QOS1, 4, b"4")]);
}

#[test]
fn what_has_become_too_large_for_the_client_is_finished_without_being_sent() {
    let mut fixture = fixture(&lasting(V5));
    fixture.deliver(QOS1, &[0; 100]);
    fixture.deliver(QOS2, &[0; 100]);
    fixture.deliver(QOS1, b"small");
    fixture.lose();
    let connect = Connect { packet_bytes_max: NonZeroU32::new(50), ..lasting(V5) };
    assert_eq!(fixture.connect(&connect, true), Drained { sent: 1, too_large: 2, ..Drained::default() });
    // The client may hold the identifier of QoS 2, so it is released.
    assert_eq!(fixture.packets()[1..], [pubrel(2, SUCCESS), sent_again(QOS1, 3, b"small")]);
    assert_eq!(fixture.session.in_flight(), 2);
    assert_eq!((fixture.ack(AckKind::PubComp, 2), fixture.session.in_flight()), (AckAction::Completed, 1));
}

#[test]
fn a_pubrec_that_comes_again_is_answered_again_unless_it_is_a_failure() {
    let mut fixture = fixture(&lasting(V5));
    fixture.deliver(QOS2, b"1");
    fixture.packets();
    for _ in 0..2 {
        assert_eq!(fixture.ack(AckKind::PubRec, 1), AckAction::Nothing);
        assert_eq!(fixture.packets(), [pubrel(1, SUCCESS)]);
    }
    // The client has lost its state in the meantime.
    assert_eq!(fixture.ack_with(AckKind::PubRec, 1, ReasonCode::UNSPECIFIED_ERROR), AckAction::Completed);
    assert_eq!((fixture.session.in_flight(), fixture.packets()), (0, vec![]));
}

#[test]
fn an_expired_message_is_sent_again_once_it_is_in_flight() {
    let mut fixture = fixture(&lasting(V5));
    let expires = Some(fixture.now + Duration::from_secs(5));
    fixture.deliver_as(&Outgoing { expires, ..outgoing(QOS2, b"1") }, to(QOS2));
    fixture.lose();
    fixture.pass(10);
    assert_eq!(fixture.connect(&lasting(V5), true), drained(1));
    let properties = PublishProperties { message_expiry: Some(0), ..Default::default() };
    let expected = Publish { dup: true, properties, ..publish(QOS2, 1, b"1") };
    assert_eq!(fixture.packets()[1..], [Packet::Publish(expected)]);
}

#[test]
fn a_takeover_in_the_middle_of_draining_goes_on_where_the_old_connection_stood() {
    let limits = Limits { output_bytes_max: 35, ..Limits::default() };
    let mut fixture = Fixture::connected(&lasting(V5), limits);
    fixture.lose();
    for payload in [b"1", b"2", b"3", b"4", b"5", b"6"] {
        fixture.deliver(QOS2, payload);
    }
    assert_eq!(fixture.connect(&lasting(V5), true), drained(3));
    fixture.out.clear();
    fixture.ack(AckKind::PubRec, 1);
    fixture.ack(AckKind::PubRec, 2);
    fixture.ack(AckKind::PubComp, 2);
    // Taken over without a word about the end of the old connection.
    fixture.out.clear();
    assert_eq!(fixture.connect(&lasting(V5), true), drained(2));
    let packets = fixture.packets();
    assert_eq!(packets[1..], [pubrel(1, SUCCESS), sent_again(QOS2, 3, b"3"), sent(QOS2, 4, b"4")]);
    assert_eq!(fixture.drain(), drained(2));
    assert_eq!(fixture.packets(), [sent(QOS2, 5, b"5"), sent(QOS2, 6, b"6")]);
}

#[test]
fn what_a_member_of_a_shared_subscription_did_not_acknowledge_is_owed_to_others() {
    let held = |connect: &Connect<'_>, share: Option<NonZeroU32>| {
        // The first is sent at once, the second waits.
        let mut fixture = fixture(&Connect { receive_maximum: maximum(1), ..*connect });
        for payload in [b"1", b"2"] {
            fixture.deliver_as(&outgoing(QOS1, payload), Deliver { share, ..to(QOS1) });
        }
        let owed = |fixture: &Fixture| -> Vec<_> {
            fixture.session.owed().map(|(share, message)| (share, message.view().payload.to_vec())).collect()
        };
        let at_once = owed(&fixture);
        fixture.ack(AckKind::PubAck, 1);
        assert_eq!(fixture.drain(), drained(1));
        (at_once, owed(&fixture))
    };
    let share = NonZeroU32::MIN;
    let (one, two) = ((share, b"1".to_vec()), (share, b"2".to_vec()));
    for connect in [Connect::new(V5, "meter"), lasting(V5)] {
        assert_eq!(held(&connect, None), (vec![], vec![]));
        assert_eq!(held(&connect, Some(share)), (vec![one.clone(), two.clone()], vec![two.clone()]));
    }
}

#[test]
fn what_was_sent_with_qos_2_is_owed_to_nobody_else_and_what_waits_is() {
    let mut fixture = fixture(&Connect { receive_maximum: maximum(1), ..lasting(V5) });
    for payload in [b"1", b"2"] {
        fixture.deliver_as(&outgoing(QOS2, payload), Deliver { share: Some(NonZeroU32::MIN), ..to(QOS2) });
    }
    let owed: Vec<_> = fixture.session.owed().map(|(_, message)| message.view().payload.to_vec()).collect();
    assert_eq!(owed, [b"2".to_vec()]);
}

#[test]
fn what_is_held_ends_with_its_acknowledgement() {
    let mut fixture = fixture(&window(2));
    for (qos, payload) in [(QOS1, b"1"), (QOS2, b"2"), (QOS1, b"3"), (QOS1, b"4")] {
        fixture.deliver(qos, payload);
    }
    let each = fixture.share.used() / 4;
    let held = |fixture: &Fixture| fixture.share.used() as f64 / each as f64;
    assert_eq!(held(&fixture), 4.0);
    // The body of a message of QoS 2 is not needed from here on (MQTT 5.0, 4.3.3).
    fixture.ack(AckKind::PubRec, 2);
    assert_eq!(held(&fixture), 3.0);
    fixture.ack(AckKind::PubAck, 1);
    assert_eq!(held(&fixture), 2.0);
    fixture.drain();
    fixture.ack(AckKind::PubAck, 3);
    assert_eq!(held(&fixture), 1.0);
}

#[test]
fn looks_at_the_oldest_delivery_count_from_its_last_step() {
    let mut fixture = fixture(&window(2));
    let look = |fixture: &mut Fixture| fixture.session.look_at_oldest_delivery(false);
    assert_eq!([(); 3].map(|()| look(&mut fixture)), [0, 0, 0]);
    fixture.deliver(QOS2, b"1");
    fixture.deliver(QOS1, b"2");
    // It may be a moment old at the first look.
    assert_eq!([(); 3].map(|()| look(&mut fixture)), [0, 1, 2]);
    // A younger one that is done does not help the oldest.
    fixture.ack(AckKind::PubAck, 2);
    assert_eq!(look(&mut fixture), 3);
    fixture.ack(AckKind::PubRec, 1);
    assert_eq!([(); 2].map(|()| look(&mut fixture)), [0, 1]);
    fixture.deliver(QOS1, b"3");
    fixture.ack(AckKind::PubComp, 1);
    assert_eq!([(); 3].map(|()| look(&mut fixture)), [0, 1, 2]);
    // Nobody listened to the client meanwhile.
    assert_eq!(fixture.session.look_at_oldest_delivery(true), 0);
    assert_eq!([(); 2].map(|()| look(&mut fixture)), [0, 1]);
    fixture.lose();
    assert_eq!([(); 2].map(|()| look(&mut fixture)), [0, 0]);
    // It is sent again, and all begins anew.
    fixture.connect(&window(2), true);
    assert_eq!([(); 2].map(|()| look(&mut fixture)), [0, 1]);
    fixture.ack(AckKind::PubAck, 3);
    assert_eq!([(); 2].map(|()| look(&mut fixture)), [0, 0]);
}
