//! PUBLISH, SUBSCRIBE, UNSUBSCRIBE and how messages are delivered (chapters 3.3 to 3.11 and 4).

use crate::bed::Bed;
use crate::v5::{acks, delivery, publish, retain, subscribe, topics, unsubscribe};
use crate::wire::Publish;

crate::statements! {
    mqtt_3_3_1_1_what_is_sent_again_has_dup = retain::mqtt_3_3_1_1_what_is_sent_again_has_dup,
    mqtt_3_3_1_2_dup_is_zero_at_qos_0 = retain::mqtt_3_3_1_2_dup_is_zero_at_qos_0,
    mqtt_3_3_1_3_dup_of_the_publisher_is_not_passed_on = retain::mqtt_3_3_1_3_dup_of_the_publisher_is_not_passed_on,
    mqtt_3_3_1_4_qos_3_closes = retain::mqtt_3_3_1_4_qos_3_closes,
    mqtt_3_3_1_5_a_retained_message_is_stored_with_its_qos
        = retain::mqtt_3_3_1_5_a_retained_message_replaces_the_one_before,
    mqtt_3_3_1_6_every_new_subscription_gets_what_is_retained = retain::mqtt_3_3_1_9_retain_handling_0_sends_every_time,
    mqtt_3_3_1_7_a_retained_message_of_qos_0_replaces_the_one_before,
    mqtt_3_3_1_8_what_comes_of_a_new_subscription_has_retain,
    mqtt_3_3_1_9_what_comes_of_an_old_subscription_has_no_retain
        = retain::mqtt_3_3_1_12_without_retain_as_published_the_flag_is_cleared,
    mqtt_3_3_1_10_an_empty_retained_message_removes_and_is_delivered
        = retain::mqtt_3_3_1_6_an_empty_retained_message_removes_and_is_delivered,
    mqtt_3_3_1_11_an_empty_retained_message_is_not_stored
        = retain::mqtt_3_3_1_7_an_empty_retained_message_is_not_stored,
    mqtt_3_3_1_12_without_retain_nothing_is_stored_or_replaced
        = retain::mqtt_3_3_1_8_without_retain_nothing_is_stored_or_replaced,
    mqtt_3_3_2_1_a_publish_begins_with_a_topic_name = publish::mqtt_3_3_2_1_a_publish_begins_with_a_topic_name,
    mqtt_3_3_2_2_a_topic_name_has_no_wildcards = publish::mqtt_3_3_2_2_a_topic_name_has_no_wildcards,
    mqtt_3_3_2_3_the_topic_of_a_delivery_matches_its_subscription
        = publish::mqtt_3_3_2_3_the_topic_of_a_delivery_matches_its_subscription,
    mqtt_3_3_4_1_each_qos_has_its_answer = publish::mqtt_3_3_4_1_each_qos_has_its_answer,
    mqtt_3_3_5_1_overlapping_subscriptions_give_the_highest_qos
        = publish::mqtt_3_3_4_2_overlapping_subscriptions_give_the_highest_qos,
    mqtt_3_3_5_2_a_publish_that_is_not_wanted_is_acknowledged,
    mqtt_3_6_1_1_pubrel_has_its_flags = acks::mqtt_3_6_1_1_pubrel_has_its_flags,
    mqtt_3_8_1_1_subscribe_has_its_flags = subscribe::mqtt_3_8_1_1_subscribe_has_its_flags,
    mqtt_3_8_3_1_topic_filters_are_utf8 = subscribe::mqtt_3_8_3_1_topic_filters_are_utf8,
    mqtt_3_8_3_2_wildcards_can_be_subscribed_to = topics::mqtt_4_7_0_1_wildcards_are_for_filters_only,
    mqtt_3_8_3_3_there_is_at_least_one_filter = subscribe::mqtt_3_8_3_2_there_is_at_least_one_filter,
    mqtt_3_8_3_4_reserved_bits_are_zero_and_qos_is_below_3 = subscribe::mqtt_3_8_3_5_reserved_options_are_zero,
    mqtt_3_8_4_1_subscribe_is_answered = subscribe::mqtt_3_8_4_1_subscribe_is_answered,
    mqtt_3_8_4_2_suback_has_the_packet_identifier = subscribe::mqtt_3_8_4_2_suback_has_the_packet_identifier,
    mqtt_3_8_4_3_the_same_filter_replaces_its_subscription
        = subscribe::mqtt_3_8_4_3_the_same_filter_replaces_its_subscription,
    mqtt_3_8_4_3_replacing_sends_retained_again_and_loses_nothing
        = subscribe::mqtt_3_8_4_4_replacing_sends_retained_again_and_loses_nothing,
    mqtt_3_8_4_4_many_filters_are_like_many_subscribes = subscribe::mqtt_3_8_4_5_many_filters_are_like_many_subscribes,
    mqtt_3_8_4_5_there_is_a_code_for_each_filter = subscribe::mqtt_3_8_4_6_there_is_a_code_for_each_filter,
    mqtt_3_8_4_5_a_code_grants_a_qos_or_refuses = subscribe::mqtt_3_8_4_7_a_code_grants_a_qos_or_refuses,
    mqtt_3_8_4_6_the_lower_qos_of_message_and_subscription_holds
        = subscribe::mqtt_3_8_4_8_the_lower_qos_of_message_and_subscription_holds,
    mqtt_3_9_3_1_codes_are_in_the_order_of_the_filters = subscribe::mqtt_3_9_3_1_codes_are_in_the_order_of_the_filters,
    mqtt_3_9_3_2_codes_are_those_of_suback = subscribe::mqtt_3_9_3_2_codes_are_those_of_suback,
    mqtt_3_10_1_1_unsubscribe_has_its_flags = unsubscribe::mqtt_3_10_1_1_unsubscribe_has_its_flags,
    mqtt_3_10_3_1_topic_filters_are_utf8 = unsubscribe::mqtt_3_10_3_1_topic_filters_are_utf8,
    mqtt_3_10_3_2_there_is_at_least_one_filter = unsubscribe::mqtt_3_10_3_2_there_is_at_least_one_filter,
    mqtt_3_10_4_1_only_the_same_filter_is_removed = unsubscribe::mqtt_3_10_4_1_only_the_same_filter_is_removed,
    mqtt_3_10_4_2_no_new_message_is_delivered = unsubscribe::mqtt_3_10_4_2_no_new_message_is_delivered,
    mqtt_3_10_4_3_a_delivery_that_began_is_completed = unsubscribe::mqtt_3_10_4_3_a_delivery_that_began_is_completed,
    mqtt_3_10_4_4_unsuback_has_the_packet_identifier = unsubscribe::mqtt_3_10_4_5_unsuback_has_the_packet_identifier,
    mqtt_3_10_4_5_unsubscribe_is_answered_without_a_subscription = unsubscribe::mqtt_3_10_4_4_unsubscribe_is_answered,
    mqtt_3_10_4_6_many_filters_are_like_many_unsubscribes
        = unsubscribe::mqtt_3_10_4_6_many_filters_are_like_many_unsubscribes,
    mqtt_4_3_1_1_a_delivery_of_qos_0_has_no_dup = delivery::mqtt_4_3_1_1_a_delivery_of_qos_0_has_no_dup,
    mqtt_4_3_2_1_a_delivery_of_qos_1_has_an_identifier_of_its_own
        = delivery::mqtt_4_3_2_1_a_delivery_of_qos_1_has_an_identifier_of_its_own,
    mqtt_4_3_2_1_a_delivery_of_qos_1_has_no_dup_the_first_time
        = delivery::mqtt_4_3_2_2_a_delivery_of_qos_1_has_no_dup_the_first_time,
    mqtt_4_3_2_1_a_delivery_of_qos_1_is_open_until_puback
        = delivery::mqtt_4_3_2_3_a_delivery_of_qos_1_is_open_until_puback,
    mqtt_4_3_2_2_a_publish_of_qos_1_is_answered_by_puback
        = delivery::mqtt_4_3_2_4_a_publish_of_qos_1_is_answered_by_puback,
    mqtt_4_3_2_2_after_puback_the_same_identifier_is_a_new_message
        = delivery::mqtt_4_3_2_5_after_puback_the_same_identifier_is_a_new_message,
    mqtt_4_3_3_1_a_delivery_of_qos_2_has_an_identifier_of_its_own
        = delivery::mqtt_4_3_3_1_a_delivery_of_qos_2_has_an_identifier_of_its_own,
    mqtt_4_3_3_1_a_delivery_of_qos_2_has_no_dup_the_first_time
        = delivery::mqtt_4_3_3_2_a_delivery_of_qos_2_has_no_dup_the_first_time,
    mqtt_4_3_3_1_a_delivery_of_qos_2_is_open_until_pubrec
        = delivery::mqtt_4_3_3_3_a_delivery_of_qos_2_is_open_until_pubrec,
    mqtt_4_3_3_1_pubrec_is_answered_by_pubrel = delivery::mqtt_4_3_3_4_pubrec_is_answered_by_pubrel,
    mqtt_4_3_3_1_pubrel_is_open_until_pubcomp = delivery::mqtt_4_3_3_5_pubrel_is_open_until_pubcomp,
    mqtt_4_3_3_1_after_pubrel_the_publish_is_not_sent_again
        = delivery::mqtt_4_3_3_6_after_pubrel_the_publish_is_not_sent_again,
    mqtt_4_3_3_2_a_publish_of_qos_2_is_answered_by_pubrec
        = delivery::mqtt_4_3_3_8_a_publish_of_qos_2_is_answered_by_pubrec,
    mqtt_4_3_3_2_before_pubrel_the_same_identifier_is_a_duplicate
        = delivery::mqtt_4_3_3_10_before_pubrel_the_same_identifier_is_a_duplicate,
    mqtt_4_3_3_2_pubrel_is_answered_by_pubcomp = delivery::mqtt_4_3_3_11_pubrel_is_answered_by_pubcomp,
    mqtt_4_3_3_2_after_pubcomp_the_same_identifier_is_a_new_message
        = delivery::mqtt_4_3_3_12_after_pubcomp_the_same_identifier_is_a_new_message,
    mqtt_4_4_0_1_what_is_unacknowledged_is_sent_again_on_reconnect
        = delivery::mqtt_4_4_0_1_what_is_unacknowledged_is_sent_again_on_reconnect_only,
    mqtt_4_5_0_1_messages_are_kept_for_every_session_that_matches
        = crate::v5::session::mqtt_4_5_0_1_messages_are_kept_for_every_session_that_matches,
    mqtt_4_6_0_1_what_is_sent_again_keeps_its_order = delivery::mqtt_4_6_0_1_what_is_sent_again_keeps_its_order,
    mqtt_4_6_0_2_pubacks_are_in_the_order_of_the_publishes
        = delivery::mqtt_4_6_0_2_pubacks_are_in_the_order_of_the_publishes,
    mqtt_4_6_0_3_pubrecs_are_in_the_order_of_the_publishes
        = delivery::mqtt_4_6_0_3_pubrecs_are_in_the_order_of_the_publishes,
    mqtt_4_6_0_4_pubrels_are_in_the_order_of_the_pubrecs
        = delivery::mqtt_4_6_0_4_pubrels_are_in_the_order_of_the_pubrecs,
    mqtt_4_6_0_5_every_topic_is_ordered = delivery::mqtt_4_6_0_6_every_topic_is_ordered,
    mqtt_4_6_0_6_messages_of_a_client_keep_their_order = delivery::mqtt_4_6_0_5_messages_of_a_client_keep_their_order,
    mqtt_4_7_1_1_wildcards_are_for_filters_only = topics::mqtt_4_7_0_1_wildcards_are_for_filters_only,
    mqtt_4_7_1_2_the_multi_level_wildcard_is_the_whole_last_level
        = topics::mqtt_4_7_1_1_the_multi_level_wildcard_is_the_whole_last_level,
    mqtt_4_7_1_3_the_single_level_wildcard_is_a_whole_level
        = topics::mqtt_4_7_1_2_the_single_level_wildcard_is_a_whole_level,
    mqtt_4_7_2_1_a_leading_wildcard_does_not_match_a_dollar
        = topics::mqtt_4_7_2_1_a_leading_wildcard_does_not_match_a_dollar,
    mqtt_4_7_3_1_topics_have_at_least_one_character = topics::mqtt_4_7_3_1_topics_have_at_least_one_character,
    mqtt_4_7_3_2_topics_have_no_null_character = topics::mqtt_4_7_3_2_topics_have_no_null_character,
    mqtt_4_7_3_3_topics_have_up_to_65535_bytes = topics::mqtt_4_7_3_3_topics_have_up_to_65535_bytes,
    mqtt_4_7_3_4_topics_are_compared_as_they_are = topics::mqtt_4_7_3_4_topics_are_compared_as_they_are,
    mqtt_7_0_0_2_no_extension_is_needed = super::connect::mqtt_2_2_2_1_what_the_server_sends_has_its_flags,
    mqtt_7_1_1_1_tcp_is_an_ordered_stream_of_bytes = delivery::mqtt_4_2_0_1_tcp_is_an_ordered_stream_of_bytes,
}

fn mqtt_3_3_1_7_a_retained_message_of_qos_0_replaces_the_one_before(bed: &Bed) {
    let topic = bed.name("/x");
    let mut publisher = bed.connect("pub");
    retain::retain(&mut publisher, &topic, "at QoS 1");
    publisher.publish(Publish::new(&topic, "at QoS 0").retain());
    // It has no acknowledgement; one that comes after it has.
    retain::retain(&mut publisher, &bed.name("/mark"), "mark");
    // We keep it, as the standard recommends.
    let got = retain::late(bed, "late", &topic, 2).only("at QoS 0");
    assert_eq!((got.qos, got.retain), (0, true));
}

fn mqtt_3_3_1_8_what_comes_of_a_new_subscription_has_retain(bed: &Bed) {
    let topic = bed.name("/x");
    let mut publisher = bed.connect("pub");
    retain::retain(&mut publisher, &topic, "retained");
    let mut late = retain::late(bed, "late", &topic, 1);
    assert!(late.only("retained").retain);
    publisher.publish(Publish::new(&topic, "live").qos(1).retain());
    assert!(!late.only("live").retain);
}

/// 3.1.1 has no words for a refusal: what cannot be retained is acknowledged, and those who subscribe have it.
fn mqtt_3_3_5_2_a_publish_that_is_not_wanted_is_acknowledged(bed: &Bed) {
    let alone = bed.alone(&["limits.retainedMessages=1"]);
    let topic = alone.name("/x");
    let mut subscriber = retain::late(&alone, "sub", &topic, 1);
    let mut client = alone.connect("c");
    client.publish(Publish::new(alone.name("/full"), "x").qos(1).retain());
    for qos in 1..3 {
        client.publish(Publish::new(&topic, "not retained").qos(qos).retain());
        subscriber.only("not retained");
    }
    client.quiet();
}
