//! Sessions that end or come back.

use super::*;

#[test]
fn sessions_that_end_at_one_time_end_in_portions() {
    let mut thread = Thread::new(1_000_000);
    for number in 0..2000 {
        let conn = thread.connect_for(&format!("client-{number}"), 1);
        thread.worker.closed(conn, fulmar_worker::Closed::Eof, thread.now, &mut Pauses::default());
        thread.end_turn();
    }
    assert_eq!(thread.worker.gauges().sessions, 2000);
    thread.now += Duration::from_secs(5);
    let mut left = 2000;
    while left > 0 {
        let next = thread.worker.tick(thread.now, &mut Pauses::default());
        thread.worker.end_turn();
        let sessions = thread.worker.gauges().sessions;
        assert!(sessions < left && left - sessions <= 100 + 16, "{} in one turn", left - sessions);
        assert!(sessions == 0 || next == Some(thread.now), "the next turn follows at once");
        left = sessions;
    }
    assert_eq!(thread.worker.counters().sessions_expired, 2000);
}

#[test]
fn a_member_of_many_shared_groups_that_goes_and_comes_back_counts_as_the_work_that_it_is() {
    let mut thread = Thread::new(1_000_000);
    let conn = thread.connect_for("member", 60);
    let filters: Vec<String> = (0..1000).map(|number| format!("$share/group/a/{number}")).collect();
    for filters in filters.chunks(100) {
        thread.send(conn, &subscribe(None, filters));
    }
    thread.end_turn();
    thread.worker.closed(conn, fulmar_worker::Closed::Eof, thread.now, &mut Pauses::default());
    assert!(thread.worker.is_sated(), "nobody else is read in the turn in which it goes");
    thread.end_turn();
    let mut bytes = Vec::new();
    let connect = Connect { session_expiry: 60, clean_start: false, ..Connect::new(Version::V5, "member") };
    encode_connect(&mut bytes, &connect);
    let conn = thread.accept();
    thread.receive(conn, &bytes);
    assert!(thread.worker.is_sated(), "nor in the one in which it comes back");
}

#[test]
fn a_session_with_many_subscriptions_ends_in_portions_and_its_client_can_come_again_at_once() {
    let mut thread = Thread::new(1_000_000);
    let publisher = thread.connect("publisher");
    let conn = thread.connect("bomb");
    let filters: Vec<String> = (0..5000).map(|number| format!("a/{number}/b")).collect();
    for filters in filters.chunks(500) {
        thread.send(conn, &subscribe(None, filters));
    }
    thread.end_turn();
    thread.worker.closed(conn, fulmar_worker::Closed::Eof, thread.now, &mut Pauses::default());
    // Somebody new with the same name, who gets what it asks for and nothing of what was asked for before.
    let again = thread.connect("bomb");
    thread.send(again, &subscribe(None, &["a/4999/b".into()]));
    thread.output(again);
    let (mut turns, mut left) = (0, thread.worker.gauges().subscriptions);
    assert!(left > 4700, "{left} subscriptions are left");
    while left > 1 {
        thread.publish(publisher, "a/4998/b", b"not for it", false);
        thread.publish(publisher, "a/4999/b", b"for it", false);
        thread.end_turn();
        let output = thread.output(again);
        assert!(contains(&output, "for it") && !contains(&output, "not for it"), "turn {turns}");
        let subscriptions = thread.worker.gauges().subscriptions;
        assert!(subscriptions < left && left - subscriptions <= 600, "{} in one turn", left - subscriptions);
        (turns, left) = (turns + 1, subscriptions);
    }
    assert_eq!((thread.worker.gauges().sessions, thread.worker.gauges().subscriptions), (2, 1));
    let once = thread.worker.counters().deliveries_qos0;
    assert_eq!(once, turns, "each message was delivered once");
}

#[test]
fn a_member_of_many_shared_groups_ends_in_portions_and_takes_no_work_meanwhile() {
    // The other member is there, or away while its session waits for it.
    for is_there in [true, false] {
        let mut thread = Thread::new(1_000_000);
        let (publisher, other) = (thread.connect("publisher"), thread.connect_for("other", 60));
        let ends = thread.connect("ends");
        let filters: Vec<String> = (0..5000).map(|number| format!("$share/group/a/{number}")).collect();
        thread.send(other, &subscribe_at(QoS::AtLeastOnce, None, &filters[4998..]));
        for filters in filters.chunks(500) {
            thread.send(ends, &subscribe_at(QoS::AtLeastOnce, None, filters));
        }
        thread.end_turn();
        for conn in [ends, other].into_iter().take(2 - usize::from(is_there)) {
            thread.worker.closed(conn, fulmar_worker::Closed::Eof, thread.now, &mut Pauses::default());
        }
        let (mut turns, mut left) = (0, thread.worker.gauges().subscriptions);
        assert!(left > 4700, "{left} subscriptions are left");
        while left > 2 {
            let head = PublishHead { qos: QoS::AtLeastOnce, packet_id: Some(PacketId::MIN), ..PublishHead::default() };
            let mut bytes = Vec::new();
            for topic in ["a/4998", "a/4999"] {
                encode_publish(&mut bytes, Version::V5, &head, topic, &ForwardProperties::EMPTY, b"work");
            }
            thread.send(publisher, &bytes);
            thread.end_turn();
            let subscriptions = thread.worker.gauges().subscriptions;
            assert!(subscriptions < left && left - subscriptions <= 600, "{} in one turn", left - subscriptions);
            (turns, left) = (turns + 1, subscriptions);
        }
        assert!(turns >= 9, "{turns} turns of 600 subscriptions at most");
        let counters = thread.worker.counters();
        assert_eq!((counters.deliveries_qos1, counters.dropped_no_member), (2 * turns, 0), "there: {is_there}");
    }
}
