//! What the data threads of one node share: who subscribes, what is retained, which peers there are, and Lamport time.
//!
//! Each part has its own lock, held for a few instructions. Where two nest, the order is: trie, interest, peers,
//! retained. Those of passwords and of the view nest in none.

use crate::admission::{Admission, Refused};
use crate::alarm::{Alarm, BOUNDS};
use crate::confirmations::Confirmations;
use crate::learned::Learned;
use crate::limits::Limits;
use crate::out::Origin;
use crate::peers::{PeerStatus, Peers};
use crate::pressure::Pressure;
use crate::rules::AuthSettings;
use crate::sabotage::sabotaged;
use crate::store_side::StoredSessions;
use crate::sys::{Sys, is_sys};
use crate::views::Views;
use fulmar_auth::backoff::Backoff;
use fulmar_auth::hooks::{Hooks, Ticket};
use fulmar_auth::verified::Verified;
use fulmar_cluster::interest::{Barrier, InterestLimits, LocalInterest};
use fulmar_cluster::lane::LaneSettings;
use fulmar_cluster::{Clock, NodeId, Version};
use fulmar_codec::TopicLimits;
use fulmar_meta::{Member, View};
use fulmar_router::{Cursor, Retained, RetainedCounts, RetainedLimits, Scan, Set, Trie, Weigh};
use fulmar_session::{Message, Quota};
use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroU16;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};
use std::time::{Duration, Instant};

/// What a node is told when it starts.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// Its id, made with its data folder.
    pub node_id: u64,
    /// Random for each start; with `views` the boot counter of its first life.
    pub incarnation: u64,
    /// Its name.
    pub name: String,
    /// Data threads.
    pub threads: u16,
    /// The bounds.
    pub limits: Limits,
    /// For each listener of the configuration, whether clients without credentials are served.
    pub anonymous: Vec<bool>,
    /// Who is let in.
    pub auth: AuthSettings,
    /// Keeps clients from building collisions in hash tables.
    pub seed: u64,
    /// Whether what this node does follows the view and the lease of a durable cluster, which the control side tells it.
    pub views: bool,
    /// How many shards the store of this node has; none: sessions and retained messages last as long as the process.
    pub store_shards: Option<NonZeroU16>,
    /// Wall clock in microseconds at `start`: where Lamport time begins.
    pub wall_clock_microseconds: u64,
    /// The start on the clock that every `now` comes from.
    pub start: Instant,
}

/// What the data threads of one node share.
pub struct Node {
    /// As started.
    pub settings: NodeSettings,
    pub(crate) session_limits: Arc<fulmar_session::Limits>,
    pub(crate) clock: Clock,
    clients: AtomicUsize,
    clients_max: AtomicUsize,
    pub(crate) admission: Admission,
    pub(crate) sessions: AtomicUsize,
    /// The messages that the sessions of all threads keep.
    pub(crate) quota: Arc<Quota>,
    /// The memory of the sessions of all threads.
    pub(crate) session_quota: Arc<Quota>,
    pub(crate) alarms: [Alarm; BOUNDS.len()],
    pub(crate) hooks: Hooks,
    pressure: AtomicU8,
    /// How often it was found to be critical.
    reliefs: AtomicU64,
    tickets: AtomicU64,
    auth: Mutex<AuthMemory>,
    trie: RwLock<Trie>,
    interest: Mutex<Interest>,
    peers: RwLock<Peers>,
    retained: RwLock<Retained<Kept>>,
    /// What of it peers may lack.
    pub(crate) learned: Mutex<Learned>,
    pub(crate) sys: Sys,
    pub(crate) stored: StoredSessions,
    /// Of a node of a durable cluster.
    pub(crate) views: Option<Views>,
    #[cfg(feature = "sabotage")]
    pub(crate) sabotage: Option<crate::sabotage::Sabotage>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("name", &self.settings.name).finish_non_exhaustive()
    }
}

/// See [`Node::auth_counts`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct AuthCounts {
    /// Passwords that were verified and are remembered.
    pub verified: usize,
    /// Users and addresses with failures of late.
    pub failures: usize,
    /// Of these, how many had to be forgotten before their time.
    pub failures_evicted: u64,
}

/// What this node announces, and what of it each peer has confirmed.
#[derive(Debug)]
pub(crate) struct Interest {
    pub(crate) local: LocalInterest,
    /// Only its confirmations are used here; each thread keeps what waits itself.
    pub(crate) barrier: Barrier<()>,
    /// In a durable cluster those of the members of the view count instead.
    members: Option<Confirmations>,
}

impl Interest {
    /// Whether all who have to know this version do.
    pub(crate) fn is_confirmed(&self, version: u64) -> bool {
        match &self.members {
            None => self.barrier.is_confirmed(version),
            Some(members) => members.is_confirmed(version),
        }
    }

    /// A life of a node knows all changes up to this version.
    pub(crate) fn confirmed(&mut self, member: Member, version: u64) {
        self.barrier.confirmed(NodeId(member.id), version);
        if let Some(members) = &mut self.members {
            members.confirmed(member, version);
        }
    }

    pub(crate) fn follow(&mut self, view: &View) {
        if let Some(members) = &mut self.members {
            members.follow(view, self.local.version());
        }
    }

    pub(crate) fn begin_life(&mut self) {
        if let Some(members) = &mut self.members {
            members.begin_life(self.local.version());
        }
    }

    pub(crate) fn has_confirmed(&self, member: Member) -> bool {
        self.members.as_ref().is_some_and(|members| members.has_confirmed(member))
    }
}

/// What is remembered of clients that gave passwords.
pub(crate) struct AuthMemory {
    pub(crate) verified: Verified,
    pub(crate) backoff: Backoff,
}

/// A retained message.
#[derive(Clone, Debug)]
pub(crate) struct Kept(Message);

impl Kept {
    pub(crate) fn new(message: Message) -> Kept {
        Kept(message)
    }

    pub(crate) fn message(&self) -> &Message {
        &self.0
    }
}

/// What the store and the allocator need for each message beyond its bytes and its topic.
const RETAINED_PLACE_BYTES: usize = 160;

impl Weigh for Kept {
    fn bytes(&self) -> usize {
        self.0.bytes() + RETAINED_PLACE_BYTES
    }
}

/// Retained messages that one sweep takes out, so that the lock is held briefly.
const EXPIRED_AT_ONCE_MAX: usize = 1000;

/// A poisoned lock means that a turn panicked; its connection is closed, and what the lock guards is whole after every
/// single change.
pub(crate) fn unpoisoned<T>(result: Result<T, PoisonError<T>>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    /// A node without connections.
    pub fn new(settings: NodeSettings) -> Node {
        Node::with_hooks(settings, Hooks::default())
    }

    /// A node whose clients and messages others have a say about.
    pub fn with_hooks(settings: NodeSettings, hooks: Hooks) -> Node {
        let limits = &settings.limits;
        let retained = RetainedLimits {
            messages_max: limits.retained_messages,
            bytes_max: limits.retained_bytes,
            tombstone_milliseconds: limits.tombstone.as_millis() as u64,
            tombstones_max: limits.retained_messages,
            tombstone_bytes_max: limits.retained_bytes / 4,
        };
        Node {
            session_limits: Arc::new(session_limits(limits)),
            clock: Clock::new(NodeId(settings.node_id), settings.wall_clock_microseconds),
            clients: AtomicUsize::new(0),
            clients_max: AtomicUsize::new(0),
            admission: Admission::new(limits),
            sessions: AtomicUsize::new(0),
            quota: Quota::new(limits.queued_bytes_total),
            session_quota: Quota::new(limits.session_bytes_total),
            alarms: BOUNDS.map(|_| Alarm::new(settings.start)),
            hooks,
            pressure: AtomicU8::new(Pressure::Normal.value()),
            reliefs: AtomicU64::new(0),
            tickets: AtomicU64::new(0),
            auth: Mutex::new(AuthMemory {
                verified: Verified::new(settings.auth.verified_max),
                backoff: Backoff::new(settings.auth.backoff),
            }),
            trie: RwLock::new(Trie::new(settings.seed)),
            interest: Mutex::new(Interest {
                local: LocalInterest::new(InterestLimits::default()),
                barrier: Barrier::new(limits.subscribe_barrier, 0),
                members: settings.views.then(|| Confirmations::new(settings.node_id)),
            }),
            peers: RwLock::new(Peers::default()),
            retained: RwLock::new(Retained::new(retained)),
            learned: Mutex::default(),
            sys: Sys::new(),
            stored: StoredSessions::new(settings.store_shards.is_some(), settings.seed),
            views: settings.views.then(|| Views::new(settings.incarnation, settings.threads)),
            #[cfg(feature = "sabotage")]
            sabotage: None,
            settings,
        }
    }

    /// A node that makes a mistake, for simulations.
    #[cfg(feature = "sabotage")]
    #[must_use]
    pub fn sabotaged(self, what: Option<crate::sabotage::Sabotage>) -> Node {
        Node { sabotage: what, ..self }
    }

    /// Why a connection would not be taken now: for those who do something costly before they give it to a data thread.
    pub fn would_refuse(&self, origin: &Origin) -> Option<Refused> {
        self.admission.would_refuse(origin)
    }

    /// What is remembered of passwords; asked once for each step of a CONNECT with a user name.
    pub(crate) fn auth_memory(&self) -> MutexGuard<'_, AuthMemory> {
        unpoisoned(self.auth.lock())
    }

    /// So much memory is used. Data threads know at their next turn. Each time that it is critical, each of them closes
    /// one client: say it again only when those that went were counted.
    pub fn set_pressure(&self, pressure: Pressure) {
        self.pressure.store(pressure.value(), Ordering::Relaxed);
        self.reliefs.fetch_add((pressure == Pressure::Critical).into(), Ordering::Relaxed);
    }

    pub(crate) fn reliefs(&self) -> u64 {
        self.reliefs.load(Ordering::Relaxed)
    }

    pub(crate) fn pressure(&self) -> Pressure {
        Pressure::from_value(self.pressure.load(Ordering::Relaxed))
    }

    /// How many verified passwords are remembered, and how many failures.
    pub fn auth_counts(&self) -> AuthCounts {
        let AuthMemory { verified, backoff } = &*self.auth_memory();
        AuthCounts { verified: verified.len(), failures: backoff.len(), failures_evicted: backoff.evicted() }
    }

    /// A client was let in.
    pub(crate) fn client_came(&self) {
        let clients = self.clients.fetch_add(1, Ordering::Relaxed) + 1;
        self.clients_max.fetch_max(clients, Ordering::Relaxed);
    }

    /// A client that was let in is gone.
    pub(crate) fn client_went(&self) {
        self.clients.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many clients are connected.
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    /// How many clients were connected at one time, at most.
    pub fn clients_max(&self) -> usize {
        self.clients_max.load(Ordering::Relaxed)
    }

    pub(crate) fn next_ticket(&self) -> Ticket {
        Ticket(self.tickets.fetch_add(1, Ordering::Relaxed))
    }

    /// The time of day, for bans that end. It goes on from the start's: what a clock jumps since then is not seen.
    pub(crate) fn unix_seconds(&self, now: Instant) -> u64 {
        self.settings.wall_clock_microseconds / 1_000_000 + self.milliseconds(now) / 1000
    }

    /// A time of day on the clock of this node; what was before its start is its start.
    pub(crate) fn instant_of(&self, unix_seconds: u64) -> Instant {
        let since_start = unix_seconds.saturating_sub(self.settings.wall_clock_microseconds / 1_000_000);
        // Beyond a century nobody waits for it, and the sum stays on the clock.
        self.settings.start + Duration::from_secs(since_start.min(100 * 365 * 86_400))
    }

    pub(crate) fn trie(&self) -> RwLockReadGuard<'_, Trie> {
        unpoisoned(self.trie.read())
    }

    /// And whether another thread had to be waited for.
    pub(crate) fn trie_mut(&self) -> (RwLockWriteGuard<'_, Trie>, bool) {
        match self.trie.try_write() {
            Ok(trie) => (trie, false),
            Err(TryLockError::Poisoned(trie)) => (trie.into_inner(), false),
            Err(TryLockError::WouldBlock) => (unpoisoned(self.trie.write()), true),
        }
    }

    pub(crate) fn interest(&self) -> MutexGuard<'_, Interest> {
        unpoisoned(self.interest.lock())
    }

    pub(crate) fn peers_mut(&self) -> RwLockWriteGuard<'_, Peers> {
        unpoisoned(self.peers.write())
    }

    pub(crate) fn peers_read(&self) -> RwLockReadGuard<'_, Peers> {
        unpoisoned(self.peers.read())
    }

    /// Every peer that was linked since the start.
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.peers_read().iter().map(|(_, peer)| peer.clone()).collect()
    }

    /// What the retained store holds and has refused.
    pub fn retained_counts(&self) -> RetainedCounts {
        unpoisoned(self.retained.read()).counts()
    }

    /// Filters and subscriptions in the trie.
    pub fn trie_counts(&self) -> fulmar_router::Counts {
        self.trie().counts()
    }

    /// Where Lamport time stands, for greetings.
    pub fn clock_now(&self) -> u64 {
        self.clock.now()
    }

    /// A place in time among all nodes, later than all that this node has seen.
    pub(crate) fn tick(&self, now: Instant) -> Version {
        let since_start = now.saturating_duration_since(self.settings.start).as_micros();
        let since_start = u64::try_from(since_start).unwrap_or(u64::MAX);
        self.clock.tick(self.settings.wall_clock_microseconds.saturating_add(since_start))
    }

    /// A peer's greeting tells where its Lamport time stands.
    pub fn observe_clock(&self, clock: u64) {
        self.clock.observe(clock);
    }

    /// The version of our interest that a SUBACK has to wait for; none when every peer knows it already.
    pub(crate) fn interest_to_wait_for(&self) -> Option<u64> {
        if sabotaged!(self, SubackBeforeBarrier) {
            return None;
        }
        let interest = self.interest();
        let version = interest.local.version();
        (!interest.is_confirmed(version)).then_some(version)
    }

    /// How lanes to peers behave. Publishers are held at the configured bytes; as much again takes what is under way.
    pub(crate) fn lane_settings(&self) -> LaneSettings {
        let limits = &self.settings.limits;
        LaneSettings {
            buffer_bytes_max: limits.link_buffer_bytes.saturating_mul(2),
            heartbeat: limits.heartbeat,
            resume: limits.resume,
        }
    }

    /// Milliseconds on the clock of the retained store.
    fn milliseconds(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.settings.start).as_millis() as u64
    }

    /// Keeps (or with no message deletes) a topic's retained message unless a newer one is there. Gives whether it is the
    /// topic's state since now.
    pub(crate) fn retain(
        &self,
        topic: &str,
        message: Option<Message>,
        version: Version,
        now: Instant,
    ) -> Result<bool, fulmar_router::Limit> {
        let expires = message.as_ref().and_then(|message| message.view().expires).map(|at| self.milliseconds(at));
        let version = fulmar_router::Version { clock: version.clock, node: version.node.0 };
        let now = self.milliseconds(now);
        match unpoisoned(self.retained.write()).set(topic, message.map(Kept), version, expires, now) {
            Set::Refused(limit) => Err(limit),
            Set::Applied => Ok(true),
            Set::Older => Ok(false),
        }
    }

    /// Whether a topic has a retained message.
    pub(crate) fn has_retained(&self, topic: &str, now: Instant) -> bool {
        unpoisoned(self.retained.read()).get(topic, self.milliseconds(now)).is_some()
    }

    /// Appends messages that match, looking at `steps_max` topics at most. Gives whether there are no more, and how many
    /// topics it may have looked at.
    pub(crate) fn read_retained(
        &self,
        filter: &str,
        cursor: &mut Cursor,
        steps_max: usize,
        now: Instant,
        into: &mut VecDeque<Message>,
    ) -> (bool, usize) {
        let retained = if is_sys(filter) { &self.sys.retained } else { &self.retained };
        let retained = unpoisoned(retained.read());
        let scan = retained.scan(filter, cursor, self.milliseconds(now), steps_max, |stored| {
            into.push_back(stored.message.0.clone());
            ControlFlow::Continue(())
        });
        let RetainedCounts { messages, tombstones, .. } = retained.counts();
        (scan == Scan::Done, steps_max.min(messages + tombstones))
    }

    /// Visits topics with their messages and tombstones until told to stop or `steps_max` were looked at; true when
    /// there are no more.
    pub(crate) fn copy_retained(
        &self,
        cursor: &mut Cursor,
        steps_max: usize,
        now: Instant,
        mut visit: impl FnMut(&str, Option<&Message>, Version) -> ControlFlow<()>,
    ) -> bool {
        let retained = unpoisoned(self.retained.read());
        let scan = retained.copy(cursor, self.milliseconds(now), steps_max, |stored| {
            let version = Version { clock: stored.version.clock, node: NodeId(stored.version.node) };
            visit(stored.topic, stored.message.map(|kept| &kept.0), version)
        });
        scan == Scan::Done
    }

    /// Forgets what has expired, some of it at a time.
    pub(crate) fn sweep_retained(&self, now: Instant) {
        let now = self.milliseconds(now);
        let due = unpoisoned(self.retained.read()).next_expiry().is_some_and(|at| at <= now);
        if due {
            unpoisoned(self.retained.write()).expire(now, EXPIRED_AT_ONCE_MAX);
        }
    }
}

fn session_limits(limits: &Limits) -> fulmar_session::Limits {
    fulmar_session::Limits {
        session_expiry_seconds_max: limits.session_expiry_seconds,
        keep_alive_seconds_max: NonZeroU16::new(limits.keep_alive_seconds),
        packet_bytes_max: u32::try_from(limits.packet_bytes).unwrap_or(u32::MAX),
        topic: topic_limits(limits),
        inflight_max: NonZeroU16::new(limits.inflight).unwrap_or(NonZeroU16::MIN),
        topic_aliases_max: limits.topic_aliases,
        outbound_topic_aliases_max: limits.outbound_topic_aliases,
        user_properties_max: limits.user_properties,
        will_bytes_max: limits.will_bytes,
        subscriptions_max: limits.subscriptions_per_client,
        outbound_inflight_max: NonZeroU16::new(limits.outbound_inflight).unwrap_or(NonZeroU16::MIN),
        queued_messages_max: limits.queued_messages,
        queued_bytes_max: limits.queued_bytes,
        output_bytes_max: limits.output_buffer_bytes,
        ..fulmar_session::Limits::default()
    }
}

/// How long topics of clients may be.
pub(crate) fn topic_limits(limits: &Limits) -> TopicLimits {
    TopicLimits { levels_max: limits.topic_levels, bytes_max: limits.topic_bytes }
}
