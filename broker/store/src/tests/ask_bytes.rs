//! Bytes of questions and of what is told: one of each kind is the same again, and any bytes are an error or a value.

use std::num::{NonZeroU16, NonZeroU32};

use fulmar_codec::{PacketId, QoS, SubscriptionOptions};
use fulmar_random::Random;
use proptest::prelude::*;

use super::bytes::damage;
use crate::*;

fn message() -> Message {
    Message::new("plant/ü", QoS::ExactlyOnce, b"properties", b"21.5").with_retain(true).with_lifetime(Some(60))
}

fn ids() -> Vec<NonZeroU32> {
    [1, 268_435_455].map(|id| NonZeroU32::new(id).unwrap()).into()
}

fn packet_id() -> PacketId {
    PacketId::new(65_535).unwrap()
}

fn subscription() -> Subscription {
    Subscription { options: SubscriptionOptions { no_local: true, ..Default::default() }, id: NonZeroU32::new(7) }
}

fn destinations(shard: ShardId) -> Vec<Destination> {
    let others = [Wants::Group("$share/g/t".into()), Wants::Retained(VERSION)];
    let others = others.map(|wants| Destination { party: Party::Shard(shard), wants });
    Destination::subscribers_of(&[ShardId(0), shard]).into_iter().chain(others).collect()
}

const OWNER: Owner = Owner { thread: 1, slot: 2, generation: 3 };
const VERSION: Version = Version { clock: 9, node: 10 };

/// One of each kind, and of each kind of what is in them.
fn asks() -> Vec<Ask> {
    let client: ClientId = "c".into();
    let (epoch, shard, packet_id) = (5, ShardId(3), packet_id());
    let claim = Claim {
        client: client.clone(),
        user: Some("u".into()),
        takeover: Takeover::AnyUser,
        node: Node { id: u64::MAX, incarnation: 2 },
        nonce: 77,
        clean: true,
        expiry_seconds: u32::MAX,
        receive_maximum: NonZeroU16::MIN,
        will: Some(Will { message: message(), delay_seconds: 30 }),
    };
    let to = [
        Recipients::Nobody,
        Recipients::Matching { publisher: None },
        Recipients::Matching { publisher: Some(client.clone()) },
        Recipients::One {
            client: client.clone(),
            qos: QoS::AtLeastOnce,
            retain: true,
            subscription_ids: ids(),
            share: Some("$share/g/t".into()),
        },
        Recipients::Group { group: "g".into(), filter: "t/#".into() },
    ];
    let published = |to| Published { message: message(), retain: Some(VERSION), to };
    let mut asks = vec![
        Ask::Claim { owner: OWNER, claim: Claim { user: None, will: None, ..claim.clone() } },
        Ask::Claim { owner: OWNER, claim },
        Ask::Attach { owner: OWNER, client: client.clone(), epoch, next: 1 << 40 },
        Ask::Subscribe { client: client.clone(), epoch, subscriptions: vec![("t/#".into(), subscription())] },
        Ask::Unsubscribe { client: client.clone(), epoch, filters: vec!["t".into(), "".into()] },
        Ask::ReceiveQos2 {
            client: client.clone(),
            epoch,
            packet_id,
            published: published(Recipients::Nobody),
            destinations: destinations(shard),
        },
        Ask::Release { client: client.clone(), epoch, packet_id },
        Ask::Acknowledge {
            client: client.clone(),
            epoch,
            acks: vec![(0, Ack::Ack), (1, Ack::Received), (2, Ack::Complete), (u64::MAX, Ack::Discard)],
        },
        Ask::Disconnect { client: client.clone(), epoch, expiry_seconds: Some(0), will: WillFate::Fire },
        Ask::End { client, generation: 4 },
        Ask::Adopted { shard, number: 8 },
        Ask::WillDone { shard, will: 6, retain: None, destinations: vec![] },
    ];
    asks.extend(to.into_iter().map(|to| Ask::Publish { shard, published: published(to) }));
    asks
}

fn tolds() -> Vec<Told> {
    let (epoch, shard) = (5, ShardId(3));
    let claimed = Claimed { epoch, generation: 4, present: true, took_over: None, sent_until: 12 };
    let received = vec![packet_id()];
    let session = OwnedSession { claimed, subscriptions: vec![("t".into(), subscription())], received };
    let stored = Stored { queued: 1, refused: vec![(2, Bound::QueueBytes)], ..Stored::default() };
    let answers = [
        Answer::Claimed(Box::new(session)),
        Answer::Unavailable,
        Answer::NotLeader { leader: None },
        Answer::NotLeader { leader: Some(u64::MAX) },
        Answer::Reply(Reply::Attached),
        Answer::Reply(Reply::Refused(Refusal::OutOfOrder { found: 9, expected: 7 })),
        Answer::Reply(Reply::Published { items: vec![ItemReply::DoneBefore, ItemReply::Stored(stored)], expected: 3 }),
        Answer::Reply(Reply::Subscribed(vec![Ok(true), Err(Bound::Subscriptions)])),
        Answer::Reply(Reply::Acknowledged(vec![AckReply::Done, AckReply::NotSent])),
        Answer::Reply(Reply::Disconnected { ended: false, will: WillState::DueAt(100) }),
    ];
    let delivery = Delivery {
        sequence: 11,
        packet_id: packet_id(),
        qos: QoS::ExactlyOnce,
        retain: false,
        subscription_ids: ids().into(),
        message: Some(message()),
    };
    let released = Delivery { message: None, subscription_ids: [].into(), sequence: 12, ..delivery.clone() };
    let will = Will { message: message(), delay_seconds: 30 };
    let mut tolds = vec![
        Told::Deliver { owner: OWNER, epoch, deliveries: vec![delivery, released] },
        Told::TakenOver { owner: OWNER, epoch },
        Told::Ended { owner: OWNER, epoch },
        Told::Orphan { shard, number: 8, share: "$share/g/t".into(), message: message() },
        Told::Will { shard, id: 6, pending: PendingWill { client: "c".into(), user: Some("u".into()), will } },
    ];
    tolds.extend((1..).zip(answers).map(|(number, answer)| Told::Answer { number, answer }));
    tolds
}

fn ask_bytes(ask: &Ask) -> Vec<u8> {
    let mut bytes = Vec::new();
    ask.encode(&mut bytes);
    bytes
}

fn told_bytes(told: &Told) -> Vec<u8> {
    let mut bytes = Vec::new();
    told.encode(&mut bytes);
    bytes
}

#[test]
fn what_is_written_is_read_again_and_never_a_part_of_it() {
    for ask in asks() {
        let bytes = ask_bytes(&ask);
        assert_eq!(Ask::decode(&bytes).as_ref(), Ok(&ask));
        assert!((0..bytes.len()).all(|end| Ask::decode(&bytes[..end]).is_err()), "{ask:?}");
        assert_eq!(Ask::decode(&[&bytes[..], &[0]].concat()), Err(BytesError::Trailing { found: 1 }));
    }
    for told in tolds() {
        let bytes = told_bytes(&told);
        assert_eq!(Told::decode(&bytes).as_ref(), Ok(&told));
        assert!((0..bytes.len()).all(|end| Told::decode(&bytes[..end]).is_err()), "{told:?}");
        assert_eq!(Told::decode(&[&bytes[..], &[0]].concat()), Err(BytesError::Trailing { found: 1 }));
    }
}

/// Nodes of two builds talk to each other while a cluster is updated.
#[test]
fn bytes_stay_what_they_are() {
    let attach = Ask::Attach { owner: OWNER, client: "c".into(), epoch: 5, next: 6 };
    let (owner, rest) = ([0, 1, 0, 0, 0, 2, 0, 0, 0, 3], [0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 6]);
    assert_eq!(ask_bytes(&attach), [&[2, 2][..], &owner, &[0, 0, 0, 1, b'c'], &rest].concat());
    let answer = Told::Answer { number: 258, answer: Answer::NotLeader { leader: Some(7) } };
    assert_eq!(told_bytes(&answer), [2, 1, 0, 0, 0, 0, 0, 0, 1, 2, 4, 1, 0, 0, 0, 0, 0, 0, 0, 7]);
    assert_eq!(Ask::decode(&[1]), Err(BytesError::Format { found: 1, wanted: 2 }));
    assert_eq!(Ask::decode(&[2, 13]), Err(BytesError::Unknown { what: "question", found: 13 }));
    assert_eq!(Told::decode(&[2, 7]), Err(BytesError::Unknown { what: "thing told", found: 7 }));
}

#[test]
fn a_length_that_is_a_lie_takes_no_memory() {
    let mut bytes = ask_bytes(&Ask::Unsubscribe { client: "c".into(), epoch: 5, filters: vec![] });
    let at = bytes.len();
    bytes[at - 4..].fill(0xff);
    assert_eq!(Ask::decode(&bytes), Err(BytesError::Truncated { at, wanted: 4, found: 0 }));
}

proptest! {
    #[test]
    fn any_bytes_are_an_error_or_a_value(bytes in prop::collection::vec(any::<u8>(), 1..300), kind in 1..13u8) {
        let bytes = [&[1, kind], &bytes[..]].concat();
        if let Ok(ask) = Ask::decode(&bytes) {
            prop_assert_eq!(&ask_bytes(&ask), &bytes);
        }
        if let Ok(told) = Told::decode(&bytes) {
            prop_assert_eq!(&told_bytes(&told), &bytes);
        }
    }

    #[test]
    fn damaged_bytes_are_an_error_or_a_value(seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let mut bytes = ask_bytes(&random.pick(&asks()));
        damage(&mut bytes, &mut random);
        if let Ok(ask) = Ask::decode(&bytes) {
            prop_assert_eq!(&ask_bytes(&ask), &bytes);
        }
        let mut bytes = told_bytes(&random.pick(&tolds()));
        damage(&mut bytes, &mut random);
        if let Ok(told) = Told::decode(&bytes) {
            prop_assert_eq!(&told_bytes(&told), &bytes);
        }
    }
}
