//! MQTT 3.1.1 and 5.0 packets: bytes to values and back, without I/O.
//!
//! - [`split_frame`] finds where a packet ends; [`decode_connect`] and [`decode`] read what a server receives,
//!   [`decode_from_server`] what a client does. Packets borrow the bytes: nothing is allocated.
//! - Bytes are taken at their word: what is malformed or against the protocol is refused by a [`DecodeError`] that
//!   names the field, what was found and what was wanted, and knows the reason code to answer with.
//!   Rules that need the state of a connection (aliases, identifiers in use, quotas) are left to the session.
//! - [`encode`] writes any packet; the packets that a server writes all day have a function of their own.
//! - [`check_topic_name`] and [`parse_filter`] know the grammar of topics, [`filter_matches`] what they mean.
//!
//! ```
//! use fulmar_codec::{Ack, AckKind, Framed, Packet, ReasonCode, Version, decode, encode_ack, split_frame};
//!
//! // PUBLISH of QoS 1 to `t`, packet identifier 7, and the first byte of what comes next.
//! let received = b"\x32\x0b\0\x01t\0\x07\0hello\xc0";
//! let mut answer = Vec::new();
//! if let Framed::Whole { first, body, length } = split_frame(received, 1024)? {
//!     assert_eq!(length, 13);
//!     if let Packet::Publish(publish) = decode(Version::V5, first, body)? {
//!         assert_eq!((publish.topic, publish.payload), ("t", &b"hello"[..]));
//!         let packet_id = publish.packet_id.expect("QoS 1 has one");
//!         encode_ack(&mut answer, Version::V5, AckKind::PubAck, &Ack::new(packet_id, ReasonCode::SUCCESS));
//!     }
//! }
//! assert_eq!(answer, b"\x40\x02\0\x07");
//! # Ok::<(), fulmar_codec::DecodeError>(())
//! ```

#![deny(unsafe_code)]

mod ack;
mod auth;
mod bytes;
mod connack;
mod connect;
mod disconnect;
mod error;
mod forward;
mod frame;
mod packet;
mod property;
mod publish;
mod reader;
mod reason;
mod suback;
mod subscribe;
mod text;
mod topic;
mod types;
mod unsubscribe;
mod write;

pub use ack::{Ack, AckKind, AckProperties, encode_ack};
pub use auth::{Auth, encode_auth};
pub use connack::{ConnAck, ConnAckProperties, connack_length, encode_connack};
pub use connect::{Connect, Will, decode_connect, encode_connect, split_connect};
pub use disconnect::{Disconnect, encode_disconnect};
pub use error::{ConnectError, DecodeError};
pub use forward::{ForwardProperties, PropertiesBuilder, SubscriptionIds, UserProperties};
pub use frame::{Framed, PACKET_BYTES_MAX, split_frame};
pub use packet::{Packet, PacketType, decode, decode_from_server, encode, encode_pingreq, encode_pingresp};
pub use publish::{
    Publish, PublishHead, PublishProperties, decode_publish, encode_publish, publish_length, set_publish_dup,
    set_publish_packet_id,
};
pub use reason::ReasonCode;
pub use suback::{ReasonCodes, SubAck, UnsubAck, encode_suback, encode_unsuback, suback_length};
pub use subscribe::{Subscribe, SubscribeFilter, encode_subscribe};
pub use topic::{ParsedFilter, TopicError, TopicKind, TopicLimits, check_topic_name, filter_matches, parse_filter};
pub use types::{PacketId, QoS, RetainHandling, SubscriptionOptions, Version};
pub use unsubscribe::{Unsubscribe, encode_unsubscribe};
