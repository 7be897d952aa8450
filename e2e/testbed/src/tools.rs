//! The programs that we build ourselves, with Go: Kubernetes in one binary, and the pause image.
//!
//! They are built once per machine and kept outside the clone, in a folder named for their sources. The sources are
//! part of this crate's binary, so a testbed starts from any folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::archive::{ImageContent, hex_digest};
use crate::process::{command, run};

/// What the nodes call the pause image.
pub const PAUSE_IMAGE: &str = "fulmar.test/pause:1";

/// The API server and the kubelet refuse each other without a version.
const KUBERNETES_VERSION: &str = "v1.35.4";

/// The sources of both programs, by path in their module.
const SOURCES: [(&str, &str); 4] = [
    ("go.mod", include_str!("../../kubernetes/go.mod")),
    ("go.sum", include_str!("../../kubernetes/go.sum")),
    ("main.go", include_str!("../../kubernetes/main.go")),
    ("pause/main.go", include_str!("../../kubernetes/pause/main.go")),
];

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
        let cache = cache_folder()?;
        let built = cache.join(format!("kubernetes-{}", &sources_hash()[..16]));
        let tools = Self { kubernetes: built.join("kube"), pause: built.join("pause") };
        if built.exists() {
            return Ok(tools);
        }
        fs::create_dir_all(&cache).with_context(|| format!("make {}", cache.display()))?;
        let lock = File::create(cache.join("build.lock"))?;
        lock.lock().context("wait for another build")?;
        if !built.exists() {
            progress("building Kubernetes, once per machine (about 8 minutes on 2 cores)");
            build(&cache.join("build"), &built)?;
        }
        Ok(tools)
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

/// `$XDG_CACHE_HOME/fulmar`, or `~/.cache/fulmar`.
fn cache_folder() -> anyhow::Result<PathBuf> {
    let from = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let Some(base) = from("XDG_CACHE_HOME").or_else(|| Some(from("HOME")?.join(".cache"))) else {
        bail!("neither XDG_CACHE_HOME nor HOME is set; one of them is wanted as the place for built programs");
    };
    Ok(base.join("fulmar"))
}

fn sources_hash() -> String {
    let hashes = SOURCES.map(|(path, text)| format!("{path} {}\n", hex_digest(text.as_bytes())));
    hex_digest(hashes.concat().as_bytes())
}

/// Builds in the scratch folder `work`, which becomes `built` when everything is there.
fn build(work: &Path, built: &Path) -> anyhow::Result<()> {
    if work.exists() {
        fs::remove_dir_all(work).context("clear what an ended build left")?;
    }
    for (path, text) in SOURCES {
        let path = work.join(path);
        fs::create_dir_all(path.parent().expect("a source has a folder"))?;
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    let version = format!("-s -w -X k8s.io/component-base/version.gitVersion={KUBERNETES_VERSION}");
    for (output, package, flags) in [("bin/kube", ".", version.as_str()), ("bin/pause", "./pause", "-s -w")] {
        let mut go = command("go");
        go.args(["build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", output, package]);
        run(go.current_dir(work).env("CGO_ENABLED", "0").env("GOWORK", "off"))
            .context("build with Go 1.26 or later")?;
    }
    fs::rename(work.join("bin"), built).context("keep what was built")?;
    fs::remove_dir_all(work).context("remove the scratch folder")
}
