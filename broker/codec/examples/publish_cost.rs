//! Splits, reads and writes PUBLISH packets over and over: what each costs is counted, not timed.
//!
//! ```text
//! cargo build --release -p fulmar-codec --example publish_cost
//! valgrind --tool=callgrind --toggle-collect='*read_all*' target/release/examples/publish_cost
//! ```
//!
//! `--toggle-collect='*write_all*'` counts writing. Divide by the packets printed.

use std::hint::black_box;

use fulmar_codec::{
    ForwardProperties, Framed, PacketId, PublishHead, QoS, Version, decode_publish, encode_publish, split_frame,
};

const PACKETS: usize = 100_000;

#[allow(clippy::print_stdout, reason = "an example speaks to a person")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let qos1 = PublishHead { qos: QoS::AtLeastOnce, packet_id: Some(PacketId::MIN), ..PublishHead::default() };
    let version = Version::V5;
    let (mut packets, mut out) = (Vec::new(), Vec::new());
    for head in [PublishHead::default(), qos1] {
        for _ in 0..PACKETS / 2 {
            let topic = "site/17/temperature";
            encode_publish(&mut packets, version, &head, topic, &ForwardProperties::EMPTY, b"0123456789abcdef");
        }
    }
    let read = read_all(version, &packets)?;
    for _ in 0..PACKETS / 100 {
        write_all(version, &mut out);
    }
    assert_eq!(read, PACKETS, "packets read");
    println!("{PACKETS} packets read, as many written");
    Ok(())
}

#[inline(never)]
fn read_all(version: Version, mut bytes: &[u8]) -> Result<usize, fulmar_codec::DecodeError> {
    let mut packets = 0;
    while let Framed::Whole { first, body, length } = split_frame(bytes, 1 << 20)? {
        let publish = decode_publish(version, first, body)?;
        black_box((publish.topic, publish.payload, publish.packet_id, publish.properties.topic_alias));
        bytes = &bytes[length..];
        packets += 1;
    }
    Ok(packets)
}

/// A hundred packets into one buffer, as for a subscriber that gets them in one turn.
#[inline(never)]
fn write_all(version: Version, out: &mut Vec<u8>) {
    out.clear();
    for number in 1..=100 {
        let packet_id = PacketId::new(number).filter(|_| number > 50);
        let qos = if packet_id.is_some() { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        let head = PublishHead { qos, packet_id, ..PublishHead::default() };
        let topic = black_box("site/17/temperature");
        encode_publish(out, version, &head, topic, &ForwardProperties::EMPTY, black_box(b"0123456789abcdef"));
    }
    black_box(out);
}
