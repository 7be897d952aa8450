//! The programs that every testbed is made of: Kubernetes in one binary, and the pause image.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;

use crate::archive::ImageContent;
use crate::go_module::{GoModule, Program};

/// What the nodes call the pause image.
pub const PAUSE_IMAGE: &str = "fulmar.test/pause:1";

const KUBERNETES: GoModule = GoModule {
    name: "kubernetes",
    notice: "building Kubernetes, once per machine (about 8 minutes on 2 cores)",
    sources: &[
        ("go.mod", include_str!("../../kubernetes/go.mod")),
        ("go.sum", include_str!("../../kubernetes/go.sum")),
        ("main.go", include_str!("../../kubernetes/main.go")),
        ("pause/main.go", include_str!("../../kubernetes/pause/main.go")),
    ],
    programs: &[
        Program {
            name: "kube",
            package: ".",
            // The API server and the kubelet refuse each other without a version.
            linker_flags: "-s -w -X k8s.io/component-base/version.gitVersion=v1.35.4",
        },
        Program { name: "pause", package: "./pause", linker_flags: "-s -w" },
    ],
};

/// Built programs, each a path to an executable file.
#[derive(Debug)]
pub struct Tools {
    /// All of Kubernetes, dispatching on its first argument.
    pub kubernetes: PathBuf,
    /// The program of the pause image.
    pub pause: PathBuf,
}

impl Tools {
    /// Finds the programs in the cache, or builds them there. `progress` is told when a build begins.
    pub fn find_or_build(progress: &mut dyn FnMut(&str)) -> anyhow::Result<Self> {
        let built = KUBERNETES.find_or_build(progress)?;
        Ok(Self { kubernetes: built.join("kube"), pause: built.join("pause") })
    }

    /// The pause image as an archive.
    pub fn pause_archive(&self) -> anyhow::Result<Vec<u8>> {
        let program = fs::read(&self.pause).with_context(|| format!("read {}", self.pause.display()))?;
        let content = ImageContent {
            files: [("/pause".to_owned(), (program, 0o755))].into(),
            entrypoint: "/pause".to_owned(),
            user: "65535:65535".to_owned(),
            ..ImageContent::default()
        };
        content.pack()?.to_archive(PAUSE_IMAGE)
    }
}
