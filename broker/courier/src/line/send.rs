//! Letters of what is to be sent, as much as may be on its way.

use std::time::Instant;

use fulmar_store::{Ask, Epoch};

use super::{Around, Handle, Line, ticket};
use crate::courier::Output;
use crate::letter::{AskLetter, Asking};
use crate::settings::{Settings, sabotaged};
use crate::weight;

/// What goes next.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// It is served here.
    Attach(Handle),
    /// It is asked.
    Ask(u64),
}

impl Line {
    /// Sends what may be sent now.
    pub(crate) fn send(&mut self, now: Instant, with: &mut Around<'_>) {
        if self.next_step(with.settings).is_none() || !self.way.aim(with.me.id, with.connected, now) {
            return;
        }
        let Some(to) = self.way.target() else { return };
        let (shard, run, term) = (self.shard, self.run, self.term);
        if term.is_none() {
            if !self.is_run_used {
                self.is_run_used = true;
                let letter = AskLetter { from: with.me, shard, run, term, asks: Vec::new() };
                with.out.push(Output::Send { to, letter });
            }
            return;
        }
        loop {
            let asks = self.next_asks(with);
            if asks.is_empty() {
                return;
            }
            let letter = AskLetter { from: with.me, shard, run, term, asks };
            with.out.push(Output::Send { to, letter });
        }
    }

    /// What fits into a letter, in order.
    fn next_asks(&mut self, with: &mut Around<'_>) -> Vec<Asking> {
        let (mut asks, mut bytes) = (Vec::new(), 0);
        while let Some(step) = self.next_step(with.settings) {
            let takes = self.weight_of(step);
            let is_room = asks.is_empty() || bytes + takes <= with.settings.letter_bytes_max;
            let is_credit = self.in_flight == 0 || self.in_flight + takes <= with.settings.in_flight_bytes_max;
            if !is_room || !is_credit {
                break;
            }
            bytes += takes;
            self.in_flight += takes;
            asks.extend(self.take(step, takes, with));
        }
        asks
    }

    fn next_step(&mut self, settings: &Settings) -> Option<Step> {
        let attaches = !sabotaged!(settings, AttachForgotten);
        if attaches
            && self.attaching.len() < settings.attaches_max
            && let Some(handle) = self.sessions.next_to_attach(self.run)
        {
            return Some(Step::Attach(handle));
        }
        let (id, kept) = self.asks.range(self.unsent_from..).next()?;
        // Nothing is asked in the name of a session of which the leader may not know.
        let session = epoch_of(&kept.ask).and_then(|epoch| self.sessions.of_epoch(epoch));
        match session.filter(|handle| attaches && !self.sessions.is_attached(*handle, self.run)) {
            Some(handle) => Some(Step::Attach(handle)),
            None => Some(Step::Ask(*id)),
        }
    }

    fn weight_of(&self, step: Step) -> usize {
        match step {
            Step::Attach(handle) => weight::HEAD + self.sessions.name_bytes(handle),
            Step::Ask(id) => self.asks[&id].bytes,
        }
    }

    fn take(&mut self, step: Step, bytes: usize, with: &mut Around<'_>) -> Option<Asking> {
        match step {
            Step::Attach(handle) => {
                with.counted.attached += 1;
                let ask = self.sessions.attaching(handle, self.shard, self.run)?;
                let id = with.next_id();
                self.attaching.insert(id, (handle, bytes));
                Some(Asking { ticket: ticket(id, self.run), number: None, ask })
            }
            Step::Ask(id) => {
                let kept = self.asks.get_mut(&id)?;
                with.counted.sent += 1;
                with.counted.sent_again += u64::from(kept.run > 0);
                (kept.run, self.unsent_from) = (self.run, id + 1);
                if let (Ask::Claim { owner, .. }, Some(handle)) = (&mut kept.ask, kept.session) {
                    *owner = self.sessions.attach(handle, self.shard, self.run)?;
                }
                Some(Asking { ticket: ticket(id, self.run), number: kept.number, ask: kept.ask.clone() })
            }
        }
    }
}

/// As which owner of a session it is asked.
fn epoch_of(ask: &Ask) -> Option<Epoch> {
    match ask {
        Ask::Subscribe { epoch, .. }
        | Ask::Unsubscribe { epoch, .. }
        | Ask::ReceiveQos2 { epoch, .. }
        | Ask::Release { epoch, .. }
        | Ask::Acknowledge { epoch, .. } => Some(*epoch),
        // The session of a Disconnect is served no more.
        Ask::Claim { .. }
        | Ask::Attach { .. }
        | Ask::Publish { .. }
        | Ask::Disconnect { .. }
        | Ask::End { .. }
        | Ask::Adopted { .. }
        | Ask::WillDone { .. } => None,
    }
}
