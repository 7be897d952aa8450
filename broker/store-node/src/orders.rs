//! What the membership wants done is done, in its order; and what happened in group 0 is told to it.

use fulmar_log::Disk;
use fulmar_member::Output;
use fulmar_store_raft::MetaEvent;

use crate::clock::Clock;
use crate::envelope::Envelope;
use crate::folder;
use crate::node::{Stopped, StoreNode, member, node};
use crate::out::Out;
use crate::said::send;

impl<D: Disk + Clone> StoreNode<D> {
    /// Carries out all that is wanted, and what is wanted because of it.
    pub(crate) fn carry_out(&mut self, clock: &Clock, out: &mut impl Out) -> Result<(), Stopped> {
        while !self.orders.is_empty() {
            for order in std::mem::take(&mut self.orders) {
                self.carry_out_one(order, clock, out)?;
            }
        }
        Ok(())
    }

    fn carry_out_one(&mut self, order: Output, clock: &Clock, out: &mut impl Out) -> Result<(), Stopped> {
        match order {
            Output::Save(what) => folder::write(&self.disk, &self.settings.engine.folder, &what)?,
            // One that has begun goes on.
            Output::BeginCluster => drop(self.engine.begin_cluster(clock.now)),
            Output::DecideAlone { silent } => {
                self.engine.release();
                self.silent_alone = silent;
            }
            // What the group does not take comes again, if it still matters.
            Output::Propose { term, command } => {
                drop(self.engine.propose_meta(term, command, clock.now, clock.time));
            }
            Output::Read(read) => {
                if self.engine.read_meta(read, clock.now).is_err() {
                    self.with_membership(clock, |it, meta, now, out| it.read_failed(read, meta, now, out));
                }
            }
            Output::TransferMeta(to) => drop(self.engine.transfer_meta(to, clock.now)),
            Output::Send { to, message } => send(to, &Envelope::Member(message), out),
            Output::View(view) => {
                self.engine.follow(view.number, view.members().map(node).collect());
                if view.contains(member(self.engine.node())) {
                    self.engine.release_shards();
                }
                out.follow(&view);
            }
            Output::Acknowledge(until) => {
                self.lease = until;
                out.acknowledge(until);
            }
            Output::Serve => out.serve(true),
            Output::CloseClients => out.serve(false),
            Output::BeginNextLife { above } => self.begin_life(above, clock, out)?,
            Output::Answered { command, answer } => self.answered.push((command, answer)),
            Output::StartAnew(why) => return Err(Stopped::StartAnew(why)),
            Output::GiveUp(why) => return Err(Stopped::GiveUp(why)),
        }
        Ok(())
    }

    fn begin_life(&mut self, above: u64, clock: &Clock, out: &mut impl Out) -> Result<(), Stopped> {
        let life = self.engine.begin_life(above)?;
        self.lease = None;
        self.courier.begin_life(life);
        out.begin_life(life);
        self.with_membership(clock, |it, meta, now, out| it.begin_life(member(life), meta, now, out));
        Ok(())
    }

    pub(crate) fn hear_of_group_0(&mut self, event: MetaEvent, clock: &Clock) {
        self.with_membership(clock, |it, meta, now, out| match event {
            MetaEvent::Role { term, leader, leads } => it.role(term, leader, leads, meta, now, out),
            MetaEvent::Applied { commands, .. } => it.applied(&commands, meta, now, out),
            MetaEvent::Confirmed { read, index } => it.confirmed(read, index, meta, now, out),
            MetaEvent::ReadFailed { read } => it.read_failed(read, meta, now, out),
        });
    }
}
