//! An entry while it is put together: commands, and who waits for what becomes of each.

use std::time::Instant;

use fulmar_raft::{Index, Term};
use fulmar_store::{Command, Entry, Item, Number, Owner, Party, Target, Ticket, Weight};

/// What goes into an entry as a whole.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) step: Step,
    /// What it adds to the entry.
    weight: Weight,
}

#[derive(Debug)]
pub(crate) enum Step {
    Command(Command, Waits),
    /// A message of this node's own stream, which gets its number when it goes into the entry.
    Item(Item, Part),
}

/// Who waits for what becomes of a command.
#[derive(Debug)]
pub(crate) enum Waits {
    Nobody,
    One(Ticket),
    Claim(Ticket, Owner),
    /// For each message.
    Publish(Vec<Part>),
}

/// A message for many sessions goes in parts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) ticket: Ticket,
    /// The targets of the parts before it.
    pub(crate) before: u32,
    /// The answer follows this one.
    pub(crate) is_last: bool,
}

impl Waits {
    /// All who wait.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = Ticket> + '_ {
        let one = match self {
            Waits::One(ticket) | Waits::Claim(ticket, _) => Some(*ticket),
            Waits::Nobody | Waits::Publish(_) => None,
        };
        let parts = if let Waits::Publish(parts) = self { &parts[..] } else { &[] };
        one.into_iter().chain(parts.iter().filter(|part| part.is_last).map(|part| part.ticket))
    }
}

impl Piece {
    pub(crate) fn command(command: Command, waits: Waits) -> Self {
        let weight = command.weight();
        Self { step: Step::Command(command, waits), weight }
    }

    /// A message, in as many parts as its targets make necessary.
    pub(crate) fn items(item: Item, ticket: Ticket, targets_max: usize) -> impl Iterator<Item = Self> {
        let Item { message, mut retain, targets } = item;
        let parts = targets.len().div_ceil(targets_max).max(1);
        let mut targets = targets.into_iter();
        let mut before = 0;
        (1..=parts).map(move |number| {
            let targets: Vec<Target> = targets.by_ref().take(targets_max).collect();
            let part = Part { ticket, before, is_last: number == parts };
            before += u32::try_from(targets.len()).expect("a shard has far less than 2^32 sessions");
            let item = Item { message: message.clone(), retain: retain.take(), targets };
            let weight = item.weight();
            Self { step: Step::Item(item, part), weight }
        })
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) commands: Vec<Command>,
    /// For each command.
    pub(crate) waits: Vec<Waits>,
    weight: Weight,
}

impl Draft {
    pub(crate) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Whether a piece goes into this entry: always into an empty one.
    pub(crate) fn fits(&self, piece: &Piece, weight_max: Weight) -> bool {
        let Weight { targets, bytes } = self.weight + piece.weight;
        self.is_empty() || (targets <= weight_max.targets && bytes <= weight_max.bytes)
    }

    /// `number` is the next one of the stream of `source`, to which messages belong.
    pub(crate) fn add(&mut self, piece: Piece, source: Party, number: &mut Number) {
        let Piece { step, weight } = piece;
        self.weight += weight;
        match step {
            Step::Command(command, waits) => {
                self.commands.push(command);
                self.waits.push(waits);
            }
            Step::Item(item, part) => {
                let last = self.commands.last_mut().zip(self.waits.last_mut());
                if let Some((Command::Publish { source: same, items, .. }, Waits::Publish(parts))) = last
                    && *same == source
                {
                    items.push(item);
                    parts.push(part);
                } else {
                    self.commands.push(Command::Publish { source, first: *number, items: vec![item] });
                    self.waits.push(Waits::Publish(vec![part]));
                }
                *number += 1;
            }
        }
    }
}

/// An entry that this node has proposed as a leader and that is not committed yet, as far as it knows.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) term: Term,
    pub(crate) index: Index,
    pub(crate) entry: Entry,
    pub(crate) waits: Vec<Waits>,
    /// When it was proposed, to be counted.
    pub(crate) since: Instant,
}

impl Step {
    /// All who wait for it.
    pub(crate) fn tickets(self) -> Vec<Ticket> {
        match self {
            Step::Command(_, waits) => waits.tickets().collect(),
            Step::Item(_, part) => part.is_last.then_some(part.ticket).into_iter().collect(),
        }
    }
}
