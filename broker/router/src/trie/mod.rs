//! The subscription trie of a node: which sessions, other nodes and shared groups want a topic.
//!
//! All nodes of the trie lie in one arena, and one hash table finds a node's child by (parent, level). A filter without
//! wildcards is a single node, found by the whole topic at once; only filters with wildcards are walked level by level.
//! Nodes that nothing depends on any more are removed at once, so that subscribers who have left cost nothing.

mod arena;
mod children;
mod interest;
mod matching;
mod name;
mod path;
mod shared;
mod turns;

use self::arena::{Arena, EXACT, NONE, NodeId, WILD};
use self::children::Children;
use self::interest::Interest;
pub use self::matching::Matches;
use self::name::Name;
use self::path::{End, Path};
pub use self::shared::SharedRef;
use crate::hash::Hashes;
use crate::subscriber::{Member, NodeIndex, Options, SubscriberId};

/// What a subscription changed.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Subscribed {
    /// The subscriber had no subscription to this filter; otherwise its options were replaced.
    pub new: bool,
    /// It is the filter's first subscriber on this node: other nodes must learn of it.
    pub first: bool,
}

/// What the end of a subscription changed.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Unsubscribed {
    /// There was a subscription.
    pub existed: bool,
    /// It was the filter's last one on this node: other nodes must learn of it.
    pub last: bool,
}

/// How much a trie holds.
#[derive(Copy, Clone, Eq, PartialEq, Default, Debug)]
pub struct Counts {
    /// Distinct filters that anyone wants, here or on other nodes.
    pub filters: usize,
    /// Subscriptions of sessions on this node, those in shared groups included.
    pub subscriptions: usize,
    /// Filters and shared groups announced by other nodes, counted once per node.
    pub remote: usize,
    /// Nodes of the trie.
    pub nodes: usize,
}

/// The subscriptions that one node of the cluster knows of. See the [crate] for what it leaves to its user.
///
/// A plain filter and the shared groups on it are separate: each has its own `first` and `last`.
///
/// There is no limit in here: the sessions, the subscriptions of each and the levels of each bound what local clients
/// can add, and the announcing node is bound in the same way. [`counts`](Self::counts) tells how far it has come.
pub struct Trie {
    hashes: Hashes,
    arena: Arena,
    children: Children,
    counts: Counts,
    changes: u64,
}

/// The interest of one filter.
#[derive(Copy, Clone)]
struct Place {
    node: NodeId,
    end: End,
}

impl Trie {
    /// An empty trie. The seed must be one that clients cannot guess.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            hashes: Hashes::new(seed),
            arena: Arena::new(),
            children: Children::new(),
            counts: Counts::default(),
            changes: 0,
        }
    }

    /// Subscribes, or replaces the options of the subscription that is there (MQTT 5.0, 3.8.4).
    pub fn subscribe(&mut self, filter: &str, subscriber: SubscriberId, options: Options) -> Subscribed {
        let place = self.make(filter);
        let (interest, hashes) = self.interest(place);
        let answer = interest.subscribe(Member { subscriber, options }, hashes);
        self.counts.subscriptions += usize::from(answer.new);
        answer
    }

    /// Ends a subscription made by [`subscribe`](Self::subscribe).
    pub fn unsubscribe(&mut self, filter: &str, subscriber: SubscriberId) -> Unsubscribed {
        let Some(place) = self.find(filter) else { return Unsubscribed { existed: false, last: false } };
        let (interest, hashes) = self.interest(place);
        let answer = interest.unsubscribe(subscriber, hashes);
        self.counts.subscriptions -= usize::from(answer.existed);
        self.tidy(place);
        answer
    }

    /// Subscribes to `$share/GROUP/FILTER`.
    pub fn subscribe_shared(
        &mut self,
        group: &str,
        filter: &str,
        subscriber: SubscriberId,
        options: Options,
    ) -> Subscribed {
        let place = self.make(filter);
        let (interest, hashes) = self.interest(place);
        let answer = interest.subscribe_shared(group, filter, Member { subscriber, options }, hashes);
        self.counts.subscriptions += usize::from(answer.new);
        answer
    }

    /// The client of a member of a shared group is away: it remains a member, for messages that nobody else can take,
    /// until it subscribes again. Gives whether it was there and present.
    pub fn set_shared_absent(&mut self, group: &str, filter: &str, subscriber: SubscriberId) -> bool {
        let Some(place) = self.find(filter) else { return false };
        let (interest, hashes) = self.interest(place);
        interest.set_absent(group, subscriber, hashes)
    }

    /// Ends a subscription made by [`subscribe_shared`](Self::subscribe_shared).
    pub fn unsubscribe_shared(&mut self, group: &str, filter: &str, subscriber: SubscriberId) -> Unsubscribed {
        let Some(place) = self.find(filter) else { return Unsubscribed { existed: false, last: false } };
        let (interest, hashes) = self.interest(place);
        let answer = interest.unsubscribe_shared(group, subscriber, hashes);
        self.counts.subscriptions -= usize::from(answer.existed);
        self.tidy(place);
        answer
    }

    /// Another node announced this filter. Gives whether that is news.
    pub fn remote_add(&mut self, filter: &str, node: NodeIndex) -> bool {
        let place = self.make(filter);
        let (interest, hashes) = self.interest(place);
        let new = interest.add_node(node, hashes);
        self.counts.remote += usize::from(new);
        new
    }

    /// Another node withdrew this filter. Gives whether it had announced it.
    pub fn remote_remove(&mut self, filter: &str, node: NodeIndex) -> bool {
        let Some(place) = self.find(filter) else { return false };
        let (interest, _) = self.interest(place);
        let existed = interest.remove_node(node);
        self.counts.remote -= usize::from(existed);
        self.tidy(place);
        existed
    }

    /// Another node announced members of a shared group. Gives whether that is news.
    pub fn remote_shared_add(&mut self, group: &str, filter: &str, node: NodeIndex) -> bool {
        let place = self.make(filter);
        let (interest, hashes) = self.interest(place);
        let new = interest.add_group_node(group, filter, node, hashes);
        self.counts.remote += usize::from(new);
        new
    }

    /// Another node has no members of a shared group any more. Gives whether it had some.
    pub fn remote_shared_remove(&mut self, group: &str, filter: &str, node: NodeIndex) -> bool {
        let Some(place) = self.find(filter) else { return false };
        let (interest, hashes) = self.interest(place);
        let existed = interest.remove_group_node(group, node, hashes);
        self.counts.remote -= usize::from(existed);
        self.tidy(place);
        existed
    }

    /// Forgets everything that another node announced. Walks all nodes of the trie; see
    /// [`remote_clear_from`](Self::remote_clear_from) for doing so in pieces.
    pub fn remote_clear(&mut self, node: NodeIndex) {
        self.remote_clear_from(node, 0, usize::MAX);
    }

    /// Forgets what another node announced in at most `visits_max` nodes of the trie, and gives where to go on, until
    /// nothing is left. The first piece starts at 0. The trie may change in between, but that node must not announce
    /// anything until this is done.
    pub fn remote_clear_from(&mut self, node: NodeIndex, from: u32, visits_max: usize) -> Option<u32> {
        let until = (from as usize).saturating_add(visits_max).min(self.arena.len());
        for id in from as usize..until {
            for end in [End::Here, End::Below] {
                // The last removal of all has given the rest of the arena back.
                if id >= self.arena.len() {
                    return None;
                }
                let place = Place { node: id as NodeId, end };
                let (interest, hashes) = self.interest(place);
                if interest.is_none() {
                    continue;
                }
                self.counts.remote -= interest.forget_node(node, hashes);
                self.tidy(place);
            }
        }
        (until < self.arena.len()).then_some(until as u32)
    }

    /// The group of this name on this filter: for a node that was asked to pick one of its members.
    #[must_use]
    pub fn shared_group(&self, group: &str, filter: &str) -> Option<SharedRef<'_>> {
        let place = self.find(filter)?;
        let interest = self.arena.get(place.node).interest(place.end);
        interest.group(group, &self.hashes).map(|group| group.as_ref())
    }

    /// Visits the filters that have subscribers on this node, each once as `(None, filter)` if it has plain ones and
    /// once as `(Some(group), filter)` per shared group: what another node must know of this one.
    ///
    /// Starts at 0 and stops after `at_least` of them at the end of a trie node; the answer says where to go on, until
    /// nothing is left. What is there all the time is visited once, whatever changes in between.
    pub fn local_filters(&self, from: u32, at_least: usize, mut visit: impl FnMut(Option<&str>, &str)) -> Option<u32> {
        let mut visited = 0;
        for id in from as usize..self.arena.len() {
            if visited >= at_least {
                return Some(id as u32);
            }
            for end in [End::Here, End::Below] {
                let interest = self.arena.get(id as NodeId).interest(end);
                if !interest.members().is_empty() {
                    visited += 1;
                    visit(None, &self.filter_at(Place { node: id as NodeId, end }));
                }
                for group in interest.groups().iter().filter(|group| group.is_local()) {
                    visited += 1;
                    visit(Some(group.as_ref().group), group.as_ref().filter);
                }
            }
        }
        None
    }

    /// How much is in here.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts { nodes: self.arena.used(), ..self.counts }
    }

    /// Grows with every change, so that the answer of [`matches`](Self::matches) can be kept while it stays the same.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Roughly the memory in use: subscriber lists count with what they need, not with what they reserve.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.arena.bytes()
            + self.children.bytes()
            + self.counts.subscriptions * size_of::<Member>()
            + self.counts.remote * size_of::<NodeIndex>()
    }

    /// The child of that name, whose hash is given.
    #[inline]
    fn child(&self, parent: NodeId, name: &str, name_hash: u64) -> Option<NodeId> {
        let hash = self.hashes.within(parent, name_hash);
        self.children.find(hash, |node| {
            let node = self.arena.get(node);
            node.parent == parent && node.name.is(name)
        })
    }

    fn step(&self, parent: NodeId, name: &str) -> Option<NodeId> {
        if name == "+" {
            return Some(self.arena.get(parent).plus).filter(|&plus| plus != NONE);
        }
        self.child(parent, name, self.hashes.name(name))
    }

    /// Finds the place of a filter that someone wants.
    fn find(&self, filter: &str) -> Option<Place> {
        let mut path = Path::new(filter);
        let node = path.try_fold(path.root, |parent, name| self.step(parent, name))?;
        let place = Place { node, end: path.end };
        (!self.arena.get(node).interest(place.end).is_none()).then_some(place)
    }

    /// Finds the place of a filter, making the nodes that are missing. The caller puts some interest there.
    fn make(&mut self, filter: &str) -> Place {
        self.changes += 1;
        let mut path = Path::new(filter);
        let (end, mut node) = (path.end, path.root);
        for name in path.by_ref() {
            node = self.step(node, name).unwrap_or_else(|| self.add_child(node, name));
        }
        let place = Place { node, end };
        self.counts.filters += usize::from(self.interest(place).0.is_none());
        place
    }

    fn add_child(&mut self, parent: NodeId, name: &str) -> NodeId {
        let node = self.arena.add(parent, Name::new(name));
        if name == "+" {
            self.arena.get_mut(parent).plus = node;
        } else {
            self.arena.get_mut(parent).children += 1;
            let hash = self.hashes.within(parent, self.hashes.name(name));
            self.children.insert(hash, node);
        }
        node
    }

    fn interest(&mut self, place: Place) -> (&mut Interest, &Hashes) {
        (self.arena.get_mut(place.node).interest_mut(place.end), &self.hashes)
    }

    /// Counts a filter out that nobody wants any more, and removes the nodes that were there for it alone.
    fn tidy(&mut self, place: Place) {
        self.changes += 1;
        if !self.interest(place).0.is_none() {
            return;
        }
        self.counts.filters -= 1;
        let mut id = place.node;
        while id != EXACT && id != WILD && self.arena.get(id).is_bare() {
            let parent = self.arena.get(id).parent;
            self.unlink(parent, id);
            self.arena.remove(id);
            id = parent;
        }
    }

    fn unlink(&mut self, parent: NodeId, id: NodeId) {
        if self.arena.get(parent).plus == id {
            self.arena.get_mut(parent).plus = NONE;
            return;
        }
        let hash = self.hashes.within(parent, self.hashes.name(self.arena.get(id).name.as_str()));
        self.children.remove(hash, id);
        self.arena.get_mut(parent).children -= 1;
    }

    /// Puts the text of a filter together again.
    fn filter_at(&self, place: Place) -> String {
        let mut names = Vec::new();
        if place.end == End::Below {
            names.push("#");
        }
        let mut id = place.node;
        while id != EXACT && id != WILD {
            let node = self.arena.get(id);
            names.push(node.name.as_str());
            id = node.parent;
        }
        names.reverse();
        names.join("/")
    }
}
