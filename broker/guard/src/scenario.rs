//! The fixed input: who publishes how to whom.

use fulmar_codec::QoS;

/// Clients of one kind of traffic. A round is one write of a publisher and all that follows from it.
#[derive(Debug)]
pub(crate) struct Scenario {
    /// In the recorded file.
    pub(crate) name: &'static str,
    /// What happens in a round.
    pub(crate) traffic: Traffic,
    /// Rounds that are counted.
    pub(crate) rounds: u32,
}

/// What happens in a round.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Traffic {
    /// A client publishes so many messages in one write, and each of the subscribers gets them all.
    Publish { qos: QoS, subscribers: usize, per_write: usize },
    /// A client connects with its password, which is remembered, and leaves.
    Connect,
}

impl Scenario {
    /// What figures are per: deliveries, or clients.
    pub(crate) fn messages_per_round(&self) -> usize {
        match self.traffic {
            Traffic::Publish { subscribers, per_write, .. } => subscribers * per_write,
            Traffic::Connect => 1,
        }
    }
}

/// All that is guarded.
pub(crate) const SCENARIOS: &[Scenario] = &[
    publish("p2p_q0", QoS::AtMostOnce, 1, 1, 400),
    publish("p2p_q0_64", QoS::AtMostOnce, 1, 64, 100),
    publish("p2p_q1", QoS::AtLeastOnce, 1, 1, 400),
    publish("p2p_q1_64", QoS::AtLeastOnce, 1, 64, 100),
    publish("fanout", QoS::AtMostOnce, 100, 1, 40),
    publish("fanout_64", QoS::AtMostOnce, 100, 64, 10),
    Scenario { name: "connect", traffic: Traffic::Connect, rounds: 200 },
];

const fn publish(name: &'static str, qos: QoS, subscribers: usize, per_write: usize, rounds: u32) -> Scenario {
    Scenario { name, traffic: Traffic::Publish { qos, subscribers, per_write }, rounds }
}

/// The packet that a publisher repeats; its packet id, if it has one, is the number of the packet in its write.
pub(crate) const TOPIC: &str = "bench/site/area/7";
pub(crate) const PAYLOAD: &[u8] = b"16 bytes of data";
