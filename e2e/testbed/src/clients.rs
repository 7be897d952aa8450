//! MQTT clients of other people's making, installed by the versions in their lock files, once per machine.
//!
//! What each is told and tells is written in `e2e/clients/README.md`; the tests that run them are the broker's.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::archive::hex_digest;
use crate::go_module::{GoModule, Program, cache_folder, clear, lock};
use crate::packages;
use crate::process::{command, run};

const PAHO_GO: GoModule = GoModule {
    name: "client-paho-go",
    notice: "building the client of Paho for Go, once per machine",
    sources: &[
        ("go.mod", include_str!("../../clients/paho-go/go.mod")),
        ("go.sum", include_str!("../../clients/paho-go/go.sum")),
        ("main.go", include_str!("../../clients/paho-go/main.go")),
    ],
    programs: &[Program { name: "client", package: ".", linker_flags: "-s -w" }],
};

/// A client in a language that is not compiled: its files, and the command that puts its libraries beside them.
struct Script {
    name: &'static str,
    notice: &'static str,
    sources: &'static [(&'static str, &'static str)],
    install: &'static [&'static str],
}

const PAHO_PYTHON: Script = Script {
    name: "client-paho-python",
    notice: "installing the client of Paho for Python, once per machine",
    sources: &[
        ("requirements.txt", include_str!("../../clients/paho-python/requirements.txt")),
        ("client.py", include_str!("../../clients/paho-python/client.py")),
    ],
    install: &[
        "python3",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "--target",
        ".",
        "--requirement",
        "requirements.txt",
    ],
};

const MQTTJS: Script = Script {
    name: "client-mqttjs",
    notice: "installing the client of MQTT.js, once per machine",
    sources: &[
        ("package.json", include_str!("../../clients/mqttjs/package.json")),
        ("package-lock.json", include_str!("../../clients/mqttjs/package-lock.json")),
        ("client.js", include_str!("../../clients/mqttjs/client.js")),
    ],
    // What packages want to run when they are installed is not run.
    install: &["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
};

/// Installed clients.
#[derive(Debug)]
pub struct Clients {
    /// The program of Paho for Go.
    pub paho_go: PathBuf,
    /// The script of Paho for Python, its library beside it.
    pub paho_python: PathBuf,
    /// The script of MQTT.js, its library beside it.
    pub mqttjs: PathBuf,
}

impl Clients {
    /// Finds the clients in the cache, or installs them there. `progress` is told what takes time.
    pub fn find_or_install(progress: &mut dyn FnMut(&str)) -> anyhow::Result<Self> {
        packages::install_missing(packages::FOR_CLIENTS, progress)?;
        Ok(Self {
            paho_go: PAHO_GO.find_or_build(progress)?.join("client"),
            paho_python: PAHO_PYTHON.find_or_install(progress)?.join("client.py"),
            mqttjs: MQTTJS.find_or_install(progress)?.join("client.js"),
        })
    }
}

impl Script {
    /// The folder of the client.
    fn find_or_install(&self, progress: &mut dyn FnMut(&str)) -> anyhow::Result<PathBuf> {
        let cache = cache_folder()?;
        let installed = cache.join(format!("{}-{}", self.name, &self.hash()[..16]));
        if installed.exists() {
            return Ok(installed);
        }
        let _lock = lock(&cache)?;
        if !installed.exists() {
            progress(self.notice);
            self.install(&cache.join("install"), &installed).with_context(|| format!("install {}", self.name))?;
        }
        Ok(installed)
    }

    fn hash(&self) -> String {
        let hash = |(path, text): &(&str, &str)| format!("{path} {}\n", hex_digest(text.as_bytes()));
        hex_digest(self.sources.iter().map(hash).collect::<String>().as_bytes())
    }

    /// Installs in the scratch folder `work`, which becomes `installed` when everything is there.
    fn install(&self, work: &Path, installed: &Path) -> anyhow::Result<()> {
        clear(work)?;
        fs::create_dir_all(work).with_context(|| format!("make {}", work.display()))?;
        for (path, text) in self.sources {
            let path = work.join(path);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        let (program, arguments) = self.install.split_first().expect("every client has a command");
        run(command(program).args(arguments).current_dir(work))?;
        fs::rename(work, installed).context("keep what was installed")
    }
}
