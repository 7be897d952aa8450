//! What tests hold: a cluster that is up, and what can be done to it beyond the Kubernetes API.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::network::link_change;
use crate::node::{self, Archive};
use crate::process::{SYSTEM_PATH, command, run};
use crate::run::{Run, RunName};

/// A Kubernetes cluster to test on: a testbed of ours, or one that the user brings.
#[derive(Debug, Clone)]
pub struct Testbed {
    kubeconfig: PathBuf,
    run: Option<Run>,
}

impl Testbed {
    /// The testbed of this name, which must be up.
    pub fn attach(name: &RunName) -> anyhow::Result<Self> {
        let run = Run::named(name);
        run.supervisor()?;
        Ok(Self { kubeconfig: run.kubeconfig(), run: Some(run) })
    }

    /// The cluster that tests are meant to use: the user's own where `FULMAR_E2E_OWN_CLUSTER=1` and `KUBECONFIG` names
    /// it, else the testbed that this process runs in.
    pub fn from_environment() -> anyhow::Result<Self> {
        if std::env::var_os("FULMAR_E2E_OWN_CLUSTER").is_some_and(|value| value == "1") {
            let kubeconfig = std::env::var_os("KUBECONFIG")
                .context("FULMAR_E2E_OWN_CLUSTER is 1, so KUBECONFIG must name the kubeconfig of that cluster")?;
            return Ok(Self { kubeconfig: kubeconfig.into(), run: None });
        }
        let name = std::env::var(crate::exec::RUN_VARIABLE)
            .context("this runs inside of a testbed only: testbed exec --name NAME -- COMMAND")?;
        Self::attach(&name.parse().map_err(anyhow::Error::msg)?)
    }

    /// An administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The API server's audit log, where it is ours: one JSON object per line, with bodies for the group
    /// `mqtt.fulmar.dev`, metadata for the others.
    #[must_use]
    pub fn audit_log(&self) -> Option<PathBuf> {
        self.run.as_ref().map(Run::audit_log)
    }

    /// The log files of control plane and nodes, where they are ours.
    #[must_use]
    pub fn logs(&self) -> Option<PathBuf> {
        self.run.as_ref().map(Run::logs)
    }

    /// How many nodes it has, where it is ours.
    #[must_use]
    pub fn nodes(&self) -> Option<u8> {
        let nodes = self.run.as_ref()?.nodes().ok()?;
        u8::try_from(nodes.len()).ok()
    }

    /// Gives an image archive to every node.
    pub fn load_image(&self, archive: &Path) -> anyhow::Result<()> {
        let run = self.own("load an image")?;
        for node in run.nodes()? {
            node::import_image(&run.containerd_socket(node), Archive::File(archive))
                .with_context(|| format!("load {} into node{node}", archive.display()))?;
        }
        Ok(())
    }

    /// Cuts a node off the network of the others, or connects it again. Nodes are counted from 1, and node 1 cannot be
    /// cut off: it shares the network of the control plane.
    pub fn set_link(&self, node: u8, link: Link) -> anyhow::Result<()> {
        let owned = self.own("cut a link")?;
        let nodes = owned.nodes()?.len();
        if node < 2 || usize::from(node) > nodes {
            bail!("found node {node}, a link that can be cut has one of 2 to {nodes}");
        }
        let nodes = u8::try_from(nodes).expect("a testbed has few nodes");
        let supervisor = owned.supervisor()?.to_string();
        for arguments in link_change(node, nodes, link == Link::Connected) {
            let mut inside = command("nsenter");
            inside.args(["--target", &supervisor, "--mount", "--net", "--pid", "ip"]).args(arguments.split(' '));
            run(inside.env("PATH", SYSTEM_PATH)).context("change a node's link")?;
        }
        Ok(())
    }

    fn own(&self, what: &str) -> anyhow::Result<&Run> {
        self.run.as_ref().with_context(|| format!("only a testbed of ours can {what}; this cluster is the user's"))
    }
}

/// The state of a node's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Packets pass.
    Connected,
    /// No packet passes; the node and its pods go on running.
    Cut,
}
