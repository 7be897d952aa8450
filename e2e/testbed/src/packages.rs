//! The Debian packages that images and testbeds are made with, and their installation where they are missing.

use std::path::Path;

use anyhow::{Context, bail};

use crate::namespaces::is_root;
use crate::process::{SYSTEM_PATH, command, run};

/// A package, and a file that tells that it is there.
type Package = (&'static str, &'static str);

/// What an image takes from this machine.
pub const FOR_IMAGES: &[Package] = &[("ca-certificates", "/etc/ssl/certs/ca-certificates.crt")];

/// What a testbed stands on, and the clients that tests and people use in it.
pub const FOR_TESTBEDS: &[Package] = &[
    ("containerd", "/usr/bin/containerd"),
    ("runc", "/usr/sbin/runc"),
    ("containernetworking-plugins", "/usr/lib/cni/bridge"),
    ("iproute2", "/sbin/ip"),
    ("nftables", "/usr/sbin/nft"),
    ("conntrack", "/usr/sbin/conntrack"),
    ("mosquitto-clients", "/usr/bin/mosquitto_pub"),
];

/// What gives each broker a network of its own, and cuts its links.
pub const FOR_FAULTS: &[Package] = &[("iproute2", "/sbin/ip"), ("nftables", "/usr/sbin/nft")];

/// What counts instructions and system calls.
pub const FOR_GUARD: &[Package] = &[("valgrind", "/usr/bin/valgrind"), ("strace", "/usr/bin/strace")];

/// What MQTT clients of other people's making run on; and mosquitto's, which are a package.
pub const FOR_CLIENTS: &[Package] = &[
    ("mosquitto-clients", "/usr/bin/mosquitto_pub"),
    ("nodejs", "/usr/bin/node"),
    ("npm", "/usr/bin/npm"),
    ("python3", "/usr/bin/python3"),
    ("python3-pip", "/usr/lib/python3/dist-packages/pip/__init__.py"),
];

/// What libFuzzer is built with.
pub const FOR_FUZZING: &[Package] = &[("g++", "/usr/bin/g++")];

/// Installs what is missing. Says what to do where it cannot.
pub fn install_missing(packages: &[Package], progress: &mut dyn FnMut(&str)) -> anyhow::Result<()> {
    let missing: Vec<&str> =
        packages.iter().filter(|(_, file)| !Path::new(file).exists()).map(|(package, _)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !Path::new("/etc/debian_version").exists() {
        bail!("this is not Debian, so install these (or what your system calls them) by hand: {names}");
    }
    if !is_root() {
        bail!("only root may install packages; run this as root, or have root run: apt-get install {names}");
    }
    progress(&format!("installing {names}"));
    // What the machine knows of the archive may be too old for its files; asked first it costs seconds, so ask second.
    if install(&missing).is_err() {
        run(command("apt-get").arg("update").env("PATH", SYSTEM_PATH)).context("update the list of packages")?;
        install(&missing).with_context(|| format!("install the missing Debian packages: {names}"))?;
    }
    Ok(())
}

fn install(packages: &[&str]) -> anyhow::Result<()> {
    let mut apt = command("apt-get");
    apt.args(["install", "--yes", "--no-install-recommends"]).args(packages);
    run(apt.env("DEBIAN_FRONTEND", "noninteractive").env("PATH", SYSTEM_PATH)).map(drop)
}
