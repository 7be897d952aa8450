//! The namespace of one test: made for it, with the strictest Pod Security level, and removed after it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use k8s_openapi::NamespaceResourceScope;
use kube::core::ObjectList;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::process::Command;

use crate::command::{command, run, run_to_failure, run_with_input};
use crate::{Cluster, Kit};

/// Where one test does its work.
#[derive(Clone)]
pub struct Namespace {
    /// What all tests share.
    pub kit: Kit,
    name: String,
}

impl Namespace {
    /// Makes the namespace, after the end of one of this name that an earlier run left. Pods in it must fit the level
    /// "restricted".
    pub async fn create(kit: &Kit, name: &str) -> Result<Self> {
        run(command(&format!("kubectl delete namespace {name} --ignore-not-found"))).await?;
        run(command(&format!("kubectl create namespace {name}"))).await?;
        let level = "pod-security.kubernetes.io/enforce=restricted";
        run(command(&format!("kubectl label namespace {name} {level}"))).await?;
        Ok(Self { kit: kit.clone(), name: name.to_owned() })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Removes it with all that is in it, claims and volumes too. Does not wait for the end of it.
    pub async fn delete(&self) -> Result<()> {
        // Clusters first: an operator that repairs one in a namespace on its way out would be refused.
        self.kubectl("delete mqttclusters --all").await?;
        run(command(&format!("kubectl delete namespace {} --wait=false", self.name))).await.map(drop)
    }

    /// A client for one kind of object here.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.kit.client.clone(), &self.name)
    }

    /// All objects of one kind here.
    pub async fn list<K>(&self) -> Result<Vec<K>>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let list: ObjectList<K> = self.api().list(&kube::api::ListParams::default()).await?;
        Ok(list.items)
    }

    /// `kubectl LINE` in this namespace. Words are parted by single spaces.
    pub async fn kubectl(&self, line: &str) -> Result<String> {
        run(self.kubectl_command(line)).await
    }

    /// `kubectl apply -f FILE`, a path in the repository.
    pub async fn apply(&self, file: impl AsRef<Path>) -> Result<String> {
        let mut kubectl = self.kubectl_command("apply --filename");
        kubectl.arg(self.path(file.as_ref()));
        run(kubectl).await
    }

    /// `kubectl apply -f -` with this text.
    pub async fn apply_text(&self, yaml: &str) -> Result<String> {
        run_with_input(self.kubectl_command("apply --filename -"), yaml).await
    }

    /// The same for text that must be refused; returns what kubectl complained about.
    pub async fn apply_refused(&self, yaml: &str) -> Result<String> {
        run_to_failure(self.kubectl_command("apply --filename -"), Some(yaml)).await
    }

    /// Applies a file that makes one `MqttCluster`.
    pub async fn apply_cluster(&self, file: impl AsRef<Path>, name: &str) -> Result<Cluster> {
        self.apply(file).await?;
        Ok(self.cluster(name))
    }

    /// The cluster of this name, there or not.
    #[must_use]
    pub fn cluster(&self, name: &str) -> Cluster {
        Cluster::new(self.clone(), name)
    }

    /// A file of the repository.
    #[must_use]
    pub fn path(&self, file: &Path) -> PathBuf {
        self.kit.root.join(file)
    }

    /// A command, for arguments that hold spaces.
    #[must_use]
    pub fn kubectl_command(&self, line: &str) -> Command {
        let mut kubectl = command(&format!("kubectl --namespace {}", self.name));
        kubectl.args(line.split(' '));
        kubectl
    }

    /// What a person needs to know when a test failed here.
    pub async fn describe(&self) -> Result<String> {
        let mut text = String::new();
        let questions = [
            "get all,persistentvolumeclaims --output wide",
            "get mqttclusters --output yaml",
            "get events --sort-by .metadata.creationTimestamp",
            "describe pods",
        ];
        for question in questions {
            let answer = self.kubectl(question).await.unwrap_or_else(|error| format!("{error:#}\n"));
            text.push_str(&format!("$ kubectl --namespace {} {question}\n{answer}\n", self.name));
        }
        let names = self.kubectl("get pods --output name").await.context("list the pods")?;
        for pod in names.lines() {
            let log = format!("logs {pod} --tail 60");
            let answer = self.kubectl(&log).await.unwrap_or_else(|error| format!("{error:#}\n"));
            text.push_str(&format!("$ kubectl --namespace {} {log}\n{answer}\n", self.name));
        }
        Ok(text)
    }
}
