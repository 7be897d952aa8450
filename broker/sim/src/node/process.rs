//! One process of a broker: which part has a turn, and what that means for the others.

use std::sync::Arc;
use std::time::Duration;

use fulmar_cluster::letters::Channel as LetterChannel;
use fulmar_log::disk::SimulatedDisk;
use fulmar_store_node::{Channel, Settings, Stopped};
use fulmar_worker::{AuthSettings, Limits, Node, NodeSettings};

use super::control::{Control, News};
use super::stop::{Stop, StopStage};
use super::store::Store;
use super::surroundings::{Said, Sayings, bring_about};
use super::thread::{DataThread, Letter, Posts, RunOf};
use crate::Time;
use crate::agenda::{Event, Part};
use crate::clock::MachineClock;
use crate::network::{Chunk, WireId};
use crate::outside::Outside;
use crate::random::{Chance, Random};

/// What a process is to be like.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) threads: u16,
    pub(crate) limits: Limits,
    pub(crate) store: Settings,
    #[cfg(feature = "sabotage")]
    pub(crate) bug: Option<crate::Bug>,
}

#[cfg(feature = "sabotage")]
impl Shape {
    /// Its store makes the mistake that was chosen.
    pub(crate) fn with_mistake(mut self) -> Shape {
        if let Some(bug) = self.bug {
            bug.plant(&mut self.store);
        }
        self
    }
}

/// See the [module](self).
pub(crate) struct Process {
    pub(crate) of: RunOf,
    pub(crate) node: Arc<Node>,
    pub(crate) threads: Vec<DataThread>,
    pub(crate) store: Store,
    pub(crate) control: Control,
    pub(crate) stop: Option<Stop>,
}

/// How a turn ended.
#[derive(Debug)]
pub(crate) enum Went {
    /// The process goes on.
    On,
    /// It has ended in good order.
    Ended,
    /// The store does nothing more, and the process ends with it.
    Failed(Stopped),
}

impl Process {
    /// A process as the program starts it.
    pub(crate) fn start(
        of: RunOf,
        shape: &Shape,
        disk: SimulatedDisk,
        clock: &MachineClock,
        random: &mut Random,
        outside: &mut Outside,
    ) -> Result<Process, Stopped> {
        let start = clock.instant(outside.now);
        let Shape { threads, limits, store: settings, .. } = shape.clone();
        let node = Node::new(NodeSettings {
            node_id: settings.engine.node,
            incarnation: random.next(),
            name: settings.name.to_string(),
            threads,
            limits,
            anonymous: vec![true],
            auth: AuthSettings::new([7; 32]),
            seed: random.next(),
            views: true,
            store_shards: Some(settings.engine.shards),
            wall_clock_microseconds: clock.wall(outside.now),
            start,
        });
        #[cfg(feature = "sabotage")]
        let node = node.sabotaged(shape.bug.and_then(crate::Bug::in_data_threads));
        let node = Arc::new(node);
        let (nonce, mut sayings) = (settings.nonce, Sayings::default());
        let store = Store::open(disk, settings, &node, clock, outside.now, &mut sayings)?;
        let is_traced = outside.trace.is_on();
        let data_thread = |number| DataThread::new(&node, number, start, random.next(), is_traced);
        let threads = (0..threads).map(data_thread).collect();
        let mut control = Control::new(of.slot, &node, nonce, start, random.branch());
        control.begin_life(store.store.node().incarnation);
        let mut process = Process { of, node, threads, store, control, stop: None };
        process.carry_out(sayings.0, clock, outside);
        process.wake_all(outside);
        Ok(process)
    }

    fn event(&self, part: Part) -> Event {
        Event::Turn { slot: self.of.slot, run: self.of.run, part }
    }

    /// Every part has a turn soon.
    pub(crate) fn wake_all(&mut self, outside: &mut Outside) {
        self.wake(Part::Control, Duration::ZERO, outside);
        self.wake(Part::Store, Duration::ZERO, outside);
        self.wake_threads(outside);
    }

    fn wake_threads(&mut self, outside: &mut Outside) {
        for thread in 0..self.threads.len() {
            self.wake(Part::Thread(thread as u16), Duration::ZERO, outside);
        }
    }

    /// A part has a turn after so long, and the time that a machine takes to come to it.
    pub(crate) fn wake(&mut self, part: Part, after: Duration, outside: &mut Outside) {
        let at = outside.now + after + outside.random.micros(1, 30);
        self.wake_at(part, at, outside);
    }

    fn wake_at(&mut self, part: Part, at: Time, outside: &mut Outside) {
        let event = self.event(part);
        match part {
            Part::Control => self.control.planned.wake(at, event, &mut outside.agenda),
            Part::Store if self.store.sayings.is_some() => {
                self.store.wanted_at = Some(self.store.wanted_at.map_or(at, |before| before.min(at)));
            }
            Part::Store => self.store.planned.wake(at, event, &mut outside.agenda),
            Part::Thread(number) => {
                let Some(thread) = self.threads.get_mut(usize::from(number)) else { return };
                if thread.writes {
                    thread.wanted_at = Some(thread.wanted_at.map_or(at, |before| before.min(at)));
                } else {
                    thread.planned.wake(at, event, &mut outside.agenda);
                }
            }
        }
    }

    /// A turn that was planned may not begin before then.
    pub(crate) fn put_off(&mut self, part: Part, until: Time, outside: &mut Outside) {
        let event = self.event(part);
        let planned = match part {
            Part::Control => &mut self.control.planned,
            Part::Store => &mut self.store.planned,
            Part::Thread(number) => &mut self.threads[usize::from(number)].planned,
        };
        if planned.is_due(outside.now) {
            planned.wake(until, event, &mut outside.agenda);
        }
    }

    /// A part's time has come.
    pub(crate) fn turn(&mut self, part: Part, clock: &MachineClock, outside: &mut Outside) -> Went {
        match part {
            Part::Control => {
                if self.control.planned.is_due(outside.now) {
                    self.control_turn(clock, outside);
                }
                Went::On
            }
            Part::Store => {
                if self.store.planned.is_due(outside.now) {
                    return self.store_turn(clock, outside);
                }
                Went::On
            }
            Part::Thread(number) => {
                if self.threads[usize::from(number)].planned.is_due(outside.now) {
                    self.thread_turn(usize::from(number), clock, outside);
                }
                Went::On
            }
        }
    }

    fn control_turn(&mut self, clock: &MachineClock, outside: &mut Outside) {
        let had_arrivals = !self.store.arrivals.is_empty();
        let orders = self.control.turn(clock, &mut self.store.arrivals, outside);
        for (node, epoch) in orders.gone {
            for thread in 0..self.threads.len() {
                self.post(thread, Letter::PeerGone { node, epoch }, outside);
            }
        }
        for (thread, letter) in orders.letters {
            self.post(usize::from(thread), letter, outside);
        }
        if !had_arrivals && !self.store.arrivals.is_empty() {
            self.wake(Part::Store, Duration::ZERO, outside);
        }
        let next = self.control.next(clock, outside.now);
        self.wake_at(Part::Control, next, outside);
    }

    fn thread_turn(&mut self, number: usize, clock: &MachineClock, outside: &mut Outside) {
        let event = self.event(Part::Thread(number as u16));
        let thread = &mut self.threads[number];
        if !thread.writes {
            thread.read_all(clock, outside, &self.of);
            (thread.writes, thread.wanted_at) = (true, None);
            let done = outside.now + outside.random.micros(2, 60);
            thread.planned.wake(done, event, &mut outside.agenda);
            return;
        }
        let posts = thread.write_all(clock, outside, &self.of);
        thread.writes = false;
        let next = [thread.next(clock, outside.now), thread.wanted_at.take()].into_iter().flatten().min();
        if let Some(next) = next {
            thread.planned.wake(next, event, &mut outside.agenda);
        }
        let Posts { letters, asked, lane_news } = posts;
        for (to, letter) in letters {
            self.post(usize::from(to), letter, outside);
        }
        for (ticket, ask) in &asked {
            outside
                .trace
                .line(outside.now, || format!("{} asks {}.{}: {ask:?}", self.of, ticket.thread, ticket.number));
        }
        if !asked.is_empty() {
            self.store.asked.extend(asked);
            self.wake(Part::Store, Duration::ZERO, outside);
        }
        if !lane_news.is_empty() {
            self.control.inbox.extend(lane_news.into_iter().map(News::Lane));
            self.wake(Part::Control, Duration::ZERO, outside);
        }
    }

    fn store_turn(&mut self, clock: &MachineClock, outside: &mut Outside) -> Went {
        let event = self.event(Part::Store);
        if let Some(sayings) = self.store.sayings.take() {
            self.carry_out(sayings, clock, outside);
            if self.store.is_over {
                return Went::Ended;
            }
            let next = self.store.next(clock, outside.now);
            let next = self.store.wanted_at.take().map_or(next, |wanted| wanted.min(next));
            self.store.planned.wake(next, event, &mut outside.agenda);
            return Went::On;
        }
        let (sayings, elapsed, result) = self.store.turn(clock, &self.node, &mut self.control, outside);
        if let Err(stopped) = result {
            // What was said before it failed may have come about.
            if outside.random.percent(50) {
                self.carry_out(sayings, clock, outside);
            }
            return Went::Failed(stopped);
        }
        (self.store.sayings, self.store.wanted_at) = (Some(sayings), None);
        let done = outside.now + elapsed + outside.random.micros(5, 60);
        self.store.planned.wake(done, event, &mut outside.agenda);
        Went::On
    }

    fn carry_out(&mut self, sayings: Vec<Said>, clock: &MachineClock, outside: &mut Outside) {
        let now = clock.instant(outside.now);
        let mut told: Vec<Vec<_>> = self.threads.iter().map(|_| Vec::new()).collect();
        let mut is_changed = false;
        for said in sayings {
            is_changed |= matches!(said, Said::Follow(_) | Said::Serve(_) | Said::BeginLife(_));
            if let Said::Tell(thread, told) = &said {
                outside.trace.line(outside.now, || format!("{} tells thread {thread}: {told:?}", self.of));
            } else if let Said::Follow(view) = &said {
                outside.trace.line(outside.now, || {
                    let members: Vec<_> = view.members().map(|it| format!("{:x}.{}", it.id, it.incarnation)).collect();
                    format!("{} follows view {} of {members:?}", self.of, view.number)
                });
            } else if let Said::Serve(serves) = &said {
                outside.trace.line(outside.now, || format!("{} serves: {serves}", self.of));
            }
            match bring_about(said, &self.node, now) {
                Some(Said::Tell(thread, one)) => told.get_mut(usize::from(thread)).into_iter().for_each(|told| {
                    told.push(one.clone());
                }),
                Some(Said::Send(to, channel, letter)) => {
                    let channel = match channel {
                        Channel::Control => LetterChannel::Control,
                        Channel::Bulk => LetterChannel::Bulk,
                    };
                    self.control.send(to, channel, letter, outside);
                }
                Some(Said::BeginLife(life)) => {
                    self.control.begin_life(life.incarnation);
                    self.wake(Part::Control, Duration::ZERO, outside);
                }
                _ => {}
            }
        }
        if is_changed {
            self.wake_threads(outside);
        }
        for (thread, told) in told.into_iter().enumerate() {
            if !told.is_empty() {
                self.post(thread, Letter::Told(told), outside);
            }
        }
    }

    pub(crate) fn post(&mut self, thread: usize, letter: Letter, outside: &mut Outside) {
        self.threads[thread].inbox.push(letter);
        self.wake(Part::Thread(thread as u16), Duration::ZERO, outside);
    }

    /// Something arrives for the control side.
    pub(crate) fn control_news(&mut self, news: News, outside: &mut Outside) {
        self.control.inbox.push(news);
        self.wake(Part::Control, Duration::ZERO, outside);
    }

    /// Something arrives at a connection of a data thread.
    pub(crate) fn arrive(&mut self, thread: u16, conn: fulmar_worker::ConnId, chunk: Chunk, outside: &mut Outside) {
        self.threads[usize::from(thread)].sockets.arrive(conn, chunk);
        self.wake(Part::Thread(thread), Duration::ZERO, outside);
    }

    /// A client dials. Whether somebody listens.
    pub(crate) fn client_dials(&mut self, wire: WireId, side: usize, outside: &mut Outside) -> bool {
        let thread = outside.random.index(self.threads.len());
        if self.threads[thread].is_stopping {
            return false;
        }
        outside.network.hold(wire, side, None);
        self.post(thread, Letter::Client { wire, side, origin: None, carry: Vec::new() }, outside);
        true
    }

    /// The process is told to stop (SIGTERM).
    pub(crate) fn terminate(&mut self, outside: &mut Outside) {
        if self.stop.is_none() {
            self.store.is_leaving = true;
            self.stop = Some(Stop::new(outside.now));
            self.wake(Part::Store, Duration::ZERO, outside);
        }
    }

    /// What a stop is at, looked at now and then.
    pub(crate) fn go_on_stopping(&mut self, outside: &mut Outside) {
        let Some(mut stop) = self.stop.take() else { return };
        match stop.next(self, outside.now) {
            StopStage::Wait => {}
            StopStage::TellClients => {
                for thread in 0..self.threads.len() {
                    self.post(thread, Letter::ShutDown, outside);
                }
            }
            StopStage::TellPeers => {
                self.control.stop();
                for thread in 0..self.threads.len() {
                    self.post(thread, Letter::CloseLanes, outside);
                }
            }
            StopStage::CloseStore => {
                self.store.is_closed = true;
                self.wake(Part::Store, Duration::ZERO, outside);
            }
        }
        self.stop = Some(stop);
    }
}
