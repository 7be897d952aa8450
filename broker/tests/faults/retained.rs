//! A topic whose retained message changes all the time: who subscribes finds the last one that was acknowledged, or one
//! that is on its way.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use fulmar_codec::{Connect, PublishHead, QoS, ReasonCode, SubscriptionOptions, Version, encode_pingreq};

use crate::harness::{Client, Dice, Got};
use crate::world::World;

/// A subscription is answered with what is retained within that time, as long as the broker lives.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// A retained message that is changed and read.
pub struct Kept {
    topic: &'static str,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Default)]
struct State {
    sent: u32,
    acknowledged: u32,
}

impl Kept {
    pub fn new(topic: &'static str) -> Kept {
        Kept { topic, state: Mutex::default() }
    }

    fn state(&self) -> State {
        *self.state.lock().unwrap()
    }

    /// Changes it until it is over; a change that was not acknowledged is made again.
    pub fn change(&self, id: &str, world: &World, mut dice: Dice) -> u32 {
        world.rove(&Connect::new(Version::V5, id), &mut dice, |client, _, _| {
            loop {
                let State { sent, acknowledged } = self.state();
                if sent == acknowledged && world.is_over() {
                    return true;
                }
                let dup = sent > acknowledged;
                let number = acknowledged + 1;
                self.state.lock().unwrap().sent = number;
                let head = PublishHead { qos: QoS::AtLeastOnce, retain: true, dup, ..PublishHead::default() };
                let of = client.publish_with(self.topic, number.to_string(), head);
                match client.next() {
                    Got::PubAck(id, reason) if id == of && !reason.is_error() => {
                        self.state.lock().unwrap().acknowledged = number;
                    }
                    Got::Closed | Got::Disconnect(_) => return false,
                    got => panic!("{id} wanted PUBACK {of}, got {got:?}"),
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        self.state().acknowledged
    }

    /// Reads it until it is over; tells how often that was.
    pub fn read(&self, id: &str, world: &World, mut dice: Dice) -> u32 {
        let mut count = 0;
        world.rove(&Connect::new(Version::V5, id), &mut dice, |client, _, dice| {
            if self.read_once(id, client) {
                count += 1;
            }
            thread::sleep(Duration::from_millis(dice.between(0, 200)));
            world.is_over()
        });
        count
    }

    /// Whether the broker has answered before it left.
    fn read_once(&self, id: &str, client: &mut Client) -> bool {
        let State { acknowledged: least, .. } = self.state();
        let until = Instant::now() + ANSWER_MAX;
        let options = SubscriptionOptions { qos: QoS::AtLeastOnce, ..SubscriptionOptions::default() };
        let (mut is_granted, mut is_found) = (false, least == 0);
        let mut got = client.ask_to_subscribe(self.topic, options);
        loop {
            match got {
                Got::SubAck(codes) if codes == [ReasonCode::GRANTED_QOS_1] => is_granted = true,
                // What is published now may come before SUBACK (MQTT 5.0, 3.8.4), and makes what was retained old.
                Got::Message { payload, .. } => {
                    let number: u32 = std::str::from_utf8(&payload).unwrap().parse().unwrap();
                    let State { sent: most, .. } = self.state();
                    let is_right = (least..=most).contains(&number);
                    assert!(is_right, "{id} found {number} on {}, wanted {least} to {most}", self.topic);
                    is_found = true;
                }
                Got::Pong => assert!(Instant::now() < until, "{id} found nothing on {}, wanted {least}", self.topic),
                Got::Closed | Got::Disconnect(_) => return false,
                got => panic!("{id} wanted a message, got {got:?}"),
            }
            if is_granted && is_found {
                return true;
            }
            // The broker says something at least, or it is gone.
            if is_granted {
                thread::sleep(Duration::from_millis(10));
                let mut ping = Vec::new();
                encode_pingreq(&mut ping);
                client.send(&ping);
            }
            got = client.next();
        }
    }
}
