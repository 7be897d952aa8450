//! The access control list: who may publish and subscribe to what.
//!
//! Rules are gone through from the first to the last; the first that speaks of the client, the action and the topic
//! decides. Where none does, the list's default decides: `deny`, unless it says otherwise.
//!
//! Which client id it has, a client decides itself, unless [`crate::identity`] binds it to the user name. Without that,
//! `clientIds` and `${clientid}` keep honest clients apart and nobody else.
//!
//! # Filters of subscriptions
//!
//! A subscription asks for many topics at once, so "the first that speaks of it" has to be said precisely:
//!
//! - A rule that denies decides if **any** topic is matched by both the filter asked for and one of the rule's filters.
//! - A rule that allows decides if **every** topic that the filter asked for matches is matched by one of the rule's
//!   filters. Each filter is looked at alone: `a/b` and `a/+/#` of one rule do not add up.
//! - A rule that allows a part only is passed over.
//!
//! So who may subscribe gets no topic that [`Rights::may_receive`] would refuse. `$share/GROUP/FILTER` is judged by
//! FILTER. Topics that begin with `$` are matched by no wildcard in the first level (MQTT 5.0, 4.7.2): neither an
//! `allow` nor a `deny` of `#` speaks of `$SYS/uptime`.
//!
//! Deliveries are not judged again. What a subscription may have was decided when it was made; when rules change, ask
//! [`Rights::may_subscribe`] again for the subscriptions that exist.

mod pattern;
mod read;

use fulmar_codec::{TopicLimits, parse_filter};
use hashbrown::HashMap;

use pattern::Pattern;
pub(crate) use read::{read_default, read_rule};

/// The rules in their order, and what holds where none speaks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct AccessList {
    rules: Vec<Rule>,
    default: Effect,
    /// Which rules speak of everyone; of this user; of this client. In ascending order, each rule in one of the three.
    everyone: Vec<u32>,
    users: HashMap<Box<str>, Vec<u32>>,
    client_ids: HashMap<Box<str>, Vec<u32>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Effect {
    Allow,
    #[default]
    Deny,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Publish,
    Subscribe,
}

/// One rule, without the names by which it is found.
#[derive(Debug, PartialEq, Eq)]
struct Rule {
    effect: Effect,
    /// `None`: all of them.
    action: Option<Action>,
    /// The client ids of a rule that is found by its users.
    client_ids: Option<Box<[Box<str>]>>,
    filters: Box<[Pattern]>,
}

/// A rule as it was read.
#[derive(Debug)]
pub(crate) struct NamedRule {
    effect: Effect,
    action: Option<Action>,
    users: Option<Vec<Box<str>>>,
    client_ids: Option<Vec<Box<str>>>,
    filters: Vec<Pattern>,
}

#[derive(Clone, Copy, Debug)]
struct Client<'a> {
    client_id: &'a str,
    username: Option<&'a str>,
}

impl AccessList {
    pub(crate) fn new(default: Effect, rules: Vec<NamedRule>) -> Self {
        let mut list = AccessList { default, ..AccessList::default() };
        for (index, rule) in (0_u32..).zip(rules) {
            let NamedRule { effect, action, users, client_ids, filters } = rule;
            let mut rule = Rule { effect, action, client_ids: None, filters: filters.into() };
            match (users, client_ids) {
                (None, None) => list.everyone.push(index),
                (None, Some(client_ids)) => find_by(&mut list.client_ids, client_ids, index),
                (Some(users), client_ids) => {
                    find_by(&mut list.users, users, index);
                    rule.client_ids = client_ids.map(|mut client_ids| {
                        client_ids.sort_unstable();
                        client_ids.into()
                    });
                }
            }
            list.rules.push(rule);
        }
        list
    }

    /// A list that allows everything.
    pub fn allow_all() -> Self {
        AccessList::new(Effect::Allow, Vec::new())
    }

    /// What one client may do. Finds the rules that can speak of it by two lookups, and allocates nothing: make it when
    /// there is something to judge instead of keeping one for each client.
    pub fn rights<'a>(&'a self, client_id: &'a str, username: Option<&'a str>) -> Rights<'a> {
        let of = |named: &'a HashMap<Box<str>, Vec<u32>>, name: &str| named.get(name).map_or(&[][..], Vec::as_slice);
        Rights {
            list: self,
            everyone: &self.everyone,
            user: username.map_or(&[][..], |name| of(&self.users, name)),
            client: of(&self.client_ids, client_id),
            who: Client { client_id, username },
        }
    }
}

fn find_by(places: &mut HashMap<Box<str>, Vec<u32>>, names: Vec<Box<str>>, index: u32) {
    for name in names {
        places.entry(name).or_default().push(index);
    }
}

/// What one client may do.
#[derive(Clone, Copy, Debug)]
pub struct Rights<'a> {
    list: &'a AccessList,
    everyone: &'a [u32],
    user: &'a [u32],
    client: &'a [u32],
    who: Client<'a>,
}

impl<'a> Rights<'a> {
    /// Whether the client may publish to this topic name: its own messages, and its will.
    pub fn may_publish(&self, topic: &str) -> bool {
        self.judge_topic(Action::Publish, topic)
    }

    /// Whether a message of this topic name may be sent to the client. No subscription that
    /// [`may_subscribe`](Self::may_subscribe) allows leads to another, so nobody needs to ask on the way of a message.
    pub fn may_receive(&self, topic: &str) -> bool {
        self.judge_topic(Action::Subscribe, topic)
    }

    /// Whether the client may subscribe to this filter, `$share/GROUP/FILTER` included. No filter by the grammar of
    /// MQTT: no.
    pub fn may_subscribe(&self, filter: &str) -> bool {
        // How many levels are allowed has been judged before; here it must not matter.
        let limits = TopicLimits { levels_max: usize::MAX, bytes_max: usize::MAX };
        let Ok(parsed) = parse_filter(filter, limits) else { return false };
        let decides = |rule: &Rule| {
            let mut filters = rule.filters.iter();
            match rule.effect {
                Effect::Allow => filters.any(|pattern| pattern.covers(parsed.filter, self.who)),
                Effect::Deny => filters.any(|pattern| pattern.overlaps(parsed.filter, self.who)),
            }
        };
        self.first(Action::Subscribe, decides) == Effect::Allow
    }

    fn judge_topic(&self, action: Action, topic: &str) -> bool {
        let decides = |rule: &Rule| rule.filters.iter().any(|pattern| pattern.covers(topic, self.who));
        self.first(action, decides) == Effect::Allow
    }

    fn first(&self, action: Action, decides: impl Fn(&Rule) -> bool) -> Effect {
        let speaks = |rule: &&Rule| {
            let is_meant = |ids: &[Box<str>]| ids.binary_search_by(|id| (**id).cmp(self.who.client_id)).is_ok();
            rule.action.is_none_or(|only| only == action) && rule.client_ids.as_deref().is_none_or(is_meant)
        };
        self.rules().filter(speaks).find(|rule| decides(rule)).map_or(self.list.default, |rule| rule.effect)
    }

    /// The rules that can speak of this client, in their order.
    fn rules(&self) -> impl Iterator<Item = &'a Rule> {
        let mut lists = [self.everyone, self.user, self.client];
        let rules = &self.list.rules;
        std::iter::from_fn(move || {
            let [everyone, user, client] = lists.map(|list| list.first().copied().unwrap_or(u32::MAX));
            let next = everyone.min(user).min(client);
            let of = [everyone, user, client].iter().position(|first| *first == next)?;
            lists[of] = lists[of].get(1..)?;
            rules.get(next as usize)
        })
    }
}
