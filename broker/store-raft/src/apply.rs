//! What is committed is done: the shard applies it, and whoever waits or must know is told.

use std::ops::Bound::{Excluded, Unbounded};

use fulmar_log::File;
use fulmar_raft::{Entry as LogEntry, Payload};
use fulmar_store::{
    Answer, Applied, Bound, Claim, Claimed, ClientId, Command, Entry, Epoch, Item, ItemReply, Message, Node, Onward,
    OwnedSession, Owner, Party, Refusal, Reply, RetainReply, Sequence, Stored, Target, Time, Told, Version,
};

use crate::asked::{Asker, give_up};
use crate::bodies::BodyFiles;
use crate::deliver::Owned;
use crate::draft::{InFlight, Part, Waits};
use crate::errors::Failed;
use crate::out::Out;
use crate::replica::Replica;
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
            front.waits.iter().for_each(|waits| give_up(waits.askers(), out));
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
            if let Some(interest) = self.matcher.change(change)
                && with.settings.is_alone()
            {
                out.interest(self.id, interest.share, interest.filter, interest.begins);
            }
        }
        let waits = waits.into_iter().chain(std::iter::repeat_with(|| Waits::Nobody));
        for ((command, reply), waits) in entry.commands.iter().zip(replies).zip(waits) {
            self.note(command, &reply, &waits, with, out);
            self.answer(command, reply, waits, with, out);
        }
        self.note_wills();
    }

    /// What a command has changed beside its answer.
    fn note(&mut self, command: &Command, reply: &Reply, waits: &Waits, with: Applying<'_>, out: &mut impl Out) {
        if let (Waits::Proof(life, round), Some(leading)) = (waits, &mut self.leading) {
            match *life == with.me {
                true => leading.proven_to_self = *round,
                false => leading.feed.prove(*life, *round),
            }
        }
        match (command, reply) {
            (Command::Claim(claim), Reply::Claimed(claimed)) => self.note_claim(claim, *claimed, waits, out),
            (Command::Publish { items, .. }, Reply::Published { items: replies, .. }) => {
                for (Item { message, retain, targets }, reply) in items.iter().zip(replies) {
                    if let ItemReply::Stored(stored) = reply {
                        self.note_stored(message, *retain, targets, stored, with.time, out);
                    }
                }
            }
            (Command::Publish { source: Party::Node(node), .. }, Reply::Refused(_)) => {
                if let Some(leading) = &mut self.leading {
                    leading.streams.remove(node);
                    let is_own = |part: &Part| part.number.is_none();
                    leading.is_out_of_step |= matches!(waits, Waits::Publish(parts) if parts.iter().any(is_own));
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
                if let Some(Owned { to, owner, epoch, .. }) = self.owned.remove(client) {
                    out.tell(to, owner.thread, Told::Ended { owner, epoch });
                }
            }
            (Command::Acknowledge { client, epoch, .. }, Reply::Acknowledged(_))
                if let Waits::Attach(asker, owner, next) = waits =>
            {
                self.attach(client, *epoch, *asker, *owner, *next, with);
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
            }
            (Command::Expire | Command::NodeGone(_), _) => {
                if let Some(leading) = &mut self.leading {
                    leading.is_clearing = false;
                }
            }
            _ => {}
        }
    }

    /// A session has a new owner. Who had it, as far as this leader knows, is told before.
    fn note_claim(&mut self, claim: &Claim, claimed: Claimed, waits: &Waits, out: &mut impl Out) {
        let client = &claim.client;
        let before = self.owned.remove(client);
        if let Some(Owned { to, owner, epoch, .. }) = before
            && epoch < claimed.epoch
        {
            out.tell(to, owner.thread, Told::TakenOver { owner, epoch });
        }
        self.matcher.came_back(client, &self.shard);
        if let Waits::Claim(asker, owner) = waits {
            // One that came twice, and was not lost in between, has its deliveries already.
            if let Some(owned) =
                before.filter(|it| (it.to, it.owner, it.epoch) == (asker.origin, *owner, claimed.epoch))
            {
                self.owned.insert(client.clone(), owned);
                return;
            }
            self.owned.insert(client.clone(), Owned::new(asker.origin, *owner, claimed.epoch));
            self.to_deliver.insert(client.clone());
        }
    }

    /// The owner of a session serves it still.
    fn attach(
        &mut self,
        client: &ClientId,
        epoch: Epoch,
        asker: Asker,
        owner: Owner,
        next: Sequence,
        with: Applying<'_>,
    ) {
        let is_it = |owned: &Owned| (owned.to, owned.owner, owned.epoch) == (asker.origin, owner, epoch);
        let is_attached = self.owned.get(client).is_some_and(is_it);
        if !is_attached && self.shard.session(client).and_then(|session| session.owner) == Some(asker.origin) {
            let next = if sabotaged!(with.settings, AttachedFromStart) { 0 } else { next };
            let owned = Owned::new(asker.origin, owner, epoch).attached(client, next, &self.shard);
            self.owned.insert(client.clone(), owned);
            self.to_deliver.insert(client.clone());
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

    fn answer(&mut self, command: &Command, reply: Reply, waits: Waits, with: Applying<'_>, out: &mut impl Out) {
        let (asker, answer) = match (waits, reply) {
            (Waits::Nobody | Waits::Proof(..), _) => return,
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
                    part.asker.answer(refused(part, reply.clone()), out);
                }
                return;
            }
            (Waits::Claim(asker, _), Reply::Claimed(claimed)) => (asker, self.owned_session(command, claimed)),
            (Waits::Attach(asker, owner, _), Reply::Acknowledged(_)) => (asker, self.attached(command, asker, owner)),
            (Waits::One(asker), reply @ Reply::Subscribed(_)) if !with.settings.is_alone() => {
                // Everybody who publishes must know of it first.
                let needs = self.shard.filters_changed_at();
                match &mut self.leading {
                    Some(leading) => leading.feed.hold(needs, asker, reply),
                    None => asker.answer(Answer::Unavailable, out),
                }
                return;
            }
            (Waits::One(asker) | Waits::Claim(asker, _) | Waits::Attach(asker, ..), reply) => {
                (asker, Answer::Reply(reply))
            }
        };
        asker.answer(answer, out);
    }

    /// A message that goes in parts is answered with all of them together.
    fn answer_part(&mut self, part: Part, item: ItemReply, expected: u64, out: &mut impl Out) {
        let Part { asker, number: _, before, is_last } = part;
        let Some(leading) = &mut self.leading else { return };
        if let ItemReply::Stored(stored) = &item
            && (before > 0 || !is_last)
        {
            add(&mut leading.parts, stored.clone(), before);
        }
        if is_last {
            let item = match item {
                ItemReply::Stored(_) if before > 0 => ItemReply::Stored(std::mem::take(&mut leading.parts)),
                other => other,
            };
            leading.parts = Stored::default();
            asker.answer(Answer::Reply(Reply::Published { items: vec![item], expected }), out);
        }
    }

    fn attached(&self, command: &Command, asker: Asker, owner: Owner) -> Answer {
        let Command::Acknowledge { client, epoch, .. } = command else { return Answer::Unavailable };
        let is_owner = |owned: &Owned| (owned.to, owned.owner, owned.epoch) == (asker.origin, owner, *epoch);
        Answer::Reply(match self.owned.get(client).is_some_and(is_owner) {
            true => Reply::Attached,
            false => Reply::Refused(Refusal::NotOwned { epoch: *epoch }),
        })
    }

    /// What the session has is what the whole entry has left it. If something behind the claim has ended it or given it
    /// to another owner, that is told next.
    fn owned_session(&self, command: &Command, claimed: Claimed) -> Answer {
        let Command::Claim(Claim { client, .. }) = command else { return Answer::Reply(Reply::Claimed(claimed)) };
        let subscriptions = self.shard.subscriptions_of(client).map(|(filter, it)| (filter.clone(), *it)).collect();
        let received = self.shard.received_of(client).collect();
        Answer::Claimed(Box::new(OwnedSession { claimed, subscriptions, received }))
    }

    /// Sends sessions what they have not been sent. When much was read from files the others wait for the next turn, where
    /// they are first.
    pub(crate) fn deliver<F: File>(
        &mut self,
        with: Applying<'_>,
        files: &mut BodyFiles<F>,
        was_read: &mut u64,
        out: &mut impl Out,
    ) -> Result<(), Failed> {
        let time = with.time.max(self.shard.time());
        for _ in 0..self.to_deliver.len() {
            if *was_read >= with.settings.read_bytes_max {
                break;
            }
            let behind = self.delivered_last.take().map_or(Unbounded, Excluded);
            let next = self.to_deliver.range((behind, Unbounded)).next().or(self.to_deliver.first());
            let Some(client) = next.cloned() else { break };
            self.to_deliver.remove(&client);
            self.delivered_last = Some(client.clone());
            let Some(owned) = self.owned.get_mut(&client) else { continue };
            let deliveries = owned.take(&client, &self.shard, with.settings.unacknowledged_bytes_max, time, files)?;
            *was_read += files.take_read();
            if !deliveries.is_empty() {
                let Owned { to, owner, epoch, .. } = *owned;
                out.tell(to, owner.thread, Told::Deliver { owner, epoch, deliveries });
            }
        }
        Ok(())
    }
}

/// A refusal of a stream as a whole says nothing about the message: it was not stored. Who numbers by himself is told
/// where to go on.
fn refused(part: Part, reply: Reply) -> Answer {
    match (part.number, reply) {
        (None, Reply::Refused(Refusal::OutOfOrder { .. } | Refusal::NodeGone(_))) => Answer::Unavailable,
        (_, other) => Answer::Reply(other),
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
