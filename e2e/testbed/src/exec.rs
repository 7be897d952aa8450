//! Running a command inside a testbed: in its network, with its DNS, its kubeconfig, kubectl and helm.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::namespaces::{bind, enter_network_namespace_of};
use crate::run::Run;

/// Marks what runs inside a testbed, and tells it which one that is.
pub const RUN_VARIABLE: &str = "FULMAR_TESTBED";

/// Becomes `words`, inside of the testbed. Returns only when that fails. The calling process must have one thread.
///
/// Files are those of the host, but `/etc/resolv.conf`, which names the cluster's DNS.
pub fn exec(run: &Run, words: &[OsString]) -> anyhow::Result<()> {
    let Some((program, arguments)) = words.split_first() else { bail!("found no command, one is wanted after --") };
    enter_network_namespace_of(run.supervisor()?)?;
    let resolver = Path::new("/etc/resolv.conf");
    if resolver.exists() {
        bind(&run.resolv_conf(), resolver)?;
    }
    let mut command = Command::new(program);
    command.args(arguments).envs(environment(run));
    Err(command.exec()).with_context(|| format!("start {}", program.display()))
}

/// What a command inside finds in its environment.
fn environment(run: &Run) -> Vec<(&'static str, OsString)> {
    let mut path = OsString::from(run.bin());
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_else(|| crate::process::SYSTEM_PATH.into()));
    let cache = |name: &str| run.client_caches().join(name).into();
    vec![
        (RUN_VARIABLE, run.name().to_string().into()),
        ("KUBECONFIG", run.kubeconfig().into()),
        ("PATH", path),
        ("KUBECACHEDIR", cache("kubectl")),
        ("HELM_CACHE_HOME", cache("helm-cache")),
        ("HELM_CONFIG_HOME", cache("helm-config")),
        ("HELM_DATA_HOME", cache("helm-data")),
    ]
}
