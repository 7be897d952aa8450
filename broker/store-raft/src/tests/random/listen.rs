//! What data threads make of what engines say.

use fulmar_store::{Answer, Epoch, ItemReply, Refusal, Reply, RetainReply, ShardId, Told};

use super::Violation;
use super::client::{Client, Progress, Subscribed};
use super::nodes::{Event, Kind};
use super::world::{CLIENTS, DueWill, Question, World};
use crate::tests::fixture::Said;

impl World {
    /// Does what data threads do with what they are told.
    pub(super) fn listen(&mut self) -> Result<(), Violation> {
        while let Some(event) = self.nodes.events.pop_front() {
            match event {
                Event::Said(node, said) => self.hear(node, said)?,
                Event::Stopped(node) => self.stopped(node)?,
                // If it comes back the node hears again what it heard before.
                Event::Left(node, shard) => {
                    let shards = self.nodes.shards;
                    self.retained.retain(|(at, topic), _| *at != node || ShardId::of(topic, shards) != shard);
                }
            }
        }
        // Whoever is asked has heard by now of everything that its engine has told.
        self.publish_wills();
        self.adopt_orphans();
        Ok(())
    }

    /// The data threads of a node are gone with it, and nobody answers what it was asked.
    fn stopped(&mut self, node: usize) -> Result<(), Violation> {
        self.interest.retain(|(at, ..)| *at != node);
        self.retained.retain(|(at, _), _| *at != node);
        for client in &mut self.clients {
            client.connection.take_if(|connection| connection.node == node);
        }
        let lost: Vec<(u64, Question)> =
            self.questions.extract_if(.., |_, (at, _)| *at == node).map(|(number, (_, it))| (number, it)).collect();
        for (_, question) in &lost {
            if let Question::Claim(at) = question {
                let client = &mut self.clients[*at];
                client.is_haunted |= client.claiming.is_some_and(|(_, is_clean)| is_clean);
            }
        }
        // Wills are told again, by whoever leads.
        self.put_off.retain(|due| due.node != node);
        let mut lost = lost.into_iter().filter(|(_, question)| !matches!(question, Question::WillDone(_)));
        lost.try_for_each(|(number, it)| self.answered(node, number, it, Answer::Unavailable))
    }

    fn hear(&mut self, node: usize, said: Said) -> Result<(), Violation> {
        match said {
            Said::Interest(shard, share, filter, begins) => {
                let share = share.map(|group| format!("$share/{group}/")).unwrap_or_default();
                let key = (node, shard, share + &filter);
                let is_news = if begins { self.interest.insert(key.clone()) } else { self.interest.remove(&key) };
                if is_news { Ok(()) } else { Err(format!("{key:?} is told twice: begins {begins}")) }
            }
            Said::Retained(topic, _, version) => {
                let before = self.retained.insert((node, topic.clone()), version.clock);
                // A replica that has left and is back in the same turn tells again what it has.
                let is_told_again = before == Some(version.clock) && matches!(self.nodes.kind, Kind::Cluster(_));
                match before.filter(|before| *before >= version.clock && !is_told_again) {
                    Some(before) => Err(format!("{topic} has retained {} after {before}", version.clock)),
                    None => Ok(()),
                }
            }
            Said::Told(.., told) => self.told(node, told),
            Said::Sent(..) | Said::Meta(_) => Err("a letter was not posted".to_owned()),
        }
    }

    fn told(&mut self, node: usize, told: Told) -> Result<(), Violation> {
        let is_alone = self.is_alone();
        match told {
            Told::Answer { number, answer } => {
                let question = self.questions.remove(&number);
                let (_, question) = question.ok_or_else(|| format!("{number} is answered twice"))?;
                self.answered(node, number, question, answer)
            }
            Told::Deliver { owner, epoch, deliveries } => match self.owner_at(node, owner.slot, epoch) {
                Some(client) => client.receive(&deliveries),
                // A node may not know yet that another one owns the session.
                None if !is_alone => Ok(()),
                None => Err(format!("{owner:?} has no client in epoch {epoch}")),
            },
            Told::TakenOver { owner, epoch } => {
                // One that has just left may be told, too.
                if let Some(client) = self.owner_at(node, owner.slot, epoch) {
                    client.connection = None;
                }
                Ok(())
            }
            Told::Will { shard, id, pending } => {
                let topic = pending.will.message.topic();
                let wanted_by = self.subscribers(topic);
                let number = topic.trim_start_matches("will/").parse().expect("wills have numbers");
                self.wills.entry(number).or_insert(wanted_by);
                self.put_off.push(DueWill { node, shard, id, number });
                Ok(())
            }
            Told::Orphan { shard, number, .. } => {
                self.orphans.push((shard, number));
                Ok(())
            }
            Told::Ended { owner, epoch } => {
                if let Some(client) = self.owner_at(node, owner.slot, epoch) {
                    client.connection = None;
                }
                Ok(())
            }
        }
    }

    /// The client that has this connection.
    fn owner_at(&mut self, node: usize, slot: u32, epoch: Epoch) -> Option<&mut Client> {
        self.clients.iter_mut().find(|client| {
            client.connection.as_ref().is_some_and(|it| (it.node, it.slot, it.epoch) == (node, slot, epoch))
        })
    }

    fn answered(&mut self, node: usize, number: u64, question: Question, answer: Answer) -> Result<(), Violation> {
        match (question, answer) {
            (Question::Claim(at), Answer::Claimed(session)) => {
                let is_alone = self.is_alone();
                self.clients[at].claimed(&session, node, is_alone)
            }
            (Question::Claim(at), _) => {
                self.clients[at].is_unsure |= self.clients[at].claiming.is_some_and(|(_, is_clean)| is_clean);
                self.clients[at].claiming = None;
                Ok(())
            }
            (Question::Subscribe(at, filter, qos), Answer::Reply(Reply::Subscribed(_))) => {
                let state = self.clients[at].subscriptions.get_mut(&filter);
                if let Some(state) = state.filter(|state| **state == Subscribed::Perhaps(number)) {
                    *state = Subscribed::Surely(qos);
                }
                Ok(())
            }
            (Question::Unsubscribe(at, filter), Answer::Reply(Reply::Unsubscribed(_))) => {
                let subscriptions = &mut self.clients[at].subscriptions;
                if subscriptions.get(&filter) == Some(&Subscribed::Perhaps(number)) {
                    subscriptions.remove(&filter);
                }
                Ok(())
            }
            (Question::Publish(at, message), answer) => self.publish_answered(at, message, number, &answer),
            (Question::Receive(at, message), Answer::Reply(Reply::Routed(_) | Reply::Duplicate)) => {
                self.published(at, message);
                Ok(())
            }
            (Question::Receive(at, message), _) => {
                self.set_progress(at, message, Progress::ToAsk);
                Ok(())
            }
            (Question::Release(at, message), Answer::Reply(Reply::Released(_))) => {
                self.clients[at].outgoing.retain(|it| it.number != message);
                Ok(())
            }
            (Question::Release(at, message), _) => {
                self.set_progress(at, message, Progress::ToRelease);
                Ok(())
            }
            (Question::Acknowledge(at, epoch, acks), Answer::Reply(reply)) => {
                let is_alone = self.is_alone();
                self.clients[at].acknowledged(epoch, &acks, &reply, is_alone)
            }
            (Question::Acknowledge(at, epoch, acks), _) => {
                self.acknowledge_again(at, epoch, acks);
                Ok(())
            }
            (Question::Retain(topic, version), Answer::Reply(Reply::Published { items, .. })) => match &items[..] {
                [ItemReply::Stored(stored)] if stored.retained == Some(RetainReply::Applied) => {
                    self.retained_surely.insert(topic, version);
                    Ok(())
                }
                // Another node may have brought a later version first.
                [ItemReply::Stored(stored)] if !self.is_alone() && stored.retained == Some(RetainReply::Older) => {
                    Ok(())
                }
                [ItemReply::DoneBefore] if !self.is_alone() => Ok(()),
                // Another node's came first.
                [ItemReply::Stored(stored)] if stored.retained == Some(RetainReply::Older) && !self.is_alone() => {
                    Ok(())
                }
                other => Err(format!("{topic} version {version} is answered {other:?}")),
            },
            (Question::End(at), _) => {
                self.is_perhaps_ended(at);
                Ok(())
            }
            (Question::Share(number), Answer::Reply(Reply::Published { items, .. })) => {
                let is_kept = |item: &ItemReply| match item {
                    ItemReply::Stored(stored) => stored.queued + stored.again == 1,
                    ItemReply::DoneBefore => false,
                };
                if items.iter().all(is_kept) && (0..CLIENTS).any(|client| self.is_member(client)) {
                    self.shared.insert(number);
                }
                Ok(())
            }
            (Question::WillDone(due), Answer::Reply(Reply::Routed(_))) => {
                let wanted_by = self.wills.remove(&due.number).unwrap_or_default();
                self.await_message(due.number, wanted_by);
                Ok(())
            }
            (Question::Adopt(..), Answer::Reply(_)) => Ok(()),
            (Question::Adopt(shard, number), _) => {
                self.orphans.push((shard, number));
                Ok(())
            }
            (Question::WillDone(_), Answer::Reply(Reply::Refused(Refusal::NoWill(_)))) => Ok(()),
            (Question::WillDone(due), _) => {
                self.put_off.push(due);
                Ok(())
            }
            // Refused as the session has another owner, or nobody knows.
            _ => Ok(()),
        }
    }

    fn publish_answered(&mut self, at: usize, message: u64, question: u64, answer: &Answer) -> Result<(), Violation> {
        let Some(outgoing) = self.clients[at].outgoing.iter_mut().find(|it| it.number == message) else {
            return Ok(());
        };
        let Progress::Asked { missing, failed } = &mut outgoing.progress else { return Ok(()) };
        missing.remove(&question);
        match answer {
            Answer::Reply(Reply::Published { items, .. }) => {
                let is_known = matches!(items[..], [ItemReply::DoneBefore]) && self.nodes.count() > 1;
                if !is_known && !matches!(items[..], [ItemReply::Stored(_)]) {
                    return Err(format!("message {message} is answered {items:?}"));
                }
            }
            _ => *failed = true,
        }
        if missing.is_empty() {
            match *failed {
                true => outgoing.progress = Progress::ToAsk,
                false => self.published(at, message),
            }
        }
        Ok(())
    }

    fn set_progress(&mut self, at: usize, message: u64, progress: Progress) {
        if let Some(outgoing) = self.clients[at].outgoing.iter_mut().find(|it| it.number == message) {
            outgoing.progress = progress;
        }
    }
}
