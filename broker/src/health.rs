//! Whether this broker lives and whether it is ready, as probes ask.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::metrics::ThreadReport;

/// A data thread that has not ended a turn for this long is stalled. A turn takes milliseconds.
const STALLED_AFTER: Duration = Duration::from_secs(10);

/// How far the process is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not every listener is bound yet.
    #[default]
    Starting,
    /// Clients are served.
    Serving,
    /// Clients are being told to leave.
    Stopping,
}

/// What the cluster still lacks before this node is ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClusterState {
    /// What is awaited.
    pub(crate) missing: Vec<String>,
    /// Peers that do not answer and are not waited for.
    pub(crate) silent: Vec<String>,
}

/// What probes see.
#[derive(Debug)]
pub(crate) struct Health {
    threads: Vec<Arc<ThreadReport>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    cluster: ClusterState,
    /// What the store still lacks.
    store: Vec<String>,
    lost: Option<String>,
    invalid_files: Vec<String>,
}

/// The answer to "are you ready".
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Readiness {
    pub(crate) ready: bool,
    pub(crate) missing: Vec<String>,
    pub(crate) silent: Vec<String>,
    /// Groups of the cluster that have no quorum, and for want of whom. Others are served meanwhile.
    pub(crate) lost: Vec<String>,
    /// Files of users and access rules of which the last good ones are in use.
    pub(crate) invalid_files: Vec<String>,
}

impl Health {
    pub(crate) fn new(threads: Vec<Arc<ThreadReport>>) -> Health {
        Health { threads, state: Mutex::default() }
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.lock().phase = phase;
    }

    pub(crate) fn set_cluster(&self, cluster: ClusterState) {
        self.lock().cluster = cluster;
    }

    /// What keeps the store of a cluster's member from serving.
    pub(crate) fn set_store(&self, missing: Vec<String>) {
        self.lock().store = missing;
    }

    /// Groups of the cluster can't decide anything, in words.
    pub(crate) fn set_lost(&self, lost: Option<String>) {
        self.lock().lost = lost;
    }

    /// These files are no good; the last good ones are in use, so nobody needs to be sent elsewhere.
    pub(crate) fn set_invalid_files(&self, files: Vec<String>) {
        self.lock().invalid_files = files;
    }

    /// The data threads that are stalled; none when the process lives. Peers are never asked.
    pub(crate) fn stalled(&self, now: Instant) -> Vec<String> {
        let numbered = self.threads.iter().enumerate().map(|(index, report)| (index, report.silence(now)));
        let stalled = numbered.filter(|(_, silence)| *silence >= STALLED_AFTER);
        stalled.map(|(index, silence)| format!("data thread {index} stalled for {} s", silence.as_secs())).collect()
    }

    pub(crate) fn readiness(&self) -> Readiness {
        let State { phase, cluster: ClusterState { missing, silent }, store, lost, invalid_files } = &*self.lock();
        let own = match phase {
            Phase::Starting => Some("listening"),
            Phase::Serving => None,
            Phase::Stopping => Some("not stopping"),
        };
        let missing: Vec<String> =
            own.map(str::to_owned).into_iter().chain(missing.iter().chain(store).cloned()).collect();
        let (silent, invalid_files) = (silent.clone(), invalid_files.clone());
        let lost = lost.iter().cloned().collect();
        Readiness { ready: missing.is_empty(), missing, silent, lost, invalid_files }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while the state is copied")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_serving_and_nothing_missing_in_the_cluster() {
        let health = Health::new(Vec::new());
        assert_eq!(health.readiness().missing, ["listening"]);
        health.set_phase(Phase::Serving);
        assert!(health.readiness().ready);
        let cluster = ClusterState { missing: vec!["retained messages".into()], silent: vec!["broker-2".into()] };
        health.set_cluster(cluster);
        let silent = vec!["broker-2".to_owned()];
        let (missing, lost, invalid_files) = (vec!["retained messages".into()], Vec::new(), Vec::new());
        assert_eq!(health.readiness(), Readiness { ready: false, missing, silent, lost, invalid_files });
        health.set_cluster(ClusterState::default());
        health.set_lost(Some("no quorum for group 3".into()));
        assert_eq!(health.readiness().lost, ["no quorum for group 3"]);
        health.set_invalid_files(vec!["auth.accessFile".into()]);
        assert!(health.readiness().ready);
        health.set_phase(Phase::Stopping);
        assert_eq!(health.readiness().missing, ["not stopping"]);
    }

    #[test]
    fn a_stalled_thread_is_named() {
        let (good, bad) = (Arc::new(ThreadReport::default()), Arc::new(ThreadReport::default()));
        let health = Health::new(vec![good.clone(), bad]);
        let later = Instant::now() + STALLED_AFTER;
        good.beat(later);
        assert_eq!(health.stalled(Instant::now()), [""; 0]);
        assert_eq!(health.stalled(later), ["data thread 1 stalled for 10 s"]);
    }
}
