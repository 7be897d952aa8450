//! How much of an entry a command takes: where one entry ends and the next begins is decided here, for all who propose.
//!
//! An entry costs the same to replicate whatever is in it, so it should hold much; but whatever waits behind it waits
//! until all of it is stored and applied. A shard applies heavier ones too: builds that differ in what they propose
//! must not differ in what they do.

use std::ops::{Add, AddAssign};
use std::sync::Arc;

use crate::command::{Ack, Claim, Command, Destination, Entry, Item, Onward, Routed, Target, Wants, Will};
use crate::names::Sequence;

/// What entries are measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Weight {
    /// Sessions that get messages. Acknowledgements and filters count like those, and a command counts as one at least.
    pub targets: u64,
    /// Messages with all that is sent along, and names. Encoded there are up to 64 bytes more for each target.
    pub bytes: u64,
}

impl Weight {
    /// So many targets an entry has at most, unless they are of one message.
    pub const TARGETS_MAX: u64 = 4096;
    /// So many bytes an entry has at most, unless they are of one message.
    pub const BYTES_MAX: u64 = 256 << 10;

    /// Whether an entry that holds this is to hold that as well. One that holds nothing yet takes whatever comes.
    pub fn takes(self, more: Self) -> bool {
        let Self { targets, bytes } = self + more;
        self == Self::default() || (targets <= Self::TARGETS_MAX && bytes <= Self::BYTES_MAX)
    }
}

impl Add for Weight {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let (targets, bytes) = (self.targets.saturating_add(other.targets), self.bytes.saturating_add(other.bytes));
        Self { targets, bytes }
    }
}

impl AddAssign for Weight {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl std::iter::Sum for Weight {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Self::add)
    }
}

/// What each message and each command takes beside its parts.
const HEAD_BYTES: u64 = 128;

impl Entry {
    /// That of all its commands.
    pub fn weight(&self) -> Weight {
        self.commands.iter().map(Command::weight).sum()
    }
}

impl Item {
    /// The message, and all who get it.
    pub fn weight(&self) -> Weight {
        let Self { message, retain: _, targets } = self;
        let message = Weight { targets: 0, bytes: HEAD_BYTES + message.bytes() };
        message + targets.iter().map(target).sum()
    }
}

impl Command {
    /// What it adds to an entry.
    pub fn weight(&self) -> Weight {
        let parts = match self {
            Self::Claim(Claim { client, user, will, .. }) => {
                let will = will.as_ref().map_or(0, |Will { message, .. }| message.bytes());
                names([Some(client), user.as_ref()]) + Weight { targets: 0, bytes: will }
            }
            Self::Subscribe { client, subscriptions, .. } => {
                names([Some(client)]) + subscriptions.iter().map(|(filter, _)| part(filter.len())).sum()
            }
            Self::Unsubscribe { client, filters, .. } => {
                names([Some(client)]) + filters.iter().map(|filter| part(filter.len())).sum()
            }
            Self::Publish { items, .. } => items.iter().map(Item::weight).sum(),
            Self::Acknowledge { client, acks, .. } => names([Some(client)]) + acks.iter().map(acknowledgement).sum(),
            Self::ReceiveQos2 { client, routed: Routed { item, destinations }, .. } => {
                names([Some(client)]) + item.weight() + destinations.iter().map(destination).sum()
            }
            Self::PublishWill { targets, destinations, .. } => {
                targets.iter().map(target).sum::<Weight>() + destinations.iter().map(destination).sum()
            }
            Self::Release { client, .. } | Self::Disconnect { client, .. } | Self::End { client, .. } => {
                names([Some(client)])
            }
            Self::RouteAgain { to: Onward::Member(to), .. } => target(to),
            Self::RouteAgain { to: Onward::Destination(_) | Onward::Nobody, .. }
            | Self::Settings(_)
            | Self::NodeGone(_)
            | Self::OutboxDone { .. }
            | Self::Expire => Weight::default(),
        };
        Weight { targets: parts.targets.max(1), bytes: parts.bytes + HEAD_BYTES }
    }

    /// The same as several commands, none of which is heavier than an entry should be: a publish is cut between
    /// messages. A single message goes whole, however many get it, since it has one number in its stream, and so does
    /// any other command.
    pub fn split(self) -> Vec<Self> {
        let Self::Publish { source, mut first, items, goes_on } = self else { return vec![self] };
        let head = Weight { targets: 0, bytes: HEAD_BYTES };
        let mut weight = head;
        let mut portions = vec![Vec::new()];
        for item in items {
            let more = item.weight();
            let last = portions.last_mut().expect("there is one from the start");
            if !last.is_empty() && !weight.takes(more) {
                weight = head + more;
                portions.push(vec![item]);
            } else {
                weight += more;
                last.push(item);
            }
        }
        let last = portions.len() - 1;
        let publish = |(at, items): (usize, Vec<Item>)| {
            let number = first;
            first = first.saturating_add(items.len() as u64);
            Self::Publish { source, first: number, items, goes_on: goes_on && at == last }
        };
        portions.into_iter().enumerate().map(publish).collect()
    }
}

fn part(bytes: usize) -> Weight {
    Weight { targets: 1, bytes: bytes as u64 }
}

fn destination(destination: &Destination) -> Weight {
    let share = if let Wants::Group(share) = &destination.wants { share.len() } else { 0 };
    part(share)
}

fn names<const N: usize>(names: [Option<&Arc<str>>; N]) -> Weight {
    Weight { targets: 0, bytes: names.into_iter().flatten().map(|name| name.len() as u64).sum() }
}

fn acknowledgement(_: &(Sequence, Ack)) -> Weight {
    part(0)
}

fn target(target: &Target) -> Weight {
    let Target { client, subscription_ids, share, .. } = target;
    names([Some(client), share.as_ref()]) + part(size_of_val(subscription_ids.as_slice()))
}
