//! A session under packets, deliveries and times in any order, with the world that its own tests use.

// What the tests of the session know about it is kept with them.
#[path = "../../session/tests/common/mod.rs"]
mod common;
#[path = "../../session/tests/world/mod.rs"]
mod world;

use common::{QOS0, QOS1, QOS2};
use fulmar_codec::{AckKind, Version};
use world::{Event, TOPICS, World};

use crate::dice::Dice;

/// More would be slow and find nothing that fewer do not.
const EVENTS_MAX: usize = 300;

pub(crate) fn target(bytes: &[u8]) {
    let mut dice = Dice::new(bytes);
    let mut world = World::new();
    for _ in 0..EVENTS_MAX {
        if dice.is_over() {
            return;
        }
        world.apply(event(&mut dice));
    }
}

fn event(dice: &mut Dice<'_>) -> Event {
    let qos = [QOS0, QOS1, QOS2];
    match dice.below(16) {
        0 => Event::Connect {
            version: dice.pick(&[Version::V5, Version::V311]),
            session_expiry: dice.pick(&[0, 1, 50, 99, u32::MAX]),
            receive_maximum: dice.pick(&[1, 2, 3, 4]),
            // CONNACK takes up to 24 bytes.
            packet_bytes_max: dice.pick(&[None, Some(24), Some(30), Some(50), Some(79)]),
            topic_aliases: dice.pick(&[0, 1, 2, 5]),
            will: dice.flag(),
        },
        1 => Event::Lose,
        2 => Event::Disconnect {
            reason: dice.pick(&[0, 4, 0x80]),
            session_expiry: dice.pick(&[None, Some(0), Some(5), Some(8)]),
        },
        3..=5 => Event::Publish {
            dup: dice.flag(),
            retain: dice.flag(),
            qos: dice.pick(&qos),
            packet_id: dice.pick(&[1, 2, 3, 4, 5, 6, 7, 8]),
            alias: dice.pick(&[None, Some(1), Some(2), Some(4), Some(5)]),
            topic: dice.pick(&["t", "", "a/b/c/d/e/f/g/h/i/j"]),
        },
        6..=8 => Event::Ack(
            dice.pick(&[AckKind::PubAck, AckKind::PubRec, AckKind::PubRel, AckKind::PubComp]),
            1 + u16::from(dice.byte() % 19),
            dice.flag(),
        ),
        9 | 10 => Event::Routed(dice.byte().into(), dice.flag()),
        11 | 12 => Event::Deliver {
            topic: dice.below(TOPICS.len() as u32) as usize,
            published: dice.pick(&qos),
            subscribed: dice.pick(&qos),
            payload_bytes: dice.below(70) as usize,
            expiry: dice.pick(&[None, Some(0), Some(1), Some(8)]),
            keep: dice.flag(),
        },
        13 => Event::Flush,
        14 if dice.flag() => Event::Unsubscribe(dice.byte() % 20),
        14 => Event::Subscribe(dice.byte() % 20),
        _ => Event::Pass(u64::from(dice.byte() % 20)),
    }
}
