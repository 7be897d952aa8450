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
//!
//! # What a judgement costs
//!
//! Rules that speak of everyone are found by their filters in a trie, and those about other topics cost nothing. Rules with
//! names are found by the user name, or else by the client id, and then looked at one by one: a name has few.

mod everyone;
mod pattern;
mod read;
mod trie;

use fulmar_codec::{ParsedFilter, TopicLimits, parse_filter};
use hashbrown::HashMap;

use everyone::Everyone;
use pattern::Pattern;
pub(crate) use read::{read_default, read_rule};

/// The rules in their order, and what holds where none speaks.
#[derive(Debug, Default)]
pub struct AccessList {
    rules: Vec<Rule>,
    default: Effect,
    /// Which rules speak of everyone; of this user; of this client. In ascending order, each rule in one of the three.
    everyone: Everyone,
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
    /// None here if it speaks of everyone.
    filters: Box<[Pattern]>,
}

/// A rule as it was read.
#[derive(Clone, Debug)]
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
            let mut rule = Rule { effect, action, client_ids: None, filters: Box::default() };
            match (users, client_ids) {
                (None, None) => list.everyone.insert(index, effect, action, filters),
                (None, Some(client_ids)) => {
                    find_by(&mut list.client_ids, client_ids, index);
                    rule.filters = filters.into();
                }
                (Some(users), client_ids) => {
                    find_by(&mut list.users, users, index);
                    rule.filters = filters.into();
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

    /// What one client may do. Finds the rules that name it by two lookups, and allocates nothing: make it when
    /// there is something to judge instead of keeping one for each client.
    pub fn rights<'a>(&'a self, client_id: &'a str, username: Option<&'a str>) -> Rights<'a> {
        let of = |named: &'a HashMap<Box<str>, Vec<u32>>, name: &str| named.get(name).map_or(&[][..], Vec::as_slice);
        Rights {
            list: self,
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
        parse_filter(filter, TopicLimits::NONE).is_ok_and(|parsed| self.may_subscribe_to(&parsed))
    }

    /// The same, for who has taken the filter apart already.
    pub fn may_subscribe_to(&self, parsed: &ParsedFilter<'_>) -> bool {
        let everyone = self.list.everyone.first_of_filter(parsed.filter, self.who);
        let decides = |rule: &Rule| {
            let mut filters = rule.filters.iter();
            match rule.effect {
                Effect::Allow => filters.any(|pattern| pattern.covers(parsed.filter, self.who)),
                Effect::Deny => filters.any(|pattern| pattern.overlaps(parsed.filter, self.who)),
            }
        };
        self.judge(Action::Subscribe, everyone, decides)
    }

    fn judge_topic(&self, action: Action, topic: &str) -> bool {
        let everyone = self.list.everyone.first_of_topic(action, topic, self.who);
        let decides = |rule: &Rule| rule.filters.iter().any(|pattern| pattern.covers(topic, self.who));
        self.judge(action, everyone, decides)
    }

    /// What the first rule says, of this one for everyone and those for the user and for the client that decide.
    fn judge(&self, action: Action, everyone: u32, decides: impl Fn(&Rule) -> bool) -> bool {
        let speaks = |rule: &Rule| {
            let is_meant = |ids: &[Box<str>]| ids.binary_search_by(|id| (**id).cmp(self.who.client_id)).is_ok();
            rule.action.is_none_or(|only| only == action) && rule.client_ids.as_deref().is_none_or(is_meant)
        };
        let rule = |index: u32| self.list.rules.get(index as usize);
        let mut first = everyone;
        for named in [self.user, self.client] {
            let mut earlier = named.iter().copied().take_while(|index| *index < first);
            let found = earlier.find(|index| rule(*index).is_some_and(|rule| speaks(rule) && decides(rule)));
            first = found.unwrap_or(first);
        }
        rule(first).map_or(self.list.default, |rule| rule.effect) == Effect::Allow
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Most of them are no level of a topic.
    const NAMES: &[&str] = &["a", "b", "$b", "", "+", "#", "a/b"];

    /// Up to three of these levels, with `#` behind them or without.
    pub(super) fn any_filter(levels: &'static [&'static str]) -> impl Strategy<Value = String> {
        let text = (prop::collection::vec(prop::sample::select(levels), 0..4), any::<bool>());
        let text = text.prop_map(|(mut levels, has_rest)| {
            levels.extend(has_rest.then_some("#"));
            levels.join("/")
        });
        text.prop_filter("it is empty", |text| !text.is_empty())
    }

    fn any_rule() -> impl Strategy<Value = NamedRule> {
        let effect = prop::sample::select(vec![Effect::Allow, Effect::Deny]);
        let action = prop::sample::select(vec![None, Some(Action::Publish), Some(Action::Subscribe)]);
        let names = || {
            let names = prop::collection::vec(prop::sample::select(NAMES).prop_map(Box::from), 1..3);
            prop::option::weighted(0.2, names)
        };
        let filter = any_filter(&["a", "b", "", "$b", "+", "${clientid}", "${username}"]);
        let filters = prop::collection::vec(filter.prop_map(|text| Pattern::parse(&text).unwrap()), 1..3);
        let rule = (effect, action, names(), names(), filters);
        rule.prop_map(|(effect, action, users, client_ids, filters)| NamedRule {
            effect,
            action,
            users,
            client_ids,
            filters,
        })
    }

    /// The first of all rules that speaks of this client doing this, and of which a filter `speaks` too.
    fn first(
        rules: &[NamedRule],
        action: Action,
        who: Client<'_>,
        speaks: impl Fn(&NamedRule, &Pattern) -> bool,
    ) -> Option<Effect> {
        let is_named = |names: &Option<Vec<Box<str>>>, name: Option<&str>| {
            names.as_ref().is_none_or(|names| names.iter().any(|it| Some(&**it) == name))
        };
        let mut rules = rules.iter().filter(|rule| {
            rule.action.is_none_or(|only| only == action)
                && is_named(&rule.users, who.username)
                && is_named(&rule.client_ids, Some(who.client_id))
        });
        rules.find(|rule| rule.filters.iter().any(|filter| speaks(rule, filter))).map(|rule| rule.effect)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        /// What is looked up says what going through the rules from the first to the last does.
        #[test]
        fn the_first_rule_that_speaks_decides_wherever_it_is_kept(
            rules in prop::collection::vec(any_rule(), 0..12),
            default in prop::sample::select(vec![Effect::Allow, Effect::Deny]),
            client_id in prop::sample::select(NAMES),
            username in prop::option::of(prop::sample::select(NAMES)),
            topics in prop::collection::vec(any_filter(&["a", "b", "", "$b", "x"]), 1..8),
            filters in prop::collection::vec(any_filter(&["a", "b", "", "$b", "+", "x"]), 1..8),
        ) {
            let list = AccessList::new(default, rules.clone());
            let rights = list.rights(client_id, username);
            let who = Client { client_id, username };
            for topic in topics {
                let judge = |action| first(&rules, action, who, |_, pattern| pattern.covers(&topic, who));
                let [publish, receive] = [Action::Publish, Action::Subscribe].map(judge);
                prop_assert_eq!(rights.may_publish(&topic), publish.unwrap_or(default) == Effect::Allow, "{}", topic);
                prop_assert_eq!(rights.may_receive(&topic), receive.unwrap_or(default) == Effect::Allow, "{}", topic);
            }
            for filter in filters {
                let subscribe = first(&rules, Action::Subscribe, who, |rule, pattern| match rule.effect {
                    Effect::Allow => pattern.covers(&filter, who),
                    Effect::Deny => pattern.overlaps(&filter, who),
                });
                let expected = subscribe.unwrap_or(default) == Effect::Allow;
                prop_assert_eq!(rights.may_subscribe(&filter), expected, "{}", filter);
            }
        }
    }
}
