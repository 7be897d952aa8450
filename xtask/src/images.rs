//! `cargo xtask images`: the container images of broker and operator, as archives that `ctr`, `docker` and `kind` load.
//!
//! An image holds one static program, the certificates of the public authorities and the licences, nothing else. It is
//! reproducible: the same sources, compiler and certificates give the same bytes, so its tag can name its content.
//! Beside the archives stands an `install.yaml` that names exactly these images.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use fulmar_testbed::archive::ImageContent;
use fulmar_testbed::packages;
use serde::Serialize;

use crate::cargo::{self, cargo};
use crate::steps::say;
use crate::{licences, manifests, release};

const DEFAULT_OUT: &str = "target/images";
const USER: &str = "65532:65532";
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
const ARCHIVE_BYTES_MAX: usize = 25_000_000;

/// What `cargo xtask images` can be told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where the archives, images.json and install.yaml go.
    #[arg(long, default_value = DEFAULT_OUT)]
    out: PathBuf,
    /// Tag with the version alone, without a hash of the content: only at that version's tag of the repository.
    #[arg(long)]
    release: bool,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { out: DEFAULT_OUT.into(), release: false }
    }
}

/// What was made: the content of images.json.
#[derive(Serialize)]
pub(crate) struct Images {
    pub(crate) broker: WrittenImage,
    pub(crate) operator: WrittenImage,
    /// The path of images.json itself.
    #[serde(skip)]
    pub(crate) index: PathBuf,
}

/// One image: what Kubernetes calls it and where its archive is.
#[derive(Serialize)]
pub(crate) struct WrittenImage {
    pub(crate) reference: String,
    pub(crate) archive: PathBuf,
    bytes: usize,
}

pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<Images> {
    let Arguments { out, release } = arguments;
    if *release {
        release::check(root)?;
    }
    packages::install_missing(packages::FOR_IMAGES, &mut |line| say(line))?;
    let out = &root.join(out);
    let programs = Programs::build(root)?;
    fs::create_dir_all(out).with_context(|| format!("make {}", out.display()))?;
    let make = |package: &str| {
        let image = programs.image_content(root, package)?.pack()?;
        let tag = if *release { release::TAG.to_owned() } else { format!("{}-{}", release::TAG, image.content_hash()) };
        let reference = format!("fulmar.dev/{package}:{tag}");
        let archive = image.to_archive(&reference)?;
        let bytes = archive.len();
        ensure!(bytes <= ARCHIVE_BYTES_MAX, "{reference} has {bytes} bytes, at most {ARCHIVE_BYTES_MAX} are allowed");
        write(out, package, reference, &archive)
    };
    let images =
        Images { broker: make("fulmar-broker")?, operator: make("fulmar-operator")?, index: out.join("images.json") };
    let text = serde_json::to_string_pretty(&images)?;
    fs::write(&images.index, text).with_context(|| format!("write {}", images.index.display()))?;
    let install = out.join("install.yaml");
    let text = manifests::with_images(root, &images.operator.reference, &images.broker.reference)?;
    fs::write(&install, text).with_context(|| format!("write {}", install.display()))?;
    say(&format!("{}: the operator and the definitions, with these images", install.display()));
    Ok(images)
}

fn write(out: &Path, name: &str, reference: String, archive: &[u8]) -> Result<WrittenImage> {
    let path = out.join(format!("{name}.tar"));
    fs::write(&path, archive).with_context(|| format!("write {}", path.display()))?;
    say(&format!("{reference}  {:.1} MB  {}", archive.len() as f64 / 1e6, path.display()));
    Ok(WrittenImage { reference, archive: path, bytes: archive.len() })
}

/// Both programs, built without any shared library so that they run in an otherwise empty image.
struct Programs {
    target: String,
    folder: PathBuf,
}

impl Programs {
    fn build(root: &Path) -> Result<Self> {
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
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
        let programs = "--package fulmar-broker --package fulmar-operator";
        let status = cargo(root, &format!("build --locked --profile image --target {target} {programs}"))
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}".as_ref()))
            .status()
            .context("start cargo")?;
        if !status.success() {
            bail!("cargo build ended with {status}");
        }
        let folder = cargo::target_folder(root)?.join(&target).join("image");
        Ok(Self { target, folder })
    }

    fn image_content(&self, root: &Path, package: &str) -> Result<ImageContent> {
        let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
        let program = read(&self.folder.join(package))?;
        let certificates = read(Path::new(CERTIFICATES)).context("the Debian package ca-certificates is wanted")?;
        let licence = read(&root.join("LICENSE"))?;
        let third_party = licences::of_dependencies(root, &self.target, package)?;
        let files = [
            (format!("/{package}"), (program, 0o755)),
            (CERTIFICATES.to_owned(), (certificates, 0o644)),
            ("/licenses/LICENSE".to_owned(), (licence, 0o644)),
            ("/licenses/THIRD-PARTY".to_owned(), (third_party.into_bytes(), 0o644)),
        ];
        let labels = [
            ("title", package),
            ("version", release::TAG),
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
}
