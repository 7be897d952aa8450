//! The end of a run: all faults are over, everything comes to rest, and what must hold is checked.

use std::collections::BTreeSet;
use std::time::Duration;

use fulmar_store::ShardId;

use super::{Host, NODES, REPLICAS, Seen, World, id};

impl World {
    /// Everybody reaches everybody and each shard has a leader, until nobody waits for anything.
    pub(super) fn heal(&mut self) {
        for from in 0..NODES {
            (0..NODES).filter(|to| *to != from).for_each(|to| self.join((from, to)));
        }
        for (shard, replicas) in REPLICAS.into_iter().enumerate() {
            if self.leaders[shard].0.is_none() {
                let leader = replicas[self.random.index(2)];
                let (now_leads, term) = &mut self.leaders[shard];
                (*now_leads, *term) = (Some(leader), *term + 1);
                self.hold_opinion(leader, shard, Some(id(leader)));
            }
        }
        for round in 0.. {
            assert!(round < 5_000, "{} asks are never answered, or not all is told", self.unanswered());
            self.now += Duration::from_millis(1);
            for host in 0..NODES {
                let Host { courier, threads, .. } = &mut self.hosts[host];
                threads.say_who_left(courier, self.now);
                self.serve(host);
                self.turn(host);
            }
            for _ in 0..30 {
                let host = self.random.index(NODES);
                self.deliver_letter(host);
                self.turn(host);
            }
            let is_quiet = self.links.values().all(|link| link.letters.is_empty());
            let kept: usize = self.hosts.iter().map(|host| host.courier.counts().asks).sum();
            if is_quiet && self.unanswered() + kept == 0 && self.is_all_told() {
                return;
            }
        }
    }

    fn unanswered(&self) -> usize {
        self.hosts.iter().map(|host| host.threads.unanswered()).sum()
    }

    /// Whether every client was told all that is in its queue, and nodes own what they serve.
    fn is_all_told(&self) -> bool {
        let mut served = BTreeSet::new();
        for host in &self.hosts {
            for serving in host.threads.sessions.values() {
                let session = &self.shards[usize::from(serving.shard.0)].sessions[&serving.client];
                if (session.owner, session.epoch) != (Some(host.me), serving.epoch)
                    || serving.told < session.queue.len() as u64
                {
                    return false;
                }
                served.insert(&serving.client);
            }
        }
        let sessions = self.shards.iter().flat_map(|shard| &shard.sessions);
        sessions.into_iter().all(|(client, session)| session.owner.is_none() || served.contains(client))
    }

    /// What must hold after all.
    pub(super) fn check(mut self) -> Seen {
        for host in std::mem::take(&mut self.hosts) {
            self.note(host);
        }
        for (shard, state) in self.shards.iter().enumerate() {
            let all: Vec<u64> =
                state.stored.iter().map(|(_, payload)| *payload).chain(state.received.clone()).collect();
            let each: BTreeSet<u64> = all.iter().copied().collect();
            assert_eq!(each.len(), all.len(), "a message was stored twice in shard {shard}");
            let of_shard = |(it, payload): &&(ShardId, u64)| usize::from(it.0) == shard && !each.contains(payload);
            let lost: Vec<_> = self.acknowledged.iter().chain(&self.received).filter(of_shard).collect();
            assert!(lost.is_empty(), "{lost:?} were acknowledged and are not stored");
        }
        for (node, published) in &self.histories {
            for ((shard, _), payloads) in published {
                let stored = &self.shards[usize::from(shard.0)].stored;
                let theirs = stored.iter().filter(|(source, payload)| source == node && payloads.contains(payload));
                let theirs: Vec<u64> = theirs.map(|(_, payload)| *payload).collect();
                assert!(theirs.is_sorted(), "{node} published {payloads:?}, and shard {shard:?} has {theirs:?}");
            }
        }
        self.seen
    }
}
