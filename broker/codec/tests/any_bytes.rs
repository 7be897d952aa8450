//! Whatever bytes arrive: no panic, and no more work than there are bytes.

use std::time::{Duration, Instant};

use fulmar_codec::{
    Framed, Packet, PacketId, PropertiesBuilder, PublishHead, SubscribeFilter, SubscriptionOptions, Version, decode,
    decode_connect, decode_from_server, encode, encode_publish, encode_subscribe, split_frame,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Reads bytes as everything they could be. What is taken for good is good: written again, it reads as the same.
fn read_as_anything(first: u8, body: &[u8]) {
    if let Ok(connect) = decode_connect(first, body) {
        assert_stable(connect.version, &Packet::Connect(connect), |first, body| {
            decode_connect(first, body).map(Packet::Connect).ok()
        });
    }
    for version in [Version::V311, Version::V5] {
        if let Ok(packet) = decode(version, first, body) {
            assert_stable(version, &packet, |first, body| decode(version, first, body).ok());
        }
        if let Ok(packet) = decode_from_server(version, first, body) {
            assert_stable(version, &packet, |first, body| decode_from_server(version, first, body).ok());
        }
    }
}

fn assert_stable(version: Version, packet: &Packet<'_>, read: impl Fn(u8, &[u8]) -> Option<Packet<'_>>) {
    let mut out = Vec::new();
    encode(packet, version, &mut out);
    let Ok(Framed::Whole { first, body, length }) = split_frame(&out, out.len()) else { panic!("a whole packet") };
    assert_eq!(length, out.len());
    assert_eq!(read(first, body).as_ref(), Some(packet));
    let _ = format!("{packet:?}");
}

/// Bytes that are likelier than others to get far: small lengths, identifiers of properties, letters.
fn plausible() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => 0..=6_u8, 2 => 0..=0x2a_u8, 1 => Just(b'a'), 1 => any::<u8>()];
    vec(byte, 0..60)
}

/// First bytes, and how the body of that packet begins.
const BEGINNINGS: [(u8, &[u8]); 10] = [
    (0x10, b"\0\x04MQTT\x05"),
    (0x10, b"\0\x04MQTT\x04"),
    (0x30, b"\0\x01a"),
    (0x32, b"\0\x01a\0\x01"),
    (0x82, b"\0\x01"),
    (0xa2, b"\0\x01"),
    (0x40, b"\0\x01\0"),
    (0x20, b"\0\0"),
    (0xe0, b"\0"),
    (0xf0, b"\x18"),
];

fn plausible_packet() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let packet = (proptest::sample::select(&BEGINNINGS), plausible());
    packet.prop_map(|((first, beginning), rest)| (first, [beginning, &rest].concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn are_read_without_a_panic(first in any::<u8>(), body in vec(any::<u8>(), 0..60)) {
        read_as_anything(first, &body);
    }

    #[test]
    fn are_read_without_a_panic_when_they_look_like_packets((first, body) in plausible_packet()) {
        read_as_anything(first, &body);
    }

    #[test]
    fn are_split_without_a_panic(bytes in vec(any::<u8>(), 0..12), packet_bytes_max in 0..400_usize) {
        if let Ok(Framed::Whole { first, body, length }) = split_frame(&bytes, packet_bytes_max) {
            prop_assert!(length <= bytes.len() && length <= packet_bytes_max && body.len() < length);
            prop_assert_eq!(first, bytes[0]);
        }
    }

    #[test]
    fn a_good_packet_with_one_byte_changed_does_no_harm(
        at in any::<proptest::sample::Index>(), byte in any::<u8>(), (first, body) in plausible_packet(),
    ) {
        let mut body = body;
        let at = at.index(body.len());
        body[at] = byte;
        read_as_anything(first, &body);
    }
}

/// A PUBLISH of the smallest user properties there are, and a SUBSCRIBE of the smallest filters.
fn crowded(bytes: usize) -> [Vec<u8>; 2] {
    let properties = (0..bytes / 5).fold(PropertiesBuilder::new(), |properties, _| properties.user("", ""));
    let mut publish = Vec::new();
    encode_publish(&mut publish, Version::V5, &PublishHead::default(), "t", &properties.forward(), b"");
    let filters = vec![SubscribeFilter { filter: "a", options: SubscriptionOptions::default() }; bytes / 4];
    let mut subscribe = Vec::new();
    encode_subscribe(&mut subscribe, Version::V5, PacketId::MIN, None, &filters);
    [publish, subscribe]
}

/// The shortest of several runs: a busy machine only ever adds to it.
fn time_to_read_and_write(bytes: &[u8]) -> Duration {
    let run = |_| {
        let start = Instant::now();
        let Ok(Framed::Whole { first, body, .. }) = split_frame(bytes, bytes.len()) else { panic!("a whole packet") };
        let packet = decode(Version::V5, first, body).expect("a good packet");
        let mut out = Vec::new();
        encode(&packet, Version::V5, &mut out);
        assert_eq!(out, bytes);
        start.elapsed()
    };
    (0..5).map(run).min().expect("five runs")
}

/// 64 times the bytes take about 64 times as long: 4,096 times if the work grew with their square.
#[test]
fn packets_crowded_with_properties_or_filters_are_read_in_linear_time() {
    for (small, large) in crowded(1 << 14).iter().zip(&crowded(1 << 20)) {
        let (short, long) = (time_to_read_and_write(small), time_to_read_and_write(large));
        let bound = short.max(Duration::from_micros(100)) * 64 * 8;
        assert!(long < bound, "{} bytes in {short:?}, {} bytes in {long:?}", small.len(), large.len());
    }
}
