//! The files that users copy from.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use fulmar_e2e::Namespace;
use fulmar_e2e::certificates::chain_for;
use fulmar_e2e::command::run;

const EXAMPLES: &str = "manifests/examples";
const LIMIT: Duration = Duration::from_secs(120);

pub(crate) async fn every_example_becomes_a_ready_cluster(namespace: Namespace) -> Result<()> {
    // What tls.yaml expects to be there.
    let chain = chain_for("mqtt.example.com")?;
    let secret = serde_json::json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": "devices-tls"},
        "stringData": {"tls.crt": chain.certificates, "tls.key": chain.key},
    });
    namespace.apply_text(&secret.to_string()).await?;

    let folder = namespace.path(Path::new(EXAMPLES));
    let mut files: Vec<_> =
        std::fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>().context(EXAMPLES)?;
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        namespace.apply(&file).await?;
        // Each file makes a cluster of its own name.
        let cluster = namespace.cluster(&name);
        cluster.ready_within(LIMIT).await.with_context(|| name.clone())?;
        let mut delete = namespace.kubectl_command("delete --wait=false --filename");
        delete.arg(&file);
        run(delete).await?;
    }
    Ok(())
}
