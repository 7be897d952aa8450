//! The first process of a testbed: it furnishes the namespaces, starts everything else, and then waits.
//!
//! It is process 1 of its process namespace, so all that it starts, and all that those start, ends with it. Its standard
//! input is the run's lock, held for its whole life; on its standard output it tells whoever started it how far it is,
//! until [`READY`].

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use anyhow::Context;

use crate::control_plane::{self, STORAGE_CLASS, part};
use crate::namespaces::{
    bind, enter_new_mount_and_network_namespaces, mount_new, reap_any_child, redirect_standard_output,
};
use crate::network::{self, CONTROL_ADDRESS, node_name};
use crate::node::{self, Archive};
use crate::pki::{self, VOLUME_OWNER};
use crate::process::{run_with_input, wait_until};
use crate::run::Run;

/// The last line of progress.
pub(crate) const READY: &str = "ready";

/// Brings up a cluster of `nodes` nodes and stays for as long as it lives. Returns only when that fails.
pub fn supervise(run: &Run, nodes: u8) -> anyhow::Result<()> {
    isolate(run)?;
    network::create(nodes).context("lay out the network")?;
    pki::create(run, nodes).context("make certificates")?;
    tell("network and certificates are there")?;

    let mut processes = Processes::default();
    processes.add("etcd", &control_plane::start_etcd(run)?);
    processes.add("apiserver", &control_plane::start_api_server(run)?);
    for node in 1..=nodes {
        processes.add(&format!("containerd-{}", node_name(node)), &node::start_containerd(run, node)?);
    }
    let kubectl = || {
        let mut kubectl = part(run, "kubectl");
        kubectl.arg("--kubeconfig").arg(run.kubeconfig()).arg("--cache-dir").arg(run.client_caches());
        kubectl
    };
    wait_until("the API server to be ready", Duration::from_secs(120), || {
        crate::process::run(kubectl().args(["get", "--raw", "/readyz"])).is_ok()
    })?;
    tell("the API server is ready")?;

    processes.add("controller-manager", &control_plane::start_controller_manager(run)?);
    processes.add("scheduler", &control_plane::start_scheduler(run)?);
    processes.add("dns", &control_plane::start_dns(run)?);
    let pause = fs::read(run.pause_archive()).context("read the pause image")?;
    for node in 1..=nodes {
        let socket = run.containerd_socket(node);
        node::wait_for_containerd(&socket)?;
        node::import_image(&socket, Archive::Bytes(&pause)).context("import the pause image")?;
        processes.add(&format!("kubelet-{}", node_name(node)), &node::start_kubelet(run, node)?);
        processes.add(&format!("proxy-{}", node_name(node)), &node::start_proxy(run, node)?);
    }
    run_with_input(kubectl().args(["apply", "-f", "-"]), STORAGE_CLASS.as_bytes()).context("make the storage class")?;
    let names: Vec<String> = (1..=nodes).map(|node| format!("node/{}", node_name(node))).collect();
    let wait = |condition: &str, names: &[String]| {
        let mut kubectl = kubectl();
        kubectl.args(["wait", "--timeout=120s"]).arg(format!("--for={condition}")).args(names);
        crate::process::run(&mut kubectl)
    };
    // One by one: of several that are missing kubectl says so at once instead of waiting for them.
    for name in &names {
        wait("create", std::slice::from_ref(name))?;
    }
    wait("condition=Ready", &names)?;
    // Without it the API server refuses every pod of the namespace.
    wait("create", &["serviceaccount/default".to_owned()])?;
    tell("every node is ready")?;
    wait_until("the cluster's DNS to listen", Duration::from_secs(60), || {
        std::net::TcpStream::connect((CONTROL_ADDRESS, 53)).is_ok()
    })?;
    tell(READY)?;
    processes.watch(&run.logs())
}

/// Moves to namespaces of its own and covers every folder in which the parts leave traces.
fn isolate(run: &Run) -> anyhow::Result<()> {
    enter_new_mount_and_network_namespaces()?;
    mount_new("proc", Path::new("/proc"))?;
    // Sockets, named network namespaces, runc's state.
    mount_new("tmpfs", Path::new("/run"))?;
    let covers = [
        ("/tmp", run.tmp(), 0o1777),
        ("/var/lib", run.root().join("var-lib"), 0o755),
        ("/var/log", run.root().join("var-log"), 0o755),
    ];
    for (inside, folder, mode) in covers {
        fs::create_dir(&folder)?;
        fs::set_permissions(&folder, Permissions::from_mode(mode))?;
        bind(&folder, Path::new(inside))?;
    }
    let volumes = Path::new("/tmp/hostpath_pv");
    fs::create_dir(volumes)?;
    chown(volumes, Some(VOLUME_OWNER), Some(VOLUME_OWNER)).context("give the volumes to the provisioner")?;

    fs::create_dir(run.pki())?;
    let search = "search default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n";
    fs::write(run.resolv_conf(), format!("nameserver {CONTROL_ADDRESS}\n{search}"))?;
    fs::write(run.node_resolv_conf(), format!("nameserver {CONTROL_ADDRESS}\n"))?;
    Ok(())
}

fn tell(line: &str) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}").and_then(|()| output.flush()).context("tell how far the testbed is")
}

/// The names of what was started, by process id.
#[derive(Default)]
struct Processes(BTreeMap<u32, String>);

impl Processes {
    fn add(&mut self, name: &str, child: &Child) {
        self.0.insert(child.id(), name.to_owned());
    }

    /// Reaps whatever ends, for ever, and writes down which parts those were.
    fn watch(mut self, logs: &Path) -> anyhow::Result<()> {
        let path = logs.join("ended.log");
        let mut log = OpenOptions::new().create(true).append(true).open(&path).context("open the supervisor's log")?;
        redirect_standard_output(&log)?;
        loop {
            let (process, status) = reap_any_child().context("wait for a process to end")?;
            if let Some(name) = self.0.remove(&process) {
                writeln!(log, "{name}: {status}")?;
            }
        }
    }
}
