//! No turn of a data thread is long: what there is to do at one time is done in portions, and whoever comes meanwhile
//! is served between them.

mod ends;
mod fanout;
mod rules;
#[path = "../thread/mod.rs"]
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
