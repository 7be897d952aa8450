//! A client acknowledges what it was sent.

use super::Shard;
use crate::command::Ack;
use crate::names::{ClientId, Epoch, Sequence};
use crate::reply::{Refusal, Reply};

impl Shard {
    pub(super) fn acknowledge(
        &mut self,
        client: &ClientId,
        epoch: Epoch,
        acks: &[(Sequence, Ack)],
    ) -> Result<Reply, Refusal> {
        let settings = self.settings;
        let (session, ledger) = self.owned_session_mut(client, epoch)?;
        let replies = acks.iter().map(|(sequence, ack)| session.queue.acknowledge(client, *sequence, *ack, ledger));
        let replies = replies.collect();
        session.advance(client, ledger, &settings);
        Ok(Reply::Acknowledged(replies))
    }
}
