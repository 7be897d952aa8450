//! Encrypted listeners, with clients that verify the chain and the name.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fulmar_e2e::certificates::chain_for;
use fulmar_e2e::mosquitto::Target;
use fulmar_e2e::{Cluster, Namespace};
use k8s_openapi::api::core::v1::ConfigMap;

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
    let own = Target { host: &own, port: 8883, authority: &own_authority };
    let brought = Target { host: &brought, port: 443, authority: &brought_root };

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

/// What the operator publishes for clients to trust.
async fn own_authority(cluster: &Cluster) -> Result<String> {
    let config_map = cluster.namespace.api::<ConfigMap>().get(&format!("{}-ca", cluster.name)).await?;
    config_map.data.unwrap_or_default().remove("ca.crt").context("ca.crt is not in the ConfigMap")
}

/// A folder for files that command line clients read; gone when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn create(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(Self(path))
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", shown(&path)))?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
