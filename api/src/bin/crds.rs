//! `make crds`: writes the CustomResourceDefinitions from the types in `fulmar-api`.
//!
//! Knows the files they live in: `crds/` for people who install by hand, and the chart's templates with the policy
//! that keeps them when the chart is removed. It is a program of its own, so that the tool that runs all other tasks
//! needs no Kubernetes client and is built in a minute.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};

/// A chart template keeps its definitions when the chart is removed: without them every cluster would be deleted.
const KEEP: &str = "    helm.sh/resource-policy: keep\n";

fn main() -> Result<()> {
    for (path, text) in generate()? {
        let path = root().join(path);
        let folder = path.parent().context("a generated file has no folder")?;
        fs::create_dir_all(folder).with_context(|| format!("make the folder {}", folder.display()))?;
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Path and content of every generated file.
fn generate() -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for crd in fulmar_api::crds() {
        let name = crd.metadata.name.clone().context("a definition has no name")?;
        let yaml = serde_saphyr::to_string(&crd).with_context(|| format!("write {name} as YAML"))?;
        files.insert(format!("charts/fulmar/templates/crds/{name}.yaml"), chart_template(&yaml));
        files.insert(format!("crds/{name}.yaml"), yaml);
    }
    Ok(files)
}

fn chart_template(yaml: &str) -> String {
    // Helm would read "{{" in a description as an action; none of ours has one, and the test says so.
    format!(
        "{{{{- if .Values.crds.install }}}}\n{}{{{{- end }}}}\n",
        yaml.replacen("metadata:\n", &format!("metadata:\n  annotations:\n{KEEP}"), 1)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The API server stores an object of at most 1.5 MB; kubectl apply keeps a copy in an annotation of at most 256 kB.
    const CRD_BYTES_MAX: usize = 200_000;

    #[test]
    fn the_files_in_the_tree_are_what_the_types_say() {
        for (path, text) in generate().unwrap() {
            let found = fs::read_to_string(root().join(&path)).unwrap_or_default();
            assert!(found == text, "{path} is stale: run `make crds`");
        }
    }

    #[test]
    fn a_definition_fits_the_annotation_of_kubectl_apply() {
        for (path, text) in generate().unwrap() {
            assert!(
                text.len() <= CRD_BYTES_MAX,
                "{path} has {} bytes, at most {CRD_BYTES_MAX} are allowed",
                text.len()
            );
        }
    }

    #[test]
    fn helm_finds_no_action_inside_a_definition() {
        for (path, text) in generate().unwrap() {
            let inner = text.trim_start_matches("{{- if .Values.crds.install }}\n").trim_end_matches("{{- end }}\n");
            assert!(!inner.contains("{{"), "{path} has an action of its own");
        }
    }
}
