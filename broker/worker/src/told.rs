//! What the store tells a data thread, and what is done about it.

use crate::desk::{Subscribing, Waits, expiry, outgoing};
use crate::ids::ConnId;
use crate::out::Out;
use crate::pending::WaitId;
use crate::publish::Source;
use crate::subscribe::split_share;
use crate::worker::Worker;
use fulmar_codec::ReasonCode;
use fulmar_store::{
    Ack, AckReply, Answer, Ask, ItemReply, Message, Owner, PendingWill, Refusal, Reply, RetainReply, ShardId, Stored,
    Ticket, Told, Will, WillId,
};
use std::time::Instant;

impl Worker {
    /// The store has answers, messages or news.
    pub fn told(&mut self, told: Vec<Told>, now: Instant, out: &mut impl Out) {
        for told in told {
            match told {
                Told::Answer { number, answer } => {
                    if let Some(waits) = self.desk.take(number) {
                        self.answered_by_store(waits, answer, now, out);
                    }
                }
                Told::Deliver { owner, epoch, deliveries } => {
                    self.deliver_stored(conn_of(owner), epoch, deliveries, now);
                }
                Told::TakenOver { owner, epoch } => self.taken_over(conn_of(owner), epoch, now, out),
                Told::Ended { owner, epoch } => self.ended_in_store(conn_of(owner), epoch, now, out),
                Told::Orphan { shard, number, share, message } => {
                    self.adopt(&share, &message, now);
                    self.do_in_store(Ask::Adopted { shard, number });
                }
                Told::Will { shard, id, pending } => self.will_due_in_store(shard, id, &pending, now),
            }
        }
    }

    /// What this turn has for the store, with the weight of its messages.
    pub fn asked(&mut self) -> (&mut Vec<(Ticket, Ask)>, usize) {
        self.tell_acknowledgements();
        self.desk.asked()
    }

    /// All that was asked has been posted.
    pub fn posted(&mut self) {
        self.desk.posted();
    }

    fn answered_by_store(&mut self, waits: Waits, answer: Answer, now: Instant, out: &mut impl Out) {
        match (waits, answer) {
            (Waits::Claim(claiming), answer) => self.claimed(*claiming, answer, now, out),
            (Waits::Subscribe(subscribing), answer) => self.subscribed_in_store(*subscribing, &answer, now, out),
            (Waits::Unsubscribe { conn, packet }, Answer::Reply(Reply::Unsubscribed(_))) => {
                if let Some(buffer) = self.connections.output(conn) {
                    buffer.extend_from_slice(&packet);
                    self.counters.packets_sent += 1;
                }
            }
            (Waits::Retained { conn }, answer) => self.retained_in_store(conn, &answer, now, out),
            (Waits::Publish(wait), answer) => self.published_in_store(wait, &answer, now, out),
            (Waits::Release { conn, packet_id }, Answer::Reply(Reply::Released(_))) => {
                self.released_stored(conn, packet_id);
            }
            (Waits::Refusal(wait), Answer::Reply(Reply::Released(_))) => self.wait_over(wait, now, out),
            (Waits::Refusal(wait), _) => {
                if let Some(conn) = self.sessions.get(wait.session).and_then(|entry| entry.connection) {
                    self.close_unanswered(conn, now, out);
                }
            }
            (Waits::Acknowledge { conn, epoch, acks, .. }, Answer::Reply(Reply::Acknowledged(replies))) => {
                let is_received = |(ack, reply): (&(u64, Ack), &AckReply)| {
                    ack.1 == Ack::Received && matches!(reply, AckReply::Done | AckReply::DoneBefore)
                };
                let received =
                    acks.iter().zip(&replies).filter(|it| is_received(*it)).map(|((sequence, _), _)| *sequence);
                self.release_stored(conn, epoch, received.collect::<Vec<_>>());
            }
            (Waits::Acknowledge { conn, client, epoch, acks }, Answer::Unavailable | Answer::NotLeader { .. }) => {
                let ask = Ask::Acknowledge { client: client.clone(), epoch, acks: acks.clone() };
                self.desk.ask_again(ask, Waits::Acknowledge { conn, client, epoch, acks });
            }
            (Waits::Left { conn, ask }, Answer::Unavailable | Answer::NotLeader { .. }) => {
                self.desk.ask_again(ask.clone(), Waits::Left { conn, ask });
            }
            (Waits::Left { conn, .. }, _) => out.let_go(conn),
            (Waits::Done(ask), Answer::Unavailable | Answer::NotLeader { .. }) => {
                self.desk.ask_again(ask.clone(), Waits::Done(ask));
            }
            // Nobody else tells of it again, and there may be room later.
            (Waits::Done(ask @ Ask::WillDone { .. }), Answer::Reply(Reply::Refused(Refusal::Bound(_)))) => {
                self.desk.ask_again(ask.clone(), Waits::Done(ask));
            }
            // Their clients ask again when they come back; until then they are not told what is not so.
            (Waits::Unsubscribe { conn, .. } | Waits::Release { conn, .. }, _) => self.close_unanswered(conn, now, out),
            (Waits::Acknowledge { .. } | Waits::Done(_) | Waits::Nobody, _) => {}
        }
    }

    /// Nobody knows whether what a client asked for was done: it finds out when it comes again.
    fn close_unanswered(&mut self, conn: ConnId, now: Instant, out: &mut impl Out) {
        if let Some(id) = self.client_session(conn) {
            self.counters.store_unavailable += 1;
            self.close_client(conn, id, ReasonCode::SERVER_BUSY, now, out);
        }
    }

    fn published_in_store(&mut self, wait: WaitId, answer: &Answer, now: Instant, out: &mut impl Out) {
        let Answer::Reply(reply) = answer else {
            let Some(wait) = self.pending.remove(wait) else { return };
            let conn = self.sessions.get(wait.session).and_then(|entry| entry.connection);
            if let Some(conn) = conn {
                self.close_unanswered(conn, now, out);
            }
            return self.ask_what_was_put_off(wait.session);
        };
        if let Some(reason) = refusal(reply) {
            self.counters.store_publishes_refused += 1;
            self.pending.refuse(wait, reason);
        }
        self.party_answered(wait, now, out);
    }

    /// A retained message is in its client's queue. If nobody knows, the client finds out when it comes again.
    fn retained_in_store(&mut self, conn: ConnId, answer: &Answer, now: Instant, out: &mut impl Out) {
        if !matches!(answer, Answer::Reply(_)) {
            return self.close_unanswered(conn, now, out);
        }
        let Some(id) = self.client_session(conn) else { return };
        if let Some(stored) = self.stored_mut(id) {
            stored.retained_asked = stored.retained_asked.saturating_sub(1);
            self.pump(id, now);
        }
    }

    fn subscribed_in_store(&mut self, subscribing: Subscribing, answer: &Answer, now: Instant, out: &mut impl Out) {
        let Subscribing { conn, packet_id, mut codes, asked, mut reads } = subscribing;
        let Some(id) = self.client_session(conn) else { return };
        let Answer::Reply(Reply::Subscribed(taken)) = answer else { return self.close_unanswered(conn, now, out) };
        let mut refused = Vec::new();
        for ((at, filter), taken) in asked.iter().zip(taken) {
            if taken.is_err() {
                codes[*at] = ReasonCode::QUOTA_EXCEEDED;
                refused.extend(filter.as_deref());
            }
        }
        reads.retain(|read| !refused.iter().any(|filter| split_share(filter).1 == read.filter()));
        let left: Vec<_> =
            refused.iter().filter_map(|filter| self.end_subscription(id, filter).ok().flatten()).collect();
        if self.leave(id, &left.iter().map(|parsed| (parsed.share, parsed.filter)).collect::<Vec<_>>()) {
            self.interest_changed();
        }
        if let Some(stored) = self.stored_mut(id) {
            stored.subscribing -= 1;
        }
        self.answer_subscribe(conn, id, packet_id, &codes, reads, now, out);
        self.heard_of_subscribe(conn, id, now, out);
    }

    /// A will is judged by what holds when it is due.
    fn will_due_in_store(&mut self, shard: ShardId, will: WillId, pending: &PendingWill, now: Instant) {
        let PendingWill { client, user, will: Will { message, .. } } = pending;
        if !self.may_publish_will_of(client, user.as_deref(), message.topic()) {
            self.counters.publishes_denied += 1;
            // It is told of once.
            return self.do_in_store(Ask::WillDone { shard, will, retain: None, destinations: Vec::new() });
        }
        self.counters.wills_published += 1;
        self.publish_from(&outgoing(message, expiry(message, now)), Source::StoredWill { shard, will }, now);
    }

    /// A message of a shared subscription of which no session of the store is a member any more: one that is connected
    /// gets it.
    fn adopt(&mut self, share: &str, message: &Message, now: Instant) {
        let (Some(group), filter) = split_share(share) else { return };
        self.hand_to_group(group, filter, &outgoing(message, expiry(message, now)), now);
    }

    /// The session of a client is no more.
    fn ended_in_store(&mut self, conn: ConnId, epoch: u64, now: Instant, out: &mut impl Out) {
        let Some(id) = self.client_session(conn) else { return };
        let Some(stored) = self.stored_mut(id).filter(|stored| stored.epoch == epoch) else { return };
        stored.is_taken_over = true;
        self.close_client(conn, id, ReasonCode::NOT_AUTHORIZED, now, out);
    }

    /// The client of a session connected elsewhere.
    fn taken_over(&mut self, conn: ConnId, epoch: u64, now: Instant, out: &mut impl Out) {
        let Some(id) = self.client_session(conn) else { return };
        let Some(stored) = self.stored_mut(id).filter(|stored| stored.epoch == epoch) else { return };
        stored.is_taken_over = true;
        self.take_over(id, now, out);
    }
}

/// The store knows a session of ours by its connection.
fn conn_of(owner: Owner) -> ConnId {
    ConnId { slot: owner.slot, generation: owner.generation }
}

/// What a publisher is told of a message that was not kept for everybody it was for.
fn refusal(reply: &Reply) -> Option<ReasonCode> {
    let is_short =
        |stored: &Stored| !stored.refused.is_empty() || matches!(stored.retained, Some(RetainReply::Refused(_)));
    let is_refused = match reply {
        Reply::Refused(_) => true,
        Reply::Routed(stored) => is_short(stored),
        Reply::Published { items, .. } => {
            items.iter().any(|item| matches!(item, ItemReply::Stored(stored) if is_short(stored)))
        }
        _ => false,
    };
    is_refused.then_some(ReasonCode::QUOTA_EXCEEDED)
}
