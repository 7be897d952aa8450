//! Greetings as bytes.
//!
//! ```text
//! greeting = "FULMAR" protocol (16 bits) length (16 bits, of what follows) kind (8 bits) body
//! ```
//! The head stays the same in every version of the protocol, so that nodes of different versions can at least tell
//! each other what is wrong.

use super::{
    GREETING_BYTES_MAX, Greeting, GreetingError, Hello, NAME_BYTES_MAX, PROTOCOL, Purpose, Refusal, RefusalReason,
    THREADS_MAX,
};
use crate::clock::NodeId;
use crate::frame::FrameError;
use crate::letters::Channel;
use crate::wire::{Reader, put_text, put_u16, put_u32, put_u64};

const MAGIC: &[u8; 6] = b"FULMAR";
const HEAD_BYTES: usize = MAGIC.len() + 2 + 2;

const HELLO: u8 = 1;
const REFUSAL: u8 = 2;

/// What stands at the front of received bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SplitGreeting {
    /// Not all of a greeting.
    Incomplete,
    /// A greeting.
    Whole {
        /// The greeting.
        greeting: Greeting,
        /// How many bytes it took. What follows belongs to the lane, or is letters.
        used: usize,
    },
}

/// Reads the greeting at the front of `bytes`, and refuses others as early as can be told.
pub fn split_greeting(bytes: &[u8]) -> Result<SplitGreeting, GreetingError> {
    let known = bytes.len().min(MAGIC.len());
    if bytes[..known] != MAGIC[..known] {
        return Err(GreetingError::Magic);
    }
    let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else {
        return Ok(SplitGreeting::Incomplete);
    };
    let [.., protocol_high, protocol_low, length_high, length_low] = *head;
    let used = HEAD_BYTES + usize::from(u16::from_be_bytes([length_high, length_low]));
    if used > GREETING_BYTES_MAX {
        return Err(GreetingError::TooLong { found: used });
    }
    let Some(body) = bytes.get(HEAD_BYTES..used) else {
        return Ok(SplitGreeting::Incomplete);
    };
    let protocol = u16::from_be_bytes([protocol_high, protocol_low]);
    if protocol != PROTOCOL {
        return Err(GreetingError::Protocol { found: protocol });
    }
    Ok(SplitGreeting::Whole { greeting: decode(body)?, used })
}

fn decode(body: &[u8]) -> Result<Greeting, FrameError> {
    let mut reader = Reader::new(body);
    let greeting = match reader.u8("greeting kind")? {
        HELLO => Greeting::Hello(decode_hello(&mut reader)?),
        REFUSAL => Greeting::Refusal(decode_refusal(&mut reader)?),
        found => return Err(FrameError::Value { what: "greeting kind", found: u64::from(found) }),
    };
    reader.finish("greeting")?;
    Ok(greeting)
}

fn decode_hello(reader: &mut Reader<'_>) -> Result<Hello, FrameError> {
    let hello = Hello {
        feature_level: reader.u32("feature level")?,
        node: NodeId(reader.u64("node")?),
        incarnation: reader.u64("incarnation")?,
        nonce: reader.u64("nonce")?,
        threads: reader.u16("threads")?,
        purpose: decode_purpose(reader)?,
        epoch: reader.u64("epoch")?,
        generation: reader.u32("generation")?,
        clock: reader.u64("clock")?,
        cluster: decode_name(reader, "cluster name")?,
        name: decode_name(reader, "node name")?,
    };
    if !(1..=THREADS_MAX).contains(&hello.threads) {
        return Err(FrameError::Value { what: "number of threads", found: u64::from(hello.threads) });
    }
    Ok(hello)
}

fn decode_purpose(reader: &mut Reader<'_>) -> Result<Purpose, FrameError> {
    match reader.u8("purpose")? {
        1 => Ok(Purpose::Lane(reader.u16("lane")?)),
        2 => Ok(Purpose::Letters(Channel::Control)),
        3 => Ok(Purpose::Letters(Channel::Bulk)),
        found => Err(FrameError::Value { what: "purpose", found: u64::from(found) }),
    }
}

fn decode_name(reader: &mut Reader<'_>, what: &'static str) -> Result<String, FrameError> {
    let name = reader.text(what)?;
    if name.len() > NAME_BYTES_MAX {
        return Err(FrameError::TooLarge { found: name.len(), max: NAME_BYTES_MAX });
    }
    Ok(name.to_owned())
}

fn decode_refusal(reader: &mut Reader<'_>) -> Result<Refusal, FrameError> {
    let node = NodeId(reader.u64("node")?);
    let reason = match reader.u8("reason of refusal")? {
        1 => RefusalReason::Itself,
        2 => RefusalReason::SameNodeId { name: decode_name(reader, "node name")? },
        3 => RefusalReason::WrongCluster { wanted: decode_name(reader, "cluster name")? },
        4 => RefusalReason::WrongProtocol { wanted: reader.u16("protocol")? },
        5 => RefusalReason::AlreadyLinked,
        6 => RefusalReason::LowerDials,
        7 => RefusalReason::NoSuchLane { lanes: reader.u16("number of lanes")? },
        8 => RefusalReason::TooManyNodes { max: reader.u16("number of nodes")? },
        9 => RefusalReason::ShuttingDown,
        10 => RefusalReason::NoStore,
        11 => {
            RefusalReason::Copied { found: reader.u64("boot counter")?, recorded: reader.u64("recorded boot counter")? }
        }
        12 => RefusalReason::AnotherProcess { incarnation: reader.u64("boot counter")? },
        found => return Err(FrameError::Value { what: "reason of refusal", found: u64::from(found) }),
    };
    Ok(Refusal { node, reason })
}

/// Appends a greeting. Names are cut to [`NAME_BYTES_MAX`].
pub fn encode_greeting(out: &mut Vec<u8>, greeting: &Greeting) {
    out.extend_from_slice(MAGIC);
    put_u16(out, PROTOCOL);
    let start = out.len();
    put_u16(out, 0);
    match greeting {
        Greeting::Hello(hello) => encode_hello(out, hello),
        Greeting::Refusal(Refusal { node, reason }) => {
            out.push(REFUSAL);
            put_u64(out, node.0);
            encode_reason(out, reason);
        }
    }
    let length = u16::try_from(out.len() - start - 2).expect("names are cut, so a greeting is short");
    out[start..start + 2].copy_from_slice(&length.to_be_bytes());
}

fn encode_hello(out: &mut Vec<u8>, hello: &Hello) {
    let Hello { feature_level, cluster, node, incarnation, nonce, name, threads, purpose, epoch, generation, clock } =
        hello;
    out.push(HELLO);
    put_u32(out, *feature_level);
    put_u64(out, node.0);
    put_u64(out, *incarnation);
    put_u64(out, *nonce);
    put_u16(out, *threads);
    encode_purpose(out, *purpose);
    put_u64(out, *epoch);
    put_u32(out, *generation);
    put_u64(out, *clock);
    put_name(out, cluster);
    put_name(out, name);
}

fn encode_purpose(out: &mut Vec<u8>, purpose: Purpose) {
    match purpose {
        Purpose::Lane(lane) => {
            out.push(1);
            put_u16(out, lane);
        }
        Purpose::Letters(Channel::Control) => out.push(2),
        Purpose::Letters(Channel::Bulk) => out.push(3),
    }
}

fn encode_reason(out: &mut Vec<u8>, reason: &RefusalReason) {
    match reason {
        RefusalReason::Itself => out.push(1),
        RefusalReason::SameNodeId { name } => {
            out.push(2);
            put_name(out, name);
        }
        RefusalReason::WrongCluster { wanted } => {
            out.push(3);
            put_name(out, wanted);
        }
        RefusalReason::WrongProtocol { wanted } => {
            out.push(4);
            put_u16(out, *wanted);
        }
        RefusalReason::AlreadyLinked => out.push(5),
        RefusalReason::LowerDials => out.push(6),
        RefusalReason::NoSuchLane { lanes } => {
            out.push(7);
            put_u16(out, *lanes);
        }
        RefusalReason::TooManyNodes { max } => {
            out.push(8);
            put_u16(out, *max);
        }
        RefusalReason::ShuttingDown => out.push(9),
        RefusalReason::NoStore => out.push(10),
        RefusalReason::Copied { found, recorded } => {
            out.push(11);
            put_u64(out, *found);
            put_u64(out, *recorded);
        }
        RefusalReason::AnotherProcess { incarnation } => {
            out.push(12);
            put_u64(out, *incarnation);
        }
    }
}

fn put_name(out: &mut Vec<u8>, name: &str) {
    put_text(out, &name[..name.floor_char_boundary(NAME_BYTES_MAX)]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn purpose() -> impl Strategy<Value = Purpose> {
        let letters = |channel| Just(Purpose::Letters(channel));
        prop_oneof![any::<u16>().prop_map(Purpose::Lane), letters(Channel::Control), letters(Channel::Bulk)]
    }

    fn hello() -> impl Strategy<Value = Hello> {
        let numbers = (any::<u32>(), any::<[u64; 3]>(), 1..=THREADS_MAX, purpose(), any::<u64>());
        (numbers, any::<u32>(), any::<u64>(), "\\PC{0,50}", "\\PC{0,50}").prop_map(
            |(
                (feature_level, [node, incarnation, nonce], threads, purpose, epoch),
                generation,
                clock,
                cluster,
                name,
            )| Hello {
                feature_level,
                cluster,
                node: NodeId(node),
                incarnation,
                nonce,
                name,
                threads,
                purpose,
                epoch,
                generation,
                clock,
            },
        )
    }

    fn reason() -> impl Strategy<Value = RefusalReason> {
        prop_oneof![
            Just(RefusalReason::Itself),
            "[a-z]{0,20}".prop_map(|name| RefusalReason::SameNodeId { name }),
            "[a-z]{0,20}".prop_map(|wanted| RefusalReason::WrongCluster { wanted }),
            any::<u16>().prop_map(|wanted| RefusalReason::WrongProtocol { wanted }),
            Just(RefusalReason::AlreadyLinked),
            Just(RefusalReason::LowerDials),
            any::<u16>().prop_map(|lanes| RefusalReason::NoSuchLane { lanes }),
            any::<u16>().prop_map(|max| RefusalReason::TooManyNodes { max }),
            Just(RefusalReason::ShuttingDown),
            Just(RefusalReason::NoStore),
            any::<[u64; 2]>().prop_map(|[found, recorded]| RefusalReason::Copied { found, recorded }),
            any::<u64>().prop_map(|incarnation| RefusalReason::AnotherProcess { incarnation }),
        ]
    }

    fn greeting() -> impl Strategy<Value = Greeting> {
        prop_oneof![
            hello().prop_map(Greeting::Hello),
            (any::<u64>(), reason())
                .prop_map(|(node, reason)| Greeting::Refusal(Refusal { node: NodeId(node), reason })),
        ]
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_and_every_part_of_it_is_incomplete(greeting in greeting()) {
            let mut bytes = Vec::new();
            encode_greeting(&mut bytes, &greeting);
            for end in 0..bytes.len() {
                prop_assert_eq!(split_greeting(&bytes[..end]), Ok(SplitGreeting::Incomplete));
            }
            let used = bytes.len();
            bytes.extend_from_slice(b"the lane");
            prop_assert_eq!(split_greeting(&bytes), Ok(SplitGreeting::Whole { greeting, used }));
        }

        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), real_head in any::<bool>()) {
            if real_head && bytes.len() >= HEAD_BYTES {
                bytes[..MAGIC.len()].copy_from_slice(MAGIC);
                bytes[MAGIC.len()..MAGIC.len() + 2].copy_from_slice(&PROTOCOL.to_be_bytes());
            }
            let _ = split_greeting(&bytes);
        }
    }

    #[test]
    fn a_stranger_is_told_apart_at_its_first_byte() {
        assert_eq!(split_greeting(b"GET / HTTP/1.1"), Err(GreetingError::Magic));
        assert_eq!(split_greeting(&[0x10]), Err(GreetingError::Magic));
    }

    #[test]
    fn another_version_is_named() {
        let error = split_greeting(b"FULMAR\x00\x04\x00\x00").unwrap_err();
        assert_eq!(error.to_string(), "link protocol 4, wanted 3");
    }

    #[test]
    fn a_greeting_that_announces_too_much_is_refused_before_it_arrives() {
        assert_eq!(split_greeting(b"FULMAR\x00\x03\xff\xff"), Err(GreetingError::TooLong { found: 65_545 }));
    }

    #[test]
    fn long_names_are_cut_and_no_threads_are_refused() {
        let long = "ü".repeat(400);
        let hello = Hello {
            feature_level: 1,
            cluster: long.clone(),
            node: NodeId(1),
            incarnation: 2,
            nonce: 3,
            name: long.clone(),
            threads: 1,
            purpose: Purpose::Lane(0),
            epoch: 0,
            generation: 0,
            clock: 0,
        };
        let mut bytes = Vec::new();
        encode_greeting(&mut bytes, &Greeting::Hello(hello.clone()));
        assert!(bytes.len() <= GREETING_BYTES_MAX);
        let cut = long[..252].to_owned();
        let wanted = Hello { cluster: cut.clone(), name: cut, ..hello.clone() };
        let used = bytes.len();
        assert_eq!(split_greeting(&bytes), Ok(SplitGreeting::Whole { greeting: Greeting::Hello(wanted), used }));

        bytes.clear();
        encode_greeting(&mut bytes, &Greeting::Hello(Hello { threads: 0, ..hello }));
        let error = split_greeting(&bytes).unwrap_err();
        assert_eq!(error.to_string(), "greeting: number of threads is 0, which is not allowed");
    }
}
