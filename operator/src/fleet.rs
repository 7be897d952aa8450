//! What the pods are now, as the decisions about rolls and drains take it: Kubernetes' word about each pod, its broker's
//! own, and whether it keeps anything by the configuration that it runs with.

use std::collections::BTreeSet;

use fulmar_api::{MqttCluster, names};
use fulmar_config::{Config, Durability};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::{Client, ResourceExt};

use crate::broker_config::CONFIG_FILE;
use crate::build::used_config_map;
use crate::failure::Failure;
use crate::observe::{Observed, ordinal};
use crate::pods::{failure, is_ready, unready_since};
use crate::readings::ClusterReading;
use crate::record::{Recorded, recall, running_hash};
use crate::roll::{self, Member, State};
use crate::validate::ValidatedCluster;

/// The label by which the StatefulSet controller says from which template a pod was made.
const REVISION: &str = "controller-revision-hash";

/// Names of the ConfigMaps, among those that pods use, whose brokers keep something together.
pub(crate) async fn durable_configs(
    client: &Client,
    cluster: &MqttCluster,
    pods: &[Pod],
    valid: &ValidatedCluster,
) -> Result<BTreeSet<String>, Failure> {
    let used: BTreeSet<&str> = pods.iter().filter_map(|pod| used_config_map(pod.spec.as_ref()?)).collect();
    let mut durable = BTreeSet::new();
    for name in used {
        let Some(hash) = name.strip_prefix(&names::config_map(&valid.name, "")) else { continue };
        let is_durable = match (&valid.recorded, hash == valid.input_hash) {
            (Some(recorded), true) => is_record_durable(recorded),
            (None, true) => is_durable(&valid.config),
            (_, false) => recall(client, cluster, hash).await?.as_ref().is_some_and(is_record_durable),
        };
        if is_durable {
            durable.insert(name.to_owned());
        }
    }
    Ok(durable)
}

fn is_record_durable(recorded: &Recorded) -> bool {
    let file = recorded.data.get(CONFIG_FILE).map(|text| fulmar_config::check(text));
    file.and_then(Result::ok).is_some_and(|config| is_durable(&config))
}

/// Brokers of releases that kept nothing together had no admin port either.
fn is_durable(config: &Config) -> bool {
    config.durability != Durability::None && config.data_dir.is_some() && config.admin.is_some()
}

/// Every pod of the StatefulSet.
pub(crate) fn members(observed: &Observed, reading: &ClusterReading, durable: &BTreeSet<String>) -> Vec<Member> {
    let newest = status_of(observed.statefulset.as_ref(), |status| status.update_revision.clone());
    let members = observed.pods.iter().map(|pod| {
        let (name, uid) = (pod.name_any(), pod.uid().unwrap_or_default());
        let read = reading.get(&name).filter(|read| read.uid == uid);
        Member {
            ordinal: ordinal(&name),
            is_newest: pod.labels().get(REVISION) == newest.as_ref(),
            state: state(pod),
            is_durable: pod.spec.as_ref().and_then(used_config_map).is_some_and(|used| durable.contains(used)),
            told: read.map(|read| read.told.clone()),
            name,
            uid,
        }
    });
    members.collect()
}

fn state(pod: &Pod) -> State {
    if pod.metadata.deletion_timestamp.is_some() {
        State::Stopping
    } else if is_ready(pod) {
        State::Ready
    } else if failure(pod).is_some() {
        State::Failing
    } else {
        State::Unready { since: unready_since(pod) }
    }
}

/// What a roll to the template of `valid` is decided on, with so many pods.
pub(crate) fn roll_facts(
    observed: &Observed,
    members: &[Member],
    valid: &ValidatedCluster,
    replicas: i32,
    drained: Option<String>,
) -> roll::Facts {
    let set = observed.statefulset.as_ref();
    let running = set.and_then(|set| running_hash(&valid.name, set));
    let seen = status_of(set, |status| status.observed_generation);
    let current = status_of(set, |status| status.current_revision.clone());
    let newest = status_of(set, |status| status.update_revision.clone());
    let strategy = set.and_then(|set| set.spec.as_ref()?.update_strategy.as_ref()?.rolling_update.clone());
    roll::Facts {
        replicas,
        partition: strategy.and_then(|rolling| rolling.partition).unwrap_or_default(),
        is_new_template: running.as_deref() != Some(valid.input_hash.as_str()),
        is_seen: seen >= set.and_then(|set| set.metadata.generation),
        is_complete: current == newest,
        drained,
        members: members.iter().filter(|member| member.ordinal < replicas).cloned().collect(),
    }
}

fn status_of<T>(
    set: Option<&StatefulSet>,
    part: impl FnOnce(&k8s_openapi::api::apps::v1::StatefulSetStatus) -> Option<T>,
) -> Option<T> {
    part(set?.status.as_ref()?)
}
