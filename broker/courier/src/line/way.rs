//! Whom the asks of a shard are sent to.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::settings::Settings;

/// Who leads a shard, as far as this node knows, and who else may know.
#[derive(Debug, Default)]
pub(super) struct Way {
    /// As the engine of this node or another said last.
    leader: Option<u64>,
    /// As the engine of this node said last.
    leader_of_engine: Option<u64>,
    /// Who may lead, as the shard map says.
    replicas: Vec<u64>,
    /// Whose turn it is when nobody is known to lead.
    turn: usize,
    /// To whom what is unanswered goes.
    target: Option<u64>,
    /// Refusals since an answer.
    failures: u32,
    /// Nothing is sent before.
    pause_until: Option<Instant>,
}

/// Why nothing came of what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nobody could decide.
    Unavailable,
    /// Another node leads, perhaps this one.
    NotLeader(Option<u64>),
    /// Something before it is missing.
    OutOfOrder,
    /// The connection is no more.
    Disconnected,
}

impl Way {
    pub(super) fn target(&self) -> Option<u64> {
        self.target
    }

    /// When it is tried again; none if there is no need to wait.
    pub(super) fn pause_until(&self) -> Option<Instant> {
        self.pause_until
    }

    /// The engine of this node says who leads. Whether that is news, so that all goes there now.
    pub(super) fn heard_of_leader(&mut self, leader: Option<u64>) -> bool {
        if leader == self.leader_of_engine {
            return false;
        }
        let before = std::mem::replace(&mut self.leader_of_engine, leader);
        if leader.is_none() && self.leader != before {
            // Somebody else knew better already.
            return false;
        }
        self.leader = leader;
        if leader.is_none() || (leader == self.target && self.pause_until.is_none()) {
            return false;
        }
        (self.failures, self.pause_until, self.target) = (0, None, None);
        true
    }

    pub(super) fn set_replicas(&mut self, replicas: Vec<u64>) {
        self.replicas = replicas;
    }

    /// A node can be reached from now on. Whether it is who leads, as far as is known.
    pub(super) fn connected(&mut self, to: u64) {
        if self.leader == Some(to) || self.leader.is_none() {
            self.pause_until = None;
        }
    }

    /// Whoever it was sent to leads.
    pub(super) fn found(&mut self) {
        self.leader = self.target.or(self.leader);
    }

    /// An answer came: somebody is there, who may have been short of room.
    pub(super) fn progressed(&mut self) {
        self.failures = 0;
    }

    /// Nothing came of it: somebody else is to be found, now or after a while.
    pub(super) fn failed(&mut self, failure: Failure, settings: &Settings, now: Instant) {
        let before = self.target.take();
        let is_known = match failure {
            Failure::NotLeader(leader) => {
                self.leader = leader;
                leader.is_some()
            }
            Failure::Disconnected => {
                self.leader = self.leader.filter(|leader| Some(*leader) != before);
                self.leader.is_some() || self.replicas.len() > 1
            }
            Failure::OutOfOrder => true,
            Failure::Unavailable => false,
        };
        // The first that is known better is asked at once. Two that name each other are not.
        let is_first = self.failures == 0;
        self.failures = self.failures.saturating_add(1);
        self.pause_until = (!is_known || !is_first).then(|| now + pause(self.failures, settings));
    }

    /// Chooses to whom it goes, unless that is chosen or it is too early. Whether that is somebody.
    pub(super) fn aim(&mut self, me: u64, connected: &BTreeSet<u64>, now: Instant) -> bool {
        if self.target.is_some() {
            return true;
        }
        if self.pause_until.is_some_and(|until| now < until) {
            return false;
        }
        let can_reach = |node: &u64| *node == me || connected.contains(node);
        self.target = self.leader.filter(can_reach).or_else(|| {
            let count = self.replicas.len();
            let turn = (self.turn..self.turn + count).find(|turn| can_reach(&self.replicas[turn % count]))?;
            self.turn = (turn + 1) % count;
            Some(self.replicas[turn % count])
        });
        if self.target.is_some() {
            self.pause_until = None;
        }
        self.target.is_some()
    }

    /// Forgets that nobody was there.
    pub(super) fn begin_life(&mut self) {
        (self.failures, self.pause_until, self.target) = (0, None, None);
    }
}

fn pause(failures: u32, settings: &Settings) -> Duration {
    let doubled = settings.pause_min.saturating_mul(1 << (failures - 1).min(16));
    doubled.min(settings.pause_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYBODY: [u64; 3] = [1, 2, 3];

    fn way() -> Way {
        Way { replicas: EVERYBODY.into(), ..Way::default() }
    }

    /// Where it goes, time after time, each time with what comes of it.
    fn tries(way: &mut Way, failures: &[Failure]) -> Vec<(u64, u64)> {
        let start = Instant::now();
        let (mut now, settings) = (start, Settings::default());
        let mut tries = Vec::new();
        for failure in failures {
            now = way.pause_until().unwrap_or(now);
            assert!(way.aim(1, &EVERYBODY.into(), now));
            tries.push((way.target().unwrap(), (now - start).as_millis() as u64));
            way.failed(*failure, &settings, now);
        }
        tries
    }

    #[test]
    fn who_knows_nothing_asks_one_replica_after_the_other_more_and_more_slowly() {
        let nobody = [Failure::NotLeader(None); 8];
        let expected = [(1, 0), (2, 20), (3, 60), (1, 140), (2, 300), (3, 620), (1, 1120), (2, 1620)];
        assert_eq!(tries(&mut way(), &nobody), expected);
    }

    #[test]
    fn who_is_told_of_a_leader_asks_it_at_once_but_two_that_name_each_other_only_now_and_then() {
        let (two, three) = (Failure::NotLeader(Some(2)), Failure::NotLeader(Some(3)));
        let found = tries(&mut way(), &[two, three, two, three]);
        assert_eq!(found, [(1, 0), (2, 0), (3, 40), (2, 120)]);
    }

    #[test]
    fn what_nobody_can_decide_now_is_asked_of_the_same_leader_again() {
        let mut way = way();
        assert!(way.heard_of_leader(Some(3)));
        let found = tries(&mut way, &[Failure::Unavailable, Failure::Unavailable, Failure::OutOfOrder]);
        assert_eq!(found, [(3, 0), (3, 20), (3, 60)]);
    }

    #[test]
    fn news_of_a_leader_end_the_pause_and_the_same_again_is_no_news() {
        let (mut way, now) = (way(), Instant::now());
        assert!(way.aim(1, &BTreeSet::new(), now));
        way.failed(Failure::Unavailable, &Settings::default(), now);
        assert!(!way.aim(1, &BTreeSet::new(), now));
        assert!(way.heard_of_leader(Some(2)) && !way.heard_of_leader(Some(2)));
        assert!(way.aim(1, &EVERYBODY.into(), now));
        assert_eq!(way.target(), Some(2));
        // Nobody leads: what is on its way stays on its way.
        assert!(!way.heard_of_leader(None));
        assert_eq!(way.target(), Some(2));
    }

    #[test]
    fn a_leader_that_cannot_be_reached_is_not_chosen() {
        let (mut way, now) = (way(), Instant::now());
        way.heard_of_leader(Some(2));
        assert!(way.aim(1, &BTreeSet::from([3]), now));
        assert_eq!(way.target(), Some(1));
        let mut alone = Way { replicas: vec![2, 3], ..Way::default() };
        assert!(!alone.aim(1, &BTreeSet::new(), now));
        assert!(!Way::default().aim(1, &EVERYBODY.into(), now));
    }
}
