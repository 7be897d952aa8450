//! What is asked of a shard becomes entries of its group: as few as possible, in the order in which it was asked.
//!
//! An ask is matched when its turn comes, by what is applied by then. What was asked just before and changes
//! subscriptions may be in the same entry and not be seen: nobody was told yet that it is done.

use std::sync::Arc;

use fulmar_codec::QoS;
use fulmar_raft::ProposeError;
use fulmar_random::Random;
use fulmar_store::{
    Answer, Ask, Asked, Claim, Command, Destination, Entry, Item, ItemReply, Node, Number, Onward, Party, Published,
    Recipients, Refusal, Reply, Routed, Stored, Target, Time, Weight,
};

use crate::apply::Applying;
use crate::asked::{Asker, give_up};
use crate::draft::{Draft, InFlight, Piece, Waits};
use crate::out::Out;
use crate::replica::Replica;
use crate::settings::{Settings, sabotaged};
use crate::view::View;

/// What all shards need to know to propose.
pub(crate) struct Proposing<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) me: Node,
    pub(crate) view: &'a View,
    pub(crate) random: &'a mut Random,
    pub(crate) now: std::time::Instant,
    pub(crate) time: Time,
}

impl Replica {
    /// Proposes all that waits, as far as the group takes it.
    pub(crate) fn propose(&mut self, with: &mut Proposing<'_>, out: &mut impl Out) {
        if self.leading.is_none() {
            // A leader that has not applied everything yet will serve in a moment; anybody else asks somebody else.
            if !self.group.is_leader() {
                self.send_asks_away(with.settings.is_alone(), out);
            }
            return;
        }
        if !self.is_in_step(with.me) {
            return;
        }
        loop {
            let draft = match self.put_off.take() {
                Some(draft) => draft,
                None => self.next_draft(with, out),
            };
            if draft.is_empty() || !self.propose_draft(draft, with, out) {
                return;
            }
        }
    }

    /// Whether the numbers of this node's stream are known. After a refusal they are when nothing is on its way.
    fn is_in_step(&mut self, me: Node) -> bool {
        let Some(leading) = self.leading.as_mut().filter(|leading| leading.is_out_of_step) else { return true };
        if !self.in_flight.is_empty() || self.put_off.is_some() {
            return self.in_flight.is_empty();
        }
        leading.next_number = self.shard.expected(Party::Node(me));
        leading.is_out_of_step = false;
        true
    }

    fn next_draft(&mut self, with: &mut Proposing<'_>, out: &mut impl Out) -> Draft {
        let mut draft = Draft::default();
        let Settings { entry_bytes_max: bytes, entry_targets_max: targets, .. } = *with.settings;
        let weight_max = Weight { targets, bytes };
        while self.next_piece(with, out) {
            let Some(leading) = &mut self.leading else { break };
            let Some(piece) = self.pieces.pop_front_if(|piece| draft.fits(piece, weight_max)) else {
                break;
            };
            draft.add(piece, with.me, &mut leading.next_number);
        }
        draft
    }

    /// Makes sure that there is a piece, if anything waits.
    fn next_piece(&mut self, with: &mut Proposing<'_>, out: &mut impl Out) -> bool {
        while self.pieces.is_empty() {
            if let Some(command) = self.leading.as_mut().and_then(|leading| leading.upkeep.pop_front()) {
                self.pieces.push_back(Piece::command(command, Waits::Nobody));
            } else if let Some(asked) = self.asks.pop_front() {
                self.asks_bytes -= ask_bytes(&asked.ask);
                self.plan(asked, with, out);
            } else {
                return false;
            }
        }
        true
    }

    /// Makes pieces of an ask, or answers it at once.
    fn plan(&mut self, asked: Asked, with: &mut Proposing<'_>, out: &mut impl Out) {
        let Asked { origin, ticket, number, ask } = asked;
        let asker = Asker { origin, ticket };
        if self.shard.is_gone(origin) {
            return asker.answer(Answer::Reply(Reply::Refused(Refusal::NodeGone(origin))), out);
        }
        // One that has left meanwhile may not be remembered as gone for ever.
        if !with.settings.is_alone() && !with.view.contains(origin) {
            return asker.answer(Answer::Unavailable, out);
        }
        let command = match ask {
            Ask::Claim { owner, claim } => {
                let nonce = if claim.nonce == 0 { with.random.next() } else { claim.nonce };
                let claim = Claim { node: origin, nonce, ..claim };
                self.pieces.push_back(Piece::command(Command::Claim(claim), Waits::Claim(asker, owner)));
                return;
            }
            Ask::Attach { owner, client, epoch, next } => {
                // It changes nothing, but is answered by who leads, and after what was asked before.
                let command = Command::Acknowledge { client, epoch, acks: Vec::new() };
                self.pieces.push_back(Piece::command(command, Waits::Attach(asker, owner, next)));
                return;
            }
            Ask::Publish { shard: _, published } => return self.plan_publish(asker, number, published, with, out),
            Ask::Subscribe { client, epoch, subscriptions } => Command::Subscribe { client, epoch, subscriptions },
            Ask::Unsubscribe { client, epoch, filters } => Command::Unsubscribe { client, epoch, filters },
            Ask::ReceiveQos2 { client, epoch, packet_id, published, mut destinations } => {
                let targets = if self.takes_itself(&mut destinations) { self.targets(&published) } else { Vec::new() };
                let Published { message, retain, to: _ } = published;
                let item = Item { message, retain, targets };
                let routed = Routed { item, destinations };
                Command::ReceiveQos2 { client, epoch, packet_id, routed }
            }
            Ask::Release { client, epoch, packet_id } => Command::Release { client, epoch, packet_id },
            Ask::Acknowledge { client, epoch, acks } => Command::Acknowledge { client, epoch, acks },
            Ask::Disconnect { client, epoch, expiry_seconds, will } => {
                Command::Disconnect { client, epoch, expiry_seconds, will }
            }
            Ask::End { client, generation } => Command::End { client, generation },
            Ask::Adopted { shard: _, number } => {
                if let Some(leading) = &mut self.leading {
                    leading.awaits_adoption.take_if(|awaited| *awaited == number);
                    leading.routed_again = leading.routed_again.max(number + 1);
                }
                Command::RouteAgain { number, to: Onward::Nobody }
            }
            Ask::WillDone { shard: _, will, retain, mut destinations } => {
                let is_here = self.takes_itself(&mut destinations);
                let targets = match self.wills.get(&will) {
                    Some(pending) if is_here => self.matcher.matching(&pending.will.message, Some(&pending.client)),
                    _ => Vec::new(),
                };
                Command::PublishWill { will, retain, targets, destinations }
            }
        };
        self.pieces.push_back(Piece::command(command, Waits::One(asker)));
    }

    fn plan_publish(
        &mut self,
        asker: Asker,
        number: Option<Number>,
        published: Published,
        with: &Proposing<'_>,
        out: &mut impl Out,
    ) {
        let number = match number.map(|number| self.check_number(asker.origin, number, with)) {
            None => None,
            Some(Ok(number)) => Some(number),
            Some(Err(reply)) => return asker.answer(Answer::Reply(reply), out),
        };
        let mut targets = self.targets(&published);
        let Published { message, retain, to: _ } = published;
        // Somebody else may lead by now and know of more subscriptions; only an entry that is committed tells. Who is
        // alone knows anyway.
        if number.is_none() && targets.is_empty() && retain.is_none() && self.is_alone() {
            let items = vec![ItemReply::Stored(Stored::default())];
            let expected = self.shard.expected(Party::Node(with.me));
            return asker.answer(Answer::Reply(Reply::Published { items, expected }), out);
        }
        let source = Party::Node(asker.origin);
        if number == Some(self.shard.expected(source))
            && let Some(until) = self.shard.came_until(source)
        {
            // Others have it from an earlier leader. The shard would drop them, too.
            targets.retain(|target| target.client > *until);
        }
        let targets_max = usize::try_from(with.settings.entry_targets_max).unwrap_or(usize::MAX);
        if targets.len() > targets_max && !sabotaged!(with.settings, CutUnsorted) {
            // Parts are cut in this order.
            targets.sort_unstable_by(|a, b| a.client.cmp(&b.client));
        }
        let item = Item { message, retain, targets };
        self.pieces.extend(Piece::items(item, asker, number, targets_max));
    }

    /// The number with which a message of a node's stream is proposed. What was stored before needs no entry, and
    /// what must be stored before is not there. One that is on its way already is proposed again: the first answer may
    /// be lost.
    fn check_number(&mut self, origin: Node, number: Number, with: &Proposing<'_>) -> Result<Number, Reply> {
        let expected = self.shard.expected(Party::Node(origin));
        if number < expected {
            return Err(Reply::Published { items: vec![ItemReply::DoneBefore], expected });
        }
        let Some(leading) = &mut self.leading else { return Ok(number) };
        let next = leading.streams.entry(origin).or_insert(expected);
        *next = (*next).max(expected);
        if number > *next && sabotaged!(with.settings, GapAccepted) {
            *next += 1;
            return Ok(*next - 1);
        }
        if number > *next {
            return Err(Reply::Refused(Refusal::OutOfOrder { found: number, expected: *next }));
        }
        *next = (*next).max(number + 1);
        Ok(number)
    }

    fn targets(&mut self, published: &Published) -> Vec<Target> {
        let Published { message, retain: _, to } = published;
        match to {
            Recipients::Nobody => Vec::new(),
            Recipients::Matching { publisher } => self.matcher.matching(message, publisher.as_ref()),
            Recipients::One { client, qos, retain, subscription_ids, share } => {
                let generation = self.shard.session(client).map(|session| session.generation);
                // A member of a shared subscription that is no more is replaced when this is committed.
                let generation = generation.or(share.as_ref().map(|_| 0)).filter(|_| *qos != QoS::AtMostOnce);
                let target = generation.map(|generation| Target {
                    client: client.clone(),
                    generation,
                    qos: *qos,
                    retain: *retain,
                    subscription_ids: subscription_ids.clone(),
                    share: share.clone(),
                });
                target.into_iter().collect()
            }
            Recipients::Group { group, filter } => {
                let name = format!("$share/{group}/{filter}").into();
                self.matcher.in_turn(&name, message, &self.shard).into_iter().collect()
            }
        }
    }

    /// Takes the subscribers of this shard out of the destinations: they are matched at once. Whether they were there.
    fn takes_itself(&self, destinations: &mut Vec<Destination>) -> bool {
        let before = destinations.len();
        let itself = Destination::subscribers(Party::Shard(self.id));
        destinations.retain(|destination| *destination != itself);
        destinations.len() < before
    }

    /// Whether the group took it and may take more.
    fn propose_draft(&mut self, mut draft: Draft, with: &mut Proposing<'_>, out: &mut impl Out) -> bool {
        let time = with.time.max(self.shard.time());
        let entry = Entry { time, commands: std::mem::take(&mut draft.commands) };
        let mut bytes = Vec::new();
        entry.encode(&mut bytes);
        match self.group.propose(vec![Arc::from(bytes)], with.now) {
            Ok(index) => {
                let (term, mut waits, since) = (self.group.term(), draft.waits, (with.settings.clock)());
                if sabotaged!(with.settings, AnswerBeforeCommit) {
                    let with = Applying { settings: with.settings, me: with.me, time: with.time };
                    self.apply_entry(index, &entry, std::mem::take(&mut waits), with, out);
                }
                self.in_flight.push_back(InFlight { term, index, entry, waits, since });
                true
            }
            Err(ProposeError::Full { .. } | ProposeError::Transferring { .. }) => {
                draft.commands = entry.commands;
                self.put_off = Some(draft);
                false
            }
            // The group will say so in a moment.
            Err(ProposeError::NotLeader { .. }) => {
                draft.waits.iter().for_each(|waits| give_up(waits.askers(), out));
                false
            }
        }
    }
}

/// What an ask counts against the bound of those that wait.
pub(crate) fn ask_bytes(ask: &Ask) -> usize {
    const HEAD_BYTES: usize = 128;
    let bytes = match ask {
        Ask::Claim { claim, .. } => claim.will.as_ref().map_or(0, |will| will.message.bytes()),
        Ask::Publish { published, .. } | Ask::ReceiveQos2 { published, .. } => published.message.bytes(),
        Ask::Subscribe { subscriptions, .. } => subscriptions.iter().map(|(filter, _)| filter.len() as u64).sum(),
        Ask::Unsubscribe { filters, .. } => filters.iter().map(|filter| filter.len() as u64).sum(),
        Ask::Acknowledge { acks, .. } => 16 * acks.len() as u64,
        Ask::Attach { .. }
        | Ask::Release { .. }
        | Ask::Disconnect { .. }
        | Ask::End { .. }
        | Ask::Adopted { .. }
        | Ask::WillDone { .. } => 0,
    };
    HEAD_BYTES + usize::try_from(bytes).unwrap_or(usize::MAX)
}
