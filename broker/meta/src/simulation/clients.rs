//! Messages of clients: each waits for all members, and is acknowledged if that is allowed.

use std::collections::BTreeSet;

use fulmar_harness::Violation;

use super::node::Published;
use super::world::{Message, World};
use crate::*;

impl World {
    pub(super) fn publish(&mut self) -> Result<(), Violation> {
        let pod = self.random.below(self.pods.len() as u64) as usize;
        if !self.is_awake(pod) {
            return Ok(());
        }
        let now = self.read_clock(pod);
        let up = self.truth.nodes().filter(|(_, node)| node.life == Life::Up).map(|(_, node)| node.member);
        let mut must: BTreeSet<Member> = up.collect();
        self.last_token += 1;
        let token = self.last_token;
        let asked_at = self.now;
        let Some(process) = self.pods[pod].process.as_mut().filter(|it| it.lease.may_acknowledge(now)) else {
            return Ok(());
        };
        must.remove(&process.member);
        let others: Vec<Member> = process.meta.view().members().filter(|it| *it != process.member).collect();
        if process.published.len() >= 8 {
            return Ok(());
        }
        process.published.insert(token, Published { must, confirmed: BTreeSet::new(), asked_at });
        let Ok(waits) = process.waiters.wait(token, others) else { return Ok(()) };
        if waits {
            self.ask(pod, token);
            Ok(())
        } else {
            self.acknowledge(pod, token, false)
        }
    }

    pub(super) fn ask(&mut self, pod: usize, token: u64) {
        let Some(process) = &self.pods[pod].process else { return };
        let missing: Vec<Member> = process.waiters.missing(&token).collect();
        let meta = process.meta.clone();
        for member in missing {
            if let Some(to) = self.find(&meta, member) {
                self.send(pod, to, &Message::Publish { token, to: member });
            }
        }
    }

    /// All that was to be waited for is over. Whoever was up when the message came, and is live still, must have it.
    pub(super) fn acknowledge(&mut self, pod: usize, token: u64, by_view: bool) -> Result<(), Violation> {
        let now = self.read_clock(pod);
        let Some(process) = &mut self.pods[pod].process else { return Ok(()) };
        let Some(published) = process.published.remove(&token) else { return Ok(()) };
        if !process.lease.may_acknowledge(now) {
            self.report.not_allowed += 1;
            return Ok(());
        }
        self.report.acknowledged += 1;
        self.report.ended_by_view += u64::from(by_view);
        let view = self.truth.view();
        let lacks = |member: &&Member| view.contains(**member) && !published.confirmed.contains(*member);
        match published.must.iter().find(lacks) {
            None => Ok(()),
            Some(member) => Err(Violation::Harm(format!(
                "{} acknowledged message {token} of {} us ago, which {member} has not got",
                process.member,
                self.now - published.asked_at
            ))),
        }
    }
}
