//! What is wanted of this node's drain, and who waits to hear what became of that.
//!
//! The cluster keeps whether a node drains. What somebody wanted here is asked of it until it says so, and again if it
//! says otherwise later, as it does when an order that was overtaken arrives after all.

use std::time::{Duration, Instant};

use fulmar_meta::{Advice, Answer, Command, NodeId, Purpose};
use tokio::sync::oneshot::Sender;

use crate::admin::{DrainReport, Ordered, Refused};

/// An answer of the leader may be here before the entry that it speaks of.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Drains {
    /// The last order: the drain that this node is to have. None: whatever the cluster says.
    wanted: Option<Option<Purpose>>,
    /// Asked of the cluster, and not answered.
    asked: Option<Command>,
    ask_at: Option<Instant>,
    waiting: Vec<Sender<Ordered>>,
    /// Whoever is told to stop takes no orders.
    is_stopping: bool,
}

/// What the cluster says of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) node: NodeId,
    /// In this life.
    pub(super) is_live: bool,
    pub(super) drain: Option<Purpose>,
}

impl Drains {
    /// Somebody orders a drain, or that there is none.
    pub(super) fn order(&mut self, wanted: Option<Purpose>, found: Option<Found>, reply: Sender<Ordered>) {
        self.waiting.retain(|waiting| !waiting.is_closed());
        let refuse = |text: &str, reply: Sender<Ordered>| drop(reply.send(Err(Refused(text.to_owned()))));
        if self.is_stopping {
            return refuse("this node was told to stop", reply);
        }
        if found.is_none() {
            return refuse("this node is no member of the cluster yet", reply);
        }
        if self.wanted != Some(wanted) {
            self.refuse_all("another order came after this one");
            (self.wanted, self.ask_at) = (Some(wanted), None);
        }
        self.waiting.push(reply);
    }

    /// The node was told to stop: it hands over, unless it does so already.
    pub(super) fn stop(&mut self, found: Option<Found>) {
        if std::mem::replace(&mut self.is_stopping, true) {
            return;
        }
        self.refuse_all("this node was told to stop");
        // Who leaves for good does not become one that comes back.
        let drain = found.and_then(|found| found.drain);
        (self.wanted, self.ask_at) = (Some(drain.or(Some(Purpose::Restart))), None);
    }

    /// Whether the node was told to stop.
    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// Whether somebody waits to hear what the cluster says.
    pub(super) fn has_come_to_be(&self, found: Option<Found>) -> bool {
        !self.waiting.is_empty() && found.is_some_and(|found| self.wanted == Some(found.drain))
    }

    /// Whoever waits is told.
    pub(super) fn tell(&mut self, report: DrainReport) {
        self.waiting.drain(..).for_each(|reply| drop(reply.send(Ok(report))));
    }

    /// What is to be asked of the cluster now, by [`Drains::asks`].
    pub(super) fn next(&mut self, found: Option<Found>, now: Instant) -> Option<Command> {
        let Found { node, is_live, drain } = found?;
        if self.wanted.is_none() && is_live && drain == Some(Purpose::Restart) {
            // It is back: this was said of a life that is over, and came late.
            self.wanted = Some(None);
        }
        let wanted = self.wanted?;
        if drain == wanted {
            return None;
        }
        let command = match wanted {
            Some(purpose) => Command::Drain { node, purpose },
            None => Command::CancelDrain { node },
        };
        let is_due = self.ask_at.is_none_or(|at| at <= now);
        (is_due && self.asked.as_ref() != Some(&command)).then_some(command)
    }

    /// This was asked of the cluster.
    pub(super) fn asks(&mut self, command: Command, now: Instant) {
        (self.asked, self.ask_at) = (Some(command), Some(now + ASK_AGAIN));
    }

    /// The cluster has answered.
    pub(super) fn answered(&mut self, command: &Command, answer: &Answer, now: Instant) {
        if self.asked.as_ref() != Some(command) {
            return;
        }
        (self.asked, self.ask_at) = (None, Some(now + ASK_AGAIN));
        if !matches!(answer.advice, Advice::Done | Advice::Retry) {
            self.refuse_all(&answer.text);
            self.wanted = None;
        }
    }

    fn refuse_all(&mut self, text: &str) {
        self.waiting.drain(..).for_each(|reply| drop(reply.send(Err(Refused(text.to_owned())))));
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::{Receiver, channel};

    use super::*;
    use crate::admin::DrainState;

    const LEAVE: Option<Purpose> = Some(Purpose::Leave);
    const RESTART: Option<Purpose> = Some(Purpose::Restart);

    fn found(drain: Option<Purpose>) -> Option<Found> {
        Some(Found { node: 1, is_live: true, drain })
    }

    fn report() -> DrainReport {
        DrainReport { state: DrainState::None, purpose: None, leaders: 1, replicas: 2, clients: 3 }
    }

    fn drain(purpose: Purpose) -> Command {
        Command::Drain { node: 1, purpose }
    }

    const CANCEL: Command = Command::CancelDrain { node: 1 };

    fn done() -> Answer {
        Answer { advice: Advice::Done, text: "".into() }
    }

    struct Bed {
        drains: Drains,
        now: Instant,
    }

    impl Bed {
        fn new() -> Bed {
            Bed { drains: Drains::default(), now: Instant::now() }
        }

        fn order(&mut self, wanted: Option<Purpose>, found: Option<Found>) -> Receiver<Ordered> {
            let (reply, answered) = channel();
            self.drains.order(wanted, found, reply);
            answered
        }

        /// What is asked, long after what was asked before.
        fn ask(&mut self, found: Option<Found>) -> Option<Command> {
            self.now += Duration::from_secs(1);
            if self.drains.has_come_to_be(found) {
                self.drains.tell(report());
            }
            let command = self.drains.next(found, self.now)?;
            self.drains.asks(command.clone(), self.now);
            Some(command)
        }

        fn answered(&mut self, command: &Command, answer: &Answer) {
            self.drains.answered(command, answer, self.now);
        }
    }

    fn refused(text: &str) -> Ordered {
        Err(Refused(text.to_owned()))
    }

    #[test]
    fn an_order_is_answered_when_the_cluster_says_so() {
        let mut bed = Bed::new();
        assert_eq!(bed.ask(found(None)), None, "nobody wants anything");
        assert_eq!(bed.ask(found(LEAVE)), None, "it goes on after a restart");
        let mut first = bed.order(LEAVE, found(None));
        assert_eq!(bed.ask(found(None)), Some(drain(Purpose::Leave)));
        let mut second = bed.order(LEAVE, found(None));
        assert_eq!(bed.ask(found(None)), None, "it is asked already");
        bed.answered(&drain(Purpose::Leave), &done());
        assert_eq!(bed.drains.next(found(None), bed.now), None, "the entry is on its way");
        assert!(first.try_recv().is_err());
        assert_eq!(bed.ask(found(LEAVE)), None);
        assert_eq!([first.try_recv(), second.try_recv()], [Ok(Ok(report())), Ok(Ok(report()))]);
        assert_eq!(bed.ask(found(None)), Some(drain(Purpose::Leave)), "an older order came late");
    }

    #[test]
    fn the_last_order_counts() {
        let mut bed = Bed::new();
        let mut first = bed.order(LEAVE, found(None));
        assert_eq!(bed.ask(found(None)), Some(drain(Purpose::Leave)));
        let mut last = bed.order(None, found(None));
        assert_eq!(first.try_recv(), Ok(refused("another order came after this one")));
        assert_eq!(bed.ask(found(None)), None);
        assert_eq!(last.try_recv(), Ok(Ok(report())));
        assert_eq!(bed.ask(found(LEAVE)), Some(CANCEL), "the first one came to be");
        bed.answered(&drain(Purpose::Leave), &done());
        assert_eq!(bed.ask(found(LEAVE)), None, "that was about another question");
    }

    #[test]
    fn a_refusal_is_told_in_its_words_and_ends_the_order() {
        let mut bed = Bed::new();
        let mut order = bed.order(LEAVE, found(None));
        let asked = bed.ask(found(None)).unwrap();
        bed.answered(&asked, &Answer { advice: Advice::GiveUp, text: "it is the last one".into() });
        assert_eq!(order.try_recv(), Ok(refused("it is the last one")));
        assert_eq!(bed.ask(found(None)), None);
        let mut early = bed.order(LEAVE, None);
        assert_eq!(early.try_recv(), Ok(refused("this node is no member of the cluster yet")));
    }

    #[test]
    fn who_stops_comes_back_unless_it_leaves() {
        let mut bed = Bed::new();
        bed.drains.stop(found(None));
        assert_eq!(bed.ask(found(None)), Some(drain(Purpose::Restart)));
        let mut late = bed.order(None, found(None));
        assert_eq!(late.try_recv(), Ok(refused("this node was told to stop")));
        let mut bed = Bed::new();
        let mut order = bed.order(LEAVE, found(None));
        bed.drains.stop(found(LEAVE));
        assert_eq!(order.try_recv(), Ok(refused("this node was told to stop")));
        assert_eq!(bed.ask(found(LEAVE)), None);
    }

    #[test]
    fn a_drain_of_a_life_that_is_over_is_taken_back() {
        let mut bed = Bed::new();
        assert_eq!(bed.ask(Some(Found { is_live: false, ..found(RESTART).unwrap() })), None, "its next boot ends it");
        assert_eq!(bed.ask(found(RESTART)), Some(CANCEL));
        assert_eq!(bed.ask(found(None)), None);
    }
}
