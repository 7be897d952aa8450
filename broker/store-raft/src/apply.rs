//! What is committed is done: the shard applies it, and whoever waits or must know is told.

use fulmar_raft::{Entry as LogEntry, Payload};
use fulmar_store::{
    Answer, Applied, Bound, Claim, Claimed, Command, Entry, Item, ItemReply, Message, Node, Onward, OwnedSession,
    Party, Refusal, Reply, RetainReply, Stored, Target, Ticket, Time, Told, Version,
};

use crate::deliver::Owned;
use crate::draft::{InFlight, Part, Waits};
use crate::errors::Failed;
use crate::out::Out;
use crate::replica::{Orphan, Replica, give_up};
use crate::settings::{Settings, sabotaged};

/// What all shards need to know to apply.
#[derive(Clone, Copy)]
pub(crate) struct Applying<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) me: Node,
    pub(crate) time: Time,
}

impl Replica {
    /// Does what an entry says. Returns the proposal, if it was this node's.
    pub(crate) fn apply(
        &mut self,
        entry: &LogEntry,
        with: Applying<'_>,
        out: &mut impl Out,
    ) -> Result<Option<InFlight>, Failed> {
        let Payload::Command(bytes) = &entry.payload else { return Ok(None) };
        let own = self.own_proposal(entry, out);
        match own {
            Some(mut own) => {
                let waits = std::mem::take(&mut own.waits);
                self.apply_entry(entry.index, &own.entry, waits, with, out);
                Ok(Some(own))
            }
            None => {
                let (group, index) = (self.group_number(), entry.index);
                let decoded = Entry::decode(bytes).map_err(|error| Failed::Entry { group, index, error })?;
                self.apply_entry(index, &decoded, Vec::new(), with, out);
                Ok(None)
            }
        }
    }

    /// The proposal that this entry is. Those before it, and one in whose place there is another, are lost.
    fn own_proposal(&mut self, entry: &LogEntry, out: &mut impl Out) -> Option<InFlight> {
        while let Some(front) = self.in_flight.pop_front_if(|front| front.index <= entry.index) {
            if (front.index, front.term) == (entry.index, entry.term) {
                return Some(front);
            }
            front.waits.iter().for_each(|waits| give_up(waits.tickets(), out));
        }
        None
    }

    pub(crate) fn apply_entry(
        &mut self,
        index: u64,
        entry: &Entry,
        waits: Vec<Waits>,
        with: Applying<'_>,
        out: &mut impl Out,
    ) {
        let Applied { replies, subscriptions, index: _ } = self.shard.apply(index, entry);
        for change in &subscriptions {
            if let Some(interest) = self.matcher.change(change) {
                out.interest(self.id, interest.share, interest.filter, interest.begins);
            }
        }
        let waits = waits.into_iter().chain(std::iter::repeat_with(|| Waits::Nobody));
        for ((command, reply), waits) in entry.commands.iter().zip(replies).zip(waits) {
            self.note(command, &reply, &waits, with, out);
            self.answer(command, reply, waits, out);
        }
        self.note_wills();
    }

    /// What a command has changed beside its answer.
    fn note(&mut self, command: &Command, reply: &Reply, waits: &Waits, with: Applying<'_>, out: &mut impl Out) {
        match (command, reply) {
            (Command::Claim(claim), Reply::Claimed(claimed)) => self.note_claim(claim, *claimed, waits, with, out),
            (Command::Publish { items, .. }, Reply::Published { items: replies, .. }) => {
                for (Item { message, retain, targets }, reply) in items.iter().zip(replies) {
                    if let ItemReply::Stored(stored) = reply {
                        self.note_stored(message, *retain, targets, stored, with.time, out);
                    }
                }
            }
            (Command::Publish { source, .. }, Reply::Refused(_)) if *source == Party::Node(with.me) => {
                if let Some(leading) = &mut self.leading {
                    leading.is_out_of_step = true;
                }
            }
            (Command::Publish { source: Party::Shard(source), .. }, Reply::Refused(_)) => {
                if let Some(leading) = &mut self.leading {
                    leading.pulled.remove(source);
                    leading.pause_outboxes(self.shard.time());
                }
            }
            (Command::RouteAgain { to: Onward::Member(target), .. }, Reply::Routed(stored)) if stored.queued > 0 => {
                self.to_deliver.insert(target.client.clone());
            }
            (Command::RouteAgain { .. }, Reply::Refused(refusal)) => {
                if let Some(leading) = &mut self.leading {
                    leading.routed_again = 0;
                    // Somebody who is not there any more is no reason to wait.
                    if !matches!(refusal, Refusal::NoMember | Refusal::OutOfOrder { .. }) {
                        leading.pause_outboxes(self.shard.time());
                    }
                }
            }
            (Command::ReceiveQos2 { routed, .. }, Reply::Routed(stored)) => {
                let Item { message, retain, targets } = &routed.item;
                self.note_stored(message, *retain, targets, stored, with.time, out);
            }
            (Command::PublishWill { will, retain, targets, .. }, Reply::Routed(stored)) => {
                if let Some(pending) = self.wills.remove(will) {
                    self.note_stored(&pending.will.message, *retain, targets, stored, with.time, out);
                }
            }
            (Command::End { client, .. }, Reply::Ended { was_there: true, .. }) => {
                self.orphans.remove(client);
                if let Some(Owned { owner, epoch, .. }) = self.owned.remove(client) {
                    out.tell(owner.thread, Told::Ended { owner, epoch });
                }
            }
            (Command::Acknowledge { client, epoch, acks }, Reply::Acknowledged(replies)) => {
                if let Some(owned) = self.owned.get_mut(client).filter(|owned| owned.epoch == *epoch) {
                    owned.acknowledged(acks, replies);
                    if sabotaged!(with.settings, DeliveredTwice) {
                        owned.forget_what_was_sent();
                    }
                    self.to_deliver.insert(client.clone());
                }
            }
            (Command::Disconnect { client, epoch, .. }, _) => {
                self.give_up_session(client, *epoch);
                if self.orphans.get(client).is_some_and(|orphan| orphan.epoch == *epoch) {
                    self.orphans.remove(client);
                }
            }
            (Command::Expire | Command::NodeGone(_), _) => {
                if let Some(leading) = &mut self.leading {
                    leading.is_clearing = false;
                }
            }
            _ => {}
        }
    }

    /// A session has a new owner. Who had it here is told before.
    fn note_claim(&mut self, claim: &Claim, claimed: Claimed, waits: &Waits, with: Applying<'_>, out: &mut impl Out) {
        let (client, epoch) = (&claim.client, claimed.epoch);
        if let Some(Owned { owner, epoch, .. }) = self.owned.remove(client) {
            out.tell(owner.thread, Told::TakenOver { owner, epoch });
        }
        self.orphans.remove(client);
        self.matcher.came_back(client, &self.shard);
        if let Waits::Claim(_, owner) = waits {
            self.owned.insert(client.clone(), Owned::new(*owner, epoch));
            self.to_deliver.insert(client.clone());
        } else if claim.node == with.me {
            self.orphans.insert(client.clone(), Orphan { epoch, left_in: None });
        }
    }

    fn note_stored(
        &mut self,
        message: &Message,
        retain: Option<Version>,
        targets: &[Target],
        stored: &Stored,
        time: Time,
        out: &mut impl Out,
    ) {
        if stored.queued > 0 {
            let owned = targets.iter().filter(|target| self.owned.contains_key(&target.client));
            self.to_deliver.extend(owned.map(|target| target.client.clone()));
        }
        if let (Some(version), Some(RetainReply::Applied)) = (retain, &stored.retained) {
            // With what is left of its lifetime: entries that are read again are old.
            match self.shard.retained(message.topic(), time.max(self.shard.time())) {
                Some((message, current)) if current == version => {
                    out.retained(message.topic(), Some(&message), version);
                }
                // A later one of the same entry comes next.
                Some(_) => {}
                None => out.retained(message.topic(), None, version),
            }
        }
    }

    fn answer(&mut self, command: &Command, reply: Reply, waits: Waits, out: &mut impl Out) {
        let (ticket, answer) = match (waits, reply) {
            (Waits::Nobody, _) => return,
            (Waits::Publish(parts), Reply::Published { items, expected }) => {
                for (part, item) in parts.into_iter().zip(items) {
                    self.answer_part(part, item, expected, out);
                }
                return;
            }
            (Waits::Publish(parts), reply) => {
                if let Some(leading) = &mut self.leading {
                    leading.parts = Stored::default();
                }
                for part in parts.into_iter().filter(|part| part.is_last) {
                    tell(part.ticket, refused(reply.clone()), out);
                }
                return;
            }
            (Waits::Claim(ticket, _), Reply::Claimed(claimed)) => (ticket, self.owned_session(command, claimed)),
            (Waits::One(ticket) | Waits::Claim(ticket, _), reply) => (ticket, Answer::Reply(reply)),
        };
        tell(ticket, answer, out);
    }

    /// A message that goes in parts is answered with all of them together.
    fn answer_part(&mut self, part: Part, item: ItemReply, expected: u64, out: &mut impl Out) {
        let Part { ticket, before, is_last } = part;
        let Some(leading) = &mut self.leading else { return };
        let item = match item {
            ItemReply::Stored(stored) if before > 0 || !is_last => {
                add(&mut leading.parts, stored, before);
                if !is_last {
                    return;
                }
                ItemReply::Stored(std::mem::take(&mut leading.parts))
            }
            other => other,
        };
        tell(ticket, Answer::Reply(Reply::Published { items: vec![item], expected }), out);
    }

    /// What the session has is what the whole entry has left it. If something behind the claim has ended it or given it
    /// to another owner, that is told next.
    fn owned_session(&self, command: &Command, claimed: Claimed) -> Answer {
        let Command::Claim(Claim { client, .. }) = command else { return Answer::Reply(Reply::Claimed(claimed)) };
        let subscriptions = self.shard.subscriptions_of(client).map(|(filter, it)| (filter.clone(), *it)).collect();
        let received = self.shard.received_of(client).collect();
        Answer::Claimed(Box::new(OwnedSession { claimed, subscriptions, received }))
    }

    /// Sends sessions what they have not been sent.
    pub(crate) fn deliver(&mut self, with: Applying<'_>, out: &mut impl Out) {
        let time = with.time.max(self.shard.time());
        for client in std::mem::take(&mut self.to_deliver) {
            let Some(owned) = self.owned.get_mut(&client) else { continue };
            let deliveries = owned.take(&client, &self.shard, with.settings.unacknowledged_bytes_max, time);
            if !deliveries.is_empty() {
                let (owner, epoch) = (owned.owner, owned.epoch);
                out.tell(owner.thread, Told::Deliver { owner, epoch, deliveries });
            }
        }
    }
}

/// A refusal of a stream as a whole says nothing about the message: it was not stored.
fn refused(reply: Reply) -> Answer {
    match reply {
        Reply::Refused(Refusal::OutOfOrder { .. } | Refusal::NodeGone(_)) => Answer::Unavailable,
        other => Answer::Reply(other),
    }
}

fn add(sum: &mut Stored, part: Stored, before: u32) {
    let Stored { queued, ignored, again, dropped, is_expired, refused, retained } = part;
    sum.queued += queued;
    sum.ignored += ignored;
    sum.again += again;
    sum.dropped += dropped;
    sum.is_expired |= is_expired;
    sum.refused.extend(refused.into_iter().map(|(position, bound): (u32, Bound)| (before + position, bound)));
    sum.retained = sum.retained.take().or(retained);
}

fn tell(ticket: Ticket, answer: Answer, out: &mut impl Out) {
    out.tell(ticket.thread, Told::Answer { number: ticket.number, answer });
}
