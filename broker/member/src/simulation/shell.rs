//! What a node does with what [`Membership`] puts out, as the program would.

use fulmar_harness::Violation;
use fulmar_meta::*;

use super::node::{Disk, Process};
use super::world::{Event, World};
use crate::{Begins, Found, Link, Me, MemberMessage, Membership, Missing, Obstacle, Output};

impl World {
    pub(super) fn start(&mut self, pod: usize) -> Result<(), Violation> {
        if self.pods[pod].process.is_some() {
            return Ok(());
        }
        let (nonce, cluster) = (self.random.next(), ClusterId(u128::from(self.random.next())));
        let cluster_id = self.known.filter(|_| self.are_all_lost || self.random.once_in(2));
        let may_begin = pod == 0 || (pod == 1 && self.plan.two_may_begin);
        let id = self.random.next();
        let now = self.read_clock(pod);
        let it = &mut self.pods[pod];
        let disk = it.folder.get_or_insert_with(|| Disk::new(id));
        disk.counter += 1;
        let me = Me {
            member: Member { id: disk.id, incarnation: disk.counter },
            nonce,
            name: it.name.clone(),
            addresses: vec![it.name.clone()],
            zone: "".into(),
            level: self.levels[pod],
            cluster_id,
            begins: may_begin.then_some(Begins { cluster, shards: 3 }),
            alone: None,
            has_data: false,
        };
        let folder = crate::Folder::decode(&disk.file).expect("it was written whole");
        let (mut out, meta) = (Vec::new(), disk.meta.clone());
        let membership = Membership::new(self.settings, me, folder, &meta, now, &mut out);
        it.begin(Process {
            membership,
            nonce,
            meta,
            term: 0,
            leader: None,
            leads: false,
            came: Vec::new(),
            until: None,
            serves: false,
            threads: 0,
            fed: None,
            linked: std::collections::BTreeMap::new(),
        });
        self.carry_out(pod, out)
    }

    pub(super) fn crash(&mut self, pod: usize) {
        self.pods[pod].crash();
    }

    /// One event of a node, with a clock that is read for it, and all that comes of it.
    pub(super) fn call(
        &mut self,
        pod: usize,
        event: impl FnOnce(&mut Membership, &Meta, Moment, &mut Vec<Output>),
    ) -> Result<(), Violation> {
        let now = self.read_clock(pod);
        let mut out = Vec::new();
        if let Some(Process { membership, meta, .. }) = &mut self.pods[pod].process {
            event(membership, meta, now, &mut out);
        }
        self.carry_out(pod, out)
    }

    fn carry_out(&mut self, pod: usize, outputs: Vec<Output>) -> Result<(), Violation> {
        let life = self.pods[pod].life;
        for output in outputs {
            if self.trace && !matches!(output, Output::Acknowledge(_) | Output::Read(_) | Output::Send { .. }) {
                println!("{:9.6} pod {pod}: {output:?}", self.now as f64 / 1e6);
            }
            if self.pods[pod].life != life {
                return Ok(());
            }
            self.carry_out_one(pod, output)?;
            // A process may end between any two things that it does.
            if self.plan.act_micros > 0 && self.random.once_in(20_000) {
                self.restart(pod, 3_000_000);
                return Ok(());
            }
        }
        self.schedule(pod);
        Ok(())
    }

    fn carry_out_one(&mut self, pod: usize, output: Output) -> Result<(), Violation> {
        let life = self.pods[pod].life;
        let it = &mut self.pods[pod];
        let (Some(process), Some(disk)) = (&mut it.process, &mut it.folder) else { return Ok(()) };
        match output {
            Output::Save(folder) => disk.file = folder.encode(),
            Output::DecideAlone { .. } => unreachable!("the group of the simulation never rests on one vote"),
            Output::BeginCluster => return self.begin_cluster(pod),
            Output::Propose { term, command } => {
                let is_asked = match &command {
                    Command::Join { start, .. } | Command::Boot { start, .. } => start.member != process.member(),
                    Command::Confirm { by, .. } => *by != process.member(),
                    _ => false,
                };
                if is_asked && !process.came.contains(&command) {
                    return Err(Violation::Harm(format!("{command:?} is proposed in term {term}, but came before")));
                }
                self.propose(pod, term, command);
            }
            Output::Read(read) => {
                let term = process.term;
                let micros = self.network.delay(&mut self.random);
                self.after(micros, Event::Read { pod, life, term, read });
            }
            Output::TransferMeta(to) => {
                let has_id = |pod: &usize| self.pods[*pod].process.as_ref().is_some_and(|it| it.member().id == to);
                let to = (0..self.plan.nodes).find(has_id).filter(|to| self.has_majority(*to));
                if let Some(to) = to.filter(|_| pod == self.group.leader) {
                    self.open.clear();
                    self.report.elections += 1;
                    self.elect(to);
                }
            }
            Output::Send { to, message } => {
                // Copies of a folder take each other's letters.
                let is_its = |to_pod: &usize| {
                    self.pods[*to_pod].process.as_ref().is_some_and(|it| it.member().id == to) && *to_pod != pod
                };
                for to in (0..self.pods.len()).filter(is_its).collect::<Vec<_>>() {
                    self.send(pod, to, &message);
                }
            }
            Output::View(view) => {
                let micros = self.random.below(300_000);
                self.after(micros, Event::Followed { pod, life, view: view.number });
            }
            Output::Acknowledge(until) => process.until = until,
            Output::Serve => {
                process.serves = true;
                self.report.served += 1;
            }
            Output::CloseClients => process.serves = false,
            Output::BeginNextLife { above } => {
                disk.counter = disk.counter.max(above) + 1;
                let member = Member { id: disk.id, incarnation: disk.counter };
                return self.call(pod, |membership, meta, now, out| membership.begin_life(member, meta, now, out));
            }
            Output::Answered { .. } => {}
            Output::StartAnew(_) => {
                let (id, is_suspect) = (disk.id, disk.is_suspect);
                if !is_suspect && !self.checks.retired(id) {
                    return Err(Violation::Harm(format!("the good folder of {id:016x} is set aside")));
                }
                self.report.set_aside += 1;
                self.crash(pod);
                self.pods[pod].folder = None;
                if self.plan.act_micros == 0 {
                    self.forget_lost_voters();
                }
                // Who runs beside another with a copy of its folder is not started again.
                if pod < self.plan.nodes {
                    self.after(500_000, Event::Start { pod });
                }
            }
            Output::GiveUp(text) => {
                return Err(Violation::Stuck(format!("{} gives up: {text}", self.pods[pod].name)));
            }
        }
        Ok(())
    }

    /// Makes group 0, unless the folder has one. There must not be another that was begun.
    fn begin_cluster(&mut self, pod: usize) -> Result<(), Violation> {
        let groups = self.groups;
        let Some(disk) = self.pods[pod].folder.as_mut().filter(|disk| disk.group.is_none()) else { return Ok(()) };
        disk.group = Some(groups + 1);
        let id = disk.id;
        let others = self.pods.iter().enumerate().filter(|(other, _)| *other != pod);
        let has_group = |disk: &Disk| groups > 0 && disk.group == Some(groups);
        let is_second = others.filter_map(|(_, other)| other.folder.as_ref()).any(has_group);
        if is_second || self.truth.cluster().is_some() {
            return Err(Violation::Harm(format!("{} begins a second cluster", self.pods[pod].name)));
        }
        self.groups += 1;
        self.voters = [id].into();
        self.open.clear();
        self.elect(pod);
        Ok(())
    }

    /// Links, discovery and feeds are looked at, entries fetched.
    pub(super) fn maintain(&mut self, pod: usize) -> Result<(), Violation> {
        self.fetch(pod)?;
        self.look_at_links(pod)?;
        if self.random.once_in(6) {
            self.discover(pod)?;
        }
        self.feed(pod)?;
        if self.truth.cluster().is_some() && self.random.once_in(30) {
            self.pods[pod].backup = self.pods[pod].folder.clone();
        }
        Ok(())
    }

    fn look_at_links(&mut self, pod: usize) -> Result<(), Violation> {
        let others: Vec<usize> = (0..self.pods.len()).filter(|other| self.are_linked(pod, *other)).collect();
        let lives: Vec<(usize, u64)> = others.iter().map(|other| (*other, self.pods[*other].life)).collect();
        let now = self.now;
        let Some(process) = &mut self.pods[pod].process else { return Ok(()) };
        process.linked.retain(|link, _| lives.contains(link));
        for link in lives {
            process.linked.entry(link).or_insert(now);
        }
        let linked = process.linked.clone();
        let links: Vec<Link> = linked
            .into_iter()
            .filter_map(|((other, _), since)| {
                let member = self.pods[other].process.as_ref()?.member();
                Some(Link { member, is_live: true, is_level: now - since > 150_000, hears: true })
            })
            .collect();
        self.call(pod, |membership, meta, now, out| membership.links(&links, meta, now, out))
    }

    /// Discovery finds all addresses, and knows when it has not.
    fn discover(&mut self, pod: usize) -> Result<(), Violation> {
        let is_settled = !self.random.once_in(8);
        let mut found: Vec<Found> = Vec::new();
        for other in 0..self.plan.nodes {
            let answers = other == pod || self.are_linked(pod, other);
            let node = self.pods[other].process.as_ref().filter(|_| answers).map(Process::member);
            if is_settled || self.random.once_in(2) {
                found.push(Found { address: self.pods[other].name.clone(), node });
            }
        }
        self.call(pod, |membership, meta, now, out| membership.discovered(&found, is_settled, meta, now, out))
    }

    /// The leaders of the shards are where that of the group is, and tell a joiner their filters when they know of it.
    fn feed(&mut self, pod: usize) -> Result<(), Violation> {
        let Some(view) = self.pods[pod].process.as_ref().and_then(|it| it.membership.awaits_feeds()) else {
            return Ok(());
        };
        let leader = self.pods[self.group.leader].process.as_ref().filter(|it| it.leads);
        let knows = leader.is_some_and(|it| it.meta.view().number >= view);
        let reaches = self.group.leader == pod || self.are_linked(self.group.leader, pod);
        if !knows || !reaches || !self.random.once_in(3) {
            return Ok(());
        }
        if let Some(process) = &mut self.pods[pod].process {
            process.fed = Some(process.member());
        }
        self.call(pod, |membership, meta, now, out| membership.fed(view, meta, now, out))
    }

    /// Ticks at the next deadline.
    pub(super) fn schedule(&mut self, pod: usize) {
        let now = self.read_clock(pod);
        let Some(process) = &self.pods[pod].process else { return };
        let deadline = process.membership.next_deadline(&process.meta, now);
        let Some(Moment(deadline)) = deadline else { return };
        if let Some(micros) = self.pods[pod].tick_in(deadline, self.now) {
            let life = self.pods[pod].life;
            self.after(micros, Event::Tick { pod, life });
        }
    }

    pub(super) fn deliver(&mut self, from: Member, to: usize, message: &[u8]) -> Result<(), Violation> {
        let message = MemberMessage::decode(message).expect("letters are whole, or lost");
        if let (Some(process), MemberMessage::Request(request)) = (&mut self.pods[to].process, &message)
            && process.leads
        {
            process.came.push(request.command.clone());
        }
        self.call(to, |membership, meta, now, out| membership.received(from, message, meta, now, out))
    }

    /// All volumes were lost, and the operator knows which cluster there was: nobody may take that for a new one.
    pub(super) fn knows_of_loss(&self, pod: usize) -> bool {
        let Some(process) = &self.pods[pod].process else { return false };
        let missing = process.membership.missing(&process.meta, self.read_clock(pod));
        match &missing[..] {
            [Missing::Cluster(Obstacle::Known { wanted, .. })] => self.known == Some(*wanted),
            [Missing::Cluster(Obstacle::NotFirst { .. })] => pod > 0,
            _ => false,
        }
    }
}
