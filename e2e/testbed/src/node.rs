//! The processes of one node and their configuration: containerd, kubelet, kube-proxy.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use crate::cgroup;
use crate::control_plane::part;
use crate::network::{CONTROL_ADDRESS, POD_RANGE, node_address, node_name, pod_range, zone_name};
use crate::pki::{certificate_path, key_path, kubeconfig_path};
use crate::process::{SYSTEM_PATH, command, run_with_input, start, wait_until};
use crate::run::Run;

pub(crate) fn start_containerd(run: &Run, node: u8) -> anyhow::Result<Child> {
    let folder = run.node(node);
    fs::create_dir_all(folder.join("cni"))?;
    let configuration = folder.join("containerd.toml");
    fs::write(&configuration, containerd_configuration(&folder, &run.containerd_socket(node)))
        .and_then(|()| fs::write(folder.join("cni/pods.conflist"), pod_network(&folder, node)))
        .context("write containerd's configuration")?;
    let mut containerd = command("containerd");
    containerd.arg("--config").arg(configuration).env("PATH", SYSTEM_PATH);
    start(&format!("containerd-{}", node_name(node)), &mut in_node(node, &containerd), &run.logs())
}

pub(crate) fn start_kubelet(run: &Run, node: u8) -> anyhow::Result<Child> {
    let configuration = run.node(node).join("kubelet.yaml");
    fs::write(&configuration, kubelet_configuration(run, node)).context("write the kubelet's configuration")?;
    let mut kubelet = part(run, "kubelet");
    kubelet.arg("--config").arg(configuration);
    kubelet.arg("--kubeconfig").arg(kubeconfig_path(run, &node_name(node)));
    kubelet.arg("--root-dir").arg(run.node(node).join("kubelet"));
    kubelet.args(["--hostname-override", &node_name(node), "--node-ip", &node_address(node)]);
    kubelet.args(["--node-labels", &format!("topology.kubernetes.io/zone={}", zone_name(node))]);
    start(&format!("kubelet-{}", node_name(node)), &mut in_node(node, &kubelet), &run.logs())
}

pub(crate) fn start_proxy(run: &Run, node: u8) -> anyhow::Result<Child> {
    let configuration = run.node(node).join("proxy.yaml");
    fs::write(&configuration, proxy_configuration(run, node)).context("write kube-proxy's configuration")?;
    let mut proxy = part(run, "kube-proxy");
    proxy.arg("--config").arg(configuration);
    start(&format!("proxy-{}", node_name(node)), &mut in_node(node, &proxy), &run.logs())
}

/// Returns when containerd answers on its socket.
pub(crate) fn wait_for_containerd(socket: &Path) -> anyhow::Result<()> {
    wait_until("containerd to answer", Duration::from_secs(60), || UnixStream::connect(socket).is_ok())
}

/// Gives an image archive to a node. Works from inside and outside of the testbed: a socket has no network.
pub(crate) fn import_image(socket: &Path, archive: Archive<'_>) -> anyhow::Result<String> {
    let mut import = command("ctr");
    import.arg("--address").arg(socket).args(["--namespace", "k8s.io", "images", "import", "-"]);
    import.env("PATH", SYSTEM_PATH);
    match archive {
        Archive::Bytes(bytes) => run_with_input(&mut import, bytes),
        Archive::File(path) => {
            let file = fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
            crate::process::run(import.stdin(Stdio::from(file)))
        }
    }
}

/// An image archive, in memory or not.
#[derive(Clone, Copy)]
pub(crate) enum Archive<'a> {
    Bytes(&'a [u8]),
    File(&'a Path),
}

/// The command as it runs in the network of its node. Node 1 is where the supervisor is.
fn in_node(node: u8, inner: &Command) -> Command {
    let mut outer = if node == 1 {
        command(inner.get_program())
    } else {
        let mut outer = command("nsenter");
        // Not `ip netns exec`: that makes a mount namespace, and kubelet and containerd must see the same mounts.
        outer.arg(format!("--net=/run/netns/{}", node_name(node))).arg(inner.get_program());
        outer
    };
    outer.args(inner.get_args()).envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outer
}

fn containerd_configuration(folder: &Path, socket: &Path) -> String {
    let pause = crate::tools::PAUSE_IMAGE;
    let (folder, socket) = (folder.display(), socket.display());
    // Without the setting about scores runc fails where negative ones are not permitted, with "can't get final child's
    // PID from pipe".
    format!(
        r#"version = 2
root = "{folder}/containerd"
state = "{folder}/state"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
"#
    )
}

fn pod_network(folder: &Path, node: u8) -> String {
    let addresses = serde_json::json!({
        "type": "host-local", "dataDir": folder.join("addresses"), "ranges": [[{ "subnet": pod_range(node) }]],
        "routes": [{ "dst": "0.0.0.0/0" }],
    });
    let bridge = serde_json::json!({
        "type": "bridge", "bridge": "pods0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
        "ipam": addresses,
    });
    let ports = serde_json::json!({ "type": "portmap", "capabilities": { "portMappings": true } });
    serde_json::json!({ "cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, ports] }).to_string()
}

fn kubelet_configuration(run: &Run, node: u8) -> String {
    let name = node_name(node);
    // Image collection and eviction look at the whole disk of the machine, which is not ours to judge.
    format!(
        r#"apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: {address}
authentication: {{anonymous: {{enabled: false}}, x509: {{clientCAFile: "{ca}"}}, webhook: {{enabled: true}}}}
authorization: {{mode: Webhook}}
tlsCertFile: "{certificate}"
tlsPrivateKeyFile: "{key}"
containerRuntimeEndpoint: "unix://{socket}"
cgroupDriver: cgroupfs
cgroupRoot: "{cgroup_root}"
failCgroupV1: false
failSwapOn: false
clusterDomain: cluster.local
clusterDNS: ["{CONTROL_ADDRESS}"]
resolvConf: "{resolv_conf}"
imageGCHighThresholdPercent: 100
evictionHard: {{memory.available: "100Mi", nodefs.available: "1%", imagefs.available: "1%"}}
"#,
        address = node_address(node),
        ca = certificate_path(run, "ca").display(),
        certificate = certificate_path(run, &name).display(),
        key = key_path(run, &name).display(),
        socket = run.containerd_socket(node).display(),
        cgroup_root = cgroup::node_root(run.name(), node),
        resolv_conf = run.node_resolv_conf().display(),
    )
}

fn proxy_configuration(run: &Run, node: u8) -> String {
    format!(
        r#"apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: {POD_RANGE}
hostnameOverride: {name}
clientConnection: {{kubeconfig: "{kubeconfig}"}}
conntrack: {{maxPerCore: 0}}
"#,
        name = node_name(node),
        kubeconfig = kubeconfig_path(run, "proxy").display(),
    )
}
