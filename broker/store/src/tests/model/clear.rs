//! Clearing up in portions, in the model.

use std::collections::BTreeSet;

use super::Model;
use super::look::Due;
use crate::*;

impl Model {
    pub(super) fn clear(&mut self) -> Cleared {
        let mut cleared = Cleared::default();
        let mut effort = self.settings.portion.max(1) as usize;
        let length = |model: &Self, client: &ClientId| {
            model.sessions[client].queue.len() + model.sessions[client].subscriptions.len()
        };
        while effort > 0 {
            if let Some((node, client)) = self.gone_sessions().first().cloned() {
                effort = effort.saturating_sub(1 + length(self, &client));
                let since = self.gone.iter().find(|(gone, ..)| gone.id == node.id).unwrap().1;
                let before = self.last_will;
                match self.leave(&client, since) {
                    true => cleared.ended += 1,
                    false => cleared.left += 1,
                }
                cleared.wills += (self.last_will - before) as u32;
                continue;
            }
            let Some((_, what)) = self.due().first().cloned().filter(|(at, _)| *at <= self.time) else { break };
            effort -= 1;
            match what {
                Due::Will(client) => cleared.wills += self.fire(&client),
                Due::Session(client) => {
                    effort = effort.saturating_sub(length(self, &client));
                    cleared.wills += self.fire(&client);
                    self.end(&client);
                    cleared.ended += 1;
                }
                Due::Queued(client, sequence) => {
                    self.sessions.get_mut(&client).unwrap().queue.retain(|place| place.sequence != sequence);
                    self.totals.expired += 1;
                    cleared.messages += 1;
                }
                Due::Retained(topic) => {
                    let (_, version) = self.retained[&topic];
                    self.bury(&topic, version, self.bytes());
                    cleared.retained += 1;
                }
                Due::Tombstone(topic) => {
                    self.tombstones.retain(|(it, ..)| *it != topic);
                    cleared.tombstones += 1;
                }
            }
        }
        let is_due = self.due().first().is_some_and(|(at, _)| *at <= self.time);
        cleared.more = is_due || !self.gone_sessions().is_empty();
        cleared
    }

    pub(super) fn forget_gone(&mut self) {
        while self.gone.len() > self.settings.nodes_max as usize {
            let owners: BTreeSet<_> = self.gone_sessions().into_iter().map(|(node, _)| node.id).collect();
            let settled = self.gone.iter().filter(|(gone, ..)| !owners.contains(&gone.id));
            let Some(oldest) = settled.map(|(gone, _, index)| (*index, gone.id)).min() else { return };
            self.gone.retain(|(gone, ..)| gone.id != oldest.1);
        }
    }
}
