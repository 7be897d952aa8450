//! The connections for letters: to each node that discovery finds one for each channel, dialled by the node whose letters
//! they carry. Nothing here waits for lanes, and whichever connection is answered first tells who lives at an address.
//!
//! **One at a time.** Each side keeps the newest connection of a life: the dialler numbers its attempts, and a later one
//! takes the place of an earlier one, on whatever address it was made. Of two lives of the dialler the one that greets
//! is the one that is. A connection that stands is kept when discovery does not find its address any more; it is not
//! made again.

use std::collections::BTreeMap;
use std::time::Instant;

use super::target::{Progress, Target};
use super::{Action, Attempt, Peers, number};
use crate::clock::NodeId;
use crate::dial::BackOff;
use crate::hello::{Greeting, Hello, Purpose, Refusal, RefusalReason};
use crate::letters::Channel;

/// An outgoing connection that stands: this node's letters may be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LettersUp {
    /// Who reads them.
    pub node: NodeId,
    /// Which of its lives.
    pub incarnation: u64,
    /// Its name.
    pub name: String,
    /// What they are about.
    pub channel: Channel,
}

/// An incoming connection that was accepted: letters may come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LettersFrom {
    /// Who writes them.
    pub node: NodeId,
    /// Which of its lives.
    pub incarnation: u64,
    /// Its name.
    pub name: String,
    /// What they are about.
    pub channel: Channel,
    /// To report by.
    pub connection: u64,
}

/// The connections that stand, all of nodes that are known.
#[derive(Debug, Default)]
pub(super) struct Letters {
    outgoing: BTreeMap<(NodeId, Channel), Outgoing>,
    incoming: BTreeMap<(NodeId, Channel), Incoming>,
}

#[derive(Debug)]
struct Outgoing {
    attempt: Attempt,
    since: Instant,
}

#[derive(Debug)]
struct Incoming {
    connection: u64,
    incarnation: u64,
    /// The dialler's number.
    number: u64,
}

/// The attempts to dial one address for one channel.
#[derive(Debug, Default)]
pub(super) struct Dial {
    attempt: Option<Attempt>,
    pub(super) back_off: BackOff,
}

impl Letters {
    pub(super) fn is_connected(&self, node: NodeId, channel: Channel) -> bool {
        self.outgoing.contains_key(&(node, channel))
    }

    /// Whether there is any connection with this node.
    pub(super) fn has(&self, node: NodeId) -> bool {
        let mut keys = self.outgoing.keys().chain(self.incoming.keys());
        keys.any(|(other, _)| *other == node)
    }
}

impl Dial {
    pub(super) fn attempt(&self) -> Option<Attempt> {
        self.attempt
    }

    /// Whoever was dialled is given up, and may be dialled again at once.
    pub(super) fn give_up(&mut self) -> Option<Attempt> {
        self.back_off.reset();
        self.attempt.take()
    }
}

impl Peers {
    /// The next attempt that is due.
    pub(super) fn poll_letters(&mut self, now: Instant) -> Option<Action> {
        let is_due = |target: &Target, channel| {
            target.letters(channel).back_off.is_over(now) && self.wants_letters(target, channel)
        };
        let (address, channel) = self.targets.iter().find_map(|(address, target)| {
            let channel = Channel::ALL.into_iter().find(|channel| is_due(target, *channel))?;
            Some((address.clone(), channel))
        })?;
        let attempt = Attempt(number(&mut self.next_number));
        let target = self.targets.get_mut(&address).expect("the address was just found");
        target.letters_mut(channel).attempt = Some(attempt);
        Some(Action::DialLetters { attempt, address, channel })
    }

    /// When that will be.
    pub(super) fn letters_deadlines(&self) -> impl Iterator<Item = Instant> {
        let waits = |target: &Target, channel: Channel| {
            target.letters(channel).back_off.until().filter(|_| self.wants_letters(target, channel))
        };
        let targets = self.targets.values();
        targets.flat_map(move |target| Channel::ALL.into_iter().filter_map(move |channel| waits(target, channel)))
    }

    /// Whether the node at this address, if it is known, has no connection and nobody dials it.
    fn wants_letters(&self, target: &Target, channel: Channel) -> bool {
        let is_idle = |target: &Target| target.letters(channel).attempt.is_none();
        if !self.settings.has_letters || target.progress == Progress::Itself || !is_idle(target) {
            return false;
        }
        target.node.is_none_or(|node| {
            let mut of_node = self.targets.values().filter(|other| other.node == Some(node));
            !self.letters.is_connected(node, channel) && of_node.all(is_idle)
        })
    }

    /// The connection of an attempt stands, encrypted if it has to be. Returns what to say; nothing if the attempt was
    /// given up meanwhile.
    pub fn handle_letters_connected(&mut self, attempt: Attempt, clock: u64) -> Option<Hello> {
        let (_, channel) = self.letters_target(attempt)?;
        let mut hello = self.me.hello(clock, Purpose::Letters(channel));
        hello.epoch = attempt.0;
        Some(hello)
    }

    /// The dialled node answered. Returns whom letters go to from now on, until the attempt
    /// [ends](Self::handle_letters_ended); nothing if the connection is to be closed.
    pub fn handle_letters_answer(
        &mut self,
        attempt: Attempt,
        answer: &Greeting,
        now: Instant,
        random: u32,
    ) -> Option<LettersUp> {
        let (target, channel) = self.letters_target(attempt)?;
        match answer {
            Greeting::Refusal(Refusal { reason: RefusalReason::Itself, .. }) => {
                target.letters_mut(channel).attempt = None;
                target.progress = Progress::Itself;
                None
            }
            Greeting::Refusal(Refusal { node, reason }) => {
                target.node = Some(*node);
                self.handle_letters_ended(attempt, now, random);
                self.hear_refusal(reason);
                None
            }
            Greeting::Hello(hello) => {
                target.node = Some(hello.node);
                let is_answer = hello.purpose == Purpose::Letters(channel) && hello.epoch == attempt.0;
                if !is_answer || self.check(hello).is_err() || self.meet(hello).is_err() {
                    self.handle_letters_ended(attempt, now, random);
                    return None;
                }
                let (target, _) = self.letters_target(attempt)?;
                target.letters_mut(channel).attempt = None;
                target.letters_mut(channel).back_off.accepted();
                self.take_outgoing(attempt, hello, channel, now)
            }
        }
    }

    fn take_outgoing(&mut self, attempt: Attempt, hello: &Hello, channel: Channel, now: Instant) -> Option<LettersUp> {
        let key = (hello.node, channel);
        // The other side has seen both, and keeps the later one.
        if self.letters.outgoing.get(&key).is_some_and(|other| other.attempt > attempt) {
            return None;
        }
        if let Some(other) = self.letters.outgoing.insert(key, Outgoing { attempt, since: now }) {
            self.actions.push_back(Action::Abandon { attempt: other.attempt });
        }
        Some(LettersUp { node: hello.node, incarnation: hello.incarnation, name: hello.name.clone(), channel })
    }

    /// An attempt came to nothing, or its connection, which stood, is lost. `random` is any number.
    pub fn handle_letters_ended(&mut self, attempt: Attempt, now: Instant, random: u32) {
        let settings = self.settings.back_off;
        if let Some((target, channel)) = self.letters_target(attempt) {
            let dial = target.letters_mut(channel);
            dial.attempt = None;
            dial.back_off.failed(&settings, now, random);
            return;
        }
        let standing = self.letters.outgoing.iter().find(|(_, standing)| standing.attempt == attempt);
        let Some((key @ (node, channel), since)) = standing.map(|(key, standing)| (*key, standing.since)) else {
            return;
        };
        self.letters.outgoing.remove(&key);
        for target in self.targets.values_mut().filter(|target| target.node == Some(node)) {
            target.letters_mut(channel).back_off.lost(&settings, since, now, random);
        }
    }

    /// Somebody dialled us to write letters. Returns the answer to write and what the connection carries, until it is
    /// [closed](Self::handle_letters_closed), or the refusal to write before closing.
    pub fn handle_letters_inbound(
        &mut self,
        hello: &Hello,
        channel: Channel,
        clock: u64,
    ) -> Result<(Hello, LettersFrom), Refusal> {
        self.accept_letters(hello, channel, clock).map_err(|reason| Refusal { node: self.me.node, reason })
    }

    fn accept_letters(
        &mut self,
        hello: &Hello,
        channel: Channel,
        clock: u64,
    ) -> Result<(Hello, LettersFrom), RefusalReason> {
        self.check(hello)?;
        if !self.settings.has_letters {
            return Err(RefusalReason::NoStore);
        }
        let key = (hello.node, channel);
        let incoming = &self.letters.incoming;
        let is_older = |known: &Incoming| known.incarnation == hello.incarnation && known.number >= hello.epoch;
        if incoming.get(&key).is_some_and(is_older) {
            return Err(RefusalReason::AlreadyLinked);
        }
        let max = self.settings.nodes_max;
        let of_channel = incoming.keys().filter(|(_, other)| *other == channel).count();
        if of_channel >= usize::from(max) && !incoming.contains_key(&key) {
            return Err(RefusalReason::TooManyNodes { max });
        }
        self.meet(hello)?;
        let connection = number(&mut self.next_number);
        let accepted = Incoming { connection, incarnation: hello.incarnation, number: hello.epoch };
        if let Some(Incoming { connection, .. }) = self.letters.incoming.insert(key, accepted) {
            self.actions.push_back(Action::CloseLetters { connection });
        }
        // It is there, so dialling it is worth while, wherever it is.
        for target in self.targets.values_mut() {
            if target.node.is_none_or(|node| node == hello.node) {
                Channel::ALL.into_iter().for_each(|channel| target.letters_mut(channel).back_off.reset());
            }
        }
        let mut answer = self.me.hello(clock, hello.purpose);
        answer.epoch = hello.epoch;
        let (node, incarnation, name) = (hello.node, hello.incarnation, hello.name.clone());
        Ok((answer, LettersFrom { node, incarnation, name, channel, connection }))
    }

    /// An incoming connection is closed.
    pub fn handle_letters_closed(&mut self, connection: u64) {
        self.letters.incoming.retain(|_, incoming| incoming.connection != connection);
    }

    /// Learns what a greeting for letters says of a node. It says nothing of the life of the link.
    fn meet(&mut self, hello: &Hello) -> Result<(), RefusalReason> {
        self.agree(&Hello { epoch: 0, ..hello.clone() })
    }

    /// The connections of these nodes end.
    pub(super) fn end_letters(&mut self, of: impl Fn(NodeId) -> bool) {
        let outgoing = self.letters.outgoing.extract_if(.., |(id, _), _| of(*id));
        self.actions.extend(outgoing.map(|(_, Outgoing { attempt, .. })| Action::Abandon { attempt }));
        let incoming = self.letters.incoming.extract_if(.., |(id, _), _| of(*id));
        self.actions.extend(incoming.map(|(_, Incoming { connection, .. })| Action::CloseLetters { connection }));
    }

    fn letters_target(&mut self, attempt: Attempt) -> Option<(&mut Target, Channel)> {
        self.targets.values_mut().find_map(|target| {
            let dials = |channel: &Channel| target.letters(*channel).attempt == Some(attempt);
            let channel = Channel::ALL.into_iter().find(dials)?;
            Some((target, channel))
        })
    }
}

#[cfg(test)]
mod tests;
