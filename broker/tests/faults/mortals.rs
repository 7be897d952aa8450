//! Clients with wills that come, and go with or without a goodbye: the will of who went without one is published once, of
//! who said goodbye never.

use std::thread;
use std::time::Duration;

use fulmar_codec::{Connect, Disconnect, Packet, QoS, ReasonCode, Version, Will, encode};

use crate::harness::{Dice, Got, Subscriber};
use crate::world::World;

/// How a client ended, as far as it can tell itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// Its will is to be published.
    Died,
    /// It said goodbye, and the broker has heard it.
    Left,
    /// Nobody knows whether the broker had heard its CONNECT, or its DISCONNECT.
    Unknown,
}

/// What a client's will is published to; its payload is the number 0.
pub fn topic(number: usize) -> String {
    format!("wills/{number}")
}

/// Lets one client after the other live until it is over.
pub fn live(world: &World, mut dice: Dice) -> Vec<Fate> {
    let mut fates = Vec::new();
    while !world.is_over() {
        let (id, topic) = (format!("mortal-{}", fates.len()), topic(fates.len()));
        // The end of a session publishes its will before the delay is over, so it has to last (MQTT 5.0, 3.1.3.2.2).
        let (delay, session_expiry) = if dice.between(0, 2) == 0 { (0, 0) } else { (1, 3600) };
        let will = Some(Will { qos: QoS::ExactlyOnce, delay, ..Will::new(&topic, b"0") });
        fates.push(live_once(&Connect { will, session_expiry, ..Connect::new(Version::V5, &id) }, world, &mut dice));
        thread::sleep(Duration::from_millis(dice.between(50, 400)));
    }
    fates
}

fn live_once(connect: &Connect<'_>, world: &World, dice: &mut Dice) -> Fate {
    let Some((mut client, _)) = world.connect(connect, dice) else { return Fate::Unknown };
    thread::sleep(Duration::from_millis(dice.between(0, 300)));
    if dice.between(0, 3) > 0 {
        return Fate::Died;
    }
    let peace = world.peace();
    let mut bytes = Vec::new();
    encode(&Packet::Disconnect(Disconnect::new(ReasonCode::SUCCESS)), Version::V5, &mut bytes);
    client.send(&bytes);
    // The connection is closed when the goodbye is kept; or by a fault.
    let is_closed = client.next() == Got::Closed;
    if is_closed && peace.is_some() && world.peace() == peace { Fate::Left } else { Fate::Unknown }
}

/// Whether each will came to a subscriber as often as it should have.
pub fn check(fates: &[Fate], subscriber: &Subscriber) {
    for (number, fate) in fates.iter().enumerate() {
        let count = subscriber.count(&topic(number));
        let is_right = match fate {
            Fate::Died => count == 1,
            Fate::Left => count == 0,
            Fate::Unknown => count <= 1,
        };
        assert!(is_right, "the will of mortal-{number}, which {fate:?}, came {count} times to {}", subscriber.name);
    }
}
