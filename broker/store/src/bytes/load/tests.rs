//! Each way in which records may not fit together is found, and named.

use std::num::NonZeroU16;

use fulmar_codec::PacketId;

use super::*;
use crate::bytes::FORMAT;
use crate::command::{
    Claim, Command, Destination, Entry, Item, Routed, Subscription, Takeover, Target, Will, WillFate,
};
use crate::message::Message;
use crate::names::{ShardId, Version};

const A: Node = Node { id: 1, incarnation: 1 };

fn claim(client: &str, nonce: u64) -> Claim {
    let message = Message::new("will", QoS::AtLeastOnce, &[], b"bye");
    Claim {
        client: client.into(),
        user: None,
        takeover: Takeover::SameUser,
        node: A,
        nonce,
        clean: false,
        expiry_seconds: 100,
        receive_maximum: NonZeroU16::MIN,
        will: Some(Will { message, delay_seconds: 10 }),
    }
}

/// One of everything: `c` is there, with a message in flight and one that waits; `d` is absent, and its will is due
/// later; that of `e` is to be published.
fn records() -> Vec<Record> {
    let (c, d, e) = ("c".into(), "d".into(), "e".into());
    let target = Target {
        client: "c".into(),
        generation: 1,
        qos: QoS::ExactlyOnce,
        retain: false,
        subscription_ids: vec![],
        share: None,
    };
    let item = |payload: &str, retain| Item {
        message: Message::new("t", QoS::ExactlyOnce, &[], payload.as_bytes()),
        retain,
        targets: vec![target.clone()],
    };
    let subscription = Subscription { options: Default::default(), id: None };
    let routed = Routed { item: item("2", None), destinations: Destination::subscribers_of(&[ShardId(2)]) };
    let share = |item: Item| {
        let share = Some("$share/g/t".into());
        Item { targets: vec![Target { share, ..target.clone() }], ..item }
    };
    let deleted = Item {
        message: Message::new("deleted", QoS::AtLeastOnce, &[], b""),
        retain: Some(Version { clock: 1, node: 1 }),
        targets: vec![],
    };
    let disconnect = |client, epoch, will| Command::Disconnect { client, epoch, expiry_seconds: None, will };
    let commands = vec![
        Command::Claim(claim("c", 1)),
        Command::Claim(claim("d", 2)),
        Command::Claim(claim("e", 3)),
        Command::Subscribe {
            client: "c".into(),
            epoch: 1,
            subscriptions: vec![("t".into(), subscription), ("$share/g/t".into(), subscription)],
        },
        Command::Publish {
            source: Party::Node(A),
            first: 1,
            items: vec![share(item("1", Some(Version { clock: 2, node: 1 }))), deleted],
            goes_on: false,
        },
        Command::ReceiveQos2 { client: c, epoch: 1, packet_id: PacketId::MIN, routed },
        disconnect(d, 2, WillFate::Keep),
        disconnect(e, 3, WillFate::Fire),
        Command::NodeGone(Node { id: 9, incarnation: 1 }),
    ];
    let mut shard = Shard::new(ShardId(1));
    shard.apply(1, &Entry { time: 1000, commands });
    shard.into_records().collect()
}

fn load(records: &[Record]) -> Result<Shard, SnapshotError> {
    let mut chunk = vec![FORMAT];
    0u32.put(&mut chunk);
    records.iter().for_each(|record| record.put(&mut chunk));
    let mut loader = Loader::new();
    loader.chunk(&chunk)?;
    loader.finish()
}

/// The records with one of them changed, and the end counting them.
fn changed(change: impl FnOnce(&mut Vec<Record>)) -> Vec<Record> {
    let mut records = records();
    records.pop();
    change(&mut records);
    let count = records.len() as u64;
    records.push(Record::End(count));
    records
}

fn refused(change: impl FnOnce(&mut Vec<Record>)) -> &'static str {
    match load(&changed(change)) {
        Err(SnapshotError::Inconsistent { what, .. }) => what,
        other => panic!("{:?}", other.map(|_| "it was loaded")),
    }
}

/// Where the first record of a kind is.
macro_rules! first {
    ($records:expr, $kind:pat) => {
        $records.iter().position(|record| matches!(record, $kind)).expect("there is one of everything")
    };
}

/// Puts the first record of a kind behind itself once more.
macro_rules! twice {
    ($kind:pat) => {
        refused(|records| {
            let again = self::records();
            let at = first!(records, $kind);
            let record = again.into_iter().nth(at).expect("both are the same");
            records.insert(at + 1, record);
        })
    };
}

fn head(records: &mut [Record]) -> &mut Head {
    match &mut records[0] {
        Record::Head(head) => head,
        _ => unreachable!("the head is the first"),
    }
}

fn session<'a>(records: &'a mut [Record], client: &str) -> &'a mut SessionHead {
    let of_client = |record: &'a mut Record| match record {
        Record::Session(head) if &*head.client == client => Some(head),
        _ => None,
    };
    records.iter_mut().find_map(of_client).expect("the session is there")
}

/// The first message of the queue, and the one behind it.
fn place(records: &mut [Record], at: usize) -> (&mut Sequence, &mut Place) {
    let places = records.iter_mut().filter_map(|record| match record {
        Record::Place(sequence, place) => Some((sequence, place)),
        _ => None,
    });
    places.into_iter().nth(at).expect("there are two")
}

#[test]
fn what_is_whole_is_loaded() {
    assert!(load(&changed(|_| {})).is_ok());
}

#[test]
fn nothing_is_there_twice() {
    let found = [
        twice!(Record::Head(_)),
        twice!(Record::Source(..)),
        twice!(Record::Gone(..)),
        twice!(Record::Body(..)),
        twice!(Record::Share(..)),
        twice!(Record::Session(_)),
        twice!(Record::Subscription(..)),
        twice!(Record::Received(_)),
        twice!(Record::Place(..)),
        twice!(Record::Retained(..)),
        twice!(Record::Tombstone(..)),
        twice!(Record::Will(..)),
        twice!(Record::Outbox(..)),
    ];
    let wanted = [
        "there is a head already",
        "a source is there twice",
        "a node that is gone is there twice",
        "a message is there twice",
        "a shared subscription is there twice",
        "a session is there twice",
        "a subscription is there twice",
        "a packet identifier is there twice",
        "a queue is out of order",
        "a topic has two retained messages",
        "a topic was deleted twice",
        "a will is there twice",
        "a destination is there twice",
    ];
    assert_eq!(found, wanted);
}

#[test]
fn a_topic_has_a_message_or_was_deleted() {
    let both = |records: &mut Vec<Record>| {
        let at = first!(records, Record::Tombstone(..));
        records[at] = Record::Tombstone("t".into(), Version { clock: 1, node: 1 }, 0);
    };
    assert_eq!(refused(both), "a deleted topic has a retained message");
}

#[test]
fn nothing_is_missing() {
    let without = |at: fn(&[Record]) -> usize| refused(move |records| drop(records.remove(at(records))));
    assert_eq!(without(|_| 0), "it is not the head");
    assert_eq!(without(|records| first!(records, Record::Body(..))), "its message is not there");
    assert_eq!(without(|records| first!(records, Record::Outbox(..))), "no destination is before it");
    let session = without(|records| first!(records, Record::Session(_)));
    assert_eq!(session, "no session is before it");
    let held_by_nobody = refused(|records| {
        records.remove(first!(records, Record::Retained(..)));
        records.remove(first!(records, Record::Place(..)));
    });
    assert_eq!(held_by_nobody, "a message is held by nobody");
    let share = without(|records| first!(records, Record::Share(..)));
    assert_eq!(share, "its shared subscription is not there");
    let for_nobody = refused(|records| place(records, 0).1.share = None);
    assert_eq!(for_nobody, "a shared subscription is held by nobody");
    let for_others = refused(|records| {
        let at = first!(records, Record::Waiting(..));
        let Record::Waiting(body, _) = records[at] else { unreachable!("it was found as such") };
        records[at] = Record::Waiting(body, Addressee::Group(ShareId::MAX));
    });
    assert_eq!(for_others, "its shared subscription is not there");
    let mut one_less = records();
    one_less.remove(first!(one_less, Record::Source(..)));
    let record = one_less.len() as u64 - 1;
    let what = "the end counts other records";
    assert_eq!(load(&one_less).err(), Some(SnapshotError::Inconsistent { record, what }));
}

#[test]
fn numbers_are_not_behind_those_that_were_given() {
    assert_eq!(refused(|records| head(records).applied = u64::MAX), "a number is too high");
    assert_eq!(refused(|records| head(records).totals.expired = u64::MAX), "a number is too high");
    assert_eq!(refused(|records| head(records).next_message = 0), "a message is newer than the newest");
    assert_eq!(refused(|records| head(records).totals.stranded = u64::MAX), "a number is too high");
    assert_eq!(
        refused(|records| head(records).next_share = ShareId::MIN),
        "a shared subscription is newer than the newest"
    );
    assert_eq!(refused(|records| head(records).last_will = 0), "a will is newer than the newest");
    assert_eq!(refused(|records| head(records).last_epoch = 2), "an epoch is newer than the newest");
    assert_eq!(refused(|records| session(records, "c").generation = 2), "a generation is newer than the epoch");
    let source = |records: &mut Vec<Record>| {
        let at = first!(records, Record::Source(..));
        records[at] = Record::Source(Party::Node(A), u64::MAX, None);
    };
    assert_eq!(refused(source), "a number is too high");
    let outbox = |records: &mut Vec<Record>| {
        let at = first!(records, Record::Outbox(..));
        records[at] = Record::Outbox(Party::Node(A), u64::MAX);
    };
    assert_eq!(refused(outbox), "a number is too high");
}

#[test]
fn sessions_are_as_they_can_be() {
    let claims = |records: &mut Vec<Record>| session(records, "c").claim.earlier = vec![(A, 1); EARLIER_CLAIMS + 1];
    assert_eq!(refused(claims), "too many earlier claims");
    assert_eq!(refused(|records| session(records, "d").will = None), "a will has no time, or a time no will");
    let no_time = |records: &mut Vec<Record>| {
        session(records, "d").presence = Presence::Absent { ends: None, will_due: None };
    };
    assert_eq!(refused(no_time), "a will has no time, or a time no will");
    assert_eq!(refused(|records| session(records, "c").window_end = 3), "a window ends behind the queue");
    assert_eq!(refused(|records| session(records, "c").next = u64::MAX), "a window ends behind the queue");
}

#[test]
fn queues_are_as_they_can_be() {
    assert_eq!(refused(|records| *place(records, 1).0 = 2), "a message is behind the end of its queue");
    assert_eq!(refused(|records| *place(records, 0).0 = 1), "a queue is out of order");
    let wide = |records: &mut Vec<Record>| {
        let head = session(records, "c");
        (head.next, head.window_end) = (70_000, 70_000);
        *place(records, 1).0 = 65_535;
    };
    assert_eq!(refused(wide), "a window is wider than there are identifiers");
    assert_eq!(refused(|records| place(records, 0).1.qos = QoS::AtMostOnce), "a message of QoS 0 waits");
    assert_eq!(refused(|records| place(records, 0).1.body = Some(99)), "its message is not there");
    assert_eq!(refused(|records| place(records, 1).1.body = None), "a message was released before it was sent");
    let released = refused(|records| place(records, 0).1.body = None);
    assert_eq!(released, "a message was released and may go to others");
    let released = |records: &mut Vec<Record>| {
        let (_, place) = place(records, 0);
        (place.qos, place.body, place.share) = (QoS::AtLeastOnce, None, None);
    };
    assert_eq!(refused(released), "a message of QoS 1 was released");
}
