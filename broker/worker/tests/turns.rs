//! No turn of a data thread is long: what there is to do at one time is done in portions, and whoever comes meanwhile
//! is served between them.

mod thread;

use fulmar_auth::{AccessFile, AccessLimits};
use fulmar_codec::{
    Connect, ForwardProperties, PacketId, PublishHead, QoS, SubscribeFilter, SubscriptionOptions, Version,
    encode_connect, encode_pingreq, encode_publish, encode_subscribe, encode_unsubscribe,
};
use fulmar_worker::{AuthSettings, ConnId, Consumed, Limits, Rules};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use thread::{Pauses, Thread};

/// Its sockets take all that there is for them.
impl Thread {
    /// A turn does work for so many nanoseconds, as the worker estimates it.
    fn new(turn_effort: u64) -> Thread {
        Thread::of(Limits { turn_effort, subscriptions_per_client: 10_000, ..Limits::default() })
    }

    fn of(limits: Limits) -> Thread {
        Thread::with(limits, AuthSettings::new([7; 32]))
    }

    fn connect_for(&mut self, client_id: &str, session_expiry: u32) -> ConnId {
        let conn = self.accept();
        let mut bytes = Vec::new();
        encode_connect(&mut bytes, &Connect { session_expiry, ..Connect::new(Version::V5, client_id) });
        self.send(conn, &bytes);
        conn
    }

    fn connect(&mut self, client_id: &str) -> ConnId {
        self.connect_for(client_id, 0)
    }

    /// One read. What the worker does not take is what it gives back.
    fn receive(&mut self, conn: ConnId, bytes: &[u8]) -> Consumed {
        self.worker.received(conn, bytes, self.now, &mut Pauses::default())
    }

    /// Reads in as many turns as it takes, and gives their number.
    fn send(&mut self, conn: ConnId, mut bytes: &[u8]) -> usize {
        for turns in 0.. {
            let consumed = self.receive(conn, bytes);
            bytes = &bytes[consumed.bytes..];
            if bytes.is_empty() && !consumed.paused {
                return turns;
            }
            assert_eq!(self.end_turn(), [conn], "whoever is put off is read in the next turn");
        }
        unreachable!("the loop returns")
    }

    fn publish(&mut self, conn: ConnId, topic: &str, payload: &[u8], retain: bool) {
        let head = PublishHead { retain, ..PublishHead::default() };
        let mut bytes = Vec::new();
        encode_publish(&mut bytes, Version::V5, &head, topic, &ForwardProperties::EMPTY, payload);
        self.send(conn, &bytes);
    }

    /// Gives who is read again.
    fn end_turn(&mut self) -> Vec<ConnId> {
        let mut out = Pauses::default();
        self.worker.tick(self.now, &mut out);
        for conn in std::mem::take(self.worker.dirty()) {
            self.worker.written(conn, 0);
        }
        self.worker.end_turn();
        resumed(&out)
    }

    /// Ends turns until a change of rules is carried out, and gives their number. None of them is long.
    fn carry_out_rules(&mut self) -> usize {
        for turns in 1.. {
            let before = self.worker.gauges().subscriptions;
            let next = self.worker.tick(self.now, &mut Pauses::default());
            self.worker.end_turn();
            let lost = before - self.worker.gauges().subscriptions;
            assert!(lost <= 250, "{lost} subscriptions in one turn");
            if next != Some(self.now) {
                return turns;
            }
        }
        unreachable!("the loop returns")
    }

    /// What a client was sent since the last time.
    fn output(&mut self, conn: ConnId) -> Vec<u8> {
        std::mem::take(self.worker.output(conn).expect("it is connected"))
    }
}

fn resumed(out: &Pauses) -> Vec<ConnId> {
    out.0.iter().filter(|(_, paused)| !paused).map(|(conn, _)| *conn).collect()
}

fn subscribe(subscription_id: Option<u32>, filters: &[String]) -> Vec<u8> {
    subscribe_at(QoS::AtMostOnce, subscription_id, filters)
}

fn subscribe_at(qos: QoS, subscription_id: Option<u32>, filters: &[String]) -> Vec<u8> {
    let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
    let filters: Vec<_> = filters.iter().map(|filter| SubscribeFilter { filter, options }).collect();
    let mut bytes = Vec::new();
    let id = subscription_id.and_then(NonZeroU32::new);
    encode_subscribe(&mut bytes, Version::V5, PacketId::MIN, id, &filters);
    bytes
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn a_flood_of_packets_of_one_client_is_taken_in_portions() {
    let mut thread = Thread::new(1_000_000);
    let conn = thread.connect("flood");
    thread.end_turn();
    let mut bytes = Vec::new();
    (0..40_000).for_each(|_| encode_pingreq(&mut bytes));
    let turns = thread.send(conn, &bytes);
    assert!((35..=60).contains(&turns), "{turns} turns of 1,000 packets at most: a quarter is for one client");
    assert_eq!(thread.output(conn).iter().filter(|byte| **byte == 0xd0).count(), 40_000);
}

#[test]
fn who_looks_at_a_whole_store_of_retained_messages_does_so_in_several_turns_and_others_go_on() {
    let mut thread = Thread::new(1_000_000);
    let publisher = thread.connect("publisher");
    for number in 0..20_000 {
        thread.publish(publisher, &format!("t/{number:05}/x"), b"1", true);
    }
    thread.publish(publisher, "t/99999/last", b"the last one", true);
    thread.end_turn();
    let (searcher, other) = (thread.connect("searcher"), thread.connect("other"));
    thread.send(other, &subscribe(None, &["news".into()]));
    thread.end_turn();
    thread.output(other);
    let mut turns = thread.send(searcher, &subscribe(None, &["t/+/last".into()]));
    while !contains(&thread.output(searcher), "the last one") {
        turns += 1;
        assert!(turns < 100, "the last one never comes");
        thread.end_turn();
        // One turn at a time: a publish of somebody else is through before the search goes on.
        thread.publish(publisher, "news", b"meanwhile", false);
        assert!(contains(&thread.output(other), "meanwhile"), "turn {turns}");
    }
    assert!(turns >= 4, "20,000 topics were looked at in {turns} turns, at most 5,000 are wanted in one");
}

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
fn filters_count_as_the_work_that_they_are() {
    let mut thread = Thread::new(1_000_000);
    let conn = thread.connect("bomb");
    thread.end_turn();
    let filters = |from: usize| (from..from + 100).map(|number| format!("a/{number}/b")).collect::<Vec<_>>();
    let mut bytes: Vec<u8> = (0..50).flat_map(|packet| subscribe(None, &filters(packet * 100))).collect();
    let subscribing = thread.send(conn, &bytes);
    assert_eq!(thread.worker.gauges().subscriptions, 5000);
    bytes.clear();
    for packet in 0..50 {
        let filters = filters(packet * 100);
        let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
        encode_unsubscribe(&mut bytes, Version::V5, PacketId::MIN, &filters);
    }
    let unsubscribing = thread.send(conn, &bytes);
    assert_eq!(thread.worker.gauges().subscriptions, 0);
    assert!(subscribing >= 9 && unsubscribing >= 9, "{subscribing} and {unsubscribing} turns of 500 filters each");
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
fn overlapping_subscriptions_give_each_receiver_its_own_identifiers() {
    let mut thread = Thread::new(1_000_000_000);
    let clients: Vec<_> = (0..3).map(|number| thread.connect(&format!("client-{number}"))).collect();
    for (index, conn) in (1..).zip(&clients) {
        for (number, filter) in (1..).zip(["a/b", "a/+", "+/b", "#"]) {
            thread.send(*conn, &subscribe(Some(index * 10 + number), &[filter.to_owned()]));
        }
        thread.output(*conn);
    }
    thread.publish(clients[0], "a/b", b"!", false);
    for (index, conn) in (1..).zip(&clients) {
        let output = thread.output(*conn);
        // Fixed header, topic, property length, then pairs of 0x0b and an identifier of one byte.
        let mut ids: Vec<u8> = output[8..output.len() - 1].chunks(2).map(|pair| pair[1]).collect();
        ids.sort_unstable();
        assert_eq!(ids, [1, 2, 3, 4].map(|number| index * 10 + number), "{output:02x?}");
    }
}

/// Every combination of `+` and a level: all of them match one topic.
fn overlapping_filters(levels: usize) -> Vec<String> {
    let level = |index: usize, bit: usize| if index >> bit & 1 == 0 { "+".to_owned() } else { format!("l{bit}") };
    (0..1 << levels).map(|index| (0..levels).map(|bit| level(index, bit)).collect::<Vec<_>>().join("/")).collect()
}

#[test]
fn a_turn_has_one_heavy_packet_at_most_and_who_sends_light_ones_waits_for_no_more_than_that() {
    let mut thread = Thread::new(3_500_000);
    let (light, reader) = (thread.connect("light"), thread.connect("reader"));
    thread.send(reader, &subscribe(None, &["news".into()]));
    let bomb = thread.connect("bomb");
    for filters in overlapping_filters(13).chunks(200) {
        thread.send(bomb, &subscribe(None, filters));
    }
    let heavy: Vec<_> = (0..3).map(|number| thread.connect(&format!("heavy-{number}"))).collect();
    thread.end_turn();
    thread.output(reader);
    let topic = (0..13).map(|bit| format!("l{bit}")).collect::<Vec<_>>().join("/");
    let mut bytes = Vec::new();
    encode_publish(&mut bytes, Version::V5, &PublishHead::default(), &topic, &ForwardProperties::EMPTY, b"bang");
    // Nobody knows that they will take much before they have, so the first turns have two of them, and that is all.
    let before = thread.worker.counters().heavy_reads;
    for conn in &heavy {
        thread.receive(*conn, &bytes);
        thread.end_turn();
    }
    while !thread.end_turn().is_empty() {}
    // All of them have more to be read at any time.
    let (mut readable, mut served) = (heavy.clone(), Vec::new());
    for turn in 0..9 {
        for conn in std::mem::take(&mut readable) {
            let consumed = thread.receive(conn, &bytes);
            assert!(consumed.paused, "it is read on when the line comes to it");
            served.extend((consumed.bytes > 0).then_some(conn));
        }
        assert_eq!(served.len(), turn + 1, "one in each turn");
        let before = thread.output(reader).len();
        let mut news = Vec::new();
        encode_publish(&mut news, Version::V5, &PublishHead::default(), "news", &ForwardProperties::EMPTY, b"now");
        assert_eq!((before, thread.receive(light, &news).paused), (0, false), "turn {turn}");
        assert!(contains(&thread.output(reader), "now"), "turn {turn}");
        readable.extend(thread.end_turn());
    }
    // The first was alone in line when it came there.
    for three in served[1..].windows(3) {
        assert!(heavy.iter().all(|conn| three.contains(conn)), "each in its turn: {served:?}");
    }
    assert_eq!(thread.worker.counters().heavy_reads - before, 3 + 9);
}

#[test]
fn packets_that_are_nearly_heavy_and_pings_between_heavy_ones_are_of_no_use() {
    let topic = (0..13).map(|bit| format!("l{bit}")).collect::<Vec<_>>().join("/");
    let mut bang = Vec::new();
    encode_publish(&mut bang, Version::V5, &PublishHead::default(), &topic, &ForwardProperties::EMPTY, b"bang");
    let mut ping = Vec::new();
    encode_pingreq(&mut ping);
    // Of a turn of this effort one message takes about a third or about a sixth.
    for (turn_effort, taken_at_once) in [(3_500_000, 1), (7_000_000, 2)] {
        let mut thread = Thread::new(turn_effort);
        let bomb = thread.connect("bomb");
        for filters in overlapping_filters(13).chunks(200) {
            thread.send(bomb, &subscribe(None, filters));
        }
        let clients = [thread.connect("one"), thread.connect("other")];
        thread.end_turn();
        for conn in clients {
            let consumed = thread.receive(conn, &bang.repeat(4));
            assert_eq!((consumed.bytes, consumed.paused), (taken_at_once * bang.len(), true), "effort {turn_effort}");
            while !thread.end_turn().is_empty() {}
        }
        // What is light is read, and does not undo it.
        for conn in clients {
            assert_eq!(thread.receive(conn, &ping), Consumed { bytes: ping.len(), paused: false });
            thread.end_turn();
        }
        let taken = clients.map(|conn| thread.receive(conn, &bang.repeat(4)).bytes);
        assert_eq!(taken, [taken_at_once * bang.len(), 0], "effort {turn_effort}");
    }
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

#[test]
fn a_change_of_rules_for_sessions_with_many_filters_is_carried_out_in_portions_and_misses_none() {
    let filters = |kind: &str| (0..10_000).map(|number| format!("{kind}/{number}")).collect::<Vec<_>>();
    let rules = |generation, allowed| {
        let text = format!("rules: [{{allow: subscribe, filters: {allowed}}}]");
        let access = AccessFile::parse(&text, AccessLimits::default()).expect("it is an access file");
        Arc::new(Rules { generation, passwords: None, access: Some(Arc::new(access)) })
    };
    // A turn judges 500 filters, and a filter that goes counts as two.
    let cases = [("['a/#', 'b/#']", 20_000, 40..=45), ("['b/#']", 10_000, 60..=65), ("['c/#']", 0, 80..=85)];
    for (allowed, left, wanted) in cases {
        let limits = Limits { turn_effort: 1_000_000, subscriptions_per_client: 10_000, ..Limits::default() };
        let auth = AuthSettings { rules: rules(0, "['a/#', 'b/#']"), ..AuthSettings::new([7; 32]) };
        let mut thread = Thread::with(limits, auth);
        for kind in ["a", "b"] {
            let conn = thread.connect_for(kind, 60);
            for filters in filters(kind).chunks(500) {
                thread.send(conn, &subscribe(None, filters));
            }
            thread.worker.closed(conn, fulmar_worker::Closed::Eof, thread.now, &mut Pauses::default());
            thread.end_turn();
        }
        thread.worker.reload(rules(1, allowed));
        let turns = thread.carry_out_rules();
        assert!(wanted.contains(&turns), "{turns} turns for {allowed}");
        assert_eq!(thread.worker.gauges().subscriptions, left);
    }
}

#[test]
fn a_change_of_rules_during_another_makes_no_turn_long_and_the_last_one_holds() {
    let rules = |generation, allowed| {
        let text = format!("rules: [{{allow: subscribe, filters: {allowed}}}]");
        let access = AccessFile::parse(&text, AccessLimits::default()).expect("it is an access file");
        Arc::new(Rules { generation, passwords: None, access: Some(Arc::new(access)) })
    };
    let limits = Limits { turn_effort: 1_000_000, subscriptions_per_client: 10_000, ..Limits::default() };
    let auth = AuthSettings { rules: rules(0, "['a/#', 'b/#']"), ..AuthSettings::new([7; 32]) };
    let mut thread = Thread::with(limits, auth);
    for kind in ["a", "b"] {
        let conn = thread.connect_for(kind, 60);
        let filters: Vec<_> = (0..5000).map(|number| format!("{kind}/{number}")).collect();
        for filters in filters.chunks(500) {
            thread.send(conn, &subscribe(None, filters));
        }
        thread.worker.closed(conn, fulmar_worker::Closed::Eof, thread.now, &mut Pauses::default());
        thread.end_turn();
    }
    // Session b loses some under the first, which allows `a`, and all of `a` is lost under the last.
    for (generation, allowed, turns) in [(1, "['a/#']", 15), (2, "['a/#', 'b/#']", 5), (3, "['b/#']", 0)] {
        let before = thread.worker.gauges().subscriptions;
        thread.worker.reload(rules(generation, allowed));
        assert_eq!(thread.worker.gauges().subscriptions, before, "nothing is done at once");
        for _ in 0..turns {
            thread.end_turn();
        }
    }
    let turns = thread.carry_out_rules();
    let left = thread.worker.gauges().subscriptions;
    assert!((3000..=4999).contains(&left), "{left} of b are left, after {turns} turns");
}

/// Publishes in one read and ends turns until nothing waits. Gives the most bytes that waited at the end of a turn, and
/// what each reader was sent.
fn fan_out(thread: &mut Thread, readers: &[ConnId], publishes: &[u8]) -> (usize, Vec<Vec<u8>>) {
    let publisher = thread.connect("publisher");
    thread.end_turn();
    let mut got = vec![Vec::new(); readers.len()];
    let (mut waiting_max, mut rest, mut is_paused) = (0, publishes, false);
    for _ in 0..1000 {
        if !thread.worker.is_sated() && !is_paused && !rest.is_empty() {
            let consumed = thread.receive(publisher, rest);
            (rest, is_paused) = (&rest[consumed.bytes..], consumed.paused);
        }
        let mut out = Pauses::default();
        let next = thread.worker.tick(thread.now, &mut out);
        let outputs: Vec<_> = readers.iter().map(|reader| thread.output(*reader)).collect();
        waiting_max = waiting_max.max(outputs.iter().map(Vec::len).sum());
        got.iter_mut().zip(outputs).for_each(|(got, output)| got.extend(output));
        is_paused &= resumed(&out) != [publisher];
        // The turn is over, without what `Thread::end_turn` does more.
        while let dirty = std::mem::take(thread.worker.dirty())
            && !dirty.is_empty()
        {
            dirty.into_iter().for_each(|conn| thread.worker.written(conn, 0));
            thread.worker.end_turn();
        }
        thread.worker.end_turn();
        if rest.is_empty() && !is_paused && next != Some(thread.now) {
            return (waiting_max, got);
        }
    }
    panic!("{} bytes were never read", rest.len());
}

#[test]
fn a_large_message_for_many_receivers_never_takes_the_memory_for_all_of_them() {
    let (bound, large) = (1 << 20, 100_000);
    let mut thread = Thread::of(Limits { turn_output_bytes: bound, ..Limits::default() });
    let readers: Vec<_> = (0..200).map(|number| thread.connect(&format!("reader-{number}"))).collect();
    // Every second one has two subscriptions with identifiers of their own.
    for (number, reader) in readers.iter().enumerate() {
        thread.send(*reader, &subscribe(Some(1), &["news".into()]));
        if number % 2 == 0 {
            thread.send(*reader, &subscribe(Some(2), &["#".into()]));
        }
        thread.output(*reader);
        thread.end_turn();
    }
    let mut bytes = Vec::new();
    for payload in [&vec![b'x'; large][..], b"the second"] {
        let (head, none) = (PublishHead::default(), ForwardProperties::EMPTY);
        encode_publish(&mut bytes, Version::V5, &head, "news", &none, payload);
    }
    let (waiting_max, got) = fan_out(&mut thread, &readers, &bytes);
    assert!(waiting_max <= bound / 4 * 5 + 2 * (large + 100), "{waiting_max} bytes waited, 20 MB are sent in all");
    for (number, got) in got.iter().enumerate() {
        let ids = if number % 2 == 0 { 2 } else { 1 };
        // Header, topic, properties, payload: the large one has a length of three bytes.
        assert_eq!(got.len(), (4 + 6 + 1 + 2 * ids + large) + (2 + 6 + 1 + 2 * ids + 10), "reader {number}");
        assert!(got.ends_with(b"the second"), "no message overtakes another");
    }
}

#[test]
fn a_message_for_very_many_receivers_is_the_work_of_several_turns() {
    let mut thread = Thread::of(Limits { turn_effort: 100_000, ..Limits::default() });
    let readers: Vec<_> = (0..2000).map(|number| thread.connect(&format!("reader-{number}"))).collect();
    for reader in &readers {
        thread.send(*reader, &subscribe(None, &["news".into()]));
        thread.output(*reader);
        thread.end_turn();
    }
    let mut bytes = Vec::new();
    encode_publish(&mut bytes, Version::V5, &PublishHead::default(), "news", &ForwardProperties::EMPTY, b"!");
    let message = bytes.len();
    let (waiting_max, got) = fan_out(&mut thread, &readers, &bytes);
    assert!(got.iter().all(|got| *got == bytes), "each gets it once");
    assert!(waiting_max <= (2 * 400 + 1) * message, "{} receivers in one turn", waiting_max / message);
}
