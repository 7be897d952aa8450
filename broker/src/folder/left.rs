//! What is left of a cluster in some folders, and what that means: who has the most recent copies, what is missing.

use std::collections::BTreeSet;
use std::fmt::Write;

use fulmar_meta::{Meta, NodeId};
use fulmar_raft::Position;
use fulmar_store_raft::{GroupReport, Identity};

/// A copy of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Copy {
    pub(super) group: u16,
    /// Of two copies the one with the later last entry has more.
    pub(super) last: Position,
    /// The latest term that the node has seen.
    pub(super) term: u64,
    pub(super) voters: Vec<NodeId>,
}

/// What one folder has.
#[derive(Debug, Clone)]
pub(super) struct Rest {
    pub(super) folder: String,
    pub(super) identity: Identity,
    pub(super) copies: Vec<Copy>,
    pub(super) is_sound: bool,
}

/// What all of them have.
#[derive(Debug, Default)]
pub(super) struct Left {
    pub(super) rests: Vec<Rest>,
    /// The cluster's id, and the nodes that belong to it, by the most recent copy.
    cluster: String,
    nodes: Vec<(NodeId, String)>,
    shards: u16,
}

impl Copy {
    pub(super) fn of(report: &GroupReport) -> Self {
        let GroupReport { group, last, last_term, term, voters, .. } = report;
        let last = Position { term: *last_term, index: *last };
        Self { group: *group, last, term: *term, voters: voters.clone() }
    }
}

impl Rest {
    fn copy(&self, group: u16) -> Option<&Copy> {
        self.copies.iter().find(|copy| copy.group == group)
    }
}

impl Left {
    /// The most recent copy of a group so far; of equals the first.
    pub(super) fn best(&self, group: u16) -> Option<&Copy> {
        let copies = self.rests.iter().filter_map(|rest| rest.copy(group));
        copies.reduce(|best, other| if other.last > best.last { other } else { best })
    }

    /// The latest entry and term of all groups in all folders.
    pub(super) fn last(&self) -> Position {
        let copies = || self.rests.iter().flat_map(|rest| &rest.copies);
        let index = copies().map(|copy| copy.last.index).max().unwrap_or(0);
        let term = copies().map(|copy| copy.term.max(copy.last.term)).max().unwrap_or(0);
        Position { term, index }
    }

    /// What the cluster said last.
    pub(super) fn know(&mut self, meta: &Meta) {
        self.cluster = meta.cluster().map_or_else(String::new, |id| id.to_string());
        self.nodes = meta.nodes().map(|(id, node)| (id, node.name.to_string())).collect();
        self.shards = u16::try_from(meta.shards().len()).unwrap_or(u16::MAX);
    }

    /// What there is, and what a recovery would cost.
    pub(super) fn tell(&self) -> String {
        let mut text = String::new();
        let mut line = |arguments: std::fmt::Arguments<'_>| {
            writeln!(text, "{arguments}").expect("a String takes all that is written");
        };
        line(format_args!("cluster {}", self.cluster));
        let recent = self.most_recent();
        for (at, rest) in self.rests.iter().enumerate() {
            let is_recent = recent == Some(at) && self.rests.len() > 1;
            let recent = if is_recent { ", the most recent of these" } else { "" };
            let damaged = if rest.is_sound { "" } else { ", DAMAGED: fulmar-broker inspect tells what is wrong" };
            line(format_args!("{}: {}{recent}{damaged}", rest.folder, self.named(rest.identity.node)));
            for copy in &rest.copies {
                let Copy { group, last: Position { term, index }, voters, .. } = copy;
                let of = self.best(*group).is_some_and(|best| best.last > copy.last);
                let older = if of { ", another one is more recent" } else { "" };
                let voters = self.names(voters);
                line(format_args!(
                    "  {}: up to entry {index} of term {term}, decided by {voters}{older}",
                    called(*group)
                ));
            }
        }
        let others = self.others();
        if !others.is_empty() {
            let mut others: Vec<String> = others.into_iter().map(|node| self.named(node)).collect();
            others.sort_unstable();
            line(format_args!("not in these folders: {}", others.join(", ")));
        }
        let undecided = self.undecided();
        if !undecided.is_empty() {
            line(format_args!("without a majority in these folders: {}", numbers(&undecided)));
        }
        for group in self.missing() {
            line(format_args!("without a copy in these folders: {}", called(group)));
        }
        if self.is_whole() {
            line(format_args!(
                "these folders are a majority of every group: start their brokers. Nothing is lost, and a recovery is not wanted"
            ));
        } else {
            self.tell_loss(&mut line);
        }
        line(format_args!("nothing was changed"));
        text
    }

    fn tell_loss(&self, line: &mut impl FnMut(std::fmt::Arguments<'_>)) {
        let Some(first) = self.rests.first() else { return };
        line(format_args!(
            "recover --accept-loss makes {} the only member of every group. Lost are then",
            self.named(first.identity.node)
        ));
        line(format_args!(
            "  sessions, messages and retained messages that were acknowledged behind the entries above"
        ));
        for group in self.missing() {
            line(format_args!("  all that was in {}", called(group)));
        }
        line(format_args!(
            "  the folders of all other nodes as they are: each is set aside, and its node joins as a new one"
        ));
        if self.most_recent() != Some(0) {
            line(format_args!("another folder is more recent than the first one: that should be the first"));
        }
    }

    /// What was done.
    pub(super) fn tell_done(&self) -> String {
        let mut text = String::new();
        let first = self.rests.first().map_or(0, |rest| rest.identity.node);
        let name = self.named(first);
        writeln!(text, "{name} becomes the only member of {} groups of cluster {}", self.shards + 1, self.cluster)
            .expect("a String takes all that is written");
        for group in self.missing() {
            writeln!(text, "{}: begins anew without anything", called(group)).expect("a String takes all");
        }
        text
    }

    /// The folder with the most recent state of the cluster; of equals the one with more of the most recent copies.
    fn most_recent(&self) -> Option<usize> {
        let of_cluster = |rest: &Rest| rest.copy(0).map(|copy| copy.last);
        let best = |rest: &Rest| {
            let is_best = |copy: &&Copy| self.best(copy.group).is_some_and(|best| best.last == copy.last);
            rest.copies.iter().filter(is_best).count()
        };
        let ranked = self.rests.iter().enumerate().map(|(at, rest)| ((best(rest), of_cluster(rest)), at));
        ranked.reduce(|one, other| if other.0 > one.0 { other } else { one }).map(|(_, at)| at)
    }

    fn groups(&self) -> impl Iterator<Item = u16> {
        0..=self.shards
    }

    /// Groups of which there is no copy.
    fn missing(&self) -> Vec<u16> {
        self.groups().filter(|group| self.best(*group).is_none()).collect()
    }

    /// Groups whose voters here are no majority.
    fn undecided(&self) -> Vec<u16> {
        let has = |node: &NodeId, group| {
            self.rests.iter().any(|rest| rest.identity.node == *node && rest.copy(group).is_some())
        };
        let is_undecided = |group: &u16| {
            let Some(Copy { voters, .. }) = self.best(*group) else { return false };
            2 * voters.iter().filter(|node| has(node, *group)).count() <= voters.len()
        };
        self.groups().filter(is_undecided).collect()
    }

    /// Whether the brokers of these folders could go on by themselves.
    fn is_whole(&self) -> bool {
        self.missing().is_empty() && self.undecided().is_empty()
    }

    /// Nodes of the cluster whose folders were not named.
    fn others(&self) -> Vec<NodeId> {
        let here: BTreeSet<NodeId> = self.rests.iter().map(|rest| rest.identity.node).collect();
        self.nodes.iter().map(|(id, _)| *id).filter(|id| !here.contains(id)).collect()
    }

    fn name(&self, node: NodeId) -> Option<&str> {
        self.nodes.iter().find(|(id, _)| *id == node).map(|(_, name)| name.as_str())
    }

    fn named(&self, node: NodeId) -> String {
        self.name(node).map_or_else(|| format!("node {node:016x}"), |name| format!("{name} (node {node:016x})"))
    }

    fn names(&self, nodes: &[NodeId]) -> String {
        let name = |node: &NodeId| self.name(*node).map_or_else(|| format!("node {node:016x}"), str::to_owned);
        let mut names: Vec<String> = nodes.iter().map(name).collect();
        names.sort_unstable();
        names.join(", ")
    }
}

fn called(group: u16) -> String {
    match group {
        0 => "group 0 (the cluster)".to_owned(),
        _ => format!("group {group} (shard {})", group - 1),
    }
}

/// Groups by their numbers.
fn numbers(groups: &[u16]) -> String {
    let numbers: Vec<String> = groups.iter().map(u16::to_string).collect();
    let noun = if groups.len() == 1 { "group" } else { "groups" };
    format!("{noun} {}", numbers.join(", "))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use fulmar_store_raft::Mode;

    use super::*;

    fn rest(node: NodeId, copies: &[(u16, u64, u64)]) -> Rest {
        let copy = |(group, term, index): &(u16, u64, u64)| Copy {
            group: *group,
            last: Position { term: *term, index: *index },
            term: term + 1,
            voters: vec![1, 2, 3],
        };
        let shards = NonZeroU16::new(2).unwrap();
        Rest {
            folder: format!("data-{node}"),
            identity: Identity { node, shards, incarnation: 4, mode: Mode::Member },
            copies: copies.iter().map(copy).collect(),
            is_sound: true,
        }
    }

    fn left(rests: Vec<Rest>) -> Left {
        let nodes = (1..=3).map(|id| (id, format!("broker-{id}"))).collect();
        Left { rests, cluster: "c1".to_owned(), nodes, shards: 2 }
    }

    #[test]
    fn one_folder_of_three_is_told_with_what_would_be_lost() {
        let left = left(vec![rest(2, &[(0, 3, 40), (1, 5, 90)])]);
        assert_eq!(
            left.tell(),
            "\
cluster c1
data-2: broker-2 (node 0000000000000002)
  group 0 (the cluster): up to entry 40 of term 3, decided by broker-1, broker-2, broker-3
  group 1 (shard 0): up to entry 90 of term 5, decided by broker-1, broker-2, broker-3
not in these folders: broker-1 (node 0000000000000001), broker-3 (node 0000000000000003)
without a majority in these folders: groups 0, 1
without a copy in these folders: group 2 (shard 1)
recover --accept-loss makes broker-2 (node 0000000000000002) the only member of every group. Lost are then
  sessions, messages and retained messages that were acknowledged behind the entries above
  all that was in group 2 (shard 1)
  the folders of all other nodes as they are: each is set aside, and its node joins as a new one
nothing was changed
"
        );
        assert_eq!(left.last(), Position { term: 6, index: 90 });
    }

    #[test]
    fn the_later_term_is_more_recent_than_the_longer_log() {
        let left = left(vec![rest(1, &[(0, 3, 99), (1, 3, 99)]), rest(2, &[(0, 4, 40), (1, 2, 100)])]);
        assert_eq!([0, 1].map(|group| left.best(group).unwrap().last.index), [40, 99]);
        assert_eq!(left.most_recent(), Some(1), "by what it says of the cluster");
        let text = left.tell();
        assert!(text.contains("data-2: broker-2 (node 0000000000000002), the most recent of these\n"), "{text}");
        assert!(text.contains("another folder is more recent than the first one"), "{text}");
    }

    #[test]
    fn a_majority_needs_no_recovery() {
        let all = [(0, 3, 9), (1, 3, 9), (2, 3, 9)];
        let left = left(vec![rest(1, &all), rest(3, &all)]);
        let text = left.tell();
        assert!(text.contains("start their brokers") && !text.contains("accept-loss"), "{text}");
    }
}
