//! What happened to the pods of a cluster, event by event, while a test did something else.
//!
//! A watch tells every change of every pod once and in order, so what is not in the history did not happen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::watcher;
use tokio::task::JoinHandle;

use crate::Cluster;
use crate::cluster::is_ready;

/// Records from when it was begun until it is dropped.
#[derive(Debug)]
pub struct PodHistory {
    moments: Arc<Mutex<Recording>>,
    recorder: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Recording {
    pods: BTreeMap<String, PodState>,
    moments: Vec<Moment>,
    complaint: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct PodState {
    uid: String,
    is_ready: bool,
}

/// The pods after one change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// The names of the pods that were ready.
    pub ready: Vec<String>,
    /// The UIDs of all pods, by name.
    pub uids: BTreeMap<String, String>,
}

impl PodHistory {
    /// Begins, with the pods as they are.
    pub async fn begin(cluster: &Cluster) -> Result<Self> {
        let config = watcher::Config::default().labels(&cluster.selector());
        let mut stream = Box::pin(watcher::watcher(cluster.namespace.api::<Pod>(), config));
        let mut recording = Recording::default();
        loop {
            let event = stream.next().await.context("watch the pods")?.context("watch the pods")?;
            let is_whole = matches!(event, watcher::Event::InitDone);
            recording.note(event);
            if is_whole {
                break;
            }
        }
        recording.complaint = None;
        let moments = Arc::new(Mutex::new(recording));
        let shared = Arc::clone(&moments);
        let recorder = tokio::spawn(async move {
            while let Some(event) = stream.next().await {
                let mut recording = shared.lock().expect("nothing panics while it notes an event");
                match event {
                    Ok(event) => recording.note(event),
                    Err(error) => recording.complaint = Some(error.to_string()),
                }
            }
        });
        Ok(Self { moments, recorder })
    }

    /// Every moment so far, the beginning among them. An error when the watch broke off and may have missed one.
    pub fn moments(&self) -> Result<Vec<Moment>> {
        let recording = self.moments.lock().expect("nothing panics while it notes an event");
        if let Some(complaint) = &recording.complaint {
            bail!("the history of the pods has a gap: {complaint}");
        }
        Ok(recording.moments.clone())
    }
}

impl Drop for PodHistory {
    fn drop(&mut self) {
        self.recorder.abort();
    }
}

impl Recording {
    fn note(&mut self, event: watcher::Event<Pod>) {
        match event {
            watcher::Event::Init => {
                self.complaint = Some("the watch began again".to_owned());
                return;
            }
            // The first list comes pod by pod: only its end is a moment.
            watcher::Event::InitApply(pod) => return self.put(&pod),
            watcher::Event::Apply(pod) => self.put(&pod),
            watcher::Event::Delete(pod) => drop(self.pods.remove(&pod.name_any())),
            watcher::Event::InitDone => {}
        }
        let ready = self.pods.iter().filter(|(_, pod)| pod.is_ready).map(|(name, _)| name.clone()).collect();
        let uids = self.pods.iter().map(|(name, pod)| (name.clone(), pod.uid.clone())).collect();
        self.moments.push(Moment { ready, uids });
    }

    fn put(&mut self, pod: &Pod) {
        let state = PodState { uid: pod.uid().unwrap_or_default(), is_ready: is_ready(pod) };
        self.pods.insert(pod.name_any(), state);
    }
}

#[cfg(test)]
mod tests {
    use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};

    use super::*;

    fn pod(name: &str, is_ready: bool) -> Pod {
        let status = if is_ready { "True" } else { "False" };
        let pod = serde_json::json!({
            "metadata": {"name": name, "uid": name},
            "status": {"conditions": [{"type": "Ready", "status": status}]},
        });
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn the_first_list_is_one_moment_and_every_change_is_another() {
        let mut recording = Recording::default();
        let events = [
            Init,
            InitApply(pod("a", true)),
            InitApply(pod("b", true)),
            InitDone,
            Apply(pod("b", false)),
            Delete(pod("b", false)),
        ];
        events.into_iter().for_each(|event| recording.note(event));
        let ready: Vec<_> = recording.moments.iter().map(|moment| moment.ready.join(" ")).collect();
        let pods: Vec<_> = recording.moments.iter().map(|moment| moment.uids.len()).collect();
        assert_eq!((ready, pods), (["a b", "a", "a"].map(str::to_owned).into(), vec![2, 2, 1]));
    }
}
