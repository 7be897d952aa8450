//! Which groups of the cluster can't decide anything, as far as this node can tell, and for want of whom.
//!
//! That is for a human: while it lasts nothing is acknowledged that these groups keep, and if the nodes that are missing
//! never come back it lasts for ever. A group of which too many voters are not linked with this node may have a majority
//! elsewhere; who reads it looks at the others, too.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fulmar_member::list;
use fulmar_meta::{Meta, NodeId};
use fulmar_store_raft::GroupStatus;
use tracing::{info, warn};

/// So long it may be a restart.
const STANDS_AFTER: Duration = Duration::from_secs(10);
/// How often it is said again.
const SAID_EVERY: Duration = Duration::from_secs(600);
/// What a human reads then.
const PAGE: &str = "docs/recovery.md";

/// Groups without a quorum, and who is missing in any of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) groups: Vec<u16>,
    pub(super) nodes: BTreeSet<NodeId>,
}

/// What can't decide. `answers` is whether a node is this one or linked with it.
pub(super) fn lost(meta: &Meta, groups: &[GroupStatus], answers: impl Fn(NodeId) -> bool) -> Lost {
    let mut lost = Lost::default();
    let of_shards = (1..).zip(meta.shards().iter().map(|replicas| replicas.voters()));
    // What a group itself says counts before the map, which is ahead of it.
    let of_map = std::iter::once((0, &[][..])).chain(of_shards);
    for (number, planned) in of_map {
        let known = groups.iter().find(|group| group.group == number);
        let voters = known.map(|group| &group.voters[..]).filter(|voters| !voters.is_empty()).unwrap_or(planned);
        let missing: Vec<NodeId> = voters.iter().copied().filter(|node| !answers(*node)).collect();
        if !voters.is_empty() && 2 * (voters.len() - missing.len()) <= voters.len() {
            lost.groups.push(number);
            lost.nodes.extend(missing);
        }
    }
    lost
}

impl Lost {
    /// For a human; nothing if nothing is lost.
    pub(super) fn text(&self, name: impl Fn(NodeId) -> String) -> Option<String> {
        let Self { groups, nodes } = self;
        if groups.is_empty() {
            return None;
        }
        let numbers = groups.iter().filter(|group| **group > 0).map(u16::to_string).collect::<Vec<_>>();
        let mut what = Vec::new();
        what.extend(groups.contains(&0).then(|| "the cluster itself (group 0)".to_owned()));
        let noun = if numbers.len() == 1 { "group" } else { "groups" };
        what.extend((!numbers.is_empty()).then(|| format!("{noun} {}", numbers.join(", "))));
        let what = what.join(" and ");
        let mut names: Vec<String> = nodes.iter().map(|node| name(*node)).collect();
        names.sort_unstable();
        let names = list(names.into_iter());
        Some(format!("no quorum for {what}: no answer from {names}; if they never come back, see {PAGE}"))
    }
}

/// Says what is lost in the log, when it is no restart.
#[derive(Debug, Default)]
pub(super) struct Saying {
    since: Option<Instant>,
    said: Option<(String, Instant)>,
}

/// What is to be said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Lost,
    Back,
}

impl Saying {
    /// This is lost now, or nothing.
    pub(super) fn note(&mut self, text: Option<&str>, now: Instant) -> Option<Said> {
        let Some(text) = text else {
            self.since = None;
            return self.said.take().map(|_| Said::Back);
        };
        let since = *self.since.get_or_insert(now);
        let is_new = |(said, at): &(String, Instant)| said != text || now >= *at + SAID_EVERY;
        let is_due = now >= since + STANDS_AFTER && self.said.as_ref().is_none_or(is_new);
        is_due.then(|| {
            self.said = Some((text.to_owned(), now));
            Said::Lost
        })
    }

    /// The same, into the log.
    pub(super) fn tell(&mut self, text: Option<&str>, now: Instant) {
        match self.note(text, now) {
            Some(Said::Lost) => warn!(lost = text, "the cluster has lost a quorum"),
            Some(Said::Back) => info!("every group has a quorum again"),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use fulmar_meta::{ClusterId, Command, Entry, Member, Start, Step};

    use super::*;

    /// Three nodes; shard 1 is on all of them, shard 2 on the first.
    fn meta() -> Meta {
        let start = |id: NodeId| Start {
            member: Member { id, incarnation: 1 },
            nonce: id,
            name: format!("broker-{id}").into(),
            addresses: vec![],
            zone: "".into(),
            level: 1,
        };
        let cluster = ClusterId(7);
        let mut meta = Meta::new();
        let mut apply = |command| {
            let replies = meta.apply(meta.applied() + 1, &Entry { time: 0, commands: vec![command] }).replies;
            assert_eq!(replies, [fulmar_meta::Reply::Done]);
        };
        apply(Command::Bootstrap { cluster, shards: 2, first: start(1) });
        for id in [2, 3] {
            apply(Command::Join { cluster, made_at: id - 1, start: start(id) });
        }
        for node in [2, 3] {
            let steps = [Step::AddLearner { node, replaces: None }, Step::CaughtUp(node), Step::Promote(node)];
            steps.into_iter().for_each(|step| apply(Command::MoveReplica { shard: fulmar_meta::ShardId(1), step }));
        }
        meta
    }

    fn group(number: u16, voters: &[NodeId]) -> GroupStatus {
        GroupStatus {
            group: number,
            term: 1,
            leader: None,
            serves: false,
            applied: 0,
            committed: 0,
            voters: voters.to_vec(),
            learners: Vec::new(),
            lags: Vec::new(),
        }
    }

    fn name(node: NodeId) -> String {
        format!("broker-{node}")
    }

    #[test]
    fn what_lacks_a_majority_is_named_with_who_is_missing() {
        let (meta, groups) = (meta(), [group(0, &[1, 2, 3]), group(1, &[1, 2, 3])]);
        let of = |answering: &[NodeId]| lost(&meta, &groups, |node| answering.contains(&node));
        assert_eq!(of(&[1, 2, 3]), Lost::default());
        assert_eq!(of(&[1, 2]).text(name), None, "two of three are a majority");
        assert_eq!(of(&[2, 3]), Lost { groups: vec![2], nodes: [1].into() }, "the map says who has shard 2");
        let text = of(&[1]).text(name).unwrap();
        assert_eq!(
            text,
            "no quorum for the cluster itself (group 0) and group 1: no answer from broker-2, broker-3; if they never \
             come back, see docs/recovery.md"
        );
        let one_of_two = lost(&meta, &[group(0, &[1, 2])], |node| node == 1);
        assert!(one_of_two.groups.contains(&0), "one of two is no majority");
        assert!(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PAGE).exists());
    }

    #[test]
    fn a_group_says_itself_who_decides_and_the_map_only_of_others() {
        let (meta, groups) = (meta(), [group(0, &[1]), group(1, &[1])]);
        assert_eq!(lost(&meta, &groups, |node| node == 1), Lost::default());
    }

    #[test]
    fn it_is_said_when_it_stands_and_again_when_it_changes_or_after_long() {
        let (mut saying, start) = (Saying::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(saying.note(Some("a"), at(0)), None);
        assert_eq!(saying.note(Some("a"), at(9)), None);
        assert_eq!(saying.note(None, at(9)), None, "it was a restart");
        assert_eq!(saying.note(Some("a"), at(10)), None);
        assert_eq!(saying.note(Some("a"), at(20)), Some(Said::Lost));
        assert_eq!(saying.note(Some("a"), at(30)), None);
        assert_eq!(saying.note(Some("b"), at(31)), Some(Said::Lost));
        assert_eq!(saying.note(Some("b"), at(631)), Some(Said::Lost));
        assert_eq!(saying.note(None, at(632)), Some(Said::Back));
        assert_eq!(saying.note(None, at(633)), None);
    }
}
