//! What a pod's status says to a human: one row for each.

use fulmar_api::{NodeStatus, names};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::readings::ClusterReading;

/// States of a container that do not pass without somebody's help.
const FAILING: &[&str] = &[
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "ErrImagePull",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];

/// How long a broker that was killed for want of memory and runs again is spoken of.
const OUT_OF_MEMORY_TOLD: SignedDuration = SignedDuration::from_mins(10);

/// The row of a pod.
pub(crate) fn node_status(pod: &Pod, reading: &ClusterReading) -> NodeStatus {
    let name = pod.name_any();
    let ready = is_ready(pod);
    let read = reading.get(&name).filter(|read| pod.uid().as_deref() == Some(read.uid.as_str()));
    NodeStatus {
        ready,
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        connections: read.map(|read| read.connections),
        leaders: read.and_then(|read| read.told.leaders),
        caught_up: read.and_then(|read| read.told.caught_up),
        restarts: broker(pod).map_or(0, |broker| broker.restart_count),
        message: (!ready).then(|| problem(pod).unwrap_or_else(|| "starting".to_owned())),
        name,
    }
}

/// Whether the pod serves clients.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
    pod.metadata.deletion_timestamp.is_none() && ready.any(|condition| condition.status == "True")
}

/// Since when the pod serves clients, if it does.
pub(crate) fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let condition = conditions.find(|condition| condition.type_ == "Ready" && condition.status == "True")?;
    is_ready(pod).then(|| condition.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0))
}

/// Since when the pod has not served clients, if it runs and does not.
pub(crate) fn unready_since(pod: &Pod) -> Option<Timestamp> {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let condition = conditions.find(|condition| condition.type_ == "Ready" && condition.status != "True")?;
    condition.last_transition_time.as_ref().map(|time| time.0)
}

/// What keeps the pod from starting until somebody helps.
pub(crate) fn failure(pod: &Pod) -> Option<String> {
    let waiting = broker(pod).and_then(|broker| broker.state.as_ref()?.waiting.clone());
    if let Some(waiting) = waiting
        && let Some(reason) = waiting.reason.filter(|reason| FAILING.contains(&reason.as_str()))
    {
        let died = broker(pod).and_then(|broker| broker.last_state.as_ref()?.terminated.clone());
        let died = died.map(|died| format!(" (it ended with exit code {})", died.exit_code)).unwrap_or_default();
        let said = waiting.message.map(|message| format!(": {message}")).unwrap_or_default();
        return Some(format!("{reason}{said}{died}"));
    }
    unschedulable(pod)
}

/// That the broker was killed for want of memory, and what to do: as long as it does not run, and a while after.
pub(crate) fn out_of_memory(pod: &Pod, now: Timestamp) -> Option<String> {
    let ContainerStatus { state, last_state, .. } = broker(pod)?;
    let mut killed = [state, last_state].into_iter().flatten().filter_map(|state| state.terminated.as_ref());
    let killed = killed.find(|ended| ended.reason.as_deref() == Some("OOMKilled"))?;
    let ended = killed.finished_at.as_ref().map(|time| time.0);
    let is_recent = ended.is_some_and(|ended| now.duration_since(ended) < OUT_OF_MEMORY_TOLD);
    let runs = state.as_ref().is_some_and(|state| state.running.is_some());
    if runs && !is_recent {
        return None;
    }
    let name = pod.name_any();
    let at = ended.map(|ended| format!(" at {ended}")).unwrap_or_default();
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut broker = containers.filter(|container| container.name == names::BROKER_CONTAINER);
    let limit = broker.next().and_then(|broker| broker.resources.as_ref()?.limits.as_ref()?.get("memory"));
    let limit = limit.map_or("none", |limit| limit.0.as_str());
    Some(format!(
        "{name}: the broker was killed{at} because its memory was used up (limit {limit}): \
         raise spec.resources.limits.memory"
    ))
}

fn problem(pod: &Pod) -> Option<String> {
    if pod.metadata.deletion_timestamp.is_some() {
        return Some("stopping".to_owned());
    }
    if let Some(failure) = failure(pod) {
        return Some(failure);
    }
    let state = broker(pod)?.state.as_ref()?;
    match (&state.waiting, &state.running) {
        (Some(waiting), _) => waiting.reason.clone(),
        (None, Some(_)) => Some("running, not ready: its /readyz tells what is missing".to_owned()),
        (None, None) => None,
    }
}

fn unschedulable(pod: &Pod) -> Option<String> {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let condition = conditions.find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
    Some(format!("Unschedulable: {}", condition.message.as_deref().unwrap_or("no node fits")))
}

fn broker(pod: &Pod) -> Option<&ContainerStatus> {
    let mut containers = pod.status.as_ref()?.container_statuses.iter().flatten();
    containers.find(|container| container.name == names::BROKER_CONTAINER)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: &Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "demo-1", "uid": "a"}, "status": status})).unwrap()
    }

    fn broker_state(state: &Value) -> Value {
        json!({"containerStatuses": [{
            "name": "broker", "image": "", "imageID": "", "ready": false, "restartCount": 4,
            "state": state, "lastState": {"terminated": {"exitCode": 2}},
        }]})
    }

    #[test]
    fn a_pod_that_cannot_start_says_why() {
        let waiting = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}});
        let row = node_status(&pod(&broker_state(&waiting)), &ClusterReading::new());
        assert_eq!(row.message.as_deref(), Some("CrashLoopBackOff: back-off 10s (it ended with exit code 2)"));
        assert_eq!((row.ready, row.restarts), (false, 4));
    }

    #[test]
    fn a_pod_that_only_starts_is_no_failure() {
        let starting = pod(&broker_state(&json!({"waiting": {"reason": "ContainerCreating"}})));
        assert_eq!(failure(&starting), None);
        assert_eq!(node_status(&starting, &ClusterReading::new()).message.as_deref(), Some("ContainerCreating"));
    }

    #[test]
    fn a_pod_without_a_node_repeats_the_scheduler() {
        let condition = json!({"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"});
        let pending = pod(&json!({"conditions": [condition]}));
        assert_eq!(failure(&pending).as_deref(), Some("Unschedulable: 0/1 nodes are available"));
    }
}
