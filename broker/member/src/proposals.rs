//! On the leader of group 0: what was proposed for whom, until it is applied. It is all forgotten with the term.

use std::time::Duration;

use fulmar_meta::{Command, Moment, NODES_MAX, NodeId};

/// Somebody who waits for a command to be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) node: NodeId,
    pub(crate) nonce: u64,
    pub(crate) number: u64,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Proposals {
    open: Vec<Proposal>,
}

#[derive(Debug, Clone)]
struct Proposal {
    command: Command,
    at: Moment,
    /// One for each process that asked.
    askers: Vec<Asker>,
}

/// What to do about a command that somebody asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Propose,
    /// It was proposed already.
    Wait,
    /// Too much is under way.
    Full,
}

impl Proposals {
    pub(crate) fn ask(
        &mut self,
        command: &Command,
        asker: Asker,
        now: Moment,
        again_after: Duration,
        proposals_max: usize,
    ) -> Verdict {
        let Some(open) = self.open.iter_mut().find(|open| open.command == *command) else {
            // What the group did not take is never applied.
            self.open.retain(|open| now.since(open.at) < 2 * again_after);
            if self.open.len() >= proposals_max {
                return Verdict::Full;
            }
            self.open.push(Proposal { command: command.clone(), at: now, askers: vec![asker] });
            return Verdict::Propose;
        };
        open.askers.retain(|other| (other.node, other.nonce) != (asker.node, asker.nonce));
        if open.askers.len() < NODES_MAX {
            open.askers.push(asker);
        }
        if now.since(open.at) < again_after {
            return Verdict::Wait;
        }
        open.at = now;
        Verdict::Propose
    }

    /// A command was applied: who waits for it.
    pub(crate) fn applied(&mut self, command: &Command) -> Vec<Asker> {
        let at = self.open.iter().position(|open| open.command == *command);
        at.map_or_else(Vec::new, |at| self.open.swap_remove(at).askers)
    }

    /// The term is over: what was not committed in it must not be proposed in another.
    pub(crate) fn forget(&mut self) {
        self.open.clear();
    }

    /// What was proposed and is not applied.
    pub(crate) fn commands(&self) -> impl Iterator<Item = &Command> {
        self.open.iter().map(|open| &open.command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGAIN: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Moment {
        Moment(Duration::from_millis(millis))
    }

    fn command(node: NodeId) -> Command {
        Command::CancelDrain { node }
    }

    #[test]
    fn what_many_ask_for_is_proposed_once_and_all_are_answered() {
        let mut proposals = Proposals::default();
        let asker = |node, number| Asker { node, nonce: 7, number };
        let mut ask = |asker, millis| proposals.ask(&command(1), asker, at(millis), AGAIN, 8);
        assert_eq!(ask(asker(2, 1), 0), Verdict::Propose);
        assert_eq!(ask(asker(3, 1), 300), Verdict::Wait);
        assert_eq!(ask(asker(2, 5), 600), Verdict::Wait);
        assert_eq!(ask(asker(2, 6), 1000), Verdict::Propose, "the group may not have taken it");
        assert_eq!(proposals.applied(&command(2)), []);
        assert_eq!(proposals.applied(&command(1)), [asker(3, 1), asker(2, 6)]);
        assert_eq!(proposals.applied(&command(1)), []);
    }

    #[test]
    fn no_more_is_under_way_than_may_be_and_what_was_not_taken_makes_room() {
        let mut proposals = Proposals::default();
        let asker = Asker { node: 2, nonce: 7, number: 1 };
        let mut ask = |node, millis| proposals.ask(&command(node), asker, at(millis), AGAIN, 2);
        assert_eq!([ask(1, 0), ask(2, 500), ask(3, 1000)], [Verdict::Propose, Verdict::Propose, Verdict::Full]);
        assert_eq!(ask(3, 2000), Verdict::Propose);
    }
}
