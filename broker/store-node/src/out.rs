//! What a node's store brings about outside of itself.

use fulmar_meta::{Moment, View};
use fulmar_store::{Message, Node, ShardId, Told, Version};

use crate::envelope::Channel;

/// Takes what a store has to say, in the order in which it came to be.
pub trait Out {
    /// Something for a data thread.
    fn tell(&mut self, thread: u16, told: Told);
    /// See [`fulmar_store_raft::Out::interest`].
    fn interest(&mut self, shard: ShardId, share: Option<&str>, filter: &str, begins: bool);
    /// See [`fulmar_store_raft::Out::retained`].
    fn retained(&mut self, topic: &str, message: Option<&Message>, version: Version);
    /// A letter for another node. It may be lost.
    fn send(&mut self, to: u64, channel: Channel, letter: Vec<u8>);
    /// All data threads are to follow this view; when they do: [`StoreNode::followed`](crate::StoreNode::followed).
    fn follow(&mut self, view: &View);
    /// Data threads may acknowledge until then. None: not at all, and all of them know when this returns.
    fn acknowledge(&mut self, until: Option<Moment>);
    /// Clients may come, or are to be closed and none let in.
    fn serve(&mut self, serves: bool);
    /// This life of the node has begun: all links are to be closed, and greetings name it.
    fn begin_life(&mut self, life: Node);
}
