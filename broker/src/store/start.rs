//! How the thread of a store is started and stopped, and what becomes of a folder with which a node can't come back.

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use fulmar_config::{ClusterConfig, Config, Durability};
use fulmar_store_node::Stopped;
use tracing::{error, info};

use super::{
    Around, FOLDER, Inbox, MemberStore, REPORT, Report, Store, Surroundings, member_settings, settings, unsynced,
};
use crate::admin::ClusterControl;
use crate::health::Health;
use crate::link::Links;
use crate::link::letters::{ArrivalQueue, Mail};
use crate::setup;

/// However busy the store is, a node that stops waits no longer for it to give away what it leads.
const LEAVE_MAX: Duration = Duration::from_secs(5);

/// What is to outlive the process, and how.
pub(crate) enum Kept {
    /// By this node alone.
    Alone(Box<fulmar_store_raft::Settings>),
    /// By a cluster, in which this node has the folder.
    Member(PathBuf, Box<MemberSettings>),
}

/// What a member of a cluster is to be like.
pub(crate) struct MemberSettings {
    pub(super) store: fulmar_store_node::Settings,
    /// What says where the node runs, as soon as somebody knows.
    pub(super) cluster: ClusterConfig,
    /// How many clients a node that drains sends to others in a second.
    pub(super) sent_away_per_second: u32,
}

impl Kept {
    /// Nothing is kept without a folder.
    pub(crate) fn of(config: &Config, node: u64, threads: u16) -> Option<Kept> {
        let folder = config.data_dir.as_deref().filter(|_| config.durability != Durability::None)?;
        Some(match &config.cluster {
            None => Kept::Alone(Box::new(settings(folder, node, threads, config, setup::random()))),
            Some(_) => {
                let store = member_settings(folder, node, threads, config, setup::random);
                let settings = MemberSettings {
                    store,
                    cluster: config.cluster.clone().unwrap_or_default(),
                    sent_away_per_second: config.drain.connections_per_second,
                };
                Kept::Member(folder.to_owned(), Box::new(settings))
            }
        })
    }

    pub(crate) fn shards(&self) -> NonZeroU16 {
        match self {
            Kept::Alone(settings) => settings.shards,
            Kept::Member(_, settings) => settings.store.engine.shards,
        }
    }

    pub(crate) fn is_member(&self) -> bool {
        matches!(self, Kept::Member(..))
    }
}

/// The thread of the store, and where it is asked.
pub(crate) struct StoreThread {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) report: Arc<Report>,
    thread: JoinHandle<()>,
    member: Option<Linking>,
}

/// How a member of a cluster gets its links.
struct Linking {
    mail: Mail,
    links: Arc<OnceLock<Arc<Links>>>,
    /// The life of the node that greetings name first.
    life: u64,
    nonce: u64,
}

impl StoreThread {
    /// What letters of other nodes come and go by; none if the node is alone.
    pub(crate) fn mail(&self) -> Option<Mail> {
        self.member.as_ref().map(|member| member.mail.clone())
    }

    /// By which this process is told from others of the same node; none if the node is alone.
    pub(crate) fn nonce(&self) -> Option<u64> {
        self.member.as_ref().map(|member| member.nonce)
    }

    /// The links of this node are there.
    pub(crate) fn linked_by(&self, links: &Arc<Links>) {
        if let Some(Linking { links: cell, life, .. }) = &self.member {
            links.begin_life(*life);
            // There is one start of a broker, and it has one value of links.
            let _ = cell.set(links.clone());
            self.inbox.ring();
        }
    }

    /// Where the admin port asks; none if the node is alone.
    pub(crate) fn control(&self) -> Option<Arc<dyn ClusterControl>> {
        self.member.as_ref().map(|_| self.inbox.clone() as Arc<dyn ClusterControl>)
    }

    /// Gives away what this node leads, as far as others take it within this time.
    pub(crate) async fn leave(&self, patience: Duration) {
        // A store that has ended by itself does not answer.
        let _ = tokio::time::timeout(patience.min(LEAVE_MAX), self.inbox.leave()).await;
    }

    /// Returns when nothing that is asked could be done for so long, and what it waits for: that may be for ever.
    pub(crate) async fn stay_stuck(&self, patience: Duration) -> &'static str {
        let mut since = None;
        loop {
            let now = Instant::now();
            match self.report.stuck() {
                Some(wanted) if now >= *since.get_or_insert(now) + patience => return wanted,
                Some(_) => {}
                None => since = None,
            }
            tokio::time::sleep(REPORT).await;
        }
    }

    /// Returns when all that was asked is done, or nobody answers, and the folder is easy to open.
    pub(crate) fn stop(self) {
        self.inbox.close();
        let _ = self.thread.join();
    }
}

/// Brings back what the data folder holds, and starts the thread that keeps it. `ended` is dropped with the thread.
pub(crate) fn start(
    kept: Kept,
    around: Around,
    health: &Arc<Health>,
    names_by_file: bool,
    ended: impl Send + 'static,
) -> anyhow::Result<StoreThread> {
    let inbox = Arc::<Inbox>::default();
    let report = Arc::<Report>::default();
    match kept {
        Kept::Alone(settings) => {
            let folder = settings.folder.clone();
            let mut store = Store::open(*settings, around, inbox.clone(), report.clone(), health.clone())
                .with_context(|| format!("open the store in {}", folder.display()))?;
            if names_by_file {
                store.withdraw_absent();
            }
            let run = move || {
                let _ended = ended;
                if let Err(error) = store.run() {
                    error!(%error, "the store failed: what it has not acknowledged may be lost");
                }
            };
            Ok(StoreThread { inbox, report, thread: spawn(run)?, member: None })
        }
        Kept::Member(data_dir, settings) => {
            let ring = inbox.clone();
            let arrivals = Arc::new(ArrivalQueue::new(move || ring.ring()));
            let (mail, links) = (Mail::new(arrivals.clone()), Arc::default());
            let outside = Surroundings::new(around, mail.clone(), Arc::clone(&links), Instant::now());
            let (folder, nonce) = (settings.store.engine.folder.clone(), settings.store.nonce);
            let opened = MemberStore::open(*settings, outside, inbox.clone(), arrivals, report.clone(), health.clone());
            let mut store = match opened {
                Ok(store) => store,
                Err(stopped) => {
                    after(&stopped, &data_dir);
                    return Err(stopped).with_context(|| format!("open the store in {}", folder.display()));
                }
            };
            if names_by_file {
                store.withdraw_absent();
            }
            let life = store.life().incarnation;
            let run = move || {
                let _ended = ended;
                match store.run() {
                    Ok(()) => unsynced::end(&data_dir),
                    Err(stopped) => after(&stopped, &data_dir),
                }
            };
            Ok(StoreThread { inbox, report, thread: spawn(run)?, member: Some(Linking { mail, links, life, nonce }) })
        }
    }
}

fn spawn(run: impl FnOnce() + Send + 'static) -> anyhow::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("store".to_owned()).spawn(run).context("start the store's thread")
}

/// Says what a human should know, and sets the folder aside if the node can't come back with it.
fn after(stopped: &Stopped, data_dir: &Path) {
    match stopped {
        Stopped::StartAnew(why) => match set_aside(data_dir) {
            Ok(place) => {
                error!(%why, set_aside = %place.display(), "this node can't come back with what is in its data folder");
                info!("start it again: it joins the cluster as a new node");
            }
            Err(error) => error!(%why, %error, "this node can't come back with its data folder, nor set it aside"),
        },
        Stopped::GiveUp(why) => error!(%why, "this node can't be part of the cluster"),
        Stopped::Failed(failed) => {
            error!(error = %failed, "the store failed: what it has not acknowledged may be lost");
        }
        // Nothing was opened, and why not is told by whoever wanted it.
        Stopped::Open(_) => {}
        Stopped::Folder(error) => error!(%error, "what the data folder says of the cluster can't be read or written"),
    }
}

/// Moves what a node is by into a folder of its own, which nobody reads again but a human. Its id goes first: a node that
/// keeps it never begins with an empty store, whenever the power fails.
pub(super) fn set_aside(data_dir: &Path) -> std::io::Result<PathBuf> {
    let place = (1..).map(|number| data_dir.join(format!("set-aside-{number}"))).find(|place| !place.exists());
    let place = place.expect("there are more numbers than folders");
    std::fs::create_dir(&place)?;
    for name in [crate::node_id::FILE_NAME, FOLDER] {
        match std::fs::rename(data_dir.join(name), place.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::File::open(&place)?.sync_all()?;
        std::fs::File::open(data_dir)?.sync_all()?;
    }
    Ok(place)
}
