//! Carries out what `Peers` decides, hears of lanes that ended, and tells probes how far the cluster is.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fulmar_cluster::peers::{Action, Attempt, LinkState};
use fulmar_cluster::readiness::{Missing, Situation, missing};
use fulmar_worker::LaneEnd;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::AbortHandle;
use tracing::info;

use super::{Links, random};
use crate::health::ClusterState;
use crate::reactor::{LaneNews, Letter};

/// How often the data threads' knowledge of peers is looked at while the node is not ready, and afterwards.
const LOOK_UNREADY: Duration = Duration::from_millis(100);
const LOOK_READY: Duration = Duration::from_secs(1);

impl Links {
    /// Runs until the task is aborted.
    pub(crate) async fn drive(self: Arc<Self>, mut news: UnboundedReceiver<LaneNews>) {
        let mut dials: HashMap<Attempt, AbortHandle> = HashMap::new();
        loop {
            let now = Instant::now();
            self.act(&mut dials, now);
            self.tell_health(now);
            self.note_turns(now);
            let look = now + if self.was_ready.load(Ordering::Relaxed) { LOOK_READY } else { LOOK_UNREADY };
            let deadline = self.peers().deadline().map_or(look, |deadline| deadline.min(look));
            tokio::select! {
                Some(news) = news.recv() => self.handle_news(&news),
                () = self.changed.notified() => {}
                () = tokio::time::sleep_until(deadline.into()) => {}
            }
        }
    }

    fn act(self: &Arc<Self>, dials: &mut HashMap<Attempt, AbortHandle>, now: Instant) {
        loop {
            // A statement of its own: the lock is free again before the action is carried out.
            let action = self.peers().poll(now);
            match action {
                None => return,
                Some(Action::Dial { attempt, address }) => {
                    dials.retain(|_, dial| !dial.is_finished());
                    dials.insert(attempt, tokio::spawn(self.clone().dial(attempt, address)).abort_handle());
                }
                Some(Action::DialLetters { attempt, address, channel: _ }) => {
                    let mail =
                        self.mail.clone().expect("peers dial for letters only where there is somebody to write them");
                    dials.retain(|_, dial| !dial.is_finished());
                    let dial = self.clone().dial_letters(attempt, address, mail);
                    dials.insert(attempt, tokio::spawn(dial).abort_handle());
                }
                Some(Action::CloseLetters { connection }) => self.incoming.close(connection),
                Some(Action::Refused { reason }) => {
                    // The store asks for it. Whoever has none is only not linked.
                    let _ = self.refused.set(reason);
                }
                Some(Action::Abandon { attempt }) => {
                    if let Some(dial) = dials.remove(&attempt) {
                        dial.abort();
                    }
                }
                Some(Action::Gone { node, epoch }) => {
                    for inbox in &self.inboxes {
                        inbox.push(Letter::PeerGone { node: node.0, epoch });
                    }
                }
            }
        }
    }

    fn handle_news(&self, news: &LaneNews) {
        let LaneNews { lost, why } = news;
        let now = Instant::now();
        match why {
            LaneEnd::Lost => self.peers().handle_lane_lost(lost, now, random()),
            LaneEnd::Gone => self.peers().handle_gone(lost.node, lost.epoch, now, random()),
            LaneEnd::Replaced => return,
        }
        // The peer may be back elsewhere.
        self.look_up.notify_one();
    }

    /// Tells probes what is missing. Whoever was ready once stays so: a peer that restarts, or a new one, is no reason
    /// to send clients away.
    pub(super) fn tell_health(&self, now: Instant) {
        let missing = self.missing(now);
        let is_complete = !missing.iter().any(Missing::is_awaited);
        let was_ready = self.was_ready.fetch_or(is_complete, Ordering::Relaxed);
        if is_complete && !was_ready {
            let peers = self.view().iter().filter(|view| view.state == LinkState::Up).count();
            info!(peers, "linked with every peer that answers");
        }
        let (awaited, named): (Vec<_>, Vec<_>) = missing.iter().partition(|missing| !was_ready && missing.is_awaited());
        let texts = |missing: Vec<&Missing>| missing.into_iter().map(ToString::to_string).collect();
        self.health.set_cluster(ClusterState { missing: texts(awaited), silent: texts(named) });
    }

    fn missing(&self, now: Instant) -> Vec<Missing> {
        let discovered = self.is_settled();
        let discovering_for = self.discovery().going_on_for(now);
        let mut peers = self.peers().view(now);
        let known = self.node.peers();
        let mut retained_copied = true;
        for view in &mut peers {
            let status = known.iter().find(|status| view.node.is_some_and(|node| node.0 == status.identity.node_id));
            view.synchronised = status.is_some_and(|status| status.linked);
            if view.state == LinkState::Up {
                retained_copied &= status.is_some_and(|status| status.retained_copied);
            }
        }
        missing(&Situation { discovered, discovering_for, retained_copied }, &peers)
    }
}
