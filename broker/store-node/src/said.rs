//! What the engine says in a turn. What is for others goes on at once; what is for the courier and the membership is
//! kept until the turn is over, since they may ask the engine again.

use fulmar_store::{Message, Node, ShardId, Told, Version};
use fulmar_store_raft::{Letter, MetaEvent};

use crate::envelope::Envelope;
use crate::out::Out;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) tells: Vec<(Node, u16, Told)>,
    pub(crate) meta: Vec<MetaEvent>,
}

/// Listens to the engine.
pub(crate) struct Listening<'a, O> {
    pub(crate) kept: &'a mut Kept,
    pub(crate) out: &'a mut O,
    /// Of the replication of shards; see [`takes_part`](crate::part::takes_part).
    pub(crate) takes_part: bool,
}

impl<O: Out> fulmar_store_raft::Out for Listening<'_, O> {
    fn tell(&mut self, to: Node, thread: u16, told: Told) {
        match told {
            // Nobody asked for these: they are for this node's own threads.
            Told::Will { .. } | Told::Orphan { .. } => self.out.tell(thread, told),
            told => self.kept.tells.push((to, thread, told)),
        }
    }

    fn interest(&mut self, shard: ShardId, share: Option<&str>, filter: &str, begins: bool) {
        self.out.interest(shard, share, filter, begins);
    }

    fn retained(&mut self, topic: &str, message: Option<&Message>, version: Version) {
        self.out.retained(topic, message, version);
    }

    fn send(&mut self, to: u64, letter: Letter) {
        if self.takes_part || !letter.is_of_shard() {
            send(to, &Envelope::Engine(letter), self.out);
        }
    }

    fn meta(&mut self, event: MetaEvent) {
        self.kept.meta.push(event);
    }
}

pub(crate) fn send(to: u64, letter: &Envelope, out: &mut impl Out) {
    out.send(to, letter.channel(), letter.encode());
}
