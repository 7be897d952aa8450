//! The rules that speak of everyone, by what is asked. Of each question only the first rule is of interest, so a rule that
//! comes after another with the same filter leaves no trace.

use super::pattern::Pattern;
use super::trie::{NONE, Trie};
use super::{Action, Client, Effect};

#[derive(Debug, Default)]
pub(super) struct Everyone {
    publish: Trie,
    /// A subscription is judged otherwise by rules that allow than by rules that deny.
    allow_subscribe: Trie,
    deny_subscribe: Trie,
}

impl Everyone {
    /// Adds a rule. They come in their order. `action` is `None` for all of them.
    pub(super) fn insert(&mut self, rule: u32, effect: Effect, action: Option<Action>, filters: Vec<Pattern>) {
        let Everyone { publish, allow_subscribe, deny_subscribe } = self;
        let subscribe = match effect {
            Effect::Allow => allow_subscribe,
            Effect::Deny => deny_subscribe,
        };
        for filter in filters {
            if action != Some(Action::Subscribe) {
                publish.insert(filter.clone(), rule);
            }
            if action != Some(Action::Publish) {
                subscribe.insert(filter, rule);
            }
        }
    }

    /// The first rule that speaks of a client doing this to a topic; [`NONE`] if none does.
    pub(super) fn first_of_topic(&self, action: Action, topic: &str, client: Client<'_>) -> u32 {
        match action {
            Action::Publish => self.publish.first_covering(topic, client, NONE),
            Action::Subscribe => {
                let allow = self.allow_subscribe.first_covering(topic, client, NONE);
                self.deny_subscribe.first_covering(topic, client, allow)
            }
        }
    }

    /// The first rule that decides about a client that subscribes to a filter; [`NONE`] if none does.
    pub(super) fn first_of_filter(&self, filter: &str, client: Client<'_>) -> u32 {
        let allow = self.allow_subscribe.first_covering(filter, client, NONE);
        self.deny_subscribe.first_overlapping(filter, client, allow)
    }
}
