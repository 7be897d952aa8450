//! Publishes of clients of other nodes: to our subscribers, and never on to other nodes, unless the members of a shared
//! group that they are for have gone there.

use crate::publish::link_publish;
use crate::route::Asking;
use crate::to_store::shard_of;
use crate::worker::Worker;
use fulmar_cluster::frame::LinkPublish;
use fulmar_router::{NodeIndex, SharedRef};
use fulmar_session::Outgoing;
use std::time::{Duration, Instant};

/// A message for a shared group is passed on this often at most when members are gone meanwhile.
const HOPS_MAX: u8 = 2;

impl Worker {
    /// A publish of a client of another node: to our subscribers, never on to other nodes, except that a shared group
    /// without a member here is passed on.
    pub(crate) fn publish_from_peer(&mut self, publish: &LinkPublish<'_>, now: Instant) {
        let outgoing = Outgoing {
            topic: publish.topic,
            qos: publish.qos,
            retain: publish.retain,
            forward: publish.forward,
            payload: publish.payload,
            expires: publish.expiry.map(|seconds| now + Duration::from_secs(seconds.into())),
        };
        if let Some(version) = publish.retain_as {
            self.node.clock.observe(version.clock);
            self.retain(&outgoing, version, now);
        }
        // Whoever is here although the sender knew of nobody has subscribed meanwhile. Its SUBACK may have come by another
        // lane, faster than this, and then it did not find this among what is retained.
        if publish.live || publish.retain_as.is_some() {
            self.find(publish.topic, None, true);
        } else {
            self.scratch.found.clear();
        }
        for (group, filter) in publish.shared.iter() {
            self.pick_for_peer(group, filter, publish.hops);
        }
        if !self.scratch.found.is_empty() {
            self.deliver_found(&outgoing, None, now);
            self.pass_on(&outgoing, publish.hops, now);
        }
    }

    /// A peer asks for one member of a shared group.
    fn pick_for_peer(&mut self, group: &str, filter: &str, hops: u8) {
        let Worker { node, sessions, scratch, thread, turn, counters, lanes, .. } = self;
        let asking = Asking { thread: *thread, sessions, lanes, window: turn.window };
        let trie = node.trie();
        let shared = trie.shared_group(group, filter);
        let member = shared.and_then(|shared| asking.pick_present(&shared).or_else(|| asking.pick_absent(&shared)));
        match shared.zip(member) {
            Some((shared, member)) => scratch.found.add_shared(&shared, member, *thread),
            None => match shared.and_then(|shared| next_node(&shared, hops)) {
                Some(node) => scratch.found.add_pick(node, group, filter),
                None => counters.dropped_no_member += 1,
            },
        }
    }

    /// Shared groups whose members have left this node in the meantime.
    pub(crate) fn pass_on(&mut self, outgoing: &Outgoing<'_>, hops: u8, now: Instant) {
        for at in 0..self.scratch.found.picks.len() {
            let pick = self.scratch.found.picks[at];
            let mut shared = std::mem::take(&mut self.lanes.shared);
            shared.clear();
            let (group, filter) = pick.group_and_filter(&self.scratch.found.names);
            let sent = shared.push(group, filter)
                && self.lanes.to(pick.node).is_some_and(|lane| {
                    let publish = link_publish(outgoing, false, None, shared.list(), hops + 1, now);
                    self.lanes.push_publish(lane, &publish).is_some()
                });
            self.lanes.shared = shared;
            if !sent {
                self.counters.dropped_no_member += 1;
            }
        }
    }
}

fn next_node(shared: &SharedRef<'_>, hops: u8) -> Option<NodeIndex> {
    // What the store has of the group was asked by whoever published.
    let mut nodes = shared.nodes_in_turn().filter(|node| shard_of(*node).is_none());
    if hops + 1 < HOPS_MAX { nodes.next() } else { None }
}
