//! What a hand does to certificates and pod templates is undone, and what the user no longer wants goes.

use std::time::Duration;

use anyhow::{Context, Result};
use fulmar_api::{labels, names};
use fulmar_e2e::wait::watch_until;
use fulmar_e2e::{Cluster, Namespace};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;

use crate::fixtures::{secure, serves};
use crate::upkeep::{deleted_and_repaired, repaired};

/// A roll of the one pod, on a busy machine.
const ROLL_LIMIT: Duration = Duration::from_secs(120);

pub(crate) async fn edited_and_deleted_certificates_are_repaired_within_5_seconds(namespace: Namespace) -> Result<()> {
    let cluster = secure(&namespace).await?;
    let before = cluster.identities().await?;
    for secret in [names::internal_tls("secure"), names::listener_tls("secure", "mqtts")] {
        for key in ["tls.crt", "tls.key", "ca.crt"] {
            // Base64 of "broken".
            let edit = format!(r#"patch secret {secret} --type merge --patch {{"data":{{"{key}":"YnJva2Vu"}}}}"#);
            repaired(&cluster, &edit, &secret, |secret: &Secret| is_pem(secret)).await?;
        }
        deleted_and_repaired::<Secret>(&cluster, "secret", &secret).await?;
    }
    cluster.ready().await?;
    serves(&cluster).await?;
    assert_eq!(cluster.identities().await?, before, "brokers read certificates again without a restart");
    Ok(())
}

fn is_pem(secret: &Secret) -> bool {
    let begins = |key: &str| {
        let text = secret.data.as_ref().and_then(|data| data.get(key));
        text.is_some_and(|text| text.0.starts_with(b"-----BEGIN "))
    };
    begins("tls.crt") && begins("tls.key") && begins("ca.crt")
}

pub(crate) async fn an_edited_pod_template_and_an_edited_pin_are_repaired_within_5_seconds(
    namespace: Namespace,
) -> Result<()> {
    let cluster = secure(&namespace).await?;
    let wanted = template_and_pin(&namespace.api::<StatefulSet>().get("secure").await?);

    let pods = cluster.identities().await?;
    let pin = format!("annotate statefulset secure {}=v6.6.6 --overwrite", labels::PINNED_VERSION);
    repaired(&cluster, &pin, "secure", |set: &StatefulSet| template_and_pin(set) == wanted).await?;
    cluster.ready().await?;
    assert_eq!(cluster.identities().await?, pods, "a pin is no reason to restart a pod");

    let edits = [
        r#"[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"fulmar.dev/fulmar-broker:v6.6.6"}]"#,
        r#"[{"op":"remove","path":"/spec/template/spec/containers/0/readinessProbe"}]"#,
        r#"[{"op":"replace","path":"/spec/template/spec/terminationGracePeriodSeconds","value":1}]"#,
    ];
    for edit in edits {
        let edit = format!("patch statefulset secure --type json --patch {edit}");
        repaired(&cluster, &edit, "secure", |set: &StatefulSet| template_and_pin(set) == wanted).await?;
    }
    cluster.ready().await?;
    assert_eq!(cluster.identities().await?, pods, "an edit begins no roll before it is undone");
    serves(&cluster).await
}

fn template_and_pin(set: &StatefulSet) -> (Option<serde_json::Value>, Option<String>) {
    let template = set.spec.as_ref().and_then(|spec| serde_json::to_value(&spec.template).ok());
    (template, set.annotations().get(labels::PINNED_VERSION).cloned())
}

pub(crate) async fn what_the_user_no_longer_wants_is_removed(namespace: Namespace) -> Result<()> {
    let cluster = secure(&namespace).await?;
    let off = r#"patch mqttcluster secure --type merge --patch {"spec":{"podDisruptionBudget":{"enabled":false}}}"#;
    namespace.kubectl(off).await?;
    gone::<PodDisruptionBudget>(&cluster, "secure").await?;

    let pod = namespace.api::<Pod>().get("secure-0").await?.uid();
    namespace
        .kubectl(r#"patch mqttcluster secure --type json --patch [{"op":"remove","path":"/spec/listeners/1"}]"#)
        .await?;
    gone::<Service>(&cluster, &names::listener_service("secure", "mqtts")).await?;
    // Its pod mounts the certificate until it is replaced by one without the listener.
    gone::<Secret>(&cluster, &names::listener_tls("secure", "mqtts")).await?;
    cluster.ready_within(ROLL_LIMIT).await?;
    let new = namespace.api::<Pod>().get("secure-0").await?;
    assert_ne!(new.uid(), pod, "the pod without the listener is another one");
    let secrets = namespace.api::<Secret>().get_opt(&names::internal_tls("secure")).await?;
    secrets.context("what is still wanted stays")?;
    serves(&cluster).await
}

async fn gone<K>(cluster: &Cluster, name: &str) -> Result<()>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + serde::Serialize
        + Send
        + 'static,
    K::DynamicType: Default,
{
    let is_gone = |found: Option<&K>| found.is_none().then_some(());
    watch_until(cluster.namespace.api::<K>(), name, "its end", ROLL_LIMIT, is_gone).await
}
