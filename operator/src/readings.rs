//! What the brokers' metrics said last, shared between the scraper and the reconciler, and bounded by what exists:
//! clusters and pods that are gone are forgotten at the next round.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::autoscale::{Load, Memory};
use crate::pods::ready_since;
use crate::told::Told;

/// Namespace and name of a cluster.
pub(crate) type ClusterKey = (String, String);

/// What one pod said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodReading {
    /// The pod that said it, not another of the same name.
    pub(crate) uid: String,
    pub(crate) connections: i64,
    /// Of the cluster and of what it keeps.
    pub(crate) told: Told,
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
    /// Stores what one pod said now, or that it said nothing.
    pub(crate) fn store(&self, cluster: &ClusterKey, pod: &str, reading: Option<PodReading>) {
        let mut pods = lock(&self.pods);
        let known = pods.entry(cluster.clone()).or_default();
        match reading {
            Some(reading) => drop(known.insert(pod.to_owned(), reading)),
            None => drop(known.remove(pod)),
        }
    }

    /// Forgets the pods of a cluster that are not among these.
    pub(crate) fn retain_pods(&self, cluster: &ClusterKey, pods: &[Pod]) {
        if let Some(known) = lock(&self.pods).get_mut(cluster) {
            known.retain(|name, _| pods.iter().any(|pod| pod.name_any() == *name));
        }
    }

    /// What the pods of a cluster said last, without what is too old to be believed.
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
        lock(&self.pods).retain(|key, _| exists(key, scope, existing));
        lock(&self.memories).retain(|key, _| exists(key, scope, existing));
    }
}

/// A panic while a lock was held cannot leave a map half written, so the lock is used on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a cluster is among those that exist, or none of this scope's to judge.
pub(crate) fn exists(key: &ClusterKey, scope: Option<&str>, existing: &HashSet<ClusterKey>) -> bool {
    scope.is_some_and(|scope| key.0 != scope) || existing.contains(key)
}

/// The load as the autoscaler sees it: pods that should exist, and what those of them said that still run. A pod that
/// has been ready for less than `patience` need not have been asked yet.
pub(crate) fn load(
    cluster: &str,
    replicas: i32,
    pods: &[Pod],
    reading: &ClusterReading,
    now: Timestamp,
    patience: SignedDuration,
) -> Load {
    let mut load = Load { replicas, ..Load::default() };
    for number in 0..replicas {
        let name = format!("{cluster}-{number}");
        let pod = pods.iter().find(|pod| pod.name_any() == name && pod.metadata.deletion_timestamp.is_none());
        let said = |pod: &Pod| reading.get(&name).filter(|read| pod.uid().as_deref() == Some(read.uid.as_str()));
        match (pod, pod.and_then(said)) {
            (_, Some(read)) => load.connections += read.connections,
            (Some(pod), None) if ready_since(pod).is_some_and(|since| now.duration_since(since) > patience) => {
                load.silent.push(name);
            }
            (_, None) => load.awaited.push(name),
        }
    }
    load
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
        let read =
            |uid: &str, connections| PodReading { uid: uid.to_owned(), connections, told: Told::default(), at: at(0) };
        pods.iter().map(|(name, uid, connections)| ((*name).to_owned(), read(uid, *connections))).collect()
    }

    fn ready(mut pod: Pod, since: i64) -> Pod {
        let condition = serde_json::json!({"type": "Ready", "status": "True", "lastTransitionTime": at(since)});
        pod.status = Some(serde_json::from_value(serde_json::json!({"conditions": [condition]})).unwrap());
        pod
    }

    fn loaded(replicas: i32, pods: &[Pod], reading: &ClusterReading) -> Load {
        load("demo", replicas, pods, reading, at(100), SignedDuration::from_secs(45))
    }

    #[test]
    fn only_pods_that_should_exist_and_that_said_it_themselves_are_counted() {
        let pods = [pod("demo-0", "a"), pod("demo-1", "new"), pod("demo-7", "x")];
        let reading = reading(&[("demo-0", "a", 10), ("demo-1", "old", 20), ("demo-7", "x", 40)]);
        let awaited = vec!["demo-1".to_owned(), "demo-2".to_owned()];
        assert_eq!(loaded(3, &pods, &reading), Load { replicas: 3, connections: 10, awaited, silent: vec![] });
    }

    #[test]
    fn a_pod_is_silent_once_it_has_been_ready_for_long_enough() {
        let mut leaving = ready(pod("demo-2", "c"), 0);
        leaving.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(90)));
        let pods = [ready(pod("demo-0", "a"), 54), ready(pod("demo-1", "b"), 55), leaving];
        let found = loaded(3, &pods, &ClusterReading::new());
        assert_eq!(found.silent, ["demo-0"]);
        assert_eq!(found.awaited, ["demo-1", "demo-2"]);
    }

    #[test]
    fn a_pod_that_says_nothing_is_forgotten_at_once_and_one_that_is_gone_too() {
        let readings = Readings::default();
        let key = ("shop".to_owned(), "demo".to_owned());
        for pod in ["demo-0", "demo-1", "demo-2"] {
            let read = PodReading { uid: pod.to_owned(), connections: 1, told: Told::default(), at: at(0) };
            readings.store(&key, pod, Some(read));
        }
        readings.store(&key, "demo-1", None);
        readings.retain_pods(&key, &[pod("demo-0", "a"), pod("demo-1", "b")]);
        let left = readings.read(&key, at(0), SignedDuration::from_secs(45));
        assert_eq!(left.keys().collect::<Vec<_>>(), ["demo-0"]);
    }

    #[test]
    fn an_old_reading_is_not_believed_and_a_gone_cluster_is_forgotten() {
        let readings = Readings::default();
        let key = ("shop".to_owned(), "demo".to_owned());
        readings.store(&key, "demo-0", reading(&[("demo-0", "a", 10)]).remove("demo-0"));
        let age_max = SignedDuration::from_secs(45);
        assert_eq!(readings.read(&key, at(45), age_max).len(), 1);
        assert_eq!(readings.read(&key, at(46), age_max).len(), 0);
        readings.retain(Some("other"), &HashSet::new());
        assert_eq!(readings.read(&key, at(0), age_max).len(), 1, "another scope's clusters are not its to forget");
        readings.retain(None, &HashSet::new());
        assert_eq!(readings.read(&key, at(0), age_max).len(), 0);
    }
}
