//! How many pods the StatefulSet is asked for when fewer are wanted: one less only after the last pod has handed over
//! all that it keeps. A function of what is wanted, what the brokers answered and the time.
//!
//! Whatever asks for fewer pods comes through here. A pod that cannot be drained is waited for as long as it takes, and
//! the status says why: its copies may be the last ones. Zero pods is no drain: all brokers stop, and come back with
//! their volumes.

pub(crate) mod ask;

use std::fmt::Write as _;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

/// A drain that takes longer needs a human to look.
const SLOW_AFTER: SignedDuration = SignedDuration::from_mins(30);

/// Why a node is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Purpose {
    /// It will not come back: its copies move to other nodes.
    Leave,
    /// It comes back with its copies.
    Restart,
}

/// How far a node has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum DrainState {
    /// It is not drained.
    None,
    /// It hands over.
    Draining,
    /// There is nothing left on it.
    Drained,
}

/// What a broker says of its drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DrainReport {
    pub(crate) state: DrainState,
    #[serde(default)]
    pub(crate) purpose: Option<Purpose>,
    /// Shards that it leads.
    pub(crate) leaders: u32,
    /// Copies on it.
    pub(crate) replicas: u32,
    /// Clients connected to it.
    pub(crate) clients: u32,
}

impl DrainReport {
    fn is_leaving(&self) -> bool {
        self.state != DrainState::None && self.purpose == Some(Purpose::Leave)
    }

    fn is_over(&self) -> bool {
        let Self { state, purpose: _, leaders, replicas, clients } = *self;
        self.is_leaving() && state == DrainState::Drained && leaders == 0 && replicas == 0 && clients == 0
    }
}

/// What became of the question to a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It was not asked.
    NotAsked,
    /// It did not answer, for this reason.
    Silent(String),
    Said(DrainReport),
}

/// One pod, as the gate sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) ordinal: i32,
    /// It keeps copies, by its configuration.
    pub(crate) is_durable: bool,
    pub(crate) answer: Answer,
}

/// Everything that is decided on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Pods that are wanted.
    pub(crate) wanted: i32,
    /// Pods that the StatefulSet is asked for; `None` where there is no StatefulSet.
    pub(crate) current: Option<i32>,
    /// Pods that were stopped together, while there are none.
    pub(crate) stopped: Option<i32>,
    /// The pods that exist.
    pub(crate) nodes: Vec<Node>,
    /// Why another pod than the last cannot do without it now.
    pub(crate) obstacle: Option<String>,
    /// Names of the nodes that belong to the cluster and are not gone; `None` where no broker said.
    pub(crate) members: Option<Vec<String>>,
    /// A pod whose copies the user gives up.
    pub(crate) abandoned: Option<String>,
}

/// Since when which pod has been drained; a new operator begins to count anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) uid: String,
    pub(crate) since: Timestamp,
}

/// What a broker is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// This pod hands over all that it keeps.
    Begin(String),
    /// This pod stays after all.
    Cancel(String),
}

/// A drain that is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) pod: String,
    pub(crate) since: Timestamp,
    /// What is left on it, where it said.
    pub(crate) report: Option<DrainReport>,
    /// What happens, or what is waited for.
    pub(crate) message: String,
    /// A human should look.
    pub(crate) is_slow: bool,
}

/// What to apply, to order and to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Pods to ask the StatefulSet for.
    pub(crate) replicas: i32,
    /// Pods to wake together later, if those that are stopped now keep something.
    pub(crate) stopped: Option<i32>,
    pub(crate) orders: Vec<Order>,
    pub(crate) progress: Option<Progress>,
    pub(crate) memory: Option<Memory>,
}

/// Which pods have to be asked before anything can be decided.
pub(crate) fn asked(wanted: i32, current: Option<i32>, has_begun: bool) -> Option<i32> {
    let current = current?;
    (wanted != 0 && (wanted < current || has_begun)).then_some(current - 1)
}

/// Decides about the next step towards `wanted` pods.
pub(crate) fn decide(facts: &Facts, memory: Option<&Memory>, now: Timestamp) -> Plan {
    let Facts { wanted, current, nodes, .. } = facts;
    let (wanted, current) = (*wanted, current.unwrap_or(*wanted));
    let at = |replicas| Plan { replicas, ..Plan::default() };
    if wanted == 0 {
        let kept = nodes.iter().any(|node| node.is_durable).then_some(current);
        return Plan { stopped: if current == 0 { facts.stopped } else { kept }, ..at(0) };
    }
    if current == 0 {
        // Whatever only the last of them keeps is handed over before they are fewer.
        return at(wanted.max(facts.stopped.unwrap_or_default()));
    }
    if wanted >= current {
        let stays = nodes.iter().filter(|node| matches!(node.answer, Answer::Said(report) if report.is_leaving()));
        return Plan { orders: stays.map(|node| Order::Cancel(node.name.clone())).collect(), ..at(wanted) };
    }
    let last = nodes.iter().find(|node| node.ordinal == current - 1);
    let Some(last) = last else {
        // It is between two lives; the next look finds it.
        return at(current);
    };
    if !last.is_durable {
        // Nothing is kept that could be handed over: all such pods may go at once, each tells its clients.
        let kept = nodes.iter().filter(|node| node.is_durable).map(|node| node.ordinal + 1).max().unwrap_or(0);
        return at(kept.clamp(wanted, current));
    }
    let since = memory.filter(|memory| memory.uid == last.uid).map_or(now, |memory| memory.since);
    let waiting = |order: Option<Order>, report, message: String| {
        let is_slow = now.duration_since(since) > SLOW_AFTER;
        let progress = Progress { pod: last.name.clone(), since, report, message, is_slow };
        let memory = Memory { uid: last.uid.clone(), since };
        Plan {
            replicas: current,
            stopped: None,
            orders: order.into_iter().collect(),
            progress: Some(progress),
            memory: Some(memory),
        }
    };
    if facts.abandoned.as_deref() == Some(last.name.as_str()) {
        return at(current - 1);
    }
    match &last.answer {
        Answer::Said(report) if report.is_over() => at(current - 1),
        Answer::Said(report) if report.is_leaving() => waiting(None, Some(*report), left(report)),
        Answer::Said(report) => match &facts.obstacle {
            Some(obstacle) => waiting(None, Some(*report), format!("the drain has not begun: {obstacle}")),
            None => {
                let begins = Order::Begin(last.name.clone());
                waiting(Some(begins), Some(*report), format!("{} begins to hand over what it keeps", last.name))
            }
        },
        // It never came so far as to keep anything.
        Answer::Silent(_) if facts.members.as_ref().is_some_and(|members| !members.contains(&last.name)) => {
            at(current - 1)
        }
        Answer::Silent(reason) => {
            let message = format!(
                "{0} cannot be drained, it does not answer: {reason}; bring it back, or give up what only it keeps by \
                 annotation {1}={0} of the MqttCluster",
                last.name,
                fulmar_api::labels::ABANDON
            );
            waiting(None, None, message)
        }
        Answer::NotAsked => waiting(None, None, format!("{} has not been asked yet", last.name)),
    }
}

fn left(report: &DrainReport) -> String {
    let DrainReport { state, purpose: _, leaders, replicas, clients } = report;
    let mut text = "left:".to_owned();
    for (count, what) in [(leaders, "leaderships"), (replicas, "copies"), (clients, "clients")] {
        if *count > 0 {
            let comma = if text.ends_with(':') { "" } else { "," };
            write!(text, "{comma} {count} {what}").expect("a string takes everything");
        }
    }
    match (text.ends_with(':'), state) {
        (false, _) => text,
        (true, _) => "nothing is left, the broker has not said yet that it is done".to_owned(),
    }
}

#[cfg(test)]
mod tests;
