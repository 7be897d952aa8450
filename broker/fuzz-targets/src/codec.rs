//! Bytes of a client or of a server: what is taken for good is written and read as the same again.

use fulmar_codec::{
    Framed, Packet, Version, decode, decode_connect, decode_from_server, encode, filter_matches, parse_filter,
    split_connect, split_frame,
};

use crate::dice::Dice;

/// The first byte bounds packets, the rest is a stream of them.
pub(crate) fn target(bytes: &[u8]) {
    let mut dice = Dice::new(bytes);
    let packet_bytes_max = 2 + usize::from(dice.byte()) * 4;
    let mut stream = dice.rest();
    let _ = split_connect(stream, packet_bytes_max);
    while let Ok(Framed::Whole { first, body, length }) = split_frame(stream, packet_bytes_max) {
        assert!(length <= stream.len() && length <= packet_bytes_max && body.len() < length);
        assert_eq!(first, stream[0]);
        // A part of a packet is never taken for a whole one, and is not refused either.
        for part in [0, length / 2, length - 1] {
            assert!(matches!(split_frame(&stream[..part], packet_bytes_max), Ok(Framed::Incomplete { .. })));
        }
        read(first, body);
        stream = &stream[length..];
    }
}

fn read(first: u8, body: &[u8]) {
    if let Ok(connect) = decode_connect(first, body) {
        let again = |first, body: &[u8], same: &Packet<'_>| {
            decode_connect(first, body).is_ok_and(|connect| Packet::Connect(connect) == *same)
        };
        assert_stable(connect.version, &Packet::Connect(connect), again);
    }
    for version in [Version::V311, Version::V5] {
        if let Ok(packet) = decode(version, first, body) {
            assert_stable(version, &packet, |first, body, same| decode(version, first, body).as_ref() == Ok(same));
            look_at_topics(&packet);
        }
        if let Ok(packet) = decode_from_server(version, first, body) {
            let again =
                |first, body: &[u8], same: &Packet<'_>| decode_from_server(version, first, body).as_ref() == Ok(same);
            assert_stable(version, &packet, again);
        }
    }
}

fn assert_stable(version: Version, packet: &Packet<'_>, again: impl Fn(u8, &[u8], &Packet<'_>) -> bool) {
    let mut out = Vec::new();
    encode(packet, version, &mut out);
    let Ok(Framed::Whole { first, body, length }) = split_frame(&out, out.len()) else {
        panic!("{packet:?} was written as {out:?}, which is no whole packet")
    };
    assert_eq!(length, out.len());
    assert!(again(first, body, packet), "{packet:?} was written as {out:?} and reads as another");
}

/// A topic that a packet carries is matched by itself and by `#`, unless it begins with `$` (MQTT 5.0, 4.7.2).
fn look_at_topics(packet: &Packet<'_>) {
    match packet {
        Packet::Publish(publish) if !publish.topic.is_empty() => {
            assert!(filter_matches(publish.topic, publish.topic));
            assert_eq!(filter_matches("#", publish.topic), !publish.topic.starts_with('$'));
        }
        Packet::Subscribe(subscribe) => {
            for requested in subscribe.filters() {
                let _ = parse_filter(requested.filter, Default::default());
            }
        }
        _ => {}
    }
}
