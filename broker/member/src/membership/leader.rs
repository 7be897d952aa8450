//! What a node does while it leads group 0: it grants leases, and proposes what others ask for.

use fulmar_meta::{Advice, Answer, Command, LeasesOutput, Life, Meta, Moment, NodeId, Reply};

use super::Membership;
use crate::message::{MemberMessage, Request};
use crate::output::Output;
use crate::proposals::{Asker, Verdict};
use crate::sabotage::sabotaged;

impl Membership {
    /// Begins to lead, as soon as there is a cluster, and hands over when this node drains.
    pub(super) fn lead(&mut self, meta: &Meta, now: Moment, out: &mut Vec<Output>) {
        let term = self.role.term;
        if self.role.leads && meta.cluster().is_some() && self.leading != Some(term) {
            self.leading = Some(term);
            self.leases.lead(term, now, &mut self.of_leases);
        }
        let drains = meta.node(self.me.member.id).is_some_and(|node| node.drain.is_some());
        if drains && self.role.leads {
            self.hand_over(meta, now, out);
        } else {
            self.handed_over_at = None;
        }
    }

    /// Transfers the leadership to another member, one after the other: the group knows who may have it.
    pub(super) fn hand_over(&mut self, meta: &Meta, now: Moment, out: &mut Vec<Output>) {
        let retry = self.settings.leases.retry;
        if !self.role.leads || self.handed_over_at.is_some_and(|at| now.since(at) < retry) {
            return;
        }
        self.handed_over_at = Some(now);
        let is_able = |id: NodeId| {
            let node = meta.node(id).filter(|node| node.life == Life::Up && node.drain.is_none());
            node.is_some_and(|node| self.links.is_linked(node.member))
        };
        let able: Vec<NodeId> = meta.nodes().map(|(id, _)| id).filter(|id| is_able(*id)).collect();
        let turn = usize::try_from(now.0.as_millis() / retry.as_millis().max(1)).unwrap_or(0);
        if !able.is_empty() {
            out.push(Output::TransferMeta(able[turn % able.len()]));
        }
    }

    pub(super) fn carry_out_leases(&mut self, output: LeasesOutput, now: Moment, out: &mut Vec<Output>) {
        match output {
            LeasesOutput::Propose(command) if self.role.leads => {
                out.push(Output::Propose { term: self.role.term, command });
            }
            LeasesOutput::Propose(_) => {}
            LeasesOutput::Read(read) => out.push(Output::Read(read)),
            LeasesOutput::Grant(grant) if grant.member.id == self.me.member.id => {
                if self.lives() {
                    self.lease.granted(&grant, now, &mut self.of_lease);
                }
            }
            LeasesOutput::Grant(grant) => {
                out.push(Output::Send { to: grant.member.id, message: MemberMessage::Grant(grant) });
            }
            LeasesOutput::StepAside(to) => out.push(Output::TransferMeta(to)),
        }
    }

    /// A node wants something committed. It is proposed now, in this term, or not at all.
    pub(super) fn requested(
        &mut self,
        from: NodeId,
        request: &Request,
        meta: &Meta,
        now: Moment,
        out: &mut Vec<Output>,
    ) {
        let Request { nonce, number, command } = request;
        let asker = Asker { node: from, nonce: *nonce, number: *number };
        if !self.role.leads {
            if sabotaged!(self.settings, ProposedInLaterTerm) {
                let (retry, max) = (self.settings.leases.retry, self.settings.proposals_max);
                self.proposals.ask(command, asker, now, retry, max);
            }
            if from != self.me.member.id {
                out.push(self.state_for(from, meta));
            }
            return;
        }
        if let Some(text) = is_not_its(from, command) {
            self.counts.requests_refused += 1;
            return self.answer(asker, Answer { advice: Advice::GiveUp, text: text.into() }, meta, out);
        }
        let reply = meta.foresee(command);
        let answer = Answer::of(&reply);
        if answer.advice == Advice::Retry || reply == Reply::DoneBefore {
            return self.answer(asker, answer, meta, out);
        }
        let (retry, max) = (self.settings.leases.retry, self.settings.proposals_max);
        match self.proposals.ask(command, asker, now, retry, max) {
            Verdict::Propose => out.push(Output::Propose { term: self.role.term, command: command.clone() }),
            Verdict::Wait => {}
            Verdict::Full => {
                self.counts.proposals_refused += 1;
                let text = format!("{max} commands are under way, and no more may be");
                self.answer(asker, Answer { advice: Advice::Retry, text: text.into() }, meta, out);
            }
        }
    }

    /// The term is over: what came in it and was not committed is never proposed in another.
    pub(super) fn forget_proposals(&mut self, out: &mut Vec<Output>) {
        if sabotaged!(self.settings, ProposedInLaterTerm) {
            if self.role.leads {
                let commands = self.proposals.commands().cloned();
                out.extend(commands.map(|command| Output::Propose { term: self.role.term, command }));
            }
            return;
        }
        self.proposals.forget();
    }

    /// A command was applied: whoever asked for it is told.
    pub(super) fn tell_askers(&mut self, command: &Command, reply: &Reply, meta: &Meta, out: &mut Vec<Output>) {
        for asker in self.proposals.applied(command) {
            self.answer(asker, Answer::of(reply), meta, out);
        }
    }

    fn answer(&mut self, asker: Asker, answer: Answer, meta: &Meta, out: &mut Vec<Output>) {
        let Asker { node: to, nonce, number } = asker;
        if to == self.me.member.id {
            return self.answered(number, &answer, meta, out);
        }
        out.push(Output::Send { to, message: MemberMessage::Answer { nonce, number, answer } });
    }
}

/// Why a node may not ask for a command: the leader's own are nobody else's, and nobody speaks for another.
fn is_not_its(from: NodeId, command: &Command) -> Option<String> {
    let of = match command {
        Command::Bootstrap { .. } | Command::Lead { .. } | Command::Remove { .. } => {
            return Some("only the leader decides that".to_owned());
        }
        Command::Join { start, .. } | Command::Boot { start, .. } => start.member.id,
        Command::Confirm { by, .. } => by.id,
        Command::Describe { member, .. } => member.id,
        Command::Drain { .. } | Command::CancelDrain { .. } | Command::Gone { .. } | Command::MoveReplica { .. } => {
            return None;
        }
    };
    (of != from).then(|| format!("node {from:016x} asks in the name of {of:016x}"))
}
