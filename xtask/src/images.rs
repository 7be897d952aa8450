//! `cargo xtask images`: the container images of broker and operator, as archives that `ctr`, `docker` and `kind` load.
//!
//! An image holds one static program, the certificates of the public authorities and the licences, nothing else. It is
//! reproducible: the same sources, compiler and certificates give the same bytes, so its tag can name its content.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use fulmar_testbed::archive::ImageContent;
use fulmar_testbed::tools::{PAUSE_IMAGE, Tools};
use serde_json::json;

use crate::licences;

const USER: &str = "65532:65532";
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
const ARCHIVE_BYTES_MAX: usize = 25 * 1024 * 1024;

/// What `cargo xtask images` can be told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where the archives and images.json go.
    #[arg(long, default_value = "target/images")]
    out: PathBuf,
    /// Tag with the version alone, without a hash of the content.
    #[arg(long)]
    release: bool,
}

pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let Arguments { out, release } = arguments;
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    build_programs(root, &target)?;
    fs::create_dir_all(out).with_context(|| format!("make {}", out.display()))?;

    let mut written = BTreeMap::new();
    for (name, package) in [("broker", "fulmar-broker"), ("operator", "fulmar-operator")] {
        let image = image_content(root, &target, package)?.pack()?;
        let version = concat!("v", env!("CARGO_PKG_VERSION"));
        let tag = if *release { version.to_owned() } else { format!("{version}-{}", image.content_hash()) };
        let reference = format!("fulmar.dev/{package}:{tag}");
        let archive = image.to_archive(&reference)?;
        ensure!(
            archive.len() <= ARCHIVE_BYTES_MAX,
            "the image of {package} has {} bytes, at most {ARCHIVE_BYTES_MAX} are allowed",
            archive.len()
        );
        written.insert(name, write(out, package, &reference, &archive)?);
    }
    let pause = Tools::find_or_build(&mut |line| say(line))?.pause_archive()?;
    written.insert("pause", write(out, "pause", PAUSE_IMAGE, &pause)?);

    let index = out.join("images.json");
    fs::write(&index, format!("{:#}\n", json!(written))).with_context(|| format!("write {}", index.display()))
}

/// Writes one archive and returns its entry for images.json.
fn write(out: &Path, name: &str, reference: &str, archive: &[u8]) -> Result<serde_json::Value> {
    let path = out.join(format!("{name}.tar"));
    fs::write(&path, archive).with_context(|| format!("write {}", path.display()))?;
    say(&format!("{reference}  {}  {:.1} MB", path.display(), archive.len() as f64 / 1e6));
    let path = fs::canonicalize(path)?;
    Ok(json!({ "reference": reference, "archive": path, "bytes": archive.len() }))
}

/// Builds both programs without any shared library, so that they run in an otherwise empty image.
fn build_programs(root: &Path, target: &str) -> Result<()> {
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let mut flags = vec![OsString::from("-Ctarget-feature=+crt-static")];
    // Whoever builds, and wherever: the paths in messages are the same.
    for (folder, name) in [(Some(root.to_owned()), "/fulmar"), (cargo_home, "/cargo")] {
        if let Some(folder) = folder {
            let mut flag = OsString::from("--remap-path-prefix=");
            flag.push(folder);
            flag.push("=");
            flag.push(name);
            flags.push(flag);
        }
    }
    // Only with --target do these flags spare build scripts and procedural macros, which cannot be static.
    let status = Command::new("cargo")
        .args(["build", "--locked", "--profile", "image", "--target", target])
        .args(["--package", "fulmar-broker", "--package", "fulmar-operator"])
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}".as_ref()))
        .current_dir(root)
        .status()
        .context("start cargo")?;
    if !status.success() {
        bail!("cargo build ended with {status}");
    }
    Ok(())
}

fn image_content(root: &Path, target: &str, package: &str) -> Result<ImageContent> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
    let program = read(&root.join("target").join(target).join("image").join(package))?;
    let certificates = read(Path::new(CERTIFICATES)).context("the Debian package ca-certificates is wanted")?;
    let licence = read(&root.join("LICENSE"))?;
    let third_party = licences::of_dependencies(root, target, package)?;
    let files = [
        (format!("/{package}"), (program, 0o755)),
        (CERTIFICATES.to_owned(), (certificates, 0o644)),
        ("/licenses/LICENSE".to_owned(), (licence, 0o644)),
        ("/licenses/THIRD-PARTY".to_owned(), (third_party.into_bytes(), 0o644)),
    ];
    let labels = [
        ("title", package),
        ("version", concat!("v", env!("CARGO_PKG_VERSION"))),
        ("licenses", "Apache-2.0"),
        ("source", env!("CARGO_PKG_REPOSITORY")),
    ];
    Ok(ImageContent {
        files: files.into(),
        entrypoint: format!("/{package}"),
        user: USER.to_owned(),
        labels: labels.map(|(name, value)| (format!("org.opencontainers.image.{name}"), value.to_owned())).into(),
    })
}

#[allow(clippy::print_stdout, reason = "a task tells what it made")]
fn say(line: &str) {
    println!("{line}");
}
