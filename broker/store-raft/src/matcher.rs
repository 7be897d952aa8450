//! Who of a shard's sessions gets a message: its subscriptions as a trie, kept by what entries change.
//!
//! A session is in the trie by its place in a slab as long as it has subscriptions. What is matched is told with the
//! session's generation, so that a session that ends before the entry is committed passes nothing on to a later one of
//! the same name.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use fulmar_codec::QoS;
use fulmar_router::{Matches, Member, NodeIndex, Options, SharedRef, SubscriberId, Trie};
use fulmar_store::{ClientId, Generation, Message, Shard, Subscription, SubscriptionChange, Target};

/// See the [module](self).
pub(crate) struct Matcher {
    trie: Trie,
    places: Vec<Place>,
    free: Vec<u32>,
    of_client: BTreeMap<ClientId, u32>,
    /// What was found last; empty in between.
    found: Found,
}

/// A session with subscriptions.
#[derive(Clone)]
struct Place {
    client: ClientId,
    generation: Generation,
    subscriptions: u32,
}

#[derive(Default)]
struct Found(Vec<(u32, Options)>);

impl Matches for Found {
    fn local(&mut self, subscriber: SubscriberId, options: Options) {
        self.0.push((subscriber.slot, options));
    }

    fn remote(&mut self, _: NodeIndex) {}

    fn shared(&mut self, _: SharedRef<'_>) {}
}

/// A filter that the first session of the shard has now, or that the last one has no more.
pub(crate) struct Interest<'a> {
    pub(crate) share: Option<&'a str>,
    pub(crate) filter: &'a str,
    pub(crate) begins: bool,
}

impl Matcher {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            trie: Trie::new(seed),
            places: Vec::new(),
            free: Vec::new(),
            of_client: BTreeMap::new(),
            found: Found::default(),
        }
    }

    /// With the subscriptions that a shard has.
    pub(crate) fn of(shard: &Shard, seed: u64) -> Self {
        let mut matcher = Self::new(seed);
        for (client, generation, filter, subscription) in shard.subscriptions() {
            matcher.subscribe(client, generation, filter, subscription);
        }
        matcher
    }

    /// A subscription changed. Whether somebody's interest begins or ends with that.
    pub(crate) fn change<'a>(&mut self, change: &'a SubscriptionChange) -> Option<Interest<'a>> {
        let SubscriptionChange { client, generation, filter, subscription, .. } = change;
        let is_edge = match subscription {
            Some(subscription) => self.subscribe(client, *generation, filter, subscription),
            None => self.unsubscribe(client, filter),
        };
        let (share, filter) = split_share(filter);
        is_edge.then_some(Interest { share, filter, begins: subscription.is_some() })
    }

    /// Whether it is the first one.
    fn subscribe(
        &mut self,
        client: &ClientId,
        generation: Generation,
        filter: &str,
        subscription: &Subscription,
    ) -> bool {
        let slot = match self.of_client.get(client) {
            Some(slot) => *slot,
            None => self.place(client, generation),
        };
        let (subscriber, options) = (subscriber(slot), options_of(subscription));
        let (share, plain) = split_share(filter);
        let subscribed = match share {
            Some(group) => self.trie.subscribe_shared(group, plain, subscriber, options),
            None => self.trie.subscribe(plain, subscriber, options),
        };
        self.places[slot as usize].subscriptions += u32::from(subscribed.new);
        subscribed.first
    }

    /// Whether it was the last one.
    fn unsubscribe(&mut self, client: &ClientId, filter: &str) -> bool {
        let Some(&slot) = self.of_client.get(client) else { return false };
        let (share, plain) = split_share(filter);
        let unsubscribed = match share {
            Some(group) => self.trie.unsubscribe_shared(group, plain, subscriber(slot)),
            None => self.trie.unsubscribe(plain, subscriber(slot)),
        };
        let place = &mut self.places[slot as usize];
        place.subscriptions -= u32::from(unsubscribed.existed);
        if place.subscriptions == 0 {
            self.of_client.remove(client);
            self.free.push(slot);
        }
        unsubscribed.last
    }

    fn place(&mut self, client: &ClientId, generation: Generation) -> u32 {
        let place = Place { client: client.clone(), generation, subscriptions: 0 };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.places[slot as usize] = place;
                slot
            }
            None => {
                self.places.push(place);
                u32::try_from(self.places.len() - 1).expect("a shard has far less than 2^32 sessions")
            }
        };
        self.of_client.insert(client.clone(), slot);
        slot
    }

    /// The sessions that have subscribed to a message's topic outside of shared subscriptions, each once: with the
    /// highest quality of service that it asked for, and all identifiers (MQTT 5.0, 3.3.4).
    pub(crate) fn matching(&mut self, message: &Message, publisher: Option<&ClientId>) -> Vec<Target> {
        let mut found = std::mem::take(&mut self.found);
        self.trie.matches(message.topic(), &mut found);
        found.0.sort_unstable();
        let targets = found.0.chunk_by(|a, b| a.0 == b.0).filter_map(|of_one| {
            let place = &self.places[of_one.first()?.0 as usize];
            let is_own = publisher == Some(&place.client);
            let wanted = of_one.iter().map(|(_, options)| *options).filter(|options| !(is_own && options.no_local()));
            target(place, message, wanted, None)
        });
        let targets = targets.collect();
        found.0.clear();
        self.found = found;
        targets
    }

    /// The member of a shared group, named with its whole `$share/GROUP/FILTER`, whose turn it is: one with a client that is connected, if there is one. Members
    /// that asked for QoS 0 have no turn, as nothing waits for them here.
    pub(crate) fn in_turn(&mut self, name: &Arc<str>, message: &Message, shard: &Shard) -> Option<Target> {
        let (Some(group), filter) = split_share(name) else { return None };
        let shared = self.trie.shared_group(group, filter)?;
        let mut left = Vec::new();
        let mut present = None;
        for member in shared.members_in_turn(0, 0).filter(is_waited_for) {
            let place = &self.places[member.subscriber.slot as usize];
            if shard.session(&place.client).is_some_and(|session| session.owner.is_some()) {
                present = Some(member);
                break;
            }
            left.push(member);
        }
        let member = present.or_else(|| shared.absent_in_turn().find(is_waited_for)).or_else(|| left.first().copied());
        let target = member.and_then(|Member { subscriber, options }| {
            target(&self.places[subscriber.slot as usize], message, [options].into_iter(), Some(name))
        });
        // Whose client has left since its last turn is asked no more until it comes back.
        for member in left {
            self.trie.set_shared_absent(group, filter, member.subscriber);
        }
        target
    }

    /// Whether a shared group has members in this shard for whom messages wait.
    pub(crate) fn has_members(&self, name: &str) -> bool {
        let (Some(group), filter) = split_share(name) else { return false };
        let shared = self.trie.shared_group(group, filter);
        shared.is_some_and(|shared| shared.present().chain(shared.absent.iter().copied()).any(|it| is_waited_for(&it)))
    }

    /// A client is connected: it takes its turns again.
    pub(crate) fn came_back(&mut self, client: &ClientId, shard: &Shard) {
        let Some(&slot) = self.of_client.get(client) else { return };
        for (filter, subscription) in shard.subscriptions_of(client) {
            if let (Some(group), plain) = split_share(filter) {
                self.trie.subscribe_shared(group, plain, subscriber(slot), options_of(subscription));
            }
        }
    }
}

/// A session that gets a message by all these of its subscriptions. None if it wants it with QoS 0 only.
fn target(
    place: &Place,
    message: &Message,
    wanted: impl Iterator<Item = Options>,
    share: Option<&Arc<str>>,
) -> Option<Target> {
    let Place { client, generation, .. } = place;
    let (mut highest, mut retain, mut subscription_ids) = (QoS::AtMostOnce, false, Vec::<NonZeroU32>::new());
    for options in wanted {
        highest = highest.max(options.qos());
        retain |= options.retain_as_published();
        subscription_ids.extend(options.subscription_id());
    }
    let qos = highest.min(message.qos);
    let retain = retain && message.retain;
    let target = Target {
        client: client.clone(),
        generation: *generation,
        qos,
        retain,
        subscription_ids,
        share: share.cloned(),
    };
    (qos != QoS::AtMostOnce).then_some(target)
}

fn is_waited_for(member: &Member) -> bool {
    member.options.qos() != QoS::AtMostOnce
}

fn subscriber(slot: u32) -> SubscriberId {
    SubscriberId { thread: 0, generation: 0, slot }
}

fn options_of(subscription: &Subscription) -> Options {
    let Subscription { options, id } = subscription;
    Options::new(options.qos)
        .with_no_local(options.no_local)
        .with_retain_as_published(options.retain_as_published)
        .with_subscription_id(*id)
}

/// The group of a shared subscription, and its filter (MQTT 5.0, 4.8.2).
pub(crate) fn split_share(filter: &str) -> (Option<&str>, &str) {
    match filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/')) {
        Some((group, filter)) => (Some(group), filter),
        None => (None, filter),
    }
}
