//! The state of a shard, and how an entry changes it.
//!
//! One file per kind of command lies beside this one; what they share is here: who may speak for a session, and how one
//! leaves and ends.

mod acknowledge;
mod again;
mod claim;
mod clear;
mod end;
mod owner;
mod publish;
mod read;
mod retained;
mod route;
mod subscribe;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use read::{Counts, Credit, Delivery, OutboxMessage, SessionView};

use crate::command::{Command, Entry, Subscription};
use crate::interest::Interest;
use crate::ledger::{Due, Ledger, sabotaged};
use crate::names::{ClientId, Epoch, Generation, Index, Node, Number, Party, ShardId, Time, WillId};
use crate::outbox::Outbox;
use crate::reply::{Applied, Refusal, Reply, SubscriptionChange, WillState};
use crate::session::{Left, PendingWill, Presence, Session, head_bytes, subscription_bytes};
use crate::settings::{Settings, cost};
use crate::tombstones::Tombstones;
pub(crate) use retained::Retained;

/// The durable state of a shard: see the [crate].
#[derive(Debug, Clone)]
pub struct Shard {
    pub(crate) id: ShardId,
    pub(crate) settings: Settings,
    /// The last entry.
    pub(crate) applied: Index,
    pub(crate) time: Time,
    /// That of the last claim.
    pub(crate) last_epoch: Epoch,
    /// That of the last will that became pending.
    pub(crate) last_will: WillId,
    pub(crate) sessions: BTreeMap<ClientId, Session>,
    /// How far each stream has come.
    pub(crate) sources: BTreeMap<Party, Stream>,
    /// The last incarnations of nodes that are gone, by node.
    pub(crate) gone: BTreeMap<u64, Gone>,
    /// No topic has both of these.
    pub(crate) retained: BTreeMap<Arc<str>, Retained>,
    pub(crate) tombstones: Tombstones,
    pub(crate) wills: BTreeMap<WillId, PendingWill>,
    pub(crate) outbox: BTreeMap<Party, Outbox>,
    pub(crate) ledger: Ledger,
    /// Derived: the sessions that each node owns.
    pub(crate) owned: BTreeMap<Node, BTreeSet<ClientId>>,
    /// Derived: which filters all sessions together have.
    pub(crate) interest: Interest,
    /// What the entry at hand has changed so far.
    changes: Vec<SubscriptionChange>,
}

/// How far a numbered stream has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stream {
    /// The number of the next message.
    pub(crate) next: Number,
    /// Of that message there came parts: all sessions up to this one had it.
    pub(crate) after: Option<ClientId>,
}

/// A node, all of whose lives up to one are over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) incarnation: u64,
    pub(crate) since: Time,
    /// Which entry said so: the oldest is forgotten first.
    pub(crate) index: Index,
}

impl Shard {
    /// A shard that has nothing yet.
    pub fn new(id: ShardId) -> Self {
        Self {
            id,
            settings: Settings::default(),
            applied: 0,
            time: 0,
            last_epoch: 0,
            last_will: 0,
            sessions: BTreeMap::new(),
            sources: BTreeMap::new(),
            gone: BTreeMap::new(),
            retained: BTreeMap::new(),
            tombstones: Tombstones::default(),
            wills: BTreeMap::new(),
            outbox: BTreeMap::new(),
            ledger: Ledger::default(),
            owned: BTreeMap::new(),
            interest: Interest::default(),
            changes: Vec::new(),
        }
    }

    /// From now on this shard makes a mistake, for simulations.
    #[cfg(feature = "sabotage")]
    pub fn sabotage(&mut self, what: Option<crate::Sabotage>) {
        self.ledger.sabotage = what;
    }

    /// Applies a committed entry. One that was applied before, because the log reaches back behind the snapshot,
    /// changes nothing and has no replies.
    pub fn apply(&mut self, index: Index, entry: &Entry) -> Applied {
        if index <= self.applied {
            return Applied { index: self.applied, ..Applied::default() };
        }
        self.applied = index;
        self.time = self.time.max(entry.time);
        let replies = entry.commands.iter().map(|command| self.apply_command(command)).collect();
        Applied { index, replies, subscriptions: std::mem::take(&mut self.changes) }
    }

    fn apply_command(&mut self, command: &Command) -> Reply {
        let reply = match command {
            Command::Settings(settings) => {
                self.settings = *settings;
                Ok(Reply::Done)
            }
            Command::Claim(claim) => self.claim(claim).map(Reply::Claimed),
            Command::Subscribe { client, epoch, subscriptions } => self.subscribe(client, *epoch, subscriptions),
            Command::Unsubscribe { client, epoch, filters } => self.unsubscribe(client, *epoch, filters),
            Command::Publish { source, first, items, goes_on } => self.publish(*source, *first, items, *goes_on),
            Command::Acknowledge { client, epoch, acks } => self.acknowledge(client, *epoch, acks),
            Command::ReceiveQos2 { client, epoch, packet_id, routed } => {
                self.receive_qos2(client, *epoch, *packet_id, routed)
            }
            Command::Release { client, epoch, packet_id } => self.release(client, *epoch, *packet_id),
            Command::Disconnect { client, epoch, expiry_seconds, will } => {
                self.disconnect(client, *epoch, *expiry_seconds, *will)
            }
            Command::End { client, generation } => Ok(self.end_life(client, *generation)),
            Command::NodeGone(node) => Ok(self.node_gone(*node)),
            Command::PublishWill { will, retain, targets, destinations } => {
                self.publish_will(*will, *retain, targets, destinations)
            }
            Command::OutboxDone { destination, until } => self.outbox_done(*destination, *until),
            Command::RouteAgain { number, to } => self.route_again(*number, to),
            Command::Expire => Ok(Reply::Cleared(self.clear())),
        };
        reply.unwrap_or_else(Reply::Refused)
    }

    /// The session for which `epoch` speaks. Whoever owned it before does not any more, and neither does a node whose
    /// life is over.
    fn owned_session(&self, client: &ClientId, epoch: Epoch) -> Result<&Session, Refusal> {
        let session = self.sessions.get(client).ok_or(Refusal::NoSession)?;
        let current = session.epoch();
        if epoch != current && !sabotaged!(self.ledger, EpochNotChecked) {
            return Err(Refusal::Epoch { found: epoch, current });
        }
        match session.owner() {
            None => Err(Refusal::NotOwned { epoch: current }),
            Some(node) if self.is_gone(node) => Err(Refusal::NodeGone(node)),
            Some(_) => Ok(session),
        }
    }

    fn owned_session_mut(&mut self, client: &ClientId, epoch: Epoch) -> Result<(&mut Session, &mut Ledger), Refusal> {
        self.owned_session(client, epoch)?;
        let session = self.sessions.get_mut(client).expect("it was there just now");
        Ok((session, &mut self.ledger))
    }

    /// Whether a life of a node is known to be over.
    pub fn is_gone(&self, node: Node) -> bool {
        self.gone.get(&node.id).is_some_and(|gone| node.incarnation <= gone.incarnation)
    }

    /// The owner left at `at`. Whatever is due at once happens at once.
    fn leave(&mut self, client: &ClientId, at: Time) -> Left {
        let session = self.sessions.get_mut(client).expect("only a session that is there is left");
        if let Some(owner) = session.owner() {
            remove_owned(&mut self.owned, owner, client);
        }
        session.presence = session.absent_from(at);
        if session.is_over(self.time) {
            return Left::Ended(self.end(client));
        }
        let Presence::Absent { ends, will_due } = session.presence else { unreachable!("it was just set") };
        if let Some(ends) = ends {
            self.ledger.add_due(ends, Due::Session(client.clone()));
        }
        match will_due {
            Some(due) if due <= self.time => {
                self.fire_will(client);
            }
            Some(due) => self.ledger.add_due(due, Due::Will(client.clone())),
            None => {}
        }
        Left::Kept
    }

    /// The rows of an absent session are no longer of use.
    fn remove_due_of(&mut self, client: &ClientId) {
        let Presence::Absent { ends, will_due } = self.sessions[client].presence else { return };
        if let Some(ends) = ends {
            self.ledger.remove_due(ends, Due::Session(client.clone()));
        }
        if let Some(due) = will_due {
            self.ledger.remove_due(due, Due::Will(client.clone()));
        }
    }

    /// The session ends, with all it has. Its will, if it has one still, is published now (MQTT 5.0, 3.1.2.5).
    fn end(&mut self, client: &ClientId) -> Option<WillId> {
        self.remove_due_of(client);
        let will = self.fire_will(client);
        let mut session = self.sessions.remove(client).expect("only a session that is there ends");
        if let Some(owner) = session.owner() {
            remove_owned(&mut self.owned, owner, client);
        }
        self.move_on_at_end(client, &mut session.queue);
        session.queue.clear(client, &mut self.ledger);
        let head_bytes = head_bytes(client, &session.user);
        self.ledger.give_back(head_bytes + session.received.len() as u64 * cost::RECEIVED);
        for (filter, subscription) in &session.subscriptions {
            self.ledger.give_back(subscription_bytes(filter));
            self.note_subscription((client, session.generation), filter, Some(*subscription), None);
        }
        will
    }

    /// Moves a session's will to those that are to be published. It can't be taken back from there.
    fn fire_will(&mut self, client: &ClientId) -> Option<WillId> {
        self.take_due_of_will(client);
        let session = self.sessions.get_mut(client)?;
        let will = if sabotaged!(self.ledger, WillFiredTwice) { session.will.clone()? } else { session.will.take()? };
        self.last_will += 1;
        let pending = PendingWill { client: client.clone(), user: session.user.clone(), will };
        self.wills.insert(self.last_will, pending);
        Some(self.last_will)
    }

    /// A session's will is forgotten.
    fn delete_will(&mut self, client: &ClientId) {
        self.take_due_of_will(client);
        if let Some(session) = self.sessions.get_mut(client) {
            self.ledger.give_back(session.will_bytes(client));
            session.will = None;
        }
    }

    fn take_due_of_will(&mut self, client: &ClientId) {
        let Some(session) = self.sessions.get_mut(client) else { return };
        if let Presence::Absent { will_due, .. } = &mut session.presence
            && let Some(due) = will_due.take()
        {
            self.ledger.remove_due(due, Due::Will(client.clone()));
        }
    }

    fn will_state(&self, client: &ClientId) -> WillState {
        match self.sessions[client].presence {
            Presence::Absent { will_due: Some(due), .. } => WillState::DueAt(due),
            _ => WillState::None,
        }
    }

    /// A subscription began, changed or ended: `was` and `is` say what it was before and is now.
    fn note_subscription(
        &mut self,
        (client, generation): (&ClientId, Generation),
        filter: &Arc<str>,
        was: Option<Subscription>,
        is: Option<Subscription>,
    ) {
        let subscribers = match (was, is) {
            (None, Some(_)) => self.interest.add(filter, self.applied),
            (Some(_), None) => self.interest.remove(filter, self.applied),
            _ => self.interest.sessions(filter),
        };
        let (client, filter) = (client.clone(), filter.clone());
        self.changes.push(SubscriptionChange { client, generation, filter, subscription: is, subscribers });
    }
}

pub(crate) fn remove_owned(owned: &mut BTreeMap<Node, BTreeSet<ClientId>>, node: Node, client: &ClientId) {
    if let Some(clients) = owned.get_mut(&node) {
        clients.remove(client);
        if clients.is_empty() {
            owned.remove(&node);
        }
    }
}
