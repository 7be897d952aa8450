//! The Kubernetes that a task works on: a testbed of this machine, or a cluster that the user brings.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cargo::cargo;
use crate::images::Images;
use crate::steps::say;

/// A cluster, reached by the programs that users call.
pub(crate) enum Cluster {
    /// The testbed of this name and size, and the program that handles it.
    Testbed { program: PathBuf, name: &'static str, nodes: u8 },
    /// What `KUBECONFIG` names; its owner has loaded the images.
    Own,
}

impl Cluster {
    /// The testbed `name` of so many nodes, up or not.
    pub(crate) fn testbed(root: &Path, name: &'static str, nodes: u8) -> Result<Self> {
        // Selected from the whole workspace, so that it shares what this program was built from.
        run(&mut cargo(root, "build --quiet --bin testbed"))?;
        // Cargo puts both programs into one folder.
        let program = std::env::current_exe().context("find this program")?.with_file_name("testbed");
        Ok(Self::Testbed { program, name, nodes })
    }

    /// The user's own cluster where they ask for it, else the testbed `name`.
    pub(crate) fn from_environment(root: &Path, name: &'static str, nodes: u8) -> Result<Self> {
        if std::env::var_os("FULMAR_E2E_OWN_CLUSTER").is_some_and(|value| value == "1") {
            return Ok(Self::Own);
        }
        Self::testbed(root, name, nodes)
    }

    /// Brings up a testbed, a fresh one where it is up already.
    pub(crate) fn up(&self) -> Result<()> {
        self.down()?;
        match self {
            Self::Testbed { nodes, .. } => self.call("up", ["--nodes", &nodes.to_string()]),
            Self::Own => Ok(()),
        }
    }

    /// Ends a testbed, if it is up.
    pub(crate) fn down(&self) -> Result<()> {
        self.call("down", [] as [&str; 0])
    }

    /// Gives the images to every node.
    pub(crate) fn load(&self, images: &Images) -> Result<()> {
        self.call("load", [&images.broker.archive, &images.operator.archive])
    }

    /// A command that runs inside, with kubectl and helm at hand.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        match self {
            Self::Testbed { program: testbed, name, .. } => {
                let mut command = Command::new(testbed);
                command.args(["exec", "--name", name, "--"]).arg(program);
                command
            }
            Self::Own => Command::new(program),
        }
    }

    /// Runs a command line inside. Words are parted by single spaces.
    pub(crate) fn run(&self, line: &str) -> Result<()> {
        say(&format!("$ {line}"));
        let mut words = line.split(' ');
        run(self.command(words.next().unwrap_or_default()).args(words))
    }

    /// Prints what a person needs to know about a cluster in which something went wrong.
    pub(crate) fn show_state(&self) -> Result<()> {
        self.run("kubectl get mqttclusters,statefulsets,pods,persistentvolumeclaims --all-namespaces --output wide")?;
        self.run("kubectl get events --all-namespaces --sort-by .lastTimestamp")?;
        let mut list = self.command("kubectl");
        let fields = r#"jsonpath={range .items[*]}{.metadata.namespace} {.metadata.name}{"\n"}{end}"#;
        let pods = read(list.args(["get", "pods", "--all-namespaces", "--output", fields]))?;
        for (namespace, pod) in pods.lines().filter_map(|line| line.split_once(' ')) {
            // A pod that never started has no log, which is no reason not to show the others'.
            if let Err(error) = self.run(&format!("kubectl logs --namespace {namespace} {pod} --tail 200")) {
                say(&format!("{error:#}"));
            }
        }
        Ok(())
    }

    fn call<W: AsRef<OsStr>>(&self, command: &str, arguments: impl IntoIterator<Item = W>) -> Result<()> {
        match self {
            Self::Testbed { program, name, .. } => {
                run(Command::new(program).args([command, "--name", name]).args(arguments))
            }
            Self::Own => Ok(()),
        }
    }
}

/// Runs a command to its end, with its output for all to see.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().display().to_string();
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("start {name}"))?;
    if !status.success() {
        bail!("{name} ended with {status}");
    }
    Ok(())
}

/// Runs a command to its end and returns what it printed.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let name = command.get_program().display().to_string();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("start {name}"))?;
    if !output.status.success() {
        bail!("{name} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("read what {name} printed"))
}
