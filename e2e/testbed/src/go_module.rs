//! Programs built with Go from a module of ours, once per machine.
//!
//! What is built is kept outside the clone, in a folder named for the hash of the module's sources. The sources are part
//! of this crate's binary, so a testbed starts from any folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::archive::hex_digest;
use crate::process::{command, run};

/// A module and what to build from it.
pub(crate) struct GoModule {
    /// Begins the name of its folder in the cache.
    pub(crate) name: &'static str,
    /// What to tell a person who waits for the build.
    pub(crate) notice: &'static str,
    /// Its files, by path in the module.
    pub(crate) sources: &'static [(&'static str, &'static str)],
    /// What is built from it.
    pub(crate) programs: &'static [Program],
}

/// One program of a module.
pub(crate) struct Program {
    /// Its file name.
    pub(crate) name: &'static str,
    /// The package that holds its `main`.
    pub(crate) package: &'static str,
    /// Flags of the linker.
    pub(crate) linker_flags: &'static str,
}

impl GoModule {
    /// The folder of the built programs, or `None` where they were not built yet.
    pub(crate) fn find(&self) -> anyhow::Result<Option<PathBuf>> {
        let built = self.folder(&cache_folder()?);
        Ok(built.exists().then_some(built))
    }

    /// The folder of the built programs. `progress` is told when a build begins.
    pub(crate) fn find_or_build(&self, progress: &mut dyn FnMut(&str)) -> anyhow::Result<PathBuf> {
        let cache = cache_folder()?;
        let built = self.folder(&cache);
        if built.exists() {
            return Ok(built);
        }
        let _lock = lock(&cache)?;
        if !built.exists() {
            progress(self.notice);
            self.build(&cache.join("build"), &built).with_context(|| format!("build {}", self.name))?;
        }
        Ok(built)
    }

    fn folder(&self, cache: &Path) -> PathBuf {
        cache.join(format!("{}-{}", self.name, &self.hash()[..16]))
    }

    fn hash(&self) -> String {
        let hash = |(path, text): &(&str, &str)| format!("{path} {}\n", hex_digest(text.as_bytes()));
        hex_digest(self.sources.iter().map(hash).collect::<String>().as_bytes())
    }

    /// Builds in the scratch folder `work`; what was built becomes `built` when everything is there.
    fn build(&self, work: &Path, built: &Path) -> anyhow::Result<()> {
        clear(work)?;
        for (path, text) in self.sources {
            let path = work.join(path);
            fs::create_dir_all(path.parent().expect("a source has a folder"))?;
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        for Program { name, package, linker_flags } in self.programs {
            let mut go = command("go");
            go.args(["build", "-trimpath", "-buildvcs=false", "-ldflags", linker_flags]);
            go.args(["-o", &format!("bin/{name}"), package]).current_dir(work);
            run(go.env("CGO_ENABLED", "0").env("GOWORK", "off")).context("build with Go 1.26 or later")?;
        }
        fs::rename(work.join("bin"), built).context("keep what was built")?;
        clear(work)
    }
}

/// Where programs are kept: `$XDG_CACHE_HOME/fulmar`, or `~/.cache/fulmar`.
pub(crate) fn cache_folder() -> anyhow::Result<PathBuf> {
    let from = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let Some(base) = from("XDG_CACHE_HOME").or_else(|| Some(from("HOME")?.join(".cache"))) else {
        bail!("neither XDG_CACHE_HOME nor HOME is set; one of them is wanted as the place for built programs");
    };
    Ok(base.join("fulmar"))
}

/// Makes the cache, and waits for whoever else fills it. The lock is let go when the file is dropped.
pub(crate) fn lock(cache: &Path) -> anyhow::Result<File> {
    fs::create_dir_all(cache).with_context(|| format!("make {}", cache.display()))?;
    let lock = File::create(cache.join("build.lock"))?;
    lock.lock().context("wait for another build")?;
    Ok(lock)
}

/// Removes a scratch folder, which an earlier build may have left.
pub(crate) fn clear(work: &Path) -> anyhow::Result<()> {
    if work.exists() {
        fs::remove_dir_all(work).with_context(|| format!("clear {}", work.display()))?;
    }
    Ok(())
}
