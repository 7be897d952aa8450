//! Messages for many receivers.

use super::*;

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
