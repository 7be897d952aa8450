//! Bytes of letters.

use fulmar_codec::{PacketId, QoS};
use fulmar_store::{
    Ack, Answer, Ask, BytesError, Delivery, Destination, Message, Node, Owner, Party, Published, Recipients, Reply,
    ShardId, Told, Version, Wants, WillFate,
};
use proptest::prelude::*;

use crate::weight;
use crate::{AnswerLetter, AskLetter, Asking, Written};

const ME: Node = Node { id: 1, incarnation: 2 };
const OWNER: Owner = Owner { thread: 3, slot: 4, generation: 5 };

fn asks() -> Vec<Ask> {
    let (client, epoch, shard): (std::sync::Arc<str>, _, _) = ("a client with a name".into(), 6, ShardId(3));
    let to = Recipients::One {
        client: client.clone(),
        qos: QoS::AtLeastOnce,
        retain: true,
        subscription_ids: (1..100).filter_map(std::num::NonZeroU32::new).collect(),
        share: Some("$share/g/t".into()),
    };
    let message = Message::new("t", QoS::ExactlyOnce, b"properties", &[7; 500]).with_lifetime(Some(60));
    let published = Published { message, retain: Some(fulmar_store::Version { clock: 9, node: 10 }), to };
    let groups = (0..64).map(|shard| Destination {
        party: Party::Shard(ShardId(shard)),
        wants: Wants::Group(format!("$share/group/{shard}").into()),
    });
    let retained = Destination { party: Party::Shard(shard), wants: Wants::Retained(Version { clock: 9, node: 10 }) };
    let subscribers = Destination::subscribers_of(&(0..64).map(ShardId).collect::<Vec<_>>());
    let destinations: Vec<Destination> = subscribers.into_iter().chain(groups).chain([retained]).collect();
    let acks = (0..100).map(|sequence| (sequence, Ack::Ack)).collect();
    vec![
        Ask::Publish { shard, published: published.clone() },
        Ask::ReceiveQos2 {
            client: client.clone(),
            epoch,
            packet_id: PacketId::new(1).unwrap(),
            published,
            destinations: destinations.clone(),
        },
        Ask::Unsubscribe { client: client.clone(), epoch, filters: (0..100).map(|_| "t".into()).collect() },
        Ask::Subscribe {
            client: client.clone(),
            epoch,
            subscriptions: (0..100)
                .map(|_| {
                    (
                        "t".into(),
                        fulmar_store::Subscription {
                            options: fulmar_codec::SubscriptionOptions::default(),
                            id: std::num::NonZeroU32::new(7),
                        },
                    )
                })
                .collect(),
        },
        Ask::Acknowledge { client: client.clone(), epoch, acks },
        Ask::Attach { owner: OWNER, client: client.clone(), epoch, next: 7 },
        Ask::Disconnect { client, epoch, expiry_seconds: Some(1), will: WillFate::Keep },
        Ask::WillDone { shard, will: 1, retain: None, destinations },
    ]
}

fn ask_letter() -> AskLetter {
    let asking = |(ticket, ask)| Asking { ticket, number: Some(ticket).filter(|_| ticket == 1), ask };
    AskLetter { from: ME, shard: ShardId(3), run: 8, term: Some(9), asks: (1..).zip(asks()).map(asking).collect() }
}

fn answer_letter() -> AnswerLetter {
    let message = Some(Message::new("t", QoS::AtLeastOnce, b"", b"21.5"));
    let delivery = Delivery {
        sequence: 1,
        packet_id: PacketId::new(2).unwrap(),
        qos: QoS::AtLeastOnce,
        retain: false,
        subscription_ids: (1..100).filter_map(std::num::NonZeroU32::new).collect(),
        message,
    };
    let answer = Told::Answer { number: 1, answer: Answer::Reply(Reply::Done) };
    let lines = vec![
        (ShardId(3), Written::Told(answer)),
        (ShardId(3), Written::Told(Told::Deliver { owner: OWNER, epoch: 6, deliveries: vec![delivery; 10] })),
        (ShardId(4), Written::Welcome { run: 8, term: 9 }),
        (ShardId(4), Written::Refused { run: 8, leader: None }),
        (ShardId(4), Written::Refused { run: 8, leader: Some(10) }),
    ];
    AnswerLetter { to: ME, lines }
}

fn bytes_of(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&mut bytes);
    bytes
}

#[test]
fn what_is_written_is_read_again_and_never_a_part_of_it() {
    let (asks, answers) = (ask_letter(), answer_letter());
    let bytes = bytes_of(|out| asks.encode(out));
    assert_eq!(AskLetter::decode(&bytes), Ok(asks));
    assert!((0..bytes.len()).all(|end| AskLetter::decode(&bytes[..end]).is_err()));
    assert_eq!(AskLetter::decode(&[&bytes[..], &[0]].concat()), Err(BytesError::Trailing { found: 1 }));
    let bytes = bytes_of(|out| answers.encode(out));
    assert_eq!(AnswerLetter::decode(&bytes), Ok(answers));
    assert!((0..bytes.len()).all(|end| AnswerLetter::decode(&bytes[..end]).is_err()));
    assert_eq!(AnswerLetter::decode(&[&bytes[..], &[0]].concat()), Err(BytesError::Trailing { found: 1 }));
}

/// Nodes of two builds write to each other while a cluster is updated.
#[test]
fn bytes_stay_what_they_are() {
    let ask = Ask::Adopted { shard: ShardId(3), number: 9 };
    let letter = AskLetter {
        from: ME,
        shard: ShardId(3),
        run: 8,
        term: None,
        asks: vec![Asking { ticket: 7, number: None, ask: ask.clone() }],
    };
    let from = [1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2];
    let rest = [0, 3, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 12];
    let ask = bytes_of(|out| ask.encode(out));
    assert_eq!(bytes_of(|out| letter.encode(out)), [&from[..], &rest, &ask].concat());
    assert_eq!(AskLetter::decode(&[2]), Err(BytesError::Format { found: 2, wanted: 1 }));
    let tail: Vec<_> = [&from[..], &rest, &[2, 99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
    let unknown = BytesError::Unknown { what: "question", found: 99 };
    assert_eq!(AskLetter::decode(&tail), Err(unknown));
}

#[test]
fn a_length_that_is_a_lie_takes_no_memory() {
    let mut bytes = bytes_of(|out| AnswerLetter { to: ME, lines: vec![] }.encode(out));
    let at = bytes.len();
    bytes[at - 4..].fill(0xff);
    assert_eq!(AnswerLetter::decode(&bytes), Err(BytesError::Truncated { at, wanted: 2, found: 0 }));
}

#[test]
fn nothing_weighs_less_than_its_bytes() {
    for ask in asks() {
        let bytes = bytes_of(|out| ask.encode(out)).len();
        assert!(weight::of_ask(&ask) >= bytes + 20, "{ask:?}: {bytes}");
    }
    for written in answer_letter().lines {
        let bytes = bytes_of(|out| AnswerLetter { to: ME, lines: vec![written.clone()] }.encode(out)).len();
        assert!(weight::of_written(&written.1) >= bytes, "{written:?}: {bytes}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_an_error_or_a_letter(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let bytes = [&[1][..], &bytes].concat();
        if let Ok(letter) = AskLetter::decode(&bytes) {
            prop_assert_eq!(bytes_of(|out| letter.encode(out)), &bytes[..]);
        }
        if let Ok(letter) = AnswerLetter::decode(&bytes) {
            prop_assert_eq!(bytes_of(|out| letter.encode(out)), &bytes[..]);
        }
    }

    #[test]
    fn damaged_bytes_are_an_error_or_a_letter(at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut bytes = bytes_of(|out| ask_letter().encode(out));
        let place = at.index(bytes.len());
        bytes[place] ^= 1 << bit;
        if let Ok(letter) = AskLetter::decode(&bytes) {
            prop_assert_eq!(bytes_of(|out| letter.encode(out)), &bytes[..]);
        }
        let mut bytes = bytes_of(|out| answer_letter().encode(out));
        let place = at.index(bytes.len());
        bytes[place] ^= 1 << bit;
        if let Ok(letter) = AnswerLetter::decode(&bytes) {
            prop_assert_eq!(bytes_of(|out| letter.encode(out)), &bytes[..]);
        }
    }
}
