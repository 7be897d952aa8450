//! `cargo xtask manifests`: writes `manifests/install.yaml` from the chart, for people without helm.
//!
//! The chart is the only source: what helm renders for the namespace `fulmar-system` is written with that namespace in
//! front, without the labels that would tell helm the objects are its own.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use fulmar_testbed::tools::Tools;

use crate::release::TAG;
use crate::steps::say;

const NAMESPACE: &str = "fulmar-system";
const PATH: &str = "manifests/install.yaml";

/// What `cargo xtask manifests` can be told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Write nothing, and fail if the file is not what the chart renders.
    #[arg(long)]
    pub(crate) check: bool,
}

/// Writes the file, relative to `root`, or checks it.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let tools = Tools::find_or_build(&mut |progress| say(progress))?;
    let text = generate(root, &tools)?;
    if arguments.check {
        let found = fs::read_to_string(root.join(PATH)).with_context(|| format!("read {PATH}"))?;
        ensure!(found == text, "{PATH} is stale: run `cargo xtask manifests`");
        return Ok(());
    }
    fs::write(root.join(PATH), text).with_context(|| format!("write {PATH}"))
}

/// The file as it stands, with these images in the place of the release's.
pub(crate) fn with_images(root: &Path, operator: &str, broker: &str) -> Result<String> {
    let text = fs::read_to_string(root.join(PATH)).with_context(|| format!("read {PATH}"))?;
    replace_images(&text, operator, broker)
}

fn replace_images(text: &str, operator: &str, broker: &str) -> Result<String> {
    let mut replaced = text.to_owned();
    for (package, reference) in [("fulmar-operator", operator), ("fulmar-broker", broker)] {
        let released = format!("\"fulmar.dev/{package}:{TAG}\"");
        let places = replaced.matches(&released).count();
        ensure!(places == 1, "{PATH} names {released} {places} times, once is wanted: run `make manifests`");
        replaced = replaced.replace(&released, &format!("\"{reference}\""));
    }
    Ok(replaced)
}

fn generate(root: &Path, tools: &Tools) -> Result<String> {
    let rendered = helm(tools, root, &["template", "fulmar", "charts/fulmar", "--namespace", NAMESPACE])?;
    let helms_own = ["app.kubernetes.io/managed-by: Helm", "helm.sh/chart: "];
    let ours = rendered.lines().filter(|line| !helms_own.iter().any(|label| line.trim_start().starts_with(label)));
    let mut text = format!(
        "# Generated from charts/fulmar by `cargo xtask manifests`.\n\
         # kubectl apply -f install.yaml\n\
         apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {NAMESPACE}\n  labels:\n    \
         pod-security.kubernetes.io/enforce: restricted\n"
    );
    for line in ours {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    Ok(text)
}

/// What a helm command prints.
fn helm(tools: &Tools, root: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(&tools.kubernetes).arg("helm").args(arguments).current_dir(root).output();
    let output = output.context("run helm")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "helm {} failed: {}{errors}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stdout)
    );
    String::from_utf8(output.stdout).context("helm printed something that is not text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_take_the_place_of_the_releases() {
        let line = |operator: &str, broker: &str| format!("image: \"{operator}\"\nvalue: \"{broker}\"\n");
        let released = line(&format!("fulmar.dev/fulmar-operator:{TAG}"), &format!("fulmar.dev/fulmar-broker:{TAG}"));
        assert_eq!(replace_images(&released, "mine/o:1", "mine/b:2").unwrap(), line("mine/o:1", "mine/b:2"));
        let error = replace_images(&line("other/operator:1", ""), "mine/o:1", "mine/b:2").unwrap_err();
        let wanted =
            format!("{PATH} names \"fulmar.dev/fulmar-operator:{TAG}\" 0 times, once is wanted: run `make manifests`");
        assert_eq!(error.to_string(), wanted);
    }
}
