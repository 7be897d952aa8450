//! What this node wants of the leader of group 0, again and again until it is committed.

use std::time::Duration;

use fulmar_meta::{Command, Moment};

/// An answered command is asked for this much less often: its effect is on its way.
const ANSWERED_WAITS: u32 = 4;

#[derive(Debug, Clone, Default)]
pub(crate) struct Asks {
    /// Numbers are never used again, in whatever life.
    last_number: u64,
    open: Vec<Asked>,
    /// Commands that the program asked for, and wants to know the answer of.
    pub(crate) of_program: Vec<Command>,
    /// How often something had to be asked again.
    pub(crate) asked_again: u64,
}

#[derive(Debug, Clone)]
struct Asked {
    number: u64,
    command: Command,
    sent: Option<Moment>,
    is_answered: bool,
    times: u64,
}

impl Asks {
    /// This is wanted, besides what the program asked for, and nothing else.
    pub(crate) fn follow(&mut self, wanted: Vec<Command>) {
        let of_program = self.of_program.iter().cloned();
        let mut old = std::mem::take(&mut self.open);
        for command in wanted.into_iter().chain(of_program) {
            let known = old.iter().position(|asked| asked.command == command).map(|at| old.swap_remove(at));
            let asked = known.unwrap_or_else(|| {
                self.last_number += 1;
                Asked { number: self.last_number, command, sent: None, is_answered: false, times: 0 }
            });
            self.open.push(asked);
        }
    }

    /// A new life begins; nothing that was asked before counts.
    pub(crate) fn forget(&mut self) {
        self.open.clear();
    }

    /// Another leader is asked at once.
    pub(crate) fn hurry(&mut self) {
        self.open.iter_mut().for_each(|asked| (asked.sent, asked.is_answered) = (None, false));
    }

    /// What is to be sent now.
    pub(crate) fn due(&mut self, now: Moment, interval: Duration) -> Vec<(u64, Command)> {
        let mut due = Vec::new();
        for asked in self.open.iter_mut().filter(|asked| asked.due_at(interval).is_none_or(|at| at <= now)) {
            self.asked_again += u64::from(asked.times > 0);
            asked.times += 1;
            asked.sent = Some(now);
            due.push((asked.number, asked.command.clone()));
        }
        due
    }

    pub(crate) fn next_deadline(&self, interval: Duration) -> Option<Moment> {
        self.open.iter().map(|asked| asked.due_at(interval).unwrap_or_default()).min()
    }

    /// The command that an answer is for. One that is done is asked for less often from now on.
    pub(crate) fn answered(&mut self, number: u64, is_done: bool) -> Option<Command> {
        let asked = self.open.iter_mut().find(|asked| asked.number == number)?;
        asked.is_answered |= is_done;
        Some(asked.command.clone())
    }
}

impl Asked {
    fn due_at(&self, interval: Duration) -> Option<Moment> {
        let interval = if self.is_answered { interval * ANSWERED_WAITS } else { interval };
        self.sent.map(|sent| sent + interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(300);

    fn at(millis: u64) -> Moment {
        Moment(Duration::from_millis(millis))
    }

    #[test]
    fn what_is_wanted_is_asked_for_again_until_it_is_not_wanted() {
        let (one, two) = (Command::CancelDrain { node: 1 }, Command::CancelDrain { node: 2 });
        let mut asks = Asks::default();
        asks.follow(vec![one.clone()]);
        assert_eq!(asks.due(at(0), INTERVAL), [(1, one.clone())]);
        asks.follow(vec![two.clone(), one.clone()]);
        assert_eq!(asks.due(at(299), INTERVAL), [(2, two.clone())]);
        assert_eq!(asks.due(at(300), INTERVAL), [(1, one.clone())]);
        assert_eq!(asks.asked_again, 1);
        asks.hurry();
        assert_eq!(asks.due(at(301), INTERVAL), [(2, two.clone()), (1, one)]);
        asks.follow(vec![two.clone()]);
        assert_eq!(asks.answered(1, true), None, "nobody waits for that any more");
        assert_eq!(asks.answered(2, true), Some(two.clone()));
        assert_eq!(asks.due(at(1500), INTERVAL), []);
        assert_eq!(asks.next_deadline(INTERVAL), Some(at(1501)));
        assert_eq!(asks.due(at(1501), INTERVAL), [(2, two)]);
    }

    #[test]
    fn a_number_is_never_used_again() {
        let one = Command::CancelDrain { node: 1 };
        let mut asks = Asks::default();
        asks.follow(vec![one.clone()]);
        asks.forget();
        asks.follow(vec![one.clone()]);
        assert_eq!(asks.due(at(0), INTERVAL), [(2, one)]);
    }
}
