//! What every test needs: the cluster under test, the images, the files of the repository.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use fulmar_testbed::Testbed;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::Deserialize;

use crate::command::{command, run};

/// The namespace of the operator, as the README has it.
pub const OPERATOR_NAMESPACE: &str = "fulmar-system";
/// The name of the chart's release.
pub const RELEASE: &str = "fulmar";

/// Shared by all tests.
#[derive(Clone)]
pub struct Kit {
    /// Talks to the API server as the cluster's administrator.
    pub client: Client,
    /// The cluster.
    pub testbed: Arc<Testbed>,
    /// The images under test.
    pub images: Arc<Images>,
    /// The file that installs the operator without helm, with the images under test.
    pub install_manifest: PathBuf,
    /// The folder of the repository.
    pub root: PathBuf,
    /// How long the audit log was when the tests began: what is before that is of an earlier run.
    pub audit_log_start: u64,
}

/// What `cargo xtask images` wrote about the images.
#[derive(Debug, Deserialize)]
pub struct Images {
    /// The image of the brokers.
    pub broker: Image,
    /// The image of the operator.
    pub operator: Image,
}

/// One image.
#[derive(Debug, Deserialize)]
pub struct Image {
    /// What Kubernetes calls it.
    pub reference: String,
}

impl Kit {
    /// Reads the environment that `cargo xtask e2e` prepares.
    pub async fn from_environment() -> Result<Self> {
        let testbed = Testbed::from_environment()?;
        let kubeconfig = Kubeconfig::read_from(testbed.kubeconfig())
            .with_context(|| format!("read {}", testbed.kubeconfig().display()))?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let client = Client::try_from(config).context("make a Kubernetes client")?;
        let index = std::env::var_os("FULMAR_IMAGES").map(PathBuf::from);
        let index =
            index.context("FULMAR_IMAGES is not set; it names the images.json that cargo xtask images writes")?;
        let text = std::fs::read(&index).with_context(|| format!("read {}", index.display()))?;
        let images = serde_json::from_slice(&text).with_context(|| format!("understand {}", index.display()))?;
        let install_manifest = index.with_file_name("install.yaml");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("find the repository")?;
        let audit_log = testbed.audit_log().and_then(|path| std::fs::metadata(path).ok());
        let audit_log_start = audit_log.map_or(0, |log| log.len());
        let (testbed, images) = (Arc::new(testbed), Arc::new(images));
        Ok(Self { client, testbed, images, install_manifest, root: root.to_owned(), audit_log_start })
    }

    /// Installs the chart as the README says, or upgrades it, and waits until the operator is ready. `settings` are
    /// further values, as `--set` takes them.
    pub async fn install_chart(&self, settings: &[&str]) -> Result<()> {
        let mut helm = command("helm upgrade --install --wait --timeout 2m --create-namespace");
        helm.args(["--namespace", OPERATOR_NAMESPACE, RELEASE]).arg(self.root.join("charts/fulmar"));
        let Images { broker, operator } = &*self.images;
        let images = [format!("image.operator={}", operator.reference), format!("image.broker={}", broker.reference)];
        for setting in images.iter().map(String::as_str).chain(settings.iter().copied()) {
            helm.args(["--set", setting]);
        }
        run(helm).await.map(drop)
    }
}
