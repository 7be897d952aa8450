//! What the caller settles.

use std::fmt;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fulmar_meta::Meta;
use fulmar_raft::NodeId;
use fulmar_store::{Credit, Shard, Weight};

/// When an acknowledgement is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// When it is on the disk: nothing acknowledged is lost if all machines lose their power.
    #[default]
    Fsync,
    /// When the operating system has it. Votes are synced all the same. After a machine was restarted, what is in the
    /// folder counts as lost.
    Memory,
}

/// Whether a node decides by itself where its shards are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// All shards are here, with the voters that are set. There is no group 0.
    #[default]
    Alone,
    /// Group 0 has a map of the shards.
    Member,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alone => "a node that is alone",
            Self::Member => "a member of a cluster",
        })
    }
}

/// How an engine is kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The node: random, made with its data folder, never used again. A folder of another node is not opened.
    pub node: NodeId,
    /// Whether it is a member of a cluster. A folder stays what it was made for.
    pub mode: Mode,
    /// Who decides in groups that are new in this folder, if it is alone.
    pub voters: Vec<NodeId>,
    /// How many shards there are. A folder keeps the number that it was made with.
    pub shards: NonZeroU16,
    /// Where everything is.
    pub folder: PathBuf,
    /// The data threads that are told of wills.
    pub threads: NonZeroU16,
    /// When an acknowledgement is given.
    pub durability: Durability,
    /// Of each group.
    pub raft: fulmar_raft::Settings,
    /// Of each shard. Leaders commit them when they differ from what the shard has. Whoever makes them of what operators
    /// set asks [`check`](fulmar_store::Settings::check) first, and tells them in their words.
    pub store: fulmar_store::Settings,
    /// Of the log of all groups. Node and salt are filled in.
    pub log: fulmar_log::Settings,
    /// Unlike that of any other start of any node, and not to be guessed by clients.
    pub seed: u64,
    /// The messages of an entry, unless it is one that is larger.
    pub entry_bytes_max: u64,
    /// The sessions that the messages of an entry go to.
    pub entry_targets_max: u64,
    /// What is asked of a shard and waits while its group can't take more.
    pub asks_max: usize,
    /// The bytes of the same.
    pub asks_bytes_max: usize,
    /// What a client may have unacknowledged, beside one message that is larger.
    pub unacknowledged_bytes_max: u64,
    /// A group whose log has grown by so much since its last snapshot gets the next one.
    pub snapshot_log_bytes: u64,
    /// When the log of all groups is larger, the group that keeps its oldest part gets a snapshot.
    pub log_bytes_max: u64,
    /// So much of a snapshot is written in a turn, or sent at once.
    pub snapshot_portion_bytes: usize,
    /// So much of a group's log stays behind a snapshot where others take part, for those who lag a little.
    pub log_tail_bytes: u64,
    /// Of a member whose folder was opened before: groups in which nobody else decides wait until they are
    /// [released](crate::Engine::release). A folder that was restored from an old copy may have them without being all
    /// that there is.
    pub holds_alone: bool,
    /// What messages in queues and outboxes of a shard may count in memory, by the measure of [`fulmar_store::cost`]. The
    /// bodies of more are in files of their own. Retained messages are always in memory.
    pub shard_memory_bytes: u64,
    /// A file of bodies that has so much is followed by another one.
    pub body_file_bytes: u64,
    /// When so much of bodies was read in a turn, other sessions wait for the next one.
    pub read_bytes_max: u64,
    /// Measures how long commits take, and decides nothing.
    pub clock: fn() -> Instant,
    /// A deliberate mistake, to see that the tests find it.
    #[cfg(any(test, feature = "sabotage"))]
    pub sabotage: Option<Sabotage>,
    /// One of the shards.
    #[cfg(feature = "sabotage")]
    pub sabotage_store: Option<fulmar_store::Sabotage>,
    /// One of the state of the cluster.
    #[cfg(feature = "sabotage")]
    pub sabotage_meta: Option<fulmar_meta::Sabotage>,
}

impl Settings {
    /// A node that is alone, with the defaults.
    pub fn new(node: NodeId, folder: PathBuf, seed: u64) -> Self {
        Self {
            node,
            mode: Mode::Alone,
            voters: vec![node],
            shards: NonZeroU16::new(12).expect("12 is not 0"),
            folder,
            threads: NonZeroU16::MIN,
            durability: Durability::default(),
            // Nobody is slower than the node itself, so nobody needs entries that are applied.
            raft: fulmar_raft::Settings { cache_bytes_max: 64 * 1024, ..fulmar_raft::Settings::default() },
            store: fulmar_store::Settings::default(),
            log: fulmar_log::Settings::new(node, seed),
            seed,
            entry_bytes_max: Weight::BYTES_MAX,
            entry_targets_max: Weight::TARGETS_MAX,
            asks_max: 65_536,
            asks_bytes_max: 64 << 20,
            unacknowledged_bytes_max: 1 << 20,
            snapshot_log_bytes: 64 << 20,
            log_bytes_max: 256 << 20,
            snapshot_portion_bytes: 4 << 20,
            log_tail_bytes: 1 << 20,
            holds_alone: false,
            shard_memory_bytes: 8 << 20,
            body_file_bytes: 32 << 20,
            read_bytes_max: 8 << 20,
            clock: Instant::now,
            #[cfg(any(test, feature = "sabotage"))]
            sabotage: None,
            #[cfg(feature = "sabotage")]
            sabotage_store: None,
            #[cfg(feature = "sabotage")]
            sabotage_meta: None,
        }
    }

    /// A member of a cluster, with the defaults.
    pub fn of_member(node: NodeId, folder: PathBuf, seed: u64) -> Self {
        let alone = Self::new(node, folder, seed);
        let raft = fulmar_raft::Settings {
            heartbeat_interval: Duration::from_millis(100),
            // A leader that was killed is replaced within 2 s by these, and one that is short of processor time is not.
            election_timeout: Duration::from_millis(500),
            election_timeout_max: Duration::from_millis(1000),
            cache_bytes_max: 8 << 20,
            ..fulmar_raft::Settings::default()
        };
        Self { mode: Mode::Member, voters: Vec::new(), raft, ..alone }
    }
}

impl Settings {
    /// So much is taken from an outbox at once.
    pub(crate) fn fetch_credit(&self) -> Credit {
        const MESSAGES_MAX: usize = 1024;
        Credit { messages: MESSAGES_MAX, bytes: self.entry_bytes_max }
    }

    /// A shard that makes the mistake that was chosen, if any was.
    #[cfg_attr(not(feature = "sabotage"), expect(clippy::unused_self, reason = "there are no mistakes"))]
    pub(crate) fn sabotaged_shard(&self, shard: Shard) -> Shard {
        #[cfg(feature = "sabotage")]
        let shard = {
            let mut shard = shard;
            shard.sabotage(self.sabotage_store);
            shard
        };
        shard
    }

    /// The same of the state of the cluster.
    #[cfg_attr(not(feature = "sabotage"), expect(clippy::unused_self, reason = "there are no mistakes"))]
    pub(crate) fn sabotaged_meta(&self, meta: Meta) -> Meta {
        #[cfg(feature = "sabotage")]
        let meta = {
            let mut meta = meta;
            meta.sabotage(self.sabotage_meta);
            meta
        };
        meta
    }

    /// Whether nobody else is to decide anything: no other nodes are waited for.
    pub(crate) fn is_alone(&self) -> bool {
        self.mode == Mode::Alone && self.voters == [self.node]
    }
}

/// Mistakes that the tests must notice.
#[cfg(any(test, feature = "sabotage"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Groups are told that a write is stored before it is synced.
    AnswerBeforeSync,
    /// An entry is applied and answered when it is proposed.
    AnswerBeforeCommit,
    /// What a session was sent is forgotten with each acknowledgement.
    DeliveredTwice,
    /// The boot counter is raised without a sync, and may go back.
    BootCounterNotSynced,
    /// A snapshot is not synced before the log goes.
    SnapshotNotSynced,
    /// A snapshot counts before the bodies are synced that it refers to.
    BodiesNotSynced,
    /// Files of bodies go though the snapshot on the disk refers to them.
    HeldBodiesRemoved,
    /// Messages leave the outbox when they are sent.
    OutboxDoneEarly,
    /// A snapshot that was received counts before it is synced.
    ReceivedNotSynced,
    /// A snapshot stands for another index than the one that was sent.
    ReceivedAtOtherIndex,
    /// A replica goes as soon as the map says so, whatever its group says.
    LeavesEarly,
    /// A leader serves before it has applied the first entry of its own term.
    ServesEarly,
    /// A node leads and is a member whatever it has heard of its lease.
    LeaseNotChecked,
    /// SUBSCRIBE is answered before others know of it.
    BarrierLeftOut,
    /// Who joins acknowledges before it knows all filters.
    FeedNotAskedFor,
    /// A message is taken for the next one of its stream, whatever its number is.
    GapAccepted,
    /// A message for many sessions is cut in whatever order these are found.
    CutUnsorted,
    /// Who attaches is sent again what it was sent before.
    AttachedFromStart,
}

/// Whether the test at hand asks for this mistake. Other builds have none of them.
macro_rules! sabotaged {
    ($settings:expr, $mistake:ident) => {{
        #[cfg(any(test, feature = "sabotage"))]
        let sabotaged = $settings.sabotage == Some($crate::settings::Sabotage::$mistake);
        #[cfg(not(any(test, feature = "sabotage")))]
        let sabotaged = {
            let _: &$crate::Settings = &$settings;
            false
        };
        sabotaged
    }};
}
pub(crate) use sabotaged;
