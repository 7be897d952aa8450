//! Whom to give up of two members that can't reach each other, though both reach the leader. Whoever publishes waits
//! for both, so one has to go.

use std::collections::{BTreeMap, BTreeSet};

use super::{Held, Leading, LeasesOutput};
use crate::names::{Member, Moment, NodeId};
use crate::settings::Settings;

impl Leading {
    /// Gives up one member at a time: what others can't reach is seen anew when it has left. One that is reached again
    /// before its removal is proposed is kept after all.
    pub(super) fn give_up(&mut self, settings: &Settings, me: Member, now: Moment, out: &mut Vec<LeasesOutput>) {
        let broken = self.broken(settings, now);
        let has_standing = |held: &Held| held.removing.is_some() || held.has_stopped;
        let is_broken = |id: NodeId| broken.iter().any(|pair| pair.contains(&id));
        for (member, held) in &mut self.members {
            held.is_given_up &= is_broken(member.id) || held.removing.is_some();
        }
        if self.members.values().any(|held| held.is_given_up || has_standing(held)) {
            return;
        }
        let active: BTreeSet<NodeId> = self.active(settings, now).into_keys().collect();
        let reached = |id: NodeId| {
            let others = active.iter().filter(|other| **other != id);
            others.filter(|other| !broken.contains(&[id.min(**other), id.max(**other)])).count()
        };
        // Fewest others reach it; of equals the highest id.
        let worse = |a: NodeId, b: NodeId| if (reached(a), b) < (reached(b), a) { a } else { b };
        let worst = broken.iter().map(|pair| worse(pair[0], pair[1])).reduce(worse);
        let Some(worst) = worst else {
            self.asked_to_step_aside = None;
            return;
        };
        let mut given_up = worst;
        if worst == me.id {
            let peers = broken.iter().filter(|pair| pair.contains(&me.id));
            let peer = peers.map(|pair| if pair[0] == me.id { pair[1] } else { pair[0] }).reduce(worse);
            let Some(peer) = peer else { return };
            let best = active.iter().copied().filter(|id| *id != me.id);
            let best = best.max_by_key(|id| (reached(*id), std::cmp::Reverse(*id)));
            // Whoever is worst connected should not decide; but a leader does not remove itself.
            let is_new = self.asked_to_step_aside.is_none();
            let asked = *self.asked_to_step_aside.get_or_insert(now);
            if reached(me.id) < reached(peer) && now.since(asked) < settings.report_stands {
                out.extend(best.filter(|_| is_new).map(LeasesOutput::StepAside));
                return;
            }
            given_up = peer;
        }
        if let Some((_, held)) = self.members.iter_mut().find(|(member, _)| member.id == given_up) {
            held.is_given_up = true;
        }
    }

    /// Those that renew. The others leave soon, without anybody deciding between them and somebody else.
    fn active(&self, settings: &Settings, now: Moment) -> BTreeMap<NodeId, &Held> {
        let is_active = |held: &Held| held.renewed.is_some_and(|at| now.since(at) < settings.lease);
        self.members.iter().filter(|(_, held)| is_active(held)).map(|(member, held)| (member.id, held)).collect()
    }

    /// Pairs of which one has reported for long enough, lower id first.
    fn broken(&self, settings: &Settings, now: Moment) -> BTreeSet<[NodeId; 2]> {
        let active = self.active(settings, now);
        let reports =
            active.iter().flat_map(|(by, held)| held.unreachable.iter().map(|(id, since)| (*by, *id, *since)));
        let standing = reports.filter(|(by, id, since)| {
            by != id && active.contains_key(id) && now.since(*since) >= settings.report_stands
        });
        standing.map(|(by, id, _)| [by.min(id), by.max(id)]).collect()
    }
}
