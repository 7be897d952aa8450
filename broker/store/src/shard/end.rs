//! Sessions that are ended by the broker, whatever their clients do.

use super::Shard;
use crate::names::{ClientId, Generation};
use crate::reply::Reply;

impl Shard {
    /// What was said of one life of a session does not concern a later one, so this may be said again at any time.
    pub(super) fn end_life(&mut self, client: &ClientId, generation: Generation) -> Reply {
        let session = self.sessions.get(client).filter(|session| session.generation == generation);
        let Some(session) = session else { return Reply::Ended { was_there: false, owner: None } };
        let owner = session.owner().filter(|node| !self.is_gone(*node));
        self.end(client);
        Reply::Ended { was_there: true, owner }
    }
}
