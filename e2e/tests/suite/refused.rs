//! Bad resources and the exact answer to each: `e2e/cases/refused`, one file per case, with the answer in its head.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fulmar_api::{ConditionKind, MqttCluster, find_condition};
use fulmar_e2e::Namespace;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;

use crate::fixtures::serves;

const CASES: &str = "e2e/cases/refused";
const LIMIT: Duration = Duration::from_secs(60);

/// What must happen.
enum Answer {
    /// The API server refuses the last document of the file, in these words.
    ApiServer(String),
    /// The operator says so in a condition: kind, status and reason.
    Condition(String),
}

pub(crate) async fn bad_resources_are_refused_with_what_was_found_and_what_is_wanted(
    namespace: Namespace,
) -> Result<()> {
    let cases = read_cases(&namespace)?;
    assert!(cases.len() >= 8, "found {} cases, wanted at least 8", cases.len());
    for (name, (answer, text)) in cases {
        check(&namespace, &answer, &text).await.with_context(|| name.clone())?;
    }
    Ok(())
}

async fn check(namespace: &Namespace, answer: &Answer, text: &str) -> Result<()> {
    let mut documents: Vec<&str> = text.split("\n---\n").collect();
    let last = documents.pop().context("find a document")?;
    for document in documents {
        namespace.apply_text(document).await?;
    }
    match answer {
        Answer::ApiServer(wanted) => {
            let found = namespace.apply_refused(last).await?;
            assert!(found.contains(wanted), "found {found:?}, wanted {wanted:?}");
        }
        Answer::Condition(wanted) => {
            namespace.apply_text(last).await?;
            let name = last.lines().find_map(|line| line.strip_prefix("  name: ")).context("find the name")?;
            let cluster = namespace.cluster(name);
            let reason = cluster.until(wanted, LIMIT, |cluster| told(cluster, wanted)).await?;
            let ready = cluster.condition_now(ConditionKind::Ready).await?;
            assert_eq!((ready.status.as_str(), ready.reason), ("False", reason.clone()));
            until_event(namespace, name, &reason).await?;
        }
    }
    Ok(())
}

/// The reason of the condition that reads as wanted: `KIND=STATUS REASON: MESSAGE`.
fn told(cluster: &MqttCluster, wanted: &str) -> Option<String> {
    let conditions = &cluster.status.as_ref()?.conditions;
    let found = conditions.iter().find(|condition| {
        format!("{}={} {}: {}", condition.type_, condition.status, condition.reason, condition.message) == wanted
    });
    Some(found?.reason.clone())
}

/// Waits until an event about the cluster has this reason.
async fn until_event(namespace: &Namespace, cluster: &str, reason: &str) -> Result<()> {
    let events = format!("get events --field-selector involvedObject.name={cluster},reason={reason} --output name");
    fulmar_e2e::wait::ask_until(&format!("an event {reason}"), LIMIT, || async {
        Ok((!namespace.kubectl(&events).await?.is_empty()).then_some(()))
    })
    .await
}

fn read_cases(namespace: &Namespace) -> Result<BTreeMap<String, (Answer, String)>> {
    let folder = namespace.path(Path::new(CASES));
    let mut cases = BTreeMap::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("list {CASES}"))? {
        let path = entry?.path();
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let head = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::to_owned);
        let answer = match (head("# api-server: "), head("# condition: ")) {
            (Some(words), None) => Answer::ApiServer(words),
            (None, Some(condition)) => Answer::Condition(condition),
            _ => bail!("{}: found no answer or two, wanted # api-server: or # condition:", path.display()),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        cases.insert(name, (answer, text));
    }
    Ok(cases)
}

pub(crate) async fn a_missing_secret_is_named_while_the_cluster_keeps_running(namespace: Namespace) -> Result<()> {
    let cluster = crate::fixtures::three(&namespace).await?;
    let before = cluster.identities().await?;
    let listener = r#"{"name":"mqtts","protocol":"mqtts","port":8883,"tls":{"secretName":"devices-tls"}}"#;
    let patch = format!(r#"[{{"op":"add","path":"/spec/listeners/-","value":{listener}}}]"#);
    namespace.kubectl(&format!("patch mqttcluster three --type json --patch {patch}")).await?;
    let missing = cluster.condition(ConditionKind::CertificatesReady, "False", Some("SecretNotFound"), LIMIT).await?;
    assert_eq!(missing.message, "listener mqtts: Secret devices-tls: not found in the namespace of the MqttCluster");
    until_event(&namespace, "three", "SecretNotFound").await?;
    serves(&cluster).await?;
    assert_eq!(cluster.identities().await?, before, "no pod was touched");

    let chain = fulmar_e2e::certificates::chain_for(&cluster.host("mqtts"))?;
    let secret = serde_json::json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": "devices-tls"},
        "stringData": {"tls.crt": chain.certificates, "tls.key": chain.key},
    });
    namespace.apply_text(&secret.to_string()).await?;
    cluster.condition(ConditionKind::CertificatesReady, "True", None, LIMIT).await?;
    cluster.ready().await?;
    serves(&cluster).await
}

pub(crate) async fn an_object_of_somebody_else_is_left_alone_and_named(namespace: Namespace) -> Result<()> {
    namespace.kubectl("create service clusterip one-mqtt --tcp=1883:1883").await?;
    let before = namespace.api::<Service>().get("one-mqtt").await?;
    namespace
        .apply_text(
            "apiVersion: mqtt.fulmar.dev/v1alpha1\nkind: MqttCluster\nmetadata: {name: one}\n\
             spec:\n  replicas: 1\n  listeners: [{name: mqtt, protocol: mqtt, port: 1883}]\n",
        )
        .await?;
    let cluster = namespace.cluster("one");
    let taken = cluster.condition(ConditionKind::Degraded, "True", Some("NameTaken"), LIMIT).await?;
    let wanted =
        "Service one-mqtt exists and does not belong to this MqttCluster: delete or rename it, or rename the cluster";
    assert_eq!(taken.message, wanted);
    until_event(&namespace, "one", "NameTaken").await?;
    assert_eq!(namespace.api::<Service>().get("one-mqtt").await?.resource_version(), before.resource_version());
    let conditions = cluster.get().await?.status.unwrap_or_default().conditions;
    assert_eq!(find_condition(&conditions, ConditionKind::Ready).map(|ready| ready.status.as_str()), Some("False"));
    Ok(())
}
