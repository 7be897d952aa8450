//! Text, flags, identifiers, CONNECT and CONNACK (chapters 1 to 3.2), and how connections end (3.12, 3.14, 4.1, 4.8).

use crate::bed::Bed;
use crate::v5::{bytes, connack, connect, disconnect, session, will};
use crate::wire::{Client, Connect, Packet, Publish, V3, Will, packet, text};

crate::statements! {
    mqtt_1_5_3_1_ill_formed_utf8_closes_the_connection = bytes::mqtt_1_5_4_1_ill_formed_utf8_closes_the_connection,
    mqtt_1_5_3_2_a_null_character_closes_the_connection = bytes::mqtt_1_5_4_2_a_null_character_closes_the_connection,
    mqtt_1_5_3_3_a_byte_order_mark_is_a_character_like_others
        = bytes::mqtt_1_5_4_3_a_byte_order_mark_is_a_character_like_others,
    mqtt_2_2_2_1_what_the_server_sends_has_its_flags,
    mqtt_2_2_2_2_other_flags_close = bytes::mqtt_2_1_3_1_reserved_flags_have_their_value,
    mqtt_2_3_1_1_packet_identifier_0_is_an_error = bytes::mqtt_2_2_1_3_packet_identifier_0_is_an_error,
    mqtt_2_3_1_4_identifiers_in_use_are_not_given_out_again
        = bytes::mqtt_2_2_1_4_identifiers_in_use_are_not_given_out_again,
    mqtt_2_3_1_5_no_packet_identifier_at_qos_0 = bytes::mqtt_2_2_1_2_no_packet_identifier_at_qos_0,
    mqtt_2_3_1_6_acknowledgements_carry_the_identifier_of_the_publish
        = bytes::mqtt_2_2_1_5_acknowledgements_carry_the_identifier_of_the_publish,
    mqtt_2_3_1_7_answers_carry_the_identifier_of_the_request
        = bytes::mqtt_2_2_1_6_answers_carry_the_identifier_of_the_request,
    mqtt_3_1_0_1_the_first_packet_is_connect = connect::mqtt_3_1_0_1_the_first_packet_is_connect,
    mqtt_3_1_0_2_a_second_connect_closes = connect::mqtt_3_1_0_2_a_second_connect_closes,
    mqtt_3_1_2_1_another_protocol_name_closes = connect::mqtt_3_1_2_1_another_protocol_name_closes,
    mqtt_3_1_2_2_another_protocol_level_is_answered_and_closed,
    mqtt_3_1_2_3_the_reserved_connect_flag_is_zero = connect::mqtt_3_1_2_3_the_reserved_connect_flag_is_zero,
    mqtt_3_1_2_4_without_a_clean_session_the_session_is_resumed
        = session::mqtt_3_1_2_5_without_a_clean_start_the_session_is_resumed,
    mqtt_3_1_2_4_without_a_session_a_new_one_is_made = session::mqtt_3_1_2_6_without_a_session_a_new_one_is_made,
    mqtt_3_1_2_4_the_session_is_stored_however_the_connection_ends
        = session::mqtt_3_1_2_23_a_session_with_an_expiry_outlives_its_connection,
    mqtt_3_1_2_5_messages_of_qos_1_and_2_are_stored_for_the_absent
        = session::mqtt_4_5_0_1_messages_are_kept_for_every_session_that_matches,
    mqtt_3_1_2_6_a_clean_session_discards_the_one_before = session::mqtt_3_1_2_4_a_clean_start_discards_the_session,
    mqtt_3_1_2_6_a_clean_session_is_not_reused,
    mqtt_3_1_2_7_retained_messages_do_not_end_with_a_session,
    mqtt_3_1_2_8_a_will_goes_out_when_the_connection_ends_without_a_goodbye
        = will::mqtt_3_1_2_8_a_will_goes_out_when_the_connection_ends_without_a_goodbye,
    mqtt_3_1_2_8_a_will_is_stored_with_its_connection = will::mqtt_3_1_2_7_a_will_is_stored_with_the_session,
    mqtt_3_1_2_9_a_will_has_all_its_fields = connect::mqtt_3_1_2_9_a_will_has_all_its_fields,
    mqtt_3_1_2_10_a_will_that_went_out_is_forgotten = will::mqtt_3_1_2_10_a_will_that_went_out_is_forgotten,
    mqtt_3_1_2_11_without_its_flag_there_are_no_fields_of_a_will,
    mqtt_3_1_2_12_without_its_flag_there_is_no_will,
    mqtt_3_1_2_13_without_a_will_its_qos_is_zero = connect::mqtt_3_1_2_11_without_a_will_its_qos_is_zero,
    mqtt_3_1_2_14_a_will_has_qos_0_1_or_2 = connect::mqtt_3_1_2_12_a_will_has_qos_0_1_or_2,
    mqtt_3_1_2_15_without_a_will_its_retain_flag_is_zero
        = connect::mqtt_3_1_2_13_without_a_will_its_retain_flag_is_zero,
    mqtt_3_1_2_16_a_will_without_its_retain_flag_is_not_retained
        = will::mqtt_3_1_2_14_a_will_without_its_retain_flag_is_not_retained,
    mqtt_3_1_2_17_a_will_with_its_retain_flag_is_retained
        = will::mqtt_3_1_2_15_a_will_with_its_retain_flag_is_retained,
    mqtt_3_1_2_18_without_its_flag_there_is_no_user_name
        = connect::mqtt_3_1_2_16_without_its_flag_there_is_no_user_name,
    mqtt_3_1_2_19_with_its_flag_there_is_a_user_name = connect::mqtt_3_1_2_17_with_its_flag_there_is_a_user_name,
    mqtt_3_1_2_20_without_its_flag_there_is_no_password = connect::mqtt_3_1_2_18_without_its_flag_there_is_no_password,
    mqtt_3_1_2_21_with_its_flag_there_is_a_password = connect::mqtt_3_1_2_19_with_its_flag_there_is_a_password,
    mqtt_3_1_2_22_there_is_no_password_without_a_user_name,
    mqtt_3_1_2_24_silence_of_one_and_a_half_keep_alives_closes
        = connect::mqtt_3_1_2_22_silence_of_one_and_a_half_keep_alives_closes,
    mqtt_3_1_3_1_the_fields_are_in_their_order = connect::mqtt_3_1_3_1_the_fields_are_in_their_order,
    mqtt_3_1_3_2_the_client_id_names_the_session = session::mqtt_3_1_3_2_the_client_id_names_the_session,
    mqtt_3_1_3_3_there_is_a_client_id = connect::mqtt_3_1_3_3_there_is_a_client_id,
    mqtt_3_1_3_4_a_client_id_is_utf8 = connect::mqtt_3_1_3_4_a_client_id_is_utf8,
    mqtt_3_1_3_5_every_plain_client_id_is_allowed = connect::mqtt_3_1_3_5_every_plain_client_id_is_allowed,
    mqtt_3_1_3_6_clients_without_an_id_do_not_meet,
    mqtt_3_1_3_8_an_empty_client_id_needs_a_clean_session,
    mqtt_3_1_3_9_a_client_id_that_is_not_taken_is_answered_and_closed
        = connect::mqtt_3_1_3_8_a_client_id_that_is_not_taken_closes,
    mqtt_3_1_3_10_a_will_topic_is_utf8 = connect::mqtt_3_1_3_11_a_will_topic_is_utf8,
    mqtt_3_1_3_11_a_user_name_is_utf8 = connect::mqtt_3_1_3_12_a_user_name_is_utf8,
    mqtt_3_1_4_1_a_connect_that_does_not_fit_closes_without_an_answer,
    mqtt_3_1_4_2_the_older_connection_of_a_client_id_is_closed
        = connect::mqtt_3_1_4_3_the_older_connection_of_a_client_id_is_closed,
    mqtt_3_1_4_3_a_clean_session_ends_that_of_the_older_connection
        = connect::mqtt_3_1_4_4_a_clean_start_ends_the_session_of_the_older_connection,
    mqtt_3_1_4_4_a_connect_in_order_is_acknowledged = connect::mqtt_3_1_4_5_a_connect_in_order_is_acknowledged,
    mqtt_3_1_4_5_nothing_after_a_refused_connect_is_processed
        = connect::mqtt_3_1_4_6_nothing_after_a_refused_connect_is_processed,
    mqtt_3_2_0_1_connack_comes_first = connack::mqtt_3_2_0_1_connack_comes_first,
    mqtt_3_2_2_1_a_clean_session_has_no_session_present = connack::mqtt_3_2_2_2_a_clean_start_has_no_session_present,
    mqtt_3_2_2_2_session_present_tells_of_a_session = connack::mqtt_3_2_2_1_reserved_flags_are_zero,
    mqtt_3_2_2_3_no_session_present_without_a_session = connack::mqtt_3_2_2_3_session_present_tells_of_a_session,
    mqtt_3_2_2_4_a_refusal_has_no_session_present = connack::mqtt_3_2_2_6_a_refusal_has_no_session_present,
    mqtt_3_2_2_5_after_a_refusal_the_connection_is_closed
        = connack::mqtt_3_2_2_7_after_a_refusal_the_connection_is_closed,
    mqtt_3_2_2_6_a_reason_without_a_code_closes_without_an_answer,
    mqtt_3_12_4_1_pingreq_is_answered = disconnect::mqtt_3_12_4_1_pingreq_is_answered,
    mqtt_3_14_1_1_disconnect_has_its_flags = disconnect::mqtt_3_14_1_1_disconnect_has_its_flags,
    mqtt_3_14_4_3_a_goodbye_discards_the_will = will::mqtt_3_14_4_3_a_goodbye_discards_the_will,
    mqtt_4_1_0_1_a_session_is_stored_for_its_whole_duration
        = session::mqtt_3_1_2_23_a_session_with_an_expiry_outlives_its_connection,
    mqtt_4_1_0_2_a_session_lasts_as_long_as_its_connection
        = session::mqtt_4_1_0_1_a_session_lasts_as_long_as_its_connection,
    mqtt_4_8_0_1_a_protocol_violation_closes = disconnect::mqtt_4_13_1_1_a_malformed_packet_closes,
    mqtt_4_8_0_2_a_server_without_room_closes,
}

/// The client refuses other flags; this shows it every packet that a server sends.
pub fn mqtt_2_2_2_1_what_the_server_sends_has_its_flags(bed: &Bed) {
    let topic = bed.name("/x");
    let mut client = bed.connect("c");
    client.subscribe(&[(&topic, 2)]);
    for qos in 0..3 {
        client.publish(Publish::new(&topic, "x").qos(qos));
        client.only("x");
    }
    client.unsubscribe(&[&topic]);
    client.quiet();
}

/// What came before 3.1.1 under either name, and levels that there never were below it.
fn mqtt_3_1_2_2_another_protocol_level_is_answered_and_closed(bed: &Bed) {
    let hello = bed.hello("c");
    for (name, level) in [("MQIsdp", 3), ("MQTT", 3), ("MQTT", 0)] {
        let mut client = bed.open();
        client.send(&packet(0x10, &[hello.head(name, level, 2), hello.payload()].concat()));
        let got = client.until_closed();
        assert!(matches!(&got[..], [Packet::ConnAck(connack)] if connack.reason == 1), "{name} {level}: {got:?}");
    }
}

fn mqtt_3_1_2_6_a_clean_session_is_not_reused(bed: &Bed) {
    let topic = bed.name("/x");
    let mut client = bed.connect("c");
    client.subscribe(&[(&topic, 1)]);
    client.vanish();
    bed.connect("pub").publish(Publish::new(&topic, "for nobody").qos(1));
    let mut next = bed.join_beside(&client, &bed.hello("c").lasting());
    assert!(!next.connack.present);
    next.quiet();
}

fn mqtt_3_1_2_7_retained_messages_do_not_end_with_a_session(bed: &Bed) {
    let topic = bed.name("/x");
    let mut client = bed.connect("c");
    client.publish(Publish::new(&topic, "retained").qos(1).retain());
    client.disconnect();
    // The same id with a new clean session, in case anything of the old one goes only now.
    bed.connect("c").quiet();
    let mut late = bed.connect("late");
    late.subscribe(&[(&topic, 1)]);
    late.only("retained");
}

fn mqtt_3_1_2_11_without_its_flag_there_are_no_fields_of_a_will(bed: &Bed) {
    let hello = bed.hello("c").will(Will::new(bed.name("/will"), "x"));
    bytes::connect_is_refused(bed, &packet(0x10, &[hello.head("MQTT", V3, 2), hello.payload()].concat()), 0x81);
}

fn mqtt_3_1_2_12_without_its_flag_there_is_no_will(bed: &Bed) {
    let all = bed.name("/#");
    let mut watcher = bed.connect("watch");
    watcher.subscribe(&[(&all, 2)]);
    // Not even that of an earlier connection.
    bed.join(&bed.hello("c").will(Will::new(bed.name("/will"), "taken back"))).disconnect();
    bed.connect("c").vanish();
    bed.connect("mark").publish(Publish::new(bed.name("/mark"), "mark").qos(1));
    watcher.only("mark");
}

fn mqtt_3_1_2_22_there_is_no_password_without_a_user_name(bed: &Bed) {
    let mut hello = bed.hello("c");
    hello.password = Some(b"secret".to_vec());
    bytes::connect_is_refused(bed, &hello.encode(), 0x81);
}

fn mqtt_3_1_3_6_clients_without_an_id_do_not_meet(bed: &Bed) {
    let mut clients: Vec<Client> = (0..20).map(|_| bed.join(&Connect::new(V3, ""))).collect();
    let topic = bed.name("/x");
    clients.iter_mut().for_each(|client| client.subscribe(&[(&topic, 0)]));
    bed.connect("pub").publish(Publish::new(&topic, "for each"));
    for client in &mut clients {
        client.only("for each");
        client.quiet();
    }
}

fn mqtt_3_1_3_8_an_empty_client_id_needs_a_clean_session(bed: &Bed) {
    let (mut client, answer) = bed.offer(&Connect::new(V3, "").lasting());
    assert!(matches!(&answer, Packet::ConnAck(connack) if connack.reason == 2), "{answer:?}");
    client.closed();
}

fn mqtt_3_1_4_1_a_connect_that_does_not_fit_closes_without_an_answer(bed: &Bed) {
    let hello = bed.hello("c");
    let head = hello.head("MQTT", V3, 2);
    for body in [
        [head.clone(), hello.payload(), vec![0]].concat(),
        [head.clone(), vec![0, 9, b'x']].concat(),
        head[..9].to_vec(),
        [hello.head("MQTT", V3, 3), hello.payload()].concat(),
        [hello.head("MQTT", V3, 2 | 1 << 7), hello.payload(), text(b"\xff")].concat(),
    ] {
        bytes::connect_is_refused(bed, &packet(0x10, &body), 0x81);
    }
}

/// A will that could never be published: 3.1.1 has no code for it.
fn mqtt_3_2_2_6_a_reason_without_a_code_closes_without_an_answer(bed: &Bed) {
    let deep = bed.name(&"/x".repeat(1000));
    let mut client = bed.open();
    client.send(&bed.hello("c").will(Will::new(deep, "x")).encode());
    client.closed();
}

fn mqtt_4_8_0_2_a_server_without_room_closes(bed: &Bed) {
    let alone = bed.alone(&["limits.sessions=1"]);
    let mut first = alone.open_at(0);
    assert!(matches!(first.offer(&alone.hello("first")), Packet::ConnAck(connack) if connack.reason == 0));
    let mut second = alone.open_at(0);
    assert!(matches!(second.offer(&alone.hello("second")), Packet::ConnAck(connack) if connack.reason == 3));
    second.closed();
    first.quiet();
}
