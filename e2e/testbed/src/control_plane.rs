//! The processes of the control plane and their flags: etcd, API server, controller manager, scheduler, DNS.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};

use anyhow::Context;

use crate::network::{CONTROL_ADDRESS, SERVICE_RANGE};
use crate::pki::{VOLUME_OWNER, certificate_path, key_path, kubeconfig_path};
use crate::process::{SYSTEM_PATH, command, start};
use crate::run::Run;

/// Bodies are logged for our own API group only; who asked for what, and what was answered, for everything.
const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: RequestResponse
  resources: [{group: mqtt.fulmar.dev}]
- level: Metadata
";

/// Volumes that the controller manager itself makes, as folders of the machine.
pub(crate) const STORAGE_CLASS: &str = "\
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: standard
  annotations: {storageclass.kubernetes.io/is-default-class: 'true'}
provisioner: kubernetes.io/host-path
reclaimPolicy: Delete
";

/// A part of Kubernetes, from the one binary that holds them all.
pub(crate) fn part(run: &Run, name: &str) -> Command {
    let mut part = command(run.bin().join("kube"));
    part.arg(name).env("PATH", SYSTEM_PATH);
    part
}

pub(crate) fn start_etcd(run: &Run) -> anyhow::Result<Child> {
    let client = "http://127.0.0.1:2379";
    let peer = "http://127.0.0.1:2380";
    let mut etcd = part(run, "etcd");
    etcd.args(["--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer]);
    etcd.args(["--initial-advertise-peer-urls", peer, "--initial-cluster", &format!("default={peer}")]);
    // A testbed that loses power is gone anyway.
    etcd.args(["--unsafe-no-fsync", "--log-level", "warn"]).arg("--data-dir").arg(run.root().join("etcd"));
    start("etcd", &mut etcd, &run.logs())
}

pub(crate) fn start_api_server(run: &Run) -> anyhow::Result<Child> {
    let audit_policy = run.root().join("audit-policy.yaml");
    fs::write(&audit_policy, AUDIT_POLICY).context("write the audit policy")?;
    let certificate = |name| certificate_path(run, name);
    let key = |name| key_path(run, name);

    let mut server = part(run, "kube-apiserver");
    server.args(["--etcd-servers", "http://127.0.0.1:2379", "--service-cluster-ip-range", SERVICE_RANGE]);
    server.args(["--advertise-address", CONTROL_ADDRESS, "--bind-address", CONTROL_ADDRESS, "--secure-port", "6443"]);
    server.args(["--allow-privileged", "--authorization-mode", "Node,RBAC"]);
    // The second is what OpenShift has: who sets an owner reference needs rights on the owner's finalizers.
    server.args(["--enable-admission-plugins", "NodeRestriction,OwnerReferencesPermissionEnforcement"]);
    // Logs and exec would otherwise ask DNS for the node's name.
    server.args(["--kubelet-preferred-address-types", "InternalIP"]);
    server.args(["--service-account-issuer", "https://kubernetes.default.svc"]);
    server.args(["--requestheader-allowed-names", "front-proxy", "--requestheader-username-headers", "X-Remote-User"]);
    server.args(["--requestheader-group-headers", "X-Remote-Group"]);
    server.args(["--requestheader-extra-headers-prefix", "X-Remote-Extra-"]);
    // One file for the life of the testbed, so that tests need not look for rotated parts.
    server.args(["--audit-log-maxsize", "10000"]);
    let files = [
        ("--tls-cert-file", certificate("apiserver")),
        ("--tls-private-key-file", key("apiserver")),
        ("--client-ca-file", certificate("ca")),
        ("--kubelet-certificate-authority", certificate("ca")),
        ("--kubelet-client-certificate", certificate("admin")),
        ("--kubelet-client-key", key("admin")),
        ("--service-account-key-file", certificate("service-accounts")),
        ("--service-account-signing-key-file", key("service-accounts")),
        ("--requestheader-client-ca-file", certificate("ca")),
        ("--proxy-client-cert-file", certificate("front-proxy")),
        ("--proxy-client-key-file", key("front-proxy")),
        ("--audit-policy-file", audit_policy),
        ("--audit-log-path", run.audit_log()),
    ];
    for (flag, path) in files {
        server.arg(flag).arg(path);
    }
    start("apiserver", &mut server, &run.logs())
}

/// The controller manager also provisions volumes. They belong to its user and ignore `fsGroup`, so it runs as the
/// user of our pods.
pub(crate) fn start_controller_manager(run: &Run) -> anyhow::Result<Child> {
    let mut manager = part(run, "kube-controller-manager");
    manager.uid(VOLUME_OWNER).gid(VOLUME_OWNER).current_dir("/").env("HOME", "/nonexistent");
    manager.args(["--use-service-account-credentials", "--enable-hostpath-provisioner", "--leader-elect=false"]);
    manager.args(["--bind-address", "127.0.0.1"]);
    let files = [
        ("--kubeconfig", kubeconfig_path(run, "controller-manager")),
        ("--service-account-private-key-file", key_path(run, "service-accounts")),
        ("--root-ca-file", certificate_path(run, "ca")),
        ("--cluster-signing-cert-file", certificate_path(run, "ca")),
        ("--cluster-signing-key-file", key_path(run, "ca")),
    ];
    for (flag, path) in files {
        manager.arg(flag).arg(path);
    }
    start("controller-manager", &mut manager, &run.logs())
}

pub(crate) fn start_scheduler(run: &Run) -> anyhow::Result<Child> {
    let mut scheduler = part(run, "kube-scheduler");
    scheduler.args(["--leader-elect=false", "--bind-address", "127.0.0.1"]);
    scheduler.arg("--kubeconfig").arg(kubeconfig_path(run, "scheduler"));
    start("scheduler", &mut scheduler, &run.logs())
}

pub(crate) fn start_dns(run: &Run) -> anyhow::Result<Child> {
    let path = run.root().join("Corefile");
    fs::write(&path, corefile(&kubeconfig_path(run, "admin"), run.name().to_string().as_str()))
        .context("write the configuration of the cluster's DNS")?;
    let mut dns = part(run, "coredns");
    dns.arg("-conf").arg(path);
    start("dns", &mut dns, &run.logs())
}

fn corefile(kubeconfig: &Path, context: &str) -> String {
    format!(
        "\
.:53 {{
  bind {CONTROL_ADDRESS}
  errors
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {} {context}
  }}
  cache 5
}}
",
        kubeconfig.display()
    )
}
