//! What the subscription trie should do, as a plain list that is compared level by level, and histories of both.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use fulmar_codec::{QoS, filter_matches};
use fulmar_router::{Matches, Member, NodeIndex, Options, SharedRef, Subscribed, SubscriberId, Trie, Unsubscribed};

/// A filter, or a shared group on one.
pub(crate) type Key = (Option<String>, String);

/// What the trie should hold, in the plainest form.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) members: BTreeMap<Key, BTreeMap<SubscriberId, Options>>,
    /// Members of groups that are absent.
    absent: BTreeSet<(Key, SubscriberId)>,
    nodes: BTreeMap<Key, BTreeSet<NodeIndex>>,
}

impl Model {
    pub(crate) fn subscribe(&mut self, key: Key, subscriber: SubscriberId, options: Options) -> Subscribed {
        self.absent.remove(&(key.clone(), subscriber));
        let members = self.members.entry(key).or_default();
        let first = members.is_empty();
        Subscribed { new: members.insert(subscriber, options).is_none(), first }
    }

    fn set_absent(&mut self, key: &Key, subscriber: SubscriberId) -> bool {
        let is_member = self.members.get(key).is_some_and(|members| members.contains_key(&subscriber));
        is_member && self.absent.insert((key.clone(), subscriber))
    }

    fn unsubscribe(&mut self, key: &Key, subscriber: SubscriberId) -> Unsubscribed {
        self.absent.remove(&(key.clone(), subscriber));
        let Some(members) = self.members.get_mut(key) else { return Unsubscribed { existed: false, last: false } };
        let existed = members.remove(&subscriber).is_some();
        let last = existed && members.is_empty();
        if members.is_empty() {
            self.members.remove(key);
        }
        Unsubscribed { existed, last }
    }

    fn remote_add(&mut self, key: Key, node: NodeIndex) -> bool {
        self.nodes.entry(key).or_default().insert(node)
    }

    fn remote_remove(&mut self, key: &Key, node: NodeIndex) -> bool {
        self.nodes.get_mut(key).is_some_and(|nodes| nodes.remove(&node))
    }

    fn remote_clear(&mut self, node: NodeIndex) {
        for nodes in self.nodes.values_mut() {
            nodes.remove(&node);
        }
    }

    pub(crate) fn matches(&self, topic: &str) -> Found {
        let mut found = Found::default();
        for (key @ (group, filter), members) in &self.members {
            if filter_matches(filter, topic) {
                let members = members.iter().map(|(&subscriber, &options)| Member { subscriber, options });
                let Some(group) = group else {
                    found.members.extend(members);
                    continue;
                };
                let is_absent = |member: &Member| self.absent.contains(&(key.clone(), member.subscriber));
                let (absent, present): (Vec<_>, Vec<_>) = members.partition(is_absent);
                let found = found.group(group, filter);
                found.members.extend(present);
                found.absent.extend(absent);
            }
        }
        for ((group, filter), nodes) in &self.nodes {
            if filter_matches(filter, topic) && !nodes.is_empty() {
                match group {
                    None => found.nodes.extend(nodes),
                    Some(group) => found.group(group, filter).nodes.extend(nodes),
                }
            }
        }
        found.sorted()
    }

    fn local_filters(&self) -> Vec<Key> {
        self.members.keys().cloned().collect()
    }

    fn filters(&self) -> usize {
        let wanted = self.nodes.iter().filter(|(_, nodes)| !nodes.is_empty()).map(|(key, _)| key);
        self.members.keys().chain(wanted).map(|(_, filter)| filter).collect::<BTreeSet<_>>().len()
    }
}

/// Everyone who gets a message. Repeated subscribers and nodes stay repeated.
#[derive(Default, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) members: Vec<Member>,
    pub(crate) nodes: Vec<NodeIndex>,
    groups: BTreeMap<(String, String), FoundGroup>,
}

#[derive(Default, Debug, PartialEq)]
pub(crate) struct FoundGroup {
    members: Vec<Member>,
    absent: Vec<Member>,
    nodes: Vec<NodeIndex>,
}

impl Found {
    pub(crate) fn in_trie(trie: &Trie, topic: &str) -> Self {
        let mut found = Self::default();
        let visited = trie.matches(topic, &mut found);
        assert!(visited <= trie.counts().nodes, "{visited} visits of {} nodes", trie.counts().nodes);
        found.sorted()
    }

    fn group(&mut self, group: &str, filter: &str) -> &mut FoundGroup {
        self.groups.entry((group.into(), filter.into())).or_default()
    }

    fn sorted(mut self) -> Self {
        self.members.sort();
        self.nodes.sort();
        for FoundGroup { members, absent, nodes } in self.groups.values_mut() {
            members.sort();
            absent.sort();
            nodes.sort();
        }
        self
    }
}

impl Matches for Found {
    fn local(&mut self, subscriber: SubscriberId, options: Options) {
        self.members.push(Member { subscriber, options });
    }

    fn remote(&mut self, node: NodeIndex) {
        self.nodes.push(node);
    }

    fn shared(&mut self, group: SharedRef<'_>) {
        let (members, absent): (Vec<Member>, _) = (group.present().collect(), group.absent.to_vec());
        let found = FoundGroup { members, absent, nodes: group.nodes.to_vec() };
        let old = self.groups.insert((group.group.into(), group.filter.into()), found);
        assert_eq!(old, None, "a group on one filter is given once");
    }
}

pub(crate) fn subscriber(slot: u32) -> SubscriberId {
    SubscriberId { thread: (slot % 3) as u16, generation: (slot / 7) as u16, slot }
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Subscribe { key: Key, slot: u32, id: u32 },
    SetAbsent { group: String, filter: String, slot: u32 },
    Unsubscribe { key: Key, slot: u32 },
    RemoteAdd { key: Key, node: u16 },
    RemoteRemove { key: Key, node: u16 },
    RemoteClear { node: u16, step: usize },
}

pub(crate) fn apply(op: &Op, trie: &mut Trie, model: &mut Model) {
    match op.clone() {
        Op::Subscribe { key, slot, id } => {
            let options = Options::new(QoS::AtLeastOnce).with_subscription_id(NonZeroU32::new(id));
            let answer = match &key {
                (None, filter) => trie.subscribe(filter, subscriber(slot), options),
                (Some(group), filter) => trie.subscribe_shared(group, filter, subscriber(slot), options),
            };
            assert_eq!(answer, model.subscribe(key, subscriber(slot), options), "{op:?}");
        }
        Op::SetAbsent { group, filter, slot } => {
            let answer = trie.set_shared_absent(&group, &filter, subscriber(slot));
            assert_eq!(answer, model.set_absent(&(Some(group), filter), subscriber(slot)), "{op:?}");
        }
        Op::Unsubscribe { key, slot } => {
            let answer = match &key {
                (None, filter) => trie.unsubscribe(filter, subscriber(slot)),
                (Some(group), filter) => trie.unsubscribe_shared(group, filter, subscriber(slot)),
            };
            assert_eq!(answer, model.unsubscribe(&key, subscriber(slot)), "{op:?}");
        }
        Op::RemoteAdd { key, node } => {
            let answer = match &key {
                (None, filter) => trie.remote_add(filter, NodeIndex(node)),
                (Some(group), filter) => trie.remote_shared_add(group, filter, NodeIndex(node)),
            };
            assert_eq!(answer, model.remote_add(key, NodeIndex(node)), "{op:?}");
        }
        Op::RemoteRemove { key, node } => {
            let answer = match &key {
                (None, filter) => trie.remote_remove(filter, NodeIndex(node)),
                (Some(group), filter) => trie.remote_shared_remove(group, filter, NodeIndex(node)),
            };
            assert_eq!(answer, model.remote_remove(&key, NodeIndex(node)), "{op:?}");
        }
        Op::RemoteClear { node, step } => {
            let mut next = Some(0);
            while let Some(from) = next {
                next = trie.remote_clear_from(NodeIndex(node), from, step);
            }
            model.remote_clear(NodeIndex(node));
        }
    }
}

pub(crate) fn check_whole(trie: &Trie, model: &Model) {
    let counts = trie.counts();
    assert_eq!(counts.filters, model.filters());
    assert_eq!(counts.subscriptions, model.members.values().map(BTreeMap::len).sum::<usize>());
    assert_eq!(counts.remote, model.nodes.values().map(BTreeSet::len).sum::<usize>());
    for at_least in [1, 3, usize::MAX] {
        let mut filters = Vec::new();
        let mut next = Some(0);
        while let Some(from) = next {
            next = trie.local_filters(from, at_least, |group, filter| {
                filters.push((group.map(str::to_owned), filter.to_owned()));
            });
        }
        filters.sort();
        assert_eq!(filters, model.local_filters());
    }
    for (group, filter) in model.members.keys() {
        let Some(group) = group else { continue };
        let shared = trie.shared_group(group, filter).expect("it has members");
        assert_eq!((shared.group, shared.filter), (group.as_str(), filter.as_str()));
    }
}
