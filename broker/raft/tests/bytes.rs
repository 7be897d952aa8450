//! Bytes of messages, payloads and states: what is written is read again, and nothing else is taken.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fulmar_bytes::BytesError;
use fulmar_raft::{
    Body, Entry, Group, HardState, Membership, Message, NUMBER_MAX, Payload, Position, Recovered, Settings, Snapshot,
    State,
};
use proptest::prelude::*;

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..6_u64, 0..=NUMBER_MAX]
}

fn position() -> impl Strategy<Value = Position> {
    (number(), number()).prop_map(|(term, index)| Position { term, index })
}

fn membership() -> impl Strategy<Value = Membership> {
    let voters = proptest::collection::btree_set(0..8_u64, 0..5);
    let learners = proptest::collection::btree_set(8..20_u64, 0..5);
    (voters, learners).prop_map(|(voters, learners)| Membership::new(voters, learners).expect("few that differ"))
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        Just(Payload::Empty),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Payload::Command(bytes.into())),
        membership().prop_map(Payload::Membership),
    ]
}

fn body() -> impl Strategy<Value = Body> {
    let entries = proptest::collection::vec((number(), payload()), 0..5);
    let append = (position(), entries, number()).prop_map(|(mut previous, entries, committed)| {
        previous.index = previous.index.min(NUMBER_MAX - 10);
        let entry = |(index, (term, payload))| Entry { term, index, payload };
        Body::Append { previous, entries: (previous.index + 1..).zip(entries).map(entry).collect(), committed }
    });
    prop_oneof![
        position().prop_map(|last| Body::AskPreVote { last }),
        any::<bool>().prop_map(|granted| Body::PreVote { granted }),
        (position(), any::<bool>()).prop_map(|(last, transfer)| Body::AskVote { last, transfer }),
        any::<bool>().prop_map(|granted| Body::Vote { granted }),
        append,
        number().prop_map(|matched| Body::Stored { matched }),
        (number(), position()).prop_map(|(previous, shareable)| Body::Refused { previous, shareable }),
        (number(), number()).prop_map(|(committed, round)| Body::Heartbeat { committed, round }),
        (number(), number(), number()).prop_map(|(round, received, matched)| Body::Beat { round, received, matched }),
        Just(Body::TermOver),
        Just(Body::TakeOver),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    (number(), body()).prop_map(|(term, body)| Message { term, body })
}

fn bytes(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.append_to(&mut bytes);
    bytes
}

proptest! {
    #[test]
    fn a_message_is_read_as_it_was_written(message in message()) {
        prop_assert_eq!(Message::decode(&bytes(&message)), Ok(message));
    }

    #[test]
    fn a_payload_is_read_as_it_was_written(payload in payload()) {
        let mut bytes = Vec::new();
        payload.append_to(&mut bytes);
        prop_assert_eq!(Payload::decode(&bytes), Ok(payload));
    }

    #[test]
    fn a_state_is_read_as_it_was_written(
        term in number(), vote in any::<Option<u64>>(), position in position(), membership in membership(),
    ) {
        let state = State { hard_state: HardState { term, vote }, start: Snapshot { position, membership } };
        let mut bytes = Vec::new();
        state.append_to(&mut bytes);
        prop_assert_eq!(State::decode(&bytes), Ok(state));
    }

    #[test]
    fn no_part_of_a_message_and_no_longer_one_is_taken(message in message(), more in any::<u8>()) {
        let mut bytes = bytes(&message);
        for end in 0..bytes.len() {
            prop_assert!(Message::decode(&bytes[..end]).is_err(), "the first {} bytes are taken", end);
        }
        bytes.push(more);
        prop_assert_eq!(Message::decode(&bytes), Err(BytesError::Trailing { found: 1 }.into()));
    }

    #[test]
    fn what_is_read_from_any_bytes_is_written_the_same(head in 0..13_u8, rest in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut garbage = vec![1, head];
        garbage.extend(rest);
        if let Ok(message) = Message::decode(&garbage) {
            prop_assert_eq!(bytes(&message), garbage);
        }
    }

    /// A peer that sends nonsense may bring a group to a standstill, but it neither stops the process nor makes the
    /// group commit what it does not have.
    #[test]
    fn no_messages_stop_a_group(
        messages in proptest::collection::vec((0..4_u64, message(), 0..200_u64), 0..60), alone in any::<bool>(),
    ) {
        let voters = if alone { vec![1] } else { vec![1, 2, 3] };
        let start = Snapshot::initial(Membership::new(voters, [0]).unwrap());
        let mut now = Instant::now();
        let mut group = Group::new(Settings::default(), 1, Recovered::new(start), now, 7);
        for (from, mut message, milliseconds) in messages {
            // Most belong to a term that is not over.
            message.term = group.term() + message.term % 2;
            now += Duration::from_millis(milliseconds);
            group.receive(from, message, now);
            group.tick(now);
            let _ = group.propose(vec![Arc::from([1_u8])], now);
            let outputs = group.take_outputs();
            if let Some(write) = outputs.write {
                group.stored(write.ticket, now);
            }
            if let Some(entry) = outputs.committed.last() {
                group.applied(entry.index);
            }
            prop_assert!(group.committed() <= group.last().index);
        }
    }
}

#[test]
fn heartbeats_are_small_enough_to_send_for_many_groups_at_once() {
    let heartbeat = Message { term: 7, body: Body::Heartbeat { committed: 1 << 40, round: 9 } };
    let beat = Message { term: 7, body: Body::Beat { round: 9, received: 1 << 40, matched: 1 << 40 } };
    assert_eq!((bytes(&heartbeat).len(), bytes(&beat).len()), (26, 34));
}

#[test]
fn errors_say_what_was_found_and_what_was_wanted() {
    let told = |bytes: &[u8]| Message::decode(bytes).unwrap_err().to_string();
    assert_eq!(told(&[]), "1 bytes are wanted at byte 0, found 0");
    assert_eq!(told(&[2]), "format 2, only 1 is known");
    assert_eq!(told(&[1, 99, 0, 0, 0, 0, 0, 0, 0, 0]), "unknown message kind 99");
    assert_eq!(told(&[1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 7]), "yes or no is 7, which is not allowed");
    assert_eq!(
        told(&[1, 10, 128, 0, 0, 0, 0, 0, 0, 0]),
        "term is 9223372036854775808, at most 9223372036854775807 is allowed"
    );
}
