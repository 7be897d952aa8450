//! What must hold after every step (Raft, figure 3), and that promises are on disk when they leave a node.

use std::collections::BTreeMap;

use fulmar_harness::Violation;

use super::node::{Machine, Node, digest};
use super::world::Report;
use crate::message::Body;
use crate::outputs::{Outputs, ReadId, ReadOutcome};
use crate::types::{Entry, Index, NodeId, Position, Term};

macro_rules! rule {
    ($holds:expr, $($arg:tt)+) => {
        if !$holds {
            return Err(Violation::Harm(format!($($arg)+)));
        }
    };
}

#[derive(Debug)]
pub(super) struct Checks {
    leaders: BTreeMap<Term, NodeId>,
    /// Of every entry that ever was in a log: the term before it and what it says.
    entries: BTreeMap<Position, (Term, u64)>,
    /// What a leader has committed: the entry's term and the first term in which that was known, from index 1 on.
    committed: Vec<(Term, Term)>,
    /// The state of every state machine after each entry.
    machines: BTreeMap<Index, u64>,
    seen: BTreeMap<NodeId, Seen>,
    /// What was known to be committed when each read was asked for.
    reads: BTreeMap<ReadId, Index>,
    next_read: ReadId,
    /// Whether promises are compared with disks, or only what follows from them is noticed.
    pub(super) promises: bool,
}

/// What a node was at its last step.
#[derive(Debug, Default)]
struct Seen {
    leads: Option<Term>,
    term: Term,
    commit: Index,
}

impl Checks {
    pub(super) fn new() -> Self {
        Checks {
            leaders: BTreeMap::new(),
            entries: BTreeMap::new(),
            committed: Vec::new(),
            machines: BTreeMap::new(),
            seen: BTreeMap::new(),
            reads: BTreeMap::new(),
            next_read: 0,
            promises: true,
        }
    }

    pub(super) fn started(&mut self, node: NodeId) {
        self.seen.remove(&node);
    }

    /// A node has made a step.
    pub(super) fn step(
        &mut self,
        id: NodeId,
        outputs: &Outputs,
        nodes: &BTreeMap<NodeId, Node>,
        report: &mut Report,
    ) -> Result<(), Violation> {
        let group = &nodes[&id].running.as_ref().expect("it made a step").group;
        let (term, commit) = (group.term(), group.committed());
        let leads = group.is_leader().then_some(term);
        let before = self.seen.insert(id, Seen { leads, term, commit }).unwrap_or_default();
        rule!(term >= before.term, "node {id} went back from term {} to {term}", before.term);
        rule!(commit >= before.commit, "node {id} took back its commits from {} to {commit}", before.commit);
        rule!(commit <= group.last().index, "node {id} committed {commit} beyond its last entry {:?}", group.last());
        if let Some(write) = &outputs.write {
            if let Some(from) = write.truncate_from {
                report.truncations += 1;
                rule!(from > before.commit, "node {id} truncates from {from}, but {} is committed", before.commit);
                rule!(leads.is_none() || leads != before.leads, "leader {id} of term {term} truncates from {from}");
            }
            self.log_matching(id, group, &write.append)?;
        }
        if leads.is_some() {
            let leader = *self.leaders.entry(term).or_insert(id);
            rule!(leader == id, "nodes {leader} and {id} lead in term {term}");
            if leads != before.leads {
                report.elections += 1;
                self.leader_completeness(id, term, group)?;
            }
            self.leader_commits(id, term, group, nodes, report)?;
        }
        if self.promises { promises_are_stored(id, outputs, &nodes[&id]) } else { Ok(()) }
    }

    /// Two logs with the same position are equal up to it: the same entry, after the same term, by induction.
    fn log_matching(&mut self, id: NodeId, group: &crate::Group, appended: &[Entry]) -> Result<(), Violation> {
        for entry in appended {
            let Some(before) = group.log.term_at(entry.index - 1) else { continue };
            let (position, says) = (entry.position(), (before, digest(entry)));
            let known = *self.entries.entry(position).or_insert(says);
            rule!(known == says, "node {id} has another {position:?} than others have");
        }
        Ok(())
    }

    /// A leader has everything that was committed in earlier terms.
    fn leader_completeness(&self, id: NodeId, term: Term, group: &crate::Group) -> Result<(), Violation> {
        let base = group.log.base().index;
        for (index, (wanted, in_term)) in (1..).zip(&self.committed) {
            if *in_term < term && index >= base {
                let found = group.log.term_at(index);
                rule!(
                    found == Some(*wanted),
                    "leader {id} of term {term} has {found:?} at {index}, committed is {wanted}"
                );
            }
        }
        Ok(())
    }

    fn leader_commits(
        &mut self,
        id: NodeId,
        term: Term,
        group: &crate::Group,
        nodes: &BTreeMap<NodeId, Node>,
        report: &mut Report,
    ) -> Result<(), Violation> {
        let known = self.committed.len() as Index;
        for index in known + 1..=group.committed() {
            let entry = group.log.term_at(index).expect("a leader has what it commits");
            if self.promises && index == group.committed() {
                let has = |node: &NodeId| nodes.get(node).is_some_and(|node| node.disk.has(index, entry));
                let voters = group.membership().voters();
                let found = voters.iter().filter(|node| has(node)).count();
                rule!(2 * found > voters.len(), "leader {id} committed {index}, {found} of {voters:?} have it on disk");
            }
            self.committed.push((entry, term));
            report.committed += 1;
        }
        Ok(())
    }

    /// State machines that applied the same entry are in the same state.
    pub(super) fn applied(&mut self, id: NodeId, machine: Machine) -> Result<(), Violation> {
        let known = *self.machines.entry(machine.applied).or_insert(machine.digest);
        rule!(known == machine.digest, "node {id} applied another entry {} than others", machine.applied);
        Ok(())
    }

    pub(super) fn read_asked(&mut self) -> ReadId {
        self.next_read += 1;
        self.reads.insert(self.next_read, self.committed.len() as Index);
        self.next_read
    }

    pub(super) fn read_answered(
        &mut self,
        read: ReadId,
        outcome: ReadOutcome,
        report: &mut Report,
    ) -> Result<(), Violation> {
        let wanted = self.reads.remove(&read);
        if let ReadOutcome::At(found) = outcome {
            report.reads += 1;
            rule!(wanted.is_some(), "read {read} is answered twice");
            rule!(Some(found) >= wanted, "read {read} sees {found}, but {wanted:?} was committed before");
        }
        Ok(())
    }
}

/// What a node tells others to rely on survives its crash.
fn promises_are_stored(id: NodeId, outputs: &Outputs, node: &Node) -> Result<(), Violation> {
    let disk = &node.disk;
    for (to, message) in &outputs.messages {
        let has_term = disk.hard_state.term >= message.term;
        match &message.body {
            Body::Vote { granted: true } => {
                let is_stored = disk.hard_state.term > message.term || disk.hard_state.vote == Some(*to);
                rule!(has_term && is_stored, "node {id} tells {to} of a vote that is not on disk");
            }
            Body::AskVote { last, .. } => {
                let is_stored = disk.hard_state.term > message.term || disk.last() >= last.index;
                rule!(has_term && is_stored, "node {id} asks for votes by entries up to {last:?} that are not on disk");
            }
            Body::Stored { matched } | Body::Beat { matched, .. } => {
                rule!(
                    has_term && disk.last() >= *matched,
                    "node {id} acknowledges {matched}, on disk is {}",
                    disk.last()
                );
            }
            Body::Append { .. } | Body::Heartbeat { .. } | Body::TakeOver => {
                rule!(has_term, "node {id} leads in a term that is not on disk");
            }
            Body::AskPreVote { .. }
            | Body::PreVote { .. }
            | Body::Vote { granted: false }
            | Body::Refused { .. }
            | Body::TermOver => {}
        }
    }
    Ok(())
}
