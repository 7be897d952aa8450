//! Who asks, from where, and how it is answered.

use fulmar_raft::NodeId;
use fulmar_store::{Answer, Node, Ticket, Told};

use crate::out::Out;

/// A data thread of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) origin: Node,
    pub(crate) ticket: Ticket,
}

impl Asker {
    pub(crate) fn answer(self, answer: Answer, out: &mut impl Out) {
        let Ticket { thread, number } = self.ticket;
        out.tell(self.origin, thread, Told::Answer { number, answer });
    }
}

/// Nobody here knows what becomes of these questions.
pub(crate) fn give_up(askers: impl Iterator<Item = Asker>, out: &mut impl Out) {
    askers.for_each(|asker| asker.answer(Answer::Unavailable, out));
}

/// Nothing was done with these questions, and whoever leads decides. A node that is alone has nobody else to send its
/// data threads to.
pub(crate) fn send_away(
    askers: impl Iterator<Item = Asker>,
    leader: Option<NodeId>,
    is_alone: bool,
    out: &mut impl Out,
) {
    let answer = if is_alone { Answer::Unavailable } else { Answer::NotLeader { leader } };
    askers.for_each(|asker| asker.answer(answer.clone(), out));
}
