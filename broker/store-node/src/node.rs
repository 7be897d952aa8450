//! The store of a node: what comes in, and the story of a turn.

use std::num::NonZeroU16;
use std::time::Instant;

use fulmar_courier::{AnswerLetter, AskLetter, Courier, Desk, Leadership, Output as CourierOutput};
use fulmar_log::Disk;
use fulmar_member::{Begins, Folder, Found, Link, Me, Membership, Missing, Status};
use fulmar_meta::{Answer, Command, LEVEL, Member, Meta};
use fulmar_store::{Ask, Node, ShardId, Ticket};
use fulmar_store_raft::{Engine, Failed, OpenError};
use thiserror::Error;

use crate::clock::Clock;
use crate::envelope::{Channel, Envelope, EnvelopeError};
use crate::folder::{self, FolderFileError};
use crate::out::Out;
use crate::part;
use crate::said::{Kept, Listening, send};
use crate::settings::Settings;

/// How often parts answer each other in one turn before others have theirs.
const ROUNDS_MAX: usize = 16;

/// Why a store does nothing more.
#[derive(Debug, Error)]
pub enum Stopped {
    /// The engine has failed: nobody knows what is on the disk.
    #[error(transparent)]
    Failed(#[from] Failed),
    /// The folder can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What it says of the cluster can't be read or written.
    #[error(transparent)]
    Folder(#[from] FolderFileError),
    /// The node can't come back with this folder. It is to be set aside, and an empty one begun with.
    #[error("{0}")]
    StartAnew(Box<str>),
    /// Nothing helps but a human.
    #[error("{0}")]
    GiveUp(Box<str>),
}

/// See the [crate].
pub struct StoreNode<D: Disk> {
    pub(crate) settings: Settings,
    pub(crate) disk: D,
    pub(crate) engine: Engine<D>,
    pub(crate) courier: Courier,
    desk: Desk,
    pub(crate) membership: Membership,
    /// What the membership wants done.
    pub(crate) orders: Vec<fulmar_member::Output>,
    /// What the engine has said to the others.
    kept: Kept,
    /// Until when this node may acknowledge.
    pub(crate) lease: Option<fulmar_meta::Moment>,
    /// The view for which feeds were asked for.
    feeds_asked: Option<u64>,
    /// The entry of group 0 up to which the courier knows who keeps which shard.
    replicas_at: u64,
    leaders: Vec<Option<u64>>,
    /// Nodes to which a connection has begun since the last turn.
    greeted: Vec<Node>,
    /// Who did not answer when this node began to decide alone.
    pub(crate) silent_alone: Vec<Box<str>>,
    /// What became of what was asked of the cluster.
    pub(crate) answered: Vec<(Command, Answer)>,
}

pub(crate) fn member(node: Node) -> Member {
    Member { id: node.id, incarnation: node.incarnation }
}

pub(crate) fn node(member: Member) -> Node {
    Node { id: member.id, incarnation: member.incarnation }
}

impl<D: Disk + Clone> StoreNode<D> {
    /// Opens what is in the folder, which this node has to itself.
    ///
    /// # Errors
    /// Says what is wrong with the folder.
    pub fn open(disk: D, settings: Settings, clock: &Clock, out: &mut impl Out) -> Result<Self, Stopped> {
        let mut kept = Kept::default();
        // What it says while it is opened is for nobody else.
        let mut listening = Listening { kept: &mut kept, out, takes_part: false };
        let engine_settings = fulmar_store_raft::Settings { holds_alone: true, ..settings.engine.clone() };
        let engine = Engine::open(disk.clone(), engine_settings, clock.now, clock.time, &mut listening)?;
        let folder = folder::read(&disk, &settings.engine.folder)?;
        let me = engine.node();
        let shards = settings.engine.shards;
        let meta = engine.meta().expect("a member of a cluster has group 0");
        let mut orders = Vec::new();
        let membership = Membership::new(
            settings.member,
            Me {
                member: member(me),
                nonce: settings.nonce,
                name: settings.name.clone(),
                addresses: settings.addresses.clone(),
                zone: settings.zone.clone(),
                level: LEVEL,
                cluster_id: settings.cluster_id,
                begins: settings.begins.map(|cluster| Begins { cluster, shards: shards.get() }),
                alone: engine.alone().map(|it| fulmar_member::Alone { last: it.last, term: it.term }),
                has_data: false,
            },
            folder.unwrap_or(Folder::new(me.id)),
            meta,
            clock.moment,
            &mut orders,
        );
        let courier = Courier::new(settings.courier.clone(), me, shards);
        let desk = Desk::new(settings.desk.clone(), shards);
        let leaders = vec![None; usize::from(shards.get())];
        Ok(Self {
            settings,
            disk,
            engine,
            courier,
            desk,
            membership,
            orders,
            kept,
            lease: None,
            feeds_asked: None,
            replicas_at: 0,
            leaders,
            greeted: Vec::new(),
            silent_alone: Vec::new(),
            answered: Vec::new(),
        })
    }

    /// This life of the node.
    pub fn node(&self) -> Node {
        self.engine.node()
    }

    /// What the engine knows and counts.
    pub fn engine(&self) -> &Engine<D> {
        &self.engine
    }

    /// What the courier counts.
    pub fn courier(&self) -> &Courier {
        &self.courier
    }

    /// A data thread asks. What there is no room for is given back, to be asked again.
    ///
    /// # Errors
    /// The question, if as many wait for this shard as may.
    pub fn ask(&mut self, ticket: Ticket, ask: Ask, now: Instant) -> Result<(), Box<Ask>> {
        self.courier.ask(ticket, ask, now)
    }

    /// A new connection carries letters to a node: those before may not have come.
    pub fn connected(&mut self, to: Node, channel: Channel) {
        if channel == Channel::Bulk {
            self.engine.lost(to.id);
            self.courier.connected(to.id);
            self.greeted.push(to);
        }
    }

    /// Nothing carries letters to a node any more.
    pub fn disconnected(&mut self, to: Node, channel: Channel, now: Instant) {
        if channel == Channel::Bulk {
            self.courier.disconnected(to.id, now);
        }
    }

    /// A new connection carries letters from a node: some before may have been lost.
    pub fn reset(&mut self, from: Node, channel: Channel) {
        if channel == Channel::Bulk {
            self.engine.lost(from.id);
            self.desk.lost(from.id);
            self.courier.reset(from.id);
        }
    }

    /// A letter.
    ///
    /// # Errors
    /// If it is none. Nothing was done then.
    pub fn letter(&mut self, from: Node, bytes: &[u8], clock: &Clock) -> Result<(), EnvelopeError> {
        match Envelope::decode(bytes)? {
            Envelope::Engine(letter) if letter.is_of_shard() && !self.takes_part() => {}
            Envelope::Engine(letter) => self.engine.receive(from.id, letter, clock.now),
            Envelope::Ask(letter) => self.take_asks(from.id, letter),
            // Whoever has begun a connection to this node says so on it: it has forgotten what it told before.
            Envelope::Answer(letter) if letter.lines.is_empty() => self.courier.reset(from.id),
            Envelope::Answer(letter) => self.courier.receive(letter, clock.now),
            Envelope::Member(message) => {
                self.with_membership(clock, |it, meta, now, out| it.received(member(from), message, meta, now, out));
            }
        }
        Ok(())
    }

    /// Whether this process may vote and promise anything in the groups of shards.
    fn takes_part(&self) -> bool {
        let meta = self.engine.meta().expect("a member of a cluster has group 0");
        part::takes_part(meta, self.engine.node().id, self.settings.nonce)
    }

    /// All links with lives of other nodes, whenever one of them has changed.
    pub fn links(&mut self, links: &[Link], clock: &Clock) {
        self.with_membership(clock, |it, meta, now, out| it.links(links, meta, now, out));
    }

    /// What discovery has found, each time that it looked.
    pub fn discovered(&mut self, found: &[Found], is_settled: bool, clock: &Clock) {
        self.with_membership(clock, |it, meta, now, out| it.discovered(found, is_settled, meta, now, out));
    }

    /// All data threads follow this view.
    pub fn followed(&mut self, view: u64, clock: &Clock) {
        self.with_membership(clock, |it, meta, now, out| it.followed(view, meta, now, out));
    }

    /// Asks the cluster for something that concerns this node: that it drains, or does not any more.
    ///
    /// # Errors
    /// If too much was asked that has no answer.
    pub fn ask_cluster(&mut self, command: Command, clock: &Clock) -> Result<(), fulmar_member::TooManyAsks> {
        let meta = self.engine.meta().expect("a member of a cluster has group 0");
        self.membership.ask(command, meta, clock.moment, &mut self.orders)
    }

    /// What became of what was asked of the cluster, since this was last taken.
    pub fn take_answered(&mut self) -> Vec<(Command, Answer)> {
        std::mem::take(&mut self.answered)
    }

    /// Who did not answer when this node began to decide alone for the cluster, with a folder of which nobody could say
    /// whether it is an old copy: told once.
    pub fn take_silent(&mut self) -> Vec<Box<str>> {
        std::mem::take(&mut self.silent_alone)
    }

    /// Where this node runs, as far as that is known by now. It counts from the next life on: to be said until this one
    /// has begun.
    pub fn set_zone(&mut self, zone: &str) {
        self.membership.set_zone(zone);
    }

    /// The node stops: it acknowledges nothing any more.
    pub fn stop(&mut self, clock: &Clock) {
        self.with_membership(clock, |it, meta, now, out| it.stop(meta, now, out));
    }

    /// The last word, when all clients are closed.
    pub fn farewell(&mut self) {
        self.membership.farewell(&mut self.orders);
    }

    /// What keeps this node from serving clients; nothing if it does.
    pub fn missing(&self, clock: &Clock) -> Vec<Missing> {
        self.engine.meta().map_or_else(Vec::new, |meta| self.membership.missing(meta, clock.moment))
    }

    /// How the cluster is, as this node sees it.
    pub fn status(&self, clock: &Clock) -> Option<Status> {
        self.engine.meta().map(|meta| self.membership.status(meta, clock.moment))
    }

    pub(crate) fn with_membership(
        &mut self,
        clock: &Clock,
        call: impl FnOnce(&mut Membership, &Meta, fulmar_meta::Moment, &mut Vec<fulmar_member::Output>),
    ) {
        let meta = self.engine.meta().expect("a member of a cluster has group 0");
        call(&mut self.membership, meta, clock.moment, &mut self.orders);
    }

    /// Does what follows from all that came. Returns when to come again at the latest; none: when there is something
    /// new.
    ///
    /// # Errors
    /// After an error nothing more is done.
    pub fn turn(&mut self, clock: &Clock, out: &mut impl Out) -> Result<Option<Instant>, Stopped> {
        let mut due = None;
        for to in std::mem::take(&mut self.greeted) {
            send(to.id, &Envelope::Answer(AnswerLetter { to, lines: Vec::new() }), out);
        }
        for _ in 0..ROUNDS_MAX {
            self.with_membership(clock, |it, meta, now, out| it.tick(meta, now, out));
            self.carry_out(clock, out)?;
            let has_asked = self.carry_asks(clock.now, out);
            let until = self.lease.map_or(clock.now, |moment| clock.instant_of(moment));
            self.engine.acknowledge_until(until);
            let takes_part = self.takes_part();
            let mut listening = Listening { kept: &mut self.kept, out, takes_part };
            due = self.engine.turn(clock.now, clock.time, &mut listening)?;
            let has_heard = self.hear_engine(clock, out);
            self.note_leaders();
            self.await_feeds(clock);
            if !has_asked && !has_heard && self.orders.is_empty() {
                break;
            }
        }
        let meta = self.engine.meta().expect("a member of a cluster has group 0");
        let of_membership = self.membership.next_deadline(meta, clock.moment).map(|moment| clock.instant_of(moment));
        let is_waiting = !self.orders.is_empty();
        Ok([due, self.courier.next_deadline(), of_membership, is_waiting.then_some(clock.now)]
            .into_iter()
            .flatten()
            .min())
    }

    /// Brings questions to those who may answer. Whether any are for this node.
    fn carry_asks(&mut self, now: Instant, out: &mut impl Out) -> bool {
        let mut outputs = Vec::new();
        self.courier.turn(now, &mut outputs);
        let me = self.engine.node().id;
        let mut is_asked = false;
        for output in outputs {
            match output {
                CourierOutput::Send { to, letter } if to == me => {
                    self.take_asks(me, letter);
                    is_asked = true;
                }
                CourierOutput::Send { to, letter } => send(to, &Envelope::Ask(letter), out),
                CourierOutput::Tell { thread, told } => out.tell(thread, told),
            }
        }
        is_asked
    }

    fn take_asks(&mut self, from: u64, letter: AskLetter) {
        for asked in self.desk.receive(from, letter) {
            self.engine.ask(asked);
        }
    }

    /// What the engine has said is brought to whom it concerns. Whether it was anything that may have consequences here.
    fn hear_engine(&mut self, clock: &Clock, out: &mut impl Out) -> bool {
        let Kept { tells, meta } = std::mem::take(&mut self.kept);
        let has_heard = !(tells.is_empty() && meta.is_empty());
        for (to, thread, told) in tells {
            self.desk.tell(to, thread, told);
        }
        for shard in (0..self.shards().get()).map(ShardId) {
            let (term, leader) = (self.engine.leads(shard), self.engine.leader(shard));
            self.desk.set_leadership(shard, Leadership { term, leader });
        }
        let me = self.engine.node().id;
        for letter in self.desk.take_letters() {
            if letter.to.id == me {
                self.courier.receive(letter, clock.now);
            } else {
                send(letter.to.id, &Envelope::Answer(letter), out);
            }
        }
        for event in meta {
            self.hear_of_group_0(event, clock);
        }
        has_heard
    }

    /// Tells the courier who answers for which shard.
    fn note_leaders(&mut self) {
        let meta = self.engine.meta().expect("a member of a cluster has group 0");
        if meta.applied() != self.replicas_at {
            self.replicas_at = meta.applied();
            for (shard, replicas) in (0..).map(ShardId).zip(meta.shards()) {
                self.courier.set_replicas(shard, replicas.voters().to_vec());
            }
        }
        for (shard, known) in (0..).map(ShardId).zip(&mut self.leaders) {
            let leader = self.engine.leader(shard);
            if leader != *known {
                *known = leader;
                self.courier.heard_of_leader(shard, leader);
            }
        }
    }

    /// Whoever joins acknowledges nothing before the leaders of all shards have told it their filters.
    fn await_feeds(&mut self, clock: &Clock) {
        let Some(view) = self.membership.awaits_feeds() else {
            self.feeds_asked = None;
            return;
        };
        if self.feeds_asked != Some(view) {
            self.feeds_asked = Some(view);
            self.engine.ask_for_feeds();
        } else if self.engine.are_feeds_complete() {
            self.with_membership(clock, |it, meta, now, out| it.fed(view, meta, now, out));
        }
    }

    /// Makes all that was written durable, and the log easy to open.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn close(self) -> Result<(), Failed> {
        self.engine.close()
    }

    /// How many shards there are.
    pub fn shards(&self) -> NonZeroU16 {
        self.settings.engine.shards
    }
}
