//! An actor that follows a [`Plan`]: when it connects, publishes, subscribes, acknowledges and leaves.
//!
//! Everything that it does of its own accord is due at some time; whenever it is called it does all that is due, and says
//! when to be called next.

use std::time::Duration;

use crate::actor::plan::{Leaves, Millis, Plan, Publishes};
use crate::client::{Client, Identity, Log, News, Outgoing, Shared, State};
use crate::history::{Event, MessageId, WillGiven};
use crate::link::{Actor, Phase, Wants, Where};
use crate::random::{Chance, Random};
use crate::{History, Time};

/// How long a player that was let in by nobody waits before it asks again.
const RETRY: Millis = 20..=400;
/// How long before a ping, when nothing is heard.
const PING: Duration = Duration::from_secs(3);
/// Who shares a session looks this often whether it has it still.
const LOOK: Duration = Duration::from_millis(50);
/// The same when the other one is about to connect.
const LOOK_CLOSELY: Duration = Duration::from_micros(500);
/// Nobody is called again sooner.
const MOMENT: Duration = Duration::from_micros(500);
/// How long before a takeover the other one knows of it.
const INTENTION: Duration = Duration::from_millis(60);
/// What is retained is read so long after all has healed: by then publishers have what they wait for.
const LAST_READ: Duration = Duration::from_secs(12);

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Player {
    client: Client,
    plan: Plan,
    random: Random,
    phase: Phase,
    /// When the last fault was over.
    healed: Time,
    published: u32,
    wills: u32,
    dues: Dues,
    /// How long it bears to hear nothing.
    patience: Duration,
    pinged: bool,
    /// The connection is to be closed when DISCONNECT was read: by the server.
    awaits_close: bool,
    /// What is retained was read for the last time.
    has_read_last: bool,
    /// What it did about losing the session on this connection.
    has_protested: bool,
}

/// When something is due; none: not by itself.
#[derive(Debug, Default)]
struct Dues {
    connect: Option<Time>,
    publish: Option<Time>,
    acknowledge: Option<Time>,
    leave: Option<Time>,
    resubscribe: Option<Time>,
    listen: Option<Time>,
    take_over: Option<Time>,
    look: Option<Time>,
    read_last: Option<Time>,
}

impl Dues {
    /// The first, at least a moment from now: what is due and can't be done waits for something else.
    fn next(&self, now: Time) -> Option<Time> {
        let Dues { connect, publish, acknowledge, leave, resubscribe, listen, take_over, look, read_last } = self;
        let all = [connect, publish, acknowledge, leave, resubscribe, listen, take_over, look, read_last];
        all.into_iter().flatten().min().map(|at| (*at).max(now + MOMENT))
    }
}

/// Whether it is time, and then it is not any more.
fn is_due(due: &mut Option<Time>, now: Time) -> bool {
    due.take_if(|at| *at <= now).is_some()
}

impl Player {
    pub(crate) fn new(identity: Identity, plan: Plan, memory: Shared, mut random: Random) -> Player {
        let patience = random.millis(4_000, 20_000);
        Player {
            client: Client::new(identity, memory),
            plan,
            random,
            phase: Phase::Faults,
            healed: Time::default(),
            published: 0,
            wills: 0,
            dues: Dues::default(),
            patience,
            pinged: false,
            awaits_close: false,
            has_read_last: false,
            has_protested: false,
        }
    }

    fn draw(&mut self, millis: &Millis) -> Duration {
        self.random.millis(*millis.start(), *millis.end())
    }

    fn after(&mut self, now: Time, millis: &Millis) -> Option<Time> {
        Some(now + self.draw(millis))
    }

    /// Does all that is due.
    fn step(&mut self, now: Time, history: &mut History) -> Wants {
        let mut wants = Wants::default();
        let mut log = Log { now, history };
        match self.client.state {
            State::Online => self.step_online(&mut wants, &mut log),
            State::AwaitConnAck if is_due(&mut self.dues.listen, now) => {
                self.dues.listen = Some(self.client.last_heard + self.patience);
                if now.since(self.client.last_heard) >= self.patience {
                    self.close(&mut wants, &mut log);
                }
            }
            _ => {}
        }
        if self.client.state == State::Offline && is_due(&mut self.dues.take_over, now) {
            let me = self.client.identity.id;
            self.client.memory(|memory| memory.intends = Some((me, now)));
        }
        if self.client.state == State::Offline && is_due(&mut self.dues.connect, now) {
            self.client.open();
            wants.connect = Some(if self.random.percent(70) { Where::Elsewhere } else { Where::Anywhere });
        }
        wants.send.append(&mut self.client.out);
        wants.wake_at = self.dues.next(now);
        wants
    }

    fn step_online(&mut self, wants: &mut Wants, log: &mut Log<'_>) {
        let now = log.now;
        if self.client.look_at_session(log) {
            return self.protest(wants, log);
        }
        if self.awaits_close {
            // Who said goodbye says nothing more; who is not let go goes.
            if is_due(&mut self.dues.leave, now) {
                self.close(wants, log);
            }
            return;
        }
        if is_due(&mut self.dues.acknowledge, now) {
            self.client.acknowledge(usize::MAX, log);
        }
        if is_due(&mut self.dues.publish, now) {
            self.publish(log);
        }
        if is_due(&mut self.dues.resubscribe, now) {
            self.resubscribe(log);
        }
        if is_due(&mut self.dues.leave, now) {
            return self.leave(wants, log);
        }
        if is_due(&mut self.dues.read_last, now) {
            // The next connection begins anew, and reads.
            self.has_read_last = true;
            return self.leave(wants, log);
        }
        if is_due(&mut self.dues.listen, now) {
            self.listen(wants, log);
        }
        if is_due(&mut self.dues.look, now) {
            self.look_again(now);
        }
        self.hold(log);
    }

    /// What was received is acknowledged now or soon.
    fn hold(&mut self, log: &mut Log<'_>) {
        let held = self.client.held();
        match self.plan.holds.clone().filter(|_| self.phase == Phase::Faults) {
            Some((most, pause)) => {
                self.client.acknowledge(held.saturating_sub(most), log);
                if self.client.held() > 0 && self.dues.acknowledge.is_none() {
                    self.dues.acknowledge = self.after(log.now, &pause);
                }
            }
            None => self.client.acknowledge(held, log),
        }
    }

    fn publish(&mut self, log: &mut Log<'_>) {
        let Some(publishes) = self.plan.publishes.clone().filter(|_| self.phase == Phase::Faults) else { return };
        let Publishes { topics, qos, pause, window, retain, delete_percent, large_percent } = publishes;
        self.dues.publish = self.after(log.now, &pause);
        if !self.client.may_publish(window) {
            return;
        }
        self.published += 1;
        let message = MessageId { publisher: self.client.identity.id, number: self.published, is_will: false };
        let padding = if self.random.percent(large_percent) { 3000 + self.random.index(5000) } else { 0 };
        let outgoing = Outgoing {
            message,
            topic: self.random.pick(&topics),
            qos: self.random.pick(&qos),
            retain,
            is_empty: retain && self.random.percent(delete_percent),
            padding,
        };
        self.client.publish(outgoing, log);
    }

    /// Subscribes to what it is not subscribed to, if it is to be; or ends it.
    fn subscribe(&mut self, log: &mut Log<'_>) {
        let known = self.client.memory(|memory| memory.subscriptions.clone());
        for (filter, qos) in self.plan.subscribes.clone() {
            if !known.contains(&filter) {
                self.client.subscribe(&filter, qos, log);
            }
        }
    }

    fn resubscribe(&mut self, log: &mut Log<'_>) {
        let Some(pause) = self.plan.resubscribes.clone().filter(|_| self.phase == Phase::Faults) else { return };
        self.dues.resubscribe = self.after(log.now, &pause);
        if self.client.is_asking() {
            return;
        }
        let known = self.client.memory(|memory| memory.subscriptions.clone());
        if known.is_empty() {
            return self.subscribe(log);
        }
        known.iter().for_each(|filter| self.client.unsubscribe(filter, log));
    }

    fn leave(&mut self, wants: &mut Wants, log: &mut Log<'_>) {
        let goodbye = self.plan.roams.as_ref().map_or(100, |roams| roams.goodbye_percent);
        if !self.random.percent(goodbye) {
            return self.close(wants, log);
        }
        let keeps_will = self.random.percent(20);
        self.client.say_goodbye(keeps_will, log);
        if self.random.percent(50) {
            // The server closes (MQTT 5.0, 3.14.4).
            self.awaits_close = true;
            let leave = Some(log.now + Duration::from_secs(2));
            self.dues = Dues { leave, read_last: self.dues.read_last, ..Dues::default() };
        } else {
            self.close(wants, log);
        }
    }

    /// The client closes its connection, after what it has written.
    fn close(&mut self, wants: &mut Wants, log: &mut Log<'_>) {
        wants.send.append(&mut self.client.out);
        wants.close = true;
        self.client.end(Event::Left, log);
        self.offline(log.now);
    }

    /// Hears whether the server is there.
    fn listen(&mut self, wants: &mut Wants, log: &mut Log<'_>) {
        let silent = log.now.since(self.client.last_heard);
        if silent >= self.patience {
            return self.close(wants, log);
        }
        if silent >= PING && !std::mem::replace(&mut self.pinged, true) {
            self.client.ping();
        }
        let next = if self.pinged { self.patience } else { PING };
        self.dues.listen = Some((self.client.last_heard + next).max(log.now + Duration::from_millis(100)));
    }

    /// Somebody else has the session. What this one does now must have no effect.
    fn protest(&mut self, wants: &mut Wants, log: &mut Log<'_>) {
        self.dues = Dues { leave: self.dues.leave, ..Dues::default() };
        if std::mem::replace(&mut self.has_protested, true) {
            if is_due(&mut self.dues.leave, log.now) {
                self.close(wants, log);
            }
            return;
        }
        self.client.acknowledge(usize::MAX, log);
        match self.random.below(4) {
            0 => return self.close(wants, log),
            1 => self.client.say_goodbye(false, log),
            2 => {
                let filter = format!("late/{}", self.client.identity.name).into();
                self.client.subscribe(&filter, fulmar_codec::QoS::AtLeastOnce, log);
            }
            _ => {}
        }
        // The server closes it sooner, if it can.
        self.dues.leave = Some(log.now + self.random.millis(200, 15_000));
    }

    /// Whether the session is to be taken over is looked at more often when that is near.
    fn look_again(&mut self, now: Time) {
        let me = self.client.identity.id;
        let is_near = self.client.memory(|memory| {
            memory.intends.is_some_and(|(other, since)| other != me && now.since(since) < 5 * INTENTION)
        });
        self.dues.look = Some(now + if is_near { LOOK_CLOSELY } else { LOOK });
    }

    fn let_in(&mut self, log: &mut Log<'_>) {
        let now = log.now;
        (self.pinged, self.awaits_close, self.has_protested) = (false, false, false);
        self.dues = Dues { read_last: self.dues.read_last, listen: Some(now + PING), ..Dues::default() };
        if self.phase == Phase::Faults {
            self.dues.publish = self.plan.publishes.clone().and_then(|it| self.after(now, &it.pause));
            self.dues.leave = self.plan.roams.clone().and_then(|it| self.after(now, &it.stays));
            self.dues.resubscribe = self.plan.resubscribes.clone().and_then(|it| self.after(now, &it));
            if self.plan.takes_over {
                self.dues.look = Some(now + LOOK);
            }
        }
        // One that has nothing to lose subscribes whatever phase it is: it is there for that.
        let begins_anew = self.client.memory(|memory| memory.subscriptions.is_empty());
        if self.plan.resubscribes.is_none() && (begins_anew || self.phase == Phase::Faults) {
            self.subscribe(log);
        }
    }

    /// There is no connection; the next one is for later.
    fn offline(&mut self, now: Time) {
        let away = match (&self.plan.roams, self.phase) {
            (Some(roams), Phase::Faults) => roams.is_away.clone(),
            _ => RETRY,
        };
        self.offline_for(now, &away);
    }

    fn offline_for(&mut self, now: Time, away: &Millis) {
        // After the last fault one of two that share a session is enough.
        let gives_way = self.plan.takes_over && self.phase == Phase::Heals && !self.holds_session();
        self.dues = Dues { read_last: self.dues.read_last, ..Dues::default() };
        if !gives_way {
            let away = self.draw(away);
            self.dues.connect = Some(now + away);
            self.dues.take_over = self.plan.takes_over.then(|| now + away.saturating_sub(INTENTION));
        }
    }

    fn holds_session(&self) -> bool {
        let me = self.client.identity.id;
        self.client.memory(|memory| memory.holder.is_none_or(|holder| holder == me))
    }
}

impl Actor for Player {
    fn name(&self) -> &str {
        &self.client.identity.name
    }

    fn begin(&mut self, now: Time, history: &mut History) -> Wants {
        history.introduce(self.client.identity.id, self.client.identity.profile());
        self.offline_for(now, &RETRY);
        self.step(now, history)
    }

    fn connected(&mut self, node: usize, now: Time, history: &mut History) -> Wants {
        let mut log = Log { now, history };
        let will = self.plan.will.clone().map(|Leaves { topic, qos, delay_seconds }| {
            self.wills += 1;
            let message = MessageId { publisher: self.client.identity.id, number: self.wills, is_will: true };
            WillGiven { message, topic, qos, delay_seconds }
        });
        let clean_start = !self.client.identity.is_durable() || self.random.percent(self.plan.clean_percent);
        self.client.connect(node, clean_start, will, &mut log);
        self.dues.listen = Some(now + self.patience);
        self.step(now, history)
    }

    fn received(&mut self, bytes: &[u8], now: Time, history: &mut History) -> Wants {
        let mut log = Log { now, history };
        let news = self.client.take(bytes, &mut log);
        self.pinged = false;
        if news.contains(&News::LetIn) {
            self.let_in(&mut log);
        }
        if news.contains(&News::Over) {
            let mut wants = Wants::default();
            self.close(&mut wants, &mut log);
            wants.wake_at = self.dues.next(now);
            return wants;
        }
        self.step(now, history)
    }

    fn closed(&mut self, now: Time, history: &mut History) -> Wants {
        let mut log = Log { now, history };
        let was_let_in = self.client.state == State::Online;
        self.client.end(Event::Closed, &mut log);
        let goes_on = !was_let_in || !self.awaits_close;
        self.awaits_close = false;
        if goes_on {
            self.offline_for(now, &RETRY);
        } else {
            self.offline(now);
        }
        self.step(now, history)
    }

    fn wake(&mut self, now: Time, history: &mut History) -> Wants {
        self.step(now, history)
    }

    fn enter(&mut self, phase: Phase, now: Time, history: &mut History) -> Wants {
        self.phase = phase;
        if phase == Phase::Heals {
            self.healed = now;
            history.fault(now);
            (self.dues.leave, self.dues.publish, self.dues.resubscribe) = (None, None, None);
            if self.plan.reads_last {
                self.dues.read_last = Some(now + LAST_READ);
            }
            if self.client.state == State::Offline {
                self.offline(now);
            }
            self.dues.leave = self.awaits_close.then_some(now);
        }
        self.step(now, history)
    }

    fn is_at_rest(&self) -> bool {
        let is_read = !self.plan.reads_last || self.has_read_last;
        let shares = self.plan.takes_over && self.phase == Phase::Heals && !self.holds_session();
        // Who has not heard of its server since does not know that it is there: a machine without power closes nothing.
        let is_heard = self.client.last_heard > self.healed;
        (self.client.is_settled() && is_heard && is_read) || (shares && self.client.state == State::Offline)
    }
}
