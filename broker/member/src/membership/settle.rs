//! What follows from all that is known, whatever the event was: the leases' words are carried out, the cluster is begun
//! or joined, and the data threads are told what they may do.

use fulmar_meta::{Command, LeaseOutput, Meta, Moment, NodeId, Start, Term};

use super::{Me, Membership, Phase, Role};
use crate::message::{MemberMessage, Request};
use crate::output::Output;
use crate::sabotage::sabotaged;

impl Membership {
    pub(super) fn settle(&mut self, meta: &Meta, now: Moment, out: &mut Vec<Output>) {
        self.carry_out(meta, now, out);
        if self.lives() {
            if self.is_in_view(meta) {
                self.entered = self.entered.or(Some(meta.view().number));
            }
            self.ask_whether_alone(now, out);
            self.bind(meta, out);
            self.begin(meta, now, out);
        }
        if self.is_over() {
            return;
        }
        self.lead(meta, now, out);
        self.retire(meta, now, out);
        self.ask_leader(meta, now, out);
        self.look(meta, now, out);
        self.carry_out(meta, now, out);
        self.publish(out);
    }

    /// Carries out what the leases say. What is for this node itself goes to and fro here.
    pub(super) fn carry_out(&mut self, meta: &Meta, now: Moment, out: &mut Vec<Output>) {
        while !self.of_lease.is_empty() || !self.of_leases.is_empty() {
            if self.is_over() {
                (self.of_lease, self.of_leases) = (Vec::new(), Vec::new());
                return;
            }
            for output in std::mem::take(&mut self.of_lease) {
                match output {
                    LeaseOutput::Renew(renewal) if self.role.leads => {
                        self.leases.renewed(&renewal, meta, now, &mut self.of_leases);
                    }
                    LeaseOutput::Renew(renewal) => self.to_leader(&MemberMessage::Renewal(renewal), out),
                    LeaseOutput::Serve => self.is_leased = true,
                    LeaseOutput::CloseClients => {
                        self.counts.leases_lost += 1;
                        self.is_leased = false;
                    }
                    LeaseOutput::BeginNextLife { .. } => self.end_life(out),
                }
            }
            for output in std::mem::take(&mut self.of_leases) {
                self.carry_out_leases(output, now, out);
            }
        }
        if self.lease.holds(now) {
            self.held_at = now;
        }
    }

    /// To whom leads, as far as anybody knows; to everybody who is live if nobody does.
    pub(super) fn to_leader(&self, message: &MemberMessage, out: &mut Vec<Output>) {
        let send = |to| Output::Send { to, message: message.clone() };
        match self.leader() {
            Some((_, leader)) => out.push(send(leader)),
            None => out.extend(self.links.hearing().map(|member| send(member.id))),
        }
    }

    /// Puts out until when this node may acknowledge, and whether clients may come, if that has changed.
    pub(super) fn publish(&mut self, out: &mut Vec<Output>) {
        let is_followed = self.entered.is_some_and(|entered| self.followed >= entered);
        let is_fed = self.is_fed || sabotaged!(self.settings, FeedsNotAwaited);
        let may_serve = self.lives() && is_followed && is_fed;
        let until = self.lease.acknowledges_until().filter(|_| may_serve);
        if until != self.until {
            self.until = until;
            out.push(Output::Acknowledge(until));
        }
        let serves = may_serve && self.is_leased;
        if serves != self.serves {
            self.serves = serves;
            out.push(if serves { Output::Serve } else { Output::CloseClients });
        }
    }

    /// Nothing is acknowledged any more, and clients are closed.
    pub(super) fn close(&mut self, out: &mut Vec<Output>) {
        self.is_leased = false;
        if self.until.take().is_some() {
            out.push(Output::Acknowledge(None));
        }
        if std::mem::take(&mut self.serves) {
            out.push(Output::CloseClients);
        }
    }

    /// The cluster has given this life up.
    pub(super) fn end_life(&mut self, out: &mut Vec<Output>) {
        if !self.lives() {
            return;
        }
        self.close(out);
        self.phase = Phase::AwaitsLife;
        if !sabotaged!(self.settings, LeaseOfEarlierLife) {
            (self.entered, self.is_fed) = (None, false);
        }
        self.asks.forget();
        self.counts.lives_lost += 1;
        out.push(Output::BeginNextLife { above: self.me.member.incarnation });
    }

    pub(super) fn give_up(&mut self, text: String, out: &mut Vec<Output>) {
        self.close(out);
        self.phase = Phase::Ended(text.as_str().into());
        out.push(Output::GiveUp(text.into()));
    }

    pub(super) fn lives(&self) -> bool {
        self.phase == Phase::Lives
    }

    /// Whether this process does nothing more.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Stopped | Phase::Ended(_))
    }

    /// Whether this very process is in the view that it knows, in the life that it lives.
    pub(super) fn is_in_view(&self, meta: &Meta) -> bool {
        let Me { member, nonce, .. } = &self.me;
        meta.view().contains(*member) && meta.node(member.id).is_some_and(|node| node.nonce == *nonce)
    }

    /// Who leads group 0, and in which term. The group's own word counts, unless others know of a later term.
    pub(super) fn leader(&self) -> Option<(Term, NodeId)> {
        let Role { term, leader, leads } = self.role;
        if leads {
            return Some((term, self.me.member.id));
        }
        let heard = self.seek.leader(self.cluster()).filter(|(_, id)| *id != self.me.member.id);
        let told = leader.map(|id| (term, id));
        match heard {
            Some((later, _)) if later > term || (told.is_none() && later == term) => heard,
            _ => told,
        }
    }

    pub(super) fn start(&self) -> Start {
        let Me { member, nonce, name, addresses, zone, level, .. } = &self.me;
        Start {
            member: *member,
            nonce: *nonce,
            name: name.clone(),
            addresses: addresses.clone(),
            zone: zone.clone(),
            level: *level,
        }
    }

    /// To be sent to a node that asked, or that took this one for the leader.
    pub(super) fn state_for(&self, to: NodeId, meta: &Meta) -> Output {
        Output::Send { to, message: MemberMessage::State(self.state(meta)) }
    }

    /// What is asked of the leader when that is this node.
    pub(super) fn ask_itself(
        &mut self,
        number: u64,
        command: Command,
        meta: &Meta,
        now: Moment,
        out: &mut Vec<Output>,
    ) {
        let request = Request { nonce: self.me.nonce, number, command };
        self.requested(self.me.member.id, &request, meta, now, out);
    }
}
