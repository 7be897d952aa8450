//! What leaders tell of what they were asked, and of sessions that are served here.

use std::time::Instant;

use fulmar_store::{Answer, Ask, Claimed, Epoch, Owner, Refusal, Reply, Told, WillFate};

use super::{Around, Failure, Handle, Kept, Line, id_of, run_of};
use crate::letter::Written;
use crate::settings::sabotaged;
use crate::weight;

impl Line {
    /// Something that the desk of a node has written.
    pub(crate) fn hear(&mut self, written: Written, now: Instant, with: &mut Around<'_>) {
        match written {
            Written::Told(told) => self.told(told, now, with),
            Written::Welcome { run, term } if run == self.run => {
                self.term = Some(term);
                self.way.found();
            }
            Written::Refused { run, leader } if run == self.run => {
                self.fail(Failure::NotLeader(leader), now, with);
            }
            Written::Welcome { .. } | Written::Refused { .. } => with.counted.late += 1,
        }
    }

    /// Something told by the engine of a node.
    fn told(&mut self, told: Told, now: Instant, with: &mut Around<'_>) {
        match told {
            Told::Answer { number, answer } => self.answered(number, answer, now, with),
            Told::Deliver { owner: wire, epoch, deliveries } => {
                let run = Some(self.run).filter(|_| !sabotaged!(with.settings, OldAttachmentTold));
                match self.sessions.deliver(wire, epoch, deliveries, run) {
                    Some((owner, deliveries)) if !deliveries.is_empty() => {
                        with.tell(owner.thread, Told::Deliver { owner, epoch, deliveries });
                    }
                    _ => with.counted.late += 1,
                }
            }
            Told::TakenOver { owner: wire, epoch } => {
                self.session_over(wire, epoch, |owner| Told::TakenOver { owner, epoch }, with);
            }
            Told::Ended { owner: wire, epoch } => {
                self.session_over(wire, epoch, |owner| Told::Ended { owner, epoch }, with);
            }
            // These are for data threads of the leader's own node, and come to nobody's courier.
            Told::Orphan { .. } | Told::Will { .. } => with.counted.senseless += 1,
        }
    }

    /// That a session is over is so whatever its attachment.
    fn session_over(&mut self, wire: Owner, epoch: Epoch, told: impl FnOnce(Owner) -> Told, with: &mut Around<'_>) {
        if !self.sessions.is_owned(wire.slot, epoch) {
            with.counted.late += 1;
        } else if let Some((owner, _)) = self.sessions.end(wire.slot) {
            with.tell(owner.thread, told(owner));
        }
    }

    fn answered(&mut self, ticket: u64, answer: Answer, now: Instant, with: &mut Around<'_>) {
        let id = id_of(ticket);
        let is_of_this_run = run_of(ticket) == self.run as u16;
        if let Some(failure) = failure(&answer) {
            if is_of_this_run && self.is_run_used {
                self.fail(failure, now, with);
            } else {
                with.counted.late += 1;
            }
            return;
        }
        self.way.progressed();
        if let Some((handle, bytes)) = self.attaching.remove(&id) {
            self.in_flight -= bytes;
            return self.attached(handle, &answer, with);
        }
        let Some(kept) = self.asks.get(&id) else { return with.counted.late += 1 };
        match answer {
            Answer::Reply(Reply::Refused(refusal)) if kept.number.is_some() => {
                self.refused(id, refusal, now, with);
            }
            // It goes again in this run, perhaps behind others that have gone already, and is done last in it.
            _ if kept.changes_session().is_some() && !is_of_this_run => with.counted.late += 1,
            answer => match kept.changes_session() {
                Some(session) if !sabotaged!(with.settings, ToldOutOfOrder) => {
                    self.hold(id, answer);
                    self.tell_held(session, with);
                }
                _ => {
                    if let Some(kept) = self.remove(id) {
                        self.done(kept, answer, is_of_this_run, now, with);
                    }
                }
            },
        }
    }

    /// It is not told before what comes before it.
    fn hold(&mut self, id: u64, answer: Answer) {
        if let Some(kept) = self.asks.get_mut(&id) {
            kept.held = Some(answer);
        }
    }

    /// Changes of a session's subscriptions are told, as far as nothing before them is missing.
    pub(super) fn tell_held(&mut self, session: Epoch, with: &mut Around<'_>) {
        while let Some(first) = self.changes.get(&session).and_then(|changes| changes.front().copied()) {
            let Some(answer) = self.asks.get_mut(&first).and_then(|kept| kept.held.take()) else { return };
            if let Some(kept) = self.remove(first) {
                with.answer(kept.waits, answer);
            }
        }
    }

    /// A session is served on, or its epoch is over.
    fn attached(&mut self, handle: Handle, answer: &Answer, with: &mut Around<'_>) {
        if !matches!(answer, Answer::Reply(Reply::Attached))
            && let Some((owner, Some(epoch))) = self.sessions.end(handle)
        {
            with.tell(owner.thread, Told::TakenOver { owner, epoch });
        }
    }

    /// A publish is refused for good, but not its number: an empty one takes its place.
    fn refused(&mut self, id: u64, refusal: Refusal, now: Instant, with: &mut Around<'_>) {
        let Some(kept) = self.asks.get_mut(&id) else { return };
        let waits = kept.waits.take();
        let is_current = kept.run == self.run;
        with.answer(waits, Answer::Reply(Reply::Refused(refusal)));
        self.empty(id);
        if is_current {
            self.fail(Failure::Unavailable, now, with);
        }
    }

    /// It is known what became of an ask.
    fn done(&mut self, kept: Kept, answer: Answer, is_of_this_run: bool, now: Instant, with: &mut Around<'_>) {
        let Kept { ask, waits, run, session, .. } = kept;
        if let Some(handle) = session {
            match &answer {
                Answer::Claimed(owned) if waits.is_some() || sabotaged!(with.settings, ClaimNotGivenUp) => {
                    let is_attached = is_of_this_run && run == self.run;
                    self.sessions.claimed(handle, owned.claimed.epoch, is_attached);
                }
                Answer::Claimed(owned) => {
                    self.sessions.end(handle);
                    self.give_up_session(&ask, owned.claimed, now, with);
                }
                _ => drop(self.sessions.end(handle)),
            }
        }
        with.answer(waits, answer);
    }

    /// A session was claimed for a client who was told that it was not: it is left as if it had not been.
    fn give_up_session(&mut self, claim: &Ask, claimed: Claimed, now: Instant, with: &mut Around<'_>) {
        let Ask::Claim { claim, .. } = claim else { return };
        // One that this claim has begun was never anybody's, and ends.
        let expiry_seconds = (!claimed.present).then_some(0);
        let (client, epoch, will) = (claim.client.clone(), claimed.epoch, WillFate::Delete);
        let ask = Ask::Disconnect { client, epoch, expiry_seconds, will };
        let (id, bytes) = (with.next_id(), weight::of_ask(&ask));
        self.keep(id, Kept { ask, number: None, bytes, waits: None, since: now, run: 0, session: None, held: None });
    }
}

/// Whether it is to be asked again, and of whom.
fn failure(answer: &Answer) -> Option<Failure> {
    match answer {
        Answer::Unavailable => Some(Failure::Unavailable),
        Answer::NotLeader { leader } => Some(Failure::NotLeader(*leader)),
        Answer::Reply(Reply::Refused(Refusal::OutOfOrder { .. })) => Some(Failure::OutOfOrder),
        // The cluster counts this life of the node as over. It will be told.
        Answer::Reply(Reply::Refused(Refusal::NodeGone(_))) => Some(Failure::Unavailable),
        Answer::Reply(_) | Answer::Claimed(_) => None,
    }
}
