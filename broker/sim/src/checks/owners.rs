//! Who has lost a session to another connection can do nothing in its name: what it asks for after the other one was let
//! in is not done.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Promise, Violation};
use crate::history::{ActorId, Event, History};

pub(super) fn check(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    // What was asked for on connections that were superseded.
    let mut superseded: BTreeMap<(ActorId, u32), Vec<Arc<str>>> = BTreeMap::new();
    for (at, record) in history.records().iter().enumerate() {
        let key = (record.actor, record.connection);
        match &record.event {
            Event::Superseded => {
                superseded.insert(key, Vec::new());
            }
            Event::SubscribeSent { filter, .. } => {
                if let Some(asked) = superseded.get_mut(&key) {
                    asked.push(filter.clone());
                }
            }
            Event::Subscribed { filter, granted: Some(_) }
                if superseded.get(&key).is_some_and(|asked| asked.contains(filter)) =>
            {
                let name = &history.profile(record.actor).name;
                let what = format!("{name} subscribed to {filter} when somebody else had the session");
                found.push(Violation::new(Promise::OneOwner, at, what));
            }
            _ => {}
        }
    }
    found
}
