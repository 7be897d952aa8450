//! What must be true of the nodes when nothing breaks any more and they had time.

use std::collections::BTreeSet;

use crate::world::World;

impl World {
    /// What is not yet as it should be; nothing, if all is well.
    pub(crate) fn troubles(&self) -> String {
        let restless = self.seats.iter().filter(|seat| seat.is_busy());
        let restless = restless.map(|seat| format!("client {} is not at rest", seat.actor.name()));
        let nodes = Some(self.node_troubles()).filter(|troubles| !troubles.is_empty());
        nodes.into_iter().chain(restless).collect::<Vec<_>>().join("; ")
    }

    /// The same of the nodes alone.
    pub(crate) fn node_troubles(&self) -> String {
        let mut troubles = Vec::new();
        let mut views = BTreeSet::new();
        for (slot, at) in self.slots.iter().enumerate().filter(|(_, at)| !at.is_gone) {
            let Some(process) = &at.process else {
                troubles.push(format!("node {slot} does not run"));
                continue;
            };
            let clock = at.clock.read(self.now(), &mut process.store.steady.clone());
            let store = &process.store.store;
            let missing = store.missing(&clock);
            if !missing.is_empty() {
                let missing: Vec<_> = missing.iter().map(|it| it.text(&|_| None)).collect();
                troubles.push(format!("node {slot} misses {}", missing.join(", ")));
            }
            if !store.engine().is_caught_up(clock.now) {
                troubles.push(format!("node {slot} has not caught up"));
            }
            if store.courier().counts().asks > 0 {
                troubles.push(format!("node {slot} has asks without an answer"));
            }
            if let Some(meta) = store.engine().meta() {
                views.insert((meta.view().number, format!("{:?}", meta.view().members().collect::<Vec<_>>())));
            }
            for shard in (0..store.shards().get()).map(fulmar_store::ShardId) {
                if store.engine().leader(shard).is_none()
                    && store.engine().meta().is_some_and(|meta| {
                        meta.shards().get(usize::from(shard.0)).is_some_and(|it| it.has(store.node().id))
                    })
                {
                    troubles.push(format!("node {slot} knows no leader of shard {}", shard.0));
                }
            }
        }
        if views.len() > 1 {
            troubles.push(format!("views differ: {views:?}"));
        }
        troubles.join("; ")
    }
}
