//! Subscribers whose sessions end with their connections: from SUBACK on nothing is missing while they are connected.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use fulmar_codec::{Connect, QoS, ReasonCode, SubscriptionOptions, Version};

use crate::harness::{Client, Dice, Got, Publisher};
use crate::world::World;

/// Everything that came over one connection.
pub struct Life {
    name: String,
    /// Of each publisher: the next message when SUBACK had come. It and all after it were sent later.
    next: Vec<u32>,
    /// Publisher, number, and whether it may have come before.
    seen: Vec<(usize, u32, bool)>,
}

/// The next number of each publisher, as it sends.
pub type Board = [Arc<AtomicU32>];

impl Life {
    /// Subscribes. None: the broker has left meanwhile.
    pub fn begin(name: String, client: &mut Client, board: &Board) -> Option<Life> {
        client.acknowledges = true;
        let options = SubscriptionOptions { qos: QoS::ExactlyOnce, ..SubscriptionOptions::default() };
        let mut life = Life { name, next: Vec::new(), seen: Vec::new() };
        let mut got = client.ask_to_subscribe("traffic/#", options);
        loop {
            match got {
                Got::SubAck(codes) if codes == [ReasonCode::GRANTED_QOS_2] => {
                    life.next = board.iter().map(|next| next.load(Ordering::SeqCst)).collect();
                    return Some(life);
                }
                // The subscription may be of use before it is acknowledged (MQTT 5.0, 3.8.4).
                got @ Got::Message { .. } => drop(life.take(got)),
                Got::Closed | Got::Disconnect(_) => return None,
                got => panic!("{} wanted SUBACK, got {got:?}", life.name),
            }
            got = client.next();
        }
    }

    /// Takes what comes until the broker leaves or `is_enough` of it has come.
    pub fn go_on(&mut self, client: &mut Client, mut is_enough: impl FnMut(usize, u32) -> bool) {
        while let Some((of, number)) = self.take(client.next()) {
            if is_enough(of, number) {
                return;
            }
        }
    }

    /// Notes whose message that is and its number. None: the broker has left.
    fn take(&mut self, got: Got) -> Option<(usize, u32)> {
        match got {
            Got::Message { topic, payload, dup, retain: false, .. } => {
                let of = topic.rsplit('/').next().and_then(|number| number.parse().ok()).unwrap();
                let number = std::str::from_utf8(&payload).unwrap().parse().unwrap();
                self.seen.push((of, number, dup));
                Some((of, number))
            }
            Got::Closed | Got::Disconnect(_) => None,
            got => panic!("{} got {got:?}", self.name),
        }
    }

    /// Whether something is missing, or came more often than it was sent. Tells how many came again.
    ///
    /// A message of QoS 2 whose publisher had to go to another node before PUBREC may come again to those who are not
    /// kept: docs/durability.md says so.
    pub fn check(&self, publishers: &[Publisher]) -> usize {
        let Life { name, next: at_least, seen } = self;
        let (mut next, mut again) = (vec![None; publishers.len()], 0);
        for &(of, number, dup) in seen {
            let publisher = &publishers[of];
            match next[of] {
                None => assert!(
                    number <= at_least[of],
                    "{name} missed {}: {number} of {} is the first one",
                    at_least[of],
                    publisher.name
                ),
                Some(next) if number > next => panic!("{name} missed {next}: {number} of {} came", publisher.name),
                Some(next) if number < next => {
                    let context = format!("{name} got {number} of {} after {next} of them", publisher.name);
                    assert!(publisher.has_repeated(number), "twice: {context}, dup {dup}");
                    again += 1;
                    continue;
                }
                Some(_) => {}
            }
            next[of] = Some(number + 1);
        }
        again
    }

    pub fn count(&self) -> usize {
        self.seen.len()
    }
}

/// Comes and goes until it is over.
pub fn come_and_go(id: &str, world: &World, board: &Board, mut dice: Dice) -> Vec<Life> {
    let mut lives = Vec::new();
    world.rove(&Connect::new(Version::V5, id), &mut dice, |client, session_present, dice| {
        assert!(!session_present);
        if let Some(mut life) = Life::begin(format!("{id} in life {}", lives.len()), client, board) {
            let until = Instant::now() + Duration::from_millis(dice.between(1_000, 20_000));
            life.go_on(client, |_, _| Instant::now() > until || world.is_over());
            lives.push(life);
        }
        world.is_over()
    });
    lives
}
