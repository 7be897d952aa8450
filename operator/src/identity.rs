//! The id of the cluster that the brokers are members of, kept where they find it at their next start.
//!
//! The first pod begins a cluster when its folder and those of all others are empty. Volumes can be lost, all of them at
//! once too, and then brokers without memory must not begin another cluster that looks healthy and is empty. So what
//! they tell first is written down in ConfigMap `NAME-identity`, which is made with POST, immutable and never written
//! again; every container that starts later gets it as `FULMAR_CLUSTER_ID` and only joins. A container that runs already
//! knows its cluster, so nothing restarts when the ConfigMap appears.

use std::collections::BTreeMap;

use fulmar_api::{MqttCluster, names};
use fulmar_config::ClusterId;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Api, Client, ResourceExt};

use crate::apply::posted;
use crate::build::object_labels;
use crate::failure::{During, Failure, refused_or_passing};
use crate::observe::own_or_taken;
use crate::readings::ClusterReading;

/// The key in the ConfigMap.
pub(crate) const CLUSTER_ID: &str = "clusterId";

/// Which cluster the brokers are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// What is written down.
    pub(crate) id: Option<ClusterId>,
    /// What contradicts it, for a human.
    pub(crate) complaint: Option<String>,
}

/// What existing pods told, by name.
pub(crate) fn told_ids(pods: &[Pod], reading: &ClusterReading) -> BTreeMap<String, ClusterId> {
    let told = pods.iter().filter_map(|pod| {
        let read = reading.get(&pod.name_any()).filter(|read| pod.uid().as_deref() == Some(read.uid.as_str()))?;
        Some((pod.name_any(), read.told.cluster_id?))
    });
    told.collect()
}

/// Writes down what the brokers tell, if nothing is yet, and compares.
pub(crate) async fn ensure_identity(
    client: &Client,
    cluster: &MqttCluster,
    owner: &OwnerReference,
    told: &BTreeMap<String, ClusterId>,
) -> Result<Identity, Failure> {
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), &cluster.namespace().unwrap_or_default());
    let name = names::identity(&cluster.name_any());
    let read = async || -> Result<Option<ConfigMap>, Failure> {
        let found = config_maps.get_opt(&name).await.during("read the cluster's id")?;
        found.map(|found| own_or_taken(found, "ConfigMap", cluster)).transpose()
    };
    let mut found = read().await?;
    if let (None, Ok(Some(id))) = (&found, agreed(told)) {
        let made = config_maps.create(&posted(), &config_map(cluster, owner, id)).await;
        found = match made {
            Ok(made) => {
                tracing::info!(cluster = cluster.name_any(), %id, "the cluster's id is written down");
                Some(made)
            }
            // Another operator was first.
            Err(kube::Error::Api(status)) if status.is_already_exists() => read().await?,
            Err(error) => return Err(refused_or_passing("write down the cluster's id", "ConfigMap", &name, error)),
        };
    }
    Ok(compare(found.as_ref(), told))
}

/// The one cluster that all who told are members of; who contradicts, if they are not.
fn agreed(told: &BTreeMap<String, ClusterId>) -> Result<Option<ClusterId>, String> {
    let Some((first, id)) = told.iter().next() else { return Ok(None) };
    match told.iter().find(|(_, other)| *other != id) {
        None => Ok(Some(*id)),
        Some((second, other)) => Err(format!("{first} is a member of cluster {id} and {second} of cluster {other}")),
    }
}

fn compare(found: Option<&ConfigMap>, told: &BTreeMap<String, ClusterId>) -> Identity {
    let Some(found) = found else {
        let complaint = agreed(told).err();
        let complaint = complaint.map(|differ| format!("{differ}, wanted one cluster: none is written down"));
        return Identity { id: None, complaint };
    };
    let (name, text) = (found.name_any(), found.data.as_ref().and_then(|data| data.get(CLUSTER_ID)));
    let Some(id) = text.and_then(|text| ClusterId::parse(text)) else {
        let text = text.map_or("nothing", String::as_str);
        let complaint = format!("ConfigMap {name}: {CLUSTER_ID}: found {text}, wanted 32 hexadecimal digits");
        return Identity { id: None, complaint: Some(complaint) };
    };
    let other = told.iter().find(|(_, told)| **told != id);
    let complaint = other.map(|(pod, told)| {
        format!("{pod} is a member of cluster {told}, wanted cluster {id}, which is written down in ConfigMap {name}")
    });
    Identity { id: Some(id), complaint }
}

fn config_map(cluster: &MqttCluster, owner: &OwnerReference, id: ClusterId) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(names::identity(&cluster.name_any())),
            namespace: cluster.namespace(),
            labels: Some(object_labels(&cluster.name_any())),
            owner_references: Some(vec![owner.clone()]),
            ..ObjectMeta::default()
        },
        immutable: Some(true),
        data: Some(BTreeMap::from([(CLUSTER_ID.to_owned(), id.to_string())])),
        ..ConfigMap::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::cluster;
    use crate::validate::owner_reference;

    fn told(ids: &[(&str, u128)]) -> BTreeMap<String, ClusterId> {
        ids.iter().map(|(pod, id)| ((*pod).to_owned(), ClusterId(*id))).collect()
    }

    fn written(id: u128) -> ConfigMap {
        let cluster = cluster();
        config_map(&cluster, &owner_reference(&cluster).unwrap(), ClusterId(id))
    }

    #[test]
    fn brokers_of_one_cluster_agree_and_those_of_two_are_both_named() {
        assert_eq!(agreed(&told(&[])), Ok(None));
        assert_eq!(agreed(&told(&[("demo-0", 1), ("demo-1", 1)])), Ok(Some(ClusterId(1))));
        let (one, two) = (ClusterId(1), ClusterId(2));
        let differ = format!("demo-0 is a member of cluster {one} and demo-1 of cluster {two}");
        assert_eq!(agreed(&told(&[("demo-0", 1), ("demo-1", 2)])), Err(differ.clone()));
        let complaint = Some(format!("{differ}, wanted one cluster: none is written down"));
        assert_eq!(compare(None, &told(&[("demo-0", 1), ("demo-1", 2)])), Identity { id: None, complaint });
    }

    #[test]
    fn what_is_written_down_stays_and_who_contradicts_is_named_with_both_ids() {
        let (one, two) = (ClusterId(1), ClusterId(2));
        assert_eq!(compare(Some(&written(1)), &told(&[])), Identity { id: Some(one), complaint: None });
        assert_eq!(compare(Some(&written(1)), &told(&[("demo-0", 1)])), Identity { id: Some(one), complaint: None });
        let complaint = format!(
            "demo-1 is a member of cluster {two}, wanted cluster {one}, which is written down in ConfigMap demo-identity"
        );
        let found = compare(Some(&written(1)), &told(&[("demo-0", 1), ("demo-1", 2)]));
        assert_eq!(found, Identity { id: Some(one), complaint: Some(complaint) });
    }

    #[test]
    fn an_id_that_no_broker_could_read_is_told() {
        let mut odd = written(1);
        odd.data = Some(BTreeMap::from([(CLUSTER_ID.to_owned(), "demo".to_owned())]));
        let complaint = "ConfigMap demo-identity: clusterId: found demo, wanted 32 hexadecimal digits".to_owned();
        assert_eq!(compare(Some(&odd), &told(&[])), Identity { id: None, complaint: Some(complaint) });
    }
}
