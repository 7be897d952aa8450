//! An entry while it is put together: commands, and who waits for what becomes of each.

use std::time::Instant;

use fulmar_raft::{Index, Term};
use fulmar_store::{Command, Entry, Item, Node, Number, Owner, Party, Sequence, Target, Weight};

use crate::asked::Asker;

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
    /// A message of a node's stream. One without a number there gets the next one of this node's own stream when it
    /// goes into the entry.
    Item(Item, Part),
}

/// Who waits for what becomes of a command.
#[derive(Debug)]
pub(crate) enum Waits {
    Nobody,
    One(Asker),
    Claim(Asker, Owner),
    /// Deliveries are to go on from there.
    Attach(Asker, Owner, Sequence),
    /// That this node led when it was asked for what subscriptions there are: by whom, and which time it was.
    Proof(Node, u64),
    /// For each message.
    Publish(Vec<Part>),
}

/// A message for many sessions goes in parts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) asker: Asker,
    /// Its place in the stream of the node that asks. All parts of a message have the same, if it has one.
    pub(crate) number: Option<Number>,
    /// The targets of the parts before it.
    pub(crate) before: u32,
    /// The answer follows this one.
    pub(crate) is_last: bool,
}

impl Waits {
    /// All who wait for an answer.
    pub(crate) fn askers(&self) -> impl Iterator<Item = Asker> + '_ {
        let one = match self {
            Waits::One(asker) | Waits::Claim(asker, _) | Waits::Attach(asker, ..) => Some(*asker),
            Waits::Nobody | Waits::Proof(..) | Waits::Publish(_) => None,
        };
        let parts = if let Waits::Publish(parts) = self { &parts[..] } else { &[] };
        one.into_iter().chain(parts.iter().filter(|part| part.is_last).map(|part| part.asker))
    }
}

impl Piece {
    pub(crate) fn command(command: Command, waits: Waits) -> Self {
        let weight = command.weight();
        Self { step: Step::Command(command, waits), weight }
    }

    /// A message, in as many parts as its targets make necessary: these are in the order of their clients.
    pub(crate) fn items(
        item: Item,
        asker: Asker,
        number: Option<Number>,
        targets_max: usize,
    ) -> impl Iterator<Item = Self> {
        let Item { message, mut retain, targets } = item;
        let parts = targets.len().div_ceil(targets_max).max(1);
        let mut targets = targets.into_iter();
        let mut before = 0;
        (1..=parts).map(move |at| {
            let targets: Vec<Target> = targets.by_ref().take(targets_max).collect();
            let part = Part { asker, number, before, is_last: at == parts };
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

    /// `next` is the next number of this node's own stream.
    pub(crate) fn add(&mut self, piece: Piece, me: Node, next: &mut Number) {
        let Piece { step, weight } = piece;
        self.weight += weight;
        match step {
            Step::Command(command, waits) => {
                self.commands.push(command);
                self.waits.push(waits);
            }
            Step::Item(item, part) => {
                let (node, number) = match part.number {
                    Some(number) => (part.asker.origin, number),
                    None => {
                        *next += 1;
                        (me, *next - 1)
                    }
                };
                self.add_item(Party::Node(node), number, item, part);
            }
        }
    }

    /// Messages that follow each other in one stream are one command. What comes in parts ends it with each of them.
    fn add_item(&mut self, source: Party, number: Number, item: Item, part: Part) {
        let is_part = part.number.is_some() && !part.is_last;
        if let Some((Command::Publish { source: same, first, items, goes_on }, Waits::Publish(parts))) =
            self.commands.last_mut().zip(self.waits.last_mut())
            && (*same, *goes_on, *first + items.len() as u64) == (source, false, number)
        {
            items.push(item);
            parts.push(part);
            *goes_on = is_part;
        } else {
            self.commands.push(Command::Publish { source, first: number, items: vec![item], goes_on: is_part });
            self.waits.push(Waits::Publish(vec![part]));
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
    pub(crate) fn askers(self) -> Vec<Asker> {
        match self {
            Step::Command(_, waits) => waits.askers().collect(),
            Step::Item(_, part) => part.is_last.then_some(part.asker).into_iter().collect(),
        }
    }
}
