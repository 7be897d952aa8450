//! What an engine brings about outside of itself.

use fulmar_raft::NodeId;
use fulmar_store::{Message, Node, ShardId, Told, Version};

use crate::letter::Letter;
use crate::meta_group::MetaEvent;

/// Takes what an engine has to say. What it says in a turn is in the order in which it came to be.
pub trait Out {
    /// Something for a data thread of a node: of the one that asked or serves a session, or of this one.
    fn tell(&mut self, to: Node, thread: u16, told: Told);
    /// The first durable session of a shard has subscribed to a filter (`begins`), or the last one gave it up. `share`
    /// is the group of `$share/GROUP/FILTER`. Comes before the answer to the SUBSCRIBE that caused it, on every node
    /// that is live; whether it has a copy of the shard or not, it hears of it from the shard's leader.
    fn interest(&mut self, shard: ShardId, share: Option<&str>, filter: &str, begins: bool);
    /// A retained message has changed, in the order of commits; none: it was deleted. All there are come at open, and all
    /// deletions that are remembered. What is over by its lifetime is not told.
    fn retained(&mut self, topic: &str, message: Option<&Message>, version: Version);
    /// Something for the engine of another node: see [`Engine::receive`](crate::Engine::receive).
    fn send(&mut self, to: NodeId, letter: Letter);
    /// Something happened in group 0, in the order in which it did. Whoever is told sees to it before anything that
    /// comes later in the turn. A node that is alone has no group 0.
    fn meta(&mut self, event: MetaEvent) {
        let _ = event;
    }
}
