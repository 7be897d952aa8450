//! Encrypted listeners, with clients that verify the chain and the name.

use std::time::Duration;

use anyhow::{Context, Result};
use fulmar_api::names;
use fulmar_e2e::Namespace;
use fulmar_e2e::certificates::{Leaf, chain_for, leaf_of};
use fulmar_e2e::mosquitto::Target;
use fulmar_e2e::tls::{first_certificate, served_certificate};
use fulmar_e2e::wait::{ask_until, watch_until};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};

use crate::fixtures::{Folder, own_authority, secure};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How soon the operator renews what is due.
const RENEWAL_LIMIT: Duration = Duration::from_secs(5);
/// The kubelet looks once a minute, and a little later, for changed Secrets; the broker then for changed files.
const SERVED_LIMIT: Duration = Duration::from_secs(180);

/// Both kinds of certificate in one cluster, as the example has it.
pub(crate) async fn clients_verify_chain_and_name_of_own_and_of_brought_certificates(
    namespace: Namespace,
) -> Result<()> {
    let cluster = namespace.cluster("tls");
    let files = Folder::create(namespace.name())?;
    let chain = chain_for(&cluster.host("devices"))?;
    let (certificates, key) = (files.write("chain.pem", &chain.certificates)?, files.write("key.pem", &chain.key)?);
    let mut secret = namespace.kubectl_command("create secret tls devices-tls");
    secret.arg(format!("--cert={}", certificates.display())).arg(format!("--key={}", key.display()));
    fulmar_e2e::command::run(secret).await?;
    namespace.apply("manifests/examples/tls.yaml").await?;
    cluster.ready().await?;
    cluster.reachable("mqtts", 8883).await?;
    cluster.reachable("devices", 443).await?;

    let own_authority = files.write("own.pem", &own_authority(&cluster).await?)?;
    let brought_root = files.write("root.pem", &chain.root)?;
    let (own, brought) = (cluster.host("mqtts"), cluster.host("devices"));
    let own = Target { host: &own, port: 8883, authority: &own_authority, certificate: None };
    let brought = Target { host: &brought, port: 443, authority: &brought_root, certificate: None };

    // One space of topics, whichever way a client came in.
    let mut subscription = own.subscribe("doors/front").await?;
    brought.publish("doors/front", "open").await?;
    subscription.receive("open").await?;
    own.publish("doors/front", "closed").await?;
    subscription.receive("closed").await?;

    // Each trusts its own authority only.
    for target in [Target { authority: &brought_root, ..own }, Target { authority: &own_authority, ..brought }] {
        let complaint = target.publish_refused("doors/front").await?;
        assert!(complaint.contains("A TLS error occurred"), "{complaint}");
    }
    // The address of a pod is in neither certificate.
    let address = cluster.addresses().await?.values().next().context("find a pod")?.to_string();
    for target in [Target { host: &address, ..own }, Target { host: &address, port: 10_443, ..brought }] {
        let complaint = target.publish_refused("doors/front").await?;
        assert!(complaint.contains("A TLS error occurred"), "{complaint}");
    }
    Ok(())
}

/// From an old leaf in the Secret to a new one on the wire: Kubernetes brings it to the pod within two minutes.
pub(crate) async fn a_certificate_past_two_thirds_of_its_life_is_renewed_without_a_restart(
    namespace: Namespace,
) -> Result<()> {
    let cluster = secure(&namespace).await?;
    cluster.reachable("mqtts", 8883).await?;
    let (host, before) = (cluster.host("mqtts"), cluster.identities().await?);
    let authorities = own_authority(&cluster).await?;
    let first = served_certificate(&host, 8883, &authorities).await?;
    let files = Folder::create(namespace.name())?;
    let authority_file = files.write("own.pem", &authorities)?;
    let client = Target { host: &host, port: 8883, authority: &authority_file, certificate: None };
    let mut subscription = client.subscribe("doors/front").await?;

    // As the operator issues it, for the same names, but three of its four days are over.
    let secrets = namespace.api::<Secret>();
    let authority = leaf_in(&secrets.get(&names::authority("secure")).await?)?;
    let service = names::listener_service("secure", "mqtts");
    let in_namespace = format!("{service}.{}", namespace.name());
    let local = format!("{in_namespace}.svc.cluster.local");
    let names_in_it = [service, in_namespace, host.clone(), local];
    let old = leaf_of(&authority, &names_in_it, DAY * 3, DAY)?;
    let name = names::listener_tls("secure", "mqtts");
    let data = serde_json::json!({"stringData": {"tls.crt": old.certificate, "tls.key": old.key}});
    secrets.patch(&name, &PatchParams::default(), &Patch::Merge(data)).await?;
    let renewed = watch_until(secrets, &name, "a renewed certificate", RENEWAL_LIMIT, |secret| {
        let leaf = leaf_in(secret?).ok()?;
        let certificate = first_certificate(&leaf.certificate).ok()?;
        (leaf.certificate != old.certificate && certificate != first).then_some(certificate)
    })
    .await?;

    ask_until("the renewed certificate to be served", SERVED_LIMIT, || async {
        Ok((served_certificate(&host, 8883, &authorities).await? == renewed).then_some(()))
    })
    .await?;
    client.publish("doors/front", "open").await?;
    subscription.receive("open").await?;
    assert_eq!(cluster.identities().await?, before, "no pod was restarted");
    Ok(())
}

fn leaf_in(secret: &Secret) -> Result<Leaf> {
    let text = |key: &str| -> Result<String> {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key)).with_context(|| format!("find {key}"))?;
        Ok(String::from_utf8(bytes.0.clone())?)
    };
    Ok(Leaf { certificate: text("tls.crt")?, key: text("tls.key")? })
}
