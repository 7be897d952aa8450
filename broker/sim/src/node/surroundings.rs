//! What a store says in a turn, kept until the disk has what it wrote; then it comes about in the same order.

use std::time::Instant;

use fulmar_meta::{Moment, View};
use fulmar_store::{Message, Node as Life, ShardId, Told, Version};
use fulmar_store_node::{Channel, Out};
use fulmar_worker::Node;

/// Something that a store said.
#[derive(Debug)]
pub(crate) enum Said {
    Tell(u16, Told),
    Interest { shard: ShardId, share: Option<Box<str>>, filter: Box<str>, begins: bool },
    Retained { topic: Box<str>, message: Option<Message>, version: Version },
    Send(u64, Channel, Vec<u8>),
    Follow(View),
    Acknowledge(Option<Moment>),
    Serve(bool),
    BeginLife(Life),
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Sayings(pub(crate) Vec<Said>);

impl Out for Sayings {
    fn tell(&mut self, thread: u16, told: Told) {
        self.0.push(Said::Tell(thread, told));
    }

    fn interest(&mut self, shard: ShardId, share: Option<&str>, filter: &str, begins: bool) {
        self.0.push(Said::Interest { shard, share: share.map(Into::into), filter: filter.into(), begins });
    }

    fn retained(&mut self, topic: &str, message: Option<&Message>, version: Version) {
        self.0.push(Said::Retained { topic: topic.into(), message: message.cloned(), version });
    }

    fn send(&mut self, to: u64, channel: Channel, letter: Vec<u8>) {
        self.0.push(Said::Send(to, channel, letter));
    }

    fn follow(&mut self, view: &View) {
        self.0.push(Said::Follow(view.clone()));
    }

    fn acknowledge(&mut self, until: Option<Moment>) {
        self.0.push(Said::Acknowledge(until));
    }

    fn serve(&mut self, serves: bool) {
        self.0.push(Said::Serve(serves));
    }

    fn begin_life(&mut self, life: Life) {
        self.0.push(Said::BeginLife(life));
    }
}

/// Brings about what concerns the node's threads together. What is for others is given back.
pub(crate) fn bring_about(said: Said, node: &Node, now: Instant) -> Option<Said> {
    match said {
        Said::Interest { shard, share, filter, begins } => {
            node.set_shard_interest(shard, share.as_deref(), &filter, begins);
        }
        Said::Retained { topic, message, version } => {
            node.set_stored_retained(&topic, message.as_ref(), version, now);
        }
        Said::Follow(view) => node.follow(&view),
        Said::Acknowledge(until) => node.set_acknowledges_until(until.unwrap_or_default()),
        Said::Serve(serves) => node.serve(serves),
        said @ (Said::Tell(..) | Said::Send(..)) => return Some(said),
        Said::BeginLife(life) => {
            node.begin_life(life.incarnation);
            return Some(Said::BeginLife(life));
        }
    }
    None
}
