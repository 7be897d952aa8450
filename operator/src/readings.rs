//! What the brokers' metrics said last, shared between the scraper and the reconciler, and bounded by what exists:
//! clusters and pods that are gone are forgotten at the next round.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::autoscale::{Load, Memory};
use crate::observe::{Observed, ordinal};

/// Namespace and name of a cluster.
pub(crate) type ClusterKey = (String, String);

/// What one pod said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodReading {
    /// The pod that said it, not another of the same name.
    pub(crate) uid: String,
    pub(crate) connections: i64,
    pub(crate) at: Timestamp,
}

/// What the pods of one cluster said, by pod name.
pub(crate) type ClusterReading = BTreeMap<String, PodReading>;

/// The last readings and the autoscaler's memory of every cluster. Its locks are held for single steps and never nest.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    pods: Mutex<HashMap<ClusterKey, ClusterReading>>,
    memories: Mutex<HashMap<ClusterKey, Memory>>,
}

impl Readings {
    /// Stores a round and tells whether a number in it differs from the round before.
    pub(crate) fn store(&self, cluster: ClusterKey, reading: ClusterReading) -> bool {
        let numbers = |reading: &ClusterReading| -> Vec<(String, i64)> {
            reading.iter().map(|(pod, read)| (pod.clone(), read.connections)).collect()
        };
        let new = numbers(&reading);
        let old = lock(&self.pods).insert(cluster, reading).unwrap_or_default();
        numbers(&old) != new
    }

    /// The last round of a cluster, without what is too old to be believed.
    pub(crate) fn read(&self, cluster: &ClusterKey, now: Timestamp, age_max: SignedDuration) -> ClusterReading {
        let mut reading = lock(&self.pods).get(cluster).cloned().unwrap_or_default();
        reading.retain(|_, pod| now.duration_since(pod.at) <= age_max);
        reading
    }

    /// What the autoscaler remembers of a cluster.
    pub(crate) fn memory(&self, cluster: &ClusterKey) -> Memory {
        lock(&self.memories).get(cluster).copied().unwrap_or_default()
    }

    /// Stores what the autoscaler remembers of a cluster.
    pub(crate) fn remember(&self, cluster: ClusterKey, memory: Memory) {
        lock(&self.memories).insert(cluster, memory);
    }

    /// Forgets every cluster of these namespaces (`None`: of all) that does not exist any more.
    pub(crate) fn retain(&self, scope: Option<&str>, existing: &HashSet<ClusterKey>) {
        let keeps = |key: &ClusterKey| scope.is_some_and(|scope| key.0 != scope) || existing.contains(key);
        lock(&self.pods).retain(|key, _| keeps(key));
        lock(&self.memories).retain(|key, _| keeps(key));
    }
}

/// A panic while a lock was held cannot leave a map half written, so the lock is used on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The load as the autoscaler sees it: pods that should exist, and what those of them said that still run.
pub(crate) fn load(cluster: &str, observed: &Observed, reading: &ClusterReading) -> Load {
    let replicas = observed.replicas().unwrap_or_default();
    let said = |pod: &Pod| {
        let read = reading.get(&pod.name_any())?;
        (pod.metadata.deletion_timestamp.is_none() && pod.uid().as_deref() == Some(read.uid.as_str()))
            .then_some(read.connections)
    };
    let answers: BTreeMap<i32, i64> =
        observed.pods.iter().filter_map(|pod| Some((ordinal(&pod.name_any()), said(pod)?))).collect();
    let wanted = 0..replicas;
    Load {
        replicas,
        connections: answers.iter().filter(|(ordinal, _)| wanted.contains(ordinal)).map(|(_, said)| said).sum(),
        silent: wanted
            .filter(|ordinal| !answers.contains_key(ordinal))
            .map(|ordinal| format!("{cluster}-{ordinal}"))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn pod(name: &str, uid: &str) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = Some(name.to_owned());
        pod.metadata.uid = Some(uid.to_owned());
        pod
    }

    fn reading(pods: &[(&str, &str, i64)]) -> ClusterReading {
        let read = |uid: &str, connections| PodReading { uid: uid.to_owned(), connections, at: at(0) };
        pods.iter().map(|(name, uid, connections)| ((*name).to_owned(), read(uid, *connections))).collect()
    }

    fn observed(replicas: i32, pods: Vec<Pod>) -> Observed {
        let statefulset = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "demo"},
            "spec": {"replicas": replicas, "selector": {}, "template": {}},
        }));
        Observed { statefulset: Some(statefulset.unwrap()), pods, services: Vec::new() }
    }

    #[test]
    fn a_pod_of_an_earlier_life_is_silent() {
        let observed = observed(3, vec![pod("demo-0", "a"), pod("demo-1", "new"), pod("demo-7", "x")]);
        let reading = reading(&[("demo-0", "a", 10), ("demo-1", "old", 20), ("demo-7", "x", 40)]);
        let silent = vec!["demo-1".to_owned(), "demo-2".to_owned()];
        assert_eq!(load("demo", &observed, &reading), Load { replicas: 3, connections: 10, silent });
    }

    #[test]
    fn only_a_changed_number_asks_for_a_reconciliation() {
        let readings = Readings::default();
        let key = ("shop".to_owned(), "demo".to_owned());
        assert!(readings.store(key.clone(), reading(&[("demo-0", "a", 10)])));
        assert!(!readings.store(key.clone(), reading(&[("demo-0", "a", 10)])));
        assert!(readings.store(key, reading(&[("demo-0", "a", 11)])));
    }

    #[test]
    fn an_old_reading_is_not_believed_and_a_gone_cluster_is_forgotten() {
        let readings = Readings::default();
        let key = ("shop".to_owned(), "demo".to_owned());
        readings.store(key.clone(), reading(&[("demo-0", "a", 10)]));
        let age_max = SignedDuration::from_secs(45);
        assert_eq!(readings.read(&key, at(45), age_max).len(), 1);
        assert_eq!(readings.read(&key, at(46), age_max).len(), 0);
        readings.retain(Some("other"), &HashSet::new());
        assert_eq!(readings.read(&key, at(0), age_max).len(), 1, "another scope's clusters are not its to forget");
        readings.retain(None, &HashSet::new());
        assert_eq!(readings.read(&key, at(0), age_max).len(), 0);
    }
}
