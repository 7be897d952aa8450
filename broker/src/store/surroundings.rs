//! What surrounds a store: data threads, links with other nodes, probes. A store of a cluster acts on them by what it says.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use fulmar_cluster::letters;
use fulmar_meta::{Moment, View};
use fulmar_store::{Message, Node as Life, ShardId, Told, Version};
use fulmar_store_node::{Channel, Out};
use fulmar_worker::{Node, Thread};

use super::told::Tolds;
use crate::link::Links;
use crate::link::letters::Mail;
use crate::reactor::Inbox;

/// The data threads and what they share.
#[derive(Debug, Clone)]
pub(crate) struct Around {
    pub(crate) node: Arc<Node>,
    pub(crate) inboxes: Vec<Arc<Inbox>>,
}

/// The same of a member of a cluster.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) around: Around,
    pub(crate) mail: Mail,
    /// They are made after the store, whose first life they name.
    pub(crate) links: Arc<OnceLock<Arc<Links>>>,
    pub(super) tolds: Tolds,
    pub(super) now: Instant,
}

impl Surroundings {
    pub(crate) fn new(around: Around, mail: Mail, links: Arc<OnceLock<Arc<Links>>>, now: Instant) -> Surroundings {
        let tolds = Tolds::new(around.inboxes.len());
        Surroundings { around, mail, links, tolds, now }
    }

    /// What was said in a turn reaches data threads.
    pub(super) fn post(&mut self) {
        self.tolds.post(&self.around.inboxes);
    }

    /// Data threads look at what they are to follow.
    fn wake(&self) {
        self.around.inboxes.iter().for_each(|inbox| inbox.wake_if_asleep());
    }
}

impl Out for Surroundings {
    fn tell(&mut self, thread: Thread, told: Told) {
        self.tolds.tell(thread, told);
    }

    fn interest(&mut self, shard: ShardId, share: Option<&str>, filter: &str, begins: bool) {
        self.around.node.set_shard_interest(shard, share, filter, begins);
    }

    fn retained(&mut self, topic: &str, message: Option<&Message>, version: Version) {
        self.around.node.set_stored_retained(topic, message, version, self.now);
    }

    fn send(&mut self, to: u64, channel: Channel, letter: Vec<u8>) {
        let channel = match channel {
            Channel::Control => letters::Channel::Control,
            Channel::Bulk => letters::Channel::Bulk,
        };
        // What is not sent is lost, which every part of a store must bear.
        let _ = self.mail.send(to, channel, letter);
    }

    fn follow(&mut self, view: &View) {
        self.around.node.follow(view);
        self.wake();
    }

    fn acknowledge(&mut self, until: Option<Moment>) {
        self.around.node.set_acknowledges_until(until.unwrap_or_default());
    }

    fn serve(&mut self, serves: bool) {
        self.around.node.serve(serves);
        self.wake();
    }

    fn begin_life(&mut self, life: Life) {
        self.around.node.begin_life(life.incarnation);
        self.wake();
        if let Some(links) = self.links.get() {
            links.begin_life(life.incarnation);
        }
    }
}
