//! Shared subscriptions of which a queue or the outbox holds messages: each has a number, so that a message in a queue
//! need not hold its name.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use crate::settings::cost;

/// Which of them. Never used again for another one.
pub(crate) type ShareId = NonZeroU64;

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct Shares {
    by_id: BTreeMap<ShareId, Share>,
    by_name: BTreeMap<Arc<str>, ShareId>,
    pub(crate) next: ShareId,
}

#[derive(Debug, Clone)]
struct Share {
    /// The whole `$share/GROUP/FILTER`.
    name: Arc<str>,
    /// How many messages hold it. Not part of a snapshot: counted again when it is loaded.
    references: u64,
}

impl Default for Shares {
    fn default() -> Self {
        Self { by_id: BTreeMap::new(), by_name: BTreeMap::new(), next: ShareId::MIN }
    }
}

impl Shares {
    pub(crate) fn id(&self, name: &str) -> Option<ShareId> {
        self.by_name.get(name).copied()
    }

    /// The name of one that is held.
    pub(crate) fn name(&self, id: ShareId) -> &Arc<str> {
        &self.by_id[&id].name
    }

    pub(crate) fn contains(&self, id: ShareId) -> bool {
        self.by_id.contains_key(&id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ShareId, &Arc<str>)> {
        self.by_id.iter().map(|(id, share)| (*id, &share.name))
    }

    pub(crate) fn are_all_held(&self) -> bool {
        self.by_id.values().all(|share| share.references > 0)
    }

    /// Gives a name that has no number one that nobody holds yet.
    pub(super) fn add(&mut self, name: Arc<str>) -> ShareId {
        let id = self.next;
        self.next = id.checked_add(1).expect("not even a message a nanosecond uses up 64 bits");
        self.insert(id, name);
        id
    }

    pub(super) fn insert(&mut self, id: ShareId, name: Arc<str>) {
        self.by_name.insert(name.clone(), id);
        self.by_id.insert(id, Share { name, references: 0 });
    }

    pub(super) fn hold(&mut self, id: ShareId) {
        self.by_id.get_mut(&id).expect("a shared subscription is held while it is there").references += 1;
    }

    /// Its name, if nobody holds it any more.
    pub(super) fn let_go(&mut self, id: ShareId) -> Option<Arc<str>> {
        let share = self.by_id.get_mut(&id).expect("a shared subscription is there as long as somebody holds it");
        share.references -= 1;
        if share.references > 0 {
            return None;
        }
        let Share { name, .. } = self.by_id.remove(&id)?;
        self.by_name.remove(&name);
        Some(name)
    }
}

pub(crate) fn share_bytes(name: &str) -> u64 {
    cost::SHARE + name.len() as u64
}
