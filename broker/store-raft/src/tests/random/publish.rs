//! What clients publish, and who must get it.

use std::collections::BTreeSet;

use fulmar_codec::{PacketId, QoS, filter_matches};
use fulmar_store::{Ask, Destination, Epoch, Published, Recipients, ShardId, Version};

use super::client::{Outgoing, Progress, Subscribed};
use super::nodes::pick;
use super::world::{CLIENTS, Question, World};
use crate::tests::fixture::{self, message_of};

impl World {
    /// A new message, behind those that wait.
    pub(super) fn publish(&mut self, at: usize) {
        self.last_message += 1;
        let number = self.last_message;
        let qos = pick(&mut self.nodes.random, &[QoS::AtLeastOnce, QoS::ExactlyOnce]);
        let wanted_by = self.subscribers(&format!("p/{at}"));
        self.clients[at].outgoing.push_back(Outgoing { number, qos, progress: Progress::ToAsk, wanted_by });
        self.go_on(at);
    }

    /// Who has surely subscribed to a topic.
    pub(super) fn subscribers(&self, topic: &str) -> BTreeSet<usize> {
        let wants = |at: &usize| {
            let client = &self.clients[*at];
            let is_sure = !client.is_unsure && client.claiming.is_none_or(|(_, is_clean)| !is_clean);
            let mut matching = client.subscriptions.iter().filter(|(filter, _)| filter_matches(filter, topic));
            is_sure && matching.any(|(_, state)| matches!(state, Subscribed::Surely(_)))
        };
        (0..CLIENTS).filter(wants).collect()
    }

    /// The shards that a message is for, as a node knows. Of a node that is alone it may not be known yet whether it
    /// serves the shard.
    fn interested(&self, node: usize, topic: &str) -> Vec<ShardId> {
        let wanted = |shard: &ShardId| {
            let mut filters = self.interest.iter().filter(|(at, of, _)| (*at, of) == (node, shard));
            filters.any(|(_, _, filter)| filter_matches(filter, topic))
        };
        (0..self.nodes.shards.get()).map(ShardId).filter(wanted).collect()
    }

    /// Sends what the client has to send, in its order. Between nodes it is up to links that what one has answered is
    /// not overtaken, so one message at a time is on its way there.
    pub(super) fn go_on(&mut self, at: usize) {
        self.publish_wills();
        self.adopt_orphans();
        let mut next = 0;
        while next < self.clients[at].outgoing.len() {
            let Outgoing { number, qos, progress, .. } = &self.clients[at].outgoing[next];
            let (number, qos, topic) = (*number, *qos, format!("p/{at}"));
            let asked = match (progress, qos, self.epoch(at)) {
                (Progress::ToAsk, QoS::ExactlyOnce, Some(epoch)) => self.ask_to_receive(at, epoch, number, &topic),
                (Progress::ToRelease, _, Some(epoch)) => {
                    let (client, packet_id) = (fixture::client(&self.clients[at].name), packet_id(number));
                    let asked =
                        self.ask_of(at, Ask::Release { client, epoch, packet_id }, Question::Release(at, number));
                    asked.map(|_| Progress::Releasing)
                }
                (Progress::ToAsk, QoS::AtLeastOnce, _) => {
                    let Some(node) = self.publishing_node() else { return };
                    let shards = self.interested(node, &topic);
                    if shards.is_empty() {
                        self.published(at, number);
                        continue;
                    }
                    self.ask_to_publish((at, node), shards, &message_of(qos, &topic, &number.to_string()), number)
                }
                _ => None,
            };
            if let Some(progress) = asked {
                self.clients[at].outgoing[next].progress = progress;
            }
            let is_under_way = self.clients[at].outgoing[next].progress != Progress::Releasing;
            if !self.is_alone() && is_under_way {
                return;
            }
            next += 1;
        }
    }

    /// Any will do.
    fn publishing_node(&mut self) -> Option<usize> {
        if self.is_alone() { Some(0) } else { self.active_node() }
    }

    fn ask_to_publish(
        &mut self,
        (at, node): (usize, usize),
        shards: Vec<ShardId>,
        message: &fulmar_store::Message,
        number: u64,
    ) -> Option<Progress> {
        let count = shards.len();
        let asked = shards.into_iter().filter_map(|shard| {
            let (ask, question) = (fixture::publish(shard, message.clone()), Question::Publish(at, number));
            if self.is_alone() { self.ask(ask, question) } else { self.ask_at(node, ask, question) }
        });
        let missing: BTreeSet<u64> = asked.collect();
        (!missing.is_empty()).then_some(Progress::Asked { failed: missing.len() < count, missing })
    }

    fn ask_to_receive(&mut self, at: usize, epoch: Epoch, number: u64, topic: &str) -> Option<Progress> {
        let message = message_of(QoS::ExactlyOnce, topic, &number.to_string());
        let client = fixture::client(&self.clients[at].name);
        let to = Recipients::Matching { publisher: Some(client.clone()) };
        let node = self.clients[at].connection.as_ref()?.node;
        if !self.is_alone() && !self.nodes.is_active(node) {
            return None;
        }
        let published = Published { message, retain: None, to };
        let destinations = Destination::subscribers_of(&self.interested(node, topic));
        let packet_id = packet_id(number);
        let ask = Ask::ReceiveQos2 { client, epoch, packet_id, published, destinations };
        let asked = self.ask_of(at, ask, Question::Receive(at, number))?;
        Some(Progress::Asked { missing: BTreeSet::from([asked]), failed: false })
    }

    /// Asks again for what nobody could be asked for.
    pub(super) fn publish_wills(&mut self) {
        for due in std::mem::take(&mut self.put_off) {
            let shards = self.interested(due.node, &format!("will/{}", due.number));
            let destinations = Destination::subscribers_of(&shards);
            let ask = Ask::WillDone { shard: due.shard, will: due.id, retain: None, destinations };
            let question = Question::WillDone(due);
            let asked = if self.is_alone() { self.ask(ask, question) } else { self.ask_at(due.node, ask, question) };
            if asked.is_none() {
                self.put_off.push(due);
            }
        }
    }

    /// Nobody is connected who would take a message of a shared subscription that no session of the store is for.
    pub(super) fn adopt_orphans(&mut self) {
        for (shard, number) in std::mem::take(&mut self.orphans) {
            if self.ask(Ask::Adopted { shard, number }, Question::Adopt(shard, number)).is_none() {
                self.orphans.push((shard, number));
            }
        }
    }

    /// A message was acknowledged to its publisher.
    pub(super) fn published(&mut self, at: usize, number: u64) {
        let outgoing = &mut self.clients[at].outgoing;
        let Some(place) = outgoing.iter().position(|it| it.number == number) else { return };
        let wanted_by = std::mem::take(&mut outgoing[place].wanted_by);
        if outgoing[place].qos == QoS::AtLeastOnce {
            outgoing.remove(place);
        } else {
            outgoing[place].progress = Progress::ToRelease;
        }
        self.await_message(number, wanted_by);
    }

    pub(super) fn await_message(&mut self, number: u64, wanted_by: BTreeSet<usize>) {
        for subscriber in wanted_by {
            let client = &mut self.clients[subscriber];
            let is_sure = !client.is_unsure && client.claiming.is_none_or(|(_, is_clean)| !is_clean);
            let came = client.came.keys().any(|(it, _)| *it == number);
            if is_sure && !came {
                client.awaited.insert(number);
            }
        }
    }

    pub(super) fn retain(&mut self) {
        let topic = pick(&mut self.nodes.random, &["r/0", "r/1", "r/2"]).to_owned();
        self.last_version += 1;
        let version = self.last_version;
        let message = message_of(QoS::AtLeastOnce, &topic, &format!("0.{version}")).with_retain(true);
        let retain = Some(Version { clock: version, node: fixture::NODE });
        let published = Published { message, retain, to: Recipients::Nobody };
        let shard = ShardId::of(&topic, self.nodes.shards);
        self.ask(Ask::Publish { shard, published }, Question::Retain(topic, version));
    }
}

fn packet_id(number: u64) -> PacketId {
    let id = u16::try_from(number % 60_000 + 1).expect("small");
    PacketId::new(id).expect("not 0")
}
