//! Messages as bytes: what is written is read, and nothing else.

use proptest::prelude::*;

use super::*;

fn any_member() -> impl Strategy<Value = Member> {
    (any::<u64>(), any::<u64>()).prop_map(|(id, incarnation)| Member { id, incarnation })
}

fn any_state() -> impl Strategy<Value = NodeState> {
    let view = proptest::collection::vec(any_member(), 0..=NODES_MAX);
    let leader = proptest::option::of((any::<u64>(), any::<u64>()));
    let cluster = proptest::option::of(any::<u128>().prop_map(ClusterId));
    (cluster, any::<bool>(), leader, any::<u64>(), view)
        .prop_map(|(cluster, may_begin, leader, applied, view)| NodeState { cluster, may_begin, leader, applied, view })
}

fn any_message() -> impl Strategy<Value = MemberMessage> {
    let command = prop_oneof![
        any_member().prop_map(|it| Command::Confirm { member: it, by: it }),
        (any::<u128>(), any::<u64>(), any_member(), ".{0,253}").prop_map(|(cluster, made_at, member, name)| {
            let start = Start { member, name: name.chars().take(60).collect::<String>().into(), ..start(1, 1) };
            Command::Join { cluster: ClusterId(cluster), made_at, start }
        }),
    ];
    let request = (any::<u64>(), any::<u64>(), command);
    prop_oneof![
        Just(MemberMessage::Look),
        any_state().prop_map(MemberMessage::State),
        request.prop_map(|(nonce, number, command)| MemberMessage::Request(Request { nonce, number, command })),
        (any::<u64>(), any::<u64>(), ".{0,200}").prop_map(|(nonce, number, text)| {
            let answer = Answer { advice: Advice::StartAnew, text: text.into() };
            MemberMessage::Answer { nonce, number, answer }
        }),
        (any_member(), any::<u64>(), proptest::collection::vec(any::<u64>(), 0..=NODES_MAX))
            .prop_map(|(member, number, unreachable)| MemberMessage::Renewal(Renewal { member, number, unreachable })),
        (any_member(), any::<u64>(), any::<u64>()).prop_map(|(member, number, view)| MemberMessage::Grant(Grant {
            member,
            number,
            view
        })),
        any_member().prop_map(|member| MemberMessage::Goodbye(Goodbye { member })),
    ]
}

fn encode(message: &MemberMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

proptest! {
    #[test]
    fn a_message_is_read_as_it_was_written(message in any_message()) {
        let bytes = encode(&message);
        prop_assert!(bytes.len() <= MESSAGE_BYTES_MAX);
        prop_assert_eq!(MemberMessage::decode(&bytes), Ok(message));
    }

    #[test]
    fn a_part_of_a_message_or_more_than_one_is_none(message in any_message(), end in any::<prop::sample::Index>()) {
        let mut bytes = encode(&message);
        prop_assert!(MemberMessage::decode(&bytes[..end.index(bytes.len())]).is_err());
        bytes.push(0);
        prop_assert!(MemberMessage::decode(&bytes).is_err());
    }

    #[test]
    fn any_bytes_are_read_as_what_they_are_or_refused(
        kind in 0u8..9,
        tail in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let bytes = [&[1, kind][..], &tail].concat();
        if let Ok(message) = MemberMessage::decode(&bytes) {
            prop_assert_eq!(encode(&message), bytes);
        }
    }
}

#[test]
fn what_is_wrong_with_bytes_is_said() {
    let error = |bytes: &[u8]| MemberMessage::decode(bytes).unwrap_err().to_string();
    assert_eq!(error(&[]), "1 bytes are wanted at byte 0, found 0");
    assert_eq!(error(&[2, 1]), "format 2, only 1 is known");
    assert_eq!(error(&[1, 99]), "unknown message between members 99");
    assert_eq!(error(&[1, 1, 0]), "1 bytes follow the end");
    assert_eq!(error(&[1, 2, 8]), "unknown flags of a state 8");
    let many = [&[1, 2, 0][..], &[0; 8], &[1, 1]].concat();
    assert_eq!(error(&many), "number of members in a view is 257, at most 256 is allowed");
    let long = "length of a message between members is 16385, at most 16384 is allowed";
    assert_eq!(error(&vec![1; MESSAGE_BYTES_MAX + 1]), long);
    let mut two = encode(&MemberMessage::Request(Request { nonce: 0, number: 0, command: Command::Gone { node: 1 } }));
    two.truncate(18);
    Entry { time: 0, commands: vec![Command::Gone { node: 1 }; 2] }.encode(&mut two);
    assert_eq!(error(&two), "number of commands in a request is 2, which is not allowed");
    let nobody = encode(&MemberMessage::Goodbye(Goodbye { member: member(1, 1) }));
    assert_eq!(error(&nobody[..8]), "8 bytes are wanted at byte 1, found 5");
}
