//! Whatever is encoded is decoded; whatever arrives, nothing panics and nothing is believed.

use fulmar_codec::{ForwardProperties, QoS};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::claims::{Claim, Takeover};
use crate::clock::{NodeId, Version};

const MAX: usize = 1 << 20;

/// A message that owns what a [`LinkMessage`] borrows.
#[derive(Debug, Clone)]
enum Owned {
    Publish {
        qos: QoS,
        flags: (bool, bool),
        retain_as: Option<Version>,
        shared: Vec<(String, String)>,
        hops: u8,
        topic: String,
        expiry: Option<u32>,
        forward: Vec<u8>,
        payload: Vec<u8>,
    },
    Interest(u64, InterestChange, Option<String>, String),
    Version(u8, u64),
    Claim(String, [Version; 2], Option<String>, bool),
    Retained(String, Version, Option<Stored>),
    Bare(u8),
}

/// Quality of service, expiry, properties and payload of a retained message.
type Stored = (QoS, Option<u32>, Vec<u8>, Vec<u8>);

impl Owned {
    fn with<T>(&self, use_it: impl FnOnce(&LinkMessage<'_>) -> T) -> T {
        match self {
            Owned::Publish { qos, flags, retain_as, shared, hops, topic, expiry, forward, payload } => {
                let mut targets = SharedTargets::default();
                for (group, filter) in shared {
                    assert!(targets.push(group, filter));
                }
                use_it(&LinkMessage::Publish(LinkPublish {
                    qos: *qos,
                    retain: flags.0,
                    live: flags.1,
                    retain_as: *retain_as,
                    shared: targets.list(),
                    hops: if shared.is_empty() { 0 } else { *hops },
                    topic,
                    expiry: *expiry,
                    forward: ForwardProperties::from_validated(forward),
                    payload,
                }))
            }
            Owned::Interest(version, change, group, filter) => use_it(&LinkMessage::Interest(InterestDelta {
                version: *version,
                change: *change,
                group: group.as_deref(),
                filter,
            })),
            Owned::Version(0, version) => use_it(&LinkMessage::InterestSnapshotBegin { version: *version }),
            Owned::Version(_, version) => use_it(&LinkMessage::InterestConfirm { version: *version }),
            Owned::Claim(client_id, [version, since], user, is_open) => {
                let takeover = if *is_open { Takeover::AnyUser } else { Takeover::SameUser };
                let claim = Claim { version: *version, since: *since, user: user.as_deref(), takeover };
                use_it(&LinkMessage::Claim { client_id, claim })
            }
            Owned::Retained(topic, version, message) => use_it(&LinkMessage::RetainedEntry(RetainedEntry {
                topic,
                version: *version,
                message: message.as_ref().map(|(qos, expiry, forward, payload)| RetainedMessage {
                    qos: *qos,
                    expiry: *expiry,
                    forward: ForwardProperties::from_validated(forward),
                    payload,
                }),
            })),
            Owned::Bare(0) => use_it(&LinkMessage::InterestSnapshotEnd),
            Owned::Bare(1) => use_it(&LinkMessage::ClaimsDone),
            Owned::Bare(2) => use_it(&LinkMessage::RetainedRequest),
            Owned::Bare(_) => use_it(&LinkMessage::RetainedDone),
        }
    }
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

fn version() -> impl Strategy<Value = Version> {
    (any::<u64>(), any::<u64>()).prop_map(|(clock, node)| Version { clock, node: NodeId(node) })
}

/// Nothing, or that the payload is text (MQTT 5.0, 3.3.2.3.2).
fn forward() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(Vec::new()), Just(vec![0x01, 0x01])]
}

fn message() -> impl Strategy<Value = Owned> {
    let text = || "\\PC{0,12}";
    let publish =
        (
            (qos(), any::<(bool, bool)>(), proptest::option::of(version())),
            (vec((text(), text()), 0..4), any::<u8>()),
            (text(), proptest::option::of(any::<u32>()), forward(), vec(any::<u8>(), 0..64)),
        )
            .prop_map(|((qos, flags, retain_as), (shared, hops), (topic, expiry, forward, payload))| {
                Owned::Publish { qos, flags, retain_as, shared, hops, topic, expiry, forward, payload }
            });
    let change = prop_oneof![Just(InterestChange::Add), Just(InterestChange::Remove)];
    let stored = (qos(), proptest::option::of(any::<u32>()), forward(), vec(any::<u8>(), 0..64));
    prop_oneof![
        publish,
        (any::<u64>(), change, proptest::option::of(text()), text())
            .prop_map(|(version, change, group, filter)| Owned::Interest(version, change, group, filter)),
        (0u8..2, any::<u64>()).prop_map(|(kind, version)| Owned::Version(kind, version)),
        (text(), [version(), version()], proptest::option::of(text()), any::<bool>())
            .prop_map(|(client_id, versions, user, is_open)| Owned::Claim(client_id, versions, user, is_open)),
        (text(), version(), proptest::option::of(stored))
            .prop_map(|(topic, version, message)| Owned::Retained(topic, version, message)),
        (0u8..4).prop_map(Owned::Bare),
    ]
}

fn encode(sequence: u64, messages: &[Owned]) -> Vec<u8> {
    let mut bytes = Vec::new();
    open_data(&mut bytes, sequence);
    for message in messages {
        message.with(|message| message.append_to(&mut bytes));
    }
    seal_data(&mut bytes, 0);
    bytes
}

/// Reads a frame and all that is in it.
fn read(bytes: &[u8]) -> Result<usize, FrameError> {
    match split(bytes, MAX)? {
        Split::Whole { frame: Frame::Data { messages, .. }, used } => {
            for message in messages {
                message?;
            }
            Ok(used)
        }
        Split::Whole { used, .. } => Ok(used),
        Split::Incomplete { .. } => Ok(0),
    }
}

proptest! {
    #[test]
    fn messages_that_are_encoded_are_decoded(sequence in 1..u64::MAX, messages in vec(message(), 1..8)) {
        let bytes = encode(sequence, &messages);
        let Ok(Split::Whole { frame: Frame::Data { sequence: found, messages: decoded }, used }) = split(&bytes, MAX)
        else {
            return Err(TestCaseError::fail("not a whole frame of data"));
        };
        prop_assert_eq!((found, used), (sequence, bytes.len()));
        let decoded: Vec<_> = decoded.collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(decoded.len(), messages.len());
        for (decoded, message) in decoded.iter().zip(&messages) {
            message.with(|message| {
                assert_eq!(decoded, message);
                let mut alone = Vec::new();
                message.append_to(&mut alone);
                assert!(alone.len() <= message.length_max(), "{} bytes", alone.len());
            });
        }
    }

    #[test]
    fn every_part_of_a_frame_is_incomplete(messages in vec(message(), 1..4)) {
        let bytes = encode(1, &messages);
        for end in 0..bytes.len() {
            let needed = (end >= LENGTH_BYTES).then_some(bytes.len());
            let Ok(Split::Incomplete { needed: found }) = split(&bytes[..end], MAX) else {
                return Err(TestCaseError::fail("not incomplete"));
            };
            prop_assert_eq!(found, needed);
        }
    }

    #[test]
    fn a_frame_that_is_cut_short_is_an_error(messages in vec(message(), 1..4), cut in any::<prop::sample::Index>()) {
        let mut bytes = encode(1, &messages);
        // Cut inside the last message, with a length that agrees.
        let whole = encode(1, &messages[..messages.len() - 1]).len();
        bytes.truncate(whole + cut.index(bytes.len() - whole));
        seal_data(&mut bytes, 0);
        // Cut where the last message begins, the others stand.
        let stands = bytes.len() == whole && messages.len() > 1;
        prop_assert_eq!(read(&bytes).is_ok(), stands);
    }

    #[test]
    fn no_bytes_make_it_panic(
        messages in vec(message(), 1..4),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        noise in vec(any::<u8>(), 0..100),
    ) {
        let _ = read(&noise);
        let mut framed = vec![0, 0, 0, 0];
        framed.extend_from_slice(&noise);
        seal_data(&mut framed, 0);
        let _ = read(&framed);
        let mut bytes = encode(1, &messages);
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        let _ = read(&bytes);
    }
}

#[test]
fn control_frames_are_decoded_as_encoded() {
    let resume = Resume { epoch: 3, received: 99 };
    let frames = [
        ControlFrame::Resume(resume),
        ControlFrame::Ack { sequence: 7 },
        ControlFrame::Ping,
        ControlFrame::Pong,
        ControlFrame::Close(CloseReason::Shutdown),
    ];
    let mut bytes = Vec::new();
    for frame in frames {
        encode_control(&mut bytes, frame);
    }
    let mut rest = bytes.as_slice();
    let mut decoded = Vec::new();
    while let Ok(Split::Whole { frame, used }) = split(rest, MAX) {
        decoded.push(match frame {
            Frame::Data { .. } => unreachable!("no data was encoded"),
            Frame::Ack { sequence } => ControlFrame::Ack { sequence },
            Frame::Resume(resume) => ControlFrame::Resume(resume),
            Frame::Ping => ControlFrame::Ping,
            Frame::Pong => ControlFrame::Pong,
            Frame::Close(reason) => ControlFrame::Close(reason),
        });
        rest = &rest[used..];
    }
    assert_eq!((decoded.as_slice(), rest), (frames.as_slice(), &[][..]));
}

#[test]
fn what_nobody_may_send_is_refused_by_name() {
    let cases: [(&[u8], FrameError); 11] = [
        (&[0, 0, 0, 0], FrameError::Truncated { what: "frame kind", wanted: 1, found: 0 }),
        (&[0, 0, 0, 1, 77], FrameError::UnknownFrame { found: 77 }),
        (&[0, 0, 0, 2, PING, 0], FrameError::Trailing { what: "frame", found: 1 }),
        (&[0, 0, 0, 2, CLOSE, 99], FrameError::Value { what: "close reason", found: 99 }),
        (&[0, 0, 0, 2, ACK, 1], FrameError::Truncated { what: "sequence", wanted: 8, found: 1 }),
        (&[0, 0, 0, 10, DATA, 0, 0, 0, 0, 0, 0, 0, 0, 10], FrameError::Value { what: "sequence", found: 0 }),
        (&[0, 0, 0, 9, DATA, 0, 0, 0, 0, 0, 0, 0, 1], FrameError::Truncated { what: "message", wanted: 1, found: 0 }),
        (&[0, 0, 0, 10, DATA, 0, 0, 0, 0, 0, 0, 0, 1, 200], FrameError::UnknownMessage { found: 200 }),
        (
            &[0, 0, 0, 11, DATA, 0, 0, 0, 0, 0, 0, 0, 1, 1, 3],
            FrameError::Value { what: "quality of service", found: 3 },
        ),
        (&[0, 0, 0, 11, DATA, 0, 0, 0, 0, 0, 0, 0, 1, 6, 4], FrameError::Value { what: "claim flags", found: 4 }),
        (&[0x10, 0, 0, 0, 1], FrameError::TooLarge { found: 0x1000_0004, max: MAX }),
    ];
    for (bytes, wanted) in cases {
        assert_eq!(read(bytes), Err(wanted), "{bytes:?}");
    }
}

#[test]
fn nothing_follows_an_error_in_a_frame() {
    let mut bytes = encode(1, &[Owned::Bare(0)]);
    bytes.extend_from_slice(&[200, 3]);
    seal_data(&mut bytes, 0);
    let Ok(Split::Whole { frame: Frame::Data { mut messages, .. }, .. }) = split(&bytes, MAX) else {
        panic!("not a whole frame of data")
    };
    assert_eq!(messages.next(), Some(Ok(LinkMessage::InterestSnapshotEnd)));
    assert_eq!(messages.next(), Some(Err(FrameError::UnknownMessage { found: 200 })));
    assert_eq!(messages.next(), None);
}

#[test]
fn forwarded_properties_are_checked() {
    let mut publish = Vec::new();
    let topic_alias = [0x23, 0, 1];
    open_data(&mut publish, 1);
    LinkMessage::Publish(LinkPublish {
        qos: QoS::AtMostOnce,
        retain: false,
        live: true,
        retain_as: None,
        shared: SharedList::EMPTY,
        hops: 0,
        topic: "a",
        expiry: None,
        forward: ForwardProperties::from_validated(&topic_alias),
        payload: b"",
    })
    .append_to(&mut publish);
    seal_data(&mut publish, 0);
    assert_eq!(read(&publish), Err(FrameError::Properties));
}

#[test]
fn a_list_of_groups_says_when_it_is_full() {
    let mut targets = SharedTargets::default();
    let long = "g".repeat(1000);
    let taken = (0..100_000).take_while(|_| targets.push(&long, "f")).count();
    assert_eq!((taken, targets.list().len()), (66, 66));
    targets.clear();
    assert!(targets.list().is_empty() && targets.push(&long, "f"));
}
