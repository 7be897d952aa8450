//! The claims of the pods' volumes: each grows with `spec.storage.size`, where its storage class lets it.
//!
//! Kubernetes never changes the claim template of a StatefulSet, so that keeps the size that the cluster was made with, and
//! each claim is asked for more by itself, those of new pods too. Nothing here makes a claim smaller or removes one.

use fulmar_api::{MqttCluster, labels, names};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::build::selector_text;
use crate::failure::{During, Failure};

/// Factors of a quantity's last letters, in thousandths.
const SUFFIXES: &[(&str, u128)] = &[
    ("Ki", 1000 << 10),
    ("Mi", 1000 << 20),
    ("Gi", 1000 << 30),
    ("Ti", 1000 << 40),
    ("Pi", 1000 << 50),
    ("Ei", 1000 << 60),
    ("m", 1),
    ("k", 1_000_000),
    ("M", 1_000_000_000),
    ("G", 1_000_000_000_000),
    ("T", 1_000_000_000_000_000),
    ("P", 1_000_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000_000),
    ("", 1000),
];

/// The size in the claim template that a StatefulSet has for good.
pub(crate) fn template_size(set: &StatefulSet) -> Option<String> {
    let templates = set.spec.as_ref()?.volume_claim_templates.as_ref()?;
    let data = templates.iter().find(|template| template.name_any() == names::DATA_VOLUME)?;
    requested(data)
}

fn requested(claim: &PersistentVolumeClaim) -> Option<String> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    Some(requests.get("storage")?.0.clone())
}

/// Asks for the size of the spec where a claim has less. Returns what was refused, in the API server's words.
pub(crate) async fn grow_claims(client: &Client, cluster: &MqttCluster) -> Result<Option<String>, Failure> {
    let (name, wanted) = (cluster.name_any(), cluster.spec.storage.size.as_str());
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &cluster.namespace().unwrap_or_default());
    let selected = ListParams::default().labels(&selector_text(&name));
    let found = claims.list(&selected).await.during("list the claims of volumes")?.items;
    let prefix = format!("{}-{name}-", names::DATA_VOLUME);
    let ours = found.iter().filter(|claim| {
        let number = claim.name_any().strip_prefix(&prefix).map(str::to_owned);
        number.is_some_and(|number| number.parse::<u32>().is_ok()) && claim.metadata.deletion_timestamp.is_none()
    });
    let parameters = PatchParams { field_manager: Some(labels::MANAGER.to_owned()), ..PatchParams::default() };
    for claim in ours.filter(|claim| is_less(requested(claim).as_deref(), wanted)) {
        let claim_name = claim.name_any();
        let patch = json!({
            "metadata": {"uid": claim.uid()},
            "spec": {"resources": {"requests": {"storage": wanted}}},
        });
        match claims.patch(&claim_name, &parameters, &Patch::Merge(&patch)).await {
            Ok(_) => tracing::info!(claim = claim_name, size = wanted, "asked for a larger volume"),
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
            Err(kube::Error::Api(status)) if (400..500).contains(&status.code) && status.code != 429 => {
                return Ok(Some(format!("{claim_name} does not grow to {wanted}: {}", status.message)));
            }
            Err(error) => return Err(error).during("ask for a larger volume"),
        }
    }
    Ok(None)
}

fn is_less(found: Option<&str>, wanted: &str) -> bool {
    match (found.and_then(thousandths), thousandths(wanted)) {
        (Some(found), Some(wanted)) => found < wanted,
        _ => false,
    }
}

/// A quantity of Kubernetes without an exponent, in thousandths; nobody writes a size of a volume with one.
fn thousandths(quantity: &str) -> Option<u128> {
    let (suffix, factor) = SUFFIXES.iter().find(|(suffix, _)| quantity.ends_with(suffix))?;
    let number = quantity.strip_suffix(suffix)?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(part) || (whole.is_empty() && part.is_empty()) || part.len() > 9 {
        return None;
    }
    let digits: u128 = format!("{whole}{part}").parse().ok()?;
    Some(digits.checked_mul(*factor)? / 10_u128.pow(u32::try_from(part.len()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::object_labels;
    use crate::fake_api::{FakeApi, refusal};
    use crate::fixtures::cluster;

    fn api() -> FakeApi {
        let api = FakeApi::default();
        api.objects(|objects| {
            for (name, size) in
                [("data-demo-0", "1Gi"), ("data-demo-1", "3Gi"), ("data-demo-7", "1024Mi"), ("data-demo-x", "1Gi")]
            {
                let metadata = json!({"name": name, "namespace": "shop", "labels": object_labels("demo")});
                let spec = json!({"resources": {"requests": {"storage": size}}});
                objects.put("persistentvolumeclaims", json!({"metadata": metadata, "spec": spec}));
            }
        });
        api
    }

    fn wanting(size: &str) -> MqttCluster {
        let mut cluster = cluster();
        cluster.spec.storage.size = size.to_owned();
        cluster
    }

    #[tokio::test]
    async fn claims_grow_and_never_shrink_and_those_of_others_stay() {
        let api = api();
        assert_eq!(grow_claims(&api.client(), &wanting("2Gi")).await.unwrap(), None);
        let sizes = ["data-demo-0", "data-demo-1", "data-demo-7", "data-demo-x"]
            .map(|name| api.object("persistentvolumeclaims", name)["spec"]["resources"]["requests"]["storage"].clone());
        assert_eq!(sizes, ["2Gi", "3Gi", "2Gi", "1Gi"]);
        api.take_requests();
        assert_eq!(grow_claims(&api.client(), &wanting("2048Mi")).await.unwrap(), None);
        assert_eq!(api.take_requests(), ["LIST persistentvolumeclaims/"], "they are as large as that");
    }

    #[tokio::test]
    async fn a_class_that_lets_no_volume_grow_is_told() {
        let api = api();
        api.before_each(|verb, _, _| (verb == "PATCH").then(|| refusal(403, "Forbidden", &[])));
        let refused = grow_claims(&api.client(), &wanting("2Gi")).await.unwrap();
        assert_eq!(refused.as_deref(), Some("data-demo-0 does not grow to 2Gi: refused: Forbidden"));
    }

    #[test]
    fn quantities_are_compared_by_what_they_mean() {
        for (less, more) in
            [("1Gi", "1025Mi"), ("1G", "1Gi"), ("900M", "1Gi"), ("1.5Gi", "2Gi"), ("1", "1k"), ("1Ti", "1.1Ti")]
        {
            assert!(is_less(Some(less), more) && !is_less(Some(more), less), "{less} {more}");
        }
        assert!(!is_less(Some("1Gi"), "1024Mi") && !is_less(Some("1024Mi"), "1Gi"));
        for odd in ["", "Gi", "1e9", "-1Gi", "1.0.0Gi", "1Xi"] {
            assert!(!is_less(Some(odd), "9Ei") && !is_less(None, odd), "{odd}");
        }
    }
}
